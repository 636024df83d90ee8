"""Every estimator of scikit-learn that predicts, each in a pipeline over mixed columns.

``ESTIMATORS`` is the table of docs/estimators.md: what a row is called (it begins with its class), how it
is built, which engines are expected to serve it, and why not others. ``REFUSED`` are those that are not
trained.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import catboost
import lightgbm
import numpy as np
import xgboost
from sklearn import (
    calibration,
    cluster,
    covariance,
    cross_decomposition,
    dummy,
    ensemble,
    isotonic,
    kernel_ridge,
    mixture,
    multiclass,
    naive_bayes,
    neighbors,
    neural_network,
    semi_supervised,
    svm,
    tree,
)
from sklearn import discriminant_analysis as discriminant
from sklearn import gaussian_process as gaussian
from sklearn import linear_model as linear
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.gaussian_process import kernels
from sklearn.impute import SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline, make_pipeline, make_union
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from handler.manifest import Feature

Features = tuple[Feature, ...]


def columns(features: Features, *numeric: Any, encoder: Any = None) -> ColumnTransformer:
    """Numbers through the given steps, categories through the encoder (one-hot)."""
    encoder = encoder or OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    numbers = [feature.name for feature in features if not feature.is_text]
    categories = [feature.name for feature in features if feature.kind == "category"]
    parts = [("numbers", make_pipeline(*numeric), numbers), ("categories", encoder, categories)]
    return ColumnTransformer([part for part in parts if part[2]])


def scaled(features: Features) -> ColumnTransformer:
    return columns(features, SimpleImputer(strategy="median"), StandardScaler())


def ordinal(features: Features) -> ColumnTransformer:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return columns(features, SimpleImputer(strategy="median"), encoder=encoder)


def gaps(features: Features) -> ColumnTransformer:
    """Missing numbers stay missing."""
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    return columns(features, "passthrough", encoder=encoder)


def few(features: Features) -> ColumnTransformer:
    """Two numbers: for estimators that keep the rows that they were fitted on."""
    numbers = [feature.name for feature in features if feature.kind != "category"][:2]
    return ColumnTransformer([("two", make_pipeline(SimpleImputer(), StandardScaler()), numbers)])


def one(features: Features) -> ColumnTransformer:
    """One number."""
    (first, *_) = [feature.name for feature in features if feature.kind != "category"]
    return ColumnTransformer([("one", SimpleImputer(), [first])])


def positive(features: Features) -> ColumnTransformer:
    """Numbers from 0 to 1."""
    return columns(features, SimpleImputer(), MinMaxScaler())


def codes(features: Features) -> ColumnTransformer:
    """Categories as whole numbers; unknown ones are refused."""
    categories = [feature.name for feature in features if feature.kind == "category"]
    return ColumnTransformer([("codes", OrdinalEncoder(), categories)])


@dataclass(frozen=True, slots=True)
class Row:
    """``target``: ``class`` (three texts), ``dear`` (yes or no) or ``price``; ``y`` of reviews; or what is
    learnt without one, ``anomalies`` or ``clusters``.

    ``runtime``: of many rows. ``engine``: of one row. ``reason``: what the gate's reason has in it, where
    joblib serves.
    """

    name: str
    target: str
    build: Callable[[Features], Any]
    runtime: str = "onnx"
    engine: str = "scalar"
    reason: str = ""


def _row(name: str, target: str, last: Any, before: Any = scaled, **expected: str) -> Row:
    def build(features: Features) -> Pipeline:
        return make_pipeline(before(features), clone(last))

    return Row(name, target, build, **expected)


def _pickled(name: str, target: str, last: Any, reason: str, before: Any = scaled) -> Row:
    """One that joblib serves."""
    return _row(name, target, last, before, runtime="joblib", engine="joblib", reason=reason)


def _around(name: str, wrap: Callable[[Any], Any]) -> Row:
    """A wrapper around a whole pipeline of two classes."""
    return Row(
        name,
        "dear",
        lambda features: wrap(make_pipeline(scaled(features), linear.LogisticRegression(max_iter=1000))),
    )


def _words(name: str, last: Any, *steps: Any) -> Row:
    """The comment of reviews through these steps, beside a number and a category."""

    def build(features: Features) -> Pipeline:
        others = columns(features, MinMaxScaler()).transformers
        parts = [("words", make_pipeline(*map(clone, steps)), "comment"), *others]
        return make_pipeline(ColumnTransformer(parts), clone(last))

    return Row(name, "y", build)


def _numeric(*steps: Any) -> Callable[[Features], ColumnTransformer]:
    return lambda features: columns(features, SimpleImputer(), *steps)


def _deprecated(kind: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kind(random_state=0)


_forest = ensemble.RandomForestClassifier(10, max_depth=5, random_state=0)
_logistic = linear.LogisticRegression(max_iter=1000)
_margin = svm.LinearSVC(random_state=0)
_svd = TruncatedSVD(5, random_state=0)
_few = ensemble.GradientBoostingClassifier(n_estimators=15, random_state=0)
_NEIGHBOURS = "which of several neighbours at the same distance count"

LINEAR_CLASSIFIERS = (
    _row("LogisticRegression, two classes", "dear", _logistic),
    _row("LogisticRegression, three classes", "class", _logistic),
    _row("LogisticRegressionCV", "class", linear.LogisticRegressionCV(cv=2, Cs=2, max_iter=1000)),
    _row("LinearDiscriminantAnalysis, two classes", "dear", discriminant.LinearDiscriminantAnalysis()),
    _row("LinearDiscriminantAnalysis, three classes", "class", discriminant.LinearDiscriminantAnalysis()),
    _row(
        "QuadraticDiscriminantAnalysis",
        "class",
        discriminant.QuadraticDiscriminantAnalysis(reg_param=0.1),
        few,
    ),
    _row("LinearSVC", "dear", _margin),
    _row("PassiveAggressiveClassifier", "class", _deprecated(linear.PassiveAggressiveClassifier)),
    _row("Perceptron", "class", linear.Perceptron(random_state=0)),
    _row("RidgeClassifier", "class", linear.RidgeClassifier()),
    _row("RidgeClassifierCV", "dear", linear.RidgeClassifierCV()),
    *(
        _row(f"SGDClassifier ({loss})", target, linear.SGDClassifier(loss=loss, random_state=0))
        for loss, target in (
            ("hinge", "class"),
            ("log_loss", "dear"),
            ("log_loss", "class"),
            ("modified_huber", "dear"),
            ("modified_huber", "class"),
        )
    ),
)

OTHER_CLASSIFIERS = (
    _row("DecisionTreeClassifier", "class", tree.DecisionTreeClassifier(max_depth=8), ordinal),
    _row("ExtraTreeClassifier", "class", tree.ExtraTreeClassifier(max_depth=8, random_state=0), ordinal),
    _row("RandomForestClassifier", "class", _forest, ordinal),
    _row("RandomForestClassifier, missing values", "dear", _forest, gaps),
    _row("ExtraTreesClassifier", "dear", ensemble.ExtraTreesClassifier(10, max_depth=6, random_state=0)),
    _row("GradientBoostingClassifier, two classes", "dear", _few),
    _row("GradientBoostingClassifier, three classes", "class", _few, ordinal),
    _row(
        "GradientBoostingClassifier (exponential loss)",
        "dear",
        ensemble.GradientBoostingClassifier(n_estimators=15, loss="exponential"),
    ),
    _pickled(
        "GradientBoostingClassifier (init=LogisticRegression())",
        "dear",
        ensemble.GradientBoostingClassifier(n_estimators=5, init=_logistic),
        "initial estimator of its own",
    ),
    _row(
        "HistGradientBoostingClassifier, two classes",
        "dear",
        ensemble.HistGradientBoostingClassifier(max_iter=15),
        gaps,
    ),
    _row(
        "HistGradientBoostingClassifier, three classes",
        "class",
        ensemble.HistGradientBoostingClassifier(max_iter=15),
        gaps,
    ),
    _row("MLPClassifier", "class", neural_network.MLPClassifier((16,), max_iter=40, tol=1, random_state=0)),
    _row("BernoulliNB", "class", naive_bayes.BernoulliNB()),
    _row("CategoricalNB", "class", naive_bayes.CategoricalNB(), codes),
    _row("ComplementNB", "class", naive_bayes.ComplementNB(), positive),
    _row("GaussianNB", "class", naive_bayes.GaussianNB()),
    _row("MultinomialNB", "dear", naive_bayes.MultinomialNB(), positive),
    *(
        _row(f"SVC ({kernel} kernel)", target, svm.SVC(kernel=kernel), few)
        for kernel, target in (
            ("rbf", "dear"),
            ("rbf", "class"),
            ("linear", "dear"),
            ("poly", "dear"),
            ("sigmoid", "dear"),
        )
    ),
    _row("SVC (break_ties=True)", "class", svm.SVC(break_ties=True), few),
    _row("NuSVC", "dear", svm.NuSVC(), few),
    _pickled("SVC (probability=True)", "dear", svm.SVC(probability=True), "is exported", few),
    _row("LabelPropagation", "dear", semi_supervised.LabelPropagation(gamma=0.5), few),
    _row("LabelSpreading", "class", semi_supervised.LabelSpreading(gamma=0.5), few),
    _row("NearestCentroid (metric='manhattan')", "class", neighbors.NearestCentroid(metric="manhattan")),
    _pickled("NearestCentroid", "class", neighbors.NearestCentroid(), "what rounding leaves"),
    _pickled("KNeighborsClassifier", "class", neighbors.KNeighborsClassifier(), _NEIGHBOURS),
    _pickled("RadiusNeighborsClassifier", "dear", neighbors.RadiusNeighborsClassifier(1e6), _NEIGHBOURS),
    _pickled(
        "GaussianProcessClassifier", "dear", gaussian.GaussianProcessClassifier(), "the error function", few
    ),
    *(
        _row(f"DummyClassifier (strategy='{strategy}')", "class", dummy.DummyClassifier(strategy=strategy))
        for strategy in ("prior", "most_frequent")
    ),
)

CLASSIFIERS_OF_OTHERS = (
    _row("AdaBoostClassifier", "dear", ensemble.AdaBoostClassifier(n_estimators=10, random_state=0)),
    _row(
        "AdaBoostClassifier, three classes",
        "class",
        ensemble.AdaBoostClassifier(n_estimators=5, random_state=0),
    ),
    _row("BaggingClassifier", "dear", ensemble.BaggingClassifier(n_estimators=5, random_state=0)),
    *(
        _row(
            f"CalibratedClassifierCV ({method}, of {type(inner).__name__})",
            target,
            calibration.CalibratedClassifierCV(inner, method=method, cv=2, ensemble=together),
        )
        for method, inner, target, together in (
            ("sigmoid", _forest, "dear", True),
            ("sigmoid", _margin, "class", True),
            ("isotonic", _margin, "dear", False),
            ("isotonic", _forest, "class", True),
            ("temperature", _margin, "class", True),
            ("temperature", _forest, "dear", False),
        )
    ),
    _row(
        "CalibratedClassifierCV (of SVC)", "dear", calibration.CalibratedClassifierCV(svm.SVC(), cv=2), few
    ),
    _row("OneVsRestClassifier", "class", multiclass.OneVsRestClassifier(_margin)),
    _row("OneVsRestClassifier (of forests)", "class", multiclass.OneVsRestClassifier(_forest)),
    _row("OneVsOneClassifier", "class", multiclass.OneVsOneClassifier(_margin)),
    _row("OutputCodeClassifier", "class", multiclass.OutputCodeClassifier(_margin, random_state=0)),
    _row("SelfTrainingClassifier", "class", semi_supervised.SelfTrainingClassifier(_logistic)),
    _row(
        "StackingClassifier",
        "dear",
        ensemble.StackingClassifier([("a", _logistic), ("b", _forest)], cv=2),
    ),
    _row(
        "VotingClassifier (soft)",
        "class",
        ensemble.VotingClassifier([("a", _logistic), ("b", _forest)], voting="soft"),
    ),
    _row("VotingClassifier (hard)", "class", ensemble.VotingClassifier([("a", _logistic), ("b", _forest)])),
    _around(
        "TunedThresholdClassifierCV",
        lambda inner: TunedThresholdClassifierCV(inner, scoring="balanced_accuracy", cv=3),
    ),
    _around(
        "FixedThresholdClassifier",
        lambda inner: FixedThresholdClassifier(inner, threshold=0.3, response_method="predict_proba"),
    ),
    _around(
        "FixedThresholdClassifier (for the first class)",
        lambda inner: FixedThresholdClassifier(inner, threshold=0.7, pos_label="no"),
    ),
    _around(
        "FixedThresholdClassifier (of decision_function)",
        lambda inner: FixedThresholdClassifier(inner, threshold=0.5, response_method="decision_function"),
    ),
    _around("GridSearchCV", lambda inner: GridSearchCV(inner, {"logisticregression__C": [0.1, 1]}, cv=2)),
)

LINEAR_REGRESSORS = tuple(
    _row(type(each).__name__, "price", each)
    for each in (
        linear.ARDRegression(),
        linear.BayesianRidge(),
        linear.ElasticNet(0.1),
        linear.ElasticNetCV(cv=2, alphas=5),
        linear.GammaRegressor(),
        linear.HuberRegressor(max_iter=1000),
        linear.Lars(),
        linear.LarsCV(cv=2),
        linear.Lasso(0.1),
        linear.LassoCV(cv=2, alphas=5),
        linear.LassoLars(0.1),
        linear.LassoLarsCV(cv=2),
        linear.LassoLarsIC(),
        linear.LinearRegression(),
        svm.LinearSVR(random_state=0),
        linear.OrthogonalMatchingPursuit(),
        linear.OrthogonalMatchingPursuitCV(cv=2),
        _deprecated(linear.PassiveAggressiveRegressor),
        linear.PoissonRegressor(),
        linear.QuantileRegressor(alpha=0.01),
        linear.RANSACRegressor(random_state=0),
        linear.Ridge(),
        linear.RidgeCV(),
        linear.SGDRegressor(random_state=0),
        linear.TheilSenRegressor(max_subpopulation=100, random_state=0),
        linear.TweedieRegressor(power=1.5),
        cross_decomposition.CCA(n_components=1),
        cross_decomposition.PLSCanonical(n_components=1),
        cross_decomposition.PLSRegression(),
    )
)

OTHER_REGRESSORS = (
    _row("DecisionTreeRegressor", "price", tree.DecisionTreeRegressor(max_depth=8), ordinal),
    _row("ExtraTreeRegressor", "price", tree.ExtraTreeRegressor(max_depth=8, random_state=0), ordinal),
    _row("RandomForestRegressor", "price", ensemble.RandomForestRegressor(10, max_depth=6, random_state=0)),
    _row("ExtraTreesRegressor", "price", ensemble.ExtraTreesRegressor(10, max_depth=6, random_state=0)),
    _row("GradientBoostingRegressor", "price", ensemble.GradientBoostingRegressor(n_estimators=15)),
    _row(
        "HistGradientBoostingRegressor", "price", ensemble.HistGradientBoostingRegressor(max_iter=15), gaps
    ),
    _row("AdaBoostRegressor", "price", ensemble.AdaBoostRegressor(n_estimators=10, random_state=0)),
    _row(
        "AdaBoostRegressor (of Ridge)",
        "price",
        ensemble.AdaBoostRegressor(linear.Ridge(), n_estimators=5, random_state=0),
    ),
    _row("BaggingRegressor", "price", ensemble.BaggingRegressor(n_estimators=5, random_state=0)),
    _row(
        "MLPRegressor",
        "price",
        neural_network.MLPRegressor(hidden_layer_sizes=(16,), max_iter=40, tol=1e9, random_state=0),
    ),
    _row("SVR", "price", svm.SVR(C=1000), few),
    _row("NuSVR", "price", svm.NuSVR(C=1000), few),
    *(
        _row(
            f"KernelRidge ({kernel} kernel)",
            "price",
            kernel_ridge.KernelRidge(kernel=kernel, gamma=0.1),
            few,
        )
        for kernel in ("linear", "rbf", "poly", "laplacian")
    ),
    _row(
        "GaussianProcessRegressor",
        "price",
        gaussian.GaussianProcessRegressor(
            kernels.RBF(2.0) + kernels.WhiteKernel(), optimizer=None, normalize_y=True
        ),
        few,
    ),
    _row("IsotonicRegression", "price", isotonic.IsotonicRegression(out_of_bounds="clip"), one),
    _row("IsotonicRegression (out_of_bounds='nan')", "price", isotonic.IsotonicRegression(), one),
    _pickled("KNeighborsRegressor", "price", neighbors.KNeighborsRegressor(), _NEIGHBOURS),
    _pickled("RadiusNeighborsRegressor", "price", neighbors.RadiusNeighborsRegressor(), _NEIGHBOURS),
    *(
        _row(f"DummyRegressor (strategy='{strategy}')", "price", dummy.DummyRegressor(strategy=strategy))
        for strategy in ("mean", "median")
    ),
    _row(
        "VotingRegressor",
        "price",
        ensemble.VotingRegressor([("a", linear.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=5))]),
    ),
    _row(
        "StackingRegressor",
        "price",
        ensemble.StackingRegressor(
            [("a", linear.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=5))], cv=2
        ),
    ),
    _row(
        "TransformedTargetRegressor",
        "price",
        TransformedTargetRegressor(linear.Ridge(), transformer=StandardScaler()),
    ),
)

AFTER_TRANSFORMERS = (
    _row("Ridge after polynomial features", "price", linear.Ridge(), _numeric(PolynomialFeatures(2))),
    _row("LogisticRegression after MinMaxScaler", "dear", _logistic, _numeric(MinMaxScaler())),
    _row("LogisticRegression after MaxAbsScaler", "dear", _logistic, _numeric(MaxAbsScaler())),
    _row("LogisticRegression after RobustScaler", "dear", _logistic, _numeric(RobustScaler())),
    _row(
        "LogisticRegression after missing-value indicators",
        "dear",
        _logistic,
        lambda features: columns(features, SimpleImputer(add_indicator=True), StandardScaler()),
    ),
    _row(
        "LogisticRegression after FunctionTransformer (log1p)",
        "dear",
        _logistic,
        _numeric(FunctionTransformer(np.abs), FunctionTransformer(np.log1p)),
    ),
    _words("LogisticRegression after TfidfVectorizer", _logistic, TfidfVectorizer()),
    _words("LogisticRegression after TfidfVectorizer and TruncatedSVD", _logistic, TfidfVectorizer(), _svd),
    _words("MultinomialNB after CountVectorizer", naive_bayes.MultinomialNB(), CountVectorizer()),
    _words(
        "LinearSVC after TfidfVectorizer of words and letters",
        svm.LinearSVC(),
        make_union(TfidfVectorizer(), TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4))),
    ),
    _words(
        "SGDClassifier after HashingVectorizer",
        linear.SGDClassifier(loss="log_loss", random_state=0),
        HashingVectorizer(n_features=4096),
    ),
    _words(
        "RandomForestClassifier after CountVectorizer and TfidfTransformer",
        _forest,
        CountVectorizer(),
        TfidfTransformer(),
    ),
)

WITHOUT_TARGET = (
    _row("IsolationForest", "anomalies", ensemble.IsolationForest(random_state=0), gaps),
    _row("OneClassSVM", "anomalies", svm.OneClassSVM(nu=0.1)),
    _row("SGDOneClassSVM", "anomalies", linear.SGDOneClassSVM(random_state=0)),
    _row("EllipticEnvelope", "anomalies", covariance.EllipticEnvelope(random_state=0), few),
    _pickled("LocalOutlierFactor", "anomalies", neighbors.LocalOutlierFactor(novelty=True), "neighbours"),
    _row("KMeans", "clusters", cluster.KMeans(4, n_init=1, random_state=0)),
    _row("MiniBatchKMeans", "clusters", cluster.MiniBatchKMeans(4, n_init=1, random_state=0)),
    _row("BisectingKMeans", "clusters", cluster.BisectingKMeans(5, random_state=0)),
    _row("MeanShift", "clusters", cluster.MeanShift(bandwidth=3.0)),
    _row(
        "AffinityPropagation",
        "clusters",
        cluster.AffinityPropagation(damping=0.9, max_iter=1000, random_state=0),
    ),
    _row("Birch", "clusters", cluster.Birch(n_clusters=4, threshold=1.0)),
    _row("GaussianMixture", "clusters", mixture.GaussianMixture(3, random_state=0)),
    _row(
        "BayesianGaussianMixture",
        "clusters",
        mixture.BayesianGaussianMixture(n_components=3, random_state=0),
    ),
)

_QUIET: Any = {"n_jobs": 1, "verbose": -1}
_CAT: Any = {"iterations": 30, "verbose": 0, "allow_writing_files": False, "thread_count": 1}
#: Of other libraries, from their own trees.
BOOSTERS = (
    _row(
        "XGBClassifier (in a VotingClassifier, which encodes its labels)",
        "class",
        ensemble.VotingClassifier(
            [("xgb", xgboost.XGBClassifier(n_estimators=30, n_jobs=1))], voting="soft"
        ),
        gaps,
    ),
    _row("XGBRegressor", "price", xgboost.XGBRegressor(n_estimators=30, n_jobs=1), gaps),
    _row("XGBRFRegressor", "price", xgboost.XGBRFRegressor(n_estimators=30, n_jobs=1), gaps),
    _row("LGBMClassifier, two classes", "dear", lightgbm.LGBMClassifier(n_estimators=30, **_QUIET), gaps),
    _row(
        "LGBMClassifier, three classes", "class", lightgbm.LGBMClassifier(n_estimators=30, **_QUIET), gaps
    ),
    _row("LGBMRegressor", "price", lightgbm.LGBMRegressor(n_estimators=30, **_QUIET), gaps),
    _pickled(
        "LGBMRegressor (linear_tree=True)",
        "price",
        lightgbm.LGBMRegressor(n_estimators=30, linear_tree=True, **_QUIET),
        "linear_tree=True",
        gaps,
    ),
    _row("CatBoostClassifier, two classes", "dear", catboost.CatBoostClassifier(**_CAT), gaps),
    _row("CatBoostClassifier, three classes", "class", catboost.CatBoostClassifier(**_CAT), gaps),
    _row("CatBoostRegressor", "price", catboost.CatBoostRegressor(**_CAT), gaps),
)

ESTIMATORS = (
    *LINEAR_CLASSIFIERS, *OTHER_CLASSIFIERS, *CLASSIFIERS_OF_OTHERS, *LINEAR_REGRESSORS, *OTHER_REGRESSORS,
    *AFTER_TRANSFORMERS, *WITHOUT_TARGET, *BOOSTERS,
)  # fmt: skip

_SEVERAL = "It is for several targets, and a model has one."
_ONLY_ITS_OWN = "It cannot predict rows that it was not fitted on."
#: Those that are not trained, and why.
REFUSED = {
    "AgglomerativeClustering": _ONLY_ITS_OWN,
    "DBSCAN": _ONLY_ITS_OWN,
    "FeatureAgglomeration": "It puts features into groups, not rows.",
    "HDBSCAN": _ONLY_ITS_OWN,
    "OPTICS": _ONLY_ITS_OWN,
    "SpectralClustering": _ONLY_ITS_OWN,
    "ClassifierChain": _SEVERAL,
    "MultiOutputClassifier": _SEVERAL,
    "MultiOutputRegressor": _SEVERAL,
    "MultiTaskElasticNet": _SEVERAL,
    "MultiTaskElasticNetCV": _SEVERAL,
    "MultiTaskLasso": _SEVERAL,
    "MultiTaskLassoCV": _SEVERAL,
    "RegressorChain": _SEVERAL,
    "DummyClassifier (strategy='stratified')": "It answers at random: the same row gets other answers.",
    "DummyClassifier (strategy='uniform')": "It answers at random: the same row gets other answers.",
}
