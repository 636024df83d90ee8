"""Serving: one handler for requests, events and files. Never imports scikit-learn or pandas by itself."""

from __future__ import annotations

__version__ = "0.1.0"

#: In Lambda's image and the zip of the request function, what was verified of the bundle's files when they
#: were packed, by name: a fast hash of the file, and its sha256, or of the manifest its members. None
#: elsewhere. ``containers/start.py`` sets it.
PACKED: dict[str, tuple[bytes, object]] | None = None
