"""Two models on the same file: the rows whose label changes, and by how much predictions shift.

Both read every block by their own schema, as a batch does, and what is counted of a block adds up. So
memory does not grow with the file. "This" model is the one that is to be deployed, and the "other" one
serves today.
"""

from __future__ import annotations

import collections
import contextlib
import heapq
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.batch import blocks
from handler.batch.goals import SMALL, Progress
from handler.batch.progress import Passed
from handler.batch.run import require
from handler.bundle import LARGEST_DOUBLE, MANIFEST, Feature, Manifest, Task
from handler.charts import cut
from handler.errors import BundleError, FunctionError, InvalidCsv, MissingColumns
from handler.scoring import agreement
from handler.scoring.model import Model
from handler.scoring.scorers import Scores
from handler.scoring.table import score_block, score_rows
from handler.settings import Settings
from handler.storage.deadline import Deadline
from handler.storage.locations import Location
from handler.storage.storage import Storage
from handler.tables import formats
from handler.tables.compression import inflated
from handler.tables.formats import Table
from handler.tables.rows import Block, Layout, Rejects, Rows

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
#: Differences that are listed; all are in the JSON object.
MOST_DIFFERENCES = 20
#: Names that are listed of those that only one model knows, and the letters of each.
NAMED, LONGEST = 5, 40
#: What tasks have labels of one meaning: a retrained model may know a class more.
SUPERVISED: tuple[Task, ...] = ("binary", "multiclass")
#: The quantiles of absolute shifts that are shown, by their names in JSON.
QUANTILES: Mapping[str, float] = {"median": 0.5, "p90": 0.9, "p99": 0.99}
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
        return max(-LARGEST_DOUBLE, min(self.after - self.before, LARGEST_DOUBLE))

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


class Difference(NamedTuple):
    """What both models take differently, in words: of a feature, or of the model where that is empty."""

    feature: str
    this: str
    other: str


class Comparison(NamedTuple):
    """What two models predict for the rows of ``input``.

    ``names``: the labels of both, as ``Counts`` numbers them; none for a regression. ``measured``: what
    shifts, in words, or None where there are only labels. ``tolerance``: the shift above which a
    regression's row changes. ``ends``: the numbers between which the cells of ``Shifts`` lie, if any.
    """

    this: Manifest
    other: Manifest
    input: Location
    names: tuple[str, ...]
    measured: str | None
    tolerance: float | None
    ends: Ends | None
    counts: Counts
    differences: tuple[Difference, ...]

    @property
    def is_regression(self) -> bool:
        return self.this.task == "regression"

    @property
    def has_direction(self) -> bool:
        """Whether the shifts are of one number, and not of another label's probability in each row."""
        return self.measured != MOST_SHIFTED

    def classes(self, which: int) -> dict[str, int]:
        """Rows by the label of this model (0), or of the other one (1), among those that both predict."""
        rows = collections.Counter[int]()
        for pair, count in self.counts.pairs.items():
            rows[pair[which]] += count
        labels = {str(label) for label in (self.this, self.other)[which].classes}
        return {name: rows[index] for index, name in enumerate(self.names) if name in labels}

    def as_json(self) -> dict[str, Any]:
        """The comparison as one JSON object."""
        counts, names = self.counts, self.names
        return {
            "this": self.this.identity,
            "other": self.other.identity,
            "input": str(self.input),
            "task": self.this.task,
            "rows": {
                "read": counts.read,
                "compared": counts.compared,
                "rejected": {
                    "both": counts.neither,
                    "this": counts.refused_here.total(),
                    "other": counts.refused_there.total(),
                },
            },
            "rejects": {
                "this": dict(sorted(counts.refused_here.items())),
                "other": dict(sorted(counts.refused_there.items())),
            },
            "changed": {
                "rows": counts.changed,
                "share": round(counts.share, 6),
                "values" if self.is_regression else "labels": counts.apart,
            },
            **({"tolerance": self.tolerance} if self.is_regression else {}),
            "predictions": {} if not names else {"this": self.classes(0), "other": self.classes(1)},
            "labels": [
                {"this": names[own], "other": names[other], "rows": rows}
                for own, other, rows in agreement.changes(counts.pairs)
            ],
            **self._clusters(),
            "shifts": self._shifts(),
            "largest": [self._moved(each) for each in counts.largest],
            "differences": [each._asdict() for each in self.differences],
        }

    def _clusters(self) -> dict[str, Any]:
        matched = agreement.renumbered(self.counts.pairs) if self.this.task == "cluster" else {}
        if not matched:
            return {}
        clusters = {self.names[other]: self.names[own] for other, own in matched.items()}
        return {"renumbered": {"clusters": clusters, "labels": agreement.apart(self.counts.pairs, matched)}}

    def _shifts(self) -> dict[str, Any] | None:
        shifts = self.counts.shifts
        if self.measured is None or not shifts.rows:
            return None
        quantiles = {name: shifts.quantile(share) for name, share in QUANTILES.items()}
        means = {"mean_absolute": shifts.distance}
        if self.has_direction:
            means["mean"] = shifts.mean
        return {"of": self.measured, **means, **quantiles, "largest": shifts.largest}

    def _moved(self, moved: Moved) -> dict[str, Any]:
        def name(label: int | None) -> str:
            return "" if label is None else self.names[label]

        labels = {} if moved.own is None else {"other": name(moved.other), "this": name(moved.own)}
        of = {} if moved.of is None else {"class": name(moved.of)}
        return {
            "line": moved.line,
            **labels,
            **of,
            "before": moved.before,
            "after": moved.after,
            "shift": moved.shift,
        }


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
            shift = np.clip(after - before, -LARGEST_DOUBLE, LARGEST_DOUBLE)
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


def located(other: str, file: str, storage: Storage) -> tuple[Location, int]:
    """Where a file to compare on is, and its bytes; raises ``FunctionError`` where what a person typed as
    the other bundle, or as the file, is something else."""
    if "://" in other:
        raise FunctionError(f"{other}: a bundle is a folder on this machine; copy it here first")
    if Path(file, MANIFEST).is_file():
        swapped = f"; did you mean 'compare {file} {other}'?" if Path(other).is_file() else ""
        raise FunctionError(f"{file} is a bundle, where a file of rows is wanted{swapped}")
    if Path(other).is_file():
        raise FunctionError(f"{other} is a file, where the folder of the other bundle is wanted")
    location = Location.parse(file)
    if location.scheme != "file" and (not location.key or location.key.endswith("/")):
        raise FunctionError(f"{file} is a prefix; name one object below it")
    return location, require(storage, location).size


def loaded(other: str, settings: Settings) -> Model:
    """The other model; raises ``BundleError``, which says that it is of this one."""
    try:
        return Model.load(other, settings.model_public_key)
    except BundleError as error:
        raise BundleError(f"the other bundle: {error}") from error


def compare(
    this: Model,
    other: Model,
    input: Location,
    settings: Settings,
    storage: Storage,
    progress: Progress,
    tolerance: float | None = None,
) -> Comparison:
    """Predict every row of ``input`` with both models.

    ``tolerance``: the shift above which a regression's row changes; None: ``TOLERANCE`` has the rule.
    Raises ``FunctionError`` where the models, or one of them and the file, do not go together, or where
    there is nothing to compare, and ``PassingFault``.
    """
    manifests = this.manifest, other.manifest
    _require_comparable(*manifests)
    if this.manifest.task != "regression" and tolerance is not None:
        raise FunctionError("--tolerance is for regressions: of these models, a row changes by its label")
    if this.manifest.task == "regression" and tolerance is None:
        tolerance = _tolerance(*manifests)
    measure = Measure(*manifests, tolerance)
    version = require(storage, input)
    passed = Passed()
    chunks = inflated(passed.counted(storage.stream(input, version)))
    counts = Counts()
    try:
        table, layout = _opened(chunks, this, other, input, settings.block_bytes)
        models = (this.steady(version.size <= SMALL), other.steady(version.size <= SMALL))
        alike = _reading(this) == _reading(other)

        def work(block: Block) -> Counts:
            return _counted(block, table, layout, models, alike, measure, counts)

        with ThreadPoolExecutor(settings.workers, thread_name_prefix="block") as pool:
            each = blocks.in_order(work, table.blocks, pool, settings.workers, Deadline(), input)
            with contextlib.closing(each):
                for some in each:
                    counts.add(some)
                    rejected = counts.neither + counts.refused_here.total() + counts.refused_there.total()
                    progress(passed.bytes, counts.read, rejected)
    except InvalidCsv as fault:
        raise FunctionError(f"{input}: {fault}") from fault
    if not counts.read:
        raise FunctionError(f"{input} has no rows: there is nothing to compare")
    if counts.neither == counts.read:
        raise FunctionError(
            f"{input}: both models reject every row, so there is nothing to compare; "
            "'python -m handler score' writes why into rejected.csv"
        )
    return Comparison(
        *manifests,
        input,
        measure.names,
        measure.measured,
        tolerance,
        measure.ends,
        counts,
        tuple(_differences(*manifests)),
    )


def _require_comparable(this: Manifest, other: Manifest) -> None:
    if this.task != other.task and not (this.task in SUPERVISED and other.task in SUPERVISED):
        raise FunctionError(
            f"{other.name} {other.version} cannot be compared with {this.name} {this.version}: "
            f"{agreement.other_task(this.task, other.task)}"
        )


def _opened(
    chunks: Iterator[bytes], this: Model, other: Model, input: Location, size: int
) -> tuple[Table, Layout]:
    """The table as this model reads it, and its layout as the other one does."""
    streams = itertools.tee(chunks)  # what both have read is kept by neither
    opened: list[Table] = []
    faults = []
    for which, model, stream in zip(("this", "the other"), (this, other), streams, strict=True):
        try:
            opened.append(formats.opened(stream, model.schema, size))
        except MissingColumns as fault:
            faults.append(f"{which} model, {model.manifest.name} {model.manifest.version}: {fault}")
    if faults:
        raise FunctionError(f"{input} cannot be read by {'; and by '.join(faults)}")
    table, layout = opened[0], opened[1].layout
    if (table.layout.header, table.layout.delimiter) != (layout.header, layout.delimiter):
        raise FunctionError(
            f"{input}: this model reads its header by '{table.layout.delimiter}', and the other one by "
            f"'{layout.delimiter}'; save it with one delimiter"
        )
    return table, layout


def _reading(model: Model) -> list[Feature]:
    """What decides how the model reads a row: of features that only their numbers tell apart, nothing."""
    same = [each._replace(minimum=None, maximum=None, fed_as=None) for each in model.schema.features]
    return sorted(same, key=lambda each: each.name)


def _counted(
    block: Block,
    table: Table,
    layout: Layout,
    models: tuple[Model, Model],
    alike: bool,
    measure: Measure,
    so_far: Counts,
) -> Counts:
    """Predict a block with both models. ``alike``: they read it alike, so that it is read once."""
    import numpy as np

    this, other = models
    if alike:
        read = table.format.read(block, table.layout, this.schema)
        own_rows, own = score_rows(this, read)
        other_rows, others = score_rows(other, read)
    else:
        own_rows, own = score_block(this, block, table)
        other_rows, others = score_block(other, block, table._replace(layout=layout))
    here, there = _sound(own_rows), _sound(other_rows)
    both = here & there
    counts = Counts()
    moved: list[Moved] = []
    if both.any():
        counts, moved = measure.of(own.at(both[here]), others.at(both[there]), so_far.floor)
    counts.read = own_rows.total
    counts.neither = int((~here & ~there).sum())
    counts.refused_here = _by_code(own_rows.rejects, there)
    counts.refused_there = _by_code(other_rows.rejects, here)
    if moved:
        lines, _ = own_rows.rejects.at(np.flatnonzero(both)[[each.line for each in moved]].tolist())
        counts.largest = [each._replace(line=line) for each, line in zip(moved, lines, strict=True)]
    return counts


def _sound(rows: Rows) -> np.ndarray:
    """Which rows of a block are not rejected, shape (total,)."""
    import numpy as np

    sound = np.ones(rows.total, bool)
    sound[list(rows.rejects.indices)] = False
    return sound


def _by_code(rejects: Rejects, sound: np.ndarray) -> collections.Counter[str]:
    """How many rejects there are of each code in rows that the other model has as ``sound``."""
    each = zip(rejects.indices, rejects.which, strict=True)
    return collections.Counter(rejects.refusals[which].code for index, which in each if sound[index])


def _edges(manifest: Manifest) -> Sequence[float]:
    """The edges of the bins in which predictions were at training; none in an older bundle."""
    edges: Sequence[float] = manifest.profile.get("predictions", {}).get("edges", ())
    return edges


def _tolerance(this: Manifest, other: Manifest) -> float:
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


def _differences(this: Manifest, other: Manifest) -> Iterator[Difference]:
    """What both models take differently: features first, in the order of this model."""
    own, others = ({each.name: each for each in manifest.features} for manifest in (this, other))
    for name in dict.fromkeys((*own, *others)):
        here, there = own.get(name), others.get(name)
        words = _described(here, there), _described(there, here)
        if words[0] != words[1]:
            yield Difference(name, *words)
    labels = [[str(each) for each in manifest.classes] for manifest in (this, other)]
    if sorted(labels[0]) != sorted(labels[1]):
        yield Difference("", *(_list("knows", mine, theirs) for mine, theirs in (labels, labels[::-1])))
    elif this.task == "binary" and labels[0] != labels[1]:
        yield Difference("", *(f"its probability is that of '{each[1]}'" for each in labels))
    thresholds = [manifest.threshold or 0.5 for manifest in (this, other)]
    if thresholds[0] != thresholds[1] and this.task == other.task == "binary":
        yield Difference("", *(f"predicts the second label from {each:g} on" for each in thresholds))


def _described(feature: Feature | None, other: Feature | None) -> str:
    """A feature, in what the other model's of the same name may differ."""
    if feature is None:
        return "is not a feature"
    words = [feature.kind, "may be missing" if feature.nullable else "is never missing"]
    if feature.format is not None:
        words.append(f"as {feature.format}")
    if other is not None and feature.kind == other.kind == "category":
        words.append("takes others" if feature.open else "takes no others")
        words.append(_list("knows", feature.categories, other.categories))
    if other is not None:
        words.append(_list("is missing where it is", feature.missing_words, other.missing_words))
    return ", ".join(filter(None, words))


def _list(verb: str, names: Sequence[str], others: Sequence[str]) -> str:
    """The names that are not among the others, as far as there is room."""
    more = [name for name in names if name not in set(others)]
    shown = ", ".join(f"'{cut(name, LONGEST)}'" for name in more[:NAMED])
    rest = f" and {len(more) - NAMED:,} more" if len(more) > NAMED else ""
    return f"{verb} {shown}{rest}" if more else ""
