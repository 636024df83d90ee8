"""Code as users write it into their pipelines, for ``coverage``: a module, since a pickle names it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from lightgbm import LGBMClassifier
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler


def first_two(frame: Any) -> list[int]:
    """Positions of columns."""
    return [0, 2] if len(frame) else []


def with_ratio(frame: Any) -> Any:
    """One column more."""
    return frame.assign(score=frame["score"] / (1 + frame["age"]))


def log_of(values: Any) -> Any:
    """A function of one's own around one of numpy's."""
    return np.log1p(values)


def signed_log(values: Any) -> Any:
    """Logarithms on both sides of zero."""
    return np.sign(values) * np.log1p(np.abs(values))


def to_category(frame: Any) -> Any:
    """Texts as pandas categories."""
    return frame.astype({name: "category" for name in frame if frame[name].dtype.kind not in "biuf"})


def dummies(frame: Any) -> Any:
    """One-hot by pandas, which gives other columns for other rows."""
    return pd.get_dummies(frame).fillna(0.0)


def around_numbers() -> Any:
    """A small pipeline."""
    return make_pipeline(MinMaxScaler(), LogisticRegression())


class Ratio(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A transformer of one's own."""

    def fit(self, rows: Any, y: Any = None) -> Any:  # noqa: ARG002
        self.width_ = np.asarray(rows).shape[1]
        return self

    def transform(self, rows: Any) -> Any:
        values = np.asarray(rows, float)
        return np.column_stack([values, values[:, 0] / (1 + np.abs(values[:, 1]))])


class Clipper(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Another one."""

    def fit(self, rows: Any, y: Any = None) -> Any:  # noqa: ARG002
        self.high_ = np.quantile(np.asarray(rows, float), 0.9, axis=0)
        return self

    def transform(self, rows: Any) -> Any:
        return np.minimum(np.asarray(rows, float), self.high_)


class Best(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier of one's own."""

    def fit(self, rows: Any, y: Any) -> Any:
        self.inner_ = LogisticRegression().fit(rows, y)
        self.classes_ = self.inner_.classes_
        return self

    def predict(self, rows: Any) -> Any:
        return self.inner_.predict(rows)


class OwnLogistic(LogisticRegression):  # type: ignore[misc]
    """A subclass that changes nothing."""


class OwnScaler(StandardScaler):  # type: ignore[misc]
    """Another one."""


class ByIndex(LGBMClassifier):
    """LightGBM with three columns as categories."""

    def fit(self, X: Any, y: Any, *args: Any, **more: Any) -> Any:  # noqa: N803
        return super().fit(X, y, *args, **{**more, "categorical_feature": [6, 7, 8]})


class Duck:
    """What only looks like an estimator."""

    def fit(self, rows: Any, y: Any) -> Any:
        self.inner = LogisticRegression().fit(rows, y)
        return self

    def predict(self, rows: Any) -> Any:
        return self.inner.predict(rows)
