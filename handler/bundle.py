"""The bundle: one folder with the fitted model, its ONNX twin, and the manifest that vouches for both.

``model.json`` is the contract between training and serving. Loading trusts no file before its
sha256 equals the manifest's, and unpickles nothing under other library versions than it was
pickled with.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from handler.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

try:  # as the standard library's random does: hashlib would load OpenSSL, which takes 4 ms
    from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    from hashlib import sha256

#: The manifest's format. Raise it when a reader of the old number would misread a new manifest
#: (a key renamed, removed, or with another meaning); a new optional key does not raise it. Keep
#: the old reader as long as bundles of its format are served, with a test on one such manifest.
FORMAT = 1

MANIFEST = "model.json"
ONNX = "model.onnx"
SCALAR = "model.scalar"
JOBLIB = "model.joblib"
CARD = "MODEL_CARD.md"
REPORT = "report.html"
FILES = frozenset({MANIFEST, ONNX, SCALAR, JOBLIB, CARD, REPORT})

#: A pickle of a fitted estimator is read only under these libraries' very versions.
#: https://scikit-learn.org/stable/model_persistence.html
PICKLE_LIBRARIES = ("scikit-learn", "numpy", "scipy", "joblib")

Kind = Literal["integer", "number", "boolean", "category"]
Task = Literal["binary", "multiclass", "regression"]
Label = int | str


class Feature(NamedTuple):
    """One input of the model, as training saw it.

    ``minimum`` and ``maximum`` are observed, not enforced. ``open`` says of a category whether
    the model takes values beyond ``categories``.
    """

    name: str
    kind: Kind
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    open: bool = False

    def as_json(self) -> dict[str, Any]:
        """The feature's entry in the manifest."""
        head = {"name": self.name, "kind": self.kind, "nullable": self.nullable}
        if self.kind == "category":
            return {**head, "categories": list(self.categories), "open": self.open}
        return {**head, "minimum": self.minimum, "maximum": self.maximum}


class Manifest(NamedTuple):
    """What ``model.json`` says; see DESIGN for the meaning of each key.

    ``threshold``: the probability of the second class from which it is predicted, where training
    was asked for one. ``ids``: columns that a request may carry and no feature is made of.
    ``engines``: what serves ``one`` row and ``many`` (``scalar``, ``onnx`` or ``joblib``).
    """

    name: str
    version: str
    created: str
    task: Task
    features: tuple[Feature, ...]
    target: str
    classes: tuple[Label, ...]
    metrics: Mapping[str, Any]
    runtime: Literal["onnx", "joblib"]
    parity: Mapping[str, Any]
    libraries: Mapping[str, str]
    training: Mapping[str, Any]
    files: Mapping[str, str]
    golden: tuple[Mapping[str, Any], ...] = ()
    threshold: float | None = None
    ids: tuple[str, ...] = ()
    engines: Mapping[str, str] = {}
    format: int = FORMAT

    def as_json(self) -> dict[str, Any]:
        """The manifest as the JSON object that ``model.json`` holds."""
        document = self._asdict()
        return {
            "format": document.pop("format"),
            **document,
            "features": [feature.as_json() for feature in self.features],
            "classes": list(self.classes),
            "golden": list(self.golden),
            "ids": list(self.ids),
        }

    @classmethod
    def from_json(cls, document: Any) -> Manifest:
        """Parse ``model.json``; raises ``BundleError`` that names what is wrong with it."""
        if not isinstance(document, dict):
            raise BundleError(f"{MANIFEST} holds no JSON object; train again")
        found = document.get("format")
        if found != FORMAT:
            raise BundleError(
                f"{MANIFEST} has format {found!r} and this code reads format {FORMAT}; train again, "
                "or serve it with the release that made it"
            )
        try:
            return cls(
                **{
                    **document,
                    "features": tuple(
                        Feature(**{**each, "categories": tuple(each.get("categories", ()))})
                        for each in document["features"]
                    ),
                    "classes": tuple(document["classes"]),
                    "golden": tuple(document["golden"]),
                    "ids": tuple(document.get("ids", ())),
                }
            )
        except (KeyError, TypeError) as error:
            raise BundleError(f"{MANIFEST} does not follow its format: {error}") from error

    @property
    def probabilities(self) -> bool:
        """Whether the model gives probabilities; a few classifiers give labels alone."""
        return bool(self.golden) and "probabilities" in self.golden[0]

    @property
    def identity(self) -> dict[str, str]:
        """The model's name and version, as every answer carries them."""
        return {"name": self.name, "version": self.version}


class Bundle(NamedTuple):
    """An opened bundle: the manifest is read, no model file is yet."""

    folder: str | Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path) -> Bundle:
        """Read the manifest in ``folder``; raises ``BundleError``."""
        path = os.path.join(folder, MANIFEST)
        try:
            document = json.loads(_content(path))
        except FileNotFoundError as error:
            raise BundleError(
                f"no model at {folder} ({MANIFEST} is missing): run 'make train', or point MODEL_DIR "
                "at a bundle"
            ) from error
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} cannot be read: {type(error).__name__}") from error
        return cls(folder, Manifest.from_json(document))

    def read(self, name: str) -> bytes:
        """A model file's bytes, only if their sha256 is the manifest's; raises ``BundleError``."""
        expected = self.manifest.files.get(name)
        if expected is None:
            raise BundleError(f"{MANIFEST} vouches for no file {name}")
        path = os.path.join(self.folder, name)
        try:
            content = _content(path)
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {type(error).__name__}") from error
        found = sha256(content).hexdigest()
        if found != expected:
            raise BundleError(
                f"{path} has sha256 {found} and {MANIFEST} says {expected}: the file was "
                "changed after training; restore it or train again"
            )
        return content

    def check_libraries(self) -> None:
        """Raise ``BundleError`` unless the pickle's libraries are installed in its very versions."""
        import importlib.metadata  # 10 ms that only a pickle needs

        differences = []
        for library in PICKLE_LIBRARIES:
            trained = self.manifest.libraries.get(library)
            try:
                installed = importlib.metadata.version(library)
            except importlib.metadata.PackageNotFoundError:
                installed = "absent"
            if trained is not None and trained != installed:
                differences.append(f"{library} {trained} at training, {installed} here")
        if differences:
            wanted = " ".join(
                f"{library}=={self.manifest.libraries[library]}"
                for library in PICKLE_LIBRARIES
                if library in self.manifest.libraries
            )
            raise BundleError(
                f"{JOBLIB} was made with other library versions: {'; '.join(differences)}. "
                f"Install {wanted}, or train again"
            )


def _content(path: str) -> bytes:
    with open(path, "rb") as file:  # without pathlib: the first prediction waits for every import
        return file.read()


def content_version(files: Mapping[str, str], contract: Any) -> str:
    """The model's version: 12 hex digits over the files' hashes and ``contract`` (any JSON value)."""
    text = json.dumps([dict(files), contract], sort_keys=True)
    return str(sha256(text.encode()).hexdigest())[:12]


def check_target(folder: Path) -> None:
    """Raise ``BundleError`` if writing a bundle at ``folder`` would displace anything but a bundle."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BundleError(f"{folder} is a file; name a folder for the bundle")
    others = sorted(each.name for each in folder.iterdir() if each.name not in FILES)
    if others:
        raise BundleError(
            f"{folder} holds other files ({', '.join(others[:3])}); name an empty folder or a bundle's"
        )


def write(folder: Path, manifest: Manifest, files: Mapping[str, bytes]) -> None:
    """Put the bundle at ``folder``, whole or not at all; an earlier bundle stays until it is replaced.

    The new bundle is written beside the old one and takes its place by renaming.
    """
    import shutil
    import tempfile
    from pathlib import Path

    check_target(folder)
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    old = made.with_name(made.name + "-old")
    try:
        made.chmod(0o755)
        text = json.dumps(manifest.as_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        for name, content in {**files, MANIFEST: text.encode()}.items():
            (made / name).write_bytes(content)
        if folder.exists():
            folder.rename(old)
        try:
            made.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def sha256_of(files: Mapping[str, bytes]) -> dict[str, str]:
    """The manifest's ``files``: the sha256 of each file's content."""
    return {name: sha256(content).hexdigest() for name, content in files.items()}


def installed_versions(libraries: Sequence[str]) -> dict[str, str]:
    """The manifest's ``libraries``: the installed version of each."""
    import importlib.metadata

    return {library: importlib.metadata.version(library) for library in libraries}
