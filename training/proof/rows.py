"""Rows made from the schema alone: the edges on which two scorers might part, and golden records."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from handler.bundle import Feature
from handler.schema import Columns, Record, Schema, Value
from handler.scoring.model import Model

#: Of a number, beside what training saw: zero, signs, fractions, and far more than was ever seen.
LARGE = (1e6, -1e6, 1e12, -1e12)
GOLDEN = 8


def edges(feature: Feature) -> list[Value]:
    """The values of a feature that are apt to be treated differently."""
    missing = [null(feature)] if feature.nullable else []
    if feature.kind == "category":
        unknown = [unknown_category(feature)] if feature.open else []
        return [*feature.categories, *unknown, *missing]
    if feature.kind == "boolean":
        return [0.0, 1.0, *missing]
    low, high = bounds(feature)
    values = [low, high, low - 1, high + 1, 0.0, 1.0, -1.0, *LARGE]
    if feature.kind == "number":
        values += [math.nextafter(low, -math.inf), math.nextafter(high, math.inf), (low + high) / 2, 1e-9]
    return [*dict.fromkeys(values), *missing]


def null(feature: Feature) -> Value:
    """The feature's missing value."""
    return "" if feature.kind == "category" else math.nan


def unknown_category(feature: Feature) -> str:
    """A text that is none of the feature's categories."""
    text = "unknown"
    while text in feature.categories:
        text += "?"
    return text


def bounds(feature: Feature) -> tuple[float, float]:
    """The least and the greatest value that training saw of a number."""
    return feature.minimum or 0.0, feature.maximum or 0.0


def adversarial(
    features: Sequence[Feature],
    typical: Record,
    seed: int,
    branches: Mapping[str, np.ndarray] | None = None,
    at_least: int = 4000,
) -> Columns:
    """Every edge of every feature in an else typical row; then random rows that hold one edge or two.

    ``branches``: each number's values at which the model's trees branch; as many random rows hold one
    of these. There are ``at_least`` so many rows in all.
    """
    random = np.random.default_rng(seed)
    alone = [
        (*typical[:place], value, *typical[place + 1 :])
        for place, feature in enumerate(features)
        for value in edges(feature)
    ]
    parts = [dict(Schema(features).columns(alone))]
    count = max(4000, at_least - len(alone))
    if branches:
        parts.append(likely(features, random, count // 2))
        for name, values in branches.items():
            there = random.random(count // 2) < min(0.5, 3 / len(branches))
            parts[-1][name] = np.where(there, random.choice(values, count // 2), parts[-1][name])
        count -= count // 2
    mixed = likely(features, random, count)
    for feature in features:
        values = Schema([feature]).columns([(value,) for value in edges(feature)])[feature.name]
        edge = random.random(count) < min(0.5, 1.5 / len(features))
        mixed[feature.name][edge] = random.choice(values, edge.sum())
    parts.append(mixed)
    return {name: np.concatenate([part[name] for part in parts]) for name in mixed}


def likely(features: Sequence[Feature], random: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    """Random rows within what training saw, each feature by itself."""
    columns = {}
    for feature in features:
        if feature.kind == "category":
            values = random.choice(np.array(feature.categories, dtype=object), rows)
        elif feature.kind == "number":
            values = random.uniform(*bounds(feature), rows)
        else:
            low, high = bounds(feature)
            values = np.floor(random.uniform(low, high + 1, rows)).clip(low, high)
        columns[feature.name] = values
    return columns


def golden(model: Model, typical: Record, seed: int) -> tuple[dict[str, Any], ...]:
    """Records that cover the schema and, where they are easily met, the classes, with their predictions."""
    features = model.schema.features
    random = np.random.default_rng(seed)
    by_column = likely(features, random, 1000).values()
    drawn = [tuple(record) for record in zip(*(values.tolist() for values in by_column), strict=True)]
    chosen = dict.fromkeys([typical, *_corners(features, typical)])
    known = {each["prediction"] for each in model.predictions(model.score(list(chosen)))}
    for record, label in zip(drawn, model.labels(model.score(drawn)), strict=True):
        if len(chosen) < GOLDEN and label not in known:
            chosen[record] = None
            known.add(label)
    for record in drawn[: GOLDEN - len(chosen)]:
        chosen[record] = None
    # As serving will: from JSON, one record at a time.
    records = [as_json(features, record) for record in chosen]
    predictions = [model.predictions(model.score([model.schema.from_json(each)]))[0] for each in records]
    return tuple(
        {"record": record, **prediction}
        for record, prediction in zip(records, predictions, strict=True)
        if _finite(prediction)
    )


def _finite(prediction: dict[str, Any]) -> bool:
    """Whether JSON can hold the prediction."""
    numbers = [prediction["prediction"], *prediction.get("probabilities", {}).values()]
    return all(math.isfinite(number) for number in numbers if isinstance(number, float))


def _corners(features: Sequence[Feature], typical: Record) -> Iterator[Record]:
    """Typical rows with each kind of feature at an edge: least, greatest, missing, unknown."""

    def among(change: Callable[[Feature, Value], Value]) -> Record:
        return tuple(change(feature, value) for feature, value in zip(features, typical, strict=True))

    def least(feature: Feature, _: Value) -> Value:
        return feature.categories[0] if feature.kind == "category" else bounds(feature)[0]

    def greatest(feature: Feature, _: Value) -> Value:
        return feature.categories[-1] if feature.kind == "category" else bounds(feature)[1]

    yield among(least)
    yield among(greatest)
    if any(feature.nullable for feature in features):
        yield among(lambda feature, value: null(feature) if feature.nullable else value)
    if any(feature.open for feature in features):
        yield among(lambda feature, value: unknown_category(feature) if feature.open else value)


def as_json(features: Sequence[Feature], record: Record) -> dict[str, Any]:
    """A record as a request states it in JSON."""
    return {feature.name: _json(feature, value) for feature, value in zip(features, record, strict=True)}


def _json(feature: Feature, value: Value) -> str | bool | int | float | None:
    if isinstance(value, str):
        return value or None
    if math.isnan(value):
        return None
    if feature.kind == "boolean":
        return bool(value)
    return int(value) if feature.kind == "integer" else value
