"""What a person names to be scored, file by file: files, folders, globs and objects."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from pathlib import Path

from handler.batch.naming import OUTPUTS, SUFFIXES, SUMMARY, is_output
from handler.errors import FunctionError
from handler.storage.locations import Location


def named(words: Sequence[str], output: Location | None) -> list[str]:
    """Each input once, in order; a folder gives the tables in it, and a glob the files that it matches.

    Folders within a folder are left alone; hidden files, and what scoring wrote, below ``output`` or
    anywhere, are left out of both. Raises ``FunctionError`` where nothing is left.
    """
    return list(
        {str(Location.parse(word)): word for each in words for word in _named(each, output)}.values()
    )


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
        raise FunctionError(f"the folder {word} holds no table: no name ends in {', '.join(SUFFIXES)}")
    if not tables:
        raise FunctionError(f"no file matches {word}")
    yield from tables


def _is_input(path: Path, output: Location | None) -> bool:
    if path.name.startswith(".") or not path.is_file():
        return False
    if path.name in OUTPUTS and path.with_name(SUMMARY).exists():
        return False
    return not is_output(Location.parse(str(path)), output or Location("file", "", ""))
