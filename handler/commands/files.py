"""``score`` and ``plan``: tables, whole or in parts; and how a run is stopped."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from handler import interrupts, terminal
from handler.batch.naming import MOST_PARTS, beside
from handler.commands import common
from handler.faults import DeadlineNear
from handler.settings import Settings
from handler.storage.deadline import RESERVE, Deadline
from handler.storage.locations import Location
from handler.storage.storage import Storage

if TYPE_CHECKING:
    from handler.batch.goals import Progress
    from handler.batch.inputs import Input, Inputs
    from handler.batch.many import Count, Outcome, Spool, Totals
    from handler.batch.run import Scored


class Stop:
    """Ctrl-C and SIGTERM, while the block lasts: either sets a time limit of ``RESERVE`` seconds.

    So a run withdraws its uploads, whatever it waits for. A second signal ends the process at once.
    """

    def __init__(self) -> None:
        self.code: int | None = None
        self._end = float("inf")

    def remaining(self) -> float:
        """The seconds that are left."""
        return self._end - time.monotonic()

    def __enter__(self) -> Stop:
        both = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        # A shell ignores the signals that a command in its background must not get.
        self._before = {number: each for number, each in both.items() if each is not signal.SIG_IGN}
        for number in self._before:
            signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _ask(self, number: int, _: object) -> None:
        self.code, self._end = 128 + number, time.monotonic() + RESERVE
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)


def add_score(add: common.Add) -> None:
    """Add ``score`` and its flags."""
    command = add(
        score, "score CSV files: local ones, folders of them, s3:// and gs:// objects and prefixes",
        "customers.csv", "data/ 'more/*.csv.gz' --output scored", "s3://bucket/in/ --output s3://bucket/scored",
        one="a file was refused, or could not be read or written",
    )  # fmt: skip
    command.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a file, a folder (the tables in it), a glob in quotes, s3://bucket/key or gs://bucket/key; "
        "s3://bucket/prefix/, with a slash at its end: every table below it",
    )
    command.add_argument("--output", metavar="DIR_OR_URI", help="default: scored/ beside the input")
    command.add_argument(
        "--parts",
        type=common.whole_number(MOST_PARTS),
        metavar="N",
        help="score each table in N parts, side by side in processes (default: in one piece)",
    )


def score(options: argparse.Namespace, settings: Settings) -> int:
    """Score tables into folders; 1 if one was refused or failed, 130 or 143 if it was stopped."""
    # Before numpy is loaded: blocks are scored side by side, and OpenBLAS would start threads for each.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from handler.batch.many import Spool, Totals

    totals = Totals()
    with tempfile.TemporaryFile() as file:
        documents = Spool(file)
        is_one = _score(options, settings, totals, documents)
        for outcome in totals.faults:
            named = "" if str(outcome.input.location) in str(outcome.fault) else f"{outcome.input.word}: "
            terminal.complain(f"{named}{outcome.fault}")
        if more := totals.files["failed"] - len(totals.faults):
            terminal.complain(f"{more:,} more files could not be read or written")
        if options.json:
            for index, document in enumerate(documents):
                print('{"files": [' if index == 0 else ", ", end=document)
            print(f'], "totals": {json.dumps(totals.as_json())}}}')
        elif not is_one:
            print(totals)
    return 1 if totals.files["refused"] or totals.files["failed"] else 0


def _score(options: argparse.Namespace, settings: Settings, totals: Totals, documents: Spool) -> bool:
    """Score what the options name, and print or keep what comes of each; whether it is one file."""
    from handler.batch import many
    from handler.batch.inputs import Inputs
    from handler.batch.progress import bar
    from handler.batch.run import Batch

    model, storage = common.load_model(settings), Storage(settings.allow_http)
    output = Location.parse(options.output) if options.output else None
    inputs = count = None
    with Stop() as stop:
        deadline = Deadline(stop.remaining)
        storage = storage.within(deadline)
        batch = Batch(model, settings, storage, deadline)
        split = None
        if options.parts:
            from handler.batch.split import Split  # which imports multiprocessing

            split = Split(batch, settings, deadline, options.parts)

        def whole(input: Input, progress: Progress) -> Scored:
            return batch.telling(progress).score(input.location, input.folder)

        try:
            # What is not there is known before the first is scored.
            inputs = Inputs(options.inputs, output, settings.input_uri, storage, deadline)
            count = many.Count(inputs)
            quiet = options.quiet and not inputs.only
            with bar(0 if options.quiet else count.size or 1) as shown:
                scorer = split.score if split else whole
                together = many.Together(shown, count)
                for outcome in many.score(inputs, scorer, deadline, together, alone=split is not None):
                    totals.add(outcome)
                    if options.json:
                        documents.put(outcome.number, json.dumps(outcome.as_json(), ensure_ascii=False))
                    else:
                        with shown.aside():
                            _show(outcome, quiet)
        except DeadlineNear:
            _stopped(stop, inputs, count, totals)
    return inputs.only


def _stopped(stop: Stop, inputs: Inputs | None, count: Count | None, totals: Totals) -> NoReturn:
    """Say what is done and what is not, and end the process."""
    if inputs is None or count is None:
        what = ": no file is scored"
    elif inputs.only:
        what = f": {next(iter(inputs)).word} is not scored; its uploads were withdrawn"
    else:
        what = (
            f": {totals.files['files']:,} of {count} files are done, and the uploads of the others were "
            "withdrawn; the same command scores the rest"
        )
    if stop.code == 128 + signal.SIGINT:
        interrupts.say(what)
    else:
        print(f"stopped{what}", file=sys.stderr, flush=True)
    # Calls that were cancelled may still run in the client's threads, which abort a process that ends by
    # the interpreter's way.
    os._exit(stop.code or 1)


def _show(outcome: Outcome, quiet: bool) -> None:
    """Print the one line of an input; only that it was refused is shown where ``quiet``."""
    from handler.batch import many

    word, folder = outcome.input.word, outcome.input.folder
    shown = str(folder)
    if folder.scheme == "file" and not Path(word).is_absolute():
        shown = os.path.relpath(shown)
    if outcome.refused:
        terminal.complain(f"{word}: {outcome.refused}")
    elif quiet or outcome.scored is None:
        pass
    elif outcome.scored.summary is None:
        print(f"{word}: {outcome.scored.skipped}; see {shown}", flush=True)
    else:
        summary = outcome.scored.summary
        how = f"{len(summary['parts'])} parts" if "parts" in summary else f"{summary['seconds']:.1f} s"
        print(f"{word}: {many.in_words(summary['rows'])} in {how}; see {shown}", flush=True)


def add_plan(add: common.Add) -> None:
    """Add ``plan`` and its flags."""
    command = add(
        plan, "split a table into parts, and print them as the JSON that a state machine reads",
        "big.csv --parts 8", "s3://bucket/in/big.csv --part-bytes 500000000 --output s3://bucket/scored",
    )  # fmt: skip
    command.add_argument("input", metavar="INPUT", help="a file, s3://bucket/key or gs://bucket/key")
    size = command.add_mutually_exclusive_group(required=True)
    size.add_argument(
        "--parts", type=common.whole_number(MOST_PARTS), metavar="N", help="as many parts as this"
    )
    size.add_argument(
        "--part-bytes",
        type=common.whole_number(1 << 62),
        metavar="B",
        help="parts of about so many bytes",
    )
    command.add_argument(
        "--output", metavar="DIR_OR_URI", help="where predictions go (default: $OUTPUT_URI, or scored/)"
    )


def plan(options: argparse.Namespace, settings: Settings) -> int:
    """Print the parts of a table, as the items that a state machine reads."""
    from handler.batch.run import Batch

    input = Location.parse(options.input)
    batch = Batch(common.load_model(settings), settings, Storage(settings.allow_http))
    output = options.output or settings.output_uri
    if output is None and input.scheme == "file":
        output = str(beside(input)).removesuffix(f"/{input.name}")
    names = {"input": str(input), **({"output": output} if output else {})}
    planned = batch.plan(input, options.part_bytes, options.parts)
    common.print_json([{**names, "part": part.as_json()} for part in planned])
    return 0
