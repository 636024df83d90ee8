"""Commands as a person runs them: on a terminal of their own, and with Ctrl-C at a chosen moment."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Sequence
from pathlib import Path

#: The size of the terminal.
LINES, COLUMNS = 24, 100

ROOT = Path(__file__).resolve().parents[2]
#: The whole message of a process that Ctrl-C has ended.
INTERRUPTED = "interrupted\n"


def on_terminal(words: Sequence[str], cwd: Path, **env: str) -> tuple[int, str]:
    """Run ``python`` with these words on a pseudo-terminal; returns its exit code and all that is drawn."""
    return drawn_by([sys.executable, *words], cwd, **env)


def drawn_by(command: Sequence[str], cwd: Path, moment: str = "", **env: str) -> tuple[int, str]:
    """The same for any command; Ctrl-C is typed once ``moment`` is drawn, if one is given."""
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (LINES, COLUMNS))
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", **env}
    process = subprocess.Popen(
        command, cwd=cwd, env=environ, stdin=follower, stdout=follower, stderr=follower,
        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(follower)
    drawn = b""
    with contextlib.suppress(OSError):  # Linux's way to say that nobody writes there any more
        while piece := os.read(leader, 65536):
            drawn += piece
            if moment and moment.encode() in drawn:
                os.write(leader, b"\x03")
                moment = ""
    os.close(leader)
    return process.wait(timeout=60), drawn.decode().replace("\r\n", "\n")


def interrupted_at(
    moment: str, words: Sequence[str], cwd: Path, stream: str = "stdout", **env: str
) -> tuple[int, str]:
    """Run ``python`` with these words, and press Ctrl-C once it has printed ``moment`` on the stream.

    Returns the exit code and what is printed on standard error, from the moment on if it is there.
    """
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        watched, seen = getattr(process, stream), b""
        while moment.encode() not in seen:
            piece = os.read(watched.fileno(), 65536)
            assert piece, (seen, process.communicate())
            seen += piece
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process of the command gets it
        _, error = process.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, error.decode()
