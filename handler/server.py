"""functions-framework's ASGI server, made safe from slow clients: Cloud Run's image and ``serve`` start it.

One event loop reads every request, and answers at once those of one row, and whether the model is loaded.
What takes longer goes to threads, of which files and storage events have ``THREADS`` of their own: nothing
else waits for them. A request must come within ``READ_TIMEOUT_SECONDS``, and a second for each ``SLOWEST``
bytes of it.
"""

from __future__ import annotations

import signal

from handler import interrupts

interrupts.catch()  # before the imports, which take a while
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # ``serve`` blocks it

import asyncio
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NoReturn

from functions_framework._http.asgi import StarletteApplication
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from handler import telemetry, terminal
from handler.errors import FunctionError, RequestTooSlow
from handler.events.http import pairs
from handler.events.objects import carries_event
from handler.faults import ServerBusy
from handler.settings import port_of
from handler.web.messages import Answer, Request, problem

if TYPE_CHECKING:
    from handler.app import App

#: Bytes per second that a client must send on average, once its first seconds are over.
SLOWEST = 8 * 1024
#: Bytes of a request line with its headers: room for a query of some thousand features.
LONGEST_HEAD = 256 * 1024
#: Bytes of a body that may be in memory beside the bodies that room is kept for.
SMALL = 256 * 1024
#: Bytes of an answer that are handed to a connection at a time.
PIECE = 64 * 1024
#: Seconds for which a client may take nothing of its answer.
SEND_SECONDS = 30
#: Seconds for which a client may go on sending a body that has its answer.
LINGER_SECONDS = 2
#: Seconds between two looks at how far a connection has come.
TICK = 0.5
#: Seconds after which a thread that runs Python lets another one go on, a tenth of what is usual: a request
#: that comes while a file is scored waits for it several times.
SWITCH_SECONDS = 0.0005
#: The niceness of the threads that score files: a prediction goes first.
LOWEST = 19
#: Seconds that requests have to end when the server stops.
GRACE = 30

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Joined:
    """A transport that sends an answer's head and the beginning of its body in one piece, not in two."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport, self._loop = transport, loop
        self._held = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send data, or hold them back until the next call or the loop's next turn."""
        if self._held:
            self._transport.write(self._held + data)
            self._held = b""
        else:
            self._held = data
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """Close the connection when all is sent."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._held:
            self._transport.write(self._held)
            self._held = b""


class Connection(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's connection, which is closed where the client's side of it does not get on."""

    #: Seconds in which a head must come.
    patience: float

    def connection_made(self, transport: Any) -> None:
        super().connection_made(Joined(transport, self.loop))
        self._begun, self._read = self.loop.time(), 0
        self._unsent, self._moved = 0, self._begun
        self._answered: float | None = None
        self._watch = self.loop.call_later(TICK, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come; those of a head are counted."""
        if self._awaits_head():
            if not self._read:
                self._begun = self.loop.time()
            self._read += len(data)
        super().data_received(data)
        if not self._awaits_head():
            self._read = 0
        elif self._read > LONGEST_HEAD and not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 414 URI Too Long\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
            self.transport.close()

    def _awaits_head(self) -> bool:
        """Whether the next bytes are those of a request's head."""
        return self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body)

    def _look(self) -> None:
        now = self.loop.time()
        self._watch = self.loop.call_later(TICK, self._look)
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent or not unsent:
            self._unsent, self._moved = unsent, now
        elif now > self._moved + SEND_SECONDS:
            self.transport.abort()
            return
        if self._awaits_head():
            waits = self._read or self.cycle is None  # between two requests, uvicorn's own limit counts
            if waits and now > self._begun + self.patience + self._read / SLOWEST:
                self.transport.close()
        elif self.cycle.response_complete:
            self._answered = self._answered or now
            if now > self._answered + LINGER_SECONDS:
                self.transport.close()
        else:
            self._answered = None


class ClientGone(Exception):
    """The client has closed its connection."""


class Reception:
    """The ASGI application: takes requests in whole, and has each answered where nobody waits for it.

    The bodies over ``SMALL`` that are in memory at once have at most the bytes of ``THREADS`` longest ones.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        settings = app.settings
        self._longest = settings.max_body_bytes
        self._patience = settings.read_timeout
        self._room = settings.threads * (self._longest + 1)
        self._freed = asyncio.Condition()
        self._files = ThreadPoolExecutor(settings.threads, "files", initializer=_step_back)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request. https://asgi.readthedocs.io/en/latest/specs/www.html"""
        arrived = time.monotonic()
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]},{text}" if key in headers else text
        announced = int(headers.get("content-length") or 0)
        taken = 0
        try:
            body = b""
            if "transfer-encoding" in headers or 0 < announced <= self._longest:
                most = announced or self._longest + 1
                pieces: list[bytes] = []
                size, more = 0, True
                while more and size <= self._longest:
                    if not taken and size > SMALL:
                        await self._take(most)
                        taken = most
                    piece, more = await self._piece(receive, arrived + self._patience + size / SLOWEST)
                    pieces.append(piece)
                    size += len(piece)
                body = b"".join(pieces)
            request = Request(
                method=scope["method"],
                path=scope["path"],
                query=pairs(scope["query_string"].decode(errors="replace")),
                headers=headers,
                body=body,
                size=announced,
            )
            answer = await self._answer(request, arrived)
        except (RequestTooSlow, ServerBusy) as error:
            answer = problem(error)
        except ClientGone:
            return
        finally:
            if taken:
                await self._give_back(taken)
        await _send(answer, send)

    async def _piece(self, receive: Receive, end: float) -> tuple[bytes, bool]:
        """The next bytes of a body, and whether more come; raises ``RequestTooSlow`` or ``ClientGone``."""
        try:
            async with asyncio.timeout(end - time.monotonic()):
                message = await receive()
        except TimeoutError:
            raise RequestTooSlow from None
        if message["type"] != "http.request":
            raise ClientGone
        return message["body"], message["more_body"]

    async def _take(self, most: int) -> None:
        """Wait for the room that a body may need; raises ``ServerBusy``."""
        try:
            async with asyncio.timeout(self._patience), self._freed:
                await self._freed.wait_for(lambda: most <= self._room)
                self._room -= most
        except TimeoutError:
            raise ServerBusy from None

    async def _give_back(self, most: int) -> None:
        async with self._freed:
            self._room += most
            self._freed.notify_all()

    async def _answer(self, request: Request, arrived: float) -> Answer:
        if self._app.answers_at_once(request):
            return _answered(self._app, request, arrived)
        slow = len(request.body) > SMALL or carries_event(request)
        threads = self._files if slow else None
        return await asyncio.get_running_loop().run_in_executor(
            threads, _answered, self._app, request, arrived
        )


def _step_back() -> None:
    """Let a file's thread, and those that it starts, have the processors that nobody else wants."""
    if sys.platform == "linux":  # elsewhere, it would be the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)


def _answered(app: App, request: Request, arrived: float) -> Answer:
    try:
        return app.answer(request, arrived)
    except Exception as bug:  # noqa: BLE001  the platform gets an answer, and the log the lines at fault
        telemetry.failure("request failed", bug, route=request.route)
        answer = problem(FunctionError("the server failed on this request; its log says where"))
        return answer._replace(headers={**answer.headers, "x-google-status": "crash"})


async def _send(answer: Answer, send: Send) -> None:
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
    if answer.status != 204:
        headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    start = 0
    while len(answer.body) - start > PIECE:
        piece = answer.body[start : start + PIECE]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        start += PIECE
    await send({"type": "http.response.body", "body": answer.body[start:]})


def _stopped(number: int, frame: object) -> NoReturn:  # noqa: ARG001
    raise SystemExit(130 if number == signal.SIGINT else 0)


def _serve() -> int:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stopped)
    sys.setswitchinterval(SWITCH_SECONDS)
    from handler.app import application  # which loads the bundle where a platform starts it

    app = application()
    Connection.patience = app.settings.read_timeout
    host, port = os.environ.get("HOST", "0.0.0.0"), port_of(os.environ.get("PORT") or "8080")
    server = StarletteApplication(
        Reception(app),
        host,
        port,
        debug=False,
        http=Connection,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=2,
        timeout_graceful_shutdown=GRACE,
        h11_max_incomplete_event_size=2 * LONGEST_HEAD,
    )
    try:
        server.run()
    except SystemExit as end:
        if end.code == 130:
            interrupts.say()
        return int(end.code or 0)
    finally:
        app.close()
    return 0


def main() -> int:
    """Serve on ``HOST`` and ``PORT``, as functions-framework does; returns the exit code."""
    return terminal.guarded(_serve)


if __name__ == "__main__":
    interrupts.leave(main())
