"""The bundle's writer: a folder appears whole, or stays as it was. ``handler.manifest`` has the format."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

from handler.errors import BundleError
from handler.manifest import FILES, MANIFEST, Manifest


def check_target(folder: Path) -> None:
    """Raise ``BundleError`` if no bundle can be written at ``folder``, or something else is there."""
    require_writable(folder.absolute().parent, folder)
    if not folder.exists():
        return
    if not folder.is_dir():
        raise BundleError(f"{folder} is a file; name a folder for the bundle")
    if folder.is_mount():  # it cannot be renamed
        raise BundleError(
            f"{folder} is a mounted volume; name a folder within it, such as {folder / 'model'}"
        )
    others = sorted(each.name for each in folder.iterdir() if each.name not in FILES)
    if others:
        raise BundleError(
            f"{folder} holds other files ({', '.join(others[:3])}); name an empty folder or a bundle's"
        )


def require_writable(folder: Path, wanted: Path) -> None:
    """Raise ``BundleError`` unless a file can be made in ``folder``, or in what there is of the way to it.

    ``wanted``: what is to be written, for the message.
    """
    while not os.path.lexists(folder):
        folder = folder.parent
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise BundleError(
            f"{wanted} cannot be written: {folder}: {error.strerror}; name a folder that can be"
        ) from error


def write(
    folder: Path, manifest: Manifest, files: Mapping[str, bytes], check: Callable[[Path], None]
) -> None:
    """Put the bundle at ``folder``, whole or not at all; an earlier bundle stays until it is replaced.

    The new bundle is written beside the old one, and takes its place by renaming unless ``check`` raises.
    """
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
        check(made)
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
