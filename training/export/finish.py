"""What a graph gets after its conversion: thresholds, a target's own size, and a guard."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from sklearn.base import BaseEstimator, TransformerMixin

from training.export.nodes import REAL, TEXT, WHOLE


class Entrance(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A step that changes nothing: its node's name shows in the graph where the last step's input is."""

    NODE = "entrance of the last step"

    def fit(self, _: Any, __: Any = None) -> Entrance:
        """There is nothing to fit."""
        return self

    def transform(self, rows: Any) -> Any:
        """The same rows."""
        return rows


def entrance(scope: Any, operator: Any, container: Any) -> None:  # noqa: ARG001 - skl2onnx wants the name
    """The converter of ``Entrance``."""
    (given,), (output,) = operator.input_full_names, operator.output_full_names
    container.add_node("Flatten", [given], [output], name=Entrance.NODE, axis=1)  # an Identity is left out


def with_threshold(graph: onnx.GraphProto, classes: np.ndarray, threshold: float) -> None:
    """Make the second of two classes the label from a probability of ``threshold`` on.

    ``graph`` gives the label first and the probabilities, shape (n, 2), second.
    https://scikit-learn.org/stable/modules/classification_threshold.html
    """
    label, probabilities = (each.name for each in graph.output[:2])
    for node in graph.node:
        node.output[:] = [f"{name} before" if name == label else name for name in node.output]
    text = classes.dtype.kind in "OU"
    named: Any = [str(each).encode() if text else int(each) for each in classes]
    kind = graph.output[1].type.tensor_type.elem_type
    make, tensor = onnx.helper.make_node, onnx.helper.make_tensor
    graph.initializer.extend((
        tensor("threshold second", WHOLE, [], [1]),
        tensor("threshold", kind, [], [threshold]),
        tensor("threshold classes", TEXT if text else WHOLE, [2], named),
    ))  # fmt: skip
    graph.node.extend((
        make("Gather", [probabilities, "threshold second"], ["threshold positive"], axis=1),
        make("GreaterOrEqual", ["threshold positive", "threshold"], ["threshold reached"]),
        make("Cast", ["threshold reached"], ["threshold place"], to=WHOLE),
        make("Gather", ["threshold classes", "threshold place"], [label]),
    ))  # fmt: skip


def _rename_output(graph: onnx.GraphProto, output: str, name: str) -> None:
    for node in graph.node:
        node.output[:] = [name if each == output else each for each in node.output]


def with_scaled_target(graph: onnx.GraphProto, scale: float, mean: float) -> None:
    """Multiply a regression's value by ``scale``, and add ``mean``."""
    value, kind = graph.output[0].name, graph.output[0].type.tensor_type.elem_type
    for node in graph.node:
        node.output[:] = [f"{name} before" if name == value else name for name in node.output]
    for name, number in (("target scale", scale), ("target mean", mean)):
        graph.initializer.append(onnx.helper.make_tensor(name, kind, [], [number]))
    make = onnx.helper.make_node
    graph.node.append(make("Mul", [f"{value} before", "target scale"], ["target scaled"]))
    graph.node.append(make("Add", ["target scaled", "target mean"], [value]))


def with_guard(graph: onnx.GraphProto, width: int, *, single: bool, missing: bool) -> None:
    """Make the value, or the probabilities, NaN where the last step's input is not finite.

    scikit-learn refuses such rows, and a graph would answer them. ``single``: finite as float32 too, as
    trees ask for. ``missing``: NaN is taken, as a missing value. ``graph`` has an ``Entrance``, and
    ``width`` numbers of each row in its last output.
    """
    (entrance,) = [node.output[0] for node in graph.node if node.name == Entrance.NODE]
    guarded = graph.output[-1]
    kind = guarded.type.tensor_type.elem_type
    _rename_output(graph, guarded.name, "unguarded")
    for node in graph.node:
        node.input[:] = ["unguarded" if name == guarded.name else name for name in node.input]
    make, tensor = onnx.helper.make_node, onnx.helper.make_tensor
    nodes = [make("Cast", [entrance], ["guard given"], to=REAL)]
    given = "guard given"
    if single:
        nodes.append(make("Cast", [given], ["guard float"], to=onnx.TensorProto.FLOAT))
        nodes.append(make("Cast", ["guard float"], ["guard single"], to=REAL))
        given = "guard single"
    if missing:
        nodes.append(make("IsNaN", [given], ["guard missing"]))
        nodes.append(make("Where", ["guard missing", "guard zero", given], ["guard filled"]))
        given = "guard filled"
    nodes += [
        make("Mul", [given, "guard zero"], ["guard zeros"]),
        make("ReduceSum", ["guard zeros", "guard axis"], ["guard sum"], keepdims=1),
        make("Cast", ["guard sum"], ["guard"], to=kind),
        make("Reshape", ["unguarded", "guard shape"], ["guard table"]),
        make("Add", ["guard table", "guard"], [guarded.name]),
    ]
    graph.initializer.extend((
        tensor("guard zero", REAL, [], [0.0]),
        tensor("guard axis", WHOLE, [1], [1]),
        tensor("guard shape", WHOLE, [2], [-1, width]),
    ))  # fmt: skip
    graph.node.extend(nodes)
