"""What a user states about columns, by flags or in a TOML file, where their cells would suggest otherwise.

target = "converted"
drop = ["comment"]
ids = ["customer"]
nullable = ["age"]

[kinds]
zip = "category"
born = "date:%d/%m/%Y"
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from handler import dates
from handler.manifest import KINDS
from handler.schema import clean_name
from training.data.files import Table
from training.data.notes import Problem
from training.errors import TrainingError

#: What each key of the file is called on the command line.
FLAGS: Mapping[str, str] = {
    "target": "--target", "drop": "--drop", "ids": "--id", "kinds": "--kind", "nullable": "--nullable",
}  # fmt: skip
#: The columns that a message lists at most.
LISTED = 20


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """What is stated about columns, in ``file``, or by flags where that is empty.

    ``drop``: they are left out; ``ids``: left out, and carried through requests; ``kinds``: forced, a date
    with its format after a colon, as ``date:%d/%m/%Y``; ``nullable``: they may be missing in a request.
    """

    target: str | None = None
    drop: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    nullable: tuple[str, ...] = ()
    file: str = ""

    def with_flags(self, flags: ColumnSpec) -> ColumnSpec:
        """Both together; for a column that both name, the flags count."""
        named = {*flags.drop, *flags.ids, *flags.kinds}
        return ColumnSpec(
            flags.target or self.target,
            (*(name for name in self.drop if name not in named), *flags.drop),
            tuple(dict.fromkeys((*(name for name in self.ids if name not in named), *flags.ids))),
            {**{name: kind for name, kind in self.kinds.items() if name not in named}, **flags.kinds},
            tuple(dict.fromkeys((*self.nullable, *flags.nullable))),
        )

    def resolved(self, table: Table, target: str | None) -> tuple[ColumnSpec, list[Problem]]:
        """The same under the table's own names, without those that it does not have or that stand twice.

        A name may be written as it stands in the file, or cleaned.
        """
        problems: list[Problem] = []
        seen: dict[str, str] = {}
        kept: dict[str, dict[str, str]] = {"drop": {}, "ids": {}, "kinds": {}, "nullable": {}}
        for key, named in kept.items():
            where = self.where(key)
            for given in getattr(self, key):
                value = f"={self.kinds[given]}" if key == "kinds" else ""
                name = named_as(table, given)
                if name is None:
                    others = [each for each in table.columns if each != target]
                    close = closest(given, others)
                    message = f"{where} names '{given}', and {table.source} has no such column; "
                    flags = (FLAGS[key], close + value) if close else ()
                elif name == target:
                    message, flags = f"{where} names '{given}', which is the target", ()
                elif key != "nullable" and seen.setdefault(name, where) != where:
                    message = f"'{given}' is named by {seen[name]} and by {where}; name it once"
                    flags = ()
                else:
                    named[name] = self.kinds.get(given, "")
                    continue
                if name is None:
                    message += near(given, list(table.columns))
                problems.append(Problem(message, *self._cure(key, flags, given + value)))
        made = replace(
            self,
            target=target,
            drop=tuple(kept["drop"]),
            ids=tuple(kept["ids"]),
            kinds=kept["kinds"],
            nullable=tuple(kept["nullable"]),
        )
        return made, problems

    def _cure(
        self, key: str, flags: tuple[str, ...], value: str
    ) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
        """The flags instead of the wrong one; what stands in a file no flag undoes."""
        return (None, ()) if self.file else (flags, (FLAGS[key], value))

    def where(self, key: str) -> str:
        """What a message calls ``key``: the flag, or the file and its key."""
        return f"{self.file}: '{key}'" if self.file else FLAGS[key]


def named_as(table: Table, given: str) -> str | None:
    """The column that a user means, by the name in the file or the cleaned one; None if there is none."""
    if given in table.columns:
        return given
    raw = dict(table.cleaned)
    name = raw.get(given, clean_name(given.strip().strip('"')))
    return name if name in table.columns else None


def closest(name: str, names: Sequence[str]) -> str | None:
    """The column of almost that name."""
    by_lower = {each.lower(): each for each in names}
    close = difflib.get_close_matches(name.lower(), by_lower, 1)
    return by_lower[close[0]] if close else None


def near(name: str, names: Sequence[str]) -> str:
    """The end of a message about a missing column: one of almost that name, or those that there are."""
    if (close := closest(name, names)) is not None:
        return f"did you mean '{close}'?"
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"the columns are: {', '.join(names[:LISTED])}{more}"


def parse_kind(text: str) -> tuple[str, str]:
    """``COLUMN=KIND``, or ``COLUMN=date:FORMAT``; the last equals sign counts. Raises ``TrainingError``."""
    name, equals, kind = text.rpartition("=")
    if not equals or not name or not _is_kind(kind):
        raise TrainingError(
            f"--kind takes COLUMN=KIND with one of {', '.join(KINDS)}, or COLUMN=date:FORMAT such as "
            f"date:%d/%m/%Y, not '{text}'"
        )
    _check_format(kind, "--kind")
    return name, kind


def _is_kind(kind: str) -> bool:
    kind, colon, format = kind.partition(":")
    return kind in KINDS and (not colon or (kind == "date" and format != ""))


def _check_format(kind: str, where: str) -> None:
    """Raise ``TrainingError`` for a kind with a format that is none of a date."""
    _, colon, format = kind.partition(":")
    if colon:
        try:
            dates.pattern(format)
        except ValueError as error:
            raise TrainingError(f"{where}: '{format}' is not the format of a date: {error}") from error


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
            f"{path}: there is no key '{unknown[0]}'; the keys are target, drop, ids, kinds and nullable"
        )
    target = document.get("target")
    if target is not None and not isinstance(target, str):
        raise TrainingError(f"{path}: 'target' must be a column's name")
    kinds = document.get("kinds", {})
    if not isinstance(kinds, dict):
        raise TrainingError(f"{path}: 'kinds' must be a table of columns and their kinds")
    for name, kind in kinds.items():
        if not isinstance(kind, str) or not _is_kind(kind):
            raise TrainingError(
                f"{path}: 'kinds' must give '{name}' one of {', '.join(KINDS)}, or date:FORMAT"
            )
        _check_format(kind, f"{path}: 'kinds'")
    drop, ids, nullable = (_names(path, document, key) for key in ("drop", "ids", "nullable"))
    return ColumnSpec(target, drop, ids, kinds, nullable, str(path))


def _names(path: Path, document: Mapping[str, Any], key: str) -> tuple[str, ...]:
    names = document.get(key, [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TrainingError(f"{path}: '{key}' must be a list of columns' names")
    return tuple(names)
