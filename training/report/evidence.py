"""What a report shows: rows, their scores and targets, and what the model answers to changed rows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from sklearn import metrics as sk

from handler.manifest import Contract, Feature
from handler.schema import Columns
from handler.scoring.scorers import Scorer, Scores, finite, length

#: The most rows that are scored again for the importances, and for an effect; and the fewest.
ROWS, EFFECT_ROWS, FEWEST = 2000, 200, 40
#: The most cells (rows times features) that are scored at once.
CELLS = 2_000_000
#: The seconds that a model may take for all importances, and for each effect.
SECONDS, EFFECT_SECONDS = 1.0, 0.25
#: The most features whose importance or effect is shown, and the most values of an effect.
MOST_IMPORTANT, EFFECTS, VALUES = 20, 4, 24
#: The most classes that have a line of their own.
MOST_CURVES = 6


class Importance(NamedTuple):
    """How much a score falls when a feature is shuffled: the mean over some shuffles, and the extremes."""

    feature: Feature
    mean: float
    least: float
    most: float


class Effect(NamedTuple):
    """The mean prediction where a feature has each of some values, shape (values, curves)."""

    feature: Feature
    values: Sequence[Any]
    means: np.ndarray


@dataclass(frozen=True, eq=False)
class Evidence:
    """The rows that were scored, their scores and their targets, and the scorer to ask further.

    ``truth`` (theirs) and ``every_truth`` (all rows') are arrays as ``scores.values``, or None where no
    target is known. ``rows``: what the rows are called in captions.
    ``contributions``: the mean absolute one of each feature, on the scale ``of``.
    """

    contract: Contract
    threshold: float
    scorer: Scorer
    columns: Columns
    scores: Scores
    truth: Any
    every_truth: Any
    rows: str = "rows held out"
    contributions: Mapping[str, float] = field(default_factory=dict)
    of: str = ""

    @property
    def positive(self) -> np.ndarray:
        """The probabilities of the second of two classes."""
        assert self.scores.probabilities is not None
        return self.scores.probabilities[:, 1].astype(np.float64)

    @cached_property
    def curves(self) -> list[int]:
        """The classes that have a curve: the second of two, or those that are predicted most."""
        classes = len(self.contract.classes)
        counts = np.bincount(self.scores.values, minlength=classes) if classes > 2 else np.arange(classes)
        most = 1 if classes == 2 else MOST_CURVES
        return sorted(np.argsort(-counts, kind="stable")[:most].tolist())

    @property
    def score_name(self) -> str:
        """The metric that falls when a feature is shuffled."""
        if self.contract.task == "regression":
            return "R²"
        by_area = self.contract.task == "binary" and self.scores.probabilities is not None
        return "ROC area" if by_area else "accuracy"

    def some(self, most: int) -> np.ndarray:
        """The indices of so many rows, the same each time."""
        count = len(self.scores.values)
        return np.sort(np.random.default_rng(0).permutation(count)[:most])

    @cached_property
    def importances(self) -> list[Importance]:
        """The importance of each feature, the most important first.

        There are none where the rows have one target only. Of many features, they are those that correlate
        most with the predictions, as many as the model scores in ``SECONDS``, and a slow one scores fewer
        rows. https://scikit-learn.org/stable/modules/permutation_importance.html
        """
        features = self.contract.features
        most = max(FEWEST, min(ROWS, CELLS // len(features), int(SECONDS / (MOST_IMPORTANT * self._pace))))
        rows = self.some(most)
        truth, columns = self.truth[rows], self._at(rows)
        if truth.min() == truth.max():
            return []
        affordable = int(SECONDS / (self._pace * len(rows)))
        repeats = 5 if 5 * len(features) <= affordable else 1
        whole, random = self._score(columns, truth), np.random.default_rng(0)
        importances = []
        for feature in self.by_correlation[: max(MOST_IMPORTANT, affordable)]:
            falls = [
                whole
                - self._score({**columns, feature.name: random.permutation(columns[feature.name])}, truth)
                for _ in range(repeats)
            ]
            importances.append(Importance(feature, float(np.mean(falls)), min(falls), max(falls)))
        return sorted(importances, key=lambda each: -each.mean)

    @cached_property
    def by_correlation(self) -> list[Feature]:
        """The features, those first that correlate most with the predictions; a text counts as 1."""
        rows = self.some(ROWS)
        _, probabilities, score = self.scores
        if score is None:
            score = self.scores.values if probabilities is None else probabilities[:, -1]
        score = score[rows]

        def strength(feature: Feature) -> float:
            if feature.is_text:
                return 1.0
            values = self.columns[feature.name][rows]
            sound = np.isfinite(values) & np.isfinite(score)
            if sound.sum() < 2:
                return 0.0
            with np.errstate(all="ignore"):  # a column of one value correlates with nothing
                return abs(float(np.nan_to_num(np.corrcoef(values[sound], score[sound])[0, 1])))

        return sorted(self.contract.features, key=lambda each: -strength(each))

    def effects(self) -> list[Effect]:
        """What the features do that matter most; free text is left out, whose values are people's words."""
        if self.truth is not None and self.importances:
            features = [each.feature for each in self.importances]
        else:
            features = self.by_correlation
        shown = [each for each in features if each.kind != "text"][:EFFECTS]
        return [effect for each in shown if (effect := self._effect(each)) is not None]

    def _effect(self, feature: Feature) -> Effect | None:
        values = _values(feature, self.columns[feature.name])
        if not values:
            return None
        most = min(
            CELLS // (len(values) * len(self.contract.features)),
            int(EFFECT_SECONDS / (len(values) * self._pace)),
        )
        rows = self.some(min(EFFECT_ROWS, max(FEWEST, most)))
        columns = {name: np.tile(each, len(values)) for name, each in self._at(rows).items()}
        dtype = object if feature.is_text else np.float64
        columns[feature.name] = np.repeat(np.array(values, dtype), len(rows))
        answers = self._answers(columns).reshape(len(values), len(rows), -1)
        return Effect(feature, values, answers.mean(axis=1))

    def _answers(self, columns: Columns) -> np.ndarray:
        """What effects are means of, shape (n, curves): scores, values, or probabilities of classes."""
        values, probabilities, score = self.scorer.score(columns)
        if score is not None or self.contract.task == "regression":
            return values if score is None else score
        if probabilities is None:
            probabilities = np.eye(len(self.contract.classes))[values]
        return probabilities[:, self.curves]

    @cached_property
    def _pace(self) -> float:
        """The seconds that the model takes for a row."""
        rows = self._at(self.some(EFFECT_ROWS))
        self.scorer.score(rows)  # the first time, more is done than scoring
        started = time.perf_counter()
        self.scorer.score(rows)
        return (time.perf_counter() - started) / length(rows)

    def _at(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        return {name: values[rows] for name, values in self.columns.items()}

    def _score(self, columns: Columns, truth: np.ndarray) -> float:
        scores = self.scorer.score(columns)
        sound = finite(scores)
        scores, truth = scores.at(sound), truth[sound]
        if self.contract.task == "regression":
            return float(sk.r2_score(truth, scores.values))
        if self.contract.task == "binary" and scores.probabilities is not None:
            return float(sk.roc_auc_score(truth, scores.probabilities[:, 1]))
        return float((scores.values == truth).mean())


def _values(feature: Feature, values: np.ndarray) -> list[Any]:
    """Some values of a feature: quantiles of a number, the most frequent categories of the manifest."""
    if feature.is_text:
        known, counts = np.unique(values.astype(str), return_counts=True)
        order, stated = np.argsort(-counts, kind="stable"), frozenset(feature.categories)
        return [each for each in known[order].tolist() if each in stated][:8]
    if feature.kind == "boolean":
        return [0.0, 1.0]
    there = values[np.isfinite(values)]
    if not len(there):
        return []
    return [float(each) for each in np.unique(np.quantile(there, np.linspace(0.01, 0.99, VALUES)))]
