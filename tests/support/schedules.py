"""Every schedule of a few runs of the real ``Batch``, over a model of object storage.

A run is a function of what storage answered it so far: to the next call, or to its end. So the real code
is asked once for each list of answers (``Script`` plays them, and stops the run at the first call that has
none), and the explorer interleaves calls, not threads. It visits each state once: the objects, and where
each run stands. Names that only have to differ (runs, generations) are numbered afresh in each state, so
that states that differ in these alone are one.

The storage has no stale reads, as S3 and GCS have none. One call is one step: an upload appears when it
ends, and a download is of one version. ``Scenario.etags`` says what an etag is made of.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np

from handler.batch.naming import PREDICTIONS, REJECTED, SUMMARY
from handler.batch.run import Batch
from handler.faults import Changed, PassingFault, StorageDown
from handler.manifest import Feature, Manifest
from handler.scoring.model import Model
from handler.scoring.scorers import Scores
from handler.settings import Settings
from handler.storage.locations import Location, Version

#: An older and a newer model; their manifests' ``created``.
CREATED = {"A": "2026-01-01T00:00:00+00:00", "B": "2026-02-01T00:00:00+00:00"}
#: Two versions of the input, and what is in it for each model to predict. The second has a rejected row.
INPUTS = {"v1": "value\n1\n", "v2": "value\n2\nx\n"}
REJECTS = {
    "v1": "line,column,code,reason,row\n",
    "v2": "line,column,code,reason,row\n3,value,not_a_number,'value' must be a whole number,x\n",
}
#: ``content``: S3's, equal for equal bytes. ``write``: S3's under KMS, another for each write.
#: ``generation``: GCS's, of the content, beside a generation for each write. ``alike``: ``content``, if
#: summaries did not name their run.
Etags = Literal["content", "write", "generation", "alike"]


class Stored(NamedTuple):
    """One state of an object. ``<n>`` in a text names the n-th attempt of a run, and what it wrote."""

    content: str
    etag: str
    generation: str | None = None
    run: str | None = None

    @property
    def identity(self) -> str:
        return self.generation or self.etag


class Upload(NamedTuple):
    source: Location
    input: str


class Call(NamedTuple):
    """A call of storage that a run waits in; ``location`` tells sources and outputs."""

    verb: Literal["version", "read", "stream", "put", "replace"]
    location: Location
    content: str = ""
    condition: str | None = None
    run: str | None = None
    conditional: bool = True


class End(NamedTuple):
    """How a run ended: by itself, skipped, raising an error, or at a new attempt."""

    how: Literal["scored", "skipped", "raised", "again"]
    why: str = ""


Step = Call | End
T = TypeVar("T")


class _Stop(BaseException):
    """Leaves the run at its first call without an answer."""

    def __init__(self, step: Step) -> None:
        self.step = step


class Script:
    """Storage that plays a list of answers to one attempt of a run."""

    def __init__(self, answers: Sequence[Any]) -> None:
        self._answers = iter(answers)
        self._attempts = 0
        self._run = ""
        self.open = 0  # uploads that are neither complete nor withdrawn

    def begin(self) -> None:
        self._attempts += 1
        if self._attempts > 1:
            raise _Stop(End("again"))

    def _ask(self, call: Call) -> Any:
        for answer in self._answers:
            if isinstance(answer, Exception):
                raise answer
            return answer
        raise _Stop(call)

    def _version(self, stored: Stored | None) -> Version | None:
        if stored is None:
            return None
        run = self._run if stored.run == "<0>" else stored.run
        return Version(stored.etag, stored.generation, len(stored.content), run)

    def version(self, location: Location) -> Version | None:
        return self._version(self._ask(Call("version", location)))

    def read(self, location: Location) -> tuple[bytes, Version] | None:
        stored = self._ask(Call("read", location))
        version = self._version(stored)
        return (stored.content.encode(), version) if version else None

    def stream(self, location: Location, version: Version | None) -> Iterator[bytes]:
        condition = version.identity if version else None
        stored = self._ask(Call("stream", location, "", condition, None, version is not None))
        yield stored.content.encode()

    def replace(
        self, location: Location, content: bytes, old: Version | None, always: bool = False
    ) -> None:
        document = json.loads(content)
        self._run = document["run"]
        text = json.dumps({**document, "seconds": 0, "created": ""}).replace(self._run, "<0>")
        self._ask(Call("replace", location, text, old.identity if old else None, None, not always))

    @contextlib.contextmanager
    def writer(self, location: Location, run: str) -> Iterator[Any]:
        self._run = run
        parts: list[bytes] = []

        class Sink:
            def write(self, data: bytes) -> None:
                parts.append(data)

        self.open += 1
        try:
            yield Sink()
            self._ask(Call("put", location, b"".join(parts).decode(), None, "<0>"))
        finally:
            self.open -= 1


class Watched(Batch):
    """Tells the script where an attempt begins: it knows nothing of those before it."""

    def _attempt(self, *options: Any) -> Any:
        self._storage.begin()  # type: ignore[attr-defined]
        return super()._attempt(*options)


class Adds:
    """Predicts the value plus a constant, so that a prediction tells the input and the model."""

    def __init__(self, constant: int) -> None:
        self._constant = constant

    def score(self, columns: Any) -> Scores:
        return Scores(np.asarray(columns["value"]) + self._constant, None)


@functools.cache
def model(version: str) -> Model:
    manifest = Manifest(
        name="m", version=version, created=CREATED[version], task="regression",
        features=(Feature("value", "integer"),), target="y", classes=(), metrics={}, runtime="onnx",
        parity={}, libraries={}, training={}, files={},
    )  # fmt: skip
    return Model.of(manifest, Adds(ord(version)))


def predictions(version: str, scorer: str) -> str:
    value = int(version[1])
    return f"value,prediction\n{value},{value + ord(scorer)}.0\n"


@dataclass(frozen=True)
class Scenario:
    """``runs``: for each, the model and the number of uploads that come before its event."""

    uploads: tuple[Upload, ...]
    runs: tuple[tuple[str, int], ...]
    etags: Etags = "content"
    faults: int = 1


#: What a mutant makes of a batch and of the storage that it is given.
Mutant = Callable[[Any], tuple[type[Batch], Any]]
BUCKET = "in"
SOURCE = Location("s3", BUCKET, "c.csv")
OUTPUT = Location("s3", "out", "scored")
FOLDER = OUTPUT.child("c.csv")
NAMES = (PREDICTIONS, REJECTED, SUMMARY)


#: The numbers of an attempt of which nothing is stored, of one that stores something now, and of one
#: that others wrote over.
UNSEEN, NEW, GONE = 60, 61, 62


class Node:
    """A run after a list of answers, in which ``<0>`` is its own attempt and others are numbered."""

    __slots__ = ("after", "answers", "children", "number", "step")

    def __init__(self, number: int, answers: tuple[Any, ...], step: Step, after: str) -> None:
        self.number = number
        self.answers = answers
        self.step = step
        self.after = after  # the verb of the call before
        self.children: dict[Any, Node] = {}


class Run(NamedTuple):
    """Where a run stands. ``node`` is -1 while its event waits; ``names`` are its attempts' numbers.

    ``fresh``: it began after the last upload; ``seen``: the summary that it read, until it reads the input.
    """

    model: str
    source: int
    after: int
    node: int = -1
    names: tuple[int, ...] = ()
    fresh: bool = False
    seen: Stored | None = None


Outputs = tuple[Stored | None, Stored | None, Stored | None]


#: Uploads so far, objects and runs by their numbers in the explorer's lists, faults that are left, and the
#: newest model of which a run has ended that began after the last upload.
State = tuple[int, int, tuple[int, ...], int, str]


class Move(NamedTuple):
    """What one step of one run comes to: the objects and where it stands; -1 where it has ended."""

    label: str
    outputs: int
    run: int
    fault: bool = False
    ended: str = ""


class Violation(AssertionError):
    """A schedule that ends, or passes, where the protocol must not."""


class Numbers(Generic[T]):
    """Things by number, each once."""

    def __init__(self) -> None:
        self._numbers: dict[T, int] = {}
        self.things: list[T] = []

    def of(self, thing: T) -> int:
        number = self._numbers.setdefault(thing, len(self.things))
        if number == len(self.things):
            self.things.append(thing)
        return number


class Explorer:
    """Walks through all schedules of a scenario; ``mutant`` says what the real code is given."""

    def __init__(self, scenario: Scenario, mutant: Mutant = lambda script: (Watched, script)) -> None:
        self._scenario = scenario
        self._mutant = mutant
        self._sources = sorted({upload.source for upload in scenario.uploads}, key=str)
        #: Where the same bytes come back with the same etag, an older model may have the last word: the
        #: newer one's run was skipped for the summary of the first time, which the older one then replaces.
        inputs = [upload.input for upload in scenario.uploads]
        comes_back = len(set(inputs)) < len(inputs) and scenario.etags == "content"
        self._is_ranked = len(self._sources) == 1 and not comes_back
        self._models = sorted({version for version, _ in scenario.runs})
        self._nodes: list[Node] = []
        self._roots: dict[tuple[str, int], Node] = {}
        self._runs: Numbers[Run] = Numbers()
        self._outputs: Numbers[Outputs] = Numbers()
        self._tables: dict[int, tuple[int, dict[int, int]]] = {}
        self._known_moves: defaultdict[tuple[int, int], dict[int, tuple[bool, list[Move]]]]
        self._known_moves = defaultdict(dict)  # by uploads and outputs, then by run
        self._renumbered: defaultdict[int, dict[int, int]] = defaultdict(dict)  # by outputs, then by run
        self.parents: dict[State, State | None] = {}
        self.steps = 0

    # The real code.

    def _play(self, run: Run, answers: tuple[Any, ...], after: str) -> Node:
        script = Script(answers)
        kind, storage = self._mutant(script)
        batch = kind(model(run.model), Settings(output_uri=str(OUTPUT), workers=1), storage)
        step: Step
        try:
            scored = batch.run(self._sources[run.source])
            step = End("skipped", scored.skipped) if scored.skipped else End("scored")
        except _Stop as stop:
            step = stop.step
        except PassingFault as error:
            step = End("raised", type(error).__name__)
        if script.open:
            raise Violation(f"an upload was forgotten after {answers}")
        node = Node(len(self._nodes), answers, step, after)
        self._nodes.append(node)
        return node

    def _root(self, run: Run) -> Node:
        key = run.model, run.source
        if key not in self._roots:
            self._roots[key] = self._play(run, (), "")
        return self._roots[key]

    def _next(self, node: Node, run: Run, answer: Any) -> Node:
        key = str(answer) if isinstance(answer, Exception) else answer
        if key not in node.children:
            assert isinstance(node.step, Call)
            node.children[key] = self._play(run, (*node.answers, answer), node.step.verb)
        return node.children[key]

    # The schedules.

    def explore(self) -> None:
        """Visit every state; raises ``Violation`` with the schedule that leads to a wrong one."""
        uploads = self._scenario.uploads
        runs = sorted(
            self._runs.of(Run(version, self._sources.index(uploads[after - 1].source), after))
            for version, after in self._scenario.runs
        )
        first: State = (1, self._outputs.of((None, None, None)), tuple(runs), self._scenario.faults, "")
        self.parents[first] = None
        waiting = [first]
        while waiting:
            state = waiting.pop()
            try:
                moves = self._moves(state)
            except Violation as violation:
                raise Violation("\n".join([str(violation), *self._schedule(state)])) from None
            self.steps += len(moves)
            for _, after in moves:
                if after not in self.parents:
                    self.parents[after] = state
                    waiting.append(after)
        if not any(not runs for _, _, runs, _, _ in self.parents):
            raise Violation("no schedule ends")

    def _schedule(self, state: State) -> list[str]:
        labels = []
        while (parent := self.parents[state]) is not None:
            labels.append(next(label for label, after in self._moves(parent) if after == state))
            state = parent
        return labels[::-1]

    def _moves(self, state: State) -> list[tuple[str, State]]:
        """The states that come next; called millions of times, so that look-ups stand in place."""
        uploaded, outputs, runs, faults, required = state
        known = self._known_moves[uploaded, outputs]
        is_last = uploaded == len(self._scenario.uploads)
        found: list[tuple[str, State]] = []
        if not is_last:
            label = f"upload {self._scenario.uploads[uploaded].input}"
            found.append((label, (uploaded + 1, outputs, runs, faults, required)))
        elif not runs:
            self._check(state)
        each: list[tuple[int, list[Move]]] = []
        before = None
        for place, run in enumerate(runs):
            if run == before:
                continue
            before = run
            own, moves = known[run] if run in known else self._moves_of(uploaded, outputs, run)
            if own and is_last:
                # A step that neither depends on what others do nor matters to them need not be tried later.
                each = [(place, moves)]
                break
            each.append((place, moves))
        for place, moves in each:
            others = runs[:place] + runs[place + 1 :]
            for label, after, run, fault, ended in moves:
                if fault and not faults:
                    continue
                now: Sequence[int] = others if run < 0 else (*others, run)
                if after != outputs:
                    renumbered = self._renumbered[after]
                    now = [
                        renumbered[one] if one in renumbered else self._run_numbered(one, after)
                        for one in now
                    ]
                    after = self._table(after)[0]
                newest = ended if ended > required else required
                found.append((label, (uploaded, after, tuple(sorted(now)), faults - fault, newest)))
        return found

    def _table(self, outputs: int) -> tuple[int, dict[int, int]]:
        """Outputs with the attempts of which something is stored numbered as they occur there."""
        if outputs not in self._tables:
            stored = self._outputs.things[outputs]
            table = tuple(dict.fromkeys(name for one in stored for name in _names(one)))
            mapped = {old: new for new, old in enumerate(table)}
            renamed = tuple(one and _renamed(one, tuple(sorted(mapped.items()))) for one in stored)
            self._tables[outputs] = self._outputs.of(renamed), mapped  # type: ignore[arg-type]
        return self._tables[outputs]

    def _run_numbered(self, number: int, outputs: int) -> int:
        """The run with its attempts numbered as in these outputs.

        Any other attempt's name can be equal to none that a run will meet.
        """
        mapped = self._table(outputs)[1]
        run = self._runs.things[number]
        if run.names:
            own = mapped.get(run.names[0], UNSEEN)
            names = (own, *(mapped.get(name, GONE) for name in run.names[1:]))
            numbers = tuple(sorted({**dict.fromkeys(_names(run.seen), GONE), **mapped}.items()))
            run = run._replace(names=names, seen=run.seen and _renamed(run.seen, numbers))
        return self._renumbered[outputs].setdefault(number, self._runs.of(run))

    def _moves_of(self, uploaded: int, outputs: int, run: int) -> tuple[bool, list[Move]]:
        """A run's possible next steps, and whether they have nothing to do with other runs."""
        moves = list(self._move(uploaded, self._outputs.things[outputs], self._runs.things[run]))
        own = len(moves) == 1 and moves[0].outputs == outputs and self._is_own(self._runs.things[run])
        return self._known_moves[uploaded, outputs].setdefault(run, (own, moves))

    def _is_own(self, run: Run) -> bool:
        step = self._nodes[run.node].step if run.node >= 0 else self._root(run).step
        return isinstance(step, Call) and step.location in self._sources

    def _move(self, uploaded: int, outputs: Outputs, run: Run) -> Iterator[Move]:
        if run.after > uploaded:
            return
        if run.node < 0:
            fresh = uploaded == len(self._scenario.uploads)
            run = run._replace(node=self._root(run).number, names=(UNSEEN,), fresh=fresh)
        call = self._nodes[run.node].step
        assert isinstance(call, Call)
        if call.verb in ("put", "replace") and run.names[0] == UNSEEN:
            run = run._replace(names=(NEW, *run.names[1:]))
        answer, after = self._do(uploaded, outputs, call, run)
        landed = after is not outputs
        label = f"{run.model} {call.verb} {call.location.name}"
        yield self._answered(after, run, answer, f"{label}: {'done' if landed else answer}")
        if landed:
            dead = self._runs.of(Run(run.model, run.source, run.after))
            yield Move(f"{label}: done, and dies", self._outputs.of(after), dead, True)
            same = self._runs.of(run)
            yield Move(f"{label}: done, and is sent again", self._outputs.of(after), same, True)
            lost = self._answered(after, run, StorageDown("", ""), f"{label}: done, no answer")
            yield lost._replace(fault=True)

    def _source(self, uploaded: int, source: Location) -> Stored | None:
        for number in range(uploaded, 0, -1):
            upload = self._scenario.uploads[number - 1]
            if upload.source == source:
                return self._stored(INPUTS[upload.input], f"u{number}", None)
        return None

    def _stored(self, content: str, write: str, run: str | None) -> Stored:
        etags = self._scenario.etags
        if etags == "write":
            return Stored(content, f"e{write}", None, run)
        hashed = content.replace(f'"run": "{write}", ', "") if etags == "alike" else content
        # A summary differs from all others by its run, so the run stands for the hash.
        etag = f"h{write}" if f'"run": "{write}"' in hashed else _hash(hashed)
        return Stored(content, etag, f"g{write}" if etags == "generation" else None, run)

    def _do(self, uploaded: int, outputs: Outputs, call: Call, run: Run) -> tuple[Any, Outputs]:
        """What the storage answers, and what it holds then."""
        if call.location in self._sources:
            stored = self._source(uploaded, call.location)
            assert stored is not None
            if call.verb == "stream" and call.conditional and stored.identity != call.condition:
                return Changed(str(call.location)), outputs
            return stored, outputs
        place = NAMES.index(call.location.name)
        stored = outputs[place]
        if call.verb in ("version", "read"):
            return stored, outputs
        condition = _global(call.condition, run.names)
        if call.verb == "replace" and call.conditional and condition != _identity(stored):
            return Changed(str(call.location)), outputs
        content = _global(call.content, run.names) or ""
        node = self._nodes[run.node]
        if node.after == "stream" and call.verb == "put":
            started = _global(_identity(node.answers[1]), run.names)
            if started != _identity(outputs[2]):
                raise Violation("a result that stood before the run had read its input is written over")
        if call.verb == "replace":
            self._check_named(outputs, json.loads(content), run)
        new = self._stored(content, f"<{run.names[0]}>", _global(call.run, run.names))
        return None, (*outputs[:place], new, *outputs[place + 1 :])  # type: ignore[return-value]

    def _answered(self, outputs: Outputs, run: Run, answer: Any, label: str) -> Move:
        """The run goes on with an answer, up to its next call or its end."""
        node = self._nodes[run.node]
        call = node.step
        assert isinstance(call, Call)
        if isinstance(answer, Stored):
            if call.verb == "read":
                run = run._replace(seen=answer)
            answer, names = _local(answer, run.names)
            run = run._replace(names=names)
        node, stored = self._next(node, run, answer), self._outputs.of(outputs)
        if isinstance(node.step, Call):
            if node.step.verb == "stream":
                node, run = self._forgetful(node, run)
            return Move(label, stored, self._runs.of(run._replace(node=node.number)))
        how, why = node.step
        waits = Run(run.model, run.source, run.after)
        if how == "again":
            return Move(label, stored, self._runs.of(waits))
        if how == "raised":
            if why == "Outranked":
                waits = waits._replace(model=self._models[-1])
            return Move(f"{label}; raises {why}", stored, self._runs.of(waits))
        if how == "skipped":
            self._check_skip(run)
        return Move(f"{label}; {how}: {why}", stored, -1, ended=run.model if run.fresh else "")

    def _forgetful(self, node: Node, run: Run) -> tuple[Node, Run]:
        """The node of a run that found the same version and a summary of the same identity, but no more.

        From here on a run needs nothing else of what it found, so that this one stands for all of them.
        """
        version, summary = node.answers[:2]
        if summary is None:
            return node, run._replace(seen=None)
        etag, generation = (_global(text, run.names) for text in (summary.etag, summary.generation))
        assert etag
        answer, names = _local(Stored("{}", etag, generation), run.names[:1])
        same = self._next(self._next(self._root(run), run, version), run, answer)
        return same, run._replace(names=names, seen=None)

    # What must hold.

    def _check_named(self, outputs: Outputs, document: Any, run: Run) -> None:
        """A summary appears after its tables, and names the very ones that its run wrote."""
        if not all(outputs[:2]):
            raise Violation("a summary stands where a table does not")
        version = next(
            name for name, content in INPUTS.items() if len(content) == document["input"]["size"]
        )
        for name, content in ((PREDICTIONS, predictions(version, run.model)), (REJECTED, REJECTS[version])):
            if document["outputs"][name] != self._stored(content, f"<{run.names[0]}>", None).etag:
                raise Violation(f"a summary names a {name} that its run did not write")

    def _check_skip(self, run: Run) -> None:
        if run.seen is None:
            raise Violation("a run is skipped where no summary stands")
        if json.loads(run.seen.content)["input"]["uri"] != str(self._sources[run.source]):
            raise Violation("a run is skipped for another input's summary")

    def _check(self, state: State) -> None:
        """All events are handled: the outputs are the newest input's, by the model that wins."""
        uploaded, outputs, _, _, required = state
        predicted, rejected, summary = self._outputs.things[outputs]
        if predicted is None or rejected is None or summary is None:
            raise Violation("an output is missing")
        document = json.loads(summary.content)
        scored, scorer = document["input"], document["model"]["version"]
        source = next(each for each in self._sources if str(each) == scored["uri"])
        stored = self._source(uploaded, source)
        assert stored is not None
        version = next(name for name, content in INPUTS.items() if content == stored.content)
        if (scored["etag"], scored["generation"]) != (stored.etag, stored.generation):
            raise Violation("the summary is of an older input")
        if document["outputs"] != {PREDICTIONS: predicted.etag, REJECTED: rejected.etag}:
            raise Violation("the summary's etags are not the tables'")
        if (predicted.content, rejected.content) != (predictions(version, scorer), REJECTS[version]):
            raise Violation("the tables are not those of the newest input")
        rejects = REJECTS[version].count("\n") - 1
        if document["rows"] != {"read": 1 + rejects, "scored": 1, "rejected": rejects}:
            raise Violation("the counts do not add up")
        if self._is_ranked and scorer < required:
            raise Violation("an older model has replaced a newer one's result")


def explored(scenario: Scenario) -> tuple[int, int]:
    """How many states and steps a scenario has; raises ``Violation``."""
    explorer = Explorer(scenario)
    gc.disable()  # it would walk through the growing states again and again, and none are garbage
    try:
        explorer.explore()
    finally:
        gc.enable()
    return len(explorer.parents), explorer.steps


def _identity(stored: Stored | None) -> str | None:
    return stored.identity if stored else None


@functools.cache
def _hash(content: str) -> str:
    return hashlib.md5(content.encode()).hexdigest()[:8]


_NAME = re.compile(r"<(\d+)>")


@functools.cache
def _names(stored: Stored | None) -> tuple[int, ...]:
    found: list[int] = []
    for text in stored or ():
        found += map(int, _NAME.findall(text or ""))
    return tuple(dict.fromkeys(found))


@functools.cache
def _local(stored: Stored, names: tuple[int, ...]) -> tuple[Stored, tuple[int, ...]]:
    names = tuple(dict.fromkeys((*names, *_names(stored))))
    return Stored(
        *(text and _NAME.sub(lambda m: f"<{names.index(int(m[1]))}>", text) for text in stored)
    ), names


@functools.cache
def _renamed(stored: Stored, numbers: tuple[tuple[int, int], ...]) -> Stored:
    table = dict(numbers)
    return Stored(*(text and _NAME.sub(lambda found: f"<{table[int(found[1])]}>", text) for text in stored))


@functools.cache
def _global(text: str | None, names: tuple[int, ...]) -> str | None:
    return text and _NAME.sub(lambda found: f"<{names[int(found[1])]}>", text)
