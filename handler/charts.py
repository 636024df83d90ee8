"""Charts as SVG elements, to stand in a page: bars, lines, dots, squares and counted matrices.

Colours and sizes of letters are the page's classes (``STYLE``), so that a chart is dark where the page is.
A library draws more kinds, and its import alone takes longer than a small training.
https://www.w3.org/TR/SVG2/
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import numpy as np

#: Units of the narrowest chart's width; a phone shows it at about this many pixels.
WIDTH = 360
#: The height of a letter of 11 units, and the mean width of one.
LINE, LETTER = 15, 6.9
#: So many colours are told apart, by the colour-blind too. https://jfly.uni-koeln.de/color/
COLOURS = 6
STYLE = """
:root { --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #b58900; --c5: #56b4e9; }
@media (prefers-color-scheme: dark) { :root { --c0: #4aa8e0; --c1: #f0803c; --c2: #2fc79b; } }
svg { display: block; width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--ink); }
svg .soft { fill: var(--soft); }
svg .on { fill: var(--paper); }
svg .end { text-anchor: end; }
svg .mid { text-anchor: middle; }
svg .grid { stroke: var(--line); }
svg .rule { stroke: var(--soft); stroke-dasharray: 4 3; }
svg .span { stroke: var(--ink); }
svg .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
""" + "".join(
    f"svg .f{index} {{ fill: var(--c{index}); }} svg .s{index} {{ stroke: var(--c{index}); }}\n"
    for index in range(COLOURS)
)


def width_of(text: str) -> float:
    """About how wide a text of 11 units is; a letter of East Asia is as wide as two others."""
    return LETTER * sum(1.9 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)


def cut(text: str, most: int) -> str:
    """A text on one line, of at most so many characters: its both ends, by which names are told apart."""
    text, half = " ".join(text.split()), most // 2
    return text if len(text) <= most else f"{text[: most - half - 1]}…{text[-half:]}"


def shown(value: float) -> str:
    """A number as a tick has it; one of four digits without a mark, as it may be a year."""
    text = f"{value:,.10g}" if abs(value) >= 10_000 else f"{value:.10g}"
    return text if abs(value) < 1e9 and len(text) <= 10 else f"{value:.4g}"


def ticks(low: float, high: float, most: int = 6, *, whole: bool = False) -> list[float]:
    """Round numbers, ``most`` at most and evenly spaced, of which the first and the last enclose both.

    They are 1, 2, 2.5 or 5 times a power of ten apart; a whole number, where all are to be ``whole``.
    """
    if not high > low:
        margin = abs(low) / 10 or 0.5
        low, high = low - margin, high + margin
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    if whole:
        power = max(1.0, power)
    for step in (power * each for each in (1, 2, 2.5, 5, 10, 20, 25, 50)):
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        if last - first < most and (not whole or step.is_integer()):
            break
    return [round(index * step, 12 - math.floor(math.log10(step))) for index in range(first, last + 1)]


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows; ``at`` are its ticks, or the positions of ``names``."""

    label: str
    at: Sequence[float]
    names: Sequence[str] = ()

    @classmethod
    def over(cls, label: str, low: float, high: float, most: int = 6, *, whole: bool = False) -> Axis:
        """An axis of round numbers around two numbers."""
        return cls(label, ticks(low, high, most, whole=whole))

    @classmethod
    def of_names(cls, label: str, names: Sequence[str]) -> Axis:
        """An axis of names, at 0, 1, 2, ..."""
        return cls(label, range(len(names)), names)

    @property
    def ends(self) -> tuple[float, float]:
        """The numbers at both ends."""
        margin = 0.5 if self.names else 0.0
        return self.at[0] - margin, self.at[-1] + margin

    @property
    def texts(self) -> list[str]:
        """What stands at each tick."""
        return [*self.names] or [shown(each) for each in self.at]


class Plane:
    """A chart with two axes; what is drawn is added by its methods, the lowest first."""

    def __init__(self, x: Axis, y: Axis, height: int = 240) -> None:
        self._x, self._y = x, y
        self._marks: list[str] = []
        self._legend: list[tuple[str, str]] = []
        self._left = 8 + max(map(width_of, y.texts))
        self._right, self._top, self._bottom = WIDTH - 12.0, 24.0, height - 36.0
        self._slanted = bool(x.names) and any(
            width_of(each) > (self._right - self._left) / len(x.names) for each in x.names
        )
        if self._slanted:
            self._bottom -= 0.5 * max(map(width_of, x.names)) - 8
        self._height = height

    def _at(self, x: float, y: float) -> tuple[float, float]:
        (left, right), (low, high) = self._x.ends, self._y.ends
        across, up = (x - left) / (right - left), (y - low) / (high - low)
        return (
            self._left + min(1.0, max(0.0, across)) * (self._right - self._left),
            self._bottom - min(1.0, max(0.0, up)) * (self._bottom - self._top),
        )

    def line(self, xs: Iterable[float], ys: Iterable[float], colour: int = 0, name: str = "") -> Self:
        """A line through points."""
        points = " ".join("{:.1f},{:.1f}".format(*self._at(*each)) for each in zip(xs, ys, strict=True))
        self._marks.append(f'<polyline class="line s{colour}" points="{points}"/>')
        return self._named(name, f'<path class="line s{colour}" d="M0 0h14"/>')

    def rule(self, x0: float, y0: float, x1: float, y1: float, name: str = "") -> Self:
        """A dashed line between two points, to compare with."""
        (left, top), (right, bottom) = self._at(x0, y0), self._at(x1, y1)
        self._marks.append(f'<path class="rule" d="M{left:.1f} {top:.1f}L{right:.1f} {bottom:.1f}"/>')
        return self._named(name, '<path class="rule" d="M0 0h14"/>')

    def vertical(self, x: float, name: str = "") -> Self:
        """A dashed line over the whole height."""
        return self.rule(x, self._y.ends[0], x, self._y.ends[1], name)

    def horizontal(self, y: float, name: str = "") -> Self:
        """A dashed line over the whole width."""
        return self.rule(self._x.ends[0], y, self._x.ends[1], y, name)

    def dot(self, x: float, y: float, colour: int = 0, name: str = "", title: str = "") -> Self:
        """A dot; ``title`` is shown where a mouse rests on it."""
        across, down = self._at(x, y)
        inner = f"><title>{html.escape(title)}</title></circle>" if title else "/>"
        self._marks.append(f'<circle class="f{colour}" cx="{across:.1f}" cy="{down:.1f}" r="4"{inner}')
        return self._named(name, f'<circle class="f{colour}" cx="7" r="4"/>')

    def span(self, x: float, low: float, high: float) -> Self:
        """An upright line, of what a value may as well be."""
        (across, bottom), (_, top) = self._at(x, low), self._at(x, high)
        self._marks.append(f'<path class="span" d="M{across:.1f} {bottom:.1f}V{top:.1f}"/>')
        return self

    def histogram(self, heights: Iterable[float], edges: Sequence[float], colour: int = 0) -> Self:
        """A bar between each two ``edges``."""
        for height, start, end in zip(heights, edges[:-1], edges[1:], strict=True):
            (left, top), (right, bottom) = self._at(start, height), self._at(end, 0)
            if bottom > top:
                self._marks.append(
                    f'<rect class="f{colour}" x="{left:.1f}" y="{top:.1f}" '
                    f'width="{max(0.5, right - left - 0.6):.1f}" height="{bottom - top:.1f}"/>'
                )
        return self

    def steps(
        self, heights: Sequence[float], edges: Sequence[float], colour: int = 0, name: str = ""
    ) -> Self:
        """The outline of a histogram."""
        import numpy as np

        return self.line(np.repeat(edges, 2), [0.0, *np.repeat(heights, 2), 0.0], colour, name)

    def squares(self, counts: np.ndarray, xs: Sequence[float], ys: Sequence[float]) -> Self:
        """How many rows lie between each two edges, shape (len(xs) - 1, len(ys) - 1); more are darker."""
        import numpy as np

        shades = 0.25 + 0.75 * np.sqrt(counts / counts.max(initial=1))
        for i, j in np.argwhere(counts):
            (left, top), (right, bottom) = self._at(xs[i], ys[j + 1]), self._at(xs[i + 1], ys[j])
            self._marks.append(
                f'<rect class="f0" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" '
                f'height="{bottom - top:.1f}" opacity="{shades[i, j]:.2f}"/>'
            )
        return self

    def _named(self, name: str, sample: str) -> Self:
        if name:
            self._legend.append((name, sample))
        return self

    def svg(self, title: str) -> str:
        """The element; ``title`` says what it shows to those who do not see it."""
        bottom = self._height
        if self._x.label:
            bottom += 0 if not self._slanted else 4
        legend, height = self._keys(bottom)
        return _svg(title, WIDTH, height, [*self._axes(), *self._marks, *legend])

    def _axes(self) -> Iterable[str]:
        yield _text(0, 12, self._y.label, "soft")
        for value, name in zip(self._y.at, self._y.texts, strict=True):
            _, down = self._at(self._x.ends[0], value)
            yield f'<path class="grid" d="M{self._left:.1f} {down:.1f}H{self._right:.1f}"/>'
            yield _text(self._left - 5, down + 4, name, "end")
        texts = self._x.texts
        room = (self._right - self._left) / max(1, len(texts) - (not self._x.names))
        every = 1 if self._x.names else math.ceil(max(map(width_of, texts)) / max(room - 6, 1))
        for value, name in list(zip(self._x.at, texts, strict=True))[::every]:
            across, _ = self._at(value, self._y.ends[0])
            if self._slanted:
                turned = f' transform="rotate(-30 {across:.1f} {self._bottom + 12:.1f})"'
                yield _text(across + 4, self._bottom + 12, name, "end", turned)
            else:
                half = width_of(name) / 2  # the first and the last stay within the chart
                yield _text(max(half, min(across, WIDTH - half)), self._bottom + 15, name, "mid")
        yield _text(self._right, self._height - 4, self._x.label, "soft end")

    def _keys(self, top: float) -> tuple[list[str], float]:
        """The legend, below the chart, and the height of all."""
        made, left, down = [], 4.0, top + 14
        for name, sample in self._legend:
            width = 34 + width_of(name)
            if left > 4 and left + width > WIDTH:
                left, down = 4.0, down + LINE + 2
            made.append(f'<g transform="translate({left:.1f} {down - 4:.1f})">{sample}</g>')
            made.append(_text(left + 19, down, name))
            left += width
        return made, down + 6 if made else top


def bars(
    title: str,
    rows: Sequence[tuple[str, float, str]],
    axis: str,
    spans: Sequence[tuple[float, float]] = (),
) -> str:
    """A bar for each name, with its value and the text beside it; ``spans``: what each may as well be."""
    left = 6 + max(width_of(cut(name, 22)) for name, *_ in rows)
    beside = 8 + max(width_of(text) for *_, text in rows)
    ends = [value for _, value, _ in rows] + [each for span in spans for each in span]
    low, high = min(0.0, *ends), max(0.0, *ends)
    if low == high:
        high = 1.0
    at = [each for each in ticks(low, high, 5) if low <= each <= high]
    scale = (WIDTH - left - beside) / (high - low)
    bottom = len(rows) * 20 + 6
    marks = []
    for value in at:
        across = left + (value - low) * scale
        marks.append(f'<path class="grid" d="M{across:.1f} 2V{bottom}"/>')
        marks.append(_text(across, bottom + 13, shown(value), "mid"))
    for index, (name, value, text) in enumerate(rows):
        down, start, end = 6 + index * 20, *sorted((left - low * scale, left + (value - low) * scale))
        marks.append(
            f'<rect class="f0" x="{start:.1f}" y="{down}" width="{end - start:.1f}" height="14">'
            f"<title>{html.escape(name)}: {html.escape(text)}</title></rect>"
        )
        marks.append(_text(left - 5, down + 11, cut(name, 22), "end", full=name))
        if spans:
            start, stop = (left + (each - low) * scale for each in spans[index])
            marks.append(f'<path class="span" d="M{start:.1f} {down + 7}H{stop:.1f}"/>')
            end = max(end, stop)
        marks.append(_text(end + 5, down + 11, text))
    marks.append(_text(WIDTH - 4, bottom + 29, axis, "soft end"))
    return _svg(title, WIDTH, bottom + 34, marks)


def matrix(title: str, counts: np.ndarray, names: Sequence[str], rows: str, columns: str) -> str:
    """Counts by two lists of the same names; each is the darker, the larger its share of its row."""
    import numpy as np

    size = len(names)
    left = 24 + max(width_of(each) for each in names)
    digits = max(map(width_of, map("{:,}".format, counts.flat)))
    edge = max(digits + 6, 26.0, min(72.0, (WIDTH - left - 4) / size))
    upright = any(width_of(each) > edge - 4 for each in names)
    top = 22 + (max(map(width_of, names)) if upright else LINE)
    width = max(float(WIDTH), left + size * edge + 4)
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    tall = min(edge, 44.0)
    marks = [
        _text(left, 12, columns, "soft"),
        _text(
            10,
            top + size * tall / 2,
            rows,
            "soft mid",
            f' transform="rotate(-90 10 {top + size * tall / 2:.1f})"',
        ),
    ]
    for index, name in enumerate(names):
        across, down = left + (index + 0.5) * edge, top + (index + 0.5) * tall
        marks.append(_text(left - 5, down + 4, name, "end"))
        turned = f' transform="rotate(-90 {across + 4:.1f} {top - 5:.1f})"' if upright else ""
        marks.append(_text(across + (4 if upright else 0), top - 5, name, "" if upright else "mid", turned))
    for row, column in np.ndindex(size, size):
        share, x, y = shares[row, column], left + column * edge, top + row * tall
        words = f"{names[row]} as {names[column]}: {counts[row, column]:,} ({share:.1%})"
        marks.append(
            f'<rect class="f0" x="{x:.1f}" y="{y:.1f}" width="{edge - 1:.1f}" height="{tall - 1:.1f}" '
            f'opacity="{0.06 + 0.94 * share:.2f}"><title>{html.escape(words)}</title></rect>'
        )
        style = "mid on" if share > 0.55 else "mid" if counts[row, column] else "mid soft"
        below = size <= 5 and edge > 44
        marks.append(
            _text(x + edge / 2, y + tall / 2 + (0 if below else 4), f"{counts[row, column]:,}", style)
        )
        if below:
            marks.append(_text(x + edge / 2, y + tall / 2 + 13, f"{share:.1%}", style))
    return _svg(title, width, top + size * tall + 4, marks)


def _svg(title: str, width: float, height: float, marks: Iterable[str]) -> str:
    name = html.escape(title)
    least = f' style="min-width:{width:.0f}px"' if width > WIDTH else ""
    box = f'viewBox="0 0 {width:.0f} {height:.0f}"'
    return f'<svg {box} role="img" aria-label="{name}"{least}>{"".join(marks)}</svg>'


def _text(x: float, y: float, text: str, style: str = "", more: str = "", full: str = "") -> str:
    """A text, whose whole is shown where a mouse rests on it if it was cut."""
    named = f' class="{style}"' if style else ""
    title = f"<title>{html.escape(full)}</title>" if full and full != text else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{named}{more}>{title}{html.escape(text)}</text>' if text else ""
