"""Measure the handler beside what it is an alternative to: whole processes, in turn, ratios first.

Seconds are wall-clock from the process's start to its end, megabytes its peak resident memory as the
operating system accounts for it, imports included. Every contender's predictions are compared first.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import batches, boosters, containers, lambdas, parts, results, servers, shapes
from benchmarks.answers import predicted, same_answers
from benchmarks.environments import CONTENDERS, ROOT, environment, versions
from benchmarks.processes import Contender, run
from handler.manifest import content_version

#: Of each turn of a slow handler, those of a fast one.
TURNS = 5


def start(bundle: Path, forest: Path, pickled: Path, folder: Path, runs: int) -> None:
    """The first answer of Lambda handlers under the emulator, each process a new one."""
    emulator = containers.emulator()
    if emulator is None:
        print("\nStart: left out, no emulator")
        return
    theirs, empty = folder / "theirs", folder / "empty"
    lambdas.compiled(CONTENDERS, theirs)
    empty.mkdir()
    (empty / "empty.py").write_text(containers.EMPTY)
    model = {"MODEL_FILE": str(bundle / "model.joblib")}
    entry = "handler.app.lambda_handler"
    handlers = [
        lambdas.Handler("an empty handler", "empty.handler", empty),
        lambdas.Handler(
            "this handler, logistic regression", entry, lambdas.image(bundle, folder / "function")
        ),
        lambdas.Handler(
            "this handler, 100 trees of depth 8", entry, lambdas.image(forest, folder / "function-trees")
        ),
        lambdas.Handler("make zip, logistic regression", entry, lambdas.unpacked(bundle, folder / "zip")),
        lambdas.Handler(
            "make zip, 100 trees of depth 8", entry, lambdas.unpacked(forest, folder / "zip-trees")
        ),
        lambdas.Handler(
            "this handler, served by joblib", entry, lambdas.image(pickled, folder / "function-joblib")
        ),
        lambdas.Handler("scikit-learn as the vendor's template", "vendor_lambda.handler", theirs, model),
    ]
    settings = {
        handlers[1].name: versions("", "awslambdaric"),
        handlers[-1].name: versions("", "awslambdaric", "scikit-learn", "pandas"),
    }
    programs = environment("fastapi_app")
    if programs is not None:
        app, python = theirs / "fastapi_app", str(programs / "python")
        handlers.append(
            lambdas.Handler("Mangum, FastAPI, scikit-learn", "mangum_app.handler", app, model, python)
        )
        settings[handlers[-1].name] = versions("fastapi_app", "mangum", "fastapi", "scikit-learn")
    seconds: dict[str, list[float]] = {each.name: [] for each in handlers}
    notes: dict[str, str] = {}
    answers = {}
    slow = handlers[5:]  # they load scikit-learn; the others differ by milliseconds, as their turns do
    for turn in range(TURNS * runs + 1):  # the first does not count
        for each in handlers:
            if turn > runs and each in slow:
                continue
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
    more = f"Without SnapStart. Medians of {TURNS * runs}, and of {runs} where scikit-learn is loaded."
    results.keep("start", results.table(title, seconds, notes=notes, more=more, settings=settings))


def compiled_handler(folder: Path) -> Path:
    """A folder with a compiled copy of this project's handler."""
    ours = folder / "ours"
    if not ours.exists():
        lambdas.compiled(ROOT / "handler", ours / "handler")
    return ours


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
            command = (sys.executable, "-c", lambdas.SPEED, event, str(count))
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


def pickled_copy(bundle: Path, folder: Path) -> Path:
    """The same bundle, with the manifest naming the pickle as what serves."""
    folder.mkdir()
    for file in bundle.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    manifest = json.loads((bundle / "model.json").read_text())
    manifest |= {"runtime": "joblib", "engines": {"one": "joblib", "many": "joblib"}}
    manifest["version"] = content_version(manifest)
    (folder / "model.json").write_text(json.dumps(manifest))
    return folder


def choices(bundle: Path, folder: Path, rows: int, runs: int) -> None:
    """What the defaults were chosen from, on narrow rows and on wide ones."""
    batches.choices(bundle, folder, rows, runs)
    shapes.choices(folder, min(rows, shapes.ROWS), runs)


ROWS = 9_500_000
QUICK = (
    "start",
    "speed",
    "boosters",
    "servers",
    "cloudrun",
    "batch",
    "distinct",
    "shapes",
    "memory",
    "parts",
)
ALL = (*QUICK, "others", "containers")


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
        of_trees = ("--pipeline", "benchmarks.pipelines:book_forest")
        run(Contender("training", (*trained, str(forest), *of_trees), {}))
        pickled = pickled_copy(bundle, folder / "pickled")
        few, many = options.runs, max(9, options.runs)
        measured: dict[str, Callable[[], None]] = {
            "start": lambda: start(bundle, forest, pickled, folder, many),
            "speed": lambda: speed(bundle, forest, pickled, many),
            "boosters": lambda: boosters.compare(folder, many),
            "servers": lambda: servers.compare(bundle, compiled_handler(folder), folder, many),
            "cloudrun": lambda: containers.compare_cloud_run(bundle, folder, many),
            "batch": lambda: batches.batch(bundle, folder, options.rows, few),
            "distinct": lambda: batches.batch(bundle, folder, options.rows // 3, few, distinct=True),
            "shapes": lambda: shapes.compare(folder, min(options.rows, shapes.ROWS), few),
            "memory": lambda: batches.memory(bundle, folder, options.rows),
            "parts": lambda: parts.compare(bundle, forest, pickled, folder, few),
            "others": lambda: servers.compare_others(bundle, compiled_handler(folder), folder, many),
            "containers": lambda: containers.compare_lambda(bundle, forest, pickled, folder, many),
            "choices": lambda: choices(bundle, folder, options.rows, few),
        }
        print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors", flush=True)
        for part in asked:
            measured[part]()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
