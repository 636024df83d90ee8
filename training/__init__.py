"""Training: a CSV becomes a served model, proven and bundled. Nothing in ``handler`` imports this."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read when onnxruntime is imported; see handler.model
