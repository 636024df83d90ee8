"""Rows made from the features alone: the edges at which two scorers might differ, and golden records."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from handler import dates
from handler.manifest import Contract, Feature
from handler.schema import LARGEST_INTEGER, LARGEST_NUMBER, Columns, Record, Schema, Value
from handler.scoring import outputs
from handler.scoring.scorers import Scorer, is_models, length

#: Values of a number far beyond what training saw, up to the largest that is accepted.
LARGE = (1e6, 1e12, 1e15, 1e20, LARGEST_NUMBER)
LARGE_WHOLE = (1e6, 1e12, 1e15, LARGEST_INTEGER)
#: What a text may hold beside plain words; libraries differ in where a word ends, and in lower case.
PIECES = (
    "é", "e\u0301", "É", "ñ", "ß", "ẞ", "İ", "ı", "ﬁ", "Σς", "Ж", "中文", "ก", "١", "🙂", "7", "_", "-",
    "’s", "'s", ".", "/", "&", "@", "a", "I", " é ", " a ", " 7 ", "\t", "\n", "\u00a0", "\u200b", "  ",
)  # fmt: skip
#: The most texts that are made for a category, and the letters of the longest.
TEXTS = 120
LONGEST = 20_000
#: Texts are made in full for so many categories; of more, each has a part of them.
SHARED = 20
GOLDEN = 8
#: The rows that begin the adversarial ones.
FIRST = 500
#: The most cells (rows by features) of all probes together: 32 MB of doubles.
CELLS = 4_000_000
#: The most characters of free text in them, from its mean length; a million take a second to compare.
CHARACTERS = 20_000_000


def edges(feature: Feature, part: int = 0, of: int = 1) -> list[Value]:
    """The values of a feature that two scorers might treat differently.

    Of the texts that are made for a text, those of one part are taken ``of`` so many.
    """
    missing = [null(feature)] if feature.nullable else []
    if feature.is_text:
        made = texts(feature.categories)[part::of] if feature.open else []
        unknown = [unknown_category(feature), *made] if feature.open else []
        return [*dict.fromkeys([*feature.categories, *unknown]), *missing]
    if feature.kind == "boolean":
        return [0.0, 1.0, *missing]
    low, high = bounds(feature)
    values: list[float] = [low, high, low - 1, high + 1, 0.0, 1.0, -1.0]
    if feature.kind == "number":
        values += [math.nextafter(low, -math.inf), math.nextafter(high, math.inf), (low + high) / 2, 1e-9]
    large = LARGE_WHOLE if feature.kind == "integer" else LARGE
    values += [sign * value for value in large for sign in (1, -1)]
    limit = LARGEST_INTEGER if feature.kind == "integer" else LARGEST_NUMBER
    return [*(value for value in dict.fromkeys(values) if abs(value) <= limit), *missing]


def texts(known: Sequence[str]) -> list[str]:
    """Texts made from the known ones and from what those lack, for models that look inside a text."""
    some = known[:: max(1, len(known) // TEXTS)]
    made = []
    for index, piece in enumerate(PIECES):
        text, other = some[index % len(some)], some[(index + 1) % len(some)]
        middle = len(text) // 2
        made += [text + piece, piece + text, text[:middle] + piece + text[middle:]]
        made.append(text.replace(" ", piece) if " " in text else text + piece + other)
    text, other = some[0], some[-1]
    made += [
        text.upper(), text.title(), text.swapcase(), f" {text} ", f"{text} {other}", f"{other} a {text}",
        unicodedata.normalize("NFD", text), unicodedata.normalize("NFC", text),
        " ".join([text, other, ""] * (LONGEST // (len(text) + len(other) + 2)) or [text]), *PIECES,
    ]  # fmt: skip
    return [each for each in dict.fromkeys(made) if each.strip(" ")]


def null(feature: Feature) -> Value:
    """The feature's missing value."""
    return "" if feature.is_text else math.nan


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
    breakpoints: Mapping[str, np.ndarray] | None = None,
    at_least: int = 4000,
) -> Columns:
    """Rows with every edge of every feature; the first ``FIRST`` of them have each edge too.

    An edge stands in an otherwise typical row, in one with other features at an edge, and in random rows.
    ``breakpoints``: see ``breakpoints.breakpoints``; they stand in typical rows too, and in as many random
    rows as edges do. There are ``at_least`` as many rows, or as many as ``CELLS`` allows: then a row has
    several features at an edge, of a similar kind. After the first, the rows are in random order, so that
    any number of them is a fair sample.
    """
    random = np.random.default_rng(seed)
    texts_of = max(1, sum(each.is_text for each in features) // SHARED)
    probes = {
        each.name: _column(each, edges(each, index % texts_of, texts_of))
        for index, each in enumerate(features)
    }
    count = sum(map(len, probes.values()))
    lengths = [np.mean(list(map(len, each.categories))) for each in features if each.kind == "text"]
    most = int(min(CELLS / len(features), CHARACTERS / max(1.0, sum(lengths))))
    total = min(max(at_least, count + 4000), max(400, most))
    first = _spread(features, typical, probes, min(count, total // 4, FIRST), random)
    left = total - length(first)
    parts = []
    if length(first) < count:
        parts.append(_spread(features, typical, probes, min(count, total // 2), random))
    if breakpoints:
        most = min(sum(map(len, breakpoints.values())), total // 8)
        parts.append(_spread(features, typical, breakpoints, most, random))
    left -= sum(map(length, parts))
    if breakpoints:
        likely_rows = likely(features, random, left // 2)
        _place(likely_rows, breakpoints, min(0.5, 3 / len(breakpoints)), random)
        parts.append(likely_rows)
        left -= left // 2
    mixed = likely(features, random, left)
    _place(mixed, probes, min(0.5, 1.5 / len(features)), random)
    parts.append(mixed)
    order = random.permutation(sum(map(length, parts)))
    return {
        name: np.concatenate([values, np.concatenate([part.pop(name) for part in parts])[order]])
        for name, values in first.items()
    }


def _column(feature: Feature, values: Sequence[Value]) -> np.ndarray:
    return np.array(values, dtype=object if feature.is_text else np.float64)


def _spread(
    features: Sequence[Feature],
    typical: Record,
    probes: Mapping[str, np.ndarray],
    rows: int,
    random: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Typical rows with each probe once: alone or, if ``rows`` are too few for that, beside others.

    A feature's probes are spread evenly over the rows, so that neighbouring features have similar ones.
    """
    columns = {
        feature.name: np.full(rows, value, object if feature.is_text else np.float64)
        for feature, value in zip(features, typical, strict=True)
    }
    alone, start = sum(map(len, probes.values())) <= rows, 0
    for name, values in probes.items():
        if len(values) > rows:
            values = random.choice(values, rows, replace=False)
        where = np.arange(len(values)) + start if alone else np.arange(len(values)) * rows // len(values)
        columns[name][where] = values
        start += len(values)
    return columns


def _place(
    columns: Mapping[str, np.ndarray],
    probes: Mapping[str, np.ndarray],
    share: float,
    random: np.random.Generator,
) -> None:
    """Put probes into a share of each column's rows; a quarter of them may be far beyond the others."""
    for name, values in probes.items():
        there = np.flatnonzero(random.random(len(columns[name])) < share)
        chosen = random.choice(values, len(there))
        if values.dtype != object and len(near := values[~(np.abs(values) >= LARGE[0])]):
            chosen = np.where(random.random(len(there)) < 0.75, random.choice(near, len(there)), chosen)
        columns[name][there] = chosen


def likely(features: Sequence[Feature], random: np.random.Generator, rows: int) -> dict[str, np.ndarray]:
    """Random rows within what training saw, each feature independently."""
    columns = {}
    for feature in features:
        if feature.is_text:
            values = random.choice(np.array(feature.categories, dtype=object), rows)
        elif feature.kind == "number":
            values = random.uniform(*bounds(feature), rows)
        else:
            low, high = bounds(feature)
            values = np.floor(random.uniform(low, high + 1, rows)).clip(low, high)
        columns[feature.name] = values
    return columns


def golden(scorer: Scorer, contract: Contract, typical: Record, seed: int) -> tuple[dict[str, Any], ...]:
    """Records that cover the schema and, where they are easily met, the classes, with their predictions.

    ``contract``: with what requests state, as dates. Records that are not predictable are left out.
    """
    features, schema = contract.features, Schema(contract.features)

    def predict(records: Sequence[Record]) -> list[dict[str, Any] | None]:
        try:
            columns = dates.expanded(features, schema.columns(records))
            return [*outputs.predictions(contract.classes, scorer.score(columns))]
        except Exception as error:
            if not is_models(error):
                raise
            return [None] if len(records) == 1 else [predict([record])[0] for record in records]

    random = np.random.default_rng(seed)
    by_column = likely(features, random, max(50, min(1000, CELLS // 10 // len(features)))).values()
    drawn = [tuple(record) for record in zip(*(values.tolist() for values in by_column), strict=True)]
    chosen = dict.fromkeys([typical, *_corners(features, typical)])
    known = {each["prediction"] for each in predict(list(chosen)) if each}
    for record, prediction in zip(drawn, predict(drawn), strict=True):
        if len(chosen) < GOLDEN and prediction and prediction["prediction"] not in known:
            chosen[record] = None
            known.add(prediction["prediction"])
    for record in drawn[: GOLDEN - len(chosen)]:
        chosen[record] = None
    # As serving will: from JSON, one record at a time.
    records = [schema.as_json(record) for record in chosen]
    predictions = [predict([schema.from_json(each)])[0] for each in records]
    return tuple(
        {"record": record, **prediction}
        for record, prediction in zip(records, predictions, strict=True)
        if prediction and _finite(prediction)
    )


def _finite(prediction: dict[str, Any]) -> bool:
    """Whether JSON can hold the prediction."""
    given = (prediction.get(key, 0.0) for key in ("prediction", "score"))
    numbers = [*given, *prediction.get("probabilities", {}).values()]
    return all(math.isfinite(number) for number in numbers if isinstance(number, float))


def _corners(features: Sequence[Feature], typical: Record) -> Iterator[Record]:
    """Typical rows with every feature at an edge: least, greatest, missing, unknown."""

    def changed(change: Callable[[Feature, Value], Value]) -> Record:
        return tuple(change(feature, value) for feature, value in zip(features, typical, strict=True))

    def least(feature: Feature, _: Value) -> Value:
        return feature.categories[0] if feature.is_text else bounds(feature)[0]

    def greatest(feature: Feature, _: Value) -> Value:
        return feature.categories[-1] if feature.is_text else bounds(feature)[1]

    yield changed(least)
    yield changed(greatest)
    if any(feature.nullable for feature in features):
        yield changed(lambda feature, value: null(feature) if feature.nullable else value)
    if any(feature.open for feature in features):
        yield changed(lambda feature, value: unknown_category(feature) if feature.open else value)
