"""The gate: a graph serves only if it was found equal to the estimator that it was made from."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from handler.bundle import Task
from handler.schema import Columns
from handler.scoring.model import Scorer, Scores
from training.errors import one_line

#: Absolute, on each probability; trees compute in float32.
PROBABILITY_TOLERANCE = 1e-6
#: Of a regression's value, relative to the greater of 1 and its size.
VALUE_TOLERANCE = 1e-5
#: Of both, where a model is asked to be exact.
EXACT_TOLERANCE = 1e-12
#: Rows held out that are compared at most, and rows that are compared at least, in all.
ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Finding:
    """What comparing found; ``reason`` says in one line why the graph shall not serve, if it shall not.

    ``largest_difference`` is None where a scorer gave no number, or was not tried.
    """

    rows: int
    adversarial_rows: int
    labels_identical: bool | None
    largest_difference: float | None
    tolerance: float
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The manifest's ``parity``."""
        told = {
            "rows": self.rows,
            "adversarial_rows": self.adversarial_rows,
            "labels_identical": self.labels_identical,
            "largest_difference": self.largest_difference,
            "tolerance": self.tolerance,
            "reason": self.reason,
        }
        return {name: value for name, value in told.items() if value is not None}


def untried(reason: str) -> Finding:
    """The finding on a graph that could not be made."""
    return Finding(0, 0, None, None, 0.0, reason)


def compare(
    graph: Scorer,
    estimator: Scorer,
    task: Task,
    held_out: Columns,
    adversarial: Columns,
    *,
    exact: bool = False,
) -> Finding:
    """Score both sets of rows with both scorers, who must agree on every one."""
    regression = task == "regression"
    tolerance = VALUE_TOLERANCE if regression else PROBABILITY_TOLERANCE
    tolerance = EXACT_TOLERANCE if exact else tolerance
    mismatches, differences = 0, [0.0]
    for columns in (held_out, adversarial):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of overflows, which are what the extremes are for
                found, true = graph.score(columns), estimator.score(columns)
            if regression:
                differences.append(
                    _largest(found.values, true.values, np.maximum(1.0, np.abs(true.values)))
                )
            else:
                mismatches += int((found.values != true.values).sum())
                differences.append(_largest_of_probabilities(found, true))
        except Exception as error:  # noqa: BLE001 - rows that one of them cannot score are no proof
            return untried(f"scoring the rows to compare fails: {one_line(error)}")
    largest = float(max(differences))
    if mismatches:
        reason = f"{mismatches:,} of the rows tried get another label"
    elif largest > tolerance:
        reason = f"its largest difference, {largest:.1e}, is over the tolerance of {tolerance:.0e}"
    else:
        reason = None
    return Finding(
        rows=_rows(held_out),
        adversarial_rows=_rows(adversarial),
        labels_identical=None if regression else not mismatches,
        largest_difference=largest if math.isfinite(largest) else None,
        tolerance=tolerance,
        reason=reason,
    )


def _largest_of_probabilities(found: Scores, true: Scores) -> float:
    if found.probabilities is None or true.probabilities is None:
        return 0.0 if found.probabilities is true.probabilities else math.inf
    return _largest(found.probabilities, true.probabilities, np.ones(1))


def _largest(found: np.ndarray, true: np.ndarray, unit: np.ndarray) -> float:
    """The largest difference in ``unit``; infinite where only one of them is a number."""
    same = (found == true) | (np.isnan(found) & np.isnan(true))
    difference = np.where(same, 0.0, np.abs(found - true) / unit)
    return float(np.nan_to_num(difference, nan=math.inf).max(initial=0.0))


def _rows(columns: Columns) -> int:
    return len(next(iter(columns.values())))
