"""A table becomes lines of predictions and of rejects: its blocks are scored side by side."""

from __future__ import annotations

import collections
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from handler.batch.folding import Folds, Lines
from handler.manifest import Label
from handler.scoring.model import Model
from handler.scoring.table import score_block
from handler.storage.deadline import Deadline
from handler.storage.locations import Location
from handler.tables import writing
from handler.tables.encodings import UTF_8
from handler.tables.errors import InvalidCsv
from handler.tables.formats import Table
from handler.tables.rows import Block

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")


@dataclass(slots=True)
class Tally:
    """What has been counted so far; ``encoding`` is the file's, as far as it has been read.

    ``classes`` counts rows by predicted class: every class of the model has an entry once a row is scored.
    """

    read: int = 0
    scored: int = 0
    rejects: collections.Counter[str] = field(default_factory=collections.Counter)
    classes: dict[str, int] = field(default_factory=dict)
    encoding: str = UTF_8

    def add(
        self, read: int, rejects: Mapping[str, int], classes: Mapping[str, int], labels: tuple[Label, ...]
    ) -> None:
        """Add the counts of some rows; ``labels`` are the model's classes."""
        scored = read - sum(rejects.values())
        self.read += read
        self.scored += scored
        self.rejects.update(rejects)
        if scored:
            self.classes = {
                str(label): self.classes.get(str(label), 0) + classes.get(str(label), 0) for label in labels
            }

    def as_json(self) -> dict[str, Any]:
        """The counts as ``summary.json`` has them; read = scored + rejected. UTF-8 is not mentioned."""
        rejected = self.rejects.total()
        return {
            "rows": {"read": self.read, "scored": self.scored, "rejected": rejected},
            "rejects": dict(sorted(self.rejects.items())),
            "predictions": self.classes,
            **({} if self.encoding == UTF_8 else {"encoding": self.encoding}),
        }


@dataclass(frozen=True, slots=True)
class WrittenBlock:
    """A block as lines of both tables; its rows are counted, its rejects by code, the others by class.

    ``sums``: the gauge's of the rows that are scored, or None where they are known ``lines``.
    """

    total: int
    predictions: bytes
    rejected: bytes
    rejects: Mapping[str, int]
    classes: Mapping[str, int]
    sums: np.ndarray | None = None
    lines: Lines | None = None


def written(
    table: Table,
    model: Model,
    folds: Folds,
    pool: Executor,
    workers: int,
    deadline: Deadline,
    input: Location,
) -> Generator[WrittenBlock, None, None]:
    """Score a table's blocks on a pool of as many threads as ``workers``, and give them in their order.

    ``folds``: what is known of the lines of this table. Raises as ``in_order``.
    """

    def work(block: Block) -> WrittenBlock:
        return _written(block, table, model, folds)

    return in_order(work, table.blocks, pool, workers, deadline, input)


def in_order(
    work: Callable[[Block], T],
    blocks: Iterator[Block],
    pool: Executor,
    workers: int,
    deadline: Deadline,
    input: Location,
) -> Generator[T, None, None]:
    """What ``work`` makes of each block, on a pool of as many threads as ``workers``, in their order.

    At most one block more than there are workers is under way, so memory stays bounded. Raises
    ``InvalidCsv``, and ``DeadlineNear``, which names ``input``.
    """
    under_way: collections.deque[Future[T]] = collections.deque()
    faults: list[InvalidCsv] = []
    try:
        for block in _before(faults, blocks):
            under_way.append(pool.submit(work, block))
            if len(under_way) > workers:
                yield deadline.result(under_way.popleft(), input)
        while under_way:
            yield deadline.result(under_way.popleft(), input)
        for fault in faults:
            raise fault
    finally:
        for future in under_way:
            future.cancel()  # a run that gives up has no time to wait


def _before(faults: list[InvalidCsv], blocks: Iterator[Block]) -> Iterator[Block]:
    """The blocks before a fault of the table, which is put aside: their own faults come first."""
    try:
        yield from blocks
    except InvalidCsv as fault:
        faults.append(fault)


def _written(block: Block, table: Table, model: Model, folds: Folds) -> WrittenBlock:
    """Read, score and write one block."""
    sums = lines = None
    folded = folds.fold(block)
    if folded is not None:
        classes = {str(model.manifest.classes[index]): count for index, count in folded.classes}
        total, rejects, text, lines = folded.total, folded.rejects, folded.text, folded.lines
    else:
        rows, scores = score_block(model, block, table)
        total, rejects, text, classes = rows.total, rows.rejects, b"", {}
        if total > len(rejects):
            text = table.format.write(rows, table.layout, model.columns(rows.columns, scores))
            classes = _by_class(scores.values, model.manifest.classes)
            sums = folds.gauge.count(rows.columns, folds.gauge.predicted(scores))
    rejected = writing.rejected(rejects)
    return WrittenBlock(total, text, rejected, rejects.by_code(), classes, sums, lines)


def _by_class(values: Any, classes: tuple[Label, ...]) -> dict[str, int]:
    """The number of rows by predicted class; empty for a regression."""
    if not classes:
        return {}
    import numpy as np

    counts = np.bincount(values, minlength=len(classes)).tolist()
    return {str(label): count for label, count in zip(classes, counts, strict=True)}
