"""The fitted estimator as an ONNX graph: one input per feature, the label and the probabilities out.

A regression's graph has only its value, and that of a classifier without ``predict_proba`` only the label.
skl2onnx does not convert every pipeline of doubles; what it lacks is added here, for the conversion only.
Whether the graph equals the model is judged in ``proof.parity``.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pandas as pd
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from skl2onnx.sklapi import CastTransformer
from sklearn.base import is_classifier
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import VotingClassifier
from sklearn.ensemble._forest import BaseForest
from sklearn.ensemble._gb import BaseGradientBoosting
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.tree import BaseDecisionTree

from handler.bundle import Contract, Feature
from handler.scoring.scorers import input_names
from training.compat import FixedThresholdClassifier, FrozenEstimator, TunedThresholdClassifierCV, get_tags
from training.errors import one_line
from training.export import converters, finish, trees

#: Estimators that pass their rows on to one estimator within.
WRAPPERS = (BaseSearchCV, FixedThresholdClassifier, TunedThresholdClassifierCV)
#: Linear models whose prediction depends only on ``coef_`` and ``intercept_``.
LINEAR = (ElasticNet, Lasso, LinearRegression, LogisticRegression, Ridge)
#: Estimators that compare their input in float32, and refuse what is infinite there.
TREES = (BaseDecisionTree, BaseForest, BaseGradientBoosting)


class NotExportable(Exception):
    """No ONNX graph can be made of the estimator; ``str()`` is the reason in one line."""


def to_onnx(estimator: Any, contract: Contract, *, guarded: bool = False) -> bytes:
    """The graph, with its inputs named by ``input_names(contract)``; raises ``NotExportable``.

    The last step computes in double precision, or in float32 if it cannot otherwise. ``guarded``: the
    value or the probabilities are NaN where scikit-learn refuses what the last step is given.
    """
    steps, threshold = steps_of(estimator), decision_threshold(estimator)
    reason: Exception | None = None
    for single in (False, True):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they are about skl2onnx's own code
                graph = _convert(steps, contract, threshold, single=single, guarded=guarded)
            onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - converters fail in many ways
            reason = reason or error
        else:
            return graph
    assert reason is not None
    raise NotExportable(one_line(reason).partition(" You may raise an issue")[0]) from reason


def decision_threshold(estimator: Any) -> float | None:
    """The probability from which a wrapped classifier predicts its second class, or None.

    Raises ``NotExportable`` where it decides by another score than that probability.
    """
    if hasattr(estimator, "best_estimator_"):
        return decision_threshold(estimator.best_estimator_)
    if isinstance(estimator, Pipeline):
        return decision_threshold(estimator.steps[-1][1])
    if not isinstance(estimator, FixedThresholdClassifier | TunedThresholdClassifierCV):
        return None
    tuned = isinstance(estimator, TunedThresholdClassifierCV)
    threshold = estimator.best_threshold_ if tuned else estimator.threshold
    by_probability = estimator.response_method == "predict_proba" or (
        estimator.response_method == "auto" and hasattr(estimator.estimator_, "predict_proba")
    )
    if not by_probability:
        raise NotExportable("its decision threshold is for decision_function")
    positive = estimator._curve_scorer._get_pos_label() if tuned else estimator.pos_label
    if positive not in (None, estimator.classes_[1]):
        raise NotExportable("its decision threshold is for the first class")
    return 0.5 if threshold == "auto" else float(threshold)


def steps_of(estimator: Any) -> list[Any]:
    """The fitted steps that predicting runs through, without the pipelines and wrappers around them."""
    for wrapped in ("best_estimator_", "estimator_"):
        if isinstance(estimator, WRAPPERS) and hasattr(estimator, wrapped):
            return steps_of(getattr(estimator, wrapped))
    if isinstance(estimator, FrozenEstimator):
        return steps_of(estimator.estimator)
    if isinstance(estimator, Pipeline):
        return [
            step
            for _, each in estimator.steps
            if each not in (None, "passthrough")
            for step in steps_of(each)
        ]
    return [estimator]


def _convert(
    steps: Sequence[Any], contract: Contract, threshold: float | None, *, single: bool, guarded: bool
) -> bytes:
    converters.register()
    features, (*before, last) = contract.features, _without_scalers(steps)
    scaler = None
    if isinstance(last, TransformedTargetRegressor):
        scaler, (*within, last) = _target_scaler(last), steps_of(last.regressor_)
        before += within
    if before and isinstance(before[0], ColumnTransformer):
        before[0] = _encoding_to_double(before[0])
    elif all(each.kind != "category" for each in features):
        before.insert(0, _side_by_side(features))
    if guarded:
        before.append(finish.Entrance())
    if single:
        before.append(CastTransformer(dtype=np.float32))
    if isinstance(last, VotingClassifier):  # which skl2onnx refuses for what only its transform() does
        last = copy.copy(last)
        last.flatten_transform = False
    probabilities = hasattr(last, "predict_proba")
    if guarded and is_classifier(last) and not probabilities:
        raise NotImplementedError(
            "a classifier without probabilities, which cannot show that it has no answer"
        )
    pipeline = Pipeline([(f"step{index}", step) for index, step in enumerate([*before, last])])
    model = convert_sklearn(
        pipeline,
        name="model",  # by default a random one, and the bundle's version would change with it
        initial_types=[
            (each.name, (StringTensorType if each.kind == "category" else DoubleTensorType)([None, 1]))
            for each in features
        ],
        options={id(last): {"zipmap": False} if probabilities else {}},
    )
    if len(model.graph.input) != len(features):
        raise NotImplementedError("skl2onnx left a feature out of the graph")
    if any(node.op_type == "StringNormalizer" for node in model.graph.node):
        raise NotImplementedError("letters made lower-case by a locale, which not every system has")
    names = zip(model.graph.input, input_names(contract).values(), strict=True)
    _rename(model.graph, {each.name: name for each, name in names})
    del model.graph.output[2 if probabilities else 1 :]
    if threshold is not None:
        finish.with_threshold(model.graph, last.classes_, threshold)
    if scaler is not None:
        finish.with_scaled_target(model.graph, *scaler)
    if guarded:
        finish.with_guard(
            model.graph,
            len(last.classes_) if probabilities else 1,
            single=isinstance(last, TREES),
            missing=get_tags(last).input_tags.allow_nan,
        )
    _prune(model.graph)
    domains = sorted(model.opset_import, key=lambda each: each.domain)  # skl2onnx's order is by chance
    del model.opset_import[:]
    for each in domains:
        version = trees.ML_VERSION if each.domain == trees.ML else each.version
        model.opset_import.add(domain=each.domain, version=version)
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
        *before, scaler = steps_of(part)
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


def _target_scaler(regressor: TransformedTargetRegressor) -> tuple[float, float]:
    """The scale and the mean that bring a prediction back to the target's own size."""
    scaler = regressor.transformer_
    if not isinstance(scaler, StandardScaler) or scaler.n_features_in_ != 1:
        raise NotImplementedError("a target can be transformed by StandardScaler only")
    scale = 1.0 if scaler.scale_ is None else float(scaler.scale_[0])
    return scale, 0.0 if scaler.mean_ is None else float(scaler.mean_[0])


def _side_by_side(features: Sequence[Feature]) -> ColumnTransformer:
    """A first step that joins the inputs into one matrix: skl2onnx would do so in float32."""
    names = [feature.name for feature in features]
    columns = ColumnTransformer([("all", "passthrough", names)])
    return columns.fit(pd.DataFrame({name: [0.0] for name in names}))


def _encoding_to_double(columns: ColumnTransformer) -> ColumnTransformer:
    """The same, with encoded texts as doubles: skl2onnx gives all columns the type of the first."""
    double = copy.copy(columns)
    double.transformers_ = [
        (name, _with_double_end(part), names) for name, part, names in columns.transformers_
    ]
    return double


def _with_double_end(part: Any) -> Any:
    """A column's transformer whose output is doubles; one without steps as skl2onnx knows it."""
    steps = steps_of(part)
    if not steps:
        return "passthrough"
    if isinstance(steps[-1], OneHotEncoder | OrdinalEncoder):
        return Pipeline([("encode", part), ("cast", CastTransformer(dtype=np.float64))])
    return part


def _rename(graph: onnx.GraphProto, inputs: Mapping[str, str]) -> None:
    """Give the inputs these names, and everything else a name that no input can have."""
    names = {"": "", **inputs}

    def renamed(name: str) -> str:
        return names.setdefault(name, f"v{len(names)}")

    def rename(part: onnx.GraphProto) -> None:
        for each in (*part.input, *part.initializer, *part.output, *part.value_info):
            each.name = renamed(each.name)
        for node in part.node:
            node.input[:] = map(renamed, node.input)
            node.output[:] = map(renamed, node.output)
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    rename(attribute.g)

    rename(graph)


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
