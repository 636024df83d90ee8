"""A fitted estimator and sample rows become ``Fitted``: nothing is fitted, and the model is not changed."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection._search import BaseSearchCV

from handler.manifest import UNSUPERVISED, Feature, Kind, Label, RowsAs
from handler.schema import Columns
from handler.scoring.estimator import fed
from training import fitting
from training.data import notes
from training.data.columns import LISTED, near
from training.data.kinds import Column
from training.errors import Say, TrainingError, one_line, users_code
from training.importing import encoders, samples
from training.importing.samples import Sample
from training.packaging import Fitted
from training.pipelines import PREDICTING, is_fitted, task_without_target

#: A pickle of a model that is not made for scikit-learn's interface, and what to package in its place.
OTHERS = {
    "xgboost.core.Booster": "XGBClassifier or XGBRegressor",
    "lightgbm.basic.Booster": "LGBMClassifier or LGBMRegressor",
    "catboost.core.CatBoost": "CatBoostClassifier or CatBoostRegressor",
}
#: How the rows may be called in an error of the model's own.
QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a user states of a fitted model; ``names``, in the model's order, where it does not know them.

    ``classes``: what its labels mean, by their texts, or in its order.
    """

    name: str
    target: str | None = None
    names: tuple[str, ...] = ()
    classes: Mapping[str, str] | Sequence[str] = ()
    ids: tuple[str, ...] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)


def fitted(model: Any, sample: Sample, wishes: Wishes, imported: Mapping[str, Any], say: Say) -> Fitted:
    """The model with its contract, and the sample as its rows; raises ``TrainingError``.

    ``imported``: what is known of where the model is from, for the manifest.
    """
    _check(model)
    names, known_names = _names(model, sample, wishes, say)
    columns = _columns(model, sample, names, wishes, say)
    features = tuple(column.feature for column in columns)
    rows = {column.feature.name: column.values for column in columns}
    rows_as = _fed_as(model, features, rows, known_names, say)
    estimator = _for_serving(model)
    labels = [*np.asarray(model.classes_).tolist()] if is_classifier(model) else []
    first = {name: values[:1] for name, values in rows.items()}
    contract = fitting.contract_of(estimator, features, first, rows_as)
    if contract.task in UNSUPERVISED:
        _check_without_target(model, sample, wishes)
    elif labels or wishes.classes:
        contract = contract._replace(classes=_classes(labels, wishes.classes))
    truth = None if sample.target is None else _truth(sample.target, labels, contract.classes)
    target = "" if contract.task in UNSUPERVISED else wishes.target or "prediction"
    return Fitted(
        name=wishes.name,
        estimator=estimator,
        contract=contract,
        target=target,
        ids=wishes.ids,
        typical=tuple(column.typical for column in columns),
        rows=rows,
        truth=truth,
        every_truth=truth,
        training={"imported": {**imported, "estimator": _described(model), "sample": sample.provenance}},
    )


def _check(model: Any) -> None:
    """Raise ``TrainingError`` for what cannot be served, whatever the rows are."""
    kind = type(model).__name__
    if inspect.isclass(model):
        raise TrainingError(f"{model.__name__} is a class; give a fitted estimator of it")
    for base in type(model).__mro__:
        wanted = OTHERS.get(f"{base.__module__}.{base.__qualname__}")
        if wanted and not (is_classifier(model) or is_regressor(model)):
            raise TrainingError(
                f"a {kind} of its own is not a scikit-learn estimator; package the {wanted}"
            )
    if isinstance(model, dict | list | tuple | np.ndarray | str | bytes) or not hasattr(
        model, "get_params"
    ):
        held = ""
        if isinstance(model, dict):
            inside = [
                repr(key)
                for key, each in model.items()
                if isinstance(key, str) and hasattr(each, "predict")
            ]
            held = f"; it holds a model under {inside[0]}, which can be saved alone" if inside else ""
        raise TrainingError(f"a {kind} is not a scikit-learn estimator{held}")
    if isinstance(model, BaseSearchCV) and model.refit is False:
        raise TrainingError(
            f"{kind}(refit=False) holds no fitted model, only the scores of its search; fit one with its "
            "best_params_, or search with refit=True"
        )
    if not is_fitted(model) and not _may_be_fitted(model):
        raise TrainingError(f"this {kind} is not fitted; fit it first: only fitted models are packaged")
    if not hasattr(model, "predict"):
        if task := task_without_target(model):
            raise TrainingError(
                f"a {kind} cannot predict rows that it was not fitted on; {PREDICTING[task]} can"
            )
        raise TrainingError(
            f"a {kind} whose last step has no predict is a transformer, not a model; "
            "package a pipeline that ends in a classifier or a regressor"
        )
    classes = getattr(model, "classes_", None) if is_classifier(model) else None
    if isinstance(classes, list) and classes and np.ndim(classes[0]):
        raise TrainingError(f"this {kind} predicts {len(classes)} targets; a model of one target is served")
    if getattr(model, "multilabel_", False):
        raise TrainingError(
            f"this {kind} gives several labels per row (multilabel); one label per row is served"
        )


def _check_without_target(model: Any, sample: Sample, wishes: Wishes) -> None:
    """Raise ``TrainingError`` for what is said of a target, or of classes, that there are not."""
    kind = type(model).__name__
    if sample.target is not None or wishes.target:
        raise TrainingError(f"a {kind} is fitted without a target; leave out --target, or y")
    if wishes.classes:
        raise TrainingError(f"--classes names classes, and a {kind} gives labels of its own")


def _may_be_fitted(model: Any) -> bool:
    """Whether it may keep what it learnt under names of its own, so that only predicting can tell."""
    parameters = model.get_params(deep=False)
    return not hasattr(model, "steps") and bool(vars(model).keys() - parameters.keys())


def _names(model: Any, sample: Sample, wishes: Wishes, say: Say) -> tuple[tuple[str, ...], bool]:
    """The features' names in the model's order, and whether the model knows them."""
    given = [name for name in sample.frame if name not in wishes.ids]
    own, count = own_names(model), _count(model)
    if own:
        if wishes.names and wishes.names != own:
            raise TrainingError(f"the model was fitted on {_listed(own)}; it cannot take other names")
        if not sample.named and len(given) == len(own):
            sample.frame.columns = list(own)
            return own, True
        names = own
    elif wishes.names:
        names = wishes.names
        if count is not None and len(names) != count:
            raise TrainingError(f"{len(names)} names are given, and the model takes {count} features")
        if not sample.named:
            if len(given) != len(names):
                raise TrainingError(
                    f"{len(names)} names are given, and the sample has {len(given)} columns"
                )
            sample.frame.columns = list(names)
            return names, False
    else:
        if count is not None and len(given) != count:
            cure = (
                "the sample needs a column for each"
                if len(given) < count
                else "name the features in the model's order: --names a,b,c, or feature_names="
            )
            raise TrainingError(
                f"the model takes {count} features and does not know their names, and the sample has "
                f"{len(given)} columns ({_listed(given)}); {cure}"
            )
        say(
            f"note: the model does not know its features' names; taken in the sample's order, which is a "
            f"guess: {_listed(given)}"
        )
        return tuple(given), False
    absent = [name for name in names if name not in sample.frame]
    if absent:
        raise TrainingError(
            f"the sample lacks {len(absent)} of the columns that the model was fitted on: {_listed(absent)}"
            f"; {near(absent[0], given)}"
        )
    extra = [name for name in given if name not in names]
    if extra:
        say(f"note: columns that the model does not read are ignored: {_listed(extra)}")
    return names, bool(own)


def own_names(model: Any) -> tuple[str, ...]:
    """The names that the model was fitted on, or none where it was fitted on an array."""
    found = getattr(model, "feature_names_in_", None)
    if found is None:
        found = getattr(_last(model), "feature_names_", None) if not hasattr(model, "steps") else None
    if found is None or not all(isinstance(each, str) for each in found):
        return ()
    names = tuple(map(str, found))
    numbered = (tuple(map(str, range(len(names)))), tuple(f"Column_{index}" for index in range(len(names))))
    return () if names in numbered else names  # CatBoost's and LightGBM's own, of an array


def _last(model: Any) -> Any:
    return model.steps[-1][1] if hasattr(model, "steps") else model


def _count(model: Any) -> int | None:
    count = getattr(model, "n_features_in_", None)
    return int(count) if isinstance(count, int | np.integer) else None


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(f"'{name}'" for name in names[:LISTED]) + more


def _columns(
    model: Any, sample: Sample, names: Sequence[str], wishes: Wishes, say: Say
) -> tuple[Column, ...]:
    """The features with their values in the sample, in the model's order."""
    for name in (*wishes.kinds, *wishes.ids):
        flag = "--kind" if name in wishes.kinds else "--id"
        if name not in (sample.frame if flag == "--id" else names):
            raise TrainingError(f"{flag} names '{name}', which is not there; {near(name, list(names))}")
    try:
        known = encoders.known(model, names)
    except Exception:  # noqa: BLE001 - a step of one's own may look like another
        known = encoders.Known({}, frozenset())
    kinds = {**dict.fromkeys(known.texts, "text"), **wishes.kinds}
    columns = tuple(
        samples.column(sample, name, kinds.get(name), known.values.get(name, ()))  # type: ignore[arg-type]
        for name in names
    )
    for each in columns:
        for line in notes.lines(each.notes):
            say(f"note: {line}")
    return columns


def _fed_as(model: Any, features: tuple[Feature, ...], rows: Columns, named: bool, say: Say) -> RowsAs:
    """Whether the model takes a DataFrame or an array: it predicts the sample. Raises ``TrainingError``."""
    failure: Exception | None = None
    ways: tuple[RowsAs, ...] = ("frame",) if named else ("array", "frame")
    if len(features) == 1 and features[0].is_text and not named:
        ways = ("texts", *ways)
    count = len(rows[features[0].name])
    for rows_as in ways:
        try:
            with users_code("", say), np.errstate(all="ignore"):
                predicted = np.asarray(model.predict(fed(features, rows, rows_as)))
                if len(predicted) != count:
                    raise ValueError(f"{len(predicted)} predictions for {count} rows")
        except TrainingError as error:
            failure = failure or error.__cause__  # type: ignore[assignment]
            continue
        if predicted.ndim > 1 and predicted.shape[1] > 1:
            what = "several labels per row (multilabel)" if is_classifier(model) else "several targets"
            raise TrainingError(f"the model predicts {what}; one value per row is served")
        _check_task(model)
        return rows_as
    if isinstance(failure, NotFittedError) or (failure is not None and not is_fitted(model)):
        raise TrainingError(
            f"this {type(model).__name__} is not fitted; fit it first: only fitted models are packaged"
        )
    assert failure is not None
    reason = QUOTED.sub(lambda each: each[0] if each[0][1:-1] in rows else "'...'", one_line(failure))
    raise TrainingError(f"the model fails on the sample: {reason}") from failure


def _check_task(model: Any) -> None:
    if not (is_classifier(model) or is_regressor(model) or task_without_target(model)):
        raise TrainingError(
            f"a {type(_last(model)).__name__} is not a classifier, a regressor, an outlier detector or a "
            "clusterer, and is not served"
        )


def _for_serving(model: Any) -> Any:
    """A copy that starts no processes; the user's own model stays as it is."""
    try:
        estimator = copy.deepcopy(model)
    except Exception:  # noqa: BLE001 - copying runs the estimator's code
        return model
    fitting.run_in_process(estimator)
    return estimator


def _described(model: Any) -> str:
    """The estimator's class and, of a pipeline, those of its steps."""
    steps = getattr(model, "steps", None)
    inner = f"({', '.join(type(each).__name__ for _, each in steps)})" if isinstance(steps, list) else ""
    return type(model).__name__ + inner


def label_of(value: Any) -> Label:
    """A label as answers carry it: an integer or a text; other values as their texts."""
    if isinstance(value, str) or type(value) is int:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**63:
        return int(value)
    return str(value)


def _classes(labels: Sequence[Any], named: Mapping[str, str] | Sequence[str]) -> tuple[Label, ...]:
    """The classes as they are served: under the names that the user gives them, or as they are."""
    served: list[Label] = [label_of(each) for each in labels]
    texts = [*map(str, served)]
    if named and isinstance(named, Mapping):
        unknown = [key for key in named if key not in texts]
        if unknown:
            raise TrainingError(
                f"--classes names '{unknown[0]}', and the model's classes are {', '.join(texts)}"
            )
        lacking = [text for text in texts if text not in named]
        if lacking:
            raise TrainingError(f"--classes does not name {', '.join(lacking)}; name every class")
        named = [named[text] for text in texts]
    if named:
        if not labels:
            raise TrainingError("--classes names classes, and the model predicts numbers")
        if len(named) != len(labels):
            raise TrainingError(
                f"{len(named)} classes are named, and the model has {len(labels)}: {', '.join(texts)}"
            )
        served = [*named]
    elif any(isinstance(each, str) for each in served):
        served = [*texts]  # all of one type
    if len(set(map(str, served))) < len(served):
        raise TrainingError("two classes have the same name")
    return tuple(served)


def _truth(target: Sequence[Any], labels: Sequence[Any], classes: Sequence[Label]) -> np.ndarray:
    """The target as ``Scores.values`` has it: by the model's own labels or by the names of its classes."""
    if not labels:
        try:
            numbers = np.array([float(each) for each in target], np.float64)
        except (TypeError, ValueError) as error:
            raise TrainingError(
                "the target holds values that are not numbers, and the model predicts numbers"
            ) from error
        if not np.isfinite(numbers).all():
            raise TrainingError(
                f"the target is missing in {int((~np.isfinite(numbers)).sum()):,} rows; remove them"
            )
        return numbers
    indices: dict[str, int] = {}
    for every in (classes, [label_of(each) for each in labels]):
        for index, label in enumerate(every):
            indices.setdefault(str(label), index)
    found = [indices.get(str(label_of(_plain(each))), -1) for each in target]
    unknown = found.count(-1)
    if unknown:
        raise TrainingError(
            f"in {unknown:,} of the {len(found):,} rows, the target is missing or none of the model's "
            f"classes ({', '.join(map(str, classes[:LISTED]))}); correct or remove such rows"
        )
    return np.array(found, np.int64)


def _plain(value: Any) -> Any:
    """A CSV's text of a whole number as that number: 1.0 is 1."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]+\.0", value):
        return float(value)
    return value
