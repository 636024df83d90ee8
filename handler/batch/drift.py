"""Whether rows are still like those that the model learnt from: they are counted in the profile's bins.

Counts add up, over blocks and over parts. From them come each feature's population stability index, and its
shares of rows that are missing, or outside of what training saw. ``docs/drift.md`` has the formula, the
thresholds and their sources.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.bundle import Feature, Manifest
from handler.categories import Coded, coded, levels_of
from handler.scoring import outputs

if TYPE_CHECKING:
    import numpy as np

    from handler.schema import Columns
    from handler.scoring.scorers import Scores

#: Indexes from which a shift is moderate, and above which it is significant: docs/drift.md has the source.
MODERATE, SIGNIFICANT = 0.1, 0.25
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
    """A category: ``places`` has the bin of each of its own ``levels``; it is missing after the last bin.

    ``bins`` is their number; the last one is of all other texts, which are outside where it ``is_open``.
    """

    name: str
    levels: tuple[str, ...]
    places: np.ndarray
    bins: int
    is_open: bool

    @classmethod
    def of(cls, feature: Feature, bins: Mapping[str, Any]) -> Category:
        """A category with the bins of its profile."""
        import numpy as np

        levels, others = levels_of(feature), len(bins["levels"])
        place = {"": others + 1, **{level: index for index, level in enumerate(bins["levels"])}}
        places = np.array([place.get(level, others) for level in levels])
        return cls(feature.name, levels, places, others + 1, feature.open and bool(feature.categories))

    def counts(self, column: np.ndarray | Coded, times: np.ndarray | None) -> np.ndarray:
        """Its counts: the bins, the rows in which it is missing, and those in which it is outside."""
        import numpy as np

        column = column if isinstance(column, Coded) else coded(self.levels, column)
        own = len(self.levels)
        rows = np.bincount(column.codes, times, max(own, len(column.levels)))
        counts = np.bincount(self.places, rows[:own], self.bins + 2)
        strange = rows[own:].sum()
        counts[self.bins - 1] += strange
        counts[-1] = strange if self.is_open else 0
        return counts.astype(np.int64)


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
        #: Of each number its edges, infinity (all that is not missing is below), and the ends of its range.
        self._cuts = [
            np.array(
                [
                    *self._bins[each.name]["edges"],
                    math.inf,
                    -math.inf if each.minimum is None else each.minimum,
                    math.inf if each.maximum is None else math.nextafter(each.maximum, math.inf),
                ]
            )
            for each in numbers
        ]
        #: The same, with infinity as further edges, shape (numbers, most edges + 3).
        self._filled = np.array(
            [[*cuts[:-2], *[math.inf] * (most + 3 - len(cuts)), *cuts[-2:]] for cuts in self._cuts]
        )
        self._numbers = [each.name for each in numbers]
        self._categories = [
            Category.of(each, self._bins[each.name])
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
            below = self._below(columns, len(predicted), times)
            *edges, present, low, high = below.T
            bins = np.diff([*edges, present], axis=0, prepend=0)
            every = np.array([*bins, rows - present, low + present - high]).T
            counts[: every.size] = every.ravel()
        for category in self._categories:
            start = self._start[category.name]
            counts[start : start + category.bins + 2] = category.counts(columns[category.name], times)
        for name in self._texts:
            (missing,) = _sums((columns[name] == "")[None], times)
            counts[self._start[name] :][:2] = rows - missing, missing
        if self._manifest.profile:
            counts[self._end :] = self._of_predictions(predicted, times)
        return counts

    def _below(self, columns: Columns, rows: int, times: np.ndarray | None) -> np.ndarray:
        """How many rows lie below each of the numbers' cuts, shape (numbers, most edges + 3)."""
        import numpy as np

        if rows <= FEW_ROWS:  # as in a block of many columns
            table = np.concatenate([columns[name] for name in self._numbers]).reshape(-1, rows)
            return np.array([_sums(table < cuts[:, None], times) for cuts in self._filled.T]).T
        below = np.empty(self._filled.shape, np.int64)
        for row, name, cuts in zip(below, self._numbers, self._cuts, strict=True):
            sums = _sums(columns[name] < cuts[:, None], times)
            row[:-2] = sums[-3]
            row[: len(sums) - 3], row[-2:] = sums[:-3], sums[-2:]
        return below

    def _of_predictions(self, predicted: np.ndarray, times: np.ndarray | None) -> np.ndarray:
        import numpy as np

        bins = self._manifest.profile["predictions"]
        if not self.by_amount:
            return np.bincount(predicted, times, len(bins["shares"])).astype(np.int64)
        cuts = np.array([*bins["edges"], math.inf])
        return np.diff(_sums(np.ascontiguousarray(predicted) < cuts[:, None], times), prepend=0)

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
