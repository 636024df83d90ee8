"""The contenders' own environments, made from their hashed locks, and what is installed there."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CONTENDERS = Path(__file__).parent / "contenders"


@functools.cache
def environment(name: str, *options: str) -> Path | None:
    """The folder of a contender's programs; None, with the reason printed, where it cannot be made.

    ``options`` are words for ``pip install``.
    """
    lock = CONTENDERS / name / "requirements.txt"
    home = ROOT / "build" / "benchmarks" / name
    programs, stamp = home / "bin", home / "installed.txt"
    if stamp.exists() and stamp.read_bytes() == lock.read_bytes():
        return programs
    print(f"making the environment of {name} ...", flush=True)
    pip = (
        str(programs / "python"),
        "-m",
        "pip",
        "install",
        "-qq",
        "--disable-pip-version-check",
        "--no-input",
    )
    commands = (
        (sys.executable, "-m", "venv", "--clear", str(home)),
        (*pip, "--require-hashes", "--only-binary=:all:", *options, "-r", str(lock)),
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"  left out: {(done.stderr.strip().splitlines() or ['?'])[-1][:200]}")
            return None
    stamp.write_bytes(lock.read_bytes())
    return programs


def versions(name: str, *packages: str) -> str:
    """``package version`` of each, as a contender's lock or, with no name, as this environment has it."""
    if not name:
        return ", ".join(f"{each} {metadata.version(each)}" for each in packages)
    lock = (CONTENDERS / name / "requirements.txt").read_text()
    pinned = dict(re.findall(r"^([\w.-]+)(?:\[.*\])?==([^\s;]+)", lock, re.MULTILINE))
    return ", ".join(f"{each} {pinned[each]}" for each in packages)
