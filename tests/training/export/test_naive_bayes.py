"""Naive Bayes in doubles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, MultinomialNB

from tests.support.proving import proven, served_by


def counts(rows: int = 240) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.poisson([1, 2, 3], size=(rows, 3)), columns=["a", "b", "c"])
    frame.iloc[:12] = np.repeat(np.arange(12), 3).reshape(12, 3)  # every count is fitted on
    return frame, np.array(["x", "y", "z"], dtype=object)[(frame["a"] + frame["c"]).to_numpy() % 3]


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        BernoulliNB(binarize=1.0),
        BernoulliNB(binarize=None),
        ComplementNB(),
        MultinomialNB(),
        CategoricalNB(),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_naive_bayes_is_exported_in_doubles(model: Any) -> None:
    made = proven(model, *counts(), rows_compared=1000)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason
    assert (made.graph.largest_difference or 0) < 1e-12


@pytest.mark.slow
def test_a_category_that_was_never_seen_has_no_answer() -> None:
    """scikit-learn raises there; a cell is cut to a whole number, as there."""
    frame, y = counts()
    model = CategoricalNB()
    made = proven(model, frame, y, rows_compared=1000)
    highest = float(model.n_categories_[0])
    cells = np.array([-1.0, highest, 1e30, 0.0, 1.0, highest - 1])
    rows = {"a": cells, "b": np.ones(6), "c": np.ones(6)}
    given = made.scorer.score(rows).probabilities
    assert given is not None
    assert np.isfinite(given).all(axis=1).tolist() == [False] * 3 + [True] * 3
