"""Bundles that every test may read, trained once a session through training's own API."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from handler.model import Model
from tests.serving import serve
from training import sample
from training.train import Options, train

# Time is never asserted; with CI=true every run tries the same examples.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") == "true" else "here")


def quiet(_: str) -> None:
    """Where ``train`` reports to, in tests that do not look at it."""


def mixed_rows(rows: int = 3000, seed: int = 7) -> pd.DataFrame:
    """Made-up offers with every kind of feature, names of every kind, and gaps.

    ``class`` has three texts as its values, ``price`` is a number; each is a target.
    """
    random = np.random.default_rng(seed)
    area = random.normal(80, 25, rows).round(2)
    rooms = random.integers(1, 7, rows)
    garden = random.random(rows) < 0.4
    city = random.choice(["Zürich", "Łódź", "東京", "Oslo"], rows, p=[0.4, 0.3, 0.2, 0.1])
    heating = random.choice(["gas", "oil", "heat pump", ""], rows, p=[0.4, 0.3, 0.2, 0.1])
    age = random.gamma(2, 15, rows).round(1)
    price = (
        3 * area + 20 * rooms + 60 * garden + 90 * (city == "Zürich") - age + random.normal(0, 25, rows)
    ).round(3)
    label = np.array(["low", "middle", "high"])[np.digitize(price, np.quantile(price, [0.4, 0.75]))]
    frame = pd.DataFrame(
        {
            "living area": area,
            "no.rooms": rooms,
            "garden": np.where(garden, "yes", "no"),
            "Straße": city,
            "heating": heating,
            "âge": age,
            "class": label,
            "price": price,
        }
    )
    frame.loc[random.random(rows) < 0.1, "living area"] = np.nan
    frame.loc[random.random(rows) < 0.05, "âge"] = np.nan
    return frame


def trained(folder: Path, frame: pd.DataFrame, name: str, **options: Any) -> Path:
    """The bundle that training makes of the rows, in ``folder``."""
    frame.to_csv(folder / f"{name}.csv", index=False)
    train(Options(data=folder / f"{name}.csv", out=folder / "model", **options), quiet)
    return folder / "model"


@pytest.fixture(scope="session")
def bundle_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A binary model with the sample's columns: age, new_user, total_pages_visited; served by ONNX."""
    frame = sample.rows(555, rows=20_000, converted=645)
    return trained(tmp_path_factory.mktemp("sales"), frame, "sales")


@pytest.fixture(scope="session")
def mixed_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes from every kind of feature, some nullable, under awkward names; served by ONNX."""
    frame = mixed_rows().drop(columns="price")
    return trained(tmp_path_factory.mktemp("mixed"), frame, "mixed", target="class")


@pytest.fixture(scope="session")
def regression_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A number from the features of ``mixed_dir``; served by ONNX."""
    frame = mixed_rows().drop(columns="class")
    return trained(tmp_path_factory.mktemp("regression"), frame, "regression", target="price")


@pytest.fixture(scope="session")
def joblib_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The features of ``bundle_dir`` through a pipeline that no graph can be made of."""
    frame = sample.rows(555, rows=20_000, converted=645)
    folder = tmp_path_factory.mktemp("joblib")
    return trained(folder, frame, "fallback", pipeline="tests.pipelines:unexportable")


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
