"""A client that costs little, so that on few processors it is the server that is measured.

``python -S load.py PORT SECONDS CONNECTIONS REQUEST [FILE]`` keeps the connections busy with the request
(JSON: method, path, body or null, headers), one after the other on each. It prints JSON: requests a second,
and the milliseconds in which half of them, and 99 % of them, were answered. ``FILE`` is posted to
/predict_file by another process again and again meanwhile; then the measuring begins after the first.
"""

from __future__ import annotations

import http.client
import json
import os
import selectors
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def message(port: int, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
    """A request as it is sent."""
    given = {"host": f"127.0.0.1:{port}", **headers}
    if body is not None:
        given["content-length"] = str(len(body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + (body or b"")


def whole(reply: bytes) -> bool:
    """Whether an answer is here to its end; raises ``RuntimeError`` if it is not a 200."""
    head, end, body = reply.partition(b"\r\n\r\n")
    if not end:
        return False
    status, *fields = head.split(b"\r\n")
    if status.split()[1] != b"200":
        raise RuntimeError(status.decode())
    for field in fields:
        name, _, value = field.partition(b":")
        if name.lower() == b"content-length":
            return len(body) >= int(value)
    return body.endswith(b"0\r\n\r\n")


class Client:
    """Connections to one server, each of which sends the same request again when it has its answer."""

    def __init__(self, port: int, count: int, request: bytes) -> None:
        self._request = request
        self._selector = selectors.DefaultSelector()
        for _ in range(count):
            connection = socket.create_connection(("127.0.0.1", port))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._selector.register(connection, selectors.EVENT_READ, [b"", 0.0])

    def run(self, seconds: float) -> list[float]:
        """Ask for so long; the seconds that each answer took."""
        clock, request, taken = time.perf_counter, self._request, list[float]()
        end = clock() + seconds
        for key in self._selector.get_map().values():
            key.data[:] = b"", clock()
            _socket(key).sendall(request)
        waiting = len(self._selector.get_map())
        while waiting:
            for key, _ in self._selector.select():
                state, connection = key.data, _socket(key)
                came = connection.recv(1 << 20)
                if not came:
                    raise RuntimeError("the server closed a connection")
                state[0] += came
                if whole(state[0]):
                    now = clock()
                    taken.append(now - state[1])
                    if now < end:
                        state[:] = b"", now
                        connection.sendall(request)
                    else:
                        waiting -= 1
        return taken


def _socket(key: selectors.SelectorKey) -> Any:
    return key.fileobj


def at(seconds: Sequence[float], share: float) -> float:
    """The milliseconds within which that share of the answers came."""
    return sorted(seconds)[int(share * (len(seconds) - 1))] * 1000


def upload(port: int, file: str) -> tuple[int, int]:
    """Post a file again and again, in another process: its id, and a pipe with a byte for each answer."""
    scored, written = os.pipe()
    process = os.fork()
    if process:
        os.close(written)
        return process, scored
    try:
        content = Path(file).read_bytes()
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port)
            connection.request("POST", "/predict_file", content, {"content-type": "text/csv"})
            reply = connection.getresponse()
            reply.read()
            if reply.status != 200:
                break
            os.write(written, b".")
    finally:
        os._exit(1)


def main() -> None:
    """Measure, as the arguments say."""
    port, seconds, count = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    method, path, body, headers = json.loads(sys.argv[4])
    uploading = None
    try:
        if len(sys.argv) > 5:
            uploading, scored = upload(port, sys.argv[5])
            if not os.read(scored, 1):
                raise RuntimeError("the file is refused")
        client = Client(port, count, message(port, method, path, body and body.encode(), headers))
        client.run(0.2)
        start = time.perf_counter()
        taken = client.run(seconds)
        rate = len(taken) / (time.perf_counter() - start)
    finally:
        if uploading is not None:
            os.kill(uploading, signal.SIGKILL)
            os.waitpid(uploading, 0)
    print(json.dumps({"rate": rate, "p50": at(taken, 0.5), "p99": at(taken, 0.99)}))


if __name__ == "__main__":
    main()
