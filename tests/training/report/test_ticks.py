"""The numbers on a chart's axis."""

from __future__ import annotations

import pytest

from handler.charts import shown, ticks


@pytest.mark.parametrize(("low", "high"), [(2023, 2024), (1, 12), (0, 1), (3, 3), (-5, 7), (0, 700_000)])
def test_an_axis_of_whole_numbers_has_whole_ticks_around_them(low: float, high: float) -> None:
    found = ticks(low, high, whole=True)
    assert all(each.is_integer() for each in found)
    assert found[0] <= low <= high <= found[-1]
    assert 2 <= len(found) <= 6


def test_a_year_has_no_mark_in_it() -> None:
    assert [shown(2024.0), shown(12_000.0), shown(0.25)] == ["2024", "12,000", "0.25"]
