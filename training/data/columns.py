"""What a user states about columns, by flags or in a TOML file, where their cells would suggest otherwise.

target = "converted"
drop = ["comment"]
ids = ["customer"]

[kinds]
zip = "category"
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from handler.bundle import Kind
from training.errors import TrainingError

KINDS: tuple[str, ...] = get_args(Kind)
#: What each key of the file is called on the command line.
FLAGS: Mapping[str, str] = {"target": "--target", "drop": "--drop", "ids": "--id", "kinds": "--kind"}
#: The columns that a message lists at most.
LISTED = 20


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """What is stated about columns, in ``file``, or by flags where that is empty.

    ``drop``: they are left out; ``ids``: left out, and carried through requests; ``kinds``: forced.
    """

    target: str | None = None
    drop: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    file: str = ""

    def with_flags(self, flags: ColumnSpec) -> ColumnSpec:
        """Both together; for a column that both name, the flags count."""
        named = {*flags.drop, *flags.ids, *flags.kinds}
        return ColumnSpec(
            flags.target or self.target,
            (*(name for name in self.drop if name not in named), *flags.drop),
            tuple(dict.fromkeys((*(name for name in self.ids if name not in named), *flags.ids))),
            {**{name: kind for name, kind in self.kinds.items() if name not in named}, **flags.kinds},
        )

    def check(self, names: Sequence[str], target: str | None, source: str) -> None:
        """Raise ``TrainingError`` for a column that ``source`` does not have, or that is named twice."""
        seen: dict[str, str] = {}
        for key, named in (("drop", self.drop), ("ids", self.ids), ("kinds", tuple(self.kinds))):
            where = self.where(key)
            for name in named:
                if name not in names:
                    raise TrainingError(
                        f"{where} names '{name}', and {source} has no such column; {near(name, names)}"
                    )
                if name == target:
                    raise TrainingError(f"{where} names '{name}', which is the target")
                if seen.setdefault(name, where) != where:
                    raise TrainingError(f"'{name}' is named by {seen[name]} and by {where}; name it once")

    def where(self, key: str) -> str:
        """What a message calls ``key``: the flag, or the file and its key."""
        return f"{self.file}: '{key}'" if self.file else FLAGS[key]


def near(name: str, names: Sequence[str]) -> str:
    """The end of a message about a missing column: one of almost that name, or those that there are."""
    by_lower = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), by_lower, 1)
    if close:
        return f"did you mean '{by_lower[close[0]]}'?"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"the columns are: {', '.join(names[:LISTED])}{more}"


def parse_kind(text: str) -> tuple[str, Kind]:
    """``COLUMN=KIND``; the last equals sign counts. Raises ``TrainingError``."""
    name, equals, kind = text.rpartition("=")
    if not equals or not name or kind not in KINDS:
        raise TrainingError(f"--kind takes COLUMN=KIND with one of {', '.join(KINDS)}, not '{text}'")
    return name, kind  # type: ignore[return-value]


def read(path: Path) -> ColumnSpec:
    """The file of ``--columns``; raises ``TrainingError`` that names the file and the key."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not TOML: {error}") from error
    unknown = sorted(document.keys() - FLAGS.keys())
    if unknown:
        raise TrainingError(
            f"{path}: there is no key '{unknown[0]}'; the keys are target, drop, ids and kinds"
        )
    target = document.get("target")
    if target is not None and not isinstance(target, str):
        raise TrainingError(f"{path}: 'target' must be a column's name")
    kinds = document.get("kinds", {})
    if not isinstance(kinds, dict):
        raise TrainingError(f"{path}: 'kinds' must be a table of columns and their kinds")
    for name, kind in kinds.items():
        if kind not in KINDS:
            raise TrainingError(f"{path}: 'kinds' must give '{name}' one of {', '.join(KINDS)}")
    drop, ids = _names(path, document, "drop"), _names(path, document, "ids")
    return ColumnSpec(target, drop, ids, kinds, str(path))


def _names(path: Path, document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = document.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TrainingError(f"{path}: '{key}' must be a list of columns' names")
    return tuple(names)
