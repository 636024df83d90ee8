"""How good a model is on the rows held out, as JSON numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn import metrics as sk

from handler.bundle import Manifest
from handler.scoring.scorers import Scores, class_index

#: A confusion matrix of more classes is left out of the manifest.
LARGEST_MATRIX = 50


def shown(value: float) -> str:
    """A metric with four decimals, or, if it is small or large, with four significant digits."""
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e9 else f"{value:.4g}"


def measure(manifest: Manifest, y: np.ndarray, scores: Scores) -> dict[str, Any]:
    """The manifest's ``metrics``; precision, recall and f1 are the second class's of two, else macro means.

    A metric without a value (such as the ROC area of a single class) is left out.
    """
    index = class_index(manifest.classes)
    found = _regression(y, scores.values) if index is None else _classes(manifest, index(y), scores)
    return {name: value for name, value in found.items() if isinstance(value, list) or math.isfinite(value)}


def _regression(y: np.ndarray, values: np.ndarray) -> dict[str, Any]:
    return {
        "r2": float(sk.r2_score(y, values)),
        "mae": float(sk.mean_absolute_error(y, values)),
        "rmse": float(sk.root_mean_squared_error(y, values)),
    }


def _classes(manifest: Manifest, y: np.ndarray, scores: Scores) -> dict[str, Any]:
    places = range(len(manifest.classes))
    average = "binary" if manifest.task == "binary" else "macro"
    precision, recall, f1, _ = sk.precision_recall_fscore_support(
        y, scores.values, average=average, zero_division=0.0
    )
    found: dict[str, Any] = {
        "accuracy": float(sk.accuracy_score(y, scores.values)),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
    }
    if scores.probabilities is not None:
        probabilities = scores.probabilities.astype(np.float64)
        if manifest.task == "binary":
            found["roc_auc"] = float(sk.roc_auc_score(y, probabilities[:, 1]))
        found["log_loss"] = float(sk.log_loss(y, probabilities, labels=list(places)))
    if len(places) <= LARGEST_MATRIX:
        found["confusion_matrix"] = sk.confusion_matrix(y, scores.values, labels=list(places)).tolist()
    return found


def table(manifest: Manifest, y: np.ndarray, scores: Scores) -> str:
    """scikit-learn's classification report, under the classes' names."""
    index = class_index(manifest.classes)
    assert index is not None
    text: str = sk.classification_report(
        index(y),
        scores.values,
        labels=range(len(manifest.classes)),
        target_names=[str(label) for label in manifest.classes],
        digits=4,
        zero_division=0.0,
    )
    return text.rstrip()


def at_threshold(positive: np.ndarray, probability: np.ndarray, threshold: float) -> list[float]:
    """Precision, recall and f1 where a row is called positive from a probability of ``threshold`` on."""
    found = sk.precision_recall_fscore_support(
        positive, probability >= threshold, average="binary", zero_division=0.0
    )
    return [float(value) for value in found[:3]]
