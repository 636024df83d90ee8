"""What is counted of rows that two models predict: whose label changes, and how far predictions shift.

What is counted of some rows is added to what is counted of others, block by block. Shifts go from the other
model's number to this one's.
"""

from __future__ import annotations

import collections
import heapq
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from handler.errors import FunctionError
from handler.manifest import Manifest, Task
from handler.scoring import agreement
from handler.scoring.scorers import Scores

if TYPE_CHECKING:
    import numpy as np

#: Rows with the largest shifts that are listed.
LARGEST = 10
#: Shifts are counted in bins. Each ends at 1.02 times the end of the one before it, so a quantile is
#: within 1 %.
GROWTH = math.log(1.02)
#: The bin of rows that do not shift at all.
STILL = -(1 << 20)
#: The side of the square of cells in which rows are counted by both predictions.
CELLS = 20
#: A regression's row changes if its prediction shifts by more than this share of the range in which most
#: predictions were at training (from the 10th to the 90th percentile). That is an eighth of a standard
#: deviation where they are normal, below what counts as a small effect (0.2: Cohen, Statistical Power
#: Analysis, 1988, 2.2).
TOLERANCE = 0.05
#: What tasks have labels of one meaning: a retrained model may know a class more.
SUPERVISED: tuple[Task, ...] = ("binary", "multiclass")
#: What shifts: a regression's value, a score, or where there are more than two labels one of their
#: probabilities, which may be another label's in each row.
PREDICTION, SCORE, MOST_SHIFTED = "the prediction", "the score", "the probability that shifts the most"
#: The numbers between which the cells of two predictions lie.
Ends = tuple[float, float]


class Moved(NamedTuple):
    """A row whose prediction shifts.

    ``of``: the label whose probability shifts, if it is one. ``own`` and ``other``: the labels that both
    models predict, or None for a regression. ``before`` and ``after``: the other model's number, and this
    one's.
    """

    line: int
    of: int | None
    other: int | None
    own: int | None
    before: float
    after: float

    @property
    def shift(self) -> float:
        """From the other model's number to this one's; finite, as JSON has no infinity."""
        return max(-sys.float_info.max, min(self.after - self.before, sys.float_info.max))

    @property
    def rank(self) -> tuple[float, int]:
        """Orders rows: the largest shift last, and of equal ones the first."""
        return abs(self.shift), -self.line


@dataclass(slots=True)
class Shifts:
    """How far numbers shift, from the other model to this one.

    ``mean`` has a sign, and ``distance`` is the mean without it. ``bins``: rows by how far they shift.
    ``cells``: rows by both numbers, the other's first, shape (CELLS, CELLS).
    """

    rows: int = 0
    mean: float = 0.0
    distance: float = 0.0
    largest: float = 0.0
    bins: collections.Counter[int] = field(default_factory=collections.Counter)
    cells: np.ndarray | None = None

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray, shift: np.ndarray, ends: Ends | None) -> Shifts:
        """Those of some rows, shape (n,) each; ``ends``: of the cells."""
        import numpy as np

        size = np.abs(shift)
        rows = len(size)
        bins = np.full(rows, STILL)
        moves = size > 0
        bins[moves] = np.ceil(np.log(size[moves]) / GROWTH)
        made = cls(rows, float((shift / rows).sum()), float((size / rows).sum()), float(size.max()))
        numbers, counts = np.unique(bins, return_counts=True)
        made.bins.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
        if ends is not None:
            low, high = ends
            at = [
                np.clip((each - low) / (high - low) * CELLS, 0, CELLS - 1).astype(int)
                for each in (before, after)
            ]
            made.cells = np.bincount(at[0] * CELLS + at[1], minlength=CELLS**2).reshape(CELLS, CELLS)
        return made

    def add(self, other: Shifts) -> None:
        """Add those of other rows."""
        if not other.rows:
            return
        share = other.rows / (self.rows + other.rows)
        self.mean += (other.mean - self.mean) * share
        self.distance += (other.distance - self.distance) * share
        self.largest = max(self.largest, other.largest)
        self.rows += other.rows
        self.bins.update(other.bins)
        if other.cells is not None:
            self.cells = other.cells if self.cells is None else self.cells + other.cells

    def quantile(self, share: float) -> float:
        """The absolute shift that so large a share of the rows has at most, within 1 %."""
        wanted, below = max(1, math.ceil(share * self.rows)), 0
        for number in sorted(self.bins):
            below += self.bins[number]
            if below >= wanted:
                return self._edge(number)
        return self.largest

    def _edge(self, number: int) -> float:
        """The middle of a bin."""
        if number == STILL:
            return 0.0
        return min(math.exp(min((number - 0.5) * GROWTH, 709.0)), self.largest)

    def beyond(self) -> Iterator[tuple[float, float]]:
        """Absolute shifts, and which share of the rows shifts at least so far; the largest shift first."""
        above = 0
        for number in sorted(self.bins, reverse=True):
            above += self.bins[number]
            yield self._edge(number), above / self.rows


@dataclass(slots=True)
class Counts:
    """What is counted of some rows.

    ``refused``: of rows that only this model, or only the other one, rejects, by code. ``pairs``: rows by
    both labels. ``apart``: rows whose label differs or, of a regression, whose value does.
    """

    read: int = 0
    compared: int = 0
    neither: int = 0
    refused_here: collections.Counter[str] = field(default_factory=collections.Counter)
    refused_there: collections.Counter[str] = field(default_factory=collections.Counter)
    apart: int = 0
    pairs: collections.Counter[tuple[int, int]] = field(default_factory=collections.Counter)
    shifts: Shifts = field(default_factory=Shifts)
    largest: list[Moved] = field(default_factory=list)

    def add(self, other: Counts) -> None:
        """Add what is counted of the rows after these."""
        self.read += other.read
        self.compared += other.compared
        self.neither += other.neither
        self.refused_here.update(other.refused_here)
        self.refused_there.update(other.refused_there)
        self.apart += other.apart
        self.pairs.update(other.pairs)
        self.shifts.add(other.shifts)
        self.largest = heapq.nlargest(LARGEST, self.largest + other.largest, key=lambda each: each.rank)

    @property
    def changed(self) -> int:
        """The rows that change: also those that one model rejects, and the other one does not."""
        return self.apart + self.refused_here.total() + self.refused_there.total()

    @property
    def share(self) -> float:
        """Which share of the rows that a model predicts changes."""
        return self.changed / (self.read - self.neither)

    @property
    def floor(self) -> float:
        """A row is among the largest only if it shifts further."""
        return abs(self.largest[-1].shift) if len(self.largest) == LARGEST else 0.0


class Measure:
    """How predictions of this model are set against those of the other one."""

    def __init__(self, this: Manifest, other: Manifest, tolerance: float | None) -> None:
        import numpy as np

        self.names = tuple(dict.fromkeys(map(str, (*other.classes, *this.classes))))
        number = {name: index for index, name in enumerate(self.names)}
        #: Which of ``names`` each class of either model is.
        self._own, self._other = (
            np.array([number[str(label)] for label in each.classes], np.int64) for each in (this, other)
        )
        self._tolerance = tolerance
        self.ends: Ends | None = None
        self.measured: str | None = None
        #: The label whose probability is compared; None: that which shifts the most.
        self._positive: int | None = None
        if this.task == "regression":
            self.measured = PREDICTION
        elif this.task in SUPERVISED and this.probabilities and other.probabilities:
            self.measured = MOST_SHIFTED
            if this.task == other.task == "binary" and len(self.names) == 2:
                self._positive = int(self._own[1])
                self.measured = f"the probability of '{self.names[self._positive]}'"
                self.ends = 0.0, 1.0
        elif this.score and other.score:
            self.measured = SCORE
        if self.measured in (PREDICTION, SCORE):
            self.ends = _ends(other) or _ends(this)

    def of(self, own: Scores, other: Scores, floor: float) -> tuple[Counts, list[Moved]]:
        """What is counted of rows that both models predict, one or more, and those that shift the most.

        The lines of these are their indices. ``floor``: the least shift that is looked at.
        """
        import numpy as np

        counts = Counts(compared=len(own.values))
        labels = None
        if self.names:
            labels = self._own[own.values], self._other[other.values]
            counts.pairs.update(agreement.pairs(*labels))
            counts.apart = agreement.differing(counts.pairs)
        if self.measured is None:
            return counts, []
        before, after, of = self._numbers(own, other)
        with np.errstate(over="ignore"):
            shift = np.clip(after - before, -sys.float_info.max, sys.float_info.max)
        size_of = np.abs(shift)
        if self._tolerance is not None:
            counts.apart = int((size_of > self._tolerance).sum())
        counts.shifts = Shifts.of(before, after, shift, self.ends)
        further = np.flatnonzero(size_of > floor)
        first = further[np.argsort(-size_of[further], kind="stable")[:LARGEST]].tolist()
        return counts, [
            Moved(
                index,
                None if of is None else int(of[index]),
                None if labels is None else int(labels[1][index]),
                None if labels is None else int(labels[0][index]),
                float(before[index]),
                float(after[index]),
            )
            for index in first
        ]

    def _numbers(self, own: Scores, other: Scores) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """What shifts, before and after, and of which label it is the probability, shape (n,) each."""
        import numpy as np

        if self.measured == PREDICTION:
            return other.values, own.values, None
        if self.measured == SCORE:
            assert own.score is not None
            assert other.score is not None
            return other.score, own.score, None
        shape = len(own.values), len(self.names)
        after, before = np.zeros(shape), np.zeros(shape)
        after[:, self._own], before[:, self._other] = own.probabilities, other.probabilities
        if self._positive is not None:
            return before[:, self._positive], after[:, self._positive], np.full(shape[0], self._positive)
        of = np.abs(after - before).argmax(axis=1)
        rows = np.arange(shape[0])
        return before[rows, of], after[rows, of], of


def usual_tolerance(this: Manifest, other: Manifest) -> float:
    """The shift above which a regression's row changes, by ``TOLERANCE``; raises ``FunctionError``."""
    for manifest in (other, this):
        edges = _edges(manifest)
        if len(edges) > 1:
            return TOLERANCE * (edges[-1] - edges[0])
    raise FunctionError(
        "neither bundle says in which range its predictions were at training: say with --tolerance from "
        "which shift on a row counts as changed, in units of the target"
    )


def _ends(manifest: Manifest) -> Ends | None:
    """The numbers between which nearly all predictions were at training, if the bundle says so."""
    edges = _edges(manifest)
    if len(edges) < 2:
        return None
    beyond = (edges[-1] - edges[0]) / 2
    return edges[0] - beyond, edges[-1] + beyond


def _edges(manifest: Manifest) -> Sequence[float]:
    """The edges of the bins in which predictions were at training; none in an older bundle."""
    edges: Sequence[float] = manifest.profile.get("predictions", {}).get("edges", ())
    return edges
