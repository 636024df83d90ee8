"""What training says about columns: notes on what it did with them, and problems that stop it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from training.errors import TrainingError

#: More columns than this, of which the same is to be said, share a line.
APART = 2
#: The columns that one line names.
NAMED = 8
#: The columns that a list names.
LISTED = 20


class Note(NamedTuple):
    """What was done with a column: ``text`` completes "'NAME' ...", ``several`` "'A', 'B' and 'C' ..."."""

    name: str
    text: str
    several: str = ""


def called(name: str) -> str:
    """What a message calls a column."""
    return f"'{name}'" if name else "the column without a name"


def listed(names: Sequence[str]) -> str:
    """The columns' names, the first of them where there are many."""
    shown = [called(name) for name in names]
    if len(shown) > NAMED:
        shown[NAMED - 1 :] = [f"{len(shown) - NAMED + 1:,} more"]
    return " and ".join(filter(None, (", ".join(shown[:-1]), shown[-1])))


def plain(names: Sequence[str]) -> str:
    """The columns' names as a list, the first of them where there are many."""
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(name or "(no name)" for name in names[:LISTED]) + more


def lines(notes: Iterable[Note]) -> list[str]:
    """The notes as sentences, in order; what is the same of many columns is said once."""
    groups: dict[tuple[str, ...], list[Note]] = {}
    for note in notes:
        groups.setdefault((note.several,) if note.several else (note.name, note.text), []).append(note)
    said = []
    for group in groups.values():
        if len(group) > APART:
            said.append(f"{listed([note.name for note in group])} {group[0].several}")
        else:
            said += [f"{called(note.name)} {note.text}" for note in group]
    return said


class Problem(NamedTuple):
    """What stops training, in one sentence that ends with the cure.

    ``flags``: words for the command line that cure it, instead of the words ``wrong`` where those stand in
    it. None: no flag does.
    """

    message: str
    flags: tuple[str, ...] | None = None
    wrong: tuple[str, ...] = ()


class Refused(TrainingError):
    """All the problems of a table at once; with one, it is the message."""

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        self.lines: list[str] = []
        several = f"{source} cannot be learnt from as it is, for {len(self.problems)} reasons:"
        super().__init__(self.problems[0].message if len(self.problems) == 1 else several)

    def lines_after(self, command: Sequence[str]) -> list[str]:
        """What is printed below the message: the problems, and ``command`` without what is wrong in it."""
        messages = [problem.message for problem in self.problems] if len(self.problems) > 1 else []
        words = [*command]
        for problem in self.problems:
            if problem.flags is None:
                return messages
            del words[_place(words, problem.wrong)]
            if not words[_place(words, problem.flags)]:
                words += problem.flags
        return [*messages, "this command would train:", f"  {shlex.join(words)}"]


def _place(words: Sequence[str], flags: Sequence[str]) -> slice:
    """Where a flag and its value stand among the words, as two or joined by ``=``; else an empty slice."""
    for index in range(len(words)):
        if flags and words[index : index + len(flags)] == [*flags]:
            return slice(index, index + len(flags))
        if flags and words[index] == "=".join(flags):
            return slice(index, index + 1)
    return slice(0)
