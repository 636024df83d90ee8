"""Training without a target, by its command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from handler.bundle import Bundle
from handler.manifest import CARD, REPORT
from handler.scoring.checking import differences
from handler.scoring.model import Model
from tests.support.bundles import measurements
from training.__main__ import main

ROWS = measurements(300)


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    return ["--data", str(tmp_path / "rows.csv"), "--out", str(tmp_path / "model")]


@pytest.mark.parametrize(("name", "task"), [("isolation_forest", "anomaly"), ("kmeans", "cluster")])
def test_a_pipeline_by_name_takes_every_column_as_a_feature(
    name: str, task: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--pipeline", name]) == 0
    printed = capsys.readouterr().out
    assert "no target: every column above is a feature" in printed
    assert "nothing says how good this is" in printed
    manifest = Bundle.open(tmp_path / "model").manifest
    assert (manifest.task, manifest.target, manifest.metrics) == (task, "", {})
    assert [each.name for each in manifest.features] == list(ROWS)
    assert manifest.engines == {"one": "scalar", "many": "onnx"}, manifest.parity
    assert differences(Model.load(tmp_path / "model")) == []


def test_the_report_counts_labels_and_shows_scores(anomaly_dir: Path, cluster_dir: Path) -> None:
    for folder, labels in ((anomaly_dir, ("-1", "1")), (cluster_dir, ("0", "1"))):
        card, page = ((folder / name).read_text() for name in (CARD, REPORT))
        assert "It has no target, so nothing says how good it is." in card
        for label in labels:
            assert re.search(rf"^\| {label} +\| [\d,]+ +\| [\d.]+%", card, re.MULTILINE)
        assert re.search(r"^\| median +\| -?[\d.]+", card, re.MULTILINE)
        assert "''" not in card
        for title in ("Predictions", "Scores", "Effects"):
            assert f"<h3>{title}</h3><div" in page
        assert "importance" not in page


def test_a_column_can_be_left_out_or_carried(command: list[str], tmp_path: Path) -> None:
    pipeline = ["--pipeline", "tests.support.pipelines:clusterer", "--drop", "site", "--id", "starts"]
    assert main([*command, *pipeline]) == 0
    manifest = Bundle.open(tmp_path / "model").manifest
    assert [each.name for each in manifest.features] == ["load", "heat"]
    assert (manifest.task, manifest.classes, manifest.ids) == ("cluster", (0, 1), ("starts",))


@pytest.mark.slow
def test_a_pipeline_without_a_graph_is_served_by_joblib(command: list[str], tmp_path: Path) -> None:
    assert main([*command, "--pipeline", "tests.support.pipelines:neighbourhoods"]) == 0
    model = Model.load(tmp_path / "model")
    assert model.manifest.runtime == "joblib"
    assert model.manifest.score
    assert differences(model) == []


@pytest.mark.parametrize("by_file", [False, True])
def test_a_target_is_refused_in_one_line(
    by_file: bool, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "columns.toml").write_text('target = "site"\n')
    stated = ["--columns", str(tmp_path / "columns.toml")] if by_file else ["--target", "site"]
    assert main([*command, *stated, "--pipeline", "kmeans"]) == 2
    line, *ready = capsys.readouterr().err.splitlines()
    assert [each.strip() for each in ready[:1]] == ([] if by_file else ["this command would train:"])
    assert "--target" not in " ".join(ready)
    assert "pipeline 'kmeans' learns without a target: leave out" in line
    assert ("columns.toml" if by_file else "--target") in line
    assert "--drop 'site'" in line


def test_a_threshold_is_refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--pipeline", "kmeans", "--threshold", "0.3"]) == 2
    assert "--threshold is for classes" in capsys.readouterr().err


def test_a_supervised_pipeline_still_asks_for_its_target(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--pipeline", "logistic"]) == 2
    assert "name the column to predict with --target" in capsys.readouterr().err
