"""A block of CSV becomes rows.

A block without quotes is read by the kernel, where it is compiled. Else, one in which every quote is in
place is read by polars in one sweep, all rows that are as wide as the header; any other block goes through
``csv.reader`` row by row. All ways give the same rows. ``schema`` says which values are sound.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.bundle import Feature
from handler.categories import Coded
from handler.errors import NAMED, InvalidRecords, Problem
from handler.schema import LONGEST_VALUE, InvalidValue, Record, Schema, parse_text, problem, sound_columns
from handler.tables import records
from handler.tables.cells import Cells, cells_of
from handler.tables.rows import Block, Layout, Lines, Refusal, Rejects, Rows, judge, refused, wrong_width

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

#: Below this size, a block is read row by row.
SMALL = records.SMALL
#: Rows of a block from which on polars is worth what it takes for each column, some 30 microseconds.
FEW_ROWS = 32
#: What polars takes for the start of packed data; a row may start with zlib's ``x^``.
PACKED = (b"x\x01", b"x^", b"x\x9c", b"x\xda", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")
LF = 0x0A


def read(block: Block, layout: Layout, schema: Schema, every_row: bool = False) -> Rows:
    """Read a block; ``every_row`` keeps the cells of rejected rows in ``Rows.text`` too.

    Raises ``InvalidCsv`` where the bytes are not UTF-8 or a quote is never closed.
    """
    rows = None
    if not every_row and len(block.data) >= SMALL:
        rows = _sweep(block, layout, schema)
    return rows or _walk(block, layout, schema)


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

    table = _regular(block.data, layout)
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


class _Records(NamedTuple):
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
        return lines.tolist(), _slices(self.data, starts, stops)


class _Regular(NamedTuple):
    """The records of a block in which every quote is in place.

    ``data``: the rows, each with an LF at its end. ``ends``: the offsets in it at which their cells end,
    shape (rows, columns). ``quotes``: whether there are any.
    """

    records: _Records
    data: bytes
    ends: np.ndarray
    quotes: bool

    def cells(self, rows: np.ndarray, position: int) -> list[str]:
        """The texts in one column of some rows."""
        ends = self.ends.reshape(-1)
        last = rows * self.ends.shape[1] + position
        starts = ends[last - 1] + 1
        starts[last == 0] = 0
        texts = _slices(self.data, starts, ends[last])
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


def _slices(data: bytes, starts: np.ndarray, stops: np.ndarray) -> list[str]:
    """The texts from each of ``starts`` to each of ``stops``."""
    each = zip(starts.tolist(), stops.tolist(), strict=True)
    return [data[start:stop].decode() for start, stop in each]


def _with_lf(data: bytes) -> bytes | None:
    """The block with LF at the end of each line, the last one too; None if a CR stands alone."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
        if b"\r" in data:
            return None
    return data if data.endswith(b"\n") else data + b"\n"  # else polars drops an empty cell at the very end


def _regular(block: bytes, layout: Layout) -> _Regular | None:
    """The records of a block; None if only ``csv.reader`` reads them right."""
    import numpy as np

    quotes = b'"' in block
    if quotes and b"\r" in block:
        codes = np.frombuffer(block, np.uint8)
        inside = records.quoted(codes, layout.delimiter)
        if inside is None or (codes[inside] == 0x0D).any():
            return None
    data = _with_lf(block)
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
            regular = _Regular(_Records(data, starts, stops, none, none), data, table, quotes)
            return regular if is_plain(data) else None
    return _without_others(data, ends, line_ends, width, quotes)


def _without_others(
    data: bytes, ends: np.ndarray, line_ends: np.ndarray, width: int, quotes: bool
) -> _Regular | None:
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
    whole = _Records(data, starts, stops, np.flatnonzero(others), widths[others])
    return _Regular(whole, kept, table, quotes)


def _sweep(block: Block, layout: Layout, schema: Schema) -> Rows | None:
    """Read a block all rows at once; None if only ``csv.reader`` reads it right."""
    if b'"' not in block.data:
        data = _with_lf(block.data)
        if data is None:
            return None
        read = cells_of(data, layout, schema)
        if read is not None:
            return _by_kernel(block.line, read, layout, schema)
    return _by_polars(block, layout, schema)


class _Column(NamedTuple):
    """A column's values, and the ``rows`` of which the schema is to be asked about the ``texts``."""

    values: Any
    rows: np.ndarray
    texts: list[str]


def _by_kernel(line: int, read: Cells, layout: Layout, schema: Schema) -> Rows | None:
    """The rows of a block that starts on ``line``, as the kernel has read them; None as for ``_sweep``.

    Columns that it leaves, as those of texts and of dates, polars reads.
    """
    if not (read.data.isascii() or _is_utf8(read.data)):
        return None
    whole = _Records(read.data, read.starts, read.stops, read.others, read.widths)
    lines = Lines(read.data, whole.of_rows(read.starts), whole.of_rows(read.stops))
    left = [layout.positions[each.name] for each in schema.features if each.name not in read.values]
    as_lines = layout.delimiter == ","
    table = None
    if left or not as_lines:
        table = _texts_of(lines, layout, left if as_lines else range(len(layout.header)))
        if table is None:
            return None

    def column(feature: Feature) -> _Column:
        if table is not None and feature.name not in read.values:
            series = table[f"column {layout.positions[feature.name]}"]
            return _of_series(series, *schema.parse_series(feature, series))
        values = schema.of_codes(feature, read.values[feature.name])
        return _asked(schema, feature, values, *read.odd(feature.name))

    return _judged(line, layout, schema, whole, column, lines if as_lines or table is None else table)


def _texts_of(lines: Lines, layout: Layout, positions: Iterable[int]) -> pl.DataFrame | None:
    """Some columns of rows without quotes, as texts; None if polars does not read them right."""
    import numpy as np
    import polars as pl

    data = lines.data
    if int((lines.stops - lines.starts).sum()) + lines.starts.size < len(data):
        inside = np.zeros(len(data) + 1, np.int8)
        inside[lines.starts] += 1
        inside[lines.stops + 1] -= 1
        data = np.frombuffer(data, np.uint8)[np.cumsum(inside[:-1], dtype=np.int8) > 0].tobytes()
    if not is_plain(data):
        return None
    names = {f"column {position}": pl.String for position in range(len(layout.header))}
    try:
        table = frame(data, layout.delimiter, names, quotes=False, columns=sorted(positions))
    except (pl.exceptions.PolarsError, OSError):
        return None
    return table if table.height == lines.starts.size else None


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _by_polars(block: Block, layout: Layout, schema: Schema) -> Rows | None:
    """The rows of a block, as polars reads them; None as for ``_sweep``."""
    import numpy as np
    import polars as pl

    table = _regular(block.data, layout)
    if table is None:
        return None
    wanted = {layout.positions[feature.name]: feature for feature in schema.features}
    types: dict[str, Any] = {f"column {position}": pl.String for position in range(len(layout.header))}
    as_lines = not table.quotes and layout.delimiter == ","
    numbers = {
        position: pl.Int64 if feature.kind == "integer" else pl.Float64
        for position, feature in wanted.items()
        if as_lines and feature.kind in ("integer", "number") and feature.format is None
    }
    try:
        if as_lines:  # cells first: after the lines, they take twice as long
            types |= {f"column {position}": kind for position, kind in numbers.items()}
            some = {"columns": sorted(wanted)} if len(wanted) < len(types) else {}
            # What is not a number becomes null.
            cells = frame(table.data, ",", types, quotes=False, ignore_errors=True, **some)
            text = frame(table.data, "\x00", {"line": pl.String}, quotes=False)
        else:
            cells = text = frame(table.data, layout.delimiter, types, table.quotes)
    except (pl.exceptions.PolarsError, OSError):
        return None
    if not cells.height == text.height == len(table.ends):
        return None
    if table.records.others.size and not _is_utf8(table.records.data):
        return None  # of the other records, polars has seen none
    has_long = numbers and table.longest() > LONGEST_VALUE
    sound_numbers = {} if has_long else _sound_numbers(layout, schema, cells, numbers)
    codes = schema.codes(cells, {name: f"column {layout.positions[name]}" for name in schema.names})

    def column(feature: Feature) -> _Column:
        if feature.name in sound_numbers:
            return _Column(sound_numbers[feature.name], np.empty(0, np.int64), [])
        position = layout.positions[feature.name]
        series = cells[f"column {position}"]
        values, doubtful = schema.parse_series(feature, series, codes.get(feature.name))
        if position not in numbers:
            return _of_series(series, values, doubtful)
        if has_long or series.null_count():
            lengths = table.lengths(position)
            odd = (lengths > LONGEST_VALUE) | (series.is_null().to_numpy() & (lengths > 0))
            doubtful = odd if doubtful is None else doubtful | odd
        rows = np.empty(0, np.int64) if doubtful is None else np.flatnonzero(doubtful)
        return _asked(schema, feature, values, rows, table.cells(rows, position))

    return _judged(block.line, layout, schema, table.records, column, text)


def _of_series(texts: pl.Series, values: Any, doubtful: np.ndarray | None) -> _Column:
    """A column of which the schema has parsed the ``texts``."""
    import numpy as np

    rows = np.empty(0, np.int64) if doubtful is None else np.flatnonzero(doubtful)
    return _Column(values, rows, texts.gather(rows).to_list())


def _asked(schema: Schema, feature: Feature, values: Any, rows: np.ndarray, texts: list[str]) -> _Column:
    """A column, when the schema has parsed the ``texts`` of some ``rows``, unless these are few.

    Most of them may be sound, and only spelled otherwise.
    """
    import numpy as np

    if not rows.size or (feature.kind != "category" and rows.size <= FEW_ROWS):
        return _Column(values, rows, texts)
    import polars as pl

    some, doubtful = schema.parse_series(feature, pl.Series(texts, dtype=pl.String))
    if isinstance(some, Coded):
        codes = values.codes.copy()
        codes[rows] = some.codes
        values = Coded(codes, some.levels)
    else:
        values = values.copy()
        values[rows] = some
    left = np.empty(0, np.int64) if doubtful is None else np.flatnonzero(doubtful)
    return _Column(values, rows[left], [texts[each] for each in left.tolist()])


def _judged(
    line: int,
    layout: Layout,
    schema: Schema,
    whole: _Records,
    column: Callable[[Feature], _Column],
    text: Lines | pl.DataFrame,
) -> Rows:
    """The rows of a block that starts on ``line``, as ``schema`` judges the ``column`` of each feature.

    ``text``: the rows' own.
    """
    import numpy as np

    columns: dict[str, Any] = {}
    faults = _Faults()
    for feature in schema.features:
        values, rows, texts = column(feature)
        columns[feature.name] = faults.settled(feature, values, rows, texts) if rows.size else values
    rows, which, refusals = faults.refusals()
    records = whole.of_rows(np.arange(whole.starts.size))
    if rows.size:
        sound = np.ones(records.size, bool)
        sound[rows] = False
        columns, text = {name: values[sound] for name, values in columns.items()}, text.filter(sound)
    if whole.others.size:
        widths, each = np.unique(whole.widths, return_inverse=True)
        which = np.append(which, each + len(refusals))
        refusals += [wrong_width(width, len(layout.header)) for width in widths.tolist()]
    indices = np.append(records[rows], whole.others)
    order = np.argsort(indices)
    rejects = Rejects(indices[order].tolist(), which[order].tolist(), refusals, partial(whole.at, line))
    return Rows(whole.starts.size, columns, rejects, text)


class _Faults:
    """What ``schema`` refuses in a block, one column after the other."""

    def __init__(self) -> None:
        #: Every problem once, with its number.
        self._problems: dict[Problem, int] = {}
        #: Of each column that has any, the rows and the numbers of their problems.
        self._columns: list[tuple[np.ndarray, np.ndarray]] = []

    def settled(self, feature: Feature, values: Any, rows: np.ndarray, texts: list[str]) -> Any:
        """The values of a column, when the schema has been asked about the ``texts`` of some ``rows``.

        Each distinct text is asked about once. What is refused is kept. None of a category's is accepted.
        """
        import numpy as np

        distinct: dict[str, int] = {}
        which = np.array([distinct.setdefault(text, len(distinct)) for text in texts], np.int64)
        answers, problems = np.empty(len(distinct), object), np.full(len(distinct), -1)
        for index, text in enumerate(distinct):
            try:
                answers[index] = parse_text(feature, text)
            except InvalidValue as error:
                number = len(self._problems)
                problems[index] = self._problems.setdefault(problem(feature, error), number)
        accepted = problems[which] < 0
        if accepted.any():
            values = values.copy()
            values[rows[accepted]] = answers[which[accepted]]
        if not accepted.all():
            self._columns.append((rows[~accepted], problems[which[~accepted]]))
        return values

    def refusals(self) -> tuple[np.ndarray, np.ndarray, list[Refusal]]:
        """The rows with problems, in order, which refusal each has, and the refusals."""
        import numpy as np

        if not self._columns:
            return np.empty(0, np.int64), np.empty(0, np.int64), []
        rows = np.unique(np.concatenate([rows for rows, _ in self._columns]))
        # The problems that a reason names, in their order, and how many there are.
        found = np.zeros((len(rows), min(len(self._columns), NAMED) + 1), np.int32)
        for some, numbers in self._columns:
            some = np.searchsorted(rows, some)
            counts = found[some, -1]
            few = counts < NAMED
            found[some[few], counts[few]] = numbers[few]
            found[some, -1] = counts + 1
        kinds: dict[bytes, int] = {}  # tuples would keep the garbage collector busy
        each = found.view(f"V{found[:1].nbytes}").ravel().tolist()
        which = np.array([kinds.setdefault(kind, len(kinds)) for kind in each])
        problems = list(self._problems)
        refusals = []
        for kind in kinds:
            *named, count = np.frombuffer(kind, np.int32).tolist()
            listed = [problems[number] for number in named[:count]]
            refusals.append(refused(InvalidRecords(listed, count - len(listed))))
        return rows, which, refusals


def _sound_numbers(
    layout: Layout, schema: Schema, cells: pl.DataFrame, numbers: Container[int]
) -> dict[str, np.ndarray]:
    """The columns that were read as numbers, and hold nothing but sound ones, by their features."""
    import numpy as np

    features = [each for each in schema.features if layout.positions[each.name] in numbers]
    if not features:
        return {}
    names = [f"column {layout.positions[each.name]}" for each in features]
    values = np.asarray(cells[names].to_numpy(), np.float64)
    sound = sound_columns(features, values).tolist()
    return {each.name: values[:, index] for index, each in enumerate(features) if sound[index]}


def _walk(block: Block, layout: Layout, schema: Schema) -> Rows:
    """Read a block row by row with ``csv.reader``."""
    text = records.text_of(block, layout.delimiter)
    sound: list[Record] = []
    rejected: dict[int, Refusal] = {}
    lines: list[int] = []
    raws: list[str] = []
    texts: list[list[str]] = []
    for line, raw, cells in records.records(text, layout.delimiter, block.line):
        if not cells:
            continue
        judged = judge(cells, layout, schema)
        if isinstance(judged, Refusal):
            rejected[len(texts)] = judged
        else:
            sound.append(judged)
        lines.append(line)
        raws.append(raw.rstrip("\r\n"))
        texts.append(cells)

    def at(indices: Sequence[int]) -> tuple[list[int], list[str]]:
        return [lines[index] for index in indices], [raws[index] for index in indices]

    refusals = list(rejected.values())
    rejects = Rejects(list(rejected), range(len(refusals)), refusals, at)
    return Rows(len(texts), schema.columns(sound), rejects, texts)
