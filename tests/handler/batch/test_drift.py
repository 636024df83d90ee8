"""Drift in summaries: what is counted adds up to the published index, and an alarm is raised by a shift.

The index is that of Yurdakul, Statistical Properties of Population Stability Index:
https://scholarworks.wmich.edu/dissertations/3208
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.special import rel_entr

from handler.__main__ import main
from handler.app import application, lambda_handler
from handler.batch.drift import LEAST_SHARE
from handler.manifest import MANIFEST, content_version
from handler.scoring.model import Model
from tests.support.bundles import measurements, mixed_rows, reviews, trained
from tests.support.cloud import S3
from training.data import sample

ROOT = Path(__file__).resolve().parents[3]


def scored(model: Path, table: pd.DataFrame | str, folder: Path, *flags: str) -> Any:
    """The summary of a table."""
    text = table if isinstance(table, str) else table.to_csv(index=False)
    (folder / "t.csv").write_text(text)
    assert main(["score", str(folder / "t.csv"), "--model", str(model), "--quiet", *flags]) == 0
    return json.loads((folder / "scored" / "t.csv" / "summary.json").read_text())


def predictions(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "scored" / "t.csv" / "predictions.csv", keep_default_na=False)


def shares_of(bins: dict[str, Any], values: pd.Series) -> np.ndarray:
    """The shares of the bins, and of what is missing, by pandas and numpy; missing is NaN, or empty."""
    missing = float((values.isna() | (values.astype(str) == "")).mean())
    present = values[~(values.isna() | (values.astype(str) == ""))]
    if "levels" in bins:
        levels = [float((present.astype(str) == level).sum()) for level in bins["levels"]]
        counts = [*levels, len(present) - sum(levels)]
    else:
        edges = [-np.inf, *bins["edges"], np.inf]
        counts = [
            float(((present.astype(float) >= low) & (present.astype(float) < high)).sum())
            for low, high in itertools.pairwise(edges)
        ]
    return np.array([*np.array(counts) / len(values), missing])


def index_of(bins: dict[str, Any], values: pd.Series) -> float:
    """The stability index by scipy: the relative entropies of both distributions to each other."""
    expected = np.maximum([*bins["shares"], bins.get("missing", 0.0)], LEAST_SHARE)
    actual = np.maximum(shares_of(bins, values), LEAST_SHARE)
    return float((rel_entr(actual, expected) + rel_entr(expected, actual)).sum())


def shifted(rows: pd.DataFrame) -> pd.DataFrame:
    """Offers that are older, often without a heating, in another city, and one size too large."""
    rows = rows.copy()
    rows["âge"] += 40
    rows["Straße"] = rows["Straße"].where(rows.index % 3 > 0, "Bergen")
    rows["heating"] = rows["heating"].where(rows.index % 4 > 0, "")
    rows.loc[rows.index % 50 == 0, "living area"] = 1e6
    return rows


def test_the_index_is_what_scipy_computes(mixed_dir: Path, tmp_path: Path) -> None:
    profile = json.loads((mixed_dir / MANIFEST).read_text())["profile"]
    rows = shifted(mixed_rows(4000, seed=11).drop(columns=["class", "price"]))
    summary = scored(mixed_dir, rows, tmp_path)
    features = summary["drift"]["features"]
    booleans = rows.assign(garden=(rows["garden"] == "yes").astype(float))
    for name, bins in profile["features"].items():
        assert features[name]["index"] == pytest.approx(index_of(bins, booleans[name]), abs=6e-5), name
        missing = (booleans[name].isna() | (booleans[name].astype(str) == "")).mean()
        assert features[name]["missing"] == pytest.approx(missing, abs=1e-6)
    assert features["âge"]["index"] > 0.25
    assert features["no.rooms"]["index"] < 0.1
    predicted = predictions(tmp_path)["prediction"]
    index = index_of(profile["predictions"], predicted)
    assert summary["drift"]["predictions"]["index"] == pytest.approx(index, abs=6e-5)
    every = [*features.values(), summary["drift"]["predictions"]]
    assert summary["drift"]["largest"] == max(each["index"] for each in every)


@pytest.mark.parametrize(
    ("bundle", "rows", "column"),
    [
        ("bundle_dir", sample.rows(4, rows=3000, converted=97).drop(columns="converted"), "probability"),
        ("regression_dir", mixed_rows(3000, seed=3).drop(columns=["class", "price"]), "prediction"),
        ("anomaly_dir", measurements(2000, seed=8), "score"),
    ],
)
def test_predictions_are_compared_by_the_number_that_they_have(
    bundle: str, rows: pd.DataFrame, column: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(bundle)
    bins = json.loads((folder / MANIFEST).read_text())["profile"]["predictions"]
    measured = scored(folder, rows, tmp_path)["drift"]["predictions"]
    values = predictions(tmp_path)[column].astype(float)
    assert measured["index"] == pytest.approx(index_of(bins, values), abs=6e-5)
    assert sum(measured["counts"]) == len(rows)


def test_what_is_outside_is_counted_as_each_answer_says_it(mixed_dir: Path, tmp_path: Path) -> None:
    rows = shifted(mixed_rows(600, seed=5).drop(columns=["class", "price"]))
    summary = scored(mixed_dir, rows, tmp_path)
    model = Model.load(mixed_dir)
    records = [
        model.schema.from_cells({name: "" if pd.isna(cell) else str(cell) for name, cell in row.items()})
        for row in rows.to_dict("records")
    ]
    outside = [name for record in records for name in model.schema.outside(record)]
    assert summary["outside"] == {
        name: outside.count(name) for name in model.schema.names if name in outside
    }
    assert {"living area", "Straße"} <= summary["outside"].keys()
    for name, measured in summary["drift"]["features"].items():
        assert measured["outside"] == pytest.approx(outside.count(name) / len(rows), abs=1e-6)


def test_lines_that_repeat_count_as_often_as_they_stand_there(bundle_dir: Path, tmp_path: Path) -> None:
    rows = sample.rows(9, rows=20_000, converted=645).drop(columns="converted")
    folded = scored(bundle_dir, rows, tmp_path)
    different = scored(bundle_dir, rows.assign(id=np.arange(len(rows)) * 7919), tmp_path)
    for member in ("rows", "predictions", "drift", "outside"):
        assert folded[member] == different[member]
    assert folded["rows"]["scored"] == 20_000


@pytest.mark.parametrize("flags", [["--parts", "4"]])
def test_a_file_in_parts_drifts_as_the_whole_does(
    flags: list[str], mixed_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLOCK_BYTES", "20000")
    rows = shifted(mixed_rows(3000, seed=2).drop(columns=["class", "price"]))
    text = rows.to_csv(index=False) + "far,1,yes,Oslo,gas,2\n"  # which is rejected
    whole = scored(mixed_dir, text, tmp_path)
    shutil.rmtree(tmp_path / "scored")
    parts = scored(mixed_dir, text, tmp_path, *flags)
    assert len(parts["parts"]) == 4
    for member in ("rows", "drift", "outside"):
        assert parts[member] == whole[member]
    assert parts["rows"]["rejected"] == 1


def test_free_text_is_compared_by_what_is_missing(text_dir: Path, tmp_path: Path) -> None:
    rows = reviews(400, seed=6).drop(columns="y")
    name = "comment"
    rows.loc[::2, name] = ""
    measured = scored(text_dir, rows, tmp_path)["drift"]["features"][name]
    assert measured["missing"] == pytest.approx((rows[name] == "").mean(), abs=1e-6)
    assert measured["index"] > 0.25
    assert measured["outside"] == 0


@pytest.mark.parametrize("repeated", [1, 40])
def test_a_table_without_numbers_is_counted(repeated: int, tmp_path: Path) -> None:
    """Three classes by one category; with ``repeated``, its lines are met often, and counted by that."""
    rows = pd.DataFrame({"shade": ["red", "green", "blue"] * 200, "y": ["a", "b", "c"] * 200})
    folder = trained(tmp_path, rows, "shades", target="y")
    table = pd.DataFrame({"shade": ["red"] * 300 * repeated + ["mauve", ""] * 100 * repeated})
    drift = scored(folder, table, tmp_path)["drift"]
    bins = json.loads((folder / MANIFEST).read_text())["profile"]["features"]["shade"]
    assert drift["features"]["shade"]["index"] == pytest.approx(
        index_of(bins, predictions(tmp_path)["shade"]), abs=6e-5
    )
    assert sum(drift["predictions"]["counts"]) == sum(drift["features"]["shade"]["counts"])


def older(folder: Path, target: Path) -> Path:
    """The bundle as a release without profiles has written it."""
    shutil.copytree(folder, target)
    document = json.loads((target / MANIFEST).read_text())
    del document["profile"]
    document["version"] = content_version(document)
    (target / MANIFEST).write_text(json.dumps(document))
    return target


@pytest.mark.parametrize("flags", [[], ["--parts", "3"]])
def test_a_bundle_without_a_profile_counts_what_is_outside(
    flags: list[str], mixed_dir: Path, tmp_path: Path
) -> None:
    rows = shifted(mixed_rows(900, seed=5).drop(columns=["class", "price"]))
    summary = scored(older(mixed_dir, tmp_path / "older"), rows, tmp_path, *flags)
    assert "drift" not in summary
    assert summary["outside"]["living area"] == 18
    assert main(["drift", str(tmp_path / "scored"), "--model", str(tmp_path / "older")]) == 2


def test_a_few_rows_have_an_index_that_is_not_judged(mixed_dir: Path, tmp_path: Path) -> None:
    rows = mixed_rows(40, seed=5).drop(columns=["class", "price"])
    drift = scored(mixed_dir, shifted(rows), tmp_path)["drift"]
    assert drift["features"]["âge"]["index"] > 0.25
    assert drift["largest"] is None
    assert "drift" not in scored(mixed_dir, rows.head(0), tmp_path)


@pytest.mark.parametrize("rows", [60, 400, 2000])
@pytest.mark.parametrize("seed", range(4))
def test_rows_that_have_not_shifted_are_judged_stable(
    rows: int, seed: int, mixed_dir: Path, tmp_path: Path
) -> None:
    drift = scored(mixed_dir, mixed_rows(rows, seed=100 + seed).drop(columns=["class", "price"]), tmp_path)
    assert (drift["drift"]["largest"] or 0) < 0.25


# The alarm


def upload(s3: S3, bucket: str, key: str, table: pd.DataFrame) -> dict[str, Any]:
    """Put a table into a bucket; the event that S3 sends."""
    s3.put(bucket, key, table.to_csv(index=False).encode())
    event = json.loads((ROOT / "events" / "s3-put.json").read_text())
    (record,) = event["Records"]
    record["s3"]["bucket"]["name"], record["s3"]["object"]["key"] = bucket, key
    return dict(event)


def alarms() -> list[Any]:
    """The template's alarms on drift, with the threshold that they have unless another is given."""
    text = re.sub(r"!(\w+)", "", (ROOT / "template.yaml").read_text())
    template = yaml.safe_load(text)
    found = [
        each["Properties"]
        for each in template["Resources"].values()
        if each["Type"] == "AWS::CloudWatch::Alarm" and each["Properties"]["MetricName"] == "Drift"
    ]
    for each in found:
        each["Threshold"] = template["Parameters"][each["Threshold"]]["Default"]
    return found


@pytest.fixture
def bucket(
    s3: S3, bundle_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Any:
    """A bucket that the handler scores, as on Lambda."""
    name = s3.bucket()
    deployment = {
        **s3.env,
        "MODEL_DIR": str(bundle_dir),
        "AWS_LAMBDA_FUNCTION_NAME": "BatchFunction",
        "INPUT_URI": f"s3://{name}/incoming/",
        "OUTPUT_URI": f"s3://{name}/scored/",
    }
    for variable, value in deployment.items():
        monkeypatch.setenv(variable, value)
    application.cache_clear()
    capsys.readouterr()
    yield name
    application.cache_clear()


@pytest.mark.parametrize(
    ("change", "is_raised"),
    [
        ({}, False),
        ({"total_pages_visited": lambda rows: rows["total_pages_visited"] + 6}, True),
        ({"age": lambda rows: rows["age"] // 2 + 30}, True),
    ],
    ids=["as in training", "more pages", "older customers"],
)
def test_an_upload_raises_the_alarm_exactly_where_its_inputs_shift(
    change: Any, is_raised: bool, bucket: str, s3: S3, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = sample.rows(77, rows=2000, converted=65).drop(columns="converted")
    lambda_handler(upload(s3, bucket, "incoming/new.csv", rows.assign(**change)), None)
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    summary = json.loads(s3.get(bucket, "scored/incoming/new.csv/summary.json"))
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert line["Drift"] == summary["drift"]["largest"]
    assert {"Name": "Drift", "Unit": "None"} in directive["Metrics"]
    for alarm in alarms():
        assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
        assert alarm["Namespace"] == directive["Namespace"]
        assert alarm["Statistic"] == "Maximum"
        assert (line["Drift"] > alarm["Threshold"]) is is_raised


def test_what_is_not_judged_is_no_metric(bucket: str, s3: S3, capsys: pytest.CaptureFixture[str]) -> None:
    rows = sample.rows(77, rows=50, converted=5).drop(columns="converted")
    lambda_handler(upload(s3, bucket, "incoming/new.csv", rows), None)
    line = json.loads(capsys.readouterr().err.splitlines()[-1])
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert "Drift" not in line
    assert "Drift" not in {metric["Name"] for metric in directive["Metrics"]}


def test_a_part_has_no_metric_and_the_whole_has(
    bucket: str, s3: S3, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part of a file that is sorted is unlike the others; of the whole, the completion's line tells."""
    rows = sample.rows(77, rows=6000, converted=195).drop(columns="converted").sort_values("age")
    upload(s3, bucket, "incoming/new.csv", rows)
    uri = f"s3://{bucket}/incoming/new.csv"
    lambda_handler({"input": uri, "plan": {"part_bytes": 20_000}}, None)
    (plan,) = [key for key in s3.keys(bucket) if key.endswith("plan.json")]
    items = json.loads(s3.get(bucket, plan))
    assert len(items) > 1
    for item in items:
        lambda_handler(item, None)
    lambda_handler({"input": uri, "complete": True}, None)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line.get("Drift") is not None for line in lines] == [False] * (1 + len(items)) + [True]
    assert lines[-1]["Drift"] < 0.1
