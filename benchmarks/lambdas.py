"""Lambda handlers under the runtime interface emulator itself, without containers.

The clock runs from the first invocation's being sent, when the emulator starts the runtime, to its
answer; megabytes are the runtime process's peak by then (VmHWM).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.answers import RECORD

ROOT = Path(__file__).resolve().parent.parent
INVOKE = "/2015-03-31/functions/function/invocations"
EVENT = {
    "version": "2.0",
    "rawPath": "/predict",
    "headers": {"accept": "*/*"},
    "rawQueryString": "age=45&new_user=0&total_pages_visited=5",
    "requestContext": {
        "http": {"method": "GET", "path": "/predict", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1"}
    },
    "body": json.dumps(RECORD),
    "isBase64Encoded": False,
}
#: Prints the median microseconds of ``lambda_handler``: an event, and how often.
SPEED = """
import json, os, statistics, sys, time
from handler.app import lambda_handler
event = json.loads(sys.argv[1])
count = int(sys.argv[2])
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a reader's wake-up at each line is not the handler's
for _ in range(count // 10):
    lambda_handler(event, None)
seconds = []
for _ in range(count):
    start = time.perf_counter()
    lambda_handler(event, None)
    seconds.append(time.perf_counter() - start)
print(statistics.median(seconds) * 1e6)
"""


@dataclass(frozen=True, slots=True)
class Handler:
    """What the emulator is to start: an entry point in ``folder``, run by ``python``."""

    name: str
    entry: str
    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)
    python: str = sys.executable


@dataclass(frozen=True, slots=True)
class First:
    """The first answer: its seconds, the process's peak megabytes by then, and what it said."""

    seconds: float
    megabytes: float
    answer: Any


def first_answer(handler: Handler, emulator: Path) -> First:
    """Start the emulator anew, and ask once; raises ``RuntimeError`` with the handler's error."""
    port, api = _free_port(), _free_port()
    words = [
        str(emulator),
        f"--runtime-interface-emulator-address=127.0.0.1:{port}",
        f"--runtime-api-address=127.0.0.1:{api}",
        handler.python,
        "-m",
        "awslambdaric",
        handler.entry,
    ]
    env = {**os.environ, "PYTHONPATH": str(handler.folder), "OPENBLAS_NUM_THREADS": "1", **handler.env}
    process = subprocess.Popen(
        words,
        cwd=handler.folder,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(port)
        start = time.perf_counter()
        url = f"http://127.0.0.1:{port}{INVOKE}"
        with urllib.request.urlopen(url, json.dumps(EVENT).encode(), timeout=120) as reply:
            answer = json.loads(reply.read())
        seconds = time.perf_counter() - start
        if isinstance(answer, dict) and "errorMessage" in answer:
            raise RuntimeError(f"{handler.name}: {answer['errorMessage'][:500]}")
        return First(seconds, _peak(process.pid), answer)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def compiled(source: Path, target: Path) -> Path:
    """A copy of Python files with their bytecode, as an image has it."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "model"))
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(target)], check=True)
    return target


def image(bundle: Path, target: Path) -> Path:
    """A folder with what the image of ``bundle`` has of this project, made as the image's is."""
    without = shutil.ignore_patterns("__pycache__", "model")
    shutil.copytree(ROOT / "handler", target / "handler", ignore=without)
    shutil.copytree(bundle, target / "handler" / "model")
    words = ("-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", str(target))
    subprocess.run([sys.executable, *words], check=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "APP": str(target), "PATH": path}
    subprocess.run(["sh", str(ROOT / "containers" / "image.sh"), "start"], env=env, check=True)
    return target


def unpacked(bundle: Path, target: Path) -> Path:
    """A folder with what the zip of ``bundle`` holds, as Lambda unpacks it."""
    target.mkdir()
    command = (sys.executable, "-m", "containers.request_zip", str(bundle))
    env = {**os.environ, "PYTHONPATH": str(ROOT), "SYNTHETIC": "1"}
    subprocess.run(command, cwd=target, env=env, check=True, stdout=subprocess.DEVNULL)
    (path,) = (target / "build").glob("*.zip")
    shutil.unpack_archive(path, target / "task")
    return target / "task"


def _peak(emulator: int) -> float:
    """Peak megabytes of the largest process that the emulator has started."""
    peaks = [0.0]
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            if int(lines["PPid"]) == emulator and "VmHWM" in lines:
                peaks.append(int(lines["VmHWM"].split()[0]) / 1024)
    return max(peaks)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(port: int) -> None:
    for _ in range(1000):
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.01)
    raise RuntimeError("the emulator does not listen")
