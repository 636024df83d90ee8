"""How good a model is on the rows held out, as tables; without a target, what it predicts there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from handler.manifest import Contract
from handler.rendering import Rows
from handler.scoring.metrics import matrix, shown
from handler.scoring.scorers import Scores

#: The most labels whose rows are counted one by one.
SHOWN = 20
#: A threshold is suggested where it makes the F1 on the rows held out better by so much.
BETTER_BY = 0.05
#: With fewer positive rows held out, none is suggested.
FEWEST_POSITIVES = 10
QUANTILES = {
    "least": 0.0,
    "5 %": 0.05,
    "25 %": 0.25,
    "median": 0.5,
    "75 %": 0.75,
    "95 %": 0.95,
    "greatest": 1.0,
}


def counts(contract: Contract, scores: Scores) -> Rows:
    """A table, with its header, of the rows by their label; the ``SHOWN`` most frequent ones are listed."""
    rows = np.bincount(scores.values, minlength=len(contract.classes))
    order = np.argsort(-rows, kind="stable")
    table = [
        (str(contract.classes[each]), f"{rows[each]:,}", f"{rows[each] / rows.sum():.1%}") for each in order
    ]
    left = rows[order[SHOWN:]]
    more = (
        [(f"{len(left)} others", f"{left.sum():,}", f"{left.sum() / rows.sum():.1%}")] if len(left) else []
    )
    return [("prediction", "rows", "share"), *table[:SHOWN], *more]


def spread(scores: Scores) -> Rows:
    """A table of the quantiles of the score, its header first; empty where there is no score."""
    if scores.score is None:
        return []
    values = np.quantile(scores.score[np.isfinite(scores.score)], list(QUANTILES.values()))
    return [
        ("score", "value"),
        *((name, shown(value)) for name, value in zip(QUANTILES, values, strict=True)),
    ]


def per_class(contract: Contract, truth: np.ndarray, scores: Scores) -> Rows:
    """A table of how well each class is predicted; of very many, the ``SHOWN`` most frequent ones.

    A class that no row has, or that is never predicted, has no recall, or no precision.
    """
    by_pair = matrix(contract, truth, scores)
    right, actual, predicted = by_pair.diagonal(), by_pair.sum(axis=1), by_pair.sum(axis=0)
    order = np.argsort(-actual, kind="stable")[:SHOWN]
    table = [
        (
            str(contract.classes[each]),
            _share(right[each], predicted[each]),
            _share(right[each], actual[each]),
            _share(2 * right[each], actual[each] + predicted[each]),
            f"{actual[each]:,}",
            f"{predicted[each]:,}",
        )
        for each in sorted(order)
    ]
    left = np.argsort(-actual, kind="stable")[SHOWN:]
    if len(left):
        counts = f"{actual[left].sum():,}", f"{predicted[left].sum():,}"
        table.append((f"and {len(left)} more", "", "", "", *counts))
    return [("class", "precision", "recall", "F1", "rows", "predicted"), *table]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.4f}" if whole else "–"


class Threshold(NamedTuple):
    """A probability from which the second class is predicted, and what that gives on the rows held out."""

    value: float
    precision: float
    recall: float
    f1: float
    positives: int


def at_threshold(truth: np.ndarray, positive: np.ndarray, value: float) -> Threshold:
    """``truth`` is 0 or 1, ``positive`` the probability of 1."""
    predicted = positive >= value
    right, count, actual = int((truth[predicted] == 1).sum()), int(predicted.sum()), int((truth == 1).sum())
    f1 = 2 * right / (count + actual) if count + actual else 0.0
    return Threshold(value, right / count if count else 0.0, right / actual if actual else 0.0, f1, count)


def better_threshold(truth: np.ndarray, positive: np.ndarray, used: float) -> Threshold | None:
    """The threshold, of two digits, with the best F1; None where that is less than ``BETTER_BY`` better.

    Where fewer than ``FEWEST_POSITIVES`` rows are positive, what is best there is chance.
    """
    if (truth == 1).sum() < FEWEST_POSITIVES:
        return None
    quantiles = np.quantile(positive, np.linspace(0, 1, 200))
    candidates = np.array(
        sorted({float(f"{each:.2g}") for each in quantiles if 0 < float(f"{each:.2g}") < 1})
    )
    if not len(candidates):
        return None
    everyone, found = np.sort(positive), np.sort(positive[truth == 1])
    count = len(everyone) - np.searchsorted(everyone, candidates)
    right = len(found) - np.searchsorted(found, candidates)
    best = at_threshold(truth, positive, float(candidates[np.argmax(2 * right / (count + len(found)))]))
    return best if best.f1 >= at_threshold(truth, positive, used).f1 + BETTER_BY else None


def residuals(truth: np.ndarray, scores: Scores) -> Rows:
    """A table of the quantiles of what is actual minus what is predicted."""
    values = np.quantile(truth - scores.values, list(QUANTILES.values()))
    rows = [(name, shown(value)) for name, value in zip(QUANTILES, values, strict=True)]
    return [("actual minus predicted", "value"), *rows]
