"""The answer to a file as lists of JSON, which grow block by block.

Blocks are written by the kernel, or a few values at a time: one long call, or many objects at once, would
hold up the other threads of a server.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from handler.manifest import Manifest
from handler.scoring import outputs
from handler.typed import TYPE_CHECKING, Any
from handler.web.messages import as_json

if TYPE_CHECKING:
    from handler.scoring.scorers import Scores
    from handler.tables.rows import Rows

PREDICTIONS, SCORES, PROBABILITIES, REJECTED = "predictions", "scores", "probabilities", "rejected"
#: What is told of a rejected row.
TOLD = ("line", "column", "code", "reason")
#: Values that are written as JSON in one call.
AT_A_TIME = 256
#: What stands in the place of a rejected row, and what between two values.
NULL, BETWEEN = b"null, ", b", "


class Lists:
    """The lists of a model's answer. A rejected row is null in all but the last, which tells why."""

    def __init__(self, manifest: Manifest) -> None:
        self._classes = manifest.classes
        self._labels = [str(label) for label in manifest.classes]
        has = {SCORES: manifest.score, PROBABILITIES: manifest.probabilities}
        #: By the name of a list, the parts of its text.
        self._written: dict[str, list[bytes]] = {
            name: [] for name in (PREDICTIONS, SCORES, PROBABILITIES, REJECTED) if has.get(name, True)
        }

    @property
    def names(self) -> Sequence[str]:
        """The lists that the answer has."""
        return tuple(self._written)

    def leave_out(self, name: str) -> None:
        """Have the answer do without a list."""
        self._written.pop(name, None)

    def before(self, rest: bytes) -> bytes:
        """The whole answer: the lists, then the members of ``rest``, a JSON object that is not empty."""
        pieces = [b"{"]
        for name, written in self._written.items():
            pieces.append(b'"%s": [' % name.encode())
            for index, text in enumerate(written):
                pieces += (BETWEEN, text) if index else (text,)
            pieces.append(b"], ")
        pieces.append(rest[1:])
        return b"".join(pieces)

    def add(self, rows: Rows, scores: Scores) -> None:
        """Write a block: its rows, and the scores of those that are not rejected."""
        if not self._by_kernel(rows, scores):
            for beside, few in _in_pieces(rows, scores):
                self._extend(PREDICTIONS, beside(outputs.labels(self._classes, few)))
                if few.score is not None:
                    self._extend(SCORES, beside(few.score.tolist()))
                if few.probabilities is not None and PROBABILITIES in self._written:
                    given = (
                        dict(zip(self._labels, row, strict=True)) for row in few.probabilities.tolist()
                    )
                    self._extend(PROBABILITIES, beside(given))
        rejects = list(rows.rejects)
        for start in range(0, len(rejects), AT_A_TIME):
            told = rejects[start : start + AT_A_TIME]
            self._extend(REJECTED, [{name: getattr(each, name) for name in TOLD} for each in told])

    def _extend(self, name: str, values: list[Any]) -> None:
        if values:
            self._written[name].append(as_json(values)[1:-1])

    def _by_kernel(self, rows: Rows, scores: Scores) -> bool:
        """Write a block but for its rejects; False where no kernel is compiled."""
        if isinstance(scores.values, list):  # without numpy
            return False
        import numpy as np

        from handler.categories import Coded
        from handler.kernel import compiled
        from handler.tables import writing
        from handler.tables.rows import Lines

        if compiled.library() is None:
            return False
        sound = np.delete(np.arange(rows.total), rows.rejects.indices)
        missing = np.diff(sound, prepend=-1) - 1  # rejected rows before each of the others
        nulls = Lines(NULL * int(missing.max(initial=0)), np.zeros_like(missing), missing * len(NULL))
        last = NULL * (rows.total - 1 - int(sound[-1] if sound.size else -1))

        def write(
            name: str, values: Sequence[Any], before: Sequence[bytes] = (b"",), end: bytes = b""
        ) -> None:
            text = writing.spelled(nulls, values, before, end + BETWEEN, str) + last
            if text:
                self._written[name].append(text.removesuffix(BETWEEN))

        labels = tuple(as_json(label).decode() for label in self._classes)
        write(PREDICTIONS, [Coded(scores.values, labels) if labels else scores.values])
        if scores.score is not None:
            write(SCORES, [scores.score])
        if scores.probabilities is not None and PROBABILITIES in self._written:
            marks = [as_json(label) + b": " for label in self._labels]
            before = [b"{" + marks[0], *(BETWEEN + mark for mark in marks[1:])]
            write(PROBABILITIES, list(np.ascontiguousarray(scores.probabilities.T)), before, b"}")
        return True


def _in_pieces(rows: Rows, scores: Scores) -> Iterator[tuple[Callable[[Iterable[Any]], list[Any]], Scores]]:
    """A few scores at a time, and what puts None for each rejected row beside values of these."""
    rejected, sound = set(rows.rejects.indices), 0
    for start in range(0, rows.total, AT_A_TIME):
        missing = [index in rejected for index in range(start, min(start + AT_A_TIME, rows.total))]
        count = len(missing) - sum(missing)

        def beside(values: Iterable[Any], missing: Sequence[bool] = missing) -> list[Any]:
            left = iter(values)
            return [None if is_missing else next(left) for is_missing in missing]

        yield beside, scores.at(slice(sound, sound + count))
        sound += count
