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
from typing import TextIO

from handler.settings import Settings

log = logging.getLogger("sklearn_function")
REQUEST = "request"
NAMESPACE = "SklearnFunction"


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
        line = {
            "severity": record.levelname,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "message": record.getMessage(),
            **_fields(record),
        }
        if self._function and record.msg == REQUEST:
            line |= _metrics(self._function, round(record.created * 1000), _fields(record))
        return json.dumps(line, ensure_ascii=False, default=str)


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


def event(level: int, message: str, **fields: object) -> None:
    """Log ``message`` with ``fields``; those that are None are left out."""
    log.log(level, message, extra={"fields": fields})


def request(level: int, **fields: object) -> None:
    """Log what became of a job; a metric needs ``status``, ``milliseconds`` and ``cold_start``."""
    event(level, REQUEST, **fields)


def failure(message: str, error: BaseException, **fields: object) -> None:
    """Log an unforeseen exception: its type and the lines it came through, never its text."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    event(logging.ERROR, message, error=type(error).__name__, at=places, **fields)


def _metrics(function: str, milliseconds: int, fields: Mapping[str, object]) -> dict[str, object]:
    """Members that make a log line of a request its metrics as well.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    rows, rejected, status = (int(str(fields.get(name) or 0)) for name in ("rows", "rejected", "status"))
    metrics: Mapping[str, tuple[object, str]] = {
        "Requests": (1, "Count"),
        "Errors": (int(status >= 500), "Count"),
        "RowsScored": (rows - rejected, "Count"),
        "RowsRejected": (rejected, "Count"),
        "Latency": (fields["milliseconds"], "Milliseconds"),
        "ColdStarts": (int(bool(fields["cold_start"])), "Count"),
    }
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [["FunctionName"]],
        "Metrics": [{"Name": name, "Unit": unit} for name, (_, unit) in metrics.items()],
    }
    return {
        "_aws": {"Timestamp": milliseconds, "CloudWatchMetrics": [directive]},
        "FunctionName": function,
        **{name: value for name, (value, _) in metrics.items()},
    }


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return {name: value for name, value in fields.items() if value is not None}
