"""Which format the dates of a column have, where its texts are dates."""

from __future__ import annotations

import re

import numpy as np

from handler.dates import WORDS, directives, parse_series
from training.data.texts import Counted

#: The share of a column's known cells that must be dates of one format.
ENOUGH = 0.95
#: So many different cells show which formats are to be tried on all of them, and letters of the longest.
SHOWN = 200
LONGEST = 50
TEXT = re.compile(
    r"(?P<day>.*?[0-9A-Za-z])(?P<time>(?P<gap>T| +|, )[0-9]{1,2}:[0-9]{2}(?P<second>:[0-9]{2})?"
    r"(?:(?P<point>[.,])[0-9]{1,9})?(?:(?P<blank> *)(?P<half>[AaPp]\.?[Mm]\.?))?"
    r"(?:(?P<space> *)(?P<zone>[Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?))?)?"
)
#: What stands in a day (a year of 4 digits, a number of 1 or 2, a month's name, a quarter), the orders in
#: which it may be meant, and what may stand between. A point would make two numbers one, such as 2024.01.
NUMBERS, MONTHS = r"([-/.])\1", r"(, | |-|/|\.|)(, | |-|/|\.|)"
ORDERS = {
    "4 2 2": (("Ymd",), NUMBERS),
    "2 2 4": (("dmY", "mdY"), NUMBERS),
    "2 2 2": (("dmy", "mdy"), NUMBERS),
    "4 2": (("Ym",), "[-/]"),
    "2 4": (("mY",), "[-/]"),
    "4 b": (("Yb",), MONTHS),
    "b 4": (("bY",), MONTHS),
    "b 2": (("by",), "-"),
    "2 b 4": (("dbY",), MONTHS),
    "2 b 2": (("dby",), MONTHS),
    "4 b 2": (("Ybd",), MONTHS),
    "b 2 4": (("bdY",), MONTHS),
    "4 q": (("Yq",), "[- :]?"),
    "q 4": (("qY",), "[- :]?"),
}


class AmbiguousDates(ValueError):
    """The cells are dates of two formats, and none of them tells the day from the month."""

    def __init__(self, *formats: str) -> None:
        self.formats = formats
        super().__init__(" or ".join(formats))


def format_of(known: Counted) -> str | None:
    """The one format in which at least 95 % of the cells are dates, or None; ``known`` are not empty.

    Dates with and without a time in ISO 8601 have one with a time, which reads both. Whole numbers, such as
    years, are not dates, and neither are times of day. Raises ``AmbiguousDates``.
    """
    texts, counts = known
    if not texts.str.contains("[0-9]").any():
        return None
    shown = texts.gather_every(max(1, len(texts) // SHOWN)).to_list()
    formats = [each for text in shown if len(text) <= LONGEST for each in _formats(text)]
    shares = {each: formats.count(each) for each in dict.fromkeys(formats)}
    if not shares or len(formats) < len(shown) / 2:
        return None
    fits = {each: ~np.isnan(parse_series(each, texts)) for each in shares}
    fitting = {each: counts[fits[each]].sum() for each in shares}
    sound = [each for each in shares if fitting[each] >= ENOUGH * known.rows]
    if not sound:
        return None
    best = max(sound, key=lambda each: (fitting[each], _has_time(each), shares[each]))
    for other in sound:
        if _order(other) != _order(best) and not (
            (fits[best] & ~fits[other]).any() and not (fits[other] & ~fits[best]).any()
        ):
            raise AmbiguousDates(best, other)
    return best


def _has_time(format: str) -> bool:
    return not {"H", "I"}.isdisjoint(directives(format))


def _order(format: str) -> str:
    return "".join(each.lower() for each in directives(format) if each in "YymbBdq")


def _formats(text: str) -> list[str]:
    """The formats that a text may have, by what stands in it."""
    match = TEXT.fullmatch(text)
    if match is None:
        return []
    pieces = re.findall("[qQ][1-4](?![0-9])|[0-9]+|[A-Za-z]+|[^0-9A-Za-z]+", match["day"])
    held = [(_held(each), each) for each in pieces]
    shape = " ".join(what for what, _ in held if what)
    orders, between = ORDERS.get(shape, ((), ""))
    gaps = _gaps(held)
    if not orders or not re.fullmatch(between, gaps):
        return []
    time = _time(match)
    if time and shape in ("4 2", "2 4", "4 b", "b 4", "b 2", "4 q", "q 4"):
        return []
    made = []
    for order in orders:
        letters = iter(order)
        spelled = (_directive(next(letters), piece) if what else piece for what, piece in held)
        made.append("".join(spelled) + time)
    return made


def _held(piece: str) -> str:
    """What a piece of a day holds, as in ``ORDERS``; empty for what stands between."""
    if piece[0] in "0123456789":
        return "4" if len(piece) == 4 else "2" if len(piece) <= 2 else "number"
    if piece[0] in "qQ" and piece[1:].isdigit():
        return "q"
    if piece.isalpha() and piece.isascii():
        return "b" if piece.lower() in WORDS["word"] else "word"
    return ""


def _gaps(held: list[tuple[str, str]]) -> str:
    return "".join(re.sub(" +", " ", piece) for what, piece in held if not what)


def _directive(letter: str, piece: str) -> str:
    if letter == "q":
        return f"{piece[0]}%q"
    whole = len(piece) > 3 and piece.lower() != "sept"
    return "%B" if letter == "b" and whole else f"%{letter}"


def _time(match: re.Match[str]) -> str:
    """The format of the time that stands after a day; empty where there is none."""
    if match["time"] is None:
        return ""
    gap = " " if match["gap"].isspace() else match["gap"]
    second = ":%S" if match["second"] else ""
    fraction = f"{match['point']}%f" if match["point"] else ""
    half = (" %p" if match["blank"] else "%p") if match["half"] else ""
    zone = (" %z" if match["space"] else "%z") if match["zone"] else ""
    return f"{gap}{'%I' if match['half'] else '%H'}:%M{second}{fraction}{half}{zone}"
