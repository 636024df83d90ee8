"""The zip of the request function: what it answers with nothing but itself on the path, what is refused.

https://docs.aws.amazon.com/lambda/latest/dg/python-package.html
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from handler.app import App
from handler.scoring.model import Model
from handler.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
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


@pytest.fixture(scope="module")
def task(bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(bundle_dir, tmp_path_factory.mktemp("zip"))


def event(name: str) -> Any:
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


REQUESTS = (
    "alb", "apigateway-v1", "apigateway-v2", "direct", "direct-instances", "function-url", "vpc-lattice-v2",
)  # fmt: skip


def test_requests_are_answered_as_by_the_image(task: Path, bundle_dir: Path) -> None:
    app = App(Model.load(bundle_dir), Settings())
    events = [event(name) for name in REQUESTS]
    assert answers(task, events) == [app.handle(each) for each in events]
