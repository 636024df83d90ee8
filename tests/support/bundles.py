"""Rows that tests make up, and the bundles that training makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from handler.manifest import MANIFEST, Manifest, content_version
from training.data import sample
from training.train import Options, train

#: ``python -m training`` on rows that it must succeed on: the fixture ``run`` of ``tests/training``.
Run = Callable[..., Manifest]
OFFERS = ["--target", "class", "--drop", "price"]


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


def measurements(rows: int = 600, seed: int = 3) -> pd.DataFrame:
    """Two groups of machines, and one machine in thirty that is like none of them; nothing to predict."""
    random = np.random.default_rng(seed)
    group = random.random(rows) < 0.4
    odd = np.arange(rows) % 30 == 7
    load = np.where(group, 20.0, 70.0) + random.normal(0, 4, rows) + 60 * odd
    heat = np.where(group, 5.0, -5.0) + random.normal(0, 1, rows) - 20 * odd
    site = np.where(random.random(rows) < 0.5, "north", "south")
    return pd.DataFrame(
        {"load": load.round(2), "heat": heat.round(2), "starts": np.arange(rows) % 5, "site": site}
    )


def reviews(rows: int = 600, seed: int = 0) -> pd.DataFrame:
    """Made-up reviews: free text of several scripts and spellings, empty in a few rows; ``y`` is 0 or 1."""
    random = np.random.default_rng(seed)
    words = [
        "good", "great", "Bad", "AWFUL", "film", "plot", "the", "a", "résumé", "naïve", "中文", "it's", "7",
        "ending,", "actor\n", '"star"', "very", "not",
    ]  # fmt: skip
    worth = {"good": 2, "great": 3, "Bad": -2, "AWFUL": -3}
    chosen = [random.choice(words, random.integers(3, 12)) for _ in range(rows)]
    stars = random.integers(1, 6, rows)
    mood = [sum(worth.get(word, 0) for word in each) for each in chosen] + stars - 3
    comment = [" ".join(each) for each in chosen]
    return pd.DataFrame(
        {
            "comment": ["" if index % 50 == 7 else text for index, text in enumerate(comment)],
            "stars": stars,
            "shop": random.choice(["web", "Oslo"], rows),
            "y": (mood + random.normal(0, 1, rows) > 0).astype(int),
        }
    )


def small(rows: int = 200, **columns: Any) -> pd.DataFrame:
    """``rows`` with a number ``a`` that tells the classes of ``y`` apart, and other columns."""
    a = np.arange(rows) % 10
    return pd.DataFrame({"a": a, **columns, "y": (a > 4).astype(int)})


def offers(folder: Path) -> str:
    """A file of mixed columns, with a code that looks like a number, and a customer in every row."""
    frame = mixed_rows(900)
    frame["zip=code"] = [f"{place % 7:03}" for place in range(len(frame))]
    frame["customer"] = [f"c{place:05}" for place in range(len(frame))]
    frame.to_csv(folder / "offers.csv", index=False)
    return str(folder / "offers.csv")


def sales(folder: Path) -> pd.DataFrame:
    """The sample in small, with the classes no and yes, and as ``sales.csv`` in the folder."""
    frame = sample.rows(555, rows=5000, converted=400)
    frame["converted"] = frame["converted"].map({0: "no", 1: "yes"})
    frame.to_csv(folder / "sales.csv", index=False)
    return frame


def trained(folder: Path, frame: pd.DataFrame, name: str, **options: Any) -> Path:
    """The bundle that training makes of the rows, in ``folder``."""
    frame.to_csv(folder / f"{name}.csv", index=False)
    named = Options(**{"data": folder / f"{name}.csv", "out": folder / "model", **options})
    train(named, quiet)
    return named.out


def copied(bundle: Path, folder: Path) -> Path:
    """The files of the bundle, in ``folder``."""
    folder.mkdir(exist_ok=True)
    for file in bundle.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def resealed(bundle: Path, folder: Path, change: Callable[[Any], object]) -> Path:
    """The bundle in ``folder``, its manifest changed and with the version that its content then makes."""
    copied(bundle, folder)
    document = json.loads((folder / MANIFEST).read_text())
    change(document)
    document["version"] = content_version(document)
    (folder / MANIFEST).write_text(json.dumps(document))
    return folder
