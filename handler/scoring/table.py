"""The pass over a table: a block of it becomes scored rows, and rejects with their reasons."""

from __future__ import annotations

from handler.scoring.model import NOT_PREDICTABLE, UNPREDICTABLE, Model
from handler.scoring.scorers import Scores
from handler.tables.formats import Table
from handler.tables.rows import Block, Rows


def score_block(model: Model, block: Block, table: Table, every_row: bool = False) -> tuple[Rows, Scores]:
    """Read a block of ``table``: its rows, and the scores of those that are not rejected.

    Rows that are not predictable are rejected as well. ``every_row`` and errors: see ``Format.read``.
    """
    return score_rows(model, table.format.read(block, table.layout, model.schema, every_row))


def score_rows(model: Model, rows: Rows) -> tuple[Rows, Scores]:
    """Score rows that are read; those that are not predictable are rejected as well."""
    scores, sound = model.attempt(rows.columns)
    if not sound.all():
        rows = rows.without(~sound, NOT_PREDICTABLE, UNPREDICTABLE)
    return rows, scores
