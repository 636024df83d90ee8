"""scikit-learn's gradient boosting over histograms.

https://scikit-learn.org/stable/modules/ensemble.html#histogram-based-gradient-boosting
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from training.export.boosters import code
from training.export.dumps import numbered
from training.export.encoders import columns_of
from training.export.nodes import REAL, Converter, Nodes, Shape, classes_out, value_out
from training.export.trees import Tree, classify, ensemble


def _histogram(nodes: Nodes, operator: Any) -> str:
    """The raw prediction, shape (n, trees per iteration)."""
    trees, baseline = histogram_trees(operator.raw_operator)
    total = ensemble(nodes, _histogram_input(nodes, operator), trees, len(baseline))
    return nodes.add("Add", total, nodes.constant("baseline", REAL, [1, len(baseline)], baseline))


def histogram_trees(model: Any) -> tuple[list[Tree], list[float]]:
    """The trees, and what is added to each target's sum, the raw prediction."""
    order = np.arange(model.n_features_in_)  # the column of each of the trees' features
    if getattr(model, "_preprocessor", None) is not None:
        categorical = np.asarray(model.is_categorical_)
        order = np.concatenate([np.flatnonzero(categorical), np.flatnonzero(~categorical)])
    trees = [
        _histogram_tree(predictor, target, order)
        for stage in model._predictors
        for target, predictor in enumerate(stage)
    ]
    return trees, np.asarray(model._baseline_prediction, np.float64).reshape(-1).tolist()


def _histogram_input(nodes: Nodes, operator: Any) -> str:
    """The columns, of categories the numbers."""
    model = operator.raw_operator
    if getattr(model, "_preprocessor", None) is None:
        return nodes.double(operator)
    categorical = np.asarray(model.is_categorical_)
    (encoder,) = (step for name, step, _ in model._preprocessor.transformers_ if name == "encoder")
    known, parts = iter(encoder.categories_), []
    for column, coded in zip(columns_of(nodes, operator), categorical, strict=True):
        if coded:  # NaN, or None, is no category of its own
            categories = [each for each in next(known) if each == each is not None]
            parts.append(code(nodes, column, numbered(categories)))
        else:
            parts.append(column.name)
    return nodes.add("Concat", *parts, axis=1)


def _histogram_tree(predictor: Any, target: int, order: np.ndarray) -> Tree:
    """From a ``TreePredictor``, whose sets are bits: those of the categories that go left."""
    nodes = predictor.nodes
    left, right = (
        np.where(nodes["is_leaf"] == 1, -1, nodes[side].astype(np.int64)) for side in ("left", "right")
    )
    members = {}
    for node in np.flatnonzero((nodes["is_categorical"] == 1) & (nodes["is_leaf"] == 0)):
        bits = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        members[int(node)] = [
            float(each) for each in range(32 * len(bits)) if int(bits[each // 32]) >> each % 32 & 1
        ] or [-1.0]  # which is no category: a set must have a member
    return Tree(
        left,
        right,
        order[nodes["feature_idx"].astype(np.int64)],
        nodes["num_threshold"],
        nodes["missing_go_to_left"].astype(bool),
        nodes["value"],
        target,
        members,
        nodes["count"].astype(np.float64),
    )


def _histogram_classifier(scope: Any, operator: Any, container: Any) -> None:
    nodes = Nodes(scope, container)
    classify(nodes, operator, _histogram(nodes, operator), "Greater", 1.0)


def _histogram_regressor(scope: Any, operator: Any, container: Any) -> None:
    nodes = Nodes(scope, container)
    raw, output = _histogram(nodes, operator), operator.output_full_names[0]
    loss = operator.raw_operator.loss
    nodes.add("Exp" if loss in ("poisson", "gamma") else "Identity", raw, output=output)


REPLACED: Mapping[str, Converter] = {
    "HistGradientBoostingClassifier": _histogram_classifier,
    "HistGradientBoostingRegressor": _histogram_regressor,
}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {
    "HistGradientBoostingClassifier": classes_out,
    "HistGradientBoostingRegressor": value_out,
}
ADDED: Mapping[type, tuple[Shape, Converter]] = {}
