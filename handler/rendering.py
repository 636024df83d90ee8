"""Sections of paragraphs, commands, tables and pictures become Markdown, and a page that stands alone."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from handler import charts

#: A table: its header, and then its rows.
Rows = list[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Picture:
    """``caption`` says what it shows and how to read it or, without ``svgs``, why it could not be drawn."""

    title: str
    caption: str
    svgs: tuple[str, ...] = ()
    wide: bool = False


class Code(str):
    """A text to copy: commands, or an answer."""

    __slots__ = ()


class Gallery(NamedTuple):
    """Pictures, side by side where there is room; Markdown has none."""

    pictures: Sequence[Picture]


class Section(NamedTuple):
    """A heading, and what stands below it."""

    heading: str
    parts: Sequence[str | Code | Rows | Gallery]


#: The most letters of a word in a table; the whole is shown where a mouse rests on it.
LONGEST_WORD = 40
#: What Markdown would take for markup; within a word, an underscore is one.
MARKED = re.compile(r"[\\`*\[\]<>#]|\b_|_\b")
#: What a cell of a column of numbers has.
NUMBER = re.compile(r"[-+]?[\d,]+(\.\d+)?(e[-+]\d+)?( ?%)?|–|", re.ASCII)
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d0d7de; --soft: #57606a;
  --link: #0969da; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --line: #30363d; --soft: #9198a1; --link: #6cb2ff; }
}
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 64rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3, p, li, figcaption { overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .6rem 0; }
h2 { font-size: 1.3rem; margin: 2.4rem 0 .6rem; border-bottom: 1px solid var(--line);
  padding-bottom: .3rem; }
h3 { font-size: 1rem; margin: 0 0 .3rem; }
a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; font-size: .9rem; }
p { max-width: 46rem; }
.scroll { overflow-x: auto; margin: 1rem 0; }
.scroll:focus-visible { outline: 2px solid var(--link); outline-offset: 2px; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .3rem 1rem .3rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
th:last-child, td:last-child { padding-right: 0; }
td:last-child:not(.number) { min-width: 9rem; }
@media (max-width: 40rem) { table { font-size: .85rem; } th, td { padding-right: .6rem; } }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.pictures { display: grid; gap: 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
figure { margin: 0; min-width: 0; break-inside: avoid; }
figure.wide { grid-column: 1 / -1; }
figure .several { display: grid; gap: 1rem 2rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); }
figure .scroll { margin: .3rem 0; }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .3rem; }
pre { overflow-x: auto; margin: .5rem 0 1rem; padding: .7rem; border: 1px solid var(--line);
  border-radius: 6px; font-size: .85rem; max-height: 24rem; }
@media print {
  :root { color-scheme: light; --ink: #000; --paper: #fff; --line: #bbb; --soft: #444;
    --c0: #0072b2; --c1: #d55e00; --c2: #009e73; }
  body { max-width: none; font-size: 11pt; padding: 0; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  tr, pre { break-inside: avoid; }
  .scroll, pre { overflow: visible; max-height: none; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
  svg { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""


def markdown(title: str, links: Mapping[str, str], sections: Iterable[Section]) -> str:
    """The sections as Markdown, without pictures."""
    return "\n".join(_markdown(title, links, sections))


def _markdown(title: str, links: Mapping[str, str], sections: Iterable[Section]) -> Iterator[str]:
    yield f"# {_plain(title)}\n"
    yield " · ".join(f"[{name}]({link})" for name, link in links.items()) + "\n"
    for heading, parts in sections:
        if all(isinstance(part, Gallery) for part in parts):
            continue
        yield f"## {_plain(heading)}\n"
        for part in parts:
            if isinstance(part, Code):
                yield from (f"    {line}".rstrip() for line in part.splitlines())
                yield ""
            elif isinstance(part, str):
                yield f"{_plain(part)}\n"
            elif not isinstance(part, Gallery):
                yield from _markdown_table(part)


def _markdown_table(table: Rows) -> Iterator[str]:
    cells = [[_plain(cell).replace("|", "\\|") for cell in row] for row in table]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rules = [
        "-" * (width - 1) + ":" if numeric else "-" * width
        for width, numeric in zip(widths, _numeric(table), strict=True)
    ]
    for row in (cells[0], rules, *cells[1:]):
        padded = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
        yield f"| {' | '.join(padded)} |"
    yield ""


def _plain(text: str) -> str:
    """Text that Markdown shows unchanged, on one line."""
    text = " ".join(text.split())
    return MARKED.sub(r"\\\g<0>", text)


def _numeric(table: Rows) -> list[bool]:
    """Which columns hold numbers below the header."""
    return [all(map(NUMBER.fullmatch, column[1:])) for column in zip(*table, strict=True)]


def page(title: str, links: Mapping[str, str], sections: Iterable[Section]) -> str:
    """The sections as a page, one file without scripts; only its ``links`` lead elsewhere."""
    return "\n".join(_page(title, links, sections)) + "\n"


def _page(title: str, links: Mapping[str, str], sections: Iterable[Section]) -> Iterator[str]:
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{html.escape(title)}</title><style>{charts.STYLE}{STYLE}</style></head><body>"
    shown = (f'<a href="{html.escape(link)}">{html.escape(name)}</a>' for name, link in links.items())
    yield f"<nav>{''.join(shown)}</nav>"
    yield f"<main><h1>{html.escape(title)}</h1>"
    for heading, parts in sections:
        yield f"<h2>{html.escape(heading)}</h2>"
        for part in parts:
            if isinstance(part, Code):
                yield f'<pre tabindex="0">{html.escape(part)}</pre>'
            elif isinstance(part, str):
                yield f"<p>{html.escape(part)}</p>"
            elif isinstance(part, Gallery):
                yield '<div class="pictures">'
                yield from map(_figure, part.pictures)
                yield "</div>"
            else:
                yield from _table(part)
    yield "</main></body></html>"


def _table(table: Rows) -> Iterator[str]:
    """A table in a box of its own, in which it scrolls where the page is narrower."""
    styles = [' class="number"' if numeric else "" for numeric in _numeric(table)]
    header, *rows = ([_cell(cell) for cell in row] for row in table)

    def line(cells: Sequence[str], tag: str) -> str:
        made = (f"<{tag}{style}>{cell}</{tag}>" for cell, style in zip(cells, styles, strict=True))
        return f"<tr>{''.join(made)}</tr>"

    yield f'<div class="scroll" tabindex="0"><table><thead>{line(header, "th")}</thead><tbody>'
    yield from (line(row, "td") for row in rows)
    yield "</tbody></table></div>"


def _cell(text: str) -> str:
    words = (
        f'<span title="{html.escape(word)}">{html.escape(charts.cut(word, LONGEST_WORD))}</span>'
        if len(word) > LONGEST_WORD
        else html.escape(word)
        for word in text.split(" ")
    )
    return " ".join(words)


def _figure(picture: Picture) -> str:
    title, caption = html.escape(picture.title), html.escape(picture.caption)
    drawn = "".join(f'<div class="scroll">{svg}</div>' for svg in picture.svgs)
    if len(picture.svgs) > 1:
        drawn = f'<div class="several">{drawn}</div>'
    kind = ' class="wide"' if picture.wide else ""
    return f"<figure{kind}><h3>{title}</h3>{drawn}<figcaption>{caption}</figcaption></figure>"
