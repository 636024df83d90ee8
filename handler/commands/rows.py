"""``predict``, ``explain`` and ``invoke``: one record, or one event."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from handler.app import App
from handler.commands import common
from handler.errors import FunctionError, InvalidRecords, Problem
from handler.settings import Settings
from handler.web.messages import Answer, Request


def add_predict(add: common.Add) -> None:
    """Add ``predict`` and its flags."""
    command = add(
        predict, "predict one record, and print it as JSON",
        "age=45 new_user=0 total_pages_visited=5", "--model build/wine alcohol=13.2 proline=1065",
    )  # fmt: skip
    command.add_argument("values", nargs="+", metavar="NAME=VALUE", help="a value of each feature")


def predict(options: argparse.Namespace, settings: Settings) -> int:
    """Predict one record given as name=value arguments."""
    return _answer(options, settings, explained=False)


def add_explain(add: common.Add) -> None:
    """Add ``explain`` and its flags."""
    command = add(
        explain, "predict one record, and print what each feature adds to the prediction, as JSON",
        "age=45 new_user=0 total_pages_visited=5",
    )  # fmt: skip
    command.add_argument("values", nargs="+", metavar="NAME=VALUE", help="a value of each feature")


def explain(options: argparse.Namespace, settings: Settings) -> int:
    """Predict one record, and say what each feature adds."""
    return _answer(options, settings, explained=True)


def _answer(options: argparse.Namespace, settings: Settings, *, explained: bool) -> int:
    model = common.load_model(settings)
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
    common.print_json({**prediction, **model.schema.carried(dict(pairs)), "model": model.manifest.identity})
    return 0


def add_invoke(add: common.Add) -> None:
    """Add ``invoke`` and its flags."""
    command = add(
        invoke, "send any event through the same dispatch as on Lambda, and print the answer as JSON",
        "events/direct.json", "events/s3-put.json",
    )  # fmt: skip
    command.add_argument("event", type=Path, metavar="EVENT.json", help="a file with the event")


def invoke(options: argparse.Namespace, settings: Settings) -> int:
    """Send an event from a file through the same dispatch as on Lambda."""
    try:
        event = received(json.loads(options.event.read_bytes()))
    except OSError as error:
        raise FunctionError(f"{options.event} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise FunctionError(f"{options.event} is not JSON ({error})") from error
    app = App(common.load_model(settings), settings)
    try:
        reply = app.handle(event)
    finally:
        app.close()
    if isinstance(reply, Answer):
        reply = {"status": reply.status, "headers": reply.headers, "body": reply.body.decode()}
    common.print_json(reply)
    return 0


def received(event: Any) -> Any:
    """An event as the dispatch takes it: ``{"method", "path", "headers", "body"}`` is an HTTP request."""
    if not isinstance(event, dict) or event.keys() != {"method", "path", "headers", "body"}:
        return event
    headers = {name.lower(): text for name, text in event["headers"].items()}
    return Request(event["method"], event["path"], headers=headers, body=json.dumps(event["body"]).encode())
