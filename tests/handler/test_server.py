"""The server process and clients that are slow, silent, or send more than they may."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import subprocess
import sys
import time
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.serving import ROOT, free_port, serve

pytestmark = pytest.mark.slow

FOREVER = "86400"
GOOD = b'{"age": 45, "new_user": 0, "total_pages_visited": 5}'
POST = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def connect(base: str) -> socket.socket:
    parts = urlsplit(base)
    return socket.create_connection((parts.hostname, parts.port), timeout=60)


def healthy(base: str) -> bool:
    with urllib.request.urlopen(f"{base}/healthz", timeout=60) as answer:
        return bool(json.load(answer)["status"] == "ok")


def answered(client: socket.socket) -> tuple[int, bytes]:
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer.status, answer.read()


@pytest.fixture(scope="module")
def patient(bundle_dir: Path) -> Iterator[str]:
    """A server that waits for its clients for a day, so that only a free thread can answer."""
    with serve(bundle_dir, READ_TIMEOUT_SECONDS=FOREVER, THREADS="2", MAX_BODY_BYTES="100000") as base:
        yield base


@pytest.fixture(scope="module")
def impatient(bundle_dir: Path) -> Iterator[str]:
    with serve(bundle_dir, READ_TIMEOUT_SECONDS="1", THREADS="2") as base:
        yield base


def test_silent_and_half_sent_requests_keep_no_one_waiting(patient: str) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(patient)) for _ in range(340)]
        for client in clients[:20]:
            client.sendall(b"GET /healthz HTTP/1.1\r\nhost")
        for client in clients[20:40]:
            client.sendall(POST + b"content-length: 52\r\n\r\n{")
        assert healthy(patient)
        for client in clients[20:40]:
            client.sendall(GOOD[1:])
        assert [answered(client)[0] for client in clients[20:40]] == [200] * 20
        clients[0].sendall(b": x\r\n\r\n")
        assert answered(clients[0])[0] == 200
        clients[-1].sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert answered(clients[-1])[0] == 200


def test_those_who_take_no_answer_keep_no_one_waiting(patient: str) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(connect(patient))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(b"GET /swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n")
        assert healthy(patient)


def test_a_body_that_does_not_come_is_cut(impatient: str) -> None:
    with connect(impatient) as client:
        client.sendall(POST + b"content-length: 52\r\n\r\n" + GOOD[:10])
        status, body = answered(client)
        assert (status, json.loads(body)["title"]) == (408, "Request Timeout")
        assert client.recv(1) == b""


def test_a_body_that_trickles_is_cut(impatient: str) -> None:
    with connect(impatient) as client:
        client.sendall(POST + b"content-length: 100000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(600):
                client.sendall(b" ")
                time.sleep(0.1)
                if client.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK):
                    break
        assert answered(client)[0] == 408


@pytest.mark.parametrize("start", [b"", b"G", b"GET / HTTP/1.1\r\nhost: x\r\n"])
def test_a_head_that_does_not_come_is_cut(impatient: str, start: bytes) -> None:
    with connect(impatient) as client:
        client.sendall(start)
        assert client.recv(1) == b""


def test_a_connection_is_kept_for_the_next_request(impatient: str) -> None:
    with connect(impatient) as client:
        for _ in range(3):
            client.sendall(POST + b"content-length: 52\r\n\r\n" + GOOD)
            status, body = answered(client)
            assert (status, json.loads(body)["prediction"]) == (200, 0)


def test_the_server_stops_although_clients_are_silent(bundle_dir: Path) -> None:
    with contextlib.ExitStack() as stack, serve(bundle_dir, READ_TIMEOUT_SECONDS=FOREVER) as base:
        for _ in range(20):
            stack.enter_context(connect(base))
        assert healthy(base)  # so they have been accepted; ``serve`` fails where the server does not stop


def test_a_head_without_end_is_refused(patient: str) -> None:
    with connect(patient) as client, contextlib.suppress(ConnectionError):
        client.sendall(b"GET /predict?age=" + b"4" * 10_000_000)
    with connect(patient) as client:
        client.sendall(b"GET /predict?age=" + b"4" * 300_000)
        assert answered(client)[0] == 414


@pytest.fixture(scope="module")
def framework(bundle_dir: Path) -> Iterator[str]:
    """functions-framework's own command line, which knows nothing of our server."""
    port = free_port()
    command = [sys.executable, "-m", "functions_framework", "--target=http", "--source=handler/app.py"]
    environ = {
        "MODEL_DIR": str(bundle_dir),
        "MAX_BODY_BYTES": "100000",
        "PYTHONPATH": str(ROOT),
        "PATH": "",
    }
    process = subprocess.Popen(
        [*command, "--host=127.0.0.1", f"--port={port}"], cwd=ROOT, env=environ, stderr=subprocess.DEVNULL
    )
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                if healthy(base):
                    break
            time.sleep(0.1)
        yield base
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("kind", ["patient", "framework"])
def test_a_body_over_the_limit_is_refused_before_it_has_come(
    kind: str, request: pytest.FixtureRequest
) -> None:
    with connect(request.getfixturevalue(kind)) as client:
        client.sendall(POST + b"content-length: 400000000\r\n\r\n")
        status, body = answered(client)
        assert (status, "batch" in json.loads(body)["detail"]) == (413, True)


@pytest.mark.parametrize("kind", ["patient", "framework"])
def test_a_body_of_unknown_length_is_read_to_the_limit(kind: str, request: pytest.FixtureRequest) -> None:
    with connect(request.getfixturevalue(kind)) as client:
        client.sendall(POST + b"transfer-encoding: chunked\r\n\r\n1d4c0\r\n" + b" " * 120_000)
        assert answered(client)[0] == 413  # and the body has no end


CALLS: Sequence[tuple[str, str, bytes | None, dict[str, str]]] = [
    ("GET", "/predict?age=45&new_user=0&total_pages_visited=5", None, {}),
    ("GET", "/predict?age=45&new_user=0&total_pages_visited=%35&more=%ff&more=+", None, {}),
    ("HEAD", "/predict?age=45&new_user=0&total_pages_visited=5", None, {}),
    ("POST", "/predict", GOOD, {"Content-Type": "application/json", "X-Request-Id": "a"}),
    ("POST", "/predict", b'{"instances": [' + b",".join([GOOD] * 100) + b"]}", {}),
    ("POST", "/stage/predict", b"{", {"content-type": "APPLICATION/JSON; charset=utf-8"}),
    ("POST", "/predict", zlib.compress(GOOD), {"content-encoding": "deflate"}),
    ("POST", "/predict_file", b"age,new_user,total_pages_visited\n45,0,5\nx,0,5\n", {"accept": "text/csv"}),
    ("POST", "/predict_file", b"age,new_user,total_pages_visited\n" + b"45,0,5\n" * 10_000, {}),
    ("POST", "/", b"{}", {"ce-type": "a", "content-type": "application/json"}),
    ("PUT", "/predict", b"", {}),
    ("OPTIONS", "/predict_file", None, {}),
    ("GET", "/healthz", None, {}),
    ("GET", "/nowhere/%C3%A9", None, {"accept": "text/html"}),
    ("GET", "/swagger-ui-bundle.js", None, {"accept-encoding": "gzip"}),
    ("GET", "/model", None, {}),
    (
        "GET",
        "/predict?" + "&".join(f"wrong_{index}=1" for index in range(2000)),
        None,
        {"x-big": "y" * 6000},
    ),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call[0]} {call[1][:20]}")
def test_both_servers_give_the_same_answer(
    patient: str, framework: str, call: tuple[str, str, bytes | None, dict[str, str]]
) -> None:
    answers = []
    for base in (patient, framework):
        client = http.client.HTTPConnection(urlsplit(base).netloc, timeout=60)
        client.request(call[0], call[1], call[2], call[3])
        answer = client.getresponse()
        body = answer.read()
        names = [
            "content-encoding",
            "allow",
            "location",
            "vary",
            "x-rows-rejected",
            "content-security-policy",
        ]
        if body:
            names += ["content-type", "content-length"]  # Flask calls an answer without content HTML
        answers.append((answer.status, body, {name: answer.headers[name] for name in names}))
        client.close()
    assert answers[0] == answers[1]


def test_predictions_and_health_do_not_wait_for_files(bundle_dir: Path) -> None:
    body = b"age,new_user,total_pages_visited\n" + b"45,0,5\n" * 60_000
    headers = {"content-type": "text/csv", "accept": "text/csv"}

    def upload(base: str) -> int:
        sent = urllib.request.Request(f"{base}/predict_file", body, headers)
        with urllib.request.urlopen(sent, timeout=120) as answer:
            return len(answer.read().splitlines())

    with serve(bundle_dir, THREADS="1") as base, ThreadPoolExecutor(3) as pool:
        uploads = [pool.submit(upload, base) for _ in range(3)]
        waited = 0
        while not any(done.done() for done in uploads):
            assert healthy(base)
            with connect(base) as client:
                client.sendall(POST + b"content-length: 52\r\n\r\n" + GOOD)
                assert answered(client)[0] == 200
            waited += 1
            time.sleep(0.02)  # the server needs the processors for the files
        assert waited
        assert [done.result() for done in uploads] == [60_001] * 3


def test_requests_that_are_answered_when_the_server_is_stopped_get_their_answer(bundle_dir: Path) -> None:
    body = b"age,new_user,total_pages_visited\n" + b"45,0,5\n" * 100_000

    def upload(base: str) -> int:
        sent = urllib.request.Request(f"{base}/predict_file", body, {"content-type": "text/csv"})
        with urllib.request.urlopen(sent, timeout=120) as answer:
            return len(json.load(answer)["predictions"])

    with ThreadPoolExecutor(1) as pool:
        with serve(bundle_dir) as base:
            done = pool.submit(upload, base)
            time.sleep(0.3)  # the file is on its way, or being scored
        assert done.result() == 100_000


def test_many_uploads_at_once_are_all_answered(patient: str) -> None:
    rows = b"45,0,5\n" * 10_000

    def upload(_: int) -> int:
        headers = {"content-type": "text/csv"}
        body = b"age,new_user,total_pages_visited\n" + rows
        sent = urllib.request.Request(f"{patient}/predict_file", body, headers)
        with urllib.request.urlopen(sent, timeout=60) as answer:
            return len(json.load(answer)["predictions"])

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(upload, range(32))) == {10_000}


def test_memory_does_not_grow_with_what_is_refused(bundle_dir: Path) -> None:
    with serve(bundle_dir) as base:
        assert healthy(base)
        before = peak(base)
        for _ in range(4):
            with connect(base) as client:
                client.sendall(POST + b"content-length: 400000000\r\n\r\n")
                with contextlib.suppress(ConnectionError):
                    for _ in range(400):
                        client.sendall(b" " * 1_000_000)
                assert answered(client)[0] == 413
        assert peak(base) < before + 20


def peak(base: str) -> int:
    """The most memory that a process of the server at ``base`` has held, in MB."""
    port = urlsplit(base).port
    most = 0
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and f"PORT={port}".encode() in (folder / "environ").read_bytes().split(
                b"\0"
            ):
                found = re.search(r"VmHWM:\s+(\d+) kB", (folder / "status").read_text())
                most = max(most, int(found[1]) // 1024 if found else 0)
    assert most
    return most
