"""How members' scores become one answer: the nodes of averages, votes and calibration.

All scores are doubles of shape (n, columns), one column for the score of two classes; indices of classes
are int64 of shape (n,). Sums are made in scikit-learn's order, so that they round alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.export.nodes import REAL, WHOLE, Nodes
from training.export.parts import columns, matrix, upright


def column(nodes: Nodes, scores: str, index: int) -> str:
    """One column of the scores, shape (n, 1)."""
    return columns(nodes, scores, [index])


def beside(nodes: Nodes, scores: Sequence[str]) -> str:
    """The scores side by side."""
    return scores[0] if len(scores) == 1 else nodes.add("Concat", *scores, axis=1)


def summed(nodes: Nodes, scores: Sequence[str]) -> str:
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
    return nodes.add("Div", summed(nodes, scores), nodes.number(float(share)))


def votes(
    nodes: Nodes, indices: Sequence[str], classes: int, weights: Sequence[float] | None = None
) -> str:
    """How often each class is chosen, or the sum of the weights of those that choose it."""
    every = nodes.constant("every", WHOLE, [1, classes], range(classes))
    marks = []
    for number, each in enumerate(indices):
        chosen = nodes.add("Equal", upright(nodes, each), every)
        mark = nodes.add("Cast", chosen, to=REAL)
        marks.append(
            mark if weights is None else nodes.add("Mul", mark, nodes.number(float(weights[number])))
        )
    return summed(nodes, marks)


def spread(nodes: Nodes, scores: str, places: Sequence[int], width: int) -> str:
    """The scores in those columns of a table of ``width`` columns, and 0 in the others."""
    if list(places) == list(range(width)):
        return scores
    ones = np.zeros((len(places), width))
    ones[range(len(places)), places] = 1.0
    return nodes.add("MatMul", scores, matrix(nodes, ones))


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


def sigmoid(nodes: Nodes, scores: str, slope: float, intercept: float) -> str:
    """Platt's probability of scores. https://scikit-learn.org/stable/modules/calibration.html#sigmoid"""
    return nodes.add("Sigmoid", nodes.add("Neg", linear(nodes, scores, slope, intercept)))


def tempered(nodes: Nodes, logits: str, factor: float) -> str:
    """Probabilities from logits of shape (n, classes), by a temperature of 1 / ``factor``."""
    return nodes.add("Softmax", nodes.add("Mul", logits, nodes.number(factor)), axis=1)
