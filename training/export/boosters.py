"""Gradient boosting with categories of its own: XGBoost, LightGBM, CatBoost, and scikit-learn's histograms.

The libraries' trees are read from their own dumps. None of them is imported here: a class of theirs has a
converter as soon as its library is imported. What their documentation leaves open is from their sources,
and is tested against the libraries themselves.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from skl2onnx.common.data_types import StringTensorType

from training.export.encoders import Column, columns_of, looked_up
from training.export.nodes import REAL, WHOLE, Converter, Nodes, Shape, classes_out, value_out
from training.export.trees import Tree, as_single, classify, ensemble

#: What LightGBM counts as zero is at most this, a float32.
#: https://github.com/microsoft/LightGBM/blob/master/include/LightGBM/meta.h
ZERO = float(np.float32(1e-35))


@dataclass(frozen=True, slots=True)
class Dump:
    """A fitted booster: what its trees are given, and what becomes of their sums.

    ``base``: what is added to each sum, the raw prediction; ``link``: what makes a value or probabilities
    of that, times ``scale``. ``single``: features are compared as float32. ``gaps``: further values that
    count as missing. ``zeros``: what each feature's values next to zero are replaced by. ``whole``: the
    features that are categories, of whose numbers what is after the point is cut off; what is between -1
    and 0 is category 0 if ``around_zero``. ``texts``: of each feature that is fed as texts, the numbers of
    its categories. ``hashes``: CatBoost's numbers for the categories that it tests, of each feature of
    texts: it keeps nothing else of them.
    """

    trees: Sequence[Tree]
    base: Sequence[float]
    link: str
    scale: float = 1.0
    single: bool = False
    gaps: Sequence[float] = ()
    zeros: Sequence[float] | None = None
    whole: Sequence[int] = ()
    around_zero: bool = False
    texts: Sequence[Mapping[str, float]] = ()
    hashes: Mapping[int, set[float]] = field(default_factory=dict)


class _Growing:
    """A tree that is built node by node from a dump that nests."""

    def __init__(self) -> None:
        self.left: list[int] = []
        self.right: list[int] = []
        self.feature: list[int] = []
        self.split: list[float] = []
        self.missing_left: list[bool] = []
        self.value: list[list[float]] = []
        self.members: dict[int, Sequence[float]] = {}
        self.cover: dict[int, float] = {}

    def leaf(self, *values: float, cover: float) -> int:
        index = self._node(0, 0.0, False, values)
        self.cover[index] = cover
        return index

    def branch(self, feature: int, split: float, missing_left: bool) -> int:
        return self._node(feature, split, missing_left, ())

    def _node(self, feature: int, split: float, missing_left: bool, values: Sequence[float]) -> int:
        self.left.append(-1)
        self.right.append(-1)
        self.feature.append(feature)
        self.split.append(split)
        self.missing_left.append(missing_left)
        self.value.append([*values])
        return len(self.left) - 1

    def trees(self, targets: Sequence[int]) -> Iterator[Tree]:
        """One tree for each of the numbers that a leaf has."""
        width = len(targets)
        values = np.array([each or [0.0] * width for each in self.value], np.float64)
        cover = np.array([self.cover.get(index, 0.0) for index in range(len(self.left))], np.float64)
        for column, target in enumerate(targets):
            yield Tree(
                np.array(self.left),
                np.array(self.right),
                np.array(self.feature),
                np.array(self.split, np.float64),
                np.array(self.missing_left, bool),
                values[:, column],
                target,
                self.members,
                cover,
            )


def _numbered(categories: Sequence[Any]) -> dict[Any, float]:
    return {each: float(number) for number, each in enumerate(categories)}


def _tested_for_members(trees: Sequence[Tree]) -> list[int]:
    return sorted({int(tree.feature[node]) for tree in trees for node in tree.members})


# XGBoost. https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html


def _xgboost(model: Any) -> Dump:
    """From its JSON; sums are in float32 there, and in doubles here."""
    if callable(model.get_params()["objective"]):
        raise NotImplementedError("XGBoost with an objective of its own")
    learner = json.loads(model.get_booster().save_raw("json"))["learner"]
    booster, parameters = learner["gradient_booster"], learner["learner_model_param"]
    if booster["name"] == "gblinear":
        raise NotImplementedError("XGBoost with booster='gblinear', which has no trees")
    weights = booster.get("weight_drop")  # of DART
    grown = (booster["gbtree"] if booster["name"] == "dart" else booster)["model"]
    if any(int(each["tree_param"]["size_leaf_vector"]) > 1 for each in grown["trees"]):
        raise NotImplementedError("XGBoost with multi_strategy='multi_output_tree'")
    if int(parameters["num_target"]) > 1:
        raise NotImplementedError("trees with several targets")
    end = len(grown["trees"])
    if (best := learner["attributes"].get("best_iteration")) is not None:
        end = grown["iteration_indptr"][int(best) + 1]
    trees = [
        _xgboost_tree(each, grown["tree_info"][index]) for index, each in enumerate(grown["trees"][:end])
    ]
    if weights is not None:
        trees = [
            replace(tree, value=tree.value * weight) for tree, weight in zip(trees, weights, strict=False)
        ]
    objective = learner["objective"]["name"]
    given = np.atleast_1d(np.array(json.loads(parameters["base_score"]), np.float64))
    groups = max(1, int(parameters["num_class"]))
    link = XGBOOST_LINKS.get(objective)
    if link is None:
        raise NotImplementedError(f"XGBoost with the objective {objective}")
    base = np.broadcast_to(_raw(link, given), groups).tolist()
    missing = float(np.float32(model.missing))
    known = [_xgboost_texts(each) for each in grown.get("cats", {}).get("enc", ())]
    return Dump(
        trees,
        base,
        link,
        single=True,
        gaps=() if math.isnan(missing) else (missing,),
        whole=_tested_for_members(trees),
        texts=[_numbered(each) for each in known if each],
    )


def _xgboost_texts(encoder: Mapping[str, Any]) -> list[str]:
    """A feature's categories, which follow each other as bytes."""
    if encoder["values"] and "offsets" not in encoder:
        raise NotImplementedError("XGBoost with categories of pandas that are not texts")
    content = bytes(each & 0xFF for each in encoder["values"])
    return [content[start:end].decode() for start, end in itertools.pairwise(encoder.get("offsets", ()))]


#: What an objective makes of a raw prediction.
#: https://xgboost.readthedocs.io/en/stable/parameter.html#learning-task-parameters
XGBOOST_LINKS: Mapping[str, str] = {
    **dict.fromkeys(("binary:logistic", "reg:logistic"), "sigmoid"),
    **dict.fromkeys(("multi:softprob", "multi:softmax"), "softmax"),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie"), "exp"),
    **dict.fromkeys(
        (
            "reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror", "reg:pseudohubererror",
            "reg:quantileerror",
        ),
        "identity",
    ),
}  # fmt: skip


def _raw(link: str, base: np.ndarray) -> np.ndarray:
    """A base score, which is stated as the link gives it, before the link."""
    if link == "sigmoid":
        base = base / (1 - base)
    return np.asarray(np.log(base) if link in ("sigmoid", "exp") else base)


def _xgboost_tree(tree: Mapping[str, Any], target: int) -> Tree:
    """A row goes left if it is below the condition, or, for categories, not among those of the node."""
    left, right = (np.array(tree[f"{side}_children"]) for side in ("left", "right"))
    conditions = np.array(tree["split_conditions"], np.float32)
    missing_left = np.array(tree["default_left"], bool)
    below = np.nextafter(conditions, np.float32(-np.inf)).astype(np.float64)
    members = {}
    for node, start, size in zip(
        tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
    ):
        members[node] = [float(each) for each in tree["categories"][start : start + size]]
        left[node], right[node], missing_left[node] = right[node], left[node], not missing_left[node]
    value = np.where(left < 0, conditions, 0).astype(np.float64)
    cover = np.array(tree["sum_hessian"], np.float64)
    column = np.array(tree["split_indices"])
    return Tree(left, right, column, below, missing_left, value, target, members, cover)


# LightGBM. https://lightgbm.readthedocs.io/en/stable/pythonapi/lightgbm.Booster.html


def _lightgbm(model: Any) -> Dump:
    """From ``dump_model``, which has the best iterations only, if fitting stopped early."""
    dump = model.booster_.dump_model()
    name, *options = dump["objective"].split() if dump.get("objective") else ["none"]
    link = LIGHTGBM_LINKS.get(name)
    if callable(model.get_params()["objective"]) or name in ("none", "custom"):
        raise NotImplementedError("LightGBM with an objective of its own")
    if link is None:
        raise NotImplementedError(f"LightGBM with the objective {name}")
    if name == "regression" and "sqrt" in options:
        raise NotImplementedError("LightGBM with reg_sqrt=True")
    (scale,) = [float(each[8:]) for each in options if each.startswith("sigmoid:")] or [1.0]
    targets = dump["num_tree_per_iteration"]
    width = dump["max_feature_idx"] + 1
    kinds: dict[int, set[str]] = {}
    trees = [
        tree
        for index, each in enumerate(dump["tree_info"])
        for tree in _lightgbm_tree(each["tree_structure"], kinds).trees([index % targets])
    ]
    if dump["average_output"]:
        rounds = max(1, len(trees) // targets)
        trees = [replace(tree, value=tree.value / rounds) for tree in trees]
    for found in kinds.values():
        if "Zero" in found and "NaN" in found:
            raise NotImplementedError("LightGBM with zeros that are missing in some of its trees only")
    return Dump(
        trees,
        [0.0] * targets,
        link,
        scale=scale,
        zeros=[math.nan if "Zero" in kinds.get(index, ()) else 0.0 for index in range(width)],
        whole=_tested_for_members(trees),
        around_zero=True,
        texts=[_numbered(each) for each in dump["pandas_categorical"] or ()],
    )


#: What an objective makes of a raw prediction.
#: https://lightgbm.readthedocs.io/en/stable/Parameters.html#objective
LIGHTGBM_LINKS: Mapping[str, str] = {
    **dict.fromkeys(("binary", "multiclassova", "cross_entropy"), "sigmoid"),
    "multiclass": "softmax",
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "exp"),
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "identity"),
}


def _lightgbm_tree(root: Mapping[str, Any], kinds: dict[int, set[str]]) -> _Growing:
    """``kinds`` gets what is missing for a feature: nothing (``None``), ``NaN``, or ``Zero`` too."""
    tree = _Growing()

    def add(node: Mapping[str, Any]) -> int:
        if "leaf_coeff" in node:
            raise NotImplementedError("LightGBM with linear_tree=True")
        if "split_feature" not in node:
            return tree.leaf(node["leaf_value"], cover=node.get("leaf_count", 1))
        feature, missing = node["split_feature"], node["missing_type"]
        if node["decision_type"] == "==":  # a missing value is no category
            index = tree.branch(feature, 0.0, False)
            tree.members[index] = [float(each) for each in str(node["threshold"]).split("||")]
            return index
        kinds.setdefault(feature, set()).add(missing)
        threshold = float(node["threshold"])
        return tree.branch(
            feature, threshold, threshold >= 0 if missing == "None" else node["default_left"]
        )

    _grow(tree, root, add, "left_child", "right_child")
    return tree


def _grow(
    tree: _Growing,
    root: Mapping[str, Any],
    add: Callable[[Mapping[str, Any]], int],
    left: str,
    right: str,
    *,
    swapped: bool = False,
) -> None:
    """Add all nodes of a tree that nests, however deep. ``swapped``: members go right in the dump."""
    waiting = [(root, add(root))]
    while waiting:
        node, index = waiting.pop()
        if left in node:
            sides = tree.left, tree.right
            if swapped and index in tree.members:
                sides = sides[::-1]
            for side, child in zip(sides, (node[left], node[right]), strict=True):
                side[index] = add(child)
                waiting.append((child, side[index]))


# CatBoost. https://catboost.ai/docs/en/concepts/python-reference_catboost_save_model


def _catboost(model: Any) -> Dump:
    """From its JSON: oblivious trees, whose splits are the bits of a leaf's number, or trees that nest."""
    dump = _catboost_json(model)
    features = dump["features_info"]
    if features.get("ctrs") or features.get("text_features") or features.get("embedding_features"):
        raise NotImplementedError(
            "CatBoost with tables of counts, of categories, texts or embeddings; where one_hot_max_size is "
            "at least the number of categories, it makes none of them"
        )
    if getattr(model, "get_probability_threshold", lambda: 0.5)() != 0.5:
        raise NotImplementedError("CatBoost with a probability threshold of its own")
    columns = {each["feature_index"]: each["flat_feature_index"] for each in features["float_features"]}
    categories = {
        each["feature_index"]: each["flat_feature_index"]
        for each in features.get("categorical_features", ())
    }
    missing = {
        each["feature_index"]: each.get("nan_value_treatment", "AsIs")
        for each in features["float_features"]
    }
    loss = model.get_all_params().get("loss_function", "") if hasattr(model, "get_all_params") else ""
    name = str(loss).partition(":")[0]
    link = CATBOOST_LINKS.get(name)
    if link is None:
        raise NotImplementedError(f"CatBoost with the loss function {name or 'of its own'}")
    scale, base = dump["scale_and_bias"]
    targets = list(range(len(base)))
    split_of = _Splits(columns, missing, categories)
    grown = [_oblivious(each, len(targets), split_of) for each in dump.get("oblivious_trees") or ()] + [
        _nested(each, split_of) for each in dump.get("trees") or ()
    ]
    trees = [replace(tree, value=tree.value * scale) for each in grown for tree in each.trees(targets)]
    hashes: dict[int, set[float]] = {column: set() for column in sorted(categories.values())}
    for tree in trees:
        for node, members in tree.members.items():
            hashes[int(tree.feature[node])].update(members)
    return Dump(trees, base, link, single=True, hashes=hashes)


#: What a loss function makes of a raw prediction.
#: https://catboost.ai/docs/en/concepts/loss-functions
CATBOOST_LINKS: Mapping[str, str] = {
    **dict.fromkeys(("Logloss", "CrossEntropy", "MultiClassOneVsAll"), "sigmoid"),
    "MultiClass": "softmax",
    **dict.fromkeys(("Poisson", "Tweedie"), "exp"),
    **dict.fromkeys(
        ("RMSE", "MAE", "Quantile", "MAPE", "Huber", "LogCosh", "Lq", "Expectile"),
        "identity",
    ),
}


def _catboost_json(model: Any, pool: Any = None) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.json"
        model.save_model(str(file), format="json", pool=pool)
        return json.loads(file.read_text(encoding="utf-8"))


def _with_hashed(dump: Dump, model: Any, texts: Sequence[Sequence[str]]) -> Dump:
    """The same, with the numbers of the texts that the sample had; CatBoost tells them for rows."""
    if not dump.hashes:
        return dump
    if len(texts) != len(dump.hashes):
        raise NotImplementedError("CatBoost with categories that are not texts")
    known = {column: ["", *own] for column, own in zip(dump.hashes, texts, strict=True)}
    rows = max(map(len, known.values()))
    names = model.feature_names_
    frame = pd.DataFrame(
        {
            name: np.resize(np.array(known[column], object), rows) if column in known else np.zeros(rows)
            for column, name in enumerate(names)
        }
    )
    pool = sys.modules["catboost.core"].Pool(frame, cat_features=list(known))
    stated = _catboost_json(model, pool)["features_info"]["cat_features_hash"]
    numbers = {each["value"]: float(np.uint32(each["hash"]).astype(np.int32)) for each in stated}
    if any(used - {numbers[text] for text in known[column]} for column, used in dump.hashes.items()):
        raise NotImplementedError("CatBoost with categories that the sample does not have")
    # As float32, in which all columns are compared, hashes would not differ.
    codes = {column: _numbered(sorted(used)) for column, used in dump.hashes.items()}
    coded = [
        {text: codes[column].get(numbers[text], -1.0) for text in own} for column, own in known.items()
    ]
    return replace(dump, texts=coded, trees=[_with_codes(tree, codes) for tree in dump.trees])


def _with_codes(tree: Tree, codes: Mapping[int, Mapping[float, float]]) -> Tree:
    members = {
        node: [codes[int(tree.feature[node])][each] for each in own] for node, own in tree.members.items()
    }
    return replace(tree, members=members)


def _read(read: Callable[[Any], Dump], operator: Any, container: Any) -> Dump:
    model = operator.raw_operator
    return _with_hashed(read(model), model, container.get_options(model, {"texts": ()})["texts"])


@dataclass(frozen=True, slots=True)
class _Splits:
    """Adds a branch for a split of CatBoost's: a row that is above the border goes right.

    So does one with the category, but here it goes left: the sides of such a branch change places.
    """

    columns: Mapping[int, int]
    missing: Mapping[int, str]
    categories: Mapping[int, int]

    def add(self, tree: _Growing, split: Mapping[str, Any]) -> int:
        if split.get("split_type") == "OneHotFeature":
            index = tree.branch(self.categories[split["cat_feature_index"]], 0.0, False)
            tree.members[index] = [float(split["value"])]
            return index
        if split.get("split_type", "FloatFeature") != "FloatFeature":
            raise NotImplementedError(f"CatBoost with splits of the type {split['split_type']}")
        feature = split["float_feature_index"]
        border = float(np.float32(split["border"]))
        return tree.branch(self.columns[feature], border, self.missing[feature] != "AsTrue")


def _oblivious(tree: Mapping[str, Any], width: int, splits: _Splits) -> _Growing:
    """Every branch of a level has the same split; the first split is the lowest bit of a leaf's number.

    The last split is the root, as CatBoost has it in its explanations: they depend on the order.
    https://github.com/catboost/catboost/blob/master/catboost/libs/fstr/shap_values.cpp
    """
    grown, tests = _Growing(), tree["splits"] or []
    values = np.reshape(tree["leaf_values"], (-1, width)).tolist()
    weights = tree.get("leaf_weights") or [1.0] * len(values)

    def add(depth: int, number: int) -> int:
        if depth < 0:
            return grown.leaf(*values[number], cover=weights[number])
        index = splits.add(grown, tests[depth])
        low, high = grown.left, grown.right
        if index in grown.members:
            low, high = high, low
        low[index] = add(depth - 1, number)
        high[index] = add(depth - 1, number | 1 << depth)
        return index

    add(len(tests) - 1, 0)
    return grown


def _nested(root: Mapping[str, Any], splits: _Splits) -> _Growing:
    tree = _Growing()

    def add(node: Mapping[str, Any]) -> int:
        if "split" in node:
            return splits.add(tree, node["split"])
        return tree.leaf(*np.atleast_1d(node["value"]).tolist(), cover=node.get("weight", 1.0))

    _grow(tree, root, add, "left", "right", swapped=True)
    return tree


# Histogram gradient boosting.
# https://scikit-learn.org/stable/modules/ensemble.html#histogram-based-gradient-boosting


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
            parts.append(_code(nodes, column, _numbered(categories)))
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


# The graph.


def _scores(nodes: Nodes, operator: Any, dump: Dump) -> str:
    """The raw predictions, shape (n, targets)."""
    given = _coded(nodes, operator, dump.texts)
    if dump.zeros is not None:
        small = nodes.add("LessOrEqual", nodes.add("Abs", given), nodes.number(ZERO))
        if any(map(math.isnan, dump.zeros)):
            zeros = nodes.constant("zeros", REAL, [1, len(dump.zeros)], dump.zeros)
        else:
            zeros = nodes.number(0.0)
        given = nodes.add("Where", small, zeros, given)
    if dump.single:
        given = as_single(nodes, given)
    for gap in dump.gaps:
        missing = nodes.add("Equal", given, nodes.number(gap))
        given = nodes.add("Where", missing, nodes.number(math.nan), given)
    if dump.whole:
        given = _whole(nodes, operator, given, dump)
    total = ensemble(nodes, given, dump.trees, len(dump.base))
    if not any(dump.base):
        return total
    return nodes.add("Add", total, nodes.constant("base", REAL, [1, len(dump.base)], dump.base))


def _whole(nodes: Nodes, operator: Any, given: str, dump: Dump) -> str:
    """Categories without what is after the point."""
    width = operator.raw_operator.n_features_in_
    cut = nodes.add("Cast", nodes.add("Cast", given, to=WHOLE), to=REAL)
    if not dump.around_zero:  # -0.5 is not 0
        cut = nodes.add("Where", nodes.add("Less", given, nodes.number(0.0)), nodes.number(-1.0), cut)
    plain = [float(index not in dump.whole) for index in range(width)]
    kept = nodes.add("Greater", nodes.constant("plain", REAL, [1, width], plain), nodes.number(0.5))
    kept = nodes.add("Or", kept, nodes.add("IsNaN", given))
    return nodes.add("Where", kept, given, cut)


def _coded(nodes: Nodes, operator: Any, texts: Sequence[Mapping[str, float]]) -> str:
    """What a booster is given, shape (n, columns): of texts the numbers of their categories."""
    mixed = any(isinstance(each.type, StringTensorType) for each in operator.inputs)
    columns = columns_of(nodes, operator) if mixed else []
    if sum(each.texts for each in columns) != len(texts):
        name = type(operator.raw_operator).__name__
        raise NotImplementedError(f"{name} with categories of other columns than those that hold texts")
    if not columns:
        return nodes.double(operator)
    known = iter(texts)
    parts = [_code(nodes, each, next(known)) if each.texts else each.name for each in columns]
    return nodes.add("Concat", *parts, axis=1)


def _code(nodes: Nodes, column: Column, categories: Mapping[Any, float]) -> str:
    """The number of each member's category; NaN for all others."""
    if any(isinstance(each, str) != column.texts for each in categories):
        raise NotImplementedError("categories of texts and numbers in one column")
    keys = [each if column.texts else float(each) for each in categories]
    return looked_up(nodes, column, keys, [*categories.values()], math.nan, REAL)


def _linked(nodes: Nodes, raw: str, link: str, scale: float) -> str:
    scaled = raw if scale == 1.0 else nodes.add("Mul", raw, nodes.number(scale))
    if link == "identity":
        return scaled
    if link == "softmax":
        return nodes.add("Softmax", scaled, axis=1)
    return nodes.add(link.title(), scaled)


def _classifier(read: Callable[[Any], Dump]) -> Converter:
    """Labels by the highest probability, the first of equals, as all three libraries do."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        model, nodes = operator.raw_operator, Nodes(scope, container)
        dump, classes = _read(read, operator, container), np.asarray(model.classes_)
        binary = len(classes) == 2 and len(dump.base) == 1
        if dump.link != "sigmoid" if binary else dump.link not in ("sigmoid", "softmax"):
            raise NotImplementedError(f"a classifier of {type(model).__name__} without probabilities")
        if not binary and len(dump.base) != len(classes):
            raise NotImplementedError(f"{type(model).__name__} with other outputs than its classes")
        label, probabilities = operator.output_full_names
        scores = _scores(nodes, operator, dump)
        if container.get_options(model, {"raw_scores": False})["raw_scores"]:
            if binary:
                scores = nodes.add("Concat", nodes.add("Neg", scores), scores, axis=1)
            nodes.add("Identity", scores, output=probabilities)
            nodes.most_probable(classes, probabilities, label)
            return
        if binary:
            positive = _linked(nodes, nodes.flat(scores), dump.link, dump.scale)
            nodes.two_probabilities(positive, probabilities)
        else:
            nodes.add("Identity", _linked(nodes, scores, dump.link, dump.scale), output=probabilities)
        nodes.most_probable(classes, probabilities, label)

    return convert


def _regressor(read: Callable[[Any], Dump]) -> Converter:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        nodes, dump = Nodes(scope, container), _read(read, operator, container)
        if len(dump.base) != 1 or dump.link == "softmax":
            raise NotImplementedError("trees with several targets")
        value = _linked(nodes, _scores(nodes, operator, dump), dump.link, dump.scale)
        nodes.add("Identity", value, output=operator.output_full_names[0])

    return convert


def _refused(reason: str) -> Converter:
    def convert(scope: Any, operator: Any, container: Any) -> None:
        raise NotImplementedError(reason)

    return convert


#: What reads a model, by the module that defines its class.
READERS: Mapping[str, Callable[[Any], Dump]] = {
    "xgboost.sklearn": _xgboost,
    "lightgbm.sklearn": _lightgbm,
    "catboost.core": _catboost,
}
#: The beginnings of the classes' names there.
NAMES = ("XGBRF", "XGB", "LGBM", "CatBoost")
RANKER = "a ranker, which compares the rows of a group"


def imported() -> Iterator[tuple[type, Shape, Converter]]:
    """The classes of the libraries that are imported, with their function of types and their converter."""
    for module, read in READERS.items():
        for name in NAMES:
            for end, shape, converter in (
                ("Classifier", classes_out, _classifier(read)),
                ("Regressor", value_out, _regressor(read)),
                ("Ranker", value_out, _refused(RANKER)),
            ):
                if kind := getattr(sys.modules.get(module), name + end, None):
                    yield kind, shape, converter


def is_booster(model: object) -> bool:
    """Whether the model is of a class that has a converter here; CatBoost's have no scikit-learn base."""
    kind = type(model)
    return kind.__module__ in READERS and kind.__name__.startswith(NAMES)


def levels(model: Any) -> tuple[np.ndarray, np.ndarray]:
    """The indices of a fitted booster's columns, and the numbers that its trees compare them with."""
    try:
        trees = READERS[type(model).__module__](model).trees
    except Exception:  # noqa: BLE001 - not fitted, for which each library has its own error, or refused
        trees = ()
    columns, values = [np.empty(0, int)], [np.empty(0)]
    for tree in trees:
        inner = np.flatnonzero(tree.left >= 0)
        plain = [node for node in inner if node not in tree.members]
        columns.append(tree.feature[plain])
        values.append(tree.split[plain])
        for node, members in tree.members.items():
            columns.append(np.full(len(members), tree.feature[node]))
            values.append(np.array(members, np.float64))
    return np.concatenate(columns), np.concatenate(values)


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
