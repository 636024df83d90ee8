"""Large tables in parts: in processes on one machine, or as one of several tasks that share them out."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
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
from handler.faults import NotComplete
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.deadline import RESERVE, TICK, Deadline
from handler.storage.storage import Storage


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
        """Score the parts of this task one after the other; the task that ends last joins all."""
        assert self.settings.task is not None
        index, count = self.settings.task
        mine = [part for part in planned if part.index % count == index]
        total = _Sum(progress)
        for part in mine:
            start = time.monotonic()
            batch = self.batch.telling(lambda *told, part=part: total.tell(part.index, *told))
            scored = batch.score_part(input.location, input.folder, part, completes=False)
            total.end(part)
            seconds = round(time.monotonic() - start, 3)
            fields = {"input": str(input.location), "part": part.index, "of": part.of, "rows": scored.rows}
            telemetry.event("INFO", "part", **fields, seconds=seconds, **scored.log_fields)
        with contextlib.suppress(NotComplete):
            return self.batch.join(input.location, input.folder)
        return Scored(skipped=f"task {index} of {count} has scored its parts, and others are not done yet")

    def _side_by_side(self, input: Input, planned: list[Part], progress: Progress) -> None:
        processes = min(len(planned), self.settings.processors)
        settings = self.settings._replace(workers=max(1, self.settings.workers // processes))
        context = multiprocessing.get_context("spawn")  # a fork would lack the client's and polars' threads
        # Neither has a lock, which a process that is killed would keep.
        end = context.Value("d", float("inf"), lock=False)
        counts = context.Array("q", 3 * len(planned), lock=False)
        pool = ProcessPoolExecutor(processes, context, _begin, (settings, end, counts))
        # Processes begin here, and with this thread's mask: Ctrl-C is for the one that has started them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        waiting: dict[Future[None], Part] = {pool.submit(_score, input, part): part for part in planned}
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
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
                        counts[3 * part.index] = part.end - part.start  # however many were read
                progress(*(sum(counts[column::3]) for column in range(3)))
            self.deadline.check(input.location)
        except BrokenProcessPool as error:
            self.deadline.check(input.location)  # a signal to all processes ends those that score at once
            raise FunctionError(
                f"a process that scored parts of {input.word} was killed, perhaps for its memory: lower "
                "WORKERS, or start the same command again; parts that are done are skipped"
            ) from error
        finally:
            end.value = time.monotonic() + RESERVE  # those that still score withdraw their uploads
            pool.shutdown(cancel_futures=True)


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


#: What a process that scores parts has: its batch, and the counts of all parts, three of each.
_process: tuple[Batch, Any] | None = None


def _begin(settings: Settings, end: Any, counts: Any) -> None:
    """A process begins, and loads the model. ``end``: when its time is over, on the machine's clock."""
    global _process
    threading.Thread(target=_end_with_parent, daemon=True).start()
    telemetry.configure(settings)
    deadline = Deadline(lambda: end.value - time.monotonic())
    model = Model.load(settings.model_dir, settings.model_public_key)
    storage = Storage(settings.allow_http).within(deadline)
    _process = Batch(model, settings, storage, deadline), counts


def _end_with_parent() -> None:
    """End this process if the one that has started it is killed: nothing else would tell it."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _score(input: Input, part: Part) -> None:
    """Score a part in this process."""
    assert _process is not None
    batch, counts = _process

    def tell(done: int, rows: int, rejected: int) -> None:
        start = 3 * part.index
        counts[start : start + 3] = [min(done, part.end - part.start), rows, rejected]

    batch.telling(tell).score_part(input.location, input.folder, part, completes=False)
