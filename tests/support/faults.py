"""A proxy that breaks on demand: it stands between a client and a storage, and counts what passes."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self, TypeVar
from urllib.parse import unquote, urlsplit

#: Seconds after which a test has surely gone wrong, rather than is slow.
PATIENCE = 60


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request: the target as it was sent, percent signs and all; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)


When = Callable[[Call], bool]
Mode = Literal["status", "drop", "reset", "late", "cut"]
Lasting = Literal["once", "call", "ever"]


def anything(_: Call) -> bool:
    return True


def on(method: str = "", text: str = "") -> When:
    """Calls with this method, and this text in their decoded target."""
    return lambda call: method in ("", call.method) and text in unquote(call.target)


class _Nth:
    """Which calls are meant: the ``n``-th that meets ``when``, and those that ``lasting`` adds."""

    def __init__(self, n: int, lasting: Lasting, when: When) -> None:
        self.n, self.lasting, self.when = n, lasting, when
        self.seen = 0
        self.first: tuple[str, str] | None = None

    def meets(self, call: Call) -> bool:
        if not self.when(call):
            return False
        self.seen += 1
        if self.seen == self.n:
            self.first = (call.method, call.target)
            return True
        if self.lasting == "call":
            return self.first == (call.method, call.target)
        return self.lasting == "ever" and self.seen > self.n


class Fault(_Nth):
    """A way to fail. ``reached`` is set once it has happened."""

    def __init__(self, n: int, mode: Mode, status: int, lasting: Lasting, when: When) -> None:
        super().__init__(n, lasting, when)
        self.mode, self.status = mode, status
        self.reached = threading.Event()


class Pause(_Nth):
    """A call held, before it reaches the server or, with ``after``, before its answer is passed on.

    As a context manager it releases the call at the end of the block.
    """

    def __init__(self, n: int, after: bool, when: When) -> None:
        super().__init__(n, "once", when)
        self.after = after
        self.reached = threading.Event()
        self.released = threading.Event()

    def wait(self) -> None:
        """Until a call is held."""
        assert self.reached.wait(PATIENCE), "no such call came"

    def release(self) -> None:
        self.released.set()

    def hold(self) -> None:
        self.reached.set()
        self.released.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


RuleT = TypeVar("RuleT", Fault, Pause)


class FaultyProxy:
    """An HTTP proxy before ``upstream`` that notes every call, and fails or holds those it is told to.

    A context manager: leaving the block closes every connection. Each rule counts the calls that its
    ``when`` is true of, from 1 and from the moment when it was added.
    """

    def __init__(self, upstream: str, host: str = "127.0.0.1") -> None:
        self.upstream = urlsplit(upstream).netloc
        self.calls: list[Call] = []
        self._rules: list[Fault | Pause] = []
        self._lock = threading.Lock()
        self._server = _ProxyServer(self, host)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://{host}:{self._server.server_port}"

    def fail(
        self,
        n: int = 1,
        mode: Mode = "status",
        *,
        status: int = 503,
        lasting: Lasting = "once",
        when: When = anything,
    ) -> Fault:
        """Fail the ``n``-th call.

        Modes: ``status`` answers with ``status`` and does nothing else; ``drop`` closes the connection and
        does nothing else; ``reset`` resets it; ``late`` lets the server act, then closes the connection;
        ``cut`` passes on half of the answer's body. Lasting: ``once``; ``call``: and every repetition of
        that method and target, so that no retry succeeds, while other calls, such as those that clean up,
        do; ``ever``: and every call after.
        """
        return self._add(Fault(n, mode, status, lasting, when))

    def pause(self, n: int = 1, *, after: bool = False, when: When = anything) -> Pause:
        """Hold the ``n``-th call until it is released."""
        return self._add(Pause(n, after, when))

    def clear(self) -> None:
        """Forget all rules, let go of what is held, and count calls anew."""
        with self._lock:
            for rule in self._rules:
                if isinstance(rule, Pause):
                    rule.release()
            self._rules.clear()
            self.calls.clear()

    def _add(self, rule: RuleT) -> RuleT:
        with self._lock:
            self._rules.append(rule)
        return rule

    def met(self, call: Call) -> tuple[Fault | None, list[Pause]]:
        """Note the call; the fault and the pauses that are meant for it."""
        with self._lock:
            self.calls.append(call)
            rules = [rule for rule in self._rules if rule.meets(call)]
        faults = [rule for rule in rules if isinstance(rule, Fault)]
        return (faults[0] if faults else None), [rule for rule in rules if isinstance(rule, Pause)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()


class _ProxyServer(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, proxy: FaultyProxy, host: str) -> None:
        self.proxy = proxy
        self.connections: set[socket.socket] = set()
        super().__init__((host, 0), _ProxyHandler)

    def close_connections(self) -> None:
        for connection in tuple(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients and servers may go away; anything else is a fault of the proxy's own."""
        if not isinstance(sys.exception(), OSError | http.client.HTTPException):
            super().handle_error(request, client_address)


class _ProxyHandler(BaseHTTPRequestHandler):
    """One call a connection. The base class answers ``Expect: 100-continue``, so it is not passed on."""

    server: _ProxyServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = PATIENCE
    HOP = frozenset(("connection", "expect", "keep-alive", "proxy-connection", "te", "transfer-encoding"))

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def forward(self) -> None:
        self.close_connection = True
        target = self.requestline.split()[1]  # ``self.path`` is not always as it was sent
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault, pauses = self.server.proxy.met(Call(self.command, target, headers))
        for pause in pauses:
            if not pause.after:
                pause.hold()
        mode = fault.mode if fault else None
        if fault:
            fault.reached.set()
        if mode == "drop":
            return
        if mode == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
            return
        if fault and mode == "status":
            for _ in self.body():
                pass
            self.refuse(fault.status)
            return
        with contextlib.closing(
            http.client.HTTPConnection(self.server.proxy.upstream, timeout=PATIENCE)
        ) as upstream:
            answer = self.ask(upstream, target)
            for pause in pauses:
                if pause.after:
                    pause.hold()
            if mode == "late":
                answer.read()
                return
            self.pass_on(answer, whole=mode != "cut")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815

    def body(self) -> Iterator[bytes]:
        """The request's body as it arrives, without the framing."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                yield from self.take(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            yield from self.take(int(self.headers.get("content-length", 0)))

    def take(self, size: int) -> Iterator[bytes]:
        while size:
            block = self.rfile.read(min(size, 1 << 18))
            if not block:
                raise ConnectionError("the client went away")
            size -= len(block)
            yield block

    def ask(self, upstream: http.client.HTTPConnection, target: str) -> http.client.HTTPResponse:
        upstream.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in self.HOP:
                upstream.putheader(name, value)
        chunked = "transfer-encoding" in self.headers
        if chunked:
            upstream.putheader("Transfer-Encoding", "chunked")
        upstream.putheader("Connection", "close")
        upstream.endheaders()
        for block in self.body():
            upstream.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if chunked:
            upstream.send(b"0\r\n\r\n")
        return upstream.getresponse()

    def pass_on(self, answer: http.client.HTTPResponse, *, whole: bool) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in self.HOP:
                self.send_header(name, value)
        self.send_header("Connection", "close")  # ends a body of unknown length, too
        self.end_headers()
        left = None if whole else (answer.length or 0) // 2
        while left != 0 and (block := answer.read(1 << 18 if left is None else min(left, 1 << 18))):
            self.wfile.write(block)
            left = left and left - len(block)

    def refuse(self, status: int) -> None:
        code = {403: "AccessDenied", 409: "ConditionalRequestConflict", 503: "SlowDown"}
        content = f"<Error><Code>{code.get(status, 'InternalError')}</Code></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: ``FaultyProxy.calls`` is the log."""
