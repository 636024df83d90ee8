"""A column where numpy is not installed: in the zip of the request function, which scores row by row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress

from handler.typed import Any


class Column(list[Any]):
    """The values of n rows, with what requests ask of an array."""

    def tolist(self) -> list[Any]:
        return list(self)

    def all(self) -> bool:
        return all(self)

    def __invert__(self) -> Column:
        """The other rows than a mask marks."""
        return Column(not each for each in self)

    def __getitem__(self, mask: Sequence[bool]) -> Column:  # type: ignore[override]
        """The rows that a mask marks."""
        return Column(compress(self, mask))
