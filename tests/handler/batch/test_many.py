"""Many files with one command: what is named, side by side, and what one that fails does to the others."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from handler.__main__ import main
from handler.batch.inputs import Input, Inputs
from handler.batch.many import AT_ONCE, FAULTS, ROOM, Count, Spool, Together, score
from handler.batch.naming import SUMMARY
from handler.batch.progress import Bar
from handler.batch.run import Scored
from handler.errors import FunctionError
from handler.storage.deadline import Deadline
from handler.storage.locations import Location
from handler.storage.storage import Storage
from tests.support.cloud import GCS, S3
from tests.support.faults import FaultyProxy, on
from tests.support.terminal import interrupted_at, on_terminal
from tests.support.work import assert_linear, work_of

ROOT = Path(__file__).resolve().parents[3]
TABLE = b"age,new_user,total_pages_visited\n" + b"45,0,5\n25,1,29\n" * 50


@pytest.fixture
def cloud(request: pytest.FixtureRequest, bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> S3 | GCS:
    server = cast("S3 | GCS", request.getfixturevalue(getattr(request, "param", "s3")))
    for name, value in {**server.env, "MODEL_DIR": str(bundle_dir)}.items():
        monkeypatch.setenv(name, value)
    return server


@pytest.fixture
def folder(bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 1,000 small tables, named ``old`` in the working directory."""
    monkeypatch.setenv("MODEL_DIR", str(bundle_dir))
    monkeypatch.chdir(tmp_path)
    old = tmp_path / "old"
    old.mkdir()
    for number in range(1000):
        (old / f"{number:04}.csv").write_bytes(TABLE)
    return old


def totals(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document["totals"]


# Prefixes.


@pytest.mark.parametrize(("cloud", "scheme"), [("s3", "s3"), ("gcs", "gs")], indirect=["cloud"])
def test_a_prefix_gives_every_table_below_it_and_no_output(
    cloud: S3 | GCS, scheme: str, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = cloud.bucket()
    tables = ["in/a.csv", "in/b/c.TSV.gz", "in/b/d/e é.tsv", "in/z.csv"]
    for key in (*tables, "in/notes.txt", "other/x.csv"):
        cloud.put(bucket, key, TABLE)
    for key in ("in/", "in/b/", "in/empty.csv"):
        cloud.put(bucket, key, b"")
    prefix = f"{scheme}://{bucket}/in/"
    assert main(["score", prefix, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [each["input"]["uri"] for each in document["files"]] == [
        f"{scheme}://{bucket}/{key}" for key in tables
    ]
    assert document["totals"]["scored"] == 4
    assert cloud.get(bucket, "in/b/scored/c.TSV.gz/summary.json")
    # What was written beside the inputs is not scored, nor is what lies below an output.
    for output in ([], ["--output", f"{scheme}://{bucket}/in/out"]):
        for done in ("skipped",) if not output else ("scored", "skipped"):
            assert main(["score", prefix, "--json", *output]) == 0
            assert totals(capsys)[done] == 4
    assert main(["score", f"{scheme}://{bucket}", "--quiet"]) == 0
    line = "5 files: 1 scored, 4 skipped, 0 refused; 100 rows, 100 scored, 0 rejected\n"
    assert capsys.readouterr().out == line


def test_inputs_that_are_named_twice_are_scored_once(
    cloud: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = cloud.bucket()
    for key in ("in/a.csv", "in/b/c.csv", "d.csv"):
        cloud.put(bucket, key, TABLE)
    (tmp_path / "e.csv").write_bytes(TABLE)
    words = [f"s3://{bucket}/{each}" for each in ("in/b/c.csv", "in/b/", "in/", "d.csv")]
    here = [str(tmp_path), f"{tmp_path}/", f"{tmp_path}/e.csv"]
    assert main(["score", *words, *here, "--json", "--output", f"s3://{bucket}/out"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [each["input"]["uri"].rpartition("/")[2] for each in document["files"]] == [
        "c.csv", "a.csv", "d.csv", "e.csv",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["s3://{}/nothing/"], "there is no table below s3://{}/nothing/: no name ends in .csv"),
        (["s3://{}/in"], "there is no object s3://{}/in, or no such bucket; a prefix ends in a slash: s3://{}/in/"),
        (["s3://no-such-bucket/"], "there is no such bucket"),
        (["s3://"], "s3:// names no bucket"),
        (["s3://{}/in/", "s3://{}/in/absent.csv"], "there is no object s3://{}/in/absent.csv"),
    ],
)  # fmt: skip
def test_what_a_prefix_does_not_hold_is_known_before_anything_is_scored(
    words: Sequence[str], what: str, cloud: S3, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = cloud.bucket()
    cloud.put(bucket, "in/a.csv", TABLE)
    assert main(["score", *(word.format(bucket) for word in words)]) == 2
    captured = capsys.readouterr()
    assert what.replace("{}", bucket) in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert cloud.keys(bucket) == ["in/a.csv"]


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("in/", "in/", True),
        ("in/", "in/x.csv", True),
        ("in/x.csv", "in/", True),
        ("", "in/x.csv", True),
        ("in/", "in/deeper/", True),
        ("in/x.csv", "in/x.csv", True),
        ("in/", "into/x.csv", False),
        ("in/", "other/", False),
        ("in/x.csv", "in/y.csv", False),
    ],
)
def test_inputs_of_two_buckets_that_may_share_a_folder_are_refused(
    one: str, other: str, shared: bool, cloud: S3, capsys: pytest.CaptureFixture[str]
) -> None:
    buckets = cloud.bucket(), cloud.bucket()
    for bucket, key in itertools.product(
        buckets, ("in/x.csv", "in/y.csv", "in/deeper/x.csv", "into/x.csv", "other/x.csv")
    ):
        cloud.put(bucket, key, TABLE)
    words = [f"s3://{bucket}/{key}" for bucket, key in zip(buckets, (one, other), strict=True)]
    assert main(["score", *words, "--output", f"s3://{buckets[0]}/out"]) == (2 if shared else 0)
    error = capsys.readouterr().err
    assert all(word in error for word in words) == shared
    # Where INPUT_URI has both buckets, their names stand before the keys.
    if shared:
        os.environ["INPUT_URI"] = " ".join(f"s3://{bucket}" for bucket in buckets)
        try:
            assert main(["score", *words, "--output", f"s3://{buckets[0]}/out"]) == 0
        finally:
            del os.environ["INPUT_URI"]


# One that fails.


@pytest.mark.parametrize(
    ("status", "why"),
    [(403, "access was refused"), pytest.param(404, "there is no object", marks=pytest.mark.slow)],
)
def test_one_object_that_cannot_be_read_stops_no_other(
    status: int, why: str, cloud: S3, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket = cloud.bucket()
    for number in range(20):
        cloud.put(bucket, f"in/{number:02}.csv", TABLE)
    with FaultyProxy(cloud.url) as proxy:
        proxy.fail(status=status, lasting="ever", when=lambda call: call.target.endswith("/in/07.csv"))
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        assert main(["score", f"s3://{bucket}/in/", "--output", f"s3://{bucket}/out", "--json"]) == 1
        captured = capsys.readouterr()
        assert why in captured.err
        assert captured.err.count(f"s3://{bucket}/in/07.csv") == captured.err.count("\n") == 1
        document = json.loads(captured.out)
        assert document["totals"] == {
            "files": 20, "scored": 19, "skipped": 0, "refused": 0, "failed": 1,
            "rows": {"read": 1900, "scored": 1900, "rejected": 0},
        }  # fmt: skip
        assert why in document["files"][7]["failed"]
        proxy.clear()
        assert main(["score", f"s3://{bucket}/in/", "--output", f"s3://{bucket}/out", "--quiet"]) == 0
    assert capsys.readouterr().out.startswith("20 files: 1 scored, 19 skipped, 0 refused; 100 rows")


def test_many_files_that_fail_are_counted_and_the_first_are_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(folder / f"{number:04}.csv") for number in range(50)]
    out = folder.parent / "out"
    out.mkdir()
    for number in range(10, 35):
        (out / f"{number:04}.csv").write_text("a file in the place of the folder of outputs")
    assert main(["score", *words, "--output", str(out), "--quiet"]) == 1
    captured = capsys.readouterr()
    lines = captured.err.splitlines()
    assert captured.out == (
        "50 files: 25 scored, 0 skipped, 0 refused, 25 failed; 2,500 rows, 2,500 scored, 0 rejected\n"
    )
    assert len(lines) == FAULTS + 1
    assert all(re.match(r"error: .*/00\d\d\.csv: storage failed at ", line) for line in lines[:-1])
    assert lines[-1] == "error: 5 more files could not be read or written"


# Stopped in the middle, and finished by the same command.


def finished(words: Sequence[str], done: int, all: int, **env: str) -> None:
    """The same command scores the rest: ``done`` of ``all`` files were, at least."""
    again = subprocess.run(
        [sys.executable, "-m", "handler", *words, "--quiet"],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (again.returncode, again.stderr) == (0, "")
    line = re.match(r"([\d,]+) files: (\d+) scored, (\d+) skipped, 0 refused", again.stdout)
    assert line is not None
    files, scored, skipped = (int(each.replace(",", "")) for each in line.groups())
    assert (files, scored + skipped) == (all, all)
    assert skipped >= done > 0
    assert scored > 0


@pytest.mark.slow
def test_a_thousand_old_files_are_stopped_and_finished(folder: Path) -> None:
    words = ["score", "old", "--output", "out"]
    code, error = interrupted_at("old/0100.csv: ", ["-m", "handler", *words], folder.parent)
    assert code == 130
    stopped = re.fullmatch(
        r"interrupted: (\d+) of 1,000 files are done, and the uploads of the others were withdrawn; "
        r"the same command scores the rest\n",
        error,
    )
    assert stopped is not None
    out = folder.parent / "out"
    assert not list(out.rglob(".*"))
    finished(words, int(stopped[1]), 1000)
    assert len(list(out.rglob(SUMMARY))) == 1000
    assert len({path.read_bytes() for path in out.rglob("predictions.csv")}) == 1


@pytest.mark.slow
def test_a_prefix_is_stopped_and_finished(cloud: S3) -> None:
    bucket = cloud.bucket()
    for number in range(100):
        cloud.put(bucket, f"in/{number:03}.csv", TABLE)
    words = ["score", f"s3://{bucket}/in/", "--output", f"s3://{bucket}/out"]
    held = on("PUT", "out/in/050.csv/predictions.csv")
    with FaultyProxy(cloud.url) as proxy, proxy.pause(when=held) as pause:
        process = subprocess.Popen(
            [sys.executable, "-m", "handler", *words],
            cwd=ROOT,
            env={**os.environ, **cloud.at(proxy.url).env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            pause.wait()
            process.send_signal(signal.SIGTERM)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 143
    stopped = re.match(r"stopped: (\d+) of (more than )?\d+ files are done, and the uploads of", error)
    assert stopped is not None
    assert cloud.pending(bucket) == []
    finished(words, int(stopped[1]), 100)


# Side by side.


@pytest.mark.slow
def test_the_bar_is_over_all_files(folder: Path) -> None:
    code, drawn = on_terminal(["-m", "handler", "score", "old", "--output", "out"], folder.parent)
    assert code == 0
    assert re.search(r"\d+ of 1,000 files, [\d,]+ rows, 0 rejected", drawn)
    assert drawn.splitlines()[-1].endswith(
        "1,000 files: 1,000 scored, 0 skipped, 0 refused; 100,000 rows, 100,000 scored, 0 rejected"
    )


class Listed(list[Input]):
    """Inputs that are known at once."""

    are_listed = False


class Counting:
    """A batch that scores nothing, and counts how many inputs are under way."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.lock = threading.Lock()

    def score(self, *_: object) -> Scored:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.01)
        with self.lock:
            self.now -= 1
        return Scored(skipped="it is a test")


@pytest.mark.parametrize(
    ("name", "size", "most"),
    [
        ("s3://bucket/{}.csv", 1, AT_ONCE),
        ("s3://bucket/{}.csv", ROOM // 8, 8),
        ("s3://bucket/{}.csv.gz", ROOM // 80, 8),
        ("s3://bucket/{}.csv", 100 * ROOM, 2),
        ("/data/{}.csv", 1, 4),
        ("/data/{}.csv", 100 * ROOM, 2),
    ],
)
def test_as_many_files_are_under_way_as_fit_into_memory(name: str, size: int, most: int) -> None:
    batch = Counting()
    named = [Location.parse(name.format(number)) for number in range(2 * AT_ONCE)]
    inputs = Listed(Input(str(each), each, size, each.child("out")) for each in named)
    together = Together(Bar(), Count(cast("Inputs", inputs)))
    outcomes = list(score(inputs, batch.score, Deadline(), together))
    assert sorted(outcome.number for outcome in outcomes) == list(range(len(inputs)))
    assert 1 < batch.most <= most


@pytest.mark.slow
def test_a_thousand_arguments_are_no_thousand_times_the_work(folder: Path) -> None:
    output = Location.parse("out")
    names = [f"old/{number:04}.csv" for number in range(800)]

    def inputs(count: int) -> None:
        Inputs(names[:count], output, (), Storage(), Deadline())

    inputs(800)
    assert_linear([work_of(lambda count=count: inputs(count)) for count in (100, 200, 400, 800)])  # type: ignore[misc]
    shutil.copytree(folder, folder.parent / "young")
    with pytest.raises(FunctionError, match=re.escape("old/0001.csv and young/0001.csv would both")):
        Inputs(["old/0000.csv", "old/0001.csv", "young/0001.csv"], output, (), Storage(), Deadline())


def test_documents_are_in_the_order_of_the_inputs(tmp_path: Path) -> None:
    with (tmp_path / "spool").open("w+b") as file:
        spool = Spool(file)
        for number in (3, 0, 4, 1, 2):
            spool.put(number, f"é{number}" * (number + 1))
        assert list(spool) == [f"é{number}" * (number + 1) for number in range(5)]
