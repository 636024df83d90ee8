"""The comparison of a graph with scikit-learn: what passes it, and what does not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from handler.categories import texts_of
from handler.manifest import Contract, Feature
from handler.schema import Columns
from handler.scoring.checking import differences
from handler.scoring.estimator import JoblibScorer
from handler.scoring.model import Model
from handler.scoring.scorers import Scores
from tests.support.bundles import Run, mixed_rows
from training.export.graph import to_onnx
from training.proof import parity, rows
from training.train import Options, train


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pipeline", "target"),
    [
        ("random_forest", "class"),
        ("gradient_boosting", "class"),
        ("hist_gradient_boosting", "class"),
        ("without_probabilities", "class"),
        ("selecting", "class"),
        ("random_forest_regressor", "price"),
        ("gradient_boosting_regressor", "price"),
        ("hist_gradient_boosting_regressor", "price"),
    ],
)
def test_estimators_that_pass_the_gate(run: Run, pipeline: str, target: str) -> None:
    rows = mixed_rows(1500).drop(columns={"class", "price"} - {target})
    manifest = run(rows, "--pipeline", f"tests.support.pipelines:{pipeline}", target=target)
    assert manifest.runtime == "onnx", manifest.parity
    assert manifest.parity["rows"] == 450
    assert manifest.parity["adversarial_rows"] > 4000
    assert manifest.parity["largest_difference"] <= manifest.parity["tolerance"]


@pytest.mark.slow
def test_a_tampered_graph_fails_the_gate_and_joblib_serves(tmp_path: Path, bundle_dir: Path) -> None:
    def tampered(estimator: Any, contract: Contract, **options: Any) -> bytes:
        graph = onnx.load_from_string(to_onnx(estimator, contract, **options))
        (classifier,) = [node for node in graph.graph.node if node.op_type == "MatMul"]
        (weights,) = [each for each in graph.graph.initializer if each.name in classifier.input]
        weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * 1.00001, weights.name))
        return graph.SerializeToString()

    rows = bundle_dir.parent / "sales.csv"
    told: list[str] = []
    manifest = train(Options(data=rows, out=tmp_path / "model"), told.append, tampered)
    assert manifest.runtime == "joblib"
    assert manifest.parity["reason"] in "\n".join(told)
    assert "\n" not in manifest.parity["reason"]
    assert {each.name for each in (tmp_path / "model").iterdir()} == {
        "model.json",
        "model.joblib",
        "model.explain",
        "MODEL_CARD.md",
        "report.html",
    }
    served, proven = Model.load(tmp_path / "model"), Model.load(bundle_dir)
    assert differences(served) == []
    labels = [model.predict_one((45.0, 0.0, 5.0))["prediction"] for model in (served, proven)]
    assert labels[0] == labels[1]


class Flawed:
    """A scorer of three classes, another's equal but for the rows that ``strange`` tells."""

    def __init__(self, model: Model, strange: Callable[[Columns], np.ndarray]) -> None:
        self._scorer = model.scorer
        self._strange = strange

    def score(self, columns: Columns) -> Scores:
        scores = self._scorer.score(columns)
        return Scores((scores.values + self._strange(columns)) % 3, scores.probabilities)


@pytest.mark.parametrize(
    "strange",
    [
        pytest.param(lambda rows: np.isnan(rows["âge"]), id="null"),
        pytest.param(lambda rows: rows["heating"] == "", id="missing category"),
        pytest.param(lambda rows: rows["heating"] == "oil", id="known category"),
        pytest.param(
            lambda rows: ~np.isin(rows["Straße"], ["Oslo", "Zürich", "Łódź", "東京"]), id="unknown category"
        ),
        pytest.param(lambda rows: rows["no.rooms"] > 6, id="above the greatest"),
        pytest.param(lambda rows: rows["no.rooms"] < 0, id="below zero"),
        pytest.param(lambda rows: rows["âge"] > 1e9, id="far above"),
        pytest.param(lambda rows: rows["garden"] == 1, id="true"),
        pytest.param(lambda rows: (rows["garden"] == 1) & (rows["no.rooms"] == 6), id="two at once"),
    ],
)
def test_a_flaw_that_no_row_held_out_shows_fails_the_gate(
    mixed_model: Model, strange: Callable[[Columns], np.ndarray]
) -> None:
    typical = mixed_model.schema.from_json(mixed_model.manifest.golden[0]["record"])
    held_out = {name: texts_of(each) for name, each in mixed_model.schema.columns([typical]).items()}
    adversarial = rows.adversarial(mixed_model.manifest.features, typical, seed=1)
    flawed = Flawed(mixed_model, strange)
    assert not strange(held_out).any()
    gate = parity.Gate(mixed_model.scorer, "multiclass", held_out, adversarial)
    finding = gate.compare(flawed)
    assert finding.labels_identical is False
    assert "another label" in str(finding.reason)
    sound = gate.compare(mixed_model.scorer)
    assert sound.reason is None
    assert sound.largest_difference == 0


@pytest.mark.parametrize("wrong", [1e-4, math.inf, math.nan])
def test_values_must_agree_within_the_tolerance(regression_model: Model, wrong: float) -> None:
    class Off:
        def score(self, columns: Columns) -> Scores:
            values = regression_model.scorer.score(columns).values
            return Scores(values + wrong * np.abs(values), None)

    typical = regression_model.schema.from_json(regression_model.manifest.golden[0]["record"])
    columns = regression_model.schema.columns([typical])
    finding = parity.Gate(regression_model.scorer, "regression", columns, columns).compare(Off())
    assert "over the tolerance" in str(finding.reason)
    assert json.dumps(finding.as_json(), allow_nan=False)


def test_rows_that_are_refused_are_asked_alone_once_for_every_scorer() -> None:
    asked: list[float] = []

    class Refuses:
        def score(self, columns: Columns) -> Scores:
            asked.append(columns["a"][0])
            if (columns["a"] < 0).any():
                raise ValueError("negative")
            return Scores(columns["a"], None)

    class Silent:
        def score(self, columns: Columns) -> Scores:
            return Scores(np.where(columns["a"] < 0, math.nan, columns["a"]), None)

    values = np.where(np.arange(4000) % 2 == 0, -1.0, 1.0) * np.arange(1, 4001)
    gate = parity.Gate(Refuses(), "regression", {"a": np.ones(1)}, {"a": values})
    assert [gate.compare(Silent(), most).reason for most in (None, 3000)] == [None, None]
    alone = [each for each in asked if each < 0]
    assert parity.ASKED_ALONE <= len(alone) < 1.5 * parity.ASKED_ALONE
    assert len(alone) - len(set(alone)) <= 2  # the first row is also the first of each half


def test_the_steps_of_a_pipeline_transform_rows_once_for_labels_and_probabilities() -> None:
    asked: list[int] = []

    def noted(rows: np.ndarray) -> np.ndarray:
        asked.append(len(rows))
        return rows

    values = np.arange(20.0).reshape(-1, 1)
    steps = [FunctionTransformer(noted), "passthrough", StandardScaler(), LogisticRegression()]
    model = Pipeline([(str(index), step) for index, step in enumerate(steps)])
    model.fit(values, (values[:, 0] > 9).astype(int))
    asked.clear()
    contract = Contract((Feature("a", "number", False, 0.0, 19.0),), "binary", (0, 1), "array")
    scores = JoblibScorer(model, contract).score({"a": values[:, 0]})
    assert asked == [20]
    np.testing.assert_array_equal(scores.values, model.predict(values))
    np.testing.assert_array_equal(scores.probabilities, model.predict_proba(values))


@pytest.mark.slow
def test_exact_lets_nothing_but_doubles_serve(tmp_path: Path) -> None:
    frame = mixed_rows(600)
    frame["dear"] = (frame["price"] > frame["price"].median()).map({True: "yes", False: "no"})
    frame.drop(columns=["price", "class"]).to_csv(tmp_path / "rows.csv", index=False)
    for pipeline, runtime in (("random_forest", "onnx"), ("tests.support.pipelines:single_sums", "joblib")):
        options = Options(
            tmp_path / "rows.csv", "dear", pipeline, out=tmp_path / pipeline.replace(":", "_"), exact=True
        )
        manifest = train(options, lambda _: None)
        assert manifest.runtime == runtime
        assert manifest.parity["tolerance"] == 1e-12
