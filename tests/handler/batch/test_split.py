"""``score --parts`` as a real command: in processes, with one bar, stopped, and gone on with."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.once import once
from tests.support.quoted import quoted_file
from tests.support.tables import header_of
from tests.support.terminal import ROOT, drawn_by, on_terminal

pytestmark = pytest.mark.slow

#: Bytes that are scored row by row, as cells hold line ends and quotes: a part takes a third of a second.
SIZE, PARTS = 8_000_000, 8


@pytest.fixture(scope="session")
def in_one_piece(bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``big.csv``, and what scoring it in one piece writes in ``whole``."""

    def make(folder: Path) -> None:
        big = quoted_file(folder / "big.csv", SIZE, SIZE // PARTS)
        words = command("score", big, "--output", folder / "whole", "--model", bundle_dir)
        subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)

    return once(tmp_path_factory, "in_one_piece", make)


@pytest.fixture
def big(in_one_piece: Path, tmp_path: Path, bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MODEL_DIR", str(bundle_dir))
    (tmp_path / "whole").symlink_to(in_one_piece / "whole")
    return shutil.copyfile(in_one_piece / "big.csv", tmp_path / "big.csv")


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "handler", *map(str, words)]


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=ROOT, capture_output=True, text=True, check=False)


def parts_of(big: Path) -> Path:
    return big.parent / "scored" / "big.csv"


def assert_as_in_one_piece(big: Path) -> None:
    out = parts_of(big)
    whole = big.parent / "whole" / "big.csv"
    tables = [each.read_bytes() for each in sorted((out / "predictions").iterdir())]
    assert len(tables) == PARTS
    head = header_of(tables[0][:1000].rpartition(b"\n")[0] + b"\n")
    assert (
        head + b"".join(each.removeprefix(head) for each in tables)
        == (whole / "predictions.csv").read_bytes()
    )
    assert (out / "rejected.csv").read_bytes() == (whole / "rejected.csv").read_bytes()
    summary, unsplit = (json.loads((each / "summary.json").read_text()) for each in (out, whole))
    assert summary["split"] == "planned"
    assert {name: summary[name] for name in ("rows", "rejects", "predictions")} == {
        name: unsplit[name] for name in ("rows", "rejects", "predictions")
    }
    assert [
        each for each in out.rglob("*") if each.name.startswith(".")
    ] == []  # an upload that stays behind


def done(big: Path) -> dict[str, int]:
    """The parts that are done, and when they were."""
    return {each.name: each.stat().st_mtime_ns for each in (parts_of(big) / "parts").glob("*.json")}


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that score parts, as Linux lists them."""
    threads = Path(f"/proc/{process.pid}/task").glob("*/children")
    listed = [pid for each in threads for pid in each.read_text().split()]
    return [int(pid) for pid in listed if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def started(big: Path) -> subprocess.Popen[str]:
    """The command, once a part is done."""
    process = subprocess.Popen(
        command("score", big, "--parts", PARTS),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "WORKERS": "2"},
    )
    while not done(big):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return process


def assert_goes_on(big: Path) -> None:
    before = done(big)
    assert 0 < len(before) < PARTS
    again = run("score", big, "--parts", PARTS)
    assert (again.returncode, again.stderr) == (0, "")
    assert {name: done(big)[name] for name in before} == before  # they were skipped
    assert_as_in_one_piece(big)


def test_one_bar_the_same_bytes_and_a_second_run_that_skips(big: Path) -> None:
    code, drawn = on_terminal(["-m", "handler", "score", str(big), "--parts", str(PARTS)], ROOT)
    assert code == 0, drawn
    states = [state for state in drawn.split("\r") if "rows" in state and "%|" in state]
    matches = [re.search(r"(\d+)%\|.*, ([\d,]+) rows, \d+ rejected\]", state) for state in states]
    assert all(matches), states
    percents = [int(match[1]) for match in matches if match]
    counts = [int(match[2].replace(",", "")) for match in matches if match]
    assert percents == sorted(percents)
    assert counts == sorted(counts)
    assert re.search(rf"big.csv: [\d,]+ rows, .* in {PARTS} parts; see ", drawn)
    again = run("score", big, "--parts", PARTS, "--json")
    document: Any = json.loads(again.stdout)
    assert document["totals"]["skipped"] == 1
    assert "has scored it already" in document["files"][0]["skipped"]
    assert_as_in_one_piece(big)


def test_json_is_the_summary(big: Path) -> None:
    result = run("score", big, "--parts", PARTS, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    (document,) = json.loads(result.stdout)["files"]
    summary = json.loads((parts_of(big) / "summary.json").read_text())
    assert document == {**summary, "output": str(parts_of(big))}
    assert [part["index"] for part in document["parts"]] == list(range(PARTS))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_and_the_same_command_goes_on(number: int, code: int, big: Path) -> None:
    process = started(big)
    scoring = children(process)
    assert scoring
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == code, error
    assert len(error.splitlines()) == 1
    assert "is not scored; its uploads were withdrawn" in error
    assert [pid for pid in scoring if Path(f"/proc/{pid}").exists() and not zombie(pid)] == []
    assert list(parts_of(big).rglob(".*")) == []
    assert_goes_on(big)


def zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_ctrl_c_at_a_terminal(big: Path) -> None:
    code, drawn = drawn_by(command("score", big, "--parts", PARTS), ROOT, moment="rows,")
    assert code == 130, drawn
    assert drawn.count("interrupted") == 1
    assert "Traceback" not in drawn
    assert run("score", big, "--parts", PARTS).returncode == 0
    assert_as_in_one_piece(big)


def test_a_process_that_is_killed_is_said_in_one_line(big: Path) -> None:
    process = started(big)
    os.kill(children(process)[0], signal.SIGKILL)
    out, error = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert len(error.splitlines()) == 1, error
    assert "was killed, perhaps for its memory" in error
    for left in parts_of(big).rglob(".*"):  # a process that is killed cannot withdraw its local files
        left.unlink()
    assert_goes_on(big)


@pytest.mark.parametrize("size", [["--parts", 7], ["--part-bytes", 1_200_000]])
def test_plan_prints_parts_from_the_start_to_the_end(size: list[object], big: Path) -> None:
    result = run("plan", big, *size)
    assert (result.returncode, result.stderr) == (0, "")
    items = json.loads(result.stdout)
    assert {(each["input"], each["output"]) for each in items} == {(str(big), str(big.parent / "scored"))}
    parts = [each["part"] for each in items]
    assert len(parts) == 7
    assert [part["start"] for part in parts] == [0, *(part["end"] for part in parts[:-1])]
    assert parts[-1]["end"] == big.stat().st_size


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score", "x.csv", "--parts", "0"], "--parts: must be a whole number from 1 to 10,000"),
        (["score", "x.csv", "--parts", "x"], "--parts: must be a whole number from 1 to 10,000"),
        (["plan", "x.csv"], "one of the arguments --parts --part-bytes is required"),
        (["plan", "no-such.csv", "--parts", "3"], "there is no file "),
    ],
)
def test_a_mistake_is_one_line(words: list[str], message: str, bundle_dir: Path) -> None:
    result = run(*words, "--model", bundle_dir)
    assert (result.returncode, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
