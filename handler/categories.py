"""A column of a category as codes: each text stands once among the levels, and each row has its index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from handler.manifest import Feature

if TYPE_CHECKING:
    import numpy as np
    import polars as pl


class Coded:
    """The texts of a column of n rows; immutable.

    ``codes``: int32, shape (n,), are indices into ``levels``: the feature's own, as ``levels_of`` gives
    them, and then those of the column's texts that the model does not know.
    """

    __slots__ = ("codes", "levels")

    def __init__(self, codes: np.ndarray, levels: tuple[str, ...]) -> None:
        self.codes = codes
        self.levels = levels

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Coded:
        """Some rows, by a slice, a mask or their indices."""
        return Coded(self.codes[rows], self.levels)

    def texts(self) -> np.ndarray:
        """The texts themselves, as objects, shape (n,)."""
        import numpy as np

        return np.asarray(np.array(self.levels, dtype=object)[self.codes])

    def tolist(self) -> list[str]:
        """The texts themselves."""
        return [self.levels[code] for code in self.codes.tolist()]


def levels_of(feature: Feature) -> tuple[str, ...]:
    """A category's own levels: the texts that the model knows, and the empty one, of a missing value."""
    return tuple(dict.fromkeys((*feature.categories, "")))


def coded(levels: tuple[str, ...], texts: Iterable[str]) -> Coded:
    """Texts that are sound as codes; ``levels``: the feature's own."""
    import numpy as np

    index = {level: code for code, level in enumerate(levels)}
    codes = [index.setdefault(text, len(index)) for text in texts]
    return Coded(np.array(codes, np.int32), levels if len(index) == len(levels) else tuple(index))


def texts_of(column: np.ndarray | Coded) -> np.ndarray:
    """The values of a column that are not doubles, as an array of texts, shape (n,)."""
    return column.texts() if isinstance(column, Coded) else column


class Numbering:
    """How a graph numbers a category: its own levels, then ``more`` texts, then one code for any other."""

    def __init__(self, feature: Feature, more: Iterable[str] = ()) -> None:
        self._own = levels_of(feature)
        self._more = {text: len(self._own) + index for index, text in enumerate(more)}

    def codes(self, column: np.ndarray | Coded) -> np.ndarray:
        """The codes of a column, int32, shape (n,)."""
        import numpy as np

        own = len(self._own)
        if not isinstance(column, Coded):
            column = coded(self._own, column)
        if len(column.levels) == own:
            return column.codes
        other = own + len(self._more)
        further = [self._more.get(text, other) for text in column.levels[own:]]
        return np.asarray(np.array([*range(own), *further], np.int32)[column.codes])


class Levels:
    """Distinct texts, each of which has its index as a code."""

    def __init__(self, texts: tuple[str, ...]) -> None:
        import polars as pl

        self.texts = texts
        # As an expression: of a dtype that comes from Python, polars hashes all levels at each cast.
        self._known = pl.dtype_of(pl.lit(pl.Series([None], dtype=pl.Enum(texts))))

    def code(self, column: str) -> pl.Expr:
        """The codes of a column's texts, -1 of those that are not levels as they stand."""
        import polars as pl

        codes = pl.col(column).cast(self._known, strict=False).to_physical()
        return codes.cast(pl.Int32).fill_null(-1)

    def codes(self, texts: pl.Series) -> np.ndarray:
        """The codes of texts, as ``code`` has them."""
        return texts.to_frame("texts").select(self.code("texts")).to_series().to_numpy(writable=True)


def read(
    feature: Feature, own: Levels, blanks: str, cells: pl.Series, codes: np.ndarray
) -> tuple[Coded, np.ndarray | None]:
    """The cells of a category as ``schema.parse_text`` reads them, but each distinct text is judged once.

    ``own``: the feature's levels, and ``codes`` the cells' among them. ``blanks``: what is left out around
    a text. Returns a mask too of the rows that ``parse_text`` refuses, None where there are none.
    """
    levels = own.texts
    if (strange := codes < 0).any():
        which, each = distinct(cells.filter(strange))
        plain = _plain(feature, blanks, each)
        found = own.codes(plain)
        if feature.open and (unknown := found < 0).any():
            found[unknown], more = distinct(plain.filter(unknown))
            found[unknown] += len(levels)
            levels = (*levels, *more.to_list())
        codes[strange] = found[which]
    refused = codes < 0
    if not feature.nullable and "" not in feature.categories:
        refused |= codes == len(own.texts) - 1
    return Coded(codes, levels), refused if refused.any() else None


def _plain(feature: Feature, blanks: str, texts: pl.Series) -> pl.Series:
    """Texts without the blanks around them, and empty where they spell a missing value."""
    import polars as pl

    cells, words = texts.str.strip_chars(blanks), feature.missing_words
    if not feature.nullable or not words:
        return cells
    return pl.Series([""]).zip_with(cells.str.to_lowercase().is_in(words), cells)


def distinct(texts: pl.Series) -> tuple[np.ndarray, pl.Series]:
    """Texts as indices into the distinct ones, and these."""
    import numpy as np
    import polars as pl

    codes = texts.cast(pl.Categorical(pl.Categories.random())).to_physical().to_numpy()
    if not len(codes):
        return codes, texts
    one_of_each = np.empty(codes.max() + 1, np.int64)
    one_of_each[codes] = np.arange(len(codes))
    return codes, texts if len(one_of_each) == len(codes) else texts.gather(one_of_each)
