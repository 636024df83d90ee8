"""Converters of naive Bayes in doubles: the joint logarithms of each class, and what follows of them.

https://scikit-learn.org/stable/modules/naive_bayes.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, MultinomialNB

from training.export.nodes import REAL, Converter, Nodes, Shape, classes_out
from training.export.parts import columns, doubles, from_logarithms, linear, row, total

#: Adds the nodes of the joint logarithms, shape (n, classes), from what is given and the estimator.
Joint = Callable[[Nodes, str, Any], str]


def _multinomial(nodes: Nodes, given: str, model: Any) -> str:
    return linear(nodes, given, model.feature_log_prob_.T, model.class_log_prior_)


def _complement(nodes: Nodes, given: str, model: Any) -> str:
    return linear(nodes, given, model.feature_log_prob_.T, 0.0)


def _bernoulli(nodes: Nodes, given: str, model: Any) -> str:
    if model.binarize is not None:
        above = nodes.add("Greater", given, nodes.number(float(model.binarize)))
        given = nodes.add("Cast", above, to=REAL)
    absent = np.log(1 - np.exp(model.feature_log_prob_))
    return linear(
        nodes, given, (model.feature_log_prob_ - absent).T, model.class_log_prior_ + absent.sum(axis=1)
    )


def _categorical(nodes: Nodes, given: str, model: Any) -> str:
    """NaN where a feature is none of the categories: scikit-learn raises there."""
    counts = [table.shape[1] for table in model.feature_log_prob_]
    number = np.concatenate([np.arange(count, dtype=float) for count in counts])
    # A cell is cut to a whole number: between -1 and 1 it is category 0.
    low, high = np.where(number == 0, np.nextafter(-1.0, 0.0), number), number + 1
    each = columns(nodes, given, np.repeat(np.arange(len(counts)), counts))
    inside = (nodes.add("GreaterOrEqual", each, row(nodes, low)), nodes.add("Less", each, row(nodes, high)))
    marks = nodes.add("Cast", nodes.add("And", *inside), to=REAL)
    joint = linear(nodes, marks, np.concatenate(model.feature_log_prob_, axis=1).T, model.class_log_prior_)
    known = nodes.add("Equal", total(nodes, marks), nodes.number(float(len(counts))))
    return nodes.add("Where", known, joint, nodes.number(np.nan))


JOINT: Mapping[type, Joint] = {
    BernoulliNB: _bernoulli,
    CategoricalNB: _categorical,
    ComplementNB: _complement,
    MultinomialNB: _multinomial,
}


def _naive_bayes(scope: Any, operator: Any, container: Any) -> None:
    nodes, model = Nodes(scope, container), operator.raw_operator
    if len(model.classes_) < 2:
        raise NotImplementedError("naive Bayes of one class")
    label, probabilities = operator.output_full_names
    joint = JOINT[type(model)](nodes, doubles(operator).full_name, model)
    nodes.most_probable(model.classes_, joint, label)
    from_logarithms(nodes, joint, probabilities)


REPLACED: Mapping[str, Converter] = {}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = dict.fromkeys(JOINT, (classes_out, _naive_bayes))
