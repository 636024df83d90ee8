"""Two models on the same rows: where they agree, in the words and tables of training and of ``compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from handler.manifest import Task
from handler.typed import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

#: The most names of a table with a row and a column for each, and the most pairs of a list.
SQUARE, SHOWN = 6, 20
#: The most clusters of which a sentence says the new number.
NUMBERS = 8
#: Rows by the indices of both labels: this model's, and the other's.
Pairs = Mapping[tuple[int, int], int]


def other_task(task: Task, other: Task) -> str:
    """What is said of another model whose task is another one."""
    return f"its task is '{other}', and this model's is '{task}'"


def pairs(own: np.ndarray, other: np.ndarray) -> dict[tuple[int, int], int]:
    """The rows by both labels, of arrays of indices, shape (n,) each."""
    import numpy as np

    size = max(own.max(initial=0), other.max(initial=0)) + 1
    both, rows = np.unique(own * size + other, return_counts=True)
    return {
        divmod(each, int(size)): count for each, count in zip(both.tolist(), rows.tolist(), strict=True)
    }


def differing(pairs: Pairs) -> int:
    """The rows whose labels differ."""
    return sum(count for (own, other), count in pairs.items() if own != other)


def by_label(pairs: Pairs, names: Sequence[str]) -> list[Sequence[str]]:
    """A table of the rows by both labels; of many labels, the most frequent pairs that differ."""
    if len(names) <= SQUARE:
        each = range(len(names))
        return [
            ("this model", *(f"the other: {name}" for name in names)),
            *((names[own], *(f"{pairs.get((own, other), 0):,}" for other in each)) for own in each),
        ]
    return [
        ("this model", "the other", "rows"),
        *((names[own], names[other], f"{count:,}") for own, other, count in changes(pairs)[:SHOWN]),
    ]


def changes(pairs: Pairs) -> list[tuple[int, int, int]]:
    """This model's label, the other's, and their rows, of the labels that differ; the most rows first."""
    apart = [(own, other, count) for (own, other), count in pairs.items() if own != other and count]
    return sorted(apart, key=lambda each: (-each[2], *each[:2]))


def renumbered(pairs: Pairs) -> dict[int, int]:
    """This model's cluster for each of the other's that it may be another number of.

    Clusters are numbered anew in every training. Those that share the most rows are matched first, each
    once. Empty where fewer rows differ by the numbers as they are.
    """
    matched: dict[int, int] = {}
    for (own, other), _ in sorted(pairs.items(), key=lambda each: (-each[1], each[0])):
        if other not in matched and own not in matched.values():
            matched[other] = own
    return dict(sorted(matched.items())) if apart(pairs, matched) < differing(pairs) else {}


def apart(pairs: Pairs, matched: Mapping[int, int]) -> int:
    """The rows whose clusters differ when those that are ``matched`` count as one."""
    return sum(count for (own, other), count in pairs.items() if matched.get(other) != own)


def numbered_anew(pairs: Pairs, names: Sequence[str]) -> list[str]:
    """A sentence on clusters that seem to be numbered anew; none where they do not."""
    matched = renumbered(pairs)
    changed = [f"{names[other]} to {names[own]}" for other, own in matched.items() if other != own]
    if not changed:
        return []
    more = f" and {len(changed) - NUMBERS} more" if len(changed) > NUMBERS else ""
    return [
        f"The clusters seem to be numbered anew ({', '.join(changed[:NUMBERS])}{more}): by those numbers, "
        f"{apart(pairs, matched):,} rows are in another cluster."
    ]
