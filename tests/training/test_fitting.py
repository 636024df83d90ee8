"""Thresholds: which are taken, how one is chosen, and that every path keeps to it."""

from __future__ import annotations

import json
from pathlib import Path

import lightgbm
import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline

from handler.app import App
from handler.batch.run import Batch
from handler.scoring.checking import differences
from handler.scoring.estimator import unpickle
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.locations import Location
from handler.storage.storage import Storage
from handler.web.messages import Request
from tests.support.bundles import Run, sales, small
from training.__main__ import main
from training.fitting import run_in_process
from training.train import Options, train

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("told", ["auto", "0.8"])
def test_a_threshold_counts_on_every_path(told: str, tmp_path: Path) -> None:
    frame = sales(tmp_path)
    options = Options(tmp_path / "sales.csv", out=tmp_path / "model", threshold=told)
    manifest = train(options, lambda _: None)
    threshold = manifest.threshold
    assert threshold is not None
    assert threshold > 0.5
    assert told == "auto" or threshold == 0.8
    model = Model.load(tmp_path / "model")
    records = [tuple(row) for row in frame[list(model.schema.names)].head(300).astype(float).to_numpy()]
    expected = [
        "yes" if each["probabilities"]["yes"] >= threshold else "no" for each in model.predict(records)
    ]
    assert [each["prediction"] for each in model.predict(records)] == expected
    assert [model.predict([record])[0]["prediction"] for record in records] == expected
    assert "yes" in expected
    estimator = unpickle((tmp_path / "model" / "model.joblib").read_bytes())
    assert estimator.predict(pd.DataFrame(records, columns=model.schema.names)).tolist() == expected
    batch = Batch(model, Settings(), Storage())
    batch.score(Location.parse(str(tmp_path / "sales.csv")), Location.parse(str(tmp_path / "out")))
    scored = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert scored["prediction"].head(300).tolist() == expected
    assert (scored["prediction"] == "yes").equals(scored["probability"] >= threshold)
    body = (tmp_path / "sales.csv").read_bytes()
    request = Request("POST", "/predict_file", headers={"content-type": "text/csv"}, body=body)
    answer = json.loads(App(model, Settings()).handle(request).body)
    assert answer["predictions"][:300] == expected


def test_both_thresholds_are_reported(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pd.DataFrame({"a": [place % 10 for place in range(400)]})
    rows["y"] = ["yes" if place * 7 % 13 < place % 10 else "no" for place in range(400)]
    assert run(rows, "--threshold", "0.7").threshold == 0.7
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    (at,) = [
        place for place, line in enumerate(lines) if line == ["'yes'", "from", "precision", "recall", "f1"]
    ]
    assert (lines[at + 1][0], lines[at + 2][:2]) == ("0.5", ["0.7", "(chosen)"])
    assert float(lines[at + 1][-2]) > float(lines[at + 2][-2])


@pytest.mark.parametrize(
    ("pipeline", "threshold"),
    [("tuned", "best_threshold_"), ("fixed", 0.25), ("by_decision", None), ("logistic", None)],
)
def test_a_threshold_of_ones_own_pipeline_is_told(
    tmp_path: Path, run: Run, pipeline: str, threshold: str | float | None
) -> None:
    spec = pipeline if pipeline == "logistic" else f"tests.support.pipelines:{pipeline}"
    manifest = run(small(b=np.arange(200) % 7), "--pipeline", spec)
    if isinstance(threshold, str):
        threshold = getattr(unpickle((tmp_path / "model" / "model.joblib").read_bytes()), threshold)
    assert manifest.threshold == threshold
    assert differences(Model.load(tmp_path / "model")) == []


def test_a_threshold_needs_two_classes_and_probabilities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small().to_csv(tmp_path / "rows.csv", index=False)
    command = ["--data", str(tmp_path / "rows.csv"), "--target", "y", "--threshold", "auto"]
    for pipeline, said in (
        ("linear", "predicts numbers"),
        ("tests.support.pipelines:without_probabilities", "gives none"),
    ):
        assert main([*command, "--pipeline", pipeline, "--out", str(tmp_path / "model")]) == 2
        assert said in capsys.readouterr().err


def test_a_booster_predicts_on_one_thread() -> None:
    model = make_pipeline(lightgbm.LGBMClassifier(n_estimators=2, verbose=-1))
    run_in_process(model)
    assert model[-1].n_jobs == 1
