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
from tests.support.terminal import on_terminal

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


def test_in_a_cloud_run_job_an_error_has_its_severity(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], customers: Path
) -> None:
    monkeypatch.setenv("CLOUD_RUN_JOB", "sklearn-function")
    customers.write_text("no\nfeature\n")
    output = str(customers.parent / "scored")
    assert [run("score", str(customers), "--output", output), run("score", "none.csv")] == [1, 2]
    refused, absent = map(json.loads, capsys.readouterr().err.splitlines())
    assert (refused["severity"], absent["severity"]) == ("ERROR", "ERROR")
    assert "b.csv: the header has" in refused["message"]
    assert "there is no file" in absent["message"]


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


def python(*words: str, cwd: Path = ROOT, **env: str) -> tuple[int, str, str]:
    """The exit code, the output and the errors of a real process."""
    done = subprocess.run(
        [sys.executable, "-m", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def test_serve_says_that_the_port_is_taken(bundle_dir: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        code, _, error = python("handler", "serve", "--port", port, MODEL_DIR=str(bundle_dir))
    assert code == 2
    assert "PORT=8081 make serve" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("port", ["80000", "0", "-1", "abc", "8080.0", "8080 ", "٣٣", "1" * 20])
@pytest.mark.parametrize("by", ["PORT", "--port"])
def test_a_port_that_is_none_is_one_line(by: str, port: str, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("PORT", port if by == "PORT" else "8080")
    assert run("serve", *([f"--port={port}"] if by == "--port" else [])) == 2
    rule = "must be a port: a whole number from 1 to 65535, such as 8080"
    assert capsys.readouterr().err == f"error: {by} {rule}\n"


def test_the_server_itself_says_so_too(bundle_dir: Path) -> None:
    code, out, error = python("handler.server", MODEL_DIR=str(bundle_dir), PORT="abc")
    assert (code, out) == (2, "")
    assert error.startswith("error: PORT must be a port")
    assert error.count("\n") == 1


@pytest.mark.parametrize("target", [{}, {"FUNCTION_TARGET": "http"}], ids=["alone", "by a platform"])
def test_a_server_without_a_model_says_so_in_one_line(tmp_path: Path, target: dict[str, str]) -> None:
    code, out, error = python("handler.server", MODEL_DIR=str(tmp_path), **target)
    assert (code, out) == (2, "")
    assert error.startswith("error: no model at")
    assert error.count("\n") == 1


def test_a_port_of_the_administrator_is_named_as_one(bundle_dir: Path) -> None:
    """As a user who may not listen there, whom nothing but the bundle and the code is opened to."""
    if os.geteuid() != 0:
        code, _, error = python("handler", "serve", "--port", "1", MODEL_DIR=str(bundle_dir))
    else:
        drop = "import os, sys, handler.commands.serving as cli, handler.scoring.row_program; "
        drop += "from handler import terminal; os.setuid(65534); "
        check = "cli._require_free('127.0.0.1', 1)"
        done = subprocess.run(
            [sys.executable, "-c", f"{drop}sys.exit(terminal.guarded(lambda: {check}))"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        code, error = done.returncode, done.stderr
    if code == 0 or "Traceback" in error:
        pytest.skip("every user may listen there")
    assert code == 2
    assert "ports below 1024 are for the administrator; choose another port: --port 8080" in error


# What is printed where.


def test_json_is_one_object_and_quiet_is_the_result(
    customers: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("check", "--json") == 0
    checked = said(capsys)
    assert (checked["differences"], checked["runtime"]) == ([], "onnx")
    for words in (["--json"], ["--json", "--quiet"]):
        assert run("predict", "age=45", "new_user=0", "total_pages_visited=5", *words) == 0
        assert said(capsys)["prediction"] == 0
    assert run("score", str(customers), "--json") == 0
    scored = said(capsys)
    (file,) = scored["files"]
    assert file["input"]["uri"] == str(customers)
    assert file["output"] == str(customers.parent / "scored" / "b.csv")
    assert file["rows"] == scored["totals"]["rows"] == {"read": 5, "scored": 3, "rejected": 2}
    assert run("score", str(customers), "--json") == 0
    again = said(capsys)
    assert again["files"][0]["skipped"] == "this model version has scored it already"
    assert again["totals"]["skipped"] == 1
    assert run("score", str(customers), "--output", str(tmp_path / "o"), "--quiet") == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert run("check", "--quiet") == 0
    assert capsys.readouterr().out.count("\n") == 1


def test_json_holds_an_error_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("predict", "age=45", "--json") == 2
    captured = capsys.readouterr()
    assert captured.err == f"error: {json.loads(captured.out)['error']}\n"
    (tmp_path / "junk.csv").write_bytes(b"\x00\x01")
    assert run("score", str(tmp_path / "junk.csv"), "--json") == 1
    assert said(capsys)["files"][0]["error"]["code"] == "not_a_csv"


@pytest.mark.parametrize("verb", ["predict", "score", "invoke", "check", "sign", "serve"])
def test_every_command_has_help_with_examples_and_exit_codes(
    verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for flag in ("--help", "--version"):
        with pytest.raises(SystemExit) as end:
            run(verb, flag)
        assert end.value.code == 0
    shown = capsys.readouterr().out
    assert f"examples:\n  python -m handler {verb}" in shown
    assert ("\n  1  " in shown) == (verb in ("check", "score"))
    assert "exit codes:\n  0  done\n" in shown
    for flag in ("--model DIR", "--json", "--quiet", "--version"):
        assert flag in shown


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["scroe", "a.csv"], "there is no command 'scroe'; did you mean 'score'? (see python -m handler"),
        (["zzz"], "there is no command 'zzz' (see python -m handler --help)"),
        (["score", "a.csv", "--ouput", "b"], "no flag '--ouput'; did you mean '--output'? (see python -m"),
        (["check", "--modle=x"], "no flag '--modle'; did you mean '--model'?"),
        (["check", "rows.csv"], "there is no argument 'rows.csv'"),
        (["--verson"], "no flag '--verson'; did you mean '--version'?"),
        (["score"], "INPUT"),
    ],
)  # fmt: skip
def test_a_mistyped_word_is_one_line_with_a_hint(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert hint in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("env", "red"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_errors_are_red_on_a_terminal(env: dict[str, str], red: bool, tmp_path: Path) -> None:
    environ = {"NO_COLOR": "", **env}
    code, drawn = on_terminal(["-m", "handler", "check", "--model", "nowhere"], tmp_path, **environ)
    assert code == 2
    assert drawn.startswith("\x1b[31merror:\x1b[0m no model at" if red else "error: no model at")
    assert "\x1b" not in python("handler", "check", "--model", "nowhere", cwd=tmp_path)[2]


# Several inputs.


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two tables, and beside them what is no input."""
    folder = tmp_path / "tables"
    (folder / "deeper").mkdir(parents=True)
    good = "age,new_user,total_pages_visited\n45,0,5\n"
    for name in ("b.csv", "a.tsv", ".hidden.csv", "notes.txt", "deeper/c.csv"):
        (folder / name).write_text(good.replace(",", "\t") if name.endswith("tsv") else good)
    monkeypatch.chdir(tmp_path)
    return folder


def test_score_takes_a_folder_file_by_file(tables: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("score", "tables") == 0
    lines = capsys.readouterr().out.splitlines()
    # The files come as they are done, the totals last.
    assert sorted(line.partition(":")[0] for line in lines[:-1]) == ["tables/a.tsv", "tables/b.csv"]
    assert lines[-1] == "2 files: 2 scored, 0 skipped, 0 refused; 2 rows, 2 scored, 0 rejected"
    assert sorted(each.name for each in (tables / "scored").iterdir()) == ["a.tsv", "b.csv"]
    # Its outputs are no inputs, wherever they are named.
    assert run("score", "tables", "tables/**/*.csv", "--output", "tables/out") == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.partition(":")[0] for line in lines[:-1]) == [
        "tables/a.tsv", "tables/b.csv", "tables/deeper/c.csv",
    ]  # fmt: skip
    assert lines[-1].startswith("3 files: ")
    assert run("score", "tables/scored/b.csv") == 2
    assert "the folder tables/scored/b.csv holds no table" in capsys.readouterr().err


def test_one_refused_file_is_told_and_the_others_are_scored(
    tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tables / "aa.csv").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tables / "bb.csv").write_bytes(b"PK\x03\x04xl/workbook")
    assert run("score", "tables", "--quiet") == 1
    captured = capsys.readouterr()
    assert captured.out == "4 files: 2 scored, 0 skipped, 2 refused; 2 rows, 2 scored, 0 rejected\n"
    assert sorted(captured.err.splitlines()) == [
        "error: tables/aa.csv: the file is a PNG image, not a CSV",
        "error: tables/bb.csv: the file is a zip or Excel file, not a CSV; export it as one",
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["tables/notes*.csv"], "no file matches tables/notes*.csv"),
        (["tables/empty"], "the folder tables/empty holds no table: no name ends in .csv, .csv.gz,"),
        (["tables", "absent.csv"], "there is no file"),
        (["tables/b.csv", "tables/deeper/../deeper/b.csv", "--output", "out"], "both be scored into"),
    ],
)
def test_what_cannot_be_scored_is_known_before_anything_is(
    words: list[str], told: str, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tables / "empty").mkdir()
    shutil.copy(tables / "b.csv", tables / "deeper")
    assert run("score", *words) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert not list(tables.parent.rglob("summary.json"))


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
