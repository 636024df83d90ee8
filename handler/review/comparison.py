"""Two models on the same file: the rows whose label changes, and by how much predictions shift.

Both read every block by their own schema, as a batch does, and what is counted of a block adds up. So
memory does not grow with the file. "This" model is the one that is to be deployed, and the "other" one
serves today.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.batch import blocks
from handler.batch.goals import SMALL, Progress
from handler.batch.progress import Passed
from handler.batch.run import require
from handler.errors import BundleError, FunctionError
from handler.manifest import MANIFEST, Feature, Manifest
from handler.review.differences import Difference, differences
from handler.review.measure import MOST_SHIFTED, SUPERVISED, Counts, Ends, Measure, Moved, usual_tolerance
from handler.scoring import agreement
from handler.scoring.model import Model
from handler.scoring.table import score_block, score_rows
from handler.settings import Settings
from handler.storage.deadline import Deadline
from handler.storage.locations import Location
from handler.storage.storage import Storage
from handler.tables import formats
from handler.tables.compression import inflated
from handler.tables.errors import InvalidCsv, MissingColumns
from handler.tables.formats import Table
from handler.tables.rows import Block, Layout, Rejects, Rows

if TYPE_CHECKING:
    import numpy as np

#: The quantiles of absolute shifts that are shown, by their names in JSON.
QUANTILES: Mapping[str, float] = {"median": 0.5, "p90": 0.9, "p99": 0.99}


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

    ``tolerance``: the shift above which a regression's row changes; None: that of ``usual_tolerance``.
    Raises ``FunctionError`` where the models, or one of them and the file, do not go together, or where
    there is nothing to compare, and ``PassingFault``.
    """
    manifests = this.manifest, other.manifest
    _require_comparable(*manifests)
    if this.manifest.task != "regression" and tolerance is not None:
        raise FunctionError("--tolerance is for regressions: of these models, a row changes by its label")
    if this.manifest.task == "regression" and tolerance is None:
        tolerance = usual_tolerance(*manifests)
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
        tuple(differences(*manifests)),
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
