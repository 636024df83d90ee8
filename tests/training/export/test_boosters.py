"""XGBoost, LightGBM and CatBoost themselves are the oracles: on their thresholds and one ulp beside them."""

from __future__ import annotations

from typing import Any

import catboost
import lightgbm
import numpy as np
import pandas as pd
import pytest
import xgboost

from tests.support.proving import proven, served_by

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


@pytest.mark.parametrize("name", EXPORTED)
def test_a_booster_is_exported_and_equal_to_its_library(name: str) -> None:
    model, target = EXPORTED[name]
    frame, targets = table()
    made = proven(model, frame, targets[target])
    assert made.program
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason or made.program.reason
    if not name.startswith("xgb"):  # which sums in float32
        assert made.graph.largest_difference is not None
        assert made.graph.largest_difference < 1e-12


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
