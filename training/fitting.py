"""The split, the fit, and what can only be learnt from a fitted estimator."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import StratifiedKFold, train_test_split

from handler.manifest import Contract, Feature, Label, RowsAs, Task
from handler.schema import Columns
from handler.scoring.estimator import JoblibScorer
from handler.scoring.scorers import Scorer
from training.compat import FixedThresholdClassifier, FrozenEstimator, TunedThresholdClassifierCV
from training.data.reading import Dataset
from training.errors import Say, TrainingError, one_line, users_code
from training.export.layout import steps_of
from training.pipelines import Choice, task_without_target, with_encoded_labels
from training.proof.rows import unknown_category
from training.report.progress import step


@dataclass(frozen=True, slots=True)
class Split:
    """The target of all rows, if there is one; the indices of the rows that are fitted on and held out."""

    y: np.ndarray | None
    train: np.ndarray
    held_out: np.ndarray


def split(dataset: Dataset, choice: Choice, test_size: float, seed: int) -> Split:
    """Split at random, for a classifier in equal shares of each class; raises ``TrainingError``."""
    target, rows = dataset.target, dataset.table.rows
    y: np.ndarray | None = None
    if target is None:
        pass
    elif choice.classifies:
        y = target.labels
    else:
        y = target.numbers
    too_few = f"{rows:,} rows are too few to hold out a share of {test_size:g}"
    try:
        train, held_out = train_test_split(
            np.arange(rows),
            test_size=test_size,
            random_state=seed,
            stratify=y if choice.classifies else None,
        )
    except ValueError as error:
        raise TrainingError(f"{too_few}: {one_line(error)}") from error
    lost = y is not None and choice.classifies and set(y) != set(y[train])
    if min(len(train), len(held_out)) < 2 or lost:
        raise TrainingError(too_few)
    return Split(y, train, held_out)


def fit(
    choice: Choice, rows: pd.DataFrame, y: np.ndarray | None, threshold: str | None, seed: int, say: Say
) -> Any:
    """The estimator, fitted on rows from ``estimator.fed``, and set to start no processes.

    With a ``threshold``, it predicts the second class from that probability on; ``auto`` is the one with
    the best F1 of that class over five folds. Raises ``TrainingError``.
    https://scikit-learn.org/stable/modules/classification_threshold.html
    """
    estimator = choice.estimator if y is None else with_encoded_labels(choice.estimator, y)
    if estimator is not choice.estimator:
        say("XGBClassifier takes the classes 0 to k - 1 only: a VotingClassifier of it alone encodes them")
    try:
        with (
            step(say, f"fitting {choice.name} on {len(rows):,} rows"),
            users_code("the pipeline's fit fails", say),
        ):
            estimator.fit(*([rows] if y is None else [rows, y]))
    except TrainingError as error:
        if "Invalid classes inferred" not in str(error):  # XGBoost's, somewhere within
            raise
        raise TrainingError(
            f"{error}. XGBClassifier takes the classes 0 to k - 1 only: put VotingClassifier([('xgb', "
            "XGBClassifier(...))], voting='soft') in its place, which encodes them"
        ) from error
    run_in_process(estimator)
    if threshold is None or y is None:
        return estimator
    if not hasattr(estimator, "predict_proba"):
        raise TrainingError(f"--threshold needs probabilities, and pipeline '{choice.name}' gives none")
    value = _best_threshold(estimator, rows, y, seed, say) if threshold == "auto" else float(threshold)
    fixed = FixedThresholdClassifier(
        FrozenEstimator(estimator), threshold=value, response_method="predict_proba"
    )
    return fixed.fit(rows, y)


def _best_threshold(estimator: Any, rows: pd.DataFrame, y: np.ndarray, seed: int, say: Say) -> float:
    tuned = TunedThresholdClassifierCV(
        clone(estimator),
        scoring=make_scorer(f1_score, pos_label=estimator.classes_[1], zero_division=0.0),
        response_method="predict_proba",
        thresholds=200,
        cv=StratifiedKFold(5, shuffle=True, random_state=seed),
    )
    with (
        step(say, "choosing the threshold with the best F1 over five folds"),
        users_code("choosing the threshold fails", say),
    ):
        tuned.fit(rows, y)
    threshold = float(tuned.best_threshold_)
    say(f"threshold: {threshold:.4g}, with a mean F1 of {tuned.best_score_:.4f} over the folds")
    return threshold


def run_in_process(part: object) -> None:
    """Leave one thread to an estimator and all that it holds: requests are too small to share out."""
    if isinstance(part, BaseEstimator):
        if type(part).__module__.partition(".")[0] in ("lightgbm", "xgboost"):  # to whom None is every core
            part.n_jobs = 1
        elif getattr(part, "n_jobs", None) is not None:
            part.n_jobs = None
        run_in_process(list(vars(part).values()))
    elif isinstance(part, dict):
        run_in_process(list(part.values()))
    elif isinstance(part, list | tuple) or (isinstance(part, np.ndarray) and part.dtype == object):
        for each in part:
            run_in_process(each)


def contract_of(
    estimator: Any, features: tuple[Feature, ...], row: Columns, rows_as: RowsAs = "frame"
) -> Contract:
    """The contract of a fitted estimator, whose features are ``open`` where it takes an unknown category.

    ``row``: any one row that it can score. ``rows_as``: what it was fitted on.
    """
    contract = Contract(features, *_task_of(estimator), rows_as)
    scorer = JoblibScorer(estimator, contract)
    categories = [each for each in features if each.kind == "category"]
    if categories and not _takes_unknown(scorer, row, categories):  # which few pipelines do; then some may
        categories = [each for each in categories if _takes_unknown(scorer, row, [each])]
    taking = {each.name for each in categories}
    return contract._replace(
        features=tuple(each._replace(open=each.kind == "text" or each.name in taking) for each in features)
    )


def _task_of(estimator: Any) -> tuple[Task, tuple[Label, ...]]:
    """The task of a fitted estimator, and the labels that it predicts."""
    task = task_without_target(estimator)
    if task == "anomaly":
        return task, (-1, 1)
    if task == "cluster":
        return task, _clusters(steps_of(estimator)[-1])
    classes = tuple(estimator.classes_.tolist()) if is_classifier(estimator) else ()
    return "regression" if not classes else "binary" if len(classes) == 2 else "multiclass", classes


def _clusters(clusterer: Any) -> tuple[int, ...]:
    """The numbers that a fitted clusterer predicts; raises ``TrainingError``."""
    for name in ("means_", "cluster_centers_"):
        if hasattr(clusterer, name):  # without a centre, AffinityPropagation did not converge
            return tuple(range(len(getattr(clusterer, name)))) or (-1,)
    for name in ("subcluster_labels_", "labels_"):
        if hasattr(clusterer, name):
            return tuple(np.unique(getattr(clusterer, name)).tolist())
    raise TrainingError(
        f"{type(clusterer).__name__} does not say which clusters it found: it has no cluster_centers_ and "
        "no labels_"
    )


def _takes_unknown(scorer: Scorer, row: Columns, features: Sequence[Feature]) -> bool:
    unknown = {each.name: np.array([unknown_category(each)], dtype=object) for each in features}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scorer.score({**row, **unknown})
    except Exception:  # noqa: BLE001 - each encoder refuses in its own way
        return False
    return True
