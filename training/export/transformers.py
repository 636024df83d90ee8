"""Converters of transformers that skl2onnx converts wrongly, not in doubles, or not at all."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from skl2onnx.common.data_types import DoubleTensorType

from training.export.nodes import REAL, WHOLE, Converter, Nodes, Shape


def _imputer(scope: Any, operator: Any, container: Any) -> bool:
    """``SimpleImputer`` of doubles, for which onnxruntime has no operator."""
    imputer = operator.raw_operator
    if not isinstance(operator.inputs[0].type, DoubleTensorType):
        return False
    if len(operator.inputs) > 1 or imputer.missing_values == imputer.missing_values:
        raise NotImplementedError("SimpleImputer for another value than NaN")
    if np.isnan(imputer.statistics_.astype(np.float64)).any():
        raise NotImplementedError("SimpleImputer with a column that was empty")
    nodes = Nodes(scope, container)
    (given,), (output,) = operator.input_full_names, operator.output_full_names
    statistics = nodes.constant(
        "statistics", REAL, [1, len(imputer.statistics_)], imputer.statistics_.astype(np.float64).tolist()
    )
    missing = nodes.add("IsNaN", given)
    if not imputer.add_indicator:
        nodes.add("Where", missing, statistics, given, output=output)
        return True
    filled = nodes.add("Where", missing, statistics, given)
    marked = imputer.indicator_.features_
    which = nodes.constant("marked", WHOLE, [len(marked)], marked.tolist())
    marks = nodes.add("Cast", nodes.add("Gather", missing, which, axis=1), to=REAL)
    nodes.add("Concat", filled, marks, output=output, axis=1)
    return True


#: The functions that a graph has, each as operators with the constant before them, if any.
FUNCTIONS: Mapping[Any, Sequence[tuple[str, float | None]]] = {
    np.log1p: (("Add", 1.0), ("Log", None)),
    np.expm1: (("Exp", None), ("Sub", 1.0)),
    np.log: (("Log", None),),
    np.exp: (("Exp", None),),
    np.sqrt: (("Sqrt", None),),
    np.abs: (("Abs", None),),
    np.square: (("Pow", 2.0),),
    np.negative: (("Neg", None),),
    np.reciprocal: (("Reciprocal", None),),
    np.tanh: (("Tanh", None),),
}


def _function(scope: Any, operator: Any, container: Any) -> bool:
    """``FunctionTransformer`` of one of ``FUNCTIONS``, without arguments."""
    transformer = operator.raw_operator
    if transformer.func is None:
        return False
    operators = FUNCTIONS.get(transformer.func) if isinstance(transformer.func, Hashable) else None
    if operators is None or transformer.kw_args or len(operator.inputs) > 1:
        name = getattr(transformer.func, "__name__", type(transformer.func).__name__)
        raise NotImplementedError(f"FunctionTransformer of {name}, which ONNX does not have")
    nodes = Nodes(scope, container)
    value = nodes.double(operator)
    for kind, constant in operators:
        value = nodes.add(kind, value, *([] if constant is None else [nodes.number(constant)]))
    nodes.add("Identity", value, output=operator.output_full_names[0])
    return True


def _shape_of_function(operator: Any) -> None:
    """One column out for each that goes in; the stock calculator refuses every function."""
    widths = [each.type.shape[1] for each in operator.inputs]
    width = None if None in widths else sum(widths)
    given = operator.inputs[0]
    kind = given.type if operator.raw_operator.func is None else DoubleTensorType()
    operator.outputs[0].type = copy.deepcopy(kind)
    operator.outputs[0].type.shape = [given.get_first_dimension(), width]


def _binarizer(scope: Any, operator: Any, container: Any) -> None:
    """``Binarizer``: 1 above the threshold. The stock converter has 1 at the threshold too."""
    nodes = Nodes(scope, container)
    threshold = nodes.number(float(operator.raw_operator.threshold))
    above = nodes.add("Greater", nodes.double(operator), threshold)
    nodes.add("Cast", above, output=operator.output_full_names[0], to=REAL)


def _polynomial(scope: Any, operator: Any, container: Any) -> None:
    """``PolynomialFeatures`` as products of columns in doubles, with a column of ones before them."""
    powers = operator.raw_operator.powers_
    nodes = Nodes(scope, container)
    given = nodes.double(operator)
    first = nodes.add("Gather", given, nodes.constant("first", WHOLE, [1], [0]), axis=1)
    zero = nodes.add("Mul", first, nodes.number(0.0))
    one = nodes.add("Concat", nodes.add("Add", zero, nodes.number(1.0)), given, axis=1)
    factors = [[column + 1 for column, power in enumerate(row) for _ in range(power)] for row in powers]
    product = ""
    for index in range(max(1, *map(len, factors))):
        chosen = [row[index] if index < len(row) else 0 for row in factors]
        columns = nodes.add("Gather", one, nodes.constant("columns", WHOLE, [len(chosen)], chosen), axis=1)
        product = nodes.add("Mul", product, columns) if product else columns
    nodes.add("Identity", product, output=operator.output_full_names[0])


REPLACED: Mapping[str, Converter] = {"Binarizer": _binarizer, "PolynomialFeatures": _polynomial}
SOME = {"SimpleImputer": _imputer, "FunctionTransformer": _function}
SHAPES: Mapping[str, Shape] = {"FunctionTransformer": _shape_of_function}
ADDED: Mapping[type, tuple[Shape, Converter]] = {}
