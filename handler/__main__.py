"""Predictions, files, events and a server from a bundle, at a terminal."""

from __future__ import annotations

from handler import interrupts

interrupts.catch()  # before the imports, which take a while

import argparse
import atexit
import gc
import json
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlencode

from handler import telemetry, terminal
from handler.app import App
from handler.batch.naming import MOST_PARTS, beside
from handler.bundle import DOCUMENTS, MANIFEST, SIGNATURE, Bundle
from handler.errors import DeadlineNear, FunctionError, InvalidRecords, Problem
from handler.schema import to_text
from handler.scoring.model import Model
from handler.settings import Settings, port_of
from handler.storage.deadline import RESERVE, Deadline
from handler.storage.locations import Location
from handler.storage.storage import Storage
from handler.web.messages import Answer, Request

if TYPE_CHECKING:
    from handler.batch.goals import Progress
    from handler.batch.inputs import Input, Inputs
    from handler.batch.many import Count, Outcome, Spool, Totals
    from handler.batch.run import Scored

atexit.register(gc.freeze)  # else Python searches all that polars has loaded for garbage: 0.1 s of a batch

#: What exit code 1 means, by command.
ONE = {
    "check": "a golden prediction differs",
    "compare": "the share of rows that change is above the limit",
    "drift": "the largest index of the last period is above the limit",
    "evaluate": "the main metric has dropped by more than the limit, or has no value",
    "score": "a file was refused, or could not be read or written",
}


def main(
    arguments: Sequence[str] | None = None,
    program: str = "python -m handler",
    elsewhere: Mapping[str, str] | None = None,
) -> int:
    """Run a command; returns its exit code: 0 done, 1 a check failed, 2 bad input or no model.

    A process that is asked to stop ends with 130 (Ctrl-C) or 143 (SIGTERM). ``elsewhere`` has the further
    commands of ``program``, each with its line of help: they are listed here and run by the caller.
    """
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    return terminal.guarded(lambda: _run(words, program, elsewhere or {}), "--json" in words)


def _run(words: list[str], program: str, elsewhere: Mapping[str, str]) -> int:
    parser, commands = _parsers(program, elsewhere)
    if words and not words[0].startswith("-") and words[0] not in commands:
        hint = terminal.near(words[0], commands)
        raise terminal.UsageError(f"there is no command '{words[0]}'{hint} (see {program} --help)")
    options = terminal.parsed(parser, words)
    if not hasattr(options, "run"):
        parser.print_help(sys.stderr)
        return 2
    settings = Settings.from_env({**os.environ, **({"MODEL_DIR": options.model} if options.model else {})})
    telemetry.configure(settings)
    return int(options.run(options, settings))


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


def predict(options: argparse.Namespace, settings: Settings) -> int:
    """Predict one record given as name=value arguments."""
    return _answer(options, settings, explained=False)


def explain(options: argparse.Namespace, settings: Settings) -> int:
    """Predict one record, and say what each feature adds."""
    return _answer(options, settings, explained=True)


def _answer(options: argparse.Namespace, settings: Settings, *, explained: bool) -> int:
    model = _model(settings)
    if explained:
        model.explainer()  # where there is none, the values do not matter
    pairs = []
    for word in options.values:
        name, equals, text = word.partition("=")
        if not equals:
            raise InvalidRecords([Problem(name, "no_value", f"'{name}' has no value; write {name}=...")])
        pairs.append((name, text))
    record = model.schema.from_query(pairs)
    prediction = model.predict_one(record)
    if explained:
        (prediction,) = model.explained([record], [prediction])
    _print({**prediction, **model.schema.carried(dict(pairs)), "model": model.manifest.identity})
    return 0


def score(options: argparse.Namespace, settings: Settings) -> int:
    """Score tables into folders; 1 if one was refused or failed, 130 or 143 if it was stopped."""
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

    model, storage = _model(settings), Storage(settings.allow_http)
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


def plan(options: argparse.Namespace, settings: Settings) -> int:
    """Print the parts of a table, as the items that a state machine reads."""
    from handler.batch.run import Batch

    input = Location.parse(options.input)
    batch = Batch(_model(settings), settings, Storage(settings.allow_http))
    output = options.output or settings.output_uri
    if output is None and input.scheme == "file":
        output = str(beside(input)).removesuffix(f"/{input.name}")
    names = {"input": str(input), **({"output": output} if output else {})}
    planned = batch.plan(input, options.part_bytes, options.parts)
    _print([{**names, "part": part.as_json()} for part in planned])
    return 0


def invoke(options: argparse.Namespace, settings: Settings) -> int:
    """Send an event from a file through the same dispatch as on Lambda."""
    try:
        event = received(json.loads(options.event.read_bytes()))
    except OSError as error:
        raise FunctionError(f"{options.event} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise FunctionError(f"{options.event} is not JSON ({error})") from error
    app = App(_model(settings), settings)
    try:
        reply = app.handle(event)
    finally:
        app.close()
    if isinstance(reply, Answer):
        reply = {"status": reply.status, "headers": reply.headers, "body": reply.body.decode()}
    _print(reply)
    return 0


def received(event: Any) -> Any:
    """An event as the dispatch takes it: ``{"method", "path", "headers", "body"}`` is an HTTP request."""
    if not isinstance(event, dict) or event.keys() != {"method", "path", "headers", "body"}:
        return event
    headers = {name.lower(): text for name, text in event["headers"].items()}
    return Request(event["method"], event["path"], headers=headers, body=json.dumps(event["body"]).encode())


def check(options: argparse.Namespace, settings: Settings) -> int:
    """Predict the golden rows again and compare."""
    model = _whole_model(settings)
    from handler.scoring import checking

    differences = checking.differences(model)
    for difference in differences:
        terminal.complain(difference)
    manifest = model.manifest
    rows, verdict = len(manifest.golden), f"{len(differences)} differ" if differences else "all reproduced"
    text = f"{manifest.name} {manifest.version} ({manifest.runtime}): {rows} golden rows, {verdict}"
    document = {"model": manifest.identity, "runtime": manifest.runtime, "golden": rows}
    _result(options, {**document, "differences": list(differences)}, text)
    return 1 if differences else 0


def drift(options: argparse.Namespace, settings: Settings) -> int:
    """Write a page about many summaries; 1 if the last of them drift more than the limit."""
    from handler.review import history

    manifest = Bundle.open(settings.model_dir, settings.model_public_key).manifest
    made = history.history(options.summaries, manifest, Storage(settings.allow_http))
    _write(options.output, history.as_page(made))
    largest = made.last.drift["largest"]
    document = {
        "model": manifest.identity,
        "files": made.files,
        "rows": made.rows,
        "left_out": dict(made.left_out),
        "unit": made.unit,
        "periods": [
            {"start": made.start(each.number), "files": each.files, "drift": each.drift}
            for each in made.periods
        ],
        "page": str(options.output),
    }
    _result(options, document, f"{history.in_words(made)}\nthe page: {options.output}")
    if largest is None or largest <= options.limit:
        return 0
    terminal.complain(f"the largest index of the last {made.unit}, {largest:g}, is above {options.limit:g}")
    return 1


def compare(options: argparse.Namespace, settings: Settings) -> int:
    """Predict a file with two models; 1 if the share of rows that change is above the limit."""
    from handler.batch.progress import bar
    from handler.review import changes, comparison

    storage = Storage(settings.allow_http)
    input, size = comparison.located(options.other, options.input, storage)
    this, other = _model(settings), comparison.loaded(options.other, settings)
    with bar(0 if options.quiet else size) as shown:
        made = comparison.compare(this, other, input, settings, storage, shown, options.tolerance)
    text = changes.in_words(made)
    if options.output is not None:
        _write(options.output, changes.as_page(made, options.limit))
        text += f"\nthe page: {options.output}"
    share, page = made.counts.share, options.output and str(options.output)
    _result(options, {**made.as_json(), "limit": options.limit, "page": page}, text)
    if share <= options.limit:
        return 0
    terminal.complain(f"{share:.2%} of the rows change, which is above the limit of {options.limit:.2%}")
    return 1


def evaluate(options: argparse.Namespace, settings: Settings) -> int:
    """Measure predictions on what really came; 1 if the main metric has dropped by more than the limit."""
    from handler.review import evaluation

    manifest = Bundle.open(settings.model_dir, settings.model_public_key).manifest
    question = evaluation.question(manifest, options.on, options.target, options.date)
    storage = Storage(settings.allow_http)
    made = evaluation.evaluate(options.predictions, options.truth, question, manifest, storage)
    document, text = made.as_json(), evaluation.in_words(made)
    if options.output is not None:
        _write(options.output, evaluation.as_page(made))
        document, text = {**document, "page": str(options.output)}, f"{text}\nthe page: {options.output}"
    _result(options, document, text)
    fault = None if options.limit is None else evaluation.fault(made, options.limit)
    if fault is not None:
        terminal.complain(fault)
    return 0 if fault is None else 1


def sign(options: argparse.Namespace, settings: Settings) -> int:
    """Sign the bundle, after every file was compared with the manifest."""
    from handler import signing

    bundle = Bundle.open(settings.model_dir)
    for name in bundle.manifest.files:
        bundle.read(name)
    folder = Path(settings.model_dir)
    content = (folder / MANIFEST).read_bytes()
    (folder / SIGNATURE).write_bytes(signing.sign(options.key, content))
    manifest, file = bundle.manifest, str(folder / SIGNATURE)
    text = f"{manifest.name} {manifest.version}: signed, in {file}"
    _result(options, {"model": manifest.identity, "signature": file}, text)
    return 0


def serve(options: argparse.Namespace, settings: Settings) -> int:
    """Serve over HTTP with functions-framework, as Cloud Run does."""
    port = (
        port_of(os.environ.get("PORT") or "8080")
        if options.port is None
        else port_of(options.port, "--port")
    )
    _require_free(options.host, port)
    model = _whole_model(settings)  # a bad bundle is reported here, in one line
    base = f"http://{options.host}:{port}"
    example = model.manifest.golden[0]["record"]
    known = [each for each in model.manifest.features if example.get(each.name) is not None]
    query = urlencode({each.name: to_text(each, example[each.name]) for each in known})
    if not options.quiet:
        print(f"serving {model.manifest.name} {model.manifest.version} on {base}", file=sys.stderr)
        print(f"  page        {base}/", file=sys.stderr)
        print(f"  Swagger UI  {base}/apidocs", file=sys.stderr)
        print(f"  try         curl '{base}/predict?{query}'", file=sys.stderr)
        print("  stop        Ctrl-C", file=sys.stderr, flush=True)
    root = Path(__file__).resolve().parent.parent
    # The server is this very package, and a pipeline of one's own may be where the command was typed.
    paths = [str(root), str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ |= {"HOST": options.host, "PORT": str(port), "MODEL_DIR": str(settings.model_dir)}
    # Ctrl-C waits until the server can heed it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.execv(sys.executable, [sys.executable, "-P", "-m", "handler.server"])


def _whole(most: int) -> Callable[[str], int]:
    """What reads the value of a flag, a whole number from 1 to ``most``."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) <= most):
            raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {most:,}")
        return int(text)

    return read


def _limit(text: str) -> float:
    """What reads the value of a flag, a number of 0 or more."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be a number of 0 or more, such as 0.25")
    return number


def _share(text: str) -> float:
    """What reads the value of a flag, a share."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError("must be a share from 0 to 1, such as 0.05 for 5 %%")
    return number


def _parser(program: str, elsewhere: Mapping[str, str]) -> argparse.ArgumentParser:
    return _parsers(program, elsewhere)[0]


def _parsers(program: str, elsewhere: Mapping[str, str]) -> tuple[argparse.ArgumentParser, Sequence[str]]:
    """The parser, and the names of its commands."""
    parser = terminal.Parser(
        prog=program,
        description=__doc__,
        epilog=terminal.epilog(
            f"{program} predict age=45 new_user=0 total_pages_visited=5",
            f"{program} score data/*.csv --output scored",
            f"{program} serve --port 8081",
            one="the check failed, or a file was refused, or could not be read or written",
        ),
    )
    terminal.add_version(parser)
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, line in elsewhere.items():
        commands.add_parser(name, help=line)

    def add(run: Callable[[argparse.Namespace, Settings], int], line: str, *examples: str) -> Any:
        name = run.__name__
        typed = [f"{program} {name} {each}".rstrip() for each in examples]
        command = commands.add_parser(
            name,
            help=line,
            description=f"{line[0].upper()}{line[1:]}.",
            epilog=terminal.epilog(*typed, one=ONE.get(name)),
        )
        command.add_argument(
            "--model",
            metavar="DIR",
            help="the bundle (default: $MODEL_DIR, or handler/model: here or beside this code)",
        )
        terminal.add_common(command)
        command.set_defaults(run=run, parser=command)
        return command

    command = add(
        predict, "predict one record, and print it as JSON",
        "age=45 new_user=0 total_pages_visited=5", "--model build/wine alcohol=13.2 proline=1065",
    )  # fmt: skip
    command.add_argument("values", nargs="+", metavar="NAME=VALUE", help="a value of each feature")
    command = add(
        explain, "predict one record, and print what each feature adds to the prediction, as JSON",
        "age=45 new_user=0 total_pages_visited=5",
    )  # fmt: skip
    command.add_argument("values", nargs="+", metavar="NAME=VALUE", help="a value of each feature")
    command = add(
        score, "score CSV files: local ones, folders of them, s3:// and gs:// objects and prefixes",
        "customers.csv", "data/ 'more/*.csv.gz' --output scored", "s3://bucket/in/ --output s3://bucket/scored",
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
        type=_whole(MOST_PARTS),
        metavar="N",
        help="score each table in N parts, side by side in processes (default: in one piece)",
    )
    command = add(
        plan, "split a table into parts, and print them as the JSON that a state machine reads",
        "big.csv --parts 8", "s3://bucket/in/big.csv --part-bytes 500000000 --output s3://bucket/scored",
    )  # fmt: skip
    command.add_argument("input", metavar="INPUT", help="a file, s3://bucket/key or gs://bucket/key")
    size = command.add_mutually_exclusive_group(required=True)
    size.add_argument("--parts", type=_whole(MOST_PARTS), metavar="N", help="as many parts as this")
    size.add_argument(
        "--part-bytes",
        type=_whole(1 << 62),
        metavar="B",
        help="parts of about so many bytes",
    )
    command.add_argument(
        "--output", metavar="DIR_OR_URI", help="where predictions go (default: $OUTPUT_URI, or scored/)"
    )
    command = add(
        invoke, "send any event through the same dispatch as on Lambda, and print the answer as JSON",
        "events/direct.json", "events/s3-put.json",
    )  # fmt: skip
    command.add_argument("event", type=Path, metavar="EVENT.json", help="a file with the event")
    add(check, "check that the bundle reproduces its golden predictions", "", "--model build/wine")
    command = add(
        drift, "show on one page how the rows of many files drift from the training data, over time",
        "scored/", "s3://bucket/scored/ --output drift.html", "--limit 0.1 'scored/*/summary.json'",
    )  # fmt: skip
    command.add_argument(
        "summaries",
        nargs="+",
        metavar="SUMMARY",
        help="a summary.json, a folder, a glob in quotes, or a prefix s3://bucket/scored/ or gs://...: all "
        "summaries below it",
    )
    command.add_argument(
        "--output", type=Path, default=Path("drift.html"), metavar="PAGE.html", help="(%(default)s)"
    )
    command.add_argument(
        "--limit",
        type=_limit,
        default=0.25,
        metavar="INDEX",
        help="the index above which the exit code is 1 (%(default)s)",
    )
    command = add(
        compare, "predict a file with this bundle and with another, and count the rows that change",
        "deployed/ rows.csv", "deployed/ s3://bucket/in/rows.csv.gz --limit 0.01 --output changes.html",
    )  # fmt: skip
    command.add_argument(
        "other",
        metavar="OTHER",
        help="the folder of the bundle that serves today; this one (--model) is to be deployed",
    )
    command.add_argument("input", metavar="FILE", help="a CSV file, s3://bucket/key or gs://bucket/key")
    command.add_argument("--output", type=Path, metavar="PAGE.html", help="write a page with pictures too")
    command.add_argument(
        "--limit",
        type=_share,
        default=0.05,
        metavar="SHARE",
        help="the share of rows that change above which the exit code is 1 (%(default)s)",
    )
    command.add_argument(
        "--tolerance",
        type=_limit,
        metavar="SHIFT",
        help="of a regression: the shift above which a row changes, in units of the target (default: a "
        "twentieth of the range from the 10th to the 90th percentile of predictions at training)",
    )
    command = add(
        evaluate, "measure predictions on what really came, by the metrics of training and beside them",
        "scored/customers.csv/predictions.csv truth.csv --on customer",
        "s3://bucket/scored/ truth.csv.gz --on customer --date scored_at --output evaluation.html",
        "scored/ truth.csv --on customer --on month --target bought --limit 0.05",
    )  # fmt: skip
    command.add_argument(
        "predictions",
        metavar="PREDICTIONS",
        help="what scoring wrote: a table, a summary.json, a folder, a glob in quotes, or a prefix "
        "s3://bucket/scored/ or gs://...: all predictions below it",
    )
    command.add_argument(
        "truth",
        metavar="TRUTH",
        help="a table with what came, in the target's column; or many, named as for score",
    )
    command.add_argument(
        "--on",
        action="append",
        required=True,
        metavar="ID",
        help="a column by which rows of both are joined; may be given several times",
    )
    command.add_argument(
        "--target", metavar="COLUMN", help="what TRUTH calls the target (default: as the model does)"
    )
    command.add_argument(
        "--date",
        metavar="COLUMN[=FORMAT]",
        help="by week, too: a date in PREDICTIONS, or else in TRUTH (default of FORMAT: ISO 8601)",
    )
    command.add_argument(
        "--output", type=Path, metavar="PAGE.html", help="a page with pictures (default: none)"
    )
    command.add_argument(
        "--limit",
        type=_limit,
        metavar="DROP",
        help="exit with code 1 where the ROC area, else F1, or R² has dropped by more than this",
    )
    command = add(sign, "vouch for the bundle with a private key of yours", "--key private.pem")
    command.add_argument("--key", type=Path, required=True, metavar="PRIVATE.pem", help="Ed25519, in PEM")
    command = add(
        serve,
        "serve over HTTP, with functions-framework",
        "",
        "--port 8081",
        "--host 0.0.0.0 --model build/wine",
    )
    command.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    command.add_argument("--port", metavar="PORT", help="default: $PORT, or 8080")
    return parser, list(commands.choices)


def _model(settings: Settings) -> Model:
    return Model.load(settings.model_dir, settings.model_public_key)


def _whole_model(settings: Settings) -> Model:
    """The model, after every model file in the folder was verified, also one that does not serve.

    A model that someone puts in the place of ``model.joblib`` is noticed so, where the graph serves.
    """
    bundle = Bundle.open(settings.model_dir)
    for name in sorted(bundle.manifest.files.keys() - DOCUMENTS):
        if (Path(settings.model_dir) / name).exists():
            bundle.read(name)
    return _model(settings)


def _require_free(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except PermissionError as error:
            raise FunctionError(
                f"cannot listen on {host}:{port}: ports below 1024 are for the administrator; "
                "choose another port: --port 8080, or PORT=8080 make serve"
            ) from error
        except OSError as error:
            other = 8081 if port != 8081 else 8082
            raise FunctionError(
                f"cannot listen on {host}:{port} ({error.strerror}); "
                f"choose another port: --port {other}, or PORT={other} make serve"
            ) from error


def _write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise FunctionError(f"{path} cannot be written ({error.strerror})") from error


def _result(options: argparse.Namespace, document: Mapping[str, Any], text: str) -> None:
    """Print what came of a command: a JSON object where that is asked for, else a text."""
    if options.json:
        _print(document)
    else:
        print(text)


def _print(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False))


if __name__ == "__main__":
    interrupts.leave(main())
