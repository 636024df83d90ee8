"""The fitted estimator as an ONNX graph: one input a feature, the label and its probabilities out.

A regression's graph gives its value alone, a classifier's without ``predict_proba`` its label
alone. skl2onnx does not take every pipeline of doubles; what it lacks is mended here, for the
conversion only. Whether the graph is the model's equal is not judged here, but in ``parity``.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from skl2onnx import convert_sklearn
from skl2onnx.common._registration import get_converter, register_converter
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from skl2onnx.sklapi import CastTransformer
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from handler.bundle import Feature, Manifest
from handler.model import input_names
from training.errors import one_line

#: ONNX walks trees on float32 only, as most of scikit-learn's do.
TREES = (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)


#: Linear models whose prediction starts with ``coef_`` and ``intercept_`` alone.
LINEAR = (ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge)


class NotExportable(Exception):
    """No ONNX graph can be made of the estimator; ``str()`` is the reason in one line."""


def to_onnx(estimator: Any, manifest: Manifest) -> bytes:
    """The graph, with its inputs named by ``input_names(manifest)``; raises ``NotExportable``.

    The last step computes in double precision, or in float32 where it knows nothing else.
    """
    steps = _steps(estimator)
    reason: Exception | None = None
    for single in (True,) if isinstance(steps[-1], TREES) else (False, True):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about skl2onnx's own code
                graph = _convert(steps, manifest, single=single)
            onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - converters fail in every way there is
            reason = reason or error
        else:
            return graph
    assert reason is not None
    raise NotExportable(one_line(reason).partition(" You may raise an issue")[0]) from reason


def _steps(estimator: Any) -> list[Any]:
    """The fitted steps that predicting runs through, without the pipelines and searches around them."""
    if hasattr(estimator, "best_estimator_"):
        return _steps(estimator.best_estimator_)
    if isinstance(estimator, Pipeline):
        return [
            step
            for _, each in estimator.steps
            if each not in (None, "passthrough")
            for step in _steps(each)
        ]
    return [estimator]


def _convert(steps: Sequence[Any], manifest: Manifest, *, single: bool) -> bytes:
    _mend_converters()
    features, (*before, last) = manifest.features, _without_scalers(steps)
    if before and isinstance(before[0], ColumnTransformer):
        before[0] = _encoding_to_double(before[0])
    elif all(each.kind != "category" for each in features):
        before.insert(0, _side_by_side(features))
    if single:
        before.append(CastTransformer(dtype=np.float32))
    pipeline = Pipeline([(f"step{place}", step) for place, step in enumerate([*before, last])])
    probabilities = hasattr(last, "predict_proba")
    model = convert_sklearn(
        pipeline,
        name="model",  # by default a random one, and the bundle's version would change with it
        initial_types=[
            (
                each.name,
                StringTensorType([None, 1]) if each.kind == "category" else DoubleTensorType([None, 1]),
            )
            for each in features
        ],
        options={id(last): {"zipmap": False} if probabilities else {}},
    )
    if len(model.graph.input) != len(features):
        raise NotImplementedError("skl2onnx left a feature out of the graph")
    names = input_names(manifest)
    _rename(
        model.graph,
        {found.name: names[each.name] for found, each in zip(model.graph.input, features, strict=True)},
    )
    del model.graph.output[2 if probabilities else 1 :]
    _prune(model.graph)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _without_scalers(steps: Sequence[Any]) -> list[Any]:
    """The same steps, with the scaling of columns before a linear model folded into its coefficients.

    The graph then makes one pass over the rows where it made three: it halves the time of a batch.
    """
    if len(steps) != 2 or not isinstance(steps[0], ColumnTransformer) or not isinstance(steps[1], LINEAR):
        return list(steps)
    columns, linear = (copy.copy(step) for step in steps)
    coefficients = np.array(linear.coef_, dtype=np.float64)
    intercept = np.array(linear.intercept_, dtype=np.float64)
    parts = []
    for name, part, names in columns.transformers_:
        *before, scaler = _steps(part)
        if isinstance(scaler, StandardScaler):
            where = columns.output_indices_[name]
            if scaler.scale_ is not None:
                coefficients[..., where] /= scaler.scale_
            if scaler.mean_ is not None:
                intercept = intercept - coefficients[..., where] @ scaler.mean_
            part = make_pipeline(*before) if before else "passthrough"
        parts.append((name, part, names))
    columns.transformers_, linear.coef_, linear.intercept_ = parts, coefficients, intercept
    return [columns, linear]


def _side_by_side(features: Sequence[Feature]) -> ColumnTransformer:
    """A first step that makes one matrix of the inputs: skl2onnx would join them in float32."""
    names = [feature.name for feature in features]
    columns = ColumnTransformer([("all", "passthrough", names)])
    return columns.fit(pd.DataFrame({name: [0.0] for name in names}))


def _encoding_to_double(columns: ColumnTransformer) -> ColumnTransformer:
    """The same, with encoded texts as doubles: skl2onnx gives all columns the type of the first."""
    double = copy.copy(columns)
    double.transformers_ = [
        (name, Pipeline([("encode", part), ("cast", CastTransformer(dtype=np.float64))]), names)
        if isinstance(_steps(part)[-1], OneHotEncoder | OrdinalEncoder)
        else (name, part, names)
        for name, part, names in columns.transformers_
    ]
    return double


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for each in graph.input:
        each.name = names[each.name]
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]


def _prune(graph: onnx.GraphProto) -> None:
    """Drop the nodes and constants that no output needs."""
    needed = {output.name for output in graph.output}
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.insert(0, node)
    constants = [each for each in graph.initializer if each.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)


@cache
def _mend_converters() -> None:
    """Put our converters in the place of skl2onnx's, whose table is one for the whole process."""
    register_converter(
        "SklearnSimpleImputer", _imputer(get_converter("SklearnSimpleImputer")), overwrite=True
    )
    stock = get_converter("SklearnLinearClassifier")
    register_converter(
        "SklearnLinearClassifier",
        _binary_logistic(stock),
        overwrite=True,
        options=stock.get_allowed_options(),
    )
    for name in ("SklearnHistGradientBoostingClassifier", "SklearnHistGradientBoostingRegressor"):
        stock = get_converter(name)
        register_converter(name, _plainly(stock), overwrite=True, options=stock.get_allowed_options())


def _imputer(stock: Any) -> Any:
    """A converter for ``SimpleImputer``: the stock one's operator knows no doubles."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        imputer = operator.raw_operator
        if not isinstance(operator.inputs[0].type, DoubleTensorType):
            stock(scope, operator, container)
            return
        if (
            len(operator.inputs) > 1
            or imputer.add_indicator
            or imputer.missing_values == imputer.missing_values
        ):
            raise NotImplementedError("SimpleImputer with an indicator, or for another value than NaN")
        if np.isnan(imputer.statistics_).any():
            raise NotImplementedError("SimpleImputer with a column that was empty")
        (given,) = operator.input_full_names
        statistics, is_missing = (
            scope.get_unique_variable_name(name) for name in ("statistics", "missing")
        )
        container.add_initializer(
            statistics, onnx.TensorProto.DOUBLE, [1, len(imputer.statistics_)], imputer.statistics_.tolist()
        )
        container.add_node("IsNaN", [given], [is_missing], name=scope.get_unique_operator_name("IsNaN"))
        container.add_node(
            "Where",
            [is_missing, statistics, given],
            operator.output_full_names,
            name=scope.get_unique_operator_name("Where"),
        )

    return convert


def _binary_logistic(stock: Any) -> Any:
    """A converter for ``LogisticRegression`` of two classes: one score a row, where the stock one has two.

    https://scikit-learn.org/stable/modules/linear_model.html#binary-case
    """

    def convert(scope: Any, operator: Any, container: Any) -> None:
        model = operator.raw_operator
        double = isinstance(operator.inputs[0].type, DoubleTensorType)
        if type(model) is not LogisticRegression or len(model.classes_) != 2 or not double:
            stock(scope, operator, container)
            return

        def constant(name: str, kind: int, shape: list[int], values: Any) -> str:
            unique: str = scope.get_unique_variable_name(name)
            container.add_initializer(unique, kind, shape, values)
            return unique

        def node(kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
            output = output or scope.get_unique_variable_name(kind.lower())
            unique = scope.get_unique_operator_name(kind)
            container.add_node(kind, list(inputs), [output], name=unique, **attributes)
            return output

        (given,) = operator.input_full_names
        label, probabilities = operator.output_full_names
        real, whole = onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64
        weights = constant("weights", real, [model.coef_.shape[1], 1], model.coef_[0].tolist())
        intercept = constant("intercept", real, [], model.intercept_.tolist())
        # One dimension in between: over (n, 1) onnxruntime adds and subtracts row by row, ten times slower.
        flat, upright = (
            constant(name, whole, [len(to)], to) for name, to in (("flat", [-1]), ("upright", [-1, 1]))
        )
        product = node("Reshape", node("MatMul", given, weights), flat)
        score = node("Add", product, intercept)
        positive = node("Sigmoid", score)
        negative = node("Sub", constant("one", real, [], [1.0]), positive)
        both = [node("Reshape", each, upright) for each in (negative, positive)]
        node("Concat", *both, output=probabilities, axis=1)
        above = node("Greater", score, constant("zero", real, [], [0.0]))
        if model.classes_.tolist() == [0, 1]:
            node("Cast", above, to=whole, output=label)
            return
        numbers = np.issubdtype(model.classes_.dtype, np.integer)
        classes = [int(each) if numbers else str(each).encode() for each in model.classes_]
        named = constant("classes", whole if numbers else onnx.TensorProto.STRING, [2], classes)
        node("Gather", named, node("Cast", above, to=whole), output=label)

    return convert


def _plainly(stock: Any) -> Any:
    """A converter that makes its nodes of Python numbers, where ``stock`` uses NumPy's."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        stock(scope, operator, _PlainAttributes(container))

    return convert


class _PlainAttributes:
    """A container of skl2onnx for which onnx, from 1.23 on, does not refuse NumPy scalars."""

    def __init__(self, container: Any) -> None:
        self._container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, *arguments: Any, **attributes: Any) -> None:
        plain = {
            name: [_plain(each) for each in value] if isinstance(value, list) else value
            for name, value in attributes.items()
        }
        self._container.add_node(*arguments, **plain)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return int(value) if isinstance(value, bool) else value
