"""Names of scikit-learn that its older versions lack: packaging works on 1.3 and newer.

A class that is not there has a stand-in, which nothing is an instance of.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

__all__ = [
    "FixedThresholdClassifier",
    "FrozenEstimator",
    "TunedThresholdClassifierCV",
    "get_column_indices",
    "get_tags",
]

try:
    from sklearn.frozen import FrozenEstimator  # since 1.6
    from sklearn.utils import get_tags
except ImportError:

    class FrozenEstimator:  # type: ignore[no-redef]
        """Stands in."""

    def get_tags(estimator: Any) -> Any:
        """Those of the tags that are asked for here, under their new names."""
        tags = estimator._get_tags()
        return SimpleNamespace(
            estimator_type=getattr(estimator, "_estimator_type", None),
            requires_fit=tags["requires_fit"],
            input_tags=SimpleNamespace(allow_nan=tags["allow_nan"]),
        )


try:
    from sklearn.utils._indexing import _get_column_indices as get_column_indices  # since 1.5
except ImportError:
    from sklearn.utils import _get_column_indices as get_column_indices

try:
    from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV  # since 1.5
except ImportError:

    class FixedThresholdClassifier:  # type: ignore[no-redef]
        """Stands in."""

    class TunedThresholdClassifierCV:  # type: ignore[no-redef]
        """Stands in."""
