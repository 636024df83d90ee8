"""Explanations of many rows at once, with numpy; ``shapley`` has what they are.

What a row gets does not depend on the rows beside it, to the last bit.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from handler import dates
from handler.schema import Columns
from handler.scoring.explaining import Explainer
from handler.scoring.graph import PIECE, OnnxScorer
from handler.scoring.scorers import filled
from handler.scoring.shapley import (
    FAILS,
    MOST_TESTS,
    PASSED,
    Edge,
    Linear,
    Piece,
    Test,
    Trees,
    every_state,
)

#: The most numbers in tables of what the pieces of trees add, by the outcomes of their tests: 128 MB.
MOST_CELLS = 16_000_000
#: The conditions of a leaf by whose outcomes what it adds is looked up.
MOST_CONDITIONS = 12
#: Rows that are explained together: what their sums take stays in the processor's cache.
ROWS = 8192
#: The most numbers, by edges and rows, in each of three arrays where a deep tree is gone through: 16 MB.
MOST_NUMBERS = 2_000_000


class Many:
    """Explains many rows; safe to use from several threads."""

    def __init__(self, explainer: Explainer) -> None:
        self._model = explainer.model
        self._given = OnnxScorer(explainer.graph, explainer.contract)
        self._features = explainer.features
        self._dated = tuple(explainer.features) != explainer.contract.features
        self._outputs = len(explainer.base)
        pieces = [] if isinstance(self._model, Linear) else self._model.pieces
        edges = max((len(piece.edges) for piece in pieces), default=1)
        self._rows = max(1, min(ROWS, MOST_NUMBERS // edges))
        #: Rows of which the table that the last step is given is in memory.
        self._tabled = ROWS if self._given.at_once == PIECE else self._given.at_once
        #: The columns of a linear model that add something to any output.
        self._used: list[int] = []
        if isinstance(self._model, Linear):
            self._used = np.flatnonzero(np.any(self._model.coefficients, axis=0)).tolist()
        #: For each output that was asked for, its trees: their tests, and their pieces.
        self._looked_up: dict[int, list[tuple[list[Test], list[_LookedUp]]]] = {}
        self._cells = 0
        self._making = threading.Lock()

    def explain(self, columns: Columns, indices: np.ndarray) -> np.ndarray:
        """What each feature adds for each of n rows, shape (features, n).

        ``indices``: of each row, the index of its predicted class; they count where the model has an
        output for each class.
        """
        if self._dated:
            columns = dates.expanded(self._features, columns)
        rows = len(indices)
        sums = np.zeros((len(self._features), rows))
        for start in range(0, rows, self._tabled):
            part = slice(start, start + self._tabled)
            piece = {name: values[part] for name, values in columns.items()}
            given = self._given.table(filled(piece))[: len(indices[part])]
            self._add_rows(given, indices[part], sums[:, part])
        return sums

    def _add_rows(self, table: np.ndarray, indices: np.ndarray, sums: np.ndarray) -> None:
        """Add what each feature adds for rows of which the last step is given ``table``."""
        linear = isinstance(self._model, Linear)
        for start in range(0, len(indices), self._rows):
            part = slice(start, start + self._rows)
            columns = table[part].T
            given = np.ascontiguousarray(columns[self._used] if linear else columns, np.float64)
            if self._outputs == 1:
                self._add(given, 0, sums[:, part])
                continue
            for output in range(self._outputs):
                own = np.flatnonzero(indices[part] == output)
                if len(own):
                    added = np.zeros((len(sums), len(own)))
                    self._add(given[:, own], output, added)
                    sums[:, start + own] = added

    def reasons(self, columns: Columns, indices: np.ndarray, count: int) -> list[np.ndarray | list[str]]:
        """The strongest features of each of n rows, each column of names before one of what they add."""
        sums = self.explain(columns, indices)
        names = np.array([feature.name for feature in self._features], object)
        left, every = np.abs(sums), np.arange(sums.shape[1])
        made: list[np.ndarray | list[str]] = []
        for _ in range(count):
            strongest = left.argmax(axis=0)
            made += [names[strongest].tolist(), sums[strongest, every]]
            left[strongest, every] = -1.0
        return made

    def _add(self, given: np.ndarray, output: int, sums: np.ndarray) -> None:
        """Add what each feature adds to an output; ``given`` has shape (columns, n)."""
        model = self._model
        if isinstance(model, Linear):
            own = model.coefficients[output]
            for column, values in zip(self._used, given, strict=True):
                if weight := own[column]:
                    sums[model.groups[column]] += weight * (values - model.means[column])
            return
        rows = given.shape[1]
        added, index = np.empty(rows), np.empty(rows, np.intp)
        outcome, shifted = np.empty(rows, np.int16), np.empty(rows, np.int16)
        gaps = np.isnan(given)
        gaps = gaps if gaps.any() else None
        for tests, pieces in self._trees(model, output):
            answers = _answers(tests, given, gaps)
            for piece in pieces:
                conditions = [
                    reduce(
                        np.bitwise_and,
                        (answers[test] if side else 1 - answers[test] for test, side in each),
                    )
                    for each in piece.conditions
                ]
                if piece.table is None:
                    passed = [each.astype(bool) for each in conditions]
                    for group, values in _added(piece.edges, piece.weights, piece.group_of, passed).items():
                        sums[group] += values
                    continue
                outcome[:] = 0
                for bit, condition in enumerate(conditions):
                    np.left_shift(condition, bit, out=shifted)
                    np.bitwise_or(outcome, shifted, out=outcome)
                index[:] = outcome
                for group, numbers in zip(piece.groups, piece.table, strict=True):
                    np.take(numbers, index, out=added, mode="clip")
                    own = sums[group]
                    np.add(own, added, out=own)

    def _trees(self, model: Trees, output: int) -> list[tuple[list[Test], list[_LookedUp]]]:
        """Of each of an output's trees its tests, and its pieces with what they add."""
        with self._making:
            if output not in self._looked_up:
                made: list[tuple[list[Test], list[_LookedUp]]] = []
                pieces = model.of_output.get(output, ())
                for _, own in itertools.groupby(pieces, key=lambda each: each[0].tree):
                    tests: dict[Test, int] = {}
                    looked_up = []
                    for piece, kind in own:
                        numbers = [tests.setdefault(test, len(tests)) for test in piece.tests]
                        looked_up.append(self._with_table(piece, numbers, model.weights[kind]))
                    made.append(([*tests], looked_up))
                self._looked_up[output] = made
            return self._looked_up[output]

    def _with_table(self, piece: Piece, numbers: Sequence[int], weights: Sequence[float]) -> _LookedUp:
        """``numbers``: those of the piece's tests among its tree's."""
        conditions, edges = [[(number, True)] for number in numbers], piece.edges
        if len(conditions) > MOST_TESTS and sum(edge.leaf >= 0 for edge in edges) == 1:
            conditions, edges = _by_column(edges, numbers)  # a way asks of few columns
        groups = sorted({*piece.groups})
        group_of = {edge.column: group for edge, group in zip(piece.edges, piece.groups, strict=True)}
        cells = len(groups) << len(conditions)
        table = None
        if len(conditions) <= MOST_CONDITIONS and self._cells + cells <= MOST_CELLS:
            self._cells += cells
            outcomes = np.arange(1 << len(conditions))
            answers = [(outcomes >> bit & 1).astype(bool) for bit in range(len(conditions))]
            made = _added(edges, weights, group_of, answers)
            table = np.array([made[group] for group in groups])
        return _LookedUp(conditions, edges, weights, groups, group_of, table)


def _answers(tests: Sequence[Test], given: np.ndarray, gaps: np.ndarray | None) -> np.ndarray:
    """1 for each row for which a test holds, else 0, shape (tests, n); ``gaps``: the missing values."""
    columns = [test.column for test in tests]
    made: np.ndarray = given[columns] <= np.array([[test.split] for test in tests])
    for number, test in enumerate(tests):
        if test.members is not None:
            made[number] = np.isin(given[test.column], list(test.members))
        if test.missing and gaps is not None:
            made[number] |= gaps[test.column]
    return made.astype(np.int16)


def _by_column(
    edges: Sequence[Edge], numbers: Sequence[int]
) -> tuple[list[list[tuple[int, bool]]], list[Edge]]:
    """The way to a piece's only leaf by its columns: what must hold of each, and the edges of that."""
    conditions: dict[int, list[tuple[int, bool]]] = {}
    shares: dict[int, float] = {}
    for edge in edges:
        conditions.setdefault(edge.column, []).append((numbers[edge.test], edge.side))
        shares[edge.column] = edge.share
    made = [
        Edge(index - 1, index, True, column, share, -1, -1)
        for index, (column, share) in enumerate(shares.items())
    ]
    return [*conditions.values()], [*made[:-1], made[-1]._replace(leaf=edges[-1].leaf)]


def _added(
    edges: Sequence[Edge],
    weights: Sequence[float],
    group_of: Mapping[int, int],
    answers: Sequence[np.ndarray],
) -> dict[int, np.ndarray]:
    """As ``Trees._added``, for many outcomes of the tests; one array per feature, by its index.

    ``group_of`` has the feature of each column.
    """
    states: list[np.ndarray] = []
    for edge in edges:
        holds = answers[edge.test] if edge.side else ~answers[edge.test]
        if edge.same < 0:
            states.append(np.where(holds, PASSED, FAILS).astype(np.intp))
        else:
            before = states[edge.same]
            states.append(np.where(holds & (before == PASSED), PASSED, before >> 1))
    rows = len(answers[0])
    sums: dict[int, np.ndarray] = {group: np.zeros(rows) for group in group_of.values()}
    every = (np.array(each).transpose(2, 1, 0) for each in every_state(edges))
    for ratios, gains in (pair for one in every for pair in (one[:2], one[2:])):
        products: list[np.ndarray] = []
        for edge, state, ratio in zip(edges, states, ratios.T, strict=True):
            product = ratio.take(state)
            products.append(product if edge.above < 0 else product * products[edge.above])
        totals: list[np.ndarray | None] = [None] * len(edges)  # for each edge over the leaves below it
        for index in range(len(edges) - 1, -1, -1):
            edge, total = edges[index], totals[index]
            if total is None:
                total = products[index] * weights[edge.leaf]
            sums[group_of[edge.column]] += total * gains[:, index].take(states[index])
            if edge.above >= 0:
                others = totals[edge.above]
                totals[edge.above] = total if others is None else others + total
    return sums


class _LookedUp(NamedTuple):
    """A piece of a tree: what it asks, and what each of its features adds by the answers.

    ``conditions``: the bits of the outcome, each with tests of the tree, all of which must have their
    answers. ``edges`` ask for conditions in place of tests. ``group_of`` has the feature of each column.
    ``table``: shape (groups, outcomes), or None where it would be too large.
    """

    conditions: list[list[tuple[int, bool]]]
    edges: Sequence[Edge]
    weights: Sequence[float]
    groups: list[int]
    group_of: Mapping[int, int]
    table: np.ndarray | None
