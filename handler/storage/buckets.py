"""Objects in S3 and GCS, through obstore; its errors leave here as the project's own.

Calls run on an event loop in a thread of its own: there, one that the deadline overtakes can be cancelled,
which one that blocks its thread cannot.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import os
import re
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from handler.errors import FunctionError
from handler.faults import Changed, DeadlineNear, StorageDown
from handler.storage.deadline import Deadline, done_within
from handler.storage.locations import Location, Sink, Version

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from concurrent.futures import Future

    from obstore.store import ObjectStore

T = TypeVar("T")

#: A part of a multipart upload: 10,000 of them (the limit of S3) make 80 GB.
PART = 8 * 1024 * 1024
#: Bytes asked of a stream at once.
CHUNK = 1024 * 1024
#: Objects that one answer lists, at most. https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
PAGE = 1000
#: The object's metadata key that says which run wrote it.
RUN = "run"


class Retries(NamedTuple):
    """How often a call is made before it counts as failed, and the seconds between two of them.

    The first pause is ``first``; each later one is chosen at random between that and three times the one
    before, and is never over ``longest``.
    https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """

    tries: int = 10
    first: float = 0.1
    longest: float = 5.0

    def pauses(self) -> Iterator[float]:
        """The seconds before each further try."""
        import random

        pause = self.first
        for _ in range(self.tries - 1):
            yield pause
            pause = min(self.longest, random.uniform(self.first, 3 * pause))

    def of_client(self) -> dict[str, Any]:
        """The same, as obstore's client is configured."""
        return {
            "max_retries": self.tries - 1,
            "retry_timeout": timedelta(minutes=3),
            "backoff": {
                "init_backoff": timedelta(seconds=self.first),
                "max_backoff": timedelta(seconds=self.longest),
                "base": 3,
            },
        }


class Buckets:
    """Objects in S3 and GCS, through two clients per bucket.

    The client tries the requests of an upload again, as only it can. Any other call is tried again here:
    the client would neither read a body again that was cut after some minutes, nor one of an object that
    was replaced meanwhile, and it knows no deadline.
    """

    def __init__(self, allow_http: bool, retries: Retries) -> None:
        self._allow_http = allow_http
        self._retries = retries
        self._deadline = Deadline()
        self._clients: dict[tuple[str, str, int], ObjectStore] = {}

    def within(self, deadline: Deadline) -> Buckets:
        """The same objects through the same clients, as long as ``deadline`` allows."""
        other = copy.copy(self)
        other._deadline = deadline
        return other

    def version(self, location: Location) -> Version | None:
        import obstore

        async def head() -> Version | None:
            try:
                return _version(await obstore.get_async(client, location.key, options={"head": True}))
            except FileNotFoundError:
                return None

        client = self._client(location)
        return self._ask(location, head)

    def stream(
        self, location: Location, version: Version, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        import obstore

        client, offset, body = self._client(location), start, None
        end = version.size if end is None else min(end, version.size)

        async def chunk() -> bytes:
            nonlocal offset, body
            if body is None:  # the first, or again from where a body was cut
                options: Any = {"if_match": version.etag}
                if (offset, end) != (0, version.size):
                    options["range"] = (offset, end)
                try:
                    answer = await obstore.get_async(client, location.key, options=options)
                except FileNotFoundError as error:
                    raise Changed(str(location)) from error
                present = _version(answer)
                if version.generation is None:  # as in a listing, whatever the bucket has
                    present = dataclasses.replace(present, generation=None)
                if present.identity != version.identity:
                    raise Changed(str(location))
                body = answer.stream(min_chunk_size=CHUNK)
            reader, body = body, None
            data = bytes(await anext(reader, b""))
            offset, body = offset + len(data), reader
            return data

        while offset < end and (data := self._ask(location, chunk)):
            yield data

    def list(self, folder: Location) -> Iterator[tuple[Location, Version]]:
        import obstore

        client, last, listing = self._client(folder), "", None
        prefix = folder.key.strip("/") or None

        async def page() -> Any:
            nonlocal listing
            if listing is None:  # the first, or again from where a listing was cut
                listing = obstore.list(client, prefix, offset=last or None, chunk_size=PAGE)
            pages, listing = listing, None
            try:
                objects: Any = await anext(pages)  # a default would meet a fault of Python 3.11's anext
            except StopAsyncIteration:
                return ()
            listing = pages
            return objects

        while objects := self._ask(folder, page):
            last = objects[-1]["path"]
            for each in objects:
                version = Version(each["e_tag"] or "", each["version"], each["size"])
                yield Location(folder.scheme, folder.bucket, each["path"]), version

    def delete(self, location: Location) -> None:
        import obstore

        async def delete() -> None:
            with contextlib.suppress(FileNotFoundError):
                await obstore.delete_async(client, location.key)

        client = self._client(location)
        self._ask(location, delete)

    def read(self, location: Location) -> tuple[bytes, Version] | None:
        import obstore

        async def get() -> tuple[bytes, Version] | None:
            try:
                answer = await obstore.get_async(client, location.key)
            except FileNotFoundError:
                return None
            return bytes(await answer.bytes_async()), _version(answer)

        client = self._client(location)
        return self._ask(location, get)

    def replace(self, location: Location, content: bytes, old: Version | None) -> None:
        import obstore

        mode: Any = "create"
        if old is not None:
            mode = {"e_tag": old.etag, **({"version": old.generation} if old.generation else {})}
        run = uuid.uuid4().hex
        attributes: Any = {"Content-Type": "application/json", RUN: run}
        client = self._client(location)

        async def put() -> None:
            await obstore.put_async(client, location.key, content, mode=mode, attributes=attributes)

        with self._unless_written(location, run):
            self._ask(location, put)

    @contextlib.contextmanager
    def writer(self, location: Location, run: str) -> Iterator[Sink]:
        import obstore

        attributes: Any = {"Content-Type": "text/csv; charset=utf-8", RUN: run}
        client = self._client(location, self._retries.tries)
        opened = obstore.open_writer_async(
            client, location.key, buffer_size=PART, max_concurrency=1, attributes=attributes
        )
        upload = _Upload(opened, location, self._deadline)
        try:
            yield upload
            with self._unless_written(location, run):
                upload.close()
        except BaseException:
            upload.withdraw()
            raise

    @contextlib.contextmanager
    def _unless_written(self, location: Location, run: str) -> Iterator[None]:
        """Raise the block's fault, unless the object is what this run has written.

        The answer to a write may be lost: then a second try sees a changed object, or a lost upload.
        """
        try:
            yield
        except (Changed, StorageDown):
            present = self.version(location)
            if present is None or present.run != run:
                raise

    def _ask(self, location: Location, ask: Callable[[], Awaitable[T]]) -> T:
        """The result of a call, which is tried again while its fault may pass and time is left."""
        with _translated(location):
            for pause in self._retries.pauses():
                try:
                    return self._once(location, ask)
                except Exception as error:
                    if not _may_pass(error) or pause >= self._deadline.left():
                        raise
                self._deadline.pause(pause, location)
            return self._once(location, ask)

    def _once(self, location: Location, ask: Callable[[], Awaitable[T]]) -> T:
        self._deadline.check(location)
        call = _started(ask)
        try:
            return self._deadline.result(call, location)
        finally:
            call.cancel()

    def _client(self, location: Location, tries: int = 1) -> ObjectStore:
        key = location.scheme, location.bucket, tries
        if key not in self._clients:
            self._clients[key] = self._open(*key)
        return self._clients[key]

    def _open(self, scheme: str, bucket: str, tries: int) -> ObjectStore:
        from obstore.store import GCSStore, S3Store

        options: Any = {
            "client_options": {"allow_http": self._allow_http, "timeout": "1h", "read_timeout": "30s"},
            "retry_config": self._retries._replace(tries=tries).of_client(),
        }
        if scheme == "gs":
            return GCSStore(bucket, **options)
        return S3Store(bucket, **options, **_profile())


class _Upload:
    """An object that is being written, to its end or not at all; a ``Sink``."""

    def __init__(self, opened: Any, location: Location, deadline: Deadline) -> None:
        self._opened = opened
        self._location = location
        self._deadline = deadline
        self._call: Future[Any] | None = None

    def write(self, data: bytes, /) -> int:
        self._deadline.check(self._location)
        self._call = _started(lambda: self._opened.write(data))
        with _translated(self._location):
            self._deadline.result(self._call, self._location)
        return len(data)

    def close(self) -> None:
        """Complete the object; it is visible then."""
        self._deadline.check(self._location)
        self._call = _started(self._opened.close)
        with _translated(self._location):
            try:
                self._deadline.result(self._call, self._location)
            except DeadlineNear:
                # The client aborts no upload that it completes, so that cancelling would leave it pending.
                if not done_within(self._call, self._deadline.last()):
                    raise
                self._call.result()

    def withdraw(self) -> None:
        """Abort the upload. A call under way may be the one that begins it, and gets a moment."""
        seconds = self._deadline.last()
        if self._call is not None and not done_within(self._call, seconds / 4):
            self._call.cancel()
        ended = _started(lambda: self._opened.__aexit__(FunctionError, None, None))
        if not done_within(ended, seconds * 3 / 4):
            ended.cancel()


@functools.cache
def loop() -> AbstractEventLoop:
    """The event loop of this process's storage calls."""
    import asyncio

    made = asyncio.new_event_loop()
    threading.Thread(target=made.run_forever, name="storage", daemon=True).start()
    return made


def _started(ask: Callable[[], Awaitable[T]]) -> Future[T]:
    """Start the call."""
    import asyncio

    async def call() -> T:
        return await ask()

    return asyncio.run_coroutine_threadsafe(call(), loop())


def _version(answer: Any) -> Version:
    meta = answer.meta
    return Version(
        etag=meta["e_tag"] or "",
        generation=meta["version"],
        size=meta["size"],
        run=answer.attributes.get(RUN),
    )


def _profile() -> Mapping[str, Any]:
    """Credentials of an AWS profile, for a person at a terminal.

    The client itself reads the environment, container and instance metadata, but no profile.
    https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html
    """
    environ = os.environ
    given = ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE")
    container = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
    files = (
        Path(environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")).expanduser(),
        Path(environ.get("AWS_CONFIG_FILE", "~/.aws/config")).expanduser(),
    )
    wanted = "AWS_PROFILE" in environ or any(file.exists() for file in files)
    if any(name in environ for name in (*given, *container)) or not wanted:
        return {}
    try:
        import boto3
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise FunctionError(
            "AWS profiles need boto3: run 'pip install boto3', or export AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY ('aws configure export-credentials --format env' prints them)"
        ) from error
    return {"credential_provider": Boto3CredentialProvider(boto3.Session())}


def _may_pass(error: Exception) -> bool:
    """Whether another try may succeed: the storage is throttled, down, or hung up, and did not refuse."""
    from obstore import exceptions

    if isinstance(error, FileNotFoundError):
        return False
    if not isinstance(error, (exceptions.GenericError, exceptions.JoinError, OSError)):
        return False
    return not re.search(r"status code: 4(?!08|29)\d\d|redirect without LOCATION", str(error))


def _reason(error: Exception) -> str:
    """The end of the client's first line, without the URL before it and the response after it."""
    first, _, _ = str(error).partition("\n")
    reason = re.split(r"[<{]", first.rpartition(" - ")[2])[0].strip(" :")
    return reason[:120] if reason and "://" not in reason else type(error).__name__


@contextlib.contextmanager
def _translated(location: Location) -> Iterator[None]:
    """Turn the client's errors into the project's; its texts hold URLs and whole responses."""
    from obstore import exceptions

    try:
        yield
    except (exceptions.PreconditionError, exceptions.AlreadyExistsError) as error:
        raise Changed(str(location)) from error
    except FileNotFoundError as error:
        raise StorageDown(str(location), "there is no such bucket, or the upload was lost") from error
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise StorageDown(str(location), "access was refused; check the role's permissions") from error
    except (exceptions.BaseError, OSError) as error:
        reason = "there is no such bucket" if "status code: 404" in str(error) else _reason(error)
        raise StorageDown(str(location), reason) from error
