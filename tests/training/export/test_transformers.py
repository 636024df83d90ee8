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
    FunctionTransformer,
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
from sklearn.tree import DecisionTreeRegressor

from handler.manifest import Contract
from tests.support.ids import without_address
from tests.support.proving import feature_of, proven, served_by
from training.export.graph import NotExportable, to_onnx
from training.fitting import contract_of
from training.proof.breakpoints import breakpoints

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Skipping features without any observed values"),
]

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


def check(transformer: Any, rows: pd.DataFrame = NUMBERS) -> None:
    made = proven(make_pipeline(transformer, LogisticRegression()), rows, Y)
    assert made.program is not None, made.graph.reason
    assert served_by(made) == ("onnx", "scalar"), made.program.reason


def exported(transformer: Any, rows: pd.DataFrame) -> bytes:
    pipeline = make_pipeline(transformer, LogisticRegression())
    fitted = np.arange(ROWS) % 3 > 0
    pipeline.fit(rows[fitted], Y[fitted])
    features = tuple(feature_of(name, rows[name]) for name in rows)
    return to_onnx(pipeline, contract_of(pipeline, features, {name: rows[name][:1] for name in rows}))


def named(value: Any) -> str:
    """A short id of a case."""
    return "" if isinstance(value, pd.DataFrame) else "".join(without_address(value).split())[:60]


LOGISTIC = LogisticRegression()
#: What is proven together, side by side, with the rows for it.
FAMILIES: dict[str, tuple[pd.DataFrame, list[Any]]] = {
    "intervals": (
        NUMBERS,
        [
            KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf"),
            KBinsDiscretizer(3, encode="onehot-dense", strategy="kmeans"),
            KBinsDiscretizer(5, encode="ordinal", strategy="uniform"),
            Binarizer(threshold=0.5),
            RandomTreesEmbedding(4, random_state=0),
        ],
    ),
    "quantiles": (
        NUMBERS,
        [
            QuantileTransformer(n_quantiles=50),
            QuantileTransformer(n_quantiles=50, output_distribution="normal"),
        ],
    ),
    "splines": (
        NUMBERS,
        [
            SplineTransformer(4, degree=3, extrapolation="constant", include_bias=False),
            SplineTransformer(4, degree=0, extrapolation="linear"),
            SplineTransformer(4, degree=1, extrapolation="linear"),
            SplineTransformer(4, degree=2, extrapolation="linear"),
            SplineTransformer(4, degree=3, extrapolation="periodic"),
        ],
    ),
    "splines beyond": (NUMBERS, [SplineTransformer(4, degree=2, extrapolation="continue")]),
    "splines with gaps": (GAPS, [SplineTransformer(4, knots="quantile", handle_missing="zeros")]),
    "limits": (
        NUMBERS,
        [
            MinMaxScaler(clip=True),
            MaxAbsScaler(clip=True),
            Normalizer("l1"),
            Normalizer("l2"),
            Normalizer("max"),
        ],
    ),
    "scalers": (
        NUMBERS,
        [
            MinMaxScaler(),
            MaxAbsScaler(),
            RobustScaler(),
            StandardScaler(with_mean=False),
            PowerTransformer(),
            PowerTransformer(standardize=False),
            PolynomialFeatures(2, order="F"),
        ],
    ),
    "imputers": (
        GAPS,
        [
            SimpleImputer(add_indicator=True),
            MissingIndicator(features="all"),
            MissingIndicator(error_on_new=False),
            IterativeImputer(max_iter=3, random_state=0, add_indicator=True, min_value=-5),
        ],
    ),
    "imputers of other marks": (
        NUMBERS.round(),
        [SimpleImputer(missing_values=-1, strategy="most_frequent", add_indicator=True)],
    ),
    "imputers of empty columns": (
        EMPTY,
        [
            SimpleImputer(strategy="median"),
            SimpleImputer(strategy="constant", fill_value=-2, keep_empty_features=True),
            IterativeImputer(max_iter=2, random_state=0, initial_strategy="median"),
        ],
    ),
    "projections": (
        NUMBERS,
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
    ),
    "centres": (
        NUMBERS,
        [
            KMeans(4, random_state=0),
            MiniBatchKMeans(4, random_state=0),
            BisectingKMeans(4, random_state=0),
            Birch(n_clusters=3),
        ],
    ),
    "selections": (
        NUMBERS,
        [
            RFE(LOGISTIC, n_features_to_select=2),
            RFECV(LOGISTIC, cv=2),
            SequentialFeatureSelector(LOGISTIC, n_features_to_select=2, cv=2),
            SelectKBest(k=2),
            SelectFromModel(LOGISTIC),
        ],
    ),
    "kernels": (
        NUMBERS,
        [
            *(
                Nystroem(kernel=each, n_components=10, random_state=0)
                for each in ("rbf", "sigmoid", "laplacian")
            ),
            KernelPCA(2, kernel="rbf"),
            PolynomialCountSketch(n_components=10, degree=3, coef0=1, random_state=0),
        ],
    ),
    "kernels of what is limited": (
        NUMBERS,
        [
            make_pipeline(MinMaxScaler(clip=True), each)
            for each in (
                AdditiveChi2Sampler(sample_steps=3),
                Nystroem(kernel="poly", n_components=10, random_state=0),
                Nystroem(kernel="cosine", n_components=10, random_state=0),
                RBFSampler(n_components=10, random_state=0),
                SkewedChi2Sampler(n_components=5, random_state=0),
            )
        ],
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_families_are_proven_with_the_one_row_program(family: str) -> None:
    rows, transformers = FAMILIES[family]
    check(make_pipeline(make_union(*transformers), StandardScaler(with_mean=False)), rows)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("transformer", "rows"),
    [
        (SplineTransformer(4, extrapolation="error"), NUMBERS),
        (SplineTransformer(4, degree=0, extrapolation="constant"), NUMBERS),
        (PowerTransformer(method="box-cox"), POSITIVE),
    ],
    ids=named,
)
def test_what_scikit_learn_refuses_is_not_answered(transformer: Any, rows: pd.DataFrame) -> None:
    check(transformer, rows)


def test_what_also_predicts_in_a_column_transformer() -> None:
    columns = ColumnTransformer(
        [
            ("near", make_pipeline(StandardScaler(), KMeans(3, random_state=0)), ["a", "b"]),
            ("apart", make_union(LinearDiscriminantAnalysis(), "passthrough"), ["b", "c"]),
        ]
    )
    check(columns)


@pytest.mark.parametrize(
    ("transformer", "edges"),
    [
        (KBinsDiscretizer(4, strategy="uniform"), lambda each: each.bin_edges_[0][1:-1]),
        (QuantileTransformer(n_quantiles=20), lambda each: each.quantiles_[1:-1, 0]),
        (SplineTransformer(5), lambda each: each.bsplines_[0].t[3:-3]),
        (FunctionTransformer(np.clip, kw_args={"a_min": -0.75, "a_max": 0.6}), lambda _: [-0.75, 0.6]),
    ],
    ids=named,
)
def test_edges_are_among_the_rows_that_are_tried(transformer: Any, edges: Any) -> None:
    pipeline = make_pipeline(transformer, LogisticRegression()).fit(NUMBERS[["a", "b"]], Y)
    features = tuple(feature_of(name, NUMBERS[name]) for name in ("a", "b"))
    tried = breakpoints(pipeline, Contract(features, "binary", (0, 1)), (0.0, 1.0), 0)["a"]
    assert set(np.asarray(edges(transformer)).tolist()) <= set(tried.tolist())


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
            IterativeImputer(DecisionTreeRegressor(max_depth=2), max_iter=1),
            GAPS,
            "IterativeImputer with DecisionTreeRegressor",
        ),
    ],
    ids=named,
)
def test_what_stays_with_scikit_learn_says_why(transformer: Any, rows: pd.DataFrame, reason: str) -> None:
    with pytest.raises(NotExportable, match=reason):
        exported(transformer, rows)
