"""A request's log line on Lambda, which is its metrics too."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest

from handler import telemetry
from handler.app import App
from handler.scoring.model import Model
from handler.settings import Settings

CSV = "age,new_user,total_pages_visited\n45,0,5\nold,1,2\n22,1,25\n"
UPLOAD = {
    "version": "2.0", "rawPath": "/predict_file", "rawQueryString": "", "body": CSV,
    "headers": {"content-type": "text/csv"}, "requestContext": {"http": {"method": "POST"}},
}  # fmt: skip
ON_LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "scorer"}


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    yield io.StringIO()
    telemetry.configure(Settings())


def told(model: Model, stream: io.StringIO, environ: dict[str, str], *events: Any) -> list[dict[str, Any]]:
    """The log lines of the events."""
    settings = Settings.from_env(environ)
    telemetry.configure(settings, stream)
    app = App(model, settings)
    for event in events:
        app.handle(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize("level", ["INFO", "ERROR"])
def test_a_request_line_has_the_metrics_at_any_level(model: Model, stream: io.StringIO, level: str) -> None:
    first, second = told(model, stream, {**ON_LAMBDA, "LOG_LEVEL": level}, UPLOAD, UPLOAD)
    (directive,) = first["_aws"]["CloudWatchMetrics"]
    assert directive["Dimensions"] == [["FunctionName"]]
    assert first["FunctionName"] == "scorer"
    values = {metric["Name"]: first[metric["Name"]] for metric in directive["Metrics"]}
    assert values.pop("Latency") == first["milliseconds"]
    assert values == {"Requests": 1, "Errors": 0, "RowsScored": 2, "RowsRejected": 1, "ColdStarts": 1}
    assert second["ColdStarts"] == 0


def test_elsewhere_a_line_has_no_metrics_and_the_level_holds(model: Model, stream: io.StringIO) -> None:
    (line,) = told(model, stream, {"K_SERVICE": "scorer"}, UPLOAD)
    assert "_aws" not in line
    assert told(model, io.StringIO(), {"K_SERVICE": "scorer", "LOG_LEVEL": "ERROR"}, UPLOAD) == []
