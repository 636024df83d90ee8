"""Many summaries become one page: how each feature, and the predictions, drift over time.

Summaries of one hour, day or week are added up, so that many small files say as much as a large one.
"""

from __future__ import annotations

import collections
import glob
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from handler.batch.drift import MODERATE, SIGNIFICANT, Gauge, is_judged
from handler.batch.naming import SUMMARY
from handler.charts import Axis, Plane, cut
from handler.errors import FunctionError
from handler.faults import NoObject
from handler.manifest import Manifest
from handler.rendering import Gallery, Picture, Rows, Section, page
from handler.storage.locations import Location
from handler.storage.storage import Storage

if TYPE_CHECKING:
    import numpy as np

#: Summaries that are read at once.
AT_ONCE = 16
#: Pictures of features over time, and of how their values have moved: those with the largest index.
MOST_FEATURES, MOST_MOVED = 24, 6
#: The time that one point stands for, by the longest time for which that is so.
PERIODS = (
    ("hour", timedelta(hours=1), 48),
    ("day", timedelta(days=1), 92),
    ("week", timedelta(days=7), 520),
)
#: What the predictions are called among the features.
PREDICTIONS = "the predictions"
#: Why a summary is left out.
OTHER_MODEL = "of another model version"
REFUSED = "of files that were not scored"
UNCOUNTED = "without drift"


class Summary(NamedTuple):
    """A file that was scored: when, and the gauge's counts of its rows."""

    created: datetime
    counts: np.ndarray


class Period(NamedTuple):
    """An hour, a day or a week: its number from the first one on, and what its summaries add up to."""

    number: int
    files: int
    drift: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """The rows that were scored."""
        return sum(self.drift["predictions"]["counts"])

    @property
    def every(self) -> dict[str, Any]:
        """What was measured of each feature and of the predictions, by name."""
        return {PREDICTIONS: self.drift["predictions"], **self.drift["features"]}


class History(NamedTuple):
    """The summaries of one model over time; ``unit``: what a period is; ``left_out`` counts the others."""

    manifest: Manifest
    unit: str
    first: datetime
    length: timedelta
    periods: Sequence[Period]
    left_out: Mapping[str, int]

    @property
    def last(self) -> Period:
        return self.periods[-1]

    @property
    def files(self) -> int:
        return sum(period.files for period in self.periods)

    @property
    def rows(self) -> int:
        return sum(period.rows for period in self.periods)

    def start(self, number: int) -> str:
        """When a period starts, as text."""
        start = self.first + number * self.length
        return f"{start:%Y-%m-%d %H:%M}" if self.unit == "hour" else f"{start:%Y-%m-%d}"

    def largest(self) -> list[tuple[str, float]]:
        """The names of what was measured with their last index, the largest first."""
        every = ((name, float(each["index"])) for name, each in self.last.every.items())
        return sorted(every, key=lambda each: -each[1])


def history(words: Sequence[str], manifest: Manifest, storage: Storage) -> History:
    """Read what ``words`` name: summaries, folders, globs, and prefixes of buckets with summaries below.

    Raises ``FunctionError`` where the model has no profile, where a word names nothing, or where no summary
    is left, and ``PassingFault``.
    """
    if not manifest.profile:
        raise FunctionError(
            f"the model {manifest.name} {manifest.version} has no profile to measure drift against: train "
            "it, or package it, again"
        )
    gauge = Gauge(manifest)
    left_out: collections.Counter[str] = collections.Counter()
    summaries = []
    for location, content in _contents(words, storage):
        read = _parsed(location, content, manifest, gauge)
        if isinstance(read, str):
            left_out[read] += 1
        else:
            summaries.append(read)
    if not summaries:
        raise FunctionError(
            f"no summary is left to look at: {counted(left_out)}; the model is {manifest.name} "
            f"{manifest.version}, and another is named with --model DIR"
        )
    summaries.sort(key=lambda each: each.created)
    first, last = summaries[0].created, summaries[-1].created
    unit, length, _ = next((each for each in PERIODS if last - first <= each[1] * each[2]), PERIODS[-1])
    first = first.replace(minute=0, second=0, microsecond=0)
    first = first if unit == "hour" else first.replace(hour=0)
    periods = []
    for number, group in itertools.groupby(summaries, lambda each: (each.created - first) // length):
        several = list(group)
        drift = gauge.as_json(sum((each.counts for each in several[1:]), several[0].counts))["drift"]
        periods.append(Period(number, len(several), drift))
    return History(manifest, unit, first, length, periods, left_out)


def _contents(words: Sequence[str], storage: Storage) -> Iterator[tuple[Location, bytes]]:
    """The summaries that words name, each once."""
    locations = dict.fromkeys(itertools.chain.from_iterable(named(word, storage) for word in words))
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="summary") as pool:
        for location, seen in zip(locations, pool.map(storage.read, locations), strict=True):
            if seen is None:
                raise NoObject(str(location))
            yield location, seen[0]


def named(word: str, storage: Storage) -> Iterator[Location]:
    location = Location.parse(word)
    if location.scheme != "file":
        if location.key and not location.key.endswith("/"):
            yield location
            return
        found = [each for each, _ in storage.list(location) if each.name == SUMMARY]
    elif Path(word).is_dir():
        found = [Location.parse(str(path)) for path in sorted(Path(word).rglob(SUMMARY))]
    elif Path(word).exists() or not glob.has_magic(word):
        yield location
        return
    else:
        found = [Location.parse(path) for path in sorted(glob.glob(word, recursive=True))]  # noqa: PTH207
    if not found:
        raise FunctionError(f"there is no {SUMMARY} below {word}")
    yield from found


def _parsed(location: Location, content: bytes, manifest: Manifest, gauge: Gauge) -> Summary | str:
    """A summary, or why it is left out; raises ``FunctionError`` where it is none."""
    try:
        document = json.loads(content)
        if document["model"]["version"] != manifest.version:
            return OTHER_MODEL
        if document.get("error"):
            return REFUSED
        counts = gauge.from_json(document)
        if counts is None or "drift" not in document:
            return UNCOUNTED
        created = datetime.fromisoformat(document["created"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FunctionError(f"{location} is not a summary that scoring has written") from error
    return Summary(created if created.tzinfo else created.replace(tzinfo=UTC), counts)


def counted(left_out: Mapping[str, int]) -> str:
    return ", ".join(
        f"{count:,} are {why}" if count > 1 else f"1 is {why}" for why, count in left_out.items()
    )


def _verdict(made: History, period: Period, name: str) -> str:
    """What an index says, in words, as far as rows enough were counted to tell it from chance."""
    measured = period.every[name]
    if not is_judged(measured["counts"], made.manifest.profile["rows"]):
        return "not judged"
    index = measured["index"]
    return "stable" if index < MODERATE else "moderate" if index <= SIGNIFICANT else "significant"


def _size(part: History | Period) -> str:
    return f"{_several(part.rows, 'row')} of {_several(part.files, 'file')}"


def _several(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def in_words(made: History) -> str:
    """What stands on the page, as a few lines of text."""
    manifest, last = made.manifest, made.last
    lines = [
        f"{manifest.name} {manifest.version}: {_size(made)}, from "
        f"{made.start(made.periods[0].number)} to {made.start(last.number)}, by {made.unit}"
    ]
    if made.left_out:
        lines.append(f"left out: {counted(made.left_out)}")
    few = "" if last.drift["largest"] is not None else ", too few to be judged"
    lines.append(f"the last {made.unit}, {_several(last.rows, 'row')}{few}:")
    largest = made.largest()[:5]
    width = max(len(cut(name, 40)) for name, _ in largest)
    lines += [
        f"  {cut(name, 40):<{width}}  {index:7.4f}  {_verdict(made, last, name)}" for name, index in largest
    ]
    return "\n".join(lines)


def as_page(made: History) -> str:
    """The page, which stands alone."""
    manifest, last = made.manifest, made.last
    shown = [name for name, _ in made.largest()]
    moved = [name for name, index in made.largest() if index > 0]
    about = [
        f"{_size(made)} that {manifest.name} {manifest.version} has scored from "
        f"{made.start(made.periods[0].number)} to {made.start(last.number)}, added up by {made.unit}.",
        "The index (population stability index) says how far the shares of rows in each bin are from those "
        f"at training. Below {MODERATE} the rows are like those that the model learnt from; above "
        f"{SIGNIFICANT} they have shifted significantly: find out what has changed, and train again if it "
        "stays.",
    ]
    if made.left_out:
        about.append(f"Summaries that are left out: {counted(made.left_out)}.")
    if last.drift["largest"] is None:
        about.append(f"The last {made.unit} has too few rows for its index to mean anything.")
    over_time = Gallery([_over_time(made, name) for name in shown[:MOST_FEATURES]])
    more = len(shown) - MOST_FEATURES
    sections = [
        Section("What this shows", about),
        Section(f"The last {made.unit}", [_table(made)]),
        Section("Over time", [over_time, *([f"{more:,} more have smaller indexes."] if more > 0 else [])]),
    ]
    if moved:
        pictures = [_moved(made, name) for name in moved[:MOST_MOVED]]
        sections.append(Section("What has moved", [Gallery(pictures)]))
    return page(f"Drift of {manifest.name}", {}, sections)


def _table(made: History) -> Rows:
    profile, last = made.manifest.profile, made.last
    rows: Rows = [("feature", "index", "", "missing at training", "missing now", "outside now")]
    for name, index in made.largest():
        if name == PREDICTIONS:
            rows.append((name, f"{index:.4f}", _verdict(made, last, name), "–", "–", "–"))
            continue
        before, now = profile["features"][name].get("missing", 0.0), last.drift["features"][name]
        shares = (f"{share:.2%}" for share in (before, now["missing"], now["outside"]))
        rows.append((name, f"{index:.4f}", _verdict(made, last, name), *shares))
    return rows


def _over_time(made: History, name: str) -> Picture:
    numbers = [period.number for period in made.periods]
    indexes = [float(period.every[name]["index"]) for period in made.periods]
    every = -(-max(numbers[-1], 1) // 4)
    at = (
        [*range(0, numbers[-1] + every, every)] if numbers[-1] else [0, 1]
    )  # the last is not before a point
    x = Axis("", at, [made.start(number) for number in at])
    plane = Plane(x, Axis.over("index", 0, max(*indexes, 0.3)), 200)
    plane.horizontal(MODERATE).horizontal(SIGNIFICANT, f"{MODERATE} and {SIGNIFICANT}")
    plane.line(numbers, indexes)
    for number, index, period in zip(numbers, indexes, made.periods, strict=True):
        judged = _verdict(made, period, name)
        title = f"{made.start(number)}: {index:.4f}, {judged}, {_size(period)}"
        plane.dot(number, index, int(judged == "significant"), title=title)
    title = f"{cut(name, 60)}: {indexes[-1]:.3f}, {judged}"
    return Picture(title, "", (plane.svg(f"The index of {name} over time"),))


def _moved(made: History, name: str) -> Picture:
    profile = made.manifest.profile
    bins = profile["predictions"] if name == PREDICTIONS else profile["features"][name]
    counts = made.last.every[name]["counts"]
    before = [*bins["shares"], bins.get("missing", 0.0)]
    now = [count / max(sum(counts), 1) for count in counts]
    kept = [
        (label, *shares) for label, *shares in zip(_labels(bins), before, now, strict=False) if any(shares)
    ]
    labels, before, now = (list(each) for each in zip(*kept, strict=True))
    places = range(len(labels))
    plane = Plane(Axis.of_names("", labels), Axis.over("share of rows", 0, max(*before, *now)), 240)
    plane.line(places, before, 0).line(places, now, 1)
    for colour, (what, shares) in enumerate((("training", before), (f"the last {made.unit}", now))):
        for place, share in zip(places, shares, strict=True):
            plane.dot(place, share, colour, "" if place else what, f"{labels[place]}: {share:.2%} ({what})")
    return Picture(cut(name, 60), "", (plane.svg(f"The values of {name} at training, and now"),))


def _labels(bins: Mapping[str, Any]) -> list[str]:
    """What to call each bin."""
    if "levels" in bins:
        return [*(cut(level, 20) or "(blank)" for level in bins["levels"]), "others", "missing"]
    edges = [f"{edge:.6g}" for edge in bins["edges"]]
    if not edges:
        return ["present", "missing"]
    return [f"below {edges[0]}", *(f"from {edge}" for edge in edges), "missing"]
