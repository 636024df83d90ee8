"""Whole processes, measured from outside: wall-clock seconds, peak memory, what they print."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import ROOT

#: Starts a command and notes its seconds, peak kilobytes and exit code. A process's peak includes what the
#: process that started it held at that moment, so this one holds next to nothing.
MEASURE = """
import os, sys, time
start = time.perf_counter()
child = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(child, 0)
seconds = time.perf_counter() - start
with open(sys.argv[1], "w") as file:
    processor = usage.ru_utime + usage.ru_stime
    print(seconds, usage.ru_maxrss, os.waitstatus_to_exitcode(status), processor, file=file)
"""


@dataclass(frozen=True, slots=True)
class Contender:
    """One command line and what the table calls it; the first of a table is its reference."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Run:
    """One finished process: seconds, peak megabytes, what it printed, and its processor seconds."""

    seconds: float
    megabytes: float
    output: str
    processor: float


def run(contender: Contender) -> Run:
    """Run a contender once; raises ``RuntimeError`` with its words if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder) / "measured"
        done = subprocess.run(
            [sys.executable, "-S", "-c", MEASURE, str(measured), *contender.command],
            cwd=ROOT,
            # Installed code is compiled, as in the images: only the first run compiles this checkout's.
            env={**os.environ, "LOG_LEVEL": "ERROR", "PYTHONDONTWRITEBYTECODE": "", **contender.env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        seconds, kilobytes, exit_code, processor = (float(word) for word in measured.read_text().split())
    if exit_code:
        raise RuntimeError(f"{contender.name}: {done.stderr[-2000:]}")
    return Run(seconds, kilobytes / 1024, done.stdout, processor)
