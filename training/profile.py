"""What drift is measured against: each feature's values, and the predictions, in a few bins.

No single row's value can be read from it: every bin has ``LEAST`` rows or more, an edge is the roundest
number that lies within the values of ``LEAST`` rows, and shares are rounded. ``docs/drift.md``
states the rule.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from handler.categories import Coded, texts_of
from handler.manifest import Contract, Feature
from handler.schema import Columns
from handler.scoring import outputs
from handler.scoring.scorers import Scores

#: Rows of the smallest bin, as in the rule of 10 of statistical offices.
#: https://www.abs.gov.au/statistics/microdata-tablebuilder/datalab/input-and-output-clearance
LEAST = 10
#: Bins of a number, if each has ``ROWS`` rows; of numbers that repeat, there may be more.
BINS, ROWS = 10, 40
#: Levels of a category, the most frequent ones, as far as they fit into ``BYTES``.
LEVELS, BYTES = 20, 3000
#: Digits of shares.
DIGITS = 4


def profile(contract: Contract, columns: Columns, scores: Scores) -> dict[str, Any]:
    """The manifest's ``profile`` of rows that are scored, and of their predictions."""
    rows = len(scores.values)
    amounts = outputs.amounts(contract.task, scores)
    if amounts is None:
        shares = np.bincount(scores.values, minlength=len(contract.classes)) / rows
        predictions = {
            "levels": [str(label) for label in contract.classes],
            "shares": [*_round(shares), 0.0],
        }
    else:
        predictions = _numbers(amounts)
    features = {each.name: _bins(each, columns[each.name]) for each in contract.features}
    return {"rows": rows, "features": features, "predictions": predictions}


def _bins(feature: Feature, column: np.ndarray | Coded) -> dict[str, Any]:
    values = texts_of(column)
    if feature.kind == "category":
        return _levels(values)
    missing = values == "" if feature.kind == "text" else np.isnan(values)
    if feature.kind in ("text", "date"):  # a date moves on by itself, and a text has no bins
        return {"edges": [], **_shares(np.array([(~missing).sum()]), len(values))}
    return _numbers(values)


def _numbers(values: np.ndarray) -> dict[str, Any]:
    """Numbers between edges that cut them into parts of about equal size."""
    present = np.sort(values[~np.isnan(values)])
    edges = _edges(present)
    cuts = np.searchsorted(present, edges, side="left")
    counts = np.diff([0, *cuts, len(present)])
    return {"edges": edges, **_shares(counts, len(values))}


def _edges(ordered: np.ndarray) -> list[float]:
    """The edges of bins of ``LEAST`` rows or more each, each as round as its neighbourhood allows."""
    rows = len(ordered)
    bins = min(BINS, max(2, rows // ROWS))
    if rows < 2 * LEAST:
        return []
    reach = max(LEAST // 2, rows // 100)

    def at(index: int) -> float:
        return float(ordered[min(max(index, 0), rows - 1)])

    edges = set()
    for number in range(1, bins):
        middle = rows * number // bins
        low, high = at(middle - reach), at(middle + reach)
        if low < high:
            edges.add(_roundest(low, high))
            continue
        # One value that repeats: it is cut off from those below it, and from those above.
        first, after = (int(np.searchsorted(ordered, low, side=side)) for side in ("left", "right"))
        if first > 0:
            edges.add(_roundest(at(first - 2 * reach), low))
        if after < rows:
            edges.add(_roundest(low, at(after + 2 * reach - 1)))
    kept: list[float] = []
    start = 0
    for edge in sorted(edges):
        cut = int(np.searchsorted(ordered, edge, side="left"))
        if cut - start >= LEAST and rows - cut >= LEAST:
            kept.append(edge)
            start = cut
    return kept


def _roundest(low: float, high: float) -> float:
    """The number with the fewest decimals in ``low < number <= high``."""
    middle = low / 2 + high / 2
    for decimals in range(_decimals(high - low) - 1, 330):
        if low < (rounded := round(middle, decimals)) <= high:
            return rounded
    return high


def _decimals(width: float) -> int:
    """The decimals of which one unit is about as wide as ``width``; negative for widths above 10."""
    return -math.floor(math.log10(width)) if 0 < width < math.inf else 0


def _levels(values: np.ndarray) -> dict[str, Any]:
    """The most frequent texts, and one bin for all others, which has ``LEAST`` rows or none."""
    texts, counts = np.unique(values.astype(object), return_counts=True)
    present = sorted(
        ((int(count), str(text)) for text, count in zip(texts, counts, strict=True) if text != ""),
        key=lambda each: (-each[0], each[1]),
    )
    kept: list[tuple[int, str]] = []
    size = 0
    for count, text in present[:LEVELS]:
        size += len(json.dumps(text)) + 12
        if count < LEAST or size > BYTES:
            break
        kept.append((count, text))
    total = sum(count for count, _ in present)

    def others() -> int:
        return total - sum(count for count, _ in kept)

    while kept and 0 < others() < LEAST:
        kept.pop()
    counts_of_bins = np.array([*(count for count, _ in kept), others()])
    return {"levels": [text for _, text in kept], **_shares(counts_of_bins, len(values))}


def _shares(counts: np.ndarray, rows: int) -> dict[str, Any]:
    """Bins as shares of all rows; fewer than ``LEAST`` missing values are not mentioned."""
    missing = rows - int(counts.sum())
    total = rows if missing >= LEAST else rows - missing
    shares = {"shares": _round(counts / max(total, 1))}
    return {**shares, "missing": round(missing / rows, DIGITS)} if missing >= LEAST else shares


def _round(shares: np.ndarray) -> list[float]:
    return [round(each, DIGITS) for each in shares.tolist()]
