"""How the missing texts of a CSV reach a pipeline: as NaN or None where one of its steps looks for that.

A notebook's missing texts are NaN, and an imputer's defaults look for NaN. A step that looks for nothing,
such as ``OneHotEncoder``, gets the empty text, and takes it as a category of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, OrdinalEncoder

from handler.manifest import Feature, RowsAs
from handler.scoring.estimator import fed
from training.compat import get_column_indices

#: Stands for a step that looks for a word of its own, such as the empty text.
WORD = "word"


def as_looked_for(estimator: Any, features: Sequence[Feature]) -> tuple[Feature, ...]:
    """The features, with ``fed_as`` where the unfitted estimator looks for NaN or None in missing texts."""
    texts = {each.name for each in features if each.is_text and each.nullable}
    if not texts:
        return tuple(features)
    one = {
        each.name: np.array([each.categories[0] if each.is_text else 0.0], _dtype(each))
        for each in features
    }
    wanted: dict[str, set[str]] = {}
    try:
        for name, what in _looked_for(estimator, fed(features, one)):
            wanted.setdefault(name, set()).add(what)
    except Exception:  # noqa: BLE001 - a user's selector may raise, and then fitting will say so
        return tuple(features)
    fed_as = {
        name: "nan" if "nan" in found else "none" for name, found in wanted.items() if WORD not in found
    }
    return tuple(
        each._replace(fed_as=fed_as[each.name]) if each.name in texts & fed_as.keys() else each
        for each in features
    )


def rows_as(estimator: Any) -> RowsAs:
    """What an estimator takes: ``texts`` where the first of its steps is a text vectorizer.

    https://scikit-learn.org/stable/modules/generated/sklearn.feature_extraction.text.CountVectorizer.html
    """
    part = estimator
    while not hasattr(part, "build_analyzer"):
        steps = [
            step
            for name in ("steps", "transformer_list", "estimators")
            for _, step in getattr(part, name, None) or ()
            if step not in (None, "passthrough", "drop")
        ]
        part = steps[0] if steps else getattr(part, "estimator", None)
        if part is None:
            return "frame"
    return "texts"


def described(features: Sequence[Feature]) -> str:
    """One line on how missing texts are fed, or nothing where there are none."""
    parts = []
    for fed_as, shown in (("nan", "NaN"), ("none", "None"), (None, "empty texts")):
        names = [
            f"'{each.name}'"
            for each in features
            if each.is_text and each.nullable and each.fed_as == fed_as
        ]
        if names:
            more = f" and {len(names) - 5} more" if len(names) > 5 else ""
            parts.append(f"as {shown} in {', '.join(names[:5])}{more}")
    return f"missing texts reach the pipeline {'; '.join(parts)}" if parts else ""


def _dtype(feature: Feature) -> Any:
    return object if feature.is_text else np.float64


def _looked_for(part: Any, rows: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Each column in which a step looks for something missing, with ``nan``, ``none`` or ``WORD``.

    ``rows`` are a sample of what the part is given, of the user's own columns only.
    """
    if isinstance(part, Pipeline):
        for _, step in part.steps:
            yield from _looked_for(step, rows)
            if not _changes_nothing(step):
                return
    elif isinstance(part, ColumnTransformer):
        left = list(range(rows.shape[1]))
        for _, step, columns in part.transformers:
            columns = columns(rows) if callable(columns) else columns
            indices = get_column_indices(rows, columns)
            left = [index for index in left if index not in indices]
            yield from _looked_for(step, rows.iloc[:, indices])
        yield from _looked_for(part.remainder, rows.iloc[:, left])
    elif isinstance(part, FeatureUnion):
        for _, step in part.transformer_list:
            yield from _looked_for(step, rows)
    elif isinstance(part, SimpleImputer | MissingIndicator):
        for name in rows:
            yield str(name), _named(part.missing_values)
    elif isinstance(part, OneHotEncoder | OrdinalEncoder):
        yield from _of_encoder(part, rows)
    elif isinstance(part, BaseEstimator):
        for value in part.get_params(deep=False).values():
            for each in value if isinstance(value, list) else [("", value)]:  # as in ``VotingClassifier``
                if isinstance(each, tuple) and len(each) == 2:
                    yield from _looked_for(each[1], rows)


def _changes_nothing(step: Any) -> bool:
    return step in (None, "passthrough") or (type(step) is FunctionTransformer and step.func is None)


def _named(missing: Any) -> str:
    if missing is None:
        return "none"
    return "nan" if pd.isna(missing) else WORD


def _of_encoder(encoder: Any, rows: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """An encoder looks for NaN by ``encoded_missing_value``, and for what its stated categories hold."""
    given = getattr(encoder, "encoded_missing_value", np.nan)
    for index, name in enumerate(rows):
        if given == given:
            yield str(name), "nan"
        elif not isinstance(encoder.categories, str):
            for each in encoder.categories[index]:
                if pd.isna(each):
                    yield str(name), _named(each)
