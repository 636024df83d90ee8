"""A block of CSV becomes rows: those of a large one all at once, others by ``csv.reader``, one by one.

Both ways give the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from handler.schema import Record, Schema
from handler.tables import records
from handler.tables.rows import Block, Layout, Refusal, Rejects, Rows, judge

#: Below this size, a block is read row by row.
SMALL = records.SMALL


def read(block: Block, layout: Layout, schema: Schema, every_row: bool = False) -> Rows:
    """Read a block; ``every_row`` keeps the cells of rejected rows in ``Rows.text`` too.

    Raises ``InvalidCsv`` where the bytes are not UTF-8 or a quote is never closed.
    """
    rows = None
    if not every_row and len(block.data) >= SMALL:
        from handler.tables.sweeping import sweep  # which needs libraries

        rows = sweep(block, layout, schema)
    return rows or _walk(block, layout, schema)


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
