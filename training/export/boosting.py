"""The converter of ``AdaBoostRegressor``. https://scikit-learn.org/stable/modules/ensemble.html#adaboost"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from sklearn.ensemble import AdaBoostRegressor
from sklearn.tree import BaseDecisionTree

from training.export.nodes import REAL, WHOLE, Converter, Nodes, Shape, value_out
from training.export.parts import columns, doubles, outputs, value, wholes
from training.export.trees import Tree, ensemble


def _regressor(scope: Any, operator: Any, container: Any) -> None:
    """The weighted median of the members' predictions."""
    nodes, model, given = Nodes(scope, container), operator.raw_operator, doubles(operator)
    members = model.estimators_
    if all(isinstance(each, BaseDecisionTree) for each in members):
        trees = [Tree.of(each.tree_, index) for index, each in enumerate(members)]
        predicted = ensemble(nodes, _as_single(nodes, given.full_name), trees, len(members))
    else:
        each = [outputs(scope, container, given, member)[0].full_name for member in members]
        predicted = nodes.add(
            "Concat", *(nodes.add("Reshape", one, wholes(nodes, [-1, 1])) for one in each), axis=1
        )
    ordered, order = nodes.several(
        "TopK", predicted, wholes(nodes, [len(members)]), count=2, axis=1, largest=0, sorted=1
    )
    weights = np.asarray(model.estimator_weights_[: len(members)], np.float64)
    table = nodes.constant("weights", REAL, [len(weights)], weights.tolist())
    heaped = nodes.add(
        "CumSum", nodes.add("Gather", table, order, axis=0), nodes.constant("axis", WHOLE, [], [1])
    )
    half = nodes.add("Mul", columns(nodes, heaped, [len(members) - 1]), nodes.number(0.5))
    reached = nodes.add("GreaterOrEqual", heaped, half)
    above = nodes.add("Where", reached, ordered, nodes.number(np.inf))
    value(nodes, operator, nodes.add("ReduceMin", above, wholes(nodes, [1]), keepdims=1))


def _as_single(nodes: Nodes, given: str) -> str:
    return nodes.add("Cast", nodes.add("Cast", given, to=onnx.TensorProto.FLOAT), to=REAL)


REPLACED: Mapping[str, Converter] = {}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = {
    AdaBoostRegressor: (value_out, _regressor),
}
