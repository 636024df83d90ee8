"""The header that a table of rows of one cell more has, by the words of docs/reference.md, "Tables"."""

from __future__ import annotations

from collections.abc import Sequence


def widened(header: list[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """``rows``: each one's raw text and cells, without blank lines."""
    first = rows[:100]
    if {len(cells) for _, cells in first} != {len(header) + 1}:
        return header
    if {cells[-1] for _, cells in first} == {""}:
        return [*header, ""]
    names = [cells[0] for _, cells in first]
    quoted = len(names) >= 2 and len(set(names)) == len(names) and all(raw[0] == '"' for raw, _ in first)
    counted = len(names) >= 3 and names == [str(number) for number in range(1, len(names) + 1)]
    return ["", *header] if quoted or counted else header
