"""Many tables side by side, within the memory that a large one takes; where one fails, the others go on."""

from __future__ import annotations

import collections
import contextlib
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import IO, Any, NamedTuple

from handler.batch.goals import Progress
from handler.batch.inputs import Input, Inputs
from handler.batch.progress import Bar
from handler.batch.run import Scored
from handler.errors import FunctionError
from handler.faults import DeadlineNear
from handler.storage.deadline import TICK, Deadline
from handler.tables.compression import PACKED

#: Tables that are scored at once, at most: a small one in a bucket waits for answers most of the time.
AT_ONCE = 32
#: The same of local ones.
LOCAL = 4
#: The most bytes of tables that are scored at once; of those that are larger than half of it, two are.
ROOM = 64 * 1024 * 1024
#: What a packed byte counts for.
UNPACKED = 10
#: Inputs that failed which are named, at most.
FAULTS = 20


#: What scores one input, and says how far it is.
Scorer = Callable[[Input, Progress], Scored]


class Outcome(NamedTuple):
    """What came of an input, the ``number``-th of all: ``scored``, or ``fault``, why it was not."""

    number: int
    input: Input
    scored: Scored | None
    fault: str | None = None

    @property
    def refused(self) -> str | None:
        """Why the table was refused, if it was."""
        error = (
            None if self.scored is None or self.scored.summary is None else self.scored.summary.get("error")
        )
        return error["message"] if error else None

    def as_json(self) -> dict[str, Any]:
        """The input, the folder of its outputs, and the summary, or why there is none."""
        result = {"failed": self.fault} if self.scored is None else self.scored.as_json()
        return {"input": {"uri": str(self.input.location)}, "output": str(self.input.folder), **result}


class Totals:
    """How many files were scored, skipped, refused, or failed, and the rows of those that were read."""

    def __init__(self) -> None:
        self.files: collections.Counter[str] = collections.Counter()
        self.rows = dict.fromkeys(("read", "scored", "rejected"), 0)
        #: The first inputs that failed, which are named to a person.
        self.faults: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """Count one more input."""
        scored = outcome.scored
        self.files["files"] += 1
        if scored is None:
            self.files["failed"] += 1
            self.faults = [*self.faults, outcome][:FAULTS]
        elif scored.summary is None:
            self.files["skipped"] += 1
        else:
            self.files["refused" if outcome.refused else "scored"] += 1
            for name in self.rows:
                self.rows[name] += scored.summary["rows"][name]

    def as_json(self) -> dict[str, Any]:
        """The counts by their names, and ``rows``."""
        names = ("files", "scored", "skipped", "refused", "failed")
        return {**{name: self.files[name] for name in names}, "rows": dict(self.rows)}

    def __str__(self) -> str:
        files = self.files
        failed = f", {files['failed']:,} failed" if files["failed"] else ""
        return (
            f"{files['files']:,} {'file' if files['files'] == 1 else 'files'}: {files['scored']:,} scored, "
            f"{files['skipped']:,} skipped, {files['refused']:,} refused{failed}; {in_words(self.rows)}"
        )


class Count:
    """How many inputs there are, and their bytes, as far as they are ``known``.

    Those below a prefix are counted by a thread, which is ahead of what is scored: so nobody waits for a
    listing, and none is held in memory.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.files = self.size = 0
        self.known = False
        if inputs.are_listed:
            threading.Thread(target=self._count, args=[inputs], name="count", daemon=True).start()
        else:
            self._count(inputs)

    def __str__(self) -> str:
        return f"{self.files:,}" if self.known else f"more than {self.files:,}"

    def _count(self, inputs: Inputs) -> None:
        with contextlib.suppress(FunctionError):
            for each in inputs:
                if each.fault is not None:
                    return
                self.files += 1
                self.size += each.size
            self.known = True


class Together:
    """One bar over all inputs: what those under way have read is added up."""

    def __init__(self, bar: Bar, count: Count) -> None:
        self._bar, self._count = bar, count
        self._lock = threading.Lock()
        self._files = self._done = self._rows = self._rejected = 0

    @contextlib.contextmanager
    def one(self, input: Input) -> Iterator[Progress]:
        """The progress of one input, which is done when the block ends."""
        last = (0, 0, 0)

        def tell(done: int, rows: int, rejected: int, files: int = 0) -> None:
            nonlocal last
            with self._lock:
                self._files += files
                self._done += min(done, input.size) - last[0]
                self._rows += rows - last[1]
                self._rejected += rejected - last[2]
                last = (min(done, input.size), rows, rejected)
                self._bar.grow(self._count.size)
                alone = self._count.known and self._count.files == 1
                files_done = "" if alone else f"{self._files:,} of {self._count} files, "
                self._bar(self._done, self._rows, self._rejected, files_done)

        yield tell
        tell(input.size, *last[1:], files=1)


class Spool:
    """Texts of one line that come in any order, and are read in that of their numbers, from 0 on.

    They are in a file, as those of a million files do not fit into memory.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._starts = array("Q")

    def put(self, number: int, text: str) -> None:
        """Add a text; every number is to have one before they are read."""
        self._starts.extend([0] * (number + 1 - len(self._starts)))
        self._starts[number] = self._file.tell()
        self._file.write(text.encode() + b"\n")

    def __iter__(self) -> Iterator[str]:
        for start in self._starts:
            self._file.seek(start)
            yield self._file.readline().decode().rstrip("\n")


def score(
    inputs: Iterable[Input], scorer: Scorer, deadline: Deadline, together: Together, alone: bool = False
) -> Iterator[Outcome]:
    """Score each input with ``scorer``, and give what came of it as soon as that is known.

    They are scored side by side, or with ``alone`` one after the other.

    A fault of one input is its outcome, and stops no other. Where ``deadline``, which is that of ``batch``,
    is near, raises ``DeadlineNear`` once those under way have ended: their uploads are withdrawn by then.
    """

    def one(number: int, input: Input) -> Outcome:
        with together.one(input) as progress:
            try:
                return Outcome(number, input, scorer(input, progress))
            except DeadlineNear:
                raise
            except FunctionError as error:
                return Outcome(number, input, None, str(error))

    near: DeadlineNear | None = None
    shares: dict[Future[Outcome], int] = {}

    def ended() -> Iterator[Outcome]:
        nonlocal near
        # The client's library catches Ctrl-C in a way that no wait notices, so that each is to be short.
        for future in wait(shares, TICK, FIRST_COMPLETED).done:
            del shares[future]
            try:
                yield future.result()
            except DeadlineNear as error:
                near = error

    pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="file")
    try:
        try:
            for number, input in enumerate(inputs):
                if input.fault is not None:
                    yield Outcome(number, input, None, input.fault)
                    continue
                share = ROOM if alone else _share(input)
                while sum(shares.values()) + share > ROOM:
                    yield from ended()
                deadline.check(input.location)
                shares[pool.submit(one, number, input)] = share
        except DeadlineNear as error:
            near = error
        while shares:
            yield from ended()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    if near is not None:
        raise near


def _share(input: Input) -> int:
    """The bytes of ``ROOM`` that an input takes. A file on a disk waits for no answer: few are enough."""
    packed = input.location.name.lower().endswith(tuple(PACKED))
    is_local = input.location.scheme == input.folder.scheme == "file"
    size = max(input.size * (UNPACKED if packed else 1), ROOM // (LOCAL if is_local else AT_ONCE))
    return min(size, ROOM // 2)


def in_words(rows: Mapping[str, int]) -> str:
    """How many rows were read, scored and rejected."""
    return (
        f"{rows['read']:,} {'row' if rows['read'] == 1 else 'rows'}, {rows['scored']:,} scored, "
        f"{rows['rejected']:,} rejected"
    )
