"""The format of a column's dates, by all of its cells."""

from __future__ import annotations

import polars as pl
import pytest

from training.data.dates import AmbiguousDates, format_of
from training.data.texts import Counted, Texts


def known(texts: list[str]) -> Counted:
    return Texts.of(pl.Series(texts, dtype=pl.String)).known(())


@pytest.mark.parametrize(
    ("texts", "format"),
    [
        (["2024-01-31", "2024-02-01", ""], "%Y-%m-%d"),
        (["2010/01/02 00:00"], "%Y/%m/%d %H:%M"),
        (["2010.01.02"], "%Y.%m.%d"),
        (["2024-01-31T10:30:00Z", "2024-01-31T10:30:00.5+0100"], "%Y-%m-%dT%H:%M:%S%z"),
        (["2024-01-31 10:30:00.123456"], "%Y-%m-%d %H:%M:%S.%f"),
        (["2024-01-31 10:30:00 UTC"], "%Y-%m-%d %H:%M:%S %z"),
        (["2024-01-31", "2024-01-31", "2024-01-31 10:30"], "%Y-%m-%d %H:%M"),
        (["13/01/2024", "01/02/2024"], "%d/%m/%Y"),
        (["01-13-2024", "01-02-2024"], "%m-%d-%Y"),
        (["1/13/24", "2/2/24"], "%m/%d/%y"),
        (["13.1.24 9:05", "2.2.24 10:10"], "%d.%m.%y %H:%M"),
        (["01/31/2024 02:45 PM"], "%m/%d/%Y %I:%M %p"),
        (["1987 Jan", "1987 feb"], "%Y %b"),
        (["Jan 1987"], "%b %Y"),
        (["May 2020", "June 2020", "July 2020"], "%B %Y"),
        (["3 March 2020"], "%d %B %Y"),
        (["March 3, 2020"], "%B %d, %Y"),
        (["03-Mar-20"], "%d-%b-%y"),
        (["Jan-87"], "%b-%y"),
        (["01JAN2020"], "%d%b%Y"),
        (["1974Q1", "1974Q2"], "%YQ%q"),
        (["1974 Q1"], "%Y Q%q"),
        (["1974-Q1"], "%Y-Q%q"),
        (["Q1 1974"], "Q%q %Y"),
        (["2024-01"], "%Y-%m"),
        (["2024-01-31"] * 96 + ["unknown"] * 4, "%Y-%m-%d"),
        (["2024-01-31"] * 90 + ["unknown"] * 10, None),
        (["2024-02-30"], None),
        (["13/01/2024", "01/13/2024"], None),
        (["2024", "2025"], None),
        (["20240113"], None),
        (["2024.01"], None),
        (["10:30", "11:00:00"], None),
        (["555-12-1234"], None),
        (["1.2.3", "10.1.2.3"], None),
        (["May", "June"], None),
        (["Q1", "Q2"], None),
        (["", ""], None),
        ([], None),
    ],
)
def test_a_column_has_one_format_or_no_dates(texts: list[str], format: str | None) -> None:
    assert format_of(known(texts)) == format


def test_a_day_and_a_month_that_no_cell_tells_apart_are_ambiguous() -> None:
    with pytest.raises(AmbiguousDates) as raised:
        format_of(known(["03/04/2024", "12/11/2024"] * 30))
    assert set(raised.value.formats) == {"%d/%m/%Y", "%m/%d/%Y"}


def test_one_cell_among_many_tells_the_day_from_the_month() -> None:
    assert format_of(known(["03/04/24"] * 1000 + ["13/04/24"])) == "%d/%m/%y"


def test_cells_that_contradict_each_other_are_ambiguous() -> None:
    with pytest.raises(AmbiguousDates):
        format_of(known(["03/04/2024"] * 100 + ["13/04/2024", "04/13/2024"]))
