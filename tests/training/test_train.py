"""A CSV becomes a bundle: the book's figures, the manifest, the golden rows, the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest

from handler.app import App
from handler.batch.run import Batch
from handler.bundle import Bundle
from handler.scoring.checking import differences
from handler.scoring.estimator import unpickle
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.locations import Location
from handler.storage.storage import Storage
from handler.web.messages import Request
from tests.support.bundles import Run, mixed_rows, small
from training.__main__ import main
from training.train import Options, train

BOOK = Path(__file__).resolve().parents[3] / "shared/data/online_sales.csv"


@pytest.mark.slow
@pytest.mark.skipif(not BOOK.exists(), reason="the book's online_sales.csv is not beside the checkout")
def test_the_books_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(BOOK), "--out", str(tmp_path / "model")]) == 0
    told = capsys.readouterr().out
    for piece in (
        "316,200 rows x 4 columns",
        """the header cell "'age" is read as "age\"""",
        "221,340 rows to fit on, 94,860 held out",
        "accuracy 0.9369",
        "runtime: onnx",
        f"  make images MODEL={tmp_path / 'model'}\n",
    ):
        assert piece in told
    lines = [line.split() for line in told.splitlines()]
    assert ["0", "306,000", "96.8%", "214,200", "91,800"] in lines
    assert ["1", "10,200", "3.2%", "7,140", "3,060"] in lines
    assert ["is", "0", "86,049", "5,751"] in lines

    model = Model.load(tmp_path / "model")
    assert model.manifest.name == "online_sales"
    assert model.manifest.metrics["confusion_matrix"] == [[86049, 5751], [233, 2827]]
    record = model.schema.from_json({"age": 45, "new_user": 0, "total_pages_visited": 5})
    prediction = model.predict_one(record)
    assert prediction["prediction"] == 0
    assert prediction["probabilities"]["0"] == pytest.approx(0.9642, abs=5e-5)


@pytest.mark.slow
def test_without_data_it_trains_on_the_sample_and_says_that_it_is_synthetic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path / "model")]) == 0
    told = capsys.readouterr().out
    assert "316,200 rows x 4 columns" in told
    assert told.count("synthetic") >= 3
    manifest = Bundle.open(tmp_path / "model").manifest
    assert manifest.name == "online_sales_synthetic"
    assert manifest.training["synthetic"] is True
    assert manifest.metrics["accuracy"] == pytest.approx(0.93, abs=0.01)
    assert manifest.metrics["recall"] == pytest.approx(0.93, abs=0.03)


@pytest.mark.slow
def test_a_failed_training_leaves_the_bundle_before_it(tmp_path: Path, run: Run) -> None:
    run(small())
    before = {each.name: each.read_bytes() for each in (tmp_path / "model").iterdir()}
    path, out = str(tmp_path / "rows.csv"), str(tmp_path / "model")
    for pipeline in ("unfit", "unpicklable", "Fickle"):
        command = [
            "--data",
            path,
            "--target",
            "y",
            "--out",
            out,
            "--pipeline",
            f"tests.support.pipelines:{pipeline}",
        ]
        assert main(command) == 2
        assert {each.name: each.read_bytes() for each in (tmp_path / "model").iterdir()} == before
        assert {each.name for each in tmp_path.iterdir()} == {"rows.csv", "model"}


@pytest.mark.slow
def test_the_same_training_gives_the_same_version(tmp_path: Path, run: Run) -> None:
    first, second = run(mixed_rows(400), target="class"), run(mixed_rows(400), target="class")
    models = ("model.joblib", "model.onnx", "model.scalar")
    assert [first.files[name] for name in models] == [second.files[name] for name in models]
    assert first.version == second.version
    domains = [each.domain for each in onnx.load(tmp_path / "model" / "model.onnx").opset_import]
    assert domains == ["", "ai.onnx.ml"]  # in another process too, whose sets have another order
    assert run(mixed_rows(400), "--seed", "1", target="class").version != first.version


LABELS: list[tuple[list[str], list[Any]]] = [
    (["01", "02", "10"], ["01", "02", "10"]),
    (["1", "1.0"], ["1", "1.0"]),
    (["1", "2", "3 "], [1, 2, 3]),
    (["-1", "0", "1"], [-1, 0, 1]),
    (["+1", "-1"], ["+1", "-1"]),
    (["0", "-0"], ["-0", "0"]),
    (["1e1", "2"], ["1e1", "2"]),
    (["0.0", "1.0"], ["0.0", "1.0"]),
    (["9007199254740992", "9007199254740993"], [9007199254740992, 9007199254740993]),
    (["-9223372036854775808", "9223372036854775807"], [-(2**63), 2**63 - 1]),
    (["9223372036854775808", "1"], ["1", "9223372036854775808"]),
    (["yes", "yes ", " no", "no"], ["no", "yes"]),
    (["low", "none", "-"], ["-", "low", "none"]),
    (["5", "5a"], ["5", "5a"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pipeline", "spelled", "classes"),
    [
        *(("logistic", *each) for each in LABELS),
        *(("tests.support.pipelines:random_forest", *each) for each in LABELS[::4]),
    ],
)
def test_a_class_is_the_text_that_stands_there_in_every_answer(
    pipeline: str, spelled: list[str], classes: list[Any], run: Run, tmp_path: Path
) -> None:
    """Unless all are plain integers: then they are numbers in JSON."""
    stripped = list(dict.fromkeys(text.strip() for text in spelled))
    lines = [f"{stripped.index(text.strip()) * 10 + i % 3},{text}" for i in range(40) for text in spelled]
    manifest = run("a,y\n" + "\n".join(lines) + "\n", "--pipeline", pipeline)
    assert list(manifest.classes) == classes
    assert [type(label) for label in manifest.classes] == [type(label) for label in classes]
    assert manifest.runtime == "onnx"
    counts = [sum(each.strip() == str(label) for each in spelled) * 12 for label in classes]
    assert [sum(row) for row in manifest.metrics["confusion_matrix"]] == counts

    model = Model.load(tmp_path / "model")
    assert model.program is not None
    app = App(model, Settings())
    wanted = [next(label for label in classes if str(label) == text) for text in stripped]
    records = [{"a": place * 10 + 1} for place in range(len(stripped))]
    for times in (1, 20):  # by the engine of one row, and by the graph
        body = json.dumps(records * times).encode()
        answer = app.handle(
            Request("POST", "/predict", headers={"content-type": "application/json"}, body=body)
        )
        predictions = json.loads(answer.body)["predictions"]
        assert [each["prediction"] for each in predictions] == wanted * times
        assert [type(each["prediction"]) for each in predictions] == [
            type(label) for label in wanted
        ] * times
        assert all(list(each["probabilities"]) == list(map(str, classes)) for each in predictions)
    document = json.loads(app.handle(Request("GET", "/openapi.json")).body)
    assert document["components"]["schemas"]["Prediction"]["properties"]["prediction"]["enum"] == classes

    file = "a,note\n" + "".join(f"{each['a']},x\n" for each in records)
    for times in (1, 20, 4000):
        (tmp_path / "in.csv").write_text(file + file.partition("\n")[2] * (times - 1))
        out = Location.parse(str(tmp_path / f"out-{times}"))
        Batch(model, Settings(), Storage()).score(Location.parse(str(tmp_path / "in.csv")), out)
        (folder,) = (tmp_path / f"out-{times}").rglob("predictions.csv")
        texts = [line.split(",")[2] for line in folder.read_text().splitlines()[1:]]
        assert texts == list(map(str, wanted)) * times
        summary = json.loads((folder.parent / "summary.json").read_text())
        assert summary["predictions"] == dict.fromkeys(map(str, classes), times)


@pytest.mark.slow
def test_the_manifest_says_where_the_model_comes_from(run: Run) -> None:
    manifest = run(small(), "--name", "ours-1", "--test-size", "0.25", "--seed", "3")
    assert manifest.name == "ours-1"
    assert {key: manifest.training[key] for key in manifest.training if key != "sha256"} == {
        "data": "rows.csv",
        "rows": 200,
        "seed": 3,
        "test_size": 0.25,
        "pipeline": "logistic",
        "synthetic": False,
    }
    assert {"scikit-learn", "numpy", "scipy", "joblib"} < set(manifest.libraries)


@pytest.mark.parametrize("name", ["model", "mixed_model", "regression_model", "joblib_model"])
def test_golden_predictions_reproduce(name: str, request: pytest.FixtureRequest) -> None:
    model: Model = request.getfixturevalue(name)
    assert len(model.manifest.golden) == 8
    assert differences(model) == []


def test_golden_records_cover_the_schema(model: Model, mixed_model: Model) -> None:
    assert {each["prediction"] for each in model.manifest.golden} == {0, 1}
    golden = mixed_model.manifest.golden
    assert {each["prediction"] for each in golden} == set(mixed_model.manifest.classes)
    for feature in mixed_model.manifest.features:
        values = [each["record"][feature.name] for each in golden]
        assert (None in values) is feature.nullable
        if feature.kind == "category":
            assert set(values) - {None, *feature.categories}
    assert {type(each["record"]["garden"]) for each in golden} == {bool}
    assert {type(each["record"]["no.rooms"]) for each in golden} == {int}


@pytest.mark.slow
def test_a_report_is_written_where_asked(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "reports" / "today"
    manifest = run(small(), "--report", str(folder))
    assert (folder / "report.txt").read_text() in capsys.readouterr().out
    assert json.loads((folder / "metrics.json").read_text()) == manifest.metrics


@pytest.mark.slow
def test_warnings_of_the_pipeline_are_notes(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(small(b=np.arange(200) % 7), "--pipeline", "tests.support.pipelines:hurried")
    captured = capsys.readouterr()
    assert "note: ConvergenceWarning: " in captured.out
    assert captured.err == ""


@pytest.mark.slow
def test_imbalance_is_said(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(small())
    assert "imbalanced" not in capsys.readouterr().out
    run(pd.DataFrame({"a": range(200), "y": [0] * 180 + [1] * 20}))
    told = capsys.readouterr().out
    assert "imbalanced: 10.0% of the rows are '1'" in told
    assert "right in 90.0%" in told
    assert "class_weight='balanced'" in told


@pytest.mark.slow
def test_no_worker_process_is_left_to_serving(run: Run, tmp_path: Path) -> None:
    pipeline = "tests.support.pipelines:random_forest"
    run(mixed_rows(400).drop(columns="price"), "--pipeline", pipeline, target="class")
    forest = unpickle(Bundle.open(tmp_path / "model").read("model.joblib"))[-1]
    assert forest.n_jobs is None


@pytest.mark.slow
def test_thousands_of_categories(run: Run, tmp_path: Path) -> None:
    rows = small(9000, shop=[f"shop {place * 7 % 3000}" for place in range(9000)])
    for pipeline in ("logistic", "hist_gradient_boosting"):
        manifest = run(rows, "--pipeline", pipeline)
        assert len(manifest.features[1].categories) == 3000
        assert manifest.runtime == "onnx"
        assert differences(Model.load(tmp_path / "model")) == []


@pytest.mark.slow
def test_five_hundred_columns_are_listed_in_short(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({f"column {place}": random.normal(size=300) for place in range(500)})
    frame["y"] = frame["column 3"] + random.normal(size=300)
    frame.to_csv(tmp_path / "wide.csv", index=False)
    told: list[str] = []
    manifest = train(Options(tmp_path / "wide.csv", "y", "lasso", out=tmp_path / "model"), told.append)
    assert len(manifest.features) == 500
    assert "and 460 more columns" in "\n".join(told)
    assert len("\n".join(told).splitlines()) < 80
