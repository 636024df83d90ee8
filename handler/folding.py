"""Lines that repeat: a run reads, scores and writes each distinct one once.

Equal lines are equal records with equal predictions. Tables of whole numbers and categories are full
of such lines, and one that was met before costs a look into a table. A block of which few lines
repeat, or in which a line may be less than a record, is left to ``csv_blocks``.
"""

from __future__ import annotations

from dataclasses import dataclass

from handler import csv_blocks
from handler.csv_blocks import Block, Layout, Reject
from handler.model import Model

#: So many bytes of a block tell whether its lines repeat.
SAMPLE = 32 * 1024
#: Distinct lines that a run remembers, about 10 MB of them.
MOST_LINES = 100_000


@dataclass(frozen=True, slots=True)
class Folded:
    """A block, scored. ``text``: sound lines with their outputs; ``classes``: (place, lines) of each."""

    total: int
    rejects: tuple[Reject, ...]
    text: bytes
    classes: tuple[tuple[int, int], ...]


class Folds:
    """What one run has learnt of its distinct lines; safe to use from several threads."""

    def __init__(self, model: Model, layout: Layout) -> None:
        self._model = model
        self._layout = layout
        #: A line with its outputs (empty for a line that is rejected) and its class's place.
        self._known: dict[str, tuple[str, int]] = {}

    def fold(self, block: Block) -> Folded | None:
        """Score a block by its distinct lines; None where that does not serve it."""
        data = block.data
        if not repeats(data) or not csv_blocks.is_plain(data) or any(mark in data for mark in _DOUBTFUL):
            return None
        import polars as pl

        distinct = pl.Categories.random()  # this block's alone, in the order of their codes
        try:
            lines = csv_blocks.frame(data, "\x00", {"line": pl.Categorical(distinct)}, quotes=False)["line"]
        except (pl.exceptions.PolarsError, OSError):
            return None
        if len(lines) != data.count(b"\n") + (not data.endswith(b"\n")):
            return None
        known = self._look_up(distinct.to_series().to_list())
        if known is None:
            return None
        codes = lines.to_physical()
        texts = pl.Series([text for text, _ in known], dtype=pl.String).gather(codes)
        classes = pl.Series([value for _, value in known], dtype=pl.UInt32).gather(codes)
        rejected = (texts == "").arg_true()
        rejects = tuple(
            self._reject(place, block.line + place, line)
            for place, line in zip(rejected, lines[rejected].cast(pl.String), strict=True)
        )
        if rejects:
            classes, texts = classes.filter(texts != ""), texts.filter(texts != "")
        counts = classes.value_counts().rows() if self._model.manifest.classes else []
        return Folded(len(lines), rejects, csv_blocks.text_of(texts.to_frame(), "never"), tuple(counts))

    def _look_up(self, lines: list[str]) -> list[tuple[str, int]] | None:
        """What each line comes to; None if these would be more than a run remembers."""
        unknown = [line for line in lines if line not in self._known]
        if len(self._known) + len(unknown) > MOST_LINES:
            return None
        if unknown:
            self._learn(unknown)
        return [self._known[line] for line in lines]

    def _learn(self, lines: list[str]) -> None:
        known: dict[str, tuple[str, int]] = dict.fromkeys(lines, ("", 0))
        sound, cells, records = [], [], []
        for line in lines:
            row = line.split(self._layout.delimiter)
            found = csv_blocks.judge(0, 0, line, row, self._layout, self._model.schema)
            if not isinstance(found, Reject):
                sound.append(line)
                cells.append(row)
                records.append(found)
        if records:
            places, added = zip(*self._model.added(records), strict=True)
            rows = ([*row, *more] for row, more in zip(cells, added, strict=True))
            known |= zip(sound, zip(csv_blocks.write_lines(rows), places, strict=True), strict=True)
        self._known |= known

    def _reject(self, place: int, line: int, row: str) -> Reject:
        cells = row.split(self._layout.delimiter)
        found = csv_blocks.judge(place, line, row, cells, self._layout, self._model.schema)
        assert isinstance(found, Reject)
        return found


#: A quote or a lone return may end a record elsewhere than the line; a blank line is no record.
_DOUBTFUL = (b'"', b"\r", b"\n\n")


def repeats(data: bytes) -> bool:
    """Whether at least half of a block's first lines were there before."""
    lines = data[:SAMPLE].split(b"\n")
    return len(data) >= SAMPLE and 2 * len(set(lines)) <= len(lines)
