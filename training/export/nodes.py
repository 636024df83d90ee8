"""Nodes and constants of the graph that a converter is making, and the types of what comes out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType

REAL, WHOLE, TEXT = onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64, onnx.TensorProto.STRING

#: Adds an operator's nodes; called by skl2onnx with the scope, the operator and the container.
Converter = Callable[[Any, Any, Any], None]
#: Sets the types of an operator's outputs.
Shape = Callable[[Any], None]


class Part(NamedTuple):
    """Neighbouring columns of a table, in one tensor of shape (n, width); ``kind``: doubles or texts.

    ``texts``: those that the sample had, where the part is a feature of categories.
    """

    name: str
    kind: int
    width: int | None
    texts: tuple[str, ...] = ()


#: The columns between two steps, from left to right.
Table = tuple[Part, ...]


class Nodes:
    """Adds nodes and constants to the graph that a converter is making, under names of their own."""

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope = scope
        self.container = container

    def constant(self, name: str, kind: int, shape: Sequence[int], values: Iterable[Any]) -> str:
        """Add a constant; returns its name."""
        unique: str = self._scope.get_unique_variable_name(name)
        self.container.add_initializer(unique, kind, list(shape), list(values))
        return unique

    def number(self, value: float) -> str:
        """Add a double without dimensions; returns its name."""
        return self.constant("number", REAL, [], [value])

    def row(self, values: Iterable[float]) -> str:
        """Add doubles of shape (1, m); returns their name."""
        numbers = [float(each) for each in values]
        return self.constant("row", REAL, [1, len(numbers)], numbers)

    def matrix(self, values: Any) -> str:
        """Add doubles of shape (m, k); returns their name."""
        numbers = np.asarray(values, np.float64)
        return self.constant("matrix", REAL, numbers.shape, numbers.reshape(-1).tolist())

    def columns(self, given: str, indices: Iterable[int]) -> str:
        """Some columns of ``given``, shape (n, m); returns their name."""
        chosen = [int(each) for each in indices]
        return self.add("Gather", given, self.constant("columns", WHOLE, [len(chosen)], chosen), axis=1)

    def refusing(self, refused: str, result: str) -> str:
        """``result``, but NaN in rows in which any of ``refused``, shape (n, m), is true."""
        doubt = self.add("Where", refused, self.number(np.nan), self.number(0.0))
        axis = self.constant("axis", WHOLE, [1], [1])
        return self.add("Add", result, self.add("ReduceSum", doubt, axis, keepdims=1))

    def clipped(self, given: str, low: str, high: str) -> str:
        """As numpy's ``clip``; NaN stays."""
        return self.add("Min", self.add("Max", given, low), high)

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node; returns its output's name."""
        output = output or self._scope.get_unique_variable_name(kind.lower())
        unique = self._scope.get_unique_operator_name(kind)
        self.container.add_node(kind, list(inputs), [output], name=unique, **attributes)
        return output

    def several(self, kind: str, *inputs: str, count: int, **attributes: Any) -> list[str]:
        """Add a node with ``count`` outputs; returns their names."""
        outputs = [self._scope.get_unique_variable_name(kind.lower()) for _ in range(count)]
        unique = self._scope.get_unique_operator_name(kind)
        self.container.add_node(kind, list(inputs), outputs, name=unique, **attributes)
        return outputs

    def double(self, operator: Any) -> str:
        """The operator's input as doubles; several inputs stand side by side."""
        each = [
            str(name) if isinstance(given.type, DoubleTensorType) else self.add("Cast", name, to=REAL)
            for name, given in zip(operator.input_full_names, operator.inputs, strict=True)
        ]
        return each[0] if len(each) == 1 else self.add("Concat", *each, axis=1)

    def labels(self, classes: np.ndarray, indices: str, output: str) -> None:
        """The labels of classes by their ``indices``, shape (n,), int64."""
        if np.array_equal(classes, range(len(classes))):
            self.add("Identity", indices, output=output)
            return
        if np.issubdtype(classes.dtype, np.integer) or np.issubdtype(classes.dtype, np.bool_):
            named = self.constant("classes", WHOLE, [len(classes)], [int(each) for each in classes])
        else:
            named = self.constant("classes", TEXT, [len(classes)], [str(each).encode() for each in classes])
        self.add("Gather", named, indices, output=output)

    def most_probable(self, classes: np.ndarray, scores: str, output: str) -> None:
        """The label of the highest score, the first of equals; ``scores``: shape (n, classes)."""
        indices = self.add("ArgMax", scores, axis=1, keepdims=0, select_last_index=0)
        self.labels(classes, indices, output)

    def two_probabilities(self, positive: str, output: str) -> None:
        """Both classes' probabilities from the second one's, shape (n,)."""
        upright = self.constant("upright", WHOLE, [2], [-1, 1])
        negative = self.add("Sub", self.number(1.0), positive)
        both = [self.add("Reshape", each, upright) for each in (negative, positive)]
        self.add("Concat", *both, output=output, axis=1)

    def flat(self, given: str) -> str:
        """Shape (n, 1) as (n,): on (n, 1) onnxruntime adds and subtracts row by row, ten times slower."""
        return self.add("Reshape", given, self.constant("flat", WHOLE, [1], [-1]))


def from_rows(make: Callable[[Nodes, Any, str], str]) -> Converter:
    """The converter of a transformer, from a function of the nodes, the transformer and its input's name.

    That function gives the output's name; both are doubles of shape (n, columns).
    """

    def convert(scope: Any, operator: Any, container: Any) -> None:
        nodes = Nodes(scope, container)
        result = make(nodes, operator.raw_operator, nodes.double(operator))
        nodes.add("Identity", result, output=operator.output_full_names[0])

    return convert


def rows_of(operator: Any) -> Any:
    """The first dimension of an operator's outputs."""
    return operator.inputs[0].get_first_dimension()


def same_shape(operator: Any) -> None:
    """The output is as the input."""
    operator.outputs[0].type = copy.deepcopy(operator.inputs[0].type)


def columns_out(width: Callable[[Any], int]) -> Shape:
    """The output is doubles; ``width`` gives the number of columns of a fitted transformer."""

    def shape(operator: Any) -> None:
        operator.outputs[0].type = DoubleTensorType([rows_of(operator), width(operator.raw_operator)])

    return shape


def value_out(operator: Any) -> None:
    """The output is a regressor's value, shape (n, 1)."""
    operator.outputs[0].type = DoubleTensorType([rows_of(operator), 1])


def classes_out(operator: Any) -> None:
    """The outputs are a classifier's label, and its probabilities if skl2onnx has declared them."""
    classes = operator.raw_operator.classes_
    whole = classes.dtype.kind in "iub"
    operator.outputs[0].type = (Int64TensorType if whole else StringTensorType)([rows_of(operator)])
    if len(operator.outputs) > 1:
        operator.outputs[1].type = DoubleTensorType([rows_of(operator), len(classes)])


def prune(graph: onnx.GraphProto) -> None:
    """Drop the nodes and constants that no output needs."""
    needed = {output.name for output in graph.output}
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.insert(0, node)
    constants = [each for each in graph.initializer if each.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
