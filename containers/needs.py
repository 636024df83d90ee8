"""What a bundle that serves from its pickle needs in an image, as its manifest says.

    python needs.py modules MODEL_DIR     copy the user's own modules into MODEL_DIR/modules
    python needs.py libraries MODEL_JSON  print the libraries, pinned as in training

It runs on the machine that builds and in the image alike, so it needs nothing but Python itself.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

#: What the pickle is read with, whatever the model; the manifest has the versions.
PICKLE = ("scikit-learn", "numpy", "scipy", "joblib", "pandas")


def copy_modules(model: Path) -> None:
    """Copy each module or package to where ``image.sh`` looks for it, or end with what to do."""
    wanted = json.loads((model / "model.json").read_bytes()).get("needs", {}).get("modules", [])
    sys.path[0] = str(Path.cwd())
    found = {name: importlib.util.find_spec(name) for name in wanted}
    absent = [name for name, spec in found.items() if spec is None]
    if absent:
        sys.exit(
            f"make: the model needs your own module {', '.join(absent)}, and it is not here: copy "
            f"{absent[0]}.py into this folder, or name its folder: PYTHONPATH=/its/folder make images"
        )
    for name, spec in found.items():
        folder = model / "modules"
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
    {"modules": copy_modules, "libraries": print_libraries}[sys.argv[1]](Path(sys.argv[2]))
