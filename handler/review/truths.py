"""What was predicted and what really came, joined by their ids.

No row counts twice, and each that does not count stands in ``Joined.predictions`` or ``Joined.truths``,
under the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from handler.batch.inputs import Inputs
from handler.errors import FunctionError
from handler.manifest import Manifest
from handler.review import sources
from handler.review.sources import UNKNOWN, Question
from handler.schema import BLANKS
from handler.scoring.scorers import Scores
from handler.storage.deadline import Deadline
from handler.storage.storage import Storage
from handler.terminal import near

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

#: Two predictions of one id are the same up to here, as a share where they are over 1: the graph and the
#: one-row program of a model may differ in the last digits.
SAME = 1e-6
#: How the spellings of one id mostly differ, as (pattern, what is put in its place).
SPELLINGS = ((f"^[{BLANKS}]+|[{BLANKS}]+$", ""), (r"\.0+$", ""), (r"^0+(.)", "$1"))


class Joined(NamedTuple):
    """The n rows of which both are known.

    ``truth``: shape (n,), as ``scores.values``. ``days``: shape (n,), days since 1970, NaN where a row has
    no date; None where no date is asked for. ``dated``: which of both tables has the dates. ``predictions``
    and ``truths``: how many rows each has, and how many of them do not count, by the reason. ``line``: of
    the first label that the model does not know. ``alike``: rows that would be joined if their ids
    were spelled alike. ``left_out``: files that were not read, by the reason. ``unchecked``: files of which
    no summary says which model has scored them.
    """

    truth: np.ndarray
    scores: Scores
    days: np.ndarray | None
    dated: str
    predictions: Mapping[str, int]
    truths: Mapping[str, int]
    line: int | None
    alike: int
    left_out: Mapping[str, int]
    unchecked: int


def join(predictions: str, truth: str, question: Question, manifest: Manifest, storage: Storage) -> Joined:
    """Read both, and join them.

    ``predictions`` is a table that scoring wrote, or a summary, a folder, a glob or a prefix of a bucket
    with many; ``truth`` is a table, or a folder, a glob or a prefix with some. Raises ``FunctionError``,
    which never holds a value of a row, and ``PassingFault``.
    """
    import polars as pl

    files, left_out, unchecked = sources.files(predictions, manifest, storage)
    truths = list(Inputs([truth], None, (), storage, Deadline()))
    if fault := next((each.fault for each in truths if each.fault), None):
        raise FunctionError(fault)
    scored = sources.scored(files, question, manifest, storage)
    is_dated = "day" in scored.frame.columns
    rest = question._replace(date=None) if is_dated else question
    came = sources.came([each.location for each in truths], rest, manifest, storage)
    if question.date is not None and not is_dated and "day" not in came.frame.columns:
        hint = near(question.date, scored.columns + came.columns)
        raise FunctionError(f"neither table has the column '{question.date}' (--date){hint}")
    keys = question.keys
    left, tally = _once(scored.frame, keys)
    right, tally_of_truths = _once(came.frame, keys)
    tally, tally_of_truths = {**scored.tally, **tally}, {**came.tally, **tally_of_truths}
    known = right.filter(pl.col("truth") != UNKNOWN) if manifest.classes else right
    tally_of_truths["unknown"] = tally_of_truths.get("unknown", 0) + right.height - known.height
    both = left.join(known, on=keys, how="inner", maintain_order="left")
    tally["without_truth"] = left.height - both.height
    tally_of_truths["without_prediction"] = known.height - both.height
    alike = 0
    if tally["without_truth"] and tally_of_truths["without_prediction"]:
        alike = _alike(left.join(known, on=keys, how="anti"), known.join(left, on=keys, how="anti"), keys)
    if not both.height:
        raise FunctionError(_nothing(question, tally, tally_of_truths, alike))
    return Joined(
        both["truth"].to_numpy(),
        _scores(both, manifest),
        both["day"].to_numpy() if question.date is not None else None,
        "predictions" if is_dated else "truth",
        tally,
        tally_of_truths,
        came.line,
        alike,
        left_out,
        unchecked,
    )


def _nothing(
    question: Question, tally: Mapping[str, int], tally_of_truths: Mapping[str, int], alike: int
) -> str:
    """Why there is no row of which both are known."""
    on = ", ".join(f"'{name}'" for name in question.on)
    if not tally["without_truth"]:
        return "PREDICTIONS has no row that counts: none with an id of its own and a prediction"
    if not tally_of_truths["without_prediction"]:
        return "TRUTH has no row that counts: none with an id of its own and a truth that can be predicted"
    hint = (
        f"; {alike:,} are alike but for blanks, leading zeros, capitals or .0 at the end" if alike else ""
    )
    return (
        f"no row of PREDICTIONS has the same {on} as a row of TRUTH: texts are compared as they stand{hint}"
    )


def _once(frame: pl.DataFrame, keys: Sequence[str]) -> tuple[pl.DataFrame, dict[str, int]]:
    """One row for each id, and how many rows are left out: those that repeat one, and all that differ."""
    import polars as pl

    twice = frame.select(keys).is_duplicated()
    if not twice.any():
        return frame, {"repeated": 0, "contradictory": 0}
    others = [name for name in frame.columns if name not in keys]
    same = pl.all_horizontal(
        pl.col(name).max() - pl.col(name).min() <= SAME * pl.max_horizontal(1, pl.col(name).abs().max())
        for name in others
        if name != "day"
    )
    groups = (
        frame.filter(twice)
        .group_by(keys, maintain_order=True)
        .agg(*(pl.col(name).first() for name in others), pl.len().alias("rows"), same.alias("same"))
    )
    agreed = groups.filter("same")
    repeated = int(agreed["rows"].sum()) - agreed.height
    contradictory = int(twice.sum()) - int(agreed["rows"].sum())
    kept = pl.concat([frame.filter(~twice), agreed.select(frame.columns)])
    return kept, {"repeated": repeated, "contradictory": contradictory}


def _alike(one: pl.DataFrame, other: pl.DataFrame, keys: Sequence[str]) -> int:
    """How many rows of one have an id that is one of the other's but for how it is spelled."""
    import polars as pl

    def plain(frame: pl.DataFrame) -> pl.DataFrame:
        texts = pl.col(keys).str.to_lowercase()
        for pattern, by in SPELLINGS:
            texts = texts.str.replace_all(pattern, by)
        return frame.select(texts)

    return plain(one).join(plain(other), on=keys, how="semi").height


def _scores(both: pl.DataFrame, manifest: Manifest) -> Scores:
    """The predictions, as a scorer gives them."""
    import numpy as np

    values = both["prediction"].to_numpy()
    values = values.astype(np.int64) if manifest.classes else values
    probabilities = None
    if manifest.probabilities and manifest.task == "binary":
        positive = both["probability"].to_numpy()
        probabilities = np.column_stack([1 - positive, positive])
    elif manifest.probabilities:
        probabilities = both.select(f"probability_{each}" for each in manifest.classes).to_numpy()
    return Scores(values, probabilities, both["score"].to_numpy() if manifest.score else None)
