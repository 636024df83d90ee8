"""The cells of a block, as numbers and codes, read by the kernel in one pass.

What is not spelled as most files spell it is left to ``handler.schema``, cell by cell.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

from handler.kernel import compiled
from handler.manifest import Feature
from handler.schema import Schema
from handler.spelling import spelling
from handler.tables.rows import Layout, slices
from handler.tables.series import series_of

if TYPE_CHECKING:
    import numpy as np

LF = 0x0A
#: The bytes of the largest block whose offsets the kernel can give.
LARGEST = 2**31 - 1


class Cells(NamedTuple):
    """The records of ``data``, each of which ends with LF, with commas between cells.

    ``starts`` and ``stops``: the offsets between which each record stands, shape (records,). ``others``:
    the indices of those that are not as wide as the header; ``widths``: how many cells these have. The
    further ones are the rows.

    ``values``: by the name of a feature, its doubles (NaN where missing), or int32 of ``Schema.known``,
    shape (rows,).
    """

    data: bytes
    starts: np.ndarray
    stops: np.ndarray
    others: np.ndarray
    widths: np.ndarray
    values: dict[str, np.ndarray]
    offsets: dict[str, np.ndarray]

    def odd(self, name: str) -> tuple[np.ndarray, list[str]]:
        """The rows in which a feature is refused, or spelled in a rare way, and the texts there."""
        import numpy as np

        if name not in self.offsets:
            return np.empty(0, np.int64), []
        rows, starts, stops = self.offsets[name].T
        texts = slices(self.data, starts, stops)
        return rows, [text.replace('""', '"') for text in texts] if b'"' in self.data else texts


def cells_of(data: bytes, layout: Layout, schema: Schema, as_lines: bool = False) -> Cells | None:
    """The records of ``data``, which ends with LF and holds no CR; None where no kernel can read them.

    ``Cells.data`` has them with commas between cells, and without the quotes that no cell needs.
    ``as_lines``: no cell may hold an LF.
    """
    if compiled.library() is None or len(data) > LARGEST:
        return None
    plain = _unquoted(data, layout.delimiter, as_lines)
    return None if plain is None else _reader(layout, schema).read(plain)


def _unquoted(data: bytes, delimiter: str, as_lines: bool) -> bytes | None:
    """The same records as ``csv`` would write them: with commas, and no quotes but those that cells need.

    None where a quote is out of place, or where a record is one empty cell in quotes.
    """
    if delimiter == "," and b'"' not in data:
        return data
    import numpy as np

    plain = np.empty(len(data) if delimiter == "," else 2 * len(data), np.uint8)
    size = compiled.library().unquote(data, len(data), ord(delimiter), as_lines, plain.ctypes)
    return None if size < 0 else plain[:size].tobytes()


@functools.lru_cache(maxsize=16)
def _reader(layout: Layout, schema: Schema) -> _Reader:
    return _Reader(layout, schema)


def _decimal_mark(feature: Feature) -> str | None:
    """What parts a number's whole part from the rest; None of what is no number, or one with a sign.

    The kernel reads numbers without thousands, and leaves others to Python.
    """
    if feature.kind not in ("integer", "number"):
        return None
    if feature.format is None:
        return "."
    spelled = spelling(feature.format)
    return None if spelled is None or spelled.sign else spelled.decimal


class _Reader:
    """What the kernel is told of a table's columns, once: any thread may use it."""

    def __init__(self, layout: Layout, schema: Schema) -> None:
        import numpy as np

        self._columns = np.zeros((len(layout.header), 7), np.int64)
        self._names = {layout.positions[feature.name]: feature.name for feature in schema.features}
        self._numbers: list[str] = []
        self._codes: list[str] = []
        texts: list[bytes] = []
        is_known: list[bool] = []
        slots, reader = 0, series_of(schema)
        for feature in schema.features:
            column = self._columns[layout.positions[feature.name]]
            known = reader.known(feature)
            if known:
                size = 1 << (2 * len(known)).bit_length()
                column[:] = compiled.CODED, len(self._codes), 0, 0, slots, size - 1, len(texts)
                self._codes.append(feature.name)
                texts += [text.encode() for text in known]
                is_known += [text != "" or feature.nullable or "" in feature.categories for text in known]
                slots += size
            elif (mark := _decimal_mark(feature)) is not None:
                kind = compiled.INTEGER if feature.kind == "integer" else compiled.NUMBER
                column[:4] = kind, len(self._numbers), feature.nullable, ord(mark)
                self._numbers.append(feature.name)
        self._texts = b"".join(texts)
        self._levels = np.cumsum([0, *map(len, texts)], dtype=np.int64)
        self._slots = np.zeros(slots, np.int32)
        entered = np.array(is_known, np.uint8)
        for feature in schema.features:
            column = self._columns[layout.positions[feature.name]]
            if column[0] == compiled.CODED:
                count = len(reader.known(feature))
                words = (self._levels.ctypes, entered.ctypes, count, self._slots.ctypes)
                compiled.library().enter(column.ctypes, self._texts, *words)

    def read(self, data: bytes) -> Cells:
        import numpy as np

        ends = int(np.count_nonzero(np.frombuffer(data, np.uint8) == LF))
        # A row has a byte for each cell at least; a record that turns out to be none is begun as one.
        room = min(ends, len(data) // len(self._columns) + 1)
        numbers = np.empty((len(self._numbers), room))
        codes = np.empty((len(self._codes), room), np.int32)
        starts, stops, others, widths = (np.empty(ends, np.int64) for _ in range(4))
        odd = np.empty((room * (len(self._numbers) + len(self._codes)), 4), np.int32)
        counts = np.empty(4, np.int64)
        compiled.library().read_rows(
            data,
            len(data),
            self._columns.ctypes,
            len(self._columns),
            compiled.powers().ctypes,
            self._texts,
            *(each.ctypes for each in (self._levels, self._slots)),
            room,
            *(each.ctypes for each in (numbers, codes, starts, stops, others, widths, odd, counts)),
        )
        rows, records, few, odds = counts.tolist()
        return Cells(
            data,
            starts[:records],
            stops[:records],
            others[:few],
            widths[:few],
            {name: numbers[index, :rows] for index, name in enumerate(self._numbers)}
            | {name: codes[index, :rows] for index, name in enumerate(self._codes)},
            self._by_name(odd[:odds]),
        )

    def _by_name(self, odd: np.ndarray) -> dict[str, np.ndarray]:
        """The cells of each column, of which the kernel gives those of all, row after row."""
        import numpy as np

        columns = odd[:, 1]
        which = np.unique(columns).tolist()
        return {self._names[each]: odd[columns == each][:, [0, 2, 3]] for each in which}
