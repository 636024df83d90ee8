"""Imputers of numbers and indicators of gaps, in doubles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from skl2onnx.common._registration import get_shape_calculator
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes the next import possible
from sklearn.impute import IterativeImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model._base import LinearModel

from training.export.nodes import REAL, Converter, Nodes, Shape, columns_out, from_rows, rows_of


def _missing(nodes: Nodes, imputer: Any, given: str) -> str:
    """Where values are missing, as the imputer means it."""
    mark = imputer.missing_values
    if mark is None or mark != mark:
        return nodes.add("IsNaN", given)
    return nodes.add("Equal", given, nodes.number(float(mark)))


def _marked(nodes: Nodes, imputer: Any, missing: str, filled: str) -> str:
    """The columns, with those of the imputer's indicator, if it has one."""
    if not imputer.add_indicator or not len(imputer.indicator_.features_):
        return filled
    marks = nodes.add("Cast", nodes.columns(missing, imputer.indicator_.features_), to=REAL)
    return nodes.add("Concat", filled, marks, axis=1)


def _width_of_marks(imputer: Any) -> int:
    return len(imputer.indicator_.features_) if imputer.add_indicator else 0


def _kept(imputer: Any) -> np.ndarray:
    """The columns that were not empty in fitting."""
    if imputer.keep_empty_features:
        return np.arange(len(imputer.statistics_))
    return np.flatnonzero(~np.isnan(imputer.statistics_.astype(np.float64)))


def _filled(nodes: Nodes, imputer: Any, missing: str, given: str) -> str:
    kept = _kept(imputer)
    if len(kept) < len(imputer.statistics_):
        given, missing = nodes.columns(given, kept), nodes.columns(missing, kept)
    return nodes.add("Where", missing, nodes.row(imputer.statistics_[kept]), given)


def _simple(scope: Any, operator: Any, container: Any) -> bool:
    """``SimpleImputer`` of doubles, for which onnxruntime has no operator."""
    if not isinstance(operator.inputs[0].type, DoubleTensorType):
        return False

    def make(nodes: Nodes, imputer: Any, given: str) -> str:
        missing = _missing(nodes, imputer, given)
        return _marked(nodes, imputer, missing, _filled(nodes, imputer, missing, given))

    from_rows(make)(scope, operator, container)
    return True


_stock_shape = get_shape_calculator("SklearnSimpleImputer")


def _shape_of_simple(operator: Any) -> None:
    """The stock calculator knows neither indicators nor columns that fall away."""
    if not isinstance(operator.inputs[0].type, DoubleTensorType):
        _stock_shape(operator)
        return
    imputer = operator.raw_operator
    width = len(_kept(imputer)) + _width_of_marks(imputer)
    operator.outputs[0].type = DoubleTensorType([rows_of(operator), width])


def _indicator(nodes: Nodes, indicator: Any, given: str) -> str:
    missing, features = _missing(nodes, indicator, given), indicator.features_
    marks = nodes.add("Cast", nodes.columns(missing, features), to=REAL)
    others = np.setdiff1d(np.arange(indicator.n_features_in_), features)
    if indicator.features == "missing-only" and indicator.error_on_new and len(others):
        marks = nodes.refusing(nodes.columns(missing, others), marks)
    return marks


def _iterative(nodes: Nodes, imputer: Any, given: str) -> str:
    """Each imputation predicts one column from others, over and over, as often as in fitting.

    https://scikit-learn.org/stable/modules/impute.html#multivariate-feature-imputation
    """
    if imputer.sample_posterior:
        raise NotImplementedError("IterativeImputer that draws at random")
    missing, first = _missing(nodes, imputer, given), imputer.initial_imputer_
    filled = _filled(nodes, first, missing, given)
    kept, empty = _kept(first), imputer._is_empty_feature
    gaps = nodes.columns(missing, kept) if len(kept) < len(empty) else missing
    if imputer.keep_empty_features and empty.any():
        gaps = nodes.add("And", gaps, _flags(nodes, ~empty))
    width = len(kept)
    limits = [np.broadcast_to(each, width) for each in (imputer._min_value, imputer._max_value)]
    for column, others, estimator in imputer.imputation_sequence_:
        if not isinstance(estimator, LinearModel):
            raise NotImplementedError(f"IterativeImputer with {type(estimator).__name__}")
        weights = np.zeros((width, 1))
        weights[others, 0] = np.ravel(estimator.coef_)
        value = nodes.add("MatMul", filled, nodes.matrix(weights))
        value = nodes.add("Add", value, nodes.number(float(np.ravel(estimator.intercept_)[0])))
        low, high = (nodes.number(float(each[column])) for each in limits)
        value = nodes.clipped(value, low, high)
        own = nodes.add("And", gaps, _flags(nodes, np.arange(width) == column))
        filled = nodes.add("Where", own, value, filled)
    return _marked(nodes, imputer, missing, filled)


def _flags(nodes: Nodes, flags: np.ndarray) -> str:
    return nodes.add("Greater", nodes.row(flags.astype(float)), nodes.number(0.0))


def _width_of_iterative(imputer: Any) -> int:
    return len(_kept(imputer.initial_imputer_)) + _width_of_marks(imputer)


REPLACED: Mapping[str, Converter] = {}
SOME = {SimpleImputer.__name__: _simple}
SHAPES: Mapping[str, Shape] = {SimpleImputer.__name__: _shape_of_simple}
ADDED: Mapping[type, tuple[Shape, Converter]] = {
    MissingIndicator: (columns_out(lambda model: len(model.features_)), from_rows(_indicator)),
    IterativeImputer: (columns_out(_width_of_iterative), from_rows(_iterative)),
}
