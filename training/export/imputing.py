"""Imputers of numbers and of texts, and indicators of gaps. In a graph a missing text is empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes the next import possible
from sklearn.impute import IterativeImputer, MissingIndicator, SimpleImputer
from sklearn.linear_model._base import LinearModel

from training.export.nodes import REAL, TEXT, Converter, Nodes, Shape, columns_out, from_rows, rows_of

#: Texts that stand for the marks of ``add_indicator`` beside texts, as ``str`` spells them.
MARKS = (b"True", b"False")


def _given(nodes: Nodes, operator: Any) -> tuple[str, bool]:
    """The operator's inputs in one tensor, shape (n, columns), and whether they are texts."""
    texts = {isinstance(each.type, StringTensorType) for each in operator.inputs}
    if len(texts) > 1:
        raise NotImplementedError(f"{type(operator.raw_operator).__name__} of texts and numbers together")
    if texts == {False}:
        return nodes.double(operator), False
    names = operator.input_full_names
    return names[0] if len(names) == 1 else nodes.add("Concat", *names, axis=1), True


def _missing(nodes: Nodes, imputer: Any, given: str, *, texts: bool = False) -> str:
    """Where values are missing, as the imputer means it."""
    mark = imputer.missing_values
    if texts:
        word = "" if pd.isna(mark) else mark
        if not isinstance(word, str):
            raise NotImplementedError("a number as the missing value of texts")
        return nodes.add("Equal", given, nodes.constant("missing", TEXT, [1], [word.encode()]))
    if pd.isna(mark):
        return nodes.add("IsNaN", given)
    return nodes.add("Equal", given, nodes.number(float(mark)))


def _marked(nodes: Nodes, imputer: Any, missing: str, filled: str, *, texts: bool = False) -> str:
    """The columns, with those of the imputer's indicator, if it has one."""
    if not imputer.add_indicator or not len(imputer.indicator_.features_):
        return filled
    marked = nodes.columns(missing, imputer.indicator_.features_)
    if texts:
        marks = nodes.add("Where", marked, *(nodes.constant("mark", TEXT, [1], [each]) for each in MARKS))
    else:
        marks = nodes.add("Cast", marked, to=REAL)
    return nodes.add("Concat", filled, marks, axis=1)


def _width_of_marks(imputer: Any) -> int:
    return len(imputer.indicator_.features_) if imputer.add_indicator else 0


def _kept(imputer: Any) -> np.ndarray:
    """The columns that were not empty in fitting."""
    if imputer.keep_empty_features:
        return np.arange(len(imputer.statistics_))
    return np.flatnonzero(~pd.isna(imputer.statistics_))


def _filled(nodes: Nodes, imputer: Any, missing: str, given: str, *, texts: bool = False) -> str:
    kept = _kept(imputer)
    if len(kept) < len(imputer.statistics_):
        given, missing = nodes.columns(given, kept), nodes.columns(missing, kept)
    values = imputer.statistics_[kept]
    if not texts:
        return nodes.add("Where", missing, nodes.row(values), given)
    words = nodes.constant("words", TEXT, [1, len(kept)], [str(each).encode() for each in values])
    return nodes.add("Where", missing, words, given)


def _simple(scope: Any, operator: Any, container: Any) -> None:
    """``SimpleImputer`` of doubles, for which onnxruntime has no operator, or of texts."""
    imputer, nodes = operator.raw_operator, Nodes(scope, container)
    given, texts = _given(nodes, operator)
    missing = _missing(nodes, imputer, given, texts=texts)
    filled = _filled(nodes, imputer, missing, given, texts=texts)
    marked = _marked(nodes, imputer, missing, filled, texts=texts)
    nodes.add("Identity", marked, output=operator.output_full_names[0])


def _shape_of_simple(operator: Any) -> None:
    """The stock calculator knows neither indicators nor columns that fall away."""
    imputer = operator.raw_operator
    width = len(_kept(imputer)) + _width_of_marks(imputer)
    texts = isinstance(operator.inputs[0].type, StringTensorType)
    operator.outputs[0].type = (StringTensorType if texts else DoubleTensorType)([rows_of(operator), width])


def _indicator(scope: Any, operator: Any, container: Any) -> None:
    indicator, nodes = operator.raw_operator, Nodes(scope, container)
    given, texts = _given(nodes, operator)
    missing, features = _missing(nodes, indicator, given, texts=texts), indicator.features_
    marks = nodes.add("Cast", nodes.columns(missing, features), to=REAL)
    others = np.setdiff1d(np.arange(indicator.n_features_in_), features)
    if indicator.features == "missing-only" and indicator.error_on_new and len(others):
        marks = nodes.refusing(nodes.columns(missing, others), marks)
    nodes.add("Identity", marks, output=operator.output_full_names[0])


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


REPLACED: Mapping[str, Converter] = {SimpleImputer.__name__: _simple}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {SimpleImputer.__name__: _shape_of_simple}
ADDED: Mapping[type, tuple[Shape, Converter]] = {
    MissingIndicator: (columns_out(lambda model: len(model.features_)), _indicator),
    IterativeImputer: (columns_out(_width_of_iterative), from_rows(_iterative)),
}
