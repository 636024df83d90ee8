"""Rows become CSV again, each with its outputs at the end.

Cells keep their text; doubles are written so that they read back to the same double. A row has the same
bytes whether Python or polars writes it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from handler.kernel import compiled
from handler.schema import clean_name
from handler.tables.rows import Layout, Lines, Outputs, Rejects, Rows

if TYPE_CHECKING:
    import numpy as np
    import polars as pl


#: The bytes of the longest double, or integer of 64 bits.
LONGEST_NUMBER = 24


def head(layout: Layout, outputs: Sequence[str]) -> bytes:
    """The header line: the input's cells, and the outputs under names that the input does not have."""
    return lines([*layout.header, *free_names(layout.header, outputs)])


def write(rows: Rows, layout: Layout, outputs: Outputs, every_row: bool = False) -> bytes:
    """The sound rows as lines, each with its outputs (one array per column) at the end.

    ``every_row``: the rejected rows are written as well, with empty outputs. Their cells must have been
    kept when the block was read.
    """
    if isinstance(rows.text, Lines):
        return _by_kernel(rows.text, outputs)
    if not isinstance(rows.text, list):
        return _sweep(rows.text, outputs)
    added = zip(
        *(values if isinstance(values, list) else values.tolist() for values in outputs), strict=True
    )
    rejected, empty = set(rows.rejects.indices), [""] * len(outputs)
    written: list[list[Any]] = []
    for index, cells in enumerate(rows.text):
        if index not in rejected:
            written.append([*cells, *map(cell, next(added))])
        elif every_row:
            written.append([*cells, *[""] * (len(layout.header) - len(cells)), *empty])
    return lines(*written)


def rejected(rejects: Rejects) -> bytes:
    """Rejects as lines of ``rejected.csv``."""
    if not rejects:
        return b""
    refusals = list(line_texts(rejects.refusals))
    each = zip(*rejects.at(rejects.indices), rejects.which, strict=True)
    return "".join([f"{line},{refusals[which]},{_quoted(row)}\n" for line, row, which in each]).encode()


def cell(value: object) -> object:
    """An output as ``line_texts`` takes it: a small double as polars writes it, 0.00001 and 1e-6."""
    if not isinstance(value, float):
        return value
    text = repr(value)
    digits, small, exponent = text.partition("e-0")
    if not small:
        return text
    if exponent != "5":
        return f"{digits}e-{exponent}"
    return ("-" if value < 0 else "") + "0.0000" + digits.lstrip("-").replace(".", "")


def lines(*rows: Iterable[object]) -> bytes:
    """Rows as lines of CSV."""
    return "".join(f"{line}\n" for line in line_texts(rows)).encode()


def line_texts(rows: Iterable[Iterable[object]]) -> Iterator[str]:
    """Rows as lines of CSV, without their line ends."""
    written: list[str] = []
    writer = csv.writer(_Sink(written.append), lineterminator="\r\n")  # quotes both in a cell
    writer.writerows(rows)
    return (line[:-2] for line in written)


def free_names(header: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
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


def _sweep(table: pl.DataFrame, outputs: Outputs) -> bytes:
    """The rows of a frame, and their outputs, in one sweep by polars."""
    import polars as pl

    if table.columns == ["line"]:
        return _written(table.hstack(_quoted_cells(outputs)), "never")
    written = table.hstack(_series(outputs))
    # polars writes quotes for an empty text, and nothing for none
    return _written(
        written.with_columns(pl.when(pl.col(pl.String) != "").then(pl.col(pl.String))), "necessary"
    )


def _by_kernel(rows: Lines, outputs: Outputs) -> bytes:
    """The rows as they stand, and their outputs, in one sweep by the kernel."""
    import numpy as np

    given: list[tuple[int, ...]] = []
    kept, width = [], 0
    for values in outputs:
        if isinstance(values, np.ndarray) and values.dtype in (np.float64, np.int64):
            kind = compiled.DOUBLE if values.dtype == np.float64 else compiled.INTEGRAL
            kept.append(np.ascontiguousarray(values))
            given.append((kind, kept[-1].ctypes.data, 0, 0))
            width += LONGEST_NUMBER
        else:
            codes, texts = _numbered(values)
            starts = np.cumsum([0, *map(len, texts)], dtype=np.int64)
            joined = np.frombuffer(b"".join(texts), np.uint8)
            kept += [codes, joined, starts]
            given.append((compiled.TEXT, *(each.ctypes.data for each in (codes, joined, starts))))
            width += max(map(len, texts), default=0)
    stated = np.array(given, np.int64)
    starts, stops = np.ascontiguousarray(rows.starts), np.ascontiguousarray(rows.stops)
    size = int((stops - starts).sum()) + starts.size * (width + len(given) + 1)
    written = np.empty(size, np.uint8)
    arrays = [each.ctypes for each in (starts, stops)]
    words = [each.ctypes for each in (compiled.powers(), written)]
    count = compiled.library().write_rows(
        rows.data, *arrays, starts.size, stated.ctypes, len(given), *words
    )
    return written[:count].tobytes()


def _numbered(values: Any) -> tuple[np.ndarray, list[bytes]]:
    """Outputs that are texts as indices into the distinct ones, with the quotes that a CSV cell needs."""
    import numpy as np

    from handler.categories import Coded

    if not isinstance(values, Coded):
        texts = values if isinstance(values, list) else map(str, map(cell, values.tolist()))
        index: dict[str, int] = {}
        codes = np.array([index.setdefault(text, len(index)) for text in texts], np.int64)
        values = Coded(codes, tuple(index))
    levels = [text.encode() for text in line_texts([level] for level in values.levels)]
    return np.ascontiguousarray(values.codes, np.int64), levels


def _written(table: pl.DataFrame, quotes: Literal["never", "necessary"]) -> bytes:
    sink = io.BytesIO()
    table.write_csv(sink, include_header=False, quote_style=quotes)
    return sink.getvalue()


def _quoted_cells(outputs: Outputs) -> list[pl.Series]:
    """Outputs, of which texts have the quotes that a CSV cell needs."""
    from handler.categories import Coded

    quoted: list[np.ndarray | Coded | list[str]] = []
    for values in outputs:
        if isinstance(values, Coded):
            quoted.append(Coded(values.codes, tuple(line_texts([level] for level in values.levels))))
        elif isinstance(values, list):
            distinct = list(set(values))
            texts = dict(zip(distinct, line_texts([value] for value in distinct), strict=True))
            quoted.append([texts[value] for value in values])
        else:
            quoted.append(values)
    return _series(quoted)


def _series(outputs: Outputs) -> list[pl.Series]:
    import polars as pl

    from handler.categories import Coded

    named = ((f"output {index}", values) for index, values in enumerate(outputs))
    return [
        pl.Series(name, values.levels, pl.String).gather(values.codes)
        if isinstance(values, Coded)
        else pl.Series(name, values)
        for name, values in named
    ]


def _quoted(text: str) -> str:
    """A text as ``csv.writer`` writes it beside other cells, in a tenth of its time."""
    if '"' in text:
        return '"' + text.replace('"', '""') + '"'
    return f'"{text}"' if "," in text or "\n" in text or "\r" in text else text


@dataclass(frozen=True, slots=True)
class _Sink:
    """What ``csv.writer`` needs of a file."""

    write: Callable[[str], object]
