"""However the parts of a file interleave, and wherever they are killed, the outputs end right.

Each test plays schedules of the real code, chosen at random by a seed: which run makes its next call of
storage, which one is killed (and its event delivered again), when the next version of the input arrives.
docs/batch.md says what they cover.
"""

from __future__ import annotations

import functools
import json
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest

from handler.batch.parts import Part
from handler.batch.run import Batch
from handler.faults import NotComplete, Outranked
from handler.settings import Settings
from handler.storage.locations import Location
from tests.support.interleaving import Bucket, Etags, Runner, View
from tests.support.schedules import model

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_processor")]

SOURCE = Location("s3", "bucket", "incoming/c.csv")
OUTPUT = Location("s3", "bucket", "scored")
FOLDER = OUTPUT.child(SOURCE.key)
#: Versions of the input: of each, some rows are rejected, so that ``rejected.csv`` tells them apart.
FILES = tuple(
    "".join(["value\n", *(f"{'x' if row % 5 == seed else ''}{row * seed}\n" for row in range(10))]).encode()
    for seed in (1, 2, 3)
)
TABLES = ("predictions.csv", "rejected.csv")
#: Schedules of each scenario and kind of etags; CONTRIBUTING.md says when to play more.
SEEDS = int(os.environ.get("SCHEDULES", "60"))
SETTINGS = Settings(output_uri=str(OUTPUT), workers=1)


@dataclass(frozen=True)
class Event:
    """Something to be handled by a run of the model ``by``, once ``after`` versions have been uploaded."""

    kind: str
    by: str = "A"
    after: int = 1
    part: Part | None = None

    @property
    def name(self) -> str:
        return f"{self.by} {self.kind} v{self.after} {self.part.index if self.part else ''}".strip()


def batch_on(bucket: Bucket, by: str, runner: Runner | None = None, name: str = "") -> Batch:
    storage: Any = View(bucket, runner, name)
    return Batch(model(by), SETTINGS, storage)


def put(bucket: Bucket, number: int) -> None:
    """Upload a version of the input, counted from 1."""
    bucket.put(SOURCE, FILES[number - 1], write=f"v{number}")


@functools.cache
def parts_of(etags: Etags, number: int, by: str, count: int) -> tuple[Part, ...]:
    """The parts of a version: the same in every schedule."""
    aside = Bucket(etags)
    put(aside, number)
    planned = batch_on(aside, by).plan(SOURCE, count=count)
    assert len(planned) == count
    return tuple(planned)


@functools.cache
def in_one_piece(number: int, by: str) -> dict[str, bytes]:
    """What a run of the model writes where nothing else happens, by name."""
    aside = Bucket()
    put(aside, number)
    batch_on(aside, by).score(SOURCE, FOLDER)
    return {name: aside.objects[f"{FOLDER.key}/{name}"][0] for name in (*TABLES, "summary.json")}


class World:
    """A bucket into which versions are uploaded, and the events that come."""

    def __init__(self, seed: object, etags: Etags, versions: int) -> None:
        self.random = random.Random(repr(seed))
        self.bucket = Bucket(etags)
        self.versions = versions
        self.uploaded = 0
        self.kills = 3
        self.events: list[Event] = []
        self.running: list[tuple[Event, Runner]] = []
        self.upload()

    def upload(self) -> None:
        self.bucket.log.append("upload")
        self.uploaded += 1
        put(self.bucket, self.uploaded)

    def plan(self, count: int, by: str = "A", after: int = 1) -> list[Event]:
        """The events of the parts of a version, planned as if it were there."""
        planned = parts_of(self.bucket.etags, after, by, count)
        return [Event("part", by, after, part) for part in planned]

    def planned(self, events: list[Event]) -> list[Event]:
        """The same events, of which ``plan.json`` has the parts."""
        items = [{"part": event.part.as_json()} for event in events if event.part]
        self.bucket.put(FOLDER.child("plan.json"), json.dumps(items).encode())
        return events

    def invoke(self, event: Event) -> None:
        def work(runner: Runner) -> Any:
            batch = batch_on(self.bucket, event.by, runner, event.name)
            if event.kind == "complete":
                return batch.complete(SOURCE)
            if event.kind == "failed":
                return batch.fail(SOURCE, None, "States.TaskFailed")
            part = event.part
            if part is not None and part.etag != "?":
                return batch.run(SOURCE, None, part)
            return batch.run(SOURCE)

        self.running.append((event, Runner(work)))

    def play(self) -> list[Event]:
        """Let everything happen; the events that nothing could come of, as parts were missing."""
        later: list[Event] = []
        try:
            self._all(later)
            self.events, later = later, []
            self.bucket.log.append("what could not be done comes again")
            self._all(later)
        finally:
            for _, runner in self.running:
                runner.end()
        return later

    def _all(self, later: list[Event]) -> None:
        moves = 0
        while self.running or self.events or self.uploaded < self.versions:
            self._move(later)
            moves += 1
            assert moves < 3000, "it does not end"

    def _move(self, later: list[Event]) -> None:
        ready = [event for event in self.events if event.after <= self.uploaded]
        choice = self.random.random()
        if self.uploaded < self.versions and choice < 0.03:
            self.upload()
        elif ready and len(self.running) < 4 and (choice < 0.3 or not self.running):
            event = self.random.choice(ready)
            self.events.remove(event)
            self.invoke(event)
        elif self.running:
            event, runner = self.random.choice(self.running)
            for _ in range(self.random.choice((1, 1, 2, 3, 5, 8, 30))):
                kill = self.kills > 0 and self.random.random() < 0.02
                runner.step(kill)
                if kill:
                    self.kills -= 1
                    self.bucket.log.append(f"{event.name} is killed")
                if runner.over:
                    self._over(event, runner, kill, later)
                    break
        else:
            self.upload()

    def _over(self, event: Event, runner: Runner, kill: bool, later: list[Event]) -> None:
        self.running.remove((event, runner))
        if kill:
            self.events.append(event)
            return
        self.bucket.log.append(f"{event.name} ends: {runner.fault!r} {str(runner.result)[:60]}")
        if isinstance(runner.fault, NotComplete):
            later.append(event)
        elif isinstance(runner.fault, Outranked):
            self.events.append(replace(event, by="B"))
        elif runner.fault is not None:
            self.events.append(event)

    def object(self, name: str) -> bytes:
        return self.bucket.objects[f"{FOLDER.key}/{name}"][0]

    def assert_right(self, by: str) -> Any:
        """The outputs are those of the newest version by this model, and belong together."""
        assert self.bucket.objects[SOURCE.key][0] == FILES[self.versions - 1]
        expected = {name: content.decode() for name, content in in_one_piece(self.versions, by).items()}
        summary = json.loads(self.object("summary.json"))
        assert "error" not in summary
        source = self.bucket.objects[SOURCE.key][1]
        assert (summary["input"]["etag"], summary["input"]["generation"]) == (
            source.etag,
            source.generation,
        )
        assert summary["model"]["version"] == by
        for name, etag in summary["outputs"].items():
            assert self.bucket.objects[f"{FOLDER.key}/{name}"][1].etag == etag, name
        assert self.object("rejected.csv").decode() == expected["rejected.csv"]
        parts = sorted(name for name in summary["outputs"] if name.startswith("predictions/"))
        assert len(parts) == len(summary.get("parts", ()))
        tables = [self.object(name).decode() for name in parts or ["predictions.csv"]]
        header = tables[0].partition("\n")[0] + "\n"
        assert (
            header + "".join(table.removeprefix(header) for table in tables) == expected["predictions.csv"]
        )
        whole = json.loads(expected["summary.json"])
        for member in ("rows", "rejects", "predictions"):
            assert summary[member] == whole[member]
        return summary


COMPLETE = Event("complete")
BY_B = Event("complete", "B")
WHOLE = Event("whole")


def twice(events: list[Event]) -> list[Event]:
    return [*events, *events]


def both(world: World, one: int, two: int) -> list[Event]:
    return [*world.plan(one), *world.plan(two, after=2)]


#: What comes, by name: the versions, and the events; which model wins.
SCENARIOS: dict[str, tuple[int, Callable[[World], list[Event]], str]] = {
    "parts, each twice": (1, lambda w: twice(w.plan(3)), "A"),
    "parts, each twice, and completions": (1, lambda w: [*twice(w.plan(2)), COMPLETE, COMPLETE], "A"),
    "two versions": (2, lambda w: both(w, 3, 3), "A"),
    "two versions, the newer in fewer parts": (2, lambda w: both(w, 4, 2), "A"),
    "two versions, the newer in more parts": (2, lambda w: both(w, 2, 4), "A"),
    "two versions, and completions": (
        2,
        lambda w: [*both(w, 3, 2), COMPLETE, replace(COMPLETE, after=2)],
        "A",
    ),
    "two models": (1, lambda w: [*w.plan(3), *w.plan(3, "B"), BY_B], "B"),
    "two models, the newer in fewer parts": (
        1,
        lambda w: [*w.plan(4), *w.planned(w.plan(2, "B")), BY_B],
        "B",
    ),
    "two models and two versions": (
        2,
        lambda w: [*w.plan(3), *w.plan(2, "B", after=2)],
        "B",
    ),
    "parts, then a newer version in one piece": (2, lambda w: [*w.plan(3), replace(WHOLE, after=2)], "A"),
    "one piece, then a newer version in parts": (2, lambda w: [WHOLE, *w.plan(3, after=2)], "A"),
    "parts and one piece at once": (1, lambda w: [*w.plan(3), WHOLE], "A"),
    "parts and one piece at once, and completions": (1, lambda w: [*w.plan(2), WHOLE, COMPLETE], "A"),
    "parts by the newer model, one piece by the older": (1, lambda w: [*w.plan(2, "B"), WHOLE], "B"),
    "one piece by the newer model, parts by the older": (
        1,
        lambda w: [*w.plan(2), replace(WHOLE, by="B"), COMPLETE],
        "B",
    ),
    "two models, the newer in more parts": (
        1,
        lambda w: [*w.plan(2), *w.planned(w.plan(4, "B")), BY_B],
        "B",
    ),
    "two plans of one version, the later in fewer parts": (
        1,
        lambda w: [*w.plan(4), *w.planned(w.plan(2))],
        "A",
    ),
    "two plans of one version, the later in more parts": (
        1,
        lambda w: [*w.plan(2), *w.planned(w.plan(4)), COMPLETE],
        "A",
    ),
    "in one piece, in parts, in one piece": (
        3,
        lambda w: [WHOLE, *w.plan(3, after=2), replace(WHOLE, after=3)],
        "A",
    ),
    "in parts, in one piece, in parts": (
        3,
        lambda w: [*w.plan(3), replace(WHOLE, after=2), *w.plan(2, after=3)],
        "A",
    ),
    "a failed run beside a good one": (1, lambda w: [*twice(w.plan(2)), Event("failed")], "A"),
}


@pytest.mark.parametrize("etags", get_args(Etags))
@pytest.mark.parametrize("name", SCENARIOS)
def test_any_interleaving_ends_right(name: str, etags: Etags) -> None:
    versions, events, by = SCENARIOS[name]
    for seed in range(SEEDS):
        world = World((name, etags, seed), etags, versions)
        world.events = events(world)
        try:
            assert world.play() == []
            world.assert_right(by)
        except Exception as error:
            raise AssertionError("\n".join([repr(error), f"seed {seed}", *world.bucket.log])) from error
