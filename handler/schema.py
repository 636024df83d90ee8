"""What the model takes, in every spelling: query text, CSV cells and JSON become one record.

A record is a tuple in feature order: a float for ``integer``, ``number``, ``boolean`` and ``date`` (NaN
where missing; a date is seconds, see ``handler.dates``), a string for ``category`` and ``text`` (empty
where missing). Text and JSON differ only in what spells a value; the rules and their codes are the same:

``missing``, ``unknown_field``, ``repeated``, ``not_a_number``, ``not_an_integer``, ``not_a_boolean``,
``not_a_date``, ``not_a_string``, ``not_finite``, ``out_of_range``, ``unknown_category``. What they cost
grows no faster than the text that is read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from handler.errors import LONGEST_NAME, InvalidRecords, Problem, Problems
from handler.manifest import Feature, Kind, Manifest
from handler.typed import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from typing import TypeVar

    from handler.spelling import Spelling

    _T = TypeVar("_T")
Value = float | str
Record = tuple[Value, ...]
#: One column per feature, by name: a float64 array with NaN where missing, ``categories.Coded``, or an
#: array of ``str`` objects, as training has those of categories too.
Columns = Mapping[str, Any]

#: What ``is_number`` says of one text, as a pattern for columns of them. No two repeats that could share
#: digits stand side by side, so that a text that does not match is refused in one pass.
NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_OF_NUMBERS = frozenset("0123456789+-.eE")
#: Characters of a text in which a number or a boolean is looked for, blanks around it left out.
LONGEST_VALUE = 100
#: Characters of the longest free text; a vectorizer takes about 20 bytes and a microsecond for each.
LONGEST_TEXT = 1_000_000
#: Characters of the longest name for which a feature of a similar name is looked for.
LONGEST_HINTED = 40
NOT_FINITE = frozenset({"nan", "inf", "infinity"})
BLANKS = " \t"
BOOLEANS: Mapping[str, float] = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), 1.0),
    **dict.fromkeys(("false", "f", "no", "n", "0"), 0.0),
}
#: Booleans as files mostly spell them: in lower case, upper case, or with a capital letter.
SPELLINGS: Mapping[str, float] = {
    spelled: value
    for word, value in BOOLEANS.items()
    for spelled in (word, word.upper(), word.capitalize())
}
#: Beyond these a double is not exactly the integer, and a tree's float32 is not finite.
LARGEST_INTEGER = 2.0**53 - 1
LARGEST_NUMBER = 3.4028234663852886e38

MEANING: Mapping[Kind, str] = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "category": "a text",
    "text": "free text",
    "date": "a date",
}


def clean_name(cell: str) -> str:
    """A header cell as a feature's name: without blanks around it, a byte order mark or a stray quote.

    A stray quote is an apostrophe at one end only, as in the first header cell ``'age``.
    """
    name = cell.strip().removeprefix("\ufeff").strip()
    if name.startswith("'") != name.endswith("'"):
        name = name.strip("'").strip()
    return name


class InvalidValue(ValueError):
    """One value that a feature does not take; ``rule`` completes "'age' ..." without the value."""

    def __init__(self, code: str, rule: str) -> None:
        self.code = code
        self.rule = rule
        super().__init__(rule)


def problem(feature: Feature, error: InvalidValue) -> Problem:
    """What is wrong with a value that the feature does not take."""
    shown = feature.name[:LONGEST_NAME]
    return Problem(shown, error.code, f"'{shown}' {error.rule}")


def parse_text(feature: Feature, text: str) -> Value:
    """The value that a query parameter or CSV cell spells; raises ``InvalidValue``."""
    if feature.is_text:
        return _text(feature, text)
    text = text.strip(BLANKS)
    if not text:
        return _missing(feature)
    try:
        if feature.kind == "date":
            return _date(feature, text)
        return _boolean(text) if feature.kind == "boolean" else _spelled(feature, text)
    except InvalidValue:
        if _is_missing_word(feature, text):
            return _missing(feature)
        raise


def _date(feature: Feature, text: str) -> float:
    """The seconds that a text without blanks around it states."""
    from handler import dates  # which few models need

    value = dates.parse(feature.format, text) if len(text) <= LONGEST_VALUE else None
    if value is None:
        raise InvalidValue("not_a_date", f"must be {dates.described(feature.format)}")
    return value


def _spelled(feature: Feature, text: str) -> float:
    """The number that a text without blanks around it spells."""
    if len(text) > LONGEST_VALUE:
        rule = f"must be {MEANING[feature.kind]}, of at most {LONGEST_VALUE} characters"
        raise InvalidValue("not_a_number", rule)
    spelling = None if feature.format is None else spelling_of(feature)
    plain = spelling.plain(text) if spelling else text if is_number(text) else None
    if plain is not None:
        return _number(feature, float(plain))
    if text.lstrip("+-").lower() in NOT_FINITE:
        raise InvalidValue("not_finite", "must be a finite number")
    example = spelled_as(feature)
    rule = f"must be {MEANING[feature.kind]}" + (f", spelled as {example}" if example else "")
    raise InvalidValue("not_a_number", rule)


def is_number(text: str) -> bool:
    """Whether a text is a number: ASCII digits, no digit separators, no blanks, neither NaN nor infinity.

    A first prediction would wait until the pattern ``NUMBER`` is compiled.
    """
    if not _OF_NUMBERS.issuperset(text):
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True


def spelled_as(feature: Feature) -> str | None:
    """How text spells the number 1234.5, or the integer 1234, where it is not plain."""
    spelling = spelling_of(feature)
    return spelling and spelling.spelled(1234 if feature.kind == "integer" else 1234.5)


def to_text(feature: Feature, value: object) -> str:
    """A value as JSON has it, as ``parse_text`` reads it: a query parameter or a CSV cell."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    spelling = spelling_of(feature)
    return spelling.spelled(value) if spelling and isinstance(value, int | float) else str(value)


def spelling_of(feature: Feature) -> Spelling | None:
    """How text spells the feature's numbers; None where they are plain, or where it has none."""
    if feature.format is None or feature.kind not in ("integer", "number"):
        return None
    from handler.spelling import spelling  # which few models need

    return spelling(feature.format)


def _is_missing_word(feature: Feature, text: str) -> bool:
    return feature.nullable and text.lower() in feature.missing_words


def parse_json(feature: Feature, value: object) -> Value:
    """The value that a JSON value states; raises ``InvalidValue``. Text is not a number here."""
    if value is None:
        return _missing(feature)
    if feature.is_text:
        if not isinstance(value, str):
            raise InvalidValue("not_a_string", "must be a JSON string")
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise InvalidValue("not_a_string", "must be a text, without half of a surrogate pair")
        return _text(feature, value)
    if feature.kind == "boolean":
        if isinstance(value, bool):
            return float(value)
        if isinstance(value, str):
            return _boolean(value.strip(BLANKS))
        return _boolean(str(int(value)) if value in (0, 1) else "")
    if feature.kind == "date":
        if not isinstance(value, str):
            raise InvalidValue("not_a_date", f"must be {MEANING[feature.kind]}, as a JSON string")
        return parse_text(feature, value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValue("not_a_number", f"must be {MEANING[feature.kind]}, as a JSON number")
    try:
        return _number(feature, float(value))
    except OverflowError as error:
        raise _out_of_range(feature) from error


def to_json(feature: Feature, value: Value) -> str | bool | int | float | None:
    """A record's value as a JSON request states it, so that ``parse_json`` reads it back."""
    if isinstance(value, str):
        return value or None
    if math.isnan(value):
        return None
    if feature.kind == "boolean":
        return bool(value)
    if feature.kind == "date":
        from handler import dates  # which few models need

        return dates.written(feature.format, value)
    return int(value) if feature.kind == "integer" else value


def _check_id(value: object) -> None:
    """Raise ``InvalidValue`` for what an answer must not repeat: anything nested, NaN and infinity."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidValue("not_finite", "must be a finite number")
    if not isinstance(value, str | int | float | None):
        raise InvalidValue("not_a_string", "must be a JSON string, number, true, false or null")


def _missing(feature: Feature) -> Value:
    if not feature.nullable:
        raise InvalidValue("missing", "is missing")
    return "" if feature.is_text else math.nan


def _boolean(text: str) -> float:
    try:
        return BOOLEANS[text[: LONGEST_VALUE + 1].lower()]
    except KeyError as error:
        raise InvalidValue("not_a_boolean", "must be true or false") from error


def _text(feature: Feature, text: str) -> str:
    if feature.kind == "category":
        return _category(feature, text)
    if not text:
        _missing(feature)
    elif len(text) > LONGEST_TEXT:
        raise InvalidValue("out_of_range", f"must have at most {LONGEST_TEXT:,} characters")
    return text


def _category(feature: Feature, text: str) -> str:
    """A category without the blanks around it, or as it stands where the model knows it with them."""
    category = text.strip(BLANKS)
    missing = not category or _is_missing_word(feature, category)
    if feature.open and not missing and category == text:
        return text
    if text in feature.categories:
        return text
    if missing:
        return str(_missing(feature))
    if not feature.open and category not in feature.categories:
        raise InvalidValue("unknown_category", "is not one of the categories that the model knows")
    return category


def _number(feature: Feature, value: float) -> float:
    if not math.isfinite(value):
        raise InvalidValue("not_finite", "must be a finite number")
    if feature.kind == "integer":
        if not value.is_integer():
            raise InvalidValue("not_an_integer", "must be a whole number")
        if abs(value) > LARGEST_INTEGER:
            raise _out_of_range(feature)
    elif abs(value) > LARGEST_NUMBER:
        raise _out_of_range(feature)
    return value


def _out_of_range(feature: Feature) -> InvalidValue:
    limit = "2^53" if feature.kind == "integer" else "3.4e38"
    return InvalidValue("out_of_range", f"must lie between -{limit} and {limit}")


def _sound(record: Record, problems: Problems) -> Record:
    if problems:
        raise InvalidRecords(problems.listed, problems.more)
    return record


class Schema:
    """The ordered features of one model, and the three readers of a record."""

    def __init__(
        self, features: Sequence[Feature], ids: Sequence[str] = (), ignored: Iterable[str] = ()
    ) -> None:
        self.features = tuple(features)
        self.ids = tuple(ids)
        self.ignored = frozenset(ignored)
        self.names = tuple(feature.name for feature in self.features)
        self._needed = sum(not feature.nullable for feature in self.features)
        self._by_name = {feature.name: feature for feature in self.features}
        self._ranges = tuple(
            (position, feature.name, feature.minimum, feature.maximum)
            for position, feature in enumerate(self.features)
            if feature.minimum is not None and feature.maximum is not None
        )
        self._known = tuple(
            (position, feature.name, frozenset(("", *feature.categories)))
            for position, feature in enumerate(self.features)
            if feature.open and feature.categories
        )

    @classmethod
    def of(cls, manifest: Manifest) -> Schema:
        """The schema that a bundle's manifest states."""
        return cls(manifest.features, manifest.ids, manifest.ignored)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def carries(self, name: str) -> bool:
        """Whether a record may have a member of that name: a feature, an id, or one that is ignored."""
        return name in self._by_name or name in self.ids or name in self.ignored

    def from_query(self, pairs: Iterable[tuple[str, str]]) -> Record:
        """A record from decoded query parameters; raises ``InvalidRecords`` with all problems."""
        values: dict[str, str] = {}
        problems = Problems()
        for name, text in pairs:
            if name in values and name not in self.ignored:
                shown = name[:LONGEST_NAME]
                problems.add(shown, "repeated", f"'{shown}' is given more than once")
            values[name] = text
        return _sound(self._record(values, parse_text, problems), problems)

    def from_json(self, value: object, index: int | None = None) -> Record:
        """A record from a JSON object; ``index`` is its place in a list.

        Raises ``InvalidRecords`` with all problems.
        """
        problems = Problems()
        return _sound(self.judge_json(value, problems, index) or (), problems)

    def judge_json(self, value: object, problems: Problems, index: int | None = None) -> Record | None:
        """``from_json``, but what is wrong is added to ``problems``, and None returned."""
        if not isinstance(value, Mapping):
            problems.add("", "not_a_record", "a record must be a JSON object of features", index)
            return None
        if problems.full:
            problems.more += self._count(value)
            return None
        before = len(problems.listed)
        for name in self.ids:
            try:
                _check_id(value.get(name))
            except InvalidValue as error:
                problems.add(name, error.code, f"'{name[:LONGEST_NAME]}' {error.rule}", index)
        record = self._record(value, parse_json, problems, index)
        return record if len(problems.listed) == before else None

    def _count(self, values: Mapping[str, object]) -> int:
        """How many problems a JSON record has, in time that grows with its members, not the features."""
        count, absent = 0, self._needed
        for name, value in values.items():
            feature = self._by_name.get(name)
            try:
                if feature is not None:
                    absent -= not feature.nullable
                    parse_json(feature, value)
                elif name in self.ids:
                    _check_id(value)
                elif name not in self.ignored:
                    count += 1
            except InvalidValue:
                count += 1
        return count + absent

    def from_cells(self, cells: Mapping[str, str]) -> Record:
        """A record from CSV cells by feature name; raises ``InvalidRecords`` with all problems."""
        problems = Problems()
        return _sound(self._record(cells, parse_text, problems), problems)

    def _record(
        self,
        values: Mapping[str, _T],
        parse: Callable[[Feature, _T], Value],
        problems: Problems,
        index: int | None = None,
    ) -> Record:
        """The values that are sound: a whole record where nothing was added to ``problems``."""
        record = []
        for feature in self.features:
            try:
                if feature.name in values:
                    record.append(parse(feature, values[feature.name]))
                else:
                    record.append(_missing(feature))
            except InvalidValue as error:
                problems.add(*problem(feature, error)[:3], index)
        if len(values) > len(self.features) or not values.keys() <= self._by_name.keys():
            for name in values:
                if not self.carries(name):
                    shown, hint = name[:LONGEST_NAME], ""
                    if problems.hints and len(name) <= LONGEST_HINTED:
                        hint = self._hint(name)
                        problems.hints -= 1
                    message = f"'{shown}' is not a feature of this model{hint}"
                    problems.add(shown, "unknown_field", message, index)
        return tuple(record)

    def as_json(self, record: Record) -> dict[str, Any]:
        """A record as a JSON request states it."""
        return {
            feature.name: to_json(feature, value)
            for feature, value in zip(self.features, record, strict=True)
        }

    def carried(self, values: Mapping[str, object]) -> dict[str, dict[str, object]]:
        """The ``ids`` of an answer, as the request has them; nothing where it has none."""
        ids = {name: values[name] for name in self.ids if name in values}
        return {"ids": ids} if ids else {}

    def _hint(self, name: str) -> str:
        """The question whether a feature of a similar name was meant, if there is one."""
        import difflib

        names = {known.lower(): known for known in self.names if len(known) <= 2 * LONGEST_HINTED}
        near = difflib.get_close_matches(name.lower(), names, 1)
        return f"; did you mean '{names[near[0]]}'?" if near else ""

    def outside(self, record: Sequence[Any]) -> list[str]:
        """The features of which a sound record has a value that training did not see the like of.

        That is a number or a date beyond its range, or a category that is not known. A missing value and
        free text never are.
        """
        beyond = []
        for position, name, low, high in self._ranges:
            value = record[position]
            if not low <= value <= high and value == value:  # a missing one equals nothing
                beyond.append(name)
        for position, name, known in self._known:
            if record[position] not in known:
                beyond.append(name)
        return beyond

    def columns(self, records: Sequence[Record]) -> Columns:
        """Records side by side, as a scorer takes them."""
        try:
            import numpy as np

            from handler.categories import coded, levels_of
        except ModuleNotFoundError:  # the zip of the request function
            from handler.plain import Column

            sides = [Column(record[position] for record in records) for position in range(len(self.names))]
            return cast("Columns", dict(zip(self.names, sides, strict=True)))

        columns: dict[str, Any] = {}
        for position, feature in enumerate(self.features):
            values = [record[position] for record in records]
            if feature.kind == "category":
                columns[feature.name] = coded(levels_of(feature), map(str, values))
            else:
                columns[feature.name] = np.array(values, dtype=object if feature.is_text else np.float64)
        return columns
