"""Scores become outputs: the labels, probabilities and score of a JSON answer, and the columns of a CSV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from handler.manifest import Label, Manifest, Task
from handler.typed import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from handler.scoring.scorers import Scores


def prediction(
    classes: Sequence[Label],
    label: Any,
    probabilities: Sequence[float] | None,
    score: float | None = None,
    outside: Sequence[str] = (),
) -> dict[str, Any]:
    """One row's JSON object: ``prediction`` and, where there are such, the others under their names."""
    answer = {"prediction": label}
    if probabilities is not None:
        answer["probabilities"] = dict(zip(map(str, classes), probabilities, strict=True))
    if score is not None:
        answer["score"] = score
    if outside:
        answer["outside"] = outside
    return answer


def predictions(
    classes: Sequence[Label], scores: Scores, outside: Iterable[Sequence[str]] | None = None
) -> list[dict[str, Any]]:
    """One JSON object per row; ``outside`` has the features of each row that lie outside."""
    predicted = labels(classes, scores)
    nothing = [None] * len(predicted)
    probabilities = nothing if scores.probabilities is None else scores.probabilities.tolist()
    score = nothing if scores.score is None else scores.score.tolist()
    beyond = [()] * len(predicted) if outside is None else outside
    return [prediction(classes, *row) for row in zip(predicted, probabilities, score, beyond, strict=True)]


def labels(classes: Sequence[Label], scores: Scores) -> list[Label | float]:
    """The rows' predicted classes, or values where there are no classes, as JSON takes them."""
    values: list[Any] = scores.values.tolist()
    return [classes[index] for index in values] if classes else values


def names(manifest: Manifest, reasons: int = 0) -> tuple[str, ...]:
    """The columns that scoring adds to a CSV; ``reasons``: how many each row has."""
    classes = manifest.classes[shown(manifest)] if manifest.probabilities else ()
    columns = ("probability",) if manifest.task == "binary" else (f"probability_{each}" for each in classes)
    score = ("score",) if manifest.score else ()
    numbers = range(1, reasons + 1)
    explained = (f"reason_{number}{end}" for number in numbers for end in ("", "_contribution"))
    return ("prediction", *(columns if classes else ()), *score, *explained)


def columns(manifest: Manifest, scores: Scores) -> list[Any]:
    """The columns that scoring adds to a CSV, shape (n,) each, as ``tables.rows.Outputs`` has them."""
    if not manifest.classes:
        return [scores.values]
    if isinstance(scores.values, list):  # without numpy
        cells = zip(*(scores.probabilities or ()), strict=True)
        given = [list(each) for each in cells]
        return [
            labels(manifest.classes, scores),
            *given[shown(manifest)],
            *(() if scores.score is None else (scores.score,)),
        ]
    import numpy as np

    from handler.categories import Coded

    predicted: np.ndarray | Coded
    if all(isinstance(label, int) for label in manifest.classes):
        predicted = np.array(manifest.classes)[scores.values]
    else:
        predicted = Coded(scores.values, tuple(map(str, manifest.classes)))
    given = () if scores.probabilities is None else np.ascontiguousarray(scores.probabilities.T)
    return [predicted, *given[shown(manifest)], *(() if scores.score is None else (scores.score,))]


def amounts(task: Task, scores: Scores) -> np.ndarray | None:
    """The number of each row by which predictions are compared, shape (n,); None if there are only labels.

    It is the probability of a binary model's positive class, the score, or the value of a regression.
    """
    if task == "regression":
        return scores.values
    if task == "binary" and scores.probabilities is not None:
        return scores.probabilities[:, 1]
    return scores.score


def shown(manifest: Manifest) -> slice:
    """The classes whose probabilities a CSV has: of two, the second, which is the positive one."""
    return slice(1 if manifest.task == "binary" else 0, None)
