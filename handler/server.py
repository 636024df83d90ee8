"""functions-framework's server, made safe from slow clients: what Cloud Run's image and ``serve`` start.

functions-framework serves with gunicorn's threads, each of which waits for its client without a limit: as
many slow clients as there are threads stop the server. Here a connection takes a thread once it has sent
something, a request must come within ``READ_TIMEOUT_SECONDS`` (and a second for each ``SLOWEST`` bytes of
it), and ``THREADS`` requests that have come whole are answered at a time.
"""

from __future__ import annotations

import signal

from handler import interrupts

interrupts.catch()  # before the imports, which take a while
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # ``serve`` blocks it

import contextlib
import io
import os
import selectors
import struct
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http import HTTPStatus
from pathlib import Path
from socket import SO_SNDTIMEO, SOL_SOCKET
from typing import Any

from functions_framework import create_app
from functions_framework._http import create_server
from gunicorn.http.errors import LimitRequestLine, NoMoreData
from gunicorn.http.unreader import SocketUnreader
from gunicorn.workers.gthread import ThreadWorker

from handler import terminal
from handler.errors import RequestTooSlow, ServerBusy
from handler.settings import Settings, port_of
from handler.web.messages import problem

#: Bytes per second that a client must send on average, once its first seconds are over.
SLOWEST = 8 * 1024
#: Bytes of a request line with its headers: room for a query of some thousand features.
LONGEST_HEAD = 256 * 1024
#: Threads that may wait for requests to come, beside those that answer.
READERS = 128
#: Seconds for which a client may take nothing of its answer.
SEND_SECONDS = 30


class Unreader(SocketUnreader):  # type: ignore[misc]
    """Reads a connection's bytes, as long as the request has time left.

    Raises ``NoMoreData`` if a head takes too long, which closes the connection, and ``TimeoutError`` if a
    body does.
    """

    def __init__(self, sock: Any, seconds: float) -> None:
        super().__init__(sock)
        self._seconds = seconds
        self.begin(head=True)

    def begin(self, head: bool) -> None:
        """A head, or its body, begins to come now."""
        self._head, self._read, self._start = head, 0, time.monotonic()

    def chunk(self, size_hint: int | None = None) -> bytes:
        """The next bytes that come."""
        if self._head and self._read > LONGEST_HEAD:
            raise LimitRequestLine(self._read, LONGEST_HEAD)
        late = NoMoreData if self._head else TimeoutError
        left = self._start + self._seconds + self._read / SLOWEST - time.monotonic()
        if left <= 0:
            raise late
        self.sock.settimeout(left)
        try:
            data: bytes = super().chunk(size_hint)
        except TimeoutError:
            raise late from None
        finally:
            self.sock.settimeout(None)
        self._read += len(data)
        return data


class Reception:
    """Takes requests in whole, and lets ``threads`` of them at a time on to the application.

    The bodies that are in memory at once have at most the bytes of ``threads`` of the longest.
    """

    def __init__(self, application: Any, threads: int, settings: Settings) -> None:
        self._application = application
        self._longest = settings.max_body_bytes
        self._patience = settings.read_timeout
        self._turn = threading.BoundedSemaphore(threads)
        self._room = threads * (self._longest + 1)
        self._freed = threading.Condition()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """The WSGI application."""
        announced = int(environ.get("CONTENT_LENGTH") or 0)
        chunked = environ.get("HTTP_TRANSFER_ENCODING")
        most = self._longest + 1 if chunked else announced
        if announced > self._longest:
            most = 0  # its length suffices to refuse it
        with self._freed:
            if not self._freed.wait_for(lambda: most <= self._room, self._patience):
                return _refuse(ServerBusy(), start_response)
            self._room -= most
        try:
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(most) if most else b"")
            with self._turn:
                answer: Iterable[bytes] = self._application(environ, start_response)
                return answer
        except TimeoutError:
            return _refuse(RequestTooSlow(), start_response)
        finally:
            with self._freed:
                self._room += most
                self._freed.notify_all()


def _refuse(error: RequestTooSlow | ServerBusy, start_response: Any) -> Iterable[bytes]:
    answer = problem(error)
    headers = {**answer.headers, "content-length": str(len(answer.body))}
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(headers.items()))
    return [answer.body]


class Worker(ThreadWorker):  # type: ignore[misc]
    """gunicorn's worker with threads, in which no client holds up a thread for long."""

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """A pool with room for those who wait; threads are made as they are needed."""
        return ThreadPoolExecutor(self.cfg.threads + READERS)

    def load_wsgi(self) -> None:
        """Load the application."""
        super().load_wsgi()
        self._settings = Settings.from_env(os.environ)
        self.wsgi: Any = Reception(self.wsgi, self.cfg.threads, self._settings)

    def enqueue_req(self, conn: Any) -> None:
        """Give the connection a thread, once it has sent something; until then the poller watches it."""
        if conn.data_ready:
            super().enqueue_req(conn)
            return
        conn.sock.setblocking(False)
        conn.timeout = time.monotonic() + self._settings.read_timeout
        self.pending_conns.append(conn)
        watch = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, watch)

    def murder_pending(self) -> None:
        """Close the connections that stay silent; all of them when the server stops."""
        if not self.alive:
            for conn in self.pending_conns:
                conn.timeout = 0
        super().murder_pending()

    def handle(self, conn: Any) -> Any:
        """Answer the connection's next request."""
        conn.init()
        if not isinstance(conn.parser.unreader, Unreader):
            conn.parser.unreader = Unreader(conn.sock, self._settings.read_timeout)
            conn.sock.setsockopt(SOL_SOCKET, SO_SNDTIMEO, struct.pack("ll", SEND_SECONDS, 0))
        conn.parser.unreader.begin(head=True)
        return super().handle(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answer a request of which the head has come."""
        conn.parser.unreader.begin(head=False)
        try:
            return super().handle_request(req, conn)
        except BlockingIOError as error:  # the client took nothing of its answer for SEND_SECONDS
            raise NoMoreData from error


def _serve() -> int:
    application = create_app("http", str(Path(__file__).with_name("app.py")))
    server = create_server(application, debug=False, worker_class=Worker)
    host, port = os.environ.get("HOST", "0.0.0.0"), port_of(os.environ.get("PORT") or "8080")
    # gunicorn ends alike for every signal, and so do its workers: Python writes here which ones came.
    master = os.getpid()
    came, written = os.pipe()
    os.set_blocking(came, False)
    os.set_blocking(written, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)
    try:
        server.run(host, port)
    except SystemExit as end:
        with contextlib.suppress(BlockingIOError):
            if os.getpid() == master and signal.SIGINT in os.read(came, 65536):
                interrupts.say()
                return 130
        return int(end.code or 0)
    return 0


def main() -> int:
    """Serve on ``HOST`` and ``PORT``, as functions-framework does; returns the exit code."""
    return terminal.guarded(_serve)


if __name__ == "__main__":
    interrupts.leave(main())
