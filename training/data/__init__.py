"""A file becomes a dataset: cells become features and a target."""
