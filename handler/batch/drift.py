"""Whether rows are still like those that the model learnt from: they are counted in the profile's bins.

Counts add up, over blocks and over parts. From them come each feature's population stability index, and its
shares of rows that are missing, or outside of what training saw. ``docs/drift.md`` has the formula, the
thresholds and their sources.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.categories import Coded, coded, levels_of
from handler.manifest import Feature, Manifest
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
#: Rows up to which all columns are compared at once, rather than one by one.
FEW_ROWS = 500
#: Numbers in the smallest buffer that numpy takes.
LEAST_BUFFER = 16
#: Where the sum of all rows stands, and that of none, after those below each cut.
ALL, NONE = -2, -1
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

    def bins_of(self, rows: np.ndarray) -> np.ndarray:
        """Its counts from those of its levels and of all other texts: the bins, the rows in which it is
        missing, and those in which it is outside."""
        import numpy as np

        *_, strange = rows
        counts = np.bincount(self.places, rows[:-1], self.bins + 2).astype(np.int64)
        counts[self.bins - 1] += strange
        counts[-1] = strange if self.is_open else 0
        return counts


class Gauge:
    """Counts rows in the bins of a model's profile; where there is none, only rows that are outside.

    Of some rows, it makes one array of sums, which costs little: the rows below each cut, all rows, those
    of each level of each category and of all other texts, and those without a text, or of each class.
    ``binned`` makes counts of the sums: for each feature its bins, one number for the rows in which it is
    missing, and one for those in which it is outside; then the bins of the predictions. Both add up.
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
        self._numbers = [each.name for each in numbers]
        #: Of each number its edges, infinity if it may be missing (all else is below), and the ends of its
        #: range; and then, if predictions are counted by their amounts, the edges of these.
        self._cuts: list[np.ndarray] = []
        places: list[list[int]] = []
        end = 0
        for feature in numbers:
            edges = self._bins[feature.name]["edges"]
            low = [] if feature.minimum is None else [feature.minimum]
            high = [] if feature.maximum is None else [math.nextafter(feature.maximum, math.inf)]
            cuts = [*edges, *([math.inf] if feature.nullable else []), *low, *high]
            present = end + len(edges) if feature.nullable else ALL
            places.append(
                [
                    *range(end, end + len(edges)),
                    *[present] * (most + 1 - len(edges)),
                    end + len(cuts) - len(high) - 1 if low else NONE,
                    end + len(cuts) - 1 if high else present,
                ]
            )
            self._cuts.append(np.array(cuts, np.float64))
            end += len(cuts)
        #: Where, among the sums below all cuts, those below a number's edges stand, then all that is there,
        #: and those below either end of its range; shape (numbers, most edges + 3).
        self._places = np.array(places, np.int64).reshape(len(numbers), most + 3)
        self._categories = [
            Category.of(each, self._bins[each.name])
            for each in manifest.features
            if each.kind == "category"
        ]
        self._texts = [each.name for each in manifest.features if each.kind == "text"]
        #: Whether predictions are counted by a number of each row, rather than by class.
        self.by_amount = "edges" in profile.get("predictions", ())
        if self.by_amount:
            self._cuts.append(np.array(profile["predictions"]["edges"], np.float64))
        self._flat = np.concatenate([*self._cuts, np.empty(0)])
        #: Where the counts of each feature start. All numbers have the same width.
        self._start = {name: index * (most + 3) for index, name in enumerate(self._numbers)}
        self._missing_at = {name: start + most + 1 for name, start in self._start.items()}
        end = len(numbers) * (most + 3)
        for name in (*(each.name for each in self._categories), *self._texts):
            self._start[name], self._missing_at[name] = end, end + len(self._bins[name]["shares"])
            end = self._missing_at[name] + 2
        self._end = end
        self._size = end + len(profile["predictions"]["shares"] if profile else ())
        self._classes = len(manifest.classes) if profile and not self.by_amount else 0
        self._sums = (
            len(self._flat)
            + 1
            + sum(len(each.levels) + 1 for each in self._categories)
            + len(self._texts)
            + self._classes
        )

    def none(self) -> np.ndarray:
        """The sums of no rows."""
        import numpy as np

        return np.zeros(self._sums, np.int64)

    def predicted(self, scores: Scores) -> np.ndarray:
        """What is counted of predictions, shape (n,): a number of each row, or the index of its class."""
        amounts = outputs.amounts(self._manifest.task, scores) if self.by_amount else None
        return scores.values if amounts is None else amounts

    def count(self, columns: Columns, predicted: np.ndarray, times: np.ndarray | None = None) -> np.ndarray:
        """The sums of rows that are scored; ``times``: how often each row stands in the table."""
        import numpy as np

        sums, at = self.none(), len(self._flat) + 1
        values = [columns[name] for name in self._numbers]
        if self.by_amount:
            values.append(np.ascontiguousarray(predicted))
        sums[: at - 1] = self._below(values, times)
        sums[at - 1] = len(predicted) if times is None else times.sum()
        for category in self._categories:
            column, own = columns[category.name], len(category.levels)
            column = column if isinstance(column, Coded) else coded(category.levels, column)
            rows = np.bincount(column.codes, times, own)
            sums[at : at + own] = rows[:own]
            if len(rows) > own:
                sums[at + own] = rows[own:].sum()
            at += own + 1
        for name in self._texts:
            missing = columns[name] == ""
            sums[at] = missing.sum() if times is None else times[missing].sum()
            at += 1
        if self._classes:
            sums[at:] = np.bincount(predicted, times, self._classes)
        return sums

    def binned(self, sums: np.ndarray) -> np.ndarray:
        """The counts that sums make, shape (size,)."""
        import numpy as np

        counts, at = np.zeros(self._size, np.int64), len(self._flat) + 1
        rows = sums[at - 1]
        if self._numbers:
            *edges, present, low, high = np.array([*sums[:at], 0])[self._places].T
            bins = np.diff([*edges, present], axis=0, prepend=0)
            every = np.array([*bins, rows - present, low + present - high]).T
            counts[: every.size] = every.ravel()
        for category in self._categories:
            own = len(category.levels) + 1
            start = self._start[category.name]
            counts[start : start + category.bins + 2] = category.bins_of(sums[at : at + own])
            at += own
        for name in self._texts:
            counts[self._start[name] :][:2] = rows - sums[at], sums[at]
            at += 1
        if self.by_amount:
            below = sums[len(self._flat) - len(self._cuts[-1]) : len(self._flat)]
            counts[self._end :] = np.diff([0, *below, rows])
        elif self._classes:
            counts[self._end : -1] = sums[at:]
        return counts

    def _below(self, values: list[np.ndarray], times: np.ndarray | None) -> np.ndarray:
        """How many rows lie below each cut, in the order of the cuts, shape (cuts,)."""
        import numpy as np

        if not values:
            return np.zeros(0, np.int64)
        rows = len(values[0])
        if times is not None:
            weights = times.astype(np.float64)
            each = [
                (column < cuts[:, None]) @ weights for column, cuts in zip(values, self._cuts, strict=True)
            ]
            return np.concatenate(each).astype(np.int64)
        if rows <= FEW_ROWS:  # as in a block of many columns, for which a call for each would take longer
            table = np.repeat(np.array(values).reshape(-1, rows), list(map(len, self._cuts)), axis=0)
            return np.asarray((table < self._flat[:, None]).sum(axis=1))
        # Eight rows are summed as one word, in which each byte counts up to 255 of them: a sum of booleans,
        # one by one, takes longer than the comparison.
        width = -(-rows // 8)
        chunks = np.arange(0, width, 255)
        mask = np.empty((max(map(len, self._cuts)), width * 8), bool)
        mask[:, rows:] = False
        words = mask.view(np.uint64)
        sums = np.empty((len(self._flat), len(chunks)), np.uint64)
        end = 0
        with np.errstate():  # which ends what is set in it
            # Where two rows of the mask fit into numpy's buffer, all that is compared is copied through it.
            np.setbufsize(LEAST_BUFFER)
            for column, cuts in zip(values, self._cuts, strict=True):
                if not (count := len(cuts)):
                    continue
                np.less(column, cuts[:, None], out=mask[:count, :rows])
                np.add.reduceat(words[:count], chunks, axis=1, out=sums[end : end + count])
                end += count
        return np.asarray(sums.view(np.uint8).sum(axis=1, dtype=np.int64))

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
            if is_judged(each["counts"], profile["rows"])
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
        import numpy as np

        counts = np.zeros(self._size, np.int64)
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


def is_judged(counts: Sequence[int], profiled: int) -> bool:
    """Whether there are rows enough in a table, and in the profile, for an index to mean anything."""
    rows = sum(counts)
    return rows * profiled >= max(LEAST_ROWS, ROWS_PER_BIN * len(counts)) * (rows + profiled)
