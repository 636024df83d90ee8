"""Explanations of many rows at once, with numpy; ``explaining`` has what they are.

What a row gets does not depend on the rows beside it, to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from handler import dates
from handler.bundle import Contract, Feature
from handler.schema import Columns
from handler.scoring.explaining import MOST_TESTS, Linear, Piece, Test, Trees
from handler.scoring.scorers import OnnxScorer, filled

#: The most numbers in tables of what the pieces of trees add, by the outcomes of their tests: 128 MB.
MOST_CELLS = 16_000_000
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
        self._tables: dict[tuple[int, int], tuple[list[int], np.ndarray]] = {}
        self._cells = 0

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

    def _add(self, given: np.ndarray, output: int, sums: np.ndarray) -> None:
        """Add what each feature adds to an output; ``given`` has shape (columns, n)."""
        model = self._model
        if isinstance(model, Linear):
            members = zip(model.groups, model.coefficients[output], model.means, given, strict=True)
            for group, weight, mean, values in members:
                if weight:
                    sums[group] += weight * (values - mean)
            return
        added = np.empty(given.shape[1])
        for number, (piece, kind) in enumerate(model.of_output.get(output, ())):
            answers = [_answers(test, given) for test in piece.tests]
            table = self._table(model, piece, kind, (output, number))
            if table is None:
                for group, values in _piece(piece, model, kind, answers).items():
                    sums[group] += values
                continue
            outcome = np.zeros(given.shape[1], np.int16)
            for bit, answer in enumerate(answers):
                outcome |= answer.astype(np.int16) << bit
            index = outcome.astype(np.intp)
            groups, numbers = table
            for group, of_group in zip(groups, numbers, strict=True):
                np.take(of_group, index, out=added, mode="clip")
                sums[group] += added

    def _table(
        self, model: Trees, piece: Piece, kind: int, key: tuple[int, int]
    ) -> tuple[list[int], np.ndarray] | None:
        """The features of a piece, and what each adds by the outcome of the tests; None if that is large."""
        known = self._tables.get(key)
        if known is not None:
            return known
        tests = len(piece.tests)
        cells = len(set(piece.groups)) << tests
        if tests > MOST_TESTS or self._cells + cells > MOST_CELLS:
            return None
        outcomes = np.arange(1 << tests)
        answers = [(outcomes >> bit & 1).astype(bool) for bit in range(tests)]
        made = _piece(piece, model, kind, answers)
        table = list(made), np.array(list(made.values()))
        self._cells += cells
        self._tables[key] = table
        return table


def _answers(test: Test, given: np.ndarray) -> np.ndarray:
    """Whether the test holds, for each row."""
    values = given[test.column]
    answer: np.ndarray = (
        values <= test.split if test.members is None else np.isin(values, list(test.members))
    )
    return answer | np.isnan(values) if test.missing else answer


def _piece(piece: Piece, model: Trees, kind: int, answers: Sequence[np.ndarray]) -> dict[int, Any]:
    """As ``Trees._added``, for many outcomes of the tests; one array per feature, by its index."""
    weights = model.weights[kind]
    edges = piece.edges
    passed: list[np.ndarray] = []
    for edge in edges:
        own = answers[edge.test] if edge.side else ~answers[edge.test]
        passed.append(own if edge.same < 0 else own & passed[edge.same])
    zeros = np.zeros(len(answers[0]))
    sums: dict[int, np.ndarray] = {}
    for weight, numbers in piece.points:
        factors: list[np.ndarray] = []
        changes: list[np.ndarray] = []
        products: list[np.ndarray] = []
        for edge, is_passed, (unknown, known, if_unknown, if_known) in zip(
            edges, passed, numbers, strict=True
        ):
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
            group = piece.groups[index]
            sums[group] = sums.get(group, zeros) + weight * total * change
            if edge.above >= 0:
                totals[edge.above] = totals[edge.above] + total
    return sums
