"""Transformers that choose, weigh or pool columns, in doubles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.cluster import Birch, BisectingKMeans, FeatureAgglomeration, KMeans, MiniBatchKMeans
from sklearn.decomposition import FactorAnalysis, FastICA, MiniBatchSparsePCA, SparsePCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomTreesEmbedding
from sklearn.feature_selection import RFE, RFECV, SequentialFeatureSelector
from sklearn.neural_network import BernoulliRBM
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from training.compat import get_tags
from training.export.binning import one_hot
from training.export.kernels import squared_distances
from training.export.nodes import WHOLE, Converter, Nodes, Shape, columns_out, from_rows
from training.export.trees import Tree, as_single, ensemble

#: From the nodes, the transformer and its input's name to its output's name.
Make = Callable[[Nodes, Any, str], str]


def _product(nodes: Nodes, given: str, mean: Any, matrix: np.ndarray) -> str:
    """The rows, less their mean, by a matrix of shape (columns, components)."""
    centred = given if mean is None else nodes.add("Sub", given, nodes.row(mean))
    return nodes.add("MatMul", centred, nodes.matrix(matrix))


def _factors(nodes: Nodes, model: Any, given: str) -> str:
    """https://scikit-learn.org/stable/modules/decomposition.html#factor-analysis"""
    weights = model.components_ / model.noise_variance_
    covariance = np.linalg.inv(np.eye(len(weights)) + weights @ model.components_.T)
    return _product(nodes, given, model.mean_, weights.T @ covariance)


def _independent(nodes: Nodes, model: Any, given: str) -> str:
    return _product(nodes, given, model.mean_ if model.whiten else None, model.components_.T)


def _sparse_components(nodes: Nodes, model: Any, given: str) -> str:
    """The ridge regression of each row on the components, whose solution is one matrix for all rows."""
    components = model.components_
    gram = components @ components.T + model.ridge_alpha * np.eye(len(components))
    return _product(nodes, given, model.mean_, np.linalg.solve(gram, components).T)


def _random_projection(nodes: Nodes, model: Any, given: str) -> str:
    components = model.components_
    dense = components.toarray() if sparse.issparse(components) else components
    return _product(nodes, given, None, dense.T)


def _restricted_boltzmann(nodes: Nodes, model: Any, given: str) -> str:
    product = _product(nodes, given, None, model.components_.T)
    return nodes.add("Sigmoid", nodes.add("Add", product, nodes.row(model.intercept_hidden_)))


def _discriminants(nodes: Nodes, model: Any, given: str) -> str:
    """https://scikit-learn.org/stable/modules/lda_qda.html#dimensionality-reduction-using-linear-discriminant-analysis"""
    mean = model.xbar_ if model.solver == "svd" else None
    return _product(nodes, given, mean, model.scalings_[:, : model._max_components])


def _width_of_discriminants(model: Any) -> int:
    return int(min(model.scalings_.shape[1], model._max_components))


def _distances(nodes: Nodes, model: Any, given: str) -> str:
    """From the centres of clusters."""
    return nodes.add("Sqrt", squared_distances(nodes, given, _centres(model)))


def _centres(model: Any) -> np.ndarray:
    centres: np.ndarray = model.subcluster_centers_ if isinstance(model, Birch) else model.cluster_centers_
    return centres.astype(np.float64)


def _pooled(nodes: Nodes, model: Any, given: str) -> str:
    """Columns that are alike, as one."""
    labels, pool = model.labels_, model.pooling_func
    own = labels[:, None] == np.arange(model.n_clusters_)
    if pool in (np.mean, np.sum):
        total = nodes.add("MatMul", given, nodes.matrix(own.astype(float)))
        return nodes.add("Div", total, nodes.row(own.sum(axis=0))) if pool is np.mean else total
    kind = {np.max: "ReduceMax", np.min: "ReduceMin"}.get(pool)
    if kind is None:
        raise NotImplementedError("FeatureAgglomeration by another function than mean, sum, max or min")
    largest = int(own.sum(axis=0).max())
    members = [np.resize(np.flatnonzero(each), largest) for each in own.T]  # some again: none counts twice
    shape = nodes.constant("groups", WHOLE, [3], [-1, len(members), largest])
    groups = nodes.add("Reshape", nodes.columns(given, np.concatenate(members)), shape)
    return nodes.add(kind, groups, nodes.constant("axis", WHOLE, [1], [2]), keepdims=0)


def _chosen(nodes: Nodes, model: Any, given: str) -> str:
    return nodes.columns(given, model.get_support(indices=True))


def _leaves(nodes: Nodes, model: Any, given: str) -> str:
    """The leaf of each tree that a row comes to, one-hot."""
    trees, encoder = [], model.one_hot_encoder_
    for index, (each, leaves) in enumerate(zip(model.estimators_, encoder.categories_, strict=True)):
        numbers = np.zeros(each.tree_.node_count)
        numbers[leaves.astype(int)] = np.arange(len(leaves))
        grown = each.tree_
        missing_left = grown.missing_go_to_left.astype(bool)
        trees.append(
            Tree(
                grown.children_left, grown.children_right, grown.feature, grown.threshold, missing_left,
                numbers, index,
            )
        )  # fmt: skip
    numbers_of_leaves = ensemble(nodes, as_single(nodes, given), trees, len(trees))
    return one_hot(nodes, numbers_of_leaves, [len(each) for each in encoder.categories_])


def _components(model: Any) -> int:
    return len(model.components_)


def _support(model: Any) -> int:
    return int(model.get_support().sum())


#: What is asked only for ``transform()``, though it predicts too: its width and its nodes.
ALSO_PREDICTING: Mapping[type, tuple[Callable[[Any], int], Make]] = {
    Birch: (lambda model: len(_centres(model)), _distances),
    BisectingKMeans: (lambda model: len(_centres(model)), _distances),
    FeatureAgglomeration: (lambda model: int(model.n_clusters_), _pooled),
    KMeans: (lambda model: len(_centres(model)), _distances),
    LinearDiscriminantAnalysis: (_width_of_discriminants, _discriminants),
    MiniBatchKMeans: (lambda model: len(_centres(model)), _distances),
    RandomTreesEmbedding: (
        lambda model: sum(map(len, model.one_hot_encoder_.categories_)),
        _leaves,
    ),
    RFE: (_support, _chosen),
    RFECV: (_support, _chosen),
}


class AsTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted ``model`` of which only ``transform()`` is used; skl2onnx would ask it to predict."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @property
    def n_features_in_(self) -> int:
        """The columns that it takes."""
        return int(self.model.n_features_in_)

    def fit(self, _: Any, __: Any = None) -> AsTransformer:
        """It is fitted."""
        return self

    def transform(self, rows: Any) -> Any:
        """As the model does."""
        return self.model.transform(rows)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.model).input_tags
        return tags


def as_transformer(step: Any) -> Any:
    """The same step, or ``AsTransformer`` in the place of what also predicts."""
    return AsTransformer(step) if type(step) in ALSO_PREDICTING else step


def _standing_in(nodes: Nodes, model: Any, given: str) -> str:
    _, make = ALSO_PREDICTING[type(model.model)]
    return make(nodes, model.model, given)


def _width_of_standing_in(model: Any) -> int:
    width, _ = ALSO_PREDICTING[type(model.model)]
    return width(model.model)


REPLACED: Mapping[str, Converter] = {}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = {
    AsTransformer: (columns_out(_width_of_standing_in), from_rows(_standing_in)),
    BernoulliRBM: (columns_out(_components), from_rows(_restricted_boltzmann)),
    FactorAnalysis: (columns_out(_components), from_rows(_factors)),
    FastICA: (columns_out(_components), from_rows(_independent)),
    GaussianRandomProjection: (
        columns_out(lambda model: model.components_.shape[0]),
        from_rows(_random_projection),
    ),
    MiniBatchSparsePCA: (columns_out(_components), from_rows(_sparse_components)),
    SequentialFeatureSelector: (columns_out(_support), from_rows(_chosen)),
    SparsePCA: (columns_out(_components), from_rows(_sparse_components)),
    SparseRandomProjection: (
        columns_out(lambda model: model.components_.shape[0]),
        from_rows(_random_projection),
    ),
}
