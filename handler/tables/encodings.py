"""Text in another encoding than UTF-8 becomes UTF-8, as a stream.

Recognised are UTF-16, by its byte order mark, and Windows-1252 (of which Latin-1's letters are a part), by
the first character that is not ASCII: where that is not UTF-8, neither is the file. What is wrong further
on stays wrong in the UTF-8 that comes out, so that whoever reads it finds the line.
"""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping

from handler.tables.errors import InvalidCsv

UTF_8, UTF_16, WINDOWS_1252 = "UTF-8", "UTF-16", "Windows-1252"
MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
#: First bytes of files that are often mistaken for a CSV, and what to call them.
SIGNATURES: Mapping[bytes, str] = {
    b"\x1f\x8b": "is gzip; unpack it first",
    b"\x28\xb5\x2f\xfd": "is zstd; unpack it first",
    b"BZh": "is bzip2; unpack it first",
    b"\xfd7zXZ\x00": "is xz; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "is a 7z archive; unpack it first",
    b"Rar!": "is a RAR archive; unpack it first",
    b"PK\x03\x04": "is a zip or Excel file, not a CSV; export it as one",
    b"\xd0\xcf\x11\xe0": "is an old Excel file, not a CSV; export it as one",
    b"PAR1": "is a Parquet file; export it as CSV",
    b"ARROW1": "is an Arrow file; export it as CSV",
    b"\x89HDF": "is an HDF5 file; export it as CSV",
    b"SQLite format 3": "is an SQLite database; export a table as CSV",
    b"RDX": "is an R data file; export it as CSV",
    b"$FL2": "is an SPSS file; export it as CSV",
    b"<stata_dta>": "is a Stata file; export it as CSV",
    b"%PDF": "is a PDF; export it as CSV",
    b"\x89PNG": "is a PNG image, not a CSV",
    b"\xff\xd8\xff": "is a JPEG image, not a CSV",
    b"GIF8": "is a GIF image, not a CSV",
    b"\x80\x03": "is a pickle, not a CSV",
    b"\x80\x04": "is a pickle, not a CSV",
    b"\x80\x05": "is a pickle, not a CSV",
}
LONGEST_SIGNATURE = max(map(len, SIGNATURES))
NOT_ASCII = re.compile(rb"[\x80-\xff]")
#: Bytes of the longest character in UTF-8, of which one that starts a character says how many follow.
LONGEST_CHARACTER = 4


class Utf8:
    """A stream of bytes, re-coded as it is read; ``encoding`` is what it came in.

    ``known``: whether that is decided; so far all bytes were ASCII. Both may be given where the stream does
    not start at the file's start: ``inside``.
    """

    def __init__(self, chunks: Iterable[bytes], inside: bool = False, encoding: str | None = None) -> None:
        self.encoding = encoding or UTF_8
        self.known = encoding is not None
        self._inside = inside
        self._chunks = iter(chunks)

    def __iter__(self) -> Iterator[bytes]:
        """The stream in UTF-8, for once; raises ``InvalidCsv`` for a file that is known not to be text."""
        if self.known:
            yield from self._chunks if self.encoding == UTF_8 else self._as_windows(b"")
            return
        if self._inside:
            yield from self._decided(next(self._chunks, b""))
            return
        start = self._at_least(b"", LONGEST_SIGNATURE)
        what = next((what for signature, what in SIGNATURES.items() if start.startswith(signature)), None)
        if what is not None:
            raise InvalidCsv("not_a_csv", f"the file {what}")
        if start.startswith(MARKS):
            self.encoding, self.known = UTF_16, True
            yield from _recoded(start, self._chunks, "utf-16", "surrogatepass")
            return
        yield from self._decided(start)

    def length(self, data: bytes) -> int:
        """The bytes that ``data``, a piece of the stream that came out, had when they went in.

        Not for UTF-16.
        """
        if self.encoding != WINDOWS_1252 or data.isascii():
            return len(data)
        return len(data.decode("utf-8", "surrogateescape"))

    def _decided(self, start: bytes) -> Iterator[bytes]:
        """What starts with these bytes, in UTF-8: its first character that is not ASCII decides."""
        while start.isascii():
            yield start
            if (chunk := next(self._chunks, None)) is None:
                return
            start = chunk
        first = NOT_ASCII.search(start)
        assert first is not None
        start = self._at_least(start, first.start() + LONGEST_CHARACTER)
        self.known = True
        if _is_utf8(start[first.start() : first.start() + LONGEST_CHARACTER]):
            yield start
            yield from self._chunks
        else:
            self.encoding = WINDOWS_1252
            yield from self._as_windows(start)

    def _as_windows(self, start: bytes) -> Iterator[bytes]:
        return _recoded(start, self._chunks, "cp1252", "surrogateescape")

    def _at_least(self, start: bytes, length: int) -> bytes:
        """``start`` with what follows, until that many bytes are there or the stream ends."""
        while len(start) < length and (chunk := next(self._chunks, None)) is not None:
            start += chunk
        return start


def _is_utf8(data: bytes) -> bool:
    """Whether the first character is one of UTF-8; others may follow it."""
    try:
        data.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > 0
    return True


def _recoded(start: bytes, chunks: Iterator[bytes], encoding: str, errors: str) -> Iterator[bytes]:
    """What cannot be decoded becomes bytes that are not UTF-8: the error handlers do that, both ways."""
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    for chunk in itertools.chain([start], chunks):
        yield decoder.decode(chunk).encode("utf-8", errors)
    try:
        rest = decoder.decode(b"", final=True)
    except UnicodeDecodeError:  # half a character at the end
        yield b"\xff"
    else:
        yield rest.encode("utf-8", errors)
