"""CSV as blocks of whole records: cut a stream, read a block, write it again with its predictions.

What a record is, Python's ``csv`` module says: its ``reader`` defines where a record ends, what its
cells are and on which line it starts. A block that is regular (every row as wide as the header, no
quote out of place) is read by polars in one sweep; any other block goes through ``csv.reader`` row
by row. Both ways give the same rows; which values are sound, ``schema`` says.

Blank lines are no records, as for ``csv.DictReader``. A line number is that of the physical line on
which a record starts; the header's is 1.
"""

from __future__ import annotations

import collections
import csv
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from handler.errors import LONGEST_NAME, InvalidCsv, InvalidRecords, MissingColumns
from handler.schema import LONGEST_VALUE, Columns, Record, Schema, clean_name

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

DELIMITERS = (",", ";", "\t", "|")
#: A record over this many bytes is taken for a quote that was never closed.
LONGEST_RECORD = 16 * 1024 * 1024
#: Columns of a header. A file with so many takes 70 MB to score, and one with ten times as many 130 MB.
MOST_COLUMNS = 100_000
#: Bytes in which a header is sought first.
FIRST = 64 * 1024
#: Below this size, reading row by row is over before polars would be imported.
SMALL = 64 * 1024
#: Rows of a block from which on polars is worth what it takes for each column, some 30 microseconds.
FEW_ROWS = 32
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
BOM = b"\xef\xbb\xbf"
#: How packed data start, as polars sees it; a row may start with zlib's ``x^``.
PACKED = (b"x\x01", b"x^", b"x\x9c", b"x\xda", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
_SENTINEL = "\x00end\x00"

csv.field_size_limit(sys.maxsize if sys.maxsize < 1 << 31 else (1 << 31) - 1)


@dataclass(frozen=True, slots=True)
class Layout:
    """What the header says: its cells as they stand, the delimiter, and each feature's place."""

    header: tuple[str, ...]
    delimiter: str
    places: Mapping[str, int]


def header(chunks: Iterable[bytes], schema: Schema) -> tuple[Layout, Iterator[bytes], int]:
    """Read the header of a stream of bytes: as many of them as it takes, up to ``LONGEST_RECORD``.

    Returns the layout, the bytes after the header as a stream, and the number of the line there. The
    delimiter is the one under which the header names the most features. Raises ``InvalidCsv`` for what
    is no UTF-8 CSV, ``MissingColumns`` where features are absent.
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

    ``raw``: its text with the line end, from ``start`` on; ``places``: the features' columns, of each the
    first; ``closed``: whether no quote is open at its end; ``ends``: whether text follows it.
    """

    delimiter: str
    cells: list[str]
    places: Mapping[str, int]
    line: int
    start: int
    raw: str
    closed: bool
    ends: bool


def _header(head: bytes, schema: Schema, whole: bool) -> tuple[Layout, int, int] | None:
    """The layout, and the offset and line after it; None where more of the file than ``head`` is needed.

    ``whole``: there is no more.
    """
    for signature, (code, what) in SIGNATURES.items():
        if head.startswith(signature):
            raise InvalidCsv(code, f"the file {what}")
    mark = len(BOM) if head.startswith(BOM) else 0
    text = head[mark:].decode("utf-8", errors="surrogateescape")
    _refuse_many_columns(text)
    headers = [
        each for each in (_header_under(delimiter, text, schema) for delimiter in DELIMITERS) if each
    ]
    full = len(head) >= LONGEST_RECORD
    if not headers:
        if whole or full:
            raise InvalidCsv("empty", "the file is empty; a header line is needed")
        return None
    best = max(headers, key=lambda each: (len(each.places), each.closed, len(each.cells)))
    complete = best.closed and len(best.places) == len(schema.names)
    if not (whole or (complete and best.ends) or all(each.ends for each in headers)):
        if not full:
            return None
        if best.closed:
            raise InvalidCsv("record_too_long", f"the header is over {LONGEST_RECORD:,} bytes", best.line)
    raw = best.raw if best.closed else best.raw.splitlines()[0]
    if "\x00" in raw:
        raise InvalidCsv("not_a_csv", "the file is binary, or UTF-16; save it as CSV in UTF-8")
    try:
        raw.encode()
    except UnicodeEncodeError as error:
        raise _not_utf8(best.line) from error
    if not complete and any(not each.closed and len(each.places) == len(best.places) for each in headers):
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
    missing = [name for name in schema.names if name not in best.places]
    if missing:
        raise MissingColumns(missing, len(best.cells), best.delimiter)
    _refuse_repeated(best.cells, schema)
    end = mark + len(text[: best.start + len(best.raw)].encode())
    return Layout(tuple(best.cells), best.delimiter, best.places), end, best.line + _lines(best.raw)


def _header_under(delimiter: str, text: str, schema: Schema) -> _Header | None:
    """The header under a delimiter; None where all lines are blank."""
    gap = "" if text.endswith(("\n", "\r")) else "\n"
    records = _records(f"{text}{gap}{_SENTINEL}", delimiter, 1)
    start = 0
    while not (record := next(records))[2]:
        start += len(record[1])
    line, raw, cells = record
    if cells == [_SENTINEL]:
        return None
    closed = not raw.endswith(_SENTINEL)
    raw = text[start : start + len(raw)] if closed else text[start:]
    places: dict[str, int] = {}
    for place, cell in enumerate(cells):
        places.setdefault(_feature_name(cell, schema), place)
    places.pop("", None)
    return _Header(delimiter, cells, places, line, start, raw, closed, start + len(raw) < len(text))


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
    return len(named) >= len(header.places) and any(
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


@dataclass(frozen=True, slots=True)
class _Sink:
    """What ``csv.writer`` needs of a file."""

    write: Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Block:
    """Whole records, and the number of the line on which the first starts."""

    data: bytes
    line: int


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was not scored: ``place`` counts the block's rows from 0, ``row`` is its text."""

    place: int
    line: int
    column: str
    code: str
    reason: str
    row: str

    @property
    def cells(self) -> tuple[object, ...]:
        """The reject as a row of ``rejected.csv``."""
        return self.line, self.column, self.code, self.reason, self.row


@dataclass(frozen=True, slots=True)
class Rows:
    """A block, read: ``columns`` of the sound rows go to the scorer, the others are ``rejects``.

    ``total``: the records of the block. ``columns``: one array a feature over the sound rows.
    ``text``: the cells of every record, rejected ones too (a list), or the sound rows as a frame:
    one column of comma-separated lines, or one column a cell.
    """

    total: int
    columns: Columns
    rejects: tuple[Reject, ...]
    text: list[list[str]] | pl.DataFrame

    @property
    def rejected(self) -> frozenset[int]:
        """The places of the rejected rows."""
        return frozenset(reject.place for reject in self.rejects)

    def without(self, out: np.ndarray, block: Block, delimiter: str, code: str, reason: str) -> Rows:
        """The rows, of which the sound ones that ``out``, shape (sound rows,), marks are rejects too.

        ``block`` is the one that they were read from.
        """
        rejected = self.rejected
        sound = (place for place in range(self.total) if place not in rejected)
        places = set(itertools.compress(sound, out.tolist()))
        text = block.data.decode()
        records = (each for each in _records(text, delimiter, block.line) if each[2])
        more = (
            Reject(place, line, "", code, reason, raw.rstrip("\r\n"))
            for place, (line, raw, _) in enumerate(records)
            if place in places
        )
        return Rows(
            self.total,
            {name: values[~out] for name, values in self.columns.items()},
            tuple(sorted([*self.rejects, *more], key=lambda reject: reject.place)),
            self.text if isinstance(self.text, list) else self.text.filter(~out),
        )


def blocks(chunks: Iterable[bytes], delimiter: str, line: int, size: int) -> Iterator[Block]:
    """Cut a stream of bytes (any lengths) into blocks of about ``size`` bytes at record boundaries.

    ``line`` is the number of the line on which the stream starts. Raises ``InvalidCsv`` for a
    record over ``LONGEST_RECORD`` bytes.
    """
    rest, enough = b"", size
    for chunk in chunks:
        rest += chunk
        start = 0
        while len(rest) - start >= enough:
            end = boundary(rest[start : start + enough], delimiter)
            if end:
                block = rest[start : start + end]
                yield Block(block, line)
                line += _lines(block)
                start, enough = start + end, size
            elif enough > LONGEST_RECORD:
                ends = "; its lines end in CR only, save it with LF" if b"\r" in rest else ""
                raise InvalidCsv(
                    "record_too_long",
                    f"a record is over {LONGEST_RECORD:,} bytes: a quote may be unclosed{ends}",
                    line,
                )
            else:
                enough += max(size, enough // 2)
        rest = rest[start:]
    if rest:
        yield Block(rest, line)


def boundary(data: bytes, delimiter: str) -> int:
    """The offset just after the last line end in ``data`` that surely ends a record; 0 if none does.

    ``data`` starts at a record.
    """
    if b'"' not in data:
        return data.rfind(b"\n") + 1
    import numpy as np

    codes = np.frombuffer(data, np.uint8)
    inside = _quoted(codes, delimiter)
    if inside is not None:
        ends = np.flatnonzero((codes == 0x0A) & ~inside)
        return int(ends[-1]) + 1 if ends.size else 0
    start = last = 0
    text = data.decode("utf-8", errors="surrogateescape")
    for _, raw, _ in _records(text, delimiter, 1):
        last = start
        start += len(raw.encode("utf-8", errors="surrogateescape"))
    return last


def read(block: Block, layout: Layout, schema: Schema, row_by_row: bool = False) -> Rows:
    """Read a block; ``row_by_row`` keeps the text of rejected rows in ``Rows.text`` too.

    Raises ``InvalidCsv`` where the bytes are not UTF-8 or a quote is never closed.
    """
    rows = None
    if not row_by_row and len(block.data) >= SMALL and block.data.count(b"\n") >= FEW_ROWS:
        rows = _sweep(block, layout, schema)
    return rows or _walk(block, layout, schema)


def write(rows: Rows, outputs: Sequence[np.ndarray | list[str]]) -> bytes:
    """The sound rows as CSV lines, each with its outputs (one array a column) at the end.

    Cells keep their text; doubles are written so that they read back to the same double.
    """
    if isinstance(rows.text, list):
        added = zip(*(each if isinstance(each, list) else each.tolist() for each in outputs), strict=True)
        rejected = rows.rejected
        sound = (cells for place, cells in enumerate(rows.text) if place not in rejected)
        lines = write_lines([*cells, *more] for cells, more in zip(sound, added, strict=True))
        return "".join(f"{line}\n" for line in lines).encode()
    import polars as pl

    table = rows.text
    as_lines = table.columns == ["line"]
    series = [
        pl.Series(f"output {place}", values if not as_lines else _quoted_cells(values))
        for place, values in enumerate(outputs)
    ]
    return text_of(table.with_columns(series), "never" if as_lines else "necessary")


def write_lines(rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Rows as lines of CSV, without their line ends."""
    written: list[str] = []
    writer = csv.writer(_Sink(written.append), lineterminator="\r\n")  # quotes both in a cell
    writer.writerows(rows)
    return (line[:-2] for line in written)


def frame(data: bytes, delimiter: str, types: Mapping[str, Any], quotes: bool) -> pl.DataFrame:
    """What polars reads in ``data``: one column for each of ``types``, in order; raises ``PolarsError``."""
    import polars as pl

    return pl.read_csv(
        data,
        has_header=False,
        separator=delimiter,
        quote_char='"' if quotes else None,
        schema=dict(types),
        empty_string_is_null=False,
        raise_if_empty=False,
    )


def text_of(table: pl.DataFrame, quote_style: Literal["never", "necessary"]) -> bytes:
    """The rows of a table as CSV lines."""
    sink = io.BytesIO()
    table.write_csv(sink, include_header=False, quote_style=quote_style)
    return sink.getvalue()


def is_plain(data: bytes) -> bool:
    """Whether polars reads a block as it stands: it drops a BOM or line end in front, and unpacks."""
    return not data.startswith((b"\n", BOM, *PACKED))


def judge(
    place: int, line: int, row: str, cells: Sequence[str], layout: Layout, schema: Schema
) -> Record | Reject:
    """The record that a row's cells spell, or why there is none; ``row`` is its text."""
    if len(cells) != len(layout.header):
        code = "too_few_cells" if len(cells) < len(layout.header) else "too_many_cells"
        reason = f"the row has {len(cells)} cells and the header {len(layout.header)}"
        return Reject(place, line, "", code, reason, row)
    try:
        return schema.from_cells({name: cells[at] for name, at in layout.places.items()})
    except InvalidRecords as error:
        first = error.problems[0]
        return Reject(place, line, first.field, first.code, str(error), row)


def output_names(header: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """Names for added columns: as wanted, or with ``_2``, ``_3``, ... where the input has that name."""
    taken = {clean_name(cell) for cell in header}
    names = []
    for name in wanted:
        free, count = name, 1
        while free in taken:
            count += 1
            free = f"{name}_{count}"
        taken.add(free)
        names.append(free)
    return tuple(names)


def _records(text: str, delimiter: str, line: int) -> Iterator[tuple[int, str, list[str]]]:
    """Each record's line, its raw text with line end, and its cells; blank lines have no cells."""
    consumed: list[str] = []

    def feed() -> Iterator[str]:
        for each in io.StringIO(text, newline=""):
            consumed.append(each)
            yield each

    for cells in csv.reader(feed(), delimiter=delimiter):
        yield line, "".join(consumed), cells
        line += len(consumed)
        consumed.clear()


def _lines(data: bytes | str) -> int:
    """How many line ends there are: LF, CR LF, or CR alone, as Python counts them."""
    if isinstance(data, str):
        data = data.encode("utf-8", errors="surrogateescape")
    returns = data.count(b"\r")
    return data.count(b"\n") + (returns - data.count(b"\r\n") if returns else 0)


def _quoted(codes: np.ndarray, delimiter: str) -> np.ndarray | None:
    """Which bytes stand inside quotes, shape (n,); None if a quote is out of place.

    In place means: an opening quote follows a delimiter or line end, a closing one precedes one,
    and two neighbours are one escaped quote. Then parity alone tells inside from outside.
    """
    import numpy as np

    marks = np.flatnonzero(codes == 0x22)
    edges = np.array([ord(delimiter), 0x0A, 0x0D], np.uint8)
    opening, closing = marks[0::2], marks[1::2]
    before = codes[np.maximum(opening - 1, 0)]
    opens = (opening == 0) | np.isin(before, edges)
    opens[1:] |= opening[1:] - 1 == closing[: opening.size - 1]
    after = codes[np.minimum(closing + 1, codes.size - 1)]
    closes = (closing == codes.size - 1) | np.isin(after, edges)
    neighbours = opening[1:] if opening.size > closing.size else np.append(opening[1:], -1)
    closes |= closing + 1 == neighbours
    if not (opens.all() and closes.all()):
        return None
    parity = np.zeros(codes.size, np.uint8)
    parity[marks] = 1
    inside: np.ndarray = np.cumsum(parity, dtype=np.uint8) % 2 == 1
    return inside


def _sweep(block: Block, layout: Layout, schema: Schema) -> Rows | None:
    """Read a regular block with polars; None where it is not regular, or rows need a closer look."""
    import numpy as np
    import polars as pl

    data = block.data
    quotes, returns = b'"' in data, b"\r" in data
    commas = data.count(layout.delimiter.encode())
    if quotes:
        codes = np.frombuffer(data, np.uint8)
        inside = _quoted(codes, layout.delimiter)
        if inside is None or inside[-1] or (returns and (codes[inside] == 0x0D).any()):
            return None
        commas = int(((codes == ord(layout.delimiter)) & ~inside).sum())
    if returns:
        if data.count(b"\r") != data.count(b"\r\n"):
            return None
        data = data.replace(b"\r\n", b"\n")
    if not is_plain(data):
        return None
    if len(layout.header) == 1 and b"\n\n" in data:  # no row; elsewhere the delimiters' count tells
        return None
    if not data.endswith(b"\n"):
        data += b"\n"  # else polars drops an empty cell at the very end
    as_lines = not quotes and layout.delimiter == ","
    wanted = {layout.places[feature.name]: feature for feature in schema.features}
    texts = {f"column {place}": pl.String for place in range(len(layout.header))}
    numbers = {
        f"column {place}": pl.Int64 if feature.kind == "integer" else pl.Float64
        for place, feature in wanted.items()
        if feature.kind in ("integer", "number")
    }
    try:
        if as_lines:
            try:  # cells first: after the lines, this takes twice as long
                typed = {} if _has_long_cell(data, layout.delimiter) else numbers
                cells = frame(data, layout.delimiter, {**texts, **typed}, quotes)
            except pl.exceptions.ComputeError:
                cells = frame(data, layout.delimiter, texts, quotes)
            text = frame(data, "\x00", {"line": pl.String}, quotes)
        else:
            cells = text = frame(data, layout.delimiter, texts, quotes)
    except (pl.exceptions.PolarsError, OSError):
        return None
    if commas != cells.height * (len(texts) - 1) or text.height != cells.height:
        return None
    columns: dict[str, np.ndarray] = {}
    doubts = np.zeros(cells.height, dtype=bool)
    for place, feature in wanted.items():
        columns[feature.name], doubt = schema.parse_series(feature, cells[f"column {place}"])
        if doubt is not None:
            doubts |= doubt
    if not doubts.any():
        return Rows(cells.height, columns, (), text)
    if not as_lines:
        return None
    return _settle(np.flatnonzero(doubts), block, layout, schema, columns, text)


def _has_long_cell(data: bytes, delimiter: str) -> bool:
    """Whether a cell is longer than a number may be, in a block without quotes."""
    import numpy as np

    codes = np.frombuffer(data, np.uint8)
    marks = np.flatnonzero((codes == ord(delimiter)) | (codes == 0x0A))
    return bool(np.diff(marks, prepend=-1).max(initial=0) > LONGEST_VALUE)


def _settle(
    doubts: np.ndarray,
    block: Block,
    layout: Layout,
    schema: Schema,
    columns: Mapping[str, np.ndarray],
    text: pl.DataFrame,
) -> Rows:
    """Ask ``schema`` about each doubtful row of a block in which a line is a record."""
    import numpy as np

    columns = {name: values.copy() for name, values in columns.items()}
    lines = text["line"]
    rejects = []
    for place in doubts.tolist():
        row = lines[place]
        found = judge(place, block.line + place, row, row.split(layout.delimiter), layout, schema)
        if isinstance(found, Reject):
            rejects.append(found)
        else:
            for name, value in zip(schema.names, found, strict=True):
                columns[name][place] = value
    sound = np.ones(text.height, dtype=bool)
    sound[[reject.place for reject in rejects]] = False
    kept = {name: values[sound] for name, values in columns.items()}
    return Rows(text.height, kept, tuple(rejects), text.filter(sound))


def _walk(block: Block, layout: Layout, schema: Schema) -> Rows:
    """Read a block row by row with ``csv.reader``."""
    try:
        text = block.data.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(block.line + _lines(block.data[: error.start])) from error
    records: list[Record] = []
    rejects: list[Reject] = []
    texts: list[list[str]] = []
    if '"' in text:
        _check_closed(text, layout.delimiter, block.line)
    for line, raw, cells in _records(text, layout.delimiter, block.line):
        if not cells:
            continue
        found = judge(len(texts), line, raw.rstrip("\r\n"), cells, layout, schema)
        if isinstance(found, Reject):
            rejects.append(found)
        else:
            records.append(found)
        texts.append(cells)
    return Rows(len(texts), schema.columns(records), tuple(rejects), texts)


def _check_closed(text: str, delimiter: str, line: int) -> None:
    """Raise ``InvalidCsv`` if ``text`` ends inside quotes: then a line after it is no record."""
    end = "" if text.endswith(("\n", "\r")) else "\n"
    last = line, "", [""]
    for each in _records(text + end + _SENTINEL, delimiter, line):
        last = each
    if last[2] != [_SENTINEL]:
        raise InvalidCsv("unclosed_quote", "a quote is opened and never closed", last[0])


def _quoted_cells(values: np.ndarray | list[str]) -> np.ndarray | list[str]:
    """Texts with the quotes that a CSV cell needs; numbers as they are."""
    if not isinstance(values, list):
        return values
    distinct = list(set(values))
    quoted = dict(zip(distinct, write_lines([value] for value in distinct), strict=True))
    return [quoted[value] for value in values]


def _not_utf8(line: int) -> InvalidCsv:
    return InvalidCsv(
        "not_utf8", "the file is not UTF-8 (Windows-1252 or Latin-1?); save it as UTF-8", line
    )
