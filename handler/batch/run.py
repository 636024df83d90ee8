"""One object in, three objects out: ``predictions.csv``, ``rejected.csv``, and last ``summary.json``.

How repeated, late and simultaneous events come to one right result, with no lock and no table:

1. A run scores the version of the input that is there now, whichever its event named, and reads it
   under the condition that it stays that version.
2. It skips a version that ``summary.json`` says this model has scored, if the outputs still are the
   ones that the summary names.
3. It writes both outputs, each whole or not at all, and then the summary under the condition that
   nobody has written one since step 2. Where the condition fails, another run was at work, whose
   outputs may now be mixed with ours: it starts again at step 1, and so mends them.

A run that dies between 3's writes leaves a summary that does not match the outputs; its event comes
again, and step 2 sees the mismatch.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import json
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from handler.batch.folding import Folds
from handler.bundle import Label
from handler.errors import Changed, Forbidden, InvalidCsv, NoObject, SettingError
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.deadline import Deadline
from handler.storage.locations import Location, Version
from handler.storage.storage import Storage
from handler.tables import csv_blocks
from handler.tables.compression import inflated
from handler.tables.csv_blocks import LONGEST_RECORD, Block, Layout, Reject, boundary

PREDICTIONS, REJECTED, SUMMARY = "predictions.csv", "rejected.csv", "summary.json"
OUTPUTS = (PREDICTIONS, REJECTED, SUMMARY)
SUFFIXES = (".csv", ".csv.gz", ".csv.zst")
REJECT_COLUMNS = ("line", "column", "code", "reason", "row")
#: Each time that a run starts again, another run has come to its end.
ATTEMPTS = 50

Progress = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True)
class Scored:
    """What a run came to: ``summary`` as written, or ``skipped`` with the reason for writing none."""

    summary: Mapping[str, Any] | None = None
    skipped: str | None = None

    @property
    def rows(self) -> int:
        """Rows read; none where the run was skipped."""
        return int(self.summary["rows"]["read"]) if self.summary is not None else 0

    @property
    def log_fields(self) -> dict[str, object]:
        """What the log line says beside the rows read."""
        if self.summary is None:
            return {"skipped": self.skipped}
        fault = self.summary.get("error")
        return {"rejected": self.summary["rows"]["rejected"], "fault": fault["code"] if fault else None}

    def as_json(self) -> dict[str, Any]:
        """What a caller is told."""
        return dict(self.summary) if self.summary is not None else {"skipped": self.skipped}


@dataclass(slots=True)
class Tally:
    """What a run has counted so far."""

    read: int = 0
    scored: int = 0
    rejects: collections.Counter[str] = field(default_factory=collections.Counter)
    classes: collections.Counter[str] = field(default_factory=collections.Counter)

    def as_json(self) -> dict[str, Any]:
        """The counts as ``summary.json`` has them; read = scored + rejected."""
        rejected = self.rejects.total()
        return {
            "rows": {"read": self.read, "scored": self.scored, "rejected": rejected},
            "rejects": dict(sorted(self.rejects.items())),
            "predictions": dict(self.classes),
        }


@dataclass(frozen=True, slots=True)
class Part:
    """A block, scored and written as text."""

    total: int
    rejects: tuple[Reject, ...]
    predictions: bytes
    classes: Mapping[str, int]


class Batch:
    """Scores objects with one loaded model.

    ``deadline`` says when a run gives up, which ``storage`` is to know too (``Storage.within``);
    ``progress`` is told the bytes read, the rows read and the rows rejected, as totals.
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
        self._progress = progress

    def run(self, source: Location, output: Location | None = None) -> Scored:
        """Score the object at ``source``, as an event asks; ``output`` None means OUTPUT_URI.

        Raises ``Forbidden`` for an object outside INPUT_URI, and ``PassingFault``. Outputs of
        scoring are skipped.
        """
        prefixes = [Location.parse(uri) for uri in self._settings.input_uri]
        if prefixes and not any(source.is_under(prefix) for prefix in prefixes):
            raise Forbidden(f"{source} is not under INPUT_URI")
        if output is None and self._settings.output_uri is None:
            raise SettingError("OUTPUT_URI", "must say where predictions go, such as s3://bucket/scored")
        output = output or Location.parse(str(self._settings.output_uri))
        if is_output(source, output):
            return Scored(skipped="it is an output of scoring")
        return self.score(source, output.child(source.key))

    def score(self, source: Location, folder: Location) -> Scored:
        """Score the object at ``source`` into ``folder``; raises ``PassingFault``."""
        for _ in range(ATTEMPTS - 1):
            with contextlib.suppress(Changed):
                return self._attempt(source, folder)
        return self._attempt(source, folder)

    def _attempt(self, source: Location, folder: Location) -> Scored:
        start = time.monotonic()
        version = self._storage.version(source)
        if version is None:
            return Scored(skipped="it is not there any more")
        seen = self._storage.read(folder.child(SUMMARY))
        if seen is not None and self._is_done(seen[0], version, folder):
            return Scored(skipped="this model version has scored it already")
        summary: dict[str, Any] = {
            "input": {
                "uri": str(source),
                "etag": version.etag,
                "generation": version.generation,
                "size": version.size,
            },
            "model": dict(self._model.manifest.identity),
        }
        old = seen[1] if seen else None
        try:
            summary |= self._write_outputs(source, version, folder, old)
        except InvalidCsv as fault:
            told = {"code": fault.code, "message": str(fault), "line": fault.line}
            summary |= {**Tally().as_json(), "outputs": None, "error": told}
        summary["seconds"] = round(time.monotonic() - start, 3)
        text = json.dumps(summary, indent=2, ensure_ascii=False) + "\n"
        self._storage.replace(folder.child(SUMMARY), text.encode(), old)
        return Scored(summary)

    def _is_done(self, summary: bytes, version: Version, folder: Location) -> bool:
        """Whether this model has scored this version, and the outputs are still that run's."""
        try:
            told = json.loads(summary)
            source, model, outputs = told["input"], told["model"], told["outputs"]
            same = (source["etag"], source["generation"]) == (version.etag, version.generation)
            if not same or model["version"] != self._model.manifest.version:
                return False
            return outputs is None or all(
                (found := self._storage.version(folder.child(name))) is not None
                and found.etag == outputs[name]
                for name in (PREDICTIONS, REJECTED)
            )
        except (ValueError, KeyError, TypeError):
            return False  # not a summary of ours: scoring writes one

    def _write_outputs(
        self, source: Location, version: Version, folder: Location, old: Version | None
    ) -> dict[str, Any]:
        """Score the version into the two tables; returns the counts and the tables' etags."""
        run = uuid.uuid4().hex
        tally = Tally()
        storage = self._storage
        with (
            storage.writer(folder.child(REJECTED), run) as rejected,
            storage.writer(folder.child(PREDICTIONS), run) as predictions,
        ):
            rejected.write(_csv_lines(REJECT_COLUMNS))
            with contextlib.closing(self._parts(source, version, tally)) as parts:
                for text, rejects in parts:
                    predictions.write(text)
                    if rejects:
                        rejected.write(_csv_lines(*(each.cells for each in rejects)))
            # All is sent and nothing yet visible: a run that has lost already ends without a trace.
            present = storage.read(folder.child(SUMMARY))
            if _identity(present[1] if present else None) != _identity(old):
                raise Changed(str(folder))
            if _identity(storage.version(source)) != version.identity:
                raise Changed(str(source))
        etags = {}
        for name in (PREDICTIONS, REJECTED):
            found = storage.version(folder.child(name))
            if found is None or found.run not in (run, None):
                raise Changed(str(folder.child(name)))
            etags[name] = found.etag
        return {**tally.as_json(), "outputs": etags}

    def _parts(
        self, source: Location, version: Version, tally: Tally
    ) -> Generator[tuple[bytes, tuple[Reject, ...]], None, None]:
        """The lines of ``predictions.csv``, header first, and the rejects, block by block in order."""
        done = 0

        def counted() -> Iterator[bytes]:
            nonlocal done
            for chunk in self._storage.stream(source, version):
                done += len(chunk)
                yield chunk

        # Many packed bytes may hold nothing, and few very much: time is looked at on both sides.
        chunks = self._in_time(inflated(self._in_time(counted(), source)), source)
        size = self._settings.block_bytes
        head = b""
        for chunk in chunks:
            head += chunk
            if len(head) >= size and (boundary(head, ",") or len(head) > LONGEST_RECORD):
                break  # the header is whole
        schema, names = self._model.schema, self._model.output_names
        layout, start, line = Layout.of(head, schema)
        yield _csv_lines([*layout.header, *csv_blocks.output_names(layout.header, names)]), ()
        data = itertools.chain([head[start:]], chunks)
        del head
        blocks = csv_blocks.blocks(data, layout.delimiter, line, size)
        for part in self._in_order(blocks, layout, source):
            tally.read += part.total
            tally.scored += part.total - len(part.rejects)
            tally.rejects.update(reject.code for reject in part.rejects)
            tally.classes.update(part.classes)
            self._progress(done, tally.read, tally.rejects.total())
            yield part.predictions, part.rejects

    def _in_time(self, chunks: Iterator[bytes], source: Location) -> Iterator[bytes]:
        """The chunks, as long as there is time for the next."""
        for chunk in chunks:
            self._deadline.check(source)
            yield chunk

    def _in_order(self, blocks: Iterator[Block], layout: Layout, source: Location) -> Iterator[Part]:
        """Score blocks on all workers, and give the parts in the blocks' order.

        At most one block more than there are workers is under way, so memory stays bounded.
        """
        workers = self._settings.workers
        pool = ThreadPoolExecutor(workers, thread_name_prefix="block")
        folds = Folds(self._model, layout)
        under_way: collections.deque[Future[Part]] = collections.deque()
        try:
            for block in blocks:
                under_way.append(pool.submit(self._part, block, layout, folds))
                if len(under_way) > workers:
                    yield self._deadline.result(under_way.popleft(), source)
            while under_way:
                yield self._deadline.result(under_way.popleft(), source)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # a run that gives up has no time to wait

    def _part(self, block: Block, layout: Layout, folds: Folds) -> Part:
        """Read, score and write one block."""
        model = self._model
        folded = folds.fold(block)
        if folded is not None:
            classes = {str(model.manifest.classes[place]): count for place, count in folded.classes}
            return Part(folded.total, folded.rejects, folded.text, classes)
        rows = csv_blocks.read(block, layout, model.schema)
        if rows.total == len(rows.rejects):
            return Part(rows.total, rows.rejects, b"", {})
        scores = model.scorer.score(rows.columns)
        text = csv_blocks.write(rows, model.outputs(scores))
        return Part(rows.total, rows.rejects, text, _by_class(scores.values, model.manifest.classes))


def is_output(source: Location, output: Location) -> bool:
    """Whether an object was written by scoring: it lies under ``output``, or is named as outputs are.

    A bucket as a whole, with no prefix, may hold inputs too: there the name alone decides.
    """
    folder = source.key.rpartition("/")[0].lower()
    named = source.name == SUMMARY or (source.name in OUTPUTS and folder.endswith(SUFFIXES))
    return named or (output.key.strip("/") != "" and source.is_under(output))


def beside(source: Location) -> Location:
    """Where ``python -m handler score`` writes without ``--output``: ``scored/NAME/`` beside the input."""
    folder, _, name = source.key.rpartition("/")
    return Location(source.scheme, source.bucket, folder).child("scored", name)


def into(source: Location, output: Location) -> Location:
    """The folder of an input's outputs: its whole key under ``output``; a local one's file name."""
    return output.child(source.name if source.scheme == "file" else source.key)


def require(storage: Storage, source: Location) -> Version:
    """The present version of the object at ``source``; raises ``NoObject`` if there is none."""
    version = storage.version(source)
    if version is None:
        raise NoObject(str(source))
    return version


def _by_class(values: Any, classes: tuple[Label, ...]) -> dict[str, int]:
    """Rows by predicted class; nothing for a regression."""
    if not classes:
        return {}
    import numpy as np

    counts = np.bincount(values, minlength=len(classes)).tolist()
    return {str(label): count for label, count in zip(classes, counts, strict=True)}


def _identity(version: Version | None) -> str | None:
    return version.identity if version else None


def _csv_lines(*rows: Iterable[object]) -> bytes:
    return "".join(f"{line}\n" for line in csv_blocks.write_lines(rows)).encode()
