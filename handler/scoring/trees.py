"""The sums of small trees, for many rows at once, in numpy.

onnxruntime walks a tree from branch to branch, and a processor cannot guess the way. Here a row is not
walked: each column's number is looked up among the splits once, and the tests that it decides are bits of
one word for each tree. The words of all columns together, bit by bit, state the row's leaf. That takes a
third to a sixth of the time where trees have few leaves, as those of boosters have.
Lucchese et al., "QuickScorer", 2015. https://doi.org/10.1145/2766462.2767733

Which trees are summed so is stated in the graph's metadata, under ``KEY``, as ``training.export.words``
writes it: the graph ends before them, and another one begins after them.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

#: The key of the graph's metadata. Its value is JSON: ``after`` is the graph that follows, in base64, and
#: ``sums`` states each of its inputs that trees give.
KEY = "trees"
#: About how many bytes of words are computed at once, so that they stay in the processor's second cache.
AT_ONCE = 200_000
#: Rows are computed at once in a multiple of this.
ROWS = 64
#: A word of a leaf has a bit for each of 31, of which one is left at the end, above a first that is always
#: set: as a float32 its exponent is the number of the leaf, or 0 where the tree's leaf is in another word.
LEAVES = 31
EXPONENT, BIAS = 23, 127


class Follows(NamedTuple):
    """What the metadata of a graph that ends before trees states: their sums, and the graph after them."""

    sums: list[Sums]
    graph: bytes


def follows(metadata: Mapping[str, str]) -> Follows:
    """What follows a graph whose metadata has ``KEY``."""
    stated = json.loads(metadata[KEY])
    return Follows([Sums(**each) for each in stated["sums"]], base64.b64decode(stated["after"]))


class Sums:
    """The sums of trees; safe to use from several threads.

    ``given`` and ``name``: the tensors in the graphs that they read, shape (n, columns), and make, shape
    (n, ``width``). ``columns``: the indices of the columns that they test; ``edges``: what each of them is
    compared with, ascending. ``tables``: what ``_Table`` takes. All numbers are base64 of little-endian
    arrays.
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
        self.given = given
        self.name = name
        self._width = width
        self._columns = columns
        self._edges = [np.frombuffer(base64.b64decode(each), "<f8") for each in edges]
        sizes = [len(each) + 1 for each in self._edges]
        self._tables = [_Table(sizes, **each) for each in tables]

    def of(self, given: np.ndarray) -> np.ndarray:
        """The sums, shape (n, width), of the rows of ``given``, shape (n, columns)."""
        sums = np.zeros((len(given), self._width))
        widest = max(table.row_bytes for table in self._tables)
        size = max(1, AT_ONCE // widest // ROWS) * ROWS
        rooms = [table.room(min(size, len(given))) for table in self._tables]
        for start in range(0, len(given), size):
            part = given[start : start + size]
            rows = [
                np.searchsorted(edges, np.ascontiguousarray(part[:, column]))
                for column, edges in zip(self._columns, self._edges, strict=True)
            ]
            for table, room in zip(self._tables, rooms, strict=True):
                table.add(rows, sums[start : start + size], room)
        return sums


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
    ``sizes``: how many rows each column has. ``used``: the bits of each word, shape (words,). ``until``,
    ``since`` and ``at``: the numbers of rows, of words, and the bits that these keep, up to that row of the
    column, from it on, or there alone. ``runs``: the first and last of neighbouring words that add to the
    same targets, and for each target its number and the values, shape (words, values of a word).
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        bits: int,
        used: str,
        until: Sequence[str],
        since: Sequence[str],
        at: Sequence[str],
        runs: Sequence[Any],
    ) -> None:
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
        self._words = [words[part.start : part.stop + 1] for part in parts]
        self._words[0] &= every
        self._runs = [
            (
                slice(first, last),
                [(target, np.frombuffer(base64.b64decode(each), "<f8")) for target, each in values],
            )
            for first, last, values in runs
        ]
        self._offsets: np.ndarray = np.zeros(len(every), np.intp if bits == 8 else np.int32) - (
            0 if bits == 8 else BIAS
        )
        for run, ((_, values), *_) in self._runs:
            count = run.stop - run.start
            self._offsets[run] = self._offsets[run] + np.arange(count) * (len(values) // count)
        self.row_bytes = len(every) * bits // 8

    def room(self, rows: int) -> _Room:
        shape, kind = (rows, len(self._offsets)), self._words[0].dtype
        single = np.empty(shape if self._bits != 8 else 0, np.float32)
        return _Room(
            np.empty(shape, kind), np.empty(shape, kind), single, np.empty(shape, np.intp), np.empty(shape)
        )

    def add(self, rows: Sequence[np.ndarray], sums: np.ndarray, room: _Room) -> None:
        """Add the trees of ``rows``, the number of the row that each column has."""
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
    words = np.full(shape, np.iinfo(kind).max, kind)
    row, word, bits = map(base64.b64decode, stated)
    np.bitwise_and.at(
        words, (np.frombuffer(row, "<i4"), np.frombuffer(word, "<i4")), np.frombuffer(bits, kind)
    )
    return words
