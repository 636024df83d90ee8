"""A soak: thousands of mixed requests to the served process, each answer compared with the one due.

``python -m benchmarks.soak [--requests 20000] [--threads 8] [--seed 1] [--bundle handler/model]``

What is due is what the same application answers in this process. The requests are good and wrong, large
and too large, packed, slow, broken off and events of storage, from several threads at once. The
last lines say what differed, how many there were of each kind, and the server's memory after each tenth.
Exit code 1 where an answer differed, or where memory grew by over a tenth after the first tenth.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

from benchmarks.environments import ROOT
from handler import telemetry
from handler.app import ANSWER_BODIES, App
from handler.manifest import Feature
from handler.scoring.model import Model
from handler.settings import Settings
from handler.web.messages import Answer, Request

#: Bytes of the longest body, small so that longer ones are cheap to send.
MOST = 1024 * 1024
INPUT = "gs://example-input/"
#: A server's memory may grow by this share between the first tenth of the requests and their end.
GROWTH = 1.1
JSON = {"content-type": "application/json"}
CSV = {"content-type": "text/csv"}
GCS = {"content-type": "application/json", "ce-id": "1", "ce-source": "//storage", "ce-specversion": "1.0"}


def value(feature: Feature, chance: random.Random) -> object:
    """A value that the feature takes."""
    if feature.kind == "category":
        return chance.choice(feature.categories)
    if feature.kind == "boolean":
        return chance.random() < 0.5
    low, high = int(feature.minimum or 0), int(feature.maximum or 1)
    return chance.randint(low, max(low, high)) + (0 if feature.kind == "integer" else chance.random())


class Mix:
    """Requests of every kind, the same ones for the same seed."""

    def __init__(self, features: tuple[Feature, ...], seed: int) -> None:
        self._features = features
        self._chance = random.Random(seed)
        #: Each kind, and how often it comes among the others.
        self._kinds: dict[str, tuple[int, Callable[[], Request]]] = {
            "query": (6, self._query), "JSON": (6, self._json), "CSV": (4, self._csv),
            "form": (3, self._form), "packed": (2, self._packed), "wrong": (5, self._wrong),
            "page": (3, self._page), "large": (1, self._large), "too large": (2, self._too_large),
            "event": (3, self._event),
        }  # fmt: skip

    def draw(self) -> tuple[str, Request]:
        weights = [weight for weight, _ in self._kinds.values()]
        kind = self._chance.choices(list(self._kinds), weights)[0]
        return kind, self._kinds[kind][1]()

    def _record(self) -> dict[str, object]:
        return {feature.name: value(feature, self._chance) for feature in self._features}

    def _table(self, rows: int) -> bytes:
        lines = [",".join(each.name for each in self._features)]
        for _ in range(rows):
            cells = [str(each).lower() for each in self._record().values()]
            if self._chance.random() < 0.1:
                cells[self._chance.randrange(len(cells))] = self._chance.choice(
                    ["", "x", '"a,b"', "9" * 200]
                )
            lines.append(",".join(cells))
        return "\n".join(lines).encode() + self._chance.choice([b"", b"\n", b'\n"', b"\n1\n"])

    def _query(self) -> Request:
        pairs = [(name, str(each).lower()) for name, each in self._record().items()]
        return Request("GET", "/predict", tuple(pairs))

    def _json(self) -> Request:
        records = [self._record() for _ in range(self._chance.choice([1, 2, 15, 40]))]
        document = self._chance.choice([records, {"instances": records}, records[0]])
        return Request("POST", "/predict", headers=JSON, body=json.dumps(document).encode())

    def _csv(self) -> Request:
        headers = {**CSV, **self._chance.choice([{}, {"accept": "text/csv"}])}
        path = self._chance.choice(["/predict", "/predict_file"])
        return Request("POST", path, headers=headers, body=self._table(self._chance.randint(0, 50)))

    def _form(self) -> Request:
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f.csv"\r\n\r\n'
        body = head + self._table(self._chance.randint(0, 50)) + b"\r\n--b--\r\n"
        return Request(
            "POST", "/predict_file", headers={"content-type": "multipart/form-data; boundary=b"}, body=body
        )

    def _packed(self) -> Request:
        plain = self._chance.choice([self._csv, self._large])()
        packed = gzip.compress(plain.body)[: self._chance.choice([None, -3])]
        return plain._replace(headers={**plain.headers, "content-encoding": "gzip"}, body=packed)

    def _wrong(self) -> Request:
        name = self._features[0].name
        return self._chance.choice([
            Request("GET", "/predict", ((name, "9" * 12_000 + "x"),)),
            Request("GET", "/predict", ((name, "1"), (name, "2"), ("stranger", "3"))),
            Request("GET", "/nowhere"),
            Request("POST", "/healthz"),
            Request("POST", "/predict", headers=JSON, body=b"[" * 50_000),
            Request("POST", "/predict", headers=JSON, body=b"[" + b"0," * 100_000 + b"0]"),
            Request("POST", "/predict", headers=JSON, body=b'{"%s": NaN}' % name.encode()),
            Request("POST", "/predict", headers={"content-type": "text/xml"}, body=b"<a/>"),
            Request("POST", "/predict_file", headers=CSV, body=self._table(3).replace(b",", b',"', 1)),
            Request("POST", "/predict_file", headers=CSV, body=b"\xff\xfe\x00"),
            Request("POST", "/predict_file", headers=CSV, body=b""),
        ])  # fmt: skip

    def _page(self) -> Request:
        path = self._chance.choice(["/model", "/healthz", "/openapi.json", "/a/b/openapi.json", "/apidocs"])
        return Request("GET", path)

    def _large(self) -> Request:
        return Request("POST", "/predict_file", headers=CSV, body=self._table(2000))

    def _too_large(self) -> Request:
        return Request(
            "POST", "/predict_file", headers=CSV, body=b"", size=MOST + self._chance.randint(1, MOST)
        )

    def _event(self) -> Request:
        kind = self._chance.choice(["deleted", "finalized"])
        data = {"bucket": self._chance.choice(["example-input", "other"]), "name": "a//b.csv", "size": "9"}
        headers = {**GCS, "ce-type": f"google.cloud.storage.object.v1.{kind}"}
        return Request("POST", "/", headers=headers, body=json.dumps(data).encode())


class Client:
    """Sends requests over one connection, as long as the server keeps it."""

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._chance = random.Random(seed)
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, request: Request) -> tuple[int, bytes]:
        target = request.path + ("?" + urlencode(request.query) if request.query else "")
        if request.size:  # announced, and sent in part
            return self._raw(request, target, b"age" * 1000, slowly=False)
        if self._chance.random() < 0.01:
            self._break_off(request, target)
        if self._chance.random() < 0.01 and len(request.body) < 2000:
            return self._raw(request, target, request.body, slowly=True)
        try:
            return self._plain(request, target)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self._connection.close()  # it was kept open for long enough
            return self._plain(request, target)

    def _plain(self, request: Request, target: str) -> tuple[int, bytes]:
        self._connection.request(request.method, target, request.body, dict(request.headers))
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def _head(self, request: Request, target: str) -> bytes:
        headers = {**request.headers, "host": "localhost", "connection": "close",
                   "content-length": str(request.size or len(request.body))}  # fmt: skip
        lines = [
            f"{request.method} {target} HTTP/1.1",
            *(f"{name}: {text}" for name, text in headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    def _raw(self, request: Request, target: str, body: bytes, slowly: bool) -> tuple[int, bytes]:
        with socket.create_connection(("127.0.0.1", self._port), timeout=120) as connection:
            data = self._head(request, target) + body
            if slowly:
                for at in range(0, len(data), 1 + len(data) // 40):
                    connection.sendall(data[at : at + 1 + len(data) // 40])
                    time.sleep(0.02)
            else:
                connection.sendall(data)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            return answer.status, answer.read()

    def _break_off(self, request: Request, target: str) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=120) as connection:
            data = self._head(request, target) + request.body
            connection.sendall(data[: self._chance.randrange(len(data))])


@contextlib.contextmanager
def served(bundle: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """The server as ``make serve`` starts it, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {**os.environ, "MODEL_DIR": str(bundle), "PORT": str(port), "MAX_BODY_BYTES": str(MOST),
           "INPUT_URI": INPUT, "LOG_LEVEL": "ERROR"}  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "handler", "serve"], cwd=ROOT, env=env)
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            if process.poll() is not None:
                raise SystemExit("the server did not start")
            time.sleep(0.1)
        yield process, port
    finally:
        process.terminate()
        process.wait(30)


def megabytes(pid: int) -> float:
    """The resident memory of a process and its children."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    status = Path(f"/proc/{pid}/status").read_text()
    own = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return own / 1024 + sum(megabytes(int(child)) for child in children)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--bundle", type=Path, default=ROOT / "handler" / "model")
    options = parser.parse_args()
    model = Model.load(options.bundle)
    settings = Settings(max_body_bytes=MOST, input_uri=(INPUT,), log_level="ERROR")
    telemetry.configure(settings)
    app = App(model, settings)
    mix, lock = Mix(model.manifest.features, options.seed), threading.Lock()
    counts: Counter[str] = Counter()
    statuses: Counter[int] = Counter()
    wrong: list[str] = []
    memory: list[float] = []

    with served(options.bundle.resolve()) as (process, port):

        def work(seed: int) -> None:
            client = Client(port, seed)
            while True:
                with lock:
                    if counts.total() >= options.requests:
                        return
                    kind, request = mix.draw()
                    counts[kind] += 1
                    if counts.total() % (options.requests // 10) == 0:
                        memory.append(megabytes(process.pid))
                try:
                    status, body = client.ask(request)
                except Exception as error:  # noqa: BLE001  whatever it is, no answer came
                    wrong.append(f"{kind}: {type(error).__name__}")
                    continue
                due: Answer = app.handle(request._replace(most=ANSWER_BODIES * MOST))
                statuses[status] += 1
                if (status, body) != (due.status, due.body):
                    wrong.append(
                        f"{kind}: {status} {body[:80]!r}, and due is {due.status} {due.body[:80]!r}"
                    )

        start = time.monotonic()
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(options.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - start
        memory.append(megabytes(process.pid))
    for line in wrong[:20]:
        print(line)
    print(f"requests: {dict(counts)}; statuses: {dict(sorted(statuses.items()))}")
    print(f"memory in MB, after each tenth: {', '.join(f'{each:.0f}' for each in memory)}")
    print(f"{counts.total():,} requests in {seconds:.0f} s, {len(wrong)} answered otherwise than is due")
    return int(bool(wrong) or memory[-1] > GROWTH * memory[0])


if __name__ == "__main__":
    sys.exit(main())
