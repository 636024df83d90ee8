"""Logs: one JSON line an invocation on Lambda and Cloud Run, readable text on a terminal.

On Lambda that line is also its metrics, in CloudWatch's embedded metric format.

No line ever holds a value from a payload: an unforeseen exception is told by its type and place.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import traceback
from collections.abc import Mapping
from typing import Any, TextIO

from handler.settings import Settings

log = logging.getLogger("sklearn_function")
REQUEST = "request"
NAMESPACE = "SklearnFunction"
ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with ``severity`` as Cloud Logging reads it.

    https://cloud.google.com/logging/docs/structured-logging
    With a Lambda function's name, a request's line says its metrics too.
    """

    def __init__(self, function: str = "") -> None:
        super().__init__()
        self._function = function

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        fields = _fields(record)
        year, month, day, hour, minute, second, *_ = time.gmtime(record.created)
        clock = f"{hour:02}:{minute:02}:{second:02}.{int(record.msecs):03}Z"
        line = {
            "severity": record.levelname,
            "time": f"{year}-{month:02}-{day:02}T{clock}",
            "message": record.getMessage(),
            **fields,
        }
        if self._function and record.msg == REQUEST:
            line |= _metrics(self._function, round(record.created * 1000), fields)
        return ENCODER.encode(line)


class TextFormatter(logging.Formatter):
    """Time, message, and the fields as ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno <= logging.INFO else f"{record.levelname}: "
        told = "".join(f" {name}={value}" for name, value in _fields(record).items())
        return f"{clock} {level}{record.getMessage()}{told}"


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send the project's log to ``stream`` (standard error), in the form that suits the platform."""
    stream = stream or sys.stderr
    readable = settings.platform == "local" and stream.isatty()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(TextFormatter() if readable else JsonFormatter(settings.function_name))
    level = logging.getLevelNamesMapping()[settings.log_level]
    log.handlers[:] = [handler]
    log.setLevel(level)
    if settings.function_name:  # a request's line holds its metrics: it is written at any level
        log.setLevel(min(level, logging.INFO))
        handler.addFilter(lambda record: record.levelno >= level or record.msg == REQUEST)
    log.propagate = False
    # What no line of ours tells costs a third of a record.
    # https://docs.python.org/3/howto/logging.html#optimization
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.logAsyncioTasks = False  # type: ignore[attr-defined,unused-ignore]


def event(level: int, message: str, **fields: object) -> None:
    """Log ``message`` with ``fields``; those that are None are left out."""
    if log.isEnabledFor(level):  # past ``Logger.log``, which looks for its caller in the stack
        record = logging.LogRecord(log.name, level, "", 0, message, None, None)
        record.fields = fields
        log.handle(record)


def request(level: int, **fields: object) -> None:
    """Log what became of a job; a metric needs ``status``, ``milliseconds`` and ``cold_start``."""
    event(level, REQUEST, **fields)


def failure(message: str, error: BaseException, **fields: object) -> None:
    """Log an unforeseen exception: its type and the lines it came through, never its text."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    event(logging.ERROR, message, error=type(error).__name__, at=places, **fields)


UNITS: Mapping[str, str] = {
    "Requests": "Count",
    "Errors": "Count",
    "RowsScored": "Count",
    "RowsRejected": "Count",
    "Latency": "Milliseconds",
    "ColdStarts": "Count",
}
DIRECTIVES = [
    {
        "Namespace": NAMESPACE,
        "Dimensions": [["FunctionName"]],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in UNITS.items()],
    }
]


def _metrics(function: str, milliseconds: int, fields: Mapping[str, Any]) -> dict[str, object]:
    """Members that make a log line of a request its metrics as well.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    rows, rejected = fields.get("rows") or 0, fields.get("rejected") or 0
    return {
        "_aws": {"Timestamp": milliseconds, "CloudWatchMetrics": DIRECTIVES},
        "FunctionName": function,
        "Requests": 1,
        "Errors": int(fields["status"] >= 500),
        "RowsScored": rows - rejected,
        "RowsRejected": rejected,
        "Latency": fields["milliseconds"],
        "ColdStarts": int(fields["cold_start"]),
    }


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return {name: value for name, value in fields.items() if value is not None}
