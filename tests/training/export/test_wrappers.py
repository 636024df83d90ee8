"""Estimators around whole pipelines over mixed columns: the graph and the one-row program are proven."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    BaggingClassifier,
    BaggingRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.semi_supervised import SelfTrainingClassifier
from sklearn.svm import SVC, LinearSVC

from tests.support.proving import proven, served_by

NUMBERS = ["size", "rooms"]


def rows(count: int = 240) -> pd.DataFrame:
    """Numbers whose spread is above 1: scaling them cannot make them too large for float32."""
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "size": random.normal(50, 20, count),
            "town": random.choice(["Oslo", "Rome", "Bern"], count).astype(object),
            "rooms": np.floor(random.uniform(1, 9, count)),
        }
    )


FRAME = rows()
WORTH = FRAME["size"] / 20 + FRAME["rooms"] / 2 + (FRAME["town"] == "Rome") + np.sin(FRAME["size"] * 9)
TWO = np.where(WORTH.rank() > 120, "yes", "no")
THREE = np.array(["low", "mid", "top"])[np.digitize(WORTH, WORTH.quantile([0.3, 0.7]))]
PRICE = np.exp(WORTH.to_numpy() / 2)


def whole(last: Any, numbers: Any = None) -> Pipeline:
    """A pipeline over the mixed columns."""
    encoder = OneHotEncoder(handle_unknown="ignore")
    parts = [("numbers", numbers or StandardScaler(), NUMBERS), ("town", encoder, ["town"])]
    return make_pipeline(ColumnTransformer(parts), last)


def codes(last: Any) -> Pipeline:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = ColumnTransformer([("town", encoder, ["town"])], remainder="passthrough")
    return make_pipeline(columns, last)


def logistic() -> LogisticRegression:
    return LogisticRegression(max_iter=5000)


def forest() -> RandomForestClassifier:
    return RandomForestClassifier(4, max_depth=4, random_state=0)


def boosting() -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=3, max_depth=3)


def members() -> list[tuple[str, Any]]:
    return [("logistic", whole(logistic())), ("none", "drop"), ("forest", codes(forest()))]


def trees() -> list[tuple[str, Any]]:
    """Members whose labels do not change where rounding decides."""
    return [("forest", codes(forest())), ("none", "drop"), ("boosting", codes(boosting()))]


def regressors() -> list[tuple[str, Any]]:
    grown = RandomForestRegressor(4, max_depth=4, random_state=0)
    return [("ridge", whole(Ridge())), ("forest", codes(grown))]


def final_with_texts() -> Pipeline:
    """A final estimator that encodes a text column which the stack passes through."""
    encoder = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer([("town", encoder, [3]), ("rest", "passthrough", [0, 1, 2, 4])])
    return make_pipeline(columns, logistic())


Build = Callable[[], Any]
CLASSIFIERS: dict[str, tuple[Build, np.ndarray]] = {
    "sigmoid": (lambda: CalibratedClassifierCV(whole(logistic()), cv=2), THREE),
    "sigmoid of decisions": (lambda: CalibratedClassifierCV(whole(LinearSVC()), cv=2), TWO),
    "sigmoid of libsvm": (lambda: CalibratedClassifierCV(whole(SVC()), cv=2, ensemble=False), TWO),
    "sigmoid of raw scores": (lambda: CalibratedClassifierCV(codes(boosting()), cv=2), TWO),
    "isotonic": (lambda: CalibratedClassifierCV(codes(forest()), method="isotonic", cv=2), TWO),
    "isotonic of three": (lambda: CalibratedClassifierCV(codes(forest()), method="isotonic", cv=2), THREE),
    "isotonic, not an ensemble": (
        lambda: CalibratedClassifierCV(whole(logistic()), method="isotonic", cv=2, ensemble=False),
        TWO,
    ),
    "isotonic of a frozen pipeline": (
        lambda: CalibratedClassifierCV(FrozenEstimator(codes(forest()).fit(FRAME, TWO)), method="isotonic"),
        TWO,
    ),
    "temperature of decisions": (
        lambda: CalibratedClassifierCV(whole(logistic()), method="temperature", cv=2),
        TWO,
    ),
    "temperature of probabilities": (
        lambda: CalibratedClassifierCV(codes(forest()), method="temperature", cv=2),
        THREE,
    ),
    "calibration after a common preparation": (
        lambda: codes(CalibratedClassifierCV(GradientBoostingClassifier(n_estimators=3), cv=2)),
        THREE,
    ),
    "stack": (lambda: StackingClassifier(members(), cv=2), TWO),
    "stack of three": (lambda: StackingClassifier(members(), cv=2), THREE),
    "stack of labels": (lambda: StackingClassifier(trees(), stack_method="predict", cv=2), THREE),
    "stack of decisions": (
        lambda: StackingClassifier(
            [("a", whole(logistic())), ("b", codes(boosting()))], stack_method="decision_function", cv=2
        ),
        THREE,
    ),
    "stack beside the columns": (
        lambda: StackingClassifier(members(), final_with_texts(), cv=2, passthrough=True),
        TWO,
    ),
    "soft vote": (lambda: VotingClassifier(members(), voting="soft", weights=[1, 5, 2.5]), THREE),
    "hard vote": (lambda: VotingClassifier(members(), weights=[1, 5, 2.5]), THREE),
    "vote and stack as transformers": (
        lambda: make_pipeline(
            FeatureUnion(
                [
                    ("soft", VotingClassifier(members(), voting="soft")),
                    ("hard", VotingClassifier(trees())),
                    ("stack", StackingClassifier(members(), cv=2)),
                ]
            ),
            logistic(),
        ),
        THREE,
    ),
    "one against the rest": (lambda: OneVsRestClassifier(whole(logistic())), THREE),
    "one against the rest, of two": (lambda: OneVsRestClassifier(codes(forest())), TWO),
    "one against the rest, by decision": (lambda: OneVsRestClassifier(whole(LinearSVC())), THREE),
    "one against one": (lambda: whole(OneVsOneClassifier(LinearSVC())), THREE),
    "one against one, of two": (lambda: codes(OneVsOneClassifier(forest())), TWO),
    "output code": (lambda: whole(OutputCodeClassifier(logistic(), random_state=0)), THREE),
    "output code with constants": (lambda: whole(OutputCodeClassifier(LinearSVC(), random_state=0)), TWO),
    "bagging of columns": (
        lambda: whole(BaggingClassifier(logistic(), 3, max_features=0.6, random_state=0)),
        THREE,
    ),
    "bagging without probabilities": (
        lambda: whole(BaggingClassifier(LinearSVC(), 3, max_features=0.6, random_state=0)),
        THREE,
    ),
    "boosted trees": (lambda: codes(AdaBoostClassifier(n_estimators=4)), TWO),
    "boosted trees of three": (lambda: codes(AdaBoostClassifier(n_estimators=4)), THREE),
    "threshold of decisions": (
        lambda: FixedThresholdClassifier(whole(LinearSVC()), threshold=0.25),
        TWO,
    ),
    "threshold for the first class": (
        lambda: FixedThresholdClassifier(whole(logistic()), threshold=0.7, pos_label="no"),
        TWO,
    ),
    "vote of thresholds": (
        lambda: VotingClassifier(
            [("a", FixedThresholdClassifier(whole(logistic()), threshold=0.2)), ("b", codes(forest()))]
        ),
        TWO,
    ),
}
LOG = {"func": np.log1p, "inverse_func": np.expm1}
REGRESSORS: dict[str, Build] = {
    "stack": lambda: StackingRegressor(regressors(), cv=2),
    "vote": lambda: VotingRegressor(regressors(), weights=[1, 3]),
    "bagging": lambda: whole(BaggingRegressor(Ridge(), 3, max_features=0.6, random_state=0)),
    "boosted trees": lambda: codes(AdaBoostRegressor(n_estimators=4)),
    "log1p": lambda: TransformedTargetRegressor(whole(Ridge()), **LOG),
    "log1p within a search": lambda: GridSearchCV(
        TransformedTargetRegressor(whole(Ridge()), **LOG), {"regressor__ridge__alpha": [1, 9]}, cv=2
    ),
    "log1p within a pipeline": lambda: whole(TransformedTargetRegressor(Ridge(), **LOG)),
    "sqrt": lambda: TransformedTargetRegressor(whole(Ridge()), func=np.sqrt, inverse_func=np.square),
    "log of boosting": lambda: TransformedTargetRegressor(
        codes(HistGradientBoostingRegressor(max_iter=3)), func=np.log, inverse_func=np.exp
    ),
}
SCALERS: list[Any] = [
    StandardScaler(),
    MinMaxScaler(),
    MaxAbsScaler(),
    RobustScaler(),
    PowerTransformer(),
    PowerTransformer(method="box-cox"),
    QuantileTransformer(n_quantiles=20),
    make_pipeline(FunctionTransformer(np.log, np.exp), StandardScaler()),
]


@pytest.mark.slow
def test_a_wrapper_around_whole_pipelines_is_exported() -> None:
    build, target = CLASSIFIERS["stack beside the columns"]
    made = proven(build(), FRAME, target, exact=True)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_made_of_others_is_exported(name: str) -> None:
    build, target = CLASSIFIERS[name]
    made = proven(build(), FRAME, target, exact=True)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason


@pytest.mark.slow
@pytest.mark.parametrize("name", REGRESSORS)
def test_a_regressor_made_of_others_is_exported(name: str) -> None:
    made = proven(REGRESSORS[name](), FRAME, PRICE, exact=True)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason


@pytest.mark.slow
@pytest.mark.parametrize("scaler", SCALERS, ids=lambda each: type(each).__name__)
def test_a_target_that_a_transformer_scales_is_exported(scaler: Any) -> None:
    made = proven(TransformedTargetRegressor(whole(Ridge()), transformer=scaler), FRAME, PRICE)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason


@pytest.mark.slow
def test_self_training_is_exported() -> None:
    unknown = np.random.default_rng(0).random(len(TWO)) < 0.3
    target = np.where(unknown, -1, (TWO == "yes").astype(int))
    made = proven(whole(SelfTrainingClassifier(logistic())), FRAME, target, exact=True)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason


@pytest.mark.slow
def test_a_member_that_refuses_a_row_silences_the_whole_vote() -> None:
    """A logarithm of what is below -1 reaches one member only, which scikit-learn raises for."""
    logs = make_pipeline(FunctionTransformer(np.log1p), StandardScaler())
    frame = FRAME.assign(size=FRAME["size"] - FRAME["size"].min())
    vote = VotingClassifier([("a", whole(logistic(), logs)), ("b", codes(forest()))], voting="soft")
    made = proven(vote, frame, TWO, exact=True)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason
