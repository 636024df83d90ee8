"""XGBoost, LightGBM and CatBoost are the oracles: on their own thresholds, and one ulp beside them."""

from __future__ import annotations

from functools import partial
from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder, StandardScaler

from tests.support import proving
from tests.support.proving import served_by
from training import fitting, pipelines
from training.errors import TrainingError
from training.packaging import Proven
from training.proof import parity

#: As many rows as training compares: thresholds are many, and each has its neighbours.
proven = partial(proving.proven, rows_compared=parity.ROWS)

#: The libraries warn of what the cases ask for.
pytestmark = pytest.mark.filterwarnings("ignore")

SMALL: dict[str, Any] = {"n_estimators": 12, "max_depth": 4, "n_jobs": 1, "random_state": 0}
QUIET: dict[str, Any] = {**SMALL, "verbose": -1}
CAT: dict[str, Any] = {
    "iterations": 12, "depth": 4, "verbose": 0, "allow_writing_files": False, "thread_count": 1,
}  # fmt: skip


def table(rows: int = 600) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Numbers with gaps, small numbers, zeros and the whole numbers of a category; and some targets."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "a": random.normal(size=rows),
            "b": random.exponential(size=rows) * (random.random(rows) < 0.8),
            "code": random.integers(0, 6, rows).astype(float),
            "tiny": random.normal(size=rows) * 1e-3,
        }
    )
    value = (frame["a"] + frame["b"] * (frame["code"] % 2) - frame["tiny"] * 300).to_numpy(copy=True)
    value += random.normal(size=rows) * 0.3
    for name in ("a", "code"):
        frame.loc[random.random(rows) < 0.1, name] = np.nan
    three = np.digitize(value, [0, 1])
    targets = {
        "value": value,
        "positive": np.exp(value / 3),
        "two": (value > 0.5).astype(int),
        "bool": value > 0.5,
        "three": three,
        "texts": np.array(["low", "mid", "high"], dtype=object)[three],
    }
    return frame, targets


def squares(y: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An objective of one's own: the gradient and the hessian."""
    return predicted - y, np.ones_like(predicted)


def xgb(kind: str = "Classifier", **options: Any) -> Any:
    return getattr(xgboost, f"XGB{kind}")(**{**SMALL, **options})


def lgbm(kind: str = "Classifier", **options: Any) -> Any:
    return getattr(lightgbm, f"LGBM{kind}")(**{**QUIET, **options})


def cat(kind: str = "Classifier", **options: Any) -> Any:
    return getattr(catboost, f"CatBoost{kind}")(**{**CAT, **options})


EXPORTED = {
    "xgb two": (xgb(), "two"),
    "xgb three": (xgb(), "three"),
    "xgb value": (xgb("Regressor"), "value"),
    "xgb forest": (xgb("RFClassifier"), "two"),
    "xgb forest value": (xgb("RFRegressor"), "value"),
    "xgb dart": (xgb(booster="dart", rate_drop=0.3), "two"),
    "xgb missing": (xgb(missing=2.0), "two"),
    "xgb base score": (xgb(base_score=0.2), "two"),
    "xgb softmax": (xgb(objective="multi:softmax"), "three"),
    "xgb monotone": (xgb(monotone_constraints={"a": 1}), "two"),
    "xgb categories": (xgb(enable_categorical=True, feature_types=["q", "q", "c", "q"]), "two"),
    "xgb one-hot categories": (
        xgb(enable_categorical=True, feature_types=["q", "q", "c", "q"], max_cat_to_onehot=10),
        "three",
    ),
    **{
        f"xgb {objective}": (xgb("Regressor", objective=objective), target)
        for objective, target in (
            ("count:poisson", "positive"),
            ("reg:gamma", "positive"),
            ("reg:tweedie", "positive"),
            ("reg:logistic", "two"),
            ("reg:absoluteerror", "value"),
            ("reg:pseudohubererror", "value"),
            ("reg:squaredlogerror", "positive"),
        )
    },
    "xgb quantile": (xgb("Regressor", objective="reg:quantileerror", quantile_alpha=0.3), "value"),
    "lgbm two": (lgbm(), "two"),
    "lgbm texts": (lgbm(), "texts"),
    "lgbm bool": (lgbm(), "bool"),
    "lgbm value": (lgbm("Regressor"), "value"),
    "lgbm zero is missing": (lgbm(zero_as_missing=True), "two"),
    "lgbm without missing": (lgbm(use_missing=False), "two"),
    "lgbm forest": (lgbm(boosting_type="rf", bagging_freq=1, bagging_fraction=0.6), "texts"),
    "lgbm dart": (lgbm(boosting_type="dart", drop_rate=0.5), "two"),
    "lgbm goss": (lgbm(data_sample_strategy="goss"), "two"),
    "lgbm sigmoid": (lgbm(sigmoid=2.0), "two"),
    "lgbm one-vs-all": (lgbm(objective="multiclassova", sigmoid=1.5), "texts"),
    "lgbm class weight": (lgbm(class_weight="balanced"), "texts"),
    "lgbm no average": (lgbm("Regressor", boost_from_average=False), "value"),
    "lgbm categories": (lgbm(categorical_feature=[2], min_data_per_group=5, cat_smooth=1), "two"),
    **{
        f"lgbm {objective}": (lgbm("Regressor", objective=objective), target)
        for objective, target in (
            ("poisson", "positive"),
            ("gamma", "positive"),
            ("tweedie", "positive"),
            ("quantile", "value"),
            ("huber", "value"),
            ("fair", "value"),
            ("mape", "value"),
            ("l1", "value"),
            ("cross_entropy", "two"),
        )
    },
    "cat two": (cat(), "two"),
    "cat texts": (cat(), "texts"),
    "cat bool": (cat(), "bool"),
    "cat value": (cat("Regressor"), "value"),
    "cat nan last": (cat(nan_mode="Max"), "two"),
    "cat depthwise": (cat(grow_policy="Depthwise"), "texts"),
    "cat lossguide": (cat("Regressor", grow_policy="Lossguide"), "value"),
    "cat one-vs-all": (cat(loss_function="MultiClassOneVsAll"), "texts"),
    "cat cross-entropy": (cat(loss_function="CrossEntropy"), "two"),
    **{
        f"cat {loss}": (cat("Regressor", loss_function=loss), target)
        for loss, target in (
            ("Poisson", "positive"),
            ("Tweedie:variance_power=1.5", "positive"),
            ("Quantile:alpha=0.3", "value"),
            ("MAE", "value"),
            ("Huber:delta=1", "value"),
            ("LogCosh", "value"),
        )
    },
}


def assert_exported(made: Proven, tolerance: float = 1e-12) -> None:
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason or (
        made.program and made.program.reason
    )
    assert made.graph.largest_difference is not None
    assert made.graph.largest_difference < tolerance
    assert made.graph.adversarial_rows > 15_000


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPORTED)
def test_a_booster_is_exported_and_equal_to_its_library(name: str) -> None:
    model, target = EXPORTED[name]
    frame, targets = table()
    # XGBoost sums in float32.
    assert_exported(proven(model, frame, targets[target]), 1e-6 if name.startswith("xgb") else 1e-12)


REFUSED = {
    "gblinear": (xgb(booster="gblinear"), "two"),
    "binary:logitraw": (xgb(objective="binary:logitraw"), "two"),
    "binary:hinge": (xgb(objective="binary:hinge"), "two"),
    "multi_output_tree": (xgb(multi_strategy="multi_output_tree", tree_method="hist"), "three"),
    "XGBoost with an objective of its own": (
        xgb("Regressor", objective=squares),
        "value",
    ),
    "linear_tree=True": (lgbm("Regressor", linear_tree=True), "value"),
    "reg_sqrt=True": (lgbm("Regressor", reg_sqrt=True), "value"),
    "cross_entropy_lambda": (lgbm("Regressor", objective="cross_entropy_lambda"), "two"),
    "LightGBM with an objective of its own": (
        lgbm("Regressor", objective=squares),
        "value",
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_cannot_be_exported_is_refused_by_name(reason: str) -> None:
    model, target = REFUSED[reason]
    frame, targets = table()
    made = proven(model, frame, targets[target])
    assert served_by(made) == ("joblib", "joblib")
    assert reason in str(made.graph.reason)


def texts(rows: int = 600) -> tuple[pd.DataFrame, np.ndarray]:
    """Numbers, and two columns of pandas' categories, one of them with gaps."""
    random = np.random.default_rng(1)
    frame, targets = table(rows)
    words = random.choice(np.array(["red", "green", "blue", "tan", "ten"], object), rows)
    words[::9] = None
    frame.insert(1, "word", pd.Categorical(words, ["tan", "red", "blue", "green", "ten"]))
    frame.insert(3, "side", pd.Categorical(random.choice(["p", "q"], rows), ["q", "p"]))
    return frame, targets["two"] ^ np.isin(words, ["red", "ten"])


@pytest.mark.slow
def test_categories_of_pandas_are_the_library_s_own() -> None:
    frame, y = texts()
    assert_exported(proven(lgbm(min_data_per_group=5, cat_smooth=1), frame, y))
    assert_exported(proven(xgb(enable_categorical=True), frame, y), 1e-6)
    assert_exported(proven(HistGradientBoostingClassifier(max_iter=10), frame, y))


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(max_iter=10, categorical_features=[2]),
        HistGradientBoostingClassifier(max_iter=10, categorical_features=[False, False, True, False]),
        HistGradientBoostingRegressor(max_iter=10, categorical_features=["code"]),
    ],
)
def test_histogram_gradient_boosting_knows_categories_among_numbers(model: Any) -> None:
    frame, targets = table()
    frame["code"] -= 1.0  # a category may be negative
    classifies = isinstance(model, HistGradientBoostingClassifier)
    assert_exported(proven(model, frame, targets["three" if classifies else "value"]))


@pytest.mark.slow
def test_categories_by_index_follow_an_encoder() -> None:
    frame, y = texts()
    frame["word"] = frame["word"].astype(object).fillna("none")
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    for model in (
        lgbm(categorical_feature=[0], min_data_per_group=5, cat_smooth=1),
        xgb(enable_categorical=True, feature_types=["c", "q", "q", "q", "q"], missing=-1),
        HistGradientBoostingClassifier(max_iter=10, categorical_features=[0]),
    ):
        steps = make_column_transformer((encoder, ["word"]), remainder="passthrough")
        made = proven(make_pipeline(steps, model), frame.drop(columns="side"), y)
        assert_exported(made, 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [xgb, lgbm, cat])
def test_a_booster_is_exported_within_other_estimators(kind: Any) -> None:
    frame, targets = table()
    for model in (
        make_pipeline(StandardScaler(), kind()),
        GridSearchCV(
            make_pipeline(StandardScaler(), kind()), {"standardscaler__with_mean": [True, False]}, cv=2
        ),
        CalibratedClassifierCV(kind(), cv=2),
        StackingClassifier([("a", kind()), ("b", kind())], LogisticRegression(), cv=2),
        VotingClassifier([("a", kind()), ("b", kind())], voting="soft"),
    ):
        assert_exported(proven(model, frame, targets["two"]), 1e-6)


@pytest.mark.slow
def test_fitting_that_stopped_early_serves_its_best_iteration() -> None:
    frame, targets = table()
    some, rest = frame.iloc[:300], frame.iloc[300:]
    y, held_out = targets["two"][:300], targets["two"][300:]

    for model, options, best in (
        (
            xgb(n_estimators=200, early_stopping_rounds=3, learning_rate=0.5),
            {"verbose": False},
            "best_iteration",
        ),
        (
            lgbm(n_estimators=200, learning_rate=0.5),
            {"callbacks": [lightgbm.early_stopping(3)]},
            "best_iteration_",
        ),
        (cat(iterations=200, learning_rate=0.5, early_stopping_rounds=3), {}, "best_iteration_"),
    ):
        model.fit(some, y, eval_set=[(rest, held_out)], **options)
        assert getattr(model, best) < 150
        assert_exported(proven(FrozenEstimator(model), frame, targets["two"]), 1e-6)


def test_xgboost_takes_any_labels() -> None:
    frame, targets = table()
    choice = pipelines.Choice("xgb", make_pipeline(StandardScaler(), xgb()))
    said: list[str] = []
    model = fitting.fit(choice, frame, targets["texts"], None, 0, said.append)
    assert any("XGBClassifier takes the classes 0 to k - 1 only" in each for each in said)
    assert model.classes_.tolist() == ["high", "low", "mid"]
    assert_exported(proven(FrozenEstimator(model), frame, targets["texts"]), 1e-6)


def test_labels_that_xgboost_does_not_take_are_named_with_the_cure() -> None:
    frame, targets = table()
    choice = pipelines.Choice("xgb", GridSearchCV(xgb(), {"max_depth": [2]}, cv=2, error_score="raise"))
    with pytest.raises(TrainingError, match="VotingClassifier"):
        fitting.fit(choice, frame, targets["texts"], None, 0, lambda _: None)


def bare_catboost() -> Any:
    """``--pipeline module:function``"""
    return cat()


def test_catboost_is_a_pipeline_of_its_own() -> None:
    choice = pipelines.choose(f"{__name__}:bare_catboost", (), classifies=True)
    assert choice.classifies


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["SymmetricTree", "Lossguide"])
def test_categories_of_catboost_are_exported_where_it_tests_them_one_by_one(policy: str) -> None:
    frame, y = texts()
    frame = frame.assign(word=frame["word"].astype(object).fillna(""), side=frame["side"].astype(object))
    model = cat(cat_features=["word", "side"], one_hot_max_size=10, grow_policy=policy)
    assert_exported(proven(model, frame, y))


def test_tables_of_counts_of_catboost_are_refused_by_name() -> None:
    frame, y = texts()
    frame = frame.assign(word=frame["word"].astype(object).fillna(""), side=frame["side"].astype(object))
    made = proven(cat(cat_features=["word", "side"]), frame, y)
    assert served_by(made) == ("joblib", "joblib")
    assert "CatBoost with tables of counts" in str(made.graph.reason)
    assert "one_hot_max_size" in str(made.graph.reason)


def test_a_threshold_of_catboost_s_own_is_refused_by_name() -> None:
    frame, targets = table()
    model = cat().fit(frame, targets["two"])
    model.set_probability_threshold(0.3)
    made = proven(FrozenEstimator(model), frame, targets["two"])
    assert "CatBoost with a probability threshold of its own" in str(made.graph.reason)


def test_a_loss_of_catboost_s_that_is_not_known_is_refused_by_name() -> None:
    frame, targets = table()
    made = proven(cat("Regressor", loss_function="LogLinQuantile:alpha=0.3"), frame, targets["positive"])
    assert "CatBoost with the loss function LogLinQuantile" in str(made.graph.reason)


@pytest.mark.slow
def test_a_booster_answers_what_is_infinite_as_its_library_does() -> None:
    """``log`` of 0 is: a guard, which the encoder asks for, must not take it for a refusal."""
    frame, targets = table()
    frame["b"] += 0.5
    frame["code"] = frame["code"].fillna(0)
    for kind in (xgb, lgbm, cat):
        logs = make_column_transformer(
            (FunctionTransformer(np.log), [1]), (OrdinalEncoder(), [2]), remainder="passthrough"
        )  # by position: what is refused is asked row by row, which pandas makes slow
        made = proven(make_pipeline(logs, kind()), frame, targets["two"])
        assert_exported(made, 1e-6)


class Slow(lightgbm.LGBMClassifier):
    """A class of one's own that changes only how it is fitted."""

    def fit(self, X: Any, y: Any, *args: Any, **more: Any) -> Any:  # noqa: N803
        self.set_params(learning_rate=0.05)
        return super().fit(X, y, *args, **more)


def test_a_class_that_fits_otherwise_is_exported_as_its_library_s() -> None:
    rows, targets = table(300)
    assert_exported(proven(Slow(n_estimators=5, verbose=-1, n_jobs=1), rows, targets["two"]))
