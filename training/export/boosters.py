"""Gradient boosting of XGBoost, LightGBM and CatBoost on the graph, with categories of its own.

The libraries' trees are read from their own dumps. None of them is imported here: a class of theirs has a
converter as soon as its library is imported. What their documentation leaves open is from their sources,
and is tested against the libraries themselves.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from skl2onnx.common.data_types import StringTensorType

from training.export.dumps import Dump
from training.export.dumps_of_catboost import of_catboost, with_hashed
from training.export.dumps_of_lightgbm import ZERO, of_lightgbm
from training.export.dumps_of_xgboost import of_xgboost
from training.export.encoders import Column, columns_of, looked_up
from training.export.nodes import REAL, WHOLE, Converter, Nodes, Shape, classes_out, value_out
from training.export.trees import as_single, ensemble


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
    parts = [code(nodes, each, next(known)) if each.texts else each.name for each in columns]
    return nodes.add("Concat", *parts, axis=1)


def code(nodes: Nodes, column: Column, categories: Mapping[Any, float]) -> str:
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


def _read(read: Callable[[Any], Dump], operator: Any, container: Any) -> Dump:
    model = operator.raw_operator
    return with_hashed(read(model), model, container.get_options(model, {"texts": ()})["texts"])


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
    "xgboost.sklearn": of_xgboost,
    "lightgbm.sklearn": of_lightgbm,
    "catboost.core": of_catboost,
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
