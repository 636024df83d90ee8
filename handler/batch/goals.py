"""What a run can make: the tables of a file in one piece, those of a part of it, or its parts joined.

How a table is filled stands here; whether it may be, and when it is seen, in ``run.py``.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.batch import blocks, parts
from handler.batch.blocks import Tally
from handler.batch.drift import Gauge
from handler.batch.folding import Folds, Repeats
from handler.batch.naming import PART_REJECTED, PREDICTIONS, REJECTED, SUMMARY
from handler.batch.parts import Part
from handler.batch.progress import Passed
from handler.faults import Changed
from handler.scoring import outputs
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.deadline import Deadline
from handler.storage.locations import Location, Sink, Version
from handler.storage.storage import Storage
from handler.tables import formats, writing
from handler.tables.compression import inflated
from handler.tables.encodings import UTF_8
from handler.tables.errors import InvalidCsv
from handler.tables.formats import Table

if TYPE_CHECKING:
    import numpy as np

REJECT_COLUMNS = ("line", "column", "code", "reason", "row")
#: Bytes of a file up to which its rows are scored one by one: onnxruntime would be imported meanwhile.
SMALL = 32 * 1024
#: Bytes of rejects that are joined: what one function copies in its time. More stay in their parts.
MOST_JOINED = 4 * 1024**3

Progress = Callable[[int, int, int], None]
#: What has taken an object over, by name, or None where this run must score it.
HandOver = Callable[[Location, Version], str | None]

#: Arrays up to this size, and so much freed memory of each thread, stay with the process; glibc's limit.
KEPT_BYTES = 32 * 1024 * 1024


class Goal(NamedTuple):
    """What a run makes: tables, and the record that vouches for them, written last.

    ``tables``: names below ``folder``, in the order in which they are opened. ``fill`` writes them, one
    sink each, and the members of the record that it knows; it may raise ``InvalidCsv``. ``part``: what the
    goal is a part of, if it is one. ``hand_over`` is asked before it is made here. ``yields``: any model's
    record stands before it, if its tables do.
    """

    folder: Location
    record: str
    tables: tuple[str, ...]
    fill: Callable[[Version, list[Sink], dict[str, Any]], None]
    part: Part | None = None
    hand_over: HandOver | None = None
    yields: bool = False

    def is_of(self, record: Mapping[str, Any]) -> bool:
        """Whether a record is of the same work: of another part's range, or first record, it is not."""
        return self.part is None or (
            record["part"] == self.part.range
            and self.part.first in (None, record["first"])
            and (self.part.encoding is None or record["encoding"] in (None, self.part.encoding))
        )


class Goals:
    """The goals of runs with one loaded model; runs side by side share its threads.

    ``deadline``: when a run gives up. ``progress``: see ``Batch``.
    """

    def __init__(
        self, model: Model, settings: Settings, storage: Storage, deadline: Deadline, progress: Progress
    ) -> None:
        self._model = model.reasoning(settings.explain)
        self._settings = settings
        self._storage = storage
        self._deadline = deadline
        self._progress = progress
        self._pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="block")
        _keep_memory()
        #: What was learnt of the lines of the file that was scored last: its next part needs it again.
        self._folds: dict[tuple[str, str], Folds] = {}

    def telling(self, progress: Progress) -> Goals:
        """The same, with the same threads, and with another ``progress``."""
        other = copy.copy(self)
        other._progress = progress
        return other

    def whole(self, input: Location, folder: Location) -> Goal:
        """A file in one piece."""

        def fill(version: Version, sinks: list[Sink], record: dict[str, Any]) -> None:
            done = Passed()
            # Many packed bytes may hold nothing, and few very much: the time is checked on both sides.
            chunks = done.counted(self._storage.stream(input, version))
            chunks = self._in_time(inflated(self._in_time(chunks, input)), input)
            table = formats.opened(chunks, self._model.schema, self._settings.block_bytes)
            record |= self._pour(table, input, version, sinks, done)

        return Goal(folder, SUMMARY, (REJECTED, PREDICTIONS), fill)

    def part(self, input: Location, folder: Location, part: Part) -> Goal:
        """A part of a file."""

        def fill(version: Version, sinks: list[Sink], record: dict[str, Any]) -> None:
            record |= {"part": part.range, "first": part.first, "next": None, "encoding": part.encoding}
            if part.first is not None or part.encoding is not None:
                record["replanned"] = True
            done = Passed()

            def chunks(start: int, soon: int) -> Iterator[bytes]:
                chunks = done.counted(parts.since(self._storage, input, version, start, soon))
                return self._in_time(chunks, input)

            size = self._settings.block_bytes
            head = parts.head(self._storage, input, version, self._model.schema, size)
            if head.whole is not None:
                record["whole"] = head.whole
                owns = part.index == 0
                table = (
                    head.table
                    if not owns
                    else formats.opened(
                        self._in_time(inflated(chunks(0, version.size)), input), self._model.schema, size
                    )
                )
                table = table if owns else table._replace(blocks=iter(()))
                record["first"] = 0 if owns else version.size
                record |= self._pour(table, input, version, sinks, done)
                record |= {"next": version.size, "lines": 0, "encoding": None}
                if owns:
                    record["encoding"] = None if table.text.encoding == UTF_8 else table.text.encoding
                return
            opened = parts.opened_part(part, head, size, version.size, chunks)
            record["first"] = opened.first
            text = opened.table.text
            try:
                poured = self._pour(opened.table, input, version, sinks, done)
            finally:
                record["encoding"] = text.encoding if text.known else None
            record |= {**poured, "encoding": record["encoding"]}
            record |= {"next": opened.owned.next, "lines": opened.owned.line - 1}

        return Goal(folder, parts.record_name(part.index), (part.rejected, part.predictions), fill, part)

    def _pour(
        self, table: Table, input: Location, version: Version, sinks: list[Sink], done: Passed
    ) -> dict[str, Any]:
        """Score a table into the sinks of rejects and predictions, headers first.

        Returns what was counted, as ``summary.json`` has it.

        What scores depends on the file's size alone, so a row gets the same bytes in any block or part.
        """
        rejected, predictions = sinks
        tally = Tally()
        rejected.write(writing.lines(REJECT_COLUMNS))
        predictions.write(
            writing.head(table.layout, outputs.names(self._model.manifest, self._model.reasons))
        )
        model = self._model.steady(alone=version.size <= SMALL)
        workers = self._settings.workers
        file = str(input), version.identity
        folds = self._folds.get(file)
        if folds is None:
            folds = Folds(model, table.layout, Gauge(self._model.manifest))
            self._folds.clear()
            self._folds[file] = folds
        sums, repeats = folds.gauge.none(), Repeats()
        written = blocks.written(table, model, folds, self._pool, workers, self._deadline, input)
        with contextlib.closing(written):
            for block in written:
                tally.add(block.total, block.rejects, block.classes, self._model.manifest.classes)
                self._progress(done.bytes, tally.read, tally.rejects.total())
                if block.sums is not None:
                    sums += block.sums
                if block.lines is not None:
                    repeats.add(block.lines)
                predictions.write(block.predictions)
                rejected.write(block.rejected)
        tally.encoding = table.text.encoding  # of a table without rows, too: its header may say
        return {**tally.as_json(), **folds.gauge.as_json(folds.gauge.binned(sums + folds.sums(repeats)))}

    def joined(
        self,
        folder: Location,
        version: Version,
        records: list[Any],
        fault: InvalidCsv | None,
        present: dict[str, Version],
    ) -> Goal:
        """The rejects with the file's own lines, and the summary, of the version that was read in parts."""
        size = sum(
            version.size for name, version in present.items() if name.startswith(f"{PART_REJECTED}/")
        )
        whole = size <= MOST_JOINED

        def fill(now: Version, sinks: list[Sink], summary: dict[str, Any]) -> None:
            if now.identity != version.identity:
                raise Changed(str(folder))
            if fault is not None:
                raise fault
            tally, lines, gauge = Tally(), 0, Gauge(self._model.manifest)
            counts: list[np.ndarray | None] = []
            tables: dict[str, str] = {}
            listed: list[dict[str, Any]] = []
            for sink in sinks:
                sink.write(writing.lines(REJECT_COLUMNS))
            for record in records:
                rows, name = record["rows"], Part.parse(record["part"]).rejected
                tally.add(
                    rows["read"], record["rejects"], record["predictions"], self._model.manifest.classes
                )
                tally.encoding = record["encoding"] or tally.encoding
                counts.append(gauge.from_json(record))
                if rows["rejected"]:
                    for sink in sinks:
                        chunks = self._storage.stream(folder.child(name), present[name])
                        for text in parts.renumbered(self._in_time(chunks, folder), lines):
                            sink.write(text)
                tables |= {
                    each: etag for each, etag in record["outputs"].items() if not whole or each != name
                }
                part = record["part"]
                listed.append(
                    {
                        **{member: part[member] for member in ("index", "start", "end")},
                        "lines_before": lines,
                        "rows": rows,
                        "seconds": record["seconds"],
                        **({"replanned": True} if record.get("replanned") else {}),
                    }
                )
                lines += record["lines"]
            why = next((record["whole"] for record in records if record.get("whole")), None)
            replanned = any(record.get("replanned") for record in records)
            known = [each for each in counts if each is not None]
            if len(known) == len(counts):  # a part may have been scored before drift was counted
                summary |= {**tally.as_json(), **gauge.as_json(sum(known[1:], known[0])), "outputs": tables}
            else:
                summary |= {**tally.as_json(), "outputs": tables}
            summary["split"] = "whole" if why else "replanned" if replanned else "planned"
            if why:
                summary["whole"] = why
            summary["parts"] = listed
            summary["seconds"] = sum(record["seconds"] for record in records)

        return Goal(folder, SUMMARY, (REJECTED,) if whole and fault is None else (), fill)

    def _in_time(self, chunks: Iterable[bytes], location: Location) -> Iterator[bytes]:
        """The chunks, as long as there is time for the next."""
        for chunk in chunks:
            self._deadline.check(location)
            yield chunk


def _keep_memory() -> None:
    """Let the C library keep the memory of a block's arrays for those of the next one, in two arenas.

    Else it gives each back to the system, and gets it again filled with zeros: a tenth of a batch's
    processor time. It also makes an arena for each thread, each of which keeps what its threads have
    freed: how many there come to be depends on how busy the machine is, and memory with them. Libraries
    other than glibc are left as they are.
    https://www.gnu.org/software/libc/manual/html_node/Malloc-Tunable-Parameters.html
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold, arena_max = -1, -3, -8
        mallopt(trim_threshold, KEPT_BYTES)
        mallopt(mmap_threshold, KEPT_BYTES)
        mallopt(arena_max, 2)
