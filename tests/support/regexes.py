"""Whether a regular expression can take more than linear time on some text: a proof, not a trial.

A backtracking matcher is slow on a text that fails where a part of it can be shared between two repeats in
more than one way. That is so if, and only if, the expression's automaton has two states p and q and a word
that leads from p to p, from p to q and from q to q.
Weideman et al., Analyzing Matching Time Behavior of Backtracking Regular Expression Matchers, 2016.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

Word = frozenset[int]  # the characters of a state: code points that stand for all others
_START, _SEARCH = 0, 1
#: Code points that tell the classes \w, \d, \s and dot from each other.
_USUAL = frozenset(map(ord, "aZ_0 \n\té٣ \x00"))


def is_linear(pattern: str, flags: int = 0, whole: bool = False) -> bool:
    """Whether matching takes linear time at most; ``whole``: by ``fullmatch``, else it is searched for.

    Conservative: a look-ahead is taken to hold always, and many repeats for any number of them.
    """
    if flags & re.IGNORECASE:
        raise NotImplementedError("say here which letters are alike")
    automaton = _Automaton(flags)
    follow = automaton.add(parser.parse(pattern, flags), {_START: 1})
    if any(count > 1 and automaton.reaches(target, source) for (source, target), count in automaton.ways()):
        return False  # one word, two ways through empty repeats
    if not whole:
        automaton.edges[_SEARCH] = {**automaton.edges[_START], _SEARCH: 1}
        automaton.words[_SEARCH] = automaton.letters
    # A state in which a search may end never fails.
    ends = frozenset() if whole else frozenset(follow)
    states = [_START, _SEARCH, *automaton.words]
    return not any(automaton.is_shared(p, q) for p in states for q in states if p != q and q not in ends)


class _Automaton:
    """Glushkov's: a state for each character of the expression, and the start.

    ``edges``: the states that follow a state, and in how many ways each does.
    """

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.words: dict[int, Word] = {}
        self.edges: dict[int, dict[int, int]] = defaultdict(dict)
        self.letters: Word = frozenset()

    def add(self, parsed: Any, before: dict[int, int]) -> dict[int, int]:
        """Put an expression behind the states in ``before``; returns the states that it ends in."""
        if not self.letters:
            self.letters = _USUAL | frozenset(_bounds(parsed))
        for kind, value in parsed:
            before = self._node(kind, value, before)
        return before

    def _node(self, kind: Any, value: Any, before: dict[int, int]) -> dict[int, int]:
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT, op.POSSESSIVE_REPEAT):
            least, most, inner = value
            for _ in range(min(least, 2)):
                before = self.add(inner, before)
            if most == op.MAXREPEAT or most > least + 2:
                return self._loop(inner, before)
            for _ in range(most - least):
                before = _merged(before, self.add(inner, before))
            return before
        if kind is op.BRANCH:
            after: dict[int, int] = {}
            for each in value[1]:
                after = _merged(after, self.add(each, before))
            return after
        if kind is op.SUBPATTERN:
            return self.add(value[-1], before)
        if kind is op.ATOMIC_GROUP:
            return self.add(value, before)
        if kind in (op.AT, op.ASSERT, op.ASSERT_NOT):
            return before
        state = len(self.words) + 2
        word = (each for each in self.letters if _takes(kind, value, each, self.flags))
        self.words[state] = frozenset(word)
        for each, ways in before.items():
            self.edges[each][state] = self.edges[each].get(state, 0) + ways
        return {state: 1}

    def _loop(self, inner: Any, before: dict[int, int]) -> dict[int, int]:
        first = len(self.words) + 2
        after = self.add(inner, before)
        starts = {
            state: ways
            for each in before
            for state, ways in self.edges[each].items()
            if first <= state < len(self.words) + 2
        }
        for each, ways in after.items():
            if each not in before:
                for state, more in starts.items():
                    self.edges[each][state] = self.edges[each].get(state, 0) + ways * more
        return {**after, **before}

    def ways(self) -> Iterator[tuple[tuple[int, int], int]]:
        for source, targets in self.edges.items():
            for target, count in targets.items():
                yield (source, target), count

    def reaches(self, start: int, end: int) -> bool:
        seen, todo = {start}, [start]
        while todo:
            for state in self.edges[todo.pop()]:
                if state not in seen:
                    seen.add(state)
                    todo.append(state)
        return end in seen

    def is_shared(self, p: int, q: int) -> bool:
        """Whether a word leads from p to p, from p to q and from q to q."""
        seen, todo = {(p, p, q)}, [(p, p, q)]
        while todo:
            one, two, three = todo.pop()
            for a in self.edges[one]:
                for b in self.edges[two]:
                    if not self.words[a] & self.words[b]:
                        continue
                    for c in self.edges[three]:
                        if not self.words[a] & self.words[b] & self.words[c]:
                            continue
                        if (a, b, c) == (p, q, q):
                            return True
                        if (a, b, c) not in seen:
                            seen.add((a, b, c))
                            todo.append((a, b, c))
        return False


def _merged(left: dict[int, int], right: dict[int, int]) -> dict[int, int]:
    return {state: left.get(state, 0) + right.get(state, 0) for state in {**left, **right}}


def _bounds(parsed: Any) -> Iterator[int]:
    """The characters at and beside the edges of every class in an expression."""
    if isinstance(parsed, parser.SubPattern | list | tuple):
        for each in parsed:
            yield from _bounds(each)
    elif isinstance(parsed, int) and not isinstance(parsed, op._NamedIntConstant):
        yield from (each for each in (parsed - 1, parsed, parsed + 1) if 0 <= each <= 0x10FFFF)


def _takes(kind: Any, value: Any, letter: int, flags: int) -> bool:
    if kind is op.LITERAL:
        return bool(value == letter)
    if kind is op.NOT_LITERAL:
        return bool(value != letter)
    if kind is op.ANY:
        return letter != ord("\n") or bool(flags & re.DOTALL)
    if kind is op.RANGE:
        return bool(value[0] <= letter <= value[1])
    if kind is op.CATEGORY:
        spelled = {
            op.CATEGORY_DIGIT: r"\d", op.CATEGORY_NOT_DIGIT: r"\D", op.CATEGORY_SPACE: r"\s",
            op.CATEGORY_NOT_SPACE: r"\S", op.CATEGORY_WORD: r"\w", op.CATEGORY_NOT_WORD: r"\W",
        }[value]  # fmt: skip
        return re.fullmatch(spelled, chr(letter), flags & re.ASCII) is not None
    if kind is op.IN:
        negated = value[0][0] is op.NEGATE
        return negated != any(_takes(*each, letter, flags) for each in value if each[0] is not op.NEGATE)
    raise NotImplementedError(f"{kind}: say here what it takes")
