"""The folders that serve on Lambda, the zip's and the image's, and what they answer without libraries."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import lambdas

ROOT = Path(__file__).resolve().parents[2]
#: Answers a list of events out of a folder that stands for /var/task, without site-packages.
ANSWER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from handler.app import lambda_handler
answers = []
for event in json.load(sys.stdin):
    try:
        answers.append(lambda_handler(event, None))
    except Exception as error:
        answers.append({"errorType": type(error).__name__, "errorMessage": str(error)})
print(json.dumps(answers))
"""


def build(bundle: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What ``make zip`` runs, below ``folder``."""
    return subprocess.run(
        [sys.executable, "-m", "containers.request_zip", str(bundle), *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def unpacked(bundle: Path, folder: Path) -> Path:
    """A folder with what Lambda makes of the zip."""
    done = build(bundle, folder)
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "build").glob("*.zip")
    with zipfile.ZipFile(path) as packed:
        packed.extractall(folder / "task")
    return folder / "task"


def answers(task: Path, events: Sequence[object], **env: str) -> list[Any]:
    """What the function answers to events."""
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", ANSWER, str(task)],
        cwd=task,
        env={"LOG_LEVEL": "ERROR", **env},
        input=json.dumps(events),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def image(bundle: Path, folder: Path) -> Path:
    """A folder with the handler as it is in the image, without its libraries."""
    return lambdas.image(bundle, folder / "image")


def event(name: str) -> Any:
    return json.loads((ROOT / "events" / f"{name}.json").read_text())
