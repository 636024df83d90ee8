"""Where fitted trees branch, told in the values of the features: there two scorers part first."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.pipeline import Pipeline
from sklearn.tree import BaseDecisionTree

from handler.bundle import Feature
from handler.schema import LARGEST_NUMBER, Columns


def branch_values(
    steps: Sequence[Any], features: Sequence[Feature], typical: Columns
) -> Mapping[str, np.ndarray]:
    """Each number's values at which a tree of the last step branches, and the nearest on both sides.

    ``steps``: fitted; those before the last are taken to map a number to columns linearly, as imputers
    and scalers do, which two rows tell. ``typical``: one row. Empty where no tree is found.
    """
    pairs = list(_branches(steps[-1], []))
    if not pairs:
        return {}
    columns, thresholds = (np.array(each) for each in zip(*pairs, strict=True))
    found = {}
    for feature in features:
        if feature.kind == "category":
            continue
        low, high = (np.float64(value or 0.0) for value in (feature.minimum, feature.maximum))
        high = high if high > low else low + 1.0
        try:
            at_low, at_high = (_matrix(steps, typical, feature.name, value) for value in (low, high))
        except Exception:  # noqa: BLE001 - a step that is not linear has no such values
            return {}
        slope = (at_high - at_low) / (high - low)
        reached = np.flatnonzero(np.isfinite(slope) & (slope != 0))
        values = [
            low + (thresholds[columns == column] - at_low[column]) / slope[column] for column in reached
        ]
        if values and (exact := np.unique(np.concatenate(values))).size:
            found[feature.name] = _and_neighbours(exact)
    return found


def _matrix(steps: Sequence[Any], typical: Columns, name: str, value: float) -> np.ndarray:
    import pandas as pd

    row: Any = pd.DataFrame({**typical, name: np.array([value])})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in steps[:-1]:
            row = step.transform(row)
    row = row.toarray() if hasattr(row, "toarray") else np.asarray(row)
    matrix: np.ndarray = row.astype(np.float64)[0]
    return matrix


def _and_neighbours(values: np.ndarray) -> np.ndarray:
    """The finite values, and those next to them as doubles and as float32."""
    values = values[np.abs(values) <= LARGEST_NUMBER]
    single = values.astype(np.float32)
    around = [values, single.astype(np.float64)]
    for end in (-np.inf, np.inf):
        around.append(np.nextafter(values, end))
        around.append(np.nextafter(single, np.float32(end)).astype(np.float64))
    every = np.unique(np.concatenate(around))
    sound: np.ndarray = every[np.abs(every) <= LARGEST_NUMBER]
    return sound


def _branches(part: Any, seen: list[int]) -> Iterator[tuple[int, float]]:
    """The columns and thresholds of every branch of every tree that an estimator holds."""
    if id(part) in seen or isinstance(part, str | bytes | type):
        return
    seen.append(id(part))
    if isinstance(part, BaseDecisionTree):
        if hasattr(part, "tree_"):
            tree, inner = part.tree_, part.tree_.children_left >= 0
            yield from zip(tree.feature[inner].tolist(), tree.threshold[inner].tolist(), strict=True)
    elif isinstance(part, TreePredictor):
        inner = part.nodes[part.nodes["is_leaf"] == 0]
        yield from zip(inner["feature_idx"].tolist(), inner["num_threshold"].tolist(), strict=True)
    elif isinstance(part, BaseEstimator) and not isinstance(part, Pipeline):
        for value in vars(part).values():
            if isinstance(value, BaseEstimator | list | tuple | np.ndarray):
                yield from _branches(value, seen)
    elif isinstance(part, list | tuple) or (isinstance(part, np.ndarray) and part.dtype == object):
        for each in part:
            yield from _branches(each, seen)
    elif hasattr(part, "estimator") and isinstance(part.estimator, BaseEstimator):
        yield from _branches(part.estimator, seen)
