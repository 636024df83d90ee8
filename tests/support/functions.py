"""Lambda for tests: its Invoke API on a port, in front of instances that are real processes.

Each instance runs ``handler.app.lambda_handler`` and takes one event at a time, as on Lambda. An event for
which no instance is free is throttled; an instance may be killed in the middle of its event.

https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[2]
#: Reads an event a line, writes an answer a line; what is printed goes to the log.
INSTANCE = """
import json, os, sys, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
from handler.app import lambda_handler
class Context:
    aws_request_id = "instance"
    def __init__(self): self.end = time.monotonic() + 900
    def get_remaining_time_in_millis(self): return int(1000 * (self.end - time.monotonic()))
for line in sys.stdin:
    try:
        answer = {"answer": lambda_handler(json.loads(line), Context())}
    except Exception as error:
        answer = {"errorType": type(error).__name__, "errorMessage": str(error)}
    print(json.dumps(answer), file=answers, flush=True)
"""


class FunctionFailed(Exception):
    """The function raised, or its instance died."""

    def __init__(self, error: str, message: str) -> None:
        self.error, self.message = error, message
        super().__init__(f"{error}: {message}")


class Throttled(Exception):
    """As many instances as may run are busy."""


#: An event in, its answer out; raises ``FunctionFailed`` or ``Throttled``.
Function = Callable[[Any], Any]


class Running(Protocol):
    """A function that runs in real processes; ``events`` has what they were given, in order."""

    events: list[Any]

    def __call__(self, event: Any) -> Any: ...

    def kill(self, which: Callable[[Any], bool]) -> None:
        """Kill the processes whose event meets ``which``."""
        ...

    def log(self) -> str:
        """The end of what they have printed."""
        ...


class Instances:
    """The function's instances, at most ``most`` at a time; a context manager that ends them."""

    def __init__(self, env: Mapping[str, str], most: int) -> None:
        self.events: list[Any] = []
        self._env, self._most = env, most
        self._idle: list[subprocess.Popen[str]] = []
        self._busy: dict[subprocess.Popen[str], Any] = {}
        self._lock = threading.Lock()
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by __exit__

    def __call__(self, event: Any) -> Any:
        with self._lock:
            if len(self._busy) >= self._most:
                raise Throttled
            instance = self._idle.pop() if self._idle else self._start()
            self._busy[instance] = event
            self.events.append(event)
        assert instance.stdin is not None
        assert instance.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(event), file=instance.stdin, flush=True)
            line = instance.stdout.readline()
        with self._lock:
            del self._busy[instance]
            if line:
                self._idle.append(instance)
        if not line:
            self._end(instance)
            raise FunctionFailed(
                "Runtime.ExitError", "RequestId: 1 Error: Runtime exited with error: signal: killed"
            )
        answer = json.loads(line)
        if "answer" not in answer:
            raise FunctionFailed(answer["errorType"], answer["errorMessage"])
        return answer["answer"]

    def kill(self, which: Callable[[Any], bool]) -> None:
        with self._lock:
            for instance, event in self._busy.items():
                if which(event):
                    instance.kill()

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()[-4000:]

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", INSTANCE],
            cwd=ROOT,
            env={
                **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ},
                **self._env,
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def _end(self, instance: subprocess.Popen[str]) -> None:
        instance.kill()
        instance.communicate()

    def __enter__(self) -> Instances:
        return self

    def __exit__(self, *_: object) -> None:
        for instance in (*self._idle, *self._busy):
            self._end(instance)
        self._log.close()


@contextlib.contextmanager
def invoke_api(function: Function) -> Iterator[str]:
    """Lambda's Invoke API for a function of any name, until the block is left; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            assert self.path.endswith("/invocations"), self.path
            event = json.loads(self.rfile.read(int(self.headers["content-length"])))
            try:
                self._answer(200, function(event))
            except Throttled:
                document = {
                    "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
                    "message": "Rate Exceeded.",
                }
                self._answer(429, document, {"x-amzn-errortype": "TooManyRequestsException"})
            except FunctionFailed as failed:
                document = {"errorMessage": failed.message, "errorType": failed.error, "stackTrace": []}
                self._answer(200, document, {"x-amz-function-error": "Unhandled"})

        def _answer(self, status: int, document: Any, headers: Mapping[str, str] | None = None) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("x-amzn-requestid", "00000000-0000-0000-0000-000000000000")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
