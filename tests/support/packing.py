"""Files packed as users pack them."""

from __future__ import annotations


def zstd(data: bytes) -> bytes:
    try:
        from compression import zstd as library
    except ImportError:
        from backports import zstd as library
    packed: bytes = library.compress(data)
    return packed
