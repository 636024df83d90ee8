"""One object in, three objects out: ``predictions.csv``, ``rejected.csv``, and last ``summary.json``.

How repeated, late and simultaneous events come to one right result, with no lock and no table:

1. A run scores the version of the input that is there now, whichever its event named, and reads it
   under the condition that it stays that version.
2. It skips a version that this model, or one that was created later, has scored according to
   ``summary.json``, if the outputs still are the ones that the summary names. Where a later model's are
   not, only that model can mend them: the run raises, and the platform delivers the event again.
3. It writes both outputs, each whole or not at all, and then the summary under the condition that
   nobody has written one since step 2. Where the condition fails, another run was at work, whose
   outputs may now be mixed with ours: it starts again at step 1, and so mends them.
4. If the input is another version by now, it starts again too: the newer version's event may have been
   skipped because of the summary that this run has just replaced.

A run that dies between 3's writes leaves a summary that does not match the outputs; its event comes
again, and step 2 sees the mismatch. ``docs/batch.md`` says what is tested of this, and how.

A part of a file is written by the same steps: two tables, and its record in the place of the summary.
Whoever finds the records of all parts joins them by the same steps: ``rejected.csv``, and the summary.
"""

from __future__ import annotations

import contextlib
import copy
import json
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from handler import telemetry
from handler.batch import parts
from handler.batch.blocks import Tally
from handler.batch.goals import Goal, Goals, HandOver, Progress
from handler.batch.naming import (
    PART_PREDICTIONS,
    PART_REJECTED,
    PLAN,
    PREDICTIONS,
    REJECTED,
    SUMMARY,
    into,
    is_output,
    is_part,
)
from handler.batch.parts import Part
from handler.errors import Forbidden, InvalidBody, SettingError
from handler.faults import Changed, NoObject, NotComplete, Outranked, PassingFault
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.deadline import Deadline
from handler.storage.locations import Location, Sink, Version
from handler.storage.storage import Storage
from handler.tables.errors import InvalidCsv

#: Each time that a run starts again, another run has written, or the input has changed.
ATTEMPTS = 50
#: The code of a summary that says that the run of a file in parts has failed; such a file is not done.
RUN_FAILED = "run_failed"


#: Why nothing is scored: the input was deleted, or never was there; or it is not one; or its parts are of
#: an earlier version.
GONE, OWN = "it is not there any more", "it is an output of scoring"
REPLACED = "it has changed since it was planned"


@dataclass(frozen=True, slots=True)
class Scored:
    """The result of a run: ``summary`` as written, or ``skipped``, the reason why none was written, or
    ``started``, the execution of a job that will write it.

    Of a part, ``summary`` is its record, and ``complete`` whether the file's summary stands by now.
    """

    summary: Mapping[str, Any] | None = None
    skipped: str | None = None
    complete: bool | None = None
    started: str | None = None

    @property
    def rows(self) -> int:
        """Rows read; none where the run was skipped."""
        return int(self.summary["rows"]["read"]) if self.summary is not None else 0

    @property
    def drift(self) -> float | None:
        """The largest index of the file's drift; None where it is not judged, and of a part."""
        if self.summary is None or "part" in self.summary:
            return None  # the parts of a file that is sorted are unlike each other
        return (self.summary.get("drift") or {}).get("largest")

    @property
    def log_fields(self) -> dict[str, object]:
        """The fields of the log line, beside the rows read."""
        if self.summary is None:
            return {"skipped": self.skipped, "started": self.started}
        fault = self.summary.get("error")
        return {
            "rejected": self.summary["rows"]["rejected"],
            "fault": fault["code"] if fault else None,
            "drift": self.drift,
        }

    def as_json(self) -> dict[str, Any]:
        """The summary, or why there is none."""
        if self.started is not None:
            return {"started": self.started}
        document = dict(self.summary) if self.summary is not None else {"skipped": self.skipped}
        return document if self.complete is None else {**document, "complete": self.complete}


class Batch:
    """Scores objects with one loaded model; runs side by side share its threads.

    ``deadline`` says when a run gives up; ``storage`` must know it too (``Storage.within``). ``progress``
    is called with the totals of bytes read, rows read and rows rejected.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        storage: Storage,
        deadline: Deadline = Deadline(),  # noqa: B008
        progress: Progress = lambda *_: None,
    ) -> None:
        self._model = model
        self._settings = settings
        self._storage = storage
        self._deadline = deadline
        self._goals = Goals(model, settings, storage, deadline, progress)

    def telling(self, progress: Progress) -> Batch:
        """The same, with the same threads, and with another ``progress``."""
        other = copy.copy(self)
        other._goals = self._goals.telling(progress)
        return other

    def run(
        self,
        input: Location,
        output: Location | None = None,
        part: Part | None = None,
        hand_over: HandOver | None = None,
    ) -> Scored:
        """Score the object at ``input``, or a part of it, as an event asks.

        ``output``: the base of outputs; None means OUTPUT_URI. ``hand_over`` is asked before a whole object
        is scored here.

        Raises ``Forbidden`` for an object outside INPUT_URI, and ``PassingFault``. Outputs of
        scoring are skipped, and what a model that was created later has scored.
        """
        folder = self._folder(input, output)
        if folder is None:
            return Scored(skipped=OWN)
        if part is not None:
            return self._score_part(input, folder, part, defers=True)
        goal = self._goals.whole(input, folder)._replace(hand_over=hand_over)
        return self._score(input, goal, defers=True)

    def score(self, input: Location, folder: Location) -> Scored:
        """Score the object at ``input`` into ``folder``, as a person asks: a later model's result is
        replaced. Raises ``PassingFault``, which is ``NoObject`` where the input is gone."""
        return self._score(input, self._goals.whole(input, folder), defers=False)

    def score_part(self, input: Location, folder: Location, part: Part, completes: bool = True) -> Scored:
        """Score a part of the object at ``input`` into ``folder``, as a person asks.

        ``completes``: if it is the last one, join the parts. Raises ``PassingFault``.
        """
        return self._score_part(input, folder, part, defers=False, completes=completes)

    def plan(self, input: Location, size: int | None = None, count: int | None = None) -> list[Part]:
        """The parts of the object at ``input``: ``count``, or of ``size`` bytes each, or else as large
        as a function of this time and memory scores safely. Raises ``PassingFault``."""
        version = require(self._storage, input)
        if count is not None:
            size = -(-version.size // count)
        if size is None:
            size = parts.part_bytes(self._deadline.left(), self._settings.memory)
        return parts.plan(self._storage, input, version, self._model.schema, size)

    def write_plan(self, input: Location, output: Location | None, size: int | None) -> dict[str, Any]:
        """Plan the object at ``input``, and write the items that a state machine reads as ``plan.json``.

        There are none where it is done. Returns what the reply to the event says. Raises ``PassingFault``.
        """
        folder = self._folder(input, output)
        planned: list[Part] = []
        version = self._storage.version(input)
        if folder is not None and version is not None and not self._done(input, folder, version, True):
            planned = self.plan(input, size)
        names = {"input": str(input), "output": str(output or self._settings.output_uri)}
        text = json.dumps([{**names, "part": part.as_json()} for part in planned])
        target = (folder or Location.parse(names["output"])).child(PLAN)
        for _ in range(ATTEMPTS):
            with contextlib.suppress(Changed):
                seen = self._storage.version(target)
                self._storage.replace(target, text.encode(), seen)
                break
        else:
            raise Changed(str(target))
        return {**names, "plan": {"bucket": target.bucket, "key": target.key, "parts": len(planned)}}

    def complete(self, input: Location, output: Location | None = None) -> Scored:
        """Join the parts of the object at ``input``; ``NotComplete`` is raised while one is missing.

        Where it is done, that is its summary as it stands. Skipped where the input is of another version
        than plan and parts: whatever has written it has a run of its own. Raises ``PassingFault``.
        """
        folder = self._folder(input, output)
        if folder is None:
            return Scored(skipped=OWN)
        try:
            return self.join(input, folder, defers=True)
        except NotComplete:
            version, first = self._storage.version(input), self._storage.read(_first_record(folder))
            part, plan = _part_of(first[0] if first else b""), self._document(folder.child(PLAN))
            etags = {part and part.etag, plan[0]["part"]["etag"] if plan else None} - {None}
            if version is None or not etags or version.etag in etags:
                raise
            return Scored(skipped=REPLACED)

    def join(self, input: Location, folder: Location, defers: bool = False) -> Scored:
        """The same into ``folder``, as a person asks; ``defers``: see ``complete``."""
        joined = self._joined(input, folder, 0, defers, mends=True)
        if isinstance(joined, int):
            raise NotComplete(str(folder), joined)
        if joined.summary is not None or joined.skipped == GONE:
            return joined
        return Scored(self._document(folder.child(SUMMARY)), joined.skipped)

    def fail(self, input: Location, output: Location | None, cause: str) -> Scored:
        """Write a summary that says that the run of the object at ``input`` failed, unless it is done."""
        folder = self._folder(input, output)
        if folder is None:
            return Scored(skipped=OWN)

        def fill(_version: Version, _sinks: list[Sink], record: dict[str, Any]) -> None:
            message = (
                f"the run of this file in parts has failed ({cause}): see the run of the state machine, "
                "mend the cause, and start it again; parts that are done are skipped"
            )
            record |= {**Tally().as_json(), "outputs": None}
            record["error"] = {"code": RUN_FAILED, "message": message, "line": None}

        return self._score(input, Goal(folder, SUMMARY, (), fill, yields=True), defers=True)

    def _folder(self, input: Location, output: Location | None) -> Location | None:
        """Where the outputs of an event's input go; None where it is itself an output of scoring."""
        prefixes = [Location.parse(uri) for uri in self._settings.input_uri]
        if prefixes and not any(input.is_under(prefix) for prefix in prefixes):
            raise Forbidden(f"{input} is not under INPUT_URI")
        if output is None and self._settings.output_uri is None:
            raise SettingError("OUTPUT_URI", "must say where predictions go, such as s3://bucket/scored")
        output = output or Location.parse(str(self._settings.output_uri))
        if is_output(input, output):
            return None
        return into(input, output, self._settings.input_uri)

    def standing(self, input: Location, folder: Location) -> str | None:
        """Why a person's run would skip the file, in words; None if it would score it."""
        version = self._storage.version(input)
        return GONE if version is None else self._done(input, folder, version, defers=False)

    def _done(self, input: Location, folder: Location, version: Version, defers: bool) -> str | None:
        """Which model has scored the whole file already, in words; None if none has."""
        return self._done_by(self._storage.read(folder.child(SUMMARY)), input, folder, version, defers)

    def _done_by(
        self,
        seen: tuple[bytes, Version] | None,
        input: Location,
        folder: Location,
        version: Version,
        defers: bool,
    ) -> str | None:
        """The same, by the summary that was ``seen``."""
        scorer = seen and self._scorer(seen[0], input, version, self._goals.whole(input, folder), defers)
        return f"{scorer} has scored it already" if scorer else None

    def _score(self, input: Location, goal: Goal, defers: bool) -> Scored:
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(Changed):
                return self._attempt(input, goal, defers)
        return self._attempt(input, goal, defers)

    def _attempt(self, input: Location, goal: Goal, defers: bool) -> Scored:
        start = time.monotonic()
        run = uuid.uuid4().hex
        version = self._storage.version(input)
        if version is None and not defers:
            raise NoObject(str(input))
        if version is None:
            return Scored(skipped=GONE)
        target = goal.folder.child(goal.record)
        seen = self._storage.read(target)
        if goal.part is not None:
            due = self._due(input, goal.folder, goal.part, version, seen[0] if seen else b"", defers)
            if isinstance(due, str):
                return Scored(skipped=due)
            goal = self._goals.part(input, goal.folder, due)
        if seen is not None and (scorer := self._scorer(seen[0], input, version, goal, defers)):
            return Scored(skipped=f"{scorer} has scored it already")
        if PREDICTIONS in goal.tables and seen is not None and self._is_split(seen[0], input, version):
            joined = self._join_all(input, goal.folder, 0, version, defers, mends=True)
            if not isinstance(joined, int):  # else some of its records are lost
                return joined
        if goal.hand_over is not None and (started := goal.hand_over(input, version)) is not None:
            return Scored(started=started)
        record: dict[str, Any] = {
            "input": {
                "uri": str(input),
                "etag": version.etag,
                "generation": version.generation,
                "size": version.size,
            },
            "model": {**self._model.manifest.identity, "created": self._model.manifest.created},
            # No two records are alike, so that an etag made of the content tells one from another.
            "run": run,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            **({"explain": self._settings.explain} if self._settings.explain else {}),
        }
        old = seen[1] if seen else None
        try:
            self._write_tables(version, goal, old, run, record)
        except InvalidCsv as fault:
            error = {"code": fault.code, "message": str(fault), "line": fault.line}
            if goal.part is not None:
                error["rule"] = fault.rule
            record |= {**Tally().as_json(), "outputs": None, "error": error}
        record["seconds"] = round(record.get("seconds", 0) + time.monotonic() - start, 3)
        text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
        self._storage.replace(target, text.encode(), old)
        # What is deleted may be a newer run's by now, and a part may have been scored again since its
        # record was read: so the last look comes after both.
        tidied = goal.part is None and self._tidy(input, goal, version, seen[0] if seen else b"", record)
        if _identity(self._storage.version(input)) != version.identity:
            raise Changed(str(input))
        if (tidied or "parts" in record) and not (
            self._is_last(goal.folder, run) and self._stand(goal.folder, record["outputs"], record)
        ):
            raise Changed(str(target))
        return Scored(record)

    def _due(
        self, input: Location, folder: Location, part: Part, version: Version, record: bytes, defers: bool
    ) -> Part | str:
        """The part that a run of ``part`` has to score; or why there is none, in words.

        Where the record that stands is of a newer version, or of the plan that was made last, it is that
        record's part: the run may have written over its tables.
        """
        if defers and (done := self._done(input, folder, version, defers)):
            return done
        standing = _part_of(record)
        document = json.loads(record) if standing is not None else {}
        if part.etag != version.etag:
            if standing is None or standing.etag != version.etag:
                return REPLACED
            own = self._is_own(document)
            whole = not own and self._stand(folder, document["outputs"] or {}, document)
            return REPLACED if whole else standing
        if (
            defers
            and standing is not None
            and standing.range != part.range
            and self._fits(input, version)(part.index, document)
            and self._is_planned(folder, standing)
        ):
            return standing
        return part

    def _is_own(self, record: Mapping[str, Any]) -> bool:
        """Whether a record is by this model, and of tables with as many reasons as are asked for."""
        version: str = record["model"]["version"]
        explain: int = record.get("explain", 0)
        return version == self._model.manifest.version and explain == self._settings.explain

    def _is_planned(self, folder: Location, part: Part) -> bool:
        """Whether the part is one of the plan that a state machine has made last."""
        try:
            return bool(self._document(folder.child(PLAN))[part.index]["part"] == part.range)
        except (IndexError, KeyError, TypeError):
            return False

    def _is_last(self, folder: Location, run: str) -> bool:
        """Whether the summary that stands is this run's."""
        summary = self._document(folder.child(SUMMARY))
        return isinstance(summary, dict) and summary.get("run") == run

    def _is_later(self, record: Any, input: Location, version: Version) -> bool:
        """Whether a record is of this version, by a model that was created later than this one."""
        try:
            model, manifest = record["model"], self._model.manifest
            later = _rank(model.get("created"), model["version"]) > _rank(
                manifest.created, manifest.version
            )
            return later and _is_of(record, input, version)
        except (KeyError, TypeError, AttributeError):
            return False

    def _is_split(self, summary: bytes, input: Location, version: Version) -> bool:
        """Whether a summary says that this model has scored this version in parts."""
        document = json.loads(summary)
        return document.get("parts") is not None and self._fits(input, version)(None, document)

    def _scorer(
        self, record: bytes, input: Location, version: Version, goal: Goal, defers: bool
    ) -> str | None:
        """Which model has reached the goal for this version already, in words; None if it must be scored.

        Raises ``Outranked`` where a later model has, and the tables are no longer that run's.
        """
        manifest = self._model.manifest
        try:
            document = json.loads(record)
            model, tables = document["model"], document["outputs"]
            if not _is_of(document, input, version):
                return None
            if (document.get("error") or {}).get("code") == RUN_FAILED:
                return None
            same = self._is_own(document)
            own = _rank(manifest.created, manifest.version)
            later = defers and _rank(model.get("created"), model["version"]) > own
            if not (goal.is_of(document) if same else later or goal.yields):
                return None
            whole = tables is None or self._stand(goal.folder, tables, document)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None  # it is not a record of ours: scoring writes one
        if whole:
            return (
                "this model version"
                if same
                else "a model that was created later"
                if later
                else "another model"
            )
        if same or not later:
            return None
        raise Outranked(str(goal.folder.child(goal.record)))

    def _stand(self, folder: Location, tables: Mapping[str, str], document: Mapping[str, Any]) -> bool:
        """Whether the tables are those that a record names, as its run has written them."""
        if document.get("parts") is not None:  # by a list, as there may be thousands
            return _are_in(tables, self._listed(folder))
        # Equal bytes may have equal etags, so the run is compared too. Where another run has written
        # the same bytes, it may have written over a third's, which is about to name its own in a
        # summary: that is refused only if a new summary stands by then.
        runs = (document.get("run"), None)
        return all(
            (present := self._storage.version(folder.child(name))) is not None
            and present.etag == etag
            and (present.run in runs or "run" not in document)
            for name, etag in tables.items()
        )

    def _write_tables(
        self, version: Version, goal: Goal, old: Version | None, run: str, record: dict[str, Any]
    ) -> None:
        """Fill the goal's tables, and add their etags to the record."""
        storage, folder = self._storage, goal.folder
        with contextlib.ExitStack() as stack:
            sinks = [stack.enter_context(storage.writer(folder.child(name), run)) for name in goal.tables]
            goal.fill(version, sinks, record)
            # All is sent and nothing yet visible: a run that has lost already ends without a trace.
            present = storage.read(folder.child(goal.record))
            if _identity(present[1] if present else None) != _identity(old):
                raise Changed(str(folder))
        etags = {}
        for name in reversed(goal.tables):
            written = storage.version(folder.child(name))
            if written is None or written.run not in (run, None):
                raise Changed(str(folder.child(name)))
            etags[name] = written.etag
        if etags:
            record["outputs"] = record.get("outputs", {}) | etags

    def _score_part(
        self, input: Location, folder: Location, part: Part, defers: bool, completes: bool = True
    ) -> Scored:
        before = _identity(self._storage.version(folder.child(SUMMARY))) if completes else None
        scored = self._score(input, self._goals.part(input, folder, part), defers)
        if not completes:
            return scored
        joined = self._joined(input, folder, part.index, defers, mends=False, etag=part.etag, before=before)
        return Scored(scored.summary, scored.skipped, complete=not isinstance(joined, int))

    def _joined(
        self,
        input: Location,
        folder: Location,
        index: int,
        defers: bool,
        mends: bool,
        etag: str | None = None,
        before: str | None = None,
    ) -> Scored | int:
        """Join the parts of the plan that the part ``index`` is of; where one is missing, its index.

        ``mends``: score parts again of which the tables are lost; without it they count as missing, as
        their own run comes again. ``etag``: the version that a part's run was for, and ``before``: the
        summary that stood when it began. Where either is not the present one, the run has written over
        tables of a summary that stands, and mends these.
        """
        for _ in range(ATTEMPTS):
            with contextlib.suppress(Changed):
                version = self._storage.version(input)
                if version is None:
                    return Scored(skipped=GONE)
                seen = self._storage.read(folder.child(SUMMARY))
                if (done := self._done_by(seen, input, folder, version, defers)) is not None:
                    return Scored(skipped=done)
                missing = self._join_all(input, folder, index, version, defers, mends)
                late = etag not in (None, version.etag)
                overwritten = seen is not None and _identity(seen[1]) != before
                if isinstance(missing, int) and (late or mends or overwritten):
                    record = self._document(folder.child(parts.record_name(missing)))
                    if self._is_later(record, input, version):
                        return missing  # that model's run is under way
                    return self._restored(input, folder, version, defers, late) or missing
                return missing
            mends = True  # this run has written, perhaps over what another has
        raise Changed(str(folder))

    def _join_all(
        self, input: Location, folder: Location, index: int, version: Version, defers: bool, mends: bool
    ) -> Scored | int:
        """One attempt at ``_joined``; raises ``Changed``."""
        fits = self._fits(input, version)
        own = self._document(folder.child(parts.record_name(index)))
        if not fits(index, own):
            return index
        records = parts.gathered(folder, own, self._document, fits)
        if isinstance(records, int):
            return records
        if (gap := parts.gap(records, version.size)) is not None:
            return gap
        present = self._listed(folder)
        lost = [record for record in records if not _are_in(record["outputs"], present)]
        if lost and not mends:
            return int(lost[0]["part"]["index"])
        fault = self._mended(input, folder, records, lost, present, defers)
        return self._attempt(input, self._goals.joined(folder, version, records, fault, present), defers)

    def _restored(
        self, input: Location, folder: Location, version: Version, defers: bool, late: bool
    ) -> Scored | None:
        """Score a version of which a summary stands whose tables do not; None where there is none.

        A run for another version (``late``) may have written over them, or one by another model or of
        another plan.
        """
        summary = self._document(folder.child(SUMMARY))
        try:
            if summary.get("error") or not _is_of(summary, input, version):
                return None
            if not late and not self._fits(input, version)(None, summary):
                return None
        except (KeyError, TypeError, AttributeError):
            return None
        return self._score(input, self._goals.whole(input, folder), defers)

    def _fits(self, input: Location, version: Version) -> Callable[[int | None, Any], bool]:
        """Whether a record is of this version by this model, and of a part with this index (None: any)."""

        def fits(index: int | None, document: Any) -> bool:
            try:
                return (
                    _is_of(document, input, version)
                    and self._is_own(document)
                    and (index is None or document["part"]["index"] == index)
                )
            except (KeyError, TypeError):
                return False

        return fits

    def _mended(
        self,
        input: Location,
        folder: Location,
        records: list[Any],
        lost: list[Any],
        present: dict[str, Version],
        defers: bool,
    ) -> InvalidCsv | None:
        """Score again what is ``lost`` or does not fit together, and update ``records`` and ``present``.

        Returns the fault for which the file is refused, or None. Each part that is mended stays so: where a
        run has no time for the next one, the run after it goes on.
        """

        def again(part: Part) -> None:
            if self._score(input, self._goals.part(input, folder, part), defers).summary is None:
                raise Changed(str(input))
            records[part.index] = self._document(folder.child(parts.record_name(part.index)))
            for name in records[part.index]["outputs"] or ():
                present[name] = require(self._storage, folder.child(name))

        for record in lost:
            again(Part.parse(record["part"]))
        while isinstance(wrong := parts.chained(records), Part):
            again(wrong)
        return wrong

    def _document(self, location: Location) -> Any:
        """A JSON object of ours; None where there is none."""
        seen = self._storage.read(location)
        try:
            return json.loads(seen[0]) if seen else None
        except (ValueError, RecursionError):
            return None

    def _listed(self, folder: Location) -> dict[str, Version]:
        """The tables that stand below a file's folder, by their names."""
        present = {}
        for name in (PART_PREDICTIONS, PART_REJECTED):
            for location, version in self._storage.list(folder.child(name)):
                present[_below(folder, location)] = version
        joined = self._storage.version(folder.child(REJECTED))
        return {**present, **({REJECTED: joined} if joined else {})}

    def _tidy(
        self, input: Location, goal: Goal, version: Version, old: bytes, record: Mapping[str, Any]
    ) -> bool:
        """Delete tables that a run before this one has left, where the file was in other parts then, or in
        one. Returns whether there were any.

        Nothing is deleted that a newer version's run, or a later model's, may have written. Records of
        parts stay: by them, the completion notices where that was too late, and mends it.
        """
        folder = goal.folder
        if record.get("error"):
            return False
        try:
            summary = json.loads(old)
            before = summary["outputs"] or {}
            failed = (summary.get("error") or {}).get("code") == RUN_FAILED
        except (ValueError, KeyError, TypeError, AttributeError):
            before, failed = {}, False
        kept = {
            *record["outputs"],
            *(Part(each["index"], 0, 0, 0, "").rejected for each in record.get("parts", ())),
        }
        gone = [name for name in (PREDICTIONS, REJECTED) if name in before and name not in kept]

        def delete(name: str) -> None:
            index = int(name[-9:-4]) if "/" in name else None
            of = None if index is None else self._document(folder.child(parts.record_name(index)))
            if (
                not self._is_later(of, input, version)
                and self._is_last(folder, record["run"])
                and _identity(self._storage.version(input)) == version.identity
            ):
                self._storage.delete(folder.child(name))

        try:
            if "parts" in record or failed or any("/" in name for name in before):
                for name in (PART_PREDICTIONS, PART_REJECTED):
                    listed = self._storage.list(folder.child(name))
                    names = (_below(folder, each) for each, _ in listed if is_part(each))
                    gone += [each for each in names if each not in kept]
            if gone:
                with ThreadPoolExecutor(parts.AT_ONCE, thread_name_prefix="tidy") as pool:
                    list(pool.map(delete, gone))
        except PassingFault as fault:  # the result stands, and its summary names what belongs to it
            telemetry.event("WARNING", "what an earlier run has left was not deleted", problem=str(fault))
        return bool(gone)


def require(storage: Storage, input: Location) -> Version:
    """The present version of the object at ``input``; raises ``NoObject`` if there is none."""
    version = storage.version(input)
    if version is None:
        raise NoObject(str(input))
    return version


def _below(folder: Location, location: Location) -> str:
    """The name of an object below a folder."""
    return location.key.removeprefix(folder.key.rstrip("/") + "/")


def _is_of(record: Mapping[str, Any], input: Location, version: Version) -> bool:
    """Whether a record is of this version of the input; raises ``KeyError`` where it does not say."""
    scored = record["input"]
    made: tuple[str, str, str | None] = scored["uri"], scored["etag"], scored["generation"]
    return made == (str(input), version.etag, version.generation)


def _are_in(tables: Mapping[str, str] | None, present: Mapping[str, Version]) -> bool:
    """Whether all tables that a record names are present, as it names them."""
    return all(name in present and present[name].etag == etag for name, etag in (tables or {}).items())


def _first_record(folder: Location) -> Location:
    """The record of the first of the parts whose outputs are in ``folder``."""
    return folder.child(parts.record_name(0))


def _part_of(record: bytes) -> Part | None:
    """The part that a record is of; None if it is not a part's record."""
    try:
        document = json.loads(record)
        part = Part.parse(document["part"])
        known = (document["first"], document["encoding"]) if document.get("replanned") else (None, None)
        return replace(part, first=known[0], encoding=known[1])
    except (ValueError, KeyError, TypeError, RecursionError, InvalidBody):
        return None


def _rank(created: object, version: str) -> tuple[datetime, str]:
    """Orders models by age, those of one second by version; a model without a date is the oldest.

    Summaries had no ``created`` once.
    """
    try:
        date = datetime.fromisoformat(str(created))
    except ValueError:
        date = datetime.min
    return date if date.tzinfo else date.replace(tzinfo=UTC), version


def _identity(version: Version | None) -> str | None:
    return version.identity if version else None
