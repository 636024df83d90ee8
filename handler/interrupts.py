"""Ctrl-C ends a process with one word and code 130, wherever the process is.

It is imported first, so it imports next to nothing.
"""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

#: Seconds that a library has, after Ctrl-C, to return to Python.
GRACE = 2.0
_said = False


def catch() -> None:
    """From now on, Ctrl-C ends the process where nobody catches it: in imports."""
    otherwise = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if issubclass(kind, KeyboardInterrupt):
            say()
            leave(130)
        otherwise(kind, error, trace)

    sys.excepthook = hook


def insist() -> None:
    """From now on, Ctrl-C also ends a process that is in a library's C code, or whose threads go on.

    A thread sees to that, after ``GRACE`` seconds in which Python may clean up.
    """
    import signal
    import threading
    import time

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def watch() -> None:
        while signal.SIGINT not in os.read(reading, 1):
            pass
        time.sleep(GRACE)
        say()
        leave(130)

    threading.Thread(target=watch, daemon=True).start()
    otherwise = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not isinstance(unraisable.exc_value, KeyboardInterrupt):  # it is lost in a callback
            otherwise(unraisable)

    sys.unraisablehook = hook


def say(what: str = "") -> None:
    """Print ``interrupted``, once, with what it means."""
    global _said
    if not _said:
        _said = True
        sys.stderr.write(f"interrupted{what}\n")  # in one piece, as others may write there too
        sys.stderr.flush()


def leave(code: int) -> NoReturn:
    """End the process, after Ctrl-C without waiting for threads, and with this code in any case.

    Python ends by the signal itself where a library's C code has seen the KeyboardInterrupt. The threads of
    the storage's client may abort a process that ends by the interpreter's way.
    """
    if code == 130 or "obstore" in sys.modules:
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
