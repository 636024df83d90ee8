"""Lines that repeat: a run reads, scores and writes each distinct one once.

Equal lines are equal records with equal predictions. Tables of whole numbers and categories are full
of such lines, and one that was met before costs one look-up. A block of which few lines
repeat, or in which a line may be less than a record, is read as any other.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from handler.batch.drift import Gauge
from handler.schema import Columns, Record
from handler.scoring.model import NOT_PREDICTABLE, UNPREDICTABLE, Model
from handler.tables import regular, writing
from handler.tables.rows import Block, Layout, Refusal, Rejects, judge

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

#: The bytes of a block by which it is judged whether its lines repeat.
SAMPLE = 32 * 1024
#: Distinct lines that a run remembers, about 10 MB of them.
MOST_LINES = 100_000


class Lines(NamedTuple):
    """Different lines of a block, shape (n,): the numbers by which ``Folds`` knows them, 0 for any that is
    rejected, and how many ``times`` each stands there."""

    numbers: np.ndarray
    times: np.ndarray


class Known(NamedTuple):
    """A line with its outputs as ``text``, its class's index (None: it is rejected), and its number."""

    text: str
    of_class: int | None
    number: int


@dataclass(frozen=True, slots=True)
class Folded:
    """A block, scored. ``text``: sound lines with their outputs; ``classes``: (index, lines) of each."""

    total: int
    rejects: Rejects
    text: bytes
    classes: tuple[tuple[int, int], ...]
    lines: Lines


class Folds:
    """What is known of the distinct lines of a file; safe to use from several threads."""

    def __init__(self, model: Model, layout: Layout, gauge: Gauge) -> None:
        self.gauge = gauge
        self._model = model
        self._layout = layout
        self._known: dict[str, Known] = {}
        #: What the gauge needs of the lines that are not rejected, in the order of their numbers from 1 on.
        self._learnt: list[tuple[Columns, np.ndarray]] = []
        self._count = 0
        self._lock = threading.Lock()
        self._refusals: dict[str, Refusal] = {}
        self._worker = threading.local()

    def fold(self, block: Block) -> Folded | None:
        """Score a block by its distinct lines; None if that does not suit it."""
        data = block.data
        if not repeats(data) or not regular.is_plain(data) or b'"' in data or b"\r" in data:
            return None  # a quote or a lone return may end a record elsewhere than the line
        table = getattr(self._worker, "table", None) or _Table()
        self._worker.table = None  # until all of its lines have their texts
        lines = table.read(data)
        if lines is None:
            return None
        new = table.new()
        known = self._look_up(new)
        if known is None:
            return None
        table.add(known)
        self._worker.table = table
        counted = table.counted(lines)
        rejects = self._rejects(block.line, lines, table.rejected(lines, counted))
        classes = table.by_class(counted) if self._model.manifest.classes else ()
        text = table.texts(lines).str.join("").item().encode()
        return Folded(len(lines), rejects, text, classes, counted)

    def sums(self, repeats: Repeats) -> np.ndarray:
        """The gauge's sums of the rows that lines stand for."""
        sums, start = self.gauge.none(), 1
        for columns, predicted in self._learnt:
            times = repeats.times[start : start + len(predicted)]
            if times.any():
                some = slice(len(times))
                columns = {name: values[some] for name, values in columns.items()}
                sums += self.gauge.count(columns, predicted[some], times)
            start += len(predicted)
        return sums

    def _look_up(self, lines: list[str]) -> list[Known] | None:
        """The text and class of each line; None if one is blank, or if a run would remember too many."""
        unknown = [line for line in lines if line not in self._known]
        if len(self._known) + len(unknown) > MOST_LINES or "" in unknown:
            return None
        if unknown:
            self._learn(unknown)
        return [self._known[line] for line in lines]

    def _learn(self, lines: list[str]) -> None:
        known = dict.fromkeys(lines, _REJECTED)
        sound, cells, records = [], [], []
        for line in lines:
            row = line.split(self._layout.delimiter)
            judged = judge(row, self._layout, self._model.schema)
            if isinstance(judged, Refusal):
                self._refusals[line] = judged
            else:
                sound.append(line)
                cells.append(row)
                records.append(judged)
        if records:
            added = list(self._model.added(records))
            indices = [each[0] for each in added if each is not None]
            rows = (
                [*row, *map(writing.cell, each[1])]
                for row, each in zip(cells, added, strict=True)
                if each is not None
            )
            written = (f"{line}\n" for line in writing.line_texts(rows))
            learnt = [record for record, each in zip(records, added, strict=True) if each is not None]
            numbers = self._remember(learnt, [each for each in added if each is not None])
            scored = map(Known, written, indices, numbers)
            for line, each in zip(sound, added, strict=True):
                if each is not None:
                    known[line] = next(scored)
                else:
                    self._refusals[line] = Refusal("", NOT_PREDICTABLE, UNPREDICTABLE)
        self._known |= known

    def _remember(self, records: list[Record], added: list[tuple[int, list[object]]]) -> range:
        """Keep what the gauge needs of lines that are scored; returns their numbers."""
        import numpy as np

        columns = self._model.schema.columns(records)
        predicted = np.array([cells[-1] if self.gauge.by_amount else index for index, cells in added])
        with self._lock:
            start = self._count + 1
            self._count += len(records)
            self._learnt.append((columns, predicted))
        return range(start, start + len(records))

    def _rejects(self, first: int, lines: pl.Series, indices: list[int]) -> Rejects:
        """The rejects among the lines of a block, of which the first one has the number ``first``."""

        def at(indices: Sequence[int]) -> tuple[list[int], list[str]]:
            return [first + index for index in indices], lines.gather(list(indices)).to_list()

        kinds: dict[Refusal, int] = {}
        refusals = (self._refusals[line] for line in lines.gather(indices).to_list())
        which = [kinds.setdefault(refusal, len(kinds)) for refusal in refusals]
        return Rejects(indices, which, tuple(kinds), at)


class Repeats:
    """How many ``times`` each line stands in a table, by the numbers of its ``Folds``."""

    def __init__(self) -> None:
        import numpy as np

        self.times = np.zeros(1, np.int64)

    def add(self, lines: Lines) -> None:
        """Add the lines of a block."""
        import numpy as np

        missing = int(lines.numbers.max(initial=0)) + 1 - len(self.times)
        if missing > 0:
            self.times = np.pad(self.times, (0, missing))
        self.times[lines.numbers] += lines.times  # only 0 is there twice, and means nothing


class _Table:
    """A worker's distinct lines, in the order of the codes that polars gives them."""

    def __init__(self) -> None:
        import polars as pl

        self._lines = pl.Categories.random()
        self._keep = pl.Series([], dtype=pl.Categorical(self._lines))  # the codes go with their last series
        self._texts = pl.Series([], dtype=pl.String)
        self._classes = pl.Series([], dtype=pl.UInt32)
        self._numbers = pl.Series([], dtype=pl.UInt32)

    def read(self, data: bytes) -> pl.Series | None:
        """The lines of a block as categories; None if polars sees other lines than there are."""
        import polars as pl

        try:
            types = {"line": self._keep.dtype}
            lines = regular.frame(data, "\x00", types, quotes=False)["line"]
        except (pl.exceptions.PolarsError, OSError):
            return None
        if lines.null_count() or len(lines) != data.count(b"\n") + (not data.endswith(b"\n")):
            return None  # a blank line, which is not a record
        return lines

    def new(self) -> list[str]:
        """The lines that have no texts yet."""
        return self._lines.to_series()[len(self._texts) :].to_list()

    def add(self, known: Sequence[Known]) -> None:
        """Give the new lines their texts, classes and numbers."""
        if not known:
            return
        import polars as pl

        texts, classes, numbers = zip(*known, strict=True)
        self._texts = pl.concat([self._texts, pl.Series(texts, dtype=pl.String)], rechunk=True)
        self._classes = pl.concat([self._classes, pl.Series(classes, dtype=pl.UInt32)], rechunk=True)
        self._numbers = pl.concat([self._numbers, pl.Series(numbers, dtype=pl.UInt32)], rechunk=True)

    def texts(self, lines: pl.Series) -> pl.Series:
        """The texts of lines."""
        return self._texts.gather(lines.to_physical())

    def rejected(self, lines: pl.Series, counted: Lines) -> list[int]:
        """The indices of those lines that are rejected."""
        if not counted.times[counted.numbers == 0].any():
            return []
        return (self._numbers.gather(lines.to_physical()) == 0).arg_true().to_list()

    def by_class(self, counted: Lines) -> tuple[tuple[int, int], ...]:
        """The index of each class, and how many lines it is predicted for."""
        import numpy as np

        sound = counted.numbers > 0
        counts = np.bincount(self._classes.to_numpy()[sound].astype(np.int64), counted.times[sound])
        return tuple((index, int(count)) for index, count in enumerate(counts.tolist()) if count)

    def counted(self, lines: pl.Series) -> Lines:
        """How many times each line that is known stands among ``lines``."""
        import numpy as np

        times = np.bincount(lines.to_physical().to_numpy(), minlength=len(self._numbers))
        return Lines(self._numbers.to_numpy(), times)


#: The entry of a rejected line.
_REJECTED = Known("", None, 0)


def repeats(data: bytes) -> bool:
    """Whether at least half of a block's first lines were there before."""
    lines = data[:SAMPLE].split(b"\n")
    return len(data) >= SAMPLE and 2 * len(set(lines)) <= len(lines)
