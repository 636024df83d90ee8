"""A file's bytes become a table of texts."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import polars as pl

from handler.schema import clean_name
from training.errors import TrainingError

DELIMITERS = ",;\t|"
csv.field_size_limit((1 << 31) - 1)  # a free text may be long


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV's cells as text, under cleaned names; ``cleaned`` holds the header cells that were changed."""

    source: str
    sha256: str
    rows: int
    columns: Mapping[str, pl.Series]
    cleaned: tuple[tuple[str, str], ...]
    synthetic: bool = False


def read(path: Path, *, fewest: int = 2) -> Table:
    """The CSV file at ``path``, of ``fewest`` columns or more; raises ``TrainingError``."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise TrainingError(f"{path} does not exist") from error
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}") from error
    return parse(content, path.name, fewest=fewest)


def parse(content: bytes, source: str, *, synthetic: bool = False, fewest: int = 2) -> Table:
    """The CSV in ``content``; ``source`` names it in messages. Raises ``TrainingError``."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TrainingError(
            f"{source} is not a CSV in UTF-8 (byte {error.start:,}); save it as UTF-8"
        ) from error
    if not text.strip():
        raise TrainingError(f"{source} is empty")
    if "\0" in text:
        raise TrainingError(f"{source} is not a CSV in UTF-8: it holds NUL bytes")
    try:
        header, delimiter = _header(text)
        if len(header) < fewest:
            raise TrainingError(
                f"{source} has one column only; a CSV has commas, semicolons, tabs or pipes between columns"
            )
        names = _names(header, source)
        _check_shape(text, delimiter, len(names), source)
        frame = pd.read_csv(
            io.StringIO(text),
            sep=delimiter,
            names=names,
            header=0,
            index_col=False,
            dtype=str,
            na_filter=False,
        )
    except (csv.Error, pd.errors.ParserError) as error:
        raise TrainingError(f"{source} is not a CSV: {error}") from error
    if not len(frame):
        raise TrainingError(f"{source} has a header and no rows")
    return Table(
        source=source,
        sha256=hashlib.sha256(content).hexdigest(),
        rows=len(frame),
        columns={name: pl.Series(name, frame[name].tolist(), dtype=pl.String) for name in names},
        cleaned=tuple((cell, name) for cell, name in zip(header, names, strict=True) if cell != name),
        synthetic=synthetic,
    )


def _header(text: str) -> tuple[list[str], str]:
    """The header's cells and the delimiter: the one that makes most of them."""
    start = text[: 1 << 20]

    def cells(delimiter: str) -> list[str]:
        return next(row for row in csv.reader(io.StringIO(start, newline=""), delimiter=delimiter) if row)

    delimiter = max(DELIMITERS, key=lambda each: len(cells(each)))
    return cells(delimiter), delimiter


def _names(header: list[str], source: str) -> list[str]:
    names = [clean_name(cell) for cell in header]
    for number, name in enumerate(names, start=1):
        if not name:
            raise TrainingError(f"{source}: column {number} has no name; name it or remove it")
        if name in names[: number - 1]:
            raise TrainingError(f"{source}: the column name '{name}' occurs twice")
    return names


def _check_shape(text: str, delimiter: str, width: int, source: str) -> None:
    """Raise for rows of another width than the header's: pandas would fill or cut them in silence."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    for row in reader:
        if row and len(row) != width:
            raise TrainingError(
                f"{source}: line {reader.line_num} has {len(row)} cells and the header has {width}"
            )
