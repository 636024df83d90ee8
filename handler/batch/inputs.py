"""What a person names to be scored, file by file: files, folders, globs, objects and prefixes."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from handler.batch.naming import OUTPUTS, SUFFIXES, SUMMARY, beside, into, is_output
from handler.errors import FunctionError
from handler.faults import DeadlineNear, NoObject
from handler.storage.deadline import Deadline
from handler.storage.locations import Location, Version
from handler.storage.storage import Storage

#: Objects and prefixes that are asked for at once.
ASKED = 16
#: In the place of an output: nothing lies below it.
NOWHERE = Location("file", "", "")


class Input(NamedTuple):
    """A table: how it is named to a person, where it is, its size in bytes, and the folder of its outputs.

    ``fault``: it is a prefix, of which this is why no more of it is listed.
    """

    word: str
    location: Location
    size: int
    folder: Location
    fault: str | None = None


class Inputs:
    """The tables that the words of a command line name, each once, in order.

    A folder gives the tables in it (folders in it are left alone), a glob the files that it matches, and
    a prefix (a bucket, or a URI that ends in ``/``) every table below it, whatever the depth. Hidden files,
    empty objects, and what scoring wrote, below ``output`` or anywhere, are left out of these three.

    ``prefixes`` is INPUT_URI, by which ``into`` names folders. Raises ``FunctionError`` where a word names
    nothing, or where two inputs have one folder of outputs, and ``PassingFault``: so that is known before
    anything is scored. A prefix is listed anew, page by page, each time that the inputs are gone through.
    """

    def __init__(
        self,
        words: Sequence[str],
        output: Location | None,
        prefixes: Sequence[str],
        storage: Storage,
        deadline: Deadline,
    ) -> None:
        self._output, self._prefixes, self._storage = output, prefixes, storage
        #: Each input or prefix, and how it was named.
        self._named: dict[Location, str] = {}
        for word in itertools.chain.from_iterable(_named(each, output) for each in words):
            self._named.setdefault(_parsed(word), word)
        self._sizes = self._checked(deadline)
        for location, size in self._sizes.items():
            if size is None and any(self._sizes.get(each, 0) is None for each in _above(location)):
                del self._named[location]  # it lies below another prefix
        if output is not None:
            self._require_apart(output)

    @property
    def only(self) -> bool:
        """Whether it is one input, by its own name."""
        return len(self._named) == 1 and not self.are_listed

    @property
    def are_listed(self) -> bool:
        """Whether a prefix is among them, so that their number is not known at once."""
        return any(self._sizes[location] is None for location in self._named)

    def __iter__(self) -> Iterator[Input]:
        for location, word in self._named.items():
            size = self._sizes[location]
            if size is not None:
                yield Input(word, location, size, self._folder(location))
                continue
            try:
                for each, version in self._storage.list(location):
                    if each not in self._named and self._is_table(each, version):
                        yield Input(str(each), each, version.size, self._folder(each))
            except DeadlineNear:
                raise
            except FunctionError as error:
                yield Input(
                    word, location, 0, self._folder(location), f"{error}; what comes after is not listed"
                )

    def _folder(self, location: Location) -> Location:
        return into(location, self._output, self._prefixes) if self._output else beside(location)

    def _is_table(self, location: Location, version: Version) -> bool:
        if not version.size or not location.name.lower().endswith(SUFFIXES):
            return False
        return not is_output(location, self._output or NOWHERE)

    def _checked(self, deadline: Deadline) -> dict[Location, int | None]:
        """The size of each input, None for a prefix, once each is known to be there."""
        with ThreadPoolExecutor(ASKED, thread_name_prefix="ask") as pool:
            asked = {each: pool.submit(self._size, each) for each in self._named if each.scheme != "file"}
            try:
                return {
                    each: deadline.result(asked[each], each) if each in asked else self._size(each)
                    for each in self._named
                }
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _size(self, location: Location) -> int | None:
        word = self._named[location]
        if _is_prefix(location):
            if not any(self._is_table(*each) for each in self._storage.list(location)):
                raise FunctionError(f"there is no table below {word}: {_no_name()}")
            return None
        version = self._storage.version(location)
        if version is None:
            fault = NoObject(str(location))
            if location.scheme == "file" or location.name.lower().endswith(SUFFIXES):
                raise fault
            raise FunctionError(f"{fault}; a prefix ends in a slash: {location}/")
        return version.size

    def _require_apart(self, output: Location) -> None:
        """Raise ``FunctionError`` where two inputs, also such as lie below a prefix, may share a folder."""
        taken: dict[Location, Location] = {}
        for location in self._named:
            folder = into(location, output, self._prefixes)
            other = taken.setdefault(folder, location)
            if other != location:
                self._refuse(other, location, folder)
        for folder, location in taken.items():
            for above in _above(folder):
                other = taken.get(above, location)
                # Of one bucket, an input below a prefix is not listed again, as its name is known.
                if _is_prefix(other) and (other.scheme, other.bucket) != (location.scheme, location.bucket):
                    self._refuse(other, location, folder)

    def _refuse(self, one: Location, other: Location, folder: Location) -> None:
        raise FunctionError(
            f"{self._named[one]} and {self._named[other]} would both be scored into {folder}: score them "
            "one by one, each with its own --output"
        )


def _parsed(word: str) -> Location:
    """Where an input is; the key of a prefix is empty, or ends in one slash."""
    location = Location.parse(word)
    if not _is_prefix(location):
        return location
    if not location.bucket:
        raise FunctionError(f"{word} names no bucket; a prefix is {location.scheme}://bucket/folder/")
    key = location.key.strip("/")
    return Location(location.scheme, location.bucket, f"{key}/" if key else "")


def _is_prefix(location: Location) -> bool:
    return location.scheme != "file" and (not location.key or location.key.endswith("/"))


def _above(location: Location) -> Iterator[Location]:
    """The prefixes that a location, or another prefix, lies below; the nearest comes first."""
    key = location.key.rstrip("/")
    while key:
        key = key.rpartition("/")[0]
        yield Location(location.scheme, location.bucket, f"{key}/" if key else "")


def _named(word: str, output: Location | None) -> Iterator[str]:
    path = Path(word)
    if "://" in word or (not path.is_dir() and (path.exists() or not glob.has_magic(word))):
        yield word
        return
    if path.is_dir():
        inside = sorted(str(path / each.name) for each in path.iterdir())
        files = [each for each in inside if each.lower().endswith(SUFFIXES)]
    else:
        files = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - Path.glob wants a folder
    tables = [each for each in files if _is_input(Path(each), output)]
    if not tables and path.is_dir():
        raise FunctionError(f"the folder {word} holds no table: {_no_name()}")
    if not tables:
        raise FunctionError(f"no file matches {word}")
    yield from tables


def _no_name() -> str:
    return f"no name ends in {', '.join(SUFFIXES)}"


def _is_input(path: Path, output: Location | None) -> bool:
    if path.name.startswith(".") or not path.is_file():
        return False
    if path.name in OUTPUTS and path.with_name(SUMMARY).exists():
        return False
    return not is_output(Location.parse(str(path)), output or NOWHERE)
