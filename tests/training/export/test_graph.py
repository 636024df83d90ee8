"""The ONNX graph: any feature name, missing values, categories, and what cannot be exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import train_test_split

from handler.bundle import Bundle
from handler.scoring.estimator import JoblibScorer, unpickle
from handler.scoring.model import Model
from tests.support.bundles import Run, mixed_rows, small
from training.__main__ import main


@pytest.mark.slow
def test_any_feature_name_goes_through_the_graph(run: Run) -> None:
    random = np.random.default_rng(0)
    names = ["x1", "x0", "label", "probabilities", "variable", "a b", "a.b", "a_b", "été", "1st", "input"]
    rows = pd.DataFrame({name: random.normal(size=300) for name in names})
    rows["y"] = (rows["x0"] - rows["x1"] + rows["a b"] - rows["a.b"] > 0).astype(int)
    for pipeline in ("logistic", "tests.support.pipelines:bare"):
        manifest = run(rows, "--pipeline", pipeline)
        assert manifest.runtime == "onnx", manifest.parity
        assert manifest.parity["largest_difference"] < 1e-14


@pytest.mark.slow
def test_a_category_is_closed_if_the_estimator_refuses_unknown_ones(run: Run, mixed_model: Model) -> None:
    assert all(each.open for each in mixed_model.manifest.features if each.kind == "category")
    rows = mixed_rows(400)[["Straße", "class"]]
    (feature,) = run(rows, "--pipeline", "tests.support.pipelines:closed", target="class").features
    assert not feature.open


@pytest.mark.slow
def test_a_category_that_only_the_rows_held_out_have_needs_an_open_encoder(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = small(b=["p", "q"] * 100)
    _, held_out = train_test_split(frame, test_size=0.3, random_state=555, stratify=frame["y"])
    frame.loc[held_out.index[0], "b"] = "rare"
    assert run(frame).features[1].open
    command = ["--data", str(tmp_path / "rows.csv"), "--target", "y", "--out", str(tmp_path / "model")]
    assert main([*command, "--pipeline", "tests.support.pipelines:closed"]) == 2
    assert "scoring the rows held out fails: ValueError: Found unknown" in capsys.readouterr().err


def test_nulls_and_unknown_categories_score_as_the_estimator_scores_them(mixed_dir: Path) -> None:
    model = Model.load(mixed_dir)
    estimator = unpickle(Bundle.open(mixed_dir).read("model.joblib"))
    true = Model.of(model.manifest, JoblibScorer(estimator, model.manifest.contract))
    known = {
        "living area": 70.5,
        "no.rooms": 3,
        "garden": True,
        "Straße": "Zürich",
        "heating": "gas",
        "âge": 9,
    }
    changes: list[dict[str, Any]] = [
        {},
        {"living area": None, "âge": None},
        {"heating": None},
        {"Straße": "Bonn"},
    ]
    records = [model.schema.from_json({**known, **change}) for change in changes]
    found, expected = model.score(records), true.score(records)
    assert found.values.tolist() == expected.values.tolist()
    np.testing.assert_allclose(found.probabilities, expected.probabilities, rtol=0, atol=1e-12)


def test_a_model_that_cannot_be_exported_says_why(joblib_model: Model) -> None:
    manifest = joblib_model.manifest
    assert manifest.runtime == "joblib"
    assert set(manifest.files) == {"model.joblib", "MODEL_CARD.md", "report.html"}
    assert "FunctionTransformer" in manifest.parity["reason"]
