"""The column that is to be predicted: classes or a quantity, and the rows that have it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from handler.schema import BLANKS
from handler.spelling import MISSING_NUMBERS_OF_TARGETS, MISSING_TEXTS_OF_TARGETS
from training.data import kinds
from training.data.notes import Note, Problem
from training.data.texts import Texts, missing

#: Whole numbers are classes, unless the pipeline says otherwise, where there are no more of them than
#: these, and so many rows of each on average.
MOST_CLASSES = 20
ROWS_OF_A_CLASS = 10
#: The pipelines with names, by what they fit: classes, numbers, whichever the target holds, or no target.
CLASSIFIERS = frozenset({"logistic", "naive_bayes", "svc"})
REGRESSORS = frozenset({"linear", "ridge", "lasso"})
EITHER = frozenset(
    {
        "decision_tree", "random_forest", "extra_trees", "gradient_boosting", "hist_gradient_boosting",
        "mlp",
    }
)  # fmt: skip
WITHOUT_TARGET = frozenset({"isolation_forest", "kmeans"})
#: With fewer rows than these, because the others have no target, nothing is learnt.
FEWEST_ROWS = 20


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be predicted in the rows that are ``kept``, as indices into the table that was read.

    ``labels``: the rows' classes, int64 where every text is a plain integer, else the texts. ``numbers``:
    the doubles, where every cell is a number. ``classifies``: whether the values are classes, rather than
    numbers of a quantity. ``mixed``: what is wrong, in a sentence, where a few cells are texts among the
    numbers of a quantity.
    """

    name: str
    kept: np.ndarray
    labels: np.ndarray
    numbers: np.ndarray | None
    distinct: int
    classifies: bool
    mixed: str = ""
    notes: tuple[Note, ...] = ()


def read(
    name: str, cells: pl.Series, delimiter: str = ",", pipeline: str | None = None
) -> Target | Problem:
    """The target of the rows that have one, or why it cannot be learnt.

    Rows in which a quantity is a text have none, where they are few, unless ``pipeline`` may be one that
    takes texts and numbers as classes.
    """
    texts = cells.str.strip_chars(BLANKS)
    plain = kinds.Numbers.plain(name, cells, delimiter)
    numbers = plain or kinds.Numbers.read(name, Texts.of(cells), delimiter)
    quantity = numbers.rows > numbers.rows_of_strays
    gone = missing(texts, MISSING_NUMBERS_OF_TARGETS if quantity else MISSING_TEXTS_OF_TARGETS)
    if quantity and numbers.beyond:
        gone |= texts.is_in(list(numbers.beyond))
    known = numbers.values[~np.isnan(numbers.values)]
    mixed = bool(quantity and numbers.strays) and (
        bool((np.floor(known) != known).any()) or len(np.unique(known)) > MOST_CLASSES
    )
    notes: list[Note] = []
    few = numbers.rows_of_strays <= (1 - kinds.FITTING) * numbers.known
    emptied = mixed and few and (pipeline is None or pipeline in REGRESSORS | EITHER)
    if emptied:
        gone |= texts.is_in(list(numbers.strays))
        text = f"in {kinds.count(numbers.rows_of_strays)} another text, such as '{_example(numbers)}'"
        notes.append(Note(name, f"holds numbers, and {text}, which is taken as missing"))
    if gone.any():
        problem, note = _without(name, texts, gone)
        if problem is not None:
            return problem
        notes.append(note)
    kept = np.flatnonzero(~gone.to_numpy())
    texts, values = texts.filter(~gone), numbers.values[kept]
    if texts.n_unique() < 2:
        return _constant(name)
    if quantity and (emptied or not numbers.strays):
        return _of_numbers(name, texts, kept, values, numbers.format, notes)
    if mixed:
        rows_of_strays = kinds.count(numbers.rows_of_strays)
        message = (
            f"the target '{name}' holds numbers, and in {rows_of_strays} another text, such as "
            f"'{_example(numbers)}'; correct or empty those cells: rows without a target are left out"
        )
        return Target(name, kept, _labels(texts), None, texts.n_unique(), True, message, tuple(notes))
    return _of_texts(name, texts, kept, notes)


def _example(numbers: kinds.Numbers) -> str:
    return min(numbers.strays)[:30]


def unfit(
    target: Target | None, pipeline: str, *, classifies: bool, threshold: str | None = None
) -> list[Problem]:
    """Why the pipeline, which fits classes or else numbers, or has no target, cannot be fitted as asked."""
    problems = [] if target is None else list(_unfit(target, pipeline, classifies))
    wrong = ("--threshold", threshold or "")
    if threshold is not None and not (classifies and target):
        predicts = "predicts numbers" if target else "has no target"
        message = f"--threshold is for classes, and pipeline '{pipeline}' {predicts}"
        problems.append(Problem(message, (), wrong))
    elif threshold is not None and target and (classes := len(np.unique(target.labels))) != 2:
        message = f"--threshold is for two classes, and the target has {classes:,}"
        problems.append(Problem(message, (), wrong))
    return problems


def _unfit(target: Target, pipeline: str, classifies: bool) -> Iterator[Problem]:
    """What of the target the pipeline cannot learn."""
    wrong = ("--pipeline", pipeline)
    if classifies:
        classes, counts = np.unique(target.labels, return_counts=True)
        if counts.min() > 1:
            return
        if target.numbers is not None and len(classes) > MOST_CLASSES:
            message = (
                f"the target '{target.name}' has {len(classes):,} different numbers, and pipeline "
                f"'{pipeline}' sorts rows into classes; a regressor, such as --pipeline linear, predicts "
                "numbers"
            )
            yield Problem(message, ("--pipeline", "linear"), wrong)
        else:
            message = (
                f"class '{classes[counts.argmin()]}' of the target '{target.name}' has one row only; a "
                "class needs rows to fit on and rows to hold out"
            )
            yield Problem(target.mixed or message)
    elif target.mixed:
        yield Problem(target.mixed)
    elif target.numbers is None:
        message = (
            f"the target '{target.name}' holds text, and pipeline '{pipeline}' predicts numbers; a "
            "classifier, such as --pipeline logistic, sorts rows into classes"
        )
        yield Problem(message, ("--pipeline", "logistic"), wrong)
    elif target.numbers.min() == target.numbers.max():
        message = (
            f"the target '{target.name}' has one value in every row, as far as a double tells; nothing can "
            "be learnt"
        )
        yield Problem(message)


def unwanted(name: str, pipeline: str, stated: str) -> str:
    """That the pipeline takes no target; ``stated``: what messages call that which names it."""
    return (
        f"pipeline '{pipeline}' learns without a target: leave out {stated}, and every column is a "
        f"feature; to leave out that column too, write --drop '{name}'"
    )


def _constant(name: str) -> Problem:
    return Problem(f"the target '{name}' has the same value in every row; nothing can be learnt")


def _without(name: str, texts: pl.Series, missing: pl.Series) -> tuple[Problem | None, Note]:
    """What to say of the rows without a target, and why the others are too few, if they are."""
    gone, left = int(missing.sum()), len(texts) - int(missing.sum())
    spelled = sorted(texts.filter(missing).unique())
    shown = f" ({', '.join(text or 'empty' for text in spelled[:5])})" if any(spelled) else ""
    rows = f"{kinds.count(gone)} of {len(texts):,}{shown}"
    note = Note(name, f"is missing in {rows}, which are left out")
    if left < gone:
        why = "which is more than half"
    elif left < FEWEST_ROWS:
        why = f"and fewer than {FEWEST_ROWS} are left"
    else:
        return None, note
    message = (
        f"the target '{name}' is missing in {rows}, {why}; fill them, or name another target (--target)"
    )
    return Problem(message), note


def _of_numbers(
    name: str,
    texts: pl.Series,
    kept: np.ndarray,
    values: np.ndarray,
    format: str | None,
    notes: Sequence[Note],
) -> Target:
    _, counts = np.unique(values, return_counts=True)
    distinct, codes = len(counts), _are_codes(texts)
    few = distinct <= MOST_CLASSES and counts.min() >= 2 and len(values) >= ROWS_OF_A_CLASS * distinct
    whole = not (values % 1).any()
    classifies = whole and (few or codes)
    said = [*notes]
    if format is not None:
        said.append(Note(name, f"is read as numbers such as {format}"))
    if whole and not classifies:
        flag = " (--pipeline logistic predicts classes)" if counts.min() >= 2 else ""
        text = f"has {distinct:,} different whole numbers in {kinds.count(len(values))}, which are taken as"
        said.append(Note(name, f"{text} a quantity{flag}"))
    return Target(name, kept, _labels(texts), values, distinct, classifies, notes=tuple(said))


def _are_codes(texts: pl.Series) -> bool:
    """Whether they are codes of one length, such as 01, 02 and 10, and not numbers of a quantity."""
    return texts.str.len_chars().n_unique() == 1 and bool(texts.str.contains("^0[0-9]+$").any())


def _of_texts(name: str, texts: pl.Series, kept: np.ndarray, notes: Sequence[Note]) -> Target | Problem:
    """Texts as classes, without the rows of those that stand in one row only."""
    alone = ~texts.is_duplicated()
    left_out = int(alone.sum())
    if not left_out:
        return Target(name, kept, _labels(texts), None, texts.n_unique(), True, notes=tuple(notes))
    single = sorted(texts.filter(alone))
    if 2 * left_out > len(texts):
        return Problem(
            f"the target '{name}' holds texts, such as '{single[0][:30]}', of which most stand in one row "
            "only: they are not classes; name another target (--target)"
        )
    texts, kept = texts.filter(~alone), kept[~alone.to_numpy()]
    if texts.n_unique() < 2:
        return _constant(name)
    shown = ", ".join(f"'{text[:30]}'" for text in single[:3]) + (", ..." if left_out > 3 else "")
    what = "class" if left_out == 1 else "classes"
    note = Note(
        name,
        f"has {left_out:,} {what} of one row ({shown}), which {'is' if left_out == 1 else 'are'} left out: "
        "a class needs rows to fit on and rows to hold out",
    )
    return Target(name, kept, _labels(texts), None, texts.n_unique(), True, notes=(*notes, note))


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
