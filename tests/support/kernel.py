"""Graphs with trees, and the sums of these: compiled and in numpy, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest

from handler.kernel.compiled import library
from handler.manifest import Contract, Feature

ROOT = Path(__file__).resolve().parents[2]
SUMS = """
import sys
import numpy as np
from handler.kernel import compiled
from handler.scoring import trees
((sums,), _) = trees.follows(open(sys.argv[1]).read())
print(compiled.library() is not None)
np.save(sys.argv[3], sums.of(np.load(sys.argv[2])))
"""

needs_compiler = pytest.mark.skipif(
    library() is None and not os.environ.get("CI"), reason="the kernel is not compiled: there is no cc"
)


def contract(frame: pd.DataFrame, target: np.ndarray, task: str) -> Contract:
    """Of numbers, which may be missing."""
    features = tuple(Feature(name, "number", nullable=True) for name in frame)
    classes = () if task == "regression" else tuple(np.unique(target).tolist())
    return Contract(task=task, features=features, classes=classes)  # type: ignore[arg-type]


def metadata(graph: bytes) -> dict[str, str]:
    """What a graph states."""
    return {each.key: each.value for each in onnx.load_from_string(graph).metadata_props}


def summed_both_ways(stated: str, rows: np.ndarray, folder: Path) -> list[bytes]:
    """The sums that a graph's metadata states, of these rows: compiled, and in numpy."""
    (folder / "stated").write_text(stated)
    np.save(folder / "rows.npy", rows)
    plain = folder / "plain"
    shutil.copytree(
        ROOT / "handler", plain / "handler", ignore=shutil.ignore_patterns("libkernel.so", "model")
    )
    given = []
    for code in (ROOT, plain):
        words = [str(folder / each) for each in ("stated", "rows.npy", "sums.npy")]
        env = {**os.environ, "PYTHONPATH": str(code)}
        done = subprocess.run(
            [sys.executable, "-c", SUMS, *words], env=env, cwd=code, capture_output=True, text=True
        )
        assert done.stdout == f"{code == ROOT}\n", done.stderr
        given.append(np.load(folder / "sums.npy").tobytes())
    return given
