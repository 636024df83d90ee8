"""The file of a fitted model, by what it holds: pickle, joblib, skops, or an MLflow folder.

Nothing of a file is run before the versions that it names are checked, and a pickle only where the user
trusts it.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import importlib
import lzma
import re
import shlex
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sklearn.exceptions import InconsistentVersionWarning

from training.errors import TrainingError, one_line
from training.importing import mlflow, versions
from training.importing.versions import Needs

BLOCK = 1 << 20
#: The most bytes that are looked through for versions, once unpacked: a small file can unpack to very many.
MOST = 8 << 30
#: The longest schema of a skops file that is read.
LONGEST_SCHEMA = 1 << 28
ZIP = b"PK\x03\x04"
#: How files of other kinds begin, and what they are called.
OTHERS: Mapping[bytes, str] = {
    b"\x89HDF": "an HDF5 file, as Keras writes them",
    b"CBM1": "a model of CatBoost's own format; pickle the CatBoostClassifier or CatBoostRegressor",
    b"tree\n": "a model of LightGBM's own format; pickle the LGBMClassifier or LGBMRegressor",
    b"<?xml": "XML, perhaps PMML",
    b"{": "JSON, perhaps a model of XGBoost's own format; pickle the XGBClassifier or XGBRegressor",
    b"PAR1": "a Parquet file",
    b"\x93NUMPY": "an array of numpy",
}
COMPRESSED: Mapping[bytes, Callable[[Path], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ": lzma.open,
    b"]\x00\x00": lzma.open,
}
#: How a pickle of protocol 0 or 1 may begin.
OLD_PICKLE = re.compile(rb"[c(}\]]")


@dataclass(frozen=True, slots=True)
class Trust:
    """What the user trusts: a pickle's code, and types of a skops file by their names."""

    pickle: bool = False
    types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Opened:
    """A model, and what the manifest says of its file; ``example`` is an MLflow folder's, if it has one."""

    model: Any
    imported: Mapping[str, Any]
    folder: mlflow.Folder | None = None


def opened(path: Path, trust: Trust, again: str) -> Opened:
    """The model in a file or an MLflow folder; raises ``TrainingError``.

    ``again``: the words of this command, without the interpreter.
    """
    if path.is_dir():
        folder = mlflow.read(path)
        versions.check(str(path), folder.needs, again)
        if folder.own_format:
            made = _own_format(folder.model, *folder.own_format)
        else:
            made = _file(folder.model, trust, again, folder.needs)
        return Opened(
            made.model, {**made.imported, "source": path.resolve().name, "format": "mlflow"}, folder
        )
    if not path.exists():
        raise TrainingError(f"{path} does not exist")
    return _file(path, trust, again, Needs())


def _own_format(path: Path, library: str, name: str, options: Mapping[str, str]) -> Opened:
    """A model in the format of a library of boosters, which holds no code."""
    versions.check(str(path), Needs((), (library,)), "")
    try:
        model = getattr(importlib.import_module(library), name)()
        model.load_model(str(path), **options)
    except Exception as error:  # the library reads whatever the file holds
        raise TrainingError(f"{path} cannot be opened: {one_line(error)}") from error
    version = str(getattr(importlib.import_module(library), "__version__", "unknown"))
    return Opened(
        model,
        {"source": path.name, "sha256": _sha256(path), "format": library, "versions": {library: version}},
    )


def _file(path: Path, trust: Trust, again: str, stated: Needs) -> Opened:
    try:
        with path.open("rb") as file:
            head = file.read(16)
        kind = "skops" if head.startswith(ZIP) else "pickle"
        if kind == "skops":
            needs = versions.of_skops(_schema(path))
        else:
            _check_pickle(path, head)
            needs = versions.of_pickle(_blocks(path, head))
    except OSError as error:
        raise TrainingError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from error
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise TrainingError(f"{path} is cut short, or damaged: it cannot be unpacked") from error
    versions.check(str(path), needs, again)
    model = _skops(path, trust) if kind == "skops" else _pickle(path, trust)
    known = needs.sklearn or stated.sklearn
    imported = {
        "source": path.name,
        "sha256": _sha256(path),
        "format": kind,
        "versions": {"scikit-learn": known[0]} if known else {},
    }
    return Opened(model, imported)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_pickle(path: Path, head: bytes) -> None:
    """Raise ``TrainingError`` for a file of another kind."""
    if not head:
        raise TrainingError(f"{path} is empty")
    for start, kind in OTHERS.items():
        if head.startswith(start):
            raise TrainingError(
                f"{path} is {kind}; pickle, joblib and skops files and MLflow folders are read"
            )
    packed = head.startswith(tuple(COMPRESSED)) or _is_zlib(head)
    if not (packed or (head[0] == 0x80 and head[1:2] <= b"\x05") or OLD_PICKLE.match(head)):
        raise TrainingError(
            f"{path} is none of what is read: a pickle, joblib or skops file, or an MLflow folder"
        )


def _is_zlib(head: bytes) -> bool:
    return head[0] == 0x78 and len(head) > 1 and (head[0] * 256 + head[1]) % 31 == 0


def _blocks(path: Path, head: bytes) -> Iterator[bytes]:
    """The file's bytes, unpacked where joblib or gzip packed them."""
    unpack = next((unpack for start, unpack in COMPRESSED.items() if head.startswith(start)), None)
    if unpack is None and _is_zlib(head):
        yield from _unzlibbed(path)
        return
    left = MOST
    with (unpack or (lambda path: path.open("rb")))(path) as file:
        while left > 0 and (block := file.read(BLOCK)):
            left -= len(block)
            yield block


def _unzlibbed(path: Path) -> Iterator[bytes]:
    left, unpacking = MOST, zlib.decompressobj()
    with path.open("rb") as file:
        while left > 0 and (packed := file.read(BLOCK)):
            while packed and left > 0:
                block = unpacking.decompress(packed, BLOCK)
                packed = unpacking.unconsumed_tail
                left -= len(block)
                yield block


def _schema(path: Path) -> bytes:
    """The schema of a skops file."""
    try:
        with zipfile.ZipFile(path) as archive:
            if "schema.json" not in archive.namelist():
                raise TrainingError(f"{path} is a zip archive, and not of skops: it has no schema.json")
            if archive.getinfo("schema.json").file_size > LONGEST_SCHEMA:
                raise TrainingError(f"{path} has a schema of more than {LONGEST_SCHEMA >> 20} MiB")
            return archive.read("schema.json")
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        raise TrainingError(f"{path} is cut short, or damaged: it is not a whole zip archive") from error


def _pickle(path: Path, trust: Trust) -> Any:
    """The object in a pickle or a joblib file."""
    if not trust.pickle:
        raise TrainingError(
            f"{path} is a pickle, and opening a pickle runs whatever code it holds: add --trust if you "
            "know who made it"
        )
    import joblib

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", InconsistentVersionWarning)
            return joblib.load(path)
    except InconsistentVersionWarning as error:
        raise TrainingError(
            f"{path} was saved with scikit-learn {error.original_sklearn_version}, and "
            f"{error.current_sklearn_version} is installed here; package it where that one is"
        ) from error
    except Exception as error:  # unpickling runs the file's code
        raise TrainingError(f"{path} cannot be opened: {_reason(error)}") from error
    except RecursionError as error:
        raise TrainingError(f"{path} cannot be opened: it is nested too deeply") from error


def _reason(error: Exception) -> str:
    """Why unpickling failed, and what to do."""
    if isinstance(error, ModuleNotFoundError):
        library = versions.LIBRARIES.get(str(error.name).partition(".")[0])
        cure = f"pip install {library}" if library else "run this where that module can be imported"
        return f"it needs the module '{error.name}', which is not here; {cure}"
    if isinstance(error, AttributeError) and "__main__" in str(error):
        name = re.search(r"attribute '([^']*)'", str(error))
        what = f"'{name[1]}'" if name else "something"
        return (
            f"it needs {what}, which was defined in a notebook or script; move that into a module, save "
            "the model again, or call training.package() in the notebook"
        )
    return one_line(error)


def _skops(path: Path, trust: Trust) -> Any:
    """The object in a skops file, whose types that are not skops' own the user must name."""
    try:
        import skops.io
    except ImportError as error:
        raise TrainingError(
            f"{path} is a skops file, and skops is not installed: pip install skops"
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = skops.io.get_untrusted_types(file=path)
            missing = [each for each in wanted if each not in trust.types]
            if missing:
                flags = " ".join(f"--trust-type {shlex.quote(each)}" for each in missing)
                raise TrainingError(
                    f"{path} holds types that skops does not trust by itself; if you do, add: {flags}"
                )
            return skops.io.load(path, trusted=wanted)
    except TrainingError:
        raise
    except Exception as error:  # what the schema may name
        raise TrainingError(f"{path} cannot be opened: {_reason(error)}") from error
