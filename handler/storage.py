"""Objects in S3, GCS and local folders: versions, streams, and conditional writes.

A URI is ``s3://bucket/key``, ``gs://bucket/key`` or a local path; keys stand as they are, with no
percent-encoding. Every error of the storage client leaves here as one of the project's own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handler.errors import Changed, FunctionError, StorageDown

if TYPE_CHECKING:
    from obstore import WritableFile
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


class Storage:
    """Object stores, one client a bucket; safe to share between threads."""

    def __init__(self, allow_http: bool = False) -> None:
        self._allow_http = allow_http
        self._stores: dict[tuple[str, str], ObjectStore] = {}

    def version(self, location: Location) -> Version | None:
        """The object's present version; None if there is no such object."""
        import obstore

        with _translated(location):
            try:
                found = obstore.get(self._store(location), location.key, options={"head": True})
            except FileNotFoundError:
                return None
            return _version(found)

    def stream(self, location: Location, version: Version) -> Iterator[bytes]:
        """The object's bytes in chunks, if it is still of that version; else raises ``Changed``."""
        import obstore

        with _translated(location):
            options: Any = {} if location.scheme == "file" else {"if_match": version.etag}
            try:
                found = obstore.get(self._store(location), location.key, options=options)
            except FileNotFoundError as error:
                raise Changed(str(location)) from error
            if _version(found).identity != version.identity:
                raise Changed(str(location))
            yield from map(bytes, found.stream(min_chunk_size=CHUNK))

    def read(self, location: Location) -> tuple[bytes, Version] | None:
        """A small object, whole, with its version; None if there is no such object."""
        import obstore

        with _translated(location):
            try:
                found = obstore.get(self._store(location), location.key)
            except FileNotFoundError:
                return None
            return bytes(found.bytes()), _version(found)

    def replace(self, location: Location, content: bytes, old: Version | None) -> None:
        """Write a small object where its version is still ``old`` (None: absent); else ``Changed``.

        A local file is replaced in any case: nobody else writes there.
        """
        import obstore

        mode: Any = "create"
        if location.scheme == "file":
            mode = "overwrite"
        elif old is not None:
            mode = {"e_tag": old.etag, **({"version": old.generation} if old.generation else {})}
        with _translated(location):
            obstore.put(
                self._store(location),
                location.key,
                content,
                mode=mode,
                attributes=_attributes(location, "application/json"),
            )

    @contextlib.contextmanager
    def writer(self, location: Location, run: str) -> Iterator[WritableFile]:
        """A stream into an object that appears whole when the block ends, or not at all if it raises."""
        import obstore

        with (
            _translated(location),
            obstore.open_writer(
                self._store(location),
                location.key,
                buffer_size=PART,
                max_concurrency=1,
                attributes=_attributes(location, "text/csv; charset=utf-8", run),
            ) as sink,
        ):
            yield sink

    def _store(self, location: Location) -> ObjectStore:
        place = location.scheme, location.bucket
        if place not in self._stores:
            self._stores[place] = self._open(*place)
        return self._stores[place]

    def _open(self, scheme: str, bucket: str) -> ObjectStore:
        from obstore.store import GCSStore, LocalStore, S3Store

        if scheme == "file":
            return LocalStore(bucket)
        options: Any = {
            "client_options": {"allow_http": self._allow_http, "timeout": "1h", "read_timeout": "30s"},
            "retry_config": RETRIES,
        }
        if scheme == "gs":
            return GCSStore(bucket, **options)
        return S3Store(bucket, **options, **_profile())


def _version(found: Any) -> Version:
    meta = found.meta
    return Version(
        etag=meta["e_tag"] or "",
        generation=meta["version"],
        size=meta["size"],
        run=found.attributes.get(RUN),
    )


def _attributes(location: Location, content_type: str, run: str | None = None) -> Any:
    """Metadata for a write; a local file has none."""
    if location.scheme == "file":
        return None
    return {"Content-Type": content_type, **({RUN: run} if run else {})}


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
        raise StorageDown(str(location), f"{type(error).__name__}") from error
