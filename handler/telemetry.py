"""Logs: one JSON line per invocation on Lambda and Cloud Run, readable text on a terminal.

On Lambda that line is also its metrics, in CloudWatch's embedded metric format.

No line ever holds a value from a payload: an unforeseen exception is named by its type and lines.

A line is written in one piece, past ``logging``: its records, filters and locks took longer than
the prediction that they logged.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
import traceback
from collections.abc import Mapping

from handler.settings import LOG_LEVELS, LogLevel, Settings
from handler.typed import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from typing import TextIO

REQUEST = "request"
NAMESPACE = "SklearnFunction"
ENCODER = json.JSONEncoder(ensure_ascii=False, default=str)


class Log(NamedTuple):
    """Where lines go (None: to standard error, as it is then), and which.

    ``function``: the Lambda function's name, where a request's line holds its metrics too.
    """

    stream: TextIO | None = None
    level: LogLevel = "INFO"
    function: str = ""
    readable: bool = False

    def write(self, level: LogLevel, message: str, fields: Mapping[str, object]) -> None:
        """Write a line, if its level is logged; a line that holds metrics is, at any level."""
        measured = self.function and message == REQUEST
        if LOG_LEVELS.index(level) < LOG_LEVELS.index(self.level) and not measured:
            return
        given = {name: value for name, value in fields.items() if value is not None}
        now = time.time()
        line = (_as_text if self.readable else self._as_json)(level, message, now, given)
        with contextlib.suppress(OSError, ValueError):  # a log that cannot be written fails no request
            (self.stream or sys.stderr).write(line)  # standard error is flushed at each line's end

    def _as_json(self, level: LogLevel, message: str, now: float, fields: Mapping[str, object]) -> str:
        """One JSON object, with ``severity`` as Cloud Logging reads it.

        https://cloud.google.com/logging/docs/structured-logging
        """
        line = ENCODER.encode({"severity": level, "time": written(now), "message": message, **fields})
        if self.function and message == REQUEST:
            return f"{line[:-1]}, {_metrics(self.function, int(now * 1000), fields)}}}\n"
        return line + "\n"


def written(now: float) -> str:
    """A time in UTC, to the millisecond, in ISO 8601."""
    year, month, day, hour, minute, second, *_ = time.gmtime(now)
    return f"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{int(now * 1000) % 1000:03}Z"


def _as_text(level: LogLevel, message: str, now: float, fields: Mapping[str, object]) -> str:
    """Time, message, and the fields as ``name=value``."""
    clock = time.strftime("%H:%M:%S", time.localtime(now))
    mark = f"{level}: " if level in ("WARNING", "ERROR") else ""
    return f"{clock} {mark}{message}{''.join(f' {name}={value}' for name, value in fields.items())}\n"


_log = Log()


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Send the project's log to ``stream`` (standard error), in the form that suits the platform."""
    global _log
    readable = settings.platform == "local" and (stream or sys.stderr).isatty()
    _log = Log(stream, settings.log_level, settings.function_name, readable)


def event(level: LogLevel, message: str, **fields: object) -> None:
    """Log ``message`` with ``fields``; those that are None are left out."""
    _log.write(level, message, fields)


def request(level: LogLevel, fields: Mapping[str, object]) -> None:
    """Log what became of a job; a metric needs ``status``, ``milliseconds`` and ``cold_start``."""
    _log.write(level, REQUEST, fields)


def failure(message: str, error: BaseException, **fields: object) -> None:
    """Log an unforeseen exception: its type and the lines it came through, never its text."""
    frames = traceback.extract_tb(error.__traceback__)
    lines = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    event("ERROR", message, error=type(error).__name__, at=lines, **fields)


UNITS: Mapping[str, str] = {
    "Requests": "Count",
    "Errors": "Count",
    "RowsScored": "Count",
    "RowsRejected": "Count",
    "Latency": "Milliseconds",
    "ColdStarts": "Count",
}
#: Of a file whose drift was judged, and where records were dropped, too: each of a field of the line.
RARE: Mapping[str, tuple[str, str]] = {
    "drift": ("Drift", "None"),
    "capture_dropped": ("CaptureDropped", "Count"),
}


def _directives(units: Mapping[str, str]) -> str:
    metrics = [{"Name": name, "Unit": unit} for name, unit in units.items()]
    return ENCODER.encode([{"Namespace": NAMESPACE, "Dimensions": [["FunctionName"]], "Metrics": metrics}])


#: The same in nearly every line, so it is encoded once.
DIRECTIVES = _directives(UNITS)


def _metrics(function: str, milliseconds: int, fields: Mapping[str, Any]) -> str:
    """Members, as text, that make a log line of a request its metrics as well.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    rows, rejected = fields.get("rows") or 0, fields.get("rejected") or 0
    directives, measured = DIRECTIVES, ""
    if not RARE.keys().isdisjoint(fields):
        rare = [(*RARE[name], fields[name]) for name in RARE if name in fields]
        directives = _directives({**UNITS, **{name: unit for name, unit, _ in rare}})
        measured = "".join(f'"{name}": {value}, ' for name, _, value in rare)
    return (
        f'"FunctionName": {ENCODER.encode(function)}, "Requests": 1, '
        f'"Errors": {fields["status"] >= 500:d}, "RowsScored": {rows - rejected}, '
        f'"RowsRejected": {rejected}, "Latency": {fields["milliseconds"]}, '
        f'"ColdStarts": {fields["cold_start"]:d}, {measured}'
        f'"_aws": {{"Timestamp": {milliseconds}, "CloudWatchMetrics": {directives}}}'
    )
