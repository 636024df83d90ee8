"""Training: a CSV becomes a served model, proven and bundled. Nothing in ``handler`` imports this."""
