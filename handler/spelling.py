"""How numbers are spelled in text: decimal comma, thousands, a currency or a percent sign.

A format is the number 1234.5 as the data spell it: ``1234,5``, ``1,234.5``, ``1.234,5 €``, ``$1,234.5``,
``1234.5%``. Texts are read by it alone: its marks are the only ones, so that under ``1.234,5`` the text
``1.234`` is 1234, and ``1.5`` is no number. The thousands marks and the sign may be left out, and the sign
may stand on either side; a minus may stand before or after it. A percent is the number as written.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import polars as pl

BLANKS = " \t\u00a0\u2009\u202f"
BLANK = f"[{BLANKS}]*"
APOSTROPHES = "'\u2019"
MINUS = "\u2212"
#: A currency's sign or three-letter code, or a percent sign.
SIGN = "[$€£¥₹₩₽₺₪₫₱฿₴₦₡%]|[A-Z]{3}"
FORMAT = re.compile(
    f"(?:(?P<before>{SIGN}){BLANK})?"
    rf"1(?P<thousands>[,.{BLANKS[2:]}{APOSTROPHES} ]?)234(?P<decimal>[,.])5"
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

    def doubles(self, cells: pl.Series) -> pl.Series:
        """``plain`` over a column of texts, as doubles; null where a text is not a number."""
        import polars as pl

        plain = cells
        if self.sign:
            plain = plain.str.replace_all(self.sign, "", literal=True)
        plain = plain.str.replace_all(f"[{self.thousands}{BLANKS}]", "")
        if self.decimal != ".":
            plain = plain.str.replace(self.decimal, ".", literal=True)
        numbers = plain.str.replace(MINUS, "-", literal=True).cast(pl.Float64, strict=False)
        fits = cells.str.contains(f"^(?:{self.pattern.pattern})$")
        return numbers.zip_with(fits, pl.Series([None], dtype=pl.Float64))

    def example(self, whole: bool) -> str:
        """The format, or how it spells 1234."""
        return self.format.replace(f"{self.decimal}5", "") if whole else self.format


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
    """The texts that are numbers, for ``re`` and polars alike, which matches in linear time.

    So does ``re``: two repeats that could share characters never stand side by side.
    """
    whole = f"[0-9]{{1,3}}(?:[{thousands}][0-9]{{3}})+|[0-9]+" if thousands else "[0-9]+"
    number = rf"(?:(?:{whole})(?:[{decimal}][0-9]*)?|[{decimal}][0-9]+)(?:[eE][+-]?[0-9]+)?"
    minus = f"[+{MINUS}-]"
    if not sign:
        return f"{minus}?{number}"
    sign = re.escape(sign)
    before = f"(?:{minus}?(?:{BLANK}{sign}{BLANK})?|{sign}{BLANK}{minus})"
    return f"(?:{before}{number}|{minus}?{number}{BLANK}{sign})"
