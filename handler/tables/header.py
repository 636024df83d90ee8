"""The header of a CSV: under which delimiter it names the features, where it ends, or why it is refused."""

from __future__ import annotations

import collections
import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from handler.errors import LONGEST_NAME, InvalidCsv, MissingColumns
from handler.schema import Schema, clean_name
from handler.tables import records
from handler.tables.rows import Layout

DELIMITERS = (",", ";", "\t", "|")
#: The most columns of a header: a file with as many takes 70 MB to score, ten times as many 130 MB.
MOST_COLUMNS = 100_000
#: Bytes in which a header is sought first.
FIRST = 64 * 1024
#: First bytes of files that are often mistaken for a CSV, and what to call them.
SIGNATURES: Mapping[bytes, tuple[str, str]] = {
    b"\xff\xfe": ("not_utf8", "is UTF-16; save it as UTF-8"),
    b"\xfe\xff": ("not_utf8", "is UTF-16; save it as UTF-8"),
    b"\x1f\x8b": ("not_a_csv", "is gzip; unpack it first"),
    b"\x28\xb5\x2f\xfd": ("not_a_csv", "is zstd; unpack it first"),
    b"PK\x03\x04": ("not_a_csv", "is a zip or Excel file; export it as CSV"),
    b"PAR1": ("not_a_csv", "is a Parquet file; export it as CSV"),
    b"%PDF": ("not_a_csv", "is a PDF; export it as CSV"),
}


def header(chunks: Iterable[bytes], schema: Schema) -> tuple[Layout, Iterator[bytes], int]:
    """Read the header of a stream of bytes: as many of them as it takes, up to ``LONGEST_RECORD``.

    Returns the layout, the bytes after the header as a stream, and the number of the line there. The
    delimiter is the one under which the header names the most features. Raises ``InvalidCsv`` for what
    is not CSV in UTF-8, ``MissingColumns`` where features are absent.
    """
    chunks = iter(chunks)
    head, enough, ended = b"", FIRST, False
    while True:
        parts, length = [head], len(head)
        while length < enough and not ended:
            chunk = next(chunks, None)
            ended = chunk is None
            parts.append(chunk or b"")
            length += len(parts[-1])
        head = b"".join(parts)
        read = _header(head[:enough], schema, whole=ended and length <= enough)
        if read is not None:
            layout, start, line = read
            return layout, itertools.chain([head[start:]], chunks), line
        enough *= 4


class _Header(NamedTuple):
    """The first record that is not blank, under one delimiter.

    ``raw``: its text with the line end, from ``start`` on; ``positions``: the first column of each feature;
    ``closed``: whether no quote is open at its end; ``ends``: whether text follows it.
    """

    delimiter: str
    cells: list[str]
    positions: Mapping[str, int]
    line: int
    start: int
    raw: str
    closed: bool
    ends: bool


def _header(head: bytes, schema: Schema, whole: bool) -> tuple[Layout, int, int] | None:
    """The layout, and the offset and line after it; None if more of the file than ``head`` is needed.

    ``whole``: ``head`` is the whole file.
    """
    for signature, (code, what) in SIGNATURES.items():
        if head.startswith(signature):
            raise InvalidCsv(code, f"the file {what}")
    mark = len(records.BOM) if head.startswith(records.BOM) else 0
    text = head[mark:].decode("utf-8", errors="surrogateescape")
    _refuse_many_columns(text)
    candidates = (_header_under(delimiter, text, schema) for delimiter in DELIMITERS)
    headers = [candidate for candidate in candidates if candidate is not None]
    full = len(head) >= records.LONGEST_RECORD
    if not headers:
        if whole or full:
            raise InvalidCsv("empty", "the file is empty; a header line is needed")
        return None
    best = max(headers, key=lambda one: (len(one.positions), one.closed, len(one.cells)))
    complete = best.closed and len(best.positions) == len(schema.names)
    if not (whole or (complete and best.ends) or all(one.ends for one in headers)):
        if not full:
            return None
        if best.closed:
            raise InvalidCsv(
                "record_too_long", f"the header is over {records.LONGEST_RECORD:,} bytes", best.line
            )
    raw = best.raw if best.closed else best.raw.splitlines()[0]
    if "\x00" in raw:
        raise InvalidCsv("not_a_csv", "the file is binary, or UTF-16; save it as CSV in UTF-8")
    try:
        raw.encode()
    except UnicodeEncodeError as error:
        raise records.not_utf8(best.line) from error
    if not complete and any(
        not one.closed and len(one.positions) == len(best.positions) for one in headers
    ):
        raise InvalidCsv("unclosed_quote", "a quote is opened in the header and never closed", best.line)
    if _swallows_rows(best, schema):
        raise InvalidCsv(
            "unclosed_quote",
            "a quote is opened in the header, and the lines up to the next quote may be rows; close it, or "
            "write the header on one line",
            best.line,
        )
    if len(best.cells) > MOST_COLUMNS:
        raise _too_many_columns(best.line)
    missing = [name for name in schema.names if name not in best.positions]
    if missing:
        raise MissingColumns(missing, len(best.cells), best.delimiter)
    _refuse_repeated(best.cells, schema)
    end = mark + len(text[: best.start + len(best.raw)].encode())
    return (
        Layout(tuple(best.cells), best.delimiter, best.positions),
        end,
        best.line + records.line_ends(best.raw),
    )


def _header_under(delimiter: str, text: str, schema: Schema) -> _Header | None:
    """The header under a delimiter; None where all lines are blank."""
    gap = "" if text.endswith(("\n", "\r")) else "\n"
    parsed = records.records(f"{text}{gap}{records.SENTINEL}", delimiter, 1)
    start = 0
    while not (record := next(parsed))[2]:
        start += len(record[1])
    line, raw, cells = record
    if cells == [records.SENTINEL]:
        return None
    closed = not raw.endswith(records.SENTINEL)
    raw = text[start : start + len(raw)] if closed else text[start:]
    positions: dict[str, int] = {}
    for position, cell in enumerate(cells):
        positions.setdefault(_feature_name(cell, schema), position)
    positions.pop("", None)
    return _Header(delimiter, cells, positions, line, start, raw, closed, start + len(raw) < len(text))


def _feature_name(cell: str, schema: Schema) -> str:
    """The feature that a header cell names; empty where it names none."""
    name = cell if cell in schema else clean_name(cell)
    return name if name in schema else ""


def _swallows_rows(header: _Header, schema: Schema) -> bool:
    """Whether a quoted cell with line ends in it may come of a stray quote, and hold rows.

    It may where text follows the closing quote in its cell, and where the first line without the open
    quote names all the features that the header names, and a later line has as many cells as that.
    """
    first, *others = io.StringIO(header.raw, newline="")
    if not others:
        return False
    try:
        collections.deque(csv.reader([first, *others], delimiter=header.delimiter, strict=True), maxlen=0)
    except csv.Error:
        return True

    def cells(line: str) -> list[str]:
        return next(csv.reader([line], delimiter=header.delimiter), [])

    alone = cells("".join(first.rsplit('"', 1)))
    named = {_feature_name(cell, schema) for cell in alone} - {""}
    return len(named) >= len(header.positions) and any(
        len(alone) in (len(cells(line)), len(cells(line.replace('"', "", 1))))
        for line in others
        if line.count(header.delimiter) + 1 >= len(alone)
    )


def _refuse_many_columns(text: str) -> None:
    """Raise ``InvalidCsv`` for too many columns before there is a list of them."""
    line = re.search(r"[^\r\n]+", text)
    unquoted = re.sub('"[^"]*"?', "", line[0]) if line else ""
    if max(map(unquoted.count, DELIMITERS)) >= MOST_COLUMNS:
        raise _too_many_columns(1)


def _too_many_columns(line: int) -> InvalidCsv:
    return InvalidCsv("too_many_columns", f"the header has over {MOST_COLUMNS:,} columns", line)


def _refuse_repeated(cells: Sequence[str], schema: Schema) -> None:
    """Raise ``InvalidCsv`` for a feature that has two columns."""
    names = collections.Counter(_feature_name(cell, schema) for cell in cells)
    repeated = next((name for name, count in names.items() if name and count > 1), None)
    if repeated is not None:
        shown = repeated[:LONGEST_NAME]
        raise InvalidCsv("repeated", f"the header has the column '{shown}' more than once", 1)
