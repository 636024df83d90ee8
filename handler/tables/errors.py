"""What is wrong with a table that cannot be read.

- ``InvalidCsv`` 400: not a CSV that can be read at all
    - ``MissingColumns`` 422: a CSV without the model's columns
"""

from __future__ import annotations

from collections.abc import Sequence

from handler.errors import LONGEST_NAME, NAMED, Problem, Problems, RequestError, and_more


class InvalidCsv(RequestError):
    """Bytes that are not a CSV in UTF-8; ``code`` is stable, ``line`` counts from 1.

    ``rule``: the message without the line.
    """

    status = 400

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        self.code = code
        self.rule = message
        self.line = line
        message += f" (line {line})" if line is not None else ""
        super().__init__(message, [Problem("file", code, message, line=line)])


class MissingColumns(InvalidCsv):
    """A CSV whose header lacks features of the model."""

    status = 422

    def __init__(self, missing: Sequence[str], columns: int, delimiter: str) -> None:
        self.missing = tuple(missing)
        named = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}[delimiter]
        shown = ", ".join(name[:LONGEST_NAME] for name in missing[:NAMED]) + and_more(len(missing), ", ")
        super().__init__(
            "missing", f"the header has {columns} {named}-separated columns and lacks: {shown}", line=1
        )
        problems = Problems()
        for name in missing:
            problems.add(name, "missing", f"the header has no column '{name[:LONGEST_NAME]}'", line=1)
        self.problems, self.more = tuple(problems.listed), problems.more
