"""Serving: one handler for requests, events and files. Never imports scikit-learn or pandas by itself."""

__version__ = "0.1.0"
