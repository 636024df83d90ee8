"""``--compare``: both models on the same rows, in the console, the report and the metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import train_test_split

from handler.scoring.model import Model
from tests.support.bundles import measurements, mixed_rows, reviews, sales, trained
from training.__main__ import main
from training.train import Options, train

pytestmark = pytest.mark.slow


def compared(data: Path, other: Path, out: Path, **options: Any) -> tuple[str, dict[str, Any], str]:
    """What training says, the metrics, and the report's text."""
    said: list[str] = []
    manifest = train(Options(**{"data": data, "out": out, "compare": other, **options}), said.append)
    return "\n".join(said), dict(manifest.metrics), (out / "report.html").read_text()


def predicted(folder: Path, rows: pd.DataFrame) -> list[Any]:
    model = Model.load(folder)
    records = [model.schema.from_cells(row) for row in rows.astype(str).to_dict("records")]
    return [prediction["prediction"] for prediction in model.predict(records)]


def test_both_are_measured_on_the_rows_that_are_held_out(tmp_path: Path) -> None:
    frame = sales(tmp_path)
    common: dict[str, Any] = {"target": "converted"}
    other = tmp_path / "other"
    train(Options(tmp_path / "sales.csv", drop=("age",), out=other, name="older", **common), lambda _: None)
    said, metrics, report = compared(tmp_path / "sales.csv", other, tmp_path / "model", **common)
    _, held_out = train_test_split(frame, test_size=0.3, random_state=555, stratify=frame["converted"])
    features = held_out.drop(columns="converted")
    this = predicted(tmp_path / "model", features)
    theirs = predicted(other, features.drop(columns="age"))
    truth = held_out["converted"]
    document, older = metrics["compared"], Model.load(other).manifest
    assert (document["name"], document["version"], document["rows"]) == ("older", older.version, len(truth))
    for name, labels in (("this", this), ("other", theirs)):
        measured = document["metrics"][name]
        assert measured["accuracy"] == pytest.approx(accuracy_score(truth, labels))
        assert measured["f1"] == pytest.approx(f1_score(truth, labels, pos_label="yes"))
    assert document["metrics"]["other"]["accuracy"] == pytest.approx(older.metrics["accuracy"])
    differing = int((np.array(this) != np.array(theirs)).sum())
    assert document["differing"] == differing > 0
    for text in (said, report, (tmp_path / "model" / "MODEL_CARD.md").read_text()):
        assert f"different labels for {differing:,} of {len(truth):,} rows" in text
        assert "the same split, which held out these rows too" in " ".join(text.split())
        assert f"{document['metrics']['other']['f1']:.4f}" in text


def test_a_row_that_the_other_model_was_fitted_on_is_told(tmp_path: Path) -> None:
    frame = mixed_rows(600).drop(columns="class")
    other = trained(tmp_path, frame, "offers", target="price", seed=1, out=tmp_path / "other")
    data, out = tmp_path / "offers.csv", tmp_path / "model"
    said, metrics, _ = compared(data, other, out, target="price", pipeline="random_forest")
    assert "another split (seed 1, 0.3 held out): it was fitted on some of these rows" in said
    assert "differing" not in metrics["compared"]
    assert "The predictions differ by" in said
    frame.iloc[:500].to_csv(data, index=False)
    said, _, _ = compared(data, other, out, target="price")
    assert "trained on another file: whether it has seen these rows is not known" in said


def test_a_model_that_cannot_be_compared_is_named_with_the_reason(tmp_path: Path) -> None:
    frame = mixed_rows(600)
    other = trained(tmp_path, frame, "offers", target="class", drop=("price",), out=tmp_path / "other")
    version = Model.load(other).manifest.version
    data, out = tmp_path / "offers.csv", tmp_path / "model"
    options: dict[str, Any] = {"target": "class", "drop": ("price", "garden", "âge")}
    said, metrics, report = compared(data, other, out, **options)
    needs = "it needs 'garden', 'âge', which are not features of this model"
    assert f"not compared with offers {version}: {needs}" in said
    assert "compared" not in metrics
    assert "Compared with" not in report
    said, _, _ = compared(data, other, out, target="price", drop=("class",))
    assert "its task is 'multiclass', and this model's is 'regression'" in said


def test_dates_are_compared_too(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    days = pd.Timestamp("2023-01-01") + pd.to_timedelta(random.integers(0, 600, 300), "D")
    frame = pd.DataFrame({"sold": days.strftime("%d/%m/%Y"), "size": random.normal(size=300).round(2)})
    frame["price"] = (days.month * 10 + frame["size"]).round(2)
    other = trained(tmp_path, frame, "sold", target="price", drop=("size",), out=tmp_path / "other")
    said, metrics, report = compared(tmp_path / "sold.csv", other, tmp_path / "model", target="price")
    older = Model.load(other).manifest
    assert metrics["compared"]["metrics"]["other"]["mae"] == pytest.approx(older.metrics["mae"])
    assert "sold (month)" in report
    assert "The predictions differ by" in said


def test_categories_and_gaps_that_the_other_model_refuses_are_left_out(tmp_path: Path) -> None:
    frame = reviews(400)[["stars", "shop", "y"]]
    frame["shop"] = np.where(np.arange(400) % 8 == 0, "new", frame["shop"])
    older = frame[frame["shop"] != "new"]
    other = trained(
        tmp_path, older, "older", target="y", pipeline="tests.support.pipelines:closed", out=tmp_path / "a"
    )
    frame.to_csv(tmp_path / "rows.csv", index=False)
    said, metrics, _ = compared(tmp_path / "rows.csv", other, tmp_path / "model", target="y")
    left = 120 - metrics["compared"]["rows"]
    assert 0 < left < 40
    assert f"The other model does not take {left} of the rows" in said


def test_a_bundle_that_is_not_there_is_known_before_the_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sales(tmp_path)
    words = ["--data", str(tmp_path / "sales.csv"), "--out", str(tmp_path / "model")]
    assert main([*words, "--compare", str(tmp_path / "nowhere")]) == 2
    printed = capsys.readouterr()
    assert "no model at" in printed.err
    assert "fitting" not in printed.out


def test_clusters_that_are_numbered_anew_are_recognised(cluster_dir: Path, tmp_path: Path) -> None:
    measurements().to_csv(tmp_path / "machines.csv", index=False)
    pipeline = "tests.support.pipelines:mixture_anew"
    said, metrics, report = compared(
        tmp_path / "machines.csv", cluster_dir, tmp_path / "model", pipeline=pipeline
    )
    assert metrics["compared"]["differing"] == metrics["compared"]["rows"]
    for text in (said, report):
        assert "numbered anew (0 to 1, 1 to 0): by those numbers, 0 rows are in another cluster" in text


def test_a_packaged_model_is_compared_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sales(tmp_path)
    data = tmp_path / "sales.csv"
    train(Options(data, "converted", out=tmp_path / "first"), lambda _: None)
    words = ["package", str(tmp_path / "first" / "model.joblib"), "--sample", str(data), "--trust"]
    words += ["--target", "converted", "--out", str(tmp_path / "model")]
    assert main([*words, "--compare", str(tmp_path / "first")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "They predict different labels for 0 of 5,000 rows" in printed
    assert "Whether the other model has seen these rows in its training is not known." in printed
    document = json.loads((tmp_path / "model" / "model.json").read_text())
    assert document["metrics"]["compared"]["differing"] == 0
