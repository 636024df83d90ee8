"""The header of a CSV: under which delimiter it names the columns, where it ends, or why it is refused.

Training and serving read headers here, so that a column has one name in both.
"""

from __future__ import annotations

import collections
import csv
import io
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from handler.errors import LONGEST_NAME
from handler.schema import Schema, clean_name
from handler.tables import records
from handler.tables.errors import InvalidCsv, MissingColumns
from handler.tables.rows import Layout

DELIMITERS = (",", ";", "\t", "|")
#: The most columns of a header: a file with as many takes 70 MB to score, ten times as many 130 MB.
MOST_COLUMNS = 100_000
#: Bytes in which a header is sought first.
FIRST = 64 * 1024
#: Rows after the header that are looked at for what they have in common.
FIRST_ROWS = 100
#: What Excel writes, and reads, on a line before the header: the delimiter of the file.
SEPARATOR = re.compile(r'"?[Ss][Ee][Pp]=([,;\t|])"?(?:\r\n|\r|\n)')
#: Characters that no text has, and nearly every binary file.
CONTROL = re.compile("[\x00-\x08\x0e-\x1f]")
#: How texts begin that are not CSV, without blanks and in lower case, and what to call them.
MARKUP: Mapping[str, str] = {
    "<!doctypehtml": "is an HTML page, not a CSV; download the data itself",
    "<html": "is an HTML page, not a CSV; download the data itself",
    "<?xml": "is XML, not a CSV; export it as CSV",
    "<svg": "is an SVG image, not a CSV",
    **dict.fromkeys(
        ('{"cells":', '{"metadata":', '{"nbformat":'),
        "is a notebook, not a CSV; write its rows with to_csv there",
    ),
    **dict.fromkeys(('{"', "{}", "[{", "[[", "[]"), "is JSON, not a CSV; write its rows as CSV"),
}


def header(chunks: Iterable[bytes], schema: Schema | None) -> tuple[Layout, Iterator[bytes], int]:
    """Read the header of a stream of bytes: as many of them as it takes, up to ``LONGEST_RECORD``.

    Returns the layout, the bytes after the header as a stream, and the number of the line there. The
    delimiter is the one under which the header names the most features. Without ``schema``, for rows to
    learn from, every column is named, and the delimiter is the one under which the most of the first rows
    have as many cells as the header, and then the one that makes the most columns. Raises ``InvalidCsv``
    for what is not CSV in UTF-8, ``MissingColumns`` where features are absent.
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


def column_names(cells: Sequence[str], schema: Schema | None = None) -> list[str]:
    """What the columns under these header cells are called, no two alike.

    That is the cell without its blemishes (``clean_name``), or as it stands where a feature is called so;
    ``column N`` where it is empty; and from the second column of a name on, ``NAME.2`` and so forth.
    """
    wanted = [
        cell if schema is not None and cell in schema else clean_name(cell) or f"column {number}"
        for number, cell in enumerate(cells, start=1)
    ]
    taken = set(wanted)
    counts: dict[str, int] = {}
    names = []
    for name in wanted:
        count = counts.get(name, 0) + 1
        free = name
        if count > 1:
            while (free := f"{name}.{count}") in taken:
                count += 1
            taken.add(free)
        counts[name] = count
        names.append(free)
    return names


class _Header(NamedTuple):
    """The first record that is not blank, under one delimiter.

    ``cells``: an empty one is added where all rows have one more, see ``_widened``; ``alike``: how many of
    the first rows are as wide. ``positions``: the columns that are wanted. ``raw``: its text with the line
    end, from ``start`` on;
    ``closed``: whether no quote is open at its end; ``ends``: whether text follows it.
    """

    delimiter: str
    cells: list[str]
    alike: int
    positions: Mapping[str, int]
    line: int
    start: int
    raw: str
    closed: bool
    ends: bool


def _header(head: bytes, schema: Schema | None, whole: bool) -> tuple[Layout, int, int] | None:
    """The layout, and the offset and line after it; None if more of the file than ``head`` is needed.

    ``whole``: ``head`` is the whole file.
    """
    mark = len(records.BOM) if head.startswith(records.BOM) else 0
    text = head[mark:].decode("utf-8", errors="surrogateescape")
    _refuse_markup(text)
    separator = SEPARATOR.match(text)
    if separator is not None:
        mark += separator.end()
        text = text[separator.end() :]
    _refuse_many_columns(text)
    first_line = 1 if separator is None else 2
    candidates = (
        _header_under(delimiter, text, schema, first_line, whole)
        for delimiter in (DELIMITERS if separator is None else separator[1])
    )
    headers = [candidate for candidate in candidates if candidate is not None]
    full = len(head) >= records.LONGEST_RECORD
    if not headers:
        if whole or full:
            raise InvalidCsv("empty", "the file is empty; a header line is needed")
        return None
    if schema is None:  # a header of one cell fits every line without the delimiter
        best = max(headers, key=lambda one: (len(one.cells) > 1, one.alike, len(one.cells)))
    else:
        best = max(headers, key=lambda one: (len(one.positions), one.closed, len(one.cells)))
    complete = best.closed and (schema is None or len(best.positions) == len(schema.names))
    if not (whole or (complete and best.ends) or all(one.ends for one in headers)):
        if not full:
            return None
        if best.closed:
            raise InvalidCsv(
                "record_too_long", f"the header is over {records.LONGEST_RECORD:,} bytes", best.line
            )
    raw = best.raw if best.closed else best.raw.splitlines()[0]
    if CONTROL.search(raw):
        raise InvalidCsv(
            "not_a_csv", "the file is binary, or UTF-16 without its mark; save it as CSV in UTF-8"
        )
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
    if schema is not None:
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


def _positions(cells: Sequence[str], schema: Schema | None) -> Mapping[str, int]:
    """The column of each feature, or without ``schema`` of each name."""
    names = enumerate(column_names(cells, schema))
    return {name: position for position, name in names if schema is None or name in schema}


def _first_rows(parsed: Iterator[tuple[int, str, list[str]]], whole: bool) -> list[tuple[str, list[str]]]:
    """The raw text and the cells of the first records, those that surely are whole."""
    rows = [(raw, cells) for _, raw, cells in itertools.islice(parsed, FIRST_ROWS) if cells]
    if rows and rows[-1][0].endswith(records.SENTINEL):
        del rows[-1 if whole or len(rows) == 1 else -2 :]
    return rows


def _widened(cells: list[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """The header, with an empty cell where all rows have one cell more than it.

    At its end, where that cell is empty in all rows: spreadsheets end rows in a delimiter. At its start,
    where the rows' first cells are their names, as R's ``write.table`` writes them: quoted and no two
    alike in two rows or more, or a count from 1 in three or more.
    """
    if not rows or any(len(row) != len(cells) + 1 for _, row in rows):
        return cells
    if all(row[-1] == "" for _, row in rows):
        return [*cells, ""]
    names = [row[0] for _, row in rows]
    quoted = all(raw.startswith('"') for raw, _ in rows) and len(names) == len(set(names)) > 1
    counted = len(names) > 2 and names == [str(number) for number in range(1, len(names) + 1)]
    return ["", *cells] if quoted or counted else cells


def _header_under(
    delimiter: str, text: str, schema: Schema | None, first_line: int, whole: bool
) -> _Header | None:
    """The header under a delimiter; None where all lines are blank."""
    gap = "" if text.endswith(("\n", "\r")) else "\n"
    parsed = records.records(f"{text}{gap}{records.SENTINEL}", delimiter, first_line)
    start = 0
    while not (record := next(parsed))[2]:
        start += len(record[1])
    line, raw, cells = record
    if cells == [records.SENTINEL]:
        return None
    closed = not raw.endswith(records.SENTINEL)
    raw = text[start : start + len(raw)] if closed else text[start:]
    positions, alike = _positions(cells, schema), 0
    if closed and positions:
        rows = _first_rows(parsed, whole)
        wide = _widened(cells, rows)
        if len(wide) > len(cells):
            cells, positions = wide, _positions(wide, schema)
        alike = sum(len(row) == len(cells) for _, row in rows)
    ends = start + len(raw) < len(text)
    return _Header(delimiter, cells, alike, positions, line, start, raw, closed, ends)


def _swallows_rows(header: _Header, schema: Schema | None) -> bool:
    """Whether a quoted cell with line ends in it may come of a stray quote, and hold rows.

    It may where text follows the closing quote in its cell, and where the first line without the open
    quote names all the columns that the header names, and a later line has as many cells as that.
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
    return len(_positions(alone, schema)) >= len(header.positions) and any(
        len(alone) in (len(cells(line)), len(cells(line.replace('"', "", 1))))
        for line in others
        if line.count(header.delimiter) + 1 >= len(alone)
    )


def _refuse_markup(text: str) -> None:
    """Raise ``InvalidCsv`` for a text of another format that is often mistaken for a CSV."""
    if text[257:262] == "ustar":  # POSIX, pax: the magic of a member's header
        raise InvalidCsv("not_a_csv", "the file is a tar archive; unpack it first")
    start = "".join(text[:1000].lower().split())
    what = next((what for mark, what in MARKUP.items() if start.startswith(mark)), None)
    if what is not None:
        raise InvalidCsv("not_a_csv", f"the file {what}")


def _refuse_many_columns(text: str) -> None:
    """Raise ``InvalidCsv`` for too many columns before there is a list of them."""
    line = re.search(r"[^\r\n]+", text)
    unquoted = re.sub('"[^"]*"?', "", line[0]) if line else ""
    if max(map(unquoted.count, DELIMITERS)) >= MOST_COLUMNS:
        raise _too_many_columns(1)


def _too_many_columns(line: int) -> InvalidCsv:
    return InvalidCsv("too_many_columns", f"the header has over {MOST_COLUMNS:,} columns", line)


def _refuse_repeated(cells: Sequence[str], schema: Schema) -> None:
    """Raise ``InvalidCsv`` for a feature that has two columns, unless training saw the second one too."""
    names = column_names(cells, schema)
    for cell, name in zip(cells, names, strict=True):
        feature = cell if cell in schema else clean_name(cell)
        if feature in schema and name != feature and not schema.carries(name):
            shown = feature[:LONGEST_NAME]
            raise InvalidCsv("repeated", f"the header has the column '{shown}' more than once", 1)
