"""What a table is read into: its layout, its blocks, and rows that are sound or rejected with a reason."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from handler.errors import InvalidRecords
from handler.schema import Columns, Record, Schema

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

#: The columns that scoring adds to the sound rows, shape (n,) each; texts as a list.
Outputs = Sequence["np.ndarray | list[str]"]


@dataclass(frozen=True, slots=True)
class Layout:
    """What the header says: its cells as they stand, the delimiter, and the position of each feature."""

    header: tuple[str, ...]
    delimiter: str
    positions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records, and the number of the line on which the first one starts."""

    data: bytes
    line: int


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was not scored: ``index`` counts the block's rows from 0, ``row`` is its text."""

    index: int
    line: int
    column: str
    code: str
    reason: str
    row: str

    @property
    def cells(self) -> tuple[object, ...]:
        """The reject as a row of ``rejected.csv``."""
        return self.line, self.column, self.code, self.reason, self.row


@dataclass(frozen=True, slots=True)
class Rows:
    """A block that was read: ``columns`` of the sound rows go to the scorer, the others are ``rejects``.

    ``total``: the records of the block. ``columns``: one array per feature over the sound rows.
    ``text``: the cells of every record, rejected ones included (a list), or the sound rows as a frame:
    one column of comma-separated lines, or one column per cell. ``records`` gives the line and the text of
    every record again.
    """

    total: int
    columns: Columns
    rejects: tuple[Reject, ...]
    text: list[list[str]] | pl.DataFrame
    records: Callable[[], Iterable[tuple[int, str]]]

    @property
    def rejected(self) -> frozenset[int]:
        """The indices of the rejected rows."""
        return frozenset(reject.index for reject in self.rejects)

    def without(self, out: np.ndarray, code: str, reason: str) -> Rows:
        """The rows, with the sound ones that ``out``, shape (sound rows,), marks turned into rejects."""
        rejected = self.rejected
        sound = (index for index in range(self.total) if index not in rejected)
        marked = set(itertools.compress(sound, out.tolist()))
        more = (
            Reject(index, line, "", code, reason, row)
            for index, (line, row) in enumerate(self.records())
            if index in marked
        )
        return Rows(
            self.total,
            {name: values[~out] for name, values in self.columns.items()},
            tuple(sorted([*self.rejects, *more], key=lambda reject: reject.index)),
            self.text if isinstance(self.text, list) else self.text.filter(~out),
            self.records,
        )


def judge(
    index: int, line: int, row: str, cells: Sequence[str], layout: Layout, schema: Schema
) -> Record | Reject:
    """The record that a row's cells spell, or why there is none; ``row`` is its text."""
    if len(cells) != len(layout.header):
        return wrong_width(index, line, row, len(cells), len(layout.header))
    try:
        return schema.from_cells({name: cells[position] for name, position in layout.positions.items()})
    except InvalidRecords as error:
        return refused(index, line, row, error)


def wrong_width(index: int, line: int, row: str, cells: int, columns: int) -> Reject:
    """The reject of a row that has so many cells, under a header that has so many columns."""
    code = "too_few_cells" if cells < columns else "too_many_cells"
    return Reject(index, line, "", code, f"the row has {cells} cells and the header {columns}", row)


def refused(index: int, line: int, row: str, error: InvalidRecords) -> Reject:
    """The reject of a row with cells that the schema refuses."""
    first = error.problems[0]
    return Reject(index, line, first.field, first.code, str(error), row)
