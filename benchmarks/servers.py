"""HTTP servers as whole processes: the first answer, then requests a second over eight connections."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PATH = "/predict?age=45&new_user=0&total_pages_visited=5"
CONNECTIONS = 8
SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Server:
    """A command that listens on PORT; ``{port}`` in a word is replaced by it."""

    name: str
    command: Sequence[str]
    folder: Path
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Served:
    """Seconds to the first answer, requests a second, peak megabytes of all its processes, the answer."""

    first: float
    rate: float
    megabytes: float
    answer: Any


def measure(server: Server, *, load: bool = True) -> Served:
    """Start the server, ask once, then keep ``CONNECTIONS`` busy; raises ``RuntimeError``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    env = {**os.environ, **server.env, "PORT": str(port), "LOG_LEVEL": "ERROR", "OPENBLAS_NUM_THREADS": "1"}
    start = time.perf_counter()
    process = subprocess.Popen(
        [word.format(port=port) for word in server.command],
        cwd=server.folder,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        answer = _first(port, process)
        first = time.perf_counter() - start
        rate = _rate(port) if load else 0.0
        return Served(first, rate, _peak(os.getsid(process.pid)), answer)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _first(port: int, process: subprocess.Popen[bytes]) -> Any:
    for _ in range(6000):
        if process.poll() is not None:
            raise RuntimeError(f"it ended with exit code {process.returncode}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", PATH)
            reply = connection.getresponse()
            body = reply.read()
            connection.close()
            if reply.status != 200:
                raise RuntimeError(f"it answered {reply.status}")
            return json.loads(body)
        time.sleep(0.01)
    raise RuntimeError("it does not answer")


#: One connection's client, in a process of its own, so that the clients do not wait for each other.
CLIENT = """
import http.client, sys, time
port, path, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
connection = http.client.HTTPConnection("127.0.0.1", port)
for _ in range(50):
    connection.request("GET", path)
    connection.getresponse().read()
count, end = 0, time.perf_counter() + seconds
while time.perf_counter() < end:
    connection.request("GET", path)
    reply = connection.getresponse()
    assert reply.status == 200
    reply.read()
    count += 1
print(count / seconds)
"""


def _rate(port: int) -> float:
    rates: list[float] = []

    def client() -> None:
        words = [sys.executable, "-S", "-c", CLIENT, str(port), PATH, str(SECONDS)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        rates.append(float(done.stdout))

    threads = [threading.Thread(target=client) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(rates) < CONNECTIONS:
        raise RuntimeError("it refused requests under load")
    return sum(rates)


def _peak(session: int) -> float:
    """Peak megabytes of all processes of a session, added up."""
    total = 0.0
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if os.getsid(int(status.parent.name)) != session:
                continue
            for line in status.read_text().splitlines():
                if line.startswith("VmHWM"):
                    total += int(line.split()[1]) / 1024
    return total
