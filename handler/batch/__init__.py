"""An object becomes three: predictions, rejects and a summary. It knows nothing of envelopes."""
