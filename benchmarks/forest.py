"""The forest that is measured: 100 trees of depth 8."""

from __future__ import annotations

from typing import Any

from sklearn.ensemble import RandomForestClassifier


def forest() -> Any:
    """An unfitted classifier."""
    return RandomForestClassifier(100, max_depth=8, class_weight="balanced", random_state=0)
