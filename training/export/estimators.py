"""Converters of estimators without trees that skl2onnx converts wrongly, slowly, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from skl2onnx.common.data_types import DoubleTensorType
from sklearn.linear_model import LogisticRegression

from training.export.nodes import REAL, WHOLE, Converter, Nodes, Shape


def _binary_logistic(scope: Any, operator: Any, container: Any) -> bool:
    """``LogisticRegression`` of two classes: one score per row, where the stock converter has two.

    https://scikit-learn.org/stable/modules/linear_model.html#binary-case
    """
    model = operator.raw_operator
    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    if type(model) is not LogisticRegression or len(model.classes_) != 2 or not double:
        return False
    nodes = Nodes(scope, container)
    (given,) = operator.input_full_names
    label, probabilities = operator.output_full_names
    weights = nodes.constant("weights", REAL, [model.coef_.shape[1], 1], model.coef_[0].tolist())
    product = nodes.flat(nodes.add("MatMul", given, weights))
    score = nodes.add("Add", product, nodes.number(float(model.intercept_[0])))
    nodes.two_probabilities(nodes.add("Sigmoid", score), probabilities)
    above = nodes.add("Cast", nodes.add("Greater", score, nodes.number(0.0)), to=WHOLE)
    nodes.labels(model.classes_, above, label)
    return True


REPLACED: Mapping[str, Converter] = {}
SOME = {"LinearClassifier": _binary_logistic}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = {}
