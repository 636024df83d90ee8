"""Every estimator of ``tests.support.estimators`` is trained, proven and served as docs/estimators.md says.

``WRITE_DOCS=1 pytest tests/test_estimators.py`` measures and writes that table anew.
"""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from handler.bundle import Manifest
from handler.scoring import checking
from handler.scoring.model import Model
from tests.support.bundles import mixed_rows, quiet
from tests.support.estimators import ESTIMATORS, Row
from training.train import Options, train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "estimators.md"
WITHOUT_TARGET = ("anomalies", "clusters")
WRITING = os.environ.get("WRITE_DOCS") == "1"
FIRST = """
import json, sys, time
start = time.perf_counter()
from handler.app import lambda_handler
lambda_handler(json.loads(sys.argv[1]), None)
print(time.perf_counter() - start)
"""
HEAD = """# Estimators

Which engine serves what, estimator by estimator: each trained on 2,000 rows of mixed columns (numbers with
gaps, booleans, whole numbers, categories), and compared with scikit-learn on 20,000 rows or more. `make
estimators` trains and measures them all again, and the tests hold the first four columns to it.

- *many*, *one*: what serves many rows, and one. *difference*: the largest one found on any row by either,
  of a probability, or of a value or a score in units of its spread; labels were equal on every row.
- *size*: of the files that serve. *one row*: the median time of a prediction. *start*: from importing the
  handler in a new process to its first answer.

| estimator | predicts | many | one | difference | size | one row | start |
|---|---|---|---|---|---|---|---|
"""
measured: dict[str, str] = {}


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("estimators")
    frame = mixed_rows(2000)
    frame["dear"] = np.where(frame["price"] > frame["price"].median(), "yes", "no")
    targets = ["class", "dear", "price"]
    for target in targets:
        frame.drop(columns=[each for each in targets if each != target]).to_csv(
            folder / f"{target}.csv", index=False
        )
    for name in WITHOUT_TARGET:
        frame.drop(columns=targets).to_csv(folder / f"{name}.csv", index=False)
    return folder


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", ESTIMATORS, ids=lambda row: row.name)
def test_an_estimator_is_served_as_the_table_says(
    row: Row, tables: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.pipelines.NAMED", {"chosen": row.build})
    out = tables / re.sub(r"\W+", "_", row.name)
    target = None if row.target in WITHOUT_TARGET else row.target
    options = Options(tables / f"{row.target}.csv", target, "chosen", out=out)
    manifest = train(options, quiet)
    assert manifest.engines == {"one": row.engine, "many": row.runtime}, manifest.parity
    model = Model.load(out)
    assert checking.differences(model) == []
    agrees_with_the_estimator(model, out, tables / f"{row.target}.csv")
    if WRITING:
        measured[row.name] = measure(row, manifest, model, out)


def agrees_with_the_estimator(model: Model, out: Path, source: Path) -> None:
    """Rows one by one and all together are what the pickled pipeline says of them."""
    estimator = joblib.load(out / "model.joblib")
    cells = pd.read_csv(source, dtype=str, keep_default_na=False).head(200)
    records = [
        model.schema.from_cells({name: row[name] for name in model.schema.names})
        for row in cells.to_dict("records")
    ]
    frame = pd.DataFrame(dict(model.schema.columns(records)))
    expected = estimator.predict(frame).tolist()
    for found in ([model.predict([record])[0] for record in records], model.predict(records)):
        said = [each["prediction"] for each in found]
        if model.manifest.task == "regression":
            assert said == pytest.approx(expected, rel=1e-5)
        else:
            assert said == expected
    if model.manifest.probabilities:
        given = np.array([list(each["probabilities"].values()) for each in model.predict(records)])
        assert np.abs(given - estimator.predict_proba(frame)).max() < 1e-6


def measure(row: Row, manifest: Manifest, model: Model, out: Path) -> str:
    record = model.schema.from_json(manifest.golden[0]["record"])
    seconds = []
    for _ in range(50):
        start = time.perf_counter()
        model.predict([record])
        seconds.append(time.perf_counter() - start)
    event = json.dumps(manifest.golden[0]["record"])
    starts = [
        float(
            subprocess.run(
                [sys.executable, "-c", FIRST, event],
                env={**os.environ, "MODEL_DIR": str(out), "LOG_LEVEL": "ERROR", "PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for _ in range(3)
    ]
    names = ["model.joblib"] if manifest.runtime == "joblib" else ["model.onnx", "model.scalar"]
    size = sum((out / name).stat().st_size for name in names if (out / name).exists())
    parity = manifest.parity
    differences = [parity.get("largest_difference"), parity.get("scalar", {}).get("largest_difference")]
    largest = max((each for each in differences if each is not None), default=0.0)
    targets = {"dear": "two classes", "class": "three classes", "price": "a number"}
    predicts = targets.get(row.target, row.target)
    told: list[Any] = [
        row.name,
        predicts,
        *(manifest.engines[each] for each in ("many", "one")),
        f"{largest:.0e}" if manifest.runtime == "onnx" else "-",
        f"{size / 1000:,.0f} kB",
        f"{statistics.median(seconds) * 1e6:,.0f} µs",
        f"{statistics.median(starts):.2f} s",
    ]
    return f"| {' | '.join(told)} |"


def test_the_table_lists_every_estimator() -> None:
    if WRITING:
        TABLE.write_text(HEAD + "\n".join(measured[row.name] for row in ESTIMATORS) + "\n")
    lines = [
        line.strip("| ").split(" | ") for line in TABLE.read_text().splitlines() if line.startswith("| ")
    ]
    listed = [(name, many, one) for name, _, many, one, *_ in lines[1:]]
    assert listed == [(row.name, row.runtime, row.engine) for row in ESTIMATORS]
