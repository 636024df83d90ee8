"""Serving: one handler for requests, events and files. Never imports scikit-learn or pandas by itself."""
