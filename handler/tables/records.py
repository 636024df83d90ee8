"""Where the records of a CSV end, and the blocks of whole records that a stream is cut into.

Python's ``csv`` module defines what a record is: its ``reader`` says where a record ends, what its cells
are and on which line it starts. Blank lines are not records, as for ``csv.DictReader``. A line number is
that of the physical line on which a record starts; the header's is 1.
"""

from __future__ import annotations

import collections
import csv
import io
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from handler.tables.errors import InvalidCsv
from handler.tables.rows import Block

if TYPE_CHECKING:
    import numpy as np

#: A record over this many bytes is taken for a quote that was never closed.
LONGEST_RECORD = 16 * 1024 * 1024
#: A cell in a line of its own after a text, by which a quote that is still open there shows.
SENTINEL = "\x00end\x00"
BOM = b"\xef\xbb\xbf"
#: Below this size, what Python does is over before numpy, or polars, would be imported.
SMALL = 64 * 1024

#: The bytes of a block: some at least, and for each column as many more as it takes to be begun, up to a
#: limit. Measured beside others, as three workers for two processors: ``make bench PARTS=choices``.
BLOCK_BYTES, FOR_EACH_COLUMN, MOST_BLOCK_BYTES = 768 * 1024, 40 * 1024, 1536 * 1024

csv.field_size_limit(sys.maxsize if sys.maxsize < 1 << 31 else (1 << 31) - 1)


def block_bytes(columns: int) -> int:
    """The bytes of a block that suit a table of so many columns."""
    return min(BLOCK_BYTES + FOR_EACH_COLUMN * columns, MOST_BLOCK_BYTES)


def blocks(chunks: Iterable[bytes], delimiter: str, line: int, size: int) -> Iterator[Block]:
    """Cut a stream of bytes (any lengths) into blocks of about ``size`` bytes at record boundaries.

    ``line`` is the number of the line on which the stream starts. Raises ``InvalidCsv`` for a
    record over ``LONGEST_RECORD`` bytes.
    """
    rest, enough = b"", size
    for chunk in chunks:
        rest += chunk
        start = 0
        while len(rest) - start >= enough:
            end = boundary(rest, delimiter, start, start + enough)
            if end > start:
                block = rest[start:end]
                yield Block(block, line)
                line += _many_line_ends(block)
                start, enough = end, size
            elif enough > LONGEST_RECORD:
                ends = "; its lines end in CR only, save it with LF" if b"\r" in rest else ""
                raise InvalidCsv(
                    "record_too_long",
                    f"a record is over {LONGEST_RECORD:,} bytes: a quote may be unclosed{ends}",
                    line,
                )
            else:
                enough += max(size, enough // 2)
        rest = rest[start:]
    if rest:
        yield Block(rest, line)


def boundary(data: bytes, delimiter: str, start: int, stop: int) -> int:
    """The offset just after the last line end between two others that surely ends a record; 0 if none does.

    A record starts at ``start``.
    """
    if data.find(b'"', start, stop) < 0:
        return data.rfind(b"\n", start, stop) + 1
    import numpy as np

    from handler.kernel import compiled

    if (library := compiled.library()) is not None:
        end = int(library.last_end(data, start, stop, ord(delimiter)))
        if end >= 0:
            return end
    codes = np.frombuffer(data, np.uint8)[start:stop]
    inside = quoted(codes, delimiter)
    if inside is not None:
        ends = np.flatnonzero((codes == 0x0A) & ~inside)
        return start + int(ends[-1]) + 1 if ends.size else 0
    end = last = start
    text = data[start:stop].decode("utf-8", errors="surrogateescape")
    for _, raw, _ in records(text, delimiter, 1):
        last = end
        end += len(raw.encode("utf-8", errors="surrogateescape"))
    return last


def records(text: str, delimiter: str, line: int) -> Iterator[tuple[int, str, list[str]]]:
    """Each record's line, its raw text with line end, and its cells; blank lines have no cells."""
    return records_of(io.StringIO(text, newline=""), delimiter, line)


def records_of(lines: Iterable[str], delimiter: str, line: int) -> Iterator[tuple[int, str, list[str]]]:
    """The same of physical lines with their line ends, as they come."""
    consumed: list[str] = []

    def feed() -> Iterator[str]:
        for physical in lines:
            consumed.append(physical)
            yield physical

    for cells in csv.reader(feed(), delimiter=delimiter):
        yield line, "".join(consumed), cells
        line += len(consumed)
        consumed.clear()


def text_of(block: Block, delimiter: str) -> str:
    """The text of a block; raises ``InvalidCsv`` if it is not UTF-8, or ends inside quotes."""
    try:
        text = block.data.decode()
    except UnicodeDecodeError as error:
        raise not_utf8(block.line + line_ends(block.data[: error.start])) from error
    if '"' in text:
        end = "" if text.endswith(("\n", "\r")) else "\n"
        last = collections.deque(records(text + end + SENTINEL, delimiter, block.line), maxlen=1)[0]
        if last[2] != [SENTINEL]:
            raise InvalidCsv("unclosed_quote", "a quote is opened and never closed", last[0])
    return text


def row_texts(block: Block, delimiter: str) -> Iterator[tuple[int, str]]:
    """The line and the text, without line end, of each record in a block of UTF-8."""
    for line, raw, cells in records(block.data.decode(), delimiter, block.line):
        if cells:
            yield line, raw.rstrip("\r\n")


def line_ends(data: bytes | str) -> int:
    """How many line ends there are: LF, CR LF, or CR alone, as Python counts them."""
    if isinstance(data, str):
        data = data.encode("utf-8", errors="surrogateescape")
    returns = data.count(b"\r") - data.count(b"\r\n") if b"\r" in data else 0
    return data.count(b"\n") + returns


def _many_line_ends(data: bytes) -> int:
    """``line_ends`` of a block that others follow: numpy, which reads them, counts five times as fast."""
    if len(data) < SMALL or b"\r" in data:
        return line_ends(data)
    import numpy as np

    return int(np.count_nonzero(np.frombuffer(data, np.uint8) == 0x0A))


def quoted(codes: np.ndarray, delimiter: str) -> np.ndarray | None:
    """Which bytes stand inside quotes, shape (n,); None if a quote is out of place.

    In place means: an opening quote follows a delimiter or line end, a closing one precedes one,
    and two neighbours are one escaped quote. Then parity alone tells inside from outside.
    """
    import numpy as np

    marks = np.flatnonzero(codes == 0x22)
    edges = np.array([ord(delimiter), 0x0A, 0x0D], np.uint8)
    opening, closing = marks[0::2], marks[1::2]
    before = codes[np.maximum(opening - 1, 0)]
    opens = (opening == 0) | np.isin(before, edges)
    opens[1:] |= opening[1:] - 1 == closing[: opening.size - 1]
    after = codes[np.minimum(closing + 1, codes.size - 1)]
    closes = (closing == codes.size - 1) | np.isin(after, edges)
    neighbours = opening[1:] if opening.size > closing.size else np.append(opening[1:], -1)
    closes |= closing + 1 == neighbours
    if not (opens.all() and closes.all()):
        return None
    parity = np.zeros(codes.size, np.uint8)
    parity[marks] = 1
    inside: np.ndarray = np.cumsum(parity, dtype=np.uint8) % 2 == 1
    return inside


def not_utf8(line: int) -> InvalidCsv:
    """The error of a file that is not UTF-8 on a line."""
    return InvalidCsv(
        "not_utf8", "the file is not UTF-8 (Windows-1252 or Latin-1?); save it as UTF-8", line
    )
