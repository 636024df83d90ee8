"""Converters of libsvm's estimators in doubles.

https://www.csie.ntu.edu.tw/~cjlin/papers/libsvm.pdf, section 7: "Multi-class classification"
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.svm import SVC, SVR, NuSVC, NuSVR

from training.export.distances import kernel
from training.export.nodes import REAL, WHOLE, Converter, Nodes, Shape, classes_out, value_out
from training.export.parts import decision, doubles, linear, matrix, upright, value, wants_decision


def _similarities(nodes: Nodes, given: str, model: Any) -> str:
    """The kernel between each row and the support vectors, shape (n, vectors)."""
    parameters = {"gamma": model._gamma, "coef0": model.coef0, "degree": model.degree}
    return kernel(nodes, given, _dense(model.support_vectors_), model.kernel, **parameters)


def _dense(values: Any) -> np.ndarray:
    """An array also where the estimator was fitted on a sparse table."""
    dense: np.ndarray = values.toarray() if sparse.issparse(values) else np.asarray(values)
    return dense


def _pairwise(nodes: Nodes, given: str, model: Any) -> str:
    """libsvm's decision between each two classes, shape (n, pairs): positive for the first of the two."""
    coefficients, counts = _dense(model._dual_coef_), model._n_support
    ends = np.cumsum(counts)
    starts = ends - counts
    weights = []
    for first, second in itertools.combinations(range(len(counts)), 2):
        column = np.zeros(coefficients.shape[1])
        for own, other in ((first, second - 1), (second, first)):
            column[starts[own] : ends[own]] = coefficients[other, starts[own] : ends[own]]
        weights.append(column)
    made = linear(nodes, _similarities(nodes, given, model), np.stack(weights, axis=1), model._intercept_)
    return upright(nodes, made) if len(weights) == 1 else made


def _one_against_rest(nodes: Nodes, first_wins: str, confidence: str, classes: int) -> str:
    """scikit-learn's scores of the classes, shape (n, classes), from those of each two of them.

    ``first_wins``: booleans. ``confidence``: for the second of two. Both have shape (n, pairs).
    """
    pairs = list(itertools.combinations(range(classes), 2))
    for_first, for_second = np.zeros((2, len(pairs), classes))
    for index, (first, second) in enumerate(pairs):
        for_first[index, first] = for_second[index, second] = 1.0
    won, lost = (nodes.add("Cast", each, to=REAL) for each in (first_wins, nodes.add("Not", first_wins)))
    votes = nodes.add(
        "Add",
        nodes.add("MatMul", won, matrix(nodes, for_first)),
        nodes.add("MatMul", lost, matrix(nodes, for_second)),
    )
    summed = nodes.add("MatMul", confidence, matrix(nodes, for_second - for_first))
    below = nodes.add(
        "Mul", nodes.add("Add", nodes.add("Abs", summed), nodes.number(1.0)), nodes.number(3.0)
    )
    return nodes.add("Add", votes, nodes.add("Div", summed, below))


def _scores(nodes: Nodes, between: str, classes: int) -> str:
    """scikit-learn takes a decision of zero for the second class's: its prediction is ``dec < 0``."""
    confidence = nodes.add("Neg", between)
    first_wins = nodes.add("Not", nodes.add("Less", between, nodes.number(0.0)))
    return _one_against_rest(nodes, first_wins, confidence, classes)


def _classifier(scope: Any, operator: Any, container: Any) -> None:
    nodes, model = Nodes(scope, container), operator.raw_operator
    if hasattr(model, "predict_proba"):
        raise NotImplementedError(
            f"{type(model).__name__}(probability=True): libsvm finds its probabilities by steps that end "
            f"where they are near enough; CalibratedClassifierCV({type(model).__name__}(), ensemble=False) "
            "is exported"
        )
    classes, label = len(model.classes_), operator.output_full_names[0]
    between = _pairwise(nodes, doubles(operator).full_name, model)
    if wants_decision(operator, container) and classes > 2 and model.decision_function_shape == "ovo":
        raise NotImplementedError(f"{type(model).__name__}(decision_function_shape='ovo') within another")
    scores = nodes.flat(nodes.add("Neg", between)) if classes == 2 else _scores(nodes, between, classes)
    decision(nodes, operator, scores)
    if classes == 2:
        second = nodes.add("Not", nodes.add("Greater", nodes.flat(between), nodes.number(0.0)))
        nodes.labels(model.classes_, nodes.add("Cast", second, to=WHOLE), label)
    elif model.break_ties:
        nodes.most_probable(model.classes_, scores, label)
    else:  # libsvm's votes: a decision of zero is the second class's
        first_wins = nodes.add("Greater", between, nodes.number(0.0))
        no_confidence = nodes.add("Mul", between, nodes.number(0.0))
        votes = _one_against_rest(nodes, first_wins, no_confidence, classes)
        nodes.most_probable(model.classes_, votes, label)


def _regressor(scope: Any, operator: Any, container: Any) -> None:
    nodes, model = Nodes(scope, container), operator.raw_operator
    similar = _similarities(nodes, doubles(operator).full_name, model)
    value(nodes, operator, linear(nodes, similar, _dense(model._dual_coef_).T, model._intercept_))


REPLACED: Mapping[str, Converter] = {}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = {
    **dict.fromkeys((SVC, NuSVC), (classes_out, _classifier)),
    **dict.fromkeys((SVR, NuSVR), (value_out, _regressor)),
}
