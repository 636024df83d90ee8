"""What a table is read into: its layout, its blocks, and rows that are sound or rejected with a reason."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from handler.errors import InvalidRecords
from handler.schema import Columns, Record, Schema

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from handler.categories import Coded

#: The columns that scoring adds to the sound rows, shape (n,) each; labels as codes, other texts as a list.
Outputs = Sequence["np.ndarray | Coded | list[str]"]
#: Gives the lines and the texts of some records of a block, by their indices.
At = Callable[[Sequence[int]], tuple[Sequence[int], Sequence[str]]]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What the header says: its cells as they stand, the delimiter, and the position of each feature.

    Two are never equal, so that what was worked out for one is known by it.
    """

    header: tuple[str, ...]
    delimiter: str
    positions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records, and the number of the line on which the first one starts."""

    data: bytes
    line: int


class Refusal(NamedTuple):
    """Why a row is not scored; ``column`` is empty where it is not one cell that is at fault."""

    column: str
    code: str
    reason: str


class Reject(NamedTuple):
    """A row that was not scored; ``row`` is its text."""

    line: int
    column: str
    code: str
    reason: str
    row: str


@dataclass(frozen=True, slots=True)
class Rejects:
    """The rows of a block that were not scored, as columns, since most of a block may be rejected.

    ``indices`` count the block's rows from 0, in ascending order. ``which``: for each of them, the index of
    its refusal in ``refusals``. ``at`` gives the lines and the texts of any rows, by their indices.
    """

    indices: Sequence[int]
    which: Sequence[int]
    refusals: Sequence[Refusal]
    at: At

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[Reject]:
        if not self.indices:
            return iter(())
        each = zip(*self.at(self.indices), self.which, strict=True)
        return (Reject(line, *self.refusals[which], row) for line, row, which in each)

    def by_code(self) -> collections.Counter[str]:
        """How many rows there are of each code."""
        codes: collections.Counter[str] = collections.Counter()
        for which, count in collections.Counter(self.which).items():
            codes[self.refusals[which].code] += count
        return codes


@dataclass(frozen=True, slots=True)
class Lines:
    """Rows as they stand in ``data``, between ``starts`` and ``stops``, shape (rows,): with commas."""

    data: bytes
    starts: np.ndarray
    stops: np.ndarray

    def filter(self, mask: np.ndarray) -> Lines:
        """Those that ``mask``, shape (rows,), keeps."""
        return Lines(self.data, self.starts[mask], self.stops[mask])


@dataclass(frozen=True, slots=True)
class Rows:
    """A block that was read: ``columns`` of the sound rows go to the scorer, the others are ``rejects``.

    ``total``: the records of the block. ``columns``: one array per feature over the sound rows.
    ``text``: the cells of every record, rejected ones included (a list), or the sound rows alone: as they
    stand, or as a frame of one column of comma-separated lines, or of one column per cell.
    """

    total: int
    columns: Columns
    rejects: Rejects
    text: list[list[str]] | Lines | pl.DataFrame

    def without(self, out: np.ndarray, code: str, reason: str) -> Rows:
        """The rows, with the sound ones that ``out``, shape (sound rows,), marks turned into rejects."""
        rejects = self.rejects
        which = dict(zip(rejects.indices, rejects.which, strict=True))
        sound = [index for index in range(self.total) if index not in which]
        which |= dict.fromkeys(itertools.compress(sound, out.tolist()), len(rejects.refusals))
        indices, refusals = sorted(which), (*rejects.refusals, Refusal("", code, reason))
        return Rows(
            self.total,
            {name: values[~out] for name, values in self.columns.items()},
            Rejects(indices, [which[index] for index in indices], refusals, rejects.at),
            self.text if isinstance(self.text, list) else self.text.filter(~out),
        )


def slices(data: bytes, starts: np.ndarray, stops: np.ndarray) -> list[str]:
    """The texts from each of ``starts`` to each of ``stops``."""
    each = zip(starts.tolist(), stops.tolist(), strict=True)
    return [data[start:stop].decode() for start, stop in each]


def judge(cells: Sequence[str], layout: Layout, schema: Schema) -> Record | Refusal:
    """The record that a row's cells spell, or why there is none."""
    if len(cells) != len(layout.header):
        return wrong_width(len(cells), len(layout.header))
    try:
        return schema.from_cells({name: cells[position] for name, position in layout.positions.items()})
    except InvalidRecords as error:
        return refused(error)


def wrong_width(cells: int, columns: int) -> Refusal:
    """Why a row of so many cells is not scored, under a header of so many columns."""
    code = "too_few_cells" if cells < columns else "too_many_cells"
    return Refusal("", code, f"the row has {cells} cells and the header {columns}")


def refused(error: InvalidRecords) -> Refusal:
    """Why a row is not scored that has cells which the schema refuses."""
    first = error.problems[0]
    return Refusal(first.field, first.code, str(error))
