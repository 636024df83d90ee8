"""What a table was taken for, as training prints it before scikit-learn is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handler.dates import seen
from handler.terminal import grid
from training.data import notes
from training.data.kinds import Column
from training.data.reading import Dataset
from training.data.targets import Target

#: The most columns that the table lists.
SHOWN = 40


def columns(dataset: Dataset) -> str:
    """The shape of the file, what each column holds, and the notes on what was done with it."""
    table, target = dataset.table, dataset.target
    made_up = " (synthetic: not real customers)" if table.synthetic else ""
    last = (
        [] if target is None else [(target.name, "target", "0", f"{target.distinct:,}", _targets(target))]
    )
    rows = []
    for column in dataset.columns:
        feature = column.feature
        kind = f"{feature.kind} {feature.format}" if feature.format else feature.kind
        rows.append((feature.name, kind, f"{column.missing:,}", f"{column.distinct:,}", _values(column)))
    return "\n".join(
        [
            f"data: {table.source}{made_up}: {table.rows + dataset.rows_left_out:,} rows x "
            f"{len(table.columns)} columns",
            *(f'  the header cell "{cell}" is read as "{name}"' for cell, name in table.cleaned),
            *grid(("column", "kind", "missing", "distinct", "values"), [*rows[:SHOWN], *last], "<<>><"),
            *([f"  and {len(rows) - SHOWN} more columns"] if len(rows) > SHOWN else []),
            *([f"  carried through: {notes.plain(dataset.ids)}"] if dataset.ids else []),
            *([f"  ignored: {notes.plain(dataset.ignored)}"] if dataset.ignored else []),
            *(["  no target: every column above is a feature"] if target is None else []),
            *(f"note: {note}" for note in table.notes),
            *(f"note: {line}" for line in notes.lines(dataset.notes)),
        ]
    )


def _targets(target: Target) -> str:
    if target.numbers is None or (target.classifies and target.labels.dtype == object):
        return _listed(sorted(set(target.labels.tolist())))
    return _range(target.numbers.min(), target.numbers.max())


def _values(column: Column) -> str:
    feature = column.feature
    if feature.kind == "text":
        return "free text"
    if feature.kind == "category":
        return _listed(feature.categories)
    if feature.kind == "boolean":
        return "false, true"
    if feature.kind == "date":
        return seen(feature)
    return _range(feature.minimum, feature.maximum)


def _range(low: Any, high: Any) -> str:
    return f"{low:,.6g} to {high:,.6g}"


def _listed(texts: Sequence[str]) -> str:
    shown = ", ".join(texts[:6])
    return (shown if len(shown) <= 60 else shown[:57] + "...") + (", ..." if len(texts) > 6 else "")
