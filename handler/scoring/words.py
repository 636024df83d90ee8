"""The sums of small trees, for many rows at once, in ``trees.c`` where it is compiled, else in numpy.

A row does not walk from branch to branch, where a processor cannot guess the way: each column's number is
looked up among the splits once, and the tests that it decides are bits of one word for each tree. The words
of all columns together, bit by bit, state the row's leaf. That takes a third to a sixth of onnxruntime's
time where trees have few leaves, as those of boosters have.
Lucchese et al., "QuickScorer", 2015. https://doi.org/10.1145/2766462.2767733

``training.export.words`` states them.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.kernel import compiled
from handler.kernel.compiled import library

if TYPE_CHECKING:
    import numpy as np

#: About how many bytes of words are computed at once, so that they stay in the processor's second cache.
AT_ONCE = 400_000
#: Numbers of cells that are tried for a column's edges, and how many of these a cell may have at last.
CELLS, MOST_IN_CELL = (64, 256, 1024, 4096), 4
#: The most rows of columns that are looked up together.
MOST_JOINED = 400
#: Rows are computed at once in a multiple of this.
ROWS = 64
#: A word of a leaf has a bit for each of 31, of which one is left at the end, above a first that is always
#: set: as a float32 its exponent is the number of the leaf, or 0 where the tree's leaf is in another word.
LEAVES = 31
EXPONENT, BIAS = 23, 127


class Words:
    """The sums of trees; safe to use from several threads.

    ``given`` and ``name``: the tensors in the graphs that they read, shape (n, columns), and make, shape
    (n, ``width``). ``columns``: the indices of the columns that they test; ``edges``: what each of them is
    compared with, ascending. ``tables``: what ``_Table`` takes. All numbers are base64 of little-endian
    arrays.

    Raises ``ValueError`` where a row could leave the arrays: what is compiled looks at no bounds.
    """

    def __init__(
        self,
        *,
        given: str,
        name: str,
        width: int,
        columns: Sequence[int],
        edges: Sequence[str],
        tables: Sequence[Mapping[str, Any]],
    ) -> None:
        import numpy as np

        self.given = given
        self.name = name
        self._width = width
        self.columns = columns
        self._edges = [_Edges(np.frombuffer(base64.b64decode(each), "<f8")) for each in edges]
        sizes = [each.rows for each in self._edges]
        self._joined = _joined(sizes)
        self._tables = [_Table(sizes, self._joined, width, **each) for each in tables]
        if min(columns) < 0 or min(sizes) < 2:
            raise ValueError("the trees of a graph are not whole")
        if library() is not None:
            self._set_up()

    def _set_up(self) -> None:
        """What ``trees.c`` takes to look rows up: columns, their edges, and where each group's table is."""
        import numpy as np

        sizes = np.array([each.rows for each in self._edges])
        first_edge = np.cumsum(sizes - 1) - (sizes - 1)
        heights = np.array([math.prod(sizes[each].tolist()) for each in self._joined])
        columns = [
            (
                self.columns[index],
                first_edge[index],
                sizes[index] - 1,
                group,
                math.prod(sizes[own[place + 1 :]]),
            )
            for group, own in enumerate(self._joined)
            for place, index in enumerate(own)
        ]
        self._columns = np.array(columns, np.int64)
        self._all_edges = np.concatenate([each.edges for each in self._edges])
        self._starts = (np.cumsum(heights) - heights).astype(np.int32)

    def of(self, given: np.ndarray) -> np.ndarray:
        """The sums, shape (n, width), of the rows of ``given``, shape (n, columns)."""
        import numpy as np

        sums = np.zeros((len(given), self._width))
        (self._in_numpy if library() is None else self._compiled)(given, sums)
        return sums

    def _compiled(self, given: np.ndarray, sums: np.ndarray) -> None:
        import numpy as np

        given = np.ascontiguousarray(given, np.float64)
        if given.shape[1] <= max(self.columns):
            raise ValueError("the trees of a graph test a column that it does not have")
        looked_up = np.empty((len(given), len(self._joined)), np.int32)
        library().look_up(
            self._columns.ctypes.data,
            len(self._columns),
            self._all_edges.ctypes.data,
            self._starts.ctypes.data,
            len(self._starts),
            given.ctypes.data,
            *given.shape,
            looked_up.ctypes.data,
        )
        for table in self._tables:
            table.join(looked_up, sums)

    def _in_numpy(self, given: np.ndarray, sums: np.ndarray) -> None:
        import numpy as np

        widest = max(table.row_bytes for table in self._tables)
        size = max(1, AT_ONCE // widest // ROWS) * ROWS
        rooms = [table.room(min(size, len(given))) for table in self._tables]
        with np.errstate(all="ignore"):  # of infinity and NaN
            rows = [self._rows(given, columns) for columns in self._joined]
        for start in range(0, len(given), size):
            part = slice(start, start + size)
            for table, room in zip(self._tables, rooms, strict=True):
                table.add([each[part] for each in rows], sums[part], room)

    def _rows(self, given: np.ndarray, columns: Sequence[int]) -> np.ndarray:
        """Each row's number among those of some columns together; that of the last one counts by 1."""
        import numpy as np

        total: np.ndarray | None = None
        for column in columns:
            edges = self._edges[column]
            rows = edges.row_of(np.ascontiguousarray(given[:, self.columns[column]]))
            if total is None:
                total = rows
            else:
                total *= edges.rows
                total += rows
        assert total is not None
        return total


class _Edges:
    """The numbers that a column is compared with, ascending, of which the last is infinity.

    The range of the others is cut into cells of equal width, each with ``MOST_IN_CELL`` edges at most: so a
    number is compared with those of its own cell only. Where that takes more than ``MOST_CELLS``, it is
    looked up among all.
    """

    def __init__(self, edges: np.ndarray) -> None:
        import numpy as np

        self.edges = edges
        #: How many rows the column has: one for each edge that its number may reach, and one for NaN.
        self.rows = len(edges) + 1
        self._in_cell: list[np.ndarray] = []
        finite = edges[:-1]
        if not len(finite) or not np.isfinite(finite).all():
            return
        self._low = finite[0]
        for cells in CELLS:
            with np.errstate(all="ignore"):
                self._scale = (cells - 1) / (finite[-1] - finite[0])
            self._last = float(cells - 1)
            if not np.isfinite(self._scale):
                self._scale = 0.0
            cell = self._cell(finite)
            before = np.searchsorted(cell, np.arange(cells)).astype(np.intp)
            most = int(np.bincount(cell, minlength=cells).max())
            if most <= (1 if cells < CELLS[-1] else MOST_IN_CELL):
                self._before = before
                for number in range(most):
                    edge = np.minimum(before + number, len(finite))
                    own = edge < np.append(before[1:], len(finite))
                    self._in_cell.append(np.where(own, edges[edge], np.inf))
                return

    def _cell(self, numbers: np.ndarray) -> np.ndarray:
        """The cell of each number; it never falls where numbers rise, however they are rounded."""
        import numpy as np

        place = numbers - self._low
        place *= self._scale
        np.fmax(place, 0.0, out=place)
        np.fmin(place, self._last, out=place)
        cell: np.ndarray = place.astype(np.intp)
        return cell

    def row_of(self, numbers: np.ndarray) -> np.ndarray:
        """How many edges each number is above; for NaN, the number of all edges."""
        import numpy as np

        if not self._in_cell:
            found: np.ndarray = np.searchsorted(self.edges, numbers)
            return found
        cell = self._cell(numbers)
        row: np.ndarray = self._before.take(cell)
        for edges in self._in_cell:
            row += numbers > edges.take(cell)
        missing = numbers != numbers
        if missing.any():
            row[missing] = self.rows - 1
        return row


def _joined(sizes: Sequence[int]) -> list[list[int]]:
    """The indices of columns, grouped so that columns of few rows have a row for each of their pairs."""
    groups = sorted((size, [index]) for index, size in enumerate(sizes))
    while len(groups) > 1 and groups[0][0] * groups[1][0] <= MOST_JOINED:
        (size, columns), (other, others), *groups = groups
        groups = sorted([*groups, (size * other, columns + others)])
    return [columns for _, columns in groups]


class _Room(NamedTuple):
    """Arrays for the rows that are computed at once, each of shape (rows, words)."""

    words: np.ndarray
    more: np.ndarray
    single: np.ndarray
    places: np.ndarray
    values: np.ndarray


class _Table:
    """Trees that have one kind of words: of 8 bits, which are tests, or of 32, which are leaves.

    A column whose number is above ``k`` of its edges has row ``k`` of its words, and NaN the last row.
    ``sizes``: how many rows each column has. ``joined``: the columns that are looked up together. ``used``:
    the bits of each word, shape (words,). ``until``, ``since`` and ``at``: the numbers of rows, of words,
    and the bits that these keep, up to that row of the column, from it on, or there alone. ``runs``: the
    first and last of neighbouring words that add to the same targets, and for each target its number and
    the values, shape (words, values of a word).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        joined: Sequence[Sequence[int]],
        width: int,
        *,
        bits: int,
        used: str,
        until: Sequence[str],
        since: Sequence[str],
        at: Sequence[str],
        runs: Sequence[Any],
    ) -> None:
        import numpy as np

        self._bits = bits
        kind = np.dtype(f"<u{bits // 8}")
        every = np.frombuffer(base64.b64decode(used), kind)
        shape = sum(sizes), len(every)
        ends = np.cumsum(sizes).tolist()
        parts = [slice(end - size, end - 1) for end, size in zip(ends, sizes, strict=True)]
        words = _kept(shape, kind, at)
        below, above = _kept(shape, kind, until), _kept(shape, kind, since)
        for part in parts:
            words[part] &= np.bitwise_and.accumulate(below[part][::-1], axis=0)[::-1]
            words[part] &= np.bitwise_and.accumulate(above[part], axis=0)
        words &= every
        columns = [words[part.start : part.stop + 1] for part in parts]
        self._words = [reduce(_both, [columns[index] for index in each]) for each in joined]
        self._runs = [
            (
                slice(first, last),
                [(target, np.frombuffer(base64.b64decode(each), "<f8")) for target, each in values],
            )
            for first, last, values in runs
        ]
        counts = [(run.stop - run.start, len(values)) for run, ((_, values), *_) in self._runs]
        offsets = np.concatenate([np.arange(count) * (size // count) for count, size in counts])
        self._offsets = offsets.astype(np.intp) if bits == 8 else (offsets - BIAS).astype(np.int32)
        self.row_bytes = len(every) * bits // 8
        if [0, *(run.stop for run, _ in self._runs)] != [*(run.start for run, _ in self._runs), len(every)]:
            raise ValueError("the trees of a graph are not whole")  # their runs are no neighbours
        leads_to = every.astype(np.int64) if bits == 8 else np.log2(every | 1).astype(np.int64)
        for (run, targets), (count, _) in zip(self._runs, counts, strict=True):
            least = leads_to[run].max(initial=0) + 1
            for target, each in targets:
                if not (0 <= target < width and len(each) % count == 0 and len(each) // count >= least):
                    raise ValueError("the trees of a graph are not whole")
        if library() is not None:
            self._set_up(offsets)

    def _set_up(self, offsets: np.ndarray) -> None:
        """What ``trees.c`` takes to join words: these in blocks, and their values."""
        import numpy as np

        in_block = compiled.BLOCK * 8 // self._bits
        words = np.concatenate(self._words)
        height, count = words.shape
        blocks = -(-count // in_block)
        self._height, self._bytes = height, blocks * compiled.BLOCK
        padded = np.zeros((height, blocks * in_block), words.dtype)
        padded[:, :count] = words
        table = padded.reshape(height, blocks, in_block).transpose(1, 0, 2).tobytes()
        room = np.empty(len(table) + compiled.BLOCK, np.uint8)
        start = -room.ctypes.data % compiled.BLOCK  # a block is a line of the cache
        self._blocks = room[start : start + len(table)]
        self._blocks[:] = np.frombuffer(table, np.uint8)
        self._places = np.zeros(blocks * in_block, np.int32)
        self._places[:count] = offsets
        runs, values, known = [], [], 0
        for run, targets in self._runs:
            for target, each in targets:
                runs.append((run.start, run.stop - run.start, target, known))
                values.append(each)
                known += len(each)
        self._all_runs, self._values = np.array(runs, np.int64), np.concatenate(values)
        self._words = []  # it is numpy that takes them so

    def join(self, looked_up: np.ndarray, sums: np.ndarray) -> None:
        """Add the trees of rows, of which ``looked_up`` has the row in each group of columns' table."""
        import numpy as np

        places = np.empty(compiled.ROWS * len(self._places), np.int32)
        room = np.empty(len(self._places))
        library().join(
            self._blocks.ctypes.data,
            self._height,
            self._bytes,
            self._bits,
            looked_up.ctypes.data,
            looked_up.shape[1],
            looked_up.shape[0],
            self._places.ctypes.data,
            self._all_runs.ctypes.data,
            len(self._all_runs),
            self._values.ctypes.data,
            places.ctypes.data,
            room.ctypes.data,
            sums.ctypes.data,
            sums.shape[1],
        )

    def room(self, rows: int) -> _Room:
        import numpy as np

        shape, kind = (rows, len(self._offsets)), self._words[0].dtype
        single = np.empty(shape if self._bits != 8 else 0, np.float32)
        return _Room(
            np.empty(shape, kind), np.empty(shape, kind), single, np.empty(shape, np.intp), np.empty(shape)
        )

    def add(self, rows: Sequence[np.ndarray], sums: np.ndarray, room: _Room) -> None:
        """Add the trees of ``rows``, the number of the row that each column has."""
        import numpy as np

        words, more, single, places, values = (each[: len(sums)] for each in room)
        np.take(self._words[0], rows[0], axis=0, out=words, mode="clip")
        for table, index in zip(self._words[1:], rows[1:], strict=True):
            np.take(table, index, axis=0, out=more, mode="clip")
            np.bitwise_and(words, more, out=words)
        if self._bits == 8:
            np.add(words, self._offsets, out=places)
        else:
            np.copyto(single, words, casting="unsafe")
            exponents = single.view(np.int32)
            np.right_shift(exponents, EXPONENT, out=exponents)
            np.add(exponents, self._offsets, out=places)
        for run, targets in self._runs:
            for target, of_words in targets:
                own = values[:, run]
                np.take(of_words, places[:, run], out=own, mode="clip")
                sums[:, target] += own.sum(axis=1)


def _kept(shape: tuple[int, int], kind: np.dtype[Any], stated: Sequence[str]) -> np.ndarray:
    """Words of which all bits are kept but those that ``stated`` names."""
    import numpy as np

    words = np.full(shape, np.iinfo(kind).max, kind)
    row, word, bits = map(base64.b64decode, stated)
    np.bitwise_and.at(
        words, (np.frombuffer(row, "<i4"), np.frombuffer(word, "<i4")), np.frombuffer(bits, kind)
    )
    return words


def _both(words: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The words of two columns, of which each row has every row of the other one."""
    joined: np.ndarray = words[:, None] & others
    return joined.reshape(-1, words.shape[1])
