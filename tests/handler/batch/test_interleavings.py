"""However runs interleave and wherever they are killed, the outputs end as those of the newest version.

The store is a fake at the seam that ``Batch`` takes: each of its calls is atomic, as S3's are, and waits
until the test lets it happen. Hypothesis chooses who goes next, who is killed, and when a new version or
a new model arrives.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.batch.run import Batch
from handler.bundle import Feature
from handler.errors import Changed
from handler.scoring.model import Model
from handler.scoring.scorers import Scores
from handler.settings import Settings
from handler.storage.locations import Location, Version

pytestmark = pytest.mark.slow

SOURCE = Location("s3", "bucket", "incoming/c.csv")
FOLDER = Location("s3", "bucket", "scored/incoming/c.csv")
PATIENCE = 30


class Killed(BaseException):
    """The process is gone: nothing that it would still have done is done."""


class Sums:
    """A model whose prediction is the feature, so that outputs tell which input they are of."""

    def score(self, columns: Any) -> Scores:
        return Scores(np.asarray(columns["value"]), None)


@dataclass(eq=False)
class Runner:
    """One invocation in a thread of its own, which moves only when it is told to."""

    work: Callable[[Runner], None]
    model: str
    turn: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    kill: bool = False
    over: bool = False

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._main, daemon=True)
        self.thread.start()

    def _main(self) -> None:
        with contextlib.suppress(Killed):
            self.wait()
            self.work(self)
        self.over = True
        self.done.release()

    def wait(self) -> None:
        """Called in the runner's thread: until its next turn."""
        if not self.turn.acquire(timeout=PATIENCE) or self.kill:
            raise Killed

    def pause(self) -> None:
        self.done.release()
        self.wait()

    def step(self, kill: bool = False) -> None:
        """Called by the test: let it make one storage call, or die instead of it."""
        self.kill = kill
        self.turn.release()
        assert self.done.acquire(timeout=PATIENCE)


@dataclass
class Bucket:
    """What the storage holds: content, version and the run that wrote it, by key."""

    objects: dict[str, tuple[bytes, Version]] = field(default_factory=dict)
    writes: int = 0

    def put(self, location: Location, content: bytes, run: str | None = None) -> None:
        self.writes += 1
        version = Version(etag=f'"{self.writes}"', generation=None, size=len(content), run=run)
        self.objects[location.key] = content, version


class View:
    """The storage as one runner sees it."""

    def __init__(self, bucket: Bucket, runner: Runner) -> None:
        self._bucket = bucket
        self._runner = runner

    def version(self, location: Location) -> Version | None:
        self._runner.pause()
        found = self._bucket.objects.get(location.key)
        return found[1] if found else None

    def stream(self, location: Location, version: Version) -> Iterator[bytes]:
        self._runner.pause()
        content, present = self._bucket.objects[location.key]
        if present.etag != version.etag:
            raise Changed(str(location))
        yield content

    def read(self, location: Location) -> tuple[bytes, Version] | None:
        self._runner.pause()
        return self._bucket.objects.get(location.key)

    def replace(self, location: Location, content: bytes, old: Version | None) -> None:
        self._runner.pause()
        found = self._bucket.objects.get(location.key)
        if (found[1].etag if found else None) != (old.etag if old else None):
            raise Changed(str(location))
        self._bucket.put(location, content)

    @contextlib.contextmanager
    def writer(self, location: Location, run: str) -> Iterator[Any]:
        parts: list[bytes] = []

        class Sink:
            def write(self, data: bytes) -> None:
                parts.append(data)

        yield Sink()
        self._runner.pause()
        self._bucket.put(location, b"".join(parts), run)


def echo(base: Model, version: str) -> Model:
    created = f"2026-01-0{version[-1]}T00:00:00+00:00"
    manifest = base.manifest._replace(
        version=version, created=created, task="regression", classes=(), golden=(),
        features=(Feature("value", "integer"),),
    )  # fmt: skip
    return Model.of(manifest, Sums())


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_interleaving_ends_with_the_newest_version(data: Any, model: Model) -> None:
    bucket = Bucket()
    versions = [1]
    models = {name: echo(model, name) for name in ("m1", "m2")}
    newest = "m1"

    def upload() -> None:
        bucket.put(SOURCE, f"value\n{versions[-1]}\n".encode())

    def invoke(name: str) -> Runner:
        def work(runner: Runner) -> None:
            view: Any = View(bucket, runner)
            Batch(models[name], Settings(workers=1), view).score(SOURCE, FOLDER)

        return Runner(work, name)

    upload()
    running = [invoke(newest)]
    try:
        moves = data.draw(st.integers(5, 60))
        for _ in range(moves):
            move = data.draw(
                st.sampled_from(["step", "step", "step", "step", "kill", "upload", "again", "deploy"])
            )
            if move == "upload" and len(versions) < 4:
                versions.append(versions[-1] + 1)
                upload()
                running.append(invoke(newest))
            elif move == "again" and len(running) < 6:
                running.append(invoke(newest))
            elif move == "deploy" and newest == "m1" and not any(each.model == "m1" for each in running):
                newest = "m2"
                running.append(invoke(newest))
            elif running:
                runner = running[data.draw(st.integers(0, len(running) - 1))]
                runner.step(kill=move == "kill")
                if runner.over:
                    running.remove(runner)
                    if move == "kill":  # the platform sends the event of a dead invocation again
                        running.append(invoke(newest))
        while running:
            runner = running[data.draw(st.integers(0, len(running) - 1))]
            runner.step()
            if runner.over:
                running.remove(runner)
    finally:  # Hypothesis may leave in the middle
        for runner in running:
            runner.kill = True
            runner.turn.release()
            runner.thread.join(PATIENCE)

    predictions, made = bucket.objects[f"{FOLDER.key}/predictions.csv"]
    rejected, refused = bucket.objects[f"{FOLDER.key}/rejected.csv"]
    summary = json.loads(bucket.objects[f"{FOLDER.key}/summary.json"][0])
    assert predictions.decode().split() == ["value,prediction", f"{versions[-1]},{versions[-1]}.0"]
    assert rejected.decode() == "line,column,code,reason,row\n"
    assert summary["outputs"] == {"predictions.csv": made.etag, "rejected.csv": refused.etag}
    assert summary["input"]["etag"] == bucket.objects[SOURCE.key][1].etag
    assert summary["model"]["version"] == newest
