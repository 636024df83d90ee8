"""Dates: a text becomes seconds, and seconds become the whole numbers that a model is given.

The value of a date is a double: seconds since 1970-01-01T00:00, of the wall clock as it is written, or of
UTC where a zone is written; NaN where it is missing. A fraction of a second is read and cut off. The years
are 1 to 9999. No model knows a date: it is given the date's ``parts``, and ``expanded`` makes them.

A ``format`` has strptime's directives ``%Y %y %m %d %b %B %H %I %M %S %f %p %z %j``, and ``%q``, the
quarter: https://docs.python.org/3/library/datetime.html#format-codes
Beside its format, each date may be written in ISO 8601. One regular expression reads a text and a column
alike, and one arithmetic turns the fields into seconds, of integers and of arrays of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from handler.manifest import Feature
from handler.typed import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    Columns = Mapping[str, Any]

#: The format of a date that has none, and of a date with a time of day.
ISO_DATE = "%Y-%m-%d"
ISO_TIME = "%Y-%m-%dT%H:%M:%S"
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
    "November", "December",
)  # fmt: skip
#: The least and the greatest value: 0001-01-01T00:00 and 9999-12-31T23:59:59.
FIRST, LAST = -62_135_596_800, 253_402_300_799
DAY = 86_400
#: The date that an example shows: a day after the 12th, and an hour after noon, so that none is mistaken.
EXAMPLE = 1_706_712_300  # 2024-01-31T14:45

_ZONE = r"(?:[Zz]|UTC|GMT|(?P<sign>[+-])(?P<zone_hour>[01][0-9]|2[0-3])(?::?(?P<zone_minute>[0-5][0-9]))?)"
#: What each directive takes, by the field that it gives. Python and Rust read these alike.
DIRECTIVES: Mapping[str, str] = {
    "Y": "(?P<year>[0-9]{4})",
    "y": "(?P<short_year>[0-9]{2})",
    "m": "(?P<month>1[0-2]|0?[1-9])",
    "b": "(?P<word>[A-Za-z]{3,9})",
    "B": "(?P<word>[A-Za-z]{3,9})",
    "q": "(?P<quarter>[1-4])",
    "d": "(?P<day>[12][0-9]|3[01]|0?[1-9])",
    "j": "(?P<ordinal>[0-9]{1,3})",
    "H": "(?P<hour>2[0-3]|[01]?[0-9])",
    "I": "(?P<half_hour>1[0-2]|0?[1-9])",
    "M": "(?P<minute>[0-5]?[0-9])",
    "S": "(?P<second>[0-5]?[0-9])",
    "f": "(?P<fraction>[0-9]{1,9})",
    "p": "(?P<half>[AaPp])\\.?[Mm]\\.?",
    "z": _ZONE,
}
_ISO = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>0[1-9]|1[0-2])-(?P<day>0[1-9]|[12][0-9]|3[01])"
    r"(?:[Tt ](?P<hour>[01][0-9]|2[0-3]):(?P<minute>[0-5][0-9])"
    r"(?::(?P<second>[0-5][0-9])(?:[.,][0-9]{1,9})?)?"
    rf"(?: ?{_ZONE})?)?"
)
#: The fields that are words, in lower case, and the number that each word stands for.
WORDS: Mapping[str, Mapping[str, int]] = {
    "word": {
        **{name.lower(): number for number, name in enumerate(MONTHS, start=1)},
        **{name[:3].lower(): number for number, name in enumerate(MONTHS, start=1)},
        "sept": 9,
    },
    "half": {"a": 0, "p": 1},
    "sign": {"+": 1, "-": -1},
}
_Fields = Mapping[str, Any]


def directives(format: str) -> list[str]:
    """The letters of a format's directives, in order."""
    return re.split("%(.)", format, flags=re.DOTALL)[1::2]


@lru_cache(maxsize=256)
def pattern(format: str) -> re.Pattern[str]:
    """What texts of a format look like; raises ``ValueError``, with a message, for what is not a format.

    A blank stands for one blank or more, and letters are read in both cases.
    """
    parts = []
    for index, piece in enumerate(re.split("%(.)", format, flags=re.DOTALL)):
        if index % 2 == 0:
            if "%" in piece:
                raise ValueError("it ends in %")
            parts.append(" +".join(map(in_either_case, re.split(r"\s+", piece))))
        elif piece == "%":
            parts.append("%")
        elif piece in DIRECTIVES:
            parts.append(DIRECTIVES[piece])
        else:
            raise ValueError(f"%{piece} is not one of its directives, %{' %'.join(DIRECTIVES)}")
    try:
        made = re.compile("".join(parts))
    except re.error as error:
        raise ValueError("a directive stands in it twice") from error
    fields = made.groupindex.keys()
    for each in ({"year", "short_year"}, {"month", "word", "quarter", "ordinal"}, {"hour", "half_hour"}):
        if len(fields & each) > 1:
            raise ValueError("it states the same thing twice")
    if not fields & {"year", "short_year"}:
        raise ValueError("a date needs a year, %Y or %y")
    if "day" in fields and not fields & {"month", "word"}:
        raise ValueError("a day, %d, needs a month, %m or %b")
    if fields & {"hour", "half_hour"} and not fields & {"day", "ordinal"}:
        raise ValueError("an hour needs a day, %d or %j")
    if fields & {"minute", "second"} and not fields & {"hour", "half_hour"}:
        raise ValueError("a minute needs an hour, %H or %I")
    if "half_hour" in fields and "half" not in fields:
        raise ValueError("%I needs %p")
    return made


def in_either_case(text: str) -> str:
    """The regular expression of a text whose letters are read in both cases, for Python, Rust and ECMA."""
    return re.sub(
        r"([a-zA-Z])|([\\^$.*+?()[\]{}|])",
        lambda match: f"[{match[1].upper()}{match[1].lower()}]" if match[1] else f"\\{match[2]}",
        text,
    )


def patterns(format: str | None) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """What a date may look like: in its format, and in ISO 8601."""
    return pattern(format or ISO_DATE), _ISO


def parse(format: str | None, text: str) -> float | None:
    """The seconds that a text states, in the format or in ISO 8601; None where it is no such date."""
    for each in patterns(format):
        match = each.fullmatch(text)
        if match is not None:
            try:
                fields = {
                    name: WORDS[name][given.lower()] if name in WORDS else int(given)
                    for name, given in match.groupdict().items()
                    if given is not None
                }
            except KeyError:  # letters that are no month's name
                continue
            seconds, exists = _seconds(fields)
            if exists:
                return float(seconds)
    return None


def parse_series(format: str | None, texts: pl.Series) -> np.ndarray:
    """``parse`` of each text, shape (n,); NaN where it is not a date."""
    import numpy as np

    own, iso = patterns(format)
    values = _read(own, texts)
    left = np.flatnonzero(np.isnan(values))
    if len(left):
        values[left] = _read(iso, texts.gather(left))
    return values


def _read(form: re.Pattern[str], texts: pl.Series) -> np.ndarray:
    """The seconds of the texts that match, shape (n,); NaN for the others."""
    import numpy as np
    import polars as pl

    names = {number: name for name, number in form.groupindex.items()}
    found = texts.str.extract_groups(f"^(?:{form.pattern})$").struct.unnest()
    fields: dict[str, np.ndarray] = {}
    sound = np.ones(len(texts), bool)
    for number, name in names.items():
        given = found.to_series(number - 1)
        if name in WORDS:
            words = given.str.to_lowercase()
            read = words.replace_strict(WORDS[name], default=None, return_dtype=pl.Int64)
        else:
            read = given.cast(pl.Int64)
        if name in ("year", "short_year", "word"):  # these stand in every text that matches
            sound &= read.is_not_null().to_numpy()
        fields[name] = read.fill_null(0).to_numpy()
    seconds, exists = _seconds(fields)
    return np.where(sound & exists, seconds, np.nan)


def _seconds(fields: _Fields) -> tuple[Any, Any]:
    """The seconds that fields state, and whether there is such a date: of integers or arrays of them.

    The days are counted as in Howard Hinnant's ``days_from_civil``, in eras of 400 years that begin in
    March: https://howardhinnant.github.io/date_algorithms.html
    """
    if "year" in fields:
        year = fields["year"]
    else:  # POSIX: 69 to 99 are of the 20th century
        short = fields["short_year"]
        year = short + 1900 + 100 * (short < 69)
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    month = fields.get("month", fields.get("word"))
    if month is None:
        month = 3 * fields["quarter"] - 2 if "quarter" in fields else 1
    day, ordinal = fields.get("day", 1), fields.get("ordinal")
    long = 30 + (month + month // 8) % 2 - (month == 2) * (2 - leap)
    exists = (year >= 1) & (day <= long)
    days = _days(year, month, day)
    if ordinal is not None:
        exists = exists & (ordinal >= 1) & (ordinal <= 365 + leap)
        days = days + ordinal - 1
    hour = fields.get("hour", 0)
    if "half_hour" in fields:
        hour = fields["half_hour"] % 12 + 12 * fields["half"]
    east = fields.get("sign", 0) * (60 * fields.get("zone_hour", 0) + fields.get("zone_minute", 0))
    minutes = 60 * hour + fields.get("minute", 0) - east
    seconds = DAY * days + 60 * minutes + fields.get("second", 0)
    return seconds, exists & (seconds >= FIRST) & (seconds <= LAST)


def _days(year: Any, month: Any, day: Any) -> Any:
    """Days since 1970-01-01 of a date of the Gregorian calendar."""
    year = year - (month <= 2)
    era = year // 400
    of_era = year - 400 * era
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    return 146_097 * era + 365 * of_era + of_era // 4 - of_era // 100 + of_year - 719_468


def _civil(days: Any) -> tuple[Any, Any, Any]:
    """The year, month and day of the month of days since 1970-01-01: Hinnant's ``civil_from_days``."""
    days = days + 719_468
    era = days // 146_097
    of_era = days - 146_097 * era
    years = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * years + years // 4 - years // 100)
    shifted = (5 * of_year + 2) // 153
    month = (shifted + 2) % 12 + 1
    return years + 400 * era + (month <= 2), month, of_year - (153 * shifted + 2) // 5 + 1


def written(format: str | None, seconds: float) -> str:
    """A date as its format spells it, which ``parse`` reads; a zone is UTC."""
    whole = math.floor(seconds)
    days, rest = divmod(whole, DAY)
    year, month, day = _civil(days)
    hour, minute, second = rest // 3600, rest // 60 % 60, rest % 60
    spelled = {
        "Y": f"{year:04}", "y": f"{year % 100:02}", "m": f"{month:02}", "b": MONTHS[month - 1][:3],
        "B": MONTHS[month - 1], "q": str((month + 2) // 3), "d": f"{day:02}",
        "j": f"{days - _days(year, 1, 1) + 1:03}", "H": f"{hour:02}", "I": f"{(hour + 11) % 12 + 1:02}",
        "M": f"{minute:02}", "S": f"{second:02}", "f": "000000", "p": "PM" if hour >= 12 else "AM",
        "z": "+00:00", "%": "%",
    }  # fmt: skip
    return re.sub("%(.)", lambda match: spelled[match[1]], format or ISO_DATE)


def example(format: str | None) -> str:
    """A date in the format, for messages."""
    return written(format, EXAMPLE)


def described(format: str | None) -> str:
    """How a date is to be written, with an example and never a value: completes "must be ..."."""
    also = "" if is_iso(format) else f", or in ISO 8601, as {example(ISO_DATE)}"
    return f"a date written as {example(format)}{also}"


def seen(feature: Feature) -> str:
    """The dates that training saw, from the first to the last, as the feature's format spells them."""
    low, high = feature.minimum, feature.maximum
    if low is None or high is None:
        return "no dates"
    return f"{written(feature.format, low)} to {written(feature.format, high)}"


def is_iso(format: str | None) -> bool:
    """Whether what the format spells is ISO 8601, as every date may be written."""
    return _ISO.fullmatch(example(format)) is not None


def parts(feature: Feature) -> tuple[Feature, ...]:
    """What a model is given of a date: whole numbers, as far as the date's format has them.

    They are ``(year)``, ``(month)``, ``(weekday)`` (1 is Monday, 7 is Sunday), ``(day)`` (days since
    1970-01-01, of the month's first where the format has no day) and ``(hour)``. Raises ``ValueError`` for
    what is not a format.
    """
    pattern(feature.format or ISO_DATE)
    least, greatest = (
        {} if seconds is None else _parted(feature.format, seconds)
        for seconds in (feature.minimum, feature.maximum)
    )
    ranges = {"month": (1.0, 12.0), "weekday": (1.0, 7.0), "hour": (0.0, 23.0)}
    made = []
    for name in _part_names(feature.format):
        low, high = ranges.get(name, (least.get(name), greatest.get(name)))
        made.append(Feature(f"{feature.name} ({name})", "integer", feature.nullable, low, high))
    return tuple(made)


@lru_cache(maxsize=256)
def _part_names(format: str | None) -> tuple[str, ...]:
    stated = set(directives(format or ISO_DATE))
    needed = {"year": "Yy", "month": "mbBqj", "weekday": "dj", "day": "mbBqj", "hour": "HI"}
    return tuple(name for name, any_of in needed.items() if stated & set(any_of))


def _parted(format: str | None, seconds: Any) -> dict[str, Any]:
    """The parts of a date, or of an array of them, by their names."""
    days = seconds // DAY
    year, month, _ = _civil(days)
    every = {
        "year": year,
        "month": month,
        "weekday": (days + 3) % 7 + 1,  # 1970-01-01 was a Thursday
        "day": days,
        "hour": seconds % DAY // 3600,
    }
    return {name: every[name] for name in _part_names(format)}


def expanded_features(features: Sequence[Feature]) -> tuple[Feature, ...]:
    """The features, with the parts of each date in its place."""
    return tuple(
        each for feature in features for each in (parts(feature) if feature.kind == "date" else [feature])
    )


def expanded(features: Sequence[Feature], columns: Columns) -> dict[str, Any]:
    """One column per expanded feature, by name, from one per feature."""
    import numpy as np

    made: dict[str, Any] = {}
    for feature in features:
        values = columns[feature.name]
        if feature.kind == "date":
            missing = np.isnan(values)
            seconds = np.where(missing, 0, values).astype(np.int64)  # thrice as fast as doubles
            for name, part in _parted(feature.format, seconds).items():
                made[f"{feature.name} ({name})"] = np.where(missing, np.nan, part)
        else:
            made[feature.name] = values
    return made


def expanded_record(features: Sequence[Feature], record: Sequence[float | str]) -> tuple[float | str, ...]:
    """A record of expanded features, from one of features."""
    made: list[float | str] = []
    for feature, value in zip(features, record, strict=True):
        if feature.kind == "date":
            made.extend(_parted(feature.format, value).values())
        else:
            made.append(value)
    return tuple(made)
