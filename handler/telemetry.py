"""Logs: one JSON line an invocation on Lambda and Cloud Run, readable text on a terminal.

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


class JsonFormatter(logging.Formatter):
    """One JSON object a line, with ``severity`` as Cloud Logging reads it.

    https://cloud.google.com/logging/docs/structured-logging
    """

    def format(self, record: logging.LogRecord) -> str:
        """See ``logging.Formatter``."""
        line = {
            "severity": record.levelname,
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "message": record.getMessage(),
            **_fields(record),
        }
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
    handler.setFormatter(TextFormatter() if readable else JsonFormatter())
    log.handlers[:] = [handler]
    log.setLevel(settings.log_level)
    log.propagate = False


def event(level: int, message: str, **fields: object) -> None:
    """Log ``message`` with ``fields``; those that are None are left out."""
    log.log(level, message, extra={"fields": fields})


def failure(message: str, error: BaseException, **fields: object) -> None:
    """Log an unforeseen exception: its type and the lines it came through, never its text."""
    frames = traceback.extract_tb(error.__traceback__)
    places = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    event(logging.ERROR, message, error=type(error).__name__, at=places, **fields)


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    fields: Mapping[str, object] = getattr(record, "fields", {})
    return {name: value for name, value in fields.items() if value is not None}
