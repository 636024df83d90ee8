"""Estimators of every kind that people put behind a service, each a pipeline over mixed columns.

``ESTIMATORS`` is the table of docs/estimators.md: what a row is called, how it is built, and which runtime
and engine are expected to serve it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import (
    calibration,
    cluster,
    covariance,
    ensemble,
    mixture,
    naive_bayes,
    neighbors,
    neural_network,
    svm,
    tree,
)
from sklearn import discriminant_analysis as discriminant
from sklearn import linear_model as linear
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline, make_pipeline
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

from handler.bundle import Feature

Features = tuple[Feature, ...]


def columns(features: Features, *numeric: Any, encoder: Any = None) -> ColumnTransformer:
    """Numbers through the given steps, categories through the encoder (one-hot)."""
    encoder = encoder or OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    numbers = [feature.name for feature in features if feature.kind != "category"]
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


@dataclass(frozen=True, slots=True)
class Row:
    """``target``: ``class`` (three texts), ``dear`` (yes or no) or ``price``; else what is learnt without one:
    ``anomalies`` or ``clusters``. ``engine``: of one row.
    """

    name: str
    target: str
    build: Callable[[Features], Any]
    runtime: str = "onnx"
    engine: str = "scalar"


def _row(name: str, target: str, last: Any, before: Any = scaled, **expected: str) -> Row:
    def build(features: Features) -> Pipeline:
        from sklearn.base import clone

        return make_pipeline(before(features), clone(last))

    return Row(name, target, build, **expected)


def _around(wrap: Callable[[Any], Any]) -> Callable[[Features], Any]:
    """A wrapper around a whole pipeline."""
    return lambda features: wrap(make_pipeline(scaled(features), linear.LogisticRegression(max_iter=1000)))


def _numeric(*steps: Any) -> Callable[[Features], ColumnTransformer]:
    return lambda features: columns(features, SimpleImputer(), *steps)


_forest = ensemble.RandomForestClassifier(30, max_depth=6, random_state=0)
_logistic = linear.LogisticRegression(max_iter=1000)
_few = ensemble.GradientBoostingClassifier(n_estimators=15, random_state=0)

ESTIMATORS = (
    _row("LogisticRegression, two classes", "dear", _logistic),
    _row("LogisticRegression, three classes", "class", _logistic),
    _row("LinearRegression", "price", linear.LinearRegression()),
    _row("Ridge", "price", linear.Ridge()),
    _row("Lasso", "price", linear.Lasso(0.1)),
    _row("ElasticNet", "price", linear.ElasticNet(0.1)),
    _row("RidgeClassifier", "class", linear.RidgeClassifier()),
    _row("SGDClassifier (log loss)", "dear", linear.SGDClassifier(loss="log_loss", random_state=0)),
    _row("LinearSVC", "dear", svm.LinearSVC()),
    _row(
        "SVC with probabilities",
        "dear",
        calibration.CalibratedClassifierCV(svm.SVC(), ensemble=False),
        engine="onnx",
    ),
    _row("SVR", "price", svm.SVR(), engine="onnx"),
    _row("DecisionTreeClassifier", "class", tree.DecisionTreeClassifier(max_depth=8), ordinal),
    _row("DecisionTreeRegressor", "price", tree.DecisionTreeRegressor(max_depth=8), ordinal),
    _row("RandomForestClassifier", "class", _forest, ordinal),
    _row("RandomForestClassifier, missing values", "dear", _forest, gaps),
    _row(
        "RandomForestRegressor",
        "price",
        ensemble.RandomForestRegressor(30, max_depth=6, random_state=0),
        ordinal,
    ),
    _row("ExtraTreesClassifier", "dear", ensemble.ExtraTreesClassifier(30, max_depth=6, random_state=0)),
    _row("ExtraTreesRegressor", "price", ensemble.ExtraTreesRegressor(30, max_depth=6, random_state=0)),
    _row("GradientBoostingClassifier, two classes", "dear", _few),
    _row("GradientBoostingClassifier, three classes", "class", _few, ordinal),
    _row(
        "GradientBoostingClassifier (exponential loss)",
        "dear",
        ensemble.GradientBoostingClassifier(n_estimators=15, loss="exponential", random_state=0),
    ),
    _row(
        "GradientBoostingRegressor", "price", ensemble.GradientBoostingRegressor(n_estimators=30), ordinal
    ),
    _row(
        "HistGradientBoostingClassifier, two classes",
        "dear",
        ensemble.HistGradientBoostingClassifier(max_iter=20),
        gaps,
    ),
    _row(
        "HistGradientBoostingClassifier, three classes",
        "class",
        ensemble.HistGradientBoostingClassifier(max_iter=20),
        gaps,
    ),
    _row(
        "HistGradientBoostingRegressor", "price", ensemble.HistGradientBoostingRegressor(max_iter=20), gaps
    ),
    _row("BaggingClassifier", "dear", ensemble.BaggingClassifier(n_estimators=5, random_state=0)),
    _row("AdaBoostClassifier", "dear", ensemble.AdaBoostClassifier(n_estimators=10, random_state=0)),
    _row("MLPClassifier", "class", neural_network.MLPClassifier((16,), max_iter=40, tol=1, random_state=0)),
    _row(
        "MLPRegressor",
        "price",
        neural_network.MLPRegressor(hidden_layer_sizes=(16,), max_iter=40, tol=1e9, random_state=0),
    ),
    _row("GaussianNB", "class", naive_bayes.GaussianNB()),
    _row("BernoulliNB", "dear", naive_bayes.BernoulliNB()),
    _row("LinearDiscriminantAnalysis", "class", discriminant.LinearDiscriminantAnalysis()),
    _row(
        "KNeighborsClassifier", "class", neighbors.KNeighborsClassifier(), runtime="joblib", engine="joblib"
    ),
    _row("CalibratedClassifierCV (sigmoid)", "dear", calibration.CalibratedClassifierCV(_forest, cv=2)),
    _row(
        "CalibratedClassifierCV (isotonic)",
        "dear",
        calibration.CalibratedClassifierCV(svm.LinearSVC(), method="isotonic", cv=2),
        runtime="joblib",
        engine="joblib",
    ),
    _row(
        "VotingClassifier (soft)",
        "class",
        ensemble.VotingClassifier([("a", _logistic), ("b", _forest)], voting="soft"),
    ),
    _row("VotingClassifier (hard)", "class", ensemble.VotingClassifier([("a", _logistic), ("b", _forest)])),
    _row(
        "VotingRegressor",
        "price",
        ensemble.VotingRegressor([("a", linear.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=5))]),
    ),
    _row(
        "StackingClassifier",
        "dear",
        ensemble.StackingClassifier([("a", _logistic), ("b", _forest)], cv=2),
    ),
    _row(
        "StackingRegressor",
        "price",
        ensemble.StackingRegressor(
            [("a", linear.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=5))], cv=2
        ),
    ),
    Row(
        "TunedThresholdClassifierCV",
        "dear",
        _around(lambda inner: TunedThresholdClassifierCV(inner, scoring="balanced_accuracy", cv=3)),
    ),
    Row(
        "FixedThresholdClassifier",
        "dear",
        _around(
            lambda inner: FixedThresholdClassifier(inner, threshold=0.3, response_method="predict_proba")
        ),
    ),
    Row(
        "GridSearchCV",
        "dear",
        _around(lambda inner: GridSearchCV(inner, {"logisticregression__C": [0.1, 1]}, cv=2)),
    ),
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
    _row("IsolationForest", "anomalies", ensemble.IsolationForest(random_state=0), gaps),
    _row("OneClassSVM", "anomalies", svm.OneClassSVM(nu=0.1)),
    _row("SGDOneClassSVM", "anomalies", linear.SGDOneClassSVM(random_state=0)),
    _row("EllipticEnvelope", "anomalies", covariance.EllipticEnvelope(random_state=0)),
    _row(
        "LocalOutlierFactor (novelty)",
        "anomalies",
        neighbors.LocalOutlierFactor(novelty=True),
        runtime="joblib",
        engine="joblib",
    ),
    _row("KMeans", "clusters", cluster.KMeans(5, n_init=1, random_state=0)),
    _row("MiniBatchKMeans", "clusters", cluster.MiniBatchKMeans(5, n_init=1, random_state=0)),
    _row("BisectingKMeans", "clusters", cluster.BisectingKMeans(5, random_state=0)),
    _row("MeanShift", "clusters", cluster.MeanShift(bandwidth=3.0, bin_seeding=True)),
    _row("Birch", "clusters", cluster.Birch(n_clusters=4, threshold=1.0)),
    _row("GaussianMixture", "clusters", mixture.GaussianMixture(3, random_state=0)),
    _row(
        "BayesianGaussianMixture",
        "clusters",
        mixture.BayesianGaussianMixture(n_components=3, max_iter=500, random_state=0),
    ),
)
