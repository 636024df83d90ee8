"""Forests of every size and number of classes: the graph and the one-row program give scikit-learn's sums.

https://scikit-learn.org/stable/modules/ensemble.html
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import (
    AdaBoostRegressor,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    RandomTreesEmbedding,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tests.support.bundles import reviews
from tests.support.proving import proven, served_by

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(0)
ROWS = pd.DataFrame(RANDOM.normal(size=(1500, 6)).round(2), columns=list("abcdef"))
ROWS.loc[::9, "c"] = np.nan
SUM = (ROWS["a"] * ROWS["b"] + ROWS["d"] + RANDOM.normal(size=1500)).to_numpy()


def classes(count: int) -> np.ndarray:
    return np.searchsorted(np.quantile(SUM, np.arange(1, count) / count), SUM)


def exported(
    estimator: Any, target: np.ndarray | None, difference: float, rows: pd.DataFrame = ROWS
) -> None:
    made = proven(estimator, rows, target, rows_compared=2000)
    assert served_by(made) == ("onnx", "scalar"), (made.graph.reason, made.program)
    assert made.program is not None
    for finding in (made.graph, made.program):
        assert finding.labels_identical in (True, None)
        assert finding.largest_difference is not None
        assert finding.largest_difference <= difference


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 3, 6, None])
@pytest.mark.parametrize("count", [2, 3, 10])
def test_a_forests_probabilities_are_scikit_learns_to_the_last_bit(count: int, depth: int | None) -> None:
    forest = RandomForestClassifier(30, max_depth=depth, class_weight="balanced", random_state=0)
    exported(forest, classes(count), 0.0)


@pytest.mark.parametrize(
    "model",
    [DecisionTreeClassifier(random_state=0), ExtraTreesClassifier(20, random_state=0)],
    ids=lambda model: type(model).__name__,
)
def test_a_tree_and_extra_trees_too(model: Any) -> None:
    exported(model, classes(4), 0.0)


@pytest.mark.parametrize("depth", [2, 7, None])
def test_a_forests_mean_is_scikit_learns_to_the_last_bit(depth: int | None) -> None:
    exported(RandomForestRegressor(20, max_depth=depth, random_state=0), SUM, 0.0)


def test_an_isolation_forest_of_many_trees_labels_rows_at_its_threshold_alike() -> None:
    """Whole numbers in few leaves: the threshold is the score of rows that come again.

    The last bits of the score are those of a power of two, which numpy has otherwise on some processors.
    """
    rows = pd.DataFrame({name: np.arange(900) * step % 11 for name, step in (("a", 3), ("b", 7))})
    exported(IsolationForest(n_estimators=60, contamination=0.25, random_state=0), None, 1e-13, rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("booster", "target"),
    [
        (HistGradientBoostingClassifier(max_iter=25, random_state=0), classes(2)),
        (HistGradientBoostingRegressor(max_iter=25, random_state=0), SUM),
    ],
    ids=["two classes", "a number"],
)
def test_boosters_of_many_trees(booster: Any, target: np.ndarray) -> None:
    exported(booster, target, 1e-13)


def test_gradient_boosting_of_many_trees_and_classes() -> None:
    booster = GradientBoostingClassifier(n_estimators=60, max_depth=4, random_state=0)
    exported(booster, classes(3), 1e-13, ROWS.fillna(0.0))


@pytest.mark.slow
def test_trees_with_an_answer_each() -> None:
    members = AdaBoostRegressor(DecisionTreeRegressor(max_depth=6), n_estimators=30, random_state=0)
    exported(members, SUM, 0.0, ROWS.fillna(0.0))
    embedding = RandomTreesEmbedding(40, max_depth=5, sparse_output=False, random_state=0)
    exported(
        make_pipeline(embedding, LogisticRegression(max_iter=2000)), classes(2), 1e-12, ROWS.fillna(0.0)
    )


def test_large_trees_over_words() -> None:
    rows = reviews(900)
    words = make_pipeline(TfidfVectorizer(), RandomForestClassifier(20, random_state=0))
    texts = [name for name in rows if rows[name].astype(str).str.len().mean() > 20]
    target = np.arange(len(rows)) % 3  # which has nothing to do with the words: the trees become large
    made = proven(words, rows[texts[:1]], target, texts=texts[:1], rows_compared=500)
    assert served_by(made)[0] == "onnx", made.graph.reason
    assert made.graph.largest_difference is not None
    assert made.graph.largest_difference < 1e-12


def test_each_tree_is_in_the_graph_once_however_many_classes_there_are() -> None:
    sizes = {}
    for count in (2, 10):
        forest = RandomForestClassifier(20, max_leaf_nodes=100, random_state=0)
        sizes[count] = len(proven(forest, ROWS, classes(count), rows_compared=500).files["model.onnx"])
    leaves = 20 * 100 * 8
    assert sizes[10] - sizes[2] < 1.2 * 8 * leaves  # eight more shares for each leaf, and no more branches


def test_trees_that_would_make_a_huge_graph_are_served_by_joblib() -> None:
    rows = pd.DataFrame(RANDOM.normal(size=(8000, 3)), columns=list("abc"))
    forest = ExtraTreesClassifier(12, random_state=0)
    made = proven(forest, rows, RANDOM.integers(0, 150, 8000), rows_compared=500)
    assert served_by(made)[0] == "joblib"
    assert made.graph.reason is not None
    assert "MB; a graph takes 50 MB" in made.graph.reason
