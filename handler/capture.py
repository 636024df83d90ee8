"""The capture: a sampled share of what was predicted, kept as JSON Lines objects in storage.

A line is a record and its prediction. Lines wait in a buffer that is bounded, in memory, and are written
together as one object when they are many or the oldest has waited for ``CAPTURE_SECONDS``. Lambda runs
nothing between two invocations, so there they are written within one, before its answer is returned;
elsewhere by a thread, for which no request waits. A store that fails fails no prediction: its lines are
tried again, and what the buffer has no room for is counted.

Requests are drawn, and objects named, by the system's randomness, which copies of a snapshot do not share.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping

from handler import telemetry
from handler.errors import FunctionError, SettingError
from handler.faults import DeadlineNear, StorageDown
from handler.schema import Record
from handler.scoring.model import Model
from handler.settings import Settings
from handler.typed import TYPE_CHECKING, Any
from handler.web.messages import as_json

if TYPE_CHECKING:
    from handler.storage.locations import Location
    from handler.storage.storage import Storage

#: Lines, or bytes of them, that are written before their time.
MANY, LARGE = 500, 1024 * 1024
#: Bytes that wait at most, those that are being written included.
MOST = 8 * 1024 * 1024
#: Seconds of a write, and its tries, at most.
LONGEST, TRIES = 5.0, 3
#: Seconds after a write that failed before the next try, at least.
PAUSE = 10


class Capture:
    """What is captured of a model's predictions and not yet written; safe to share between threads.

    ``storage`` None is made when it is first needed. Raises ``SettingError`` for what this model, or this
    deployment, cannot capture.
    """

    def __init__(self, model: Model, settings: Settings, storage: Storage | None = None) -> None:
        assert settings.capture_uri is not None
        if model.alone and not settings.capture_uri.startswith("s3://"):
            raise SettingError(
                "CAPTURE_URI", "must be s3://BUCKET/FOLDER: a zip of 'make zip' cannot write elsewhere"
            )
        for name in settings.capture_ids:
            if name not in model.schema.ids:
                known = ", ".join(model.schema.ids) or "none"
                raise SettingError(
                    "CAPTURE_IDS", f"names '{name}', and the id columns of this model: {known}"
                )
        self._model = model
        self._settings = settings
        self._storage = storage
        self._beside = settings.platform != "lambda"
        self._lock = threading.Lock()  # of what follows
        self._lines: list[bytes] = []
        self._size = 0
        self._oldest = 0.0
        self._not_before = 0.0
        self._dropped = 0
        self._writing = threading.Lock()  # held while an object is written
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def draws(self) -> bool:
        """Whether a request is captured: so many of them as ``CAPTURE_SHARE`` says, at random."""
        return int.from_bytes(os.urandom(6), "little") < self._settings.capture_share * (1 << 48)

    def take(
        self, predicted: Iterable[tuple[Record, Mapping[str, Any]]], route: str, request_id: str | None
    ) -> None:
        """Keep records with their predictions, as they were answered, until they are written.

        What follows from the rest is left out: contributions.
        """
        now = time.time()
        head = {"time": telemetry.written(now), "request_id": request_id, "route": route}
        ids = self._settings.capture_ids
        for record, answer in predicted:
            line: dict[str, Any] = {**head, "features": self._model.schema.as_json(record), **answer}
            line["model"] = self._model.manifest.identity
            line.pop("contributions", None)
            given = line.pop("ids", {})
            if ids:
                line["ids"] = {name: given.get(name) for name in ids}
            self._add(as_json(line) + b"\n", now)

    def dropped(self) -> int:
        """How many records were dropped since the last call, since the buffer had no room for them."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        return dropped

    def write_if_due(self, remaining: Callable[[], float]) -> None:
        """Where nothing runs beside requests: write what is due; ``remaining``: the seconds left."""
        if not self._beside and self._wait() == 0:
            self._write(remaining)

    def close(self) -> None:
        """Write what is left, at the process's end."""
        self._write()
        if lost := len(self._lines) + self.dropped():
            telemetry.event("WARNING", "captured records are lost", records=lost)

    def _add(self, line: bytes, now: float) -> None:
        with self._lock:
            if self._size + len(line) > MOST:
                self._dropped += 1
                return
            if not self._lines:
                self._oldest = now
            self._lines.append(line)
            self._size += len(line)
            if self._beside and self._thread is None:
                self._thread = threading.Thread(target=self._work, name="capture", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        self._wake.set()

    def _wait(self) -> float | None:
        """The seconds until a write is due; None where nothing waits for one."""
        with self._lock:
            if not self._lines:
                return None
            full = len(self._lines) >= MANY or self._size >= LARGE
            due = 0.0 if full else self._oldest + self._settings.capture_seconds
            return max(0.0, max(due, self._not_before) - time.time())  # a clock that no freezing stops

    def _work(self) -> None:
        if "://" in str(self._settings.capture_uri) and not self._model.alone:
            from handler.storage.buckets import loop

            loop()  # an interpreter that ends, as under gunicorn, starts no thread any more
        while True:
            self._wake.wait(self._wait())
            self._wake.clear()
            if self._wait() == 0:
                self._write()

    def _write(self, remaining: Callable[[], float] = lambda: LONGEST) -> None:
        """Write all lines as one object; where that fails, they wait for the next try."""
        with self._writing:
            with self._lock:
                lines, self._lines = self._lines, []
                oldest = self._oldest
            if not lines:
                return
            content = b"".join(lines)
            try:
                self._put(self._location(oldest), content, remaining)
            except Exception as error:  # noqa: BLE001  whatever a client of storage raises, no request fails
                with self._lock:
                    self._lines[:0] = lines
                    self._oldest = oldest
                    self._not_before = time.time() + max(PAUSE, self._settings.capture_seconds)
                telemetry.event(
                    "WARNING",
                    "the capture was not written, and will be tried again",
                    records=len(lines),
                    error=type(error).__name__,
                    problem=str(error) if isinstance(error, FunctionError) else None,
                )
            else:
                with self._lock:
                    self._size -= len(content)

    def _location(self, oldest: float) -> Location:
        """A new object: ``day=2026-11-26/120000-MODEL_VERSION-RANDOM.jsonl``, of its oldest line's time."""
        from handler.storage.locations import Location

        assert self._settings.capture_uri is not None
        day, clock = time.strftime("%Y-%m-%d %H%M%S", time.gmtime(oldest)).split()
        name = f"{clock}-{self._model.manifest.version}-{os.urandom(8).hex()}.jsonl"
        return Location.parse(self._settings.capture_uri).child(f"day={day}", name)

    def _put(self, location: Location, content: bytes, remaining: Callable[[], float]) -> None:
        """Write an object that is not there yet; raises ``StorageDown``, and what the client raises."""
        if self._model.alone:
            _put_by_boto3(location, content, remaining)
            return
        import obstore  # noqa: F401  so that its loading is not a part of the time

        from handler.storage.buckets import Retries
        from handler.storage.deadline import Deadline
        from handler.storage.storage import Storage

        # Few tries, as a request may wait for them, and the lines wait for the next write anyhow.
        self._storage = self._storage or Storage(self._settings.allow_http, Retries(TRIES))
        end = time.monotonic() + LONGEST
        deadline = Deadline(lambda: min(remaining(), end - time.monotonic()), LONGEST)
        try:
            self._storage.within(deadline).replace(location, content, None)
        except DeadlineNear as error:
            raise StorageDown(str(location), f"it did not answer within {LONGEST:.0f} seconds") from error


def _put_by_boto3(location: Location, content: bytes, remaining: Callable[[], float]) -> None:
    """The same with what Lambda's own Python brings.

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    half = max(0.1, min(remaining(), LONGEST) / 2)
    config = Config(connect_timeout=half, read_timeout=half, retries={"total_max_attempts": 1})
    try:
        boto3.client("s3", config=config).put_object(
            Bucket=location.bucket, Key=location.key, Body=content, IfNoneMatch="*"
        )
    except ClientError as error:
        raise StorageDown(str(location), error.response["Error"]["Code"]) from error
