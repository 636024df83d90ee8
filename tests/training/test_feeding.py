"""Which columns' missing texts a pipeline from a CSV gets as NaN or None, and which as empty texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.ensemble import VotingClassifier
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

from handler.manifest import Feature
from handler.scoring.model import Model
from tests.support.bundles import Run
from tests.support.ids import without_address
from training.feeding import as_looked_for, described

FEATURES = (
    Feature("age", "integer", True, 1.0, 90.0),
    Feature("city", "category", True, categories=("oslo", "rome")),
    Feature("color", "category", True, categories=("blue", "red")),
    Feature("sex", "category", False, categories=("f", "m")),
)
IMPUTER = SimpleImputer(strategy="most_frequent")


def fed_as(estimator: Any) -> dict[str, str | None]:
    features = as_looked_for(estimator, FEATURES)
    assert [each._replace(fed_as=None) for each in features] == list(FEATURES)
    assert all(each.fed_as is None for each in features if each.name in ("age", "sex"))
    return {each.name: each.fed_as for each in features if each.name in ("city", "color")}


def columns(step: Any, names: Any, remainder: Any = "drop") -> Any:
    return make_pipeline(
        ColumnTransformer([("texts", step, names)], remainder=remainder), LogisticRegression()
    )


@pytest.mark.parametrize(
    "step",
    [
        IMPUTER,
        SimpleImputer(strategy="constant", fill_value="none", missing_values=pd.NA),
        MissingIndicator(),
        OrdinalEncoder(encoded_missing_value=-1),
        OneHotEncoder(categories=[["oslo", "rome", np.nan]]),
        make_pipeline("passthrough", FunctionTransformer(), IMPUTER, OneHotEncoder()),
        FeatureUnion([("kept", IMPUTER), ("marked", OneHotEncoder())]),
        make_union(OneHotEncoder(), make_pipeline(IMPUTER, OneHotEncoder())),
    ],
    ids=lambda step: type(step).__name__,
)
def test_a_step_that_looks_for_nan_gets_nan(step: Any) -> None:
    assert fed_as(columns(step, ["city"])) == {"city": "nan", "color": None}


@pytest.mark.parametrize(
    "step",
    [
        SimpleImputer(strategy="most_frequent", missing_values=""),
        SimpleImputer(strategy="most_frequent", missing_values="?"),
        OneHotEncoder(handle_unknown="ignore"),
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        FunctionTransformer(np.char.lower),
        make_pipeline(SimpleImputer(strategy="most_frequent", missing_values=""), IMPUTER),
        make_pipeline(FunctionTransformer(np.char.lower), IMPUTER),
        FeatureUnion([("words", SimpleImputer(missing_values="")), ("gaps", IMPUTER)]),
        "passthrough",
    ],
    ids=lambda step: type(step).__name__,
)
def test_a_step_that_does_not_gets_the_empty_text(step: Any) -> None:
    assert fed_as(columns(step, ["city"])) == {"city": None, "color": None}


def test_none_is_looked_for_too() -> None:
    imputer = SimpleImputer(strategy="most_frequent", missing_values=None)
    assert fed_as(columns(imputer, ["city"])) == {"city": "none", "color": None}


@pytest.mark.parametrize(
    "names",
    [
        ["city"],
        "city",
        slice("city", "city"),
        [1],
        1,
        slice(1, 2),
        -3,
        [False, True, False, False],
        np.array([False, True, False, False]),
        make_column_selector("^ci"),
        lambda rows: [name for name in rows if name == "city"],
    ],
    ids=without_address,
)
def test_the_columns_of_a_step_are_resolved_as_scikit_learn_does(names: Any) -> None:
    assert fed_as(columns(IMPUTER, names)) == {"city": "nan", "color": None}


def test_columns_by_dtype_are_resolved_by_the_dtypes_of_fitting() -> None:
    numbers = make_column_selector(dtype_include="number")
    texts = make_column_selector(dtype_exclude="number")
    assert fed_as(columns(IMPUTER, texts)) == {"city": "nan", "color": "nan"}
    assert fed_as(columns(IMPUTER, numbers)) == {"city": None, "color": None}


def test_the_remainder_is_a_step_too() -> None:
    assert fed_as(columns(OneHotEncoder(), ["city"], IMPUTER)) == {"city": None, "color": "nan"}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: GridSearchCV(model, {}),
        lambda model: VotingClassifier([("a", model), ("b", LogisticRegression())]),
        lambda model: make_pipeline(model),
    ],
)
def test_wrappers_pass_the_columns_on(wrap: Any) -> None:
    assert fed_as(wrap(columns(IMPUTER, ["city"]))) == {"city": "nan", "color": None}


def test_a_selector_that_raises_is_left_to_fitting() -> None:
    assert fed_as(columns(IMPUTER, ["town"])) == {"city": None, "color": None}


def test_one_line_says_what_reaches_the_pipeline() -> None:
    features = as_looked_for(columns(IMPUTER, ["city"]), FEATURES)
    assert described(features) == (
        "missing texts reach the pipeline as NaN in 'city'; as empty texts in 'color'"
    )
    assert described(FEATURES[:1]) == ""


def test_a_missing_category_of_a_csv_is_imputed_as_in_pandas(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(0)
    city = random.choice(
        np.array(["berlin", "oslo", "paris", None], dtype=object), 300, p=[0.5, 0.2, 0.2, 0.1]
    )
    frame = pd.DataFrame({"age": random.integers(18, 80, 300), "city": city})
    frame["y"] = ((frame["age"] > 45) ^ (frame["city"] == "oslo")).astype(int)
    manifest = run(frame, "--pipeline", "tests.support.pipelines:imputed")
    assert "missing texts reach the pipeline as NaN in 'city'" in capsys.readouterr().out
    assert manifest.as_json()["features"][1]["fed_as"] == "nan"
    assert manifest.engines == {"one": "scalar", "many": "onnx"}
    estimator = joblib.load(tmp_path / "model" / "model.joblib")
    encoder = estimator[0].named_transformers_["categories"][-1]
    again = clone(estimator).fit(pd.read_csv(tmp_path / "rows.csv").drop(columns="y"), frame["y"])
    expected = again[0].named_transformers_["categories"][-1].categories_[0].tolist()
    assert encoder.categories_[0].tolist() == expected == ["berlin", "oslo", "paris"]
    model = Model.load(tmp_path / "model")
    records = [(40.0, city) for city in ("", "berlin")]
    missing, berlin = (model.predict_one(record)["probabilities"] for record in records)
    assert missing == berlin
    (_, probability) = estimator.predict_proba(
        pd.DataFrame({"age": [40.0], "city": [np.nan]}, dtype=object)
    )[0]
    assert missing["1"] == pytest.approx(probability, abs=1e-12)
