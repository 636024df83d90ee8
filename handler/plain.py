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

    def __getitem__(self, rows: Sequence[bool] | slice) -> Column:  # type: ignore[override]
        """Some rows, by a slice or a mask."""
        return Column(super().__getitem__(rows) if isinstance(rows, slice) else compress(self, rows))
