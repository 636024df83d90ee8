"""Objects in S3, GCS and local folders: versions, streams, and conditional writes.

A URI is ``s3://bucket/key``, ``gs://bucket/key`` or a local path; keys stand as they are, with no
percent-encoding. Every error of the storage client leaves here as one of the project's own.
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from handler.errors import Changed, FunctionError, StorageDown

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs")
#: A part of a multipart upload: 10,000 of them (the limit of S3) make 80 GB.
PART = 8 * 1024 * 1024
#: Bytes asked of a stream at once.
CHUNK = 1024 * 1024
#: The object's metadata key that says which run wrote it.
RUN = "run"
#: The client tries again by itself; past this the platform does.
RETRIES: Mapping[str, Any] = {
    "max_retries": 3,
    "retry_timeout": timedelta(seconds=20),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=2),
        "base": 2,
    },
}

_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[^/\x00-\x1f\x7f\ud800-\udfff]+"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_BUCKET = re.compile(r"[\w.-]{1,222}", re.ASCII)
_LONGEST_KEY = 1024  # bytes


@dataclass(frozen=True, slots=True)
class Location:
    """Where an object is; ``bucket`` is the root folder of a local path."""

    scheme: str
    bucket: str
    key: str

    @classmethod
    def parse(cls, uri: str) -> Location:
        """Parse a URI or local path; raises ``FunctionError`` for another scheme."""
        scheme, mark, rest = uri.partition("://")
        if not mark:
            path = Path(uri).absolute()
            return cls("file", path.anchor, path.as_posix()[len(path.anchor) :])
        if scheme not in SCHEMES:
            raise FunctionError(f"{scheme}:// is not supported; use s3://, gs:// or a local path")
        bucket, _, key = rest.partition("/")
        return cls(scheme, bucket, key)

    def __str__(self) -> str:
        if self.scheme == "file":
            return self.bucket + self.key
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """The last segment of the key."""
        return self.key.rpartition("/")[2]

    @property
    def is_nameable(self) -> bool:
        """Whether storage has, and the client can name, such an object: its key is no longer than 1,024
        bytes and holds no empty, ``.`` or ``..`` segment and no control character. Any file is.

        https://docs.rs/object_store/latest/object_store/path/struct.Path.html
        """
        return self.scheme == "file" or bool(
            _BUCKET.fullmatch(self.bucket)
            and _KEY.fullmatch(self.key)
            and len(self.key.encode(errors="replace")) <= _LONGEST_KEY
        )

    def child(self, *names: str) -> Location:
        """The object ``names`` below this one."""
        key = "/".join([*filter(None, [self.key.rstrip("/")]), *names])
        return Location(self.scheme, self.bucket, key)

    def is_under(self, other: Location) -> bool:
        """Whether this object lies below ``other``, taken as a folder."""
        folder = other.key.rstrip("/")
        return (self.scheme, self.bucket) == (other.scheme, other.bucket) and (
            not folder or self.key.startswith(folder + "/")
        )


@dataclass(frozen=True, slots=True)
class Version:
    """One state of an object: its ``etag`` (S3, local) and ``generation`` (GCS), its size in bytes,
    and the run that wrote it, if one of ours did."""

    etag: str
    generation: str | None
    size: int
    run: str | None = None

    @property
    def identity(self) -> str:
        """What is equal exactly when the content is of the same write."""
        return self.generation or self.etag


class Sink(Protocol):
    """What a writer takes bytes with."""

    def write(self, data: bytes, /) -> int | None:
        """Write all of ``data``."""
        ...


class Storage:
    """Objects in all the places that a URI can name; safe to share between threads."""

    def __init__(self, allow_http: bool = False) -> None:
        self._buckets, self._folders = _Buckets(allow_http), _Folders()

    def version(self, location: Location) -> Version | None:
        """The object's present version; None if there is no such object."""
        return self._at(location).version(location)

    def stream(self, location: Location, version: Version) -> Iterator[bytes]:
        """The object's bytes in chunks, if it is still of that version; else raises ``Changed``."""
        return self._at(location).stream(location, version)

    def read(self, location: Location) -> tuple[bytes, Version] | None:
        """A small object, whole, with its version; None if there is no such object."""
        return self._at(location).read(location)

    def replace(self, location: Location, content: bytes, old: Version | None) -> None:
        """Write a small object where its version is still ``old`` (None: absent); else ``Changed``.

        A local file is replaced in any case: nobody else writes there.
        """
        self._at(location).replace(location, content, old)

    def writer(self, location: Location, run: str) -> AbstractContextManager[Sink]:
        """A stream into an object that appears whole when the block ends, or not at all if it raises."""
        return self._at(location).writer(location, run)

    def _at(self, location: Location) -> _Buckets | _Folders:
        if not location.is_nameable:
            raise FunctionError(f"{location} is no name that object storage can be asked for")
        return self._folders if location.scheme == "file" else self._buckets


class _Buckets:
    """Objects in S3 and GCS, through one client a bucket."""

    def __init__(self, allow_http: bool) -> None:
        self._allow_http = allow_http
        self._stores: dict[tuple[str, str], ObjectStore] = {}

    def version(self, location: Location) -> Version | None:
        import obstore

        with _translated(location):
            try:
                found = obstore.get(self._store(location), location.key, options={"head": True})
            except FileNotFoundError:
                return None
            return _version(found)

    def stream(self, location: Location, version: Version) -> Iterator[bytes]:
        import obstore

        with _translated(location):
            try:
                found = obstore.get(self._store(location), location.key, options={"if_match": version.etag})
            except FileNotFoundError as error:
                raise Changed(str(location)) from error
            if _version(found).identity != version.identity:
                raise Changed(str(location))
            yield from map(bytes, found.stream(min_chunk_size=CHUNK))

    def read(self, location: Location) -> tuple[bytes, Version] | None:
        import obstore

        with _translated(location):
            try:
                found = obstore.get(self._store(location), location.key)
            except FileNotFoundError:
                return None
            return bytes(found.bytes()), _version(found)

    def replace(self, location: Location, content: bytes, old: Version | None) -> None:
        import obstore

        mode: Any = "create"
        if old is not None:
            mode = {"e_tag": old.etag, **({"version": old.generation} if old.generation else {})}
        attributes: Any = {"Content-Type": "application/json"}
        with _translated(location):
            obstore.put(self._store(location), location.key, content, mode=mode, attributes=attributes)

    @contextlib.contextmanager
    def writer(self, location: Location, run: str) -> Iterator[Sink]:
        import obstore

        attributes: Any = {"Content-Type": "text/csv; charset=utf-8", RUN: run}
        with (
            _translated(location),
            obstore.open_writer(
                self._store(location),
                location.key,
                buffer_size=PART,
                max_concurrency=1,
                attributes=attributes,
            ) as sink,
        ):
            yield sink

    def _store(self, location: Location) -> ObjectStore:
        place = location.scheme, location.bucket
        if place not in self._stores:
            self._stores[place] = self._open(*place)
        return self._stores[place]

    def _open(self, scheme: str, bucket: str) -> ObjectStore:
        from obstore.store import GCSStore, S3Store

        options: Any = {
            "client_options": {"allow_http": self._allow_http, "timeout": "1h", "read_timeout": "30s"},
            "retry_config": RETRIES,
        }
        if scheme == "gs":
            return GCSStore(bucket, **options)
        return S3Store(bucket, **options, **_profile())


class _Folders:
    """Files, for a person at a terminal: plain reads and writes are three times as fast as the client's."""

    def version(self, location: Location) -> Version | None:
        with _told(location):
            try:
                found = Path(str(location)).stat()
            except FileNotFoundError:
                return None
            return Version(f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}", None, found.st_size)

    def stream(self, location: Location, version: Version) -> Iterator[bytes]:
        with _told(location), Path(str(location)).open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                yield chunk
            if self.version(location) != version:
                raise Changed(str(location))

    def read(self, location: Location) -> tuple[bytes, Version] | None:
        version = self.version(location)
        with _told(location):
            return None if version is None else (Path(str(location)).read_bytes(), version)

    def replace(self, location: Location, content: bytes, old: Version | None) -> None:  # noqa: ARG002
        with self.writer(location, "") as sink:
            sink.write(content)

    @contextlib.contextmanager
    def writer(self, location: Location, run: str) -> Iterator[Sink]:  # noqa: ARG002
        target = Path(str(location))
        with _told(location):
            target.parent.mkdir(parents=True, exist_ok=True)
            made = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
            try:
                with made.open("xb") as file:
                    yield file
                made.replace(target)
            finally:
                made.unlink(missing_ok=True)


def _version(found: Any) -> Version:
    meta = found.meta
    return Version(
        etag=meta["e_tag"] or "",
        generation=meta["version"],
        size=meta["size"],
        run=found.attributes.get(RUN),
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


@contextlib.contextmanager
def _told(location: Location) -> Iterator[None]:
    """Turn the operating system's errors into the project's."""
    try:
        yield
    except OSError as error:
        raise StorageDown(str(location), error.strerror or type(error).__name__) from error


def _reason(error: Exception) -> str:
    """The end of the client's first line, without the URL before it and the response after it."""
    first, _, _ = str(error).partition("\n")
    told = re.split(r"[<{]", first.rpartition(" - ")[2])[0].strip(" :")
    return told[:120] if told and "://" not in told else type(error).__name__


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
        raise StorageDown(str(location), _reason(error)) from error
