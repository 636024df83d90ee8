"""Estimators made of other estimators: what each gives of its members' answers, by scikit-learn's rules.

Members are whole estimators, also pipelines over the features. A rule lays its members out by ``respond``,
and combines their answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.multiclass import (
    OneVsOneClassifier,
    OneVsRestClassifier,
    OutputCodeClassifier,
    _ConstantPredictor,
)
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.semi_supervised import SelfTrainingClassifier

from training.compat import FixedThresholdClassifier, TunedThresholdClassifierCV
from training.export import combining
from training.export.isotonic import interpolated, piecewise
from training.export.nodes import REAL, WHOLE, Nodes, Part, Table
from training.export.parts import constant_rows, matrix, row, shares, total, upright

if TYPE_CHECKING:
    from training.export.layout import Layout, Method

#: Names what an estimator answers to a table when it is asked by a method.
Rule = Callable[["Layout", Any, Table, "Method"], str]


def _refuse(estimator: Any, method: Method) -> str:
    raise NotImplementedError(f"{type(estimator).__name__} by {method}")


def _binary_score(layout: Layout, member: Any, table: Table) -> tuple[str, float]:
    """The score by which a member of several chooses its second class, and from where on it does."""
    if is_regressor(member):
        return layout.respond(member, table, "predict"), 0.5
    if hasattr(member, "decision_function"):
        return _constant_or(layout, member, table, "decision_function"), 0.0
    return combining.column(layout.nodes, layout.respond(member, table, "predict_proba"), 1), 0.5


def _calibrated(layout: Layout, model: CalibratedClassifierCV, table: Table, method: Method) -> str:
    """https://scikit-learn.org/stable/modules/calibration.html"""
    if method == "decision_function":
        return _refuse(model, method)
    if method == "predict":
        return combining.highest(layout.nodes, layout.respond(model, table, "predict_proba"))
    members = [_calibrated_member(layout, each, table) for each in model.calibrated_classifiers_]
    return combining.average(layout.nodes, members)


def _calibrated_member(layout: Layout, model: Any, table: Table) -> str:
    nodes, classes, member = layout.nodes, model.classes, model.estimator
    by_decision = hasattr(member, "decision_function")
    scores = layout.respond(member, table, "decision_function" if by_decision else "predict_proba")
    two = len(member.classes_) == 2
    if model.method == "temperature":
        (calibrator,) = model.calibrators
        if not by_decision:
            logits = nodes.add("Log", nodes.add("Add", scores, nodes.number(1e-12)))
        else:
            logits = combining.beside(nodes, [nodes.add("Neg", scores), scores]) if two else scores
        return combining.tempered(nodes, logits, float(calibrator.beta_))
    if two and not by_decision:
        scores = combining.column(nodes, scores, 1)
    single = [scores] if two else [combining.column(nodes, scores, k) for k in range(len(member.classes_))]
    made = [_calibrate(nodes, each, by) for each, by in zip(single, model.calibrators, strict=True)]
    if len(classes) == 2:
        return combining.both(nodes, made[0])
    columns = [classes.tolist().index(each) + two for each in member.classes_.tolist()[: len(made)]]
    every = combining.spread(nodes, combining.beside(nodes, made), columns, len(classes))
    return shares(nodes, every, len(classes))


def _calibrate(nodes: Nodes, scores: str, calibrator: Any) -> str:
    if hasattr(calibrator, "a_"):
        return combining.sigmoid(nodes, scores, float(calibrator.a_), float(calibrator.b_))
    return upright(nodes, interpolated(nodes, scores, calibrator))


def _voting_classifier(layout: Layout, model: VotingClassifier, table: Table, method: Method) -> str:
    """https://scikit-learn.org/stable/modules/ensemble.html#voting-classifier"""
    weights, classes = model._weights_not_none, len(model.classes_)
    if method == "predict_proba" and model.voting == "soft":
        members = [layout.respond(each, table, "predict_proba") for each in model.estimators_]
        return combining.average(layout.nodes, members, weights)
    if method != "predict":
        return _refuse(model, method)
    if model.voting == "soft":
        return combining.highest(layout.nodes, layout.respond(model, table, "predict_proba"))
    indices = [_encoded(layout, each, table) for each in model.estimators_]
    return combining.highest(layout.nodes, combining.votes(layout.nodes, indices, classes, weights))


def _encoded(layout: Layout, member: Any, table: Table) -> str:
    """The class that a member of several predicts, by the number that it was fitted on."""
    index = layout.respond(member, table, "predict")
    classes = [int(each) for each in member.classes_]
    if classes == list(range(len(classes))):
        return index
    return layout.nodes.add(
        "Gather", layout.nodes.constant("classes", WHOLE, [len(classes)], classes), index
    )


def _voting_regressor(layout: Layout, model: VotingRegressor, table: Table, _: Method) -> str:
    members = [layout.respond(each, table, "predict") for each in model.estimators_]
    return combining.average(layout.nodes, members, model._weights_not_none)


def _stacked(layout: Layout, model: Any, table: Table) -> Table:
    """What the members of a stack give to its final estimator."""
    nodes, parts = layout.nodes, []
    for member, method in zip(model.estimators_, model.stack_method_, strict=True):
        if method == "predict" and is_classifier(member):
            number = nodes.add("Cast", _encoded(layout, member, table), to=REAL)
            parts.append(Part(upright(nodes, number), REAL, 1))
            continue
        scores = layout.respond(member, table, method)
        width = 1 if method == "predict" else len(member.classes_)
        if width == 2:
            width = 1
            scores = scores if method == "decision_function" else combining.column(nodes, scores, 1)
        parts.append(Part(scores, REAL, width))
    return (*parts, *(table if model.passthrough else ()))


def _stacking(layout: Layout, model: Any, table: Table, method: Method) -> str:
    """https://scikit-learn.org/stable/modules/ensemble.html#stacked-generalization"""
    stacked = _stacked(layout, model, table)
    if is_classifier(model) and method == "predict":
        return _encoded(layout, model.final_estimator_, stacked)
    return layout.respond(model.final_estimator_, stacked, method)


def _bagging_classifier(layout: Layout, model: BaggingClassifier, table: Table, method: Method) -> str:
    """https://scikit-learn.org/stable/modules/ensemble.html#bagging"""
    if method == "predict":
        return combining.highest(layout.nodes, layout.respond(model, table, "predict_proba"))
    nodes, classes, members = layout.nodes, model.n_classes_, []
    for member, features in zip(model.estimators_, model.estimators_features_, strict=True):
        own = layout.select(table, features)
        if method == "decision_function":
            members.append(layout.respond(member, own, method))
        elif hasattr(member, "predict_proba"):
            scores = layout.respond(member, own, "predict_proba")
            members.append(
                combining.spread(nodes, scores, [int(each) for each in member.classes_], classes)
            )
        else:
            members.append(combining.votes(nodes, [_encoded(layout, member, own)], classes))
    return combining.average(nodes, members)


def _bagging_regressor(layout: Layout, model: BaggingRegressor, table: Table, method: Method) -> str:
    members = [
        layout.respond(member, layout.select(table, features), method)
        for member, features in zip(model.estimators_, model.estimators_features_, strict=True)
    ]
    return combining.average(layout.nodes, members)


def _boosted_classifier(layout: Layout, model: AdaBoostClassifier, table: Table, method: Method) -> str:
    """https://scikit-learn.org/stable/modules/ensemble.html#adaboost"""
    nodes, classes = layout.nodes, len(model.classes_)
    layout.guard(model, table)
    if method == "predict":
        scores = layout.respond(model, table, "decision_function")
        return combining.highest(nodes, scores) if classes > 2 else combining.above(nodes, scores, 0.0)
    if method == "predict_proba":
        scores = layout.respond(model, table, "decision_function")
        if classes == 2:
            scores = combining.beside(nodes, [nodes.add("Neg", scores), scores])
        return combining.tempered(nodes, scores, 0.5 if classes == 2 else 1 / (classes - 1))
    parts = []
    for member, weight in zip(model.estimators_, model.estimator_weights_, strict=False):
        every = [model.classes_.tolist().index(each) for each in member.classes_.tolist()]
        index = layout.respond(member, table, "predict")
        if every != list(range(classes)):
            index = nodes.add("Gather", nodes.constant("classes", WHOLE, [len(every)], every), index)
        scores = np.where(np.eye(classes, dtype=bool), weight, -1 / (classes - 1) * weight)
        marks = combining.votes(nodes, [index], classes)
        parts.append(nodes.add("MatMul", marks, matrix(nodes, scores)))
    share = nodes.number(float(model.estimator_weights_.sum()))
    scores = nodes.add("Div", combining.summed(nodes, parts), share)
    if classes > 2:
        return scores
    return nodes.add("Sub", combining.column(nodes, scores, 1), combining.column(nodes, scores, 0))


def _one_vs_rest(layout: Layout, model: OneVsRestClassifier, table: Table, method: Method) -> str:
    """https://scikit-learn.org/stable/modules/multiclass.html#onevsrestclassifier"""
    nodes, members = layout.nodes, model.estimators_
    if method == "decision_function":
        return combining.beside(nodes, [_constant_or(layout, each, table, method) for each in members])
    if method == "predict":
        scores = [_binary_score(layout, each, table) for each in members]
        if len(scores) == 1:
            return combining.above(nodes, *scores[0])
        return combining.highest(nodes, combining.beside(nodes, [score for score, _ in scores]))
    positive = [combining.column(nodes, _constant_or(layout, each, table, method), 1) for each in members]
    if len(positive) == 1:
        return combining.both(nodes, positive[0])
    every = combining.beside(nodes, positive)
    sums = total(nodes, every)
    none = nodes.add("Equal", sums, nodes.number(0.0))
    return nodes.add("Div", every, nodes.add("Where", none, nodes.number(1.0), sums))


def _constant_or(layout: Layout, member: Any, table: Table, method: Method) -> str:
    """What a member answers; one that saw one class only answers that."""
    if not isinstance(member, _ConstantPredictor):
        return layout.respond(member, table, method)
    nodes, value = layout.nodes, float(np.ravel(member.y_)[0])
    constants = [value] if method == "decision_function" else [1 - value, value]
    return constant_rows(nodes, table[0].name, constants)


def _one_vs_one(layout: Layout, model: OneVsOneClassifier, table: Table, method: Method) -> str:
    """https://scikit-learn.org/stable/modules/multiclass.html#onevsoneclassifier"""
    nodes, classes = layout.nodes, len(model.classes_)
    if method == "predict":
        scores = layout.respond(model, table, "decision_function")
        if classes > 2:
            return combining.highest(nodes, scores)
        return combining.above(nodes, scores, 0.5 if _by_probability(model.estimators_[0]) else 0.0)
    if method != "decision_function":
        return _refuse(model, method)
    pairs = [(first, second) for first in range(classes) for second in range(first + 1, classes)]
    votes, confidences = [], []
    for member, pair in zip(model.estimators_, pairs, strict=True):
        score, _ = _binary_score(layout, member, table)
        if is_classifier(member):
            choice = layout.respond(member, table, "predict")
        else:
            raise NotImplementedError("OneVsOneClassifier of regressors")
        marks = combining.votes(nodes, [choice], 2)
        votes.append(combining.spread(nodes, marks, pair, classes))
        signs = np.zeros((1, classes))
        signs[0, list(pair)] = (-1.0, 1.0)
        confidences.append(nodes.add("Mul", score, row(nodes, signs[0])))
    sums = combining.summed(nodes, confidences)
    below = nodes.add("Mul", nodes.number(3.0), nodes.add("Add", nodes.add("Abs", sums), nodes.number(1.0)))
    scores = nodes.add("Add", combining.summed(nodes, votes), nodes.add("Div", sums, below))
    return scores if classes > 2 else combining.column(nodes, scores, 1)


def _by_probability(member: Any) -> bool:
    return is_regressor(member) or not hasattr(member, "decision_function")


def _output_code(layout: Layout, model: OutputCodeClassifier, table: Table, method: Method) -> str:
    """https://scikit-learn.org/stable/modules/multiclass.html#outputcodeclassifier"""
    if method != "predict":
        return _refuse(model, method)
    nodes, book = layout.nodes, np.asarray(model.code_book_, np.float64)
    scores = [_binary_score(layout, each, table)[0] for each in model.estimators_]
    made = combining.beside(nodes, scores)
    products = nodes.add("MatMul", made, matrix(nodes, -2.0 * book.T))
    # In scikit-learn's order: far away, rounding makes distances equal, and the first of equals counts.
    squares = nodes.add("Add", total(nodes, nodes.add("Mul", made, made)), products)
    distances = nodes.add("Add", squares, row(nodes, (book * book).sum(axis=1)))
    return combining.highest(nodes, nodes.add("Neg", nodes.add("Max", distances, nodes.number(0.0))))


def _self_training(layout: Layout, model: SelfTrainingClassifier, table: Table, method: Method) -> str:
    return layout.respond(model.estimator_, table, method)


def _thresholded(layout: Layout, model: Any, table: Table, method: Method) -> str:
    """https://scikit-learn.org/stable/modules/classification_threshold.html"""
    nodes, member = layout.nodes, model.estimator_
    if method != "predict":
        return layout.respond(member, table, method)
    tuned = isinstance(model, TunedThresholdClassifierCV)
    threshold = model.best_threshold_ if tuned else model.threshold
    by: Method = model.response_method
    if model.response_method == "auto":
        by = "predict_proba" if hasattr(member, "predict_proba") else "decision_function"
    positive = model._curve_scorer._get_pos_label() if tuned else model.pos_label
    first = positive is not None and positive == model.classes_[0] and positive != model.classes_[1]
    scores = layout.respond(member, table, by)
    if by == "predict_proba":
        scores = combining.column(nodes, scores, 0 if first else 1)
    elif first:
        scores = nodes.add("Neg", scores)
    if threshold == "auto":
        threshold = 0.5 if by == "predict_proba" else 0.0
    reached = nodes.add("GreaterOrEqual", scores, nodes.number(float(threshold)))
    return nodes.flat(nodes.add("Cast", nodes.add("Not", reached) if first else reached, to=WHOLE))


def _transformed_target(
    layout: Layout, model: TransformedTargetRegressor, table: Table, method: Method
) -> str:
    """https://scikit-learn.org/stable/modules/compose.html#transforming-target-in-regression"""
    return _inverse(layout, model.transformer_, layout.respond(model.regressor_, table, method))


def _inverse(layout: Layout, step: Any, value: str) -> str:
    """What a transformer of one column was given, from what it gave; shape (n, 1)."""
    nodes = layout.nodes
    if step is None or (isinstance(step, str) and step == "passthrough"):
        return value
    if isinstance(step, Pipeline):
        for _, each in reversed(step.steps):
            value = _inverse(layout, each, value)
        return value
    if isinstance(step, FunctionTransformer):
        return _inverse_function(layout, step, value)
    if getattr(step, "n_features_in_", 1) != 1:
        raise NotImplementedError("several targets")
    inverse = INVERSES.get(type(step))
    if inverse is None:
        raise NotImplementedError(f"a target transformed by {type(step).__name__}")
    return inverse(nodes, step, value)


def _inverse_function(layout: Layout, step: FunctionTransformer, value: str) -> str:
    function = FunctionTransformer(step.inverse_func, kw_args=step.inv_kw_args)
    (made,) = layout.transform(function, (Part(value, REAL, 1),))
    return made.name


def _unscaled(nodes: Nodes, value: str, scale: Any, centre: Any) -> str:
    if scale is not None:
        value = nodes.add("Mul", value, nodes.number(float(scale[0])))
    return value if centre is None else nodes.add("Add", value, nodes.number(float(centre[0])))


def _from_range(nodes: Nodes, step: MinMaxScaler, value: str) -> str:
    above = nodes.add("Sub", value, nodes.number(float(step.min_[0])))
    return nodes.add("Div", above, nodes.number(float(step.scale_[0])))


def _from_power(nodes: Nodes, step: PowerTransformer, value: str) -> str:
    """https://scikit-learn.org/stable/modules/preprocessing.html#mapping-to-a-gaussian-distribution"""
    power = float(step.lambdas_[0])
    if step.standardize:
        scaler = step._scaler
        value = _unscaled(nodes, value, scaler.scale_, scaler.mean_)

    def raised(base: str, exponent: float) -> str:
        return nodes.add("Pow", base, nodes.number(exponent))

    if step.method == "box-cox":
        if power == 0:
            return nodes.add("Exp", value)
        return raised(combining.linear(nodes, value, power, 1.0), 1 / power)
    one = nodes.number(1.0)
    if abs(power) < np.spacing(1.0):
        upper = nodes.add("Sub", nodes.add("Exp", value), one)
    else:
        upper = nodes.add("Sub", raised(combining.linear(nodes, value, power, 1.0), 1 / power), one)
    if abs(power - 2) > np.spacing(1.0):
        lower = raised(combining.linear(nodes, value, -(2 - power), 1.0), 1 / (2 - power))
    else:
        lower = nodes.add("Exp", nodes.add("Neg", value))
    positive = nodes.add("GreaterOrEqual", value, nodes.number(0.0))
    return nodes.add("Where", positive, upper, nodes.add("Sub", one, lower))


def _from_quantiles(nodes: Nodes, step: QuantileTransformer, value: str) -> str:
    if step.output_distribution != "uniform":
        raise NotImplementedError("a target transformed by QuantileTransformer to a normal distribution")
    inside = nodes.add("Min", nodes.add("Max", nodes.flat(value), nodes.number(0.0)), nodes.number(1.0))
    return upright(nodes, piecewise(nodes, inside, step.references_, step.quantiles_[:, 0]))


#: How transformers of one column are turned round.
INVERSES: Mapping[type, Callable[[Nodes, Any, str], str]] = {
    StandardScaler: lambda nodes, step, value: _unscaled(nodes, value, step.scale_, step.mean_),
    RobustScaler: lambda nodes, step, value: _unscaled(nodes, value, step.scale_, step.center_),
    MaxAbsScaler: lambda nodes, step, value: _unscaled(nodes, value, step.scale_, None),
    MinMaxScaler: _from_range,
    PowerTransformer: _from_power,
    QuantileTransformer: _from_quantiles,
}


def transformed(layout: Layout, model: Any, table: Table) -> Table:
    """What a vote or a stack gives as a transformer: its members' answers side by side."""
    nodes = layout.nodes
    if isinstance(model, StackingClassifier | StackingRegressor):
        return _stacked(layout, model, table)
    if isinstance(model, VotingRegressor):
        return tuple(Part(layout.respond(each, table, "predict"), REAL, 1) for each in model.estimators_)
    if not isinstance(model, VotingClassifier):
        raise NotImplementedError(f"{type(model).__name__} as a transformer")
    if model.voting == "soft":
        width = len(model.classes_)
        return tuple(
            Part(layout.respond(each, table, "predict_proba"), REAL, width) for each in model.estimators_
        )
    return tuple(
        Part(
            nodes.add("Cast", upright(nodes, _encoded(layout, each, table)), to=REAL),
            REAL,
            1,
        )
        for each in model.estimators_
    )


RULES: Mapping[type, Rule] = {
    AdaBoostClassifier: _boosted_classifier,
    BaggingClassifier: _bagging_classifier,
    BaggingRegressor: _bagging_regressor,
    CalibratedClassifierCV: _calibrated,
    FixedThresholdClassifier: _thresholded,
    OneVsOneClassifier: _one_vs_one,
    OneVsRestClassifier: _one_vs_rest,
    OutputCodeClassifier: _output_code,
    SelfTrainingClassifier: _self_training,
    StackingClassifier: _stacking,
    StackingRegressor: _stacking,
    TransformedTargetRegressor: _transformed_target,
    TunedThresholdClassifierCV: _thresholded,
    VotingClassifier: _voting_classifier,
    VotingRegressor: _voting_regressor,
}
