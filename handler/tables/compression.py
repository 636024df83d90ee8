"""gzip, zstd, bzip2 and xz, recognised by their first bytes and unpacked as a stream."""

from __future__ import annotations

import io
import itertools
import sys
import zlib
from collections.abc import Iterator
from typing import IO, Any

from handler.tables.errors import InvalidCsv

#: Bytes unpacked at once, however well they were packed.
CHUNK = 1024 * 1024
#: How the names of packed files end.
PACKED = (".gz", ".zst", ".bz2", ".xz")
GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
BZIP2 = b"BZh"
XZ = b"\xfd7zXZ\x00"


def is_packed(start: bytes) -> bool:
    """Whether a file that starts with these bytes is packed."""
    return start.startswith((GZIP, ZSTD, BZIP2, XZ))


def inflated(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks, unpacked if they are packed: any number of gzip members, zstd frames, or streams.

    Raises ``InvalidCsv`` where packed data ends early or is corrupt.
    """
    first = next(chunks, b"")
    whole = itertools.chain([first], chunks)
    if first.startswith(GZIP):
        import gzip

        return _unpacked(gzip.GzipFile(fileobj=io.BufferedReader(Stream(whole))), "gzip")
    if first.startswith(ZSTD):
        return _unpacked(_zstd(io.BufferedReader(Stream(whole))), "zstd")
    if first.startswith(BZIP2):
        import bz2

        return _unpacked(bz2.BZ2File(io.BufferedReader(Stream(whole))), "bzip2")
    if first.startswith(XZ):
        import lzma

        return _unpacked(lzma.LZMAFile(io.BufferedReader(Stream(whole))), "xz")
    return whole


class Stream(io.RawIOBase):
    """Chunks as a readable stream of bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)  # cut without copies
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _zstd(stream: IO[bytes]) -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd.ZstdFile(stream)


def _unpacked(stream: Any, name: str) -> Iterator[bytes]:
    while True:
        try:
            chunk = stream.read(CHUNK)
        except EOFError as error:
            raise InvalidCsv("truncated", f"the {name} data end early; upload the file again") from error
        except (OSError, zlib.error, ValueError) as error:
            raise InvalidCsv("corrupt", f"the {name} data are corrupt; upload the file again") from error
        except Exception as error:
            if type(error).__name__ not in ("ZstdError", "LZMAError"):
                raise
            raise InvalidCsv("corrupt", f"the {name} data are corrupt; upload the file again") from error
        if not chunk:
            return
        yield chunk
