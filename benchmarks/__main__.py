"""Measure the handler beside what it is an alternative to: whole processes, in turn, ratios first.

Seconds are wall-clock from the process's start to its end, megabytes its peak resident memory as the
operating system accounts for it, imports included. Every contender's predictions are compared first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import containers, lambdas, results, servers
from benchmarks.answers import predicted, same_answers
from benchmarks.environments import CONTENDERS, ROOT, environment, versions

ROWS = 9_500_000
#: Starts a command and notes its seconds, peak kilobytes and exit code. A process's peak includes what the
#: process that started it held at that moment, so this one holds next to nothing.
MEASURE = """
import os, sys, time
start = time.perf_counter()
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - start
with open(sys.argv[1], "w") as file:
    print(seconds, usage.ru_maxrss, os.waitstatus_to_exitcode(status), file=file)
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """One command line and what the table calls it; the first of a table is its reference."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process: seconds, peak megabytes, what it printed."""

    seconds: float
    megabytes: float
    output: str


def run(contender: Contender) -> Run:
    """Run a contender once; raises ``RuntimeError`` with its words if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder) / "measured"
        done = subprocess.run(
            [sys.executable, "-S", "-c", MEASURE, str(measured), *contender.command],
            cwd=ROOT,
            env={**os.environ, "LOG_LEVEL": "ERROR", **contender.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        seconds, kilobytes, exit_code = (float(word) for word in measured.read_text().split())
    if exit_code:
        raise RuntimeError(f"{contender.name}: {done.stderr[-2000:]}")
    return Run(seconds, kilobytes / 1024, done.stdout)


def side_by_side(
    name: str,
    title: str,
    contenders: Sequence[Contender],
    runs: int,
    more: str = "",
    settings: Mapping[str, str] | None = None,
) -> None:
    """Run the contenders in turn, each of them warmed up by its caller, and keep their table."""
    found: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for _ in range(runs):
        for contender in contenders:
            found[contender.name].append(run(contender))
    seconds = {each: [one.seconds for one in done] for each, done in found.items()}
    notes = {each: f"{max(one.megabytes for one in done):.0f} MB" for each, done in found.items()}
    told = f"{more} Medians of {runs}; megabytes are the greatest peak.".strip()
    results.keep(name, results.table(title, seconds, notes=notes, more=told, settings=settings))


def start(bundle: Path, forest: Path, pickled: Path, folder: Path, runs: int) -> None:
    """The first answer of Lambda handlers under the emulator, each process a new one."""
    emulator = containers.emulator()
    if emulator is None:
        print("\nStart: left out, no emulator")
        return
    ours, theirs, empty = compiled_handler(folder), folder / "theirs", folder / "empty"
    lambdas.compiled(CONTENDERS, theirs)
    empty.mkdir()
    (empty / "empty.py").write_text(containers.EMPTY)
    model = {"MODEL_FILE": str(bundle / "model.joblib")}
    entry = "handler.app.lambda_handler"
    handlers = [
        lambdas.Handler("an empty handler", "empty.handler", empty),
        lambdas.Handler("this handler, logistic regression", entry, ours, {"MODEL_DIR": str(bundle)}),
        lambdas.Handler("this handler, 100 trees of depth 8", entry, ours, {"MODEL_DIR": str(forest)}),
        lambdas.Handler("this handler, served by joblib", entry, ours, {"MODEL_DIR": str(pickled)}),
        lambdas.Handler("scikit-learn as the vendor's template", "vendor_lambda.handler", theirs, model),
    ]
    programs = environment("fastapi_app")
    if programs is not None:
        app, python = theirs / "fastapi_app", str(programs / "python")
        handlers.append(
            lambdas.Handler("Mangum, FastAPI, scikit-learn", "mangum_app.handler", app, model, python)
        )
    settings = {
        handlers[1].name: versions("", "awslambdaric"),
        handlers[4].name: versions("", "awslambdaric", "scikit-learn", "pandas"),
        "Mangum, FastAPI, scikit-learn": versions("fastapi_app", "mangum", "fastapi", "scikit-learn"),
    }
    seconds: dict[str, list[float]] = {each.name: [] for each in handlers}
    notes: dict[str, str] = {}
    answers = {}
    for turn in range(runs + 1):  # the first does not count
        for each in handlers:
            try:
                first = lambdas.first_answer(each, emulator)
            except (RuntimeError, OSError) as error:
                notes[each.name] = str(error)[:200]
                continue
            answers[each.name] = predicted(first.answer)
            notes[each.name] = f"{first.megabytes:.0f} MB"
            if turn:
                seconds[each.name].append(first.seconds)
    same_answers({name: told for name, told in answers.items() if "trees" not in name})
    title = "First answer of a Lambda handler, under the emulator"
    results.keep(
        "start", results.table(title, seconds, notes=notes, more=f"Medians of {runs}.", settings=settings)
    )


def compiled_handler(folder: Path) -> Path:
    """A folder with a compiled copy of this project's handler."""
    ours = folder / "ours"
    if not ours.exists():
        lambdas.compiled(ROOT / "handler", ours / "handler")
    return ours


SPEED = """
import json, os, statistics, sys, time
from handler.app import lambda_handler
event = json.loads(sys.argv[1])
count = int(sys.argv[2])
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # a reader's wake-up at each line is not the handler's
for _ in range(count // 10):
    lambda_handler(event, None)
seconds = []
for _ in range(count):
    start = time.perf_counter()
    lambda_handler(event, None)
    seconds.append(time.perf_counter() - start)
print(statistics.median(seconds) * 1e6)
"""


def speed(bundle: Path, forest: Path, pickled: Path, runs: int) -> None:
    """``lambda_handler`` on an API Gateway event, in a warm process, its log line written to /dev/null."""
    event = json.dumps(lambdas.EVENT)
    models = {
        "this handler, logistic regression": (bundle, 20_000),
        "this handler, 100 trees of depth 8": (forest, 5_000),
        "the same handler with scikit-learn's predict_proba": (pickled, 500),
    }
    found: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(runs):
        for name, (model, count) in models.items():
            env = {"MODEL_DIR": str(model), "AWS_LAMBDA_FUNCTION_NAME": "f", "LOG_LEVEL": "INFO"}
            command = (sys.executable, "-c", SPEED, event, str(count))
            found[name].append(float(run(Contender(name, command, env)).output.splitlines()[-1]))
    title = "A prediction by a warm lambda_handler, API Gateway event to reply"
    results.keep(
        "speed",
        results.table(
            title,
            found,
            unit="µs",
            more=f"Medians of {runs} processes; log lines with metrics go to /dev/null.",
        ),
    )


def batch(bundle: Path, folder: Path, rows: int, runs: int, *, distinct: bool = False) -> None:
    """A file of three columns scored from disk to disk."""
    source = folder / "customers.csv"
    (write_distinct if distinct else write_customers)(source, rows)
    coefficients = json.dumps(linear_form(bundle))
    scored = folder / "scored" / source.name / "predictions.csv"

    def script(name: str, output: str, *words: str) -> tuple[str, ...]:
        return (sys.executable, str(CONTENDERS / name), str(source), str(folder / output), *words)

    contenders = [
        scoring("this handler", source, folder / "scored", {"MODEL_DIR": str(bundle)}),
        Contender(
            "polars: scan_csv, expression, sink_csv (no row checked)",
            script("polars_expression.py", "polars.csv", coefficients),
            {},
        ),
        Contender(
            "pandas chunks and scikit-learn", script("pandas_chunks.py", "pandas.csv", str(bundle)), {}
        ),
    ]
    ours, polars, pandas = (contender.name for contender in contenders)
    settings = {
        ours: f"python -m handler score, default settings; {versions('', 'polars', 'onnxruntime')}",
        polars: f"the streaming engine, all processors; {versions('', 'polars')}",
        pandas: f"chunks of 250,000 rows; {versions('', 'pandas', 'scikit-learn')}",
    }
    others = [folder / "polars.csv", folder / "pandas.csv"]
    programs = environment("duckdb_sql")
    if programs is not None:
        _, *words = script("duckdb_sql/duckdb_expression.py", "duckdb.csv", coefficients)
        duckdb = Contender(
            "DuckDB: read_csv, expression, COPY (no row checked)", (str(programs / "python"), *words), {}
        )
        contenders.insert(2, duckdb)
        settings[duckdb.name] = versions("duckdb_sql", "duckdb")
        others.append(folder / "duckdb.csv")
    for each in contenders:
        run(each)
    same_predictions(scored, *others)
    read, written = (path.stat().st_size / 1e6 for path in (source, scored))
    kind = "all different" if distinct else "few of them different, as in the real file"
    title = f"Batch: {rows:,} rows, {kind}"
    more = f"{read:.0f} MB in, {written:.0f} MB out, disk to disk, whole processes."
    side_by_side("distinct" if distinct else "batch", title, contenders, runs, more, settings)


def memory(bundle: Path, folder: Path, rows: int) -> None:
    """Peak memory of scoring a file, and one ten times as large."""
    peaks, notes = {}, {}
    for times in (1, 10):
        source = folder / f"times{times}.csv"
        write_customers(source, rows * times)
        contender = scoring("", source, folder / "scored", {"MODEL_DIR": str(bundle)})
        done = [run(contender) for _ in range(3)]
        name = f"this handler, {source.stat().st_size / 1e6:,.0f} MB in"
        peaks[name] = [each.megabytes for each in done]
        notes[name] = f"{statistics.median(each.seconds for each in done):.1f} s"
        source.unlink()
    results.keep("memory", results.table("Peak memory of a batch", peaks, unit="MB", notes=notes))


def choices(bundle: Path, folder: Path, rows: int, runs: int) -> None:
    """The block sizes and workers that the defaults were chosen from."""
    source = folder / "customers.csv"
    write_customers(source, rows)
    contenders = [
        scoring(
            f"{workers} workers, blocks of {size / 1048576:g} MiB",
            source,
            folder / "scored",
            {"MODEL_DIR": str(bundle), "WORKERS": str(workers), "BLOCK_BYTES": str(size)},
        )
        for workers in (4, 2, 3)
        for size in (3 << 18, 1 << 19, 1 << 20)
    ]
    for each in contenders:
        run(each)
    side_by_side("choices", "Block size and workers", contenders, runs)


def scoring(name: str, source: Path, output: Path, env: Mapping[str, str]) -> Contender:
    """Score with the handler, anew each time."""
    script = (
        "import shutil, sys; from handler.__main__ import main; "
        "shutil.rmtree(sys.argv[2], ignore_errors=True); "
        "sys.exit(main(['score', sys.argv[1], '--output', sys.argv[2]]))"
    )
    return Contender(name, (sys.executable, "-c", script, str(source), str(output)), env)


def write_customers(path: Path, rows: int) -> None:
    """The synthetic sample without its target, repeated to so many rows."""
    from training import sample

    text = sample.rows(555).drop(columns="converted").to_csv(index=False)
    header, body = text.split("\n", 1)
    lines = body.splitlines(keepends=True)
    with path.open("w") as file:
        file.write(header + "\n")
        for start in range(0, rows, len(lines)):
            file.writelines(lines[: rows - start])


def write_distinct(path: Path, rows: int) -> None:
    """As many rows, of which hardly two are the same."""
    import numpy as np
    import polars as pl

    random = np.random.default_rng(555)
    columns = {
        "age": random.integers(17, 99, rows),
        "new_user": random.integers(0, 2, rows),
        "total_pages_visited": random.integers(1, 1_000_000_000, rows),
    }
    pl.DataFrame(columns).write_csv(path)


def linear_form(bundle: Path) -> dict[str, Any]:
    """The pickled pipeline as one linear expression over the columns."""
    import joblib

    pipeline = joblib.load(bundle / "model.joblib")
    scaler, model = pipeline[0].named_transformers_["numbers"][-1], pipeline[-1]
    coefficients = model.coef_[0] / scaler.scale_
    return {
        "coefficients": dict(zip(pipeline.feature_names_in_, coefficients.tolist(), strict=True)),
        "intercept": float(model.intercept_[0] - coefficients @ scaler.mean_),
    }


def same_predictions(ours: Path, *others: Path) -> None:
    """Raise ``AssertionError`` unless all files hold the same predictions."""
    import polars as pl

    frames = [pl.read_csv(path, columns=["prediction", "probability"]) for path in (ours, *others)]
    for frame in frames[1:]:
        assert (frame["prediction"] == frames[0]["prediction"]).all()
        assert (frame["probability"] - frames[0]["probability"]).abs().max() < 1e-9  # type: ignore[operator]


def pickled_copy(bundle: Path, folder: Path) -> Path:
    """The same bundle, with the manifest naming the pickle as what serves."""
    folder.mkdir()
    for file in bundle.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((bundle / "model.json").read_text())
    manifest |= {"runtime": "joblib", "engines": {"one": "joblib", "many": "joblib"}}
    (folder / "model.json").write_text(json.dumps(manifest))
    return folder


QUICK = ("start", "speed", "servers", "cloudrun", "batch", "memory")
ALL = (*QUICK, "distinct", "others", "containers")


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    told = f"{', '.join(QUICK)} (the default); {', '.join(ALL[len(QUICK) :])}, choices; or all"
    parser.add_argument("parts", nargs="*", default=QUICK, metavar="PART", help=told)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    asked = ALL if list(options.parts) == ["all"] else options.parts
    unknown = set(asked) - {*ALL, "choices"}
    if unknown or min(options.rows, options.runs) < 1:
        parser.error(f"no such part: {', '.join(unknown)}" if unknown else "--rows and --runs start at 1")
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        bundle, forest = folder / "model", folder / "forest"
        trained = (sys.executable, "-m", "training", "--out")
        run(Contender("training", (*trained, str(bundle)), {}))
        of_trees = ("--pipeline", "benchmarks.forest:forest")
        run(Contender("training", (*trained, str(forest), *of_trees), {}))
        pickled = pickled_copy(bundle, folder / "pickled")
        few, many = options.runs, max(9, options.runs)
        parts: dict[str, Callable[[], None]] = {
            "start": lambda: start(bundle, forest, pickled, folder, many),
            "speed": lambda: speed(bundle, forest, pickled, many),
            "servers": lambda: servers.compare(bundle, compiled_handler(folder), many),
            "cloudrun": lambda: containers.compare_cloud_run(bundle, folder, many),
            "batch": lambda: batch(bundle, folder, options.rows, few),
            "distinct": lambda: batch(bundle, folder, options.rows // 3, few, distinct=True),
            "memory": lambda: memory(bundle, folder, options.rows),
            "others": lambda: servers.compare_others(bundle, compiled_handler(folder), folder, many),
            "containers": lambda: containers.compare_lambda(bundle, forest, pickled, folder, many),
            "choices": lambda: choices(bundle, folder, options.rows, few),
        }
        print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors", flush=True)
        for part in asked:
            parts[part]()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
