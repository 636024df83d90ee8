"""How pipelines are put together: columns named in every way, weights, unions, and one's own classes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)

from tests.support.proving import proven, served_by

RANDOM = np.random.default_rng(0)
FRAME = pd.DataFrame(
    {
        "size": RANDOM.normal(50, 20, 240),
        "town": RANDOM.choice(["Oslo", "Rome", "Bern"], 240).astype(object),
        "rooms": np.floor(RANDOM.uniform(1, 9, 240)),
        "age": RANDOM.exponential(30, 240),
    }
)
TARGET = (FRAME["size"] / 20 + FRAME["rooms"] / 2 + (FRAME["town"] == "Rome") > 5).to_numpy()
NUMBERS = ["size", "rooms", "age"]


class Scaler(StandardScaler):
    """A class of one's own that changes nothing of what is served."""


class Logistic(LogisticRegression):
    """The same for a classifier: only fitting differs."""

    def fit(self, rows: Any, target: Any) -> Any:
        return super().fit(rows, target)


class Turned(LogisticRegression):
    """A class of one's own that changes the probabilities."""

    def predict_proba(self, rows: Any) -> Any:
        return super().predict_proba(rows)[:, ::-1]


class Ratio(TransformerMixin, BaseEstimator):
    """A transformer of one's own."""

    def fit(self, _: Any, __: Any = None) -> Ratio:
        return self

    def transform(self, given: Any) -> Any:
        values = np.asarray(given)
        return values[:, :1] / (1 + np.abs(values[:, 1:2]))


class Best(ClassifierMixin, BaseEstimator):
    """A classifier of one's own."""

    def fit(self, _: Any, target: Any) -> Best:
        self.classes_ = np.unique(target)
        return self

    def predict(self, given: Any) -> Any:
        return self.classes_[(np.asarray(given)[:, 0] > 0).astype(int)]


def encoder() -> OneHotEncoder:
    return OneHotEncoder(handle_unknown="ignore", sparse_output=False)


def logistic() -> LogisticRegression:
    return LogisticRegression(max_iter=5000)


def parted(*parts: tuple[Any, Any], last: Any = None, **parameters: Any) -> Pipeline:
    """A pipeline of a ColumnTransformer, given by transformers and their columns, and a classifier."""
    named = [(f"part{index}", step, columns) for index, (step, columns) in enumerate(parts)]
    return make_pipeline(ColumnTransformer(named, **parameters), last or logistic())


def by_name(columns: Any) -> Pipeline:
    """A second ColumnTransformer that names the columns which the first one gives in a frame."""
    first = ColumnTransformer(
        [("numbers", SimpleImputer(), NUMBERS), ("town", columns, ["town"])],
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    town = encoder() if columns == "passthrough" else "passthrough"
    second = ColumnTransformer(
        [("a", StandardScaler(), ["size", "age"]), ("b", town, ["town"]), ("c", MinMaxScaler(), ["rooms"])]
    )
    return make_pipeline(first, second, logistic())


def union() -> FeatureUnion:
    parts = [("s", StandardScaler()), ("p", "passthrough"), ("d", "drop"), ("q", PCA(2))]
    return FeatureUnion(parts, transformer_weights={"s": 0.3, "p": 2})


def codes() -> OrdinalEncoder:
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)


MASK = [True, False, True, True]
TWO_PARTS = ((StandardScaler(), NUMBERS), (encoder(), ["town"]))
STRUCTURES: dict[str, Callable[[], Any]] = {
    "a slice": lambda: parted((StandardScaler(), slice(2, 4)), (encoder(), [1])),
    "a slice of names": lambda: parted((StandardScaler(), slice("rooms", "age")), (encoder(), ["town"])),
    "a mask": lambda: parted((StandardScaler(), MASK), (encoder(), [not each for each in MASK])),
    "a mask in an array": lambda: parted((StandardScaler(), np.array(MASK)), (encoder(), ["town"])),
    "a selector": lambda: parted(
        (StandardScaler(), make_column_selector(dtype_include="number")),
        (encoder(), make_column_selector(dtype_exclude="number")),
    ),
    "positions": lambda: parted((StandardScaler(), [3, 0]), (encoder(), [1])),
    "negative positions": lambda: parted((StandardScaler(), [-1, -4]), (encoder(), [-3])),
    "a column in two branches": lambda: parted(
        *TWO_PARTS, (PolynomialFeatures(2), ["size", "rooms"]), (codes(), ["town"])
    ),
    "a column that goes nowhere": lambda: parted((StandardScaler(), ["size"])),
    "no columns for a part": lambda: parted((MinMaxScaler(), []), *TWO_PARTS),
    "drop": lambda: parted(("drop", ["age"]), (StandardScaler(), ["size"]), (encoder(), ["town"])),
    "the remainder passed on": lambda: parted((encoder(), ["town"]), remainder="passthrough"),
    "the remainder, weighed": lambda: parted(
        (encoder(), ["town"]), remainder="passthrough", transformer_weights={"remainder": 0.1}
    ),
    "an estimator for the remainder": lambda: parted((encoder(), ["town"]), remainder=MinMaxScaler()),
    "weights": lambda: parted(*TWO_PARTS, transformer_weights={"part0": 2.5, "part1": 0.5}),
    "a sparse table": lambda: parted(
        (StandardScaler(), NUMBERS),
        (OneHotEncoder(handle_unknown="ignore"), ["town"]),
        sparse_threshold=1.0,
    ),
    "frames of pandas": lambda: parted(*TWO_PARTS).set_output(transform="pandas"),
    "frames of polars": lambda: parted(*TWO_PARTS).set_output(transform="polars"),
    "a second ColumnTransformer by name": lambda: by_name(codes()),
    "a text by name in the second ColumnTransformer": lambda: by_name("passthrough"),
    "a union with weights": lambda: parted((union(), NUMBERS), (encoder(), ["town"])),
    "a union of ColumnTransformers": lambda: make_pipeline(
        FeatureUnion([("a", parted(*TWO_PARTS)[:1]), ("b", parted((MinMaxScaler(), ["age"]))[:1])]),
        logistic(),
    ),
    "nested": lambda: parted(
        (parted((StandardScaler(), ["age"]), (encoder(), ["town"]))[0], ["town", "age"]),
        (make_pipeline(make_pipeline(SimpleImputer(), StandardScaler()), "passthrough"), ["size"]),
        last=Pipeline([("a", None), ("b", "passthrough"), ("c", MinMaxScaler()), ("d", logistic())]),
    ),
    "a function of a column": lambda: parted(
        (FunctionTransformer(np.tanh), ["size"]), (encoder(), ["town"])
    ),
    "classes of one's own that change nothing": lambda: parted(
        (Scaler(), NUMBERS), (encoder(), ["town"]), last=Logistic(max_iter=5000)
    ),
}


def test_columns_by_name_in_a_frame_between_steps_are_exported() -> None:
    made = proven(by_name("passthrough"), FRAME, TARGET, exact=True)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason


@pytest.mark.slow
@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_is_exported(name: str) -> None:
    made = proven(STRUCTURES[name](), FRAME, TARGET, exact=True)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (parted((Ratio(), NUMBERS)), "Ratio"),
        (parted(*TWO_PARTS, last=Best()), "Best"),
        (parted(*TWO_PARTS, last=Turned()), "Turned"),
    ],
    ids=["transformer", "classifier", "probabilities"],
)
def test_a_class_of_ones_own_is_named_in_plain_words(estimator: Any, name: str) -> None:
    reason = proven(estimator, FRAME, TARGET).graph.reason
    assert reason is not None
    assert reason.startswith(f"{name} is a class of your own, or of another library")
