"""Models without a target, served: the label, and the score beside it, in every form of an answer."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from handler import __main__ as command
from handler.app import App
from handler.bundle import Bundle
from handler.errors import BundleError
from handler.scoring import checking
from handler.scoring.estimator import JoblibScorer, unpickle
from handler.scoring.model import Model
from handler.settings import Settings
from handler.web.messages import Request
from tests.support.bundles import measurements, resealed

ROWS = measurements()
RECORDS = [{**row} for row in json.loads(ROWS.head(40).to_json(orient="records"))]
ODD = 7  # the first machine that is like none of the others


@pytest.fixture(scope="module", params=["anomaly_dir", "cluster_dir"])
def folder(request: pytest.FixtureRequest) -> Path:
    made: Path = request.getfixturevalue(request.param)
    return made


@pytest.fixture(scope="module")
def app(folder: Path) -> App:
    return App(Model.load(folder), Settings())


def expected(folder: Path) -> list[dict[str, Any]]:
    """What the pickled estimator itself says of each of ``RECORDS``."""
    manifest = Bundle.open(folder).manifest
    estimator = unpickle((folder / "model.joblib").read_bytes())
    columns = Model.load(folder).schema
    given = columns.columns([columns.from_json(each) for each in RECORDS])
    scores = JoblibScorer(estimator, manifest.contract).score(given)
    assert scores.score is not None
    labels = np.array(manifest.classes)[scores.values]
    rows = [
        {"prediction": label, "score": pytest.approx(score, abs=1e-9)}
        for label, score in zip(labels.tolist(), scores.score.tolist(), strict=True)
    ]
    if scores.probabilities is not None:
        names = [str(label) for label in manifest.classes]
        for row, each in zip(rows, scores.probabilities.tolist(), strict=True):
            row["probabilities"] = {
                name: pytest.approx(value, abs=1e-9) for name, value in zip(names, each, strict=True)
            }
    return rows


def ask(app: App, body: Any, *path: str, **headers: str) -> Any:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"content-type": "text/csv" if isinstance(body, bytes) else "application/json", **headers}
    answer = app.handle(Request("POST", *path, headers=named, body=content))
    assert answer.status == 200, answer.body
    return answer.body.decode()


def test_each_task_is_what_it_is_called(anomaly_dir: Path, cluster_dir: Path) -> None:
    anomaly, cluster = (Bundle.open(each).manifest for each in (anomaly_dir, cluster_dir))
    assert (anomaly.task, anomaly.classes, anomaly.target, anomaly.metrics) == ("anomaly", (-1, 1), "", {})
    assert (cluster.task, cluster.classes, cluster.target) == ("cluster", (0, 1), "")
    for manifest in (anomaly, cluster):
        assert manifest.engines == {"one": "scalar", "many": "onnx"}, manifest.parity
        assert [each.name for each in manifest.features] == list(ROWS)


def test_a_record_and_records_get_a_label_and_a_score(app: App, folder: Path) -> None:
    rows = expected(folder)
    identity = Bundle.open(folder).manifest.identity
    assert json.loads(ask(app, RECORDS[ODD], "/predict")) == {**rows[ODD], "model": identity}
    assert json.loads(ask(app, RECORDS, "/predict")) == {"predictions": rows, "model": identity}
    few = json.loads(ask(app, {"instances": RECORDS[:3]}, "/predict"))
    assert few == {"predictions": rows[:3], "model": identity}


def test_the_score_of_an_anomaly_is_below_zero(anomaly_dir: Path) -> None:
    predictions = Model.load(anomaly_dir).predict(
        [Model.load(anomaly_dir).schema.from_json(each) for each in RECORDS]
    )
    assert predictions[ODD]["prediction"] == -1
    assert {each["prediction"] for each in predictions} == {-1, 1}
    assert all((each["score"] < 0) == (each["prediction"] == -1) for each in predictions)


def test_a_file_has_scores_in_json_and_a_column_in_csv(app: App, folder: Path) -> None:
    rows = expected(folder)
    content = ROWS.head(40).to_csv(index=False).encode() + b"oops,1,2,north\n"
    answer = json.loads(ask(app, content, "/predict_file"))
    assert answer["predictions"] == [*(row["prediction"] for row in rows), None]
    assert answer["scores"] == [*(row["score"] for row in rows), None]
    joined = [*csv.DictReader(io.StringIO(ask(app, content, "/predict_file", accept="text/csv")))]
    shown = [f"probability_{each}" for each in rows[0].get("probabilities", ())]
    added = ["prediction", *shown, "score"]
    assert list(joined[0]) == [*ROWS, *added]
    assert [int(row["prediction"]) for row in joined[:-1]] == answer["predictions"][:-1]
    assert [float(row["score"]) for row in joined[:-1]] == answer["scores"][:-1]
    assert {joined[-1][name] for name in added} == {""}


def test_every_answer_is_what_the_document_promises(app: App) -> None:
    document = json.loads(app.handle(Request("GET", "/openapi.json")).body)
    content = b"load,heat,starts,site\n70,-5,1,north\noops,1,2,north\n"
    for schema, body, path in (
        ("Prediction", RECORDS[0], "/predict"),
        ("Predictions", RECORDS, "/predict"),
        ("FilePredictions", content, "/predict_file"),
    ):
        reference = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
        jsonschema.validate(json.loads(ask(app, body, path)), reference)
    model = json.loads(app.handle(Request("GET", "/model")).body)
    jsonschema.validate(model, {"$ref": "#/components/schemas/Model", "components": document["components"]})


def test_a_direct_invoke_returns_the_body(app: App, folder: Path) -> None:
    identity = Bundle.open(folder).manifest.identity
    assert app.handle(RECORDS[ODD]) == {**expected(folder)[ODD], "model": identity}


def test_a_batch_counts_the_labels_and_has_a_column_of_scores(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    ROWS.to_csv(path, index=False)
    words = ["score", str(path), "--output", str(tmp_path / "out"), "--model", str(folder)]
    assert command.main(words) == 0
    written = tmp_path / "out" / "rows.csv"
    with (written / "predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = [*csv.DictReader(file)]
    summary = json.loads((written / "summary.json").read_text())
    labels = [row["prediction"] for row in rows]
    assert summary["predictions"] == {label: labels.count(label) for label in sorted(set(labels))}
    rows_expected = expected(folder)
    assert [float(row["score"]) for row in rows[:40]] == [row["score"] for row in rows_expected]


def test_lines_that_repeat_have_the_same_score(folder: Path, tmp_path: Path) -> None:
    """Such files are scored by their distinct lines."""
    few = ROWS.head(5)
    path = tmp_path / "rows.csv"
    path.write_text(few.to_csv(index=False) + few.to_csv(index=False, header=False) * 800)
    words = ["score", str(path), "--output", str(tmp_path / "out"), "--model", str(folder)]
    assert command.main(words) == 0
    lines = (tmp_path / "out" / "rows.csv" / "predictions.csv").read_text().splitlines()[1:]
    assert lines == lines[:5] * 801
    scores = [float(line.rpartition(",")[2]) for line in lines[:5]]
    assert scores == [row["score"] for row in expected(folder)[:5]]


def test_check_compares_the_score(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["check", "--model", str(folder)]) == 0
    moved = resealed(folder, tmp_path / "moved", lambda document: document["golden"][0].update(score=0.5))
    assert len(checking.differences(Model.load(moved))) == 1
    assert command.main(["check", "--model", str(moved)]) == 1
    assert "'score': 0.5" in capsys.readouterr().err


def test_predict_prints_the_score(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"{name}={value}" for name, value in RECORDS[0].items()]
    assert command.main(["predict", *words, "--model", str(folder)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert {key: printed[key] for key in printed if key != "model"} == expected(folder)[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda document: document["golden"][1].pop("score"), "'score' in every row"),
        (lambda document: document["golden"][0].update(score="high"), "must be a number"),
        (lambda document: document.update(task="outlier"), "'task' must be one of"),
        (lambda document: document["classes"].append(5), "'classes' must be those"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(
    anomaly_dir: Path, tmp_path: Path, change: Any, message: str
) -> None:
    with pytest.raises(BundleError, match=message):
        Bundle.open(resealed(anomaly_dir, tmp_path / "changed", change))


def test_a_classifier_has_no_score(bundle_dir: Path, tmp_path: Path) -> None:
    def change(document: Any) -> None:
        for row in document["golden"]:
            row["score"] = 0.5

    with pytest.raises(BundleError, match="score"):
        Bundle.open(resealed(bundle_dir, tmp_path / "changed", change))
