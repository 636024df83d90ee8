"""What both command lines have in common: colour."""

from __future__ import annotations

import os
from typing import TextIO

RED, YELLOW = "31", "33"


def draws(stream: TextIO) -> bool:
    """Whether a line may be drawn over another one: a person watches, on a terminal that can."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


def painted(text: str, colour: str, stream: TextIO) -> str:
    """The text in a colour, where ``stream`` is a terminal and NO_COLOR is not set (https://no-color.org)."""
    if not draws(stream) or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"
