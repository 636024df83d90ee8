"""The bundle: one folder with the fitted model, its ONNX twin, and the manifest that vouches for both.

``model.json`` is the contract between training and serving. Loading trusts a manifest only if its
content makes its ``version``, a file only if its sha256 is the manifest's, and a pickle only under the
library versions that it was made with. That finds what was changed by accident; a signature
(``handler.signing``) finds what was changed on purpose. What was verified when an image or a zip was made
is not verified again at each start, where a faster hash finds the same bytes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from handler.errors import BundleError
from handler.manifest import (
    DOCUMENTS,
    EXPLANATION,
    JOBLIB,
    MANIFEST,
    SIGNATURE,
    Manifest,
    digest,
    known_since_packing,
)
from handler.typed import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

#: What to do with a model that is put in the place of the bundle's.
SWAPPED = ", or package the model that it is: python -m training package MODEL --sample CSV --trust"
#: A pickle of a fitted estimator is read only under these libraries' very versions.
#: https://scikit-learn.org/stable/model_persistence.html
PICKLE_LIBRARIES = ("scikit-learn", "numpy", "scipy", "joblib")
#: Gives a file's content by its name; None where there is no such file.
Documents = Callable[[str], bytes | None]


class Bundle(NamedTuple):
    """An opened bundle: the manifest is read, no model file is yet.

    ``packed``: whether it is the one in ``handler.PACKED``, and no signature was asked for.
    """

    folder: str | Path
    manifest: Manifest
    packed: bool = False

    @classmethod
    def open(cls, folder: str | Path, public_key: str | None = None) -> Bundle:
        """Read the manifest in ``folder``; raises ``BundleError``.

        ``public_key``: whose signature the manifest must have; PEM text, or the path of a PEM file.
        """
        path = os.path.join(folder, MANIFEST)
        try:
            content = _content(path)
            if public_key is not None:
                _verify(public_key, content, os.path.join(folder, SIGNATURE))
            else:  # a fast hash finds what was changed by accident
                members = known_since_packing(MANIFEST, content)
                if members is not None:
                    return cls(folder, Manifest.unpacked(members), packed=True)
            from handler.manifest_rules import parsed  # what was packed has no need of it

            return cls(folder, parsed(json.loads(content)))
        except FileNotFoundError as error:
            raise BundleError(
                f"no model at {folder} ({MANIFEST} is missing): run 'make train' or "
                "'sklearn-function train', or point MODEL_DIR at a bundle"
            ) from error
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"{path} cannot be read: {type(error).__name__}") from error

    def has(self, name: str) -> bool:
        """Whether the folder has a file of that name."""
        return os.path.exists(os.path.join(self.folder, name))

    def read(self, name: str) -> bytes:
        """A model file's bytes, only if their sha256 is the manifest's; raises ``BundleError``."""
        expected = self.manifest.files.get(name)
        if expected is None:
            raise BundleError(f"{MANIFEST} does not vouch for a file {name}")
        path = os.path.join(self.folder, name)
        try:
            content = _content(path)
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {type(error).__name__}") from error
        known = known_since_packing(name, content) if self.packed else None
        if (known or digest(content)) != expected:
            raise BundleError(
                f"{path} has sha256 {digest(content)} and {MANIFEST} says {expected}: the file "
                f"was changed after training; restore it or train again{SWAPPED if name == JOBLIB else ''}"
            )
        return content

    def documents(self) -> Documents:
        """The files that no prediction needs, as they lie in the folder now: ask ``Manifest.vouches``.

        They are the report, the card and what explains predictions. Hashing them takes over a
        millisecond, which a first prediction does not wait for; nor for reading them, where the bundle is
        the one that was packed, which nothing overwrites.
        """
        if self.packed:
            return self._document
        return {name: self._document(name) for name in (*DOCUMENTS, EXPLANATION)}.get

    def _document(self, name: str) -> bytes | None:
        if name not in self.manifest.files:
            return None
        try:
            return _content(os.path.join(self.folder, name))
        except OSError:  # a bundle may be served without them
            return None

    def check_libraries(self) -> None:
        """Raise ``BundleError`` unless the pickle's libraries are installed in the same versions."""
        import importlib.metadata  # 10 ms that only a pickle needs

        differences = []
        libraries = [*PICKLE_LIBRARIES, *self.manifest.needs.get("libraries", ())]
        for library in libraries:
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
                for library in libraries
                if library in self.manifest.libraries
            )
            raise BundleError(
                f"{JOBLIB} was made with other library versions: {'; '.join(differences)}. "
                f"Install {wanted}, or train again"
            )


def _verify(public_key: str, content: bytes, path: str) -> None:
    """``signing.verify``, whose import takes 30 ms that only a key needs."""
    try:
        from handler import signing
    except ImportError as error:  # the zip of the request function leaves it out
        raise BundleError(
            "MODEL_PUBLIC_KEY asks for a signature, which the zip of the request function cannot check: "
            "serve the image, or have Lambda check the zip's own signature"
        ) from error
    signing.verify(public_key, content, path)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:  # without pathlib: the first prediction waits for every import
        return file.read()
