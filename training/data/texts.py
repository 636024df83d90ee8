"""The texts of a column, each once: most rules ask about texts, and few about rows."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from handler.schema import BLANKS


class Counted(NamedTuple):
    """Different texts, in the order in which they appear, and in how many rows each stands."""

    texts: pl.Series
    counts: np.ndarray

    @property
    def rows(self) -> int:
        return int(self.counts.sum())

    def where(self, chosen: pl.Series) -> Counted:
        """Those of the texts that are chosen."""
        return Counted(self.texts.filter(chosen), self.counts[chosen.to_numpy()])

    def rows_of(self, texts: Collection[str]) -> int:
        """In how many rows one of ``texts`` stands."""
        return int(self.counts[self.texts.is_in(list(texts)).to_numpy()].sum())


class Texts(NamedTuple):
    """A column's cells without the blanks around them; ``codes`` is the index of each row's text."""

    counted: Counted
    codes: np.ndarray

    @classmethod
    def of(cls, cells: pl.Series) -> Texts:
        written, codes = _coded(cells)
        texts = written.str.strip_chars(BLANKS)
        if not (texts == written).all():
            texts, of_written = _coded(texts)
            codes = of_written[codes]
        return cls(Counted(texts, np.bincount(codes, minlength=len(texts))), codes)

    @property
    def different(self) -> pl.Series:
        return self.counted.texts

    def known(self, words: Sequence[str]) -> Counted:
        """The different texts that are neither empty nor one of the words."""
        return self.counted.where(~missing(self.different, words))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """The rows' values, where ``values`` are those of the different texts."""
        spread: np.ndarray = values[self.codes]
        return spread

    def having(self, rows: np.ndarray) -> pl.Series:
        """Which of the different texts stand in one of the rows of a mask."""
        has = np.zeros(len(self.different), bool)
        has[self.codes[rows]] = True
        return pl.Series(has)


def missing(texts: pl.Series, words: Sequence[str]) -> pl.Series:
    """Which of the texts are empty, or one of the words, which are in lower case."""
    return texts.str.to_lowercase().is_in(["", *words])


def _coded(cells: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """The different texts in the order in which they appear, and the index of each row's."""
    different = cells.unique(maintain_order=True)
    return different, cells.cast(pl.Enum(different)).to_physical().to_numpy()
