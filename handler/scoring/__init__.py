"""Columns become scores, and scores become outputs."""
