"""Serving: one handler for requests, events and files. Never imports scikit-learn or pandas by itself."""

from __future__ import annotations

__version__ = "0.1.0"

#: In the zip of the request function, the bundle's files that were verified when it was packed, by name: a
#: fast hash, and the sha256. None elsewhere. ``containers/start.py`` sets it.
PACKED: dict[str, tuple[bytes, str]] | None = None
