"""Predictions, files, events and a server from a bundle, at a terminal."""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from handler import __version__, telemetry
from handler.app import App
from handler.bundle import DOCUMENTS, MANIFEST, SIGNATURE, Bundle
from handler.errors import DeadlineNear, FunctionError, InvalidRecords, Problem
from handler.schema import to_text
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.deadline import RESERVE, Deadline
from handler.storage.locations import Location
from handler.storage.storage import Storage
from handler.web.messages import Answer, Request


def main(
    arguments: Sequence[str] | None = None,
    program: str = "python -m handler",
    elsewhere: Mapping[str, str] | None = None,
) -> int:
    """Run a command; returns its exit code: 0 done, 1 a check failed, 2 bad input or no model.

    A process that is asked to stop ends with 130 (Ctrl-C) or 143 (SIGTERM). ``elsewhere`` has the further
    commands of ``program``, each with its line of help: they are listed here and run by the caller.
    """
    parser = _parser(program, elsewhere or {})
    options = parser.parse_args(arguments)
    if options.version:
        print(f"sklearn-function {__version__}")
        return 0
    if not hasattr(options, "run"):
        parser.print_help(sys.stderr)
        return 2
    try:
        settings = Settings.from_env(
            {**os.environ, **({"MODEL_DIR": options.model} if options.model else {})}
        )
        telemetry.configure(settings)
        return int(options.run(options, settings))
    except FunctionError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


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
    """Score a CSV file or object into a folder; 1 if it was refused, 130 or 143 if it was stopped."""
    from handler.batch.progress import bar
    from handler.batch.run import Batch, beside, into, require

    model, storage = _model(settings), Storage(settings.allow_http)
    input = Location.parse(options.input)
    output = Location.parse(options.output) if options.output else None
    folder = into(input, output, settings.input_uri) if output else beside(input)
    shown = os.path.relpath(str(folder)) if not Path(options.input).is_absolute() else str(folder)
    shown = str(folder) if folder.scheme != "file" else shown
    with Stop() as stop:
        deadline = Deadline(stop.remaining)
        storage = storage.within(deadline)
        try:
            with bar(require(storage, input).size) as progress:
                scored = Batch(model, settings, storage, deadline, progress).score(input, folder)
        except DeadlineNear:
            print(f"stopped: {options.input} is not scored; its uploads were withdrawn", file=sys.stderr)
            if stop.code is None:
                return 1
            # Calls that were cancelled may still run in the client's threads, which abort a process that
            # ends by the interpreter's way.
            sys.stderr.flush()
            os._exit(stop.code)
    if scored.summary is None:
        print(f"{options.input}: {scored.skipped}; see {shown}")
        return 0
    fault, rows = scored.summary.get("error"), scored.summary["rows"]
    if fault:
        print(f"error: {options.input}: {fault['message']}", file=sys.stderr)
        return 1
    seconds = scored.summary["seconds"]
    print(
        f"{options.input}: {rows['read']:,} {'row' if rows['read'] == 1 else 'rows'}, "
        f"{rows['scored']:,} scored, {rows['rejected']:,} rejected in {seconds:.1f} s; see {shown}"
    )
    return 0


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


def check(options: argparse.Namespace, settings: Settings) -> int:  # noqa: ARG001
    """Predict the golden rows again and compare."""
    model = _whole_model(settings)
    from handler.scoring import checking

    differences = checking.differences(model)
    for difference in differences:
        print(f"error: {difference}", file=sys.stderr)
    manifest = model.manifest
    verdict = f"{len(differences)} differ" if differences else "all reproduced"
    served = f"{manifest.name} {manifest.version} ({manifest.runtime})"
    print(f"{served}: {len(manifest.golden)} golden rows, {verdict}")
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
    print(f"{bundle.manifest.name} {bundle.manifest.version}: signed, in {folder / SIGNATURE}")
    return 0


def serve(options: argparse.Namespace, settings: Settings) -> int:
    """Serve over HTTP with functions-framework, as Cloud Run does."""
    model = _whole_model(settings)  # a bad bundle is reported here, in one line
    _require_free(options.host, options.port)
    base = f"http://{options.host}:{options.port}"
    example = model.manifest.golden[0]["record"]
    known = [each for each in model.manifest.features if example.get(each.name) is not None]
    query = urlencode({each.name: to_text(each, example[each.name]) for each in known})
    print(f"serving {model.manifest.name} {model.manifest.version} on {base}", file=sys.stderr)
    print(f"  Swagger UI  {base}/apidocs", file=sys.stderr)
    print(f"  try         curl '{base}/predict?{query}'", file=sys.stderr)
    print("  stop        Ctrl-C", file=sys.stderr, flush=True)
    root = Path(__file__).resolve().parent.parent
    # The server is this very package, and a pipeline of one's own may be where the command was typed.
    paths = [str(root), str(Path.cwd()), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ |= {"HOST": options.host, "PORT": str(options.port), "MODEL_DIR": str(settings.model_dir)}
    os.execv(sys.executable, [sys.executable, "-P", "-m", "handler.server"])


def _parser(program: str, elsewhere: Mapping[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description=__doc__)
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, line in elsewhere.items():
        commands.add_parser(name, help=line)
    model = argparse.ArgumentParser(add_help=False)
    model.add_argument(
        "--model",
        metavar="DIR",
        help="the bundle (default: $MODEL_DIR, or handler/model: here or beside this code)",
    )
    add = partial(commands.add_parser, parents=[model])
    command = add("predict", help="predict one record: age=45 new_user=0 ...")
    command.add_argument("values", nargs="+", metavar="NAME=VALUE")
    command.set_defaults(run=predict)
    command = add("score", help="score a CSV file: a local path, s3:// or gs://")
    command.add_argument("input", metavar="INPUT", help="a local path, s3://bucket/key or gs://bucket/key")
    command.add_argument("--output", metavar="DIR_OR_URI", help="default: scored/ beside the input")
    command.set_defaults(run=score)
    command = add("invoke", help="send any event through the same dispatch as on Lambda")
    command.add_argument("event", type=Path, metavar="EVENT.json")
    command.set_defaults(run=invoke)
    command = add("check", help="check that the bundle reproduces its golden predictions")
    command.set_defaults(run=check)
    command = add("sign", help="vouch for the bundle with a private key of yours")
    command.add_argument("--key", type=Path, required=True, metavar="PRIVATE.pem", help="Ed25519, in PEM")
    command.set_defaults(run=sign)
    command = add("serve", help="serve over HTTP, with functions-framework")
    command.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    command.add_argument(
        "--port", type=int, default=os.environ.get("PORT") or 8080, help="default: $PORT, or 8080"
    )
    command.set_defaults(run=serve)
    return parser


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
        except OSError as error:
            raise FunctionError(
                f"cannot listen on {host}:{port} ({error.strerror}); "
                "choose another port: --port 8081, or PORT=8081 make serve"
            ) from error


def _print(document: Any) -> None:
    print(json.dumps(document, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(main())
