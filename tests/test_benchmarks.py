"""The arithmetic of the benchmarks: ratios, and dollars; what they measure is not asserted."""

from __future__ import annotations

import json
import math
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest

from benchmarks import costs, parts, pipelines, results, shapes, tables, terabyte
from handler.batch.run import Batch
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.locations import Location
from handler.storage.storage import Storage
from tests.support.cloud import S3
from tests.support.faults import FaultyProxy

#: Ten parts of 100 MB, each of 3 and 100 seconds, four at a time.
JOB = terabyte.Job(10**9, 10**8, 4, 1e6, 1.5, plan=5, completion=7)


def test_a_table_has_ratios_to_its_reference() -> None:
    part = results.table(
        "Title", {"ours": [2.0, 1.0, 3.0], "theirs": [8.0], "broken": []}, notes={"broken": "no"}
    )
    first, second, third = results.lines(part)
    assert first.split() == ["1.00", "x", "2.000", "s", "(1.000", "to", "3.000)", "ours"]
    assert second.startswith("     4.00 x  8.000 s")
    assert third == "     failed  broken: no"


def test_a_prediction_costs_its_request_and_its_milliseconds() -> None:
    assert costs.one(100, 1769) == pytest.approx(0.2e-6 + 0.001 * 1769 / 1024 * 0.0000166667)
    assert costs.one(64, 128) == costs.one(1, 128)  # one millisecond is the least
    assert costs.one(100, 128) == pytest.approx(0.2e-6 + 0.002 * 128 / 1024 * 0.0000166667)


def test_a_billion_rows_cost_their_gigabyte_seconds() -> None:
    assert costs.batch(1.0, 1_000_000) == pytest.approx(1000 * 3538 / 1024 * 0.0000166667)


def test_the_pages_are_what_the_stored_results_give() -> None:
    store = json.loads(results.STORE.read_text())
    assert results.PAGE.read_text() == results.page(store)
    assert costs.PAGE.read_text() == costs.page(store)
    assert terabyte.PAGE.read_text() == terabyte.page(store)


def test_parts_take_their_waves_and_cost_their_seconds() -> None:
    result = terabyte.formula(JOB)
    assert result.wall == pytest.approx(5 + 3 * 103 + 7)
    function = (10 * 103 + 5 + 7) * 3008 / 1024 * 0.0000166667 + 10 * 0.2e-6
    uploads = 10**8 * 1.5 / (8 * 1024 * 1024)
    requests = 10 * (terabyte.READS * 0.0004 + (terabyte.WRITES + uploads) * 0.005) / 1000
    assert result.dollars == pytest.approx(function + 30 * 0.025 / 1000 + requests)


@pytest.mark.parametrize("concurrency", [1, 4, 10, 1000])
def test_without_stragglers_and_kills_the_simulation_is_the_formula(concurrency: int) -> None:
    job = JOB._replace(concurrency=concurrency)
    assert terabyte.simulated(job, spread=0, killed_every=math.inf) == pytest.approx(terabyte.formula(job))


def test_a_part_that_is_killed_costs_a_try_and_waits() -> None:
    plain, killed = terabyte.formula(JOB), terabyte.simulated(JOB, spread=0, killed_every=300)
    assert killed.retries > 0
    assert killed.failed == 0
    assert killed.wall > plain.wall
    assert killed.dollars > plain.dollars
    assert terabyte.simulated(JOB, spread=0, killed_every=300) == killed  # the seed is fixed


def test_a_part_that_no_function_ends_fails_after_the_tries_of_the_definition() -> None:
    pauses, most = terabyte.backoff()
    assert pauses == [5, 15, 45, 135, 300][:most]
    result = terabyte.simulated(JOB._replace(rate=1e5), spread=0, killed_every=math.inf)
    assert (result.failed, result.retries) == (10, 10 * most)


def test_a_part_asks_s3_as_often_as_its_costs_say(
    s3: S3, bundle_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyProxy(s3.url) as proxy:
        for name, value in s3.at(proxy.url).env.items():
            monkeypatch.setenv(name, value)
        bucket = s3.bucket()
        rows = b"age,new_user,total_pages_visited\n" + b"45,0,5\nx,0,1\n" * 100_000
        s3.put(bucket, "in/big.csv", rows)
        settings = Settings(output_uri=f"s3://{bucket}/out")
        batch = Batch(Model.load(bundle_dir), settings, Storage(allow_http=True))
        input = Location.parse(f"s3://{bucket}/in/big.csv")
        planned = batch.plan(input, count=20)
        for part in planned[:2]:  # the second one finds the record of the first, and not the next ones'
            proxy.clear()
            batch.run(input, part=part)
        methods = [call.method for call in proxy.calls]
        lists = sum("list-type" in call.target for call in proxy.calls)
    reads = methods.count("GET") + methods.count("HEAD") - lists
    assert (reads, len(methods) - reads) == (terabyte.READS, terabyte.WRITES)


def test_a_plan_reads_a_window_at_each_boundary(bundle_dir: Path, tmp_path: Path) -> None:
    """Of a file that is a hole between its boundaries, by the very server that the figures come from."""
    source, size = tmp_path / "sparse.csv", 10**9
    parts.write_sparse(source, 20 * size, size)
    with parts.serving(source) as server, pytest.MonkeyPatch.context() as patched:
        for name, value in server.env.items():
            patched.setenv(name, value)
        batch = Batch(Model.load(bundle_dir), Settings(), Storage(allow_http=True))
        planned = batch.plan(Location.parse("s3://sparse/sparse.csv"), size=size)
    assert len(planned) == 20
    assert server.requests == 1 + 1 + 19  # its version, its head, and its boundaries
    assert server.bytes <= 20 * (64 * 1024 + 1)


def test_the_measured_tables_are_as_their_titles_say(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    kinds = tables.mixed(1000, random).drop(tables.TARGET).schema.dtypes()
    counts = {kind: kinds.count(kind) for kind in (pl.Float64, pl.Int64, pl.Boolean, pl.String)}
    assert counts == {pl.Float64: 10, pl.Int64: 4, pl.Boolean: 2, pl.String: 4}
    assert tables.narrow(10, random).width == 5 + 1
    assert tables.wide(10, random).width == 500 + 1
    assert tables.of_classes(5000, random)[tables.TARGET].n_unique() == 20
    lengths = tables.reviews(100, random)["review"].str.split(" ").list.len()
    assert (lengths.min(), lengths.max()) >= (5, 50)
    tables.write_rows(tmp_path / "half.csv", tables.narrow, 4000, rejected=0.5)
    half = pl.read_csv(tmp_path / "half.csv", infer_schema=False)
    assert 1900 < (half["number_0"] == "unknown").sum() < 2100
    tables.write_small(tmp_path / "small", tables.narrow, files=3, rows=7)
    assert [pl.read_csv(each).height for each in sorted((tmp_path / "small").iterdir())] == [7, 7, 7]


def test_the_expression_of_polars_and_duckdb_is_the_pipeline(tmp_path: Path) -> None:
    tables.write_training(tmp_path / "train.csv", tables.mixed, 3000)
    frame = pd.read_csv(tmp_path / "train.csv")
    model = pipelines.logistic().fit(frame.drop(columns=tables.TARGET), frame[tables.TARGET])
    joblib.dump(model, tmp_path / "model.joblib")
    form = shapes.linear_form(tmp_path)
    score = form["intercept"] + sum(frame[name] * each for name, each in form["coefficients"].items())
    for name, levels in form["levels"].items():
        spelled = frame[name].astype(str).str.lower() if name.startswith("flag") else frame[name]
        score = score + spelled.map(levels)
    assert score.to_numpy() == pytest.approx(model.decision_function(frame.drop(columns=tables.TARGET)))
