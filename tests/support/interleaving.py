"""Runs of the real ``Batch`` that take turns at a storage of the test's, call by call.

The storage is a fake at the seam that ``Batch`` takes: each of its calls is atomic, as S3's are, and waits
until the test lets it happen, or kills the run instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from handler.faults import Changed, PassingFault
from handler.storage.locations import Location, Version

PATIENCE = 60
#: ``content``: S3's, equal for equal bytes. ``write``: S3's under KMS, another for each write.
#: ``generation``: GCS's, of the content, beside a generation for each write.
Etags = Literal["content", "write", "generation"]


class Killed(BaseException):
    """The process is gone: nothing that it would still have done is done."""


@dataclass(eq=False)
class Runner:
    """One invocation in a thread of its own, which moves only when it is told to.

    ``fault``: the passing fault that it raised in the end. A bug is raised by the step that meets it.
    """

    work: Callable[[Runner], Any]
    turn: threading.Lock = field(default_factory=threading.Lock)
    done: threading.Lock = field(default_factory=threading.Lock)
    kill: bool = False
    over: bool = False
    result: Any = None
    fault: PassingFault | None = None
    bug: Exception | None = None

    def __post_init__(self) -> None:
        self._one = threading.Lock()
        self.turn.acquire()  # both are held but for a hand-over
        self.done.acquire()
        self.thread = threading.Thread(target=self._main, daemon=True)
        self.thread.start()

    def _main(self) -> None:
        try:
            self._wait()
            self.result = self.work(self)
        except Killed:
            pass
        except PassingFault as fault:
            self.fault = fault
        except Exception as bug:  # noqa: BLE001
            self.bug = bug
        self.over = True
        self.done.release()

    def _wait(self) -> None:
        if not self.turn.acquire(timeout=PATIENCE) or self.kill:
            self.kill = True
            raise Killed

    def pause(self) -> None:
        """Called in the runner's threads, one at a time: until its next turn."""
        with self._one:
            if self.kill:
                raise Killed
            self.done.release()
            self._wait()

    def step(self, kill: bool = False) -> None:
        """Called by the test: let it make one storage call, or die instead of it."""
        self.kill = kill
        self.turn.release()
        assert self.done.acquire(timeout=PATIENCE)
        if self.bug is not None:
            raise self.bug

    def end(self) -> None:
        """Leave nothing of it behind."""
        self.kill = True
        self.turn.release()
        self.thread.join(PATIENCE)


@dataclass
class Bucket:
    """What the storage holds, by key: content and version, with the run that wrote it; ``log``: writes."""

    etags: Etags = "write"
    objects: dict[str, tuple[bytes, Version]] = field(default_factory=dict)
    writes: int = 0
    log: list[str] = field(default_factory=list)

    def put(
        self, location: Location, content: bytes, run: str | None = None, write: str | None = None
    ) -> None:
        """Write an object; ``write``: what names this write, instead of the next number."""
        self.writes += 1
        write = write or str(self.writes)
        hashed = hashlib.md5(content).hexdigest()
        etag = f'"{write if self.etags == "write" else hashed}"'
        generation = write if self.etags == "generation" else None
        self.objects[location.key] = content, Version(etag, generation, len(content), run)


class View:
    """The storage as one runner sees it; without a runner, no call waits."""

    def __init__(self, bucket: Bucket, runner: Runner | None = None, name: str = "") -> None:
        self._bucket = bucket
        self._runner = runner
        self._name = name

    def _pause(self, what: str = "", location: Location | None = None) -> None:
        if self._runner is not None:
            self._runner.pause()
        if what and location is not None:
            self._bucket.log.append(f"{self._name} {what} {location.key.rpartition('c.csv/')[2]}")

    def version(self, location: Location) -> Version | None:
        self._pause()
        found = self._bucket.objects.get(location.key)
        return found[1] if found else None

    def stream(
        self, location: Location, version: Version, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        self._pause()
        content, present = self._bucket.objects.get(location.key, (b"", None))
        if present is None or present.identity != version.identity:
            raise Changed(str(location))
        yield content[start:end]

    def read(self, location: Location) -> tuple[bytes, Version] | None:
        self._pause()
        return self._bucket.objects.get(location.key)

    def replace(self, location: Location, content: bytes, old: Version | None) -> None:
        self._pause("replaces", location)
        found = self._bucket.objects.get(location.key)
        if (found[1].identity if found else None) != (old.identity if old else None):
            self._bucket.log[-1] += ": changed"
            raise Changed(str(location))
        self._bucket.put(location, content)

    def list(self, folder: Location) -> Iterator[tuple[Location, Version]]:
        self._pause()
        for key in sorted(self._bucket.objects):
            if key.startswith(f"{folder.key}/"):
                version = replace(self._bucket.objects[key][1], run=None)
                yield Location(folder.scheme, folder.bucket, key), version

    def delete(self, location: Location) -> None:
        self._pause("deletes", location)
        self._bucket.objects.pop(location.key, None)

    @contextlib.contextmanager
    def writer(self, location: Location, run: str) -> Iterator[Any]:
        parts: list[bytes] = []

        class Sink:
            def write(self, data: bytes) -> None:
                parts.append(data)

        yield Sink()
        self._pause("writes", location)
        self._bucket.put(location, b"".join(parts), run)
