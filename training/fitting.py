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
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split

from handler.bundle import Feature
from handler.model import Scorer
from handler.schema import Columns
from training.data import Dataset
from training.errors import TrainingError, one_line
from training.pipelines import Choice
from training.rows import unknown_category

#: A target of more different whole numbers is a quantity, unless the pipeline classifies.
MOST_CLASSES = 20

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
                f"class '{classes[counts.argmin()]}' of the target '{target.name}' has one row only; "
                "a class needs rows to fit on and rows to hold out"
            )
    elif target.numbers is None:
        raise TrainingError(
            f"the target '{target.name}' holds text, and pipeline '{choice.name}' predicts numbers"
        )
    else:
        y = target.numbers
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
