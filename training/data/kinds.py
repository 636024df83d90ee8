"""What one column holds: a feature, of which kind and in which spelling, or nothing to learn from.

It is inferred from all cells, by the rules that serving applies to requests (``handler.schema``), so that
the two cannot differ: whatever training does to a cell, serving does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import polars as pl

from handler.manifest import Feature, Kind
from handler.schema import (
    LARGEST_INTEGER,
    LARGEST_NUMBER,
    LONGEST_TEXT,
    LONGEST_VALUE,
    MEANING,
    NUMBER,
    InvalidValue,
    Value,
    parse_text,
)
from handler.spelling import MISSING_AMONG_NUMBERS, MISSING_NUMBERS, MISSING_TEXTS, START, format_of
from handler.tables.series import Series
from training.data import dates
from training.data.notes import Note
from training.data.texts import Counted, Texts, missing
from training.errors import TrainingError

INFINITIES = ("inf", "-inf", "+inf", "infinity", "-infinity", "+infinity")
NOT_NUMBERS = (*INFINITIES, "+nan", "-nan")
BOOLEAN_WORDS = frozenset({"true", "false", "yes", "no", "t", "f", "y", "n"})
#: The share of a column's cells that must be numbers for the others to be missing.
FITTING = 0.95
#: The most different texts that are emptied in a column of numbers.
MOST_STRAYS = 20
#: Beside texts, no more different numbers than these are levels of a category, such as 1, 2, 3 and 4+.
MOST_LEVELS = 20
#: A text column with more distinct values than this, most of them in a single row, is not a category.
MANY_CATEGORIES = 50
#: From as many rows on, texts that differ in every row identify it.
FEWEST_IDS = 20
#: Words in a cell, on average, from which on texts are free text: where they repeat, and where none does.
SEVERAL_WORDS, MANY_WORDS = 2, 5
#: What a vectorizer takes for a word.
WORD = r"\b\w\w+\b"
#: Of a column of free text, the texts that the proof knows are between as many and twice as many.
MOST_TEXTS = 500


@dataclass(frozen=True, slots=True)
class Column:
    """One feature's values, as a scorer takes them: float64 with NaN where missing, or ``str`` objects."""

    feature: Feature
    values: np.ndarray
    missing: int
    distinct: int
    notes: tuple[Note, ...] = ()

    @property
    def typical(self) -> Value:
        """The most frequent text, or the median: one of the numbers, or rounded down."""
        if self.feature.is_text:
            (most,) = Counter(self.values[self.values != ""].tolist()).most_common(1)
            return str(most[0])
        if self.feature.kind == "number":
            return float(np.nanquantile(self.values, 0.5, method="lower"))
        return float(math.floor(np.nanmedian(self.values)))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column that is not a feature, and the note that says why.

    ``kind``: what ``--kind`` could take it as, all the same.
    """

    name: str
    role: Literal["ignored", "id"]
    note: Note
    kind: str | None = None


@dataclass(frozen=True, slots=True)
class Stated:
    """What the user states about a column: its kind, the format of its cells, and that it may have gaps."""

    kind: Kind | None = None
    format: str | None = None
    nullable: bool = False


class Misfit(TrainingError):
    """Cells are not of the kind that is stated. ``kind``: the one to state instead, where that is known."""

    def __init__(self, name: str, message: str, kind: str | None = None) -> None:
        self.name = name
        self.kind = kind
        super().__init__(message)


def column(name: str, cells: pl.Series, stated: Stated, delimiter: str) -> Column | LeftOut:
    """What the cells are; raises ``Misfit`` where they are not of the kind that is stated.

    ``delimiter``: of the file, beside which commas mean different things in numbers.
    """
    kind = stated.kind
    made = forced(name, kind, cells, stated.format) if kind else infer(name, cells, delimiter)
    if stated.nullable and isinstance(made, Column):
        return replace(made, feature=with_gaps(made.feature))
    return made


def with_gaps(feature: Feature, words: Sequence[str] = ()) -> Feature:
    """The feature, which may be missing, and is where its text is one of ``words``."""
    usual = {"text": (), "category": MISSING_TEXTS}.get(feature.kind, MISSING_NUMBERS)
    all_words = dict.fromkeys((*usual, *feature.missing_words, *(word.lower() for word in words)))
    return feature._replace(nullable=True, missing_words=tuple(all_words))


def forced(name: str, kind: Kind, cells: pl.Series, format: str | None = None) -> Column:
    """One feature of the kind that the user states; raises ``Misfit`` for cells of another."""
    if kind == "text":
        return _free_text(name, cells)
    texts = Texts.of(cells)
    if kind == "category":
        return _category(name, texts)
    if kind == "date" and format is None:
        format = _format_of_dates(name, texts)
    values, refused = parse(_reader(name, kind, format), texts.different)
    if refused:
        rows = texts.counted.rows_of(refused)
        spelled = f", spelled as {format}" if format else ""
        raise Misfit(
            name,
            f"column '{name}' must be {MEANING[kind]}{spelled} (--kind), and {rows:,} of its cells are "
            f"not, such as '{min(refused)[:30]}'",
        )
    return _of_numbers(name, kind, texts.spread(values), format)


def _format_of_dates(name: str, texts: Texts) -> str | None:
    """The format of dates, where only their kind is stated; raises ``Misfit`` where it could be either."""
    try:
        return dates.format_of(texts.known(MISSING_NUMBERS))
    except dates.AmbiguousDates as error:
        message = f"column '{name}' holds dates that could be {error}; state which it is"
        raise Misfit(name, message, f"date:{error.formats[0]}") from error


def infer(name: str, cells: pl.Series, delimiter: str = ",") -> Column | LeftOut:
    """One feature from its cells, or why it is none."""
    if (plain := Numbers.plain(name, cells, delimiter)) is not None:
        return _constant(plain.column())
    texts = Texts.of(cells)
    made = _inferred(name, cells, texts, delimiter)
    if isinstance(made, Column) and made.missing and made.feature.missing_words:
        return _with_words_noted(made, texts)
    return made


def _with_words_noted(made: Column, texts: Texts) -> Column:
    """The column, with a note on the words that were taken as missing values."""
    usual = (*with_gaps(made.feature._replace(missing_words=())).missing_words, *MISSING_AMONG_NUMBERS)
    gone = made.values == "" if made.feature.is_text else np.isnan(made.values)
    words = texts.different.filter(texts.having(gone) & missing(texts.different, usual)).sort()
    words = words.filter(words != "")
    if not len(words):
        return made
    shown = ", ".join(f"'{word}'" for word in words[:5])
    note = Note(
        made.feature.name,
        f"is missing where it is {shown}",
        "are missing where they have a word such as NA or ? for that",
    )
    return replace(made, notes=(*made.notes, note))


def _inferred(name: str, cells: pl.Series, texts: Texts, delimiter: str) -> Column | LeftOut:
    numbers = Numbers.read(name, texts, delimiter)
    if numbers.are_the_column:
        return _constant(numbers.column())
    levels = texts.known(MISSING_TEXTS)
    if not levels.rows:
        return LeftOut(
            name,
            "ignored",
            Note(
                name,
                "has no value in any row, and is left out",
                "have no value in any row, and are left out",
            ),
        )
    return (
        _date(name, texts)
        or _boolean(name, texts, levels.texts)
        or _of_texts(name, cells, texts, levels, numbers)
    )


def _constant(column: Column) -> Column | LeftOut:
    """The column, unless each row has the same value."""
    name, kind = column.feature.name, column.feature.kind
    if column.distinct > 1 or column.missing:
        return column
    text = "has the same value in every row and is left out"
    return LeftOut(
        name, "ignored", Note(name, text, "have the same value in every row and are left out"), kind
    )


@dataclass(frozen=True, slots=True)
class Numbers:
    """A column read as numbers in one spelling: its ``values``, NaN for a cell that is not one.

    ``strays`` are the texts that are neither numbers nor missing, ``beyond`` the numbers that are not
    finite, or over 3.4e38, and ``words`` those for a missing value that stand for one among numbers alone.
    Where there are any, ``levels`` counts the different texts but for the missing ones, and ``known`` their
    rows.
    """

    name: str
    values: np.ndarray
    format: str | None
    strays: Collection[str]
    beyond: Collection[str]
    words: Collection[str]
    rows_of_strays: int
    rows_beyond: int
    known: int
    levels: int

    @classmethod
    def plain(cls, name: str, cells: pl.Series, delimiter: str) -> Numbers | None:
        """The column, where each cell is a plain number or empty: most are, and are known at once."""
        if delimiter == ";":  # there, 967 and 12.345 may be whole numbers
            return None
        numbers = cells.cast(pl.Float64, strict=False)
        if not numbers.null_count() == (cells == "").sum() < len(cells):
            return None
        values = numbers.to_numpy()  # a null is NaN here
        sound = np.count_nonzero(np.abs(values) <= LARGEST_NUMBER) == len(cells) - numbers.null_count()
        if not sound or cells.str.len_bytes().max() > LONGEST_VALUE:  # type: ignore[operator]
            return None
        return cls(name, values, None, (), (), (), 0, 0, 0, 0)

    @classmethod
    def read(cls, name: str, texts: Texts, delimiter: str) -> Numbers:
        """The column as plain numbers, or in the spelling that more of its cells fit."""
        if not texts.different.str.contains(START).any():
            return cls(name, np.full(len(texts.codes), np.nan), None, (), (), (), 0, 0, 0, 0)
        plain = cls._spelled(name, texts, None)
        if not plain.strays and delimiter != ";":
            return plain
        known = texts.known((*MISSING_NUMBERS, *MISSING_AMONG_NUMBERS))
        if (format := format_of(known.texts, delimiter, known.counts)) is None:
            return plain
        spelled = cls._spelled(name, texts, format)
        return spelled if spelled.rows_of_strays <= plain.rows_of_strays else plain

    @classmethod
    def _spelled(cls, name: str, texts: Texts, format: str | None) -> Numbers:
        values, refused = parse(_reader(name, "number", format), texts.different)
        if not refused:
            return cls(name, texts.spread(values), format, (), (), (), 0, 0, 0, 0)
        beyond = {text for text, code in refused.items() if code in ("not_finite", "out_of_range")}
        strays, words = refused.keys() - beyond, set()
        if len(strays) <= 2 * MOST_STRAYS:
            words = {text for text in strays if text.lower() in MISSING_AMONG_NUMBERS}
            strays -= words
        known = texts.known((*MISSING_NUMBERS, *MISSING_AMONG_NUMBERS))
        return cls(
            name,
            texts.spread(np.where(np.abs(values) <= LARGEST_NUMBER, values, np.nan)),
            format,
            strays,
            beyond,
            words,
            known.rows_of(strays),
            known.rows_of(beyond),
            known.rows,
            len(known.texts),
        )

    @property
    def rows(self) -> int:
        """The rows that hold a number."""
        return len(self.values) - int(np.isnan(self.values).sum())

    @property
    def distinct(self) -> int:
        """How many different texts are numbers, where there are other texts."""
        return self.levels - len(self.strays) - len(self.beyond)

    @property
    def are_the_column(self) -> bool:
        """Whether the column is one of numbers, with few texts in it."""
        if np.isnan(self.values).all() or len(self.beyond) > MOST_STRAYS:
            return False
        return not self.strays or (self.are_most and self.rows_of_strays <= (1 - FITTING) * self.known)

    @property
    def are_most(self) -> bool:
        """Whether it is better taken as numbers, with some texts in it, than left out."""
        return (
            self.distinct > MOST_LEVELS
            and len(self.strays) <= MOST_STRAYS
            and all(text == text.strip() for text in self.strays)
            and 2 * self.distinct >= self.levels
            and 2 * self.rows_of_strays <= self.known
        )

    def column(self) -> Column:
        name, notes = self.name, []
        if self.format is not None:
            notes.append(
                Note(
                    name, f"is read as numbers such as {self.format} (--kind '{name}=category' leaves them)"
                )
            )
        if self.strays:
            notes.append(_emptied(name, "numbers", self.strays, self.rows_of_strays))
        if self.beyond:
            notes.append(
                Note(
                    name,
                    f"is infinite, or over 3.4e38, in {count(self.rows_beyond)}, which is taken as missing",
                    "are infinite, or over 3.4e38, in some rows, which is taken as missing",
                )
            )
        known = self.values[~np.isnan(self.values)]
        whole = not (np.floor(known) != known).any() and np.abs(known).max() <= LARGEST_INTEGER
        infinite = INFINITIES if self.beyond else ()
        words = [*sorted(self.words), *sorted(self.strays), *infinite, *sorted(self.beyond)]
        made = _of_numbers(name, "integer" if whole else "number", self.values, self.format, words)
        return replace(made, notes=(*notes, *made.notes))


def count(rows: int) -> str:
    return f"{rows:,} {'row' if rows == 1 else 'rows'}"


def _date(name: str, texts: Texts) -> Column | LeftOut | None:
    """A column of dates; one whose days and months cannot be told apart is left out."""
    try:
        format = dates.format_of(texts.known((*MISSING_NUMBERS, *MISSING_AMONG_NUMBERS)))
    except dates.AmbiguousDates as error:
        either = " or ".join(f"--kind '{name}=date:{each}'" for each in error.formats)
        text = f"holds dates that could be {error}, and is left out: state which it is, {either}"
        return LeftOut(name, "ignored", Note(name, text), f"date:{error.formats[0]}")
    if format is None:
        return None
    values, refused = parse(_reader(name, "date", format), texts.different)
    strays = sorted(text for text in refused if text.lower() not in MISSING_AMONG_NUMBERS)
    if len(refused) > MOST_STRAYS or any(text != text.strip() for text in refused):
        return None
    rows = texts.counted.rows_of(strays)
    made = _of_numbers(name, "date", texts.spread(values), format, sorted(refused))
    note = Note(
        name,
        f"is read as dates of the format {format} (--kind '{name}=category' leaves them as they are)",
    )
    return replace(made, notes=(note, *([_emptied(name, "dates", strays, rows)] if strays else [])))


def _emptied(name: str, what: str, strays: Collection[str], rows: int) -> Note:
    """A note on a few texts in a column that are taken as missing."""
    shown = ", ".join(f"'{text[:30]}'" for text in sorted(strays)[:3]) + (
        ", ..." if len(strays) > 3 else ""
    )
    return Note(
        name,
        f"holds {what}, and in {count(rows)} {shown}, which is taken as missing "
        f"(--kind '{name}=category' keeps it)",
        f"hold {what}, and in a few rows texts, which are taken as missing",
    )


def _boolean(name: str, texts: Texts, levels: pl.Series) -> Column | None:
    if len(levels) > MANY_CATEGORIES:
        return None
    words = set(levels.str.to_lowercase().unique()) - {*MISSING_NUMBERS}
    if not words <= BOOLEAN_WORDS:
        return None
    truths, _ = parse(_reader(name, "boolean"), texts.different)
    if len(np.unique(truths[~np.isnan(truths)])) != 2:
        return None
    return _of_numbers(name, "boolean", texts.spread(truths))


def _of_numbers(
    name: str, kind: Kind, values: np.ndarray, format: str | None = None, words: Sequence[str] = ()
) -> Column:
    """A feature of doubles; ``words`` are its missing ones beside the usual. Raises ``Misfit``."""
    known = values[~np.isnan(values)]
    if not len(known):
        raise Misfit(name, f"column '{name}' is empty")
    missing, distinct = len(values) - len(known), len(np.unique(known))
    feature = Feature(name, kind, minimum=float(known.min()), maximum=float(known.max()), format=format)
    numbered = kind == "integer" and distinct == len(values) > MANY_CATEGORIES
    note = Note(
        name,
        "differs in every row; if it only identifies the row, name it with --id",
        "differ in every row; those that only identify the row are named with --id",
    )
    if missing:
        feature = with_gaps(feature, words)
    return Column(feature, values, missing, distinct, (note,) if numbered else ())


def _of_texts(
    name: str, cells: pl.Series, texts: Texts, known: Counted, numbers: Numbers
) -> Column | LeftOut:
    """A column of texts: a category, free text, an id, or nothing that can be learnt from.

    ``known`` are the texts that are not missing.
    """
    rows, levels, distinct = known.rows, known.texts, len(known.texts)
    differ = distinct == rows >= FEWEST_IDS
    if distinct <= max(MANY_CATEGORIES, rows / 2) and not differ:
        made = _category(name, texts)
        if numbers.distinct > 0 and numbers.strays:
            made = replace(made, notes=(_mixed(name, min(numbers.strays)),))
        return _constant(made)
    words = float(levels.str.count_matches(WORD).mean() or 0)  # type: ignore[arg-type]
    if words >= (MANY_WORDS if differ else SEVERAL_WORDS):
        longest = int(cells.str.len_chars().max() or 0)  # type: ignore[arg-type]
        if longest > LONGEST_TEXT:
            why = f"has texts of up to {longest:,} characters, over {LONGEST_TEXT:,}, and is left out"
            return LeftOut(name, "ignored", Note(name, why))
        made = _free_text(name, cells)
        note = Note(
            name,
            f"is taken as free text (--kind '{name}=category' takes it as a category)",
            "are taken as free text (--kind 'NAME=category' takes one as a category)",
        )
        return replace(made, notes=(note,))
    if numbers.are_most:
        return numbers.column()
    single = levels.str.contains(r"\s").mean()
    if differ or (distinct > FITTING * rows and not single):
        return LeftOut(
            name,
            "id",
            Note(
                name,
                "identifies the row, as its texts differ: it is carried through, and is not a feature "
                f"(--kind '{name}=category' makes it one)",
                "identify the row, as their texts differ: they are carried through, and are not features "
                "(--kind 'NAME=category' makes one of them a feature)",
            ),
            "category",
        )
    also = f", and numbers beside '{min(numbers.strays)[:30]}'" if numbers.distinct > 0 else ""
    return LeftOut(
        name,
        "ignored",
        Note(
            name,
            f"has {distinct:,} different texts in {count(rows)}{also}, and is left out: too many for a "
            f"category (--kind '{name}=category' or '{name}=text' makes it a feature, --id '{name}' "
            "carries it through)",
            "have too many different texts for a category, and are left out (--kind 'NAME=category' or "
            "'NAME=text' makes one a feature, --id NAME carries it through)",
        ),
        "category",
    )


def _mixed(name: str, stranger: str) -> Note:
    return Note(
        name,
        f"is taken as a category, since '{stranger[:30]}' is not a number",
        "are taken as categories, since some of their cells are not numbers",
    )


def _category(name: str, texts: Texts) -> Column:
    """Texts as categories; raises ``Misfit`` where all are missing."""
    gone, levels = missing(texts.different, MISSING_TEXTS), texts.different
    known = texts.counted.where(~gone)
    if not known.rows:
        raise Misfit(name, f"column '{name}' is empty")
    feature = Feature(name, "category", categories=tuple(sorted(known.texts.to_list())))
    if gone.any():
        feature = with_gaps(feature)
        levels = levels.zip_with(~gone, pl.Series([""]))
    values = texts.spread(np.array(levels.to_list(), dtype=object))
    return Column(feature, values, texts.counted.rows - known.rows, len(feature.categories))


def _free_text(name: str, cells: pl.Series) -> Column:
    """A column of free text, with some of its texts as ``categories``, for the proof."""
    if (too_long := int((cells.str.len_chars() > LONGEST_TEXT).sum())) > 0:
        raise Misfit(
            name,
            f"column '{name}' has a text of over {LONGEST_TEXT:,} characters in {count(too_long)}; "
            "shorten or remove them",
        )
    known = sorted(cells.filter(cells != "").unique())
    missing = int((cells == "").sum())
    if not known:
        raise Misfit(name, f"column '{name}' is empty")
    some = tuple(known[:: max(1, len(known) // MOST_TEXTS)])
    feature = Feature(name, "text", missing > 0, categories=some)
    return Column(feature, np.array(cells.to_list(), dtype=object), missing, len(known))


def _reader(name: str, kind: Kind, format: str | None = None) -> Feature:
    """A feature of the kind, by which cells are read: it may be missing."""
    return with_gaps(Feature(name, kind, format=format))


def parse(feature: Feature, cells: pl.Series) -> tuple[np.ndarray, dict[str, str]]:
    """The cells' values as serving reads them, and the texts that it refuses, each with its code."""
    values, doubtful = Series((feature,)).parse(feature, cells)
    if doubtful is None:
        return values, {}
    unsure = cells.filter(pl.Series(doubtful)).unique()
    sound: dict[str, float] = {}
    refused: dict[str, str] = {}
    if feature.format is None and feature.kind in ("integer", "number"):  # most columns, and the longest
        likely = unsure.str.contains(f"^(?:{NUMBER})$") | missing(
            unsure, (*feature.missing_words, *NOT_NUMBERS)
        )
        refused = dict.fromkeys(unsure.filter(~likely).to_list(), "not_a_number")
        unsure = unsure.filter(likely)
    for text in unsure.to_list():
        try:
            sound[text] = float(parse_text(feature, text))
        except InvalidValue as error:
            refused[text] = error.code
    if sound:
        values = np.array([sound.get(text, value) for text, value in zip(cells, values, strict=True)])
    return values, refused
