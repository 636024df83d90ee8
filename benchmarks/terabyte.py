"""``docs/one-terabyte.md``: what a table of 1 TB takes in parts, by a formula and by a simulation.

Both start from what ``benchmarks/parts.py`` has measured, and are extrapolations: no table of 1 TB was scored.
"""

from __future__ import annotations

import functools
import heapq
import json
import math
import random
import statistics
from collections.abc import Mapping
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
SHARES = (1 / 6, 1 / 3, 1 / 2, 2 / 3)
#: Requests of a part to S3 and their prices (us-east-1): https://aws.amazon.com/s3/pricing/
#: Counted by tests/test_benchmarks.py, for parts that are scored in order.
READS, WRITES = 26, 3
READ_PRICE, WRITE_PRICE = 0.0004 / 1000, 0.005 / 1000
#: Bytes of each request of an upload; those of an output are its input's, and some more for each row.
UPLOADED = 8 * 1024 * 1024
#: Bytes of predictions for each byte of the table that was measured (batch, in ``RESULTS.md``), rounded up.
GROWTH = 3.5
TURNS = 5


class Job(NamedTuple):
    """A table of ``bytes`` in parts of ``part`` bytes, ``concurrency`` at a time, each at ``rate`` bytes for
    each second; ``plan`` and ``completion``: seconds before and after the parts."""

    bytes: int
    part: int
    concurrency: int
    rate: float
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
    """Dollars of so many seconds of the function, in so many tries; those of plan and completion are in it."""
    function = (seconds + job.plan + job.completion) * MEGABYTES / 1024 * GIGABYTE_SECOND
    machine = (job.parts * (PART_TRANSITIONS - 1) + tries + 10) * TRANSITION
    uploads = job.bytes / job.parts * GROWTH / UPLOADED
    storage = tries * (READS * READ_PRICE + (WRITES + uploads) * WRITE_PRICE)
    return function + tries * REQUEST + machine + storage


def simulated(job: Job, spread: float = SPREAD, killed_every: float = KILLED_EVERY, seed: int = 0) -> Result:
    """What a table takes if parts straggle and are killed, and tried again as the state machine has it.

    The time of a try is lognormal with the median of ``Job.seconds``; a try is killed after an exponential
    time; one that would take longer than the function may ends there. A part keeps its slot of the Map while
    it waits to be tried again, and costs nothing then. It fails for good when its tries are used up.
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


def median(job: Job) -> Result:
    """The medians of some simulated runs."""
    runs = [simulated(job, seed=seed) for seed in range(TURNS)]
    return Result(*(statistics.median(each) for each in zip(*runs, strict=True)))  # type: ignore[arg-type]


class Measured(NamedTuple):
    """What was measured: bytes for each second of a processor by model, and the seconds of the plan of 1 TB."""

    rates: Mapping[str, float]
    plan: float

    @classmethod
    def of(cls, store: Mapping[str, Any]) -> Measured:
        """The medians in ``results.json``."""
        rates = {name: statistics.median(runs) * 1e6 for name, runs in store["rates"]["runs"].items()}
        return cls(rates, statistics.median(store["plan"]["runs"]["1 TB in S3"]))

    def job(self, model: str, size: int, concurrency: int) -> Job:
        """A table of 1 TB by a model that was measured, in parts of ``size`` bytes."""
        rate = self.rates[model] * MEGABYTES / MEGABYTES_A_PROCESSOR
        parts = -(-TERABYTE // size)
        # The plan takes as long for each part; completion reads the record of each, as many at once.
        each = self.plan / -(-TERABYTE // part_bytes(SECONDS, MEGABYTES))
        return Job(TERABYTE, size, concurrency, rate, parts * each, parts * each)


def page(store: Mapping[str, Any]) -> str:
    """``docs/one-terabyte.md`` from the parts ``plan`` and ``rates``."""
    measured = Measured.of(store)
    models = list(measured.rates)
    slow = models[-1]
    size = part_bytes(SECONDS, MEGABYTES)
    processors = MEGABYTES / MEGABYTES_A_PROCESSOR
    told = [
        "# A table of 1 TB",
        "",
        "What a [file in parts](batch.md#a-file-larger-than-one-function) of 1 TB takes on AWS, computed by `make bench`.",
        "**These are extrapolations**: rates, plan and requests were measured on two processors and small files",
        "([results](../benchmarks/RESULTS.md)); a table of 1 TB was planned, and never scored. S3's and Lambda's own",
        "limits (bandwidth of a function, requests per prefix) are not in it.",
        "",
        "## The formula",
        "",
        "    parts   = bytes / part bytes",
        f"    seconds = {FIXED:.0f} + part bytes / (rate * MB / {MEGABYTES_A_PROCESSOR:,})",
        "    wall    = plan + parts / concurrency, rounded up, * seconds + completion",
        "    dollars = (parts * seconds + plan + completion) * MB / 1,024 * price",
        "            + parts * 0.20 / 1,000,000",
        f"            + (parts * {PART_TRANSITIONS} + 10) * 0.025 / 1,000",
        f"            + parts * ({READS} * 0.0004 + ({WRITES} + uploads) * 0.005) / 1,000",
        "",
        "The terms of the dollars are the function, its requests, the state machine and the requests to S3, as",
        "[costs](costs.md#a-file-in-parts) has the first three. Storage of the outputs is not in it",
        f"(of the table that was measured, they have {GROWTH} times its bytes).",
        "",
        "| input | value | from |",
        "|---|---|---|",
    ]
    for name, rate in measured.rates.items():
        told.append(f"| rate, {name} | {rate / 1e6:.1f} MB for each second of a processor | measured |")
    told += [
        f"| plan of 1 TB, {-(-TERABYTE // size):,} parts | {measured.plan:.1f} s, and in proportion for other sizes | measured |",
        f"| completion | as long as the plan: a request for each part, {AT_ONCE} at once | assumed |",
        f"| seconds beside a part's rows | {FIXED:.0f}: a cold start and its requests | assumed |",
        f"| requests of a part | {READS} reads, {WRITES} writes and lists, and an upload for each 8 MiB of outputs | counted |",
        f"| function | {MEGABYTES:,} MB, which is {processors:.1f} processors, and {SECONDS} s | template |",
        f"| part bytes | {size / 1e6:.0f} MB | `handler/batch/parts.py` |",
        "",
        "| model | concurrency | parts | seconds of one | wall time | dollars |",
        "|---|---|---|---|---|---|",
    ]
    for model in models:
        for concurrency in CONCURRENCIES:
            job = measured.job(model, size, concurrency)
            result = formula(job)
            told.append(
                f"| {model} | {concurrency:,} | {job.parts:,} | {job.seconds:.0f} | {_time(result.wall)} | "
                f"${result.dollars:.2f} |"
            )
    told += [
        "",
        "## Stragglers and retries",
        "",
        "In `benchmarks/terabyte.py` a run is simulated, with a fixed seed. Assumed, none of it measured: a part's time",
        f"is lognormal around the formula's, its logarithm with a spread of {SPREAD} (one in a hundred takes twice as long);",
        f"a try is killed once in {KILLED_EVERY:,} seconds of a function, which is far worse than usual; and it ends",
        f"{RESERVE} s before the function's {SECONDS}. It is tried again with the pauses of",
        f"[the definition](../statemachine/score.asl.json), {backoff()[1]} times, and keeps its place in the Map meanwhile.",
        "Without stragglers and kills, the simulation gives the formula's numbers (`tests/test_benchmarks.py`).",
        "",
        f"Of {slow}, the slowest, medians of {TURNS} runs:",
        "",
        "| part | concurrency | parts | seconds of one | tries again | parts that failed | wall time | of the formula's | dollars |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for concurrency in CONCURRENCIES:
        for megabytes in SIZES:
            job = measured.job(slow, megabytes * 10**6, concurrency)
            result, plain = median(job), formula(job)
            told.append(
                f"| {megabytes:,} MB | {concurrency:,} | {job.parts:,} | {job.seconds:.0f} | {result.retries:,.0f} | "
                f"{result.failed:,.0f} | {_time(result.wall)} | {result.wall / plain.wall:.2f} | ${result.dollars:.2f} |"
            )
    told += ["", "![Wall time against the size of a part, for three concurrencies](one-terabyte.svg)", ""]
    return "\n".join(told + _choice(measured, slow)) + "\n"


def _choice(measured: Measured, slow: str) -> list[str]:
    """What the simulation says of the default size of parts."""
    size, least = part_bytes(SECONDS, MEGABYTES), SIZES[0] * 10**6
    ratios = {}
    for concurrency in CONCURRENCIES:
        one, small = (measured.job(slow, each, concurrency) for each in (size, least))
        ratios[concurrency] = median(one).wall / median(small).wall
    many = CONCURRENCIES[-1]
    told = [
        "",
        "## The default size",
        "",
        f"Without `part_bytes`, a part has what a model of {RATE / 1e6:.0f} MB for each second of a processor scores in a third of",
        f"the function's time: {size / 1e6:.0f} MB here. Its wall time beside that of parts of {SIZES[0]} MB, the smallest of 1 TB, is",
        f"{', '.join(f'{ratio:.2f} at {concurrency:,} at a time' for concurrency, ratio in ratios.items())}.",
        "A small part costs more dollars, as each has its seconds beside its rows; a large one leaves the others idle at the",
        f"end. So the default stands for the template's 20 at a time, and up to some hundreds. For {many:,} at a time, start the",
        'execution with `"plan": {"part_bytes": 100000000}`.',
        "",
        f"Why a third: a model of just that rate, {CONCURRENCIES[1]} at a time, where a part is planned to take another share of the",
        "function's time:",
        "",
        "| share | part | tries again | parts that failed | wall time | dollars |",
        "|---|---|---|---|---|---|",
    ]
    processors = MEGABYTES / MEGABYTES_A_PROCESSOR
    for share in SHARES:
        part = int(SECONDS * share * processors * RATE)
        job = measured.job(slow, part, CONCURRENCIES[1])._replace(rate=processors * RATE)
        result = median(job)
        told.append(
            f"| 1/{1 / share:.2g} | {part / 1e6:.0f} MB | {result.retries:,.0f} | {result.failed:,.0f} | "
            f"{_time(result.wall)} | ${result.dollars:.2f} |"
        )
    return [
        *told,
        "",
        "Up to a half, parts are tried again for the kills alone; at two thirds, some take more than the function has, and all",
        "of their time is lost. A third leaves room for a model that is twice as slow.",
    ]


def picture(store: Mapping[str, Any]) -> str:
    """``docs/one-terabyte.svg``: wall time over the work's, by the size of a part."""
    from training.report.charts import STYLE, Axis, Plane

    measured = Measured.of(store)
    slow = list(measured.rates)[-1]
    lines = []
    for concurrency in CONCURRENCIES:
        heights = []
        for megabytes in SIZES:
            job = measured.job(slow, megabytes * 10**6, concurrency)
            ideal = job.bytes / job.rate / concurrency
            heights.append(median(job).wall / ideal)
        lines.append(heights)
    top = max(max(heights) for heights in lines)
    plane = Plane(
        Axis.of_names("bytes of a part", [f"{size:,} MB" for size in SIZES]),
        Axis.over("wall time / (work / concurrency)", 1.0, top),
    )
    for colour, (concurrency, heights) in enumerate(zip(CONCURRENCIES, lines, strict=True)):
        plane.line(range(len(SIZES)), heights, colour, f"{concurrency:,} at a time")
    svg = plane.svg("Wall time of 1 TB against the size of a part, for three concurrencies")
    root = ":root { --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --paper: #fff; }"
    rules = "\n".join(line for line in f"{root}{STYLE}".splitlines() if not line.startswith("@media"))
    first, rest = svg.split(">", 1)
    name = first.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
    return f"{name}><style>{rules}</style><rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>{rest}\n"


def _time(seconds: float) -> str:
    if seconds < 600:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
