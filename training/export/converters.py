"""Our converters for what skl2onnx converts wrongly, slowly, or not in doubles.

skl2onnx has one table of converters for the whole process: ``register`` changes it once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import onnx
from skl2onnx import update_registered_converter
from skl2onnx.common._registration import get_converter, register_converter, register_shape_calculator
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LogisticRegression

REAL, WHOLE, TEXT = onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64, onnx.TensorProto.STRING
ML = "ai.onnx.ml"
#: The first version of its operators that walks trees in doubles.
#: https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html
ML_VERSION = 5
#: The most nodes that the trees of a graph may have: about 50 MB. A forest's trees stand there once for
#: each class.
MOST_NODES = 1_000_000

Converter = Callable[[Any, Any, Any], None]


@cache
def register() -> None:
    """Put our converters into skl2onnx's table."""
    some: dict[str, Callable[[Any, Any, Any], bool]] = {
        "SimpleImputer": _imputer,
        "LinearClassifier": _binary_logistic,
        "FunctionTransformer": _function,
    }
    ours: dict[str, Converter] = {
        **{name: _or_stock(each, get_converter(f"Sklearn{name}")) for name, each in some.items()},
        "Binarizer": _binarizer,
        "PolynomialFeatures": _polynomial,
        **{f"{name}Classifier": _forest_classifier for name in ("DecisionTree", "RandomForest")},
        **{f"Extra{name}Classifier": _forest_classifier for name in ("Tree", "Trees")},
        **{f"{name}Regressor": _forest_regressor for name in ("DecisionTree", "RandomForest")},
        **{f"Extra{name}Regressor": _forest_regressor for name in ("Tree", "Trees")},
        "GradientBoostingClassifier": _boosting_classifier,
        "GradientBoostingRegressor": _boosting_regressor,
        "HistGradientBoostingClassifier": _histogram_classifier,
        "HistGradientBoostingRegressor": _histogram_regressor,
    }
    for name, converter in ours.items():
        stock = get_converter(f"Sklearn{name}")
        options = stock.get_allowed_options() if hasattr(stock, "get_allowed_options") else {}
        register_converter(f"Sklearn{name}", converter, overwrite=True, options=options)
    register_shape_calculator("SklearnFunctionTransformer", _shape_of_function, overwrite=True)
    update_registered_converter(Entrance, "Entrance", _shape_of_entrance, _entrance)


class Nodes:
    """Adds nodes and constants to the graph that a converter is making, under names of their own."""

    def __init__(self, scope: Any, container: Any) -> None:
        self._scope = scope
        self._container = container

    def constant(self, name: str, kind: int, shape: Sequence[int], values: Iterable[Any]) -> str:
        """Add a constant; returns its name."""
        unique: str = self._scope.get_unique_variable_name(name)
        self._container.add_initializer(unique, kind, list(shape), list(values))
        return unique

    def number(self, value: float) -> str:
        """Add a double without dimensions; returns its name."""
        return self.constant("number", REAL, [], [value])

    def add(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node; returns its output's name."""
        output = output or self._scope.get_unique_variable_name(kind.lower())
        unique = self._scope.get_unique_operator_name(kind)
        self._container.add_node(kind, list(inputs), [output], name=unique, **attributes)
        return output

    def double(self, operator: Any) -> str:
        """The operator's only input, as doubles."""
        (given,) = operator.input_full_names
        if isinstance(operator.inputs[0].type, DoubleTensorType):
            return str(given)
        return self.add("Cast", given, to=REAL)

    def labels(self, classes: np.ndarray, indices: str, output: str) -> None:
        """The labels of classes by their ``indices``, shape (n,), int64."""
        if np.issubdtype(classes.dtype, np.integer) or np.issubdtype(classes.dtype, np.bool_):
            named = self.constant("classes", WHOLE, [len(classes)], [int(each) for each in classes])
        else:
            named = self.constant("classes", TEXT, [len(classes)], [str(each).encode() for each in classes])
        self.add("Gather", named, indices, output=output)

    def most_probable(self, classes: np.ndarray, scores: str, output: str) -> None:
        """The label of the highest score, the first of equals; ``scores``: shape (n, classes)."""
        indices = self.add("ArgMax", scores, axis=1, keepdims=0, select_last_index=0)
        self.labels(classes, indices, output)

    def two_probabilities(self, positive: str, output: str) -> None:
        """Both classes' probabilities from the second one's, shape (n,)."""
        upright = self.constant("upright", WHOLE, [2], [-1, 1])
        negative = self.add("Sub", self.number(1.0), positive)
        both = [self.add("Reshape", each, upright) for each in (negative, positive)]
        self.add("Concat", *both, output=output, axis=1)

    def flat(self, given: str) -> str:
        """Shape (n, 1) as (n,): on (n, 1) onnxruntime adds and subtracts row by row, ten times slower."""
        return self.add("Reshape", given, self.constant("flat", WHOLE, [1], [-1]))


def _or_stock(ours: Callable[[Any, Any, Any], bool], stock: Converter) -> Converter:
    """A converter that asks ours, and ``stock`` where ours returns False: the case is not its own."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        if not ours(scope, operator, container):
            stock(scope, operator, container)

    return convert


def _imputer(scope: Any, operator: Any, container: Any) -> bool:
    """``SimpleImputer`` of doubles, for which onnxruntime has no operator."""
    imputer = operator.raw_operator
    if not isinstance(operator.inputs[0].type, DoubleTensorType):
        return False
    if len(operator.inputs) > 1 or imputer.missing_values == imputer.missing_values:
        raise NotImplementedError("SimpleImputer for another value than NaN")
    if np.isnan(imputer.statistics_.astype(np.float64)).any():
        raise NotImplementedError("SimpleImputer with a column that was empty")
    nodes = Nodes(scope, container)
    (given,), (output,) = operator.input_full_names, operator.output_full_names
    statistics = nodes.constant(
        "statistics", REAL, [1, len(imputer.statistics_)], imputer.statistics_.astype(np.float64).tolist()
    )
    missing = nodes.add("IsNaN", given)
    if not imputer.add_indicator:
        nodes.add("Where", missing, statistics, given, output=output)
        return True
    filled = nodes.add("Where", missing, statistics, given)
    marked = imputer.indicator_.features_
    which = nodes.constant("marked", WHOLE, [len(marked)], marked.tolist())
    marks = nodes.add("Cast", nodes.add("Gather", missing, which, axis=1), to=REAL)
    nodes.add("Concat", filled, marks, output=output, axis=1)
    return True


#: The functions that a graph has, each as operators with the constant before them, if any.
FUNCTIONS: Mapping[Any, Sequence[tuple[str, float | None]]] = {
    np.log1p: (("Add", 1.0), ("Log", None)),
    np.expm1: (("Exp", None), ("Sub", 1.0)),
    np.log: (("Log", None),),
    np.exp: (("Exp", None),),
    np.sqrt: (("Sqrt", None),),
    np.abs: (("Abs", None),),
    np.square: (("Pow", 2.0),),
    np.negative: (("Neg", None),),
    np.reciprocal: (("Reciprocal", None),),
    np.tanh: (("Tanh", None),),
}


def _function(scope: Any, operator: Any, container: Any) -> bool:
    """``FunctionTransformer`` of one of ``FUNCTIONS``, without arguments."""
    transformer = operator.raw_operator
    if transformer.func is None:
        return False
    operators = FUNCTIONS.get(transformer.func) if isinstance(transformer.func, Hashable) else None
    if operators is None or transformer.kw_args or len(operator.inputs) > 1:
        name = getattr(transformer.func, "__name__", type(transformer.func).__name__)
        raise NotImplementedError(f"FunctionTransformer of {name}, which ONNX does not have")
    nodes = Nodes(scope, container)
    value = nodes.double(operator)
    for kind, constant in operators:
        value = nodes.add(kind, value, *([] if constant is None else [nodes.number(constant)]))
    nodes.add("Identity", value, output=operator.output_full_names[0])
    return True


def _shape_of_function(operator: Any) -> None:
    """One column out for each that goes in; the stock calculator refuses every function."""
    widths = [each.type.shape[1] for each in operator.inputs]
    width = None if None in widths else sum(widths)
    given = operator.inputs[0]
    kind = given.type if operator.raw_operator.func is None else DoubleTensorType()
    operator.outputs[0].type = copy.deepcopy(kind)
    operator.outputs[0].type.shape = [given.get_first_dimension(), width]


def _binarizer(scope: Any, operator: Any, container: Any) -> None:
    """``Binarizer``: 1 above the threshold. The stock converter has 1 at the threshold too."""
    nodes = Nodes(scope, container)
    threshold = nodes.number(float(operator.raw_operator.threshold))
    above = nodes.add("Greater", nodes.double(operator), threshold)
    nodes.add("Cast", above, output=operator.output_full_names[0], to=REAL)


class Entrance(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A step that changes nothing: its node's name shows in the graph where the last step's input is."""

    NODE = "entrance of the last step"

    def fit(self, _: Any, __: Any = None) -> Entrance:
        """There is nothing to fit."""
        return self

    def transform(self, rows: Any) -> Any:
        """The same rows."""
        return rows


def _shape_of_entrance(operator: Any) -> None:
    operator.outputs[0].type = copy.deepcopy(operator.inputs[0].type)


def _entrance(scope: Any, operator: Any, container: Any) -> None:  # noqa: ARG001 - skl2onnx wants the name
    (given,), (output,) = operator.input_full_names, operator.output_full_names
    container.add_node("Flatten", [given], [output], name=Entrance.NODE, axis=1)  # an Identity is left out


def _polynomial(scope: Any, operator: Any, container: Any) -> None:
    """``PolynomialFeatures`` as products of columns in doubles, with a column of ones before them."""
    powers = operator.raw_operator.powers_
    nodes = Nodes(scope, container)
    given = nodes.double(operator)
    first = nodes.add("Gather", given, nodes.constant("first", WHOLE, [1], [0]), axis=1)
    zero = nodes.add("Mul", first, nodes.number(0.0))
    one = nodes.add("Concat", nodes.add("Add", zero, nodes.number(1.0)), given, axis=1)
    factors = [[column + 1 for column, power in enumerate(row) for _ in range(power)] for row in powers]
    product = ""
    for index in range(max(1, *map(len, factors))):
        chosen = [row[index] if index < len(row) else 0 for row in factors]
        columns = nodes.add("Gather", one, nodes.constant("columns", WHOLE, [len(chosen)], chosen), axis=1)
        product = nodes.add("Mul", product, columns) if product else columns
    nodes.add("Identity", product, output=operator.output_full_names[0])


def _binary_logistic(scope: Any, operator: Any, container: Any) -> bool:
    """``LogisticRegression`` of two classes: one score per row, where the stock converter has two.

    https://scikit-learn.org/stable/modules/linear_model.html#binary-case
    """
    model = operator.raw_operator
    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    if type(model) is not LogisticRegression or len(model.classes_) != 2 or not double:
        return False
    nodes = Nodes(scope, container)
    (given,) = operator.input_full_names
    label, probabilities = operator.output_full_names
    weights = nodes.constant("weights", REAL, [model.coef_.shape[1], 1], model.coef_[0].tolist())
    product = nodes.flat(nodes.add("MatMul", given, weights))
    score = nodes.add("Add", product, nodes.number(float(model.intercept_[0])))
    nodes.two_probabilities(nodes.add("Sigmoid", score), probabilities)
    above = nodes.add("Cast", nodes.add("Greater", score, nodes.number(0.0)), to=WHOLE)
    nodes.labels(model.classes_, above, label)
    return True


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


def _boosted(nodes: Nodes, operator: Any) -> str:
    """The raw prediction of gradient boosting, shape (n, trees per iteration)."""
    model = operator.raw_operator
    if model.init_ != "zero" and not isinstance(model.init_, DummyClassifier | DummyRegressor):
        raise NotImplementedError("gradient boosting with an initial estimator of its own")
    grown = [
        Tree.of(each.tree_, target) for stage in model.estimators_ for target, each in enumerate(stage)
    ]
    trees = [replace(tree, value=tree.value * model.learning_rate) for tree in grown]
    targets = model.estimators_.shape[1]
    total = ensemble(nodes, _as_single(nodes, nodes.double(operator)), trees, targets)
    initial = model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))[0]
    return nodes.add("Add", total, nodes.constant("initial", REAL, [1, targets], initial.tolist()))


def _boosting_classifier(scope: Any, operator: Any, container: Any) -> None:
    """https://scikit-learn.org/stable/modules/ensemble.html#gradient-boosting"""
    nodes = Nodes(scope, container)
    factor = 2.0 if operator.raw_operator.loss == "exponential" else 1.0
    _classify(nodes, operator, _boosted(nodes, operator), "GreaterOrEqual", factor)


def _boosting_regressor(scope: Any, operator: Any, container: Any) -> None:
    nodes = Nodes(scope, container)
    nodes.add("Identity", _boosted(nodes, operator), output=operator.output_full_names[0])


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
    _classify(nodes, operator, _histogram(nodes, operator), "Greater", 1.0)


def _histogram_regressor(scope: Any, operator: Any, container: Any) -> None:
    nodes = Nodes(scope, container)
    raw, output = _histogram(nodes, operator), operator.output_full_names[0]
    loss = operator.raw_operator.loss
    nodes.add("Exp" if loss in ("poisson", "gamma") else "Identity", raw, output=output)


def _classify(nodes: Nodes, operator: Any, raw: str, above: str, factor: float) -> None:
    """Labels and probabilities from log-odds; ``above`` compares those of two classes with zero."""
    classes = operator.raw_operator.classes_
    label, probabilities = operator.output_full_names
    if len(classes) > 2:
        nodes.add("Softmax", raw, output=probabilities, axis=1)
        nodes.most_probable(classes, raw, label)
        return
    odds = nodes.flat(raw)
    scaled = odds if factor == 1.0 else nodes.add("Mul", odds, nodes.number(factor))
    nodes.two_probabilities(nodes.add("Sigmoid", scaled), probabilities)
    indices = nodes.add("Cast", nodes.add(above, odds, nodes.number(0.0)), to=WHOLE)
    nodes.labels(classes, indices, label)


def with_threshold(graph: onnx.GraphProto, classes: np.ndarray, threshold: float) -> None:
    """Make the second of two classes the label from a probability of ``threshold`` on.

    ``graph`` gives the label first and the probabilities, shape (n, 2), second.
    https://scikit-learn.org/stable/modules/classification_threshold.html
    """
    label, probabilities = (each.name for each in graph.output[:2])
    for node in graph.node:
        node.output[:] = [f"{name} before" if name == label else name for name in node.output]
    text = classes.dtype.kind in "OU"
    named: Any = [str(each).encode() if text else int(each) for each in classes]
    kind = graph.output[1].type.tensor_type.elem_type
    make, tensor = onnx.helper.make_node, onnx.helper.make_tensor
    graph.initializer.extend((
        tensor("threshold second", WHOLE, [], [1]),
        tensor("threshold", kind, [], [threshold]),
        tensor("threshold classes", TEXT if text else WHOLE, [2], named),
    ))  # fmt: skip
    graph.node.extend((
        make("Gather", [probabilities, "threshold second"], ["threshold positive"], axis=1),
        make("GreaterOrEqual", ["threshold positive", "threshold"], ["threshold reached"]),
        make("Cast", ["threshold reached"], ["threshold place"], to=WHOLE),
        make("Gather", ["threshold classes", "threshold place"], [label]),
    ))  # fmt: skip


def _rename_output(graph: onnx.GraphProto, output: str, name: str) -> None:
    for node in graph.node:
        node.output[:] = [name if each == output else each for each in node.output]


def with_scaled_target(graph: onnx.GraphProto, scale: float, mean: float) -> None:
    """Multiply a regression's value by ``scale``, and add ``mean``."""
    value, kind = graph.output[0].name, graph.output[0].type.tensor_type.elem_type
    for node in graph.node:
        node.output[:] = [f"{name} before" if name == value else name for name in node.output]
    for name, number in (("target scale", scale), ("target mean", mean)):
        graph.initializer.append(onnx.helper.make_tensor(name, kind, [], [number]))
    make = onnx.helper.make_node
    graph.node.append(make("Mul", [f"{value} before", "target scale"], ["target scaled"]))
    graph.node.append(make("Add", ["target scaled", "target mean"], [value]))


def with_guard(graph: onnx.GraphProto, width: int, *, single: bool, missing: bool) -> None:
    """Make the value, or the probabilities, NaN where the last step's input is not finite.

    scikit-learn refuses such rows, and a graph would answer them. ``single``: finite as float32 too, as
    trees ask for. ``missing``: NaN is taken, as a missing value. ``graph`` has an ``Entrance``, and
    ``width`` numbers of each row in its last output.
    """
    (entrance,) = [node.output[0] for node in graph.node if node.name == Entrance.NODE]
    guarded = graph.output[-1]
    kind = guarded.type.tensor_type.elem_type
    _rename_output(graph, guarded.name, "unguarded")
    for node in graph.node:
        node.input[:] = ["unguarded" if name == guarded.name else name for name in node.input]
    make, tensor = onnx.helper.make_node, onnx.helper.make_tensor
    nodes = [make("Cast", [entrance], ["guard given"], to=REAL)]
    given = "guard given"
    if single:
        nodes.append(make("Cast", [given], ["guard float"], to=onnx.TensorProto.FLOAT))
        nodes.append(make("Cast", ["guard float"], ["guard single"], to=REAL))
        given = "guard single"
    if missing:
        nodes.append(make("IsNaN", [given], ["guard missing"]))
        nodes.append(make("Where", ["guard missing", "guard zero", given], ["guard filled"]))
        given = "guard filled"
    nodes += [
        make("Mul", [given, "guard zero"], ["guard zeros"]),
        make("ReduceSum", ["guard zeros", "guard axis"], ["guard sum"], keepdims=1),
        make("Cast", ["guard sum"], ["guard"], to=kind),
        make("Reshape", ["unguarded", "guard shape"], ["guard table"]),
        make("Add", ["guard table", "guard"], [guarded.name]),
    ]
    graph.initializer.extend((
        tensor("guard zero", REAL, [], [0.0]),
        tensor("guard axis", WHOLE, [1], [1]),
        tensor("guard shape", WHOLE, [2], [-1, width]),
    ))  # fmt: skip
    graph.node.extend(nodes)
