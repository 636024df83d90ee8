"""The served application as a real process: what ``make serve`` starts, on a free port."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVE = (sys.executable, "-m", "handler", "serve")
#: Seconds until a joblib bundle on a busy machine is surely up.
PATIENCE = 60


@contextlib.contextmanager
def serve(
    model_dir: Path, command: Sequence[str | Path] = SERVE, cwd: Path = ROOT, **env: str
) -> Iterator[str]:
    """Serve the bundle in ``model_dir`` until the block is left; yields the base URL.

    ``env`` adds to the process's environment. Raises ``AssertionError`` with the server's own words
    where it does not come up, or does not stop when asked.
    """
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "MODEL_DIR": str(model_dir), "PORT": str(port), **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

        def said() -> str:
            output.seek(0)
            return output.read().decode(errors="replace")[-4000:]

        try:
            deadline = time.monotonic() + PATIENCE
            while not _answers(f"{base}/healthz"):
                assert process.poll() is None, f"the server ended with {process.returncode}:\n{said()}"
                assert time.monotonic() < deadline, f"no answer within {PATIENCE} s:\n{said()}"
                time.sleep(0.05)
            yield base
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                raise AssertionError(f"the server did not stop on SIGTERM:\n{said()}") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def free_port() -> int:
    """A port that nothing listens on just now, and that no outgoing connection is given."""
    for _ in range(100):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port from 20,000 to 32,000 is free")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
