"""Objects in S3 and GCS, through obstore; its errors leave here as the project's own."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handler.errors import Changed, FunctionError, StorageDown
from handler.storage.locations import Location, Sink, Version

if TYPE_CHECKING:
    from obstore.store import ObjectStore

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


class Buckets:
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
