"""Environments with an older scikit-learn: real ones, made once from locks and kept under build/.

A lock has scikit-learn and what its version is bound to; all else is lent by the environment of the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.support.once import locked

ROOT = Path(__file__).resolve().parents[2]
#: The newest Python that each has wheels for.
NEWEST = {"1.3": (3, 12), "1.5": (3, 13), "1.7": (3, 14)}
#: A copy of the lock that an environment was made from.
STAMP = "installed.txt"
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")


def environment(version: str) -> Path:
    """The interpreter of the environment with that scikit-learn; skips where it cannot be made.

    Where CI is true, only a Python that is too new for it is a reason to skip.
    """
    if sys.version_info[:2] > NEWEST[version]:
        pytest.skip(f"scikit-learn {version} has no wheels for this Python")
    lock = ROOT / "requirements" / f"sklearn-{version}.txt"
    home = ROOT / "build" / f"sklearn-{version}"
    home.parent.mkdir(exist_ok=True)
    with locked(home.parent / f"{home.name}.lock"):
        if not (home / STAMP).exists() or (home / STAMP).read_bytes() != lock.read_bytes():
            _make(home, lock)
    return home / "bin" / "python"


def _make(home: Path, lock: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / "bin" / "python"
    if uv := os.environ.get("UV"):  # .ci/run sets it, as for requirements/install.sh
        install = [uv, "pip", "install", "--quiet", "--python", python]
    else:
        options = ("--quiet", "--no-input", "--no-compile", "--retries=1")
        install = [*PIP, "--python", python, "install", *options]
    done = subprocess.run(
        [*install, "--require-hashes", "--only-binary=:all:", "--requirement", lock],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        shutil.rmtree(home, ignore_errors=True)
        reason = f"requirements/{lock.name} cannot be installed: {done.stderr.strip().splitlines()[-1:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    (site,) = (home / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"))
    (home / STAMP).write_bytes(lock.read_bytes())


def run(python: Path, *words: str | Path, folder: Path) -> str:
    """What a command prints that is run in an environment, with this checkout to import from."""
    done = subprocess.run(
        [python, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
