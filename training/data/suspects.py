"""Features that alone predict the target almost perfectly: often they are known only afterwards."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.data.kinds import Column
from training.data.notes import Note
from training.data.targets import Target

#: The rows that are looked at, and the fewest that say anything.
MOST_ROWS, FEWEST_ROWS = 5_000, 20
#: The share of rows that a feature predicts alone to be suspected, and the largest that a guess may reach.
ALMOST_ALL, AT_MOST_GUESSED = 0.99, 0.95
#: The least correlation with a quantity.
CORRELATION = 0.999
#: The rows in which a value, or a run of values, must predict the same class to say anything.
ROWS_OF_A_VALUE = 5
#: A feature of more different numbers is looked at in the order of its values.
MOST_VALUES = 50


def notes(columns: Sequence[Column], target: Target | None) -> list[Note]:
    """A note on each suspected feature."""
    if target is None or len(target.labels) < FEWEST_ROWS:
        return []
    rows = np.arange(len(target.labels))
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))
    if target.classifies:
        _, classes = np.unique(target.labels[rows], return_inverse=True)
        if np.bincount(classes).max() >= AT_MOST_GUESSED * len(classes):
            return []
        return [_note(each, target) for each in columns if _predicted(each, rows, classes) >= ALMOST_ALL]
    if target.numbers is None:
        return []
    quantity = target.numbers[rows]
    ranks = _ranks(quantity)
    return [_note(each, target) for each in columns if _follows(each, rows, quantity, ranks)]


def _note(column: Column, target: Target) -> Note:
    name = column.feature.name
    return Note(
        name,
        f"alone predicts '{target.name}' almost perfectly: if it is known only afterwards, leave it out "
        f"(--drop '{name}')",
        f"alone predict '{target.name}' almost perfectly, each of them: leave out what is known only "
        "afterwards (--drop NAME)",
    )


def _predicted(column: Column, rows: np.ndarray, classes: np.ndarray) -> float:
    """The share of rows whose class is the most frequent one of their value, or of a run of values.

    Of many numbers, those that follow each other make a run where the same class is the most frequent one.
    A value, or a run, in few rows says nothing.
    """
    values = column.values[rows]
    if column.feature.kind == "text":
        return 0.0
    if column.feature.is_text:
        codes = {text: code for code, text in enumerate(("", *column.feature.categories))}
        groups = np.fromiter(map(codes.__getitem__, values), np.int64, len(values))
    else:
        _, groups = np.unique(values, return_inverse=True)
    several = int(classes.max()) + 1
    pairs, counts = np.unique(groups * several + classes, return_counts=True)
    starts = np.flatnonzero(np.diff(pairs // several, prepend=-1))
    sizes, most = np.add.reduceat(counts, starts), np.maximum.reduceat(counts, starts)
    if not column.feature.is_text and column.distinct > MOST_VALUES:
        is_most = counts == np.repeat(most, np.diff(starts, append=len(pairs)))
        group, class_of = np.divmod(pairs[is_most], several)
        class_of = class_of[np.flatnonzero(np.diff(group, prepend=-1))]
        runs = np.flatnonzero(np.diff(class_of, prepend=-1))
        sizes, most = np.add.reduceat(sizes, runs), np.add.reduceat(most, runs)
    return float(most[sizes >= ROWS_OF_A_VALUE].sum() / len(rows))


def _follows(column: Column, rows: np.ndarray, quantity: np.ndarray, ranks: np.ndarray) -> bool:
    """Whether the quantity rises or falls with the feature, in a line or by rank."""
    if column.feature.is_text:
        return False
    values = column.values[rows]
    known = ~np.isnan(values)
    if known.sum() < max(FEWEST_ROWS, len(rows) / 2):
        return False
    values = values[known]
    if values.min() == values.max():
        return False
    return bool(
        _correlation(values, quantity[known]) > CORRELATION
        or _correlation(_ranks(values), ranks[known] if known.all() else _ranks(quantity[known]))
        > CORRELATION
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """The absolute value of Pearson's correlation; 0 where one of them does not vary."""
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(abs(a @ b) / scale) if scale > 0 else 0.0


def _ranks(values: np.ndarray) -> np.ndarray:
    """The place of each value in their order, the same for equal ones."""
    _, inverse = np.unique(values, return_inverse=True)
    return inverse.astype(np.float64)
