"""What the model takes, and every way to say it: query text, CSV cells and JSON become one record.

A record is a tuple in feature order: a float for ``integer``, ``number`` and ``boolean`` (NaN where
missing), a string for ``category`` (empty where missing). Text and JSON differ only in what spells
a value; the rules and their codes are the same:

``missing``, ``unknown_field``, ``repeated``, ``not_a_number``, ``not_an_integer``, ``not_a_boolean``,
``not_a_string``, ``not_finite``, ``out_of_range``, ``unknown_category``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from handler.bundle import Feature, Kind, Manifest
from handler.errors import InvalidRecords, Problem

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

_T = TypeVar("_T")
Value = float | str
Record = tuple[Value, ...]
#: One array a feature, by name: float64 with NaN where missing, or ``str`` objects.
Columns = Mapping[str, "np.ndarray"]

#: What spells a number in text: ASCII digits, no digit separators, blanks around it allowed.
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)
NOT_FINITE = frozenset({"nan", "inf", "infinity"})
BLANKS = " \t"
BOOLEANS: Mapping[str, float] = {
    **dict.fromkeys(("true", "t", "yes", "y", "1"), 1.0),
    **dict.fromkeys(("false", "f", "no", "n", "0"), 0.0),
}
#: Beyond these a double is not exactly the integer, and a tree's float32 is not finite.
LARGEST_INTEGER = 2.0**53 - 1
LARGEST_NUMBER = 3.4028234663852886e38

MEANING: Mapping[Kind, str] = {
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "category": "a text",
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


def parse_text(feature: Feature, text: str) -> Value:
    """The value that a query parameter or CSV cell spells; raises ``InvalidValue``."""
    if feature.kind == "category":
        return _category(feature, text)
    text = text.strip(BLANKS)
    if not text:
        return _missing(feature)
    if feature.kind == "boolean":
        return _boolean(text)
    if NUMBER.fullmatch(text):
        return _number(feature, float(text))
    if text.lstrip("+-").lower() in NOT_FINITE:
        raise InvalidValue("not_finite", "must be a finite number")
    raise InvalidValue("not_a_number", f"must be {MEANING[feature.kind]}")


def parse_json(feature: Feature, value: object) -> Value:
    """The value that a JSON value states; raises ``InvalidValue``. Text is no number here."""
    if value is None:
        return _missing(feature)
    if feature.kind == "category":
        if not isinstance(value, str):
            raise InvalidValue("not_a_string", "must be a JSON string")
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise InvalidValue("not_a_string", "must be a text, without half of a surrogate pair")
        return _category(feature, value)
    if feature.kind == "boolean":
        if isinstance(value, bool):
            return float(value)
        if isinstance(value, str):
            return _boolean(value.strip(BLANKS))
        return _boolean(str(int(value)) if value in (0, 1) else "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidValue("not_a_number", f"must be {MEANING[feature.kind]}, as a JSON number")
    try:
        return _number(feature, float(value))
    except OverflowError as error:
        raise _out_of_range(feature) from error


def _check_id(value: object) -> None:
    """Raise ``InvalidValue`` for what an answer is not to repeat: anything nested, and no number."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidValue("not_finite", "must be a finite number")
    if not isinstance(value, str | int | float | None):
        raise InvalidValue("not_a_string", "must be a JSON string, number, true, false or null")


def _missing(feature: Feature) -> Value:
    if not feature.nullable:
        raise InvalidValue("missing", "is missing")
    return "" if feature.kind == "category" else math.nan


def _boolean(text: str) -> float:
    try:
        return BOOLEANS[text.lower()]
    except KeyError as error:
        raise InvalidValue("not_a_boolean", "must be true or false") from error


def _category(feature: Feature, text: str) -> str:
    if not text:
        _missing(feature)
    elif not feature.open and text not in feature.categories:
        raise InvalidValue("unknown_category", "is none of the categories that the model knows")
    return text


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


class Schema:
    """The ordered features of one model, and the three readers of a record."""

    def __init__(self, features: Sequence[Feature], ids: Sequence[str] = ()) -> None:
        self.features = tuple(features)
        self.ids = tuple(ids)
        self.names = tuple(feature.name for feature in self.features)
        self._by_name = {feature.name: feature for feature in self.features}

    @classmethod
    def of(cls, manifest: Manifest) -> Schema:
        """The schema that a bundle's manifest states."""
        return cls(manifest.features, manifest.ids)

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def from_query(self, pairs: Iterable[tuple[str, str]]) -> Record:
        """A record from decoded query parameters; raises ``InvalidRecords`` with all problems."""
        values: dict[str, str] = {}
        problems = []
        for name, text in pairs:
            if name in values:
                problems.append(Problem(name, "repeated", f"'{name}' is given more than once"))
            values[name] = text
        return self._record(values, parse_text, problems)

    def from_json(self, value: object, index: int | None = None) -> Record:
        """A record from a JSON object; ``index`` is its place in a list.

        Raises ``InvalidRecords`` with all problems.
        """
        if not isinstance(value, Mapping):
            raise InvalidRecords(
                [Problem("", "not_a_record", "a record must be a JSON object of features", index)]
            )
        problems = []
        for name in self.ids:
            try:
                _check_id(value.get(name))
            except InvalidValue as error:
                problems.append(Problem(name, error.code, f"'{name}' {error.rule}", index))
        return self._record(value, parse_json, problems, index)

    def from_cells(self, cells: Mapping[str, str]) -> Record:
        """A record from CSV cells by feature name; raises ``InvalidRecords`` with all problems."""
        return self._record(cells, parse_text, [])

    def _record(
        self,
        values: Mapping[str, _T],
        parse: Callable[[Feature, _T], Value],
        problems: list[Problem],
        index: int | None = None,
    ) -> Record:
        record = []
        for feature in self.features:
            try:
                if feature.name in values:
                    record.append(parse(feature, values[feature.name]))
                else:
                    record.append(_missing(feature))
            except InvalidValue as error:
                message = f"'{feature.name}' {error.rule}"
                problems.append(Problem(feature.name, error.code, message, index))
        if len(values) > len(self.features) or not values.keys() <= self._by_name.keys():
            problems.extend(
                self._unknown(name, index) for name in values if name not in self and name not in self.ids
            )
        if problems:
            raise InvalidRecords(problems)
        return tuple(record)

    def carried(self, values: Mapping[str, object]) -> dict[str, dict[str, object]]:
        """The ``ids`` of an answer, as the request has them; nothing where it has none."""
        ids = {name: values[name] for name in self.ids if name in values}
        return {"ids": ids} if ids else {}

    def _unknown(self, name: str, index: int | None) -> Problem:
        import difflib

        near = difflib.get_close_matches(name.lower(), [each.lower() for each in self.names], 1)
        meant = next((each for each in self.names if near and each.lower() == near[0]), None)
        hint = f"; did you mean '{meant}'?" if meant else ""
        shown = name[:100]
        return Problem(shown, "unknown_field", f"'{shown}' is no feature of this model{hint}", index)

    def columns(self, records: Sequence[Record]) -> Columns:
        """Records side by side, as a scorer takes them."""
        import numpy as np

        return {
            feature.name: np.array(
                [record[place] for record in records],
                dtype=object if feature.kind == "category" else np.float64,
            )
            for place, feature in enumerate(self.features)
        }

    def parse_series(self, feature: Feature, texts: pl.Series) -> tuple[np.ndarray, np.ndarray | None]:
        """``parse_text`` over a column of cells at once, or of numbers that polars has read already.

        Returns the values and a mask of the rows to look at again, None where every row is sound.
        The mask may hold a row that ``parse_text`` accepts, and never misses one that it refuses:
        the caller asks ``parse_text`` about each.
        """
        import numpy as np
        import polars as pl

        if feature.kind == "category":
            if feature.open and feature.nullable:
                return texts.to_numpy(), None
            known = [*feature.categories, *([""] if feature.nullable else [])]
            sound = texts != "" if feature.open else texts.is_in(known)
            return texts.to_numpy(), None if sound.all() else (~sound).to_numpy()
        cells = texts if texts.dtype.is_numeric() else texts.str.strip_chars(BLANKS)
        if feature.kind == "boolean":
            words = cells.str.to_lowercase()
            numbers = words.replace_strict(BOOLEANS, default=None, return_dtype=pl.Float64)
        else:
            numbers = cells.cast(pl.Float64, strict=False)
        values = numbers.to_numpy()  # a null is NaN here
        limit = LARGEST_INTEGER if feature.kind == "integer" else LARGEST_NUMBER
        doubtful = ~(np.abs(values) <= limit)
        if feature.kind == "integer" and not texts.dtype.is_integer():
            doubtful |= np.floor(values) != values
        if feature.nullable:
            missing = cells.is_null() if cells.dtype.is_numeric() else cells == ""
            doubtful &= ~missing.to_numpy()
        return values, doubtful if doubtful.any() else None
