"""A table of texts becomes typed columns: the features, and the target.

What a column holds is inferred from all of its cells, by the rules that serving applies to requests
(``handler.schema``), so that the two cannot differ.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from handler.bundle import Feature, Kind
from handler.schema import LONGEST_TEXT, MEANING, InvalidValue, Schema, Value, parse_text
from training.data.columns import ColumnSpec, near
from training.data.files import Table
from training.errors import TrainingError

DEFAULT_TARGET = "converted"
#: Words that other tools write for a missing value. Here only an empty cell is missing, since
#: requests have one way to leave a value out, too.
MISSING_WORDS = frozenset({"na", "n/a", "#n/a", "nan", "null", "none", "nil", "?", "-"})
#: The same for a target of numbers, and for one of texts, where "none" and "-" may be classes.
MISSING_NUMBERS = MISSING_WORDS | {".", ""}
MISSING_TEXTS = frozenset({"na", "n/a", "#n/a", "nan", "null", ""})
#: A target of more different whole numbers is a quantity, unless the pipeline classifies.
MOST_CLASSES = 20
BOOLEAN_WORDS = frozenset({"true", "false", "yes", "no", "t", "f", "y", "n"})
DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})"
    r"([T ]\d{1,2}:\d{2}.*)?",
    re.ASCII,
)
#: A text column with more distinct values than this, most of them in a single row, is not a category.
MANY_CATEGORIES = 50
#: Of a column of free text, the texts that the proof knows are between as many and twice as many.
MOST_TEXTS = 500


@dataclass(frozen=True, slots=True)
class Column:
    """One feature's values, as a scorer takes them: float64 with NaN where missing, or ``str`` objects."""

    feature: Feature
    values: np.ndarray
    missing: int
    distinct: int
    note: str = ""

    @property
    def typical(self) -> Value:
        """The most frequent text, or the median, rounded down for a boolean or an integer."""
        if self.feature.is_text:
            (most,) = Counter(self.values[self.values != ""].tolist()).most_common(1)
            return str(most[0])
        median = float(np.nanmedian(self.values))
        return median if self.feature.kind == "number" else float(math.floor(median))


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be predicted; ``numbers`` where every cell is one, ``whole`` where all are whole.

    ``labels``: the rows' classes, int64 where every text is a plain integer, else the texts.
    ``mixed``: what is wrong, in a sentence, where a few cells are texts among numbers of a quantity.
    """

    name: str
    labels: np.ndarray
    numbers: np.ndarray | None
    whole: bool
    distinct: int
    mixed: str = ""

    @property
    def classifies(self) -> bool:
        """Whether its values are classes, rather than numbers of a quantity."""
        return self.numbers is None or (self.whole and self.distinct <= MOST_CLASSES)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table, parted into features and target; None where there is nothing to predict."""

    table: Table
    columns: tuple[Column, ...]
    target: Target | None
    ids: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[Feature, ...]:
        return tuple(column.feature for column in self.columns)

    def take(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """The features' values in ``rows`` (indices), as a scorer takes them."""
        return {column.feature.name: column.values[rows] for column in self.columns}


def prepare(
    table: Table, flags: ColumnSpec, file: ColumnSpec | None = None, *, supervised: bool = True
) -> Dataset:
    """Part features and target, and infer the kinds that are not stated; raises ``TrainingError``.

    Unless ``supervised``, there is no target, and every column that is left is a feature.
    """
    file = file or ColumnSpec()
    spec = file.with_flags(flags)
    target = (spec.target or DEFAULT_TARGET) if supervised else None
    if target is not None and target not in table.columns:
        where = "" if flags.target or not file.target else f" ({file.where('target')})"
        hint = _hint(table, spec)
        raise TrainingError(f"{table.source} has no column '{target}' to predict{where}; {hint}")
    for each in (file, flags):
        each.check(list(table.columns), target, table.source)
    left_out = {target, *spec.drop, *spec.ids}
    columns = tuple(
        forced(name, spec.kinds[name], cells) if name in spec.kinds else infer(name, cells)
        for name, cells in table.columns.items()
        if name not in left_out
    )
    if not columns:
        purpose = "learn from" if target is None else f"predict '{target}' from"
        raise TrainingError(f"{table.source} has no column left to {purpose}")
    known = None if target is None else _target(target, table.columns[target])
    return Dataset(table, columns, known, spec.ids)


def _hint(table: Table, spec: ColumnSpec) -> str:
    hint = near(spec.target or DEFAULT_TARGET, list(table.columns))
    if spec.target is None:
        return f"name the column to predict with --target; {hint}"
    return f"it is the synthetic sample, and --data takes your own CSV; {hint}" if table.synthetic else hint


def _target(name: str, cells: pl.Series) -> Target:
    cells = cells.str.strip_chars()
    numbers, refused = _parse(name, "number", cells)
    others = [text for text in refused if text.lower() not in MISSING_NUMBERS]
    rows_of_others = int(cells.is_in(others).sum())
    known = numbers[~np.isnan(numbers)]
    are_numbers = len(known) > rows_of_others
    words = MISSING_NUMBERS if are_numbers else MISSING_TEXTS
    missing = cells.filter(cells.str.to_lowercase().is_in(list(words)))
    if len(missing):
        spelled = sorted(missing.unique())
        shown = f" ({', '.join(text or 'empty' for text in spelled[:5])})" if any(spelled) else ""
        raise TrainingError(
            f"the target '{name}' is missing in {_count(len(missing))}{shown}; fill or remove them"
        )
    distinct = cells.n_unique()
    if distinct == 1:
        raise TrainingError(f"the target '{name}' has the same value in every row; nothing can be learnt")
    whole = not (known % 1).any()
    mixed = ""
    if others and are_numbers and not (whole and len(np.unique(known)) <= MOST_CLASSES):
        mixed = (
            f"the target '{name}' holds numbers, and in {_count(rows_of_others)} another text, such as "
            f"'{min(others)}'; correct or remove them"
        )
    return Target(
        name, _labels(cells), None if refused else numbers, not refused and whole, distinct, mixed
    )


def _count(rows: int) -> str:
    return f"{rows:,} {'row' if rows == 1 else 'rows'}"


def _labels(cells: pl.Series) -> np.ndarray:
    """The classes: ``01``, ``1.0`` and what 64 bits cannot hold stay texts, and all others with them."""
    if all(map(_is_plain_integer, cells.unique())):
        return np.array(list(map(int, cells)), np.int64)
    return np.array(cells.to_list(), dtype=object)


def _is_plain_integer(text: str) -> bool:
    try:
        return str(number := int(text)) == text and -(2**63) <= number < 2**63
    except ValueError:
        return False


def forced(name: str, kind: Kind, cells: pl.Series) -> Column:
    """One feature of the kind that the user states; raises ``TrainingError`` for cells of another."""
    if kind in ("category", "text"):
        if (cells == "").all():
            raise _empty(name)
        return _texts(name, cells) if kind == "category" else _free_text(name, cells)
    values, refused = _parse(name, kind, cells)
    if refused:
        count = int(cells.is_in(list(refused)).sum())
        raise TrainingError(
            f"column '{name}' must be {MEANING[kind]} (--kind), and {count:,} of its cells are not, "
            f"such as '{min(refused)}'"
        )
    if np.isnan(values).all():
        raise _empty(name)
    return _numeric(name, kind, values)


def _empty(name: str) -> TrainingError:
    return TrainingError(f"column '{name}' is empty; leave it out: --drop '{name}'")


def infer(name: str, cells: pl.Series) -> Column:
    """One feature from its cells; raises ``TrainingError`` for a column that cannot be one."""
    numbers, refused = _parse(name, "number", cells)
    if not refused:
        if np.isnan(numbers).all():
            raise _empty(name)
        return _numeric(name, "number" if _parse(name, "integer", cells)[1] else "integer", numbers)
    mixed = not np.isnan(numbers).all()
    if mixed:
        _check_numbers(name, refused)
    truths, others = _parse(name, "boolean", cells)
    words = set(cells.unique().str.strip_chars().str.to_lowercase()) - {""}
    if not others and words <= BOOLEAN_WORDS and len(np.unique(truths[~np.isnan(truths)])) == 2:
        return _numeric(name, "boolean", truths)
    return _category(name, cells, min(refused) if mixed else None)


def _numeric(name: str, kind: Kind, values: np.ndarray) -> Column:
    known = values[~np.isnan(values)]
    missing = len(values) - len(known)
    distinct = len(np.unique(known))
    feature = Feature(name, kind, missing > 0, minimum=float(known.min()), maximum=float(known.max()))
    numbered = kind == "integer" and distinct == len(values) > MANY_CATEGORIES
    note = f"'{name}' differs in every row; if it only identifies the row, name it with --id"
    return Column(feature, values, missing, distinct, note if numbered else "")


def _category(name: str, cells: pl.Series, stranger: str | None) -> Column:
    """A column of text; ``stranger`` is a text in it where other cells are numbers."""
    known = cells.filter(cells != "")
    categories = sorted(known.unique())
    if sum(DATE.fullmatch(text) is not None for text in categories) > len(categories) / 2:
        raise TrainingError(
            f"column '{name}' holds dates such as {categories[0]}, which are not a feature as they are: "
            "remove the column from the file, or replace it by numbers (a year, a number of days)"
        )
    if len(categories) > max(MANY_CATEGORIES, len(known) / 2):
        if stranger is not None:
            raise TrainingError(
                f"column '{name}' holds numbers, and also '{stranger}': correct or empty such cells"
            )
        raise TrainingError(
            f"column '{name}' holds free text or identifiers ({len(categories):,} different texts in "
            f"{len(known):,} rows), which are seldom a category: leave it out (--drop '{name}'), carry "
            f"it through (--id '{name}'), or take it as free text (--kind '{name}=text')"
        )
    note = (
        "" if stranger is None else f"'{name}' is taken as a category, since '{stranger}' is not a number"
    )
    return _texts(name, cells, note)


def _texts(name: str, cells: pl.Series, note: str = "") -> Column:
    known = cells.filter(cells != "")
    missing = len(cells) - len(known)
    feature = Feature(name, "category", missing > 0, categories=tuple(sorted(known.unique())))
    return Column(feature, np.array(cells.to_list(), dtype=object), missing, len(feature.categories), note)


def _free_text(name: str, cells: pl.Series) -> Column:
    """A column of free text, with some of its texts as ``categories``, for the proof."""
    if (too_long := int((cells.str.len_chars() > LONGEST_TEXT).sum())) > 0:
        raise TrainingError(
            f"column '{name}' has a text of over {LONGEST_TEXT:,} characters in {_count(too_long)}; "
            "shorten or remove them"
        )
    column = _texts(name, cells)
    known = column.feature.categories
    some = known[:: max(1, len(known) // MOST_TEXTS)]
    return replace(column, feature=column.feature._replace(kind="text", categories=some))


def _check_numbers(name: str, refused: Mapping[str, str]) -> None:
    """Raise where a column of numbers holds other words for "missing", or numbers too large."""
    others = {text: code for text, code in refused.items() if text.strip().lower() not in MISSING_WORDS}
    if not others:
        raise TrainingError(
            f"column '{name}' holds numbers and '{min(refused)}': leave the cells of missing values empty"
        )
    if set(others.values()) <= {"not_finite", "out_of_range"}:
        raise TrainingError(f"column '{name}' holds '{min(others)}', which is not a number up to 3.4e38")


def _parse(name: str, kind: Kind, cells: pl.Series) -> tuple[np.ndarray, dict[str, str]]:
    """The cells' values as serving reads them, and the texts that it refuses, each with its code."""
    feature = Feature(name, kind, nullable=True)
    values, doubtful = Schema((feature,)).parse_series(feature, cells)
    if doubtful is None:
        return values, {}
    sound: dict[str, float] = {}
    refused: dict[str, str] = {}
    for text in cells.filter(pl.Series(doubtful)).unique():
        try:
            sound[text] = float(parse_text(feature, text))
        except InvalidValue as error:
            refused[text] = error.code
    if sound:
        values = np.array([sound.get(text, value) for text, value in zip(cells, values, strict=True)])
    return values, refused
