"""How much memory the rows of a table may take, so that a file that is too large ends in a message.

Without it, the system ends the process: Linux grants memory that it does not have.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from training.errors import TrainingError

#: Where a container's limit stands: https://docs.kernel.org/admin-guide/cgroup-v2.html, and version 1.
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
#: The share of the memory that a table of texts may take: training as a whole takes about four times that.
SHARE = 0.25

#: Bytes of a text in polars, beside its letters.
VIEW = 16


class Budget:
    """What the blocks of one table may take together."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._left = SHARE * available()

    def spend(self, cells: int, letters: int = 0) -> None:
        """Count a part of the table; raises ``TrainingError`` where all of them are too large."""
        self._left -= VIEW * cells + letters
        if self._left < 0:
            raise TrainingError(too_large(self._source))


def available() -> float:
    """The bytes of memory that this process may have."""
    amounts = [float("inf")]
    with contextlib.suppress(ValueError, OSError, AttributeError):  # not on every system
        amounts.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for path in LIMITS:
        with contextlib.suppress(ValueError, OSError):  # "max" is no limit
            amounts.append(int(Path(path).read_text()))
    return min(amounts)


def too_large(source: str) -> str:
    """The message for a table that does not fit."""
    return (
        f"{source} is too large for the {available() / 1e9:.1f} GB of memory here: train on a part of its "
        "rows, since scoring takes files of any size"
    )
