"""Training through its command line: what it prints, what it refuses, what it bundles, what it proves."""

from __future__ import annotations

import collections
import io
import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from sklearn.model_selection import train_test_split

from handler.app import App
from handler.batch.run import Batch
from handler.bundle import Bundle, Contract, Feature, Kind, Manifest
from handler.schema import Columns, parse_text
from handler.scoring.model import JoblibScorer, Model, Scores, unpickle
from handler.settings import Settings
from handler.storage.locations import Location
from handler.storage.storage import Storage
from handler.web.messages import Request
from tests.support.bundles import mixed_rows
from training import pipelines
from training.__main__ import main
from training.data import reading, sample
from training.data.columns import ColumnSpec
from training.errors import TrainingError
from training.export.graph import to_onnx
from training.proof import parity, rows
from training.train import Options, train

BOOK = Path(__file__).resolve().parents[3] / "shared/data/online_sales.csv"

Run = Callable[..., Manifest]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """``python -m training`` on rows, which must succeed; the bundle is in ``tmp_path / "model"``."""

    def command(rows: pd.DataFrame | str | bytes, *arguments: str, target: str = "y") -> Manifest:
        content = rows.to_csv(index=False) if isinstance(rows, pd.DataFrame) else rows
        path = tmp_path / "rows.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        out = tmp_path / "model"
        code = main(["--data", str(path), "--target", target, "--out", str(out), *arguments])
        assert code == 0, capsys.readouterr().err
        return Bundle.open(out).manifest

    return command


def small(rows: int = 200, **columns: Any) -> pd.DataFrame:
    """``rows`` with a number ``a`` that tells the classes of ``y`` apart, and other columns."""
    a = np.arange(rows) % 10
    return pd.DataFrame({"a": a, **columns, "y": (a > 4).astype(int)})


# The figures of the book, and the sample


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
        "next: MODEL_DIR=",
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
    (prediction,) = model.predictions(model.score([record]))
    assert prediction["prediction"] == 0
    assert prediction["probabilities"]["0"] == pytest.approx(0.9642, abs=5e-5)


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


def test_the_sample_is_shaped_like_the_real_file() -> None:
    frame = sample.rows(555)
    assert list(frame.columns) == ["age", "new_user", "total_pages_visited", "converted"]
    assert frame.shape == (316_200, 4)
    assert frame["converted"].sum() == 10_200
    assert frame["age"].between(17, 80).all()
    assert frame["total_pages_visited"].between(1, 29).all()
    assert set(frame["new_user"]) == {0, 1}
    pd.testing.assert_frame_equal(frame, sample.rows(555))
    assert not frame.equals(sample.rows(556))


# What is refused: exit code 2, one line, no bundle

FINE = "a,y\n" + "1,0\n2,1\n" * 20


def _rows(header: str, row: Callable[[int], str], count: int = 200) -> str:
    return header + "\n" + "\n".join(row(place) for place in range(count)) + "\n"


@pytest.mark.parametrize(
    ("content", "arguments", "told"),
    [
        pytest.param("", [], "is empty", id="empty"),
        pytest.param("\n \n", [], "is empty", id="blank"),
        pytest.param("a,y\n", [], "no rows", id="header only"),
        pytest.param(b"\x89PNG\r\n\x1a\n\x00", [], "UTF-8", id="binary"),
        pytest.param("a,y\n1,2\n".encode("utf-16"), [], "UTF-8", id="utf-16"),
        pytest.param("a,y\n1,\x002\n", [], "NUL", id="NUL"),
        pytest.param('{"a": 1}', [], "one column", id="one column"),
        pytest.param("a,y\n1,2\n1,2,3\n", [], "line 3 has 3 cells", id="long row"),
        pytest.param("a,y\n1\n1,2\n", [], "line 2 has 1 cells", id="short row"),
        pytest.param('a,y\n1,"2\n3,4\n', [], "not a CSV", id="unclosed quote"),
        pytest.param("a,b,a,y\n1,2,3,4\n", [], "'a' occurs twice", id="duplicate"),
        pytest.param("'a,a,y\n1,2,3\n", [], "'a' occurs twice", id="duplicate once cleaned"),
        pytest.param(",a,y\n1,2,3\n", [], "column 1 has no name", id="no name"),
        pytest.param(FINE, ["--target", "Y"], "did you mean 'y'?", id="target near"),
        pytest.param(FINE, ["--target", "converted"], "the columns are: a, y", id="target missing"),
        pytest.param("a,y\n1,1\n2,\n", [], "missing in 1 row;", id="target with gaps"),
        pytest.param("a,y\n1,1\n2,1\n", [], "same value in every row", id="constant target"),
        pytest.param("a,y\n" + "1,1.5\n2,1.50\n" * 9, [], "one value in every row", id="one number"),
        pytest.param(
            _rows("a,y", lambda i: f"{i},{i % 2 if i > 7 else 'NA'}"),
            [],
            "the target 'y' is missing in 8 rows (NA); fill or remove them",
            id="target NA",
        ),
        pytest.param(
            _rows("a,y", lambda i: f"{i},{i / 7 if i > 7 else 'NULL'}"),
            [],
            "the target 'y' is missing in 8 rows (NULL); fill",
            id="target NULL among numbers",
        ),
        pytest.param(
            _rows("a,y", lambda i: f"{i},{['no', 'yes', 'nan', ' ', ' N/A '][i % 5]}"),
            [],
            "the target 'y' is missing in 120 rows (empty, N/A, nan); fill",
            id="target of texts, with gaps",
        ),
        *(
            pytest.param(
                _rows("a,y", lambda i, word=word: f"{i},{i / 7 if i else word}"),
                [],
                f"missing in 1 row ({word});",
                id=f"target {word}",
            )
            for word in ("Null", "n/a", "#N/A", "nil", "none", "-", "?", ".")
        ),
        pytest.param(
            _rows("a,y", lambda i: f"{i}," + (str(i / 7) if i > 1 else '"12,5"')),
            [],
            "'y' holds numbers, and in 2 rows another text, such as '12,5'; correct",
            id="decimal comma",
        ),
        pytest.param(
            _rows("a,y", lambda i: f"{i},{i / 7 if i else 'x'}"),
            ["--pipeline", "linear"],
            "'y' holds numbers, and in 1 row another text, such as 'x'",
            id="a text for a regressor",
        ),
        pytest.param(
            _rows("a,y", lambda i: f"{i},{i / 7 if i else 'x'}"),
            ["--pipeline", "logistic"],
            "'y' holds numbers, and in 1 row another text, such as 'x'",
            id="a text for a classifier",
        ),
        pytest.param("a,y\n1,0\n2,0\n3,1\n", [], "class '1'", id="class of one row"),
        pytest.param("a,y\n1,0\n2,0\n3,1\n4,1\n", ["--test-size", "0.1"], "too few", id="too few rows"),
        pytest.param(_rows("a,y", lambda i: f"x{i},{i % 2}"), [], "'a' holds free text", id="free text"),
        pytest.param(_rows("a,y", lambda i: f"2024-01-{i % 28 + 1:02},{i % 2}"), [], "dates", id="dates"),
        pytest.param(_rows("a,y", lambda i: f"{i % 28 + 1}.1.2024 10:30,{i % 2}"), [], "dates", id="times"),
        pytest.param(_rows("a,y", lambda i: f",{i % 2}"), [], "'a' is empty", id="empty column"),
        pytest.param(_rows("a,y", lambda i: f"{i or 'NA'},{i % 2}"), [], "'NA': leave", id="NA"),
        pytest.param(_rows("a,y", lambda i: f"{i or 'nan'},{i % 2}"), [], "'nan': leave", id="nan"),
        pytest.param(_rows("a,y", lambda i: f"{i or 'inf'},{i % 2}"), [], "holds 'inf'", id="infinity"),
        pytest.param(_rows("a,y", lambda i: f"{i or '1e99'},{i % 2}"), [], "holds '1e99'", id="too large"),
        pytest.param(_rows("a,y", lambda i: f"{i or 'odd'},{i % 2}"), [], "also 'odd'", id="one typo"),
        pytest.param(FINE, ["--pipeline", "logstic"], "no pipeline 'logstic'", id="pipeline unknown"),
        pytest.param(FINE, ["--pipeline", "absent:f"], "cannot be imported", id="pipeline's module"),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:absent"], "no 'absent'", id="pipeline's name"
        ),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:NO_FUNCTION"], "no function", id="no function"
        ),
        pytest.param(FINE, ["--pipeline", "builtins:dict"], "fails: ValueError", id="builtin"),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:broken"], "RuntimeError: first line", id="broken"
        ),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:no_estimator"], "gives a str", id="no estimator"
        ),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:clusterer"], "gives a KMeans", id="clusterer"
        ),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:unfit"], "InvalidParameterError", id="unfit"
        ),
        pytest.param(
            FINE, ["--pipeline", "tests.support.pipelines:unpicklable"], "pickled", id="unpicklable"
        ),
        pytest.param("a,y\n1,p\n2,q\n" * 9, ["--pipeline", "linear"], "predicts numbers", id="text target"),
        pytest.param(FINE, ["--test-size", "1"], "between 0 and 1", id="test size 1"),
        pytest.param(FINE, ["--test-size", "nan"], "between 0 and 1", id="test size nan"),
        pytest.param(FINE, ["--test-size", "half"], "--test-size", id="test size no number"),
        pytest.param(FINE, ["--seed", "-1"], "--seed", id="seed"),
        pytest.param(FINE, ["--name", "a b"], "--name", id="name"),
        pytest.param(FINE, ["--unknown"], "--unknown", id="unknown option"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: str | bytes,
    arguments: Sequence[str],
    told: str,
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    out = tmp_path / "model"
    assert main(["--data", str(path), "--target", "y", "--out", str(out), *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert told in error
    assert error.count("\n") == 1
    assert [each.name for each in tmp_path.iterdir()] == ["rows.csv"]


def test_a_file_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path / "absent.csv"), "--out", str(tmp_path / "model")]) == 2
    assert "absent.csv does not exist" in capsys.readouterr().err
    assert main(["--data", str(tmp_path), "--out", str(tmp_path / "model")]) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_a_folder_that_is_no_bundle_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    assert main(["--out", str(tmp_path)]) == 2
    assert "thesis.txt" in capsys.readouterr().err
    assert main(["--out", str(tmp_path / "thesis.txt")]) == 2
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


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


# What a column is taken for


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        pytest.param(["1", "2.0", "3e0"], Feature("x", "integer", False, 1.0, 3.0), id="whole"),
        pytest.param(["0", "1"], Feature("x", "integer", False, 0.0, 1.0), id="zero and one"),
        pytest.param(["007", " 8 "], Feature("x", "integer", False, 7.0, 8.0), id="zeros, blanks"),
        pytest.param(["1", "", "2.5"], Feature("x", "number", True, 1.0, 2.5), id="number with a gap"),
        pytest.param(["1", "1e300"], None, id="beyond float32"),
        pytest.param(["1", "1e16"], Feature("x", "number", False, 1.0, 1e16), id="beyond 2^53"),
        pytest.param(["Yes", "no", ""], Feature("x", "boolean", True, 0.0, 1.0), id="yes and no"),
        pytest.param(["T", "f"], Feature("x", "boolean", False, 0.0, 1.0), id="letters"),
        pytest.param(
            ["true", "1", "no"], Feature("x", "category", categories=("1", "no", "true")), id="true and 1"
        ),
        pytest.param(["yes", "yes"], Feature("x", "category", categories=("yes",)), id="only yes"),
        pytest.param(["f", "m"], Feature("x", "category", categories=("f", "m")), id="f and m"),
        pytest.param(
            ["b ", "", "ä"],
            Feature("x", "category", True, categories=("b ", "ä")),
            id="texts as they stand",
        ),
        pytest.param(["NA", "EU"], Feature("x", "category", categories=("EU", "NA")), id="NA among texts"),
        pytest.param(["1", "2", "x"], Feature("x", "category", categories=("1", "2", "x")), id="codes"),
    ],
)
def test_a_columns_kind(cells: Sequence[str], expected: Feature | None) -> None:
    table = reading.parse(_csv(x=cells, y=[str(place) for place in range(len(cells))]), "rows.csv")
    if expected is None:
        with pytest.raises(TrainingError):
            reading.prepare(table, ColumnSpec("y"))
        return
    (column,) = reading.prepare(table, ColumnSpec("y")).columns
    assert column.feature == expected
    assert column.missing == cells.count("")


def _csv(**columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    pd.DataFrame(columns).to_csv(text, index=False)
    return text.getvalue().encode()


def test_what_is_odd_about_a_column_is_noted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    constant, codes = [7] * 200, ["1", "2", "A", "4"] * 50
    manifest = run(small(number=range(200), constant=constant, code=codes))
    told = capsys.readouterr().out
    assert "note: 'number' differs in every row" in told
    assert "note: 'code' is taken as a category, since 'A' is not a number" in told
    assert told.count("note: ") == 2
    assert [each.kind for each in manifest.features] == ["integer", "integer", "integer", "category"]
    assert manifest.runtime == "onnx"


@given(
    st.lists(
        st.floats(-1e6, 1e6).map(repr)
        | st.integers(-(10**9), 10**9).map(str)
        | st.sampled_from(["", " 1.5", "+2", ".5", "5.", "1E3", "-0", " \t"]),
        min_size=2,
        max_size=30,
    ).filter(lambda cells: any(cell.strip() for cell in cells))
)
def test_training_reads_a_cell_as_serving_does(cells: list[str]) -> None:
    table = reading.parse(_csv(x=cells, y=[str(place) for place in range(len(cells))]), "rows.csv")
    (column,) = reading.prepare(table, ColumnSpec("y")).columns
    assert column.values.tolist() == pytest.approx(
        [parse_text(column.feature, cell) for cell in cells], abs=0, rel=0, nan_ok=True
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\n\n"])
def test_the_csvs_that_are_read(delimiter: str, encoding: str, newline: str) -> None:
    lines = ['\'größe," b,c ",y', "1,p,0", '"2","q, r",1']
    text = newline.join(lines).replace(",", delimiter).replace(f"q{delimiter}", "q,")
    table = reading.parse(text.replace(" b" + delimiter, " b,").encode(encoding), "rows.csv")
    assert list(table.columns) == ["größe", "b,c", "y"]
    assert [column.to_list() for column in table.columns.values()] == [
        ["1", "2"],
        ["p", "q, r"],
        ["0", "1"],
    ]
    assert ("'größe", "größe") in table.cleaned


# Targets, tasks and classes


@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        pytest.param(["no", "yes"], "binary", ("no", "yes"), id="words"),
        pytest.param(["True", "False"], "binary", ("False", "True"), id="truths"),
        pytest.param(["2", "1"], "binary", (1, 2), id="one and two"),
        pytest.param(["1.0", "0.0"], "binary", ("0.0", "1.0"), id="whole floats"),
        pytest.param(["-1", "10", "9"], "multiclass", (-1, 9, 10), id="three numbers"),
        pytest.param(["ü", "b", "1"], "multiclass", ("1", "b", "ü"), id="three texts"),
        pytest.param(["0.5", "1.5"], "regression", (), id="fractions"),
        pytest.param([str(place) for place in range(21)], "regression", (), id="many whole numbers"),
    ],
)
def test_task_and_classes_follow_from_the_target(
    run: Run, target: list[str], task: str, classes: tuple[int | str, ...]
) -> None:
    rows = len(target) * 20
    a = np.arange(rows) % len(target)
    manifest = run(pd.DataFrame({"a": a, "y": [target[place] for place in a]}))
    assert (manifest.task, manifest.classes) == (task, classes)
    assert manifest.runtime == "onnx"


def test_a_pipeline_decides_the_task(run: Run) -> None:
    assert run(small()).task == "binary"
    assert run(small(), "--pipeline", "linear").task == "regression"


def test_imbalance_is_said(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(small())
    assert "imbalanced" not in capsys.readouterr().out
    run(pd.DataFrame({"a": range(200), "y": [0] * 180 + [1] * 20}))
    told = capsys.readouterr().out
    assert "imbalanced: 10.0% of the rows are '1'" in told
    assert "right in 90.0%" in told
    assert "class_weight='balanced'" in told


# The bundle


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
    assert model.engine is not None
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
    assert model.check() == []


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


def test_a_report_is_written_where_asked(
    tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "reports" / "today"
    manifest = run(small(), "--report", str(folder))
    assert (folder / "report.txt").read_text() in capsys.readouterr().out
    assert json.loads((folder / "metrics.json").read_text()) == manifest.metrics


def test_warnings_of_the_pipeline_are_notes(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run(small(b=np.arange(200) % 7), "--pipeline", "tests.support.pipelines:hurried")
    captured = capsys.readouterr()
    assert "note: ConvergenceWarning: " in captured.out
    assert captured.err == ""


def test_a_pipeline_beside_the_data(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_pipeline.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n"
        "def build(features):\n"
        "    assert [each.name for each in features] == ['a']\n"
        "    return LogisticRegression()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", sys.path.copy())  # since main adds the folder
    assert run(small(), "--pipeline", "own_pipeline:build").training["pipeline"] == "own_pipeline:build"


# The gate


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


def test_any_feature_name_goes_through_the_graph(run: Run) -> None:
    random = np.random.default_rng(0)
    names = ["x1", "x0", "label", "probabilities", "variable", "a b", "a.b", "a_b", "été", "1st", "input"]
    rows = pd.DataFrame({name: random.normal(size=300) for name in names})
    rows["y"] = (rows["x0"] - rows["x1"] + rows["a b"] - rows["a.b"] > 0).astype(int)
    for pipeline in ("logistic", "tests.support.pipelines:bare"):
        manifest = run(rows, "--pipeline", pipeline)
        assert manifest.runtime == "onnx", manifest.parity
        assert manifest.parity["largest_difference"] < 1e-14


def test_a_category_is_closed_if_the_estimator_refuses_unknown_ones(run: Run, mixed_model: Model) -> None:
    assert all(each.open for each in mixed_model.manifest.features if each.kind == "category")
    rows = mixed_rows(400)[["Straße", "class"]]
    (feature,) = run(rows, "--pipeline", "tests.support.pipelines:closed", target="class").features
    assert not feature.open


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
        "MODEL_CARD.md",
        "report.html",
    }
    served, proven = Model.load(tmp_path / "model"), Model.load(bundle_dir)
    assert served.check() == []
    assert served.labels(served.score([(45.0, 0.0, 5.0)])) == proven.labels(
        proven.score([(45.0, 0.0, 5.0)])
    )


def test_a_model_that_cannot_be_exported_says_why(joblib_model: Model) -> None:
    manifest = joblib_model.manifest
    assert manifest.runtime == "joblib"
    assert set(manifest.files) == {"model.joblib", "MODEL_CARD.md", "report.html"}
    assert "FunctionTransformer" in manifest.parity["reason"]


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
    held_out = mixed_model.schema.columns([typical])
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


def test_no_worker_process_is_left_to_serving(run: Run, tmp_path: Path) -> None:
    pipeline = "tests.support.pipelines:random_forest"
    run(mixed_rows(400).drop(columns="price"), "--pipeline", pipeline, target="class")
    forest = unpickle(Bundle.open(tmp_path / "model").read("model.joblib"))[-1]
    assert forest.n_jobs is None


OFFERS = ["--target", "class", "--drop", "price"]


def offers(folder: Path) -> str:
    """A file of mixed columns, with a code that looks like a number, and a customer in every row."""
    frame = mixed_rows(900)
    frame["zip=code"] = [f"{place % 7:03}" for place in range(len(frame))]
    frame["customer"] = [f"c{place:05}" for place in range(len(frame))]
    frame.to_csv(folder / "offers.csv", index=False)
    return str(folder / "offers.csv")


def test_columns_are_told_by_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["--data", offers(tmp_path), *OFFERS, "--id", "customer", "--kind", "zip=code=category"]
    assert main([*told, "--kind", "no.rooms=number", "--out", str(tmp_path / "model")]) == 0
    manifest = Bundle.open(tmp_path / "model").manifest
    features = {feature.name: feature for feature in manifest.features}
    assert features.keys().isdisjoint({"price", "customer", "class"})
    assert features["zip=code"].categories == tuple(f"{place:03}" for place in range(7))
    assert features["no.rooms"].kind == "number"
    assert manifest.ids == ("customer",)
    assert "carried through: customer" in capsys.readouterr().out


def test_columns_are_told_in_a_file_and_flags_count_more(tmp_path: Path) -> None:
    told = tmp_path / "columns.toml"
    told.write_text(
        'target = "price"\ndrop = ["price"]\nids = ["customer"]\n'
        '[kinds]\n"zip=code" = "category"\n"no.rooms" = "category"\n'
    )
    flags = ["--target", "class", "--kind", "no.rooms=integer", "--columns", str(told)]
    assert main(["--data", offers(tmp_path), *flags, "--out", str(tmp_path / "model")]) == 0
    manifest = Bundle.open(tmp_path / "model").manifest
    kinds = {feature.name: feature.kind for feature in manifest.features}
    assert manifest.target == "class"
    assert (kinds["zip=code"], kinds["no.rooms"]) == ("category", "integer")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--drop", "nothing"], "--drop names 'nothing'"),
        (["--id", "class"], "which is the target"),
        (["--drop", "customer", "--id", "customer"], "name it once"),
        (["--id", "customer", "--kind", "customer=category"], "by --id and by --kind; name it once"),
        (["--drop", "custmer"], "did you mean 'customer'?"),
        (["--id", "customer", "--pipeline", "linear"], "holds text"),
        (["--kind", "garden"], "--kind takes COLUMN=KIND"),
        (["--kind", "garden=word"], "--kind takes COLUMN=KIND"),
        (["--kind", "heating=number"], "of its cells are not"),
        ([], "'customer' holds free text or identifiers"),
        (["--id", "customer", "--threshold", "0.4"], "two classes"),
        (["--id", "customer", "--threshold", "half"], "--threshold takes auto"),
        (["--id", "customer", "--threshold", "1.5"], "--threshold takes auto"),
        (["--columns", "nowhere.toml"], "nowhere.toml cannot be read"),
    ],
)
def test_a_mistake_about_columns_is_told_in_one_line(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", offers(tmp_path), *OFFERS, *flags, "--out", str(tmp_path / "model")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("target = ", "is not TOML"),
        ("aim = 'y'", "no key 'aim'"),
        ("drop = 'y'", "'drop' must be a list"),
        ("target = 3", "'target' must be"),
        ("[kinds]\na = 'word'", "'kinds' must give 'a' one of integer, "),
        ("kinds = 'integer'", "'kinds' must be a table"),
        ("target = 'class'\ndrop = ['Heating']", "'drop' names 'Heating', and offers.csv has no such"),
        ("target = 'class'\ndrop = ['class']", "'drop' names 'class', which is the target"),
        ("target = 'class'\ndrop = ['âge']\nids = ['âge']", "'ids'; name it once"),
        ("target = 'clas'", "columns.toml: 'target'); did you mean 'class'?"),
    ],
)
def test_a_mistake_in_the_file_names_it(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "columns.toml").write_text(text)
    arguments = ["--data", offers(tmp_path), "--columns", str(tmp_path / "columns.toml")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "columns.toml" in error
    assert said in error


def test_the_default_target_is_asked_for_where_it_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", offers(tmp_path)]) == 2
    assert "name the column to predict with --target" in capsys.readouterr().err
    assert main(["--target", "class"]) == 2
    assert "synthetic sample" in capsys.readouterr().err


NAMES = (
    "decision_tree",
    "random_forest",
    "extra_trees",
    "gradient_boosting",
    "hist_gradient_boosting",
    "mlp",
)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "target"),
    [
        *((name, target) for name in NAMES for target in ("class", "price")),
        *((name, "class") for name in ("logistic", "naive_bayes", "svc")),
        *((name, "price") for name in ("linear", "ridge", "lasso")),
    ],
)
def test_every_pipeline_by_name_is_served(name: str, target: str, tmp_path: Path) -> None:
    other = "price" if target == "class" else "class"
    arguments = ["--data", offers(tmp_path), "--target", target, "--drop", other, "--id", "customer"]
    assert main([*arguments, "--pipeline", name, "--out", str(tmp_path / "model")]) == 0
    model = Model.load(tmp_path / "model")
    assert model.manifest.engines == {"one": "scalar", "many": "onnx"}
    chance = max(collections.Counter(mixed_rows(900)["class"]).values()) / 900
    assert model.manifest.metrics.get("accuracy", 1) > chance
    assert model.manifest.metrics.get("r2", 1) > 0.5
    assert model.check() == []


def test_the_list_of_names_is_tested_and_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    listed = {*NAMES, "logistic", "naive_bayes", "svc", "linear", "ridge", "lasso"}
    assert listed == set(pipelines.NAMED)
    assert main(["--data", offers(tmp_path), *OFFERS, "--id", "customer", "--pipeline", "forest"]) == 2
    assert set(capsys.readouterr().err.replace(",", " ").split()) >= listed


def sales(folder: Path) -> pd.DataFrame:
    frame = sample.rows(555, rows=5000, converted=400)
    frame["converted"] = frame["converted"].map({0: "no", 1: "yes"})
    frame.to_csv(folder / "sales.csv", index=False)
    return frame


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
    assert Model.load(tmp_path / "model").check() == []


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


def test_exact_lets_nothing_but_doubles_serve(tmp_path: Path) -> None:
    frame = mixed_rows(600)
    frame["dear"] = (frame["price"] > frame["price"].median()).map({True: "yes", False: "no"})
    frame.drop(columns=["price", "class"]).to_csv(tmp_path / "rows.csv", index=False)
    for pipeline, runtime in (("random_forest", "onnx"), ("tests.support.pipelines:kernel", "joblib")):
        options = Options(
            tmp_path / "rows.csv", "dear", pipeline, out=tmp_path / pipeline.replace(":", "_"), exact=True
        )
        manifest = train(options, lambda _: None)
        assert manifest.runtime == runtime
        assert manifest.parity["tolerance"] == 1e-12


def test_an_id_is_carried_through_requests(tmp_path: Path) -> None:
    frame = sales(tmp_path)
    frame["customer"] = [f"c{place}" for place in range(len(frame))]
    frame.to_csv(tmp_path / "sales.csv", index=False)
    train(Options(tmp_path / "sales.csv", out=tmp_path / "model", ids=("customer",)), lambda _: None)
    app = App(Model.load(tmp_path / "model"), Settings())
    record = {"age": 45, "new_user": 0, "total_pages_visited": 5}
    assert app.handle({**record, "customer": "007"})["ids"] == {"customer": "007"}
    assert "ids" not in app.handle(record)
    several = app.handle({"instances": [{**record, "customer": 7}, record]})["predictions"]
    assert [each.get("ids") for each in several] == [{"customer": 7}, None]
    query = (("age", "45"), ("new_user", "0"), ("total_pages_visited", "5"), ("customer", "007"))
    answer = json.loads(app.handle(Request("GET", "/predict", query)).body)
    assert answer["ids"] == {"customer": "007"}
    document = json.loads(app.handle(Request("GET", "/openapi.json")).body)
    schemas = document["components"]["schemas"]
    assert "customer" in schemas["Record"]["properties"]
    assert "customer" not in schemas["Record"]["required"]
    assert "ids" in schemas["Prediction"]["properties"]
    for value in ("c1", 7, 1.5, True, None):
        assert app.handle({**record, "customer": value})["ids"] == {"customer": value}

    def errors(request: Request) -> list[tuple[str, str]]:
        return [(each["field"], each["code"]) for each in json.loads(app.handle(request).body)["errors"]]

    twice = Request("GET", "/predict", (*query, ("customer", "8"), ("Customer", "9")))
    assert errors(twice) == [("customer", "repeated"), ("Customer", "unknown_field")]
    for body, code in (('{"a": 1}', "not_a_string"), ("[1]", "not_a_string"), ("NaN", "not_finite")):
        text = json.dumps(record).removesuffix("}") + f', "customer": {body}}}'
        assert errors(Request("POST", "/predict", body=text.encode())) == [("customer", code)]
    csv = Request(
        "POST",
        "/predict_file",
        headers={"content-type": "text/csv", "accept": "text/csv"},
        body=b"customer,age,new_user,total_pages_visited\n007,45,0,5\n",
    )
    assert app.handle(csv).body.splitlines()[1].startswith(b"007,45,0,5,")


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        pytest.param(
            ["007", "8", ""],
            "category",
            Feature("x", "category", True, categories=("007", "8")),
            id="zip code",
        ),
        pytest.param(["1", "2"], "number", Feature("x", "number", False, 1.0, 2.0), id="whole as a number"),
        pytest.param(["0", "1", ""], "boolean", Feature("x", "boolean", True, 0.0, 1.0), id="0 and 1"),
        pytest.param(
            ["yes", "1", "F"], "boolean", Feature("x", "boolean", False, 0.0, 1.0), id="mixed words"
        ),
        pytest.param(["2.0", "3"], "integer", Feature("x", "integer", False, 2.0, 3.0), id="whole"),
        pytest.param(
            ["2.5", "3"], "integer", "1 of its cells are not, such as '2.5'", id="no whole number"
        ),
        pytest.param(["NA", "3", "NA"], "number", "2 of its cells are not, such as 'NA'", id="NA"),
        pytest.param(
            ["maybe", "yes"], "boolean", "1 of its cells are not, such as 'maybe'", id="no boolean"
        ),
        pytest.param(["", ""], "category", "is empty", id="empty category"),
        pytest.param(["", " "], "integer", "is empty", id="empty integer"),
    ],
)
def test_a_kind_that_is_told(cells: Sequence[str], kind: Kind, expected: Feature | str) -> None:
    table = reading.parse(_csv(x=cells, y=[str(place) for place in range(len(cells))]), "rows.csv")
    told = ColumnSpec("y", kinds={"x": kind})
    if isinstance(expected, str):
        with pytest.raises(TrainingError, match=re.escape(expected)):
            reading.prepare(table, told)
        return
    (column,) = reading.prepare(table, told).columns
    assert column.feature == expected


def test_what_is_refused_may_be_taken_as_a_category(run: Run, tmp_path: Path) -> None:
    rows = small(600)
    rows['Kürzel [x]."y"'] = [f"k{place * 7919 % 599}" for place in range(600)]
    rows["day"] = [f"2024-01-{place % 28 + 1:02}" for place in range(600)]
    names = [name for name in rows.columns if name not in ("a", "y")]
    kinds = [part for name in names for part in ("--kind", f"{name}=category")]
    manifest = run(rows, *kinds)
    assert [len(each.categories) for each in manifest.features] == [0, 599, 28]
    assert all(each.open for each in manifest.features[1:])
    assert manifest.engines == {"one": "scalar", "many": "onnx"}
    model = Model.load(tmp_path / "model")
    record = {"a": 3, names[0]: "never seen", "day": "2024-01-02"}
    assert model.predict([model.schema.from_json(record)])[0]["prediction"] == 0


def test_thousands_of_categories(run: Run, tmp_path: Path) -> None:
    rows = small(9000, shop=[f"shop {place * 7 % 3000}" for place in range(9000)])
    for pipeline in ("logistic", "hist_gradient_boosting"):
        manifest = run(rows, "--pipeline", pipeline)
        assert len(manifest.features[1].categories) == 3000
        assert manifest.runtime == "onnx"
        assert Model.load(tmp_path / "model").check() == []


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
