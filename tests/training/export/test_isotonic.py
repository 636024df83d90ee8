"""Isotonic regression in the steps of ``np.interp``: at its knots, beside them and beyond them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import IsotonicRegression

from tests.support.proving import proven, served_by


@pytest.mark.parametrize("beyond", ["clip", "nan", "raise"])
def test_isotonic_regression_is_exact_at_its_knots(beyond: str) -> None:
    random = np.random.default_rng(0)
    x = np.linspace(0, 10, 240).round(1)
    x[[0, 3]], x[[1, 4]] = 0.0, 10.0  # the least and the greatest are among those that it is fitted on
    y = x**2 + random.normal(0, 8, size=len(x))
    model = IsotonicRegression(out_of_bounds=beyond)
    made = proven(model, pd.DataFrame({"x": x}), y, rows_compared=1000)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason
    knots = model.X_thresholds_
    rows = np.unique(np.concatenate([knots, np.nextafter(knots, -9), np.nextafter(knots, 99)]))
    rows = rows[(rows >= knots[0]) & (rows <= knots[-1])]
    assert made.scorer.score({"x": rows}).values.tolist() == model.predict(rows).tolist()
    outside = made.scorer.score({"x": np.array([-1e38, -1.0, 11.0, 1e38])}).values
    assert np.isfinite(outside).all() == (beyond == "clip")


def test_one_knot() -> None:
    x = np.tile([3.0, 4.0], 60)
    model = IsotonicRegression(out_of_bounds="clip", increasing=False)
    made = proven(model, pd.DataFrame({"x": x}), np.tile([1.0, 2.0], 60), rows_compared=1000)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason
