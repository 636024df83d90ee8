"""Converters of linear estimators, of those that end as linear ones do, and of constant ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn import linear_model
from sklearn.cross_decomposition import CCA, PLSCanonical, PLSRegression
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.svm import LinearSVC, LinearSVR

from training.export.nodes import Converter, Nodes, Shape, classes_out, value_out
from training.export.parts import (
    constant_rows,
    decision,
    doubles,
    expit,
    label_by_score,
    linear,
    row,
    shares,
    value,
    wants_decision,
)

#: Linear classifiers whose probabilities are those of ``LogisticRegression``.
LOGISTIC = (linear_model.LogisticRegression, linear_model.LogisticRegressionCV, LinearDiscriminantAnalysis)


def score(nodes: Nodes, given: str, model: Any) -> str:
    """``decision_function`` of a linear classifier: shape (n,) for two classes, else (n, classes)."""
    return linear(nodes, given, np.atleast_2d(model.coef_).T, model.intercept_)


def _classifier(scope: Any, operator: Any, container: Any) -> None:
    """https://scikit-learn.org/stable/modules/linear_model.html"""
    nodes, model = Nodes(scope, container), operator.raw_operator
    made = score(nodes, doubles(operator).full_name, model)
    label_by_score(nodes, operator, made)
    if not hasattr(model, "predict_proba") or wants_decision(operator, container):
        decision(nodes, operator, made)
        return
    classes, probabilities = len(model.classes_), operator.output_full_names[1]
    if isinstance(model, LOGISTIC) and classes > 2:
        nodes.add("Softmax", made, output=probabilities, axis=1)
        return
    if getattr(model, "loss", None) == "modified_huber":
        clipped = nodes.add("Min", nodes.add("Max", made, nodes.number(-1.0)), nodes.number(1.0))
        each = nodes.add("Div", nodes.add("Add", clipped, nodes.number(1.0)), nodes.number(2.0))
    else:
        each = expit(nodes, made)
    if classes == 2:
        nodes.two_probabilities(each, probabilities)
    else:
        shares(nodes, each, classes, probabilities)


def _regressor(scope: Any, operator: Any, container: Any) -> None:
    nodes, model = Nodes(scope, container), operator.raw_operator
    value(nodes, operator, score(nodes, doubles(operator).full_name, model))


def _generalized(scope: Any, operator: Any, container: Any) -> None:
    """https://scikit-learn.org/stable/modules/linear_model.html#generalized-linear-models"""
    nodes, model = Nodes(scope, container), operator.raw_operator
    made = score(nodes, doubles(operator).full_name, model)
    link = type(model._base_loss.link).__name__
    if link not in ("LogLink", "IdentityLink"):
        raise NotImplementedError(f"{type(model).__name__} with the link {link}")
    value(nodes, operator, nodes.add("Exp", made) if link == "LogLink" else made)


def _partial_least_squares(scope: Any, operator: Any, container: Any) -> None:
    nodes, model = Nodes(scope, container), operator.raw_operator
    if len(model.coef_) != 1:
        raise NotImplementedError(f"{type(model).__name__} of several targets")
    centred = nodes.add("Sub", doubles(operator).full_name, row(nodes, model._x_mean))
    made = linear(nodes, centred, model.coef_.T, model.intercept_)
    value(nodes, operator, made)


def _constant_classifier(scope: Any, operator: Any, container: Any) -> None:
    """https://scikit-learn.org/stable/modules/model_evaluation.html#dummy-estimators"""
    nodes, model = Nodes(scope, container), operator.raw_operator
    label, probabilities = operator.output_full_names
    if model.strategy not in ("prior", "most_frequent", "constant"):
        raise NotImplementedError(f"DummyClassifier({model.strategy!r}), which answers at random")
    given = doubles(operator).full_name
    made = constant_rows(nodes, given, model.predict_proba(np.zeros((1, 1)))[0])
    nodes.most_probable(model.classes_, made, label)
    nodes.add("Identity", made, output=probabilities)


def _constant_regressor(scope: Any, operator: Any, container: Any) -> None:
    nodes, model = Nodes(scope, container), operator.raw_operator
    made = constant_rows(nodes, doubles(operator).full_name, model.constant_)
    value(nodes, operator, made)


CLASSIFIERS = (
    *LOGISTIC,
    linear_model.PassiveAggressiveClassifier,
    linear_model.Perceptron,
    linear_model.RidgeClassifier,
    linear_model.RidgeClassifierCV,
    linear_model.SGDClassifier,
    LinearSVC,
)
REPLACED: Mapping[str, Converter] = {}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = {
    LinearSVR: (value_out, _regressor),
    **dict.fromkeys(CLASSIFIERS, (classes_out, _classifier)),
    **dict.fromkeys(
        (
            linear_model.GammaRegressor,
            linear_model.PoissonRegressor,
            linear_model.TweedieRegressor,
        ),
        (value_out, _generalized),
    ),
    **dict.fromkeys((CCA, PLSCanonical, PLSRegression), (value_out, _partial_least_squares)),
    DummyClassifier: (classes_out, _constant_classifier),
    DummyRegressor: (value_out, _constant_regressor),
}
