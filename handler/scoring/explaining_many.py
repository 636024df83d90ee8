"""Explanations of many rows at once, with numpy; ``explaining`` has what they are.

What a row gets does not depend on the rows beside it, to the last bit.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from handler import dates
from handler.bundle import Contract, Feature
from handler.schema import Columns
from handler.scoring.explaining import (
    MOST_TESTS,
    Edge,
    Linear,
    Piece,
    Test,
    Trees,
    at,
    gauss_legendre,
    most_columns,
)
from handler.scoring.scorers import OnnxScorer, filled

#: The most numbers in tables of what the pieces of trees add, by the outcomes of their tests: 128 MB.
MOST_CELLS = 16_000_000
#: The conditions of a leaf by whose outcomes what it adds is looked up.
MOST_CONDITIONS = 12
#: Rows that are explained together: what their sums take stays in the processor's cache.
ROWS = 8192


class Many:
    """Explains many rows; safe to use from several threads."""

    def __init__(
        self,
        model: Linear | Trees,
        graph: bytes,
        features: Sequence[Feature],
        contract: Contract,
        outputs: int,
    ) -> None:
        self._model = model
        self._given = OnnxScorer(graph, contract._replace(classes=()))
        self._features = features
        self._dated = tuple(features) != contract.features
        self._outputs = outputs
        #: For each output that was asked for, its pieces.
        self._looked_up: dict[int, list[_LookedUp]] = {}
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
        given = self._given.table(filled(columns))[:rows]
        sums = np.zeros((len(self._features), rows))
        for start in range(0, rows, ROWS):
            part = slice(start, start + ROWS)
            table = np.ascontiguousarray(given[part].T, np.float64)
            if self._outputs == 1:
                self._add(table, 0, sums[:, part])
                continue
            for output in range(self._outputs):
                own = np.flatnonzero(indices[part] == output)
                if len(own):
                    added = np.zeros((len(sums), len(own)))
                    self._add(table[:, own], output, added)
                    sums[:, start + own] = added
        return sums

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
            members = zip(model.groups, model.coefficients[output], model.means, given, strict=True)
            for group, weight, mean, values in members:
                if weight:
                    sums[group] += weight * (values - mean)
            return
        rows = given.shape[1]
        added, outcome, bits = np.empty(rows), np.empty(rows, np.int16), np.empty(rows, np.int16)
        index = np.empty(rows, np.intp)
        known, tree = dict[Test, np.ndarray](), -1
        for looked_up in self._pieces(model, output):
            piece, conditions = looked_up.piece, looked_up.conditions
            if piece.tree != tree:
                known.clear()  # few trees have tests in common
                tree = piece.tree
            for test in piece.tests:
                if test not in known:
                    known[test] = _answer(test, given)
            answers = [
                reduce(
                    np.bitwise_and,
                    [
                        known[piece.tests[test]] if side else 1 - known[piece.tests[test]]
                        for test, side in each
                    ],
                )
                for each in conditions
            ]
            if looked_up.table is None:
                passed = [answer.astype(bool) for answer in answers]
                for group, values in _added(piece, looked_up.edges, looked_up.weights, passed).items():
                    sums[group] += values
                continue
            outcome[:] = 0
            for bit, answer in enumerate(answers):
                np.left_shift(answer, bit, out=bits)
                np.bitwise_or(outcome, bits, out=outcome)
            index[:] = outcome
            for group, numbers in zip(looked_up.groups, looked_up.table, strict=True):
                np.take(numbers, index, out=added, mode="clip")
                own = sums[group]
                np.add(own, added, out=own)

    def _pieces(self, model: Trees, output: int) -> list[_LookedUp]:
        """The pieces of an output's trees, with what they add."""
        with self._making:
            if output not in self._looked_up:
                pieces = model.of_output.get(output, ())
                self._looked_up[output] = [
                    self._with_table(piece, model.weights[kind]) for piece, kind in pieces
                ]
            return self._looked_up[output]

    def _with_table(self, piece: Piece, weights: Sequence[float]) -> _LookedUp:
        conditions, edges = [[(test, True)] for test in range(len(piece.tests))], piece.edges
        if len(conditions) > MOST_TESTS:  # then it has one leaf, whose way asks of few columns
            conditions, edges = _by_column(edges)
        groups = sorted({*piece.groups})
        cells = len(groups) << len(conditions)
        if len(conditions) > MOST_CONDITIONS or self._cells + cells > MOST_CELLS:
            return _LookedUp(piece, conditions, edges, weights, groups, None)
        self._cells += cells
        outcomes = np.arange(1 << len(conditions))
        answers = [(outcomes >> bit & 1).astype(bool) for bit in range(len(conditions))]
        made = _added(piece, edges, weights, answers)
        return _LookedUp(
            piece, conditions, edges, weights, groups, np.array([made[group] for group in groups])
        )


def _answer(test: Test, given: np.ndarray) -> np.ndarray:
    """1 for each row for which the test holds, else 0."""
    values = given[test.column]
    answer: np.ndarray = (
        values <= test.split if test.members is None else np.isin(values, list(test.members))
    )
    return (answer | np.isnan(values) if test.missing else answer).astype(np.int16)


def _by_column(edges: Sequence[Edge]) -> tuple[list[list[tuple[int, bool]]], list[Edge]]:
    """The way to a piece's only leaf by its columns: what must hold of each, and the edges of that."""
    conditions: dict[int, list[tuple[int, bool]]] = {}
    shares: dict[int, float] = {}
    for edge in edges:
        conditions.setdefault(edge.column, []).append((edge.test, edge.side))
        shares[edge.column] = edge.share
    made = [
        Edge(index - 1, index, True, column, share, -1, -1)
        for index, (column, share) in enumerate(shares.items())
    ]
    return [*conditions.values()], [*made[:-1], made[-1]._replace(leaf=edges[-1].leaf)]


def _added(
    piece: Piece, edges: Sequence[Edge], weights: Sequence[float], answers: Sequence[np.ndarray]
) -> dict[int, np.ndarray]:
    """As ``Trees._added``, for many outcomes of the tests; one array per feature, by its index."""
    group_of = dict(zip((edge.column for edge in piece.edges), piece.groups, strict=True))
    passed: list[np.ndarray] = []
    for edge in edges:
        own = answers[edge.test] if edge.side else ~answers[edge.test]
        passed.append(own if edge.same < 0 else own & passed[edge.same])
    zeros = np.zeros(len(answers[0]))
    sums: dict[int, np.ndarray] = {}
    for point, weight in gauss_legendre((most_columns(edges) + 1) // 2):
        factors: list[np.ndarray] = []
        changes: list[np.ndarray] = []
        products: list[np.ndarray] = []
        for edge, is_passed in zip(edges, passed, strict=True):
            unknown, known, if_unknown, if_known = at(point, edge.share)
            factor = np.where(is_passed, known, unknown)
            product = factor if edge.above < 0 else products[edge.above] * factor
            if edge.same >= 0:
                product = product / np.where(factors[edge.same] > 0, factors[edge.same], 1.0)
            factors.append(factor)
            products.append(product)
            changes.append(np.where(is_passed, if_known, if_unknown))
        totals = [zeros] * len(edges)
        for index in range(len(edges) - 1, -1, -1):
            edge = edges[index]
            total = totals[index] if edge.leaf < 0 else products[index] * weights[edge.leaf]
            change = changes[index] if edge.same < 0 else changes[index] - changes[edge.same]
            group = group_of[edge.column]
            sums[group] = sums.get(group, zeros) + weight * total * change
            if edge.above >= 0:
                totals[edge.above] = totals[edge.above] + total
    return sums


class _LookedUp(NamedTuple):
    """A piece of a tree: what it asks, and what each of its features adds by the answers.

    ``conditions``: the bits of the outcome; all tests in one must have their answers. ``table``: shape
    (groups, outcomes), or None where it would be too large.
    """

    piece: Piece
    conditions: list[list[tuple[int, bool]]]
    edges: Sequence[Edge]
    weights: Sequence[float]
    groups: list[int]
    table: np.ndarray | None
