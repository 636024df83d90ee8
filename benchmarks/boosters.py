"""Gradient boosting libraries: a model served by this project beside the library's own ``predict_proba``.

Each has 100 trees of depth 6, on the sample's rows. ``--pipeline benchmarks.boosters:xgboost`` trains one.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import containers, lambdas, results
from benchmarks.answers import RECORD
from benchmarks.environments import versions
from benchmarks.processes import Contender, run

#: The libraries, by the names of their distributions.
LIBRARIES = {"xgboost": "xgboost-cpu", "lightgbm": "lightgbm", "catboost": "catboost"}
#: One row through a library's own ``predict_proba``, from the pickle in a bundle.
OWN = """
import json, statistics, sys, time
from pathlib import Path
import pandas
from handler.bundle import Bundle
from handler.scoring.estimator import unpickle
estimator = unpickle(Bundle.open(Path(sys.argv[1])).read("model.joblib"))
row = pandas.DataFrame([json.loads(sys.argv[2])], dtype=float)
given = row if sys.argv[3] == "frame" else row.to_numpy()
for _ in range(100):
    estimator.predict_proba(given)
seconds = []
for _ in range(1000):
    start = time.perf_counter()
    estimator.predict_proba(given)
    seconds.append(time.perf_counter() - start)
print(statistics.median(seconds) * 1e6)
"""


def xgboost() -> Any:
    """An unfitted classifier."""
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=100, max_depth=6, n_jobs=1)


def lightgbm() -> Any:
    """An unfitted classifier."""
    from lightgbm import LGBMClassifier

    return LGBMClassifier(n_estimators=100, max_depth=6, num_leaves=63, n_jobs=1, verbose=-1)


def catboost() -> Any:
    """An unfitted classifier."""
    from catboost import CatBoostClassifier

    return CatBoostClassifier(iterations=100, depth=6, thread_count=1, verbose=0, allow_writing_files=False)


def compare(folder: Path, runs: int) -> None:
    """One row and the first answer of each."""
    bundles = {name: folder / name for name in LIBRARIES}
    notes = {}
    for name, bundle in bundles.items():
        command = (
            sys.executable,
            "-m",
            "training",
            "--pipeline",
            f"{__name__}:{name}",
            "--out",
            str(bundle),
        )
        run(Contender(f"training {name}", command, {}))
        manifest = json.loads((bundle / "model.json").read_text())
        if manifest["engines"] != {"one": "scalar", "many": "onnx"}:
            raise RuntimeError(f"{name} is not exported: {manifest['parity']}")
        notes[name] = _proof(manifest["parity"])
    _one_row(bundles, notes, runs)
    _first_answers(bundles, folder, runs)


def _proof(parity: dict[str, Any]) -> str:
    labels = "identical" if parity["labels_identical"] else "different"
    rows = parity["rows"] + parity["adversarial_rows"]
    return f"{rows:,} rows compared: labels {labels}, largest difference {parity['largest_difference']:.0e}"


def _one_row(bundles: dict[str, Path], notes: dict[str, str], runs: int) -> None:
    event, record = json.dumps(lambdas.EVENT), json.dumps(RECORD)
    contenders = {}
    for name, bundle in bundles.items():
        env = {"MODEL_DIR": str(bundle), "AWS_LAMBDA_FUNCTION_NAME": "f", "LOG_LEVEL": "INFO"}
        served = Contender(
            f"this handler, {name}", (sys.executable, "-c", lambdas.SPEED, event, "5000"), env
        )
        contenders[served.name] = served
        for given in ("frame", "array"):
            command = (sys.executable, "-c", OWN, str(bundle), record, given)
            own = Contender(f"{name}'s predict_proba of one row, {given}", command, {})
            contenders[own.name] = own
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, each in contenders.items():
            found[name].append(float(run(each).output.splitlines()[-1]))
    title = "A prediction of a gradient boosting model: a warm lambda_handler, and the library alone"
    results.keep(
        "boosters",
        results.table(
            title,
            found,
            unit="µs",
            notes={f"this handler, {name}": note for name, note in notes.items()},
            more=f"100 trees of depth 6. Medians of {runs} processes.",
            settings={"the libraries": versions("", *LIBRARIES.values())},
        ),
    )


def _first_answers(bundles: dict[str, Path], folder: Path, runs: int) -> None:
    emulator = containers.emulator()
    if emulator is None:
        print("\nFirst answers of boosters: left out, no emulator")
        return
    empty = folder / "empty for boosters"
    empty.mkdir()
    (empty / "empty.py").write_text(containers.EMPTY)
    handlers = [lambdas.Handler("an empty handler", "empty.handler", empty)]
    handlers += [
        lambdas.Handler(
            f"this handler, {name}",
            "handler.app.lambda_handler",
            lambdas.image(bundle, folder / f"function-{name}"),
        )
        for name, bundle in bundles.items()
    ]
    seconds: dict[str, list[float]] = {each.name: [] for each in handlers}
    notes = {}
    for turn in range(runs + 1):  # the first does not count
        for each in handlers:
            first = lambdas.first_answer(each, emulator)
            notes[each.name] = f"{first.megabytes:.0f} MB"
            if turn:
                seconds[each.name].append(first.seconds)
    title = "First answer of a Lambda handler with a gradient boosting model, under the emulator"
    more = f"100 trees of depth 6. Medians of {runs}."
    results.keep("boosters_start", results.table(title, seconds, notes=notes, more=more))
