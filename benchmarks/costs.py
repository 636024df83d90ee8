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
    return "\n".join(told) + "\n"
