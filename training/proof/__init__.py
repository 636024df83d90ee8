"""Whether what serves equals what was fitted, on rows made to tell them apart."""
