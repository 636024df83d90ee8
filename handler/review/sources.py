"""The tables of predictions and of what really came, read as streams: the columns that are needed alone.

Scored tables are read by the same code. Rows that do not count are counted, by the reason.
"""

from __future__ import annotations

import collections
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from handler import dates
from handler.batch.goals import REJECT_COLUMNS
from handler.batch.naming import PART_PREDICTIONS, PREDICTIONS, SUMMARY, is_part
from handler.errors import FunctionError
from handler.faults import NoObject
from handler.manifest import Label, Manifest
from handler.review import history
from handler.schema import BLANKS, BOOLEANS, LONGEST_VALUE, clean_name, is_number
from handler.scoring import outputs
from handler.spelling import MISSING_NUMBERS_OF_TARGETS, MISSING_TEXTS_OF_TARGETS, format_of, spelling
from handler.storage.locations import Location
from handler.storage.storage import Storage
from handler.tables import records, regular
from handler.tables.compression import inflated
from handler.tables.encodings import Utf8
from handler.tables.errors import InvalidCsv
from handler.tables.header import header
from handler.tables.rows import Block, Layout
from handler.tables.writing import free_names
from handler.terminal import near

if TYPE_CHECKING:
    import polars as pl

#: Bytes of a table that are parsed at once.
BLOCK = 8 << 20
#: In the place of the index of a class: the cell is empty or a word for that, or holds another label.
MISSING, UNKNOWN = -1, -2


class Question(NamedTuple):
    """Which columns are read: those that join (``on``), the truth's ``target``, and perhaps a date.

    ``format``: the date's, in strptime's directives; None: ISO 8601.
    """

    on: tuple[str, ...]
    target: str
    date: str | None = None
    format: str | None = None

    @property
    def keys(self) -> list[str]:
        """What the columns that join are called in frames."""
        return [f"key {number}" for number in range(len(self.on))]


class Table(NamedTuple):
    """The columns that were read: ``frame`` has those that join, the values, and perhaps a ``day``.

    ``tally``: how many rows there are, and how many of them do not count, by the reason. ``columns``: the
    names of all columns. ``line``: of the first label that the model does not know.
    """

    frame: pl.DataFrame
    tally: dict[str, int]
    columns: list[str]
    line: int | None = None


def files(
    word: str, manifest: Manifest, storage: Storage
) -> tuple[list[Location], collections.Counter[str], int]:
    """The tables of predictions that a word names, files left out by the reason, and those unchecked.

    Raises ``FunctionError`` where none is left, or what is named is no summary, and ``NoObject``.
    """
    left_out: collections.Counter[str] = collections.Counter()
    tables: list[Location] = []
    unchecked = 0
    for location in history.named(word, storage):
        is_summary = location.name == SUMMARY
        folder = _above(_above(location)) if is_part(location) else _above(location)
        seen = storage.read(folder.child(SUMMARY))
        if seen is None and is_summary:
            raise NoObject(str(location))
        document = None if seen is None else _summary(seen[0])
        if document is None and is_summary:
            raise FunctionError(f"{location} is not a summary that scoring has written")
        if document is None:
            unchecked += 1
            tables.append(location)
        elif document["model"]["version"] != manifest.version:
            left_out[history.OTHER_MODEL] += 1
        elif document.get("error"):
            left_out[history.REFUSED] += 1
        elif is_summary:
            tables += [folder.child(*name.split("/")) for name in document["outputs"] if _is_table(name)]
        else:
            tables.append(location)
    if not tables:
        raise FunctionError(
            f"no predictions are left to look at: {history.counted(left_out)}; the model is "
            f"{manifest.name} {manifest.version}, and another is named with --model DIR"
        )
    return tables, left_out, unchecked


def _above(location: Location) -> Location:
    return Location(location.scheme, location.bucket, location.key.rpartition("/")[0])


def _is_table(name: str) -> bool:
    return name == PREDICTIONS or name.startswith(f"{PART_PREDICTIONS}/")


def _summary(content: bytes) -> dict[str, Any] | None:
    """A summary of a file that was scored; None if it is something else."""
    try:
        document = json.loads(content)
        sound = isinstance(document["model"]["version"], str) and (
            document.get("error") is not None or isinstance(document["outputs"], dict)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return document if sound else None


class _Block(NamedTuple):
    """Some rows of a table as texts: ``cells`` has the wanted columns; ``line`` of a row, by its index."""

    cells: pl.DataFrame
    line: Callable[[int], int]
    delimiter: str


#: From what a column is called in frames to its position in a table.
_Positions = Mapping[str, int]


def _blocks(
    location: Location, storage: Storage, choose: Callable[[Layout], _Positions]
) -> Iterator[_Block]:
    """The rows of a table, of which ``choose`` says the columns that are wanted; one block at least.

    Raises ``FunctionError`` that names the table.
    """
    import polars as pl

    version = storage.version(location)
    if version is None:
        raise NoObject(str(location))
    ragged: list[tuple[int, int]] = []
    try:
        layout, rest, line = header(Utf8(inflated(storage.stream(location, version))), None)
        wanted = choose(layout)
        positions = sorted(set(wanted.values()))
        named = [pl.col(f"column {position}").alias(name) for name, position in wanted.items()]
        blocks = records.blocks(rest, layout.delimiter, line, BLOCK)
        for block in itertools.chain([Block(b"", line)], blocks):
            cells = regular.texts(block, layout, positions) if block.data else None
            if cells is None:
                cells = regular.walked_texts(block, layout, ragged)
            if ragged:
                first, width = ragged[0]
                raise FunctionError(
                    f"{location}: line {first} has {width} cells and the header has {len(layout.header)}"
                )
            yield _Block(cells.select(named), partial(_line, block, layout.delimiter), layout.delimiter)
    except InvalidCsv as error:
        raise FunctionError(f"{location}: {error}") from error


def _line(block: Block, delimiter: str, index: int) -> int:
    return next(itertools.islice(records.row_texts(block, delimiter), index, None))[0]


def _has(layout: Layout, name: str) -> bool:
    return name in layout.positions or clean_name(name) in layout.positions


def _position(location: Location, layout: Layout, name: str, flag: str) -> int:
    """The position of a column that a person has named; raises ``FunctionError``."""
    if not _has(layout, name):
        raise FunctionError(f"{location} has no column '{name}' ({flag}){near(name, layout.positions)}")
    return layout.positions.get(name, layout.positions.get(clean_name(name), 0))


def _keys(location: Location, layout: Layout, question: Question) -> dict[str, int]:
    """The positions of the columns that join."""
    named = zip(question.keys, question.on, strict=True)
    return {key: _position(location, layout, name, "--on") for key, name in named}


def _day(
    location: Location, layout: Layout, question: Question, frames: list[pl.DataFrame]
) -> dict[str, int]:
    """The position of the date, if the table has it; the first of several decides for all."""
    if question.date is None:
        return {}
    has = "day" in frames[0].columns if frames else _has(layout, question.date)
    return {"day": _position(location, layout, question.date, "--date")} if has else {}


def _outputs(
    location: Location, layout: Layout, names: Sequence[str], manifest: Manifest
) -> dict[str, int]:
    """The positions of the columns that scoring has added: at the end, or wherever they were put since."""
    header = layout.header
    for reasons in range(len(manifest.features) + 1):
        added = outputs.names(manifest, reasons)
        start = len(header) - len(added)
        if start >= 0 and free_names(header[:start], added) == header[start:]:
            return {name: start + index for index, name in enumerate(names)}
    if header == REJECT_COLUMNS:
        raise FunctionError(
            f"{location} has the rejected rows; name the predictions, {PREDICTIONS} beside it"
        )
    lacks = [name for name in names if name not in layout.positions]
    if lacks:
        raise FunctionError(
            f"{location} is not a table that {manifest.name} {manifest.version} has scored: it has no "
            f"column '{lacks[0]}'; the command is: evaluate PREDICTIONS TRUTH --on ID"
        )
    return {name: layout.positions[name] for name in names}


def scored(files: Sequence[Location], question: Question, manifest: Manifest, storage: Storage) -> Table:
    """The predictions: indices of labels, or values, and with them probabilities and a score.

    Raises ``FunctionError`` where a table is not one that the model has scored.
    """
    import polars as pl

    names, labels = outputs.names(manifest), Labels(manifest.classes)
    tally: collections.Counter[str] = collections.Counter()
    frames: list[pl.DataFrame] = []
    columns: list[str] = []

    def choose(location: Location, layout: Layout) -> _Positions:
        columns[:] = layout.positions
        chosen = _outputs(location, layout, names, manifest)  # first, as it knows files that are swapped
        return chosen | _keys(location, layout, question) | _day(location, layout, question, frames)

    for location in files:
        for block in _blocks(location, storage, partial(choose, location)):
            cells = block.cells
            cells = cells.with_columns(
                labels.indices(cells[name])
                if name == "prediction" and manifest.classes
                else pl.col(name).cast(pl.Float64, strict=False)
                for name in names
            )
            rejected = block.cells["prediction"] == ""  # a CSV answer has them too
            sound = (
                cells.select(
                    pl.all_horizontal(
                        pl.col(name) >= 0 if cells[name].dtype == pl.Int32 else pl.col(name).is_finite()
                        for name in names
                    )
                )
                .to_series()
                .fill_null(False)
            )
            if (wrong := ~sound & ~rejected).any():
                raise FunctionError(
                    f"{location}: line {block.line(wrong.arg_max() or 0)} does not hold what "
                    f"{manifest.name} {manifest.version} predicts; was the file scored by another model?"
                )
            without_id = _without_id(cells, question) & sound
            tally.update(rows=cells.height, rejected=int(rejected.sum()), without_id=int(without_id.sum()))
            frames.append(_with_days(cells.filter(sound & ~without_id), question))
    return Table(pl.concat(frames), dict(tally), columns)


def came(files: Sequence[Location], question: Question, manifest: Manifest, storage: Storage) -> Table:
    """The truths, as indices of labels, ``UNKNOWN`` among them, or as numbers.

    Raises ``FunctionError`` where a column is not there, or most values cannot be what the model predicts.
    """
    import polars as pl

    labels = Labels(manifest.classes)
    tally: collections.Counter[str] = collections.Counter()
    frames: list[pl.DataFrame] = []
    columns: list[str] = []
    line: int | None = None

    def choose(location: Location, layout: Layout) -> _Positions:
        columns[:] = layout.positions
        chosen = _keys(location, layout, question) | _day(location, layout, question, frames)
        return {**chosen, "truth": _position(location, layout, question.target, "the target: --target")}

    for location in files:
        parts: list[pl.DataFrame] = []
        for block in _blocks(location, storage, partial(choose, location)):
            cells = block.cells
            if manifest.classes:
                cells = cells.with_columns(labels.indices(cells["truth"]))
                unknown = cells["truth"] == UNKNOWN
                if line is None and unknown.any():
                    line = block.line(unknown.arg_max() or 0)
            without_id = _without_id(cells, question)
            tally.update(rows=cells.height, without_id=int(without_id.sum()))
            parts.append(_with_days(cells.filter(~without_id), question))
        frame = pl.concat(parts)
        if manifest.classes:
            missing, strange = frame["truth"] == MISSING, frame["truth"] == UNKNOWN
            tally.update(without_value=int(missing.sum()), strange=int(strange.sum()))
            frames.append(frame.filter(~missing))
        else:
            values, missing = _quantities(frame["truth"], block.delimiter)
            strange = values.is_null() & ~missing
            tally.update(without_value=int(missing.sum()), unknown=int(strange.sum()))
            frames.append(frame.with_columns(values).filter(values.is_not_null()))
    known = tally["rows"] - tally["without_id"] - tally["without_value"]
    strange_rows = tally.pop("strange", tally["unknown"])
    if 2 * strange_rows > known:
        what = "one of the model's classes" if manifest.classes else "a number"
        raise FunctionError(
            f"{strange_rows:,} of {known:,} values of '{question.target}' are not {what}: if that is not "
            "the target's column, name it with --target"
        )
    return Table(pl.concat(frames), dict(tally), columns, line)


def _without_id(cells: pl.DataFrame, question: Question) -> pl.Series:
    """Which rows have an empty cell in a column that joins."""
    import polars as pl

    return cells.select(pl.any_horizontal(pl.col(question.keys).str.strip_chars(BLANKS) == "")).to_series()


def _with_days(cells: pl.DataFrame, question: Question) -> pl.DataFrame:
    """The rows, whose ``day``, if they have one, becomes days since 1970, or NaN where it is not a date."""
    import numpy as np
    import polars as pl

    if "day" not in cells.columns:
        return cells
    if not cells.height:
        return cells.with_columns(cells["day"].cast(pl.Float64))
    texts = cells["day"].unique()
    days = np.floor(dates.parse_series(question.format, texts.str.strip_chars(BLANKS)) / dates.DAY)
    return cells.with_columns(cells["day"].replace_strict(texts, days, return_dtype=pl.Float64))


class Labels:
    """The classes as texts spell them: as they are, or in another spelling of that number or boolean."""

    def __init__(self, classes: Sequence[Label]) -> None:
        names = [str(each).strip(BLANKS) for each in classes]
        numeric = all(map(is_number, names))
        numbers = {float(name): index for index, name in enumerate(names)} if numeric else {}
        booleans = {BOOLEANS.get(name.lower()): index for index, name in enumerate(names)}
        self._indices = {name: index for index, name in enumerate(names)}
        self._numbers = numbers if len(numbers) == len(names) else {}
        self._booleans = booleans if None not in booleans and len(booleans) == len(names) else {}
        self._missing = {"", *(MISSING_NUMBERS_OF_TARGETS if numeric else MISSING_TEXTS_OF_TARGETS)}

    def index(self, text: str) -> int:
        """The index of the class that a text spells, or ``MISSING`` or ``UNKNOWN``."""
        text = text.strip(BLANKS)
        if text in self._indices:
            return self._indices[text]
        lower = text.lower()
        if lower in self._missing:
            return MISSING
        number = float(text) if len(text) <= LONGEST_VALUE and is_number(text) else None
        if number in self._numbers:
            return self._numbers[number]
        return self._booleans.get(BOOLEANS.get(lower, number), UNKNOWN)

    def indices(self, cells: pl.Series) -> pl.Series:
        """The same of a column, under its name."""
        import polars as pl

        if not len(cells):
            return cells.cast(pl.Int32)
        texts = cells.unique()
        found = pl.Series(map(self.index, texts), dtype=pl.Int32)
        return cells.replace_strict(texts, found, return_dtype=pl.Int32)


def _quantities(cells: pl.Series, delimiter: str) -> tuple[pl.Series, pl.Series]:
    """The numbers that texts spell, null where they spell none, and which of the texts are missing values.

    They are plain, or spelled as most of them are; ``delimiter`` is the table's.
    """
    import polars as pl

    texts = cells.str.strip_chars(BLANKS)
    missing = texts.str.to_lowercase().is_in(["", *MISSING_NUMBERS_OF_TARGETS])
    values = texts.cast(pl.Float64, strict=False)
    values = values.set(~values.is_finite().fill_null(True), None)
    if delimiter == ";" or (values.is_null() & ~missing).any():
        distinct = texts.filter(~missing).value_counts()
        format = format_of(distinct[cells.name], delimiter, distinct["count"].to_numpy())
        spelled = None if format is None else spelling(format)
        values = values if spelled is None else spelled.doubles(texts)
    return values.alias(cells.name), missing
