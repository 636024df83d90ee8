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
"""

from __future__ import annotations

import collections
import contextlib
import json
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from handler.batch.folding import Folds
from handler.bundle import Label
from handler.errors import Changed, Forbidden, InvalidCsv, NoObject, Outranked, SettingError
from handler.scoring import outputs
from handler.scoring.model import Model
from handler.scoring.table import score_block
from handler.settings import Settings
from handler.storage.deadline import Deadline
from handler.storage.locations import Location, Version
from handler.storage.storage import Storage
from handler.tables import formats, writing
from handler.tables.compression import PACKED, inflated
from handler.tables.encodings import UTF_8
from handler.tables.formats import Table
from handler.tables.rows import Block

PREDICTIONS, REJECTED, SUMMARY = "predictions.csv", "rejected.csv", "summary.json"
OUTPUTS = (PREDICTIONS, REJECTED, SUMMARY)
SUFFIXES = tuple(f"{kind}{packed}" for kind in (".csv", ".tsv") for packed in ("", *PACKED))
REJECT_COLUMNS = ("line", "column", "code", "reason", "row")
#: Each time that a run starts again, another run has written, or the input has changed.
ATTEMPTS = 50

Progress = Callable[[int, int, int], None]
#: What has taken an object over, by name, or None where this run must score it.
HandOver = Callable[[Location, Version], str | None]


@dataclass(frozen=True, slots=True)
class Scored:
    """The result of a run: ``summary`` as written, or ``skipped``, the reason why none was written, or
    ``started``, the execution of a job that will write it."""

    summary: Mapping[str, Any] | None = None
    skipped: str | None = None
    started: str | None = None

    @property
    def rows(self) -> int:
        """Rows read; none where the run was skipped."""
        return int(self.summary["rows"]["read"]) if self.summary is not None else 0

    @property
    def log_fields(self) -> dict[str, object]:
        """The fields of the log line, beside the rows read."""
        if self.summary is None:
            return self.as_json()
        fault = self.summary.get("error")
        return {"rejected": self.summary["rows"]["rejected"], "fault": fault["code"] if fault else None}

    def as_json(self) -> dict[str, Any]:
        """The summary, or why there is none."""
        if self.summary is not None:
            return dict(self.summary)
        return {"started": self.started} if self.started is not None else {"skipped": self.skipped}


@dataclass(slots=True)
class Tally:
    """What a run has counted so far; ``encoding`` is the file's, as far as it has been read."""

    read: int = 0
    scored: int = 0
    rejects: collections.Counter[str] = field(default_factory=collections.Counter)
    classes: collections.Counter[str] = field(default_factory=collections.Counter)
    encoding: str = UTF_8

    def as_json(self) -> dict[str, Any]:
        """The counts as ``summary.json`` has them; read = scored + rejected. UTF-8 is not mentioned."""
        rejected = self.rejects.total()
        return {
            "rows": {"read": self.read, "scored": self.scored, "rejected": rejected},
            "rejects": dict(sorted(self.rejects.items())),
            "predictions": dict(self.classes),
            **({} if self.encoding == UTF_8 else {"encoding": self.encoding}),
        }


@dataclass(frozen=True, slots=True)
class WrittenBlock:
    """A block as lines of both tables; its rows are counted, its rejects by code, the others by class."""

    total: int
    predictions: bytes
    rejected: bytes
    rejects: Mapping[str, int]
    classes: Mapping[str, int]


class Batch:
    """Scores objects with one loaded model.

    ``deadline`` says when a run gives up; ``storage`` must know it too (``Storage.within``). ``progress``
    is called with the totals of bytes read, rows read and rows rejected. ``hand_over`` is asked before an
    object is scored here.
    """

    def __init__(
        self,
        model: Model,
        settings: Settings,
        storage: Storage,
        deadline: Deadline = Deadline(),  # noqa: B008
        progress: Progress = lambda *_: None,
        hand_over: HandOver = lambda *_: None,
    ) -> None:
        self._model = model
        self._settings = settings
        self._storage = storage
        self._deadline = deadline
        self._progress = progress
        self._hand_over = hand_over

    def run(self, input: Location, output: Location | None = None) -> Scored:
        """Score the object at ``input``, as an event asks; ``output`` None means OUTPUT_URI.

        Raises ``Forbidden`` for an object outside INPUT_URI, and ``PassingFault``. Outputs of
        scoring are skipped, and what a model that was created later has scored.
        """
        prefixes = [Location.parse(uri) for uri in self._settings.input_uri]
        if prefixes and not any(input.is_under(prefix) for prefix in prefixes):
            raise Forbidden(f"{input} is not under INPUT_URI")
        if output is None and self._settings.output_uri is None:
            raise SettingError("OUTPUT_URI", "must say where predictions go, such as s3://bucket/scored")
        output = output or Location.parse(str(self._settings.output_uri))
        if is_output(input, output):
            return Scored(skipped="it is an output of scoring")
        return self._score(input, into(input, output, self._settings.input_uri), defers=True)

    def score(self, input: Location, folder: Location) -> Scored:
        """Score the object at ``input`` into ``folder``, as a person asks: a later model's result is
        replaced. Raises ``PassingFault``."""
        return self._score(input, folder, defers=False)

    def _score(self, input: Location, folder: Location, defers: bool) -> Scored:
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(Changed):
                return self._attempt(input, folder, defers)
        return self._attempt(input, folder, defers)

    def _attempt(self, input: Location, folder: Location, defers: bool) -> Scored:
        start = time.monotonic()
        run = uuid.uuid4().hex
        version = self._storage.version(input)
        if version is None:
            return Scored(skipped="it is not there any more")
        seen = self._storage.read(folder.child(SUMMARY))
        if seen is not None and (scorer := self._is_done(seen[0], input, version, folder, defers)):
            return Scored(skipped=f"{scorer} has scored it already")
        if (started := self._hand_over(input, version)) is not None:
            return Scored(started=started)
        summary: dict[str, Any] = {
            "input": {
                "uri": str(input),
                "etag": version.etag,
                "generation": version.generation,
                "size": version.size,
            },
            "model": {**self._model.manifest.identity, "created": self._model.manifest.created},
            # No two summaries are alike, so that an etag made of the content tells one from another.
            "run": run,
        }
        old = seen[1] if seen else None
        try:
            summary |= self._write_outputs(input, version, folder, old, run)
        except InvalidCsv as fault:
            error = {"code": fault.code, "message": str(fault), "line": fault.line}
            summary |= {**Tally().as_json(), "outputs": None, "error": error}
        summary["seconds"] = round(time.monotonic() - start, 3)
        text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
        self._storage.replace(folder.child(SUMMARY), text.encode(), old)
        if _identity(self._storage.version(input)) != version.identity:
            raise Changed(str(input))
        return Scored(summary)

    def _is_done(
        self, summary: bytes, input: Location, version: Version, folder: Location, defers: bool
    ) -> str | None:
        """Which model has scored this version already, in words; None if it must be scored.

        Raises ``Outranked`` where a later model has, and the outputs are no longer that run's.
        """
        manifest = self._model.manifest
        try:
            document = json.loads(summary)
            scored, model, outputs = document["input"], document["model"], document["outputs"]
            if (scored["uri"], scored["etag"], scored["generation"]) != (
                str(input),
                version.etag,
                version.generation,
            ):
                return None
            same = model["version"] == manifest.version
            own = _rank(manifest.created, manifest.version)
            if not same and not (defers and _rank(model.get("created"), model["version"]) > own):
                return None
            # Equal bytes may have equal etags, so the run is compared too. Where another run has written
            # the same bytes, it may have written over a third's, which is about to name its own in a
            # summary: that is refused only if a new summary stands by then.
            runs = (document.get("run"), None)
            whole = outputs is None or all(
                (present := self._storage.version(folder.child(name))) is not None
                and present.etag == outputs[name]
                and (present.run in runs or "run" not in document)
                for name in (PREDICTIONS, REJECTED)
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None  # it is not a summary of ours: scoring writes one
        if whole:
            return "this model version" if same else "a model that was created later"
        if same:
            return None
        raise Outranked(str(folder.child(SUMMARY)))

    def _write_outputs(
        self, input: Location, version: Version, folder: Location, old: Version | None, run: str
    ) -> dict[str, Any]:
        """Score the version into the two tables; returns the counts and the tables' etags."""
        tally = Tally()
        storage = self._storage
        with (
            storage.writer(folder.child(REJECTED), run) as rejected,
            storage.writer(folder.child(PREDICTIONS), run) as predictions,
        ):
            rejected.write(writing.lines(REJECT_COLUMNS))
            with contextlib.closing(self._tables(input, version, tally)) as tables:
                for text, rejects in tables:
                    predictions.write(text)
                    rejected.write(rejects)
            # All is sent and nothing yet visible: a run that has lost already ends without a trace.
            present = storage.read(folder.child(SUMMARY))
            if _identity(present[1] if present else None) != _identity(old):
                raise Changed(str(folder))
        etags = {}
        for name in (PREDICTIONS, REJECTED):
            written = storage.version(folder.child(name))
            if written is None or written.run not in (run, None):
                raise Changed(str(folder.child(name)))
            etags[name] = written.etag
        return {**tally.as_json(), "outputs": etags}

    def _tables(
        self, input: Location, version: Version, tally: Tally
    ) -> Generator[tuple[bytes, bytes], None, None]:
        """The lines of ``predictions.csv``, header first, and of ``rejected.csv``, block by block."""
        done = 0

        def counted() -> Iterator[bytes]:
            nonlocal done
            for chunk in self._storage.stream(input, version):
                done += len(chunk)
                yield chunk

        # Many packed bytes may hold nothing, and few very much: the time is checked on both sides.
        chunks = self._in_time(inflated(self._in_time(counted(), input)), input)
        table = formats.opened(chunks, self._model.schema, self._settings.block_bytes)
        yield writing.head(table.layout, outputs.names(self._model.manifest)), b""
        for block in self._in_order(table, input):
            tally.read += block.total
            tally.scored += block.total - sum(block.rejects.values())
            tally.rejects.update(block.rejects)
            tally.classes.update(block.classes)
            tally.encoding = table.text.encoding
            self._progress(done, tally.read, tally.rejects.total())
            yield block.predictions, block.rejected

    def _in_time(self, chunks: Iterator[bytes], input: Location) -> Iterator[bytes]:
        """The chunks, as long as there is time for the next."""
        for chunk in chunks:
            self._deadline.check(input)
            yield chunk

    def _in_order(self, table: Table, input: Location) -> Iterator[WrittenBlock]:
        """Score blocks on all workers, and give them in their order.

        At most one block more than there are workers is under way, so memory stays bounded.
        """
        workers = self._settings.workers
        pool = ThreadPoolExecutor(workers, thread_name_prefix="block")
        folds = Folds(self._model, table.layout)
        under_way: collections.deque[Future[WrittenBlock]] = collections.deque()
        try:
            for block in table.blocks:
                under_way.append(pool.submit(self._written, block, table, folds))
                if len(under_way) > workers:
                    yield self._deadline.result(under_way.popleft(), input)
            while under_way:
                yield self._deadline.result(under_way.popleft(), input)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # a run that gives up has no time to wait

    def _written(self, block: Block, table: Table, folds: Folds) -> WrittenBlock:
        """Read, score and write one block."""
        model = self._model
        folded = folds.fold(block)
        if folded is not None:
            classes = {str(model.manifest.classes[index]): count for index, count in folded.classes}
            total, rejects, text = folded.total, folded.rejects, folded.text
        else:
            rows, scores = score_block(model, block, table)
            total, rejects, text, classes = rows.total, rows.rejects, b"", {}
            if total > len(rejects):
                text = table.format.write(rows, table.layout, outputs.columns(model.manifest, scores))
                classes = _by_class(scores.values, model.manifest.classes)
        rejected = writing.lines(*(reject.cells for reject in rejects))
        return WrittenBlock(
            total, text, rejected, collections.Counter(reject.code for reject in rejects), classes
        )


def is_output(input: Location, output: Location) -> bool:
    """Whether an object was written by scoring: it lies under ``output``, or is named as outputs are.

    A whole bucket, without a prefix, may hold inputs too: there only the name decides.
    """
    folder = input.key.rpartition("/")[0].lower()
    named = input.name == SUMMARY or (input.name in OUTPUTS and folder.endswith(SUFFIXES))
    return named or (output.key.strip("/") != "" and input.is_under(output))


def beside(input: Location) -> Location:
    """Where ``python -m handler score`` writes without ``--output``: ``scored/NAME/`` beside the input."""
    folder, _, name = input.key.rpartition("/")
    return Location(input.scheme, input.bucket, folder).child("scored", name)


def into(input: Location, output: Location, inputs: Sequence[str]) -> Location:
    """The folder of an input's outputs: its whole key under ``output``; a local one's file name.

    Where ``inputs`` (INPUT_URI) are in more than one bucket, the bucket's name stands before the key, and
    the scheme before that where an S3 and a GCS bucket have one name. So no two inputs share a folder,
    as a bucket's name never has a slash.
    """
    if input.scheme == "file":
        return output.child(input.name)
    buckets = {(prefix.scheme, prefix.bucket) for prefix in map(Location.parse, inputs)}
    if len(buckets) == 1 or not buckets:
        return output.child(input.key)
    alike = len({bucket for _, bucket in buckets}) < len(buckets)
    return output.child(*([input.scheme] if alike else []), input.bucket, input.key)


def require(storage: Storage, input: Location) -> Version:
    """The present version of the object at ``input``; raises ``NoObject`` if there is none."""
    version = storage.version(input)
    if version is None:
        raise NoObject(str(input))
    return version


def _by_class(values: Any, classes: tuple[Label, ...]) -> dict[str, int]:
    """The number of rows by predicted class; empty for a regression."""
    if not classes:
        return {}
    import numpy as np

    counts = np.bincount(values, minlength=len(classes)).tolist()
    return {str(label): count for label, count in zip(classes, counts, strict=True)}


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
