"""Outlier detectors, clusterers and mixtures, in doubles and by the formulas of scikit-learn.

A detector's graph gives the label and the score; a clusterer's the label; a mixture's the label, the
probabilities and the score.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import sparse
from scipy.special import digamma
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType
from sklearn.cluster import AffinityPropagation, Birch, BisectingKMeans, MeanShift
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble._iforest import _average_path_length
from sklearn.mixture import BayesianGaussianMixture
from sklearn.mixture._gaussian_mixture import _compute_log_det_cholesky
from sklearn.utils.extmath import row_norms

from training.export.nodes import REAL, WHOLE, Converter, Nodes, Shape, rows_of
from training.export.parts import greatest, linear, matrix, row, total, wholes
from training.export.trees import Tree, as_single, ensemble

LABELS = np.array([-1, 1])
#: The doubles around a depth, in each direction, among which the first one of a normal row is looked for.
NEIGHBOURS = 64


def _label_and_score(operator: Any) -> None:
    label, score = operator.outputs
    label.type, score.type = Int64TensorType([rows_of(operator)]), DoubleTensorType([rows_of(operator)])


def _label_and_tables(operator: Any) -> None:
    label, *others = operator.outputs
    label.type = Int64TensorType([rows_of(operator)])
    for each in others:
        each.type = DoubleTensorType([rows_of(operator), None])


def _detect(nodes: Nodes, operator: Any, decision: str, inlier: str = "GreaterOrEqual") -> None:
    """A detector's outputs from its decision function, shape (n,); ``inlier`` compares it with zero."""
    label, score = operator.output_full_names
    _inliers(nodes, nodes.add(inlier, decision, nodes.number(0.0)), label)
    nodes.add("Identity", decision, output=score)


def _inliers(nodes: Nodes, which: str, label: str) -> None:
    """1 where ``which`` holds, and -1 elsewhere."""
    nodes.labels(LABELS, nodes.add("Cast", which, to=WHOLE), label)


def _isolation_forest(scope: Any, operator: Any, container: Any) -> None:
    """The mean depth of a row's leaves, as a share of what is expected of it.

    The label comes from the sum of the depths, which is exact, and not from the power of two.
    https://scikit-learn.org/stable/modules/outlier_detection.html#isolation-forest
    """
    forest, nodes = operator.raw_operator, Nodes(scope, container)
    trees = []
    for each, columns, path, average in zip(
        forest.estimators_,
        forest.estimators_features_,
        forest._decision_path_lengths,
        forest._average_path_length_per_tree,
        strict=True,
    ):
        tree = Tree.of(each.tree_)
        feature = np.asarray(columns)[np.maximum(tree.feature, 0)]  # a leaf has none, and -2 here
        trees.append(replace(tree, feature=feature, value=path + average - 1.0))
    expected = float(len(trees) * _average_path_length([forest._max_samples])[0])
    offset = float(forest.offset_)
    if expected == 0 or not -1 < offset < 0:
        raise NotImplementedError("an isolation forest to which every row is the same")
    total = ensemble(nodes, as_single(nodes, nodes.double(operator)), trees, 1, in_order=True)
    depth = nodes.flat(total)
    share = nodes.add("Neg", nodes.add("Div", depth, nodes.number(expected)))
    power = nodes.add("Pow", nodes.number(2.0), share)
    label, score = operator.output_full_names
    nodes.add("Sub", nodes.add("Neg", power), nodes.number(offset), output=score)
    least = nodes.number(_least_normal_depth(expected, offset))
    _inliers(nodes, nodes.add("GreaterOrEqual", depth, least), label)


def _least_normal_depth(expected: float, offset: float) -> float:
    """The smallest depth at which the decision function is not negative."""
    guess = -expected * math.log2(-offset)
    depths = guess + np.spacing(guess) * np.arange(-NEIGHBOURS, NEIGHBOURS + 1)
    normal = -(2 ** -(depths / expected)) - offset >= 0
    if normal[0] or not normal[-1]:
        raise NotImplementedError("an isolation forest whose threshold is not found")
    return float(depths[normal.argmax()])


def _dense(values: Any) -> np.ndarray:
    return values.toarray() if sparse.issparse(values) else np.asarray(values)


def _one_class_svm(scope: Any, operator: Any, container: Any) -> None:
    """https://scikit-learn.org/stable/modules/svm.html#kernel-functions"""
    svm, nodes = operator.raw_operator, Nodes(scope, container)
    given, vectors = nodes.double(operator), _dense(svm.support_vectors_)
    weights, intercept = _dense(svm.dual_coef_).T, svm.intercept_
    if svm.kernel == "linear":
        _detect(nodes, operator, linear(nodes, given, vectors.T @ weights, intercept), "Greater")
        return
    if svm.kernel not in ("rbf", "poly", "sigmoid"):
        raise NotImplementedError("OneClassSVM with a kernel of its own")
    if svm.kernel == "rbf":
        # Around their mean, the vectors are small, and less is lost where squares cancel out.
        centre = vectors.mean(axis=0)
        around, vectors = nodes.add("Sub", given, row(nodes, centre)), vectors - centre
        distances = _squared_distances(nodes, around, vectors)
        kernel = nodes.add("Exp", nodes.add("Mul", distances, nodes.number(-float(svm._gamma))))
    else:
        product = linear(nodes, given, vectors.T * svm._gamma, svm.coef0)
        product = nodes.add("Reshape", product, wholes(nodes, [-1, len(vectors)]))
        power = nodes.number(float(svm.degree))
        kernel = nodes.add("Tanh", product) if svm.kernel == "sigmoid" else nodes.add("Pow", product, power)
    _detect(nodes, operator, linear(nodes, kernel, weights, intercept), "Greater")


def _sgd_one_class_svm(scope: Any, operator: Any, container: Any) -> None:
    svm, nodes = operator.raw_operator, Nodes(scope, container)
    weights = np.reshape(svm.coef_, (-1, 1))
    _detect(nodes, operator, linear(nodes, nodes.double(operator), weights, -svm.offset_))


def _elliptic_envelope(scope: Any, operator: Any, container: Any) -> None:
    """The squared Mahalanobis distance, of which SciPy gives the root and scikit-learn the square again.

    https://scikit-learn.org/stable/modules/outlier_detection.html#fitting-an-elliptic-envelope
    """
    envelope, nodes = operator.raw_operator, Nodes(scope, container)
    given = nodes.add("Sub", nodes.double(operator), row(nodes, envelope.location_))
    product = nodes.add("MatMul", given, matrix(nodes, envelope.get_precision()))
    distance = nodes.flat(nodes.add("Sqrt", total(nodes, nodes.add("Mul", product, given))))
    squared = nodes.add("Mul", distance, distance)
    decision = nodes.add("Sub", nodes.add("Neg", squared), nodes.number(float(envelope.offset_)))
    _detect(nodes, operator, decision)


def _local_outlier_factor(scope: Any, operator: Any, container: Any) -> None:
    """The stock converter's distances are so far off that other rows are the nearest."""
    raise NotImplementedError("LocalOutlierFactor, whose neighbours the graph does not find exactly")


def _squared_distances(nodes: Nodes, given: str, centres: np.ndarray, norms: Any = None) -> str:
    """Of each row from each centre, shape (n, centres), in the order in which scikit-learn adds.

    https://scikit-learn.org/stable/modules/generated/sklearn.metrics.pairwise.euclidean_distances.html
    """
    own = total(nodes, nodes.add("Mul", given, given))
    middle = nodes.add("MatMul", given, matrix(nodes, -2.0 * centres.T))
    norms = row_norms(centres, squared=True) if norms is None else norms
    distances = nodes.add("Add", nodes.add("Add", own, middle), row(nodes, norms))
    return nodes.add("Max", distances, nodes.number(0.0))


def _nearest(nodes: Nodes, operator: Any, distances: str, labels: np.ndarray) -> None:
    """A clusterer's outputs: the label of the least distance, the first of equals."""
    label, *others = operator.output_full_names
    nodes.most_probable(labels, nodes.add("Neg", distances), label)
    for each in others:  # skl2onnx declares it, and the graph leaves it out
        nodes.add("Identity", distances, output=each)


def _without_own_norm(nodes: Nodes, given: str, centres: np.ndarray) -> str:
    """Squared distances without the row's own norm, which is the same for every centre."""
    middle = nodes.add("MatMul", given, matrix(nodes, -2.0 * centres.T))
    return nodes.add("Add", middle, row(nodes, row_norms(centres, squared=True)))


def _kmeans(scope: Any, operator: Any, container: Any) -> None:
    """https://scikit-learn.org/stable/modules/clustering.html#k-means"""
    nodes = Nodes(scope, container)
    centres = operator.raw_operator.cluster_centers_
    distances = _without_own_norm(nodes, nodes.double(operator), centres)
    _nearest(nodes, operator, distances, np.arange(len(centres)))


def _bisecting_kmeans(scope: Any, operator: Any, container: Any) -> None:
    """Every branch of the tree is decided, and the leaf found to which all decisions on its way lead.

    https://scikit-learn.org/stable/modules/clustering.html#bisecting-k-means
    """
    model, nodes = operator.raw_operator, Nodes(scope, container)
    branches: list[Any] = []
    leaves = list(_leaves(model._bisecting_tree, {}, branches))
    if not branches:
        raise NotImplementedError("BisectingKMeans with one cluster")
    given, mean = nodes.double(operator), getattr(model, "_X_mean", 0.0)
    left, right = (
        _without_own_norm(nodes, given, np.array([getattr(each, side).center for each in branches]) + mean)
        for side in ("left", "right")
    )
    decided = nodes.add("Cast", nodes.add("Less", right, left), to=REAL)
    ways = np.zeros((len(branches), len(leaves)))
    for index, (_, way) in enumerate(leaves):
        ways[list(way), index] = [1.0 if turn else -1.0 for turn in way.values()]
    # Zero for the leaf that is reached, and less for every other.
    agreement = linear(nodes, decided, ways, -(ways > 0).sum(axis=0))
    _nearest(nodes, operator, nodes.add("Neg", agreement), np.array([label for label, _ in leaves]))


def _leaves(
    node: Any, way: Mapping[int, bool], branches: list[Any]
) -> Iterator[tuple[int, Mapping[int, bool]]]:
    """Each leaf's label, and the way to it: the branches' indices, and whether it goes right there."""
    if node.left is None:
        yield int(node.label), way
        return
    index = len(branches)
    branches.append(node)
    yield from _leaves(node.left, {**way, index: False}, branches)
    yield from _leaves(node.right, {**way, index: True}, branches)


def _nearest_centre(scope: Any, operator: Any, container: Any) -> None:
    """``MeanShift`` and ``AffinityPropagation``."""
    nodes, centres = Nodes(scope, container), operator.raw_operator.cluster_centers_
    if not len(centres):
        raise NotImplementedError("AffinityPropagation that did not converge")
    distances = _squared_distances(nodes, nodes.double(operator), np.asarray(centres))
    _nearest(nodes, operator, distances, np.arange(len(centres)))


def _birch(scope: Any, operator: Any, container: Any) -> None:
    """https://scikit-learn.org/stable/modules/clustering.html#birch"""
    birch, nodes = operator.raw_operator, Nodes(scope, container)
    centres, norms = birch.subcluster_centers_, birch._subcluster_norms
    distances = _squared_distances(nodes, nodes.double(operator), centres, norms)
    _nearest(nodes, operator, distances, birch.subcluster_labels_)


def _mixture(scope: Any, operator: Any, container: Any) -> None:
    """https://scikit-learn.org/stable/modules/mixture.html"""
    mixture, nodes = operator.raw_operator, Nodes(scope, container)
    components, features = mixture.means_.shape
    constant = nodes.number(features * math.log(2 * math.pi))
    together = nodes.add("Add", _mahalanobis(nodes, nodes.double(operator), mixture), constant)
    logarithms = nodes.add("Mul", together, nodes.number(-0.5))
    kind = mixture.covariance_type
    log_det = _compute_log_det_cholesky(mixture.precisions_cholesky_, kind, features)
    terms = [np.broadcast_to(log_det, components)]
    if isinstance(mixture, BayesianGaussianMixture):
        terms += _bayesian_terms(mixture, features)
    for each in (*terms, mixture._estimate_log_weights()):
        logarithms = nodes.add("Add", logarithms, row(nodes, each))
    label, probabilities, *score = operator.output_full_names
    nodes.most_probable(np.arange(components), logarithms, label)
    most = greatest(nodes, logarithms)
    raised = total(nodes, nodes.add("Exp", nodes.add("Sub", logarithms, most)))
    likelihood = nodes.add("Add", most, nodes.add("Log", raised))
    nodes.add("Exp", nodes.add("Sub", logarithms, likelihood), output=probabilities)
    for each in score:
        nodes.add("Identity", likelihood, output=each)


def _bayesian_terms(mixture: Any, features: int) -> list[np.ndarray]:
    """What the variational mixture adds to a component's logarithm, beside its weight.

    https://github.com/scikit-learn/scikit-learn/blob/1.9.1/sklearn/mixture/_bayesian_mixture.py
    """
    freedom = mixture.degrees_of_freedom_
    spread = digamma(0.5 * (freedom - np.arange(features)[:, np.newaxis])).sum(axis=0)
    log_lambda = features * np.log(2.0) + spread
    return [
        -0.5 * features * np.log(freedom),
        0.5 * (log_lambda - features / mixture.mean_precision_),
    ]


def _mahalanobis(nodes: Nodes, given: str, mixture: Any) -> str:
    """Squared Mahalanobis distances from each component, shape (n, components)."""
    means, roots = mixture.means_, mixture.precisions_cholesky_
    components, features = means.shape
    if mixture.covariance_type in ("full", "tied"):
        each_root = roots if mixture.covariance_type == "full" else [roots] * components
        parts = []
        for feature in range(features):  # the members of all components that belong together
            columns = np.stack([root[:, feature] for root in each_root], axis=1)
            middles = [(mean @ root)[feature] for mean, root in zip(means, each_root, strict=True)]
            product = nodes.add("MatMul", given, matrix(nodes, columns))
            difference = nodes.add("Sub", product, row(nodes, middles))
            parts.append(nodes.add("Mul", difference, difference))
        return _added_up(nodes, parts)
    squares = nodes.add("Mul", given, given)
    precisions = roots**2
    if mixture.covariance_type == "diag":
        own = row(nodes, (means**2 * precisions).sum(axis=1))
        middle = nodes.add("MatMul", given, matrix(nodes, 2.0 * (means * precisions).T))
        last = nodes.add("MatMul", squares, matrix(nodes, precisions.T))
    else:
        own = row(nodes, (means**2).sum(axis=1) * precisions)
        product = nodes.add("MatMul", given, matrix(nodes, 2.0 * means.T))
        middle = nodes.add("Mul", product, row(nodes, precisions))
        last = nodes.add("Mul", total(nodes, squares), row(nodes, precisions))
    return nodes.add("Add", nodes.add("Sub", own, middle), last)


def _added_up(nodes: Nodes, parts: Sequence[str]) -> str:
    """The sum of tables, in the order in which NumPy adds a row: far away, it decides which is nearer.

    https://github.com/numpy/numpy/blob/v2.3.0/numpy/_core/src/umath/loops_utils.h.src
    """
    count = len(parts)
    if count > 128:
        half = count // 2 - count // 2 % 8
        return nodes.add("Add", _added_up(nodes, parts[:half]), _added_up(nodes, parts[half:]))
    sums = list(parts[:8])
    whole = count - count % 8
    for index in range(8, whole):
        sums[index % 8] = nodes.add("Add", sums[index % 8], parts[index])
    while count >= 8 and len(sums) > 1:
        sums = [nodes.add("Add", *sums[index : index + 2]) for index in range(0, len(sums), 2)]
    total, *others = [*sums, *parts[whole:]] if count >= 8 else sums
    for each in others:
        total = nodes.add("Add", total, each)
    return total


REPLACED: Mapping[str, Converter] = {
    "IsolationForest": _isolation_forest,
    "OneClassSVM": _one_class_svm,
    "SGDOneClassSVM": _sgd_one_class_svm,
    "LocalOutlierFactor": _local_outlier_factor,
    "KMeans": _kmeans,
    "MiniBatchKMeans": _kmeans,
    "GaussianMixture": _mixture,
    "BayesianGaussianMixture": _mixture,
}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {
    **dict.fromkeys(REPLACED, _label_and_tables),
    **dict.fromkeys(("IsolationForest", "OneClassSVM", "SGDOneClassSVM"), _label_and_score),
}
ADDED: Mapping[type, tuple[Shape, Converter]] = {
    EllipticEnvelope: (_label_and_score, _elliptic_envelope),
    BisectingKMeans: (_label_and_tables, _bisecting_kmeans),
    MeanShift: (_label_and_tables, _nearest_centre),
    AffinityPropagation: (_label_and_tables, _nearest_centre),
    Birch: (_label_and_tables, _birch),
}
