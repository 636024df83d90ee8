"""What a comparison of two models says: as a few lines of text, and as a page."""

from __future__ import annotations

from collections.abc import Mapping

from handler.charts import Axis, Plane, cut, matrix
from handler.manifest import Manifest
from handler.rendering import Gallery, Picture, Rows, Section, page
from handler.review.comparison import QUANTILES, Comparison
from handler.review.measure import CELLS, Ends, Moved
from handler.scoring import agreement
from handler.terminal import grid

#: The most labels of a matrix, and the most letters of a name in it.
MOST_LABELS, LONGEST = 12, 20
#: The most differences that are listed; all are in the JSON object.
MOST_DIFFERENCES = 20


def in_words(made: Comparison) -> str:
    """What stands on the page, as a few lines of text."""
    lines = [
        f"{made.input}: this model, {_named(made.this)}, beside the other, {_named(made.other)}",
        f"{_changed(made)}.",
    ]
    lines += [f"  {line}" for line in (*_rejects(made), *_clusters(made))]
    if made.names:
        table = agreement.by_label(made.counts.pairs, _names(made))
        if len(table) > 1:
            lines += grid(table[0], table[1:], "<" + _aligned(table))
    if made.measured and made.counts.shifts.rows:
        lines.append(f"{_shifts(made)}.")
    if made.counts.largest:
        table = _largest(made)
        lines += grid(table[0], table[1:], "<" + _aligned(table))
    if made.differences:
        table = _differences(made)
        lines += grid(table[0], table[1:], "<<<")
    return "\n".join(lines)


def _aligned(table: Rows) -> str:
    return ">" * (len(table[0]) - 1)


def _named(manifest: Manifest) -> str:
    return f"{manifest.name} {manifest.version}"


def _names(made: Comparison) -> list[str]:
    return [cut(name, LONGEST) for name in made.names]


def _changed(made: Comparison) -> str:
    """How many rows change, and why."""
    counts = made.counts
    once = counts.changed - counts.apart
    what = f"shift by more than {made.tolerance:.4g}" if made.is_regression else "get another label"
    why = f"{counts.apart:,} {what}"
    if once:
        why += f", and {once:,} are rejected by one model only"
    also = f"; {counts.neither:,} are rejected by both" if counts.neither else ""
    return (
        f"{counts.changed:,} of {counts.read - counts.neither:,} rows change ({counts.share:.2%}): {why}"
        f"{also}"
    )


def _rejects(made: Comparison) -> list[str]:
    """Which rows only one model rejects, by code."""
    counts = made.counts
    return [
        f"{codes.total():,} rows are rejected by {which} model only: {_counted(codes)}."
        for which, codes in (("this", counts.refused_here), ("the other", counts.refused_there))
        if codes
    ]


def _counted(codes: Mapping[str, int]) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in sorted(codes.items()))


def _clusters(made: Comparison) -> list[str]:
    is_cluster = made.this.task == "cluster"
    return agreement.numbered_anew(made.counts.pairs, made.names) if is_cluster else []


def _shifts(made: Comparison) -> str:
    """How far the rows shift, in one sentence."""
    shifts, what = made.counts.shifts, f"T{(made.measured or '')[1:]}"  # "the score", and so forth
    if not shifts.largest:
        return f"{what} shifts in no row"
    half, most, nearly = (f"{shifts.quantile(share):.3g}" for share in QUANTILES.values())
    mean = f"{shifts.mean:+.3g} on average, and by " if made.has_direction else ""
    return (
        f"{what} shifts by {mean}{shifts.distance:.3g} up or down on average: by at most {half} in half of "
        f"the rows, {most} in 90% and {nearly} in 99% of them, and by {shifts.largest:.4g} at most"
    )


def _largest(made: Comparison) -> Rows:
    """A table of the rows that shift the most."""
    several = len({each.of for each in made.counts.largest}) > 1
    labels = ("label before", "label now") if made.names else ()
    header = ("line", *labels, *(("probability of",) if several else ()), "before", "now", "shift")
    names = _names(made)

    def row(moved: Moved) -> tuple[str, ...]:
        given = [] if moved.own is None else [names[moved.other or 0], names[moved.own]]
        of = [names[moved.of or 0]] if several else []
        numbers = (f"{moved.before:.4g}", f"{moved.after:.4g}", f"{moved.shift:+.4g}")
        return f"{moved.line:,}", *given, *of, *numbers

    return [header, *map(row, made.counts.largest)]


def _differences(made: Comparison) -> Rows:
    rows = [(cut(each.feature, 40) or "(the model)", each.this, each.other) for each in made.differences]
    shown = rows[:MOST_DIFFERENCES]
    more = len(rows) - len(shown)
    return [
        ("feature", "this model", "the other"),
        *shown,
        *([(f"and {more:,} more", "", "")] if more else []),
    ]


def as_page(made: Comparison, limit: float) -> str:
    """The page, which stands alone; ``limit``: the share above which too many rows change."""
    counts = made.counts
    verdict = "above" if counts.share > limit else "not above"
    about: list[str | Rows] = [
        f"Every row of {made.input.name} was predicted by this model, {_named(made.this)}, and by the "
        f"other, {_named(made.other)}: what would change if this model took the place of the other.",
        f"{_changed(made)}. That is {verdict} the limit of {limit:.2%}.",
        *_rejects(made),
        *_clusters(made),
    ]
    sections = [Section("What this shows", about)]
    if made.names:
        sections.append(Section("Labels", _labels(made)))
    if made.measured and counts.shifts.rows:
        pictures = [_beyond(made), *([] if made.ends is None else [_before_and_after(made, made.ends)])]
        sections.append(Section("Shifts", [f"{_shifts(made)}.", Gallery(pictures)]))
    if counts.largest:
        lines = "A row is named by its line in the file, of which the header is line 1."
        sections.append(Section("The rows that shift the most", [lines, _largest(made)]))
    if made.differences:
        sections.append(Section("What the models take differently", [_differences(made)]))
    return page(f"{_named(made.this)} beside {_named(made.other)}", {}, sections)


def _labels(made: Comparison) -> list[str | Rows | Gallery]:
    """Both predictions of each row, and the rows by label."""
    own, other = made.classes(0), made.classes(1)
    rows = [
        (cut(name, LONGEST), other.get(name, 0), own.get(name, 0))
        for name in made.names
        if own.get(name) or other.get(name)
    ]
    rows.sort(key=lambda each: -abs(each[2] - each[1]))
    table: Rows = [
        ("label", "the other", "this model", "difference"),
        *((name, f"{old:,}", f"{new:,}", f"{new - old:+,}") for name, old, new in rows[: agreement.SHOWN]),
    ]
    if len(made.names) > MOST_LABELS:
        return [agreement.by_label(made.counts.pairs, _names(made)), table]
    return [Gallery([_matrix(made), _by_label(made)]), table]


def _matrix(made: Comparison) -> Picture:
    import numpy as np

    counts = np.zeros((len(made.names), len(made.names)), np.int64)
    for (own, other), rows in made.counts.pairs.items():
        counts[other, own] = rows
    drawn = matrix("Rows by both labels", counts, _names(made), "the other", "this model")
    caption = "Each row of squares is a label of the other model: where this model puts those rows."
    return Picture("Rows by both labels", caption, (drawn,))


def _by_label(made: Comparison) -> Picture:
    counts = [made.classes(which) for which in (1, 0)]
    most = max(max(each.values()) for each in counts)
    plane = Plane(Axis.of_names("", _names(made)), Axis.over("rows", 0, most), 240)
    for colour, (rows, which) in enumerate(zip(counts, ("the other", "this model"), strict=True)):
        for at, name in enumerate(made.names):
            if name in rows:
                legend = which if name == next(iter(rows)) else ""
                plane.dot(at, rows[name], colour, legend, f"{name}: {rows[name]:,} rows ({which})")
    return Picture(
        "Rows by label", "How many rows each model gives a label.", (plane.svg("Rows by label"),)
    )


def _beyond(made: Comparison) -> Picture:
    shifts = made.counts.shifts
    points = [(size, share) for size, share in shifts.beyond() if size > 0]
    points.append((0.0, points[-1][1] if points else 0.0))
    plane = Plane(
        Axis.over("shift, up or down", 0, shifts.largest), Axis.over("share of rows", 0, points[-1][1])
    )
    if made.tolerance is not None:
        plane.vertical(made.tolerance, f"a row changes above {made.tolerance:.4g}")
    plane.line((size for size, _ in points), (share for _, share in points))
    caption = "The share of the rows that shift at least so far."
    return Picture("How far the rows shift", caption, (plane.svg(caption),))


def _before_and_after(made: Comparison, ends: Ends) -> Picture:
    import numpy as np

    cells = made.counts.shifts.cells
    assert cells is not None
    edges = np.linspace(*ends, CELLS + 1).tolist()
    plane = Plane(Axis.over("the other model", *ends), Axis.over("this model", *ends), 340)
    plane.squares(cells, edges, edges).rule(ends[0], ends[0], ends[1], ends[1], "no shift")
    of = made.measured or ""
    caption = (
        f"Where the rows are by {of}; darker squares hold more rows. On the dashed line, nothing shifts."
    )
    if made.ends != (0.0, 1.0):
        caption += " What lies further out is counted in the squares at the edge."
    return Picture("Before and after", caption, (plane.svg(caption),))
