"""Categories and booleans as codes: a cell has the same answer in a table of many rows as in a request."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import polars as pl
import pytest

from handler.bundle import Bundle
from handler.categories import texts_of
from handler.manifest import JOBLIB, ONNX, Feature
from handler.schema import InvalidValue, Schema, parse_text
from handler.scoring.estimator import JoblibScorer, unpickle
from handler.scoring.model import load_scorer
from handler.tables.series import Series
from tests.support.bundles import mixed_rows, resealed, trained
from tests.support.serving import serve
from training.bundling import sha256_of
from training.export.graph import to_onnx

#: Cells that are one of few texts, another one, missing, or spelled in another way; some need quotes.
STREETS = ["Zürich", " Oslo ", '"Łódź"', '"東京"', "Bern", '"a ""b"", c"', "oslo"]
HEATINGS = ["gas", "oil", "\theat pump", "", '""', " ", "coal", '" gas"']
GARDENS = ["yes", "NO", " True", "f", "1", "0"]


@pytest.fixture(scope="module")
def linear_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes by logistic regression, from one-hot columns and numbers."""
    folder = tmp_path_factory.mktemp("linear")
    frame = mixed_rows(800).drop(columns="price")
    return trained(folder, frame, "offers", target="class", pipeline="logistic")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many rows that blocks are read by columns; the first ones have every cell with every other."""
    random = np.random.default_rng(0)
    rows = [
        f"{random.normal(80, 25):.3f},{random.integers(1, 7)},{garden},{street},{heating},{random.random():.3f}"  # noqa: E501
        for _ in range(8)
        for garden in GARDENS
        for street in STREETS
        for heating in HEATINGS
    ]
    path = tmp_path_factory.mktemp("table") / "offers.csv"
    path.write_text("\n".join(["living area,no.rooms,garden,Straße,heating,âge", *rows, ""]))
    return path


def scored(bundle: Path, table: Path, out: Path, *flags: str) -> bytes:
    """What the command makes of a table, in blocks of 70 KB."""
    command = [
        sys.executable,
        "-m",
        "handler",
        "score",
        str(table),
        "--output",
        str(out),
        "--quiet",
        *flags,
    ]
    env = {"MODEL_DIR": str(bundle), "BLOCK_BYTES": "70000", "PATH": ""}
    subprocess.run(command, env=env, check=True, capture_output=True)
    folder = out / table.name
    parts = sorted((folder / "predictions").glob("*.csv"))
    tables = [each.read_bytes() for each in parts or [folder / "predictions.csv"]]
    head = tables[0].partition(b"\n")[0] + b"\n"
    return b"".join([head, *(each.removeprefix(head) for each in tables)])


def input_kinds(bundle: Path) -> set[int]:
    graph = onnx.load(bundle / ONNX).graph
    return {each.type.tensor_type.elem_type for each in graph.input}


@pytest.mark.slow
def test_a_table_has_the_answers_of_single_requests_in_one_piece_and_in_parts(
    linear_dir: Path, table: Path, tmp_path: Path
) -> None:
    assert onnx.TensorProto.STRING not in input_kinds(linear_dir)
    whole = scored(linear_dir, table, tmp_path / "whole")
    assert scored(linear_dir, table, tmp_path / "parts", "--parts", "3") == whole
    given = pl.read_csv(table, infer_schema=False, empty_string_is_null=False)
    frame = pl.read_csv(whole, infer_schema=False, empty_string_is_null=False)
    assert frame.height == given.height
    with serve(linear_dir) as base:
        for index in range(0, given.height, 29):
            query = urllib.parse.urlencode(given.row(index, named=True))
            with urllib.request.urlopen(f"{base}/predict?{query}") as reply:
                answer = json.load(reply)
            row = frame.row(index, named=True)
            assert row["prediction"] == answer["prediction"]
            for label, probability in answer["probabilities"].items():
                assert float(row[f"probability_{label}"]) == pytest.approx(probability, abs=1e-12)


@pytest.mark.slow
def test_a_graph_that_takes_texts_is_served_as_before(
    linear_dir: Path, table: Path, tmp_path: Path
) -> None:
    bundle = Bundle.open(linear_dir)
    texts = to_onnx(unpickle(bundle.read(JOBLIB)), bundle.manifest.contract)

    def change(document: Any) -> None:
        document["files"][ONNX] = sha256_of({ONNX: texts})[ONNX]

    older = resealed(linear_dir, tmp_path / "older", change)
    (older / ONNX).write_bytes(texts)
    assert onnx.TensorProto.STRING in input_kinds(older)
    made = [pl.read_csv(scored(each, table, tmp_path / each.name)) for each in (older, linear_dir)]
    assert made[0]["prediction"].equals(made[1]["prediction"])
    for name in (each for each in made[0].columns if each.startswith("probability")):
        np.testing.assert_allclose(made[0][name], made[1][name], atol=1e-12)


def test_the_estimator_itself_is_given_the_texts_again(linear_dir: Path) -> None:
    bundle = Bundle.open(linear_dir)
    contract = bundle.manifest.contract
    rows = [
        (80.0, 3.0, 1.0, street, heating, 9.0)
        for street in ("Oslo", "Bern")
        for heating in ("gas", "", "x")
    ]
    columns = Schema(contract.features).columns(rows * 6)
    own = JoblibScorer(unpickle(bundle.read(JOBLIB)), contract).score(columns)
    served = load_scorer(bundle).score(columns)
    np.testing.assert_array_equal(served.values, own.values)
    np.testing.assert_allclose(served.probabilities, own.probabilities, atol=1e-12)  # type: ignore[arg-type]


@pytest.mark.parametrize("nullable", [True, False])
@pytest.mark.parametrize("open", [True, False])
@pytest.mark.parametrize("kind", ["category", "boolean"])
def test_a_column_is_read_as_each_of_its_cells(kind: Any, open: bool, nullable: bool) -> None:
    words = ("n/a", "none") if nullable else ()
    known = ("red", "n/a", " padded", "1", "Blue") if kind == "category" else ()
    feature = Feature("c", kind, nullable, categories=known, open=open, missing_words=words)
    blanks = [" red", "padded", " padded", "", " \t", "None ", " 1", "other ", "\u00a0"]
    cells = ["red", "N/A", "n/a", "none", "blue", "Blue", "1", "yes", "YES", "yEs", "x" * 200, "other", "t"]
    for texts in ([*cells, *blanks, *cells], ["red"] * 50, ["other"] * 3, []):
        values, doubtful = Series((feature,)).parse(feature, pl.Series(texts, dtype=pl.String))
        refused = np.zeros(len(texts), bool) if doubtful is None else doubtful
        values = texts_of(values)
        for text, value, out in zip(texts, values, refused, strict=True):
            try:
                expected = parse_text(feature, text)
            except InvalidValue:
                assert out, text
            else:
                assert not out, text
                assert value == expected or (pd.isna(value) and pd.isna(expected)), text
