"""A table of texts becomes a dataset: the features, the target, and what is to be said of the others.

Nothing is asked twice: all that is wrong with a table and with the flags is found in one pass, before
scikit-learn is loaded.
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from handler.manifest import Feature, Kind
from handler.schema import MEANING
from training.data import kinds, notes, suspects, targets
from training.data.columns import FLAGS, ColumnSpec, closest, named_as, near
from training.data.files import Table
from training.data.kinds import Column, LeftOut, Stated
from training.data.notes import Note, Problem, Refused
from training.data.targets import Target
from training.errors import TrainingError

DEFAULT_TARGET = "converted"
#: What a first column is called that only numbers or names the rows: by R, pandas and spreadsheets.
INDEXES = frozenset({"", "rownames", "row.names", "row_names", "rowname", "unnamed: 0", "index"})
#: Of these, those that no one gave: whatever differs in every row under them is no feature.
NAMELESS = frozenset({"", "unnamed: 0"})
#: Names that features have too: only what counts the rows is an index.
PERHAPS_INDEXES = frozenset({"X", "X.1", "...1", "V1", "Id", "ID", "id"})
#: So many rows must be counted for that.
FEWEST_COUNTED = 10


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
    threshold: str | None = None,
) -> Dataset:
    """Part features and target, and infer the kinds that are not stated; raises ``Refused``.

    Unless ``supervised``, there is no target, and every column that is left is a feature. ``pipeline``:
    the one that the user names, if any, which decides whether the target has classes; what is known to be
    wrong with it, and with ``--threshold``, is said too.
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
        read = targets.read(name, table.columns[name], table.delimiter, pipeline)
        if isinstance(read, Problem):
            problems.append(read)
        else:
            target = read
    if target is not None or not supervised:
        problems += _unfit(target, pipeline, threshold, flags, file)
    kept = table if target is None else _rows(table, target.kept)
    made, misfits = _columns(table, kept, spec, name, of_file.kinds)
    problems += misfits
    if (left := _nothing_left(table, made, name)) is not None:
        problems.append(left)
    if problems:
        raise Refused(table.source, problems)
    features = tuple(each for each in made if isinstance(each, Column))
    others = [each for each in made if isinstance(each, LeftOut)]
    names = {each.feature.name for each in features}
    of_target = () if target is None else target.notes
    of_columns = (
        note for each in made for note in (each.notes if isinstance(each, Column) else (each.note,))
    )
    return Dataset(
        kept,
        features,
        target,
        (*spec.ids, *(each.name for each in others if each.role == "id")),
        (*spec.drop, *(each.name for each in others if each.role == "ignored")),
        (
            *of_target,
            *of_columns,
            *(_not_nullable(each) for each in spec.nullable if each not in names),
            *suspects.notes(features, target),
        ),
        table.rows - kept.rows,
    )


def _not_nullable(name: str) -> Note:
    return Note(
        name,
        "is not a feature, and may be missing in requests without --nullable",
        "are not features, and may be missing in requests without --nullable",
    )


def _unfit(
    target: Target | None, pipeline: str | None, threshold: str | None, flags: ColumnSpec, file: ColumnSpec
) -> list[Problem]:
    """What is wrong with a pipeline that has a name, or is chosen by the target, and with the threshold."""
    if target is None:
        return (
            targets.unfit(None, pipeline, classifies=False, threshold=threshold)
            if pipeline in targets.WITHOUT_TARGET
            else []
        )
    if pipeline in targets.WITHOUT_TARGET:
        stated = "--target" if flags.target else file.where("target")
        message = targets.unwanted(target.name, pipeline, stated)
        wrong = ("--target", flags.target) if flags.target else ()
        return [Problem(message, ("--drop", target.name) if wrong else None, wrong)]
    if pipeline is None and target.mixed:
        return [Problem(target.mixed)]
    if pipeline in targets.CLASSIFIERS | targets.REGRESSORS:
        classifies = pipeline in targets.CLASSIFIERS
    elif pipeline is None or pipeline in targets.EITHER:
        classifies = target.classifies
    else:
        return []  # it is the user's own, and asked later
    named = pipeline or ("logistic" if classifies else "linear")
    return targets.unfit(target, named, classifies=classifies, threshold=threshold)


def without_values(dataset: Dataset, rows: np.ndarray) -> Dataset:
    """The dataset without the columns that have no value in ``rows``, which are those to fit on.

    Its notes are those on such columns. Raises ``TrainingError`` where none is left.
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
    close = closest(given, list(table.columns)) if given else None
    if close is None or table.synthetic:
        return None, Problem(message)
    wrong = ("--target", flags.target) if flags.target else ()
    return close, Problem(message, ("--target", close), wrong)


def _columns(
    read: Table, kept: Table, spec: ColumnSpec, target: str | None, in_file: Collection[str]
) -> tuple[list[Column | LeftOut], list[Problem]]:
    """What each column is that is not the target, dropped or an id; and where it is not what is stated.

    ``in_file``: the columns whose kinds a file states, which no flag undoes.
    """
    made: list[Column | LeftOut] = []
    problems = []
    for position, (name, cells) in enumerate(kept.columns.items()):
        if name == target or name in spec.drop or name in spec.ids:
            continue
        kind, _, format = spec.kinds.get(name, "").partition(":")
        stated = Stated(kind or None, format or None, name in spec.nullable)  # type: ignore[arg-type]
        if position == 0 and not kind and (index := _index(name, read)) is not None:
            made.append(index)
            continue
        try:
            column = kinds.column(name, cells, stated, read.delimiter)
            made.append(column if kept is read else _served(column, read.columns[name], read.delimiter))
        except kinds.Misfit as error:
            inferred = kinds.column(name, cells, replace(stated, kind=None), read.delimiter)
            made.append(inferred)
            problems.append(_misfit(error, spec.kinds[name], inferred, cells, name in in_file))
    return made, problems


def _served(column: Column | LeftOut, cells: pl.Series, delimiter: str) -> Column | LeftOut:
    """The column, with the gaps that only rows without a target have: they too are there to be scored."""
    if isinstance(column, LeftOut):
        return column
    every = kinds.column(column.feature.name, cells, Stated(), delimiter)
    if not isinstance(every, Column) or not every.feature.nullable:
        return column
    return replace(column, feature=kinds.with_gaps(column.feature, every.feature.missing_words))


def _misfit(
    error: kinds.Misfit, stated: str, inferred: Column | LeftOut, cells: pl.Series, in_file: bool
) -> Problem:
    """A kind that the user states and the cells are not, with the kind that they are."""
    name = error.name
    wrong = ("--kind", f"{name}={stated}")
    if error.kind is None and isinstance(inferred, Column):
        try:
            kinds.forced(name, inferred.feature.kind, cells)
        except kinds.Misfit:  # it was inferred with a spelling, or with texts that are taken as missing
            meaning = MEANING[inferred.feature.kind]
            message = f"{error}: leave the kind out, and it is read as {meaning}; a note says how"
            return Problem(message, None if in_file else (), wrong)
    kind = error.kind or (inferred.feature.kind if isinstance(inferred, Column) else None)
    flags = ("--kind", f"{name}={kind}") if kind else ("--drop", name)
    return Problem(f"{error}: {shlex.join(flags)}", flags, wrong)


def _index(name: str, table: Table) -> LeftOut | None:
    """A first column that only numbers the rows, or names them."""
    heading = table.header.get(name, name).strip()
    called, texts = heading.lower(), table.columns[name].str.strip_chars()
    if called not in INDEXES and (heading not in PERHAPS_INDEXES or len(texts) < FEWEST_COUNTED):
        return None
    numbers = texts.cast(pl.Int64, strict=False)
    from_one = pl.Series(np.arange(1, len(texts) + 1))
    counts = not numbers.null_count() and ((numbers == from_one).all() or (numbers == from_one - 1).all())
    if not counts and called in INDEXES and not texts.is_duplicated().any():
        counts = called in NAMELESS or numbers.null_count() == len(numbers)
    if not counts:
        return None
    if called == "id":
        text = "numbers the rows: it is carried through, and is not a feature"
        return LeftOut(name, "id", Note(name, f"{text} (--kind '{name}=integer' makes it one)"), "integer")
    kind: Kind = "category" if numbers.null_count() else "integer"
    verb = "names" if numbers.null_count() else "numbers"
    text = f"only {verb} the rows, and is left out (--kind '{name}={kind}' makes it a feature)"
    return LeftOut(name, "ignored", Note(name, text), kind)


def _nothing_left(table: Table, made: Sequence[Column | LeftOut], target: str | None) -> Problem | None:
    """That no column is a feature, with the flags that make features of some."""
    if any(isinstance(each, Column) for each in made):
        return None
    purpose = "learn from" if target is None else f"predict '{target}' from"
    left_out = [each for each in made if isinstance(each, LeftOut)]
    why = "; ".join(notes.lines(each.note for each in left_out))
    flags = [word for each in left_out if each.kind for word in ("--kind", f"{each.name}={each.kind}")]
    message = f"{table.source} has no column left to {purpose}{f': {why}' if why else ''}"
    return Problem(message, tuple(flags) or None)
