"""A table of texts becomes a dataset: the features, the target, and what is to be said of the others.

Nothing is asked twice: all that is wrong with a table and with the flags is found in one pass, before
scikit-learn is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from handler.bundle import Feature
from training.data import kinds, suspects, targets
from training.data.columns import FLAGS, ColumnSpec, named_as, near
from training.data.files import Table
from training.data.kinds import Column, LeftOut, Stated
from training.data.notes import Note, Problem, Refused
from training.data.targets import Target
from training.errors import TrainingError

DEFAULT_TARGET = "converted"
#: What a first column is called that only numbers or names the rows: by R, pandas and spreadsheets.
INDEXES = frozenset({"", "rownames", "row.names", "row_names", "rowname", "unnamed: 0", "index"})
#: Names of which some are features: only one that counts is an index.
PERHAPS_INDEXES = frozenset({"x", "x.1", "...1", "v1", "no", "nr", "row", "#", "id"})


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table, parted into features and target; None where there is nothing to predict.

    ``table`` has the rows that are learnt from. ``ids`` and ``ignored`` are the other columns, which
    requests may carry. ``rows_left_out``: how many the file has besides.
    """

    table: Table
    columns: tuple[Column, ...]
    target: Target | None
    ids: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    rows_left_out: int = 0

    @property
    def features(self) -> tuple[Feature, ...]:
        return tuple(column.feature for column in self.columns)

    def take(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The features' values in ``rows`` (indices), as a scorer takes them."""
        return {column.feature.name: column.values[rows] for column in self.columns}


def prepare(
    table: Table,
    flags: ColumnSpec,
    file: ColumnSpec | None = None,
    *,
    supervised: bool = True,
    pipeline: str | None = None,
) -> Dataset:
    """Part features and target, and infer the kinds that are not stated; raises ``Refused``.

    Unless ``supervised``, there is no target, and every column that is left is a feature. ``pipeline``:
    the one that the user names, if any, which decides whether the target has classes.
    """
    file = file or ColumnSpec()
    problems: list[Problem] = []
    name, missing = _named_target(table, flags, file) if supervised else (None, None)
    if missing is not None:
        problems.append(missing)
    (of_file, wrong_file), (of_flags, wrong) = file.resolved(table, name), flags.resolved(table, name)
    problems += [*wrong_file, *wrong]
    spec = of_file.with_flags(of_flags)
    target = None
    if name is not None:
        read = targets.read(name, table.columns[name])
        if isinstance(read, Target) and read.mixed and pipeline is None:
            read = Problem(read.mixed)
        if isinstance(read, Problem):
            problems.append(read)
        else:
            target = read
    kept = table if target is None else _rows(table, target.kept)
    made, found = _columns(kept, spec, name, problems)
    left = _nothing_left(table, made, found, name)
    if left is not None and not problems:
        problems.append(left)
    if problems:
        raise Refused(table.source, problems)
    features = tuple(each for each in made if isinstance(each, Column))
    others = [each for each in made if isinstance(each, LeftOut)]
    of_target = () if target is None else target.notes
    of_columns = (note for each in made for note in (each.notes if isinstance(each, Column) else (each.note,)))
    return Dataset(
        kept,
        features,
        target,
        (*spec.ids, *(each.name for each in others if each.role == "id")),
        (*spec.drop, *(each.name for each in others if each.role == "ignored")),
        (*of_target, *of_columns, *suspects.notes(features, target)),
        table.rows - kept.rows,
    )


def without_values(dataset: Dataset, rows: np.ndarray) -> Dataset:
    """The dataset without the columns that have no value in ``rows``, which are those to fit on.

    Raises ``Refused`` where none is left.
    """
    gone = [column.feature.name for column in dataset.columns if _is_empty(column, rows)]
    if not gone:
        return dataset
    if len(gone) == len(dataset.columns):
        raise TrainingError(f"{dataset.table.source}: no column has a value in the rows to fit on")
    notes = [
        Note(
            name,
            "has no value in the rows to fit on, and is left out",
            "have no value in the rows to fit on, and are left out",
        )
        for name in gone
    ]
    return replace(
        dataset,
        columns=tuple(column for column in dataset.columns if column.feature.name not in gone),
        ignored=(*dataset.ignored, *gone),
        notes=tuple(notes),
    )


def _is_empty(column: Column, rows: np.ndarray) -> bool:
    values = column.values[rows]
    return bool((values == "").all() if column.feature.is_text else np.isnan(values).all())


def _rows(table: Table, kept: np.ndarray) -> Table:
    if len(kept) == table.rows:
        return table
    columns = {name: cells.gather(kept) for name, cells in table.columns.items()}
    return replace(table, rows=len(kept), columns=columns)


def _named_target(table: Table, flags: ColumnSpec, file: ColumnSpec) -> tuple[str | None, Problem | None]:
    """The target's column, and what is wrong with the name that was given."""
    given = flags.target or file.target
    name = named_as(table, given or DEFAULT_TARGET)
    if name is not None:
        return name, None
    hint = near(given or DEFAULT_TARGET, list(table.columns))
    where = "" if flags.target or not file.target else f" ({file.where('target')})"
    if given is None:
        hint = f"name the column to predict with {FLAGS['target']}; {hint}"
    elif table.synthetic:
        hint = f"it is the synthetic sample, and --data takes your own CSV; {hint}"
    message = f"{table.source} has no column '{given or DEFAULT_TARGET}' to predict{where}; {hint}"
    close = close_to(given, table) if given else None
    if close is None or table.synthetic:
        return None, Problem(message)
    wrong = ("--target", flags.target) if flags.target else ()
    return close, Problem(message, ("--target", close), wrong)
