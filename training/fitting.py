"""The split, the fit, and what can only be known of a fitted estimator."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import f1_score, make_scorer
from sklearn.model_selection import (
    FixedThresholdClassifier,
    StratifiedKFold,
    TunedThresholdClassifierCV,
    train_test_split,
)

from handler.bundle import Feature
from handler.schema import Columns
from handler.scoring.scorers import Scorer
from training.data.reading import MOST_CLASSES, Dataset
from training.errors import TrainingError, one_line
from training.pipelines import Choice
from training.proof.rows import unknown_category

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Split:
    """The target of all rows, and which of them (indices) are fitted on and held out."""

    y: np.ndarray
    train: np.ndarray
    held_out: np.ndarray


def split(dataset: Dataset, choice: Choice, test_size: float, seed: int) -> Split:
    """Split at random, for a classifier in equal shares of each class; raises ``TrainingError``."""
    target = dataset.target
    if choice.classifies:
        y = target.labels
        classes, counts = np.unique(y, return_counts=True)
        if counts.min() < 2 and target.numbers is not None and len(classes) > MOST_CLASSES:
            raise TrainingError(
                f"the target '{target.name}' has {len(classes):,} different numbers, and pipeline "
                f"'{choice.name}' sorts rows into classes; a regressor, such as --pipeline linear, "
                "predicts numbers"
            )
        if counts.min() < 2:
            raise TrainingError(
                target.mixed
                or f"class '{classes[counts.argmin()]}' of the target '{target.name}' has one row only; "
                "a class needs rows to fit on and rows to hold out"
            )
    elif target.numbers is None:
        raise TrainingError(
            target.mixed
            or f"the target '{target.name}' holds text, and pipeline '{choice.name}' predicts numbers"
        )
    else:
        y = target.numbers
        if y.min() == y.max():
            raise TrainingError(
                f"the target '{target.name}' has one value in every row, as far as a double tells; "
                "nothing can be learnt"
            )
    few = f"{len(y):,} rows are too few to hold out a share of {test_size:g}"
    try:
        train, held_out = train_test_split(
            np.arange(len(y)),
            test_size=test_size,
            random_state=seed,
            stratify=y if choice.classifies else None,
        )
    except ValueError as error:
        raise TrainingError(f"{few}: {one_line(error)}") from error
    if min(len(train), len(held_out)) < 2 or (choice.classifies and set(y) != set(y[train])):
        raise TrainingError(few)
    return Split(y, train, held_out)


def fit(choice: Choice, dataset: Dataset, parts: Split, say: Say) -> Any:
    """The estimator, fitted as ``JoblibScorer`` will feed it, and set to start no processes."""
    say(f"fitting {choice.name} on {len(parts.train):,} rows ...")
    started = time.monotonic()
    with users_code("the pipeline's fit fails", say):
        choice.estimator.fit(pd.DataFrame(dataset.take(parts.train)), parts.y[parts.train])
    say(f"fitted in {time.monotonic() - started:.1f} s")
    _run_in_process(choice.estimator)
    return choice.estimator


def check_classes(choice: Choice, parts: Split) -> None:
    """Raise ``TrainingError`` where ``--threshold`` cannot tell two classes apart, before the fit."""
    if not choice.classifies:
        raise TrainingError(f"--threshold is for classes, and pipeline '{choice.name}' predicts numbers")
    if (count := len(np.unique(parts.y))) != 2:
        raise TrainingError(f"--threshold is for two classes, and the target has {count}")


def check_threshold(told: str | None) -> None:
    """Raise ``TrainingError`` unless ``--threshold`` is ``auto`` or a probability."""
    if told in (None, "auto"):
        return
    try:
        sound = 0 < float(str(told)) < 1
    except ValueError:
        sound = False
    if not sound:
        raise TrainingError(f"--threshold takes auto, or a probability between 0 and 1, not '{told}'")


def with_threshold(
    estimator: Any, choice: Choice, dataset: Dataset, parts: Split, told: str, seed: int, say: Say
) -> Any:
    """The fitted estimator, saying the second class from a probability of ``told`` on.

    ``auto`` is the threshold with the best F1 of that class over five folds of the rows fitted on.
    Raises ``TrainingError``.
    https://scikit-learn.org/stable/modules/classification_threshold.html
    """
    if not hasattr(estimator, "predict_proba"):
        raise TrainingError(f"--threshold needs probabilities, and pipeline '{choice.name}' gives none")
    if told == "auto":
        say("choosing the threshold with the best F1 over five folds ...")
        positive = estimator.classes_[1]
        tuned = TunedThresholdClassifierCV(
            clone(estimator),
            scoring=make_scorer(f1_score, pos_label=positive, zero_division=0.0),
            response_method="predict_proba",
            thresholds=200,
            cv=StratifiedKFold(5, shuffle=True, random_state=seed),
        )
        with users_code("choosing the threshold fails", say):
            tuned.fit(pd.DataFrame(dataset.take(parts.train)), parts.y[parts.train])
        threshold = float(tuned.best_threshold_)
        say(f"threshold: {threshold:.4g}, with a mean F1 of {tuned.best_score_:.4f} over the folds")
    else:
        threshold = float(told)
    fixed = FixedThresholdClassifier(
        FrozenEstimator(estimator), threshold=threshold, response_method="predict_proba"
    )
    return fixed.fit(pd.DataFrame(dataset.take(parts.train)), parts.y[parts.train])


def _run_in_process(part: object) -> None:
    """Unset ``n_jobs`` on an estimator and all that it holds: requests are too small to share out."""
    if isinstance(part, BaseEstimator):
        if getattr(part, "n_jobs", None) is not None:
            part.n_jobs = None
        _run_in_process(list(vars(part).values()))
    elif isinstance(part, dict):
        _run_in_process(list(part.values()))
    elif isinstance(part, list | tuple) or (isinstance(part, np.ndarray) and part.dtype == object):
        for each in part:
            _run_in_process(each)


def opened(scorer: Scorer, dataset: Dataset, parts: Split) -> tuple[Feature, ...]:
    """The features, with ``open`` set on those of which the scorer takes an unknown category."""
    fitted_on = dataset.take(parts.train[:1])
    return tuple(
        feature._replace(open=_takes_unknown(scorer, fitted_on, feature))
        if feature.kind == "category"
        else feature
        for feature in dataset.features
    )


def _takes_unknown(scorer: Scorer, row: Columns, feature: Feature) -> bool:
    unknown = np.array([unknown_category(feature)], dtype=object)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scorer.score({**row, feature.name: unknown})
    except Exception:  # noqa: BLE001 - each encoder refuses in its own way
        return False
    return True


@contextmanager
def users_code(failure: str, say: Say) -> Iterator[None]:
    """Tell the warnings of a pipeline as notes, and its exceptions as a ``TrainingError``."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)  # for the pipeline's author, not its user
        try:
            yield
        except Exception as error:  # whatever the pipeline raises
            raise TrainingError(f"{failure}: {one_line(error)}") from error
        finally:
            for note in dict.fromkeys(one_line(each.message) for each in caught):
                say(f"note: {note}")
