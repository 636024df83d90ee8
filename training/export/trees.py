"""Trees and their ensembles, in doubles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
import onnx
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.dummy import DummyClassifier, DummyRegressor

from training.export.nodes import REAL, WHOLE, Converter, Nodes, Shape
from training.export.parts import decision, expit, wants_decision

ML = "ai.onnx.ml"
#: The first version of its operators that walks trees in doubles.
#: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
ML_VERSION = 5
#: The most bytes that a forest or a booster may take in the graph.
MOST_BYTES = 50_000_000
#: About what onnx takes for a node of a tree, and for a double.
NODE, DOUBLE = 18, 8
#: The most nodes of small trees that share a ``TreeEnsemble`` node. onnxruntime sends row after row
#: through all trees of one: where they are few, they stay in the processor's first cache. 1,000 were as
#: fast as any of 2,000 to 32,000 or faster, up to 1.4 times, for boosters of 6,000 to 64,000 nodes; a node
#: for each of their trees was no faster, and five times as slow to load.
CACHED = 1_000
#: What a node says of itself whose trees are summed in order, as a forest's: equal votes decide labels.
IN_ORDER = "in order"
#: The modes of branches: a feature is at most the split value, is that or is not; or it is looked for among
#: whole numbers. https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
AT_MOST, EQUAL, UNEQUAL, MEMBER = 0, 4, 5, 6


@dataclass(frozen=True, slots=True)
class Tree:
    """A fitted tree that adds to one target; arrays over its nodes, of shape (nodes,).

    A leaf has no child (-1) on the left. A row goes left if its feature is at most the split value, or is
    missing where ``missing_left``. A node of ``members`` has whole numbers in the place of a split value: a
    row goes left if its feature is one of them. ``cover``: the weight of the training rows in each leaf.
    """

    left: np.ndarray
    right: np.ndarray
    feature: np.ndarray
    split: np.ndarray
    missing_left: np.ndarray
    value: np.ndarray
    target: int = 0
    members: Mapping[int, Sequence[float]] = field(default_factory=dict)
    cover: np.ndarray = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(cls, tree: Any, target: int = 0) -> Tree:
        """From scikit-learn's ``Tree``; the values are the first column's."""
        left, right, missing_left = tree.children_left, tree.children_right, tree.missing_go_to_left
        value = values(tree)[:, 0]
        missing_left = missing_left.astype(bool)
        cover = tree.weighted_n_node_samples
        return cls(left, right, tree.feature, tree.threshold, missing_left, value, target, cover=cover)


def values(tree: Any) -> np.ndarray:
    """The values of scikit-learn's ``Tree``, of a classifier as shares; shape (nodes, columns)."""
    value: np.ndarray = tree.value[:, 0]
    if tree.n_classes[0] > 1 and not np.allclose(whole := value.sum(axis=1, keepdims=True), 1.0):
        value = np.divide(value, whole)  # before scikit-learn 1.4 they are weights
    return value


def ensemble(
    nodes: Nodes, given: str, trees: Sequence[Tree], targets: int, *, in_order: bool = False
) -> str:
    """The sums of each target's trees, shape (n, targets).

    Each target of many trees has nodes of its own, since onnxruntime is faster in adding up a single one.
    ``in_order``: a target's trees are added one after the other, so that the sum rounds as scikit-learn's.
    """
    size = sum(len(tree.left) for tree in trees)
    _require_bytes(size * NODE)
    if size <= CACHED or {tree.target for tree in trees} != set(range(targets)):
        return _together(nodes, given, trees, targets, in_order=in_order)
    sums = []
    for target in range(targets):
        own = [replace(tree, target=0) for tree in trees if tree.target == target]
        groups = [[tree] for tree in own] if in_order else _groups(own)
        terms = [_together(nodes, given, group, 1, in_order=in_order) for group in groups]
        sums.append(_added(nodes, terms))
    return sums[0] if targets == 1 else nodes.add("Concat", *sums, axis=1)


def _groups(trees: Sequence[Tree]) -> list[list[Tree]]:
    """Neighbouring trees that have at most ``CACHED`` nodes together, or one that has more."""
    groups: list[list[Tree]] = []
    room = 0
    for tree in trees:
        if not groups or len(tree.left) > room:
            groups.append([])
            room = CACHED
        groups[-1].append(tree)
        room -= len(tree.left)
    return groups


def _added(nodes: Nodes, terms: Sequence[str]) -> str:
    """The sum of terms of the same shape, one after the other, so that few of them are held at once."""
    return reduce(lambda total, term: nodes.add("Add", total, term), terms)


def _shares(nodes: Nodes, given: str, grown: Sequence[Any], classes: int) -> str:
    """The sum of scikit-learn's trees of a classifier, in their order, shape (n, classes).

    Each gives the number of the row's leaf, and a table the leaf's share of each class: so a row goes
    through a tree once, and not once for each class.
    """
    _require_bytes(sum(each.node_count * NODE + each.n_leaves * classes * DOUBLE for each in grown))
    if sum(each.node_count for each in grown) * classes <= CACHED:
        trees = [
            replace(Tree.of(each, column), value=values(each)[:, column])
            for each in grown
            for column in range(classes)
        ]
        return _together(nodes, given, trees, classes, in_order=True)
    terms = []
    for each in grown:
        tree = Tree.of(each)
        is_leaf = tree.left < 0
        numbered = replace(tree, value=np.cumsum(is_leaf) - 1.0)
        leaf = nodes.add("Cast", _together(nodes, given, [numbered], 1, in_order=True), to=WHOLE)
        terms.append(nodes.add("Gather", nodes.matrix(values(each)[is_leaf]), leaf, axis=0))
    shape = nodes.constant("shape", WHOLE, [2], [-1, classes])  # from (n, 1, classes)
    return nodes.add("Reshape", _added(nodes, terms), shape)


def _require_bytes(size: int) -> None:
    if size > MOST_BYTES:
        raise NotImplementedError(
            f"trees that take {size / 1e6:,.0f} MB; a graph takes {MOST_BYTES / 1e6:,.0f} MB"
        )


def _together(
    nodes: Nodes, given: str, trees: Sequence[Tree], targets: int, *, in_order: bool = False
) -> str:
    """Add one ``TreeEnsemble`` node: each target is the sum of its trees, in order; shape (n, targets).

    ``in_order``: what reads the graph is to leave the trees as they are.
    https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
    """
    parts: list[tuple[Any, ...]] = []
    leaves: list[np.ndarray] = []
    leaf_targets: list[np.ndarray] = []
    roots = []
    modes, members = bytearray(), list[float]()
    branches = total_leaves = 0
    for tree in trees:
        is_leaf = tree.left < 0
        for node in np.flatnonzero(~is_leaf).tolist() if tree.members else ():
            if node in tree.members:
                modes += bytes(branches + int((~is_leaf[:node]).sum()) - len(modes)) + bytes([MEMBER])
                members += [*tree.members[node], math.nan]  # which ends each node's list
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
    modes += bytes(branches - len(modes))
    sets = {"membership_values": _tensor("members", np.array(members), REAL)} if members else {}
    return nodes.add(
        "TreeEnsemble",
        given,
        op_domain=ML,
        op_version=3,  # skl2onnx knows no later one; ``to_onnx`` states the true version
        doc_string=IN_ORDER if in_order else "",
        n_targets=targets,
        aggregate_function=1,  # the sum
        post_transform=0,
        tree_roots=roots,
        nodes_featureids=_whole(feature),
        nodes_splits=_tensor("splits", split, REAL),
        nodes_modes=onnx.helper.make_tensor(
            "modes", onnx.TensorProto.UINT8, [branches], bytes(modes), raw=True
        ),
        nodes_missing_value_tracks_true=_whole(missing),
        nodes_truenodeids=_whole(left),
        nodes_trueleafs=_whole(left_leaf),
        nodes_falsenodeids=_whole(right),
        nodes_falseleafs=_whole(right_leaf),
        leaf_targetids=_whole(np.concatenate(leaf_targets)),
        leaf_weights=_tensor("weights", np.concatenate(leaves), REAL),
        **sets,
    )


def _whole(values: np.ndarray) -> list[int]:
    return [int(each) for each in values]


def _tensor(name: str, values: np.ndarray, kind: int) -> onnx.TensorProto:
    content = np.ascontiguousarray(values, np.float64).astype("<f8").tobytes()
    return onnx.helper.make_tensor(name, kind, [len(values)], content, raw=True)


def as_single(nodes: Nodes, given: str) -> str:
    """Doubles with the precision of float32, in which scikit-learn's trees compare features."""
    return nodes.add("Cast", nodes.add("Cast", given, to=onnx.TensorProto.FLOAT), to=REAL)


def _forest_classifier(scope: Any, operator: Any, container: Any) -> None:
    """A tree or the mean of trees."""
    forest, nodes = operator.raw_operator, Nodes(scope, container)
    _require_one_output(forest)
    grown = [each.tree_ for each in getattr(forest, "estimators_", [forest])]
    classes = len(forest.classes_)
    operator.outputs[1].set_type(DoubleTensorType([None, classes]))  # skl2onnx takes a forest's for floats
    total = _shares(nodes, as_single(nodes, nodes.double(operator)), grown, classes)
    label, probabilities = operator.output_full_names
    nodes.add("Div", total, nodes.number(float(len(grown))), output=probabilities)
    nodes.most_probable(forest.classes_, probabilities, label)


def _forest_regressor(scope: Any, operator: Any, container: Any) -> None:
    forest, nodes = operator.raw_operator, Nodes(scope, container)
    _require_one_output(forest)
    grown = [each.tree_ for each in getattr(forest, "estimators_", [forest])]
    trees = [Tree.of(tree) for tree in grown]
    total = ensemble(nodes, as_single(nodes, nodes.double(operator)), trees, 1, in_order=True)
    nodes.add("Div", total, nodes.number(float(len(grown))), output=operator.output_full_names[0])


def _require_one_output(forest: Any) -> None:
    if getattr(forest, "n_outputs_", 1) != 1:
        raise NotImplementedError("trees with several targets")


def boosted(model: Any) -> tuple[list[Tree], list[float]]:
    """The trees of gradient boosting, and what is added to each target's sum, the raw prediction."""
    if model.init_ != "zero" and not isinstance(model.init_, DummyClassifier | DummyRegressor):
        raise NotImplementedError("gradient boosting with an initial estimator of its own")
    grown = [
        Tree.of(each.tree_, target) for stage in model.estimators_ for target, each in enumerate(stage)
    ]
    trees = [replace(tree, value=tree.value * model.learning_rate) for tree in grown]
    initial = model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))[0]
    return trees, initial.tolist()


def _boosted(nodes: Nodes, operator: Any) -> str:
    """The raw prediction of gradient boosting, shape (n, trees per iteration)."""
    trees, initial = boosted(operator.raw_operator)
    total = ensemble(nodes, as_single(nodes, nodes.double(operator)), trees, len(initial))
    return nodes.add("Add", total, nodes.constant("initial", REAL, [1, len(initial)], initial))


def _boosting_classifier(scope: Any, operator: Any, container: Any) -> None:
    """https://scikit-learn.org/stable/modules/ensemble.html#gradient-boosting"""
    nodes = Nodes(scope, container)
    factor = 2.0 if operator.raw_operator.loss == "exponential" else 1.0
    classify(nodes, operator, _boosted(nodes, operator), "GreaterOrEqual", factor)


def _boosting_regressor(scope: Any, operator: Any, container: Any) -> None:
    nodes = Nodes(scope, container)
    nodes.add("Identity", _boosted(nodes, operator), output=operator.output_full_names[0])


def classify(nodes: Nodes, operator: Any, raw: str, above: str, factor: float) -> None:
    """Labels and probabilities from log-odds; ``above`` compares those of two classes with zero."""
    classes = operator.raw_operator.classes_
    label, probabilities = operator.output_full_names
    if scores_only := wants_decision(operator, nodes.container):
        decision(nodes, operator, raw)
    elif len(classes) > 2:
        nodes.add("Softmax", raw, output=probabilities, axis=1)
    if len(classes) > 2:
        nodes.most_probable(classes, raw, label)
        return
    odds = nodes.flat(raw)
    if not scores_only:
        scaled = odds if factor == 1.0 else nodes.add("Mul", odds, nodes.number(factor))
        nodes.two_probabilities(expit(nodes, scaled), probabilities)
    indices = nodes.add("Cast", nodes.add(above, odds, nodes.number(0.0)), to=WHOLE)
    nodes.labels(classes, indices, label)


REPLACED: Mapping[str, Converter] = {
    **{f"{name}Classifier": _forest_classifier for name in ("DecisionTree", "RandomForest")},
    **{f"Extra{name}Classifier": _forest_classifier for name in ("Tree", "Trees")},
    **{f"{name}Regressor": _forest_regressor for name in ("DecisionTree", "RandomForest")},
    **{f"Extra{name}Regressor": _forest_regressor for name in ("Tree", "Trees")},
    "GradientBoostingClassifier": _boosting_classifier,
    "GradientBoostingRegressor": _boosting_regressor,
}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = {}
