"""Large tables in parts: in processes on one machine, or as one of several tasks that share them out."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from handler import telemetry
from handler.batch.goals import Progress
from handler.batch.inputs import Input
from handler.batch.parts import Part
from handler.batch.run import Batch, Scored
from handler.errors import FunctionError
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.deadline import RESERVE, TICK, Deadline
from handler.storage.storage import Storage

#: Seconds between two words of a process about how far it is.
SAY = 0.1


@dataclass(frozen=True, slots=True)
class Split:
    """Scores each input in ``count`` parts; ``batch`` plans and joins them, as long as ``deadline`` allows.

    The parts are scored in processes, as many as there are processors; or, where ``settings.task`` says
    that this process is one of several tasks, each of which takes its share, in this one.
    """

    batch: Batch
    settings: Settings
    deadline: Deadline
    count: int

    def score(self, input: Input, progress: Progress) -> Scored:
        """Score an input; what is done is skipped. Raises ``FunctionError``.

        The progress is that of the bytes of the file, and of the rows that this call has read.
        """
        done = self.batch.standing(input.location, input.folder)
        if done is not None:
            return Scored(skipped=done)
        planned = self.batch.plan(input.location, count=self.count)
        if self.settings.task is not None:
            return self._share(input, planned, progress)
        self._side_by_side(input, planned, progress)
        return self.batch.join(input.location, input.folder)

    def _share(self, input: Input, planned: list[Part], progress: Progress) -> Scored:
        """Score the parts of this task one after the other; the last one that is scored joins all."""
        assert self.settings.task is not None
        index, count = self.settings.task
        mine = [part for part in planned if part.index % count == index]
        total = _Sum(progress)
        for part in mine:
            start = time.monotonic()
            batch = self.batch.telling(lambda *told, part=part: total.tell(part.index, *told))
            scored = batch.score_part(input.location, input.folder, part)
            total.end(part)
            seconds = round(time.monotonic() - start, 3)
            fields = {"input": str(input.location), "part": part.index, "of": part.of, "rows": scored.rows}
            telemetry.event("INFO", "part", **fields, seconds=seconds, **scored.log_fields)
            if scored.complete:
                return self.batch.join(input.location, input.folder)
        return Scored(skipped=f"task {index} of {count} has scored its parts, and others are not done yet")

    def _side_by_side(self, input: Input, planned: list[Part], progress: Progress) -> None:
        total = _Sum(progress)
        processes = min(len(planned), self.settings.processors)
        settings = self.settings._replace(workers=max(1, self.settings.workers // processes))
        context = multiprocessing.get_context("spawn")  # a fork would lack the client's and polars' threads
        end = context.Value("d", float("inf"), lock=False)
        words = context.SimpleQueue()
        pool = ProcessPoolExecutor(processes, context, _begin, (settings, end, words))
        listener = threading.Thread(target=_listen, args=(words, total), name="parts", daemon=True)
        listener.start()
        waiting: dict[Future[None], Part] = {pool.submit(_score, input, part): part for part in planned}
        try:
            while waiting:
                if (left := self.deadline.left()) < float("inf"):
                    end.value = time.monotonic() + left + RESERVE
                if left <= 0:
                    for future in waiting:
                        future.cancel()
                for future in wait(waiting, TICK).done:
                    part = waiting.pop(future)
                    if not future.cancelled():
                        future.result()
                        total.end(part)
            self.deadline.check(input.location)
        except BrokenProcessPool as error:
            raise FunctionError(
                f"a process that scored parts of {input.word} was killed, perhaps for its memory: lower "
                "WORKERS, or start the same command again; parts that are done are skipped"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            words.put(None)


class _Sum:
    """What the parts of a file have read so far, added up for one progress bar."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told: dict[int, tuple[int, int, int]] = {}
        self._lock = threading.Lock()

    def tell(self, index: int, done: int, rows: int, rejected: int) -> None:
        with self._lock:
            self._told[index] = (done, rows, rejected)
            sums = [sum(each) for each in zip(*self._told.values(), strict=True)]
        self._progress(*sums)

    def end(self, part: Part) -> None:
        """A part is done, however many of its bytes were read."""
        _, rows, rejected = self._told.get(part.index, (0, 0, 0))
        self.tell(part.index, part.end - part.start, rows, rejected)


def _listen(words: Any, total: _Sum) -> None:
    while (word := words.get()) is not None:
        total.tell(*word)


#: What a process that scores parts has: its batch, and where it says how far it is.
_process: tuple[Batch, Any] | None = None


def _begin(settings: Settings, end: Any, words: Any) -> None:
    """A process begins, and loads the model. ``end``: when its time is over, on the machine's clock."""
    global _process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that has started this one
    telemetry.configure(settings)
    deadline = Deadline(lambda: end.value - time.monotonic())
    model = Model.load(settings.model_dir, settings.model_public_key)
    storage = Storage(settings.allow_http).within(deadline)
    _process = Batch(model, settings, storage, deadline), words


def _score(input: Input, part: Part) -> None:
    """Score a part in this process."""
    assert _process is not None
    batch, words = _process
    with _saying(words, part.index) as progress:
        batch.telling(progress).score_part(input.location, input.folder, part, completes=False)


@contextlib.contextmanager
def _saying(words: Any, index: int) -> Iterator[Progress]:
    """The progress of a part, said now and then, and at its end."""
    last, told = 0.0, (0, 0, 0)

    def tell(done: int, rows: int, rejected: int) -> None:
        nonlocal last, told
        told = (done, rows, rejected)
        if time.monotonic() - last >= SAY:
            last = time.monotonic()
            words.put((index, *told))

    yield tell
    words.put((index, *told))
