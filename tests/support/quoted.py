"""A large CSV that cannot be cut at line ends: a quoted cell of several lines lies across each boundary."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

HEADER = b"id,age,note,new_user,total_pages_visited\n"
#: Bytes of a quoted cell on either side of a boundary, at least.
MARGIN = 300


def quoted_file(path: Path, size: int, part_bytes: int) -> Path:
    """Write a file of about ``size`` bytes, with such a cell across each multiple of ``part_bytes``.

    The lines of those cells look like rows of the file.
    """
    with path.open("wb") as file:
        file.writelines(_blocks(size, part_bytes))
    return path


def _blocks(size: int, part_bytes: int) -> Iterator[bytes]:
    block, offset, row = [HEADER], len(HEADER), 0
    while offset < size:
        boundary = (offset // part_bytes + 1) * part_bytes
        note = "x" * 80
        if row % 50 == 7:
            note = '"two\r\nlines, and ""quotes"""'
        if offset + 2 * MARGIN > boundary:
            lookalike = f"{row:09},33,a row that is none,1,4\n"
            note = '"' + lookalike * ((boundary - offset + MARGIN) // len(lookalike) + 1) + '"'
        age = "old" if row % 1000 == 500 else str(18 + row % 60)
        block.append(f"{row:09},{age},{note},{row % 2},{1 + row % 29}\n".encode())
        offset += len(block[-1])
        row += 1
        if len(block) == 10_000:
            yield b"".join(block)
            block.clear()
    yield b"".join(block)
