"""Sample rows of a fitted model, from a CSV file or from memory, as features and columns.

They are never fitted on: they show what each feature holds, how it was spelled in fitting, and its range.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl

from handler.manifest import NUMBERS_FED_AS, Feature, Kind
from handler.schema import LARGEST_NUMBER, MEANING
from training.data import files, kinds
from training.data.columns import near
from training.data.kinds import Column
from training.data.notes import Note
from training.errors import TrainingError

#: What an encoder was fitted on, by the feature's name: texts or numbers, and NaN or None for missing ones.
Known = Mapping[str, Sequence[Any]]


@dataclass(frozen=True, slots=True)
class Sample:
    """Sample rows: their columns by name, each in the dtype that fitting had.

    ``texts``: the cells of a CSV, where the rows come from one. ``named``: whether the columns' names mean
    anything. ``target``: what is to be predicted, one value per row, or None. ``provenance``: the
    manifest's ``training.imported.sample``.
    """

    frame: pd.DataFrame
    target: Sequence[Any] | None
    provenance: Mapping[str, Any]
    texts: Mapping[str, pl.Series]
    named: bool = True


def from_csv(path: Path, target: str | None) -> Sample:
    """The rows of a CSV, typed as ``pandas.read_csv`` does in a notebook; raises ``TrainingError``."""
    table = files.read(path, fewest=1)
    if target is not None and target not in table.columns:
        raise TrainingError(
            f"{table.source} has no column '{target}' (--target); {near(target, [*table.columns])}"
        )
    content = pl.DataFrame(dict(table.columns)).write_csv()
    frame = pd.read_csv(io.StringIO(content), low_memory=False, skip_blank_lines=False)
    return Sample(
        frame=frame[[name for name in frame if name != target]],
        target=None if target is None else table.columns[target].str.strip_chars().to_list(),
        provenance={"data": table.source, "sha256": table.sha256, "rows": table.rows},
        texts=table.columns,
    )


def from_memory(rows: Any, y: Any = None) -> Sample:
    """Rows as a notebook has them: a DataFrame of pandas or polars, an array, or a list of rows.

    Raises ``TrainingError`` for what is not a table.
    """
    named = hasattr(rows, "columns")
    if isinstance(rows, pl.DataFrame):
        frame = pd.DataFrame({each.name: _pandas(each) for each in rows})
    elif isinstance(rows, pd.DataFrame):
        frame = rows
    else:
        frame = _tabular(rows)
    if not len(frame):
        raise TrainingError("the sample has no rows; give some that the model can predict")
    texts = {name: str(name) for name in frame}
    if len(set(texts.values())) < len(frame.columns):
        raise TrainingError("two columns of the sample have the same name")
    target = None if y is None else _sequence(y)
    if target is not None and len(target) != len(frame):
        raise TrainingError(f"the sample has {len(frame):,} rows, and its target has {len(target):,}")
    return Sample(frame.rename(columns=texts), target, {"rows": len(frame)}, {}, named)


def _pandas(series: pl.Series) -> Any:
    """A column of polars; texts keep None where they are missing."""
    if series.dtype in (pl.String, pl.Categorical, pl.Enum):
        return np.array(series.to_list(), dtype=object)
    return series.to_numpy()


def _tabular(rows: Any) -> pd.DataFrame:
    """An array or a list of rows, under the names x0, x1, ..."""
    if hasattr(rows, "toarray"):  # of scipy.sparse
        rows = rows.toarray()
    if isinstance(rows, str | bytes | Path):
        raise TrainingError("the sample is a text; read the file first: pandas.read_csv(...)")
    try:
        frame = pd.DataFrame(rows if isinstance(rows, np.ndarray) else [*rows])
    except (TypeError, ValueError) as error:
        raise TrainingError(
            "the sample must be a DataFrame, an array of two dimensions or a list of rows, not a "
            f"{type(rows).__name__}"
        ) from error
    if isinstance(rows, np.ndarray) and rows.dtype == object:
        frame = frame.infer_objects()
    if not all(isinstance(name, str) for name in frame):
        frame.columns = [f"x{index}" for index in range(frame.shape[1])]
    return frame


def _sequence(y: Any) -> list[Any]:
    """The target's values, as Python has them."""
    if hasattr(y, "to_numpy"):
        y = y.to_numpy()
    if isinstance(y, np.ndarray):
        if y.ndim == 2 and y.shape[1] == 1:
            y = y.reshape(-1)
        if y.ndim != 1:
            raise TrainingError("the target has several columns; a model of one target is served")
        return list(y.tolist())
    return list(y)


def column(sample: Sample, name: str, kind: Kind | None, known: Sequence[Any]) -> Column:
    """One feature with its values; ``known``: what an encoder was fitted on, which is united with them.

    ``kind``: what the user states. Raises ``TrainingError`` for a column that cannot be served.
    """
    values = sample.frame[name]
    texts = any(isinstance(each, str) for each in known)
    if (texts or kind in ("category", "text")) and name in sample.texts:
        values = _cells(sample.texts[name], known)
    if values.isna().all():
        raise TrainingError(f"column '{name}' is empty in the sample; give rows with values in it")
    made = _column(name, values)
    if kind is not None and kind != made.feature.kind:
        made = _forced(made, kind)
    return _united(made, known)


def _cells(cells: pl.Series, known: Sequence[Any]) -> pd.Series:
    """The cells of a CSV as texts, NaN where pandas would take them for missing."""
    texts = pd.Series(cells.to_list(), dtype=object)
    return texts.mask(texts.isin(NOT_THERE - {each for each in known if isinstance(each, str)}))


#: https://pandas.pydata.org/docs/reference/api/pandas.read_csv.html (na_values)
NOT_THERE = frozenset({
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>",
    "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
})  # fmt: skip


def _column(name: str, values: pd.Series) -> Column:
    """By the column's dtype; one of objects, by what they are."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return _levels(name, values)
    if dtype.kind == "O" or isinstance(dtype, pd.StringDtype):
        return _objects(name, values)
    letter = getattr(dtype, "kind", "")
    if letter not in "biuf":
        what = "dates or times" if letter in "mM" else f"values of the type {dtype}"
        raise TrainingError(
            f"column '{name}' holds {what}, which a request cannot state: let the model take numbers or "
            "texts in its place"
        )
    kind: Kind = {"b": "boolean", "f": "number"}.get(letter, "integer")  # type: ignore[assignment]
    own = dtype.name if isinstance(dtype, np.dtype) and dtype.name in NUMBERS_FED_AS else None
    return _numeric(name, kind, values.to_numpy(np.float64, na_value=np.nan), own)


def _numeric(name: str, kind: Kind, values: np.ndarray, fed_as: str | None = None) -> Column:
    finite = values[~np.isnan(values)]
    if np.isinf(finite).any() or np.abs(finite).max() > LARGEST_NUMBER:
        raise TrainingError(
            f"column '{name}' holds a number that is not finite, or over 3.4e38, which is not served; "
            "leave such rows out"
        )
    missing, distinct = len(values) - len(finite), len(np.unique(finite))
    low, high = float(finite.min()), float(finite.max())
    feature = Feature(name, kind, missing > 0, minimum=low, maximum=high, fed_as=fed_as)
    return Column(feature, values, missing, distinct)


def _objects(name: str, values: pd.Series) -> Column:
    gone = values.isna()
    there = values[~gone].tolist()
    types = {type(each) for each in there}
    if all(issubclass(each, str) for each in types):
        empty = "" in there
        nothing = (each for each, is_gone in zip(values, gone, strict=True) if is_gone)
        fed_as = ("none" if any(each is None for each in nothing) else "nan") if gone.any() else None
        note = Note(
            name, "holds empty texts beside missing ones; an empty text in a request is a missing one"
        )
        texts = np.array(
            ["" if is_gone else str(each) for each, is_gone in zip(values, gone, strict=True)], object
        )
        categories = tuple(sorted({str(each) for each in there} - {""}))
        if not categories:
            raise TrainingError(f"column '{name}' is empty in the sample; give rows with values in it")
        feature = Feature(
            name, "category", empty or fed_as is not None, categories=categories, fed_as=fed_as
        )
        return Column(
            feature, texts, int((texts == "").sum()), len(categories), (note,) if empty and fed_as else ()
        )
    numbers = values.map(lambda each: math.nan if each is None or each is pd.NA else each)
    if all(issubclass(each, bool | np.bool_) for each in types):
        return _numeric(name, "boolean", numbers.to_numpy(np.float64))
    if all(issubclass(each, int | float | np.number) and each is not bool for each in types):
        whole = all(issubclass(each, int | np.integer) for each in types)
        return _numeric(name, "integer" if whole else "number", numbers.to_numpy(np.float64))
    held = ", ".join(sorted(each.__name__ for each in types))
    raise TrainingError(
        f"column '{name}' holds values of several types ({held}); a feature has texts or numbers"
    )


def _levels(name: str, values: pd.Series) -> Column:
    """A pandas category, whose levels are texts."""
    levels = values.cat.categories
    if not all(isinstance(each, str) and each for each in levels):
        raise TrainingError(
            f"column '{name}' is a pandas category of values that are not texts; a request states a "
            "category as a text"
        )
    texts = np.array(["" if code < 0 else levels[code] for code in values.cat.codes], object)
    missing = int((texts == "").sum())
    feature = Feature(name, "category", missing > 0, categories=tuple(levels), fed_as="category")
    return Column(feature, texts, missing, len(set(texts) - {""}))


def _forced(made: Column, kind: Kind) -> Column:
    """The column as another kind than its values suggest; raises ``TrainingError`` where they are not."""
    name, numbers = made.feature.name, made.values
    if kind == "date":
        raise TrainingError(
            f"column '{name}' cannot be a date (--kind): the model was fitted on what the sample holds, "
            "and only training makes the parts of a date; leave out the --kind"
        )
    wrong = TrainingError(
        f"column '{name}' must be {MEANING[kind]} (--kind), and some of its values are not"
    )
    if made.feature.is_text:
        if kind != "text":
            raise wrong
        free = kinds.forced(name, "text", pl.Series(name, made.values.tolist(), pl.String))
        own = made.feature
        return replace(free, feature=free.feature._replace(nullable=own.nullable, fed_as=own.fed_as))
    if kind in ("category", "text"):
        raise wrong
    there = numbers[~np.isnan(numbers)]
    if (kind == "integer" and (there % 1).any()) or (
        kind == "boolean" and not np.isin(there, (0, 1)).all()
    ):
        raise wrong
    return replace(made, feature=made.feature._replace(kind=kind))


def _united(made: Column, known: Sequence[Any]) -> Column:
    """The column, with what an encoder was fitted on."""
    feature = made.feature
    texts = [each for each in known if isinstance(each, str)]
    if feature.is_text:
        more = sorted({*feature.categories, *texts} - {""})
        kept = feature.categories
        gone = [each for each in known if each is None or (isinstance(each, float) and math.isnan(each))]
        fed_as = feature.fed_as or (None if not gone else "none" if gone[0] is None else "nan")
        return replace(
            made,
            feature=feature._replace(
                categories=tuple(more)
                if feature.kind == "category" and feature.fed_as != "category"
                else kept,
                nullable=feature.nullable or bool(gone) or "" in texts,
                fed_as=fed_as,
            ),
        )
    numbers = [float(each) for each in known if not isinstance(each, str) and each is not None]
    there = [each for each in numbers if math.isfinite(each)]
    return replace(
        made,
        feature=feature._replace(
            minimum=min([feature.minimum or 0.0, *there]),
            maximum=max([feature.maximum or 0.0, *there]),
            nullable=feature.nullable or any(map(math.isnan, numbers)),
        ),
    )
