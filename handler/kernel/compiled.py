"""``kernel.c``, as it is compiled beside it: ``containers/compile.sh`` does that, for images and checkouts.

Where it is not, or cannot be loaded, polars and numpy do the same: they read the same values, and sum to
the same bits.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

#: The version of ``kernel.c`` that is called.
VERSION = 6
#: Of ``trees.c``: the rows that walk side by side there, those for which words are joined, and the bytes of
#: these that are joined at once.
LANES, ROWS, BLOCK = 16, 256, 64
#: Of ``rows.c``: the kinds of columns that are read, and of those that are written.
SKIPPED, NUMBER, INTEGER, CODED = range(4)
DOUBLE, INTEGRAL, TEXT = range(3)
#: Of ``numbers.c``: the exponents of its first and last power of ten.
LEAST, MOST = -292, 324


@functools.cache
def library() -> Any:
    """The compiled kernel; None where there is none for this machine, or one of another version."""
    import ctypes

    try:
        loaded = ctypes.CDLL(str(Path(__file__).with_name("libkernel.so")))
    except OSError:
        return None
    if loaded.version() != VERSION:
        return None
    array, number = ctypes.c_void_p, ctypes.c_int64
    text, byte = ctypes.c_char_p, ctypes.c_uint8
    arguments = {
        "enter": (array, text, array, array, number, array),
        "read_rows": (text, number, array, number, array, text, *[array] * 2, number, *[array] * 8),
        "keys": (array, number, array),
        "walk": (array, array, number, array, array, array, number, number, array, number),
        "look_up": (array, number, array, array, number, array, number, number, array),
        "join": (array, *[number] * 3, array, number, number, array, array, number, *[array] * 4, number),
    }
    for name, kinds in arguments.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = kinds, None
    counting = {
        "last_end": (text, number, number, byte),
        "unquote": (text, number, byte, number, array),
        "write_rows": (text, array, array, number, array, number, array, text, number, array),
    }
    for name, kinds in counting.items():
        function = getattr(loaded, name)
        function.argtypes, function.restype = kinds, number
    return loaded


@functools.cache
def powers() -> Any:
    """Powers of ten as ``numbers.c`` takes them, a uint64 array of shape (powers, 3).

    Of each, the first 128 bits, and the power of two that they are times, as an int64.
    """
    import numpy as np

    given, word = [], (1 << 64) - 1
    for exponent in range(LEAST, MOST + 1):
        # 10 ** exponent is 5 ** exponent, with as much more in the exponent of 2.
        scale = (5**-exponent).bit_length() + 127 if exponent < 0 else 0
        bits = (1 << scale) // 5**-exponent if exponent < 0 else 5**exponent
        more = bits.bit_length() - 128
        bits = bits >> more if more > 0 else bits << -more
        given.append((bits >> 64, bits & word, (exponent - scale + more) & word))
    return np.array(given, np.uint64)
