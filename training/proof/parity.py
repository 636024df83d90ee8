"""The gate: an exported form serves only if it was found equal to the estimator that it was made from."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from handler.bundle import Task
from handler.schema import Columns
from handler.scoring.scorers import Scorer, Scores, finite, length
from training.errors import one_line

#: The largest difference of a probability; trees compute in float32.
PROBABILITY_TOLERANCE = 1e-6
#: The largest difference of a regression's value, in the unit that ``Scale`` states.
VALUE_TOLERANCE = 1e-5
#: The largest of both, with ``--exact``.
EXACT_TOLERANCE = 1e-12
#: How much an estimator's prediction for a row may depend on the rows beside it: as much as double
#: precision explains, and as much as float32 does.
STEADY, UNSTEADY = 1e-9, 1e-3
#: Rows that the estimator scores together and one by one, to find how much it does.
STEADY_ROWS = 50
#: The most rows held out that are compared, and the fewest rows that are compared in all.
ROWS = 20_000
#: The most cells (rows by features) that are scored at once.
CELLS = 2_000_000
#: The most rows that the graph has no number for and that the estimator scores one by one.
ASKED_ALONE = 500


class Scale(NamedTuple):
    """The unit of a regression's differences: the target's own spread; and of a score's, that score's own.

    The unit of a value is its distance from ``centre``, the target's mean, and at least ``unit``, its
    standard deviation. So an error counts by its share of the target's spread, whatever the target's size
    and offset, and far outside of what training saw by the value's own size.
    """

    unit: float
    centre: float

    @classmethod
    def of(cls, target: np.ndarray) -> Scale:
        """The scale of a target's values, shape (n,); where all are the same, its unit is their size."""
        centre = float(target.mean())
        return cls(float(target.std()) or abs(centre) or 1.0, centre)

    def units(self, values: np.ndarray) -> np.ndarray:
        """The unit of each value."""
        return np.maximum(self.unit, np.abs(values - self.centre))


@dataclass(frozen=True, slots=True)
class Finding:
    """What comparing found; ``reason`` is why the scorer was rejected, in one line, or None.

    ``largest_difference`` is None where a scorer gave no number, or was not tried. ``answers_too_much``:
    the scorer was rejected only because it answers where the estimator gives no finite number.
    """

    rows: int
    adversarial_rows: int
    labels_identical: bool | None
    largest_difference: float | None
    tolerance: float
    reason: str | None = None
    scale: Scale | None = None
    answers_too_much: bool = False

    def as_json(self) -> dict[str, Any]:
        """The manifest's ``parity``."""
        fields = {
            "rows": self.rows,
            "adversarial_rows": self.adversarial_rows,
            "labels_identical": self.labels_identical,
            "largest_difference": self.largest_difference,
            "tolerance": self.tolerance,
            "reason": self.reason,
            **(self.scale._asdict() if self.scale else {}),
        }
        return {name: value for name, value in fields.items() if value is not None}


def untried(reason: str, tolerance: float = 0.0, scale: Scale | None = None) -> Finding:
    """The finding on a scorer that could not be made, or that fails."""
    return Finding(0, 0, None, None, tolerance, reason, scale)


@dataclass(frozen=True, slots=True)
class Gate:
    """An estimator, and the rows on which another scorer must agree with it.

    ``scale``: a regression's or a score's, without which values count by their own size, and at least by 1.
    ``exact``: differences of ``EXACT_TOLERANCE`` at most are allowed.
    """

    estimator: Scorer
    task: Task
    held_out: Columns
    adversarial: Columns
    scale: Scale | None = None
    exact: bool = False

    @property
    def tolerance(self) -> float:
        """By how much two scorers may differ, in probabilities, or in values or scores by ``Scale``."""
        if self.exact:
            return EXACT_TOLERANCE
        return VALUE_TOLERANCE if self.task == "regression" else PROBABILITY_TOLERANCE

    def compare(self, scorer: Scorer) -> Finding:
        """Score both sets of rows with both scorers, which must agree on every row.

        They agree too where neither gives a finite number: the estimator may also raise there.
        """
        scale = self.scale or (Scale(1.0, 0.0) if self.task == "regression" else None)
        tolerance, seen = self.tolerance, _Seen()
        for rows in (*_slices(self.held_out), *_slices(self.adversarial)):
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")  # of overflows, which are what the extremes are for
                    seen.score(scorer, self.estimator, rows, scale)
            except _Raises as error:
                cause = f"it answers where scikit-learn raises {one_line(error.__cause__)}"
                return replace(untried(cause, tolerance, scale), answers_too_much=True)
            except Exception as error:  # noqa: BLE001 - rows that the scorer fails on are no proof
                return untried(f"scoring the rows to compare fails: {one_line(error)}", tolerance, scale)
        reason: str | None = None
        if seen.mismatches:
            reason = f"{seen.mismatches:,} of the rows tried get another label"
        elif seen.largest > tolerance:
            reason = f"its largest difference, {seen.largest:.1e}, is over the tolerance of {tolerance:.0e}"
        elif seen.too_much:
            reason = (
                f"it answers {seen.too_much:,} of the rows tried where scikit-learn gives no finite number"
            )
        return Finding(
            rows=length(self.held_out),
            adversarial_rows=length(self.adversarial),
            labels_identical=None if self.task == "regression" else not seen.mismatches,
            largest_difference=seen.largest if math.isfinite(seen.largest) else None,
            tolerance=tolerance,
            reason=reason,
            scale=scale,
            answers_too_much=bool(seen.too_much and not seen.mismatches and seen.largest <= tolerance),
        )

    def unsteadiness(self) -> float:
        """The largest difference of the estimator between held-out rows scored together and one by one.

        It is infinite where labels differ, or where the same rows together do not get the same twice.
        """
        step = max(1, length(self.held_out) // STEADY_ROWS)
        columns = {name: values[::step] for name, values in self.held_out.items()}
        seen, again = _Seen(), _Seen()
        together = self.estimator.score(columns)
        again.add(self.estimator.score(columns), together, self.scale)
        if again.mismatches or again.largest > STEADY:
            return math.inf
        for index in range(length(columns)):
            alone = self.estimator.score(_rows_at(columns, np.array([index])))
            seen.add(alone, together.at(np.array([index])), self.scale)
        return math.inf if seen.mismatches else seen.largest


class _Raises(Exception):
    """The estimator raises on a row that the graph answers; the cause is its error."""


class _Seen:
    """What comparing has seen so far."""

    def __init__(self) -> None:
        self.mismatches = 0
        self.too_much = 0
        self.largest = 0.0

    def score(self, graph: Scorer, estimator: Scorer, columns: Columns, scale: Scale | None) -> None:
        """Score the rows with both; raises ``_Raises``."""
        scores = graph.score(columns)
        answered = finite(scores)
        sound, silent = np.flatnonzero(answered), np.flatnonzero(~answered)
        if len(sound):
            true = _scored(estimator, _rows_at(columns, sound))
            right = finite(true)
            self.too_much += int((~right).sum())
            self.add(scores.at(sound[right]), true.at(right), scale)
        step = max(1, len(silent) // ASKED_ALONE)
        for index in silent[::step]:
            try:
                alone = estimator.score(_rows_at(columns, np.array([index])))
            except Exception:  # noqa: BLE001 - neither answers
                continue
            if finite(alone).all():
                self.largest = math.inf

    def add(self, scores: Scores, true: Scores, scale: Scale | None) -> None:
        """Compare rows that both have answered; ``scale`` is that of the values, or of the score."""
        if scores.values.dtype.kind == "f":
            self._add(scores.values, true.values, scale)
            return
        self.mismatches += int((scores.values != true.values).sum())
        self._add(scores.probabilities, true.probabilities, None)
        self._add(scores.score, true.score, scale)

    def _add(self, values: np.ndarray | None, true: np.ndarray | None, scale: Scale | None) -> None:
        if values is None or true is None:
            self.largest = self.largest if values is true else math.inf
            return
        units = np.ones(1) if scale is None else scale.units(true)
        self.largest = max(self.largest, float((np.abs(values - true) / units).max(initial=0.0)))


def _scored(estimator: Scorer, columns: Columns) -> Scores:
    """The scores of the rows; raises ``_Raises`` from the error of the first row that has none."""
    try:
        return estimator.score(columns)
    except Exception as error:
        count = length(columns)
        if count > 1:  # one of the halves has a row that it refuses, unless it refuses them only together
            _scored(estimator, _rows_at(columns, np.arange(count // 2)))
            _scored(estimator, _rows_at(columns, np.arange(count // 2, count)))
        raise _Raises from error


def _slices(columns: Columns) -> Iterator[Columns]:
    count = length(columns)
    size = max(1, CELLS // len(columns))
    for start in range(0, count, size):
        yield {name: values[start : start + size] for name, values in columns.items()}


def _rows_at(columns: Columns, indices: np.ndarray) -> Columns:
    return {name: values[indices] for name, values in columns.items()}
