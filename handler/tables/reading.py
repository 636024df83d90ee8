"""A block of CSV becomes rows.

A block that is regular (every row as wide as the header, no quote out of place) is read by polars in one
sweep; any other block goes through ``csv.reader`` row by row. Both ways give the same rows. ``schema`` says
which values are sound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from handler.schema import LONGEST_VALUE, Columns, Record, Schema
from handler.tables import records
from handler.tables.rows import Block, Layout, Reject, Rows, judge

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

#: Below this size, reading row by row is over before polars would be imported.
SMALL = 64 * 1024
#: Rows of a block from which on polars is worth what it takes for each column, some 30 microseconds.
FEW_ROWS = 32
#: What polars takes for the start of packed data; a row may start with zlib's ``x^``.
PACKED = (b"x\x01", b"x^", b"x\x9c", b"x\xda", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")


def read(block: Block, layout: Layout, schema: Schema, every_row: bool = False) -> Rows:
    """Read a block; ``every_row`` keeps the cells of rejected rows in ``Rows.text`` too.

    Raises ``InvalidCsv`` where the bytes are not UTF-8 or a quote is never closed.
    """
    rows = None
    if not every_row and len(block.data) >= SMALL and block.data.count(b"\n") >= FEW_ROWS:
        rows = _sweep(block, layout, schema)
    return rows or _walk(block, layout, schema)


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


def is_plain(data: bytes) -> bool:
    """Whether polars reads a block as it stands: it would drop a BOM or line end in front, and unpack."""
    return not data.startswith((b"\n", records.BOM, *PACKED))


def texts(block: Block, layout: Layout) -> pl.DataFrame | None:
    """The cells of a regular block as text, a column per cell of the header; None if it is not regular."""
    import polars as pl

    regular = _regular(block.data, layout)
    if regular is None:
        return None
    data, delimiters, quotes = regular
    names = {f"column {position}": pl.String for position in range(len(layout.header))}
    try:
        cells = frame(data, layout.delimiter, names, quotes)
    except (pl.exceptions.PolarsError, OSError):
        return None
    return cells if delimiters == cells.height * (len(names) - 1) else None


def _regular(data: bytes, layout: Layout) -> tuple[bytes, int, bool] | None:
    """A block as polars reads it right, the number of its delimiters, and whether it has quotes.

    Delimiters inside quotes do not count: outside there are as many as the rows and the header ask for.
    None where only ``csv.reader`` reads it right.
    """
    import numpy as np

    quotes, returns = b'"' in data, b"\r" in data
    delimiters = data.count(layout.delimiter.encode())
    if quotes:
        codes = np.frombuffer(data, np.uint8)
        inside = records.quoted(codes, layout.delimiter)
        if inside is None or inside[-1] or (returns and (codes[inside] == 0x0D).any()):
            return None
        delimiters = int(((codes == ord(layout.delimiter)) & ~inside).sum())
    if returns:
        if data.count(b"\r") != data.count(b"\r\n"):
            return None
        data = data.replace(b"\r\n", b"\n")
    if not is_plain(data):
        return None
    if len(layout.header) == 1 and b"\n\n" in data:
        return None  # a blank line; elsewhere the count of delimiters shows it
    if not data.endswith(b"\n"):
        data += b"\n"  # else polars drops an empty cell at the very end
    return data, delimiters, quotes


def _sweep(block: Block, layout: Layout, schema: Schema) -> Rows | None:
    """Read a regular block with polars; None if it is not regular."""
    import numpy as np
    import polars as pl

    regular = _regular(block.data, layout)
    if regular is None:
        return None
    data, delimiters, quotes = regular
    as_lines = not quotes and layout.delimiter == ","
    wanted = {layout.positions[feature.name]: feature for feature in schema.features}
    texts = {f"column {position}": pl.String for position in range(len(layout.header))}
    # polars reads NaN as a number, and that of a missing word would be a doubt about each row
    nans = any("nan" in feature.missing_words for feature in wanted.values()) and any(
        word in data for word in (b"nan", b"NaN", b"NAN")
    )
    numbers = {
        f"column {position}": pl.Int64 if feature.kind == "integer" else pl.Float64
        for position, feature in wanted.items()
        if feature.kind in ("integer", "number")
        and feature.format is None
        and not (nans and "nan" in feature.missing_words)
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
    if delimiters != cells.height * (len(texts) - 1) or text.height != cells.height:
        return None
    columns: dict[str, Any] = {}
    doubts = np.zeros(cells.height, dtype=bool)
    for position, feature in wanted.items():
        columns[feature.name], doubt = schema.parse_series(feature, cells[f"column {position}"])
        if doubt is not None:
            doubts |= doubt
    if not doubts.any():
        return Rows(cells.height, columns, (), text, partial(records.row_texts, block, layout.delimiter))
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
    columns: Columns,
    text: pl.DataFrame,
) -> Rows:
    """Ask ``schema`` about each doubtful row of a regular block."""
    import numpy as np

    # The code of a category that is sound is right already.
    mended: dict[str, Any] = {
        name: each.copy() for name, each in columns.items() if isinstance(each, np.ndarray)
    }
    rejects = []
    for index, line, row, cells in _rows_at(doubts, block, layout, text):
        judged = judge(index, line, row, cells, layout, schema)
        if isinstance(judged, Reject):
            rejects.append(judged)
        else:
            for name, value in zip(schema.names, judged, strict=True):
                if name in mended:
                    mended[name][index] = value
    sound = np.ones(text.height, dtype=bool)
    sound[[reject.index for reject in rejects]] = False
    kept = {name: each[sound] for name, each in {**columns, **mended}.items()}
    again = partial(records.row_texts, block, layout.delimiter)
    return Rows(text.height, kept, tuple(rejects), text.filter(sound), again)


def _rows_at(
    indices: np.ndarray, block: Block, layout: Layout, text: pl.DataFrame
) -> Iterator[tuple[int, int, str, list[str]]]:
    """The index, the line, the text and the cells of some rows of a regular block."""
    if text.columns == ["line"]:
        lines = text["line"]
        for index in indices.tolist():
            yield index, block.line + index, lines[index], lines[index].split(layout.delimiter)
        return
    wanted = frozenset(indices.tolist())
    rows = records.records(block.data.decode(), layout.delimiter, block.line)
    for index, (line, raw, cells) in enumerate(rows):
        if index in wanted:
            yield index, line, raw.rstrip("\r\n"), cells


def _walk(block: Block, layout: Layout, schema: Schema) -> Rows:
    """Read a block row by row with ``csv.reader``."""
    text = records.text_of(block, layout.delimiter)
    sound: list[Record] = []
    rejects: list[Reject] = []
    texts: list[list[str]] = []
    for line, raw, cells in records.records(text, layout.delimiter, block.line):
        if not cells:
            continue
        judged = judge(len(texts), line, raw.rstrip("\r\n"), cells, layout, schema)
        if isinstance(judged, Reject):
            rejects.append(judged)
        else:
            sound.append(judged)
        texts.append(cells)
    again = partial(records.row_texts, block, layout.delimiter)
    return Rows(len(texts), schema.columns(sound), tuple(rejects), texts, again)
