"""Pipelines to choose by name: plain functions from the features to an unfitted scikit-learn Pipeline.

A pipeline of one's own is the same, in any importable module: ``--pipeline module:function``. The
function may take the features, or nothing. It is fitted on a DataFrame with one column a feature:
float64 for ``integer``, ``number`` and ``boolean`` (NaN where missing), text for ``category`` (an
empty text where missing).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from handler.bundle import Feature
from training.errors import TrainingError, one_line

Features = tuple[Feature, ...]


def logistic(features: Features) -> Pipeline:
    """Logistic regression that weighs the classes equally, however rare one of them is."""
    return make_pipeline(scaled(features), LogisticRegression(class_weight="balanced", max_iter=1000))


def linear(features: Features) -> Pipeline:
    """Linear regression by least squares."""
    return make_pipeline(scaled(features), LinearRegression())


def scaled(features: Features) -> ColumnTransformer:
    """Numbers imputed by their median and scaled; categories one-hot, a missing one being its own.

    Unknown categories are taken, as none of the known ones.
    """
    numbers = [feature.name for feature in features if feature.kind != "category"]
    categories = [feature.name for feature in features if feature.kind == "category"]
    nullable = any(feature.nullable for feature in features if feature.kind != "category")
    steps = [SimpleImputer(strategy="median"), StandardScaler()] if nullable else [StandardScaler()]
    parts = [
        ("numbers", make_pipeline(*steps), numbers),
        ("categories", OneHotEncoder(handle_unknown="ignore"), categories),
    ]
    return ColumnTransformer([part for part in parts if part[2]])


NAMED: Mapping[str, Callable[[Features], Pipeline]] = {"logistic": logistic, "linear": linear}


@dataclass(frozen=True, slots=True)
class Choice:
    """An unfitted estimator and how it was asked for."""

    name: str
    estimator: Any

    @property
    def classifies(self) -> bool:
        return bool(is_classifier(self.estimator))


def choose(spec: str, features: Features) -> Choice:
    """The estimator that ``--pipeline`` names; raises ``TrainingError``."""
    build = NAMED[spec] if spec in NAMED else _imported(spec)
    try:
        estimator = build(features) if _takes_features(build) else build()  # type: ignore[call-arg]
    except Exception as error:  # the function is the user's
        raise TrainingError(f"pipeline '{spec}' fails: {one_line(error)}") from error
    if not isinstance(estimator, BaseEstimator) or not (
        is_classifier(estimator) or is_regressor(estimator)
    ):
        raise TrainingError(
            f"pipeline '{spec}' gives a {type(estimator).__name__}, which is no scikit-learn classifier or "
            "regressor"
        )
    return Choice(spec, estimator)


def _imported(spec: str) -> Callable[[Features], Any]:
    module, colon, name = spec.partition(":")
    if not (module and colon and name):
        raise TrainingError(f"no pipeline '{spec}'; name one of {', '.join(NAMED)}, or module:function")
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # importing runs the user's code
        raise TrainingError(f"pipeline '{spec}' cannot be imported: {one_line(error)}") from error
    found = getattr(imported, name, None)
    if not callable(found):
        what = "has no" if found is None else "has no function"
        raise TrainingError(f"pipeline '{spec}' cannot be imported: the module {what} '{name}'")
    build: Callable[[Features], Any] = found
    return build


def _takes_features(build: Callable[..., Any]) -> bool:
    """Whether the function has a parameter that must be given."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(build).parameters.values()
    return any(each.kind in kinds and each.default is each.empty for each in parameters)
