"""An object becomes three: predictions, rejects and a summary. Knows no envelope."""
