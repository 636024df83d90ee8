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

from handler.schema import clean_name
from handler.tables.rows import Layout, Lines, Outputs, Rejects, Rows

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from handler.categories import Coded

#: Makes of a text what is written.
Quoted = Callable[[str], str]
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
        return spelled(rows.text, outputs, [b","] * len(outputs), b"\n", _quoted)
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


def spelled(rows: Lines, outputs: Outputs, before: Sequence[bytes], end: bytes, quoted: Quoted) -> bytes:
    """Each row as it stands, its outputs, each with what is ``before`` it, and the ``end`` of a row.

    ``quoted`` gives an output's text as it is written. The kernel must be compiled.
    """
    import numpy as np

    from handler.kernel import compiled

    count = rows.starts.size
    size = int((rows.stops - rows.starts).sum()) + count * len(end)
    kept: list[np.ndarray] = []  # until they are written
    stated = np.zeros((len(outputs), 6), np.int64)
    for index, (values, mark) in enumerate(zip(outputs, before, strict=True)):
        kind, arrays, longest = _output(values, quoted)
        kept += (np.frombuffer(mark, np.uint8), *arrays)
        mine = [each.ctypes.data for each in kept[-len(arrays) - 1 :]]
        stated[index, : len(mine) + 2] = kind, mine[0], len(mark), *mine[1:]
        size += count * (len(mark) + longest)
    starts, stops = np.ascontiguousarray(rows.starts), np.ascontiguousarray(rows.stops)
    written = np.empty(size, np.uint8)
    words = (stated.ctypes, len(stated), compiled.powers().ctypes, end, len(end), written.ctypes)
    size = compiled.library().write_rows(rows.data, starts.ctypes, stops.ctypes, count, *words)
    return written[:size].tobytes()


def _output(values: np.ndarray | Coded | list[str], quoted: Quoted) -> tuple[int, list[np.ndarray], int]:
    """An output as the kernel takes it: its kind, its arrays, and the bytes of its longest cell.

    Raises ``IndexError`` for a code without a level: the kernel looks at no bounds.
    """
    import numpy as np

    from handler.categories import Coded, coded
    from handler.kernel import compiled

    if isinstance(values, np.ndarray):
        kind = compiled.DOUBLE if values.dtype.kind == "f" else compiled.INTEGRAL
        number = np.float64 if kind == compiled.DOUBLE else np.int64
        return kind, [np.ascontiguousarray(values, number)], LONGEST_NUMBER
    if not isinstance(values, Coded):
        values = coded((), values)
    texts = [quoted(level).encode() for level in values.levels]
    starts = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    codes = np.ascontiguousarray(values.codes, np.int64)
    if codes.size and not 0 <= codes.min() <= codes.max() < len(texts):
        raise IndexError("a label that is not one of the model's")
    joined = np.frombuffer(b"".join(texts), np.uint8)
    return compiled.TEXT, [codes, joined, starts], max(map(len, texts), default=0)


def _written(table: pl.DataFrame, quotes: Literal["never", "necessary"]) -> bytes:
    sink = io.BytesIO()
    table.write_csv(sink, include_header=False, quote_style=quotes)
    return sink.getvalue()


def _quoted_cells(outputs: Outputs) -> list[pl.Series]:
    """Outputs, of which texts have the quotes that a CSV cell needs."""
    from handler.categories import Coded

    return _series(
        [
            Coded(values.codes, tuple(map(_quoted, values.levels)))
            if isinstance(values, Coded)
            else list(map(_quoted, values))
            if isinstance(values, list)
            else values
            for values in outputs
        ]
    )


def _series(outputs: Outputs) -> list[pl.Series]:
    import numpy as np
    import polars as pl

    from handler.categories import Coded

    made = []
    for index, values in enumerate(outputs):
        name = f"output {index}"
        if isinstance(values, Coded):
            made.append(pl.Series(name, values.levels, pl.String).gather(values.codes))
        elif isinstance(values, np.ndarray) and values.dtype == np.float32:
            made.append(pl.Series(name, values.astype(np.float64)))  # which row by row are doubles too
        else:
            made.append(pl.Series(name, values))
    return made


def _quoted(text: str) -> str:
    """A text as ``csv.writer`` writes it beside other cells, in a tenth of its time."""
    if '"' in text:
        return '"' + text.replace('"', '""') + '"'
    return f'"{text}"' if "," in text or "\n" in text or "\r" in text else text


@dataclass(frozen=True, slots=True)
class _Sink:
    """What ``csv.writer`` needs of a file."""

    write: Callable[[str], object]
