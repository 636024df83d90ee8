"""How numbers are spelled in text: decimal comma, thousands, a currency or a percent sign.

A format is the number 1234.5 as the data spell it: ``1234,5``, ``1,234.5``, ``1.234,5 €``, ``$1,234.5``,
``1234.5%``. Texts are read by it alone: its marks are the only ones, so that under ``1.234,5`` the text
``1.234`` is 1234, and ``1.5`` is not a number. The thousands marks and the sign may be left out, and the
sign may stand on either side; a minus may stand before or after it. A percent is the number as written.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from handler.typed import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

#: Blanks that part thousands, or stand beside a sign: plain, no-break, thin and narrow no-break ones.
BLANKS = " \u00a0\u2009\u202f"
BLANK = f"[{BLANKS}]*"
APOSTROPHES = "'\u2019"
MINUS = "\u2212"
#: What spells a missing value, in lower case, beside the empty cell: among numbers, dates and booleans, and
#: among categories, where "none" and "-" may be levels.
MISSING_NUMBERS = ("na", "n/a", "nan", "null", "nil", "-", "?", ".")
MISSING_TEXTS = ("na", "n/a", "nan", "null")
#: Words that are missing values too, where a column of numbers has them.
MISSING_AMONG_NUMBERS = ("#n/a", "none")
#: The same of the values of a target, which are numbers or texts.
MISSING_NUMBERS_OF_TARGETS = (*MISSING_NUMBERS, *MISSING_AMONG_NUMBERS)
MISSING_TEXTS_OF_TARGETS = (*MISSING_TEXTS, "#n/a")
#: A currency's sign or three-letter code, or a percent sign.
SIGN = "[$€£¥₹₩₽₺₪₫₱฿₴₦₡%]|[A-Z]{3}"
FORMAT = re.compile(
    f"(?:(?P<before>{SIGN}){BLANK})?"
    f"1(?P<thousands>[,.{BLANKS}{APOSTROPHES}]?)234(?P<decimal>[,.])5"
    f"(?:{BLANK}(?P<after>{SIGN}))?"
)


class Spelling(NamedTuple):
    """A format, taken apart. ``thousands`` are the marks that are alike, empty where there is none."""

    format: str
    decimal: str
    thousands: str
    sign: str
    pattern: re.Pattern[str]

    def plain(self, text: str) -> str | None:
        """The number that a text without blanks around it spells, as Python spells it; None if none."""
        if self.pattern.fullmatch(text) is None:
            return None
        if self.sign:
            text = text.replace(self.sign, "")
        for mark in (*self.thousands, *BLANKS):
            text = text.replace(mark, "")
        return text.replace(self.decimal, ".").replace(MINUS, "-")

    def fits(self, cells: pl.Series) -> pl.Series:
        """Which texts of a column spell numbers."""
        return cells.str.contains(f"^(?:{self.pattern.pattern})$")

    def doubles(self, cells: pl.Series) -> pl.Series:
        """``plain`` over a column of texts, as doubles; null where a text is not a number."""
        import polars as pl

        plain = cells
        rare = f"{BLANKS}{MINUS}{APOSTROPHES}"  # 40 ns a cell to look for, ten times that to replace
        if cells.str.contains(f"[{rare}]").any():
            plain = plain.str.replace_all(MINUS, "-", literal=True).str.replace_all(f"[{rare}]", "")
        if self.thousands and self.thousands not in rare:
            plain = plain.str.replace_all(self.thousands, "", literal=True)
        if self.sign:
            plain = plain.str.replace(self.sign, "", literal=True)
        if self.decimal != ".":
            plain = plain.str.replace(self.decimal, ".", literal=True)
        numbers = plain.cast(pl.Float64, strict=False)
        return numbers.zip_with(self.fits(cells), pl.Series([None], dtype=pl.Float64))

    def spelled(self, value: float) -> str:
        """A finite number as a text that ``plain`` takes back to it."""
        match = FORMAT.fullmatch(self.format)
        assert match is not None
        whole, point, fraction = f"{abs(value):,}".partition(".")
        text = whole.replace(",", match["thousands"]) + point.replace(".", self.decimal) + fraction
        before, after = self.format[: match.start("thousands") - 1], self.format[match.end("decimal") + 1 :]
        return f"{'-' if value < 0 else ''}{before}{text}{after}"


@lru_cache(maxsize=256)
def spelling(format: str) -> Spelling | None:
    """What a format says; None where it is none, or says no more than that numbers are plain."""
    match = FORMAT.fullmatch(format)
    if match is None or (match["before"] and match["after"]):
        return None
    decimal, mark = match["decimal"], match["thousands"]
    sign = match["before"] or match["after"] or ""
    if mark == decimal or (not mark and not sign and decimal == "."):
        return None
    thousands = next((alike for alike in (BLANKS, APOSTROPHES) if mark and mark in alike), mark)
    return Spelling(format, decimal, thousands, sign, re.compile(_pattern(decimal, thousands, sign)))


def _pattern(decimal: str, thousands: str, sign: str) -> str:
    """The texts that are numbers, for ``re``, polars and ECMA alike.

    Two repeats that could share characters never stand side by side, so that ``re`` needs no more time than
    the length of a text asks for.
    """
    minus = f"[+{MINUS}-]"
    number = _number(decimal, thousands)
    if not sign:
        return f"{minus}?{number}"
    sign = re.escape(sign)
    before = f"(?:{minus}?(?:{BLANK}{sign}{BLANK})?|{sign}{BLANK}{minus})"
    return f"(?:{before}{number}|{minus}?{number}{BLANK}{sign})"


def _number(decimal: str, thousands: str) -> str:
    whole = f"[1-9][0-9]{{0,2}}(?:[{thousands}][0-9]{{3}})+|[0-9]+" if thousands else "[0-9]+"
    return rf"(?:(?:{whole})(?:[{decimal}][0-9]*)?|[{decimal}][0-9]+)(?:[eE][+-]?[0-9]+)?"


#: The share of a column's known cells that its format fits at least.
MOST = 0.95
#: How the number that a text spells can begin.
START = f"^[+{MINUS}-]?{BLANK}(?:{SIGN})?{BLANK}[+{MINUS}-]?[,.]?[0-9]"
#: Whole numbers, in which each dot parts thousands, and all of them are parted.
PARTED = r"^[+-]?(?:[0-9]{1,3}|[1-9][0-9]{0,2}(?:\.[0-9]{3})+)$"
#: Decimal and thousands marks, those first that are taken where several fit a column alike.
MARKS = ((".", ""), (".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"), (",", "'"))
#: The same for a file that is parted by semicolons, as files are where the comma is the decimal mark.
SEMICOLON_MARKS = (*MARKS[2:4], MARKS[5], MARKS[7], *MARKS[:2], MARKS[4], MARKS[6])


def format_of(texts: Iterable[str], delimiter: str = ",", numbers: np.ndarray | None = None) -> str | None:
    """The format of a column's numbers; None where they are plain, or where it does not hold numbers.

    ``texts`` are its known cells, which are neither empty nor missing words (a Series of polars is the
    fastest); ``delimiter`` is the file's; ``numbers``: in how many cells each text stands, where all
    differ. A format fits at least 95 % of these cells, half of the distinct
    ones, and more distinct ones than plain numbers do; of several, it is the one that fits most.

    What is ambiguous is judged over all cells: ``1,234`` is thousands where a cell has ``1,234.5`` or
    ``12,345,678``, and a decimal comma where a cell has ``1,5`` or ``0,123``. Where no cell decides, commas
    are decimal in a file that is parted by semicolons, else they part thousands. Dots that no cell decides
    are decimal, as in a plain number; in a file of semicolons they part thousands beside a sign, and where
    there are cells without a dot, all below 1,000 (``967`` beside ``12.345``). A percent sign, or a code of
    three letters, is the column's where more than half of the cells have it; of currency signs, the most
    frequent is.
    """
    import polars as pl

    cells = pl.Series("text", texts, dtype=pl.String).str.strip_chars(" \t")
    if numbers is None:
        table = cells.value_counts()
        distinct, counts = table["text"], table["count"]
    else:
        distinct, counts = cells, pl.Series(numbers)
    enough = MOST * int(counts.sum())
    if len(cells) == 0 or _count(distinct.str.contains(START), counts) < enough:
        return None
    plain = f"^[+-]?{_number('.', '')}$"
    fits_plain = distinct.str.contains(plain)
    if delimiter == ";":
        whole = ~distinct.str.contains(".", literal=True)
        if whole.any() and not (fits_plain & ~distinct.str.contains(PARTED)).any():
            fits_plain &= whole
    most, best = fits_plain.sum(), None
    for candidate in _candidates(distinct, counts, delimiter):
        fits = candidate.fits(distinct)
        if fits.sum() > most and 2 * fits.sum() >= len(distinct) and _count(fits, counts) >= enough:
            most, best = fits.sum(), candidate.format
    return best


def _count(chosen: pl.Series, counts: pl.Series) -> int:
    """How many cells the distinct ones that are chosen stand for."""
    return int(counts.filter(chosen).sum())


def _candidates(distinct: pl.Series, counts: pl.Series, delimiter: str) -> Iterator[Spelling]:
    """The formats that a column may have, by the marks that are in its cells."""
    before, after = _sign(distinct, counts)
    for decimal, thousands in SEMICOLON_MARKS if delimiter == ";" else MARKS:
        candidate = spelling(f"{before}1{thousands}234{decimal}5{after}")
        if candidate is None:
            continue
        mark = candidate.thousands or (decimal if decimal != "." else "")
        # a minus that is not ASCII needs a format, if only one that reads plain numbers too
        wanted = mark + MINUS if thousands == "," else mark
        if not mark or distinct.str.contains(f"[{wanted}]").any():
            yield candidate


def _sign(distinct: pl.Series, counts: pl.Series) -> tuple[str, str]:
    """What stands before and after most numbers: a sign with the blank beside it, or nothing."""
    import polars as pl

    table = pl.DataFrame({"sign": distinct.str.extract(f"({SIGN})"), "text": distinct, "count": counts})
    signs = table.drop_nulls("sign").group_by("sign").agg(pl.col("count").sum()).sort("count", "sign")
    if signs.height == 0:
        return "", ""
    sign, count = signs.row(-1)
    if count <= counts.sum() / 2 and (sign == "%" or sign.isalpha()):
        return "", ""
    having = table.filter(pl.col("sign") == sign)
    texts, counts = having["text"], having["count"]
    parted = texts.str.contains(f"[{BLANKS}]{re.escape(sign)}$|{re.escape(sign)}[{BLANKS}]")
    blank = " " if _count(parted, counts) > count / 2 else ""
    return (
        ("", blank + sign) if _count(texts.str.ends_with(sign), counts) > count / 2 else (sign + blank, "")
    )
