"""A progress bar for a person at a terminal: rows, MB/s, rejects, time left."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def bar(size: int) -> Iterator[Callable[[int, int, int], None]]:
    """A bar over ``size`` bytes on standard error; none where that is not a terminal, or of 0 bytes."""
    if not size or not sys.stderr.isatty():
        yield lambda *_: None
        return
    try:
        from tqdm import tqdm
    except ImportError:  # not in the images, which nobody watches
        yield lambda *_: None
        return
    with tqdm(total=size, unit="B", unit_scale=True, leave=False) as shown:

        def update(done: int, rows: int, rejected: int) -> None:
            shown.set_postfix_str(f"{rows:,} rows, {rejected:,} rejected", refresh=False)
            shown.update(min(done, size) - shown.n)

        yield update
