"""How good a model is on the rows held out, as JSON numbers; without a target, what it predicts there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics as sk

from handler.bundle import Contract
from handler.scoring.scorers import Scores
from training.compat import root_mean_squared_error

#: The most classes whose confusion matrix the manifest has.
LARGEST_MATRIX = 50
#: The most labels whose rows are counted one by one.
SHOWN = 20
QUANTILES = {"least": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "greatest": 1.0}


def shown(value: float) -> str:
    """A metric with four decimals, or, if it is small or large, with four significant digits."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e9 else f"{value:.4g}"


def counts(contract: Contract, scores: Scores) -> list[Sequence[str]]:
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


def spread(scores: Scores) -> list[Sequence[str]]:
    """A table of the quantiles of the score, its header first; empty where there is no score."""
    if scores.score is None:
        return []
    values = np.quantile(scores.score[np.isfinite(scores.score)], list(QUANTILES.values()))
    return [
        ("score", "value"),
        *((name, shown(value)) for name, value in zip(QUANTILES, values, strict=True)),
    ]


def measure(contract: Contract, truth: np.ndarray, scores: Scores) -> dict[str, Any]:
    """The manifest's ``metrics``; ``truth`` is as ``scores.values``.

    Precision, recall and f1 are those of the second of two classes, or macro means. A metric without a
    value (such as the ROC area of a single class) is left out.
    """
    if contract.task == "regression":
        measured = _regression(truth, scores.values)
    else:
        measured = _classes(contract, truth, scores)
    return {
        name: value for name, value in measured.items() if isinstance(value, list) or math.isfinite(value)
    }


def _regression(y: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    return {
        "r2": float(sk.r2_score(y, values)),
        "mae": float(sk.mean_absolute_error(y, values)),
        "rmse": root_mean_squared_error(y, values),
    }


def _classes(contract: Contract, truth: np.ndarray, scores: Scores) -> dict[str, Any]:
    classes = list(range(len(contract.classes)))
    average = "binary" if contract.task == "binary" else "macro"
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        truth, scores.values, average=average, zero_division=0.0
    )
    measured: dict[str, Any] = {
        "accuracy": float(sk.accuracy_score(truth, scores.values)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
    }
    if scores.probabilities is not None:
        probabilities = scores.probabilities.astype(np.float64)
        if contract.task == "binary":
            measured["roc_auc"] = float(sk.roc_auc_score(truth, probabilities[:, 1]))
        measured["log_loss"] = float(sk.log_loss(truth, probabilities, labels=classes))
    if len(classes) <= LARGEST_MATRIX:
        measured["confusion_matrix"] = sk.confusion_matrix(truth, scores.values, labels=classes).tolist()
    return measured
