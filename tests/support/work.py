"""How much work a call is, counted and not timed: the same input is the same work on every machine.

``Work.steps`` counts the lines of Python that run. What one line does in C is seen in ``Work.made``, the
bytes of memory that the lines ask for one after the other: a text that is copied for each of its
characters, or a list that is joined anew for each of its members, shows there. ``Work.peak`` is the most
memory at one time. Work in C that asks for no memory stays unseen: regular expressions have
``tests.support.regexes``.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

#: What may come on top of work that is linear: a table that doubles, a way that is taken past some size.
SLACK = {"steps": 3_000, "made": 200_000, "peak": 200_000}


class Work(NamedTuple):
    steps: int
    made: int
    peak: int


def work_of(call: Callable[[], object]) -> Work:
    """The work of a call in this thread; what the call raises comes out."""
    steps = made = peak = last = 0
    # Every line that runs would wait for these names.
    traced, reset = tracemalloc.get_traced_memory, tracemalloc.reset_peak

    def count(frame: Any, event: str, argument: Any) -> Any:  # noqa: ARG001  what settrace gives
        nonlocal steps, made, peak, last
        steps += 1
        now, most = traced()
        made += most - last
        if most > peak:
            peak = most
        last = now
        reset()
        return count

    before = sys.gettrace()
    gc.disable()
    tracemalloc.start()
    sys.settrace(count)
    try:
        call()
    finally:
        sys.settrace(before)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        gc.enable()
    return Work(steps, made + most - last, max(peak, most))


def assert_linear(works: Sequence[Work], what: object = "") -> None:
    """Fail where the work for inputs of n, 2n, 4n and 8n grows faster than they do.

    From 4n to 8n, linear work grows by four times what it grew from n to 2n, and quadratic work by
    sixteen times: the limit is eight.
    """
    for name in Work._fields:
        one, two, four, eight = (getattr(each, name) for each in works)
        allowed = 8 * max(two - one, 0) + SLACK[name]
        assert eight - four <= allowed, f"{name} grow faster than the input: {works} {what}"
