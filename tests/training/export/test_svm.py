"""libsvm's estimators in doubles: the labels of scikit-learn on rows of any size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from tests.support.proving import proven, served_by

pytestmark = pytest.mark.slow


def numbers(classes: int, rows: int = 150) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(50, 20, size=rows), "b": random.exponential(size=rows)})
    score = frame["a"] / 20 + frame["b"]
    return frame, pd.qcut(score, classes, labels=False).to_numpy()


def far_rows(rows: int = 3000) -> pd.DataFrame:
    """Values of every size, up to the largest that is accepted."""
    random = np.random.default_rng(1)
    sizes = 10.0 ** random.uniform(-3, 38, size=(rows, 2))
    return pd.DataFrame(sizes * random.choice([-1.0, 1.0], size=(rows, 2)), columns=["a", "b"])


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "svc",
    [
        pytest.param(SVC(kernel="linear"), id="linear"),
        pytest.param(SVC(kernel="poly"), id="poly"),
        pytest.param(SVC(kernel="sigmoid"), id="sigmoid"),
        pytest.param(SVC(), id="rbf"),
        pytest.param(SVC(break_ties=True), id="ties are broken"),
        pytest.param(SVC(decision_function_shape="ovo"), id="one against one"),
    ],
)
def test_labels_are_scikit_learns_on_rows_of_any_size(svc: Any, classes: int) -> None:
    estimator = make_pipeline(StandardScaler(), svc)
    made = proven(estimator, *numbers(classes), rows_compared=1000)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason
    rows = far_rows()
    found = made.scorer.score({name: rows[name].to_numpy() for name in rows}).values
    assert found.tolist() == estimator.predict(rows).tolist()


def test_no_vote_more_for_one_class_than_for_another_gives_the_first() -> None:
    """Three classes around a point: there each wins once, and scikit-learn takes the first."""
    angles = np.linspace(0, 2 * np.pi, 151)[:-1]
    frame = pd.DataFrame({"a": np.cos(angles), "b": np.sin(angles)})
    estimator = SVC(kernel="poly", degree=5, coef0=1.0)
    made = proven(estimator, frame, np.arange(150) // 50, rows_compared=1000)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason
    grid = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 50)] * 2), axis=-1).reshape(-1, 2)
    rows = pd.DataFrame(grid, columns=["a", "b"])
    estimator.decision_function_shape = "ovo"  # which changes no prediction
    first_second, first_third, second_third = (estimator.decision_function(rows) > 0).astype(int).T
    votes = [first_second + first_third, 1 - first_second + second_third]
    assert ((votes[0] == 1) & (votes[1] == 1)).any()
    found = made.scorer.score({"a": grid[:, 0], "b": grid[:, 1]}).values
    assert found.tolist() == estimator.predict(rows).tolist()


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_probabilities_of_libsvm_stay_on_joblib_with_the_way_out() -> None:
    frame, y = numbers(2)
    made = proven(SVC(probability=True, random_state=0), frame, y, rows_compared=1000)
    assert served_by(made) == ("joblib", "joblib")
    assert "CalibratedClassifierCV(SVC(), ensemble=False) is exported" in str(made.graph.reason)
