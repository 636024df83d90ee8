"""Predictions, files, events and a server from a bundle, at a terminal."""

from __future__ import annotations

from handler import interrupts

interrupts.catch()  # before the imports, which take a while

import argparse
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from handler import telemetry, terminal
from handler.app import App
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
    from handler.batch.run import Scored

#: What exit code 1 means, by command.
ONE = {"check": "a golden prediction differs", "score": "a file was refused"}


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
    model = _model(settings)
    pairs = []
    for word in options.values:
        name, equals, text = word.partition("=")
        if not equals:
            raise InvalidRecords([Problem(name, "no_value", f"'{name}' has no value; write {name}=...")])
        pairs.append((name, text))
    record = model.schema.from_query(pairs)
    prediction = model.predict_one(record)
    _print({**prediction, **model.schema.carried(dict(pairs)), "model": model.manifest.identity})
    return 0


def score(options: argparse.Namespace, settings: Settings) -> int:
    """Score tables into folders; 1 if one was refused, 130 or 143 if it was stopped."""
    from handler.batch import inputs
    from handler.batch.progress import bar
    from handler.batch.run import Batch, require

    model, storage = _model(settings), Storage(settings.allow_http)
    output = Location.parse(options.output) if options.output else None
    folders = _folders(inputs.named(options.inputs, output), output, settings)
    # What is not there is known before the first is scored.
    sizes = {word: require(storage, Location.parse(word)).size for word in folders}
    results = []
    with Stop() as stop:
        deadline = Deadline(stop.remaining)
        storage = storage.within(deadline)
        for word, folder in folders.items():
            try:
                with bar(0 if options.quiet else sizes[word]) as progress:
                    batch = Batch(model, settings, storage, deadline, progress)
                    results.append(batch.score(Location.parse(word), folder))
            except DeadlineNear:
                what = f": {word} is not scored; its uploads were withdrawn"
                if stop.code == 128 + signal.SIGINT:
                    interrupts.say(what)
                else:
                    print(f"stopped{what}", file=sys.stderr, flush=True)
                if stop.code is None:
                    return 1
                # Calls that were cancelled may still run in the client's threads, which abort a process
                # that ends by the interpreter's way.
                os._exit(stop.code)
            if not options.json:
                _show(word, folder, results[-1], quiet=options.quiet and len(folders) > 1)
    documents = [
        {"input": {"uri": str(Location.parse(word))}, "output": str(folder), **result.as_json()}
        for (word, folder), result in zip(folders.items(), results, strict=True)
    ]
    totals = _totals(documents)
    if options.json:
        _print({"files": documents, "totals": totals})
    elif len(documents) > 1:
        print(
            f"{totals['files']:,} files: {totals['scored']:,} scored, {totals['skipped']:,} skipped, "
            f"{totals['refused']:,} refused; {_rows(totals['rows'])}"
        )
    return 1 if totals["refused"] else 0


def _folders(words: Sequence[str], output: Location | None, settings: Settings) -> dict[str, Location]:
    """The folder of each input's outputs; raises ``FunctionError`` where two inputs have one folder."""
    from handler.batch.naming import beside, into

    folders: dict[str, Location] = {}
    for word in words:
        input = Location.parse(word)
        folder = into(input, output, settings.input_uri) if output else beside(input)
        if folder in folders.values():
            other = next(each for each, taken in folders.items() if taken == folder)
            raise FunctionError(
                f"{other} and {word} would both be scored into {folder}: score them one by one, each with "
                "its own --output"
            )
        folders[word] = folder
    return folders


def _show(word: str, folder: Location, scored: Scored, quiet: bool) -> None:
    """Print the one line of an input; only an error is shown where ``quiet``."""
    shown = str(folder)
    if folder.scheme == "file" and not Path(word).is_absolute():
        shown = os.path.relpath(shown)
    fault = None if scored.summary is None else scored.summary.get("error")
    if fault:
        terminal.complain(f"{word}: {fault['message']}")
    elif quiet:
        pass
    elif scored.summary is None:
        print(f"{word}: {scored.skipped}; see {shown}", flush=True)
    else:
        rows, seconds = _rows(scored.summary["rows"]), scored.summary["seconds"]
        print(f"{word}: {rows} in {seconds:.1f} s; see {shown}", flush=True)


def _rows(rows: Mapping[str, int]) -> str:
    return (
        f"{rows['read']:,} {'row' if rows['read'] == 1 else 'rows'}, {rows['scored']:,} scored, "
        f"{rows['rejected']:,} rejected"
    )


def _totals(documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How many files were scored, skipped and refused, and the rows of those that this run has read."""
    read = [each["rows"] for each in documents if "rows" in each]
    refused = sum(bool(each.get("error")) for each in documents)
    return {
        "files": len(documents),
        "scored": len(read) - refused,
        "skipped": len(documents) - len(read),
        "refused": refused,
        "rows": {name: sum(rows[name] for rows in read) for name in ("read", "scored", "rejected")},
    }


def invoke(options: argparse.Namespace, settings: Settings) -> int:
    """Send an event from a file through the same dispatch as on Lambda."""
    try:
        event = received(json.loads(options.event.read_bytes()))
    except OSError as error:
        raise FunctionError(f"{options.event} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise FunctionError(f"{options.event} is not JSON ({error})") from error
    reply = App(_model(settings), settings).handle(event)
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
            one="the check failed, or a file was refused",
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
        score, "score CSV files: local ones, folders of them, s3:// and gs:// objects",
        "customers.csv", "data/ 'more/*.csv.gz' --output scored", "s3://bucket/in.csv --output s3://bucket/scored",
    )  # fmt: skip
    command.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="a file, a folder (the tables in it), a glob in quotes, s3://bucket/key or gs://bucket/key",
    )
    command.add_argument("--output", metavar="DIR_OR_URI", help="default: scored/ beside the input")
    command = add(
        invoke, "send any event through the same dispatch as on Lambda, and print the answer as JSON",
        "events/direct.json", "events/s3-put.json",
    )  # fmt: skip
    command.add_argument("event", type=Path, metavar="EVENT.json", help="a file with the event")
    add(check, "check that the bundle reproduces its golden predictions", "", "--model build/wine")
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
