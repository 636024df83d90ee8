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

from benchmarks import containers

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS = Path(__file__).parent / "contenders"
ROWS = 9_500_000
FIRST_ANSWER = """
from handler.app import lambda_handler
event = {"version": "2.0", "rawPath": "/predict", "headers": {},
         "rawQueryString": "age=45&new_user=0&total_pages_visited=5",
         "requestContext": {"http": {"method": "GET"}}}
print(lambda_handler(event, None)["body"])
"""
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


def side_by_side(title: str, contenders: Sequence[Contender], runs: int) -> dict[str, list[Run]]:
    """Run the contenders in turn, after one round that does not count, and print their table."""
    for contender in contenders:
        run(contender)
    found: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for _ in range(runs):
        for contender in contenders:
            found[contender.name].append(run(contender))
    print(f"\n{title}: median of {runs} (minimum to maximum)")
    reference = statistics.median(each.seconds for each in found[contenders[0].name])
    for name, each in found.items():
        seconds = [one.seconds for one in each]
        middle = statistics.median(seconds)
        print(
            f"  {middle / reference:6.2f} x  {middle:7.3f} s ({min(seconds):.3f} to {max(seconds):.3f})"
            f"  {max(one.megabytes for one in each):6.0f} MB  {name}"
        )
    return found


def first_answer(bundle: Path, pickled: Path, runs: int) -> None:
    """A cold ``lambda_handler`` until its first answer, served by ONNX and by the pickle."""
    command = (sys.executable, "-c", FIRST_ANSWER)
    contenders = [
        Contender("this handler, model.onnx", command, {"MODEL_DIR": str(bundle)}),
        Contender("this handler, model.joblib with scikit-learn", command, {"MODEL_DIR": str(pickled)}),
        Contender("bare Python", (sys.executable, "-c", "pass"), {}),
    ]
    answers = [json.loads(run(each).output) for each in contenders[:2]]
    assert answers[0]["prediction"] == answers[1]["prediction"]
    assert abs(answers[0]["probabilities"]["1"] - answers[1]["probabilities"]["1"]) < 1e-9
    side_by_side("First answer of a cold process", contenders, runs)


def batch(bundle: Path, folder: Path, rows: int, runs: int) -> None:
    """A file of three columns scored from disk to disk."""
    source = folder / "customers.csv"
    write_customers(source, rows)
    coefficients = json.dumps(linear_form(bundle))
    scored = folder / "scored" / source.name / "predictions.csv"
    here, env = sys.executable, {"MODEL_DIR": str(bundle)}
    contenders = [
        scoring("python -m handler score", source, folder / "scored", env),
        Contender(
            "polars: scan_csv, expression, sink_csv (no row checked)",
            (
                here,
                str(CONTENDERS / "polars_expression.py"),
                str(source),
                str(folder / "polars.csv"),
                coefficients,
            ),
            {},
        ),
        Contender(
            "pandas chunks and scikit-learn",
            (
                here,
                str(CONTENDERS / "pandas_chunks.py"),
                str(source),
                str(folder / "pandas.csv"),
                str(bundle),
            ),
            {},
        ),
    ]
    for each in contenders:
        run(each)
    same_predictions(scored, folder / "polars.csv", folder / "pandas.csv")
    read, written = (path.stat().st_size / 1e6 for path in (source, scored))
    print(f"\n{rows:,} rows, {read:.0f} MB in, {written:.0f} MB out")
    side_by_side("Batch", contenders, runs)


def memory(bundle: Path, folder: Path, rows: int) -> None:
    """Peak memory of scoring a file, and one ten times as large."""
    for times in (1, 10):
        source = folder / f"times{times}.csv"
        write_customers(source, rows * times)
        done = run(scoring("", source, folder / "scored", {"MODEL_DIR": str(bundle)}))
        size = source.stat().st_size / 1e6
        print(f"  {size:6.0f} MB in  {done.megabytes:6.0f} MB peak  {done.seconds:6.1f} s")
        source.unlink()


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
    side_by_side("Block size and workers", contenders, runs)


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
    (folder / "model.json").write_text(json.dumps({**manifest, "runtime": "joblib"}))
    return folder


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    usual = ["start", "containers", "batch", "memory"]
    told = f"{', '.join(usual)} (the default), or choices"
    parser.add_argument("parts", nargs="*", default=usual, metavar="PART", help=told)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as name:
        folder = Path(name)
        bundle = folder / "model"
        trained = (sys.executable, "-m", "training", "--out", str(bundle))
        run(Contender("training", trained, {}))
        parts: dict[str, Callable[[], None]] = {
            "start": lambda: first_answer(
                bundle, pickled_copy(bundle, folder / "pickled"), max(9, options.runs)
            ),
            "batch": lambda: batch(bundle, folder, options.rows, options.runs),
            "containers": lambda: containers.compare(
                bundle, pickled_copy(bundle, folder / "pickled too"), folder, max(9, options.runs)
            ),
            "memory": lambda: memory(bundle, folder, options.rows),
            "choices": lambda: choices(bundle, folder, options.rows, options.runs),
        }
        print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors", flush=True)
        for part in options.parts:
            parts[part]()


if __name__ == "__main__":
    main()
