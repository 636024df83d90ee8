"""The converter of isotonic regression. https://scikit-learn.org/stable/modules/isotonic.html"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.isotonic import IsotonicRegression

from training.export.nodes import REAL, WHOLE, Converter, Nodes, Shape, value_out
from training.export.parts import doubles, upright, value
from training.export.trees import Tree, ensemble


def interval(nodes: Nodes, given: str, knots: np.ndarray) -> str:
    """How many of the knots, which rise, each number of ``given``, shape (n, 1), has reached; (n,) int64.

    One tree finds it in as many comparisons as the number of knots has binary digits.
    """
    left: list[int] = []
    right: list[int] = []
    split: list[float] = []
    reached: list[float] = []

    def grow(low: int, high: int) -> int:
        """A subtree for between ``low`` and ``high`` knots reached; returns its root."""
        index = len(left)
        left.append(-1)
        right.append(-1)
        split.append(0.0)
        reached.append(float(low))
        if low < high:
            middle = (low + high) // 2
            split[index] = float(np.nextafter(knots[middle], -np.inf))  # what is at the knot has reached it
            left[index], right[index] = grow(low, middle), grow(middle + 1, high)
        return index

    grow(0, len(knots))
    zeros = np.zeros(len(left), np.int64)
    tree = Tree(
        np.array(left), np.array(right), zeros, np.array(split), zeros.astype(bool), np.array(reached)
    )
    return nodes.add("Cast", nodes.flat(ensemble(nodes, given, [tree], 1)), to=WHOLE)


def piecewise(nodes: Nodes, given: str, x: np.ndarray, y: np.ndarray) -> str:
    """The line through points, of numbers from the first to the last of them; shape (n,)."""
    if len(y) == 1:
        return nodes.add("Add", nodes.add("Mul", given, nodes.number(0.0)), nodes.number(float(y[0])))
    with np.errstate(over="ignore"):
        slopes = np.append(np.diff(y) / np.diff(x), 0.0)
    if not np.isfinite(slopes).all():
        raise NotImplementedError("an interpolation with a step between two numbers next to each other")
    where = interval(nodes, upright(nodes, given), x[1:])
    slope, start, begin = (
        nodes.add("Gather", nodes.constant("knots", REAL, [len(x)], each.tolist()), where)
        for each in (slopes, x, y)
    )
    return nodes.add("Add", nodes.add("Mul", slope, nodes.add("Sub", given, start)), begin)


def interpolated(nodes: Nodes, given: str, model: IsotonicRegression) -> str:
    """Isotonic regression of numbers, shape (n, 1), in the steps of ``np.interp``; shape (n,)."""
    x, y = (np.asarray(each) for each in (model.X_thresholds_, model.y_thresholds_))
    if x.dtype != np.float64:
        raise NotImplementedError("IsotonicRegression that was fitted on float32")
    numbers = nodes.flat(given)
    low, high = nodes.number(float(model.X_min_)), nodes.number(float(model.X_max_))
    inside = numbers
    if model.out_of_bounds == "clip":
        inside = nodes.add("Min", nodes.add("Max", numbers, low), high)
    made = piecewise(nodes, inside, x, y)
    if model.out_of_bounds == "clip":
        return made
    outside = nodes.add("Or", nodes.add("Less", numbers, low), nodes.add("Greater", numbers, high))
    return nodes.add("Where", outside, nodes.number(np.nan), made)


def _isotonic(scope: Any, operator: Any, container: Any) -> None:
    nodes = Nodes(scope, container)
    value(nodes, operator, interpolated(nodes, doubles(operator).full_name, operator.raw_operator))


REPLACED: Mapping[str, Converter] = {}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = {
    IsotonicRegression: (value_out, _isotonic),
}
