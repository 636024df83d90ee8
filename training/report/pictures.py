"""Pictures of how good a model is, on rows with their targets, and of what it predicts: PNG images."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn import metrics as sk
from sklearn.calibration import CalibrationDisplay

from handler.bundle import Contract, Feature
from handler.schema import Columns
from handler.scoring.scorers import Scorer, Scores
from training.compat import curve
from training.errors import one_line

#: The most rows that are scored again for importances and effects, and drawn as points.
ROWS = 2000
#: The most features in the picture of importances, and in that of effects.
MOST_IMPORTANT, EFFECTS = 15, 4
#: The most columns that are scored for importances, over all shuffles.
MOST_SCORED = 200_000
#: With more classes, a matrix, or a curve for each, cannot be read.
MOST_CLASSES, MOST_CURVES = 30, 6
#: How to read the distribution of a score.
SCORES = {
    "anomaly": "The lower, the more unusual; rows on the left of the line are anomalies.",
    "cluster": "The logarithm of a row's likelihood: the lower, the more unusual.",
}
#: The colour-blind can tell these apart too. https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#777777"


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The rows that were scored, their scores and their targets, and the scorer to ask further.

    ``truth`` (theirs) and ``every_truth`` (all rows') are arrays as ``scores.values``, or None where no
    target is known. ``rows``: what the rows are called in captions.
    """

    contract: Contract
    threshold: float
    scorer: Scorer
    columns: Columns
    scores: Scores
    truth: Any
    every_truth: Any
    rows: str = "rows held out"

    @property
    def names(self) -> list[str]:
        """The classes' names, cut to fit beside an axis."""
        return [_short(str(label), 18) for label in self.contract.classes]

    @property
    def positive(self) -> np.ndarray:
        """The probabilities of the second of two classes."""
        assert self.scores.probabilities is not None
        return self.scores.probabilities[:, 1].astype(np.float64)


@dataclass(frozen=True, slots=True)
class Picture:
    """``caption`` says how to read it or, where ``png`` is None, why it could not be drawn."""

    title: str
    caption: str
    png: bytes | None = None


def draw(evidence: Evidence) -> list[Picture]:
    """Every picture that suits the model's task; the caption of one that fails says so."""
    return [_drawn(*each, evidence) for each in _chosen(evidence)]


Draw = Callable[[Evidence], Figure]


def _chosen(evidence: Evidence) -> Iterator[tuple[str, str, Draw]]:
    """The title, the caption and the function of each picture."""
    if evidence.truth is None:
        yield "Predictions", f"What is predicted for the {evidence.rows}.", _predictions
        if evidence.scores.score is not None:
            yield "Scores", SCORES[evidence.contract.task], _score_histogram
    elif evidence.contract.task == "regression":
        actual, residual = (partial(_error, kind=kind) for kind in ("actual", "residual"))
        yield "Predicted and actual", "The closer to the diagonal, the better.", actual
        caption = "Actual minus predicted; a slope or a funnel shows something that was not learnt."
        yield "Residuals", caption, residual
        caption = "It is centred on zero where the model is not biased."
        yield "Distribution of residuals", caption, _residual_histogram
    else:
        yield from _chosen_for_classes(evidence)
    if evidence.truth is not None:
        score = _score_name(evidence)
        caption = f"How much the {score} falls when a column is shuffled; lines span the shuffles."
        yield "Permutation importance", caption, _importance
    caption = (
        f"The mean prediction over {evidence.rows}, with one feature set to each value and the others kept."
    )
    yield "Effects", caption, _effects


def _chosen_for_classes(evidence: Evidence) -> Iterator[tuple[str, str, Draw]]:
    yield "Class balance", "The rows of each class in the whole file.", _balance
    if len(evidence.names) <= MOST_CLASSES:
        caption = (
            f"The {evidence.rows} by their actual and predicted class; shares are of the actual class."
        )
        yield "Confusion matrix", caption, _confusion
    if evidence.scores.probabilities is None:
        return
    if evidence.contract.task == "binary":
        caption = (
            "Positives found against false alarms, over all thresholds; the dot is the threshold used."
        )
        yield "ROC", caption, _roc
        caption = (
            "Predicted positives that are right against positives found; the dot is the threshold used."
        )
        yield "Precision and recall", caption, _precision_recall
        yield "Threshold", "What other thresholds would give; the line is the one used.", _thresholds
        caption = (
            "On the diagonal, 30 % of the rows predicted with 30 % are positive; class weights bend it."
        )
        yield "Calibration", caption, _calibration
    elif len(evidence.names) <= MOST_CURVES:
        caption = "Rows of the class found against false alarms, over all thresholds."
        yield "ROC, each class against the others", caption, _roc_of_each


def _drawn(title: str, caption: str, make: Draw, evidence: Evidence) -> Picture:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            figure = make(evidence)
            sink = io.BytesIO()
            figure.savefig(sink, format="png", dpi=110, metadata={"Software": None})
        return Picture(title, caption, sink.getvalue())
    except Exception as error:  # noqa: BLE001 - a bundle is sound without pictures of an odd model
        return Picture(title, f"This picture could not be drawn: {one_line(error)}")


def _figure(width: float = 6.0, height: float = 4.2) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _short(text: str, most: int = 28) -> str:
    text = text.replace("$", r"\$").replace("\n", " ")  # $ would start a formula
    return text if len(text) <= most else text[: most - 1] + "…"


def _predictions(evidence: Evidence) -> Figure:
    if evidence.contract.task != "regression":
        return _counts(evidence, evidence.scores.values)
    figure, axes = _figure()
    axes.hist(evidence.scores.values, bins=50, color=BLUE)
    axes.set(xlabel="predicted", ylabel="rows")
    return figure


def _score_histogram(evidence: Evidence) -> Figure:
    figure, axes = _figure()
    score = evidence.scores.score
    assert score is not None
    axes.hist(score[np.isfinite(score)], bins=50, color=BLUE)
    if evidence.contract.task == "anomaly":
        axes.axvline(0, color=ORANGE)
    axes.set(xlabel="score", ylabel="rows")
    return figure


def _balance(evidence: Evidence) -> Figure:
    return _counts(evidence, evidence.every_truth)


def _counts(evidence: Evidence, indices: Any) -> Figure:
    """How many rows each class has."""
    counts = np.bincount(indices, minlength=len(evidence.names))
    shown = np.argsort(counts, kind="stable")[-MOST_CLASSES:]
    figure, axes = _figure(height=max(1.6, 0.8 + 0.32 * len(shown)))
    bars = axes.barh([evidence.names[index] for index in shown], counts[shown], color=BLUE)
    shares = [f"{count:,} ({count / counts.sum():.1%})" for count in counts[shown]]
    axes.bar_label(bars, shares, padding=4, fontsize=9)
    axes.set_xlim(0, counts.max() * 1.3)
    axes.set_xlabel("rows")
    return figure


def _confusion(evidence: Evidence) -> Figure:
    size = len(evidence.names)
    edge = min(11.0, 3.4 + 0.42 * size)
    figure, axes = _figure(edge + 0.8, edge)
    matrix = sk.confusion_matrix(evidence.truth, evidence.scores.values, labels=range(size))
    shares = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    display = sk.ConfusionMatrixDisplay(shares, display_labels=evidence.names)
    display.plot(ax=axes, cmap="Blues", include_values=False, xticks_rotation="vertical" if size > 3 else 0)
    display.im_.set_clim(0, 1)
    if size <= 12:
        for row in range(size):
            for column in range(size):
                text = f"{matrix[row, column]:,}" + (f"\n{shares[row, column]:.1%}" if size <= 6 else "")
                colour = "white" if shares[row, column] > 0.5 else "black"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.spines[:].set_visible(True)
    return figure


def _mark(axes: Any, x: float, y: float, evidence: Evidence) -> None:
    axes.plot(x, y, "o", color=ORANGE, markersize=9, label=f"threshold {evidence.threshold:.3g}")


def _roc(evidence: Evidence) -> Figure:
    figure, axes = _figure(5.2, 4.6)
    truth, predicted = evidence.truth, evidence.positive >= evidence.threshold
    line: dict[str, Any] = {"ax": axes, "name": "model", **curve(sk.RocCurveDisplay, color=BLUE)}
    sk.RocCurveDisplay.from_predictions(truth, evidence.positive, plot_chance_level=True, **line)
    _mark(axes, predicted[truth == 0].mean(), predicted[truth == 1].mean(), evidence)
    axes.set(xlabel="false alarms (share of negatives)", ylabel="found (share of positives)", aspect="auto")
    axes.legend(loc="lower right", fontsize=9)
    return figure


def _precision_recall(evidence: Evidence) -> Figure:
    figure, axes = _figure(5.2, 4.6)
    truth, predicted = evidence.truth, evidence.positive >= evidence.threshold
    line: dict[str, Any] = {"ax": axes, "name": "model", **curve(sk.PrecisionRecallDisplay, color=BLUE)}
    sk.PrecisionRecallDisplay.from_predictions(truth, evidence.positive, **line)
    axes.axhline(truth.mean(), color=GREY, linestyle="--", linewidth=1, label="chance")
    precision = truth[predicted].mean() if predicted.any() else 0.0
    _mark(axes, predicted[truth == 1].mean(), precision, evidence)
    axes.set(xlabel="recall (share of positives)", ylabel="precision (share of predicted positives)")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="auto")
    axes.legend(loc="best", fontsize=9)
    return figure


def _thresholds(evidence: Evidence) -> Figure:
    figure, axes = _figure()
    precision, recall, thresholds = sk.precision_recall_curve(evidence.truth, evidence.positive)
    precision, recall = precision[:-1], recall[:-1]
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    some = np.linspace(0, len(thresholds) - 1, min(500, len(thresholds))).astype(int)
    lines = ((precision, "precision", BLUE), (recall, "recall", GREEN), (f1, "F1", ORANGE))
    for values, name, colour in lines:
        axes.plot(thresholds[some], values[some], color=colour, label=name)
    used = evidence.threshold
    axes.axvline(used, color=GREY, linestyle="--", label=f"threshold {used:.3g}")
    axes.set(xlabel="threshold", xlim=(0, 1), ylim=(-0.02, 1.02))
    axes.legend(loc="best", fontsize=9)
    return figure


def _calibration(evidence: Evidence) -> Figure:
    figure = Figure(figsize=(5.2, 5.2), layout="constrained")
    axes, below = figure.subplots(2, height_ratios=[3, 1], sharex=True)
    CalibrationDisplay.from_predictions(
        evidence.truth, evidence.positive, n_bins=10, strategy="quantile", ax=axes, color=BLUE, name="model"
    )
    axes.set(xlabel="", ylabel="share of positives")
    axes.legend(loc="upper left", fontsize=9)
    below.hist(evidence.positive, bins=40, range=(0, 1), color=BLUE)
    below.set(xlabel="predicted probability", ylabel="rows")
    for each in (axes, below):
        each.spines[["top", "right"]].set_visible(False)
    return figure


def _roc_of_each(evidence: Evidence) -> Figure:
    figure, axes = _figure(5.6, 4.8)
    assert evidence.scores.probabilities is not None
    for index, name in enumerate(evidence.names):
        probability = evidence.scores.probabilities[:, index]
        sk.RocCurveDisplay.from_predictions(evidence.truth == index, probability, ax=axes, name=name)
    axes.set(
        xlabel="false alarms (share of the others)", ylabel="found (share of the class)", aspect="auto"
    )
    axes.legend(loc="lower right", fontsize=9)
    return figure


def _some(evidence: Evidence, most: int = ROWS) -> np.ndarray:
    """Indices of rows, ``most`` at most, the same each time."""
    count = len(evidence.scores.values)
    return np.sort(np.random.default_rng(0).permutation(count)[:most])


def _error(evidence: Evidence, kind: str) -> Figure:
    figure, axes = _figure(5.4, 4.6)
    some = _some(evidence)
    sk.PredictionErrorDisplay(y_true=evidence.truth[some], y_pred=evidence.scores.values[some]).plot(
        ax=axes,
        kind=f"{kind}_vs_predicted",
        scatter_kwargs={"s": 10, "alpha": 0.35, "color": BLUE, "linewidths": 0},
        line_kwargs={"color": ORANGE},
    )
    axes.set(xlabel="predicted", ylabel="actual" if kind == "actual" else "actual minus predicted")
    return figure


def _residual_histogram(evidence: Evidence) -> Figure:
    figure, axes = _figure()
    axes.hist(evidence.truth - evidence.scores.values, bins=50, color=BLUE)
    axes.axvline(0, color=ORANGE)
    axes.set(xlabel="actual minus predicted", ylabel="rows")
    return figure


def _score_name(evidence: Evidence) -> str:
    if evidence.contract.task == "regression":
        return "R²"
    by_area = evidence.contract.task == "binary" and evidence.scores.probabilities is not None
    return "ROC area" if by_area else "accuracy"


@lru_cache(maxsize=1)
def importances(evidence: Evidence) -> list[tuple[Feature, np.ndarray]]:
    """How much the score falls when a feature is shuffled, shape (shuffles,), the most important first.

    Where there are very many features, they are those that correlate most with the predictions.
    https://scikit-learn.org/stable/modules/permutation_importance.html
    """
    features = evidence.contract.features
    repeats = 5 if len(features) <= 40 else 1
    some = _some(evidence, ROWS if len(features) <= 100 else ROWS // 4)
    columns = {name: values[some] for name, values in evidence.columns.items()}
    truth = evidence.truth[some]

    def score(columns: Columns) -> float:
        scores = evidence.scorer.score(columns)
        if evidence.contract.task == "regression":
            return float(sk.r2_score(truth, scores.values))
        if evidence.contract.task == "binary" and scores.probabilities is not None:
            return float(sk.roc_auc_score(truth, scores.probabilities[:, 1]))
        return float((scores.values == truth).mean())

    whole = score(columns)
    random = np.random.default_rng(0)
    falls = []
    most = max(MOST_IMPORTANT, MOST_SCORED // len(features))
    if len(features) > most:
        features = tuple(sorted(features, key=lambda each: -_correlation(evidence, each))[:most])
    for feature in features:
        shuffled = [
            score({**columns, feature.name: random.permutation(columns[feature.name])})
            for _ in range(repeats)
        ]
        falls.append((feature, whole - np.array(shuffled)))
    return sorted(falls, key=lambda each: -each[1].mean())


def _correlation(evidence: Evidence, feature: Feature) -> float:
    """How much a number correlates with the predictions, from 0 to 1; a text counts as 1."""
    if feature.is_text:
        return 1.0
    _, probabilities, scores = evidence.scores
    if scores is None:
        scores = evidence.scores.values if probabilities is None else probabilities[:, -1]
    values = evidence.columns[feature.name]
    there = np.isfinite(values) & np.isfinite(scores)
    with np.errstate(all="ignore"):  # a column of one value correlates with nothing
        return abs(float(np.nan_to_num(np.corrcoef(values[there], scores[there])[0, 1])))


def _importance(evidence: Evidence) -> Figure:
    shown = importances(evidence)[:MOST_IMPORTANT][::-1]
    figure, axes = _figure(6.4, max(1.8, 0.9 + 0.34 * len(shown)))
    names = [_short(feature.name) for feature, _ in shown]
    means = [falls.mean() for _, falls in shown]
    spans = [(falls.max() - falls.min()) / 2 for _, falls in shown]
    axes.barh(range(len(shown)), means, xerr=spans, color=BLUE, ecolor=GREY, capsize=2)
    axes.set_yticks(range(len(shown)), names)
    axes.set_xlabel(f"fall of the {_score_name(evidence)}")
    return figure


def _effects(evidence: Evidence) -> Figure:
    if evidence.truth is None:
        by_correlation = sorted(evidence.contract.features, key=lambda each: -_correlation(evidence, each))
        features = by_correlation[:EFFECTS]
    else:
        features = [feature for feature, _ in importances(evidence)[:EFFECTS]]
    rows = (len(features) + 1) // 2
    figure = Figure(figsize=(7.6, 2.9 * rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(rows, min(2, len(features)))).reshape(-1)
    for axes in grid[len(features) :]:
        axes.set_visible(False)
    some = _some(evidence, 200)
    columns = {name: values[some] for name, values in evidence.columns.items()}
    for feature, axes in zip(features, grid, strict=False):
        values = _grid(feature, evidence.columns[feature.name])
        means = np.array(
            [_mean(evidence, {**columns, feature.name: _all(value, some)}) for value in values]
        )
        _draw_effect(axes, feature, values, means, evidence)
    return figure


def _draw_effect(
    axes: Any, feature: Feature, values: Sequence[Any], means: np.ndarray, evidence: Evidence
) -> None:
    numeric = feature.kind in ("integer", "number")
    texts = [_short(str(value), 14) for value in values]
    for index, mean in enumerate(means.T):
        colour = (BLUE, ORANGE, GREEN, "#cc79a7", "#e69f00", "#56b4e9")[index % 6]
        label = evidence.names[index] if means.shape[1] > 1 else None
        if numeric:
            axes.plot(values, mean, color=colour, marker=".", label=label)
        else:
            axes.plot(range(len(values)), mean, "o", color=colour, label=label)
    if not numeric:
        axes.set_xticks(range(len(values)), texts, rotation=30 if len(values) > 3 else 0)
        axes.margins(x=0.15)
    if means.shape[1] > 1:
        axes.legend(fontsize=8)
    axes.set_xlabel(_short(feature.name, 36))
    _, probabilities, score = evidence.scores
    regression = evidence.contract.task == "regression"
    what = "score" if score is not None else "value" if regression else "probability"
    axes.set_ylabel("share" if what == "probability" and probabilities is None else f"mean {what}")
    axes.spines[["top", "right"]].set_visible(False)


def _grid(feature: Feature, values: np.ndarray) -> list[Any]:
    """Some values of a feature: quantiles of a number, the most frequent categories."""
    if feature.is_text:
        known, counts = np.unique(values[values != ""].astype(str), return_counts=True)
        return [str(each) for each in known[np.argsort(-counts, kind="stable")][:8]]
    if feature.kind == "boolean":
        return [0.0, 1.0]
    return [float(each) for each in np.unique(np.nanquantile(values, np.linspace(0.01, 0.99, 24)))]


def _all(value: Any, some: np.ndarray) -> np.ndarray:
    return np.full(len(some), value, dtype=object if isinstance(value, str) else np.float64)


def _mean(evidence: Evidence, columns: Columns) -> list[float]:
    """The mean prediction: a score, a value, the second class's probability, or each class's."""
    scores = evidence.scorer.score(columns)
    if scores.score is not None:
        return [float(scores.score.mean())]
    if evidence.contract.task == "regression":
        return [float(scores.values.mean())]
    if scores.probabilities is None:
        shares = np.bincount(scores.values, minlength=len(evidence.names)) / len(scores.values)
    else:
        shares = scores.probabilities.mean(axis=0)
    return [float(each) for each in (shares[1:] if len(shares) == 2 else shares[:MOST_CURVES])]
