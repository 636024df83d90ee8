"""A file far larger than memory may be: scored right, in memory that does not grow with it.

A real upload drives the handler in a process of its own, through a real queue. The gigabyte is for
CI and for those who set SKLEARN_FUNCTION_SLOW=1; else the larger file has a tenth of that.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.support.cloud import S3

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
SLOW = os.environ.get("CI") == "true" or os.environ.get("SKLEARN_FUNCTION_SLOW") == "1"
#: Sizes in bytes: both are many times what is under way at once, so that memory has come to rest.
SMALLER, LARGER = (100_000_000, 1_000_000_000) if SLOW else (40_000_000, 100_000_000)
#: A process that handles the event on its input as Lambda would, and tells its reply and its peak memory.
#: It leaves as the commands do: a thread of the storage's client may abort one that ends Python first.
#: ``ru_maxrss`` may be that of the parent before exec; Linux has the process's own beside it.
HANDLE = """
import json, resource, sys
from handler import interrupts
from handler.app import lambda_handler
reply = lambda_handler(json.load(sys.stdin))
kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.platform == "linux":
    lines = open("/proc/self/status").read().splitlines()
    kilobytes = int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
print(json.dumps({"reply": reply, "kilobytes": kilobytes}))
interrupts.leave(0)
"""
NOTE = "x" * 960


def rows(size: int) -> int:
    return size // 1000


def line(row: int) -> str:
    """A row of some 1,000 bytes; every 10,000th is bad, one way and the other."""
    age = "old" if row % 20_000 == 5000 else str(18 + row % 60)
    more = ",more" if row % 20_000 == 15_000 else ""
    return f"{row:09},{age},{NOTE},{row % 2},{1 + row % 29}{more}\n"


def bad(size: int) -> list[int]:
    return list(range(5000, rows(size), 10_000))


class Lines:
    """The CSV as a file that is made while it is read."""

    def __init__(self, size: int) -> None:
        self._header = iter(["id,age,note,new_user,total_pages_visited\n"])
        self._rows = iter(range(rows(size)))
        self._rest = b""

    def read(self, count: int = -1) -> bytes:
        while len(self._rest) < count:
            batch = [line(row) for _, row in zip(range(1000), self._rows, strict=False)]
            block = "".join([*self._header, *batch]).encode()
            if not block:
                break
            self._rest += block
        data, self._rest = self._rest[:count], self._rest[count:]
        return data


@dataclass(frozen=True)
class Run:
    """What one upload came to; memory in kilobytes."""

    summary: Any
    peak: int
    predictions: str
    rejected: str


def scored(s3: S3, model_dir: Path, size: int) -> Run:
    """Upload a file of about ``size`` bytes, handle what its queue holds, and give what was written."""
    bucket, client = s3.bucket(), s3.client("s3")
    queue = s3.bucket_to_sqs(bucket)
    s3.settle(queue, s3.lambda_event(queue))  # s3:TestEvent
    client.upload_fileobj(Lines(size), bucket, "incoming/big.csv")
    event = s3.lambda_event(queue)
    done = subprocess.run(
        [sys.executable, "-c", HANDLE],
        cwd=ROOT,
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
            **s3.env,
            "MODEL_DIR": str(model_dir),
            "OUTPUT_URI": f"s3://{bucket}/scored",
            "WORKERS": "2",
        },
        input=json.dumps(event),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    assert told["reply"] == {"batchItemFailures": []}
    assert s3.pending(bucket) == []
    folder = "scored/incoming/big.csv"
    names = ("predictions.csv", "rejected.csv", "summary.json")
    assert s3.keys(bucket, "scored/") == [f"{folder}/{name}" for name in names]
    summary = json.loads(s3.get(bucket, f"{folder}/summary.json"))
    etags = {name: client.head_object(Bucket=bucket, Key=f"{folder}/{name}")["ETag"] for name in names[:2]}
    assert summary["outputs"] == etags
    found = Run(
        summary,
        told["kilobytes"],
        checked(client.get_object(Bucket=bucket, Key=f"{folder}/predictions.csv")["Body"], size),
        s3.get(bucket, f"{folder}/rejected.csv").decode(),
    )
    for key in s3.keys(bucket):
        s3.delete(bucket, key)  # the server holds it in memory
    return found


def checked(body: BinaryIO, size: int) -> str:
    """Compare the streamed predictions with the input, row by row; gives the last line."""
    refused, left = set(bad(size)), hashlib.sha256()
    expected = hashlib.sha256()
    stream = iter(body.iter_lines(1 << 20))  # type: ignore[attr-defined]
    assert next(stream) == b"id,age,note,new_user,total_pages_visited,prediction,probability"
    last, count = b"", 0
    for last in stream:
        row, prediction, probability = last.rsplit(b",", 2)
        assert (prediction == b"1") == (float(probability) >= 0.5)
        left.update(row + b"\n")
        count += 1
    for number in range(rows(size)):
        if number not in refused:
            expected.update(line(number).encode())
    assert (count, left.digest()) == (rows(size) - len(refused), expected.digest())
    return last.decode()


def test_memory_does_not_grow_with_the_file(s3: S3, bundle_dir: Path) -> None:
    runs = {size: scored(s3, bundle_dir, size) for size in (SMALLER, LARGER)}
    for size, run in runs.items():
        refused = len(bad(size))
        assert run.summary["rows"] == {
            "read": rows(size),
            "scored": rows(size) - refused,
            "rejected": refused,
        }
        assert run.predictions.startswith(f"{rows(size) - 1:09},")
        first, *_ = lines = run.rejected.splitlines()[1:]
        assert first.startswith("5002,age,not_a_number,")
        assert len(lines) == refused
        assert sum(run.summary["predictions"].values()) == rows(size) - refused
        print(f"{size / 1e6:,.0f} MB: peak {run.peak / 1024:,.0f} MiB, {run.summary['seconds']} s")
    assert runs[LARGER].peak <= 1.1 * runs[SMALLER].peak


# The progress bar.


@pytest.fixture
def customers(tmp_path: Path) -> Path:
    """Enough blocks for the bar to be drawn before the end."""
    file = tmp_path / "big.csv"
    with file.open("wb") as sink:
        source = Lines(40_000_000)
        while block := source.read(1 << 22):
            sink.write(block)
    return file


def command(file: Path, model_dir: Path) -> dict[str, Any]:
    return {
        "args": [sys.executable, "-m", "handler", "score", str(file)],
        "cwd": ROOT,
        "env": {**os.environ, "MODEL_DIR": str(model_dir), "TERM": "xterm", "WORKERS": "1"},
    }


def test_a_terminal_sees_rows_rate_rejects_and_time_left(customers: Path, bundle_dir: Path) -> None:
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    with subprocess.Popen(
        **command(customers, bundle_dir), stdout=subprocess.PIPE, stderr=end, text=True
    ) as process:
        os.close(end)
        shown = b""
        with suppress(OSError):  # how Linux tells that the other end was closed
            while block := os.read(terminal, 1 << 16):
                shown += block
        os.close(terminal)
        assert process.stdout is not None
        told = process.stdout.read()
    assert process.returncode == 0
    assert told.startswith(f"{customers}: 40,000 rows, 39,996 scored, 4 rejected in ")
    states = shown.decode().split("\r")
    drawn = [state for state in states if "rows" in state]
    assert drawn, states
    bar = re.compile(r"(\d+)%\|.*\[\d\d:\d\d<(?:\d\d:\d\d|\?), .*B/s, [\d,]+ rows, \d rejected\]")
    matches = [bar.search(state) for state in drawn]
    assert all(matches), drawn
    percents = [int(match[1]) for match in matches if match]
    assert percents == sorted(percents)
    assert not states[-1].strip("\x1b[AK \r\n")  # it is gone at the end


def test_nothing_of_it_is_seen_where_stderr_is_no_terminal(customers: Path, bundle_dir: Path) -> None:
    done = subprocess.run(
        **command(customers, bundle_dir), stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == b""
    assert done.stdout.count(b"\n") == 1
