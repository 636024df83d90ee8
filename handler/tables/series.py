"""Columns of cells, each read at once: what ``schema`` says of one value, for many thousand.

A cell about which polars and numpy leave a doubt is asked of ``schema.parse_text``. Neither is imported
before it is needed: the kernel's numbers need no polars.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from weakref import WeakKeyDictionary

from handler.manifest import Feature
from handler.schema import (
    BLANKS,
    LARGEST_INTEGER,
    LARGEST_NUMBER,
    LONGEST_TEXT,
    LONGEST_VALUE,
    SPELLINGS,
    InvalidValue,
    Schema,
    parse_text,
    spelling_of,
)
from handler.typed import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from handler.categories import Levels


class Series:
    """Reads columns of features. What is made for one is kept: a category may have many thousand levels."""

    def __init__(self, features: Sequence[Feature]) -> None:
        self._features = tuple(features)
        self._levels: dict[str, Levels] = {}
        self._texts: dict[str, tuple[str, ...]] = {}
        self._codes: dict[str, Mapping[str, int]] = {}

    def codes(self, cells: pl.DataFrame, columns: Mapping[str, str]) -> dict[str, np.ndarray]:
        """The codes of the cells of categories and booleans among the texts that are known for them.

        ``columns``: by the feature's name, that of its column. All are looked up at once, since polars
        takes longer to begin than for one of them. What is not known as it stands is -1.
        """
        coded = [each for each in self._features if each.kind in ("category", "boolean")]
        codes = cells.select(
            self._levels_of(each).code(columns[each.name]).alias(each.name) for each in coded
        )
        return {each.name: codes[each.name].to_numpy(writable=True) for each in coded}

    def known(self, feature: Feature) -> tuple[str, ...]:
        """The texts that ``codes`` knows for the feature; none unless it is a category or a boolean."""
        if feature.kind == "boolean":
            return tuple(SPELLINGS)
        if feature.kind != "category":
            return ()
        if feature.name not in self._texts:
            from handler.categories import levels_of

            self._texts[feature.name] = levels_of(feature)
        return self._texts[feature.name]

    def code_of(self, feature: Feature) -> Mapping[str, int]:
        """The code of each text that is ``known`` for the feature."""
        if feature.name not in self._codes:
            self._codes[feature.name] = {text: code for code, text in enumerate(self.known(feature))}
        return self._codes[feature.name]

    def of_codes(self, feature: Feature, values: np.ndarray) -> Any:
        """A column as ``Columns`` has it, of the codes of ``known`` texts; one of doubles as it is."""
        if feature.kind == "boolean":
            return _booleans(values)
        if feature.kind != "category":
            return values
        from handler.categories import Coded

        return Coded(values, self.known(feature))

    def _levels_of(self, feature: Feature) -> Levels:
        from handler.categories import Levels

        if feature.name not in self._levels:
            self._levels[feature.name] = Levels(self.known(feature))
        return self._levels[feature.name]

    def parse(
        self, feature: Feature, texts: pl.Series, codes: np.ndarray | None = None
    ) -> tuple[Any, np.ndarray | None]:
        """``parse_text`` over a column of cells at once, or of numbers that polars has read already.

        ``codes``: of a category or of booleans, as ``codes`` gives them; they are changed.
        Returns the values, as ``Columns`` has them, and a mask of the rows to look at again, None where
        every row is sound. The mask may hold a row that ``parse_text`` accepts, and never misses one that
        it refuses: the caller asks ``parse_text`` about each. Of a category it holds only what is refused.
        """
        if feature.kind == "text":
            sound = texts.str.len_chars() <= LONGEST_TEXT
            if not feature.nullable:
                sound &= texts != ""
            return texts.to_numpy(), None if sound.all() else (~sound).to_numpy()
        if feature.kind not in ("category", "boolean"):
            return _parse_numbers(feature, texts)
        levels = self._levels_of(feature)
        if codes is None:
            codes = levels.codes(texts)
        if feature.kind == "boolean":
            return _parse_booleans(feature, texts, codes)
        from handler.categories import read

        return read(feature, levels, BLANKS, texts, codes)


_SERIES: WeakKeyDictionary[Schema, Series] = WeakKeyDictionary()


def series_of(schema: Schema) -> Series:
    """What reads the columns of a schema's features, the same whenever it is asked for."""
    found = _SERIES.get(schema)
    return _SERIES.setdefault(schema, Series(schema.features)) if found is None else found


def _booleans(codes: np.ndarray) -> np.ndarray:
    """What ``SPELLINGS`` says of its texts, by their codes; NaN for -1."""
    import numpy as np

    return np.asarray(np.array([*SPELLINGS.values(), math.nan])[codes])


def _parse_booleans(
    feature: Feature, texts: pl.Series, codes: np.ndarray
) -> tuple[np.ndarray, np.ndarray | None]:
    """``Series.parse`` of booleans; ``codes``: indices into ``SPELLINGS``, or -1."""
    import numpy as np

    from handler.categories import distinct

    values = _booleans(codes)
    strange = codes < 0
    if not strange.any():
        return values, None
    which, each = distinct(texts.filter(strange))
    answers = np.full(len(each), math.nan)
    doubtful, refused = np.zeros(len(codes), bool), np.zeros(len(each), bool)
    for index, text in enumerate(each):
        try:
            answers[index] = parse_text(feature, text)
        except InvalidValue:
            refused[index] = True
    values[strange], doubtful[strange] = answers[which], refused[which]
    return values, doubtful if refused.any() else None


def sound_columns(features: Sequence[Feature], numbers: np.ndarray) -> np.ndarray:
    """Which columns of ``numbers``, shape (rows, features), hold sound values and nothing else.

    The features are integers or numbers, those of integers have been read as whole ones, and NaN stands for
    what was missing or is not a number. For hundreds of columns this is ten times as fast as
    ``Series.parse``.
    """
    import numpy as np

    limits = np.array([LARGEST_INTEGER if each.kind == "integer" else LARGEST_NUMBER for each in features])
    low, high = numbers.min(axis=0, initial=0), numbers.max(axis=0, initial=0)
    return np.asarray((-limits <= low) & (high <= limits))


def _parse_numbers(feature: Feature, texts: pl.Series) -> tuple[np.ndarray, np.ndarray | None]:
    """``Series.parse`` of numbers and dates."""
    import numpy as np
    import polars as pl

    cells = texts if texts.dtype.is_numeric() else texts.str.strip_chars(BLANKS)
    if feature.kind == "date":
        from handler import dates

        numbers = pl.Series(dates.parse_series(feature.format, cells))
    elif (spelling := spelling_of(feature)) and not cells.dtype.is_numeric():
        numbers = spelling.doubles(cells)
    else:
        numbers = cells.cast(pl.Float64, strict=False)
    values = numbers.to_numpy()  # a null is NaN here
    limit = LARGEST_INTEGER if feature.kind == "integer" else LARGEST_NUMBER
    whole = feature.kind != "integer" or texts.dtype.is_integer()
    typed = texts.dtype.is_numeric() and whole and len(values) > 0
    if typed and -limit <= values.min() <= values.max() <= limit:
        return values, None
    doubtful = ~(np.abs(values) <= limit)
    if not whole:
        doubtful |= np.floor(values) != values
    if feature.nullable:
        missing = cells.is_null() if cells.dtype.is_numeric() else cells == ""
        doubtful &= ~missing.to_numpy()
    if not cells.dtype.is_numeric():
        doubtful |= (cells.str.len_bytes() > LONGEST_VALUE).to_numpy()
        if feature.nullable and feature.missing_words and doubtful.any():
            odd = np.flatnonzero(doubtful)
            words = cells.filter(pl.Series(doubtful)).str.to_lowercase()
            missing = odd[words.is_in(feature.missing_words).to_numpy()]
            values = values.copy()
            values[missing], doubtful[missing] = math.nan, False
    return values, doubtful if doubtful.any() else None
