"""What a user says of columns, by flags or in a TOML file, where the cells alone would say otherwise.

target = "converted"
drop = ["comment"]
ids = ["customer"]

[kinds]
zip = "category"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from handler.bundle import Kind
from training.errors import TrainingError

KINDS: tuple[str, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True)
class Columns:
    """``drop``: left out; ``ids``: left out, and carried through requests; ``kinds``: forced."""

    target: str | None = None
    drop: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)

    def with_flags(self, other: Columns) -> Columns:
        """Both together; where they differ, ``other`` counts."""
        return Columns(
            other.target or self.target,
            tuple(dict.fromkeys((*self.drop, *other.drop))),
            tuple(dict.fromkeys((*self.ids, *other.ids))),
            {**self.kinds, **other.kinds},
        )

    def check(self, names: Sequence[str], target: str, source: str) -> None:
        """Raise ``TrainingError`` for a column that is not there, or that is told two things."""
        for flag, told in (("--drop", self.drop), ("--id", self.ids), ("--kind", tuple(self.kinds))):
            for name in told:
                if name not in names:
                    raise TrainingError(
                        f"{flag} names '{name}', and {source} has the columns {', '.join(names)}"
                    )
                if name == target:
                    raise TrainingError(f"{flag} names '{name}', which is the target")
        for name in self.ids:
            if name in self.drop:
                raise TrainingError(f"'{name}' is named by --drop and by --id; name it once")
        for name in (*self.drop, *self.ids):
            if name in self.kinds:
                raise TrainingError(f"'{name}' is no feature (--drop, --id), so it has no --kind")


def parse_kind(told: str) -> tuple[str, Kind]:
    """``COLUMN=KIND``; the last equals sign counts. Raises ``TrainingError``."""
    name, equals, kind = told.rpartition("=")
    if not equals or not name or kind not in KINDS:
        raise TrainingError(f"--kind takes COLUMN=KIND with one of {', '.join(KINDS)}, not '{told}'")
    return name, kind  # type: ignore[return-value]


def read(path: Path) -> Columns:
    """The file of ``--columns``; raises ``TrainingError`` that names the file and the key."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not TOML: {error}") from error
    strangers = sorted(document.keys() - {"target", "drop", "ids", "kinds"})
    if strangers:
        raise TrainingError(f"{path}: no key '{strangers[0]}'; there are target, drop, ids and kinds")
    target = document.get("target")
    if target is not None and not isinstance(target, str):
        raise TrainingError(f"{path}: 'target' must be a column's name")
    kinds = document.get("kinds", {})
    if not isinstance(kinds, dict) or not all(kind in KINDS for kind in kinds.values()):
        raise TrainingError(f"{path}: 'kinds' must give each column one of {', '.join(KINDS)}")
    return Columns(target, _names(path, document, "drop"), _names(path, document, "ids"), kinds)


def _names(path: Path, document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = document.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TrainingError(f"{path}: '{key}' must be a list of columns' names")
    return tuple(names)
