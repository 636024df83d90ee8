"""How good a model is on rows whose truth is known, as JSON numbers: at training, and on what came since.

Training and ``python -m handler evaluate`` measure, and need scikit-learn for it; nothing that serves does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from handler.manifest import Contract
from handler.scoring.scorers import Scores

if TYPE_CHECKING:
    import numpy as np

#: The most classes whose confusion matrix the manifest has.
LARGEST_MATRIX = 50
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
        measured["confusion_matrix"] = matrix(contract, truth, scores).tolist()
    if every_truth is not None:
        constant = baseline(contract, every_truth, len(truth))
        if scores.probabilities is None:
            constant = constant._replace(probabilities=None)
        measured["baseline"] = _measured(contract, truth, constant)
    return measured


def baseline(contract: Contract, every_truth: np.ndarray, rows: int) -> Scores:
    """What a model answers that looks at no feature: the mean, or the commonest class and the shares."""
    import numpy as np

    if contract.task == "regression":
        return Scores(np.full(rows, every_truth.mean()), None)
    shares = np.bincount(every_truth, minlength=len(contract.classes)) / len(every_truth)
    return Scores(np.full(rows, shares.argmax()), np.tile(shares, (rows, 1)))


def _measured(contract: Contract, truth: np.ndarray, scores: Scores) -> dict[str, Any]:
    measured = _regression if contract.task == "regression" else partial(_classes, contract)
    return {name: value for name, value in measured(truth, scores).items() if math.isfinite(value)}


def _regression(y: np.ndarray, scores: Scores) -> dict[str, float]:
    from sklearn import metrics as sk

    values = scores.values
    return {
        "r2": float(sk.r2_score(y, values)) if len(y) > 1 else math.nan,
        "mae": float(sk.mean_absolute_error(y, values)),
        "median_ae": float(sk.median_absolute_error(y, values)),
        "rmse": math.sqrt(sk.mean_squared_error(y, values)),
    }


def _classes(contract: Contract, truth: np.ndarray, scores: Scores) -> dict[str, float]:
    import numpy as np
    from sklearn import metrics as sk

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
    positive = scores.score if scores.probabilities is None else scores.probabilities[:, 1]
    if contract.task == "binary" and positive is not None and truth.min() < truth.max():
        measured["roc_auc"] = float(sk.roc_auc_score(truth, positive.astype(np.float64)))
    if scores.probabilities is not None:
        probabilities = scores.probabilities.astype(np.float64)
        labels = list(range(len(contract.classes)))
        measured["log_loss"] = float(sk.log_loss(truth, probabilities, labels=labels))
    return measured


def matrix(contract: Contract, truth: np.ndarray, scores: Scores) -> np.ndarray:
    """Rows by actual and predicted class, shape (classes, classes)."""
    import numpy as np

    size = len(contract.classes)
    return np.bincount(truth * size + scores.values, minlength=size * size).reshape(size, size)
