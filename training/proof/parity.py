"""The gate: an exported form serves only if it was found equal to the estimator that it was made from."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from handler.manifest import Task
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
#: What a one-row program may compute on all rows that it is compared on, in ``Program.work``: a second. Of
#: each set there are so many rows at least, and they have every edge: see ``rows.adversarial``.
PROGRAMS_WORK = 2_000_000
FEWEST_ROWS = 1000
#: The most cells (rows by features) that are scored at once.
CELLS = 4_000_000
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
    ``exact``: differences of ``EXACT_TOLERANCE`` at most are allowed. The estimator scores the rows once,
    however many scorers are compared with it.
    """

    estimator: Scorer
    task: Task
    held_out: Columns
    adversarial: Columns
    scale: Scale | None = None
    exact: bool = False
    _truths: list[_Truth] = field(default_factory=list, init=False, repr=False, compare=False)

    @property
    def tolerance(self) -> float:
        """By how much two scorers may differ, in probabilities, or in values or scores by ``Scale``."""
        if self.exact:
            return EXACT_TOLERANCE
        return VALUE_TOLERANCE if self.task == "regression" else PROBABILITY_TOLERANCE

    def compare(
        self, scorer: Scorer, most: int | None = None, tick: Callable[[int, int], None] = lambda *_: None
    ) -> Finding:
        """Score both sets of rows with both scorers, which must agree on every row.

        They agree too where neither gives a finite number: the estimator may also raise there. Of each set,
        the first ``most`` rows are compared, or all. ``tick`` is called with how many were, and will be.
        """
        scale = self.scale or (Scale(1.0, 0.0) if self.task == "regression" else None)
        tolerance, seen = self.tolerance, _Seen()
        sizes = [min(length(rows), most or length(rows)) for rows in (self.held_out, self.adversarial)]
        done = 0
        for truth, count in self._asked(sizes):
            tick(done, sum(sizes))
            done += count
            try:
                with warnings.catch_warnings(), np.errstate(all="ignore"):
                    warnings.simplefilter("ignore")  # of overflows, which are what the extremes are for
                    seen.score(scorer, truth, count, scale)
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
            rows=sizes[0],
            adversarial_rows=sizes[1],
            labels_identical=None if self.task == "regression" else not seen.mismatches,
            largest_difference=seen.largest if math.isfinite(seen.largest) else None,
            tolerance=tolerance,
            reason=reason,
            scale=scale,
            answers_too_much=bool(seen.too_much and not seen.mismatches and seen.largest <= tolerance),
        )

    def _asked(self, sizes: Sequence[int]) -> Iterator[tuple[_Truth, int]]:
        """Slices of both sets of rows, with how many of their rows are compared, up to ``sizes`` in all."""
        if not self._truths:
            for number, rows in enumerate((self.held_out, self.adversarial)):
                self._truths.extend(_Truth(self.estimator, each, number) for each in _slices(rows))
        left = list(sizes)
        for truth in self._truths:
            count = min(left[truth.number], length(truth.columns))
            left[truth.number] -= count
            if count:
                yield truth, count

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


class _Truth:
    """What the estimator answers to some rows of a set, which has a ``number``; it is asked once."""

    def __init__(self, estimator: Scorer, columns: Columns, number: int) -> None:
        self.columns = columns
        self.number = number
        self._estimator = estimator
        self._known: Scores | None = None  # the scores of ``_rows``
        self._rows = np.arange(length(columns))
        self._refuses = False
        self._alone: dict[int, bool] = {}  # whether a row that was asked alone got a finite number

    def at(self, rows: np.ndarray) -> Scores:
        """The scores of some rows, by their indices; raises ``_Raises``."""
        if self._known is None and not self._refuses:
            try:
                self._known = self._estimator.score(self.columns)
            except Exception:  # noqa: BLE001 - it refuses some of them, perhaps others than these
                self._refuses = True
        if self._refuses and (self._known is None or not np.isin(rows, self._rows).all()):
            self._known, self._rows = _scored(self._estimator, _rows_at(self.columns, rows)), rows
        assert self._known is not None
        return self._known.at(np.searchsorted(self._rows, rows))

    def answers(self, rows: np.ndarray) -> bool:
        """Whether the estimator gives a finite number for any of the rows, by their indices.

        Where it refuses the rows together, up to ``ASKED_ALONE`` of them are asked one by one, with those
        that were asked for another scorer.
        """
        if not self._refuses and self._known is not None:
            return bool(finite(self._known.at(rows)).any())
        asked = [index for index in rows.tolist() if index in self._alone]
        if any(self._alone[index] for index in asked):
            return True
        left = ASKED_ALONE - len(asked)
        others = [index for index in rows.tolist() if index not in self._alone]
        for index in others[:: math.ceil(len(others) / left) or 1] if left > 0 else ():
            try:
                alone = self._estimator.score(_rows_at(self.columns, np.array([index])))
                self._alone[index] = bool(finite(alone).all())
            except Exception:  # noqa: BLE001 - neither answers
                self._alone[index] = False
            if self._alone[index]:
                return True
        return False


class _Seen:
    """What comparing has seen so far."""

    def __init__(self) -> None:
        self.mismatches = 0
        self.too_much = 0
        self.largest = 0.0

    def score(self, graph: Scorer, truth: _Truth, count: int, scale: Scale | None) -> None:
        """Score the first ``count`` rows of ``truth`` with both; raises ``_Raises``."""
        every = count == length(truth.columns)
        scores = graph.score(truth.columns if every else _rows_at(truth.columns, np.arange(count)))
        answered = finite(scores)
        sound, silent = np.flatnonzero(answered), np.flatnonzero(~answered)
        if len(sound):
            true = truth.at(sound)
            right = finite(true)
            self.too_much += int((~right).sum())
            self.add(scores.at(sound[right]), true.at(right), scale)
        if len(silent) and truth.answers(silent):
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
