"""Dates against Python's datetime: texts and columns to seconds and back, and the parts that models get."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import dates
from handler.manifest import Feature
from handler.schema import InvalidValue, parse_json, parse_text
from handler.tables.series import Series
from tests.support.regexes import is_linear

EPOCH = datetime(1970, 1, 1)
FORMATS = (
    "%Y-%m-%d", "%d/%m/%Y", "%m/%d/%y", "%Y.%m.%d", "%d-%b-%Y", "%d %B %Y", "%B %d, %Y", "%Y-%j",
    "%d%b%Y:%H:%M:%S", "%Y/%m/%d %H:%M", "%m/%d/%Y %I:%M %p", "%Y-%m-%dT%H:%M:%S.%f", "%Y-%m-%dT%H:%M:%S%z",
    "%Y-%m-%d %H:%M:%S.%f %z", "100%% %Y-%m-%d",
)  # fmt: skip
MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29))
#: What dates are made of, and what is near them.
PIECES = st.sampled_from(
    ["2024", "1999", "0001", "0000", "9999", "31", "29", "02", "2", "12", "13", "00", "24", "69", "68", "-",
     "/", ".", " ", "  ", "T", "t", ":", "Z", "UTC", "+01:00", "-2359", "+24:00", "Jan", "february", "SEPT",
     "Janu", "Q", "q4", "PM", "a.m.", "\u0661", "\u017f", "\n", "2024-01-31", "10:30", ".5"]
)  # fmt: skip
ODD_FORMATS = (
    "%Y-%m-%d",
    "%d/%m/%y %H:%M",
    "%Y %b",
    "%YQ%q",
    "%Y-Q%q",
    "%Y%j",
    "%I%p %d.%m.%Y",
    "%b-%y %z",
)


def seconds(moment: datetime) -> float:
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return float((moment - EPOCH) // timedelta(seconds=1))


@given(MOMENTS, st.sampled_from(FORMATS), st.sampled_from(["+0000", "Z", "-05:30", "+1400"]))
def test_a_format_is_read_as_strptime_reads_it(moment: datetime, format: str, zone: str) -> None:
    if "%y" in format:
        moment = moment.replace(year=1969 + moment.year % 100, day=min(28, moment.day))
    text = moment.strftime(format.replace("%Y", f"{moment.year:04}").replace("%z", zone))
    expected = seconds(datetime.strptime(text, format))
    assert dates.parse(format, text) == expected
    assert dates.parse_series(format, pl.Series([text, "no date"])).tolist()[0] == expected
    assert dates.parse(format, dates.written(format, expected)) == expected
    assert datetime.strptime(dates.written(format, expected), format) is not None


@given(MOMENTS, st.sampled_from([None, "%d/%m/%Y", "%YQ%q"]), st.data())
def test_iso_is_read_beside_every_format(moment: datetime, format: str | None, data: st.DataObject) -> None:
    text = moment.isoformat(
        data.draw(st.sampled_from(["T", " "])),
        data.draw(st.sampled_from(["minutes", "seconds", "milliseconds"])),
    )
    text += data.draw(st.sampled_from(["", "Z", "+00:00", "-11:30", "+1245"]))
    assert dates.parse(format, text) == seconds(datetime.fromisoformat(text))
    assert dates.parse(format, text[:10]) == seconds(datetime.fromisoformat(text[:10]))


@given(st.lists(st.lists(PIECES, max_size=8).map("".join), min_size=1), st.sampled_from(ODD_FORMATS))
def test_a_column_is_read_as_its_texts_are(texts: list[str], format: str) -> None:
    one_by_one = [dates.parse(format, text) for text in texts]
    expected = [math.nan if value is None else value for value in one_by_one]
    np.testing.assert_array_equal(dates.parse_series(format, pl.Series(texts)), expected)


@given(st.lists(MOMENTS, min_size=1, max_size=5), st.sampled_from(FORMATS))
def test_the_parts_are_the_calendars(moments: list[datetime], format: str) -> None:
    feature = Feature(
        "when", "date", format=format, minimum=seconds(min(moments)), maximum=seconds(max(moments))
    )
    other = Feature("x", "category")
    features = (other, feature)
    columns = dates.expanded(
        features, {"x": np.array(["a"] * len(moments), object), "when": np.array([*map(seconds, moments)])}
    )
    assert list(columns) == [each.name for each in dates.expanded_features(features)]
    has_time = "%H" in format or "%I" in format
    for index, moment in enumerate(moments):
        expected = [
            moment.year, moment.month, moment.isoweekday(), (moment - EPOCH).days,
            *([moment.hour] if has_time else []),
        ]  # fmt: skip
        assert [values[index] for values in columns.values()] == ["a", *expected]
        assert dates.expanded_record(features, ("a", seconds(moment))) == ("a", *expected)
        for part, value in zip(dates.parts(feature), expected, strict=True):
            assert part.kind == "integer"
            assert (part.minimum or 0.0) <= value <= (part.maximum or 0.0)


def test_a_missing_date_has_missing_parts() -> None:
    feature = Feature("when", "date", nullable=True)
    assert all(each.nullable for each in dates.parts(feature))
    assert all(map(math.isnan, dates.expanded_record((feature,), (math.nan,))))  # type: ignore[arg-type]
    columns = dates.expanded((feature,), {"when": np.array([math.nan, 0.0])})
    assert [np.isnan(values).tolist() for values in columns.values()] == [[True, False]] * 4


@pytest.mark.parametrize(
    ("format", "names"),
    [
        ("%Y", ["year"]),
        ("%Y-%m", ["year", "month", "day"]),
        ("%YQ%q", ["year", "month", "day"]),
        ("%d/%m/%y", ["year", "month", "weekday", "day"]),
        ("%Y-%m-%d %H:%M", ["year", "month", "weekday", "day", "hour"]),
        (None, ["year", "month", "weekday", "day"]),
    ],
)
def test_a_date_has_the_parts_that_its_format_states(format: str | None, names: list[str]) -> None:
    parts = dates.parts(Feature("when", "date", format=format))
    assert [each.name for each in parts] == [f"when ({name})" for name in names]


@pytest.mark.parametrize(
    ("format", "text", "iso"),
    [
        ("%d/%m/%y", "31/1/68", "2068-01-31"),
        ("%d/%m/%y", "31/1/69", "1969-01-31"),
        ("%YQ%q", "1974q4", "1974-10-01"),
        ("%Y %b", "1987   SEPT", "1987-09-01"),
        ("%b %Y", "january 1987", "1987-01-01"),
        ("%Y-%m-%d %H:%M:%S %z", "2024-01-31 23:30:00 UTC", "2024-01-31T23:30"),
        (None, "2024-02-29T23:59:59.999999", "2024-02-29T23:59:59"),
        (None, "2024-01-01 00:30+01:00", "2023-12-31T23:30"),
        ("%d.%m.%Y %I:%M %p", "1.2.2024 12:05 am", "2024-02-01T00:05"),
        ("%d.%m.%Y %I:%M %p", "1.2.2024 12:05 PM", "2024-02-01T12:05"),
    ],
)  # fmt: skip
def test_a_date_is_read(format: str | None, text: str, iso: str) -> None:
    assert dates.parse(format, text) == seconds(datetime.fromisoformat(iso))


@pytest.mark.parametrize(
    "text",
    ["2024-02-30", "2023-02-29", "1900-02-29", "0000-01-01", "10000-01-01", "2024-13-01",
     "2024-01-31T24:00", "2024-01-31T10:60", "2024-01-31T10:30:60", "2024-01-31T10:30+24:00",
     "0001-01-01T00:00+01:00", "9999-12-31T23:59-01:00", "20240131",
     "2024", "10:30", "", "x", "2024-01-31\n", "２０２４-01-31"],
)  # fmt: skip
def test_what_is_no_date_is_refused(text: str) -> None:
    assert dates.parse("%Y-%m-%d", text) is None
    assert np.isnan(dates.parse_series("%Y-%m-%d", pl.Series([text]))).all()


@pytest.mark.parametrize(
    ("format", "message"),
    [("", "needs a year"), ("%d/%m", "needs a year"), ("%Y %Y", "twice"), ("%Y %y-%m", "twice"),
     ("%Y-%m-%d %I:%M", "%I needs %p"), ("%Y-%d", "needs a month"), ("%Y %A", "%A is not"),
     ("%Y-%m %H", "needs a day"), ("%Y-%m-%d %M", "needs an hour"), ("%Y-%m %", "ends in %"),
     ("%Y %m %q", "twice")],
)  # fmt: skip
def test_what_is_no_format_is_refused(format: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dates.pattern(format)


@pytest.mark.parametrize("format", [*FORMATS, *ODD_FORMATS, "%d %B %Y %I:%M:%S.%f %p %z"])
def test_reading_a_date_takes_linear_time(format: str) -> None:
    for form in dates.patterns(format):
        assert is_linear(form.pattern, whole=True)


def test_the_schema_reads_a_date_alike_in_every_spelling() -> None:
    feature = Feature("when", "date", nullable=True, format="%d/%m/%Y", missing_words=("n/a",))
    expected = seconds(datetime(2024, 1, 31))
    texts = ["31/01/2024", " 2024-01-31\t", "2024-01-31T00:00Z"]
    assert [parse_text(feature, text) for text in texts] == [expected] * 3
    assert [parse_json(feature, text) for text in texts] == [expected] * 3
    values, doubtful = Series((feature,)).parse(feature, pl.Series([*texts, "", "N/A"]))
    assert doubtful is None
    np.testing.assert_array_equal(values, [expected] * 3 + [math.nan] * 2)
    for missing in (parse_text(feature, " "), parse_text(feature, "N/A"), parse_json(feature, None)):
        assert missing != missing


@pytest.mark.parametrize(
    "value", ["31/02/2024", "01/31/2024", "soon", "9" * 5000, 20240131, True, ["2024-01-31"]]
)
def test_a_rule_shows_how_to_write_a_date_and_never_the_value(value: object) -> None:
    feature = Feature("when", "date", format="%d/%m/%Y")
    with pytest.raises(InvalidValue) as raised:
        parse_json(feature, value)
    assert raised.value.code == "not_a_date"
    assert re.search("31/01/2024, or in ISO 8601|as a JSON string", raised.value.rule)
    assert str(value) not in raised.value.rule
