"""What training says while it works: texts, and numbered steps with the seconds that each of them took.

A function that may work for long takes ``say``, which is any function of a text, and writes
``with step(say, "fitting the model") as tick``. Where ``say`` is a ``Progress``, steps are numbered, and
on a terminal their line is drawn over: the seconds so far, and a bar once ``tick(done, total)`` has been
called. A function further down that can count its work takes ``tick`` alone, and knows nothing of this
module.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from handler.terminal import YELLOW, draws, painted
from training.errors import Say

#: Takes how much of a step is done, and how much there is: rows, bytes, trees or anything else.
Tick = Callable[[int, int], None]

#: Seconds after which a step on a terminal shows that it goes on, and seconds between two drawings of it.
PATIENCE, REFRESH = 2.0, 0.2
BAR = 24
#: The steps of ``training.packaging``: scoring, proving, drawing, writing.
PACKAGING = 4


class Progress:
    """Is called like any ``say``, and writes to ``stream``, or calls ``say``; else nothing is shown.

    ``transcript`` keeps all texts and finished steps.
    """

    @classmethod
    def of(cls, say: Say) -> Progress:
        """``say`` itself where it is a ``Progress``, else one that calls it."""
        return say if isinstance(say, cls) else cls(say=say)

    def __init__(self, stream: TextIO | None = None, say: Say | None = None) -> None:
        self.transcript: list[str] = []
        self._stream, self._say = stream, say
        self._count = self._total = 0
        self._lock = threading.Lock()
        self._open = False  # whether the line that the stream is at has a step's caption

    def expect(self, steps: int) -> None:
        """So many steps are still to come, so they can be numbered."""
        self._total = self._count + steps

    def __call__(self, text: str) -> None:
        """Say a text of one line or more; a step that is under way goes on below it."""
        self.transcript.append(text)
        if self._say:
            self._say(text)
        elif self._stream:
            with self._lock:
                self._leave_line()
                self._write(_coloured(text, self._stream) + "\n")

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[Tick]:
        """A step that lasts as long as the block; steps are not nested."""
        self._count += 1
        caption = f"{self._count}/{self._total} {text}" if self._total else text
        started, counted = time.monotonic(), [0, 0]

        def tick(done: int, total: int) -> None:
            counted[:] = done, total

        with self._drawn(caption, started, counted):
            yield tick
        finished = f"{caption}: {time.monotonic() - started:.1f} s"
        self.transcript.append(finished)
        if self._say:
            self._say(finished)
        elif self._stream:
            if draws(self._stream):
                self._write(f"\r\x1b[K{finished}\n")
            else:
                self._write(f"{finished.removeprefix(caption) if self._open else finished}\n")
            self._open = False

    @contextlib.contextmanager
    def _drawn(self, caption: str, started: float, counted: list[int]) -> Iterator[None]:
        """Show the caption during the block; on a terminal also how long it takes and how far it is."""
        if self._stream is None:
            yield
            return
        on_terminal = draws(self._stream)
        self._write(self._fitted(caption, "...") if on_terminal else caption)
        self._open = True
        over = threading.Event()

        def draw() -> None:
            pause = PATIENCE
            while not over.wait(pause):
                with self._lock:
                    self._write(f"\r\x1b[K{self._fitted(caption, _far(started, *counted))}")
                    self._open = True
                pause = REFRESH

        pencil = threading.Thread(target=draw, daemon=True)
        if on_terminal:
            pencil.start()
        try:
            yield
        except BaseException:
            over.set()
            with self._lock:
                if self._open:
                    self._write("\n")
            self._open = False
            raise
        finally:
            over.set()
            if on_terminal:
                pencil.join()

    def _leave_line(self) -> None:
        if self._open and self._stream:
            self._write("\r\x1b[K" if draws(self._stream) else "\n")
        self._open = False

    def _fitted(self, caption: str, rest: str) -> str:
        """Both on one line of the terminal, which a longer one would scroll."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns if self._stream else 0
        except OSError:
            columns = 0
        room = (columns or 80) - len(rest) - 2
        return f"{caption if len(caption) <= room else caption[: max(room - 3, 0)] + '...'} {rest}"

    def _write(self, text: str) -> None:
        assert self._stream is not None
        self._stream.write(text)
        self._stream.flush()


def step(say: Say, text: str) -> contextlib.AbstractContextManager[Tick]:
    """``say``'s step, where it is a ``Progress``; any other ``say`` is called once the step is finished."""
    return Progress.of(say).step(text)


def steps_to_come(threshold: str | None) -> int:
    """Those of ``training.train``: reading, judging, loading, fitting, a threshold perhaps, packaging's."""
    return 4 + (threshold == "auto") + PACKAGING


def _far(started: float, done: int, total: int) -> str:
    seconds = f"{time.monotonic() - started:.0f} s"
    if total <= 0:
        return f"... {seconds}"
    share = min(done / total, 1)
    return f"[{'#' * round(share * BAR):<{BAR}}] {share:.0%}, {seconds}"


def _coloured(text: str, stream: TextIO) -> str:
    """The text with its notes in yellow, where the stream has colours."""
    lines = (
        painted(line, YELLOW, stream) if line.startswith("note:") else line for line in text.split("\n")
    )
    return "\n".join(lines)
