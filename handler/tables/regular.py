"""The records of a block in which every quote is in place, and the cells of these, as polars reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.tables import records
from handler.tables.rows import Block, Layout, slices

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

#: What polars takes for the start of packed data; a row may start with zlib's ``x^``.
PACKED = (b"x\x01", b"x^", b"x\x9c", b"x\xda", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
LF = 0x0A


def frame(data: bytes, delimiter: str, types: Mapping[str, Any], quotes: bool, **more: Any) -> pl.DataFrame:
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
        **more,
    )


def is_plain(data: bytes) -> bool:
    """Whether polars reads a block as it stands: it would drop a BOM or line end in front, and unpack."""
    return not data.startswith((b"\n", records.BOM, *PACKED))


def texts(block: Block, layout: Layout, positions: Sequence[int] | None = None) -> pl.DataFrame | None:
    """The cells of a regular block as text; None if it is not regular.

    There is a column for each cell of the header, called ``column`` and its position, or for each of
    ``positions``, in the order of the header.
    """
    import polars as pl

    table = regular(block.data, layout)
    if table is None or table.records.others.size:
        return None
    names = {f"column {position}": pl.String for position in range(len(layout.header))}
    some = {} if positions is None else {"columns": sorted(positions)}
    try:
        return frame(table.data, layout.delimiter, names, table.quotes, **some)
    except (pl.exceptions.PolarsError, OSError):
        return None


def walked_texts(block: Block, layout: Layout, ragged: list[tuple[int, int]]) -> pl.DataFrame:
    """The cells as ``csv.reader`` reads them, a column for each of the header.

    Rows of another width go to ``ragged`` instead, as their line and width. Raises ``InvalidCsv``.
    """
    import polars as pl

    rows = []
    text = records.text_of(block, layout.delimiter)
    for line, _, cells in records.records(text, layout.delimiter, block.line):
        if len(cells) == len(layout.header):
            rows.append(cells)
        elif cells:
            ragged.append((line, len(cells)))
    columns = zip(*rows, strict=True) if rows else ((),) * len(layout.header)
    return pl.DataFrame(
        [pl.Series(f"column {position}", cells, pl.String) for position, cells in enumerate(columns)]
    )


class Records(NamedTuple):
    """The records of a block, with LF only, as they come.

    ``starts`` and ``stops``: the offsets in ``data`` between which each stands, shape (records,).
    ``others``: the indices of those that are not as wide as the header; ``widths``: how many cells these
    have. The further ones are the rows.
    """

    data: bytes
    starts: np.ndarray
    stops: np.ndarray
    others: np.ndarray
    widths: np.ndarray

    def of_rows(self, values: np.ndarray) -> np.ndarray:
        """What the rows have of ``values``, shape (records,)."""
        import numpy as np

        return np.delete(values, self.others) if self.others.size else values

    def at(self, first: int, indices: Sequence[int]) -> tuple[list[int], list[str]]:
        """The lines and the texts of some records; ``first`` is the line of the block."""
        import numpy as np

        line_ends = np.flatnonzero(np.frombuffer(self.data, np.uint8) == LF)
        some = np.array(indices, np.int64)
        starts, stops = self.starts[some], self.stops[some]
        lines = first + np.searchsorted(line_ends, starts)
        return lines.tolist(), slices(self.data, starts, stops)


def records_at(
    data: bytes, delimiter: str, first: int, indices: Sequence[int]
) -> tuple[list[int], list[str]]:
    """As ``Records.at``, of a block with LF only and every quote in place."""
    import numpy as np

    codes = np.frombuffer(data, np.uint8)
    inside = records.quoted(codes, delimiter)
    assert inside is not None
    stops = np.flatnonzero((codes == LF) & ~inside)
    starts = np.concatenate([[0], stops[:-1] + 1])
    kept, none = starts < stops, np.empty(0, np.int64)
    return Records(data, starts[kept], stops[kept], none, none).at(first, indices)


class Regular(NamedTuple):
    """The records of a block in which every quote is in place.

    ``data``: the rows, each with an LF at its end. ``ends``: the offsets in it at which their cells end,
    shape (rows, columns). ``quotes``: whether there are any.
    """

    records: Records
    data: bytes
    ends: np.ndarray
    quotes: bool

    def cells(self, rows: np.ndarray, position: int) -> list[str]:
        """The texts in one column of some rows."""
        ends = self.ends.reshape(-1)
        last = rows * self.ends.shape[1] + position
        starts = ends[last - 1] + 1
        starts[last == 0] = 0
        texts = slices(self.data, starts, ends[last])
        if not self.quotes:
            return texts
        return [text[1:-1].replace('""', '"') if text.startswith('"') else text for text in texts]

    def longest(self) -> int:
        """The bytes of the longest cell."""
        import numpy as np

        ends = self.ends.reshape(-1)
        return int(max(ends[:1].max(initial=0), np.diff(ends).max(initial=1) - 1))

    def lengths(self, position: int) -> np.ndarray:
        """The bytes of each cell in one column, shape (rows,)."""
        import numpy as np

        before = self.ends[:, position - 1] if position else np.append(-1, self.ends[:-1, -1])
        lengths: np.ndarray = self.ends[:, position] - before - 1
        return lengths


def with_lf(data: bytes) -> bytes | None:
    """The block with LF at the end of each line, the last one too; None if a CR stands alone."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
        if b"\r" in data:
            return None
    return data if data.endswith(b"\n") else data + b"\n"  # else polars drops an empty cell at the very end


def regular(block: bytes, layout: Layout) -> Regular | None:
    """The records of a block; None if only ``csv.reader`` reads them right."""
    import numpy as np

    quotes = b'"' in block
    if quotes and b"\r" in block:
        codes = np.frombuffer(block, np.uint8)
        inside = records.quoted(codes, layout.delimiter)
        if inside is None or (codes[inside] == 0x0D).any():
            return None
    data = with_lf(block)
    if data is None:
        return None
    codes = np.frombuffer(data, np.uint8)
    line_ends = codes == LF
    marks = line_ends | (codes == ord(layout.delimiter))
    if quotes:
        inside = records.quoted(codes, layout.delimiter)
        if inside is None or inside[-1]:
            return None
        line_ends &= ~inside
        marks &= ~inside
    ends = np.flatnonzero(marks)
    width = len(layout.header)
    rows, more = divmod(ends.size, width)
    if not more and np.count_nonzero(line_ends) == rows:
        table = ends.reshape(rows, width)
        stops = table[:, -1]
        starts = np.concatenate([[0], stops[:-1] + 1])
        if line_ends[stops].all() and not (width == 1 and (starts == stops).any()):
            none = np.empty(0, np.int64)
            regular = Regular(Records(data, starts, stops, none, none), data, table, quotes)
            return regular if is_plain(data) else None
    return _without_others(data, ends, line_ends, width, quotes)


def _without_others(
    data: bytes, ends: np.ndarray, line_ends: np.ndarray, width: int, quotes: bool
) -> Regular | None:
    """The same of a block with records that are not ``width`` cells wide, or with blank lines.

    ``ends``: the offsets at which cells end; ``line_ends``: which bytes are the ends of records.
    """
    import numpy as np

    lasts = np.flatnonzero(line_ends[ends])
    widths = np.diff(lasts, prepend=-1)
    stops = ends[lasts]
    starts = np.concatenate([[0], stops[:-1] + 1])
    blank = starts == stops
    good = (widths == width) & ~blank
    sizes = stops + 1 - starts
    kept = np.frombuffer(data, np.uint8)[np.repeat(good, sizes)].tobytes()
    if not is_plain(kept):
        return None
    left_out = np.cumsum(np.where(good, 0, sizes))
    table = (ends - np.repeat(left_out, widths))[np.repeat(good, widths)].reshape(-1, width)
    others = ~good[~blank]
    starts, stops, widths = starts[~blank], stops[~blank], widths[~blank]
    whole = Records(data, starts, stops, np.flatnonzero(others), widths[others])
    return Regular(whole, kept, table, quotes)


def is_utf8(data: bytes) -> bool:
    """Whether a block is UTF-8, as every row's text has to be."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
