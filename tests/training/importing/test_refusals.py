"""What is not packaged: each is refused by name, with one clear line, and leaves no bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from training import package
from training.errors import TrainingError

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(60, 3))
BINARY = (ROWS[:, 0] > 0).astype(int)
TWO = np.column_stack([BINARY, 1 - BINARY])
FRAME = pd.DataFrame(ROWS, columns=["a", "b", "c"])


class Careless(ClassifierMixin, BaseEstimator):
    """A classifier that fails on a row, and says what was in it."""

    def fit(self, rows: Any, target: Any) -> Careless:  # noqa: ARG002
        self.classes_ = np.array([0, 1])
        return self

    def predict(self, rows: Any) -> Any:  # noqa: ARG002
        raise ValueError("cannot make a number of 'Ms Secret' in 'city'")


def refused(model: Any, rows: Any, folder: Path, y: Any = None, **options: Any) -> str:
    with pytest.raises(TrainingError) as raised:
        package(model, rows, y, out=folder / "model", **options)
    assert not (folder / "model").exists()
    message = str(raised.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: LogisticRegression(), "this LogisticRegression is not fitted; fit it first"),
        (
            lambda: make_pipeline(StandardScaler().fit(ROWS), LogisticRegression()),
            "this Pipeline is not fitted; fit it first",
        ),
        (lambda: LogisticRegression, "LogisticRegression is a class; give a fitted estimator of it"),
        (
            lambda: GridSearchCV(Ridge(), {"alpha": [1, 2]}, refit=False).fit(ROWS, BINARY),
            "GridSearchCV(refit=False) holds no fitted model",
        ),
        (lambda: LinearRegression().fit(ROWS, TWO), "predicts several targets; one value per row"),
        (lambda: RandomForestClassifier(3).fit(ROWS, TWO), "predicts 2 targets; a model of one target"),
        (lambda: OneVsRestClassifier(LogisticRegression()).fit(ROWS, TWO), "(multilabel); one label per"),
        (lambda: KNeighborsClassifier().fit(ROWS, TWO), "predicts 2 targets; a model of one target"),
        (lambda: StandardScaler().fit(ROWS), "is a transformer, not a model"),
        (lambda: DBSCAN().fit(ROWS), "a DBSCAN cannot predict rows that it was not fitted on; KMeans,"),
        (lambda: LocalOutlierFactor(n_neighbors=5).fit(ROWS), "LocalOutlierFactor(novelty=True) can"),
        (lambda: make_pipeline(StandardScaler()).fit(ROWS), "last step has no predict is a transformer"),
        (lambda: {"model": Ridge().fit(ROWS, BINARY)}, "it holds a model under 'model', which"),
        (lambda: [1, 2], "a list is not a scikit-learn estimator"),
        (lambda: Ridge().fit(ROWS, BINARY).predict, "a method is not a scikit-learn estimator"),
    ],
)  # fmt: skip
def test_what_is_no_fitted_model_is_refused(make: Callable[[], Any], reason: str, tmp_path: Path) -> None:
    assert reason in refused(make(), ROWS, tmp_path)


def test_a_model_without_a_target_is_given_none(tmp_path: Path) -> None:
    model = KMeans(2, n_init=1, random_state=0).fit(FRAME)
    assert "a KMeans is fitted without a target" in refused(model, FRAME, tmp_path, BINARY)
    assert "labels of its own" in refused(model, FRAME, tmp_path, classes=["a", "b"])


def test_a_model_that_fails_on_the_sample_is_refused_without_a_value(tmp_path: Path) -> None:
    rows = pd.DataFrame({"city": ["Rome", "Oslo"] * 30})
    message = refused(Careless().fit(rows, BINARY), rows, tmp_path)
    assert message == "the model fails on the sample: ValueError: cannot make a number of '...' in 'city'"


def test_a_model_whose_own_names_are_not_in_the_sample_is_refused(tmp_path: Path) -> None:
    model = Ridge().fit(FRAME, BINARY)
    assert "the sample lacks 1 of the columns that the model was fitted on: 'b'" in refused(
        model, FRAME.rename(columns={"b": "B"}), tmp_path
    )


@pytest.mark.parametrize(
    ("rows", "options", "reason"),
    [
        (ROWS[:, :2], {}, "the sample has 2 columns ('x0', 'x1'); the sample needs a column for each"),
        (ROWS, {"feature_names": ["a", "b"]}, "2 names are given, and the model takes 3 features"),
        (ROWS, {"classes": ["no"]}, "1 classes are named, and the model has 2: 0, 1"),
        (ROWS, {"classes": {0: "no", 5: "yes"}}, "names '5', and the model's classes are 0, 1"),
        (ROWS, {"classes": {0: "no"}}, "does not name 1; name every class"),
        (ROWS, {"classes": ["no", "no"]}, "two classes have the same name"),
        (ROWS, {"y": BINARY[:9]}, "the sample has 60 rows, and its target has 9"),
        (ROWS, {"y": BINARY + 1}, "the target is missing or none of the model's classes (0, 1)"),
        (ROWS[:0], {}, "the sample has no rows"),
        ("rows.csv", {}, "the sample is a text; read the file first"),
        (7, {}, "the sample must be a DataFrame, an array of two dimensions or a list of rows"),
        (np.where(ROWS > 2, np.inf, ROWS), {}, "holds a number that is not finite"),
        (np.where(np.arange(3) == 1, np.nan, ROWS), {}, "is empty in the sample"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_model_is_refused(
    rows: Any, options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    model = LogisticRegression().fit(ROWS, BINARY)
    assert reason in refused(model, rows, tmp_path, **options)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pd.date_range("2026-01-01", periods=60), "holds dates or times, which a request cannot state"),
        (pd.Categorical(BINARY), "a pandas category of values that are not texts"),
        ([1, "x"] * 30, "holds values of several types (int, str)"),
    ],
)
def test_a_column_that_no_request_can_state_is_refused(values: Any, reason: str, tmp_path: Path) -> None:
    frame = FRAME.assign(when=values)
    steps = make_column_transformer(("passthrough", ["a"]), ("drop", ["when"]))
    model = make_pipeline(steps, DecisionTreeClassifier(max_depth=2)).fit(frame, BINARY)
    assert reason in refused(model, frame, tmp_path)


def test_a_lambda_is_to_be_moved_into_a_module(tmp_path: Path) -> None:
    def halved(values: Any) -> Any:
        return values / 2

    for function, name in ((lambda values: values * 2, "a lambda"), (halved, "'halved'")):
        model = make_pipeline(FunctionTransformer(function), LogisticRegression()).fit(ROWS, BINARY)
        message = refused(model, ROWS, tmp_path)
        assert message.startswith(
            f"the model holds {name}, which cannot be pickled; move the function into a module"
        )


def test_an_unknown_category_of_the_sample_is_one_clear_line(tmp_path: Path) -> None:
    rows = pd.DataFrame({"city": ["Rome", "Oslo"] * 30})
    model = make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows, BINARY)
    message = refused(model, pd.DataFrame({"city": ["Secret"] * 3}), tmp_path)
    assert message.startswith(
        "the model fails on the sample: ValueError: Found unknown categories ['...'] in column 0"
    )
