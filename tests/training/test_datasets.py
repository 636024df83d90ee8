"""Real data sets that scikit-learn ships, from the command line to every way of asking."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from handler.__main__ import main as handler
from handler.scoring.model import Model
from training.__main__ import main as training

pytestmark = pytest.mark.slow

SETS = {
    "iris": ("logistic", 0.9),
    "wine": ("random_forest", 0.9),
    "breast_cancer": ("svc", 0.9),
    "diabetes": ("linear", 0.3),
    "digits": ("mlp", 0.8),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", list(SETS))
def test_a_real_data_set_goes_all_the_way(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = getattr(datasets, f"load_{name}")(as_frame=True)
    frame = loaded.frame
    if hasattr(loaded, "target_names") and name != "digits":
        frame = frame.assign(target=[loaded.target_names[place] for place in loaded.target])
    source, out = tmp_path / f"{name}.csv", tmp_path / "model"
    frame.to_csv(source, index=False)
    pipeline, at_least = SETS[name]
    arguments = ["--data", str(source), "--target", "target", "--pipeline", pipeline, "--out", str(out)]
    assert training(arguments) == 0
    monkeypatch.setenv("MODEL_DIR", str(out))
    assert handler(["check"]) == 0

    model = Model.load(out)
    manifest = model.manifest
    assert manifest.engines == {"one": "scalar", "many": "onnx"}
    assert manifest.metrics["r2" if manifest.task == "regression" else "accuracy"] > at_least

    estimator = joblib.load(out / "model.joblib")
    rows = pd.DataFrame({feature.name: frame[feature.name].astype(float) for feature in manifest.features})
    expected = estimator.predict(rows)
    assert handler(["score", str(source), "--output", str(tmp_path / "scored")]) == 0
    with (tmp_path / "scored" / source.name / "predictions.csv").open() as file:
        scored = list(csv.DictReader(file))
    assert len(scored) == len(frame)
    if manifest.task == "regression":
        assert np.allclose([float(row["prediction"]) for row in scored], expected, rtol=1e-9)
    else:
        assert [row["prediction"] for row in scored] == [str(label) for label in expected]

    capsys.readouterr()
    first = [f"{feature}={frame[feature][0]}" for feature in model.schema.names]
    assert handler(["predict", *first]) == 0
    single = json.loads(capsys.readouterr().out)["prediction"]
    assert single == (pytest.approx(expected[0]) if manifest.task == "regression" else expected[0])
