"""How members' scores become one answer: the nodes of averages, votes, calibration and interpolation.

All scores are doubles of shape (n, columns), one column for the score of two classes; indices of classes
are int64 of shape (n,). Sums are made in scikit-learn's order, so that they round alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from training.export import trees
from training.export.nodes import REAL, WHOLE, Nodes


def row(nodes: Nodes, values: Sequence[float]) -> str:
    """A constant of shape (1, values)."""
    numbers = [float(each) for each in values]
    return nodes.constant("row", REAL, [1, len(numbers)], numbers)


def column(nodes: Nodes, scores: str, index: int) -> str:
    """One column of the scores, shape (n, 1)."""
    return nodes.add("Gather", scores, nodes.constant("column", WHOLE, [1], [index]), axis=1)


def beside(nodes: Nodes, scores: Sequence[str]) -> str:
    """The scores side by side."""
    return scores[0] if len(scores) == 1 else nodes.add("Concat", *scores, axis=1)


def total(nodes: Nodes, scores: Sequence[str]) -> str:
    """The sum of scores of the same shape, in their order."""
    return scores[0] if len(scores) == 1 else nodes.add("Sum", *scores)


def average(nodes: Nodes, scores: Sequence[str], weights: Sequence[float] | None = None) -> str:
    """The mean of scores of the same shape, as ``numpy.average`` has it."""
    if weights is not None:
        scores = [
            nodes.add("Mul", each, nodes.number(float(weight)))
            for each, weight in zip(scores, weights, strict=True)
        ]
    share = len(scores) if weights is None else float(np.sum(np.asarray(weights, np.float64)))
    return nodes.add("Div", total(nodes, scores), nodes.number(float(share)))


def votes(
    nodes: Nodes, indices: Sequence[str], classes: int, weights: Sequence[float] | None = None
) -> str:
    """How often each class is chosen, or the sum of the weights of those that choose it."""
    upright = nodes.constant("upright", WHOLE, [2], [-1, 1])
    every = nodes.constant("every", WHOLE, [1, classes], range(classes))
    marks = []
    for number, each in enumerate(indices):
        chosen = nodes.add("Equal", nodes.add("Reshape", each, upright), every)
        mark = nodes.add("Cast", chosen, to=REAL)
        marks.append(
            mark if weights is None else nodes.add("Mul", mark, nodes.number(float(weights[number])))
        )
    return total(nodes, marks)


def normalized(nodes: Nodes, scores: str, otherwise: str) -> str:
    """Each row divided by its sum; the row of ``otherwise`` where that is 0."""
    axis = nodes.constant("axis", WHOLE, [1], [1])
    sums = nodes.add("ReduceSum", scores, axis, keepdims=1)
    empty = nodes.add("Equal", sums, nodes.number(0.0))
    return nodes.add("Where", empty, otherwise, nodes.add("Div", scores, sums))


def spread(nodes: Nodes, scores: str, columns: Sequence[int], width: int) -> str:
    """The scores in those columns of a table of ``width`` columns, and 0 in the others."""
    if list(columns) == list(range(width)):
        return scores
    matrix = np.zeros((len(columns), width))
    matrix[range(len(columns)), columns] = 1.0
    return nodes.add(
        "MatMul", scores, nodes.constant("spread", REAL, matrix.shape, matrix.reshape(-1).tolist())
    )


def both(nodes: Nodes, positive: str) -> str:
    """Both classes' probabilities from the second one's."""
    return beside(nodes, [nodes.add("Sub", nodes.number(1.0), positive), positive])


def above(nodes: Nodes, scores: str, threshold: float) -> str:
    """The index of the second class where its score is above the threshold, else that of the first."""
    return nodes.flat(nodes.add("Cast", nodes.add("Greater", scores, nodes.number(threshold)), to=WHOLE))


def highest(nodes: Nodes, scores: str) -> str:
    """The index of the class with the highest score, the first of equals."""
    return nodes.add("ArgMax", scores, axis=1, keepdims=0, select_last_index=0)


def linear(nodes: Nodes, scores: str, factor: float, addend: float) -> str:
    """``scores * factor + addend``."""
    return nodes.add("Add", nodes.add("Mul", scores, nodes.number(factor)), nodes.number(addend))


def interpolated(nodes: Nodes, given: str, x: np.ndarray, y: np.ndarray) -> str:
    """The piecewise linear function through the points, and constant beyond them; shape (n, 1).

    ``x`` rises; ``given`` has the shape (n, 1). A balanced tree finds the segment: its start, its slope and
    its value are three trees of the same branches.
    """
    if len(x) == 1:  # NaN stays NaN
        return nodes.add("Add", nodes.add("Mul", given, nodes.number(0.0)), nodes.number(float(y[0])))
    slope = np.diff(y) / np.diff(x)
    starts = np.concatenate([x[:1], x[:-1], x[-1:]])
    slopes = np.concatenate([[0.0], slope, [0.0]])
    values = np.concatenate([y[:1], y[:-1], y[-1:]])
    find = balanced(np.asarray(x, np.float64))
    three = [find(each, target) for target, each in enumerate((starts, slopes, values))]
    found = trees.ensemble(nodes, given, three, 3)
    start, steep, value = (column(nodes, found, index) for index in range(3))
    clipped = nodes.add("Sub", given, start)
    rise = nodes.add("Mul", steep, clipped)
    return nodes.add("Add", rise, value)


def balanced(thresholds: np.ndarray) -> Callable[[np.ndarray, int], trees.Tree]:
    """A tree whose leaf k is reached by the numbers above k of the rising thresholds.

    Gives a function of the leaves' values, one more than the thresholds, and of the target.
    """
    count = len(thresholds)
    left, right = np.full(2 * count + 1, -1), np.full(2 * count + 1, -1)
    split, leaf = np.zeros(2 * count + 1), np.full(2 * count + 1, -1)
    free = 1
    waiting = [(0, 0, count)]  # a node, and the range of thresholds that are between its leaves
    while waiting:
        node, first, last = waiting.pop()
        if first == last:
            leaf[node] = first
            continue
        middle = (first + last) // 2
        split[node] = thresholds[middle]
        left[node], right[node] = free, free + 1
        waiting += [(free, first, middle), (free + 1, middle + 1, last)]
        free += 2

    def tree(values: np.ndarray, target: int) -> trees.Tree:
        value = np.where(leaf >= 0, values[leaf], 0.0)
        feature, missing_left = np.zeros(len(left), np.int64), np.zeros(len(left), bool)
        return trees.Tree(left, right, feature, split, missing_left, value, target)

    return tree


def sigmoid(nodes: Nodes, scores: str, slope: float, intercept: float) -> str:
    """Platt's probability of scores. https://scikit-learn.org/stable/modules/calibration.html#sigmoid"""
    return nodes.add("Sigmoid", nodes.add("Neg", linear(nodes, scores, slope, intercept)))


def tempered(nodes: Nodes, logits: str, factor: float) -> str:
    """Probabilities from logits of shape (n, classes), by a temperature of 1 / ``factor``."""
    return nodes.add("Softmax", nodes.add("Mul", logits, nodes.number(factor)), axis=1)
