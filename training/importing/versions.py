"""What a model's file says of the libraries that it needs, read without running any of it.

A pickle of an estimator holds ``_sklearn_version`` and, at once after it, the version. It is looked for in
the bytes, and not by interpreting the pickle: joblib has the data of arrays between the opcodes, and a
hostile file costs no more than its length.
https://scikit-learn.org/stable/model_persistence.html
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import itertools
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from training.errors import TrainingError

OLDEST = (1, 3)
#: The newest Python that each scikit-learn has wheels for, where a newer one is supported here.
NEWEST_PYTHON = {(1, 3): (3, 12), (1, 4): (3, 12), (1, 5): (3, 13), (1, 6): (3, 13)}
#: Libraries of estimators, by the module that their pickles name, with what pip calls them.
LIBRARIES: Mapping[str, str] = {
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "catboost": "catboost",
    "imblearn": "imbalanced-learn",
    "category_encoders": "category_encoders",
    "feature_engine": "feature-engine",
    "cloudpickle": "cloudpickle",
    "dill": "dill",
    "skrub": "skrub",
}

#: After a text: the opcode that keeps it in the memo, if any. https://docs.python.org/3/library/pickletools.html
_KEPT = rb"(?:\x94|q.|r.{4}|p[0-9]{1,10}\n)?"
_VERSION = re.compile(rb"[0-9]{1,4}(?:\.[0-9A-Za-z]{1,16}){1,5}(?:[+-][0-9A-Za-z.]{1,40})?")
#: The key, and the version as each protocol has it: a text with its length before it, or a line.
_SKLEARN = re.compile(
    rb"_sklearn_version\n?"
    + _KEPT
    + rb"(?:\x8c(?P<short>.)|X(?P<long>.{4})|V)(?P<text>[0-9A-Za-z.+-]{1,80})",
    re.DOTALL,
)
_SKLEARN_IN_JSON = re.compile(
    rb'"_sklearn_version": ?\{[^{}]{0,400}?"content": ?"\\"(?P<text>[0-9A-Za-z.+-]{1,80})\\""'
)
#: A module that a pickle imports from: a text, or a line after "c".
_MODULE = re.compile(rb"(?:\x8c.|X.{4}|c)(" + "|".join(LIBRARIES).encode() + rb")\.[a-z_]", re.DOTALL)
#: A file that names more of them was made to, and is refused for the first.
MOST_VERSIONS = 100
#: No match is longer; one that ends so near to the end of a block is looked at again with the next.
OVERLAP = 1024


@dataclass(frozen=True, slots=True)
class Needs:
    """The versions of scikit-learn that a file names, and the other libraries of ``LIBRARIES``."""

    sklearn: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()


def of_pickle(blocks: Iterable[bytes]) -> Needs:
    """What the bytes of a pickle, in blocks, say; the cost does not depend on what they hold."""
    return _found(blocks, _SKLEARN)


def of_skops(schema: bytes) -> Needs:
    """What the schema of a skops file says."""
    modules = re.findall(rb'"__module__": ?"(' + "|".join(LIBRARIES).encode() + rb')[."]', schema)
    needs = _found([schema], _SKLEARN_IN_JSON)
    return Needs(needs.sklearn, tuple(sorted({each.decode() for each in modules})))


def _found(blocks: Iterable[bytes], pattern: re.Pattern[bytes]) -> Needs:
    versions: set[bytes] = set()
    modules: set[bytes] = set()
    part = b""
    for block in itertools.chain(blocks, [b""]):
        if len(versions) > MOST_VERSIONS:
            break
        part = part[-2 * OVERLAP :] + block
        end = len(part) - (OVERLAP if block else 0)
        versions.update(_version(match) for match in pattern.finditer(part) if match.end() <= end)
        modules.update(match[1] for match in _MODULE.finditer(part) if match.end() <= end)
    sound = sorted(each.decode() for each in versions if _VERSION.fullmatch(each))
    return Needs(tuple(sound), tuple(sorted(each.decode() for each in modules)))


def _version(match: re.Match[bytes]) -> bytes:
    """The text of a match, without what comes after it."""
    groups = match.groupdict()
    length = groups.get("short") or groups.get("long")
    return match["text"] if length is None else match["text"][: int.from_bytes(length, "little")]


def check(source: str, needs: Needs, again: str) -> None:
    """Raise ``TrainingError`` unless the libraries are here, and scikit-learn in the model's own version.

    ``again``: the command that packages the model, for the environment that the error's lines make.
    """
    installed = importlib.metadata.version("scikit-learn")
    absent = [each for each in needs.libraries if importlib.util.find_spec(each) is None]
    others = [each for each in needs.sklearn if each != installed]
    if others:
        version = others[0]
        major, minor = (int(each) for each in re.findall(r"[0-9]+", version)[:2])
        if (major, minor) < OLDEST:
            raise TrainingError(
                f"{source} was saved with scikit-learn {version}; models of 1.3 and newer are packaged: "
                "fit it again with a newer one"
            )
        libraries = [f"scikit-learn=={version}", *(LIBRARIES[each] for each in needs.libraries)]
        checkout = 'name = "sklearn-function"' in _text(Path("pyproject.toml"))
        libraries.append("'.[training]'" if checkout else "'sklearn-function[training]'")
        newest = NEWEST_PYTHON.get((major, minor), sys.version_info[:2])
        python = "python" if sys.version_info[:2] <= newest else "python{}.{}".format(*newest)
        raise OtherVersion(
            f"{source} was saved with scikit-learn {version}, and here is {installed}, under which "
            "it may predict something else; these lines make the right environment, and package it there:",
            (
                f"{python} -m venv sklearn-{version}",
                f"sklearn-{version}/bin/python -m pip install {' '.join(libraries)}",
                f"sklearn-{version}/bin/{again}",
            ),
        )
    if absent:
        raise TrainingError(
            f"{source} needs {' and '.join(absent)}, which is not installed: "
            f"pip install {' '.join(LIBRARIES[each] for each in absent)}, in the version that the model "
            "was fitted with"
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""


class OtherVersion(TrainingError):
    """The model is of another scikit-learn; ``lines`` make an environment with that one."""

    def __init__(self, message: str, lines: tuple[str, ...]) -> None:
        self.lines = lines
        super().__init__(message)
