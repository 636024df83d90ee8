"""Pictures of how good a model is, on rows with their targets, and of what it predicts, as SVG elements.

No picture shows a row's own value: targets and errors are counted in squares and bars.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from sklearn import metrics as sk

from handler import charts
from handler.charts import COLOURS, Axis, Plane, cut
from handler.rendering import Picture
from training.errors import one_line
from training.report.evidence import MOST_CURVES, MOST_IMPORTANT, Effect, Evidence

#: With more classes, a matrix cannot be read.
MOST_CLASSES = 30
#: Points of a curve, bars of a histogram, and squares along an edge.
POINTS, BARS, SQUARES = 200, 40, 40
#: Rows that a bin of the calibration has at least, where there are as many.
ROWS_IN_A_BIN = 20
#: How to read the distribution of a score.
SCORES = {
    "anomaly": "The lower the score, the more unusual the row; those left of the line are anomalies.",
    "cluster": "The score is the logarithm of a row's likelihood: the lower, the more unusual the row.",
}


Draw = Callable[[str, Evidence], str | list[str]]


def draw(evidence: Evidence) -> list[Picture]:
    """Every picture that suits the model's task; the caption of one that fails says so."""
    return [_drawn(*each, evidence) for each in _chosen(evidence)]


def _drawn(title: str, caption: str, make: Draw, evidence: Evidence) -> Picture:
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of the user's estimator, which has been heard before
            made = make(title, evidence)
    except Exception as error:  # noqa: BLE001 - a bundle is sound without pictures of an odd model
        return Picture(title, f"This picture could not be drawn: {one_line(error)}")
    wide = make is _effects or (make is _confusion and len(evidence.contract.classes) > 5)
    return Picture(title, caption, tuple([made] if isinstance(made, str) else made), wide)


def _chosen(evidence: Evidence) -> Iterator[tuple[str, str, Draw]]:
    """The title, the caption and the function of each picture."""
    task, rows = evidence.contract.task, evidence.rows
    if evidence.truth is None:
        yield "Predictions", f"What the model predicts for the {rows}.", _predictions
        if evidence.scores.score is not None:
            yield "Scores", f"How many {rows} have each score. {SCORES[task]}", _scores
    elif task == "regression":
        actual, residual = (partial(_errors, of=of) for of in ("actual", "residual"))
        yield (
            "Predicted and actual",
            f"The {rows} by what is predicted and what is true; the darker, the more rows. The closer to "
            "the line, the better.",
            actual,
        )
        yield (
            "Residuals",
            "What is actual minus what is predicted, by what is predicted. A slope, a bend or a funnel "
            "shows something that the model has not learnt.",
            residual,
        )
        yield (
            "Distribution of residuals",
            "How often the model is wrong by how much. A peak beside zero means that it predicts too much, "
            "or too little, in general.",
            _residuals,
        )
    else:
        yield from _chosen_for_classes(evidence)
    if evidence.truth is not None and evidence.importances:
        measured, features = len(evidence.importances), len(evidence.contract.features)
        few = f" Of {features:,} features, {measured:,} were tried." if measured < features else ""
        more = f" And {measured - MOST_IMPORTANT} more." if measured > MOST_IMPORTANT else ""
        yield (
            "Permutation importance",
            f"How far the {evidence.score_name} falls when a feature's values are shuffled among the rows: "
            f"the longer the bar, the more the model relies on it.{more}{few}",
            _importance,
        )
    if evidence.contributions:
        left = len(evidence.contributions) - MOST_IMPORTANT
        others = f" And {left} more." if left > 0 else ""
        yield (
            "Contributions",
            "How much each feature adds to a prediction or takes from it: the mean of the absolute "
            f"contributions that /explain gives, in {evidence.of}.{others}",
            _contributions,
        )
    many = len(evidence.contract.classes) > MOST_CURVES
    some = f" The {MOST_CURVES} classes are shown that are predicted most." if many else ""
    yield (
        "Effects",
        f"The mean prediction over {rows} if all had the value on the lower axis, and kept their others. A "
        f"flat line means that the feature alone changes little.{some}",
        _effects,
    )


def _chosen_for_classes(evidence: Evidence) -> Iterator[tuple[str, str, Draw]]:
    classes, rows = evidence.contract.classes, evidence.rows
    yield "Class balance", "How many rows of the whole file are of each class.", _balance
    if len(classes) <= MOST_CLASSES:
        yield (
            "Confusion matrix",
            f"The {rows}: a line for each actual class, a column for each predicted one. On the diagonal "
            "the prediction is right; the colour is the share of the line.",
            _confusion,
        )
    if evidence.scores.probabilities is None or evidence.truth.min() == evidence.truth.max():
        return
    if evidence.contract.task == "binary":
        positive = f"'{cut(str(classes[1]), 30)}'"
        yield (
            "Predicted probabilities",
            f"How often each probability of {positive} is predicted, for rows of either class. The less "
            "the two overlap, the better the model tells them apart.",
            _probabilities,
        )
        yield (
            "ROC",
            f"How many rows that are {positive} are found, against how many others are taken for it, "
            "over all thresholds. The closer to the upper left, the better; the dashed line is chance.",
            _roc,
        )
        yield (
            "Precision and recall",
            f"How many of the rows predicted as {positive} are right, against how many of all such rows "
            "are found, over all thresholds. The closer to the upper right, the better.",
            _precision_recall,
        )
        yield (
            "Threshold",
            f"What you would get if {positive} were predicted from another probability on. The dashed line "
            "is the threshold in use.",
            _thresholds,
        )
        yield (
            "Calibration",
            f"Of rows that are given about one probability, the share that is {positive}. On the dashed "
            "line, a probability can be taken at its word; the upright lines are what chance explains "
            "(95 %). Class weights bend it.",
            _calibration,
        )
    elif len(classes) <= MOST_CURVES:
        yield (
            "ROC, each class against the others",
            "How many rows of a class are found, against how many others are taken for it, over all "
            "thresholds. The closer to the upper left, the better.",
            _roc_of_each,
        )


def _names(evidence: Evidence, most: int = 16) -> list[str]:
    """The classes' names, cut to fit beside an axis."""
    return [cut(str(label), most) for label in evidence.contract.classes]


def _counts(title: str, evidence: Evidence, indices: np.ndarray) -> str:
    """How many rows each class has, of very many those that have most."""
    counts = np.bincount(indices, minlength=len(evidence.contract.classes))
    order = np.argsort(-counts, kind="stable")
    rows = [
        (str(evidence.contract.classes[each]), float(counts[each]), _counted(counts[each], counts.sum()))
        for each in order[:MOST_IMPORTANT]
    ]
    left = order[MOST_IMPORTANT:]
    if len(left):
        others = counts[left].sum()
        rows.append((f"and {len(left):,} more", float(others), _counted(others, counts.sum())))
    return charts.bars(title, rows, "rows")


def _counted(count: int, total: int) -> str:
    return f"{count:,} ({count / total:.1%})"


def _balance(title: str, evidence: Evidence) -> str:
    return _counts(title, evidence, evidence.every_truth)


def _predictions(title: str, evidence: Evidence) -> str:
    if evidence.contract.task != "regression":
        return _counts(title, evidence, evidence.scores.values)
    return _histogram(evidence.scores.values, "predicted").svg(title)


def _scores(title: str, evidence: Evidence) -> str:
    score = evidence.scores.score
    assert score is not None
    plane = _histogram(score[np.isfinite(score)], "score")
    return (plane.vertical(0) if evidence.contract.task == "anomaly" else plane).svg(title)


def _histogram(values: np.ndarray, label: str, *, around: float | None = None) -> Plane:
    ends = values if around is None else np.append(values, around)
    x = Axis.over(label, *_ends(ends))
    edges = np.linspace(*x.ends, _bars(len(values)) + 1)
    heights, _ = np.histogram(values, edges)
    plane = Plane(x, Axis.over("rows", 0, heights.max()), 200)
    return plane.histogram(heights, edges.tolist())


def _bars(rows: int) -> int:
    return max(8, min(BARS, math.ceil(math.sqrt(rows) * 1.5)))


def _confusion(title: str, evidence: Evidence) -> str:
    size = len(evidence.contract.classes)
    counts = sk.confusion_matrix(evidence.truth, evidence.scores.values, labels=range(size))
    return charts.matrix(title, counts, _names(evidence), "actual", "predicted")


def _shares(x: str, y: str, low: float = 0.0, high: float = 1.0) -> Plane:
    return Plane(Axis.over(x, low, high), Axis.over(y, 0, 1), 260)


def _thinned(xs: np.ndarray, ys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most ``POINTS`` of a curve's points, the first and the last among them."""
    some = np.unique(np.linspace(0, len(xs) - 1, POINTS).astype(int))
    return xs[some], ys[some]


def _roc(title: str, evidence: Evidence) -> str:
    truth, predicted = evidence.truth, evidence.positive >= evidence.threshold
    alarms, hits, _ = sk.roc_curve(truth, evidence.positive)
    plane = _shares("false alarms (share of the others)", "found (share of the class)")
    plane.rule(0, 0, 1, 1, "chance").line(*_thinned(alarms, hits), name="model")
    at = predicted[truth == 0].mean(), predicted[truth == 1].mean()
    return plane.dot(*at, 1, f"threshold {evidence.threshold:.3g}").svg(title)


def _precision_recall(title: str, evidence: Evidence) -> str:
    truth, predicted = evidence.truth, evidence.positive >= evidence.threshold
    precision, recall, _ = sk.precision_recall_curve(truth, evidence.positive)
    plane = _shares(
        "recall (share of the class that is found)", "precision (share of predictions that is right)"
    )
    plane.horizontal(truth.mean(), "chance").line(*_thinned(recall, precision), name="model")
    right = truth[predicted].mean() if predicted.any() else 0.0
    found = predicted[truth == 1].mean()
    return plane.dot(found, right, 1, f"threshold {evidence.threshold:.3g}").svg(title)


def _thresholds(title: str, evidence: Evidence) -> str:
    precision, recall, thresholds = sk.precision_recall_curve(evidence.truth, evidence.positive)
    precision, recall = precision[:-1], recall[:-1]
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    plane = _shares("threshold", "share")
    for index, (name, values) in enumerate((("precision", precision), ("F1", f1), ("recall", recall))):
        plane.line(*_thinned(thresholds, values), index, name)
    return plane.vertical(evidence.threshold, f"threshold {evidence.threshold:.3g}").svg(title)


def _probabilities(title: str, evidence: Evidence) -> str:
    edges = np.linspace(0, 1, 21)
    heights = [np.histogram(evidence.positive[evidence.truth == each], edges)[0] for each in (0, 1)]
    shares = [each / each.sum() for each in heights]
    y = Axis.over("share of the class's rows", 0, max(each.max() for each in shares))
    plane = Plane(Axis.over("predicted probability", 0, 1), y, 260)
    for index, (name, each) in enumerate(zip(_names(evidence, 30), shares, strict=True)):
        plane.steps(each.tolist(), edges.tolist(), index, name)
    return plane.vertical(evidence.threshold, f"threshold {evidence.threshold:.3g}").svg(title)


def _calibration(title: str, evidence: Evidence) -> str:
    """Bins of about equally many rows, with Wilson's interval of the share of positives.

    https://www.itl.nist.gov/div898/handbook/prc/section2/prc241.htm
    """
    positive = evidence.positive
    bins = max(1, min(10, len(positive) // ROWS_IN_A_BIN))
    edges = np.unique(np.quantile(positive, np.linspace(0, 1, bins + 1)))
    which = np.searchsorted(edges[1:-1], positive, side="right")
    plane = _shares("predicted probability (mean of a bin)", "share that is of the class")
    plane.rule(0, 0, 1, 1)
    xs: list[float] = []
    ys: list[float] = []
    titles = []
    for each in np.unique(which):
        there = which == each
        count, share, mean = int(there.sum()), evidence.truth[there].mean(), positive[there].mean()
        z = 1.96
        centre = (share + z * z / (2 * count)) / (1 + z * z / count)
        half = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + (z / (2 * count)) ** 2)
        plane.span(mean, centre - half, centre + half)
        xs, ys = [*xs, mean], [*ys, share]
        titles.append(f"{count:,} rows with {mean:.1%} on average: {share:.1%} are")
    plane.line(xs, ys)
    for x, y, words in zip(xs, ys, titles, strict=True):
        plane.dot(x, y, title=words)
    return plane.svg(title)


def _roc_of_each(title: str, evidence: Evidence) -> str:
    assert evidence.scores.probabilities is not None
    plane = _shares("false alarms (share of the others)", "found (share of the class)").rule(
        0, 0, 1, 1, "chance"
    )
    for index, name in enumerate(_names(evidence, 24)):
        truth = evidence.truth == index
        if truth.any() and not truth.all():
            alarms, hits, _ = sk.roc_curve(truth, evidence.scores.probabilities[:, index])
            plane.line(*_thinned(alarms, hits), index % COLOURS, name)
    return plane.svg(title)


def _errors(title: str, evidence: Evidence, of: str) -> str:
    predicted, truth = evidence.scores.values, evidence.truth
    if of == "actual":
        x = y = Axis.over("predicted", *_ends(np.concatenate([predicted, truth])), most=5)
        y = Axis("actual", x.at)
        values = truth
    else:
        values = truth - predicted
        x = Axis.over("predicted", *_ends(predicted), most=5)
        y = Axis.over("actual minus predicted", *_ends(np.append(values, 0.0)))
    xs, ys = (np.linspace(*axis.ends, SQUARES + 1) for axis in (x, y))
    counts, _, _ = np.histogram2d(predicted, values, (xs, ys))
    plane = Plane(x, y, 280)
    if of == "actual":
        plane.rule(xs[0], xs[0], xs[-1], xs[-1])
    else:
        plane.horizontal(0.0)
    return plane.squares(counts, xs.tolist(), ys.tolist()).svg(title)


def _ends(values: np.ndarray) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _residuals(title: str, evidence: Evidence) -> str:
    plane = _histogram(evidence.truth - evidence.scores.values, "actual minus predicted", around=0.0)
    return plane.vertical(0.0).svg(title)


def _importance(title: str, evidence: Evidence) -> str:
    listed = evidence.importances[:MOST_IMPORTANT]
    rows = [(each.feature.name, each.mean, f"{round(each.mean, 3) + 0.0:.3f}") for each in listed]
    spans = [(each.least, each.most) for each in listed]
    return charts.bars(title, rows, f"fall of the {evidence.score_name}", spans)


def _contributions(title: str, evidence: Evidence) -> str:
    strongest = sorted(evidence.contributions.items(), key=lambda each: -each[1])[:MOST_IMPORTANT]
    rows = [(name, mean, f"{mean:.3g}") for name, mean in strongest]
    return charts.bars(title, rows, f"mean absolute contribution ({evidence.of})")


def _effects(title: str, evidence: Evidence) -> list[str]:
    effects = evidence.effects()
    ends = [end for each in effects for end in _ends(each.means)]
    y = Axis.over(_answer(evidence), min(ends), max(ends), 5)
    names = [""]
    if effects[0].means.shape[1] > 1:
        names = [_names(evidence)[each] for each in evidence.curves]
    return [_effect(f"{title} of {each.feature.name}", each, y, names) for each in effects]


def _answer(evidence: Evidence) -> str:
    """What the mean is of that an effect shows."""
    if evidence.scores.score is not None:
        return "mean score"
    if evidence.contract.task == "regression":
        return "mean prediction"
    what = "share" if evidence.scores.probabilities is None else "mean probability"
    return f"{what} of {_names(evidence, 20)[1]}" if evidence.contract.task == "binary" else what


def _effect(title: str, effect: Effect, y: Axis, names: Sequence[str]) -> str:
    """A line over numbers, or dots over names, for each of the curves that have ``names``."""
    kind, name, values = effect.feature.kind, cut(effect.feature.name, 40), effect.values
    if kind in ("integer", "number"):
        plane = Plane(Axis.over(name, values[0], values[-1], whole=kind == "integer"), y, 200)
        for index, means in enumerate(effect.means.T):
            if len(values) > 1:
                plane.line(values, means, index % COLOURS, names[index])
            else:
                plane.dot(values[0], means[0], index % COLOURS, names[index])
        return plane.svg(title)
    texts = ["false", "true"] if kind == "boolean" else [cut(each, 18) for each in values]
    plane = Plane(Axis.of_names(name, texts), y, 200)
    for index, means in enumerate(effect.means.T):
        for position, mean in enumerate(means):
            label = "" if position else names[index]
            plane.dot(position, mean, index % COLOURS, label, f"{texts[position]}: {mean:.4g}")
    return plane.svg(title)
