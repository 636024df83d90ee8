"""What explains a model's predictions, for ``handler.scoring.explaining``.

The steps before the last one become a graph and a program of their own. The program also tells which
feature each column comes from. The last step is a linear model or an ensemble of trees.
"""

from __future__ import annotations

import itertools
import json
from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.svm import LinearSVC, LinearSVR

from handler import dates
from handler.bundle import Contract, Feature
from handler.schema import Columns
from handler.scoring.explaining import FORMAT
from handler.scoring.row_program import arrays
from handler.scoring.row_program import stored as stored_value
from handler.scoring.scorers import OnnxScorer
from handler.scoring.texts import Vectorizer
from training.compat import FixedThresholdClassifier, TunedThresholdClassifierCV
from training.export.graph import NotExportable, given_to_last
from training.export.layout import steps_of
from training.export.program import NotCompilable, compile_program, little_endian, with_arrays


class NotExplainable(Exception):
    """Predictions of the estimator have no explanations; ``str()`` says why."""


def explanation(
    estimator: Any, contract: Contract, stated: Sequence[Feature], rows: Columns
) -> tuple[bytes, str]:
    """The content of ``model.explain``, and the scale of the explanations; raises ``NotExplainable``.

    ``stated``: the features as requests have them. ``rows``: some, whose mean is what a linear model's
    explanations start from.
    """
    steps = flattened(estimator)
    last = steps[-1]
    linear = _linear(last, contract)
    if linear is None:
        raise NotExplainable(f"{type(last).__name__} is neither a linear model nor an ensemble of trees")
    of, coefficients, intercepts = linear
    graph, program = _given(steps, contract, rows, None)
    means = OnnxScorer(graph, contract).table(rows).mean(axis=0)
    document = {
        "of": of,
        "base": (intercepts + coefficients @ means).tolist(),
        "linear": {"coefficients": coefficients.tolist(), "means": means.tolist()},
    }
    groups = _groups(program, contract.features, stated)
    if len(groups) != len(means):
        raise NotExplainable("the columns that the model is given cannot be told apart")
    return _content({**document, "groups": groups}, program, graph), of


def flattened(estimator: Any) -> list[Any]:
    """The fitted steps of a model, also of one that is wrapped for its threshold or its probabilities."""
    *before, last = steps_of(estimator)
    inner = _inner(last)
    return [*before, last] if inner is None else [*before, *flattened(inner)]


def _inner(step: Any) -> Any:
    """The one estimator that a wrapper passes its rows to, or None."""
    if isinstance(step, FixedThresholdClassifier | TunedThresholdClassifierCV):
        return step.estimator_
    if isinstance(step, VotingClassifier | VotingRegressor) and len(step.estimators_) == 1:
        return step.estimators_[0]
    if isinstance(step, CalibratedClassifierCV) and len(step.calibrated_classifiers_) == 1:
        inner = step.calibrated_classifiers_[0].estimator
        return inner if isinstance(steps_of(inner)[-1], LinearSVC) else None
    return None


def _linear(model: Any, contract: Contract) -> tuple[str, np.ndarray, np.ndarray] | None:
    """The scale of a linear model's output, its coefficients, and its intercepts; None if it is another."""
    kind = type(model).__module__
    named = kind.startswith("sklearn.linear_model") or isinstance(model, LinearSVC | LinearSVR)
    coefficients = getattr(model, "coef_", None)
    if not (named or kind == "sklearn.discriminant_analysis") or coefficients is None:
        return None
    coefficients = np.atleast_2d(np.asarray(coefficients, np.float64))
    intercepts = np.broadcast_to(np.asarray(model.intercept_, np.float64), len(coefficients))
    of = "value"
    if (
        contract.classes
        and hasattr(model, "predict_proba")
        and getattr(model, "loss", "") != "modified_huber"
    ):
        of = "log-odds"
    elif hasattr(model, "_base_loss") and type(model._base_loss.link).__name__ == "LogLink":
        of = "log-value"
    return of, coefficients, intercepts


def _given(steps: Sequence[Any], contract: Contract, rows: Columns, operand: Any) -> tuple[bytes, bytes]:
    """The graph and the program of what the last step is given."""
    from sklearn.pipeline import Pipeline

    pipeline = Pipeline([(str(index), step) for index, step in enumerate(steps)])
    try:
        graph = given_to_last(pipeline, contract, operand=operand)
        return graph, compile_program(graph, contract, rows).content
    except NotExportable as error:
        raise NotExplainable(f"its steps cannot be exported: {error}") from error
    except NotCompilable as error:
        raise NotExplainable(f"Python alone cannot do {error}") from error


def _groups(program: bytes, features: Sequence[Feature], stated: Sequence[Feature]) -> list[int]:
    """The index of the stated feature that each member of a program's output depends on."""
    owners = [index for index, each in enumerate(stated) for _ in dates.expanded_features([each])]
    groups = []
    for column in sources(program, len(features)):
        owned = sorted({owners[source] for source in column})
        if len(owned) > 1:
            first, second = (stated[each].name for each in owned[:2])
            raise NotExplainable(
                f"one of its steps makes a column of several features, such as '{first}' and '{second}'"
            )
        groups.append(owned[0] if owned else 0)  # a constant column adds nothing
    return groups


Sources = list[frozenset[int]]


def sources(content: bytes, width: int) -> Sources:
    """The indices of the record's values that each member of a program's output depends on.

    ``width``: how many values a record has.
    """
    line, _, rest = content.partition(b"\n")
    document = json.loads(line)
    large = arrays(document["arrays"], rest)
    slots: dict[int, Sources] = {0: [frozenset([index]) for index in range(width)]}
    for slot, values in document["constants"].items():
        slots[int(slot)] = [frozenset()] * len(values)
    for kind, output, given, parameters in document["steps"]:
        named = {name: stored_value(value, large) for name, value in parameters.items()}
        slots[output] = _of_step(kind, [slots[slot] for slot in given], named)
    return slots[document["label"]]


def _of_step(kind: str, given: Sequence[Sources], named: Mapping[str, Any]) -> Sources:
    """What each member of a step's output depends on."""
    first = given[0]
    if kind == "pick":
        return [first[place] for place in named["places"]]
    if kind == "concat":
        return [each for sources in given for each in sources]
    if kind in ("unary", "single", "look_up"):
        return first
    if kind in ("binary", "where"):
        maps = named["maps"] if kind == "where" else [named.get("left"), named.get("right")]
        members = [
            sources if indices is None else [sources[index] for index in indices]
            for sources, indices in zip(given, maps, strict=True)
        ]
        return [frozenset().union(*each) for each in zip(*members, strict=True)]
    if kind == "one_hot":
        return [each for each in first for _ in named["categories"]]
    if kind in ("reduce", "argmax"):
        return [frozenset().union(*(first[index] for index in group)) for group in named["groups"]]
    if kind == "matmul":
        return [frozenset().union(*itertools.compress(first, column)) for column in named["columns"]]
    every = frozenset().union(*first)
    if kind == "at":
        return [every | each for each in given[1]]
    if kind == "text":
        recipe = {name: value for name, value in named.items() if name != "column"}
        return [first[named["column"]]] * Vectorizer(**recipe).size
    if kind == "trees":
        return [every] * named["size"]
    return [every] * len(first)


def _content(document: Mapping[str, Any], program: bytes, graph: bytes) -> bytes:
    """``model.explain``; lists of numbers that are long become arrays."""
    large: list[array[Any]] = []
    model = {
        name: {key: with_arrays(value, large) for key, value in document[name].items()}
        for name in ("linear", "trees")
        if name in document
    }
    head = {
        "format": FORMAT,
        **document,
        **model,
        "arrays": [[each.typecode, len(each)] for each in large],
        "files": [len(program), len(graph)],
    }
    line = json.dumps(head, ensure_ascii=False).encode()
    return b"".join([line, b"\n", *map(little_endian, large), program, graph])
