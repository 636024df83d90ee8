"""Files become a table of texts: CSV in what people save it as, packed or not, and Parquet.

Headers, records and encodings are read by the code that serves (``handler.tables``), so that a file which
training takes is one that serving takes, with the same names and the same cells.
"""

from __future__ import annotations

import glob
import hashlib
import io
import itertools
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from handler.tables import records, regular
from handler.tables.compression import PACKED, inflated
from handler.tables.encodings import UTF_8, WINDOWS_1252, Utf8
from handler.tables.errors import InvalidCsv
from handler.tables.header import column_names, header
from handler.tables.rows import Block, Layout
from training.data import memory
from training.errors import TrainingError

#: The names of a folder's data files end so; those of CSV also with what they are packed with.
SUFFIXES = (".csv", ".tsv", ".parquet", ".csv.zip", ".tsv.zip")
#: Bytes that are read, and parsed, at once.
CHUNK, BLOCK = 1 << 20, 8 << 20
#: The files that a message names at most.
NAMED = 3

#: Takes how many bytes are read, and how many there are.
Tick = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of one or more files as text, under names as serving reads them; the empty cell is missing.

    ``cleaned`` holds the header cells that are not their column's name, each with that; ``header`` all of
    them by name, where an unnamed column's is empty. ``files``: the files' names. ``notes``: what to know
    of how they were read. ``sha256``: of the files' bytes, one after the other.
    """

    source: str
    sha256: str
    rows: int
    columns: Mapping[str, pl.Series]
    cleaned: tuple[tuple[str, str], ...]
    synthetic: bool = False
    header: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    delimiter: str = ","

    @property
    def stem(self) -> str:
        """The name of the folder or of the first file, without what says its format."""
        path = Path(self.source if self.source.endswith("/") else (*self.files, self.source)[0])
        return Path(path.stem).stem if path.suffix in (*PACKED, ".zip") else path.stem


@dataclass(frozen=True, slots=True)
class _Part:
    """One file's cells: ``frame`` has a column of text for each of ``cells``, the header's, in order."""

    source: str
    cells: tuple[str, ...]
    frame: pl.DataFrame
    notes: tuple[str, ...] = ()
    delimiter: str = ","

    @property
    def names(self) -> list[str]:
        return self.frame.columns


def read(*paths: Path, fewest: int = 2, tick: Tick = lambda *_: None) -> Table:
    """The rows of files of ``fewest`` columns or more, which all have the same columns in any order.

    A path may be a folder, for all data files in it, or a pattern. Raises ``TrainingError``.
    """
    files = list(itertools.chain.from_iterable(map(_found, paths)))
    digest = hashlib.sha256()
    total = sum(map(_size, files))
    done = 0
    parts: list[_Part] = []

    def chunks(path: Path) -> Iterator[bytes]:
        nonlocal done
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                done += len(chunk)
                tick(done, total)
                yield chunk

    for path in files:
        content = chunks(path)
        try:
            part = _part(content, path.name, fewest)
            for _ in content:  # the digest is of all bytes
                pass
        except FileNotFoundError as error:
            raise TrainingError(f"{path} does not exist") from error
        except OSError as error:
            raise TrainingError(f"{path} cannot be read: {error.strerror or error}") from error
        except MemoryError as error:
            raise TrainingError(memory.too_large(path.name)) from error
        if parts:
            _check_same_columns(parts[0], part)
        parts.append(part)
    folder = paths[0].is_dir() and len(paths) == 1
    names = tuple(path.name for path in files)
    more = f" and {len(names) - NAMED:,} more files" if len(names) > NAMED else ""
    source = f"{paths[0].resolve().name}/" if folder else ", ".join(names[:NAMED]) + more
    return _table(parts, source, digest.hexdigest(), names)


def parse(content: bytes, source: str, *, synthetic: bool = False, fewest: int = 2) -> Table:
    """The table that a file of that content is, ``source`` by name; raises ``TrainingError``."""
    part = _part(iter([content]), source, fewest)
    return _table([part], source, hashlib.sha256(content).hexdigest(), (source,), synthetic)


def _table(
    parts: Sequence[_Part], source: str, sha256: str, files: tuple[str, ...], synthetic: bool = False
) -> Table:
    first = parts[0]
    frame = pl.concat([part.frame.select(first.names) for part in parts])
    if not frame.height:
        raise TrainingError(f"{source} has a header and no rows")
    notes = (note if len(parts) == 1 else f"{part.source}: {note}" for part in parts for note in part.notes)
    cells = dict(zip(first.names, first.cells, strict=True))
    return Table(
        source=source,
        sha256=sha256,
        rows=frame.height,
        columns={name: frame[name] for name in first.names},
        cleaned=tuple((cell, name) for name, cell in cells.items() if cell != name),
        synthetic=synthetic,
        header=cells,
        files=files,
        notes=tuple(notes),
        delimiter=first.delimiter,
    )


def _check_same_columns(first: _Part, other: _Part) -> None:
    lacks = [name for name in first.names if name not in other.names]
    adds = [name for name in other.names if name not in first.names]
    if lacks or adds:
        differences = [f"lacks {_listed(lacks)}"] if lacks else []
        differences += [f"has {_listed(adds)} besides"] if adds else []
        raise TrainingError(
            f"{other.source} has other columns than {first.source}: it {' and '.join(differences)}; files "
            "that are read together need the same columns"
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(f"'{name}'" for name in names[:NAMED]) + more


def _found(path: Path) -> list[Path]:
    """The files that a path stands for: itself, those of a folder, or those of a pattern."""
    if path.is_dir():
        suffixes = (*SUFFIXES, *(f"{kind}{packed}" for kind in (".csv", ".tsv") for packed in PACKED))
        files = [each for each in sorted(path.iterdir()) if each.name.lower().endswith(suffixes)]
        files = [each for each in files if each.is_file() and not each.name.startswith(".")]
        if not files:
            raise TrainingError(
                f"the folder {path} has no data files, such as *.csv, *.csv.gz or *.parquet"
            )
        return files
    if not path.exists() and glob.has_magic(str(path)):
        files = [Path(each) for each in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
        files = [each for each in files if each.is_file()]
        if not files:
            raise TrainingError(f"no file is named like {path}")
        return files
    return [path]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # it is opened later, and the message made there


def _part(chunks: Iterator[bytes], source: str, fewest: int) -> _Part:
    """The cells of one file, by what its first bytes say that it is; raises ``TrainingError``."""
    first = next(chunks, b"")
    whole = itertools.chain([first], chunks)
    if first.startswith(b"PAR1"):
        part = _parquet(b"".join(whole), source)
    elif first.startswith(b"PK\x03\x04"):
        part = _zipped(b"".join(whole), source, fewest)
    else:
        part = _csv(whole, source)
    if len(part.cells) < fewest:
        raise TrainingError(
            f"{source} has one column only; a CSV has commas, semicolons, tabs or pipes between columns"
        )
    return part


def _csv(chunks: Iterable[bytes], source: str) -> _Part:
    frames: list[pl.DataFrame] = []
    ragged: list[tuple[int, int]] = []
    budget = memory.Budget(source)
    try:
        text = Utf8(inflated(iter(chunks)))
        layout, rest, line = header(text, None)
        for block in records.blocks(rest, layout.delimiter, line, BLOCK):
            if b"\0" in block.data:
                raise TrainingError(f"{source} is not a CSV: it holds NUL bytes")
            cells = regular.texts(block, layout)
            if cells is None:
                cells = regular.walked_texts(block, layout, ragged)
            if not ragged:
                budget.spend(cells.height * cells.width, int(cells.estimated_size()))
                frames.append(cells)
    except InvalidCsv as error:
        what = str(error)
        about = what.removeprefix("the file ") if what.startswith("the file ") else f"is not a CSV: {what}"
        raise TrainingError(f"{source} {about}") from error
    names = column_names(layout.header)
    if ragged:
        raise TrainingError(_ragged(ragged, layout, source))
    if not frames and not any(cell.strip() for cell in layout.header):
        raise TrainingError(f"{source} is empty")
    frames = frames or [regular.walked_texts(Block(b"", line), layout, ragged)]
    frame = pl.concat(frames)
    frame.columns = names
    return _Part(source, layout.header, frame, _about_encoding(text.encoding), layout.delimiter)


def _about_encoding(encoding: str) -> tuple[str, ...]:
    if encoding == UTF_8:
        return ()
    check = "; if letters look wrong, save it as UTF-8" if encoding == WINDOWS_1252 else ""
    return (f"the file is read as {encoding}{check}",)


def _ragged(ragged: Sequence[tuple[int, int]], layout: Layout, source: str) -> str:
    line, width = ragged[0]
    more = len(ragged) - 1
    others = f", and {more:,} more {'row differs' if more == 1 else 'rows differ'}" if more else ""
    name = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}[layout.delimiter]
    cure = (
        f"put quotes around a cell with a {name} in it"
        if width > len(layout.header)
        else "give such rows their empty cells"
    )
    return (
        f"{source}: line {line} has {width} cells and the header has {len(layout.header)}{others}; {cure}, "
        "or remove such rows"
    )


def _zipped(content: bytes, source: str, fewest: int) -> _Part:
    """The one data file in a zip archive; raises ``TrainingError`` where there is none, or another."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [each for each in archive.namelist() if not each.endswith("/")]
            if "[Content_Types].xml" in names or "mimetype" in names:
                raise TrainingError(f"{source} is a workbook of Excel or the like; save its sheet as CSV")
            names = [each for each in names if not each.startswith("__MACOSX/")]
            if len(names) != 1:
                raise TrainingError(
                    f"{source} holds {len(names)} files; unpack it, and name those that are the data"
                )
            with archive.open(names[0]) as member:
                return _part(iter(lambda: member.read(CHUNK), b""), f"{source} ({names[0]})", fewest)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise TrainingError(f"{source} is a damaged zip archive; download or pack it again") from error
    except (RuntimeError, NotImplementedError) as error:
        raise TrainingError(f"{source} cannot be unpacked: {error}; unpack it yourself") from error


def _parquet(content: bytes, source: str) -> _Part:
    """A Parquet file's values as a CSV spells them; columns of other types are left out with a note."""
    budget = memory.Budget(source)
    try:
        rows = pl.scan_parquet(io.BytesIO(content)).select(pl.len()).collect().item()
        budget.spend(rows * len(pl.read_parquet_schema(io.BytesIO(content))))
        frame = pl.read_parquet(io.BytesIO(content))
    except (pl.exceptions.PolarsError, OSError) as error:
        raise TrainingError(f"{source} cannot be read as Parquet; write it again") from error
    columns: list[pl.Series] = []
    notes: list[str] = []
    for series in frame:
        spelled = _spelled(series)
        if spelled is None:
            notes.append(
                f"'{series.name}' is left out: it holds {series.dtype}, which no cell of a CSV can"
            )
        else:
            columns.append(spelled)
    cells = tuple(each.name for each in columns)
    texts = [each.alias(name) for each, name in zip(columns, column_names(cells), strict=True)]
    return _Part(source, cells, pl.DataFrame(texts), tuple(notes))


def _spelled(series: pl.Series) -> pl.Series | None:
    """The values as texts that read back to the same values, empty where missing; None for other types."""
    kind = series.dtype
    if kind.is_float():
        series = series.cast(pl.Float64).fill_nan(None)
    elif kind == pl.Datetime:
        zone = getattr(kind, "time_zone", None)
        moment = series.dt.convert_time_zone("UTC") if zone else series
        fraction = "%.6f" if (moment.dt.microsecond() != 0).any() else ""
        series = moment.dt.strftime(f"%Y-%m-%dT%H:%M:%S{fraction}{'Z' if zone else ''}")
    elif kind.is_nested() or kind in (pl.Binary, pl.Object, pl.Duration):
        return None
    return series.cast(pl.String).fill_null("")
