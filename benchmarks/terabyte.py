"""``docs/one-terabyte.md``: what a table of 1 TB takes in parts, by a formula and by a simulation.

Both start from what ``benchmarks/parts.py`` has measured, and are extrapolations: none of 1 TB was scored.
"""

from __future__ import annotations

import functools
import heapq
import json
import math
import random
import statistics
import textwrap
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.costs import GIGABYTE_SECOND, MEGABYTES_A_PROCESSOR, PART_TRANSITIONS, REQUEST, TRANSITION
from handler.batch.parts import AT_ONCE, RATE, part_bytes

ROOT = Path(__file__).resolve().parent.parent
PAGE, PICTURE = ROOT / "docs" / "one-terabyte.md", ROOT / "docs" / "one-terabyte.svg"
DEFINITION = ROOT / "statemachine" / "score.asl.json"
TERABYTE = 10**12
#: The template's function: megabytes, and seconds, of which the last ten are for withdrawing uploads.
MEGABYTES, SECONDS, RESERVE = 3008, 900, 10
#: Seconds of a part beside its rows: a cold start, and some twenty requests, one after the other. Assumed.
FIXED = 3.0
#: The spread of the logarithm of a part's time: one part in a hundred takes twice its time. Assumed.
SPREAD = 0.3
#: Seconds of a function's time for each try that is killed. Assumed, and much worse than is usual.
KILLED_EVERY = 20_000
CONCURRENCIES = (20, 100, 1000)
#: Megabytes of a part; a plan has at most 10,000 parts, so that 1 TB has none under 100 MB.
SIZES = (100, 150, 250, 350, 500, 750, 1000)
#: Shares of the function's time for which a part may be planned.
SHARES = (Fraction(1, 6), Fraction(1, 3), Fraction(1, 2), Fraction(2, 3))
#: Requests of a part to S3 and their prices (us-east-1): https://aws.amazon.com/s3/pricing/
#: Counted by tests/test_benchmarks.py, for parts that are scored in order.
READS, WRITES = 16, 3
READ_PRICE, WRITE_PRICE = 0.0004 / 1000, 0.005 / 1000
#: Bytes of each request of an upload.
UPLOADED = 8 * 1024 * 1024
#: Bytes that a function reads and writes in a second, at most. Assumed: AWS publishes no number.
NETWORK = 75e6
TURNS = 3


class Job(NamedTuple):
    """A table of ``bytes`` in parts of ``part`` bytes, ``concurrency`` at a time, each at ``rate`` bytes a
    second; ``growth``: bytes of predictions for each of the table; ``plan`` and ``completion``: seconds
    before and after the parts."""

    bytes: int
    part: int
    concurrency: int
    rate: float
    growth: float
    plan: float
    completion: float

    @property
    def parts(self) -> int:
        """How many parts there are."""
        return -(-self.bytes // self.part)

    @property
    def seconds(self) -> float:
        """The seconds of a part, which does not straggle."""
        return FIXED + self.bytes / self.parts / self.rate


class Result(NamedTuple):
    """Wall-clock seconds, dollars, tries beside the first of each part, and parts that failed for good."""

    wall: float
    dollars: float
    retries: int = 0
    failed: int = 0


def formula(job: Job) -> Result:
    """What a table takes if every part takes the same time, and none fails."""
    waves = math.ceil(job.parts / job.concurrency)
    wall = job.plan + waves * job.seconds + job.completion
    return Result(wall, dollars(job, job.parts * job.seconds, job.parts))


def dollars(job: Job, seconds: float, tries: int) -> float:
    """Dollars of so many seconds of the function in so many tries, with its plan and completion."""
    function = (seconds + job.plan + job.completion) * MEGABYTES / 1024 * GIGABYTE_SECOND
    machine = (job.parts * (PART_TRANSITIONS - 1) + tries + 10) * TRANSITION
    uploads = job.bytes / job.parts * job.growth / UPLOADED
    storage = tries * (READS * READ_PRICE + (WRITES + uploads) * WRITE_PRICE)
    return function + tries * REQUEST + machine + storage


def simulated(
    job: Job, spread: float = SPREAD, killed_every: float = KILLED_EVERY, seed: int = 0
) -> Result:
    """What a table takes if parts straggle and are killed, and tried again as the state machine has it.

    The time of a try is lognormal with the median of ``Job.seconds``; it is killed after an exponential
    time, and ends where the function's does. A part keeps its slot of the Map while it waits to be tried
    again, and costs nothing then. It fails for good when its tries are used up.
    """
    numbers = random.Random(seed)
    pauses, most = backoff()
    limit = SECONDS - RESERVE
    slots = [job.plan] * min(job.concurrency, job.parts)
    worked, tries, failed, end = 0.0, 0, 0, job.plan
    for _ in range(job.parts):
        now = heapq.heappop(slots)
        for again in range(most + 1):
            needed = job.seconds * math.exp(spread * numbers.gauss(0, 1))
            alive = numbers.expovariate(1 / killed_every) if killed_every < math.inf else math.inf
            took = min(needed, alive, limit)
            now, worked, tries = now + took, worked + took, tries + 1
            if took == needed:
                break
            if again == most:
                failed += 1
            else:
                now += numbers.uniform(0, pauses[again])  # full jitter
        heapq.heappush(slots, now)
        end = max(end, now)
    return Result(end + job.completion, dollars(job, worked, tries), tries - job.parts, failed)


@functools.cache
def backoff() -> tuple[list[float], int]:
    """The longest pause before each further try of a part that was killed, as the definition has it."""
    states = json.loads(DEFINITION.read_text())["States"]
    rules = states["Parts"]["ItemProcessor"]["States"]["Part"]["Retry"]
    rule = next(each for each in rules if "Runtime.ExitError" in each["ErrorEquals"])
    most, longest = rule["MaxAttempts"], rule["MaxDelaySeconds"]
    return [min(longest, rule["IntervalSeconds"] * rule["BackoffRate"] ** n) for n in range(most)], most


@functools.cache
def median(job: Job) -> Result:
    """The medians of some simulated runs."""
    runs = [simulated(job, seed=seed) for seed in range(TURNS)]
    return Result(*(statistics.median(each) for each in zip(*runs, strict=True)))


class Measured(NamedTuple):
    """What was measured, by model: bytes for each second of a processor, and ``Job.growth``; and the
    seconds of the plan of 1 TB."""

    rates: Mapping[str, float]
    growth: Mapping[str, float]
    plan: float

    @classmethod
    def of(cls, store: Mapping[str, Any]) -> Measured:
        """The medians in ``results.json``."""
        rates = {name: statistics.median(runs) * 1e6 for name, runs in store["rates"]["runs"].items()}
        return cls(rates, store["rates"]["growth"], statistics.median(store["plan"]["runs"]["1 TB in S3"]))

    @property
    def slowest(self) -> str:
        """The model that scores the fewest bytes in a second."""
        return min(self.rates, key=self.rates.__getitem__)

    def job(self, model: str, size: int, concurrency: int) -> Job:
        """A table of 1 TB by a model that was measured, in parts of ``size`` bytes."""
        growth = self.growth[model]
        rate = min(self.rates[model] * MEGABYTES / MEGABYTES_A_PROCESSOR, NETWORK / (1 + growth))
        parts = -(-TERABYTE // size)
        # The plan takes as long for each part; completion reads the record of each, as many at once.
        each = self.plan / -(-TERABYTE // part_bytes(SECONDS, MEGABYTES))
        return Job(TERABYTE, size, concurrency, rate, growth, parts * each, parts * each)


def page(store: Mapping[str, Any]) -> str:
    """``docs/one-terabyte.md`` from the parts ``plan`` and ``rates``."""
    measured = Measured.of(store)
    sections = (_inputs(measured), _plain(measured), _simulation(measured), _default(measured))
    return "# A table of 1 TB\n\n" + "\n".join(line for section in sections for line in section)


def _inputs(measured: Measured) -> list[str]:
    """The formula, and what goes into it."""
    parts = -(-TERABYTE // part_bytes(SECONDS, MEGABYTES))
    rows = [
        (
            f"rate and growth, {name}",
            f"{rate / 1e6:.1f} MB for each second of a processor, and {measured.growth[name]:.1f} MB of "
            "predictions for each",
            "measured",
        )
        for name, rate in measured.rates.items()
    ]
    processors = MEGABYTES / MEGABYTES_A_PROCESSOR
    rows += [
        (f"plan of {parts:,} parts", f"{measured.plan:.1f} s; others in proportion", "measured"),
        ("completion", f"as long as the plan: a request for each part, {AT_ONCE} at once", "assumed"),
        ("seconds beside a part's rows", f"{FIXED:.0f}: a cold start and its requests", "assumed"),
        ("network of a function", f"{NETWORK / 1e6:.0f} MB for each second", "assumed"),
        (
            "requests of a part",
            f"{READS} reads, {WRITES} writes and lists, and an upload for each 8 MiB of outputs",
            "counted",
        ),
        (
            "function",
            f"{MEGABYTES:,} MB, which is {processors:.1f} processors, and {SECONDS} s",
            "template",
        ),
        ("part bytes", f"{part_bytes(SECONDS, MEGABYTES) / 1e6:.0f} MB", "`handler/batch/parts.py`"),
    ]
    return [
        *_wrapped(
            "What a [file in parts](batch.md#a-file-larger-than-one-function) of 1 TB takes on AWS, "
            "computed by "
            "`make bench`. **These are extrapolations**: rates, the plan and requests were measured, "
            "on two "
            "processors and with small files ([results](../benchmarks/RESULTS.md)); a file of 1 TB was "
            "planned, "
            "and never scored. What a function's network carries is assumed, and S3's limits of "
            "requests for "
            "each prefix are not in it."
        ),
        "## The formula",
        "",
        "    parts   = bytes / part bytes",
        f"    speed   = rate * MB / {MEGABYTES_A_PROCESSOR:,}, or network / (1 + growth) where that is "
        "less",
        f"    seconds = {FIXED:.0f} + part bytes / speed",
        "    wall    = plan + parts / concurrency, rounded up, * seconds + completion",
        "    dollars = (parts * seconds + plan + completion) * MB / 1,024 * price",
        "            + parts * 0.20 / 1,000,000",
        f"            + (parts * {PART_TRANSITIONS} + 10) * 0.025 / 1,000",
        f"            + parts * ({READS} * 0.0004 + ({WRITES} + uploads) * 0.005) / 1,000",
        "",
        *_wrapped(
            "The terms of the dollars are the function, its requests, the state machine (as in "
            "[costs](costs.md#a-file-in-parts)) and the requests to S3. Storage is not in them."
        ),
        *_table(("input", "value", "from"), rows),
    ]


def _plain(measured: Measured) -> list[str]:
    """The formula's results."""
    rows = []
    for model in measured.rates:
        for concurrency in CONCURRENCIES:
            job = measured.job(model, part_bytes(SECONDS, MEGABYTES), concurrency)
            wall, dollars, *_ = formula(job)
            rows.append(
                (model, f"{concurrency:,}", f"{job.seconds:.0f}", _time(wall), f"${dollars:.2f}"),
            )
    return _table(("model and table", "concurrency", "seconds of a part", "wall time", "dollars"), rows)


def _simulation(measured: Measured) -> list[str]:
    """What stragglers and retries add, by the size of a part."""
    slow = measured.slowest
    rows, failed = [], 0
    for concurrency in CONCURRENCIES:
        for megabytes in SIZES:
            job = measured.job(slow, megabytes * 10**6, concurrency)
            result, plain = median(job), formula(job)
            failed += result.failed
            rows.append(
                (
                    f"{concurrency:,}",
                    f"{megabytes:,} MB",
                    f"{job.parts:,}",
                    f"{job.seconds:.0f}",
                    f"{result.retries:,.0f}",
                    _time(result.wall),
                    f"{result.wall / plain.wall:.2f}",
                    f"${result.dollars:.2f}",
                )
            )
    columns = ("concurrency", "part", "parts", "seconds of one", "tries again", "wall time")
    return [
        "## Stragglers and retries",
        "",
        *_wrapped(
            "`benchmarks/terabyte.py` simulates a run, with a fixed seed. Assumed, and not measured: a "
            "part's time "
            f"is lognormal around the formula's, and its logarithm has a spread of {SPREAD} (one part "
            "in a hundred "
            f"takes twice its time); a try is killed once in {KILLED_EVERY:,} seconds of a function, "
            "which is far "
            f"worse than usual; and it ends {RESERVE} s before the function's {SECONDS}. It is tried "
            "again after "
            f"the pauses of [the definition](../statemachine/score.asl.json), up to {backoff()[1]} "
            "times, and "
            "keeps its slot of the Map meanwhile. Without stragglers and kills, the simulation is the "
            "formula."
        ),
        *_wrapped(
            f"With {slow}, the slowest, medians of {TURNS} runs. Parts that fail for good: "
            f"{failed or 'none'}."
        ),
        *_table((*columns, "of the formula's", "dollars"), rows),
        "![Wall time against the size of a part, for three concurrencies](one-terabyte.svg)",
        "",
    ]


def _default(measured: Measured) -> list[str]:
    """What the simulation says of the default size of parts."""
    slow, size, least = measured.slowest, part_bytes(SECONDS, MEGABYTES), SIZES[0] * 10**6
    ratios = []
    for concurrency in CONCURRENCIES:
        one, small = (measured.job(slow, each, concurrency) for each in (size, least))
        ratios.append(f"{median(one).wall / median(small).wall:.2f} at {concurrency:,} at a time")
    some, many = CONCURRENCIES[1:]
    speed = RATE * MEGABYTES / MEGABYTES_A_PROCESSOR
    rows = []
    for share in SHARES:
        job = measured.job(slow, int(SECONDS * share * speed), some)._replace(rate=speed)
        result = median(job)
        cells = (f"{result.retries:,.0f}", _time(result.wall), f"${result.dollars:.2f}")
        rows.append((str(share), f"{job.part / 1e6:,.0f} MB", *cells))
    return [
        "## The default size",
        "",
        *_wrapped(
            f"Without `part_bytes`, a part is what a model of {RATE / 1e6:.0f} MB for each second of a "
            "processor scores "
            f"in a third of the function's time: {size / 1e6:.0f} MB here. Its wall time is, beside "
            "that of parts of "
            f"{SIZES[0]} MB, which are the smallest of 1 TB, {', '.join(ratios)}. Small parts cost "
            "more, as each has "
            "its seconds beside its rows; large ones leave the other functions idle at the end. So the "
            "default "
            f"suits the template's 20 at a time, and {some}; for {many:,} at a time, start the "
            "execution with "
            '`"plan": {"part_bytes": 150000000}`.'
        ),
        *_wrapped(
            f"Why a third: a model of just that rate, {some} at a time, with parts that take another "
            "share of the "
            "function's time:"
        ),
        *_table(("share", "part", "tries again", "wall time", "dollars"), rows),
        *_wrapped(
            "Up to a third, parts are tried again for the kills alone. At a half, one in a hundred "
            "takes longer than "
            "the function may, and its time is lost; at two thirds, one in ten. The last row is also a "
            "model that is "
            "twice as slow as the default allows for: its run still ends."
        ),
    ]


def _wrapped(text: str) -> list[str]:
    """A paragraph, and the blank line after it."""
    return [*textwrap.wrap(text, 110, break_long_words=False, break_on_hyphens=False), ""]


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table, and the blank line after it."""
    return [
        f"| {' | '.join(columns)} |",
        "|" + "---|" * len(columns),
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


def picture(store: Mapping[str, Any], target: Path) -> None:
    """``docs/one-terabyte.svg``: wall time over that of the work alone, by the size of a part."""
    import matplotlib
    from matplotlib.figure import Figure

    measured = Measured.of(store)
    slow = measured.slowest
    figure = Figure(figsize=(7.2, 4.0), layout="constrained")
    axes = figure.subplots()
    for concurrency, colour in zip(CONCURRENCIES, ("#0072b2", "#d55e00", "#009e73"), strict=True):
        jobs = [measured.job(slow, megabytes * 10**6, concurrency) for megabytes in SIZES]
        heights = [median(job).wall / (job.bytes / job.rate / concurrency) for job in jobs]
        axes.plot(SIZES, heights, marker="o", color=colour)
        text = f"  {concurrency:,} at a time"
        axes.annotate(text, (SIZES[-1], heights[-1]), color=colour, va="center")
    size = part_bytes(SECONDS, MEGABYTES) / 1e6
    axes.axvline(size, color="#7a8794", linestyle="--", linewidth=1)
    axes.annotate(" the default", (size, axes.get_ylim()[1]), color="#57606a", va="top")
    axes.set_xlim(0, 1250)
    axes.set_xlabel("megabytes of a part")
    axes.set_ylabel("wall time / (work / concurrency)")
    axes.set_title(f"1 TB, {slow}: simulated", loc="left", fontsize=10, fontweight="bold")
    axes.grid(axis="y", color="#d0d7de", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    # Text as text is small; with the salt, the same numbers give the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "terabyte"}):
        figure.savefig(target, metadata={"Date": None} if target.suffix == ".svg" else None)


def _time(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
