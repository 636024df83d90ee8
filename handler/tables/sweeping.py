"""A block of CSV becomes rows, all rows at once.

Where it is compiled, the kernel reads a block in which every quote is in place, unless lines end in CR LF
and cells hold line ends. Of others, polars reads the rows that are as wide as the header. ``schema`` says
which values are sound.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.categories import Coded
from handler.errors import NAMED, InvalidRecords, Problem
from handler.manifest import Feature
from handler.schema import LONGEST_VALUE, InvalidValue, Schema, parse_text, problem
from handler.tables.cells import Cells, cells_of
from handler.tables.regular import Records, frame, is_plain, is_utf8, records_at, regular, with_lf
from handler.tables.rows import At, Block, Layout, Lines, Refusal, Rejects, Rows, refused, wrong_width
from handler.tables.series import Series, series_of, sound_columns

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

#: Different texts of a column about which the schema is asked one by one. For more, polars is worth the
#: tenth of a second in which it is loaded.
FEW_TEXTS = 256


def sweep(block: Block, layout: Layout, schema: Schema) -> Rows | None:
    """Read a block all rows at once; None if only ``csv.reader`` reads it right."""
    data = with_lf(block.data)
    if data is not None:
        # Were an LF in a cell, it might have been CR LF.
        read = cells_of(data, layout, schema, as_lines=b"\r" in block.data)
        if read is not None:
            return _by_kernel(block.line, data, read, layout, schema)
    elif b'"' not in block.data:
        return None
    return _by_polars(block, layout, schema)


class _Column(NamedTuple):
    """A column's values, and the ``rows`` of which the schema is to be asked about the ``texts``."""

    values: Any
    rows: np.ndarray
    texts: list[str]


def _by_kernel(line: int, data: bytes, read: Cells, layout: Layout, schema: Schema) -> Rows | None:
    """The rows of a block that starts on ``line``, as the kernel has read them; None as for ``sweep``.

    ``data``: the block, with LF only. Polars reads the columns that the kernel leaves: texts, dates, and
    numbers with a sign.
    """
    if not (read.data.isascii() or is_utf8(read.data)):
        return None
    whole = Records(read.data, read.starts, read.stops, read.others, read.widths)
    lines = Lines(read.data, whole.of_rows(read.starts), whole.of_rows(read.stops))
    left = [layout.positions[each.name] for each in schema.features if each.name not in read.values]
    table = _texts_of(lines, layout, left) if left else None
    if left and table is None:
        return None
    reader = series_of(schema)

    def column(feature: Feature) -> _Column:
        if table is not None and feature.name not in read.values:
            series = table[f"column {layout.positions[feature.name]}"]
            return _of_series(series, *reader.parse(feature, series))
        values = reader.of_codes(feature, read.values[feature.name])
        return _asked(reader, feature, values, *read.odd(feature.name))

    at = partial(whole.at, line) if data is read.data else partial(records_at, data, layout.delimiter, line)
    return _judged(layout, schema, whole, column, lines, at)


def _texts_of(lines: Lines, layout: Layout, positions: Iterable[int]) -> pl.DataFrame | None:
    """Some columns of rows, as texts; None if polars does not read them right."""
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
        table = frame(data, ",", names, b'"' in data, columns=sorted(positions))
    except (pl.exceptions.PolarsError, OSError):
        return None
    return table if table.height == lines.starts.size else None


def _by_polars(block: Block, layout: Layout, schema: Schema) -> Rows | None:
    """The rows of a block, as polars reads them; None as for ``sweep``."""
    import numpy as np
    import polars as pl

    table = regular(block.data, layout)
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
    if table.records.others.size and not is_utf8(table.records.data):
        return None  # of the other records, polars has seen none
    has_long = numbers and table.longest() > LONGEST_VALUE
    sound_numbers = {} if has_long else _sound_numbers(layout, schema, cells, numbers)
    reader = series_of(schema)
    codes = reader.codes(cells, {name: f"column {layout.positions[name]}" for name in schema.names})

    def column(feature: Feature) -> _Column:
        if feature.name in sound_numbers:
            return _Column(sound_numbers[feature.name], np.empty(0, np.int64), [])
        position = layout.positions[feature.name]
        series = cells[f"column {position}"]
        values, doubtful = reader.parse(feature, series, codes.get(feature.name))
        if position not in numbers:
            return _of_series(series, values, doubtful)
        if has_long or series.null_count():
            lengths = table.lengths(position)
            odd = (lengths > LONGEST_VALUE) | (series.is_null().to_numpy() & (lengths > 0))
            doubtful = odd if doubtful is None else doubtful | odd
        rows = np.empty(0, np.int64) if doubtful is None else np.flatnonzero(doubtful)
        return _asked(reader, feature, values, rows, table.cells(rows, position))

    return _judged(layout, schema, table.records, column, text, partial(table.records.at, block.line))


def _of_series(texts: pl.Series, values: Any, doubtful: np.ndarray | None) -> _Column:
    """A column of which the schema has parsed the ``texts``."""
    import numpy as np

    rows = np.empty(0, np.int64) if doubtful is None else np.flatnonzero(doubtful)
    return _Column(values, rows, texts.gather(rows).to_list())


def _asked(reader: Series, feature: Feature, values: Any, rows: np.ndarray, texts: list[str]) -> _Column:
    """A column, when the schema has parsed the ``texts`` of some ``rows``.

    Most of them may be sound, and only spelled otherwise. Where few are different, each is asked about
    once: of a category here, of other columns by ``_Faults.settled``.
    """
    import numpy as np

    different = set(texts)
    if not different or (feature.kind != "category" and len(different) <= FEW_TEXTS):
        return _Column(values, rows, texts)
    if len(different) <= FEW_TEXTS:
        some, refused = _categories(reader, feature, texts)
    else:
        import polars as pl

        some, refused = reader.parse(feature, pl.Series(texts, dtype=pl.String))
    if isinstance(some, Coded):
        codes = values.codes.copy()
        codes[rows] = some.codes
        values = Coded(codes, some.levels)
    else:
        values = values.copy()
        values[rows] = some
    left = np.empty(0, np.int64) if refused is None else np.flatnonzero(refused)
    return _Column(values, rows[left], [texts[each] for each in left.tolist()])


def _categories(reader: Series, feature: Feature, texts: list[str]) -> tuple[Coded, np.ndarray | None]:
    """``Series.parse`` of a category of few different texts, without polars."""
    import numpy as np

    known, more = reader.code_of(feature), dict[str, int]()
    codes: dict[str, int] = {}
    for text in sorted(set(texts)):
        try:
            category = str(parse_text(feature, text))
        except InvalidValue:
            codes[text] = -1
            continue
        code = known.get(category)
        codes[text] = more.setdefault(category, len(known) + len(more)) if code is None else code
    given = np.array([codes[text] for text in texts], np.int32)
    return Coded(given, (*reader.known(feature), *more)), given < 0


def _judged(
    layout: Layout,
    schema: Schema,
    whole: Records,
    column: Callable[[Feature], _Column],
    text: Lines | pl.DataFrame,
    at: At,
) -> Rows:
    """The rows of a block, as ``schema`` judges the ``column`` of each feature.

    ``text``: the rows' own. ``at``: see ``Rejects``.
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
    rejects = Rejects(indices[order].tolist(), which[order].tolist(), refusals, at)
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
