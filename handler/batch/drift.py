"""Whether rows are still like those that the model learnt from: they are counted in the profile's bins.

Counts add up, over blocks and over parts. From them come each feature's population stability index, and its
shares of rows that are missing, or outside of what training saw. ``docs/drift.md`` has the formula, the
thresholds and their sources.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.bundle import Manifest
from handler.scoring import outputs

if TYPE_CHECKING:
    import numpy as np

    from handler.schema import Columns
    from handler.scoring.scorers import Scores

#: A share below this one counts as this one, so that an empty bin has a logarithm.
LEAST_SHARE = 0.0001
#: An index is judged from so many rows on, and from so many for each bin: by then, chance alone makes it
#: 0.25 in fewer than one of ten thousand cases.
LEAST_ROWS, ROWS_PER_BIN = 100, 20
#: Rows up to which all columns are summed at once, rather than one by one.
FEW_ROWS = 500
#: The bins of a feature that has no profile: one.
NO_PROFILE: Mapping[str, Any] = {"edges": (), "levels": (), "shares": (1.0,)}


class Category(NamedTuple):
    """A category: ``known`` are the texts that training saw, empty where no other is scored."""

    name: str
    levels: Sequence[str]
    known: frozenset[str]


class Gauge:
    """Counts rows in the bins of a model's profile; where there is none, only rows that are outside.

    The counts of some rows are one array, shape (size,): for each feature its bins, one number for the rows
    in which it is missing, and one for those in which it is outside; then the bins of the predictions.
    """

    def __init__(self, manifest: Manifest) -> None:
        import numpy as np

        self._manifest = manifest
        profile = manifest.profile
        self._bins = {
            each.name: profile["features"][each.name] if profile else NO_PROFILE
            for each in manifest.features
        }
        numbers = [each for each in manifest.features if not each.is_text]
        most = max((len(self._bins[each.name]["edges"]) for each in numbers), default=0)
        rows = [[*self._bins[each.name]["edges"], *[math.inf] * (most + 1)][: most + 1] for each in numbers]
        #: Shape (numbers, most edges + 1), filled up with infinity: all that is not missing is below.
        self._edges = np.array(rows)
        self._low = np.array([[-math.inf if each.minimum is None else each.minimum] for each in numbers])
        self._high = np.array([[math.inf if each.maximum is None else each.maximum] for each in numbers])
        self._numbers = [each.name for each in numbers]
        self._categories = [
            Category(
                each.name, self._bins[each.name]["levels"], frozenset(each.categories if each.open else ())
            )
            for each in manifest.features
            if each.kind == "category"
        ]
        self._texts = [each.name for each in manifest.features if each.kind == "text"]
        #: Where the counts of each feature start. All numbers have the same width.
        self._start = {name: index * (most + 3) for index, name in enumerate(self._numbers)}
        #: Whether predictions are counted by a number of each row, rather than by class.
        self.by_amount = "edges" in profile.get("predictions", ())
        self._missing_at = {name: start + most + 1 for name, start in self._start.items()}
        end = len(numbers) * (most + 3)
        for name in (*(each.name for each in self._categories), *self._texts):
            self._start[name], self._missing_at[name] = end, end + len(self._bins[name]["shares"])
            end = self._missing_at[name] + 2
        self._end = end
        self.size = end + len(profile["predictions"]["shares"] if profile else ())

    def none(self) -> np.ndarray:
        """The counts of no rows."""
        import numpy as np

        return np.zeros(self.size, np.int64)

    def predicted(self, scores: Scores) -> np.ndarray:
        """What is counted of predictions, shape (n,): a number of each row, or the index of its class."""
        amounts = outputs.amounts(self._manifest.task, scores) if self.by_amount else None
        return scores.values if amounts is None else amounts

    def count(self, columns: Columns, predicted: np.ndarray, times: np.ndarray | None = None) -> np.ndarray:
        """The counts of rows that are scored; ``times``: how often each row stands in the table."""
        import numpy as np

        counts = self.none()
        rows = len(predicted) if times is None else int(times.sum())
        if self._numbers:
            table = np.array([columns[name] for name in self._numbers])
            below = np.array([_sums(table < edges[:, None], times) for edges in self._edges.T]).T
            beyond = _sums(table < self._low, times) + _sums(table > self._high, times)
            bins = np.diff(below, axis=1, prepend=0)
            every = np.column_stack([bins, rows - below[:, -1], beyond])
            counts[: every.size] = every.ravel()
        for category in self._categories:
            start = self._start[category.name]
            of_text = _of_each(columns[category.name], times)
            missing = of_text.pop("", 0)
            levels = [of_text.get(level, 0) for level in category.levels]
            unknown = (
                sum(of_text[text] for text in of_text.keys() - category.known) if category.known else 0
            )
            others = rows - sum(levels) - missing
            counts[start : start + len(levels) + 3] = [*levels, others, missing, unknown]
        for name in self._texts:
            missing = _of_each(columns[name] != "", times).get(False, 0)
            counts[self._start[name] :][:2] = rows - missing, missing
        if self._manifest.profile:
            counts[self._end :] = self._of_predictions(predicted, times)
        return counts

    def _of_predictions(self, predicted: np.ndarray, times: np.ndarray | None) -> np.ndarray:
        import numpy as np

        bins = self._manifest.profile["predictions"]
        places = predicted
        if self.by_amount:
            places = np.searchsorted(np.array(bins["edges"]), predicted, side="right")
        return np.bincount(places, times, len(bins["shares"])).astype(np.int64)

    def as_json(self, counts: np.ndarray) -> dict[str, Any]:
        """The summary's ``outside``, and ``drift`` if the model has a profile and rows were scored."""
        every: list[int] = counts.tolist()
        outside = {name: every[at + 1] for name, at in self._missing_at.items() if every[at + 1]}
        profile = self._manifest.profile
        bins = {name: self._counts_of(name, every) for name in self._bins}
        rows = sum(next(iter(bins.values())))
        if not profile or not rows:
            return {"outside": outside}
        features: dict[str, dict[str, Any]] = {
            name: {
                "index": _index(profile["features"][name], numbers),
                "missing": round(numbers[-1] / rows, 6),
                "outside": round(outside.get(name, 0) / rows, 6),
                "counts": numbers,
            }
            for name, numbers in bins.items()
        }
        numbers = every[self._end :]
        predictions: dict[str, Any] = {
            "index": _index(profile["predictions"], [*numbers, 0]),
            "counts": numbers,
        }
        judged = [
            each["index"]
            for each in (*features.values(), predictions)
            if _is_judged(each["counts"], profile["rows"])
        ]
        largest = max(judged, default=None)
        return {
            "outside": outside,
            "drift": {"features": features, "predictions": predictions, "largest": largest},
        }

    def from_json(self, record: Mapping[str, Any]) -> np.ndarray | None:
        """The counts from which ``as_json`` made its part of ``record``; None where it is not there.

        Of a model without a profile, only those that are outside.
        """
        counts = self.none()
        outside, drift = record.get("outside"), record.get("drift")
        rows = record["rows"]["scored"]
        if outside is None or (drift is None and rows and self._manifest.profile):
            return None
        for name, start in self._start.items():
            at = self._missing_at[name]
            counts[at + 1] = outside.get(name, 0)
            if drift is None:
                counts[start] = rows
            else:
                *bins, counts[at] = drift["features"][name]["counts"]
                counts[start : start + len(bins)] = bins
        if drift is not None:
            counts[self._end :] = drift["predictions"]["counts"]
        return counts

    def _counts_of(self, name: str, every: list[int]) -> list[int]:
        """A feature's bins, and the rows in which it is missing."""
        start = self._start[name]
        return [*every[start : start + len(self._bins[name]["shares"])], every[self._missing_at[name]]]


def _index(bins: Mapping[str, Any], counts: Sequence[int]) -> float:
    """The population stability index of rows by their counts, of which the last are missing."""
    rows = sum(counts)
    index = 0.0
    for expected, count in zip((*bins["shares"], bins.get("missing", 0.0)), counts, strict=True):
        share, reference = max(count / rows, LEAST_SHARE), max(expected, LEAST_SHARE)
        index += (share - reference) * math.log(share / reference)
    return round(index, 4)


def _is_judged(counts: Sequence[int], profiled: int) -> bool:
    """Whether there are rows enough in a table, and in the profile, for an index to mean anything."""
    rows = sum(counts)
    return rows * profiled >= max(LEAST_ROWS, ROWS_PER_BIN * len(counts)) * (rows + profiled)


def _sums(mask: np.ndarray, times: np.ndarray | None) -> np.ndarray:
    """How many rows each column of ``mask``, shape (columns, rows), marks."""
    import numpy as np

    if times is not None:
        return (mask @ times.astype(np.float64)).astype(np.int64)
    if mask.shape[1] <= FEW_ROWS:
        return np.asarray(mask.sum(axis=1))
    return np.array([np.count_nonzero(column) for column in mask])


def _of_each(values: np.ndarray, times: np.ndarray | None) -> dict[Any, int]:
    """How often each value stands in a column."""
    if times is None:
        return collections.Counter(values.tolist())
    counts: dict[Any, int] = collections.defaultdict(int)
    for value, number in zip(values.tolist(), times.tolist(), strict=True):
        counts[value] += number
    return counts
