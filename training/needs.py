"""What a pickled estimator needs beside scikit-learn: other libraries, and modules of the user's own.

An image that serves from the pickle must hold them, and only training knows them.
"""

from __future__ import annotations

import ast
import functools
import importlib.metadata
import importlib.util
import io
import pickle
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

from training.errors import TrainingError

#: Packages that every image which serves from a pickle has, and what ``handler`` is.
PRESENT = frozenset({"handler", "joblib", "numpy", "pandas", "scipy", "sklearn"})
#: Where classes stand that a notebook or a script has defined itself.
MAIN = "__main__"


class Needs(NamedTuple):
    """``libraries``: the versions of distributions by their names; ``modules``: names at the top level."""

    libraries: dict[str, str]
    modules: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The manifest's ``needs``, without the versions, which are in its ``libraries``."""
        return {"libraries": [*self.libraries], "modules": [*self.modules]}


def needs_of(estimator: Any) -> Needs:
    """What must be importable where the pickle of ``estimator`` is opened.

    A module of the user's own is read, not run, for what it imports in turn. Raises ``TrainingError`` for
    a class of the notebook or script itself, which no other process can import.
    """
    collector = _Collector()
    collector.dump(estimator)
    if collector.main:
        raise TrainingError(
            f"{', '.join(sorted(collector.main))} is defined in the notebook or script itself, where no "
            "server finds it: move it into a module of its own (a .py file), import it from there, and fit "
            "the model again"
        )
    libraries: dict[str, str] = {}
    modules: set[str] = set()
    seen: set[str] = set()
    waiting = collector.modules
    while waiting:
        name = waiting.pop()
        top = name.partition(".")[0]
        if name in seen or top in PRESENT or top in sys.stdlib_module_names:
            continue
        seen.add(name)
        if distributions := _distributions().get(top):
            libraries |= {each: importlib.metadata.version(each) for each in distributions}
        elif source := _source(name):
            modules.add(top)
            waiting.update(_imported(source))
    return Needs(dict(sorted(libraries.items())), tuple(sorted(modules)))


def _distributions() -> Mapping[str, list[str]]:
    """The distributions that provide each module at the top level, as ``sys.path`` is now."""
    folders = [Path(each) for each in sys.path]
    return _gathered(tuple((str(each), each.stat().st_mtime_ns) for each in folders if each.is_dir()))


@functools.lru_cache(maxsize=1)
def _gathered(folders: tuple[tuple[str, int], ...]) -> Mapping[str, list[str]]:  # noqa: ARG001
    """Reads the record of every distribution, which takes a second: once while the folders are the same."""
    return importlib.metadata.packages_distributions()


class _Collector(pickle.Pickler):
    """A pickler that keeps nothing but the names of the modules which the pickle will import."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), protocol=5, buffer_callback=lambda _: None)
        self.modules: set[str] = set()
        self.main: set[str] = set()

    def reducer_override(self, part: Any) -> Any:
        named = part if isinstance(part, type | FunctionType) else type(part)
        module = str(getattr(named, "__module__", "builtins"))
        self.modules.add(module)
        if module == MAIN:
            self.main.add(named.__name__)
        return NotImplemented


def _source(name: str) -> Path | None:
    """The file of a module; None where there is none, as for a name that stands in a module."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def _imported(source: Path) -> Iterator[str]:
    """The modules that a file may import, and what it takes from them, which may be modules too."""
    try:
        tree = ast.parse(source.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
