"""``trees.c``, as it is compiled beside it: ``containers/compile.sh`` does that, for images and checkouts.

Where it is not, or cannot be loaded, numpy does the same, with the same bits.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

#: The version of ``trees.c`` that is called; the rows that walk side by side there, those for which words
#: are joined, and the bytes of these that are joined at once.
VERSION, LANES, ROWS, BLOCK = 2, 16, 256, 64


@functools.cache
def library() -> Any:
    """The library of ``trees.c``; None where there is none for this machine, or one of another version."""
    import ctypes

    try:
        loaded = ctypes.CDLL(str(Path(__file__).with_name("libtrees.so")))
    except OSError:
        return None
    if loaded.version() != VERSION:
        return None
    array, number = ctypes.c_void_p, ctypes.c_int64
    arguments = {
        "keys": (array, number, array),
        "walk": (array, array, number, array, array, array, number, number, array, number),
        "look_up": (array, number, array, array, number, array, number, number, array),
        "join": (array, *[number] * 3, array, number, number, array, array, number, *[array] * 4, number),
    }
    for name, kinds in arguments.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = kinds, None
    return loaded
