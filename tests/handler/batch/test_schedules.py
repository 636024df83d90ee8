"""Every schedule of a few runs ends right, and none would without each condition of the protocol.

What the schedules cover is told in docs/batch.md, and is to be changed there with them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from handler.batch.naming import PREDICTIONS, REJECTED
from handler.batch.run import Batch, Scored
from handler.faults import Outranked
from handler.storage.locations import Location, Version
from tests.support.schedules import (
    OUTPUT,
    SOURCE,
    Explorer,
    Scenario,
    Script,
    Upload,
    Violation,
    Watched,
    explored,
)

pytestmark = pytest.mark.slow

V1, V2 = Upload(SOURCE, "v1"), Upload(SOURCE, "v2")
ELSEWHERE = Upload(Location("s3", "other", SOURCE.key), "v1")


def scenario(models: str, uploads: tuple[Upload, ...], events: tuple[int, ...], **options: Any) -> Scenario:
    """One run for each letter, by that model, for the event of the upload of that number."""
    return Scenario(uploads, tuple(zip(models, events, strict=True)), **options)


TWICE_AND_NEW = ((V1, V2), (1, 1, 2))
COMES_BACK = ((V1, V2, V1), (1, 2, 3))
#: Three runs by an older (A) and a newer model (B); which two of two alike runs are whose does not matter.
SCENARIOS = (
    *(scenario(models, *TWICE_AND_NEW) for models in ("ABA", "ABB", "BBA", "AAB", "AAA")),
    *(
        scenario(models, *COMES_BACK, faults=0)
        for models in ("ABA", "BAB", "AAB", "BAA", "ABB", "BBA", "AAA")
    ),
    scenario("BAB", *COMES_BACK, faults=0, etags="generation"),
    scenario("ABA", *TWICE_AND_NEW, faults=0, etags="generation"),
    scenario("ABA", *TWICE_AND_NEW, faults=0, etags="write"),
    scenario("ABA", (V1,), (1, 1, 1)),
)


def test_every_schedule_ends_right() -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        counts = list(pool.map(explored, SCENARIOS))
    states, steps = (sum(each) for each in zip(*counts, strict=True))
    print(f"{states:,} states, {steps:,} steps")
    assert states > 3_000_000  # docs/batch.md says how many


# Mutants: the real code on storage that does not do what one of the protocol's conditions relies on.


class Passing:
    """Storage that passes all calls on; a mutant takes one of its promises back."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.source: tuple[Location, Version | None] | None = None
        self.summary: tuple[bytes, Version] | None = None
        self.streamed = self.wrote = False

    def begin(self) -> None:
        self.script.begin()

    def version(self, location: Location) -> Version | None:
        version = self.script.version(location)
        self.source = self.source or (location, version)
        return version

    def read(self, location: Location) -> tuple[bytes, Version] | None:
        self.summary = self.script.read(location)
        return self.summary

    def stream(self, location: Location, version: Version) -> Iterator[bytes]:
        self.streamed = True
        return self.script.stream(location, version)

    def replace(self, location: Location, content: bytes, old: Version | None) -> None:
        self.script.replace(location, content, old)

    @contextlib.contextmanager
    def writer(self, location: Location, run: str) -> Iterator[Any]:
        with self.script.writer(location, run) as sink:
            yield sink
        self.wrote = True


class ReadsAnyVersion(Passing):
    def stream(self, location: Location, version: Version) -> Iterator[bytes]:  # noqa: ARG002
        return self.script.stream(location, None)


class TrustsTheTables(Passing):
    """The tables are those of any summary that stands."""

    def version(self, location: Location) -> Version | None:
        if location.name in (PREDICTIONS, REJECTED) and not self.wrote and self.summary:
            document = json.loads(self.summary[0])
            return Version(document["outputs"][location.name], None, 0, document["run"])
        return super().version(location)


class TakesEqualTablesForOneRuns(Passing):
    def version(self, location: Location) -> Version | None:
        version = super().version(location)
        return version if version is None or self.wrote else dataclasses.replace(version, run=None)


class TakesAnyTablesForItsOwn(Passing):
    def version(self, location: Location) -> Version | None:
        version = super().version(location)
        return dataclasses.replace(version, run=None) if version and self.wrote else version


class ReplacesAnySummary(Passing):
    def replace(self, location: Location, content: bytes, old: Version | None) -> None:
        self.script.replace(location, content, old, always=True)


class LooksAtTheSummaryOnce(Passing):
    def read(self, location: Location) -> tuple[bytes, Version] | None:
        return self.summary if self.streamed else super().read(location)


class LooksAtTheInputOnce(Passing):
    def version(self, location: Location) -> Version | None:
        if self.streamed and self.source and location == self.source[0]:
            return self.source[1]
        return super().version(location)


class TakesAnyInputsSummary(Passing):
    def read(self, location: Location) -> tuple[bytes, Version] | None:
        stored = super().read(location)
        if stored is None or self.source is None:
            return stored
        document = json.loads(stored[0])
        if "input" in document:
            document["input"]["uri"] = str(self.source[0])
        return json.dumps(document).encode(), stored[1]


class WritesTheSummaryFirst(Passing):
    """The tables appear after the summary; until then their run alone sees them."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self._held: dict[Location, tuple[bytes, str]] = {}

    def version(self, location: Location) -> Version | None:
        if location in self._held:
            content, run = self._held[location]
            return Version(str(len(content)), None, len(content), run)
        return super().version(location)

    @contextlib.contextmanager
    def writer(self, location: Location, run: str) -> Iterator[Any]:
        parts: list[bytes] = []

        class Sink:
            def write(self, data: bytes) -> None:
                parts.append(data)

        yield Sink()
        self._held[location] = b"".join(parts), run

    def replace(self, location: Location, content: bytes, old: Version | None) -> None:
        self.script.replace(location, content, old)
        for table, (data, run) in self._held.items():
            with self.script.writer(table, run) as sink:
                sink.write(data)


class TakesAnyModelsTurn(Watched):
    """No model outranks another, as where a person asks."""

    def run(self, source: Location, output: Location | None = None) -> Scored:
        return self.score(source, (output or OUTPUT).child(source.key))


class LeavesDamage(Watched):
    """A run that damaged a later model's result is content with it."""

    def run(self, source: Location, output: Location | None = None) -> Scored:
        try:
            return super().run(source, output)
        except Outranked:
            return Scored(skipped="a model that was created later has scored it already")


once = functools.cache(explored)  # without a mutant, the same scenario ends right
BACK = scenario("AAA", *COMES_BACK, faults=0)
TWO = scenario("AA", (V1, V2), (1, 2), faults=0)
MODELS = scenario("ABA", (V1,), (1, 1, 1), faults=0)


@pytest.mark.parametrize(
    ("mutant", "where"),
    [
        (ReadsAnyVersion, BACK),
        (TrustsTheTables, TWO),
        (TakesEqualTablesForOneRuns, MODELS),
        (TakesAnyTablesForItsOwn, TWO),
        (ReplacesAnySummary, MODELS),
        (LooksAtTheSummaryOnce, MODELS),
        (LooksAtTheInputOnce, BACK),
        (TakesAnyInputsSummary, scenario("AA", (V1, ELSEWHERE), (1, 2), faults=0)),
        (WritesTheSummaryFirst, scenario("A", (V1,), (1,), faults=0)),
        (TakesAnyModelsTurn, MODELS),
        (LeavesDamage, MODELS),
    ],
)
def test_each_condition_is_needed(mutant: type[Any], where: Scenario) -> None:
    def mutate(script: Script) -> tuple[type[Batch], Any]:
        return (mutant, script) if issubclass(mutant, Batch) else (Watched, mutant(script))

    once(where)
    with pytest.raises(Violation):
        Explorer(where, mutate).explore()


def test_summaries_have_to_differ() -> None:
    """By the run that they name; else a summary that was replaced and comes back is taken for itself."""
    with pytest.raises(Violation):
        Explorer(dataclasses.replace(MODELS, etags="alike")).explore()
