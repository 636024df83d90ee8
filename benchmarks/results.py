"""What was measured: kept as JSON, told as ``RESULTS.md`` with a picture, ratios first."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import costs, terabyte

FOLDER = Path(__file__).parent
STORE, PAGE, PICTURE = FOLDER / "results.json", FOLDER / "RESULTS.md", FOLDER / "results.svg"
ORDER = (
    "start", "limited_128", "limited_512", "image", "zip", "speed", "boosters", "boosters_start", "servers",
    "servers_rate", "servers_many", "servers_many_rate", "servers_file", "others", "others_rate",
    "cloudrun", "batch", "distinct", "mixed_logistic",
    "mixed_forest", "mixed_hist", "mixed_boosting", "mixed_lightgbm", "mixed_mlp", "narrow", "wide",
    "classes", "texts", "rejected", "packed", "quoted", "objects", "memory", "memory_mixed", "plan",
    "parts", "rates", "scaling", "small",
)  # fmt: skip

Runs = Mapping[str, Sequence[float]]
#: How the names of this project's contenders begin.
OURS = ("this handler", "make zip")


def table(
    title: str,
    runs: Runs,
    *,
    unit: str = "s",
    reference: str | None = None,
    notes: Mapping[str, str] | None = None,
    more: str = "",
    settings: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """One part's result: ``runs`` by contender, the first of them the reference where none is named.

    ``notes`` stand beside a contender's numbers, its ``settings`` (set-up, versions) below the table.
    """
    return {
        "title": title,
        "unit": unit,
        "reference": reference or next(iter(runs)),
        "runs": {name: list(values) for name, values in runs.items()},
        "notes": dict(notes or {}),
        "more": more,
        "settings": dict(settings or {}),
    }


def lines(part: Mapping[str, Any]) -> list[str]:
    """The part as text: the ratio to the reference, median, minimum and maximum of each contender."""
    reference = statistics.median(part["runs"][part["reference"]])
    told = []
    for name, values in part["runs"].items():
        note = part["notes"].get(name, "")
        if not values:
            told.append(f"     failed  {name}: {note}")
            continue
        middle = statistics.median(values)
        span = f"({_number(min(values))} to {_number(max(values))})"
        told.append(
            f"  {middle / reference:7.2f} x  {_number(middle)} {part['unit']} {span}  {name}"
            + (f"  {note}" if note else "")
        )
    return told


def keep(name: str, part: Mapping[str, Any]) -> None:
    """Print the part, store it, and write the page and the picture anew."""
    settings = [f"  {name}: {how}" for name, how in part["settings"].items()]
    print(f"\n{part['title']}", *lines(part), *settings, sep="\n", flush=True)
    store = json.loads(STORE.read_text()) if STORE.exists() else {}
    machine = f"{os.cpu_count()} processors, Python {platform.python_version()}, {sys.platform}"
    store[name] = {**part, "machine": machine}
    STORE.write_text(json.dumps(store, indent=1) + "\n")
    PAGE.write_text(page(store))
    picture(store)
    if {"speed", "batch"} <= store.keys():
        costs.PAGE.write_text(costs.page(store))
    if {"plan", "rates"} <= store.keys():
        terabyte.PAGE.write_text(terabyte.page(store))
        terabyte.picture(store, terabyte.PICTURE)


def page(store: Mapping[str, Any]) -> str:
    """``RESULTS.md``."""
    told = [
        "# Results",
        "",
        "Written by `make bench` and `make bench-all`, which run the contenders in turn, on one machine.",
        "Each part's first line is its reference. `benchmarks/` says how each contender is set up.",
        "",
        "![Ratios to the reference of each part, on a logarithmic scale](results.svg)",
    ]
    for name in ORDER:
        if name not in store:
            continue
        part = store[name]
        reference = statistics.median(part["runs"][part["reference"]])
        told += ["", f"## {part['title']}", "", f"{part['machine']}. {part['more']}".strip(), ""]
        told += [
            f"| contender | ratio | median, {part['unit']} | minimum | maximum | |",
            "|---|---|---|---|---|---|",
        ]
        for contender, values in part["runs"].items():
            note = part["notes"].get(contender, "")
            if not values:
                told.append(f"| {contender} | failed | | | | {note} |")
                continue
            middle = statistics.median(values)
            cells = [f"{middle / reference:.2f}", *map(_number, (middle, min(values), max(values))), note]
            told.append(f"| {contender} | {' | '.join(cells)} |")
        if part.get("settings"):
            told += ["", *(f"- {contender}: {how}." for contender, how in part["settings"].items())]
    return "\n".join(told) + "\n"


def picture(store: Mapping[str, Any]) -> None:
    """``results.svg``: a panel a part, the contenders' ratios as bars on a logarithmic axis."""
    import matplotlib
    from matplotlib.figure import Figure

    parts = [store[name] for name in ORDER if name in store and len(store[name]["runs"]) > 1]
    heights = [0.9 + 0.34 * len(part["runs"]) for part in parts]
    figure = Figure(figsize=(8.4, sum(heights) + 0.4 * len(parts)), layout="constrained")
    panels = figure.subplots(len(parts), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, part in zip(panels, parts, strict=True):
        reference = statistics.median(part["runs"][part["reference"]])
        named = [(name, values) for name, values in part["runs"].items() if values][::-1]
        ratios = [statistics.median(values) / reference for _, values in named]
        colours = ["#d55e00" if name.startswith(OURS) else "#7a8794" for name, _ in named]
        bars = axes.barh([name for name, _ in named], ratios, color=colours)
        axes.bar_label(bars, [f"{ratio:.2f} x" for ratio in ratios], padding=3, fontsize=9)
        axes.set_xscale("log")
        axes.set_xlim(min(0.5, *ratios) * 0.8, max(ratios) * 2.2)
        axes.set_title(" ", fontsize=10, pad=8)  # room for the title, which starts where the names do
        title = axes.annotate(
            part["title"],
            (0.01, 1.0),
            xycoords=("figure fraction", "axes fraction"),
            textcoords="offset points",
            xytext=(0, 5),
            fontweight="bold",
        )
        title.set_in_layout(False)
        axes.tick_params(labelsize=9, length=0)
        axes.xaxis.set_visible(False)  # the bars say their numbers
        axes.spines[["top", "right", "bottom"]].set_visible(False)
    # Text as text is small; with the salt, the same numbers give the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "results"}):
        figure.savefig(PICTURE, metadata={"Date": None})


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" if value >= 100 else f"{value:.3f}"
