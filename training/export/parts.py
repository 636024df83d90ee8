"""What converters of estimators share: constants, arithmetic on rows, and the ends of classifiers."""

from __future__ import annotations

from typing import Any

import numpy as np
from skl2onnx._parse import _parse_sklearn
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.base import is_classifier

from training.export.nodes import REAL, WHOLE, Nodes


def row(nodes: Nodes, values: Any) -> str:
    """A constant of doubles, shape (1, n)."""
    flat = np.asarray(values, np.float64).reshape(-1)
    return nodes.constant("row", REAL, [1, len(flat)], flat.tolist())


def matrix(nodes: Nodes, values: Any) -> str:
    """A constant of doubles in two dimensions."""
    table = np.asarray(values, np.float64)
    return nodes.constant("matrix", REAL, table.shape, table.reshape(-1).tolist())


def wholes(nodes: Nodes, values: Any) -> str:
    """A constant of whole numbers, shape (n,)."""
    return nodes.constant("wholes", WHOLE, [len(values)], [int(each) for each in values])


def columns(nodes: Nodes, given: str, indices: Any) -> str:
    """Some columns of a table, by their indices."""
    return nodes.add("Gather", given, wholes(nodes, indices), axis=1)


def total(nodes: Nodes, given: str) -> str:
    """The sum of each row, shape (n, 1)."""
    return nodes.add("ReduceSum", given, wholes(nodes, [1]), keepdims=1)


def greatest(nodes: Nodes, given: str) -> str:
    """The greatest number of each row, shape (n, 1)."""
    return nodes.add("ReduceMax", given, wholes(nodes, [1]), keepdims=1)


def linear(nodes: Nodes, given: str, weights: Any, intercept: Any) -> str:
    """A table times ``weights``, shape (features, k), plus ``intercept``; shape (n, k), for one k (n,)."""
    weights = np.asarray(weights, np.float64)
    product = nodes.add("MatMul", given, matrix(nodes, weights))
    intercept = np.broadcast_to(np.asarray(intercept, np.float64), weights.shape[1])
    if weights.shape[1] == 1:
        return nodes.add("Add", nodes.flat(product), nodes.number(float(intercept[0])))
    return nodes.add("Add", product, row(nodes, intercept))


def upright(nodes: Nodes, given: str) -> str:
    """Shape (n,) as (n, 1)."""
    return nodes.add("Reshape", given, wholes(nodes, [-1, 1]))


def constant_rows(nodes: Nodes, given: str, values: Any) -> str:
    """The same numbers for every row of a table, shape (n, k)."""
    count = nodes.add("Shape", given, start=0, end=1)
    shape = nodes.add("Concat", count, wholes(nodes, [1]), axis=0)
    return nodes.add("Add", nodes.add("Expand", nodes.number(0.0), shape), row(nodes, values))


def expit(nodes: Nodes, given: str) -> str:
    """The logistic function as SciPy has it: precise where it is tiny, and 0 where ``exp`` overflows.

    Of doubles, onnxruntime's ``Sigmoid`` takes two to three times as long, except in the shape (n, 1).
    """
    raised = nodes.add("Exp", nodes.add("Neg", given))
    return nodes.add("Div", nodes.number(1.0), nodes.add("Add", nodes.number(1.0), raised))


def shares(nodes: Nodes, given: str, classes: int, output: str = "") -> str:
    """Each row divided by its sum; the same for each class where that is zero."""
    sums = total(nodes, given)
    none = nodes.add("Equal", sums, nodes.number(0.0))
    divided = nodes.add("Div", given, nodes.add("Where", none, nodes.number(1.0), sums))
    return nodes.add("Where", none, nodes.number(1.0 / classes), divided, output=output)


def from_logarithms(nodes: Nodes, log_odds: str, output: str) -> None:
    """Probabilities from the logarithms of what they are in proportion to, as ``logsumexp`` has them."""
    less = nodes.add("Sub", log_odds, greatest(nodes, log_odds))
    logarithm = nodes.add("Log", total(nodes, nodes.add("Exp", less)))
    nodes.add("Exp", nodes.add("Sub", less, logarithm), output=output)


def label_by_score(nodes: Nodes, operator: Any, score: str, above: str = "Greater") -> None:
    """The operator's first output: the greatest score's class, or of two by the score's sign."""
    classes, label = operator.raw_operator.classes_, operator.output_full_names[0]
    if len(classes) > 2:
        nodes.most_probable(classes, score, label)
        return
    indices = nodes.add("Cast", nodes.add(above, score, nodes.number(0.0)), to=WHOLE)
    nodes.labels(classes, indices, label)


def value(nodes: Nodes, operator: Any, made: str) -> None:
    """The operator's output from a regressor's value, shape (n,) or (n, 1)."""
    nodes.add("Reshape", made, wholes(nodes, [-1, 1]), output=operator.output_full_names[0])


def decision(nodes: Nodes, operator: Any, score: str) -> None:
    """The operator's second output where it is ``decision_function``, of two classes as -x and x.

    So skl2onnx has it; a classifier without probabilities always gives it, and others where
    ``wants_decision``. ``score`` has shape (n,) for two classes, else (n, classes).
    """
    if len(operator.raw_operator.classes_) == 2:
        score = nodes.add("Mul", upright(nodes, score), row(nodes, [-1.0, 1.0]))
    nodes.add("Identity", score, output=operator.output_full_names[1])


def wants_decision(operator: Any, container: Any) -> bool:
    """Whether the classifier's ``decision_function`` is asked for, and not its probabilities."""
    options = container.get_options(operator.raw_operator, {"raw_scores": False}, fail=False)
    return bool(options["raw_scores"])


def doubles(operator: Any) -> Any:
    """The operator's only input; raises where skl2onnx tries the graph in float32."""
    (given,) = operator.inputs
    if not isinstance(given.type, DoubleTensorType):
        raise NotImplementedError(f"{type(operator.raw_operator).__name__} on other numbers than doubles")
    return given


def outputs(scope: Any, container: Any, given: Any, estimator: Any) -> list[Any]:
    """The outputs of an estimator inside another one, as skl2onnx's variables.

    ``given`` is the variable that it reads.
    """
    for each in (scope, container):
        if is_classifier(estimator):
            each.add_options(id(estimator), {"zipmap": False})
    made: list[Any] = _parse_sklearn(scope, estimator, [given], custom_parsers=None)
    return made
