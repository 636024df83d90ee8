"""Tables as people have them, made from a seed: numbers, whole numbers, booleans and categories, or texts.

Each has a target, which the rows that are scored leave out. A row depends on the seed and on its place
among ``AT_ONCE`` rows, so that a file of any size is written in the memory of one piece.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import polars as pl

TARGET = "target"
AT_ONCE = 100_000
#: Levels of the categories of the mixed table.
LEVELS = (5, 20, 50, 200)

Maker = Callable[[int, np.random.Generator], pl.DataFrame]


def mixed(rows: int, random: np.random.Generator, classes: int = 2) -> pl.DataFrame:
    """Ten numbers, four whole numbers, two booleans, and categories of 5 to 200 levels."""
    columns: dict[str, np.ndarray | pl.Series] = {
        f"number_{place}": np.round(random.normal(size=rows) * 10 ** (place % 4), 4) for place in range(10)
    }
    columns |= {f"count_{place}": random.integers(0, 20 * 10**place, rows) for place in range(4)}
    columns |= {f"flag_{place}": random.random(rows) < 0.3 + 0.3 * place for place in range(2)}
    fixed = np.random.default_rng(7)  # the same levels and effects in every piece
    score = np.sin(columns["number_0"]) * 1.5 + columns["flag_0"] * 0.8 + (columns["count_0"] > 10)
    for place in range(10):
        score = score + columns[f"number_{place}"] / 10 ** (place % 4) * fixed.normal() / 2
    for place, levels in enumerate(LEVELS):
        codes = random.choice(levels, rows, p=fixed.dirichlet(np.full(levels, 2.0)))
        names = pl.Series([f"{'abcd'[place]}level{level}" for level in range(levels)])
        columns[f"category_{place}"] = names.gather(codes)
        score = score + fixed.normal(size=levels)[codes] / 2
    return pl.DataFrame({**columns, TARGET: _classes(score, random, classes)})


def of_classes(rows: int, random: np.random.Generator) -> pl.DataFrame:
    """The mixed table with 20 classes."""
    return mixed(rows, random, 20)


def narrow(rows: int, random: np.random.Generator) -> pl.DataFrame:
    """Five columns of the mixed table: three numbers, a whole number and a category."""
    kept = ("number_0", "number_1", "number_2", "count_0", "category_1", TARGET)
    return mixed(rows, random).select(kept)


def wide(rows: int, random: np.random.Generator) -> pl.DataFrame:
    """500 numbers of four decimals."""
    values = np.round(random.normal(size=(rows, 500)), 4)
    score = values @ np.random.default_rng(7).normal(size=500) / 10
    columns = {f"number_{place}": values[:, place] for place in range(500)}
    return pl.DataFrame({**columns, TARGET: _classes(score, random, 2)})


def reviews(rows: int, random: np.random.Generator) -> pl.DataFrame:
    """A text of 5 to 60 words, some words more frequent than others."""
    words = np.array([f"word{place:x}" for place in range(5_000)], object)
    weights = 1 / np.arange(1, words.size + 1)
    lengths = random.integers(5, 61, rows)
    drawn = random.choice(words.size, int(lengths.sum()), p=weights / weights.sum())
    ends = np.cumsum(lengths)
    effects = np.random.default_rng(7).normal(size=words.size)
    score = np.add.reduceat(effects[drawn], np.r_[0, ends[:-1]])
    texts = [" ".join(words[part]) for part in np.split(drawn, ends[:-1])]
    return pl.DataFrame({"review": texts, TARGET: _classes(score, random, 2)})


def _classes(score: np.ndarray, random: np.random.Generator, classes: int) -> pl.Series:
    noisy = score + random.logistic(size=score.size)
    if classes == 2:
        return pl.Series(np.where(noisy > 0, "yes", "no"))
    edges = np.linspace(-6, 6, classes - 1)
    return pl.Series([f"class {place}" for place in range(classes)]).gather(np.searchsorted(edges, noisy))


def write_training(path: Path, make: Maker, rows: int) -> None:
    """Rows to learn from, with their target."""
    make(rows, np.random.default_rng(1)).write_csv(path)


def write_rows(path: Path, make: Maker, rows: int, rejected: float = 0.0) -> None:
    """Rows to score; ``rejected``: the share of them in which a number is spelled as a word."""
    with path.open("wb") as file:
        for place, piece in enumerate(_pieces(make, rows)):
            if rejected:
                bad = pl.Series(np.random.default_rng(place).random(piece.height) < rejected)
                first = piece.columns[0]
                words = pl.select(
                    pl.when(bad).then(pl.lit("unknown")).otherwise(piece[first].cast(pl.String))
                )
                piece = piece.with_columns(words.to_series().alias(first))
            piece.write_csv(file, include_header=place == 0)


def write_small(folder: Path, make: Maker, files: int, rows: int) -> None:
    """``files`` files of ``rows`` rows each."""
    folder.mkdir()
    parts = (part for piece in _pieces(make, files * rows) for part in piece.iter_slices(rows))
    for number, part in enumerate(parts):
        part.write_csv(folder / f"{number:05}.csv")


def packed(path: Path) -> Path:
    """A copy of a file packed by gzip, beside it."""
    target = path.with_name(path.name + ".gz")
    with path.open("rb") as plain, gzip.open(target, "wb", compresslevel=6) as file:
        shutil.copyfileobj(plain, file)
    return target


def quoted(path: Path) -> Path:
    """A copy of a file in which every cell has quotes, beside it."""
    target = path.with_name(f"quoted {path.name}")
    pl.read_csv(path, infer_schema=False).write_csv(target, quote_style="always")
    return target


def _pieces(make: Maker, rows: int) -> Iterator[pl.DataFrame]:
    random = np.random.default_rng(2)
    for start in range(0, rows, AT_ONCE):
        yield make(min(AT_ONCE, rows - start), random).drop(TARGET)
