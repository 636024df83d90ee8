"""The formats of tables that are read, and which of them a file has.

Adding one is a class with the four verbs of ``Format``, in a file of its own, and its name in FORMATS.
Compression and encoding lie beneath: what a format sees is unpacked, and UTF-8 if it is text.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from handler.schema import Schema
from handler.tables import reading, records, writing
from handler.tables.encodings import Utf8
from handler.tables.header import header
from handler.tables.rows import Block, Layout, Outputs, Rows


class Format(Protocol):
    """A format of tables, by its four verbs."""

    def claims(self, head: bytes) -> bool:
        """Whether a file that begins with these bytes is of this format."""
        ...

    def open(
        self, chunks: Iterable[bytes], schema: Schema, size: int
    ) -> tuple[Layout, bytes, Iterator[Block]]:
        """Read the header, and give it as it stands too, with what is before it.

        The rest comes in blocks of whole records, each of about ``size`` bytes (0: as many as suit the
        table). Both may raise ``InvalidCsv``.
        """
        ...

    def read(self, block: Block, layout: Layout, schema: Schema, every_row: bool = False) -> Rows:
        """Read a block; ``every_row`` keeps the cells of rejected rows too. Raises ``InvalidCsv``."""
        ...

    def write(self, rows: Rows, layout: Layout, outputs: Outputs, every_row: bool = False) -> bytes:
        """The rows as lines of CSV with their outputs; the sound ones, or with ``every_row`` all."""
        ...


class Csv:
    """CSV: any file, unless another format claims it."""

    read = staticmethod(reading.read)
    write = staticmethod(writing.write)

    def claims(self, head: bytes) -> bool:  # noqa: ARG002
        return True

    def open(
        self, chunks: Iterable[bytes], schema: Schema, size: int
    ) -> tuple[Layout, bytes, Iterator[Block]]:
        seen: list[bytes] = []
        is_read = False

        def noted() -> Iterator[bytes]:
            for chunk in chunks:
                if not is_read:
                    seen.append(chunk)
                yield chunk

        layout, rest, line = header(noted(), schema)
        after = next(rest, b"")
        is_read, read = True, b"".join(seen)
        seen.clear()
        size = size or records.block_bytes(len(layout.header))
        blocks = records.blocks(itertools.chain([after], rest), layout.delimiter, line, size)
        return layout, read[: len(read) - len(after)], blocks


#: The first that claims a file reads it.
FORMATS: tuple[Format, ...] = (Csv(),)


class Table(NamedTuple):
    """A table of which the header is read: its blocks come as they are asked for.

    ``head``: the header as it stands, with what is before it, in UTF-8; ``text``: the bytes that the table
    is made of, which know their encoding.
    """

    format: Format
    layout: Layout
    head: bytes
    blocks: Iterator[Block]
    text: Utf8


def opened(chunks: Iterable[bytes], schema: Schema, size: int) -> Table:
    """The table that a stream of bytes holds, in blocks of about ``size`` bytes (0: as many as suit it).

    Raises ``InvalidCsv``.
    """
    text = Utf8(chunks)
    stream = iter(text)
    first = next(stream, b"")
    chosen = next(known for known in FORMATS if known.claims(first))
    return Table(chosen, *chosen.open(itertools.chain([first], stream), schema, size), text)
