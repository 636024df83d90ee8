"""Objects in S3, GCS and local folders: versions, streams, and conditional writes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import AbstractContextManager

from handler.errors import FunctionError
from handler.storage.buckets import Buckets, Retries
from handler.storage.deadline import Deadline
from handler.storage.folders import Folders
from handler.storage.locations import Location, Sink, Version


class Storage:
    """Objects wherever a URI can point; safe to share between threads."""

    def __init__(self, allow_http: bool = False, retries: Retries = Retries()) -> None:  # noqa: B008
        self._buckets, self._folders = Buckets(allow_http, retries), Folders()

    def within(self, deadline: Deadline) -> Storage:
        """The same storage, of which every call raises ``DeadlineNear`` once the time is up."""
        other = copy.copy(self)
        other._buckets = self._buckets.within(deadline)
        return other

    def version(self, location: Location) -> Version | None:
        """The object's present version; None if there is no such object."""
        return self._at(location).version(location)

    def stream(
        self, location: Location, version: Version, start: int = 0, end: int | None = None
    ) -> Iterator[bytes]:
        """The object's bytes from ``start`` to before ``end`` (None: all) in chunks, if it is still of that
        version; else raises ``Changed``."""
        return self._at(location).stream(location, version, start, end)

    def list(self, folder: Location) -> Iterator[tuple[Location, Version]]:
        """The objects below ``folder`` and their versions (without the run), in the order of their keys."""
        folder = Location(folder.scheme, folder.bucket, folder.key.strip("/"))
        return self._at(folder if folder.key else folder.child("any")).list(folder)

    def delete(self, location: Location) -> None:
        """Delete an object, if it is there."""
        self._at(location).delete(location)

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

    def _at(self, location: Location) -> Buckets | Folders:
        if not location.is_nameable:
            raise FunctionError(f"{location} is not a name that object storage can have")
        return self._folders if location.scheme == "file" else self._buckets
