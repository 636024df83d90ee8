"""Transformers that no graph can have, and why; they are served by scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.decomposition import (
    NMF,
    DictionaryLearning,
    LatentDirichletAllocation,
    MiniBatchDictionaryLearning,
    MiniBatchNMF,
    SparseCoder,
)
from sklearn.impute import KNNImputer
from sklearn.manifold import Isomap, LocallyLinearEmbedding
from sklearn.neighbors import KNeighborsTransformer, RadiusNeighborsTransformer

from training.export.nodes import Converter, Shape

_SOLVES = "solves a problem of its own for each row, in as many steps as the row needs"
_TOGETHER = "solves a problem for all rows together: a row's numbers depend on the rows beside it"
_NEIGHBOURS = "looks for neighbours among all the rows that it was fitted on"
REASONS: Mapping[type, str] = {
    DictionaryLearning: _SOLVES,
    Isomap: _NEIGHBOURS,
    KNeighborsTransformer: "gives each row a column for every row that it was fitted on",
    KNNImputer: "chooses among neighbours at the same distance by the order of a sort",
    LatentDirichletAllocation: _SOLVES,
    LocallyLinearEmbedding: _NEIGHBOURS,
    MiniBatchDictionaryLearning: _SOLVES,
    MiniBatchNMF: _TOGETHER,
    NMF: _TOGETHER,
    RadiusNeighborsTransformer: "gives each row a column for every row that it was fitted on",
    SparseCoder: _SOLVES,
}


def _refusing(kind: type, reason: str) -> tuple[Shape, Converter]:
    def shape(_: Any) -> None:
        raise NotImplementedError(f"{kind.__name__} {reason}")

    def convert(scope: Any, operator: Any, container: Any) -> None:
        """Never reached: the shapes are asked for first."""

    return shape, convert


REPLACED: Mapping[str, Converter] = {}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = {
    kind: _refusing(kind, reason) for kind, reason in REASONS.items()
}
