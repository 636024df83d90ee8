"""Kernels, centroids and neighbours: exported where they can be exact, and refused by name where not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as gp
from sklearn.kernel_ridge import KernelRidge
from sklearn.neighbors import (
    KNeighborsClassifier,
    KNeighborsRegressor,
    NearestCentroid,
    RadiusNeighborsClassifier,
)
from sklearn.semi_supervised import LabelPropagation, LabelSpreading

from tests.support.proving import proven, served_by

pytestmark = pytest.mark.slow


def numbers(rows: int = 90) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=rows), "b": random.exponential(size=rows)})
    return frame, (frame["a"] + frame["b"]).to_numpy()


@pytest.mark.parametrize(
    "kernel",
    [
        gp.ConstantKernel(2.0) * gp.RBF([1.0, 0.5]) + gp.WhiteKernel(0.1),
        gp.Matern(nu=0.5),
        gp.Matern(nu=1.5) + gp.ConstantKernel(0.5),
        gp.Matern(nu=2.5),
        gp.Matern(nu=np.inf),
        gp.RationalQuadratic(alpha=0.7),
        gp.RBF() ** 2 + gp.DotProduct(),
    ],
    ids=str,
)
def test_a_gaussian_process_is_exported(kernel: Any) -> None:
    model = GaussianProcessRegressor(kernel, optimizer=None, alpha=1e-3, normalize_y=True)
    made = proven(model, *numbers(), rows_compared=1000)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason
    assert (made.graph.largest_difference or 0) < 1e-9


def test_a_gaussian_process_with_another_kernel_says_so() -> None:
    model = GaussianProcessRegressor(gp.ExpSineSquared(), optimizer=None, alpha=100.0)
    made = proven(model, *numbers(), rows_compared=1000)
    assert "a Gaussian process with the kernel ExpSineSquared" in str(made.graph.reason)


@pytest.mark.parametrize("kernel", ["linear", "rbf", "laplacian", "poly", "sigmoid"])
def test_kernel_ridge_is_exported(kernel: str) -> None:
    made = proven(KernelRidge(kernel=kernel, gamma=0.3, degree=2), *numbers(), rows_compared=1000)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason


def test_a_kernel_that_would_take_megabytes_says_so() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(3100, 1000)), columns=[f"c{each}" for each in range(1000)])
    made = proven(KernelRidge(kernel="rbf"), frame, random.normal(size=3100), rows_compared=100)
    assert "a graph takes 2,000,000" in str(made.graph.reason)


@pytest.mark.parametrize("model", [LabelPropagation(gamma=0.5), LabelSpreading(gamma=0.5)], ids=str)
def test_spread_labels_are_exported(model: Any) -> None:
    frame, y = numbers()
    made = proven(model, frame, y > 1, rows_compared=1000)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason


@pytest.mark.parametrize("priors", ["empirical", "uniform"])
@pytest.mark.parametrize("shrink", [None, 0.2])
def test_manhattan_centroids_are_exported(priors: str, shrink: float | None) -> None:
    frame, y = numbers()
    model = NearestCentroid(metric="manhattan", priors=priors, shrink_threshold=shrink)
    made = proven(model, frame, y > 1, rows_compared=1000)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason


@pytest.mark.parametrize(
    "model",
    [
        KNeighborsClassifier(1, metric="manhattan"),
        KNeighborsClassifier(algorithm="brute", metric="cosine"),
        KNeighborsRegressor(),
        RadiusNeighborsClassifier(1e300),
        LabelPropagation(kernel="knn"),
    ],
    ids=str,
)
def test_neighbours_are_refused_by_name(model: Any) -> None:
    frame, y = numbers()
    made = proven(model, frame, y if isinstance(model, KNeighborsRegressor) else y > 1, rows_compared=1000)
    assert served_by(made) == ("joblib", "joblib")
    assert f"{type(model).__name__}: which of several neighbours" in str(made.graph.reason)
