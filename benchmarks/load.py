"""A client that costs little, so that on few processors it is the server that is measured.

``python -S load.py PORT SECONDS CONNECTIONS REQUEST [FILE]``: keeps ``CONNECTIONS`` busy with ``REQUEST`` (JSON:
method, path, body or null, headers), one request after the other on each, and prints a JSON object: the requests
a second, and the milliseconds in which half of them and 99 % of them were answered. Given ``FILE``, a CSV, the same
while it is scored: POST /predict_file is sent again and again, and only requests that are answered while one
is under way count.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections.abc import Sequence


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

    def run(self, seconds: float, until: float = float("inf")) -> list[float]:
        """Ask for so long; the seconds that each answer took."""
        clock, request, taken = time.perf_counter, self._request, list[float]()
        end = clock() + seconds
        for key in self._selector.get_map().values():
            key.data[:] = b"", clock()
            key.fileobj.sendall(request)
        waiting = len(self._selector.get_map())
        while waiting:
            for key, _ in self._selector.select():
                state, connection = key.data, key.fileobj
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


def at(seconds: Sequence[float], share: float) -> float:
    """The milliseconds within which that share of the answers came."""
    return sorted(seconds)[int(share * (len(seconds) - 1))] * 1000


def main() -> None:
    port, seconds, count = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    method, path, body, headers = json.loads(sys.argv[4])
    client = Client(port, count, message(port, method, path, body and body.encode(), headers))
    client.run(0.2)
    if len(sys.argv) > 5:
        content = open(sys.argv[5], "rb").read()
        import threading

        files = []
        go = True

        def upload():
            while go:
                c = socket.create_connection(("127.0.0.1", port))
                t = time.perf_counter()
                c.sendall(message(port, "POST", "/predict_file", content, {"content-type": "text/csv"}))
                reply = bytearray()
                while True:
                    came = c.recv(1 << 20)
                    if not came:
                        break
                    reply += came
                    h, e, b = reply.partition(b"\r\n\r\n")
                    n = [
                        int(x.split(b":")[1])
                        for x in h.split(b"\r\n")
                        if x.lower().startswith(b"content-length")
                    ]
                    if e and len(b) >= n[0]:
                        break
                files.append((time.perf_counter() - t, bytes(reply[:15])))
                c.close()

        thread = threading.Thread(target=upload)
        thread.start()
    start = time.perf_counter()
    taken = client.run(seconds)
    spent = time.perf_counter() - start
    if len(sys.argv) > 5:
        go = False
        thread.join()
        print(files, file=sys.stderr)
    print(
        json.dumps(
            {"rate": len(taken) / spent, "p50": at(taken, 0.5), "p99": at(taken, 0.99), "max": at(taken, 1)}
        )
    )


if __name__ == "__main__":
    main()
