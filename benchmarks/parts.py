"""A file in parts: what its plan reads, what parts cost, what processes gain; and small files."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks import batches, results
from benchmarks.processes import Contender, Run, run
from handler.batch.parts import part_bytes

#: What the template's function has: megabytes, and seconds.
MEGABYTES, SECONDS = 3008, 900
#: Seconds before the stand-in for S3 answers: about what S3 takes for a first byte.
LATENCY = 0.02
#: Bytes of rows around each boundary of a file that is a hole everywhere else.
BEFORE, AROUND = 16 * 1024, 128 * 1024
PARTS = 8
#: Scores a file in one piece and, if a number of parts is given, in parts, in turns, in one process: the
#: seconds and processor seconds of each, as JSON. The first turn does not count.
IN_TURNS = """
import json, os, shutil, sys, time
from handler.batch.run import Batch
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.locations import Location
from handler.storage.storage import Storage

source, folder, count, turns = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
settings = Settings.from_env(os.environ)
model, storage = Model.load(settings.model_dir, None), Storage()
input, output = Location.parse(source), Location.parse(folder)

def whole(batch):
    batch.score(input, output)

def parts(batch):
    for part in batch.plan(input, count=count):
        batch.score_part(input, output, part)
    batch.join(input, output)

ways = {"whole": whole, "parts": parts} if count else {"whole": whole}
found = {name: [] for name in ways}
for turn in range(turns + 1):
    for name, score in ways.items():
        shutil.rmtree(folder, ignore_errors=True)
        batch = Batch(model, settings, storage)  # which knows nothing of the file
        start, processor = time.perf_counter(), time.process_time()
        score(batch)
        if turn:
            found[name].append((time.perf_counter() - start, time.process_time() - processor))
print(json.dumps(found))
"""


def compare(bundle: Path, forest: Path, pickled: Path, folder: Path, runs: int) -> None:
    """Everything that ``RESULTS.md`` and ``docs/one-terabyte.md`` say of parts."""
    plans(bundle, folder, min(runs, 3))
    rows, quoted, distinct = folder / "rows.csv", folder / "quoted.csv", folder / "distinct.csv"
    batches.write_customers(rows, 20_000_000)
    write_quoted(quoted, 1_500_000)
    overhead(bundle, {"few rows differ": rows, "quoted texts with line ends": quoted}, folder, runs)
    batches.write_distinct(distinct, 1_000_000)
    rates(
        {
            "logistic regression, few rows differ": (bundle, rows),
            "logistic regression, all rows differ": (bundle, distinct),
            "100 trees of depth 8, all rows differ": (forest, distinct),
        },
        folder,
        min(runs, 3),
    )
    few = folder / "few.csv"
    batches.write_distinct(few, 200_000)
    scaling(
        {
            "few rows differ": (bundle, rows),
            "quoted texts with line ends": (bundle, quoted),
            "100 trees, all rows differ": (forest, distinct),
            "scikit-learn by joblib, all rows differ": (pickled, few),
        },
        folder,
        min(runs, 3),
    )
    for each in (rows, quoted, distinct, few):
        each.unlink()
    small(bundle, folder, min(runs, 3))


def plans(bundle: Path, folder: Path, runs: int) -> None:
    """``python -m handler plan`` of three sizes, of a file on a disk and behind a slow server."""
    size = part_bytes(SECONDS, MEGABYTES)
    found: dict[str, list[float]] = {}
    notes: dict[str, str] = {}
    for name, length in (("1 GB", 10**9), ("10 GB", 10**10), ("1 TB", 10**12)):
        source = folder / "sparse.csv"
        write_sparse(source, length, size)
        with serving(source) as server:
            for where, uri in (("on a disk", str(source)), ("in S3", "s3://benchmarks/sparse.csv")):
                words = (
                    "-m",
                    "handler",
                    "plan",
                    uri,
                    "--part-bytes",
                    str(size),
                    "--output",
                    "s3://out/put",
                )
                env = {"MODEL_DIR": str(bundle), **server.env}
                contender = Contender(f"{name} {where}", (sys.executable, *words), env)
                done = []
                for _ in range(runs):
                    server.requests = server.bytes = 0
                    done.append(run(contender))
                found[contender.name] = [each.seconds for each in done]
                count = len(json.loads(done[-1].output))
                notes[contender.name] = f"{count:,} parts" + (
                    f"; {server.requests:,} requests, {server.bytes / 1e6:.1f} MB read"
                    if server.requests
                    else ""
                )
        source.unlink()
    results.keep(
        "plan",
        results.table(
            "The plan of a large file",
            found,
            notes=notes,
            more=f"Whole processes, medians of {runs}. Parts of {size / 1e6:.0f} MB, as of a function of "
            f"{MEGABYTES:,} MB and {SECONDS} s. The files hold rows at their head and boundaries, and "
            f"nothing between; S3 is a stand-in that waits {LATENCY * 1000:.0f} ms before each answer.",
        ),
    )


def overhead(bundle: Path, sources: Mapping[str, Path], folder: Path, runs: int) -> None:
    """Files in one piece and in parts, one after the other in one process: equal work."""
    seconds: dict[str, list[float]] = {}
    processor: dict[str, list[float]] = {}
    notes = {}
    for name, source in sources.items():
        words = (str(source), str(folder / "turns"), str(PARTS), str(runs))
        done = run(Contender(name, (sys.executable, "-c", IN_TURNS, *words), {"MODEL_DIR": str(bundle)}))
        times = json.loads(done.output.splitlines()[-1])
        for way, title in (("whole", "in one piece"), ("parts", f"in {PARTS} parts")):
            seconds[f"{name}, {title}"] = [each[0] for each in times[way]]
            processor[f"{name}, {title}"] = [each[1] for each in times[way]]
        ratios = [
            statistics.median(each[index] for each in times["parts"])
            / statistics.median(each[index] for each in times["whole"])
            for index in (0, 1)
        ]
        notes[f"{name}, in {PARTS} parts"] = (
            f"{ratios[0]:.3f} x the seconds and {ratios[1]:.3f} x the processor seconds of one piece"
        )
    sizes = ", ".join(f"{source.stat().st_size / 1e6:.0f} MB ({name})" for name, source in sources.items())
    results.keep(
        "parts",
        results.table(
            f"The processor time of {PARTS} parts beside one piece, at equal work",
            processor,
            notes=notes,
            more=f"Processor seconds, in turns in one process, medians of {runs}; the parts are scored one "
            f"after the other, and joined. {sizes}.",
        ),
    )


def rates(models: Mapping[str, tuple[Path, Path]], folder: Path, runs: int) -> None:
    """Bytes of a file that one processor scores in a second, and bytes of predictions for each."""
    found: dict[str, list[float]] = {}
    growth = {}
    for name, (model, source) in models.items():
        words = (str(source), str(folder / "turns"), "0", str(runs))
        done = run(Contender(name, (sys.executable, "-c", IN_TURNS, *words), {"MODEL_DIR": str(model)}))
        times = json.loads(done.output.splitlines()[-1])["whole"]
        size = source.stat().st_size
        found[name] = [size / 1e6 / processor for _, processor in times]
        growth[name] = (folder / "turns" / "predictions.csv").stat().st_size / size
    part = results.table(
        "Megabytes of a table for each second of a processor",
        found,
        unit="MB/s",
        notes={name: f"{times:.1f} MB of predictions for each" for name, times in growth.items()},
        more=f"In one piece, in a warm process, medians of {runs}.",
    )
    results.keep("rates", {**part, "growth": growth})


def scaling(models: Mapping[str, tuple[Path, Path]], folder: Path, runs: int) -> None:
    """``score --parts`` beside ``score``, as whole processes."""
    found: dict[str, list[float]] = {}
    notes = {}
    for name, (model, source) in models.items():
        env = {"MODEL_DIR": str(model)}
        contenders = [batches.scoring(f"{name}, in one piece", source, folder / "split", env)]
        contenders += [
            batches.scoring(
                f"{name}, --parts {count}", source, folder / "split", env, "--parts", str(count)
            )
            for count in (2, 4, 8)
        ]
        done: dict[str, list[Run]] = {each.name: [] for each in contenders}
        for _ in range(runs):
            for each in contenders:
                done[each.name].append(run(each))
        first = statistics.median(one.seconds for one in done[contenders[0].name])
        for way, those in done.items():
            found[way] = [one.seconds for one in those]
            middle = statistics.median(found[way])
            busy = statistics.median(one.processor / one.seconds for one in those)
            notes[way] = f"{first / middle:.2f} x as fast as one piece; {busy:.1f} processors busy"
    results.keep(
        "scaling",
        results.table(
            "Parts in processes, beside one piece in one process",
            found,
            notes=notes,
            more=f"python -m handler score, whole processes in turn, medians of {runs}.",
        ),
    )


def small(bundle: Path, folder: Path, runs: int) -> None:
    """A thousand files of a hundred rows by one command."""
    source, output = folder / "small", folder / "of-small"
    source.mkdir()
    batches.write_customers(source / "0000.csv", 100)
    text = (source / "0000.csv").read_text()
    for index in range(1, 1000):
        (source / f"{index:04}.csv").write_text(text)
    contender = batches.scoring(
        "1,000 files of 100 rows", source, output, {"MODEL_DIR": str(bundle)}, "--quiet"
    )
    done = [run(contender) for _ in range(runs)]
    results.keep(
        "small",
        results.table(
            "A thousand small files by one command",
            {contender.name: [each.seconds for each in done]},
            notes={contender.name: f"{max(each.megabytes for each in done):.0f} MB"},
            more=f"python -m handler score FOLDER, whole processes from disk to disk, medians of {runs}.",
        ),
    )


def write_sparse(path: Path, length: int, size: int) -> None:
    """A file that holds rows at its head, at its end, and around each multiple of ``size``."""
    batches.write_customers(path, 20_000)
    text = path.read_bytes()
    body = text[text.index(b"\n") + 1 :][:AROUND]
    with path.open("r+b") as file:
        for start in range(size, length, size):
            file.seek(start - BEFORE)
            file.write(body)
        file.truncate(length)


def write_quoted(path: Path, rows: int) -> None:
    """Rows that all differ, each with a quoted text of two lines, which a comma and a quote stand in."""
    import numpy as np

    random = np.random.default_rng(555)
    ages, users, pages = (random.integers(*ends, rows) for ends in ((17, 99), (0, 2), (1, 1_000_000_000)))
    text = '"A visitor, as the notes say,\nwho asked for ""the red one"", twice: {}"\n'
    with path.open("w", newline="") as file:
        file.write("age,new_user,total_pages_visited,notes\n")
        file.writelines(
            f"{age},{user},{page},{text.format(index)}"
            for index, (age, user, page) in enumerate(zip(ages, users, pages, strict=True))
        )


class Server(ThreadingHTTPServer):
    """S3, as far as a plan needs it: one object, its head and its ranges, after ``LATENCY``."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, source: Path) -> None:
        self.file = os.open(source, os.O_RDONLY)
        self.size = source.stat().st_size
        self.requests = self.bytes = 0
        self.lock = threading.Lock()
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def env(self) -> dict[str, str]:
        """What points the handler to it."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.server_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "benchmarks",
            "AWS_SECRET_ACCESS_KEY": "benchmarks",
        }


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_HEAD(self) -> None:
        self._answer(range(self.server.size), body=False)

    def do_GET(self) -> None:
        start, end = self.headers["Range"].removeprefix("bytes=").split("-")
        self._answer(range(int(start), min(int(end) + 1, self.server.size)), body=True)

    def _answer(self, asked: range, *, body: bool) -> None:
        time.sleep(LATENCY)
        with self.server.lock:
            self.server.requests += 1
            self.server.bytes += len(asked) if body else 0
        self.send_response(206 if body else 200)
        self.send_header("ETag", '"sparse"')
        self.send_header("Last-Modified", "Thu, 26 Nov 2026 05:00:00 GMT")
        self.send_header("Content-Length", str(len(asked)))
        if body:
            self.send_header("Content-Range", f"bytes {asked[0]}-{asked[-1]}/{self.server.size}")
        self.end_headers()
        if body:
            self.wfile.write(os.pread(self.server.file, len(asked), asked[0]))

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def serving(source: Path) -> Iterator[Server]:
    """A server of the file, until the block is left."""
    server = Server(source)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        os.close(server.file)
        thread.join()
