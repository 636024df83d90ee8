"""A range of a CSV: where its first record starts, which records it owns, and where the next range's begin.

A range owns the records that start in it. Only a line end outside quotes ends a record, and whether a byte
stands inside quotes depends on all bytes before it. So ``first_record`` guesses, by the bytes around the
range's start, and ``Owned`` finds, by reading the range from there, where the next range's records start.
The first range starts at the header, so its end is right; and where each range starts just where the one
before it ends, every guess was right. Whoever joins the ranges has to compare these offsets.

An offset counts the file's own bytes, before they are re-coded. Offsets of records are those after an LF:
records that end in a lone CR belong to the range in which their line up to the LF starts.

Guessing where a record starts in the middle of a file: https://doi.org/10.1145/3299869.3319898
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from handler.tables import records
from handler.tables.encodings import Utf8
from handler.tables.rows import Block

#: Bytes at the start of a range by which its first record is sought at first.
WINDOW = 64 * 1024
#: Bytes from which on one reading that finds a record is enough.
ENOUGH = 1024 * 1024
#: Records of a window by which is judged: more make nothing surer, and a plan may have 10,000 windows.
JUDGED = 1000
#: Bytes in which a record must have started: one that is longer is refused by whoever reads it.
MOST = 2 * records.LONGEST_RECORD


def first_record(window: bytes, delimiter: str, width: int, ended: bool) -> int | None:
    """Where the first record of a range starts: an offset from the range's start, most probably.

    ``window``: the byte before the range, and bytes of it from its start on; ``ended``: up to the file's
    end. ``width``: the cells of the header. None if more bytes are needed to say.

    The window is read as if the range started outside quotes, and as if inside. Of the two, that is
    believed under which more of the records have as many cells as the header, and all quotes in place.
    """
    data = window[1:].decode("latin-1")  # a character a byte: all that matters here is ASCII
    before = window[:1].decode("latin-1")
    outside = _read('"x"' if before == '"' else f"x{before}", data, delimiter, width, ended)
    closes = '"' in data or ended  # else it is one cell, as far as the window goes
    inside = _read('"x', data, delimiter, width, ended) if closes else _Reading(None, 0, 0)
    length = len(data)
    if outside.start is None and inside.start is None:
        return length if ended or length >= MOST else None
    if outside.start == inside.start:
        return outside.start
    readings = [each for each in (outside, inside) if each.start is not None]
    likely = max(readings, key=lambda each: (each.score, -each.rows))
    sure = likely.score > 0 and likely.score >= min(likely.rows, 3)
    return likely.start if sure or ended or length >= ENOUGH else None


class _Reading(NamedTuple):
    """A window as it reads under one assumption: the ``start`` of the first record (None: there is none),
    the ``rows`` from there on, and their ``score``: one for each that is as wide as the header, less one
    for each that is not, and less four for each that has a quote out of place."""

    start: int | None
    rows: int
    score: int


def _read(prefix: str, data: str, delimiter: str, width: int, ended: bool) -> _Reading:
    text, begun, consumed = prefix + data, 0, 0

    def feed() -> Iterator[str]:
        nonlocal consumed
        for line in io.StringIO(text, newline=""):
            consumed += len(line)
            yield line

    start, rows, score = None, 0, 0
    for cells in csv.reader(feed(), delimiter=delimiter):
        if consumed == len(text) and not ended:
            break  # the window may cut its last record
        if not _is_proper(text[begun:consumed], cells):
            score -= 4
        begun = consumed
        if start is None:
            if text[consumed - 1] == "\n":
                start = consumed - len(prefix)
        elif cells:
            rows += 1
            score += 1 if len(cells) == width else -1
            if rows == JUDGED:
                break
    return _Reading(start, rows, score)


def _is_proper(raw: str, cells: list[str]) -> bool:
    """Whether every quote of a record opens a cell, closes it, or is one of two within."""
    if '"' not in raw:
        return True
    at = 0
    for cell in cells:
        is_quoted = raw.startswith('"', at)
        spelt = '"' + cell.replace('"', '""') + '"' if is_quoted else cell
        if not raw.startswith(spelt, at) or ('"' in cell and not is_quoted):
            return False
        at += len(spelt) + 1
    return True


class Owned:
    """The blocks of the records that a range owns, once.

    ``blocks`` start at the range's first record, at the offset ``first`` of the file; the range ends before
    ``end``. ``text``: the bytes that the blocks are made of. Once they are read, ``next`` is the offset at
    which the records of the next range start, and ``line`` the number of the line there.
    """

    def __init__(
        self, blocks: Iterator[Block], text: Utf8, first: int, line: int, end: int, delimiter: str
    ) -> None:
        self._blocks = blocks
        self._text = text
        self._end = end
        self._delimiter = delimiter
        self.next = first
        self._last = Block(b"", line)

    @property
    def line(self) -> int:
        """The number of the line at ``next``; counted once, as it takes a pass over the last block."""
        return self._last.line + records.line_ends(self._last.data)

    def __iter__(self) -> Iterator[Block]:
        while self.next < self._end and (block := next(self._blocks, None)) is not None:
            data = block.data
            if self.next + self._text.length(data) > self._end:
                data = data[: self._cut(data, self._end - self.next)]
            self.next += self._text.length(data)
            self._last = Block(data, block.line)
            yield self._last

    def _cut(self, data: bytes, at: int) -> int:
        """Where the first record starts at the offset ``at`` of a block or later, or else the block's end.

        ``at`` counts bytes of the file, the result bytes of the block.
        """
        if self._text.length(data) != len(data):
            characters = data.decode("utf-8", "surrogateescape")[:at]
            at = len(characters.encode("utf-8", "surrogateescape"))
        if b'"' not in data:
            return data.find(b"\n", at - 1) + 1 or len(data)
        import numpy as np

        codes = np.frombuffer(data, np.uint8)
        inside = records.quoted(codes, self._delimiter)
        if inside is not None:
            ends = np.flatnonzero((codes[at - 1 :] == 0x0A) & ~inside[at - 1 :])
            return at + int(ends[0]) if ends.size else len(data)
        end = 0
        for _, raw, _ in records.records(data.decode("latin-1"), self._delimiter, 1):
            end += len(raw)
            if end >= at and raw.endswith("\n"):
                return end
        return len(data)
