"""numpy's and scipy's functions on the graph: their values, in their domains and out of them."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from scipy import special
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from tests.support.ids import without_address
from tests.support.proving import proven, served_by
from training.export import converters
from training.export.functions import FUNCTIONS

VALUES = np.concatenate([
    np.random.default_rng(0).normal(size=2000), np.linspace(-30, 30, 601), 10.0 ** np.arange(-30, 39),
    -(10.0 ** np.arange(-30, 39)), 1 + 1e-9 * np.arange(-9, 10), np.arange(-5, 6) / 2,
    [np.nan, np.inf, -np.inf, 0.0, -0.0, 709.0, 710.0, -745.0, 3.4e38],
])  # fmt: skip
#: The most units in the last place that a function may be off; the others' are few.
FAR: dict[Any, int] = {np.sin: 1000, np.cos: 10_000, np.tanh: 10, special.logit: 10_000_000_000}


def on_the_graph(transformer: FunctionTransformer, values: np.ndarray) -> np.ndarray:
    converters.register()
    graph = convert_sklearn(transformer, initial_types=[("x", DoubleTensorType([None, values.shape[1]]))])
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"x": values})
    return np.asarray(output)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.__name__)
def test_values(function: Any) -> None:
    with np.errstate(all="ignore"):
        expected = np.asarray(function(VALUES), np.float64)
    found = on_the_graph(FunctionTransformer(function), VALUES.reshape(-1, 1))[:, 0]
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(found[~finite], expected[~finite])
    off = np.abs(found[finite] - expected[finite]) / np.spacing(np.abs(expected[finite]))
    assert off.max() <= FAR.get(function, 6), VALUES[finite][off.argmax()]


@pytest.mark.parametrize(
    "transformer",
    [
        FunctionTransformer(np.clip, kw_args={"a_min": -1, "a_max": 2}),
        FunctionTransformer(np.clip, kw_args={"min": 0.5}),
        FunctionTransformer(functools.partial(np.clip, min=-1, max=[1, 2])),
        FunctionTransformer(np.round, kw_args={"decimals": 1}),
        FunctionTransformer(np.round, kw_args={"decimals": -1}),
        FunctionTransformer(np.nan_to_num),
        FunctionTransformer(np.nan_to_num, kw_args={"nan": -1.0, "posinf": 9.0, "neginf": -9.0}),
    ],
    ids=lambda each: without_address(f"{each.func}{each.kw_args}"),
)
def test_arguments(transformer: FunctionTransformer) -> None:
    rows = np.stack([VALUES, VALUES[::-1]], axis=1)
    with np.errstate(all="ignore"):
        expected = transformer.fit_transform(rows)
    np.testing.assert_array_equal(on_the_graph(transformer, rows), expected)


def own(rows: Any) -> Any:
    return rows * 2


@pytest.mark.parametrize(
    ("transformer", "reason"),
    [
        (FunctionTransformer(own), "FunctionTransformer of own: a graph has numpy's own functions"),
        (FunctionTransformer(np.log, kw_args={"where": True}), "with the argument where"),
        (FunctionTransformer(np.tan), "FunctionTransformer of tan"),
    ],
    ids=["own", "argument", "tan"],
)
def test_what_a_graph_cannot_have_says_why(transformer: FunctionTransformer, reason: str) -> None:
    with pytest.raises(NotImplementedError, match=reason):
        on_the_graph(transformer, np.ones((1, 1)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:numpy.core:DeprecationWarning")  # pickle's way to a function of numpy
def test_functions_are_proven_with_the_one_row_program() -> None:
    random = np.random.default_rng(0)
    rows = pd.DataFrame({"a": random.normal(size=240), "b": random.exponential(size=240)})
    every = make_union(*[FunctionTransformer(each) for each in FUNCTIONS if each is not np.arccosh])
    above_one = make_pipeline(FunctionTransformer(np.cosh), FunctionTransformer(np.arccosh))
    within = make_pipeline(
        MinMaxScaler(feature_range=(0.05, 0.95), clip=True),
        make_union(every, above_one),
        StandardScaler(),
        LogisticRegression(),
    )
    made = proven(within, rows, rows["a"] + rows["b"] > 1)
    assert made.program is not None, made.graph.reason
    assert served_by(made) == ("onnx", "scalar"), made.program.reason
    assert made.program.largest_difference is not None
    assert made.program.largest_difference < 1e-12
