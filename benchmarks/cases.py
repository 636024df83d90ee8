"""Some 460 estimators, transformers and structures of pipelines for ``benchmarks.coverage``, and a table.

A case is an expression over scikit-learn's names, and the target that it is fitted on.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn.utils import all_estimators

from benchmarks import own_steps

ROWS = 900
NUMBERS = ["income", "ratio", "score", "age", "visits", "member"]
WORDS = ["city", "plan", "channel"]


class Case(NamedTuple):
    """``target``: ``bin``, ``three`` (texts), ``y`` or none; ``columns``: those of the table, or all."""

    group: str
    name: str
    target: str | None
    build: Callable[[], Any]
    columns: list[str] | None = None


def table() -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Six columns of numbers, one of them with gaps, three of texts, one of words; and the targets."""
    random = np.random.default_rng(0)
    income = random.lognormal(3, 0.6, ROWS).round(2)
    frame = pd.DataFrame(
        {
            "income": income,
            "ratio": random.normal(0, 1, ROWS).round(4),
            "score": random.random(ROWS).round(3),
            "age": random.integers(18, 90, ROWS),
            "visits": random.poisson(3, ROWS),
            "member": random.random(ROWS) < 0.4,
            "city": random.choice([f"town {index}" for index in range(12)], ROWS),
            "plan": random.choice(["basic", "plus", "Zürich", ""], ROWS, p=[0.5, 0.3, 0.1, 0.1]),
            "channel": random.choice(["web", "shop", "phone"], ROWS),
        }
    )
    pieces = ["good", "bad", "late", "Fast", "parcel", "résumé", "the", "service", "7", "it's"]
    frame["comment"] = [" ".join(random.choice(pieces, random.integers(2, 9))) for _ in range(ROWS)]
    value = income / 10 + 2 * frame["ratio"] + frame["visits"] - 2 * (frame["channel"] == "web")
    value += frame["comment"].str.count("good") - frame["comment"].str.count("bad")
    value += random.normal(0, 1, ROWS)
    targets = {
        "y": value.to_numpy(),
        "positive": np.exp(value / 6).to_numpy(),
        "bin": (value > value.median()).to_numpy().astype(np.int64),
        "three": np.array(["low", "mid", "high"], object)[np.digitize(value, value.quantile([0.4, 0.7]))],
    }
    frame.loc[random.random(ROWS) < 0.1, "ratio"] = np.nan
    return frame, targets


def names() -> dict[str, Any]:
    """What an expression may name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module("sklearn.experimental.enable_iterative_imputer")
        importlib.import_module("sklearn.experimental.enable_halving_search_cv")
        known: dict[str, Any] = dict(all_estimators())
    for module in ("pipeline", "compose", "feature_selection", "frozen", "base", "model_selection"):
        some = importlib.import_module(f"sklearn.{module}")
        known |= {name: getattr(some, name) for name in dir(some) if not name.startswith("_")}
    for module in ("lightgbm", "xgboost", "catboost"):
        with contextlib.suppress(ImportError):
            some = importlib.import_module(module)
            known |= {
                name: each for name, each in vars(some).items() if name.startswith(("LGBM", "XGB", "CatB"))
            }
    known |= {name: each for name, each in vars(own_steps).items() if not name.startswith("_")}
    known |= {"np": np, "NUMBERS": NUMBERS, "WORDS": WORDS, "LR": known["LogisticRegression"]}
    known["RFC"], known["RFR"] = known["RandomForestClassifier"], known["RandomForestRegressor"]
    return known


KNOWN = names()


def made(expression: str) -> Any:
    """The estimator that an expression of this file makes."""
    return eval(expression, {**KNOWN, **SHAPES})


def scaled(*more: Any) -> Any:
    """Numbers imputed and scaled, then ``more``; texts one-hot."""
    make, known = KNOWN["make_pipeline"], KNOWN
    encoder = known["OneHotEncoder"](handle_unknown="ignore", sparse_output=False)
    numbers = make(known["SimpleImputer"](), known["StandardScaler"](), *more)
    return known["ColumnTransformer"]([("n", numbers, NUMBERS), ("c", encoder, WORDS)])


def ordinal(imputed: bool = False) -> Any:
    """Numbers as they are, or imputed; texts as ordinals."""
    known = KNOWN
    encoder = known["OrdinalEncoder"](handle_unknown="use_encoded_value", unknown_value=-1)
    numbers = known["SimpleImputer"]() if imputed else "passthrough"
    return known["ColumnTransformer"]([("n", numbers, NUMBERS), ("c", encoder, WORDS)])


def encoded(encoder: Any) -> Any:
    """Numbers imputed and scaled, texts through the encoder."""
    known = KNOWN
    numbers = known["make_pipeline"](known["SimpleImputer"](), known["StandardScaler"]())
    return known["ColumnTransformer"](
        [("n", numbers, NUMBERS), ("c", encoder, WORDS)], sparse_threshold=0.0
    )


def numbers(*steps: Any) -> Any:
    """Numbers through the steps, after an imputer; texts one-hot."""
    known = KNOWN
    one_hot = known["OneHotEncoder"](handle_unknown="ignore", sparse_output=False)
    chain = known["make_pipeline"](known["SimpleImputer"](), *steps)
    return known["ColumnTransformer"]([("n", chain, NUMBERS), ("c", one_hot, WORDS)], sparse_threshold=0.0)


def worded(vectorizer: Any) -> Any:
    """The comment through the vectorizer, beside the numbers."""
    known = KNOWN
    chain = known["make_pipeline"](known["SimpleImputer"](), known["MinMaxScaler"]())
    return known["ColumnTransformer"]([("w", vectorizer, "comment"), ("n", chain, NUMBERS)])


def around(last: Any) -> Any:
    """A whole pipeline of mixed columns."""
    return KNOWN["make_pipeline"](scaled(), last)


SHAPES: dict[str, Any] = {
    each.__name__: each for each in (scaled, ordinal, encoded, numbers, worded, around)
}

#: What an estimator needs to be made, fitted or fast, where its defaults do not do.
ARGUMENTS = {
    "AdaBoostClassifier": "n_estimators=10", "AdaBoostRegressor": "n_estimators=10",
    "BaggingClassifier": "n_estimators=5", "BaggingRegressor": "n_estimators=5",
    "CalibratedClassifierCV": "cv=2", "ClassifierChain": "LR()", "CCA": "1", "PLSCanonical": "1",
    "ExtraTreesClassifier": "20, max_depth=6", "ExtraTreesRegressor": "20, max_depth=6",
    "FixedThresholdClassifier": "LR(), response_method='predict_proba', threshold=.3",
    "GradientBoostingClassifier": "n_estimators=15", "GradientBoostingRegressor": "n_estimators=15",
    "HistGradientBoostingClassifier": "max_iter=15", "HistGradientBoostingRegressor": "max_iter=15",
    "LogisticRegression": "max_iter=500", "LogisticRegressionCV": "Cs=2, cv=2, max_iter=500",
    "MLPClassifier": "(16,), max_iter=30, tol=1.", "MLPRegressor": "hidden_layer_sizes=(16,), max_iter=30, tol=1e9",
    "MultiOutputClassifier": "LR()", "MultiOutputRegressor": "Ridge()", "OneVsOneClassifier": "LR()",
    "OneVsRestClassifier": "LR()", "OutputCodeClassifier": "LR(), random_state=0",
    "QuadraticDiscriminantAnalysis": "", "RandomForestClassifier": "20, max_depth=6, random_state=0",
    "RandomForestRegressor": "20, max_depth=6, random_state=0", "RegressorChain": "Ridge()",
    "SelfTrainingClassifier": "LR()", "StackingClassifier": "[('a', LR()), ('b', GaussianNB())], cv=2",
    "StackingRegressor": "[('a', Ridge()), ('b', Lasso())], cv=2", "RadiusNeighborsClassifier": "radius=9.",
    "TransformedTargetRegressor": "Ridge(), func=np.log1p, inverse_func=np.expm1",
    "TunedThresholdClassifierCV": "LR(), cv=2", "VotingClassifier": "[('a', LR()), ('b', GaussianNB())]",
    "VotingRegressor": "[('a', Ridge()), ('b', Lasso())]", "RANSACRegressor": "random_state=0",
    "TheilSenRegressor": "random_state=0, max_subpopulation=100", "RadiusNeighborsRegressor": "radius=9.",
}  # fmt: skip
#: What is put before an estimator of ``all_estimators()`` other than ``scaled()``.
BEFORE = {
    "CategoricalNB": "ColumnTransformer([('c', OrdinalEncoder(), WORDS)])",
    **dict.fromkeys(("ComplementNB", "MultinomialNB"), "numbers(MinMaxScaler())"),
    "IsotonicRegression": "ColumnTransformer([('n', 'passthrough', ['score'])])",
    **dict.fromkeys(("CCA", "PLSCanonical"), "ColumnTransformer([('n', 'passthrough', ['score', 'age'])])"),
}
POSITIVE = {"GammaRegressor", "PoissonRegressor", "TweedieRegressor", "TransformedTargetRegressor"}

SEARCHES = [
    f"around({kind}(LR(), {{'C': [.1, 1.]}}, cv=2{more}))"
    for kind, more in (
        ("GridSearchCV", ""), ("HalvingGridSearchCV", ", random_state=0"),
        ("HalvingRandomSearchCV", ", random_state=0"), ("RandomizedSearchCV", ", n_iter=2, random_state=0"),
    )
]  # fmt: skip
OUTLIERS = [
    "EllipticEnvelope(random_state=0, support_fraction=1.)", "IsolationForest(n_estimators=20, random_state=0)",
    "LocalOutlierFactor(novelty=True)", "OneClassSVM()", "SGDOneClassSVM(random_state=0)",
]  # fmt: skip
CLUSTERS = [
    "AffinityPropagation(damping=.9, random_state=0)", "AgglomerativeClustering()",
    "BayesianGaussianMixture(n_components=2, random_state=0)", "Birch(n_clusters=3)",
    "BisectingKMeans(3, random_state=0)", "DBSCAN()", "GaussianMixture(2, random_state=0)",
    "KMeans(3, random_state=0)", "MeanShift(bandwidth=3.)", "MiniBatchKMeans(3, random_state=0)",
]  # fmt: skip
TRANSFORMERS = [
    "AdditiveChi2Sampler()", "BernoulliRBM(4, n_iter=3, random_state=0)", "Binarizer(threshold=1.)",
    "Birch(n_clusters=4)", "BisectingKMeans(4, random_state=0)", "CCA(1)",
    "DictionaryLearning(3, max_iter=20, random_state=0)", "FactorAnalysis(3, random_state=0)",
    "FastICA(3, random_state=0)", "FeatureAgglomeration(3)", "FunctionTransformer()",
    "FunctionTransformer(lambda x: x * 2)", "FunctionTransformer(np.abs)", "FunctionTransformer(np.arcsinh)",
    "FunctionTransformer(np.cbrt)", "FunctionTransformer(np.clip, kw_args=dict(a_min=0, a_max=9))",
    "make_pipeline(MinMaxScaler((1, 2)), FunctionTransformer(np.log10))",
    "make_pipeline(FunctionTransformer(np.abs), FunctionTransformer(np.log1p))",
    "make_pipeline(MinMaxScaler((1, 2)), FunctionTransformer(np.log2))", "FunctionTransformer(np.sign)",
    "FunctionTransformer(np.sin)", "GaussianRandomProjection(3, random_state=0)",
    "GenericUnivariateSelect(mode='k_best', param=3)", "IncrementalPCA(3)", "Isomap(n_components=2)",
    "IterativeImputer(random_state=0, max_iter=3)",
    "KBinsDiscretizer(4, encode='onehot-dense', strategy='kmeans')",
    "KBinsDiscretizer(5, encode='ordinal', strategy='uniform')",
    "KBinsDiscretizer(5, quantile_method='averaged_inverted_cdf')", "KernelCenterer()",
    "KernelPCA(3, kernel='rbf')", "KMeans(4, random_state=0)", "KNeighborsTransformer()",
    "KNNImputer(n_neighbors=3)", "make_pipeline(MinMaxScaler(), LatentDirichletAllocation(3, random_state=0))",
    "LinearDiscriminantAnalysis()", "LocallyLinearEmbedding(n_components=2)", "MaxAbsScaler()",
    "MaxAbsScaler(clip=True)", "MiniBatchDictionaryLearning(3, random_state=0)",
    "MiniBatchKMeans(4, random_state=0)", "FeatureUnion([('a', SimpleImputer()), ('b', MissingIndicator())])",
    "MissingIndicator(features='all')", "make_pipeline(MinMaxScaler(), MiniBatchNMF(3, random_state=0))",
    "MiniBatchSparsePCA(3, random_state=0)", "MinMaxScaler()", "MinMaxScaler(clip=True)",
    "NeighborhoodComponentsAnalysis(3, max_iter=10, random_state=0)",
    "make_pipeline(MinMaxScaler(), NMF(3, random_state=0))", "Normalizer()",
    "Nystroem(n_components=20, random_state=0)", "PCA(3)", "PCA(3, whiten=True)", "PLSCanonical(1)",
    "PLSRegression(2)", "PLSSVD(1)", "PolynomialCountSketch(n_components=20, random_state=0)",
    "PolynomialFeatures(2)", "PolynomialFeatures(3, interaction_only=True)", "PowerTransformer()",
    "QuantileTransformer(n_quantiles=100)",
    "QuantileTransformer(n_quantiles=100, output_distribution='normal')", "RadiusNeighborsTransformer(radius=3)",
    "RandomTreesEmbedding(10, random_state=0)", "RBFSampler(n_components=20, random_state=0)",
    "RFE(LR(), n_features_to_select=3)", "RFECV(LR(), cv=3)", "RobustScaler()", "SelectFdr()", "SelectFpr()",
    "SelectFromModel(LR())", "SelectFromModel(RFC(20, random_state=0))", "SelectFwe()", "SelectKBest(k=3)",
    "SelectPercentile(percentile=50)", "SequentialFeatureSelector(LR(), n_features_to_select=2, cv=2)",
    "SimpleImputer()", "SimpleImputer(add_indicator=True)", "SimpleImputer(strategy='constant', fill_value=-1)",
    "SimpleImputer(strategy='median')", "SimpleImputer(strategy='most_frequent')",
    "make_pipeline(MinMaxScaler(), SkewedChi2Sampler(n_components=5, random_state=0))",
    "SparsePCA(3, random_state=0)", "SparseRandomProjection(3, density=.5, random_state=0)",
    "SplineTransformer()", "StackingClassifier([('a', LR())])", "StandardScaler()",
    "TruncatedSVD(3, random_state=0)", "VarianceThreshold()",
    "VotingClassifier([('a', LR()), ('b', GaussianNB())], voting='soft')",
]  # fmt: skip
#: Transformers that see the gaps.
WITH_GAPS = (
    "IterativeImputer",
    "KNNImputer",
    "MissingIndicator",
    "SimpleImputer",
    "FeatureUnion([('a', Sim",
)
ENCODERS = [
    "DictVectorizer()", "FeatureHasher(n_features=16, input_type='string')", "LabelBinarizer()",
    "LabelEncoder()", "make_pipeline(OneHotEncoder(handle_unknown='ignore'), SelectKBest(chi2, k=5))",
    "make_pipeline(OneHotEncoder(handle_unknown='ignore'), TruncatedSVD(3, random_state=0))",
    "make_pipeline(OrdinalEncoder(handle_unknown='use_encoded_value', unknown_value=-1), MinMaxScaler())",
    "make_pipeline(SimpleImputer(strategy='constant', missing_values='', fill_value='none'), "
    "OneHotEncoder(handle_unknown='ignore'))",
    "make_pipeline(SimpleImputer(strategy='most_frequent'), OneHotEncoder(handle_unknown='ignore'))",
    "make_pipeline(SimpleImputer(strategy='most_frequent', missing_values=''), "
    "OneHotEncoder(handle_unknown='ignore'))",
    "MultiLabelBinarizer()", "OneHotEncoder()", "OneHotEncoder(drop='first')",
    "OneHotEncoder(drop='first', handle_unknown='ignore')",
    "OneHotEncoder(drop='if_binary', handle_unknown='ignore')", "OneHotEncoder(dtype=int, handle_unknown='ignore')",
    "OneHotEncoder(dtype=np.float32, handle_unknown='ignore')", "OneHotEncoder(handle_unknown='ignore')",
    "OneHotEncoder(handle_unknown='warn')", "OneHotEncoder(max_categories=4, handle_unknown='infrequent_if_exist')",
    "OneHotEncoder(min_frequency=.05, handle_unknown='ignore')",
    "OneHotEncoder(min_frequency=100, handle_unknown='infrequent_if_exist')", "OrdinalEncoder()",
    "OrdinalEncoder(handle_unknown='use_encoded_value', unknown_value=-1)",
    "OrdinalEncoder(handle_unknown='use_encoded_value', unknown_value=-1, encoded_missing_value=-2)",
    "OrdinalEncoder(max_categories=4, handle_unknown='use_encoded_value', unknown_value=-1)",
    "OrdinalEncoder(min_frequency=100, handle_unknown='use_encoded_value', unknown_value=-1)",
    "TargetEncoder(random_state=0)", "TargetEncoder(smooth=5., random_state=0)",
]  # fmt: skip
TEXTS = [
    "CountVectorizer()", "CountVectorizer(binary=True)", "CountVectorizer(strip_accents='unicode')",
    "CountVectorizer(token_pattern=r'[a-z]+')", "CountVectorizer(tokenizer=str.split, token_pattern=None)",
    "HashingVectorizer(n_features=64)", "make_pipeline(CountVectorizer(), TfidfTransformer())",
    "make_pipeline(TfidfVectorizer(), TruncatedSVD(5, random_state=0))", "TfidfVectorizer()",
    "TfidfVectorizer(analyzer='char', ngram_range=(2, 3))", "TfidfVectorizer(ngram_range=(1, 2), min_df=3)",
    "TfidfVectorizer(sublinear_tf=True, stop_words='english')",
]  # fmt: skip
FOREST = "RFC(20, max_depth=6, random_state=0)"
HGB, GB = "HistGradientBoostingRegressor", "GradientBoostingRegressor"
#: Name or expression, target, expression if the first is a name, columns if not all.
STRUCTURES: list[tuple[Any, ...]] = [
    ("around(BaggingClassifier(around(LR()), n_estimators=3))", "bin"),
    ("around(BaggingClassifier(n_estimators=5, max_features=.5, random_state=0))", "bin"),
    ("bare estimator on mixed columns", "bin", "LR()"),
    ("bare estimator on numbers", "bin", "LR(max_iter=500)", ["income", "score", "age", "visits", "member"]),
    ("bare HistGradientBoosting on gaps", "bin", "HistGradientBoostingClassifier(max_iter=15)", NUMBERS),
    ("bare forest on gaps", "bin", FOREST, NUMBERS),
    ("CalibratedClassifierCV(around(LR()), cv=2)", "bin"),
    ("CalibratedClassifierCV(around(LinearSVC()), cv=2)", "three"),
    *(
        (f"around(CalibratedClassifierCV({FOREST}, method='{method}', cv=2))", target)
        for method in ("isotonic", "sigmoid", "temperature")
        for target in ("bin", "three")
    ),
    (f"around(CalibratedClassifierCV({FOREST}, method='isotonic', ensemble=False, cv=2))", "bin"),
    ("columns by bool mask", "bin",
     "make_pipeline(ColumnTransformer([('a', StandardScaler(), [True, False, True])]), LR())",
     ["income", "city", "age"]),
    ("columns by callable", "bin", "make_pipeline(ColumnTransformer([('a', StandardScaler(), first_two)]), LR())"),
    ("make_pipeline(ColumnTransformer([('a', StandardScaler(), [0, 2]), ('b', 'passthrough', [3, 4])]), LR())", "bin"),
    ("make_pipeline(ColumnTransformer([('a', StandardScaler(), slice(2, 5))]), LR())", "bin"),
    ("make_pipeline(ColumnTransformer([('a', StandardScaler(), ['age'])]), LR())", "bin"),
    ("make_pipeline(ColumnTransformer([('a', StandardScaler(), ['age']), ('b', 'drop', ['score'])]), LR())", "bin"),
    ("custom BaseEstimator transformer", "bin", "make_pipeline(numbers(Ratio()), LR())"),
    ("custom classifier", "bin", "make_pipeline(scaled(), Best())"),
    ("custom clipper", "bin", "make_pipeline(numbers(Clipper()), LR())"),
    ("tree on sparse one-hot", "bin", "make_pipeline(ColumnTransformer([('c', OneHotEncoder(handle_unknown='ignore'), "
     "WORDS)], sparse_threshold=1.), DecisionTreeClassifier(max_depth=6))"),
    ("make_pipeline(ordinal(), DecisionTreeClassifier(max_depth=6))", "bin"),
    ("duck-typed estimator", "bin", "Duck()", ["age", "score"]),
    ("make_pipeline(ordinal(True), ExtraTreesClassifier(100, random_state=0))", "three"),
    ("make_pipeline(numbers(FeatureUnion([('a', StandardScaler()), ('b', PCA(2))])), LR())", "bin"),
    ("make_pipeline(FeatureUnion([('a', scaled()), ('b', ordinal(True))]), LR(max_iter=500))", "bin"),
    ("make_pipeline(numbers(FeatureUnion([('a', 'passthrough'), ('b', PCA(2)), ('c', 'drop')])), LR())", "bin"),
    ("make_pipeline(numbers(FeatureUnion([('a', StandardScaler()), ('b', PCA(2))], "
     "transformer_weights={'a': .5})), LR())", "bin"),
    ("FixedThresholdClassifier(around(LR()), threshold=.3, response_method='predict_proba')", "bin"),
    ("FixedThresholdClassifier(around(LR()), threshold=.3, pos_label=0, response_method='predict_proba')", "bin"),
    ("FixedThresholdClassifier(around(LR()), threshold=.3, response_method='decision_function')", "bin"),
    ("own function of the whole frame first", "bin", "make_pipeline(FunctionTransformer(with_ratio), scaled(), LR())"),
    ("make_pipeline(numbers(FunctionTransformer(np.power, kw_args=dict(x2=2))), LR())", "bin"),
    ("lambda first", "bin", "make_pipeline(FunctionTransformer(lambda frame: frame), scaled(), LR())"),
    ("make_pipeline(ColumnTransformer([('a', FunctionTransformer(np.sqrt, feature_names_out='one-to-one'), ['age'])]), "
     "LR())", "bin"),
    ("make_pipeline(ColumnTransformer([('a', FunctionTransformer(np.log1p, validate=True), ['age', 'income'])]), "
     "StandardScaler(), LR())", "bin"),
    ("around(GradientBoostingClassifier(n_estimators=10, init='zero'))", "bin"),
    ("around(GradientBoostingClassifier(n_estimators=10, init=LR()))", "bin"),
    *((f"around({GB}(n_estimators=15, loss='{loss}'))", "y") for loss in ("absolute_error", "huber", "quantile")),
    ("GridSearchCV(around(LR()), {'logisticregression__C': [.1, 1.]}, cv=2)", "bin"),
    ("around(GridSearchCV(RFC(10, random_state=0), {'max_depth': [3, 5]}, cv=2))", "bin"),
    ("GridSearchCV(around(LR()), {'logisticregression__C': [.1, 1.]}, cv=2, refit=False)", "bin"),
    ("HalvingGridSearchCV(around(LR()), {'logisticregression__C': [.1, 1.]}, cv=2, random_state=0)", "bin"),
    (f"make_pipeline(ordinal(), {HGB}(max_iter=15, categorical_features=[6, 7, 8]))", "y"),
    ("make_pipeline(ordinal(), HistGradientBoostingClassifier(max_iter=15, categorical_features=[6, 7, 8]))", "bin"),
    ("HistGradientBoostingClassifier from_dtype", "bin",
     "make_pipeline(FunctionTransformer(to_category), HistGradientBoostingClassifier(max_iter=15, "
     "categorical_features='from_dtype'))"),
    ("make_pipeline(ordinal(), HistGradientBoostingClassifier(max_iter=15, monotonic_cst=[1] + [0] * 8))", "bin"),
    *((f"make_pipeline(ordinal(), {HGB}(max_iter=15, loss='{loss}'))", "positive")
      for loss in ("absolute_error", "gamma", "poisson")),
    (f"make_pipeline(ordinal(), {HGB}(max_iter=15, loss='quantile', quantile=.7))", "y"),
    ("make_pipeline(encoded(make_pipeline(SimpleImputer(strategy='constant', fill_value='missing'), "
     "OneHotEncoder(handle_unknown='ignore'))), LR(max_iter=500))", "bin"),
    ("make_pipeline(encoded(make_pipeline(SimpleImputer(strategy='most_frequent'), "
     f"OneHotEncoder(handle_unknown='ignore'))), {FOREST})", "bin"),
    *((f"around({kind}({more}))", "bin" if "Class" in kind else "y") for kind, more in (
        ("KNeighborsClassifier", "algorithm='brute', metric='cosine'"),
        ("KNeighborsClassifier", "algorithm='kd_tree'"), ("KNeighborsClassifier", "metric='manhattan'"),
        ("KNeighborsClassifier", "n_neighbors=1"), ("KNeighborsClassifier", "weights='distance'"),
        ("KNeighborsRegressor", "weights='distance'"))),
    ("own log1p", "bin", "make_pipeline(ColumnTransformer([('a', FunctionTransformer(log_of), ['income'])]), LR())"),
    ("around(LR(fit_intercept=False))", "bin"), ("around(LR(penalty='l1', solver='saga'))", "bin"),
    ("around(LogisticRegressionCV(Cs=2, cv=2, max_iter=500))", "three"),
    ("make_pipeline(ColumnTransformer([('a', make_pipeline(SimpleImputer(), StandardScaler()), "
     "make_column_selector(dtype_include='number'))]), LR())", "bin"),
    ("make_pipeline(ColumnTransformer([('a', OneHotEncoder(handle_unknown='ignore'), "
     "make_column_selector(dtype_include=object))]), LR())", "bin"),
    ("make_pipeline(ColumnTransformer([('a', OneHotEncoder(handle_unknown='ignore'), "
     "make_column_selector(dtype_exclude='number'))]), LR())", "bin"),
    ("make_pipeline(ColumnTransformer([('a', StandardScaler(), make_column_selector('^(age|sc)'))]), LR())", "bin"),
    ("make_pipeline(OneHotEncoder(), LR())", "bin", None, WORDS),
    (f"make_pipeline(OrdinalEncoder(handle_unknown='use_encoded_value', unknown_value=-1), {FOREST})", "bin", None, WORDS),
    ("around(MLPClassifier((256, 128), max_iter=5, tol=1.))", "bin"),
    ("around(MLPClassifier((16,), activation='logistic', max_iter=20, tol=1.))", "bin"),
    ("around(NearestCentroid(metric='manhattan'))", "bin"),
    ("make_pipeline(ColumnTransformer([('a', ColumnTransformer([('b', StandardScaler(), ['age'])], "
     "remainder='passthrough'), ['age', 'score'])]), LR())", "bin"),
    ("make_pipeline(make_pipeline(scaled(), make_pipeline(PCA(4))), make_pipeline(LR()))", "bin"),
    ("one column of words, by its name", "bin", "make_pipeline(ColumnTransformer([('w', TfidfVectorizer(), 'comment')]), LR())"),
    ("around(OneVsOneClassifier(LinearSVC()))", "three"), (f"around(OneVsRestClassifier({FOREST}))", "three"),
    ("around(OneVsRestClassifier(LinearSVC()))", "three"), ("OneVsRestClassifier(around(LR()))", "three"),
    ("pandas get_dummies", "bin", "make_pipeline(FunctionTransformer(dummies), LR())"),
    ("make_pipeline(scaled(), 'passthrough', LR())", "bin"),
    ("Pipeline([('s', scaled()), ('m', LR())], memory=None)", "bin"),
    ("Pipeline([('s', scaled()), ('n', None), ('m', LR())])", "bin"),
    ("around(PoissonRegressor())", "positive"),
    ("make_pipeline(ordinal(True), RFC(100, random_state=0))", "bin"),
    *((f"make_pipeline(ordinal(True), RFC(20, max_depth=6, random_state=0, {more}))", "bin") for more in (
        "ccp_alpha=.002", "class_weight='balanced'", "class_weight='balanced_subsample', n_jobs=2",
        "criterion='entropy'", "criterion='log_loss'", "max_features=None, bootstrap=False",
        "min_impurity_decrease=.001", "monotonic_cst=[1] + [0] * 8", "oob_score=True")),
    *((f"make_pipeline(ordinal(True), RFR(10, max_depth=5, random_state=0, {more}))", "positive") for more in (
        "criterion='absolute_error'", "criterion='friedman_mse'", "criterion='poisson'",
        "monotonic_cst=[1] + [0] * 8")),
    ("RandomizedSearchCV(around(LR()), {'logisticregression__C': [.1, 1.]}, n_iter=2, cv=2, random_state=0)", "bin"),
    ("make_pipeline(ColumnTransformer([('c', OneHotEncoder(handle_unknown='ignore'), WORDS)], remainder='passthrough'), "
     "HistGradientBoostingClassifier(max_iter=15))", "bin"),
    ("make_pipeline(ColumnTransformer([('c', OneHotEncoder(handle_unknown='ignore'), WORDS)], "
     "remainder=make_pipeline(SimpleImputer(), StandardScaler()), sparse_threshold=0.), LR())", "bin"),
    ("same column in two branches", "bin", "make_pipeline(ColumnTransformer([('a', StandardScaler(), ['age', 'income']), "
     "('b', KBinsDiscretizer(4, quantile_method='averaged_inverted_cdf'), ['age'])]), LR())"),
    ("around(LR()).set_output(transform='pandas')", "bin"),
    ("second ColumnTransformer by name", "bin", "make_pipeline(scaled().set_output(transform='pandas'), "
     "ColumnTransformer([('a', MinMaxScaler(), ['n__income', 'n__age'])], remainder='passthrough'), LR())"),
    ("make_pipeline(scaled().set_output(transform='polars'), LR())", "bin"),
    ("make_pipeline(scaled().set_output(transform='pandas'), LR())", "bin"),
    *((f"around(SGDClassifier(loss='{loss}', random_state=0))", "bin")
      for loss in ("hinge", "modified_huber", "perceptron", "squared_hinge")),
    ("own signed log", "bin", "make_pipeline(numbers(FunctionTransformer(signed_log)), LR())"),
    ("make_pipeline(encoded(OneHotEncoder(handle_unknown='ignore')).set_params(sparse_threshold=1.), LR())", "bin"),
    ("make_pipeline(scaled(), StackingClassifier([('a', around_numbers()), ('b', LR())], cv=2, passthrough=True))", "bin"),
    ("StackingClassifier([('a', around(LR())), ('b', around(GaussianNB()))], cv=2)", "bin"),
    ("around(StackingClassifier([('a', LR()), ('b', GaussianNB())], cv=2, passthrough=True))", "bin"),
    ("make_pipeline(SimpleImputer(), StandardScaler(), LR())", "bin", None, NUMBERS),
    ("subclass of LogisticRegression", "bin", "around(OwnLogistic())"),
    ("subclass of StandardScaler", "bin", "make_pipeline(numbers(OwnScaler()), LR())"),
    *((f"around(SVC(kernel='{kernel}'))", "bin") for kernel in ("linear", "poly", "sigmoid")),
    ("around(SVC(probability=True, random_state=0))", "bin"), ("around(SVC(probability=True, random_state=0))", "three"),
    ("make_pipeline(TargetEncoder(random_state=0), LR())", "bin", None, WORDS),
    ("TransformedTargetRegressor(make_pipeline(ordinal(), HistGradientBoostingRegressor(max_iter=15)), func=np.log, "
     "inverse_func=np.exp)", "positive"),
    ("TransformedTargetRegressor(around(Ridge()), func=np.log1p, inverse_func=np.expm1)", "positive"),
    *((f"TransformedTargetRegressor(around(Ridge()), transformer={kind})", "y") for kind in (
        "MinMaxScaler()", "PowerTransformer()", "QuantileTransformer(n_quantiles=100)", "StandardScaler()")),
    ("make_pipeline(scaled().set_params(transformer_weights={'n': 2.}), LR())", "bin"),
    ("around(TunedThresholdClassifierCV(LinearSVC(), cv=2))", "bin"),
    ("VotingClassifier([('a', around(LR())), ('b', around(GaussianNB()))], voting='soft')", "bin"),
]  # fmt: skip
LGBM, XGB, CAT = (
    "n_estimators=15, verbose=-1",
    "n_estimators=15",
    "iterations=15, verbose=0, allow_writing_files=False",
)
BOOSTERS: list[tuple[Any, ...]] = [
    (f"CatBoostClassifier({CAT})", "bin", None, NUMBERS), (f"LGBMClassifier({LGBM})", "bin", None, NUMBERS),
    (f"XGBClassifier({XGB})", "bin", None, NUMBERS),
    ("CatBoost's native categories", "bin", f"CatBoostClassifier(cat_features=WORDS, {CAT})"),
    *((f"make_pipeline(ordinal(), {kind}({more}))", target) for kind, more, target in (
        ("CatBoostClassifier", CAT, "bin"), ("CatBoostClassifier", CAT, "three"), ("CatBoostRegressor", CAT, "y"),
        ("LGBMClassifier", LGBM, "bin"), ("LGBMClassifier", LGBM, "three"), ("LGBMRegressor", LGBM, "y"),
        ("XGBClassifier", XGB, "bin"), ("XGBClassifier", XGB, "codes"), ("XGBRegressor", XGB, "y"),
        ("XGBRFClassifier", XGB, "bin"))),
    *((f"around({kind}({more}))", "bin") for kind, more in (
        ("CatBoostClassifier", CAT), ("LGBMClassifier", LGBM), ("XGBClassifier", XGB))),
    (f"around(LGBMClassifier({LGBM}))", "three"),
    ("LightGBM's native categories", "bin", f"make_pipeline(FunctionTransformer(to_category), LGBMClassifier({LGBM}))"),
    ("LightGBM's categories by index", "bin", f"make_pipeline(ordinal(), ByIndex({LGBM}))"),
    ("XGBoost's native categories", "bin",
     f"make_pipeline(FunctionTransformer(to_category), XGBClassifier(enable_categorical=True, {XGB}))"),
]  # fmt: skip


def cases() -> Iterator[Case]:
    """Every case, by its group."""
    for kind, targets in (("classifier", ("bin", "three")), ("regressor", ("y",))):
        for name, _ in all_estimators(type_filter=kind):
            last = f"{name}({ARGUMENTS.get(name, '')})"
            before = BEFORE.get(name, "scaled()")
            for target in targets:
                used = "positive" if name in POSITIVE else target
                yield _case(kind, f"make_pipeline({before}, {last})", used)
    yield from (
        _case("classifier", "make_pipeline(scaled(), QuadraticDiscriminantAnalysis(reg_param=.5))", target)
        for target in ("bin", "three")
    )
    yield from (_case("search", each, "bin") for each in SEARCHES)
    dense = [each for each in NUMBERS if each != "ratio"]
    yield from (_case("outlier", each, None, None, dense) for each in OUTLIERS)
    yield from (_case("cluster", each, None, None, dense) for each in CLUSTERS)
    for each in ("PCA(3)", "TruncatedSVD(3)"):
        yield _case("transformer at the end", f"make_pipeline(scaled(), {each})", "bin")
    for each in TRANSFORMERS:
        end = "StandardScaler(), LR(max_iter=500)"
        gaps = f"ColumnTransformer([('n', {each}, NUMBERS)])"
        before = gaps if each.startswith(WITH_GAPS) else f"numbers(StandardScaler(), {each})"
        after = "HistGradientBoostingClassifier(max_iter=10)" if each.startswith("MissingInd") else end
        yield _case("transformer", f"make_pipeline({before}, {after})", "bin")
    for each in ENCODERS:
        yield _case("encoder", f"make_pipeline(encoded({each}), LR(max_iter=500))", "bin")
    for target in ("y", "three"):
        end = "Ridge()" if target == "y" else "LR(max_iter=500)"
        yield _case("encoder", f"make_pipeline(encoded(TargetEncoder(random_state=0)), {end})", target)
    for each in TEXTS:
        yield _case("text", f"make_pipeline(worded({each}), LR(max_iter=500))", "bin")
    yield _case("text", "make_pipeline(worded(TfidfVectorizer()), MultinomialNB())", "bin")
    yield _case("text", "words alone", "bin", "make_pipeline(TfidfVectorizer(), LR())", ["comment"])
    yield from (_case("structure", *each) for each in STRUCTURES)
    yield from (_case("booster", *each) for each in BOOSTERS)


def _case(
    group: str,
    name: str,
    target: str | None,
    expression: str | None = None,
    columns: list[str] | None = None,
) -> Case:
    return Case(group, name, target, lambda: made(expression or name), columns)
