"""Bundles that every test may read, trained once a run through training's own API."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from handler.scoring.model import Model
from tests.support.bundles import measurements, mixed_rows, reviews, trained
from tests.support.cloud import GCS, S3, gcs_server, s3_server
from tests.support.ids import ADDRESS
from tests.support.once import once
from tests.support.serving import serve
from training.data import sample

# Time is never asserted; with CI=true every run tries the same examples.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--fast``: what one runs after every edit."""
    parser.addoption("--fast", action="store_true", help="leave out containers, browsers and what is slow")


@pytest.hookimpl(optionalhook=True)  # -p no:xdist
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores, up to 8: while a test waits for a container, others go on."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores + 1, 8)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what ``--fast`` leaves out, by its marks; refuse ids that differ between processes.

    Containers come first: whoever has nothing left to do takes over tests from the others, and these take
    long and wait much.
    """
    if named := [item.nodeid for item in items if ADDRESS.search(item.nodeid)]:
        raise pytest.UsageError(f"ids that hold an address; see tests/support/ids.py: {named}")
    items.sort(key=lambda item: item.get_closest_marker("containers") is None)
    if not config.getoption("--fast"):
        return
    left_out = [
        item
        for item in items
        if {"containers", "browser", "slow"} & {mark.name for mark in item.iter_markers()}
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish() -> None:
    """What was imported and collected stays: no collection of garbage need walk through it again.

    What tests make is looked through more seldom, too.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


Trained = Callable[..., Path]


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """``trained`` into a folder of that name, which all processes of the run read."""

    def bundle(name: str, frame: pd.DataFrame, called: str, **options: Any) -> Path:
        made = once(tmp_path_factory, name, lambda folder: trained(folder, frame, called, **options))
        return made / "model"

    return bundle


@pytest.fixture(scope="session")
def bundle_dir(trained_once: Trained) -> Path:
    """A binary model with the sample's columns: age, new_user, total_pages_visited; served by ONNX."""
    return trained_once("sales", sample.rows(555, rows=20_000, converted=645), "sales")


@pytest.fixture(scope="session")
def mixed_dir(trained_once: Trained) -> Path:
    """Three classes from every kind of feature, some nullable, under awkward names; served by ONNX."""
    return trained_once("mixed", mixed_rows().drop(columns="price"), "mixed", target="class")


@pytest.fixture(scope="session")
def regression_dir(trained_once: Trained) -> Path:
    """A number from the features of ``mixed_dir``; served by ONNX."""
    return trained_once("regression", mixed_rows().drop(columns="class"), "regression", target="price")


@pytest.fixture(scope="session")
def joblib_dir(trained_once: Trained) -> Path:
    """The features of ``bundle_dir`` through a pipeline that no graph can be made of."""
    frame = sample.rows(555, rows=20_000, converted=645)
    return trained_once("joblib", frame, "fallback", pipeline="tests.support.pipelines:unexportable")


@pytest.fixture(scope="session")
def anomaly_dir(trained_once: Trained) -> Path:
    """An isolation forest, which has no target; served by ONNX."""
    return trained_once("anomaly", measurements(), "machines", pipeline="isolation_forest")


@pytest.fixture(scope="session")
def cluster_dir(trained_once: Trained) -> Path:
    """A mixture of two clusters, with probabilities and a score; served by ONNX."""
    return trained_once("cluster", measurements(), "machines", pipeline="tests.support.pipelines:mixture")


@pytest.fixture(scope="session")
def text_dir(trained_once: Trained) -> Path:
    """Two classes from a free text, a number and a category."""
    return trained_once("texts", reviews(), "reviews", target="y", kinds={"comment": "text"})


@pytest.fixture(scope="session")
def date_dir(trained_once: Trained) -> Path:
    """Two classes from a date and a number."""
    start = pd.Timestamp("2024-01-01")
    dates = [str((start + pd.Timedelta(days=day)).date()) for day in range(600)]
    frame = pd.DataFrame({"when": dates, "amount": np.arange(600) % 7, "y": np.arange(600) % 7 > 3})
    return trained_once("dates", frame.astype({"y": int}), "visits", target="y")


@pytest.fixture(scope="module")
def one_processor() -> Iterator[None]:
    """Keep to one processor: threads of which one moves at a time take half as long to take turns there."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    processors = os.sched_getaffinity(0)
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    os.sched_setaffinity(0, {sorted(processors)[worker % len(processors)]})
    yield
    os.sched_setaffinity(0, processors)


@pytest.fixture(scope="session")
def model(bundle_dir: Path) -> Model:
    return Model.load(bundle_dir)


@pytest.fixture(scope="session")
def mixed_model(mixed_dir: Path) -> Model:
    return Model.load(mixed_dir)


@pytest.fixture(scope="session")
def regression_model(regression_dir: Path) -> Model:
    return Model.load(regression_dir)


@pytest.fixture(scope="session")
def joblib_model(joblib_dir: Path) -> Model:
    return Model.load(joblib_dir)


@pytest.fixture(scope="session")
def server(bundle_dir: Path) -> Iterator[str]:
    """The base URL of the application, served as a process of its own with ``bundle_dir``."""
    with serve(bundle_dir) as base:
        yield base


@pytest.fixture(scope="session")
def s3() -> Iterator[S3]:
    """S3 with its notifications; each test makes buckets of its own."""
    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def gcs() -> Iterator[GCS]:
    """Cloud Storage; each test makes buckets of its own."""
    with gcs_server() as server:
        yield server
