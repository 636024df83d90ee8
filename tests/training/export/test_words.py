"""The walks of onnxruntime are the oracle of the words in which small trees are summed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from handler.scoring.graph import TREES, OnnxScorer
from handler.scoring.trees import follows
from tests.support.kernel import contract, metadata, needs_compiler, summed_both_ways
from tests.support.proving import proven, served_by
from training.export.graph import to_onnx
from training.export.lifting import lifted

pytestmark = pytest.mark.slow

ROWS = 900


def table() -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Columns whose splits are spread evenly, over many powers of ten, around zero, and on few numbers."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "even": random.random(ROWS),
            "powers": np.exp(random.normal(size=ROWS) * 9),
            "zeros": random.normal(size=ROWS) * (random.random(ROWS) < 0.5),
            "few": random.integers(0, 4, ROWS).astype(float),
            "code": random.integers(0, 30, ROWS).astype(float),
        }
    )
    value = frame["even"] * 3 + np.log(frame["powers"]) / 9 + frame["zeros"] * frame["few"]
    value = (value + (frame["code"] % 3) + random.normal(size=ROWS) * 0.2).to_numpy(copy=True)
    for name in ("even", "code"):
        frame.loc[random.random(ROWS) < 0.1, name] = np.nan
    return frame, {"value": value, "two": (value > 2).astype(int), "three": np.digitize(value, [1.5, 2.5])}


def edges(graph: bytes) -> np.ndarray:
    """All numbers that branches compare with, and their neighbours; gaps, zeros, and what is infinite."""
    nodes = onnx.load_from_string(graph).graph.node
    parts = [np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, -1e308, 5e-324])]
    for node in nodes:
        for each in node.attribute:
            if each.name in ("nodes_splits", "membership_values"):
                splits = onnx.numpy_helper.to_array(each.t)
                parts += [splits, np.nextafter(splits, np.inf), np.nextafter(splits, -np.inf)]
    return np.unique(np.concatenate(parts))


HIST: dict[str, Any] = {"random_state": 0, "max_iter": 60, "min_samples_leaf": 3}
MODELS = {
    "words of tests": (GradientBoostingClassifier(random_state=0), "two"),
    "three classes of tests": (GradientBoostingClassifier(random_state=0, n_estimators=40), "three"),
    "a value": (GradientBoostingRegressor(random_state=0, max_depth=2), "value"),
    "words of leaves": (HistGradientBoostingClassifier(**HIST), "two"),
    "three classes of leaves": (HistGradientBoostingClassifier(**HIST), "three"),
    "both": (HistGradientBoostingRegressor(**HIST, max_leaf_nodes=10), "value"),
    "two words for a tree": (HistGradientBoostingRegressor(**HIST, max_leaf_nodes=40), "value"),
    "more words than are summed in one go": (
        HistGradientBoostingClassifier(**{**HIST, "max_iter": 150}, max_leaf_nodes=20),
        "two",
    ),
    "members": (HistGradientBoostingClassifier(**HIST, categorical_features=[4]), "two"),
    "zeros": (LGBMClassifier(n_estimators=60, n_jobs=1, verbose=-1), "two"),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_words_give_what_walks_give_at_the_splits_and_one_ulp_beside_them(name: str) -> None:
    model, target = MODELS[name]
    frame, targets = table()
    filled = frame.fillna(0.5) if isinstance(model, GradientBoostingClassifier) else frame
    filled = filled.fillna(0.5) if isinstance(model, GradientBoostingRegressor) else filled
    model.fit(filled, targets[target])
    task = {"value": "regression", "two": "binary", "three": "multiclass"}[target]
    agreed = contract(frame, targets[target], task)
    graph = to_onnx(model, agreed)
    served = lifted(graph)
    assert TREES in metadata(served)
    random = np.random.default_rng(0)
    columns = {feature.name: random.choice(edges(graph), 5_000) for feature in agreed.features}
    expected, given = (OnnxScorer(each, agreed).score(columns) for each in (graph, served))
    if task == "regression":
        np.testing.assert_allclose(given.values, expected.values, rtol=1e-12, atol=1e-12)
        return
    assert (given.values == expected.values).all()
    assert given.probabilities is not None
    assert expected.probabilities is not None
    np.testing.assert_allclose(given.probabilities, expected.probabilities, rtol=0, atol=1e-14)


@needs_compiler
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_compiled_words_and_those_of_numpy_give_the_same_bits(name: str, tmp_path: Path) -> None:
    model, target = MODELS[name]
    frame, targets = table()
    model.fit(
        frame.fillna(0.5) if "Gradient" in str(model) and "Hist" not in str(model) else frame,
        targets[target],
    )
    task = {"value": "regression", "two": "binary", "three": "multiclass"}[target]
    graph = to_onnx(model, contract(frame, targets[target], task))
    rows = np.random.default_rng(0).choice(edges(graph), (5_001, len(frame.columns)))
    compiled, in_numpy = summed_both_ways(metadata(lifted(graph))[TREES], rows, tmp_path)
    assert compiled == in_numpy


def test_a_rows_sum_is_the_same_to_the_last_bit_whatever_rows_it_is_summed_with() -> None:
    frame, targets = table()
    model = HistGradientBoostingClassifier(**HIST).fit(frame, targets["three"])
    graph = lifted(to_onnx(model, contract(frame, targets["three"], "multiclass")))
    ((sums,), _) = follows(metadata(graph)[TREES])
    rows = frame.to_numpy()
    together = sums.of(rows)
    for start, end in ((0, 1), (1, 3), (5, 70), (100, 900)):
        assert (sums.of(rows[start:end]) == together[start:end]).all()
    assert sums.of(rows[:0]).shape == (0, 3)


def test_a_booster_in_a_pipeline_is_served_in_words_and_a_single_row_walks() -> None:
    frame, targets = table()
    pipeline = make_pipeline(StandardScaler(), HistGradientBoostingClassifier(**HIST))
    made = proven(pipeline, frame, targets["two"], exact=True)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason
    assert TREES in metadata(made.files["model.onnx"])


@pytest.mark.parametrize(
    "model",
    [RandomForestClassifier(5, max_depth=3, random_state=0), GradientBoostingClassifier(n_estimators=2)],
    ids=["a small forest, whose votes are summed in order", "too few trees to pay"],
)
def test_few_trees_stay_in_the_graph(model: Any) -> None:
    frame, targets = table()
    model.fit(frame.fillna(0.5), targets["two"])
    graph = to_onnx(model, contract(frame, targets["two"], "binary"))
    assert lifted(graph) == graph


def test_words_that_a_row_would_leave_are_refused() -> None:
    frame, targets = table()
    model = HistGradientBoostingClassifier(**HIST).fit(frame, targets["two"])
    graph = lifted(to_onnx(model, contract(frame, targets["two"], "binary")))
    stated = json.loads(metadata(graph)[TREES])
    (own,) = stated["sums"]
    (each, *others) = own["tables"]
    ((first, last, values), *_) = each["runs"]
    beyond = {**each, "runs": [[first + 1, last + 1, values]]}
    elsewhere = {**each, "runs": [[first, last, [[1, values[0][1]]]]]}
    short = {**each, "runs": [[first, last, [[0, values[0][1][: len(values[0][1]) // 16 * 8]]]]]}
    tables = [{"tables": [wrong, *others]} for wrong in (beyond, elsewhere, short)]
    for wrong in (*tables, {"columns": [-1, *own["columns"][1:]]}):
        with pytest.raises(ValueError, match="not whole"):
            follows(json.dumps({**stated, "sums": [{**own, **wrong}]}))
