"""What an image takes from a bundle, as its manifest says.

    python needs.py describe MODEL_DIR       print the name and the version, unless the model is synthetic
    python needs.py copy MODEL_DIR FOLDER    copy the bundle, with the user's own modules
    python needs.py modules MODEL_DIR        copy the user's own modules into MODEL_DIR/modules
    python needs.py libraries MODEL_JSON     print the libraries of the pickle, pinned as in training

It runs on the machine that builds and in the image alike, so it needs nothing but Python itself.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: What the pickle is read with, whatever the model; the manifest has the versions.
PICKLE = ("scikit-learn", "numpy", "scipy", "joblib", "pandas")
MANIFEST, SIGNATURE = "model.json", "model.json.sig"


def describe(model: Path) -> None:
    """Print the model's name and version, or end where it learnt from the sample and nobody wants that."""
    manifest = read(model)
    cure = "build images of it all the same: make images SYNTHETIC=1 (where you run docker build yourself: "
    refuse_synthetic(manifest, model, f"{cure}--build-arg SYNTHETIC=1)")
    print(manifest["name"], manifest["version"], sep="\n")


def refuse_synthetic(manifest: Mapping[str, Any], model: Path, cure: str) -> None:
    """End with ``cure`` where the model learnt from the sample, unless SYNTHETIC=1 says that it may."""
    if manifest.get("training", {}).get("synthetic") and os.environ.get("SYNTHETIC") != "1":
        where = f" at {model}" if model.name else ""
        sys.exit(
            f"make: the model{where} learnt from the synthetic sample, which is nobody's data. Train on "
            f"yours: make train DATA=f.csv TARGET=column; or {cure}"
        )


def read(model: Path) -> dict[str, Any]:
    """The manifest, or an end that says what is wrong with it."""
    try:
        manifest: dict[str, Any] = json.loads((model / MANIFEST).read_bytes())
        _ = manifest["name"], manifest["version"], manifest["files"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        sys.exit(
            f"make: {model / MANIFEST} cannot be read, or is not a bundle's: train again, or restore it"
        )
    return manifest


def copy(model: Path, folder: Path) -> None:
    """Copy the bundle's files, which the manifest names, and the modules that its pickle imports."""
    manifest = read(model)
    folder.mkdir()
    for name in (MANIFEST, SIGNATURE, *manifest["files"]):
        if (model / name).is_file():
            shutil.copyfile(model / name, folder / name)
    sys.path.append(str(model / "modules"))
    modules(folder)


def modules(model: Path) -> None:
    """Copy each module or package to where ``image.sh`` looks for it, or end with what to do."""
    wanted, folder = read(model).get("needs", {}).get("modules", []), model / "modules"
    sys.path[0] = str(Path.cwd())
    found = {name: importlib.util.find_spec(name) for name in wanted}
    absent = [name for name, spec in found.items() if spec is None]
    if absent:
        sys.exit(
            f"make: the model needs your own module {', '.join(absent)}, and it is not here: copy "
            f"{absent[0]}.py into this folder, or name its folder: PYTHONPATH=/its/folder make images"
        )
    for name, spec in found.items():
        folder.mkdir(exist_ok=True)
        if spec is not None and spec.submodule_search_locations:
            (source,) = [*spec.submodule_search_locations][:1]
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        elif spec is not None and spec.origin is not None:
            shutil.copy(spec.origin, folder)


def print_libraries(manifest: Path) -> None:
    """Print one requirement a line."""
    document = json.loads(manifest.read_bytes())
    versions = document["libraries"]
    for name in (*PICKLE, *document.get("needs", {}).get("libraries", [])):
        if name in versions:
            print(f"{name}=={versions[name]}")


if __name__ == "__main__":
    verb, *paths = sys.argv[1:]
    verbs: dict[str, Callable[..., None]] = {
        "describe": describe, "copy": copy, "modules": modules, "libraries": print_libraries
    }  # fmt: skip
    verbs[verb](*map(Path, paths))
