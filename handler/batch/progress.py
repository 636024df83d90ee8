"""A progress bar for a person at a terminal: rows, MB/s, rejects, time left."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any

#: How the bar is drawn: short, as the files, rows and rejects are to fit beside it.
FORMAT = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


class Bar:
    """A bar over bytes on standard error, none where ``shown`` is None; safe to share between threads."""

    def __init__(self, shown: Any = None) -> None:
        self._shown = shown
        self._lock = threading.Lock()

    def __call__(self, done: int, rows: int, rejected: int, more: str = "") -> None:
        """Show so many bytes, rows and rejects in all, and ``more`` before them."""
        if self._shown is None:
            return
        with self._lock:
            text = f"{rows:,} rows, {rejected:,} rejected"
            self._shown.set_postfix_str(f"{more}{text}", refresh=False)
            self._shown.update(min(done, self._shown.total) - self._shown.n)

    def grow(self, size: int) -> None:
        """From now on, the bar is over so many bytes."""
        if self._shown is not None:
            self._shown.total = size

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """The bar makes way for lines that are printed in the block."""
        if self._shown is None:
            yield
            return
        with self._lock, self._shown.external_write_mode():
            yield


@contextlib.contextmanager
def bar(size: int) -> Iterator[Bar]:
    """A bar over ``size`` bytes; none where standard error is not a terminal, or of 0 bytes."""
    if not size or not sys.stderr.isatty():
        yield Bar()
        return
    try:
        from tqdm import tqdm
    except ImportError:  # not in the images, which nobody watches
        yield Bar()
        return
    with tqdm(total=size, unit="B", unit_scale=True, leave=False, bar_format=FORMAT) as shown:
        yield Bar(shown)


class Passed:
    """How many bytes of the input have come."""

    def __init__(self) -> None:
        self.bytes = 0

    def counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """The chunks, each counted as it comes."""
        for chunk in chunks:
            self.bytes += len(chunk)
            yield chunk
