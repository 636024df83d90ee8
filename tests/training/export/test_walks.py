"""The walks of onnxruntime are the oracle of those outside it, compiled and in numpy."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from handler.scoring import trees
from handler.scoring.graph import TREES, OnnxScorer
from tests.support.kernel import contract, metadata, needs_compiler, summed_both_ways
from tests.support.proving import proven, served_by
from training.export.graph import to_onnx
from training.export.lifting import lifted

pytestmark = pytest.mark.slow

ROWS = 900
FOREST: dict[str, Any] = {"random_state": 0, "n_estimators": 12}
MODELS = {
    "a forest of two classes": (RandomForestClassifier(**FOREST), "two"),
    "three classes": (ExtraTreesClassifier(**FOREST, max_depth=12), "three"),
    "a value": (RandomForestRegressor(**FOREST), "value"),
    "many leaves, and ways of very different lengths": (
        HistGradientBoostingRegressor(random_state=0, max_leaf_nodes=300, min_samples_leaf=1, max_iter=20),
        "value",
    ),
    "three classes, and missing values": (
        HistGradientBoostingClassifier(random_state=0, max_leaf_nodes=300, min_samples_leaf=1, max_iter=30),
        "three",
    ),
}


def table() -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Columns over many powers of ten, around zero, on few numbers, with missing ones, and of noise."""
    random = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "even": random.random(ROWS),
            "powers": np.exp(random.normal(size=ROWS) * 9),
            "zeros": random.normal(size=ROWS) * (random.random(ROWS) < 0.5),
            "few": random.integers(0, 4, ROWS).astype(float),
            **{f"noise {number}": random.normal(size=ROWS) for number in range(12)},
        }
    )
    value = frame["even"] * 3 + np.log(frame["powers"]) / 9 + frame["zeros"] * frame["few"]
    value = (value + random.normal(size=ROWS) * 0.2).to_numpy(copy=True)
    frame.loc[random.random(ROWS) < 0.1, "even"] = np.nan
    return frame, {"value": value, "two": (value > 2).astype(int), "three": np.digitize(value, [1.5, 2.5])}


def edges(graph: bytes) -> np.ndarray:
    """What branches compare with, and its neighbours; zeros, and what is infinite or missing."""
    parts = [np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, -1e308, 5e-324, -5e-324])]
    for node in onnx.load_from_string(graph).graph.node:
        for each in node.attribute:
            if each.name == "nodes_splits":
                splits = onnx.numpy_helper.to_array(each.t)
                parts += [splits, np.nextafter(splits, np.inf), np.nextafter(splits, -np.inf)]
    return np.unique(np.concatenate(parts))


def walks(graph: bytes) -> list[dict[str, Any]]:
    """The sums that a graph states as walks."""
    return [each for each in json.loads(metadata(graph)[TREES])["sums"] if "depths" in each]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_rows_come_to_the_leaves_of_onnxruntime_at_the_splits_and_one_ulp_beside_them(name: str) -> None:
    model, target = MODELS[name]
    frame, targets = table()
    model.fit(frame, targets[target])
    task = {"value": "regression", "two": "binary", "three": "multiclass"}[target]
    agreed = contract(frame, targets[target], task)
    graph = to_onnx(model, agreed)
    served = lifted(graph)
    assert walks(served)
    random = np.random.default_rng(0)
    columns = {feature.name: random.choice(edges(graph), 5_001) for feature in agreed.features}
    expected, given = (OnnxScorer(each, agreed).score(columns) for each in (graph, served))
    in_order = not isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor)
    np.testing.assert_allclose(given.values, expected.values, rtol=0 if in_order else 1e-12)
    if expected.probabilities is not None:
        assert given.probabilities is not None
        atol = 0 if in_order else 1e-14
        np.testing.assert_allclose(given.probabilities, expected.probabilities, rtol=0, atol=atol)


def test_a_rows_sum_is_the_same_to_the_last_bit_whatever_rows_it_is_summed_with() -> None:
    frame, targets = table()
    model = RandomForestClassifier(**FOREST).fit(frame, targets["three"])
    graph = lifted(to_onnx(model, contract(frame, targets["three"], "multiclass")))
    ((sums,), _) = trees.follows(metadata(graph)[TREES])
    rows = frame.to_numpy()
    together = sums.of(rows)
    for start, end in ((0, 1), (1, 3), (5, 70), (100, 900)):
        assert (sums.of(rows[start:end]) == together[start:end]).all()
    assert sums.of(rows[:0]).shape == (0, 3)


def test_a_forest_behind_an_encoder_asks_for_levels_and_answers_as_scikit_learn_does() -> None:
    frame, targets = table()
    frame = frame.drop(columns="few").assign(level=[f"level {number:.0f}" for number in frame["few"]])
    encoder = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["level"]), remainder="passthrough"
    )
    pipeline = make_pipeline(encoder, RandomForestClassifier(**FOREST))
    made = proven(pipeline, frame, targets["two"], exact=True)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason
    (own,) = walks(made.files["model.onnx"])
    assert any(zlib.decompress(base64.b64decode(own["equal"]))), "no branch asks for a level"


@needs_compiler
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.filterwarnings("ignore")
def test_compiled_walks_and_those_of_numpy_give_the_same_bits(name: str, tmp_path: Path) -> None:
    model, target = MODELS[name]
    frame, targets = table()
    model.fit(frame, targets[target])
    task = {"value": "regression", "two": "binary", "three": "multiclass"}[target]
    graph = to_onnx(model, contract(frame, targets[target], task))
    rows = np.random.default_rng(0).choice(edges(graph), (5_001, len(frame.columns)))
    compiled, in_numpy = summed_both_ways(metadata(lifted(graph))[TREES], rows, tmp_path)
    assert compiled == in_numpy


def test_trees_that_a_row_would_leave_are_refused() -> None:
    frame, targets = table()
    model = RandomForestClassifier(**FOREST).fit(frame, targets["three"])
    graph = lifted(to_onnx(model, contract(frame, targets["three"], "multiclass")))
    stated = json.loads(metadata(graph)[TREES])
    ((sums,), _) = trees.follows(json.dumps(stated))
    with pytest.raises(ValueError, match="a column that it does not have"):
        sums.of(frame.to_numpy()[:, :2])
    (own,) = stated["sums"]
    for wrong in ({"width": 2}, {"targets": [[0, 1, 3]] * 12}, {"values": own["split"]}):
        with pytest.raises(ValueError, match="not whole"):
            trees.follows(json.dumps({**stated, "sums": [{**own, **wrong}]}))
