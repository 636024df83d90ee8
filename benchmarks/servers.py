"""HTTP servers as whole processes: the first answer, then requests a second over eight connections."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.answers import RECORD, RECORDS, predicted, same_answers
from benchmarks.environments import CONTENDERS, environment, versions

QUERY = "/predict?age=45&new_user=0&total_pages_visited=5"
CONNECTIONS = 8
SECONDS = 2.0
#: Of the file that is scored while rows are predicted.
FILE_BYTES = 20_000_000


@dataclass(frozen=True, slots=True)
class Server:
    """A command that listens on ``{port}``, and the request that is made of it.

    ``{port}`` in ``command`` and ``env`` is the port that it is asked on, ``{port1}`` and ``{port2}`` in
    ``env`` are others that are free. ``prepare`` is run once before, ``settings`` says how it is set up.
    """

    name: str
    settings: str
    command: Sequence[str]
    folder: Path
    env: Mapping[str, str]
    path: str = QUERY
    body: Mapping[str, Any] | Sequence[Any] | None = None
    prepare: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class Served:
    """Seconds to the first answer, what the load measured, peak megabytes of all processes, the answer."""

    first: float
    load: Mapping[str, float]
    megabytes: float
    answer: Any


def compare(bundle: Path, handler: Path, folder: Path, runs: int) -> None:
    """Measure this project's server both ways beside FastAPI's, and alone while it scores a file.

    ``handler`` is the folder of a compiled copy of this project's.
    """
    made = [*ours(bundle, handler), *fastapi(bundle)]
    _in_turn("servers", "an HTTP server", made, runs)
    _in_turn(
        "servers_many", f"an HTTP server to {len(RECORDS)} rows", [_asked_many(each) for each in made], runs
    )
    _beside_a_file(made[: len(ours(bundle, handler))], folder, runs)


def _asked_many(server: Server) -> Server:
    """The same, asked for many rows at once; FastAPI's application has a route for them."""
    path = "/predict_many" if server.name.startswith("FastAPI") else "/predict"
    return replace(server, path=path, body=RECORDS)


def _beside_a_file(made: Sequence[Server], folder: Path, runs: int) -> None:
    """The p99 of predictions over their median, without a file and while one is scored."""
    file = folder / "posted.csv"
    rows = "".join(f"{20 + row % 60},{row % 2},{row % 30}\n" for row in range(FILE_BYTES // 8))
    file.write_text("age,new_user,total_pages_visited\n" + rows)
    ratios: dict[str, list[float]] = {}
    notes: dict[str, str] = {}
    for _ in range(runs):
        for each in made:
            for name, files in ((each.name, ()), (f"{each.name}, scoring a file", (str(file),))):
                load = measure(each, *files).load
                ratios.setdefault(name, []).append(load["p99"] / load["p50"])
                notes[name] = f"p50 {load['p50']:.1f} ms, p99 {load['p99']:.1f} ms, {load['rate']:,.0f} 1/s"
    title = f"p99 of one row's prediction over its median, and while {FILE_BYTES // 10**6} MB are scored"
    more = f"Medians of {runs}; {CONNECTIONS} connections, one worker; beside them the last run."
    results.keep("servers_file", results.table(title, ratios, unit="", notes=notes, more=more))


def compare_others(bundle: Path, handler: Path, folder: Path, runs: int) -> None:
    """Measure the book's application and the servers made for models, beside this project's."""
    made = [ours(bundle, handler)[0], *others(bundle, folder)]
    _in_turn("others", "other servers", made, runs)


def _in_turn(part: str, kind: str, made: Sequence[Server], runs: int) -> None:
    """Measure the servers in turn, ``runs`` times; keep their first answers and their requests a second."""
    first: dict[str, list[float]] = {each.name: [] for each in made}
    rates: dict[str, list[float]] = {each.name: [] for each in made}
    notes: dict[str, str] = {}
    delays: dict[str, str] = {}
    answers = {}
    for each in made:
        if each.prepare:
            env = _environ(each)
            program = shutil.which(each.prepare[0], path=env["PATH"]) or each.prepare[0]
            words = [program, *each.prepare[1:]]
            subprocess.run(words, cwd=each.folder, env=env, check=True, capture_output=True)
    for _ in range(runs):
        for each in made:
            try:
                served = measure(each)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                notes[each.name] = str(error)[:200]
                continue
            answers[each.name] = predicted(served.answer)
            first[each.name].append(served.first)
            rates[each.name].append(served.load["rate"])
            notes[each.name] = f"{served.megabytes:.0f} MB"
            delays[each.name] = f"p50 {served.load['p50']:.1f} ms, p99 {served.load['p99']:.1f} ms"
    same_answers(answers)
    settings = {each.name: each.settings for each in made}
    more = f"Medians of {runs}; one worker; megabytes of all its processes."
    table = results.table(f"First answer of {kind}", first, notes=notes, more=more, settings=settings)
    results.keep(part, table)
    beside = {name: delays.get(name) or notes.get(name, "") for name in rates}
    title = f"Requests a second of {kind}: more is better"
    more = f"Medians of {runs}; {CONNECTIONS} connections. Beside them: how long the last run's took."
    results.keep(f"{part}_rate", results.table(title, rates, unit="1/s", notes=beside, more=more))


def ours(bundle: Path, handler: Path) -> list[Server]:
    """This project's server, over ASGI and over WSGI."""
    env = {"MODEL_DIR": str(bundle), "PYTHONPATH": str(handler), "FUNCTION_TARGET": "http"}
    framework = (sys.executable, "-m", "functions_framework", "--host=127.0.0.1", "--port={port}")
    return [
        Server(
            "this handler, functions-framework",
            f"ASGI, as Dockerfile.cloudrun runs it; {versions('', 'functions-framework', 'uvicorn')}",
            (sys.executable, "-m", "handler.server"),
            handler,
            {**env, "HOST": "127.0.0.1", "PORT": "{port}"},
        ),
        Server(
            "this handler, functions-framework over WSGI",
            f"its own command line; {versions('', 'gunicorn', 'flask')}",
            (*framework, "--target=http", f"--source={handler / 'handler' / 'app.py'}"),
            handler,
            env,
        ),
    ]


def fastapi(bundle: Path) -> list[Server]:
    """FastAPI as its documentation serves a model."""
    return _theirs(
        bundle, "FastAPI, uvicorn, scikit-learn", "fastapi", "plain functions, in its thread pool",
        ("uvicorn", "fastapi_app:app", "--port={port}", "--log-level=warning"),
        packages=("fastapi", "uvicorn"),
    )  # fmt: skip


def others(bundle: Path, folder: Path) -> list[Server]:
    """The book's application, and the servers made for models, whose environments can be made."""
    saved = folder / "mlflow-model"
    return [
        *_theirs(
            bundle, "Flask (the book's), gunicorn, scikit-learn", "flask", "one worker of eight threads",
            ("gunicorn", "--threads=8", "--bind=127.0.0.1:{port}", "flask_app:app"),
            packages=("flask", "gunicorn"),
        ),
        *_theirs(
            bundle, "LitServe, scikit-learn", "litserve", "accelerator cpu, one worker",
            ("python", "server.py", "{port}"), packages=("litserve",), path="/predict", body=RECORD,
        ),
        *_theirs(
            bundle, "BentoML, scikit-learn", "bentoml", "bentoml serve, one worker",
            ("bentoml", "serve", "service:OnlineSales", "--host=127.0.0.1", "--port={port}"),
            packages=("bentoml",), path="/predict", body=RECORD, env={"BENTOML_DO_NOT_TRACK": "True"},
        ),
        *_theirs(
            bundle, "MLflow, scikit-learn", "mlflow", "mlflow models serve, local environment, one worker",
            ("mlflow", "models", "serve", f"--model-uri={saved}", "--host=127.0.0.1", "--port={port}",
             "--env-manager=local", "--workers=1"),
            packages=("mlflow",), path="/invocations", body={"dataframe_records": [RECORD]},
            env={"MLFLOW_DISABLE_TELEMETRY": "true"},
            prepare=("python", "save.py", str(saved)),
        ),
        *_theirs(
            bundle, "MLServer, scikit-learn", "mlserver",
            "its scikit-learn runtime, one inference worker, as by default",
            ("mlserver", "start", "."), packages=("mlserver", "mlserver-sklearn"),
            path="/v2/models/online-sales/infer",
            body={
                "parameters": {"content_type": "pd"},
                "inputs": [
                    {"name": name, "shape": [1], "datatype": "FP64", "data": [value]}
                    for name, value in RECORD.items()
                ],
                "outputs": [{"name": "predict"}, {"name": "predict_proba"}],
            },
            env={
                "MLSERVER_MODEL_URI": str(bundle / "model.joblib"), "MLSERVER_HTTP_PORT": "{port}",
                "MLSERVER_GRPC_PORT": "{port1}", "MLSERVER_METRICS_PORT": "{port2}",
            },
        ),
    ]  # fmt: skip


def _theirs(
    bundle: Path,
    name: str,
    package: str,
    told: str,
    words: Sequence[str],
    *,
    packages: Sequence[str],
    env: Mapping[str, str] | None = None,
    **more: Any,
) -> list[Server]:
    """A server in an environment of its own, of the same pickle; none where that cannot be made."""
    programs = environment(f"{package}_app")
    if programs is None:
        return []
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    given = {"MODEL_FILE": str(bundle / "model.joblib"), "PATH": path, **(env or {})}
    settings = f"{told}; {versions(f'{package}_app', *packages, 'scikit-learn')}"
    command = (str(programs / words[0]), *words[1:])
    return [Server(name, settings, command, CONTENDERS / f"{package}_app", given, **more)]


def _environ(server: Server, *ports: int) -> dict[str, str]:
    """The environment of a server's processes."""
    names = {f"port{place or ''}": str(port) for place, port in enumerate(ports)}
    names |= {each: "0" for each in ("port", "port1", "port2") if each not in names}
    given = {name: value.format(**names) for name, value in server.env.items()}
    return {**os.environ, "LOG_LEVEL": "ERROR", "OPENBLAS_NUM_THREADS": "1", "PORT": names["port"], **given}


def measure(server: Server, *file: str) -> Served:
    """Start the server, ask once, then keep it busy, beside a file if given; raises ``RuntimeError``."""
    with socket.socket() as one, socket.socket() as two, socket.socket() as three:
        for probe in (one, two, three):
            probe.bind(("127.0.0.1", 0))
        port, *others = (int(probe.getsockname()[1]) for probe in (one, two, three))
    env = _environ(server, port, *others)
    words = [word.replace("{port}", str(port)) for word in server.command]
    start = time.perf_counter()
    process = subprocess.Popen(
        [shutil.which(words[0], path=env["PATH"]) or words[0], *words[1:]],
        cwd=server.folder,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        answer = _first(port, server, process)
        first = time.perf_counter() - start
        return Served(first, _load(port, server, *file), _peak(os.getsid(process.pid)), answer)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _first(port: int, server: Server, process: subprocess.Popen[bytes]) -> Any:
    """The first answer; raises ``RuntimeError``. Until its model is loaded, a server may refuse."""
    said, end = "it does not answer", time.perf_counter() + 60
    while time.perf_counter() < end:
        if process.poll() is not None:
            raise RuntimeError(f"it ended with exit code {process.returncode}")
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request(*_request(server))
            reply = connection.getresponse()
            body = reply.read()
            connection.close()
            if reply.status == 200:
                return json.loads(body)
            said = f"it answers {reply.status}"
        time.sleep(0.01)
    raise RuntimeError(said)


def _request(server: Server) -> tuple[str, str, str | None, dict[str, str]]:
    if server.body is None:
        return "GET", server.path, None, {}
    return "POST", server.path, json.dumps(server.body), {"content-type": "application/json"}


def _load(port: int, server: Server, *file: str) -> dict[str, float]:
    """What ``benchmarks/load.py`` measures at the server; raises ``RuntimeError``."""
    script = Path(__file__).with_name("load.py")
    words = [sys.executable, "-S", str(script), str(port), str(SECONDS), str(CONNECTIONS)]
    done = subprocess.run([*words, json.dumps(_request(server)), *file], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it refused requests under load"])[-1])
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


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
