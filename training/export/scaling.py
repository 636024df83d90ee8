"""Transformers that scale columns, rows, or distributions, in doubles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
)

from training.export.functions import expm1, log1p
from training.export.kernels import scaled_by
from training.export.nodes import WHOLE, Converter, Nodes, Shape, columns_out, from_rows


def _min_max(nodes: Nodes, model: Any, given: str) -> str:
    scaled = nodes.add("Add", nodes.add("Mul", given, nodes.row(model.scale_)), nodes.row(model.min_))
    if not model.clip:
        return scaled
    low, high = (nodes.number(float(each)) for each in model.feature_range)
    return nodes.clipped(scaled, low, high)


def _max_abs(nodes: Nodes, model: Any, given: str) -> str:
    scaled = nodes.add("Div", given, nodes.row(model.scale_))
    return nodes.clipped(scaled, nodes.number(-1.0), nodes.number(1.0)) if model.clip else scaled


def _normalizer(nodes: Nodes, model: Any, given: str) -> str:
    axis = nodes.constant("axis", WHOLE, [1], [1])
    if model.norm == "l2":
        norm = nodes.add("Sqrt", nodes.add("ReduceSumSquare", given, axis, keepdims=1))
    else:
        kind = "ReduceSum" if model.norm == "l1" else "ReduceMax"
        norm = nodes.add(kind, nodes.add("Abs", given), axis, keepdims=1)
    return scaled_by(nodes, given, norm)


def _power(nodes: Nodes, model: Any, given: str) -> str:
    """https://scikit-learn.org/stable/modules/preprocessing.html#mapping-to-a-gaussian-distribution"""
    lambdas = model.lambdas_.astype(np.float64)
    zero = nodes.number(0.0)
    if model.method == "box-cox":
        powers = nodes.row(np.where(np.abs(lambdas) < 1e-19, 0.0, lambdas))
        logarithm, sign = nodes.add("Log", given), None
    else:
        tiny = np.finfo(np.float64).eps
        positive = nodes.row(np.where(np.abs(lambdas) < tiny, 0.0, lambdas))
        negative = nodes.row(np.where(np.abs(lambdas - 2) <= tiny, 0.0, 2 - lambdas))
        sign = nodes.add("GreaterOrEqual", given, zero)
        powers = nodes.add("Where", sign, positive, negative)
        logarithm = log1p(nodes, nodes.add("Abs", given))
    raised = nodes.add("Div", expm1(nodes, nodes.add("Mul", powers, logarithm)), powers)
    result = nodes.add("Where", nodes.add("Equal", powers, zero), logarithm, raised)
    if sign is not None:
        result = nodes.add("Where", sign, result, nodes.add("Neg", result))
    else:
        result = nodes.refusing(nodes.add("LessOrEqual", given, zero), result)
    if model.standardize:
        scaler = model._scaler
        result = nodes.add(
            "Div", nodes.add("Sub", result, nodes.row(scaler.mean_)), nodes.row(scaler.scale_)
        )
    return result


def _polynomial(nodes: Nodes, model: Any, given: str) -> str:
    """Products of columns, with a column of ones before them."""
    first = nodes.columns(given, [0])
    one = nodes.add("Add", nodes.add("Mul", first, nodes.number(0.0)), nodes.number(1.0))
    factors = [
        [column + 1 for column, power in enumerate(row) for _ in range(power)] for row in model.powers_
    ]
    table, product = nodes.add("Concat", one, given, axis=1), ""
    for index in range(max(1, *map(len, factors))):
        chosen = nodes.columns(table, [row[index] if index < len(row) else 0 for row in factors])
        product = nodes.add("Mul", product, chosen) if product else chosen
    return product


def _as_many(model: Any) -> int:
    return int(model.n_features_in_)


REPLACED: Mapping[str, Converter] = {}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = {
    MaxAbsScaler: (columns_out(_as_many), from_rows(_max_abs)),
    MinMaxScaler: (columns_out(_as_many), from_rows(_min_max)),
    Normalizer: (columns_out(_as_many), from_rows(_normalizer)),
    PolynomialFeatures: (columns_out(lambda model: int(model.n_output_features_)), from_rows(_polynomial)),
    PowerTransformer: (columns_out(_as_many), from_rows(_power)),
}
