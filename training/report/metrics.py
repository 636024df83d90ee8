"""How good a model is on the rows held out, as JSON numbers; without a target, what it predicts there."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn import metrics as sk

from handler.bundle import Contract
from handler.rendering import Rows
from handler.scoring.scorers import Scores
from training.compat import root_mean_squared_error

#: The most classes whose confusion matrix the manifest has.
LARGEST_MATRIX = 50
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

#: What metrics are called where people read them.
NAMES = {
    "roc_auc": "ROC area",
    "log_loss": "log loss",
    "f1": "F1",
    "r2": "R²",
    "mae": "mean absolute error",
    "median_ae": "median absolute error",
    "rmse": "root mean squared error",
}


def shown(value: float) -> str:
    """A metric with four decimals, fewer if it is large, or four significant digits if it is very small."""
    size = abs(value)
    if size >= 1e9 or 0 < size < 1e-3:
        return f"{value:.4g}"
    return f"{value:.4f}" if size < 100 else f"{value:,.2f}" if size < 1e5 else f"{value:,.0f}"


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


def scalars(measured: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a manifest that are one number each."""
    return {name: value for name, value in measured.items() if isinstance(value, float)}


def measure(
    contract: Contract, truth: np.ndarray, scores: Scores, every_truth: np.ndarray | None = None
) -> dict[str, Any]:
    """The manifest's ``metrics``; ``truth``, and ``every_truth`` of all rows, are as ``scores.values``.

    Precision, recall and f1 are those of the second of two classes, or macro means. A metric without a
    value (such as the ROC area of a single class) is left out. With ``every_truth``, ``baseline`` has the
    same metrics of the model that ``baseline`` describes.
    """
    measured = _measured(contract, truth, scores)
    if contract.task != "regression" and len(contract.classes) <= LARGEST_MATRIX:
        measured["confusion_matrix"] = _matrix(contract, truth, scores).tolist()
    if every_truth is not None:
        constant = baseline(contract, every_truth, len(truth))
        if scores.probabilities is None:
            constant = constant._replace(probabilities=None)
        measured["baseline"] = _measured(contract, truth, constant)
    return measured


def baseline(contract: Contract, every_truth: np.ndarray, rows: int) -> Scores:
    """What a model answers that looks at no feature: the mean, or the commonest class and the shares."""
    if contract.task == "regression":
        return Scores(np.full(rows, every_truth.mean()), None)
    shares = np.bincount(every_truth, minlength=len(contract.classes)) / len(every_truth)
    return Scores(np.full(rows, shares.argmax()), np.tile(shares, (rows, 1)))


def _measured(contract: Contract, truth: np.ndarray, scores: Scores) -> dict[str, Any]:
    measured = _regression if contract.task == "regression" else partial(_classes, contract)
    return {name: value for name, value in measured(truth, scores).items() if math.isfinite(value)}


def _regression(y: np.ndarray, scores: Scores) -> dict[str, float]:
    values = scores.values
    return {
        "r2": float(sk.r2_score(y, values)) if len(y) > 1 else math.nan,
        "mae": float(sk.mean_absolute_error(y, values)),
        "median_ae": float(sk.median_absolute_error(y, values)),
        "rmse": root_mean_squared_error(y, values),
    }


def _classes(contract: Contract, truth: np.ndarray, scores: Scores) -> dict[str, float]:
    average = "binary" if contract.task == "binary" else "macro"
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        truth, scores.values, average=average, zero_division=0.0
    )
    measured = {
        "accuracy": float(sk.accuracy_score(truth, scores.values)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
    }
    if scores.probabilities is not None:
        probabilities = scores.probabilities.astype(np.float64)
        if contract.task == "binary" and truth.min() < truth.max():
            measured["roc_auc"] = float(sk.roc_auc_score(truth, probabilities[:, 1]))
        labels = list(range(len(contract.classes)))
        measured["log_loss"] = float(sk.log_loss(truth, probabilities, labels=labels))
    return measured


def _matrix(contract: Contract, truth: np.ndarray, scores: Scores) -> np.ndarray:
    """Rows by actual and predicted class, shape (classes, classes)."""
    size = len(contract.classes)
    return np.bincount(truth * size + scores.values, minlength=size * size).reshape(size, size)


def per_class(contract: Contract, truth: np.ndarray, scores: Scores) -> Rows:
    """A table of how well each class is predicted; of very many, the ``SHOWN`` most frequent ones.

    A class that no row has, or that is never predicted, has no recall, or no precision.
    """
    matrix = _matrix(contract, truth, scores)
    right, actual, predicted = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
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
