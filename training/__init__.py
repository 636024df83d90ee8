"""Training: a CSV becomes a served model, proven and bundled. Nothing in ``handler`` imports this."""

import os

# Read when onnxruntime is imported; see handler.scoring.scorers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
