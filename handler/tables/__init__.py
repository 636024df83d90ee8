"""Bytes become rows, and rows bytes."""
