"""Sums of trees of few leaves, as ``handler.scoring.words`` takes them.

What words take of a row's time is weighed against walking the trees; see ``_pays``.
"""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from handler.scoring.words import LEAVES
from training.export.sums import Branches, Sets, Sum

#: The most different tests of a tree that has a word of tests, of 8 bits.
TESTS = 8
#: About how many bytes of words are a table: in a larger one, those of a row are not in the cache.
CACHED = 600_000
#: The most bytes of the words of all columns.
MOST_WORDS = 32_000_000
#: Nanoseconds, as measured: a branch of a tree's longest way, through which rows walk in ``trees.c``; a
#: column's number looked up among its edges; its words taken and joined, and for each byte of these; what a
#: word of so many bits leads to.
BRANCH, LOOK_UP, JOIN, BYTE, LEAF = 2.5, 10.0, 10.0, 0.075, {8: 1.5, 32: 2.5}
#: Bytes of words with which each takes twice as long as a byte of few words does.
FAR = 2_000_000


class _Entry(NamedTuple):
    """Bits that a word keeps in a row, counted over all columns."""

    row: int
    word: int
    bits: int


class _Column:
    """What one column is compared with, ascending; infinity is above it all, and only NaN above that."""

    def __init__(self, edges: set[float]) -> None:
        self.edges = sorted({*edges, math.inf})
        self.rank = {edge: index for index, edge in enumerate(self.edges)}
        self.start = 0  # the number of its first row


class _Words:
    """A table of words in the making."""

    def __init__(self, bits: int) -> None:
        self.bits = bits
        self.used: list[int] = []
        self.until: list[_Entry] = []
        self.since: list[_Entry] = []
        self.at: list[_Entry] = []
        self.targets: list[tuple[int, ...]] = []
        self.values: list[np.ndarray] = []  # of each word, shape (targets, values)

    def add(self, used: int, targets: tuple[int, ...], values: np.ndarray) -> int:
        self.used.append(used)
        self.targets.append(targets)
        self.values.append(values)
        return len(self.used) - 1

    def test(self, column: _Column, test: _Test, word: int, if_true: int, if_false: int) -> None:
        """A word keeps some bits where a test of the column is true, and others where it is not."""
        everything = (1 << self.bits) - 1
        last = column.start + len(column.edges)
        if test.members is None:
            rank = column.start + column.rank[test.split]
            self._keep(self.until, rank, word, if_true, everything)
            self._keep(self.since, rank + 1, word, if_false, everything)
        else:
            true = {column.start + column.rank[member] for member in test.members}
            for row in range(column.start, last):
                self._keep(self.at, row, word, if_true if row in true else if_false, everything)
        self._keep(self.at, last, word, if_true if test.missing else if_false, everything)

    def _keep(self, entries: list[_Entry], row: int, word: int, bits: int, everything: int) -> None:
        if bits != everything:
            entries.append(_Entry(row, word, bits))

    def stated(self) -> dict[str, Any]:
        """As ``handler.scoring.words`` takes it; words that add to the same targets become neighbours."""
        order = sorted(range(len(self.used)), key=lambda word: self.targets[word])
        place = {word: index for index, word in enumerate(order)}
        kind = np.dtype(f"<u{self.bits // 8}")
        runs = []
        for targets, each in itertools.groupby(order, key=lambda word: self.targets[word]):
            words = list(each)
            size = max(self.values[word].shape[1] for word in words)
            padded = np.zeros((len(targets), len(words), size))
            for index, word in enumerate(words):
                padded[:, index, : self.values[word].shape[1]] = self.values[word]
            first = place[words[0]]
            runs.append(
                [
                    first,
                    first + len(words),
                    [[target, _base64(own, "<f8")] for target, own in zip(targets, padded, strict=True)],
                ]
            )
        return {
            "bits": self.bits,
            "used": _base64([self.used[word] for word in order], kind),
            **{
                name: [
                    _base64([each.row for each in entries], "<i4"),
                    _base64([place[each.word] for each in entries], "<i4"),
                    _base64([each.bits for each in entries], kind),
                ]
                for name, entries in (("until", self.until), ("since", self.since), ("at", self.at))
            },
            "runs": runs,
        }


class _Test(NamedTuple):
    """What a branch asks of a column: whether it is at most ``split``, or one of ``members``."""

    column: int
    split: float
    members: tuple[float, ...] | None
    missing: bool


def stated(total: Sum, sets: Sets) -> dict[str, Any] | None:
    """What states a sum of trees, if its words are expected to be faster than walking."""
    members = {number: each for each, number in sets.items()}
    trees = [(tree, _tests(tree, members)) for tree in _merged(total.trees)]
    edges: dict[int, set[float]] = {}
    for _, tests in trees:
        for test in tests:
            found = edges.setdefault(test.column, set())
            found.update([test.split] if test.members is None else _around(test.members))
    if not _pays(trees, edges):
        return None
    columns = {column: _Column(edges[column]) for column in sorted(edges)}
    start = 0
    for each in columns.values():
        each.start = start
        start += len(each.edges) + 1
    tables: list[_Words] = []
    open_tables: dict[int, _Words] = {}
    for tree, tests in trees:
        bits, add = (8, _add_tests) if len(set(tests)) <= TESTS else (32, _add_leaves)
        table = open_tables.get(bits)
        if table is None or len(table.used) * bits // 8 * start >= CACHED:
            table = open_tables[bits] = _Words(bits)
            tables.append(table)
        add(table, columns, tree, tests)
    return {
        "width": total.width,
        "columns": list(columns),
        "edges": [_base64(each.edges, "<f8") for each in columns.values()],
        "tables": [table.stated() for table in tables],
    }


def _pays(trees: Sequence[tuple[Branches, Sequence[_Test]]], edges: Mapping[int, set[float]]) -> bool:
    """Whether words take less of a row's time than walking does, and not too much room."""
    walked = words = 0.0
    row_bytes = 0
    for tree, tests in trees:
        walked += BRANCH * (len(tree.levels()) - 1)
        bits, count = (8, 1) if len(set(tests)) <= TESTS else (32, -(-len(tree.weights[0]) // LEAVES))
        words += LEAF[bits] * count * len(tree.targets)
        row_bytes += bits // 8 * count
    room = row_bytes * sum(len(each) + 2 for each in edges.values())
    words += len(edges) * (LOOK_UP + JOIN + BYTE * row_bytes * (1 + room / FAR))
    return words <= walked and room <= MOST_WORDS


def _merged(trees: Sequence[Branches]) -> list[Branches]:
    """Trees that differ only in targets and weights as one, wherever they stand."""
    kept: dict[bytes, Branches] = {}
    for tree in trees:
        form = tree.form()
        while form in kept and set(kept[form].targets).intersection(tree.targets):
            form += b" "
        if form in kept:
            tree = kept[form]._replace(
                targets=kept[form].targets + tree.targets, weights=kept[form].weights + tree.weights
            )
        kept[form] = tree
    return list(kept.values())


def _tests(tree: Branches, members: Mapping[int, tuple[float, ...]]) -> list[_Test]:
    """The test of each branch."""
    return [
        _Test(int(column), 0.0 if number >= 0 else float(split), members.get(int(number)), bool(missing))
        for column, split, number, missing in zip(
            tree.feature, tree.split, tree.set_of, tree.missing, strict=True
        )
    ]


def _around(members: Sequence[float]) -> Iterator[float]:
    """Edges between which there is nothing but a member."""
    for each in members:
        yield each
        yield float(np.nextafter(each, -np.inf))


def _add_tests(
    table: _Words, columns: Mapping[int, _Column], tree: Branches, tests: Sequence[_Test]
) -> None:
    """A word of tests: its number is the row's among all that tests may give, true ones as 1."""
    known = list(dict.fromkeys(tests))
    patterns = np.arange(1 << len(known))
    leaf = np.zeros(len(patterns), np.int64)  # where each pattern is; the complement, at a leaf
    bit = np.array([known.index(test) for test in tests])
    while (walking := leaf >= 0).any():
        at = leaf[walking]
        true = patterns[walking] >> bit[at] & 1
        leaf[walking] = np.where(true, tree.yes[at], tree.no[at])
    values = np.array([weights[~leaf] for weights in tree.weights])
    word = table.add(len(patterns) - 1, tree.targets, values)
    everything = (1 << table.bits) - 1
    for number, test in enumerate(known):
        table.test(columns[test.column], test, word, everything, everything & ~(1 << number))


def _add_leaves(
    table: _Words, columns: Mapping[int, _Column], tree: Branches, tests: Sequence[_Test]
) -> None:
    """Words of leaves: a branch clears those of the side that the row does not go to."""
    order, spans = _spans(tree)
    words = []
    for first in range(0, len(order), LEAVES):
        leaves = order[first : first + LEAVES]
        values = np.array([[0.0, *weights[leaves]] for weights in tree.weights])
        words.append((first, table.add((1 << len(leaves) + 1) - 1, tree.targets, values)))
    everything = (1 << table.bits) - 1
    for test, (start, middle, end) in zip(tests, spans, strict=True):
        for first, word in words:
            if_true, if_false = (
                everything & ~_bits(low - first, high - first)
                for low, high in ((middle, end), (start, middle))
            )
            table.test(columns[test.column], test, word, if_true, if_false)


def _spans(tree: Branches) -> tuple[list[int], list[tuple[int, int, int]]]:
    """The leaves from left to right, and of each branch the first, the first on the right, and the end."""
    order: list[int] = []
    spans = [(0, 0, 0)] * len(tree.feature)
    waiting: list[tuple[int, int]] = [(0, 0)]
    starts: dict[int, int] = {}
    middles: dict[int, int] = {}
    while waiting:
        node, step = waiting.pop()
        if node < 0:
            order.append(~node)
        elif step == 0:
            starts[node] = len(order)
            waiting += [(node, 1), (int(tree.yes[node]), 0)]
        elif step == 1:
            middles[node] = len(order)
            waiting += [(node, 2), (int(tree.no[node]), 0)]
        else:
            spans[node] = starts[node], middles[node], len(order)
    return order, spans


def _bits(low: int, high: int) -> int:
    """The bits of a word's leaves from ``low`` until ``high``, above the first bit."""
    low, high = (min(max(each, 0), LEAVES) + 1 for each in (low, high))
    return (1 << high) - (1 << low)


def _base64(values: Any, kind: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(np.asarray(values).astype(kind)).tobytes()).decode()
