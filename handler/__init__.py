"""Serving: one handler for requests, events and files. Never imports scikit-learn or pandas by itself."""

from __future__ import annotations

__version__ = "0.1.0"

#: In the zip of the request function (``containers/start.py``), the bundle's files that were verified when it
#: was packed, by name: a hash that is fast, and their sha256. None elsewhere.
PACKED: dict[str, tuple[bytes, str]] | None = None
