"""Kernels, their approximations, and distances, in doubles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.decomposition import KernelPCA
from sklearn.kernel_approximation import (
    AdditiveChi2Sampler,
    Nystroem,
    PolynomialCountSketch,
    RBFSampler,
    SkewedChi2Sampler,
)

from training.export.nodes import REAL, WHOLE, Converter, Nodes, Shape, columns_out, from_rows


def squared_distances(nodes: Nodes, given: str, points: np.ndarray) -> str:
    """The squares of the rows' distances from points, shape (n, points), as scikit-learn computes them."""
    product = nodes.add("MatMul", given, nodes.matrix(points.T))
    axis = nodes.constant("axis", WHOLE, [1], [1])
    own = nodes.add("ReduceSumSquare", given, axis, keepdims=1)
    less = nodes.add("Add", nodes.add("Mul", product, nodes.number(-2.0)), own)
    distances = nodes.add("Add", less, nodes.row(np.einsum("ij,ij->i", points, points)))
    return nodes.add("Max", distances, nodes.number(0.0))


def kernel(nodes: Nodes, given: str, points: np.ndarray, name: str, numbers: Mapping[str, Any]) -> str:
    """The kernel of the rows and of points, shape (n, points).

    https://scikit-learn.org/stable/modules/metrics.html; ``numbers``: gamma, degree and coef0, or None.
    """
    points = np.asarray(points, np.float64)
    width = points.shape[1]
    gamma = numbers.get("gamma")
    gamma = (1.0 if name == "chi2" else 1.0 / width) if gamma is None else float(gamma)
    if name == "rbf":
        squares = squared_distances(nodes, given, points)
        return nodes.add("Exp", nodes.add("Mul", squares, nodes.number(-gamma)))
    if name in ("laplacian", "chi2", "additive_chi2"):
        difference, total = _by_column(nodes, given, points)
        if name == "laplacian":
            each = nodes.add("Abs", difference)
        else:
            square, zero = nodes.add("Mul", difference, difference), nodes.number(0.0)
            nothing = nodes.add("Equal", total, zero)
            each = nodes.add("Where", nothing, zero, nodes.add("Div", square, total))
        axis = nodes.constant("axis", WHOLE, [1], [2])
        less = nodes.add("Neg", nodes.add("ReduceSum", each, axis, keepdims=0))
        if name != "laplacian":
            less = nodes.refusing(nodes.add("Less", given, nodes.number(0.0)), less)
        if name == "additive_chi2":
            return less
        return nodes.add("Exp", nodes.add("Mul", less, nodes.number(gamma)))
    if name == "cosine":
        lengths = np.sqrt((points**2).sum(axis=1, keepdims=True))
        points = points / np.where(lengths < 10 * np.finfo(np.float64).eps, 1.0, lengths)
        given = _unit_length(nodes, given)
    product = nodes.add("MatMul", given, nodes.matrix(points.T))
    if name in ("linear", "cosine"):
        return product
    if name not in ("poly", "polynomial", "sigmoid"):
        raise NotImplementedError("a kernel of your own")
    coef0 = numbers.get("coef0")
    sloped = nodes.add("Mul", product, nodes.number(gamma))
    moved = nodes.add("Add", sloped, nodes.number(1.0 if coef0 is None else float(coef0)))
    if name == "sigmoid":
        return nodes.add("Tanh", moved)
    degree = numbers.get("degree")
    return nodes.add("Pow", moved, nodes.number(3.0 if degree is None else float(degree)))


def _by_column(nodes: Nodes, given: str, points: np.ndarray) -> tuple[str, str]:
    """The differences and the sums of each row and each point, shape (n, points, columns)."""
    rows = nodes.add("Unsqueeze", given, nodes.constant("axis", WHOLE, [1], [1]))
    others = nodes.constant("points", REAL, [1, *points.shape], points.reshape(-1).tolist())
    return nodes.add("Sub", rows, others), nodes.add("Add", rows, others)


def _unit_length(nodes: Nodes, given: str) -> str:
    """Rows of no length, or of next to none, stay as they are."""
    axis = nodes.constant("axis", WHOLE, [1], [1])
    return scaled_by(nodes, given, nodes.add("Sqrt", nodes.add("ReduceSumSquare", given, axis, keepdims=1)))


def scaled_by(nodes: Nodes, given: str, norm: str) -> str:
    """The rows divided by their norms, shape (n, 1); next to none counts as 1, as in scikit-learn."""
    small = nodes.add("Less", norm, nodes.number(10 * float(np.finfo(np.float64).eps)))
    return nodes.add("Div", given, nodes.add("Where", small, nodes.number(1.0), norm))


def _nystroem(nodes: Nodes, model: Any, given: str) -> str:
    """https://scikit-learn.org/stable/modules/kernel_approximation.html#nystroem-method-for-kernel-approximation"""
    own = {name: getattr(model, name) for name in ("gamma", "degree", "coef0")}
    given_too = {name: value for name, value in own.items() if value is not None}
    numbers = {**(model.kernel_params or {}), **given_too}
    similar = kernel(nodes, given, model.components_, model.kernel, numbers)
    return nodes.add("MatMul", similar, nodes.matrix(model.normalization_.T))


def _kernel_components(nodes: Nodes, model: Any, given: str) -> str:
    """https://scikit-learn.org/stable/modules/decomposition.html#kernel-principal-component-analysis-kpca"""
    numbers = {"gamma": model.gamma_, "degree": model.degree, "coef0": model.coef0}
    similar = kernel(nodes, given, np.asarray(model.X_fit_), model.kernel, numbers)
    centre = model._centerer
    axis = nodes.constant("axis", WHOLE, [1], [1])
    own = nodes.add("ReduceSum", similar, axis, keepdims=1)
    own = nodes.add("Div", own, nodes.number(float(len(centre.K_fit_rows_))))
    less = nodes.add("Sub", nodes.add("Sub", similar, nodes.row(centre.K_fit_rows_)), own)
    centred = nodes.add("Add", less, nodes.number(float(centre.K_fit_all_)))
    weights = np.zeros_like(model.eigenvectors_)
    there = np.flatnonzero(model.eigenvalues_)
    weights[:, there] = model.eigenvectors_[:, there] / np.sqrt(model.eigenvalues_[there])
    return nodes.add("MatMul", centred, nodes.matrix(weights))


def _waves(nodes: Nodes, model: Any, given: str) -> str:
    """The cosines of random directions; of the logarithms, for ``SkewedChi2Sampler``."""
    if isinstance(model, SkewedChi2Sampler):
        least = nodes.number(-float(model.skewedness))
        refused = nodes.add("LessOrEqual", given, least)
        moved = nodes.add("Log", nodes.add("Add", given, nodes.number(float(model.skewedness))))
        given = nodes.refusing(refused, moved)
    product = nodes.add("MatMul", given, nodes.matrix(model.random_weights_))
    waves = nodes.add("Cos", nodes.add("Add", product, nodes.row(model.random_offset_)))
    return nodes.add("Mul", waves, nodes.number((2.0 / model.n_components) ** 0.5))


def _chi2(nodes: Nodes, model: Any, given: str) -> str:
    """https://scikit-learn.org/stable/modules/kernel_approximation.html#additive-chi-squared-kernel"""
    steps, zero = model.sample_steps, nodes.number(0.0)
    interval = model.sample_interval or {1: 0.8, 2: 0.5, 3: 0.4}[steps]
    nothing = nodes.add("Equal", given, zero)

    def times(value: str, factor: float) -> str:
        return nodes.add("Mul", value, nodes.number(factor))

    parts = [nodes.add("Sqrt", times(given, interval))]
    logarithm, twice = times(nodes.add("Log", given), interval), times(given, 2 * interval)
    for step in range(1, steps):
        spread = nodes.number(float(np.cosh(np.pi * step * interval)))
        factor = nodes.add("Sqrt", nodes.add("Div", twice, spread))
        angle = times(logarithm, float(step))
        for kind in ("Cos", "Sin"):
            wave = nodes.add("Mul", factor, nodes.add(kind, angle))
            parts.append(nodes.add("Where", nothing, zero, wave))
    joined = parts[0] if steps == 1 else nodes.add("Concat", *parts, axis=1)
    return nodes.refusing(nodes.add("Less", given, zero), joined)


def _count_sketch(nodes: Nodes, model: Any, given: str) -> str:
    """Sums of columns with random signs in random places, multiplied as polynomials are.

    scikit-learn does that by a Fourier transform.
    """
    count = model.n_components
    table = nodes.add("Mul", given, nodes.number(float(np.sqrt(model.gamma))))
    if model.coef0 != 0:
        first = nodes.add("Mul", nodes.columns(given, [0]), nodes.number(0.0))
        more = nodes.add("Add", first, nodes.number(float(np.sqrt(model.coef0))))
        table = nodes.add("Concat", table, more, axis=1)
    sketch = ""
    for places, signs in zip(model.indexHash_, model.bitHash_, strict=True):
        if not sketch:
            matrix = np.zeros((len(places), count))
            matrix[np.arange(len(places)), places] = signs
            sketch = nodes.add("MatMul", table, nodes.matrix(matrix))
            continue
        # Each column turns the sketch by its place.
        turned = (np.arange(count) - places[:, None]) % count
        index = nodes.constant("turned", WHOLE, turned.shape, turned.reshape(-1).tolist())
        signed = nodes.add("Mul", table, nodes.row(signs))
        upright = nodes.add("Unsqueeze", signed, nodes.constant("axis", WHOLE, [1], [2]))
        products = nodes.add("Mul", nodes.add("Gather", sketch, index, axis=1), upright)
        axis = nodes.constant("axis", WHOLE, [1], [1])
        sketch = nodes.add("ReduceSum", products, axis, keepdims=0)
    return sketch


def _components(model: Any) -> int:
    return int(model.n_components)


REPLACED: Mapping[str, Converter] = {}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = {
    AdditiveChi2Sampler: (
        columns_out(lambda model: int(model.n_features_in_) * (2 * model.sample_steps - 1)),
        from_rows(_chi2),
    ),
    KernelPCA: (columns_out(lambda model: model.eigenvectors_.shape[1]), from_rows(_kernel_components)),
    Nystroem: (columns_out(lambda model: len(model.normalization_)), from_rows(_nystroem)),
    PolynomialCountSketch: (columns_out(_components), from_rows(_count_sketch)),
    RBFSampler: (columns_out(_components), from_rows(_waves)),
    SkewedChi2Sampler: (columns_out(_components), from_rows(_waves)),
}
