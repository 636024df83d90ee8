"""The pass over a table: a block of its text becomes scored rows, and rejects with their reasons."""

from __future__ import annotations

from typing import NamedTuple

from handler.scoring.model import NOT_PREDICTABLE, UNPREDICTABLE, Model, Scores
from handler.tables import csv_blocks
from handler.tables.csv_blocks import Block, Layout, Rows


class ScoredBlock(NamedTuple):
    """The rows of a block, and the scores of those that are not rejected."""

    rows: Rows
    scores: Scores


def score_block(model: Model, block: Block, layout: Layout, row_by_row: bool = False) -> ScoredBlock:
    """Read a block and score its rows; those that are not predictable are rejected as well.

    ``row_by_row`` keeps the text of rejected rows. Raises ``InvalidCsv`` as ``csv_blocks.read`` does.
    """
    rows = csv_blocks.read(block, layout, model.schema, row_by_row)
    scores, sound = model.attempt(rows.columns)
    if not sound.all():
        rows = rows.without(~sound, block, layout.delimiter, NOT_PREDICTABLE, UNPREDICTABLE)
    return ScoredBlock(rows, scores)
