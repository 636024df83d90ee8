"""Where an object is, and one state of it.

A URI is ``s3://bucket/key``, ``gs://bucket/key`` or a local path; keys stand as they are, with no
percent-encoding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from handler.errors import FunctionError

SCHEMES = ("s3", "gs")

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
        """Whether storage can have, and the client name, such an object: its key has at most 1,024 bytes,
        no empty, ``.`` or ``..`` segment and no control character. Any file can be named.

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
