"""What explains a model's predictions, for ``handler.scoring.explaining``.

The steps before the last one become a graph and a program of their own. The program also tells which
feature each column comes from. The last step is a linear model or an ensemble of trees.
"""

from __future__ import annotations

import itertools
import json
from array import array
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.ensemble._forest import BaseForest
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.tree import BaseDecisionTree

from handler import dates
from handler.manifest import SCALAR, UNSUPERVISED, Contract, Feature
from handler.schema import Columns
from handler.scoring import row_program
from handler.scoring.explaining import FORMAT, Explainer
from handler.scoring.explaining_many import Many
from handler.scoring.graph import PIECE, OnnxScorer
from handler.scoring.row_program import head
from handler.scoring.row_program import stored as stored_value
from handler.scoring.scorers import Scores, length
from handler.scoring.shapley import Linear
from handler.scoring.texts import Vectorizer
from training.compat import FixedThresholdClassifier, TunedThresholdClassifierCV
from training.export import boosters, histograms
from training.export import trees as trees_of
from training.export.graph import NotExportable, given_to_last
from training.export.layout import steps_of
from training.export.program import (
    MOST_BRANCHES,
    NotCompilable,
    compile_program,
    little_endian,
    with_arrays,
)
from training.export.trees import Tree

#: So many tables of ``OnnxScorer.at_once`` rows are the most that means are made of, where texts are wide.
PIECES = 20
#: The edges of deep trees, times the classes that are predicted, up to which rows are explained at once:
#: each is dear, however few the rows.
MOST_EDGES = 100_000
#: The most edges times rows of deep trees that are gone through at once, and row by row: some two seconds.
AT_ONCE, ONE_BY_ONE = 20_000_000, 1_000_000


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
    name = type(last).__name__
    if contract.task in UNSUPERVISED:
        raise NotExplainable(f"{name} has no target")
    document: dict[str, Any]
    if (linear := _linear(last, contract)) is not None:
        graph, program = _given(steps, contract, rows, None)
        means = _means(OnnxScorer(graph, contract), rows)
        document = {
            "of": linear.of,
            "base": (linear.intercepts + linear.coefficients @ means).tolist(),
            "linear": {"coefficients": linear.coefficients.tolist(), "means": means.tolist()},
        }
    elif (sums := _sums(last, contract)) is not None:
        graph, program = _given(steps, contract, rows, _walked)
        document = {"of": sums.of, "base": _expected(sums), "trees": _numbered(sums)}
    else:
        raise NotExplainable(f"{name} is neither a linear model nor an ensemble of trees")
    document["groups"] = _groups(program, contract.features, stated)
    return _content(document, program, graph), document["of"]


def _means(given: OnnxScorer, rows: Columns) -> np.ndarray:
    """The means of the columns that the last step is given, over the rows, of wide texts over the first."""
    count, at_once = length(rows), given.at_once
    if at_once < PIECE:
        count = min(count, PIECES * at_once)
    else:
        at_once = count
    sums: Any = 0.0
    for start in range(0, count, at_once):
        part = slice(start, min(start + at_once, count))
        sums = sums + given.table({name: values[part] for name, values in rows.items()}).sum(axis=0)
    means: np.ndarray = sums / count
    return means


def mean_contributions(explainer: Explainer, rows: Columns, scores: Scores) -> list[float]:
    """The mean absolute contribution of each feature; ``scores``: what is served for the rows.

    Of deep trees, the first rows stand for all. Raises ``NotExplainable`` where base and contributions do
    not add up to what is served.
    """
    outputs, model = len(explainer.base), explainer.model
    indices = scores.values.astype(np.int64) if outputs > 1 else np.zeros(len(scores.values), np.int64)
    edges = (
        0 if isinstance(model, Linear) or model.is_small else sum(len(each.edges) for each in model.pieces)
    )
    at_once = edges * np.unique(indices).size <= MOST_EDGES
    count = min(len(indices), max(1, (AT_ONCE if at_once else ONE_BY_ONE) // max(1, edges)))
    rows = {name: values[:count] for name, values in rows.items()}
    indices, scores = indices[:count], scores.at(slice(count))
    if at_once:
        added = Many(explainer).explain(rows, indices)
    else:
        records = zip(*(rows[each.name].tolist() for each in explainer.features), strict=True)
        added = np.array([*map(explainer.adds, records, indices.tolist())]).T
    if not _adds_up(explainer, added.sum(axis=0) + np.array(explainer.base)[indices], indices, scores):
        raise NotExplainable("what its features add does not add up to its predictions")
    means: list[float] = np.abs(added).mean(axis=1).tolist()
    return means


def _adds_up(explainer: Explainer, totals: np.ndarray, indices: np.ndarray, scores: Scores) -> bool:
    """A score of several classes, and a decision value, are not served, and not compared."""
    outputs, served = len(explainer.base), scores.values
    if explainer.of == "log-value":
        totals = np.exp(totals)
    elif explainer.contract.classes:
        if scores.probabilities is None or (explainer.of != "probability" and outputs > 1):
            return True
        if explainer.of == "value":  # before it is calibrated
            return True
        served = scores.probabilities[np.arange(len(indices)), indices if outputs > 1 else 1]
        if explainer.of == "log-odds":
            with np.errstate(over="ignore"):
                totals = 1.0 / (1.0 + np.exp(-totals))
    scale = 1.0 if explainer.contract.classes else float(np.abs(served).max(initial=1.0))
    return bool((np.abs(totals - served) <= 1e-6 * scale).all())


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


class _Linear(NamedTuple):
    """The scale of a linear model's outputs, and for each of them its coefficients and its intercept."""

    of: str
    coefficients: np.ndarray
    intercepts: np.ndarray


class _Grown(NamedTuple):
    """A tree with its values for one output or several, an array over the nodes for each of ``targets``."""

    tree: Tree
    targets: tuple[int, ...]
    values: tuple[np.ndarray, ...]


class _Sums(NamedTuple):
    """Sums of trees: their scale, what is added to each of them, and all trees."""

    of: str
    base: Sequence[float]
    grown: Sequence[_Grown]


def _linear(model: Any, contract: Contract) -> _Linear | None:
    """A linear model; None if it is another."""
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
    return _Linear(of, coefficients, intercepts)


def _sums(model: Any, contract: Contract) -> _Sums | None:
    """An ensemble of trees; None if the model is none. Raises ``NotExplainable``."""
    try:
        if isinstance(model, BaseDecisionTree | BaseForest):
            return _forest(model)
        if isinstance(model, GradientBoostingClassifier | GradientBoostingRegressor):
            trees, base = trees_of.boosted(model)
            factor = 2.0 if getattr(model, "loss", "") == "exponential" else 1.0
            return _scaled("log-odds" if contract.classes else "value", base, trees, factor)
        if isinstance(model, HistGradientBoostingClassifier | HistGradientBoostingRegressor):
            trees, base = histograms.histogram_trees(model)
            of = "log-value" if model.loss in ("poisson", "gamma") else "value"
            return _scaled("log-odds" if contract.classes else of, base, trees, 1.0)
        if boosters.is_booster(model):
            dump = boosters.READERS[type(model).__module__](model)
            if dump.hashes:
                raise NotExplainable("CatBoost with categories")
            of = {"identity": "value", "exp": "log-value"}.get(dump.link, "log-odds")
            return _scaled(of, dump.base, dump.trees, dump.scale)
    except NotImplementedError as error:
        raise NotExplainable(str(error)) from error
    return None


def _forest(model: Any) -> _Sums:
    grown = [each.tree_ for each in getattr(model, "estimators_", [model])]
    if getattr(model, "n_outputs_", 1) != 1:
        raise NotExplainable("trees with several targets")
    values = [trees_of.values(each) / len(grown) for each in grown]
    width = values[0].shape[1]
    columns = [1] if width == 2 else range(width)
    targets = tuple(range(len(columns)))
    return _Sums(
        "probability" if hasattr(model, "classes_") else "value",
        [0.0] * len(targets),
        [
            _Grown(Tree.of(each), targets, tuple(own[:, column] for column in columns))
            for each, own in zip(grown, values, strict=True)
        ],
    )


def _scaled(of: str, base: Sequence[float], trees: Sequence[Tree], factor: float) -> _Sums:
    """The sums of trees, times ``factor``; of two classes' sums, the second one's less the first one's."""
    grown = [_Grown(tree, (tree.target,), (tree.value * factor,)) for tree in trees]
    base = [each * factor for each in base]
    if of == "log-odds" and len(base) == 2:
        signs = (-1.0, 1.0)
        grown = [_Grown(tree, (0,), (values[0] * signs[target],)) for tree, (target,), values in grown]
        base = [base[1] - base[0]]
    return _Sums(of, base, grown)


def _walked(model: onnx.ModelProto) -> str:
    """What the trees in a graph are given."""
    given = {node.input[0] for node in model.graph.node if node.op_type == "TreeEnsemble"}
    if len(given) != 1:
        raise NotExplainable("its trees are not given one table")
    (name,) = given
    return str(name)


def _expected(sums: _Sums) -> list[float]:
    """The mean of each output over the training rows, as the leaves' weights have it."""
    base = [*sums.base]
    for tree, targets, values in sums.grown:
        leaves = tree.left < 0
        cover = tree.cover[leaves]
        if not cover.sum() > 0:
            raise NotExplainable("its trees do not say how many training rows went through their branches")
        for target, own in zip(targets, values, strict=True):
            base[target] += float(own[leaves] @ cover / cover.sum())
    return base


def _numbered(sums: _Sums) -> dict[str, Any]:
    """The trees as ``shapley.Trees`` takes them: branches and leaves are numbered through."""
    branches = leaves = 0
    sets: dict[tuple[float, ...], int] = {}
    parts: list[tuple[Any, ...]] = []
    roots = []
    for tree, _, values in sums.grown:
        is_leaf = tree.left < 0
        number = np.where(is_leaf, ~(np.cumsum(is_leaf) - 1 + leaves), np.cumsum(~is_leaf) - 1 + branches)
        roots.append(int(number[0]))
        inner = np.flatnonzero(~is_leaf)
        set_of = np.full(len(tree.left), -1)
        for node, members in tree.members.items():
            set_of[node] = sets.setdefault(tuple(map(float, members)), len(sets))
        parts.append(
            (
                tree.feature[inner],
                tree.split[inner],
                number[tree.left[inner]],
                number[tree.right[inner]],
                tree.missing_left[inner],
                set_of[inner],
                tree.cover[is_leaf],
                *(own[is_leaf] for own in values),
            )
        )
        branches += len(inner)
        leaves += int(is_leaf.sum())
    feature, split, yes, no, missing, set_index, cover, *weights = (
        np.concatenate(each) for each in zip(*parts, strict=True)
    )
    if branches > MOST_BRANCHES:
        raise NotExplainable(
            f"its trees have {branches:,} branches; at most {MOST_BRANCHES:,} are explained"
        )
    return {
        "roots": roots,
        "feature": feature.astype(int).tolist(),
        "split": split.astype(float).tolist(),
        "yes": yes.tolist(),
        "no": no.tolist(),
        "missing": missing.astype(int).tolist(),
        "cover": cover.astype(float).tolist(),
        "targets": [list(each) for each in zip(*(each.targets for each in sums.grown), strict=True)],
        "weights": [each.astype(float).tolist() for each in weights],
        "sets": [list(each) for each in sets],
        "set_of": set_index.tolist(),
    }


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
    groups: dict[frozenset[int], int] = {}
    columns = sources(program, len(features))
    for column in dict.fromkeys(columns):
        owned = sorted({owners[source] for source in column})
        if len(owned) > 1:
            first, second = (stated[each].name for each in owned[:2])
            raise NotExplainable(
                f"one of its steps makes a column of several features, such as '{first}' and '{second}'"
            )
        groups[column] = owned[0] if owned else 0  # a constant column adds nothing
    return [groups[column] for column in columns]


Sources = list[frozenset[int]]


def sources(content: bytes, width: int) -> Sources:
    """The indices of the record's values that each member of a program's output depends on.

    ``width``: how many values a record has.
    """
    document, large, _ = head(content, SCALAR, row_program.FORMAT)
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
    first = {
        "format": FORMAT,
        **document,
        **model,
        "arrays": [[each.typecode, len(each)] for each in large],
        "files": [len(program), len(graph)],
    }
    line = json.dumps(first, ensure_ascii=False).encode()
    return b"".join([line, b"\n", *map(little_endian, large), program, graph])
