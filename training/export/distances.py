"""Converters of estimators that compare a row with others: centroids, kernels, and neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from sklearn import neighbors
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor, kernels
from sklearn.kernel_ridge import KernelRidge
from sklearn.neighbors import NearestCentroid
from sklearn.semi_supervised import LabelPropagation, LabelSpreading

from training.export.nodes import Converter, Nodes, Shape, classes_out, value_out
from training.export.parts import (
    columns,
    constant_rows,
    decision,
    doubles,
    linear,
    matrix,
    row,
    total,
    value,
)

#: The most numbers of the rows that a kernel compares with: 16 MB of the graph.
MOST_NUMBERS = 2_000_000


def squares(nodes: Nodes, given: str, others: np.ndarray) -> str:
    """The squared euclidean distances of each row from ``others``, shape (m, features); shape (n, m).

    All rows are first moved to where the others are around zero, or little would be left of the digits.
    """
    centre = others.mean(axis=0)
    moved, moved_others = nodes.add("Sub", given, row(nodes, centre)), others - centre
    product = nodes.add("MatMul", moved, matrix(nodes, -2.0 * moved_others.T))
    own = total(nodes, nodes.add("Mul", moved, moved))
    theirs = row(nodes, (moved_others**2).sum(axis=1))
    summed = nodes.add("Add", nodes.add("Add", product, theirs), own)
    return nodes.add("Max", summed, nodes.number(0.0))


def precise_squares(nodes: Nodes, given: str, others: np.ndarray) -> str:
    """The same feature after feature: for roots of distances, of which those next to zero count."""
    summed = ""
    for index, column in enumerate(others.T):
        away = nodes.add("Sub", columns(nodes, given, [index]), row(nodes, column))
        square = nodes.add("Mul", away, away)
        summed = nodes.add("Add", summed, square) if summed else square
    return summed


def manhattan(nodes: Nodes, given: str, others: np.ndarray) -> str:
    """The sums of absolute differences of each row from ``others``, feature after feature."""
    summed = ""
    for index, column in enumerate(others.T):
        away = nodes.add("Abs", nodes.add("Sub", columns(nodes, given, [index]), row(nodes, column)))
        summed = nodes.add("Add", summed, away) if summed else away
    return summed


def kernel(nodes: Nodes, given: str, others: np.ndarray, name: Any, **parameters: Any) -> str:
    """One of scikit-learn's kernels between each row and ``others``, shape (n, m).

    https://scikit-learn.org/stable/modules/metrics.html
    """
    others = np.asarray(others, np.float64)
    if others.size > MOST_NUMBERS:
        raise NotImplementedError(
            f"a kernel with {others.size:,} numbers of the rows that it was fitted on; a graph takes "
            f"{MOST_NUMBERS:,}"
        )
    gamma, coefficient = parameters.get("gamma"), parameters.get("coef0", 0.0)
    gamma = 1.0 / others.shape[1] if gamma is None else float(gamma)
    if name == "rbf":
        return nodes.add("Exp", nodes.add("Mul", squares(nodes, given, others), nodes.number(-gamma)))
    if name == "laplacian":
        return nodes.add("Exp", nodes.add("Mul", manhattan(nodes, given, others), nodes.number(-gamma)))
    if name == "linear":
        return nodes.add("MatMul", given, matrix(nodes, others.T))
    if name in ("poly", "polynomial", "sigmoid"):
        product = nodes.add("MatMul", given, matrix(nodes, others.T))
        inner = nodes.add(
            "Add", nodes.add("Mul", product, nodes.number(gamma)), nodes.number(float(coefficient))
        )
        if name == "sigmoid":
            return nodes.add("Tanh", inner)
        return nodes.add("Pow", inner, nodes.number(float(parameters["degree"])))
    raise NotImplementedError(f"the kernel {name!r}")


def _process_kernel(nodes: Nodes, given: str, others: np.ndarray, kind: Any) -> str:
    """A kernel of a Gaussian process between each row and ``others``, shape (n, m).

    https://scikit-learn.org/stable/modules/gaussian_process.html#kernels-for-gaussian-processes
    """

    def scaled(length: Any, measure: Any = squares) -> str:
        """The squared distances in units of the length scale."""
        length = np.broadcast_to(np.asarray(length, np.float64), others.shape[1])
        return str(measure(nodes, nodes.add("Div", given, row(nodes, length)), others / length))

    def number(constant: float) -> str:
        return nodes.number(float(constant))

    if isinstance(kind, kernels.CompoundKernel):
        raise NotImplementedError("a Gaussian process with a compound kernel")
    if isinstance(kind, kernels.Sum | kernels.Product):
        sides = [_process_kernel(nodes, given, others, each) for each in (kind.k1, kind.k2)]
        return nodes.add("Add" if isinstance(kind, kernels.Sum) else "Mul", *sides)
    if isinstance(kind, kernels.Exponentiation):
        return nodes.add("Pow", _process_kernel(nodes, given, others, kind.kernel), number(kind.exponent))
    if type(kind) in (kernels.ConstantKernel, kernels.WhiteKernel):  # white noise is a row's own
        constant = kind.constant_value if isinstance(kind, kernels.ConstantKernel) else 0.0
        return constant_rows(nodes, given, np.full(len(others), constant))
    if type(kind) is kernels.RBF:
        return nodes.add("Exp", nodes.add("Mul", scaled(kind.length_scale), number(-0.5)))
    if type(kind) is kernels.DotProduct:
        product = nodes.add("MatMul", given, matrix(nodes, others.T))
        return nodes.add("Add", product, number(kind.sigma_0**2))
    if type(kind) is kernels.RationalQuadratic:
        share = nodes.add("Div", scaled(kind.length_scale), number(2 * kind.alpha))
        return nodes.add("Pow", nodes.add("Add", share, number(1.0)), number(-kind.alpha))
    if type(kind) is kernels.Matern and kind.nu in (0.5, 1.5, 2.5, np.inf):
        distances = scaled(kind.length_scale, precise_squares)
        if kind.nu == np.inf:
            return nodes.add("Exp", nodes.add("Mul", distances, number(-0.5)))
        away = nodes.add("Mul", nodes.add("Sqrt", distances), number(np.sqrt(2 * kind.nu)))
        raised = nodes.add("Exp", nodes.add("Neg", away))
        if kind.nu == 0.5:
            return raised
        factor = nodes.add("Add", away, number(1.0))
        if kind.nu == 2.5:
            factor = nodes.add("Add", factor, nodes.add("Div", nodes.add("Mul", away, away), number(3.0)))
        return nodes.add("Mul", factor, raised)
    raise NotImplementedError(f"a Gaussian process with the kernel {type(kind).__name__}")


def _process_regressor(scope: Any, operator: Any, container: Any) -> None:
    nodes, model = Nodes(scope, container), operator.raw_operator
    if not hasattr(model, "X_train_") or np.ndim(model.alpha_) != 1:
        raise NotImplementedError("a Gaussian process of several targets, or one that was not fitted")
    others = np.asarray(model.X_train_, np.float64)
    if others.size > MOST_NUMBERS:
        raise NotImplementedError(f"a Gaussian process that holds {others.size:,} numbers")
    similar = _process_kernel(nodes, doubles(operator).full_name, others, model.kernel_)
    scale, mean = (float(np.ravel(each)[0]) for each in (model._y_train_std, model._y_train_mean))
    made = linear(nodes, similar, np.reshape(model.alpha_ * scale, (-1, 1)), mean)
    value(nodes, operator, made)


def _ridge(scope: Any, operator: Any, container: Any) -> None:
    nodes, model = Nodes(scope, container), operator.raw_operator
    if np.ndim(model.dual_coef_) != 1:
        raise NotImplementedError("KernelRidge of several targets")
    parameters = {} if callable(model.kernel) else {**model.get_params(), **(model.kernel_params or {})}
    parameters.pop("kernel", None)
    similar = kernel(nodes, doubles(operator).full_name, model.X_fit_, model.kernel, **parameters)
    value(nodes, operator, linear(nodes, similar, np.reshape(model.dual_coef_, (-1, 1)), 0.0))


def _label_propagation(scope: Any, operator: Any, container: Any) -> None:
    """https://scikit-learn.org/stable/modules/semi_supervised.html#label-propagation"""
    nodes, model = Nodes(scope, container), operator.raw_operator
    if model.kernel == "knn":
        _neighbours(scope, operator, container)
    label, probabilities = operator.output_full_names
    given = doubles(operator).full_name
    similar = kernel(nodes, given, model.X_, model.kernel, gamma=model.gamma)
    weighed = nodes.add("MatMul", similar, matrix(nodes, model.label_distributions_))
    nodes.add("Div", weighed, total(nodes, weighed), output=probabilities)  # NaN far away, as there
    nodes.most_probable(model.classes_, probabilities, label)


def _discriminant(nodes: Nodes, given: str, model: NearestCentroid) -> str:
    """What ``NearestCentroid`` compares where its classes are not equally likely; shape (n, classes)."""
    spread = np.where(model.within_class_std_dev_ != 0, model.within_class_std_dev_, 1.0)
    scaled = nodes.add("Div", given, row(nodes, spread))
    away = manhattan(nodes, scaled, model.centroids_ / spread)
    away = nodes.add("Mul", away, away)
    return nodes.add("Sub", row(nodes, 2.0 * np.log(model.class_prior_)), away)


def _centroids(scope: Any, operator: Any, container: Any) -> None:
    """https://scikit-learn.org/stable/modules/neighbors.html#nearest-centroid-classifier"""
    nodes, model = Nodes(scope, container), operator.raw_operator
    if model.metric != "manhattan":
        raise NotImplementedError(
            f"NearestCentroid(metric={model.metric!r}): far from the centroids its answer is what rounding "
            "leaves of the squared distances"
        )
    given, label = doubles(operator).full_name, operator.output_full_names[0]
    scores = _discriminant(nodes, given, model)
    if np.isclose(model.class_prior_, 1 / len(model.classes_)).all():
        compared = nodes.add("Neg", manhattan(nodes, given, model.centroids_))
        nodes.most_probable(model.classes_, compared, label)
    else:
        nodes.most_probable(model.classes_, scores, label)
    if len(model.classes_) == 2:
        first, second = (nodes.flat(columns(nodes, scores, [index])) for index in (0, 1))
        scores = nodes.add("Sub", second, first)
    decision(nodes, operator, scores)


def _neighbours(scope: Any, operator: Any, container: Any) -> NoReturn:
    raise NotImplementedError(
        f"{type(operator.raw_operator).__name__}: which of several neighbours at the same distance count "
        "depends on the order in which scikit-learn visits them"
    )


def _process_classifier(scope: Any, operator: Any, container: Any) -> NoReturn:
    raise NotImplementedError(
        "GaussianProcessClassifier: its probabilities need the error function, and a system of equations "
        "as large as its training data for each row"
    )


CLASSIFIERS = (neighbors.KNeighborsClassifier, neighbors.RadiusNeighborsClassifier)
REGRESSORS = (neighbors.KNeighborsRegressor, neighbors.RadiusNeighborsRegressor)
REPLACED: Mapping[str, Converter] = {}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = {
    **dict.fromkeys(CLASSIFIERS, (classes_out, _neighbours)),
    **dict.fromkeys(REGRESSORS, (value_out, _neighbours)),
    GaussianProcessClassifier: (classes_out, _process_classifier),
    GaussianProcessRegressor: (value_out, _process_regressor),
    KernelRidge: (value_out, _ridge),
    LabelPropagation: (classes_out, _label_propagation),
    LabelSpreading: (classes_out, _label_propagation),
    NearestCentroid: (classes_out, _centroids),
}
