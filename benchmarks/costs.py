"""``docs/costs.md``: what predictions cost on AWS Lambda, from the times in ``results.json``.

Prices: https://aws.amazon.com/lambda/pricing/ (x86, us-east-1). Each 1,769 MB make one processor:
https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

GIGABYTE_SECOND = 0.0000166667
REQUEST = 0.20 / 1e6
MEGABYTES_A_PROCESSOR = 1769
SIZES = (128, 512, 1024)
BATCH_MEGABYTES = 2 * MEGABYTES_A_PROCESSOR
#: Step Functions (us-east-1): https://aws.amazon.com/step-functions/pricing/
TRANSITION = 0.025 / 1000
EXPRESS_EXECUTION, EXPRESS_GIGABYTE_SECOND, EXPRESS_GIGABYTES = 1 / 1e6, 0.00001667, 64 / 1024
#: State transitions of a part, at most: into its only state, and out of it.
PART_TRANSITIONS = 2
PAGE = Path(__file__).resolve().parent.parent / "docs" / "costs.md"


def one(microseconds: float, megabytes: int) -> float:
    """Dollars of a warm prediction of so long on a whole processor; begun milliseconds are billed."""
    share = min(1.0, megabytes / MEGABYTES_A_PROCESSOR)
    billed = math.ceil(microseconds / share / 1000)
    return REQUEST + billed / 1000 * megabytes / 1024 * GIGABYTE_SECOND


def batch(seconds: float, rows: int) -> float:
    """Dollars of a billion rows, from the seconds that so many took on two processors."""
    return seconds * 1e9 / rows * BATCH_MEGABYTES / 1024 * GIGABYTE_SECOND


def page(store: Mapping[str, Any]) -> str:
    """``docs/costs.md`` from the parts ``speed`` and ``batch``."""
    told = [
        "# Costs",
        "",
        "What predictions cost on AWS Lambda, computed by `make bench` from the times that it measured",
        "([results](../benchmarks/RESULTS.md)) and from published prices (x86, us-east-1):",
        f"${GIGABYTE_SECOND:.10f} a gigabyte-second and $0.20 a million requests. Storage, gateways and",
        "queues are not in it.",
        "",
        "## A million single predictions",
        "",
        "    dollars = 1,000,000 * (0.20 / 1,000,000 + ms / 1,000 * MB / 1,024 * price)",
        f"    ms = the measured time / (MB / {MEGABYTES_A_PROCESSOR:,}, a processor's share), rounded up",
        "",
        "All warm. A cold start adds its first answer's time, once for each new instance. A size that a",
        "handler does not fit into, by the peak measured at its first answer, is left out.",
        "",
        "| handler | " + " | ".join(f"{size} MB" for size in SIZES) + " |",
        f"|{'---|' * (len(SIZES) + 1)}",
    ]
    for name, values in store["speed"]["runs"].items():
        least = 160 if "scikit-learn" in name else 0
        cells = [
            f"${one(statistics.median(values), size) * 1e6:.3f}" if size > least else "-" for size in SIZES
        ]
        told.append(f"| {name} | {' | '.join(cells)} |")
    part = store["batch"]
    told += [
        "",
        "## A billion rows of a batch",
        "",
        f"    dollars = seconds * 1,000,000,000 / rows * {BATCH_MEGABYTES:,} / 1,024 * price",
        "",
        f"With {BATCH_MEGABYTES:,} MB, which has two processors, as where it was measured. The file:",
        f"{part['title'].removeprefix('Batch: ')}.",
        "",
        "| way | a billion rows |",
        "|---|---|",
    ]
    rows = int("".join(letter for letter in part["title"].split("rows")[0] if letter.isdigit()))
    for name, values in part["runs"].items():
        told.append(f"| {name} | ${batch(statistics.median(values), rows):.3f} |")
    return "\n".join(told + parts()) + "\n"


def express(seconds: float) -> float:
    """Dollars of an express execution that waits for a part of so long."""
    return EXPRESS_EXECUTION + seconds * EXPRESS_GIGABYTES * EXPRESS_GIGABYTE_SECOND


def parts() -> list[str]:
    """The section on the state machine: what its two types cost beside the function."""
    standard = PART_TRANSITIONS * TRANSITION
    even = (standard - EXPRESS_EXECUTION) / (EXPRESS_GIGABYTES * EXPRESS_GIGABYTE_SECOND)
    told = [
        "",
        "## A file in parts",
        "",
        "A [file larger than one function](batch.md#a-file-larger-than-one-function) costs what its",
        "parts cost, and a state machine:",
        "",
        "    function = parts * (0.20 / 1,000,000 + seconds * MB / 1,024 * price)",
        f"    standard = (parts * ({PART_TRANSITIONS} + tries again) + 10) * 0.025 / 1,000",
        "    express  = parts * (1.00 / 1,000,000 + seconds * 64 / 1,024 * 0.00001667)",
        "",
        "`seconds` are those of a part. The function has 3,008 MB here, as in the template.",
        "",
        "| a thousand parts | the function | standard | express |",
        "|---|---|---|---|",
    ]
    for seconds in (30, 100, 300):
        function = REQUEST + seconds * 3008 / 1024 * GIGABYTE_SECOND
        cells = (f"${1000 * each:.2f}" for each in (function, standard, express(seconds)))
        told.append(f"| of {seconds} s | {' | '.join(cells)} |")
    return [
        *told,
        "",
        f"Express costs less for parts of under {even:.0f} s, and it ends an execution after 5 minutes,",
        "while a part may take 15. So the template's state machine is a standard one: it is billed by the",
        "part and not by the second, and to parts of some minutes it adds less than a hundredth. An upload",
        "in parts that is not large costs three transitions, $0.00008.",
        "",
        "[A table of 1 TB](one-terabyte.md) has the requests to S3, and what stragglers and retries add.",
    ]
