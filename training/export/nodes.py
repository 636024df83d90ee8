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
    """Neighbouring columns of a table, in one tensor of shape (n, width); ``kind``: doubles or texts."""

    name: str
    kind: int
    width: int | None


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
        """The operator's only input, as doubles."""
        (given,) = operator.input_full_names
        if isinstance(operator.inputs[0].type, DoubleTensorType):
            return str(given)
        return self.add("Cast", given, to=REAL)

    def labels(self, classes: np.ndarray, indices: str, output: str) -> None:
        """The labels of classes by their ``indices``, shape (n,), int64."""
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
