"""SnapStart: the real runtime client on a runtime API of this test, which restores it as Lambda does.

https://docs.aws.amazon.com/lambda/latest/dg/snapstart-runtime-hooks-python.html
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
#: Two processes with one state, as two copies of one snapshot have it.
COPY = """
import random
import numpy.random
from handler import app
random.seed(1)
numpy.random.seed(1)
def lambda_handler(event, context):
    drawn = [random.random(), numpy.random.random()]
    return {"answer": app.lambda_handler(event, context), "drawn": drawn}
"""
EVENT = {"age": 45, "new_user": 0, "total_pages_visited": 5}


class RuntimeApi(ThreadingHTTPServer):
    """One event for one copy: ``asked`` has the paths in order, ``answer`` the reply to the event.

    https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Call)
        self.asked: list[str] = []
        self.answer: Any = None
        self.answered = threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The client's end is no error."""


class _Call(BaseHTTPRequestHandler):
    server: RuntimeApi
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.path.removeprefix("/2018-06-01/runtime/")
        self.server.asked.append(path)
        if path == "invocation/next" and self.server.answered.is_set():
            return  # there is no other event
        headers = {
            "Content-Type": "application/json",  # without it the client crashes
            "Lambda-Runtime-Aws-Request-Id": "first",
            "Lambda-Runtime-Deadline-Ms": str(int(time.time() * 1000) + 30_000),
            "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:123456789012:function:f",
        }
        self._send(200, json.dumps(EVENT).encode() if path == "invocation/next" else b"", headers)

    def do_POST(self) -> None:
        path = self.path.removeprefix("/2018-06-01/runtime/")
        self.server.asked.append(path)
        self.server.answer = json.loads(self._body())
        self._send(202, b"", {})
        self.server.answered.set()

    def _body(self) -> bytes:
        """The client sends its answers in chunks. RFC 9112, section 7.1."""
        if "content-length" in self.headers:
            return self.rfile.read(int(self.headers["content-length"]))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, text in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def runtime_api() -> Iterator[RuntimeApi]:
    server = RuntimeApi()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def restored(bundle: Path, folder: Path) -> tuple[Any, list[str], list[dict[str, Any]]]:
    """The answer of a copy to its first event, what it asked the runtime API for, and its log."""
    (folder / "copy_of_snapshot.py").write_text(COPY)
    with runtime_api() as api:
        process = subprocess.Popen(
            [sys.executable, "-m", "awslambdaric", "copy_of_snapshot.lambda_handler"],
            env={
                **os.environ,
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{api.server_port}",
                "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
                "AWS_LAMBDA_FUNCTION_NAME": "f",
                "LAMBDA_TASK_ROOT": str(folder),
                "MODEL_DIR": str(bundle),
                "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder))),
            },
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        came = api.answered.wait(60)
        process.kill()
        said, _ = process.communicate()
    assert came, said
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return api.answer, api.asked, lines


@pytest.fixture(scope="module")
def copies(bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return [restored(bundle_dir, tmp_path_factory.mktemp("copy")) for _ in range(2)]


def test_a_restored_copy_answers_and_counts_its_own_first_answer(copies: list[Any]) -> None:
    for answer, asked, lines in copies:
        assert asked[:3] == ["restore/next", "invocation/next", "invocation/first/response"]
        assert answer["answer"]["prediction"] in (0, 1)
        requests = [line for line in lines if line["message"] == "request"]
        assert [(line["cold_start"], line["request_id"]) for line in requests] == [(True, "first")]


def test_copies_of_one_snapshot_do_not_share_randomness(copies: list[Any]) -> None:
    (one, *_), (other, *_) = copies
    for drawn in zip(one["drawn"], other["drawn"], strict=True):
        assert len(set(drawn)) == 2


def test_the_image_says_that_it_may_be_restored() -> None:
    label = 'LABEL com.amazonaws.lambda.feature.snapstart="Allow"'
    _, function = (ROOT / "Dockerfile.lambda").read_text().split(" AS function\n")
    assert label in function.splitlines()
