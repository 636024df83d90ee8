"""Ids of cases, the same in every process: pytest-xdist compares them."""

from __future__ import annotations

import re

ADDRESS = re.compile(r" ?at ?0x[0-9a-f]+")


def without_address(value: object) -> str:
    """The value as text, less where it stands in memory."""
    return ADDRESS.sub("", str(value))
