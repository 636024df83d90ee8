"""A file whose lines repeat gets the outputs that it would get if every line stood alone."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from handler.batch import folding
from handler.batch.run import Batch
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.locations import Location
from handler.storage.storage import Storage


def cells(feature: Any) -> list[str]:
    """Some cells of a feature, good and bad."""
    good = {
        "category": [*feature.categories[:3], "neither of them"],
        "boolean": ["yes", "0"],
        "integer": ["1", "7", "007"],
        "number": ["1.50", "2", "1e1"],
    }[feature.kind]
    return [*good, "", "odd"]


def table(model: Model, rows: int) -> str:
    """A CSV of ``rows`` rows, of which about one in ten differs from the others, with a column beside."""
    chance = random.Random(1)
    distinct = [
        [chance.choice("αβ"), *(chance.choice(cells(each)) for each in model.schema.features)]
        for _ in range(rows // 10)
    ]
    distinct += [["short"], [*distinct[0], "long"]]
    header = ",".join(["beside", *model.schema.names])
    return "\n".join([header, *(",".join(chance.choice(distinct)) for _ in range(rows))])


def outputs(model: Model, source: Path, folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, Any]:
    settings = Settings(workers=3, block_bytes=64 * 1024)
    scored = Batch(model, settings, Storage()).score(
        Location.parse(str(source)), Location.parse(str(folder))
    )
    assert scored.summary is not None
    tables = [
        pl.read_csv(folder / name, schema_overrides={"row": pl.String, "beside": pl.String})
        for name in ("predictions.csv", "rejected.csv")
    ]
    return tables[0], tables[1], json.loads((folder / "summary.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("fixture", ["bundle_dir", "mixed_dir", "joblib_dir"])
def test_a_folded_file_is_scored_as_if_every_line_stood_alone(
    fixture: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.load(request.getfixturevalue(fixture))
    source = tmp_path / "table.csv"
    source.write_text(table(model, 20_000))
    found = outputs(model, source, tmp_path / "folded")
    with monkeypatch.context() as patched:
        patched.setattr(folding, "repeats", lambda _: False)
        alone = outputs(model, source, tmp_path / "alone")
    assert found[2]["rows"] == alone[2]["rows"]
    assert found[2]["rows"]["read"] == 20_000
    assert found[2]["rows"]["rejected"] > 1000
    assert found[2]["rejects"] == alone[2]["rejects"]
    assert found[2]["predictions"] == alone[2]["predictions"]
    assert found[1].equals(alone[1])
    probabilities = [name for name in alone[0].columns if name.startswith("probability")]
    assert found[0].drop(probabilities).equals(alone[0].drop(probabilities))
    for name in probabilities:
        assert (found[0][name] - alone[0][name]).abs().max() < 1e-6  # type: ignore[operator]


@pytest.mark.slow
def test_more_distinct_lines_than_a_run_remembers_are_scored_all_the_same(
    bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folding, "MOST_LINES", 100)
    model = Model.load(bundle_dir)
    source = tmp_path / "table.csv"
    source.write_text(table(model, 20_000))
    predictions, rejected, summary = outputs(model, source, tmp_path / "out")
    assert summary["rows"]["read"] == len(predictions) + len(rejected) == 20_000


@pytest.mark.slow
def test_lines_that_go_and_come_again_keep_their_own_outputs(
    bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model.load(bundle_dir)
    young = [f"{age},1,{pages}" for age in range(18, 30) for pages in range(20)]
    old = [f"{age},0,{pages}" for age in range(60, 72) for pages in range(20)]
    source = tmp_path / "table.csv"
    lines = [*young * 100, *old * 100, "", *young * 100, "old,0,1", *old * 100]
    source.write_text("\n".join(["age,new_user,total_pages_visited", *lines, ""]))
    found = outputs(model, source, tmp_path / "folded")
    monkeypatch.setattr(folding, "repeats", lambda _: False)
    alone = outputs(model, source, tmp_path / "alone")
    assert found[2]["rows"] == {"read": 96_001, "scored": 96_000, "rejected": 1}
    assert found[1].equals(alone[1])
    assert found[0].drop("probability").equals(alone[0].drop("probability"))
    assert (found[0]["probability"] - alone[0]["probability"]).abs().max() < 1e-12  # type: ignore[operator]
