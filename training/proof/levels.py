"""The numbers that fitted steps compare their columns with, and what makes the columns of each step.

They are what fitting left on a step, here its levels: split values of trees, edges of bins, knots,
categories, centres.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.ensemble._hist_gradient_boosting.predictor import TreePredictor
from sklearn.impute import SimpleImputer
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model._base import LinearClassifierMixin, LinearModel
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import BaseDecisionTree

from training.export import boosters

#: The levels of every column: where a logarithm, a root or a ramp begins.
COMMON = (0.0, 1.0, -1.0)
#: Steps of scikit-learn that compare their columns with no number.
STRAIGHT = (LinearClassifierMixin, LinearModel, SimpleImputer, StandardScaler)
#: Stands for a column's index where a level is for every column.
EVERY = -1
#: From rows as the estimator is fed them to what a step is given.
Inputs = Callable[[Any], Any]


class Levels(NamedTuple):
    """Numbers that a step compares with, each with the index of its column, or ``EVERY``."""

    columns: np.ndarray
    values: np.ndarray


def levels_by_input(estimator: Any) -> list[tuple[Inputs, Levels]]:
    """The levels of all fitted parts that have the same input, with the function that makes the input."""
    groups: dict[int, tuple[Inputs, list[Levels]]] = {}
    for part, inputs, columns in _parts(estimator, lambda rows: rows, None, {}):
        for levels in _levels(part):
            if columns is not None:
                levels = levels._replace(
                    columns=np.where(levels.columns == EVERY, EVERY, columns[levels.columns])
                )
            groups.setdefault(id(inputs), (inputs, []))[1].append(levels)
    return [
        (inputs, Levels(*(np.concatenate(each) for each in zip(*levels, strict=True))))
        for inputs, levels in groups.values()
        if levels
    ]


#: A fitted part, the function that makes its input, and the columns that it sees of that, or None for all.
Seeing = tuple[Any, Inputs, np.ndarray | None]


def _parts(part: Any, inputs: Inputs, columns: np.ndarray | None, seen: dict[int, Any]) -> Iterator[Seeing]:
    """Each fitted part, with what it sees."""
    if isinstance(part, Pipeline | ColumnTransformer | FeatureUnion) and columns is not None:
        inputs, columns = _columns_of(inputs, columns), None
    if isinstance(part, Pipeline):
        for _, step in part.steps:
            if _is_part(step):
                yield from _parts(step, inputs, None, seen)
                inputs = _after(step, inputs)
    elif isinstance(part, ColumnTransformer):
        for name, step, chosen in getattr(part, "transformers_", ()):
            if _is_part(step):
                indices: Any = part._transformer_to_input_indices[name]
                flat = _columns_of(inputs, indices[0] if np.isscalar(chosen) else indices)
                yield from _parts(step, flat, None, seen)
    elif isinstance(part, FeatureUnion):
        for _, step in part.transformer_list:
            if _is_part(step):
                yield from _parts(step, inputs, None, seen)
    elif _is_part(part) and id(part) not in seen:
        seen[id(part)] = part  # kept, or its id might be another's
        yield part, inputs, columns
        if not isinstance(part, BaseDecisionTree | TreePredictor) and not boosters.is_booster(part):
            for each, own_inputs, own in _members(part, inputs, columns):
                yield from _parts(each, own_inputs, own, seen)


def _members(part: Any, inputs: Inputs, columns: np.ndarray | None) -> Iterator[Seeing]:
    """What a part holds, with what that sees; first what sees only some of the part's columns."""
    for each, narrow in _narrow(part):
        yield each, inputs, narrow if columns is None else columns[narrow]
    given = inputs if columns is None else _columns_of(inputs, columns)
    for each in getattr(part, "calibrated_classifiers_", ()):
        scores = _scores_of(each.estimator, given)
        for index, calibrator in enumerate(each.calibrators):
            yield calibrator, scores, np.array([index])
    if getattr(part, "_preprocessor", None) is not None:  # of histogram gradient boosting
        inputs, columns = _after(part._preprocessor, given), None
    for name, value in vars(part).items():
        for each in _held(value):
            if name == "final_estimator_":
                yield each, _after(part, given), None
            else:
                yield each, inputs, columns


def _narrow(part: Any) -> Iterator[tuple[Any, np.ndarray]]:
    """The estimators in a part that see some of its columns, with those columns' indices."""
    if hasattr(part, "estimators_features_"):  # bagging
        yield from zip(part.estimators_, part.estimators_features_, strict=True)
    for each in getattr(part, "imputation_sequence_", ()):
        yield each.estimator, each.neighbor_feat_idx
    if hasattr(part, "support_") and hasattr(part, "estimator_"):  # elimination of features
        yield part.estimator_, np.flatnonzero(part.support_)


def _scores_of(member: Any, inputs: Inputs) -> Inputs:
    """From rows to the scores that a member's calibrators are given, a column for each calibrator."""

    def scores(rows: Any) -> Any:
        given = inputs(rows)
        by_decision = hasattr(member, "decision_function")
        made = member.decision_function(given) if by_decision else member.predict_proba(given)
        return made[:, 1:] if made.ndim == 2 and made.shape[1] == 2 else made.reshape(len(made), -1)

    return scores


def _is_part(value: object) -> bool:
    return isinstance(value, BaseEstimator | TreePredictor) or boosters.is_booster(value)


def _held(value: Any) -> Iterator[Any]:
    """The estimators in an attribute, also in lists, and in what calibration wraps around them."""
    if _is_part(value):
        yield value
    elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        for each in value:
            yield from _held(each)
    elif _is_part(getattr(value, "estimator", None)):
        yield value.estimator


def _after(step: Any, inputs: Inputs) -> Inputs:
    return lambda rows: step.transform(inputs(rows))


def _columns_of(inputs: Inputs, columns: Any) -> Inputs:
    """The columns by their indices; one index alone gives one dimension."""

    def chosen(rows: Any) -> Any:
        given = inputs(rows)
        return given.iloc[:, columns] if isinstance(given, pd.DataFrame) else given[:, columns]

    return chosen


def _levels(part: Any) -> Iterator[Levels]:
    """What a part compares its columns with; other numbers of the same shape are harmless."""
    if isinstance(part, BaseDecisionTree):
        if hasattr(part, "tree_"):
            inner = part.tree_.children_left >= 0
            yield Levels(part.tree_.feature[inner], part.tree_.threshold[inner])
        return
    if isinstance(part, TreePredictor):
        inner = part.nodes[(part.nodes["is_leaf"] == 0) & (part.nodes["is_categorical"] == 0)]
        yield Levels(inner["feature_idx"].astype(int), inner["num_threshold"])
        return
    if boosters.is_booster(part):
        yield Levels(*boosters.levels(part))
        return
    if isinstance(part, STRAIGHT) and type(part).__module__.startswith("sklearn."):
        return
    if isinstance(part, IsotonicRegression) and hasattr(part, "X_thresholds_"):
        knots = np.asarray(part.X_thresholds_, np.float64)
        yield Levels(np.zeros(len(knots), int), knots)
    own = part.get_params(deep=False)
    own |= own.get("kw_args") or {}  # such as the limits of a function that clips
    parameters = [each for each in own.values() if type(each) in (int, float)]
    common = np.array([*COMMON, *parameters], np.float64)
    yield Levels(np.full(len(common), EVERY), common)
    width = getattr(part, "n_features_in_", None)
    for name, value in vars(part).items():
        if name.endswith("_") and not name.startswith("_") and width:
            yield from _by_column(value, width)


def _by_column(value: Any, width: int) -> Iterator[Levels]:
    """The numbers that a fitted attribute has for each of ``width`` columns, if it has some for each."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
        if value.ndim == 1 and width == 1:
            value = value.reshape(-1, 1)
        if value.ndim in (1, 2) and value.shape[-1] == width:
            numbers = value.reshape(-1).astype(np.float64)
            yield Levels(np.resize(np.arange(width), len(numbers)), numbers)
    elif isinstance(value, list | tuple | np.ndarray) and len(value) == width:
        for column, each in enumerate(value):
            try:
                numbers = np.asarray(getattr(each, "t", each))  # a spline's knots
            except ValueError:  # things of several shapes, such as an imputer's own estimators
                continue
            if numbers.dtype.kind in "iuf":
                numbers = numbers.reshape(-1).astype(np.float64)
                yield Levels(np.full(len(numbers), column), numbers)
