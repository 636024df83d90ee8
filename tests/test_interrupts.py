"""Ctrl-C at real processes: one word, code 130 and nothing left behind; and readers that go away."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.serving import free_port
from tests.support.terminal import INTERRUPTED, ROOT, interrupted_at

#: Estimators that work for an hour: in C code, which signals do not reach, and in processes of joblib's.
ENDLESS = """
import hashlib
from joblib import Parallel, delayed
from sklearn.linear_model import LogisticRegression

def work():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)

class InC(LogisticRegression):
    def fit(self, X, y):
        print("now", flush=True)
        work()

class InProcesses(LogisticRegression):
    def fit(self, X, y):
        print("now", flush=True)
        Parallel(2)(delayed(work)() for _ in range(4))

class InThreads(LogisticRegression):
    def fit(self, X, y):
        print("now", flush=True)
        Parallel(2, prefer="threads")(delayed(work)() for _ in range(4))

def in_c(features):
    return InC()

def in_processes(features):
    return InProcesses()

def in_threads(features):
    return InThreads()
"""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text("a,y\n" + "1,0\n2,1\n" * 50)
    (tmp_path / "endless.py").write_text(ENDLESS)
    return tmp_path


TRAIN = ("-m", "training", "--data", "rows.csv", "--target", "y", "--out", "out/model")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "more"),
    [
        ("loading scikit-learn", ()),
        ("exporting to ONNX", ()),
        ("drawing the model report", ()),
        ("now", ("--pipeline", "endless:in_c")),
        ("now", ("--pipeline", "endless:in_threads")),
        ("now", ("--pipeline", "endless:in_processes")),
    ],
)
def test_training_that_is_interrupted_leaves_nothing(
    rows: Path, moment: str, more: tuple[str, ...]
) -> None:
    assert interrupted_at(moment, (*TRAIN, *more), rows) == (130, INTERRUPTED)
    left = {
        path.relative_to(rows).as_posix() for path in rows.rglob("*") if "__pycache__" not in path.parts
    }
    assert left <= {"rows.csv", "endless.py", "out"}


@pytest.mark.slow
def test_packaging_that_is_interrupted_says_so(rows: Path) -> None:
    words = ("-m", "training", "package", "model.pkl", "--sample", "rows.csv", "--trust", "--out", "out")
    assert interrupted_at("loading scikit-learn", words, rows) == (130, INTERRUPTED)


@pytest.mark.slow
def test_a_server_that_is_interrupted_says_so_and_ends(bundle_dir: Path, tmp_path: Path) -> None:
    port = free_port()
    words = ("-m", "handler", "serve", "--model", str(bundle_dir), "--port", str(port))
    # While the server is still to come, and once it has answered.
    for moment in ("stop        Ctrl-C\n", "healthz"):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(ask, f"http://127.0.0.1:{port}/healthz", moment)
            code, error = interrupted_at(moment, words, tmp_path, stream="stderr")
        assert code == 130
        assert INTERRUPTED in error
        assert "Traceback" not in error


def ask(url: str, moment: str) -> None:
    """Make the server log a request, where that is the moment to wait for."""
    for _ in range(600 if moment in url else 0):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return


def test_a_reader_that_goes_away_ends_a_command_without_a_word(bundle_dir: Path, rows: Path) -> None:
    for words in (
        ("-m", "handler", "check", "--model", str(bundle_dir)),
        TRAIN,
    ):
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, *words],
            cwd=rows,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (141, "")
