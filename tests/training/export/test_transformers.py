"""Transformers of numbers: each family proven with the one-row program, and why others are not exported."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import Birch, BisectingKMeans, FeatureAgglomeration, KMeans, MiniBatchKMeans
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import (
    NMF,
    PCA,
    DictionaryLearning,
    FactorAnalysis,
    FastICA,
    IncrementalPCA,
    KernelPCA,
    LatentDirichletAllocation,
    MiniBatchSparsePCA,
    SparsePCA,
    TruncatedSVD,
)
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, RandomTreesEmbedding
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - makes the next import possible
from sklearn.feature_selection import RFE, RFECV, SelectFromModel, SelectKBest, SequentialFeatureSelector
from sklearn.impute import IterativeImputer, KNNImputer, MissingIndicator, SimpleImputer
from sklearn.kernel_approximation import (
    AdditiveChi2Sampler,
    Nystroem,
    PolynomialCountSketch,
    RBFSampler,
    SkewedChi2Sampler,
)
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import Isomap
from sklearn.neighbors import KNeighborsTransformer, NeighborhoodComponentsAnalysis
from sklearn.neural_network import BernoulliRBM
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from tests.support.proving import feature_of, proven, served_by
from training.export.graph import NotExportable, to_onnx
from training.fitting import contract_of

ROWS = 240
RANDOM = np.random.default_rng(0)
NUMBERS = pd.DataFrame(
    {
        "a": RANDOM.normal(size=ROWS),
        "b": RANDOM.exponential(size=ROWS) + 0.1,
        "c": np.round(RANDOM.normal(size=ROWS) * 3),
    }
)
POSITIVE = NUMBERS.abs() + 0.01
#: Some values are missing, and a whole column is where ``proven`` fits.
GAPS = NUMBERS.assign(
    a=NUMBERS["a"].mask(np.arange(ROWS) % 7 == 0), c=NUMBERS["c"].mask(np.arange(ROWS) % 5 == 1)
)
EMPTY = GAPS.assign(d=np.where(np.arange(ROWS) % 3 == 0, 1.0, np.nan))
Y = (NUMBERS["a"] + NUMBERS["b"] + NUMBERS["c"] > 1).to_numpy()


def check(transformer: Any, rows: pd.DataFrame = NUMBERS, *, tolerance: float = 1e-12) -> None:
    made = proven(make_pipeline(transformer, LogisticRegression()), rows, Y)
    assert made.program is not None, made.graph.reason
    assert served_by(made) == ("onnx", "scalar"), made.program.reason
    for finding in (made.graph, made.program):
        assert finding.largest_difference is not None
        assert finding.largest_difference <= tolerance


def exported(transformer: Any, rows: pd.DataFrame) -> bytes:
    pipeline = make_pipeline(transformer, LogisticRegression())
    fitted = np.arange(ROWS) % 3 > 0
    pipeline.fit(rows[fitted], Y[fitted])
    features = tuple(feature_of(name, rows[name]) for name in rows)
    return to_onnx(pipeline, contract_of(pipeline, features, {name: rows[name][:1] for name in rows}))


def named(value: Any) -> str:
    """A short id of a case."""
    return "" if isinstance(value, pd.DataFrame) else str(value).replace("\n", "").replace(" ", "")[:60]


@pytest.mark.parametrize(
    "transformer",
    [
        KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"),
        KBinsDiscretizer(3, encode="onehot-dense", strategy="kmeans"),
        KBinsDiscretizer(5, encode="ordinal", strategy="uniform"),
        Binarizer(threshold=0.5),
        QuantileTransformer(n_quantiles=50),
        QuantileTransformer(n_quantiles=50, output_distribution="normal"),
        RandomTreesEmbedding(4, random_state=0),
    ],
    ids=named,
)
def test_intervals(transformer: Any) -> None:
    check(transformer)


@pytest.mark.parametrize(
    ("extrapolation", "degree"),
    [("constant", 3), ("linear", 0), ("linear", 1), ("linear", 3), ("continue", 2), ("periodic", 3)],
)
def test_splines(extrapolation: str, degree: int) -> None:
    check(SplineTransformer(4, degree=degree, extrapolation=extrapolation, include_bias=degree != 3))


def test_splines_of_quantiles_with_gaps() -> None:
    check(SplineTransformer(4, knots="quantile", handle_missing="zeros"), GAPS)


@pytest.mark.slow
@pytest.mark.parametrize(("extrapolation", "degree"), [("error", 3), ("constant", 0)])
def test_splines_refuse_what_scikit_learn_refuses(extrapolation: str, degree: int) -> None:
    check(SplineTransformer(4, degree=degree, extrapolation=extrapolation))


@pytest.mark.parametrize(
    ("transformer", "rows"),
    [
        (MinMaxScaler(clip=True), NUMBERS),
        (MaxAbsScaler(clip=True), NUMBERS),
        (MaxAbsScaler(), NUMBERS),
        (RobustScaler(), GAPS.fillna(0)),
        (StandardScaler(with_mean=False), NUMBERS),
        (Normalizer("l1"), NUMBERS),
        (Normalizer("l2"), NUMBERS),
        (Normalizer("max"), NUMBERS),
        (PowerTransformer(), NUMBERS),
        (PowerTransformer(standardize=False), POSITIVE),
        (PolynomialFeatures(2, order="F"), NUMBERS),
    ],
    ids=named,
)
def test_scalers(transformer: Any, rows: pd.DataFrame) -> None:
    check(transformer, rows)


@pytest.mark.slow
def test_box_cox_refuses_what_is_not_positive() -> None:
    check(PowerTransformer(method="box-cox"), POSITIVE)


@pytest.mark.parametrize(
    ("transformer", "rows"),
    [
        (SimpleImputer(add_indicator=True), GAPS),
        (SimpleImputer(missing_values=-1, strategy="most_frequent", add_indicator=True), NUMBERS.round()),
        (SimpleImputer(strategy="median"), EMPTY),
        (SimpleImputer(strategy="constant", fill_value=-2, keep_empty_features=True), EMPTY),
        (make_union(SimpleImputer(), MissingIndicator()), GAPS),
        (make_union(SimpleImputer(), MissingIndicator(features="all")), GAPS),
        (IterativeImputer(max_iter=3, random_state=0, add_indicator=True, min_value=-5), GAPS),
        (IterativeImputer(max_iter=2, random_state=0, initial_strategy="median"), EMPTY),
    ],
    ids=named,
)
def test_imputers(transformer: Any, rows: pd.DataFrame) -> None:
    check(transformer, rows)


@pytest.mark.parametrize(
    "transformer",
    [
        PCA(2, whiten=True),
        IncrementalPCA(2),
        TruncatedSVD(2, random_state=0),
        FactorAnalysis(2, random_state=0),
        FastICA(2, random_state=0),
        SparsePCA(2, random_state=0),
        MiniBatchSparsePCA(2, random_state=0),
        GaussianRandomProjection(2, random_state=0),
        SparseRandomProjection(2, density=0.5, random_state=0),
        BernoulliRBM(3, n_iter=3, random_state=0),
        NeighborhoodComponentsAnalysis(2, max_iter=5, random_state=0),
        LinearDiscriminantAnalysis(),
        LinearDiscriminantAnalysis(solver="eigen"),
        FeatureAgglomeration(2),
        FeatureAgglomeration(2, pooling_func=np.max),
    ],
    ids=named,
)
def test_projections(transformer: Any) -> None:
    check(transformer)


@pytest.mark.parametrize(
    "transformer",
    [
        KMeans(4, random_state=0),
        MiniBatchKMeans(4, random_state=0),
        BisectingKMeans(4, random_state=0),
        Birch(n_clusters=3),
    ],
    ids=named,
)
def test_distances_from_centres(transformer: Any) -> None:
    check(transformer, tolerance=1e-8)  # near a centre, a square root of what rounding left


@pytest.mark.parametrize(
    "transformer",
    [
        RFE(LogisticRegression(), n_features_to_select=2),
        RFECV(LogisticRegression(), cv=2),
        SequentialFeatureSelector(LogisticRegression(), n_features_to_select=2, cv=2),
        SelectKBest(k=2),
        SelectFromModel(LogisticRegression()),
    ],
    ids=named,
)
def test_selections(transformer: Any) -> None:
    check(transformer)


def test_what_also_predicts_in_a_column_transformer() -> None:
    columns = ColumnTransformer(
        [
            ("near", make_pipeline(StandardScaler(), KMeans(3, random_state=0)), ["a", "b"]),
            ("apart", make_union(LinearDiscriminantAnalysis(), "passthrough"), ["b", "c"]),
        ]
    )
    check(columns, tolerance=1e-8)


@pytest.mark.parametrize("kernel", ["rbf", "poly", "sigmoid", "cosine", "laplacian"])
def test_nystroem(kernel: str) -> None:
    check(Nystroem(kernel=kernel, n_components=10, random_state=0), tolerance=1e-8)


@pytest.mark.parametrize(
    ("transformer", "rows"),
    [
        (KernelPCA(2, kernel="rbf"), NUMBERS[:150]),
        (make_pipeline(MinMaxScaler(clip=True), RBFSampler(n_components=10, random_state=0)), NUMBERS),
        (
            make_pipeline(MinMaxScaler(clip=True), SkewedChi2Sampler(n_components=5, random_state=0)),
            NUMBERS,
        ),
        (make_pipeline(MinMaxScaler(clip=True), AdditiveChi2Sampler(sample_steps=3)), NUMBERS),
        (PolynomialCountSketch(n_components=10, degree=3, coef0=1, random_state=0), NUMBERS),
    ],
    ids=named,
)
def test_approximations_of_kernels(transformer: Any, rows: pd.DataFrame) -> None:
    check(transformer, rows)


def test_bins_before_trees() -> None:
    bins = KBinsDiscretizer(4, encode="ordinal", strategy="uniform")
    made = proven(make_pipeline(bins, RandomForestClassifier(5, random_state=0)), NUMBERS, Y)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason


@pytest.mark.parametrize(
    ("transformer", "rows", "reason"),
    [
        (KNNImputer(), GAPS, "KNNImputer chooses among neighbours at the same distance"),
        (DictionaryLearning(2, max_iter=5, random_state=0), NUMBERS, "solves a problem of its own"),
        (LatentDirichletAllocation(2, max_iter=2, random_state=0), POSITIVE, "solves a problem of its own"),
        (
            NMF(2, random_state=0, max_iter=5, tol=1),
            POSITIVE,
            "numbers depend on the rows beside it",
        ),
        (Isomap(), NUMBERS, "Isomap looks for neighbours among all the rows"),
        (KNeighborsTransformer(), NUMBERS, "a column for every row that it was fitted on"),
        (
            FeatureAgglomeration(2, pooling_func=np.median),
            NUMBERS,
            "by another function than mean, sum, max or min",
        ),
        (IterativeImputer(max_iter=1, sample_posterior=True), GAPS, "draws at random"),
        (
            IterativeImputer(RandomForestClassifier(2, max_depth=2), max_iter=1),
            GAPS.round(),
            "IterativeImputer with RandomForestClassifier",
        ),
    ],
    ids=named,
)
def test_what_stays_with_scikit_learn_says_why(transformer: Any, rows: pd.DataFrame, reason: str) -> None:
    with pytest.raises(NotExportable, match=reason):
        exported(transformer, rows)
