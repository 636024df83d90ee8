"""Outlier detectors, clusterers and mixtures: labels and scores are proven equal to scikit-learn's.

https://scikit-learn.org/stable/modules/outlier_detection.html
https://scikit-learn.org/stable/modules/clustering.html
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClusterMixin, OutlierMixin
from sklearn.cluster import AffinityPropagation, Birch, BisectingKMeans, KMeans, MeanShift, MiniBatchKMeans
from sklearn.covariance import EllipticEnvelope
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import SGDOneClassSVM
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import OneClassSVM

from tests.support.bundles import measurements
from tests.support.proving import proven, served_by

pytestmark = pytest.mark.slow

ROWS = measurements(450).drop(columns="site")
REAL = ROWS[["load", "heat"]]


def exported(estimator: Any, rows: pd.DataFrame = REAL, difference: float = 1e-10) -> None:
    """``difference``: the largest one of a score, in units of its spread; it is computed in doubles."""
    made = proven(estimator, rows)
    assert served_by(made) == ("onnx", "scalar"), (made.graph.reason, made.program)
    assert made.program is not None
    for finding in (made.graph, made.program):
        assert finding.labels_identical
        assert finding.largest_difference is not None
        assert finding.largest_difference < difference


@pytest.mark.parametrize(
    "estimator",
    [
        IsolationForest(n_estimators=20, random_state=0),
        IsolationForest(
            n_estimators=20, contamination=0.1, max_samples=50, max_features=0.5, random_state=0
        ),
        IsolationForest(n_estimators=20, contamination=0.5, bootstrap=True, random_state=0),
        SGDOneClassSVM(random_state=0),
        EllipticEnvelope(random_state=0),
        *(OneClassSVM(kernel=kernel, nu=0.1) for kernel in ("rbf", "sigmoid")),
    ],
    ids=str,
)
def test_a_detector_is_exported_with_its_score(estimator: Any) -> None:
    exported(make_pipeline(StandardScaler(), estimator))


@pytest.mark.parametrize("kernel", ["linear", "poly"])
def test_kernels_whose_sums_cancel_out_are_exported(kernel: str) -> None:
    exported(make_pipeline(StandardScaler(), OneClassSVM(kernel=kernel, nu=0.1)), difference=1e-7)


def test_an_isolation_forest_takes_missing_values() -> None:
    rows = ROWS.astype(float)
    rows.loc[::7, "heat"] = np.nan
    exported(IsolationForest(n_estimators=20, random_state=0), rows)


def test_rows_on_an_isolation_forests_threshold_are_labelled_alike() -> None:
    """Whole numbers in few leaves: the threshold is the score of rows that come again."""
    rows = pd.DataFrame({"a": np.arange(400) % 6, "b": np.arange(400) % 7 // 3})
    exported(IsolationForest(n_estimators=10, contamination=0.25, random_state=0), rows)


@pytest.mark.parametrize(
    "clusterer",
    [
        KMeans(4, n_init=1, random_state=0),
        MiniBatchKMeans(4, n_init=1, random_state=0),
        BisectingKMeans(5, random_state=0),
        MeanShift(bandwidth=1.0),
        AffinityPropagation(damping=0.9, preference=-100, max_iter=1000, random_state=0),
        Birch(n_clusters=3),
        Birch(n_clusters=None, threshold=0.8),
    ],
    ids=str,
)
def test_a_clusterer_is_exported(clusterer: Any) -> None:
    exported(make_pipeline(StandardScaler(), clusterer))


def test_the_middle_between_two_centres_belongs_to_the_first() -> None:
    rows = pd.DataFrame({"a": np.resize([0.0, 2.0, 4.0, 6.0], 300) * 3})
    exported(KMeans(2, n_init=1, random_state=0), rows)
    exported(KMeans(4, n_init=1, random_state=0), rows)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [GaussianMixture, BayesianGaussianMixture])
@pytest.mark.parametrize("covariance", ["full", "diag", "spherical"])
def test_a_mixture_is_exported_with_probabilities_and_likelihood(kind: Any, covariance: str) -> None:
    exported(
        make_pipeline(StandardScaler(), kind(n_components=2, covariance_type=covariance, random_state=0))
    )


@pytest.mark.parametrize("kind", [GaussianMixture, BayesianGaussianMixture])
def test_a_mixture_with_one_covariance_for_all_is_exported(kind: Any) -> None:
    """Far away its label hangs on the last bit, and the one-row program, which rounds more, may differ."""
    mixture = kind(n_components=3, covariance_type="tied", random_state=0)
    made = proven(make_pipeline(StandardScaler(), mixture), ROWS)
    assert "model.onnx" in made.files, made.graph.reason


def test_a_mixture_with_a_dirichlet_distribution_is_exported() -> None:
    kind = "dirichlet_distribution"
    exported(BayesianGaussianMixture(n_components=2, weight_concentration_prior_type=kind, random_state=0))


def product(rows: Any, others: Any) -> Any:
    """A kernel of a user's own."""
    return rows @ others.T


class Shortest(OutlierMixin, BaseEstimator):
    """A detector of a user's own, without a score."""

    def fit(self, rows: Any, _: Any = None) -> Shortest:
        self.least_ = float(np.asarray(rows)[:, 0].mean())
        return self

    def predict(self, rows: Any) -> Any:
        return np.where(np.asarray(rows)[:, 0] < self.least_, -1, 1)


class Halves(ClusterMixin, BaseEstimator):
    """A clusterer of a user's own, whose clusters are 3 and 7."""

    def fit(self, rows: Any, _: Any = None) -> Halves:
        self.middle_ = float(np.asarray(rows)[:, 0].mean())
        self.labels_ = self.predict(rows)
        return self

    def predict(self, rows: Any) -> Any:
        return np.where(np.asarray(rows)[:, 0] < self.middle_, 3, 7)


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (make_pipeline(StandardScaler(), LocalOutlierFactor(novelty=True)), "neighbours"),
        (Shortest(), "Shortest"),
        (Halves(), "Halves"),
        (OneClassSVM(kernel=product), "kernel of its own"),
    ],
    ids=["LocalOutlierFactor", "Shortest", "Halves", "a kernel of its own"],
)
def test_what_has_no_graph_is_served_by_joblib_and_says_why(estimator: Any, reason: str) -> None:
    made = proven(estimator, REAL)
    assert served_by(made) == ("joblib", "joblib")
    assert reason in str(made.graph.reason)
