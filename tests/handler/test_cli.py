"""``python -m handler`` as a person uses it."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from handler.__main__ import main
from handler.storage.buckets import PART
from tests.support.bundles import resealed
from tests.support.cloud import S3
from tests.support.faults import FaultyProxy, on

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def environment(bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_DIR", str(bundle_dir))


@pytest.fixture
def customers(tmp_path: Path) -> Path:
    """Three good rows, one bad and one short."""
    file = tmp_path / "data" / "b.csv"
    file.parent.mkdir()
    file.write_text("age,note,new_user,total_pages_visited\n45,a,0,5\nx,b,0,5\n25,c,1,29\n1\n30,d,0,1\n")
    return file


def run(*arguments: str) -> int:
    return main(list(arguments))


def said(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_predict(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("predict", "age=45", "new_user=0", "total_pages_visited=5") == 0
    assert said(capsys)["prediction"] == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["age=45"], "'new_user' is missing; 'total_pages_visited' is missing"),
        (["age", "45"], "'age' has no value; write age=..."),
        (["Age=4", "new_user=0", "total_pages_visited=5"], "did you mean 'age'?"),
    ],
)
def test_predict_tells_what_is_wrong_in_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("predict", *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert told in error


def test_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check") == 0
    assert "all reproduced" in capsys.readouterr().out


def test_check_fails_on_another_model(
    bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(manifest: Any) -> None:
        manifest["golden"][0]["probabilities"] = {"0": 0.5, "1": 0.5}

    resealed(bundle_dir, tmp_path, change)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert run("check") == 1
    assert "golden row 0" in capsys.readouterr().err


def test_the_flag_names_the_bundle_before_the_variable(
    bundle_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_DIR", "nowhere")
    assert run("check") == 2
    assert "no model at nowhere" in capsys.readouterr().err
    assert run("check", "--model", str(bundle_dir)) == 0


def test_an_unnamed_bundle_is_the_one_below_the_working_directory_or_else_the_one_beside_the_code(
    bundle_dir: Path, mixed_dir: Path, tmp_path: Path
) -> None:
    code, here = tmp_path / "code", tmp_path / "here"
    shutil.copytree(
        ROOT / "handler", code / "handler", ignore=shutil.ignore_patterns("model", "__pycache__")
    )
    here.mkdir()
    environ = {name: value for name, value in os.environ.items() if name != "MODEL_DIR"}

    def check() -> str:
        done = subprocess.run(
            [sys.executable, "-m", "handler", "check"],
            cwd=here,
            env={**environ, "PYTHONPATH": str(code)},
            capture_output=True,
            text=True,
        )
        return done.stdout + done.stderr

    assert "no model at handler/model" in check()
    shutil.copytree(bundle_dir, code / "handler" / "model")
    assert check().startswith("sales ")
    shutil.copytree(mixed_dir, here / "handler" / "model")
    assert check().startswith("mixed ")


@pytest.mark.parametrize(
    "event", ["direct", "apigateway-v2", "alb-multi-value", "cloudevent-binary-gcs", "s3-test-event"]
)
def test_invoke_takes_any_event(event: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("invoke", str(ROOT / "events" / f"{event}.json")) == 0
    printed = capsys.readouterr().out
    assert any(word in printed for word in ("model", "403", "skipped"))


def test_no_command_shows_them_all(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert "score" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "cannot be read"), ("{", "is not JSON"), ('{"foo": 1}', "unknown event with the keys: foo")],
)
def test_invoke_tells_what_is_wrong_with_the_file(
    content: str | None, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "event.json"
    if content is not None:
        file.write_text(content)
    assert run("invoke", str(file)) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("folder", ["here", None])
def test_score_writes_three_files(
    folder: str | None, customers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--output", str(tmp_path / folder)] if folder else []
    assert run("score", str(customers), *where) == 0
    out = (tmp_path / folder if folder else customers.parent / "scored") / "b.csv"
    assert "5 rows, 3 scored, 2 rejected" in capsys.readouterr().out
    rows = list(csv.reader((out / "predictions.csv").read_text().splitlines()))
    assert rows[0] == ["age", "note", "new_user", "total_pages_visited", "prediction", "probability"]
    assert [row[:5] for row in rows[1:]] == [
        ["45", "a", "0", "5", "0"],
        ["25", "c", "1", "29", "1"],
        ["30", "d", "0", "1", "0"],
    ]
    rejected = list(csv.reader((out / "rejected.csv").read_text().splitlines()))
    assert rejected[0] == ["line", "column", "code", "reason", "row"]
    assert [[row[0], row[1], row[2], row[4]] for row in rejected[1:]] == [
        ["3", "age", "not_a_number", "x,b,0,5"],
        ["5", "", "too_few_cells", "1"],
    ]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["rows"] == {"read": 5, "scored": 3, "rejected": 2}
    assert summary["rejects"] == {"not_a_number": 1, "too_few_cells": 1}
    assert summary["predictions"] == {"0": 2, "1": 1}
    assert summary["input"]["uri"] == str(customers)
    assert sorted(path.name for path in out.iterdir()) == [
        "predictions.csv",
        "rejected.csv",
        "summary.json",
    ]


def test_score_again_skips_and_after_a_change_scores(
    customers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("score", str(customers)) == 0
    assert run("score", str(customers)) == 0
    assert "scored it already" in capsys.readouterr().out
    customers.write_text("age,new_user,total_pages_visited\n45,0,5\n")
    assert run("score", str(customers)) == 0
    assert "1 row, 1 scored" in capsys.readouterr().out


def test_score_unpacks_gzip(customers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = customers.with_name("b.csv.gz")
    packed.write_bytes(gzip.compress(customers.read_bytes()))
    assert run("score", str(packed)) == 0
    assert "5 rows, 3 scored" in capsys.readouterr().out


def test_score_refuses_what_is_no_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "junk.csv"
    file.write_bytes(b"\x00\x01\x02")
    assert run("score", str(file)) == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert "binary" in captured.err
    summary = json.loads((tmp_path / "scored" / "junk.csv" / "summary.json").read_text())
    assert summary["error"]["code"] == "not_a_csv"
    assert summary["outputs"] is None


@pytest.mark.parametrize(
    ("uri", "told"),
    [("nowhere.csv", "there is no file"), ("ftp://host/a.csv", "ftp:// is not supported")],
)
def test_score_tells_what_it_cannot_find(uri: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("score", uri) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("variable", ["MAX_BODY_BYTES", "BLOCK_BYTES", "WORKERS", "LOG_LEVEL"])
def test_a_bad_setting_names_its_variable(
    variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(variable, "-1")
    assert run("check") == 2
    assert f"error: {variable} must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / "model.json").unlink(), "run 'make train'"),
        (lambda folder: (folder / "model.onnx").write_bytes(b"other"), "changed after training"),
        (
            lambda folder: (folder / "model.joblib").write_bytes(b"another model"),
            "or package the model that it is: python -m training package MODEL --sample CSV --trust",
        ),
        (lambda folder: (folder / "model.onnx").unlink(), "cannot be read"),
        (lambda folder: (folder / "model.json").write_text("{"), "cannot be read"),
        (
            lambda folder: (folder / "model.json").write_text('{"format": 99}'),
            "format 99 and this code reads",
        ),
        (lambda folder: (folder / "model.json").write_text('{"format": 1}'), "does not follow its format"),
    ],
)
def test_a_damaged_bundle_is_an_error_and_no_warning(
    damage: Any, told: str, bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for file in bundle_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    damage(tmp_path)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert run("check") == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_a_pickle_of_other_versions_is_not_opened(
    joblib_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(manifest: Any) -> None:
        manifest["libraries"]["scikit-learn"] = "1.0.0"

    resealed(joblib_dir, tmp_path, change)
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    assert run("check") == 2
    error = capsys.readouterr().err
    assert "scikit-learn 1.0.0 at training" in error
    assert "train again" in error


def test_serve_says_that_the_port_is_taken(bundle_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "-m", "handler", "serve", "--port", str(taken.getsockname()[1])],
            cwd=ROOT,
            env={**os.environ, "MODEL_DIR": str(bundle_dir)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert "PORT=8081 make serve" in done.stderr
    assert done.stderr.count("\n") == 1


# A process that is told to stop, and what is not a file.


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("held", ["read", "part", "local"])
def test_score_that_is_stopped_withdraws_and_says_so(
    s3: S3, bundle_dir: Path, tmp_path: Path, number: signal.Signals, held: str
) -> None:
    """It is stopped while storage holds an answer: the input's, or that to a part of the output."""
    bucket = s3.bucket()
    lines = 3 * PART // 200
    s3.put(
        bucket, "in.csv", b"age,new_user,total_pages_visited,note\n" + b"45,0,5,%b\n" % (b"x" * 200) * lines
    )
    when = on("PUT", "partNumber=2") if held == "part" else on("GET", "in.csv")
    output = str(tmp_path / "out") if held == "local" else f"s3://{bucket}/out"
    with FaultyProxy(s3.url) as proxy, proxy.pause(when=when) as pause:
        process = subprocess.Popen(
            [sys.executable, "-m", "handler", "score", f"s3://{bucket}/in.csv", "--output", output],
            cwd=ROOT,
            env={**os.environ, **s3.at(proxy.url).env, "MODEL_DIR": str(bundle_dir)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            pause.wait()
            if held == "local":
                assert any(path.is_file() for path in tmp_path.rglob("*"))
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert s3.pending(bucket) == []
    assert (process.returncode, out) == (128 + number, "")
    word = "interrupted" if number == signal.SIGINT else "stopped"
    assert err == f"{word}: s3://{bucket}/in.csv is not scored; its uploads were withdrawn\n"
    assert s3.keys(bucket) == ["in.csv"]
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def listening(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(str(path))
    return path


def null(_: Path) -> Path:
    return Path("/dev/null")


@pytest.mark.parametrize(
    ("make", "kind"),
    [(fifo, "a pipe"), (listening, "a socket"), (null, "a device")],
)
def test_score_refuses_what_is_not_a_file(
    make: Callable[[Path], Path],
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    path = make(Path("rows.csv"))
    assert run("score", str(path), "--output", str(tmp_path / "out")) == 2
    error = capsys.readouterr().err
    assert f"is {kind}, not a regular file" in error
    assert error.count("\n") == 1


def test_score_refuses_a_pipe_on_standard_input(bundle_dir: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "handler", "score", "/dev/stdin", "--output", str(tmp_path / "out")],
        cwd=ROOT,
        env={**os.environ, "MODEL_DIR": str(bundle_dir)},
        input=b"age,new_user,total_pages_visited\n45,0,5\n",
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert b"/dev/stdin is a pipe, not a regular file" in done.stderr
