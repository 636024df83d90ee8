"""Scores become outputs: the labels and probabilities of a JSON answer, and the columns of a CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from handler.bundle import Label, Manifest

if TYPE_CHECKING:
    import numpy as np

    from handler.scoring.scorers import Scores


def prediction(
    classes: Sequence[Label], label: Any, probabilities: Sequence[float] | None
) -> dict[str, Any]:
    """One row's JSON object: ``prediction`` and, where the model has them, ``probabilities``."""
    if probabilities is None:
        return {"prediction": label}
    return {"prediction": label, "probabilities": dict(zip(map(str, classes), probabilities, strict=True))}


def predictions(classes: Sequence[Label], scores: Scores) -> list[dict[str, Any]]:
    """One JSON object per row."""
    predicted = labels(classes, scores)
    if scores.probabilities is None:
        return [prediction(classes, label, None) for label in predicted]
    rows = zip(predicted, scores.probabilities.tolist(), strict=True)
    return [prediction(classes, label, probabilities) for label, probabilities in rows]


def labels(classes: Sequence[Label], scores: Scores) -> list[Label | float]:
    """The rows' predicted classes, or values where there are no classes, as JSON takes them."""
    values: list[Any] = scores.values.tolist()
    return [classes[index] for index in values] if classes else values


def names(manifest: Manifest) -> tuple[str, ...]:
    """The columns that scoring adds to a CSV."""
    if not manifest.probabilities:
        return ("prediction",)
    classes = manifest.classes[shown(manifest)]
    columns = ("probability",) if len(classes) == 1 else (f"probability_{label}" for label in classes)
    return ("prediction", *columns)


def columns(manifest: Manifest, scores: Scores) -> list[np.ndarray | list[str]]:
    """The columns that scoring adds to a CSV, shape (n,) each; text labels as a list."""
    if not manifest.classes:
        return [scores.values]
    import numpy as np

    predicted: np.ndarray | list[str]
    if all(isinstance(label, int) for label in manifest.classes):
        predicted = np.array(manifest.classes)[scores.values]
    else:
        predicted = [str(label) for label in labels(manifest.classes, scores)]
    if scores.probabilities is None:
        return [predicted]
    return [predicted, *np.ascontiguousarray(scores.probabilities.T)[shown(manifest)]]


def shown(manifest: Manifest) -> slice:
    """The classes whose probabilities a CSV has: of two, the second, which is the positive one."""
    return slice(1 if manifest.task == "binary" else 0, None)
