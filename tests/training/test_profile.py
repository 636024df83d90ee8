"""The profile: what it says of the rows, and that it shows no single one of them. ``docs/drift.md``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handler.categories import coded, levels_of
from handler.manifest import Contract, Feature
from handler.manifest_rules import parsed
from handler.scoring.scorers import Scores
from training.profile import LEAST, profile


def bins_of(values: Any, kind: str = "number") -> dict[str, Any]:
    """The profile of one column."""
    texts = kind in ("category", "text")
    feature = Feature("a", kind, nullable=True, categories=tuple(sorted({*values})) if texts else ())  # type: ignore[arg-type]
    column = np.array(values, object if texts else np.float64)
    if kind == "category":
        column = coded(levels_of(feature), values)  # type: ignore[assignment]
    scores = Scores(np.zeros(len(values)), None)
    made = profile(Contract((feature,), "regression", ()), {"a": column}, scores)
    assert made["rows"] == len(values)
    return dict(made["features"]["a"])


numbers = st.one_of(
    st.floats(-1e6, 1e6), st.floats(allow_nan=False, allow_infinity=False, width=32), st.integers(-5, 5)
)


@settings(max_examples=150)
@given(
    values=st.lists(numbers, min_size=1, max_size=400),
    missing=st.integers(0, 30),
    again=st.integers(1, 12),
)
@example(values=[1000.12345] * 100 + [0.5 + index / 7 for index in range(60)], missing=3, again=1)
@example(values=[0.0] * 50 + [5e-324] * 50, missing=0, again=1)
def test_every_bin_of_numbers_has_some_rows_or_none(values: list[float], missing: int, again: int) -> None:
    column = np.array([*values * again, *[np.nan] * missing], float)
    bins = bins_of(column)
    places = np.searchsorted(bins["edges"], column[~np.isnan(column)], side="right")
    counts = np.bincount(places, minlength=len(bins["shares"]))
    if len(bins["edges"]):
        assert counts.min() >= LEAST
    whole = len(column) if missing >= LEAST else len(column) - missing
    assert bins["shares"] == pytest.approx(counts / whole, abs=5.1e-5)
    assert bins.get("missing", 0.0) == pytest.approx(
        missing / len(column) if missing >= LEAST else 0, abs=1e-4
    )
    assert len(json.dumps(bins)) < 4096


@pytest.mark.parametrize("draw", ["normal", "lognormal", "exponential", "standard_cauchy"])
@pytest.mark.parametrize("rows", [45, 500, 20_000])
def test_no_edge_is_a_value_and_each_has_few_digits(draw: str, rows: int) -> None:
    """Values of 15 digits: an edge has as many as tell it from rows around it, and no more."""
    values = getattr(np.random.default_rng(rows), draw)(size=rows)
    bins = bins_of(values)
    assert bins["edges"]
    assert not set(bins["edges"]) & set(values.tolist())
    ordered = np.sort(values)
    for edge in bins["edges"]:
        place = int(np.searchsorted(ordered, edge))
        around = ordered[min(place + LEAST // 2, rows - 1)] - ordered[max(place - LEAST // 2, 0)]
        coarser = round(edge, int(np.ceil(-np.log10(around))))
        assert edge == pytest.approx(coarser, abs=1e-12 * abs(edge))


@pytest.mark.parametrize("rows", [3, 19])
def test_of_a_few_rows_nothing_is_said_but_how_many_there_are(rows: int) -> None:
    assert bins_of(np.arange(rows)) == {"edges": [], "shares": [1.0]}
    assert bins_of(["a", "b", "c"] * (rows // 3), "category") == {"levels": [], "shares": [1.0]}


def test_numbers_are_cut_into_tenths() -> None:
    bins = bins_of(np.random.default_rng(0).gamma(2, 10, 50_000))
    assert len(bins["shares"]) == 10
    assert bins["shares"] == pytest.approx([0.1] * 10, abs=0.02)


def test_a_value_that_repeats_has_a_bin_of_its_own() -> None:
    bins = bins_of([0.0] * 700 + list(np.linspace(1, 2, 300)))
    assert bins["shares"][0] == 0.7
    assert 0 < bins["edges"][0] <= 1.1


def test_small_whole_numbers_are_told_apart() -> None:
    bins = bins_of(np.repeat(range(5), 100), "integer")
    assert bins["shares"] == [0.2] * 5


@settings(max_examples=100)
@given(
    counts=st.lists(st.integers(1, 60), min_size=1, max_size=40),
    missing=st.integers(0, 30),
    length=st.sampled_from([1, 30, 400]),
)
def test_every_level_has_some_rows_and_so_has_the_rest(
    counts: list[int], missing: int, length: int
) -> None:
    levels = [f"{index:03}" + "ü" * length for index in range(len(counts))]
    column = [level for level, count in zip(levels, counts, strict=True) for _ in range(count)]
    bins = bins_of([*column, *[""] * missing], "category")
    whole = len(column) + (missing if missing >= LEAST else 0)
    kept = [column.count(level) for level in bins["levels"]]
    others = len(column) - sum(kept)
    assert all(count >= LEAST for count in kept)
    assert others == 0 or others >= LEAST or not kept
    assert bins["shares"] == pytest.approx(np.array([*kept, others]) / whole, abs=5.1e-5)
    assert len(json.dumps(bins)) < 4096


@pytest.mark.parametrize("kind", ["date", "text"])
def test_of_dates_and_texts_only_what_is_missing_is_told(kind: str) -> None:
    values: list[Any] = [1.7e9 + index for index in range(80)] if kind == "date" else ["some text"] * 80
    gaps: list[Any] = [np.nan] * 20 if kind == "date" else [""] * 20
    assert bins_of([*values, *gaps], kind) == {"edges": [], "shares": [0.8], "missing": 0.2}


@pytest.mark.parametrize(
    ("bundle", "key"),
    [("bundle_dir", "edges"), ("mixed_dir", "levels"), ("regression_dir", "edges"), ("joblib_dir", "edges"),
     ("anomaly_dir", "edges"), ("cluster_dir", None), ("text_dir", "edges"), ("date_dir", None)],
)  # fmt: skip
def test_training_profiles_every_feature_and_the_predictions(
    bundle: str, key: str | None, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(bundle)
    manifest = parsed(json.loads((folder / "model.json").read_text()))
    assert list(manifest.profile["features"]) == [feature.name for feature in manifest.features]
    assert key is None or key in manifest.profile["predictions"]
    for bins in (*manifest.profile["features"].values(), manifest.profile["predictions"]):
        assert sum(bins["shares"]) + bins.get("missing", 0.0) == pytest.approx(1, abs=2e-3)
        assert len(json.dumps(bins)) < 4096
