"""A file in parts: ranges of its bytes, each scored by a run of its own, and what joins them in the end.

Every part has a record, ``parts/part-00000.json``: ``first`` and ``next`` say where the rows that it has
scored start and where those of the next part do, ``lines`` how many line ends lie between. The parts are
joined only where each starts where the one before it ends, and all have read one encoding: then no row was
split, lost or read twice (``handler/tables/ranges.py``). A part that fails this is scored again from where
the part before it ends: a guess that was wrong is mended, never believed.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NamedTuple, Self

from handler.batch.naming import MOST_PARTS, PART_PREDICTIONS, PART_RECORDS, PART_REJECTED
from handler.errors import InvalidBody
from handler.schema import Schema
from handler.storage.locations import Location, Version
from handler.storage.storage import Storage
from handler.tables import ranges, records
from handler.tables.compression import Stream, inflated, is_packed
from handler.tables.encodings import UTF_8, UTF_16, WINDOWS_1252, Utf8
from handler.tables.errors import InvalidCsv
from handler.tables.formats import Table, opened

#: Objects asked for at once.
AT_ONCE = 16
#: Bytes after a part's end that are asked for with it: its last record ends there, nearly always.
BEYOND = 64 * 1024
#: Characters of rejects that are written at once, unless one row has more.
AT_A_TIME = 256 * 1024
#: Bytes in which a plan seeks a record at each boundary, of which it reads ``AT_ONCE``. Where there is
#: none, the part's own run seeks on.
SOUGHT = 1024 * 1024
#: Bytes that one processor scores in a second, of a slow model: half of those of 100 trees of depth 8.
RATE = 1_000_000
#: A part is planned to take this share of the function's time, so that a slow one still ends. What other
#: shares, and other sizes, would do is simulated in docs/one-terabyte.md.
SHARE = 1 / 3
#: Megabytes of a Lambda function for each processor. https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
MEGABYTES = 1769
SMALLEST, LARGEST = 16 * 1024 * 1024, 1024 * 1024 * 1024
#: Why a file cannot be split.
PACKED, WIDE = "the file is compressed", "the file is UTF-16"


@dataclass(frozen=True, slots=True)
class Part:
    """The part ``index`` of ``of``: the bytes from ``start`` to before ``end`` of the version ``etag``.

    ``first``: where its first record starts, and ``encoding``: what the file's is, where both are known.
    """

    index: int
    of: int
    start: int
    end: int
    etag: str
    first: int | None = None
    encoding: str | None = None

    @classmethod
    def parse(cls, document: object) -> Self:
        """The part that a JSON object describes; raises ``InvalidBody`` that names the member at fault."""
        if not isinstance(document, Mapping):
            raise InvalidBody("'part' must be an object with index, of, start, end and etag")
        names = [each.name for each in fields(cls)]
        unknown = sorted(str(name) for name in document.keys() - set(names))
        if unknown:
            raise InvalidBody(f"'part' has no member '{unknown[0][:100]}'")
        part = cls(**{name: document.get(name) for name in names})  # type: ignore[arg-type]
        for name in ("index", "of", "start", "end", "first"):
            number = getattr(part, name)
            if not (type(number) is int and 0 <= number < 1 << 63) and (name, number) != ("first", None):
                raise InvalidBody(f"'{name}' of a part must be a whole number of 0 or more")
        if not isinstance(part.etag, str):
            raise InvalidBody("'etag' of a part must be the text that the plan has")
        if part.encoding not in (None, UTF_8, WINDOWS_1252):
            raise InvalidBody(f"'encoding' of a part must be {UTF_8} or {WINDOWS_1252}")
        if not part.index < part.of <= MOST_PARTS:
            raise InvalidBody(f"'index' of a part must be less than 'of', which is {MOST_PARTS:,} at most")
        if part.start > part.end:
            raise InvalidBody("'start' of a part must not be over 'end'")
        return part

    def as_json(self) -> dict[str, Any]:
        """The part as ``parse`` reads it; what is not known is left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @property
    def range(self) -> dict[str, Any]:
        """What makes it this part, whatever is known of its first record."""
        return replace(self, first=None, encoding=None).as_json()

    @property
    def predictions(self) -> str:
        """The name of its predictions, below the folder of the file's outputs."""
        return f"{PART_PREDICTIONS}/part-{self.index:05}.csv"

    @property
    def rejected(self) -> str:
        """The name of its rejects."""
        return f"{PART_REJECTED}/part-{self.index:05}.csv"


def record_name(index: int) -> str:
    """The name of a part's record."""
    return f"{PART_RECORDS}/part-{index:05}.json"


class Head(NamedTuple):
    """What a file starts with: its ``table``, of which the header is read, the offset after it, and why the
    file cannot be split (None: it can)."""

    table: Table
    length: int
    whole: str | None


def head(storage: Storage, input: Location, version: Version, schema: Schema, size: int) -> Head:
    """Read the header of a file, and no more of it than that takes; raises ``InvalidCsv``."""
    chunks = since(storage, input, version, 0, ranges.WINDOW)
    start = next(chunks, b"")
    packed = is_packed(start)
    table = opened(inflated(itertools.chain([start], chunks)), schema, size)
    why = PACKED if packed else WIDE if table.text.encoding == UTF_16 else None
    return Head(table, 0 if why else table.text.length(table.head), why)


def since(storage: Storage, input: Location, version: Version, start: int, soon: int) -> Iterator[bytes]:
    """The bytes from ``start`` on; those after the offset ``soon`` are asked for when they are needed."""
    soon = min(soon, version.size)
    if start < soon:
        yield from storage.stream(input, version, start, soon)
    if max(start, soon) < version.size:
        yield from storage.stream(input, version, max(start, soon), version.size)


class Opened(NamedTuple):
    """A part of which the first record is found: ``table`` gives the blocks of its ``owned`` records."""

    table: Table
    owned: ranges.Owned
    first: int


def opened_part(
    part: Part,
    head: Head,
    size: int,
    most: int,
    chunks: Callable[[int, int], Iterator[bytes]],
) -> Opened:
    """Find the first record of a part of a file of ``most`` bytes.

    ``chunks(start, soon)``: its bytes, see ``since``; ``size``: the bytes of a block (0: as suit it).
    """
    table, end = head.table, min(part.end, most)
    delimiter, soon = table.layout.delimiter, min(end + BEYOND, most)
    line = 1
    if part.first is not None:
        first, body = part.first, chunks(part.first, soon)
    elif part.start <= head.length:
        first, body = head.length, chunks(head.length, soon)
    else:
        first, body = _guessed(
            part.start, chunks(part.start - 1, soon), delimiter, len(table.layout.header)
        )
    if part.index == 0:
        line += records.line_ends(table.head)
    encoding = part.encoding or (table.text.encoding if table.text.known else None)
    text = Utf8(body, inside=True, encoding=encoding)
    size = size or records.block_bytes(len(table.layout.header))
    blocks = records.blocks(iter(text), delimiter, line, size)
    owned = ranges.Owned(blocks, text, first, line, end, delimiter)
    return Opened(Table(table.format, table.layout, b"", iter(owned), text), owned, first)


def _guessed(
    start: int, chunks: Iterator[bytes], delimiter: str, width: int, most: int = ranges.MOST
) -> tuple[int, Iterator[bytes]]:
    """The offset of the first record from ``start`` on, and the bytes from there on.

    ``chunks`` begin with the byte before ``start``. Where no record starts in ``most`` bytes, the offset is
    that after them.
    """
    window, enough, ended = b"", ranges.WINDOW, False
    while True:
        parts, length = [window], len(window)
        while length <= enough and not ended:
            chunk = next(chunks, None)
            ended = chunk is None
            parts.append(chunk or b"")
            length += len(parts[-1])
        window = b"".join(parts)
        # A chunk may be much larger, and a reading of all of it takes as long as scoring some of it.
        found = ranges.first_record(
            window[: enough + 1], delimiter, width, ended and len(window) <= enough + 1
        )
        if found is None and enough >= most:
            found = min(enough, len(window) - 1)
        if found is not None:
            return start + found, itertools.chain([window[found + 1 :]], chunks)
        enough *= 4


def part_bytes(seconds: float, megabytes: int | None) -> int:
    """The bytes of a part that a function of so much time and memory scores safely, even with a slow model.

    ``seconds * SHARE * processors * RATE``, between ``SMALLEST`` and ``LARGEST``.
    """
    processors = max((megabytes or MEGABYTES) / MEGABYTES, 1 / 8)
    return int(min(max(min(seconds, 1e6) * SHARE * processors * RATE, SMALLEST), LARGEST))


def plan(storage: Storage, input: Location, version: Version, schema: Schema, size: int) -> list[Part]:
    """The parts of a file, of about ``size`` bytes each, as far as the file can be split.

    Reads the header, and some bytes at each boundary. A file that cannot be split, or read, is one part.
    """
    size = max(size, -(-version.size // MOST_PARTS), 1)
    starts: list[int] = []
    try:
        top = head(storage, input, version, schema, ranges.WINDOW)
    except InvalidCsv:
        pass  # the run of the part says what is wrong
    else:
        if top.whole is None:
            layout = top.table.layout

            def boundary(start: int) -> int:
                chunks = since(storage, input, version, start - 1, start + ranges.WINDOW)
                return _guessed(start, chunks, layout.delimiter, len(layout.header), SOUGHT)[0]

            wanted = range(size, version.size, size)
            with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="plan") as pool:
                starts = [
                    start for start in pool.map(boundary, wanted) if top.length < start < version.size
                ]
    edges = [0, *sorted(set(starts)), version.size]
    return [
        Part(index, len(edges) - 1, start, end, version.etag)
        for index, (start, end) in enumerate(itertools.pairwise(edges))
    ]


def gathered(
    folder: Location,
    own: Mapping[str, Any],
    read: Callable[[Location], Any],
    fits: Callable[[int, Any], bool],
) -> list[Mapping[str, Any]] | int:
    """The records of all parts of ``own``'s plan, in order; else the index of one that is not there, or
    does not fit.

    They are read from ``own`` on to both sides, its neighbours first: parts are mostly scored in order, so
    a part that looks whether it is the last one finds soon that it is not.
    """
    index, of = int(own["part"]["index"]), int(own["part"]["of"])
    others: list[int] = sorted(
        {*range(of)} - {index}, key=lambda other: min((other - index) % of, (index - other) % of)
    )
    found: dict[int, Mapping[str, Any]] = {index: own}
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="records") as pool:
        for start in (0, *range(2, len(others), AT_ONCE)):
            some = others[start : start + (AT_ONCE if start else 2)]
            documents = pool.map(read, [folder.child(record_name(other)) for other in some])
            for other, document in zip(some, documents, strict=True):
                if document is None or not fits(other, document):
                    return other
                found[other] = document
    return [found[each] for each in range(of)]


def renumbered(chunks: Iterator[bytes], lines: int) -> Iterator[bytes]:
    """The rows of a part's rejects, each with ``lines`` more as its line; without the header."""
    text = io.TextIOWrapper(io.BufferedReader(Stream(chunks)), encoding="utf-8", newline="")
    rows = records.records_of(text, ",", 1)
    next(rows, None)
    written = io.StringIO()
    for _, raw, _ in rows:
        line, _, rest = raw.partition(",")
        written.write(f"{int(line) + lines},{rest}")
        if written.tell() >= AT_A_TIME:
            yield written.getvalue().encode()
            written = io.StringIO()
    yield written.getvalue().encode()


def chained(documents: Sequence[Mapping[str, Any]]) -> Part | InvalidCsv | None:
    """Whether the records of all parts, in order, are one reading of the file: None if they are.

    Else the first part that does not fit, with what is known of it now; or the fault for which the file is
    refused, with the file's own line.
    """
    position, encoding, lines = None, None, 0
    for document in documents:
        part = Part.parse(document["part"])
        known = document["encoding"]
        if (position is not None and document["first"] != position) or (
            encoding is not None and known not in (None, encoding)
        ):
            return replace(part, first=position, encoding=encoding)
        if document.get("error"):
            code, rule, line = (document["error"][name] for name in ("code", "rule", "line"))
            return InvalidCsv(code, rule, None if line is None else line + lines)
        encoding, position = encoding or known, document["next"]
        lines += document["lines"]
    return None


def gap(documents: Sequence[Mapping[str, Any]], size: int) -> int | None:
    """The first part of a file of ``size`` bytes that does not begin where the one before it ends."""
    end = 0
    for index, document in enumerate(documents):
        part = document["part"]
        if part["start"] != end or part["of"] != len(documents):
            return index
        end = part["end"]
    return len(documents) - 1 if end < size else None
