"""Trees and their ensembles, in doubles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble._forest import BaseForest
from sklearn.tree import BaseDecisionTree

from training.export.nodes import REAL, WHOLE, Converter, Nodes, Shape
from training.export.parts import columns, decision, label_by_score, outputs, wants_decision, wholes
from training.export.parts import total as row_total

ML = "ai.onnx.ml"
#: The first version of its operators that walks trees in doubles.
#: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
ML_VERSION = 5
#: The most nodes that the trees of a graph may have: about 50 MB. A forest's trees stand there once for
#: each class.
MOST_NODES = 1_000_000


@dataclass(frozen=True, slots=True)
class Tree:
    """A fitted tree that adds to one target; arrays over its nodes, of shape (nodes,).

    A leaf has no child (-1) on the left. A row goes left if its feature is at most the split value, or is
    missing where ``missing_left``.
    """

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    split: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray
    target: int = 0

    @classmethod
    def of(cls, tree: Any, target: int = 0, column: int = 0) -> Tree:
        """From scikit-learn's ``Tree``; ``column`` of its nodes' values."""
        left, right, missing_left = tree.children_left, tree.children_right, tree.missing_go_to_left
        value = tree.value[:, 0, column]
        return cls(left, right, tree.feature, tree.threshold, missing_left.astype(bool), value, target)

    @classmethod
    def of_histogram(cls, predictor: Any, target: int) -> Tree:
        """From the ``TreePredictor`` of histogram gradient boosting."""
        nodes = predictor.nodes
        if nodes["is_categorical"].any():
            raise NotImplementedError("HistGradientBoosting with categorical features of its own")
        left, right = (
            np.where(nodes["is_leaf"] == 1, -1, nodes[side].astype(np.int64)) for side in ("left", "right")
        )
        feature, missing_left = nodes["feature_idx"].astype(np.int64), nodes["missing_go_to_left"]
        split = nodes["num_threshold"]
        return cls(left, right, feature, split, missing_left.astype(bool), nodes["value"], target)


def ensemble(nodes: Nodes, given: str, trees: Sequence[Tree], targets: int) -> str:
    """Add one ``TreeEnsemble`` node: each target is the sum of its trees, in order; shape (n, targets).

    https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
    """
    if (size := sum(len(tree.left) for tree in trees)) > MOST_NODES:
        raise NotImplementedError(
            f"trees of {size:,} nodes, each tree once for each class where it tells classes apart; a graph "
            f"takes {MOST_NODES:,}"
        )
    parts: list[tuple[Any, ...]] = []
    leaves: list[np.ndarray] = []
    leaf_targets: list[np.ndarray] = []
    roots = []
    branches = total_leaves = 0
    for tree in trees:
        is_leaf = tree.left < 0
        roots.append(branches)
        if is_leaf[0]:  # a tree must have a branch: both sides of this one are the leaf
            one, none = np.ones(1, np.int64), np.zeros(1, np.int64)
            end = none + total_leaves
            parts.append((none, none.astype(float), none, end, one, end, one))
            leaves.append(tree.value[:1])
            branches += 1
            total_leaves += 1
        else:
            number = np.where(
                is_leaf, np.cumsum(is_leaf) - 1 + total_leaves, np.cumsum(~is_leaf) - 1 + branches
            )
            inner = ~is_leaf
            left, right = tree.left[inner], tree.right[inner]
            parts.append(
                (
                    tree.feature[inner],
                    tree.split[inner],
                    tree.missing_left[inner],
                    number[left],
                    is_leaf[left],
                    number[right],
                    is_leaf[right],
                )
            )
            leaves.append(tree.value[is_leaf])
            branches += int(inner.sum())
            total_leaves += int(is_leaf.sum())
        leaf_targets.append(np.full(len(leaves[-1]), tree.target))
    feature, split, missing, left, left_leaf, right, right_leaf = (
        np.concatenate(each) for each in zip(*parts, strict=True)
    )
    return nodes.add(
        "TreeEnsemble",
        given,
        op_domain=ML,
        op_version=3,  # skl2onnx knows no later one; ``to_onnx`` states the true version
        n_targets=targets,
        aggregate_function=1,  # the sum
        post_transform=0,
        tree_roots=roots,
        nodes_featureids=_whole(feature),
        nodes_splits=_tensor("splits", split, REAL),
        nodes_modes=onnx.helper.make_tensor(
            "modes", onnx.TensorProto.UINT8, [branches], bytes(branches), raw=True
        ),  # left where at most the split value
        nodes_missing_value_tracks_true=_whole(missing),
        nodes_truenodeids=_whole(left),
        nodes_trueleafs=_whole(left_leaf),
        nodes_falsenodeids=_whole(right),
        nodes_falseleafs=_whole(right_leaf),
        leaf_targetids=_whole(np.concatenate(leaf_targets)),
        leaf_weights=_tensor("weights", np.concatenate(leaves), REAL),
    )


def _whole(values: np.ndarray) -> list[int]:
    return [int(each) for each in values]


def _tensor(name: str, values: np.ndarray, kind: int) -> onnx.TensorProto:
    content = np.ascontiguousarray(values, np.float64).astype("<f8").tobytes()
    return onnx.helper.make_tensor(name, kind, [len(values)], content, raw=True)


def _as_single(nodes: Nodes, given: str) -> str:
    """Doubles with the precision of float32, in which scikit-learn's trees compare features."""
    return nodes.add("Cast", nodes.add("Cast", given, to=onnx.TensorProto.FLOAT), to=REAL)


def _forest_classifier(scope: Any, operator: Any, container: Any) -> None:
    """A tree or the mean of trees; one leaf has one target, so each class has trees of its own."""
    forest, nodes = operator.raw_operator, Nodes(scope, container)
    _require_one_output(forest)
    grown = [each.tree_ for each in getattr(forest, "estimators_", [forest])]
    classes = len(forest.classes_)
    operator.outputs[1].set_type(DoubleTensorType([None, classes]))  # skl2onnx takes a forest's for floats
    trees = [Tree.of(tree, column, column) for tree in grown for column in range(classes)]
    total = ensemble(nodes, _as_single(nodes, nodes.double(operator)), trees, classes)
    label, probabilities = operator.output_full_names
    nodes.add("Div", total, nodes.number(float(len(grown))), output=probabilities)
    nodes.most_probable(forest.classes_, probabilities, label)


def _forest_regressor(scope: Any, operator: Any, container: Any) -> None:
    forest, nodes = operator.raw_operator, Nodes(scope, container)
    _require_one_output(forest)
    grown = [each.tree_ for each in getattr(forest, "estimators_", [forest])]
    trees = [Tree.of(tree) for tree in grown]
    total = ensemble(nodes, _as_single(nodes, nodes.double(operator)), trees, 1)
    nodes.add("Div", total, nodes.number(float(len(grown))), output=operator.output_full_names[0])


def _require_one_output(forest: Any) -> None:
    if getattr(forest, "n_outputs_", 1) != 1:
        raise NotImplementedError("trees with several targets")


def _boosted(scope: Any, operator: Any, container: Any) -> str:
    """The raw prediction of gradient boosting, shape (n, trees per iteration)."""
    nodes, model = Nodes(scope, container), operator.raw_operator
    grown = [
        Tree.of(each.tree_, target) for stage in model.estimators_ for target, each in enumerate(stage)
    ]
    trees = [replace(tree, value=tree.value * model.learning_rate) for tree in grown]
    targets = model.estimators_.shape[1]
    single = _as_single(nodes, nodes.double(operator))
    total = ensemble(nodes, single, trees, targets)
    if isinstance(model.init_, str | DummyClassifier | DummyRegressor):
        constant = model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))[0]
        initial = nodes.constant("initial", REAL, [1, targets], constant.tolist())
    else:
        initial = _initial(scope, operator, container, single)
    return nodes.add("Add", total, initial)


def _initial(scope: Any, operator: Any, container: Any, single: str) -> str:
    """The raw prediction of an initial estimator of the user's own, as its loss links it."""
    nodes, model = Nodes(scope, container), operator.raw_operator
    if not isinstance(model.init_, BaseDecisionTree | BaseForest):
        raise NotImplementedError(
            f"gradient boosting that starts from {type(model.init_).__name__}, which it runs in float32"
        )
    given = scope.declare_local_variable("single", DoubleTensorType(operator.inputs[0].type.shape))
    nodes.add("Identity", single, output=given.full_name)
    *_, answer = outputs(scope, container, given, model.init_)
    if not is_classifier(model):
        return nodes.add("Reshape", answer.full_name, wholes(nodes, [-1, 1]))
    smallest = float(np.finfo(np.float32).eps)
    least, most = nodes.number(smallest), nodes.number(1 - smallest)
    clipped = nodes.add("Min", nodes.add("Max", answer.full_name, least), most)
    logarithms = nodes.add("Log", clipped)
    classes = len(model.classes_)
    if classes > 2:
        mean = nodes.add("Div", row_total(nodes, logarithms), nodes.number(float(classes)))
        return nodes.add("Sub", logarithms, mean)
    positive = columns(nodes, clipped, [1])
    odds = nodes.add("Div", positive, nodes.add("Sub", nodes.number(1.0), positive))
    factor = 0.5 if model.loss == "exponential" else 1.0
    return nodes.add("Mul", nodes.add("Log", odds), nodes.number(factor))


def _boosting_classifier(scope: Any, operator: Any, container: Any) -> None:
    """https://scikit-learn.org/stable/modules/ensemble.html#gradient-boosting"""
    factor = 2.0 if operator.raw_operator.loss == "exponential" else 1.0
    raw = _boosted(scope, operator, container)
    _classify(Nodes(scope, container), operator, container, raw, "GreaterOrEqual", factor)


def _boosting_regressor(scope: Any, operator: Any, container: Any) -> None:
    raw, output = _boosted(scope, operator, container), operator.output_full_names[0]
    Nodes(scope, container).add("Identity", raw, output=output)


def _histogram(nodes: Nodes, operator: Any) -> str:
    """The raw prediction of histogram gradient boosting, shape (n, trees per iteration)."""
    model = operator.raw_operator
    if getattr(model, "_preprocessor", None) is not None:
        raise NotImplementedError("HistGradientBoosting with categorical features of its own")
    trees = [
        Tree.of_histogram(predictor, target)
        for stage in model._predictors
        for target, predictor in enumerate(stage)
    ]
    baseline = np.asarray(model._baseline_prediction, np.float64).reshape(1, -1)
    targets = model.n_trees_per_iteration_
    total = ensemble(nodes, nodes.double(operator), trees, targets)
    return nodes.add("Add", total, nodes.constant("baseline", REAL, [1, targets], baseline[0].tolist()))


def _histogram_classifier(scope: Any, operator: Any, container: Any) -> None:
    """https://scikit-learn.org/stable/modules/ensemble.html#histogram-based-gradient-boosting"""
    nodes = Nodes(scope, container)
    _classify(nodes, operator, container, _histogram(nodes, operator), "Greater", 1.0)


def _histogram_regressor(scope: Any, operator: Any, container: Any) -> None:
    nodes = Nodes(scope, container)
    raw, output = _histogram(nodes, operator), operator.output_full_names[0]
    loss = operator.raw_operator.loss
    nodes.add("Exp" if loss in ("poisson", "gamma") else "Identity", raw, output=output)


def _classify(nodes: Nodes, operator: Any, container: Any, raw: str, above: str, factor: float) -> None:
    """Labels and probabilities from log-odds; ``above`` compares those of two classes with zero."""
    classes = operator.raw_operator.classes_
    label, probabilities = operator.output_full_names
    odds = raw if len(classes) > 2 else nodes.flat(raw)
    if wants_decision(operator, container):
        label_by_score(nodes, operator, odds, above)
        decision(nodes, operator, odds)
        return
    if len(classes) > 2:
        nodes.add("Softmax", raw, output=probabilities, axis=1)
        nodes.most_probable(classes, raw, label)
        return
    scaled = odds if factor == 1.0 else nodes.add("Mul", odds, nodes.number(factor))
    nodes.two_probabilities(nodes.add("Sigmoid", scaled), probabilities)
    indices = nodes.add("Cast", nodes.add(above, odds, nodes.number(0.0)), to=WHOLE)
    nodes.labels(classes, indices, label)


REPLACED: Mapping[str, Converter] = {
    **{f"{name}Classifier": _forest_classifier for name in ("DecisionTree", "RandomForest")},
    **{f"Extra{name}Classifier": _forest_classifier for name in ("Tree", "Trees")},
    **{f"{name}Regressor": _forest_regressor for name in ("DecisionTree", "RandomForest")},
    **{f"Extra{name}Regressor": _forest_regressor for name in ("Tree", "Trees")},
    "GradientBoostingClassifier": _boosting_classifier,
    "GradientBoostingRegressor": _boosting_regressor,
    "HistGradientBoostingClassifier": _histogram_classifier,
    "HistGradientBoostingRegressor": _histogram_regressor,
}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = {}
