"""The arithmetic of the benchmarks: ratios, and dollars; what they measure is not asserted."""

from __future__ import annotations

import json

import pytest

from benchmarks import costs, results


def test_a_table_has_ratios_to_its_reference() -> None:
    part = results.table(
        "Title", {"ours": [2.0, 1.0, 3.0], "theirs": [8.0], "broken": []}, notes={"broken": "no"}
    )
    first, second, third = results.lines(part)
    assert first.split() == ["1.00", "x", "2.000", "s", "(1.000", "to", "3.000)", "ours"]
    assert second.startswith("     4.00 x  8.000 s")
    assert third == "     failed  broken: no"


def test_a_prediction_costs_its_request_and_its_milliseconds() -> None:
    assert costs.one(100, 1769) == pytest.approx(0.2e-6 + 0.001 * 1769 / 1024 * 0.0000166667)
    assert costs.one(64, 128) == costs.one(1, 128)  # one millisecond is the least
    assert costs.one(100, 128) == pytest.approx(0.2e-6 + 0.002 * 128 / 1024 * 0.0000166667)


def test_a_billion_rows_cost_their_gigabyte_seconds() -> None:
    assert costs.batch(1.0, 1_000_000) == pytest.approx(1000 * 3538 / 1024 * 0.0000166667)


def test_the_pages_are_what_the_stored_results_give() -> None:
    store = json.loads(results.STORE.read_text())
    assert results.PAGE.read_text() == results.page(store)
    assert costs.PAGE.read_text() == costs.page(store)
