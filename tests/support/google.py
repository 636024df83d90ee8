"""Google's metadata server and Cloud Run Admin API, as one real HTTP server.

https://cloud.google.com/compute/docs/metadata/overview
https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs/run
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, NamedTuple, Self

TOKEN = "ya29.a-token-that-nobody-may-see"
JOB = "projects/example-project/locations/europe-west1/jobs/sklearn-function"
EXECUTION = f"{JOB}/executions/sklearn-function-x7b2k"
OPERATION = "projects/example-project/locations/europe-west1/operations/4f7c"
TOKEN_PATH = "/computeMetadata/v1/instance/service-accounts/default/token"
RUN_PATH = f"/v2/{JOB}:run"


class Call(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class Reply(NamedTuple):
    """What a call gets; ``status`` 0 closes the connection instead, and -1 says nothing until the end."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


STARTED = Reply(body=json.dumps({"name": OPERATION, "metadata": {"name": EXECUTION}}).encode())
GIVEN = Reply(body=json.dumps({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}).encode())


class Google:
    """The server. ``replies`` has the next replies of each path, before it answers as Google does."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.calls: list[Call] = []
        self.ended = Event()
        self.replies: dict[str, list[Reply]] = {TOKEN_PATH: [], RUN_PATH: []}
        google = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                call = Call(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                google.calls.append(call)
                reply = google.reply(call)
                if reply.status < 0:
                    google.ended.wait()
                if reply.status <= 0:
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                for name, text in reply.headers:
                    self.send_header(name, text)
                self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_GET = do_POST = answer  # noqa: N815 - the names that the base class looks for

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer((host, 0), Handler)

    def reply(self, call: Call) -> Reply:
        waiting = self.replies.get(call.path)
        if waiting:
            return waiting.pop(0)
        if call.path == TOKEN_PATH:
            return GIVEN if call.headers.get("metadata-flavor") == "Google" else Reply(403)
        if call.path != RUN_PATH or call.method != "POST":
            return Reply(404)
        return STARTED if call.headers.get("authorization") == f"Bearer {TOKEN}" else Reply(401)

    def starts(self) -> list[Any]:
        """The overrides of each call that asked for the job."""
        return [json.loads(call.body)["overrides"] for call in self.calls if call.path == RUN_PATH]

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    @property
    def env(self) -> dict[str, str]:
        """What has a function ask this server."""
        return {
            "GCE_METADATA_HOST": self.address,
            "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN": f"http://{self.address}/",
            "GOOGLE_ALLOW_HTTP": "true",
        }

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()
