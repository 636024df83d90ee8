"""What an estimator is fed: the dtypes of its fitting, whatever a record or a column holds."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from handler.manifest import Contract, Feature
from handler.scoring.estimator import JoblibScorer, fed

CITIES = np.array(["rome", "", "oslo", "?"], dtype=object)


def city(fed_as: str | None) -> Feature:
    return Feature("city", "category", True, categories=("oslo", "rome"), open=True, fed_as=fed_as)


@pytest.mark.parametrize(
    ("fed_as", "missing"), [(None, ""), ("nan", math.nan), ("none", None)], ids=["empty", "nan", "none"]
)
def test_a_missing_text_is_what_it_was_in_fitting(fed_as: str | None, missing: Any) -> None:
    column = fed([city(fed_as)], {"city": CITIES})["city"]
    assert column.tolist() == ["rome", pytest.approx(missing, nan_ok=True), "oslo", "?"]
    assert CITIES.tolist() == ["rome", "", "oslo", "?"]


def test_a_pandas_category_has_the_levels_of_fitting_and_no_others() -> None:
    column = fed([city("category")], {"city": CITIES})["city"]
    assert column.cat.categories.tolist() == ["oslo", "rome"]
    assert column.cat.codes.tolist() == [1, -1, 0, -1]


@pytest.mark.parametrize(
    ("kind", "fed_as", "values", "expected"),
    [
        ("integer", "int64", [1.0, -3.0], "int64"),
        ("integer", "int32", [1.0, 3e9], "float64"),
        ("integer", "uint8", [0.0, 255.0], "uint8"),
        ("integer", "uint8", [0.0, -1.0], "float64"),
        ("integer", "int64", [1.0, math.nan], "float64"),
        ("number", "float32", [0.1, math.nan], "float32"),
        ("number", None, [0.1, math.nan], "float64"),
        ("boolean", "bool", [0.0, 1.0], "bool"),
        ("boolean", "bool", [0.0, math.nan], "float64"),
    ],
)
def test_a_number_has_the_dtype_of_fitting_where_it_can_hold_every_value(
    kind: Any, fed_as: str | None, values: list[float], expected: str
) -> None:
    column = fed([Feature("x", kind, True, fed_as=fed_as)], {"x": np.array(values)})["x"]
    assert column.dtype == expected
    np.testing.assert_array_equal(
        column.astype(float), np.array(values).astype(fed_as if fed_as == "float32" else float)
    )


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [(("int64", "int64"), "int64"), (("float32", "float32"), "float32"), (("int64", None), "float64")],
)
def test_an_array_has_the_dtype_that_its_columns_have_in_common(kinds: Any, expected: str) -> None:
    features = [Feature(name, "integer", fed_as=kind) for name, kind in zip("ab", kinds, strict=True)]
    rows = fed(features, {"b": np.array([3.0, 4.0]), "a": np.array([1.0, 2.0])}, "array")
    assert rows.dtype == expected
    assert rows.tolist() == [[1, 3], [2, 4]]


def test_an_array_with_texts_holds_objects() -> None:
    features = [Feature("age", "integer", fed_as="int64"), city("none")]
    rows = fed(features, {"age": np.arange(4.0), "city": CITIES}, "array")
    assert rows.dtype == object
    assert rows[:2].tolist() == [[0, "rome"], [1, None]]
    assert [type(each) for each in rows[0]] == [int, str]


def test_a_model_of_an_array_is_fed_an_array_and_one_of_a_frame_a_frame() -> None:
    frame = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20.0) % 3})
    features = (Feature("a", "number"), Feature("b", "number"))
    columns = {name: frame[name].to_numpy() for name in frame}
    y = np.arange(20) % 2
    for rows_as, rows in (("array", frame.to_numpy()), ("frame", frame)):
        contract = Contract(features, "binary", (0, 1), rows_as)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "error"
            )  # scikit-learn warns of names where there were none, and otherwise
            scores = JoblibScorer(LogisticRegression().fit(rows, y), contract).score(columns)
        assert len(scores.values) == 20
