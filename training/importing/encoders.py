"""What the fitted first steps of a model know of its features: categories, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline

#: Where a fitted estimator keeps one that is given the same columns.
WITHIN = ("best_estimator_", "estimator_", "regressor_", "estimator")


class Known(NamedTuple):
    """What first steps know of features, by their names.

    ``values``: those that an encoder was fitted on, and what an imputer takes for missing. ``texts``: the
    features whose words are counted.
    """

    values: Mapping[str, list[Any]]
    texts: frozenset[str]


def known(estimator: Any, names: Sequence[str]) -> Known:
    """What is known of the features that steps are given as they are."""
    values: dict[str, list[Any]] = {}
    texts: set[str] = set()
    for name, more in _walk(estimator, list(names)):
        if more is None:
            texts.add(name)
        else:
            values.setdefault(name, []).extend(more)
    return Known(values, frozenset(texts))


def _walk(step: Any, names: Sequence[str]) -> Iterator[tuple[str, list[Any] | None]]:
    """Names with values, or None where it is the words of a text that count."""
    if isinstance(step, Pipeline):
        for _, each in step.steps:
            yield from _walk(each, names)
            if not _keeps_columns(each):
                return
    elif isinstance(step, ColumnTransformer):
        for _, each, columns in step.transformers_:
            yield from _walk(each, _chosen(names, columns))
    elif isinstance(step, FeatureUnion):
        for _, each in step.transformer_list:
            yield from _walk(each, names)
    elif hasattr(step, "build_analyzer"):
        yield from ((name, None) for name in names)
    elif _imputes(step):
        yield from ((name, [step.missing_values]) for name in names)
    elif len(categories := getattr(step, "categories_", ())) == len(names):
        yield from ((name, [*each]) for name, each in zip(names, categories, strict=True))
    else:
        held = (getattr(step, name, None) for name in WITHIN)
        within = next((each for each in held if hasattr(each, "predict")), None)
        for each in [within] if within is not None else getattr(step, "estimators_", ()):
            if hasattr(each, "predict"):
                yield from _walk(each, names)


def _imputes(step: Any) -> bool:
    return type(step).__name__.endswith("Imputer") and hasattr(step, "missing_values")


def _keeps_columns(step: Any) -> bool:
    """Whether a step gives each column back in its place, and with its own values where it has any."""
    return step in (None, "passthrough") or (_imputes(step) and not getattr(step, "add_indicator", False))


def _chosen(names: Sequence[str], columns: Any) -> list[str]:
    """The names of a ColumnTransformer's columns: names, indices, a slice or a mask of them."""
    if isinstance(columns, str):
        return [columns]
    if isinstance(columns, slice):
        ends = (columns.start, columns.stop)
        if any(isinstance(each, str) for each in ends):
            first = names.index(columns.start) if columns.start is not None else 0
            last = names.index(columns.stop) + 1 if columns.stop is not None else len(names)
            return list(names[first:last])
        return list(names[columns])
    if not hasattr(columns, "__iter__"):
        return [names[columns]]
    listed = [*columns]
    if listed and all(
        isinstance(each, bool) or type(each).__name__ in ("bool_", "bool") for each in listed
    ):
        return [name for name, chosen in zip(names, listed, strict=True) if chosen]
    return [each if isinstance(each, str) else names[each] for each in listed]
