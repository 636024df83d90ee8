"""Pipelines that only tests train, named on the command line as ``tests.support.pipelines:function``."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import DBSCAN, KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.neighbors import LocalOutlierFactor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    StandardScaler,
)
from sklearn.svm import SVC, LinearSVC

from handler.manifest import Feature
from training.pipelines import scaled

Features = tuple[Feature, ...]

NO_FUNCTION = "a text"


def squared(values: Any) -> Any:
    """An ordinary Python function, of which no ONNX graph can be made."""
    return np.hstack([values, np.square(values)])


def unexportable(features: Features) -> Pipeline:
    """A sound classifier that joblib must serve."""
    return make_pipeline(
        scaled(features),
        FunctionTransformer(squared),
        LogisticRegression(class_weight="balanced", max_iter=1000),
    )


def encoded(features: Features) -> ColumnTransformer:
    """Categories as ordinals first, then numbers imputed: an order in which types differ."""
    numbers = [feature.name for feature in features if feature.kind != "category"]
    categories = [feature.name for feature in features if feature.kind == "category"]
    ordinals = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return ColumnTransformer([("categories", ordinals, categories), ("numbers", SimpleImputer(), numbers)])


def random_forest(features: Features) -> Pipeline:
    return make_pipeline(
        encoded(features), RandomForestClassifier(20, max_depth=6, n_jobs=2, random_state=0)
    )


def gradient_boosting(features: Features) -> Pipeline:
    return make_pipeline(encoded(features), GradientBoostingClassifier(n_estimators=20, random_state=0))


def hist_gradient_boosting(features: Features) -> Pipeline:
    return make_pipeline(encoded(features), HistGradientBoostingClassifier(max_iter=5, random_state=0))


def random_forest_regressor(features: Features) -> Pipeline:
    return make_pipeline(encoded(features), RandomForestRegressor(20, max_depth=6, random_state=0))


def gradient_boosting_regressor(features: Features) -> Pipeline:
    return make_pipeline(encoded(features), GradientBoostingRegressor(n_estimators=20, random_state=0))


def hist_gradient_boosting_regressor(features: Features) -> Pipeline:
    return make_pipeline(encoded(features), HistGradientBoostingRegressor(max_iter=5, random_state=0))


def imputed(features: Features) -> Pipeline:
    """Categories imputed before they are encoded, as notebooks do."""
    numbers = [each.name for each in features if each.kind != "category"]
    categories = [each.name for each in features if each.kind == "category"]
    steps = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    columns = ColumnTransformer([("numbers", SimpleImputer(), numbers), ("categories", steps, categories)])
    return make_pipeline(columns, LogisticRegression(max_iter=1000))


def without_probabilities(features: Features) -> Pipeline:
    return make_pipeline(scaled(features), LinearSVC())


def single_sums(features: Features) -> Pipeline:
    """A booster that sums its trees in float32, which its graph does not."""
    from xgboost import XGBClassifier

    return make_pipeline(scaled(features), XGBClassifier(n_estimators=20, n_jobs=1))


def tuned(features: Features) -> TunedThresholdClassifierCV:
    return TunedThresholdClassifierCV(make_pipeline(scaled(features), LogisticRegression()), scoring="f1")


def fixed(features: Features) -> FixedThresholdClassifier:
    return FixedThresholdClassifier(make_pipeline(scaled(features), LogisticRegression()), threshold=0.25)


def by_decision(features: Features) -> FixedThresholdClassifier:
    """Its threshold is no probability."""
    return FixedThresholdClassifier(
        make_pipeline(scaled(features), LogisticRegression()),
        threshold=0.25,
        response_method="decision_function",
    )


def bare() -> LogisticRegression:
    """No preparation at all; takes no features, and numbers only."""
    return LogisticRegression(max_iter=1000)


def closed(features: Features) -> Pipeline:
    """Refuses categories that it was not fitted on."""
    categories = [feature.name for feature in features if feature.kind == "category"]
    return make_pipeline(
        ColumnTransformer([("categories", OneHotEncoder(), categories)]), LogisticRegression()
    )


def selecting() -> Pipeline:
    """Finds its columns by their type, as scikit-learn's own examples do."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    encoder = OneHotEncoder(handle_unknown="ignore")
    parts = [
        ("categories", encoder, make_column_selector(dtype_include=object)),
        ("numbers", numbers, make_column_selector(dtype_include="number")),
    ]
    return make_pipeline(ColumnTransformer(parts), LogisticRegression(max_iter=1000))


def hurried(features: Features) -> Pipeline:
    """Warns that it did not converge."""
    return make_pipeline(scaled(features), LogisticRegression(max_iter=1))


def unfit(features: Features) -> Pipeline:
    """Fails when it is fitted."""
    return make_pipeline(scaled(features), LogisticRegression(C=-1))


class Fickle(ClassifierMixin, BaseEstimator):
    """A classifier that never gives the same answer twice."""

    def fit(self, _: Any, y: Any) -> Fickle:
        self.classes_ = np.unique(y)
        return self

    def predict(self, rows: Any) -> Any:
        return self.classes_[np.random.default_rng().integers(0, 2, len(rows))]


class Noisy(RegressorMixin, BaseEstimator):
    """A regressor with a little noise on each answer, far less than its tolerance."""

    def fit(self, _: Any, y: Any) -> Noisy:
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, rows: Any) -> Any:
        return self.mean_ * (1 + 1e-7 * np.random.default_rng().normal(size=len(rows)))


def to_single(values: Any) -> Any:
    return np.asarray(values, np.float32)


def single_ridge() -> Pipeline:
    """In float32, whose sums depend on how many rows there are."""
    return make_pipeline(FunctionTransformer(to_single), StandardScaler(), Ridge())


def boosted_line() -> Pipeline:
    boosting = GradientBoostingRegressor(init=LinearRegression(), n_estimators=20, random_state=0)
    return make_pipeline(StandardScaler(), boosting)


def fever() -> Pipeline:
    """Tells at 37.8, and not by what is equal to it; the other columns as they are."""
    parts = [("hot", Binarizer(threshold=37.8), ["temp"])]
    linear = LogisticRegression()
    return make_pipeline(ColumnTransformer(parts, remainder="passthrough"), linear)


def dosed() -> Pipeline:
    parts = [("high", Binarizer(threshold=0.5), ["dose"])]
    return make_pipeline(ColumnTransformer(parts, remainder="passthrough"), LinearRegression())


def cubic() -> Pipeline:
    return make_pipeline(StandardScaler(), SVC(kernel="poly"))


def pairs_of_words() -> Pipeline:
    vectorizer = CountVectorizer(lowercase=False, ngram_range=(1, 2))
    return make_pipeline(ColumnTransformer([("t", vectorizer, "text")]), LogisticRegression())


def lower_words() -> Pipeline:
    return make_pipeline(ColumnTransformer([("t", TfidfVectorizer(), "text")]), LogisticRegression())


def logarithms() -> Pipeline:
    """Refuses what is below -1."""
    return make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression())


def logarithms_without_probabilities() -> Pipeline:
    return make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LinearSVC())


def stretched_forest() -> Pipeline:
    """Refuses what is infinite in float32 once it is scaled."""
    return make_pipeline(MinMaxScaler((0, 1000)), RandomForestClassifier(5, random_state=0))


def unpicklable(features: Features) -> Pipeline:
    return make_pipeline(scaled(features), FunctionTransformer(lambda values: values), LogisticRegression())


def broken() -> Pipeline:
    raise RuntimeError("first line\nsecond line")


def no_estimator() -> str:
    return "a text"


def clusterer() -> KMeans:
    return KMeans(2)


def mixture(features: Features) -> Pipeline:
    """Two clusters with probabilities, and the likelihood as the score."""
    return make_pipeline(
        scaled(features).set_params(sparse_threshold=0.0), GaussianMixture(2, random_state=0)
    )


def mixture_anew(features: Features) -> Pipeline:
    """The same clusters, numbered the other way round."""
    return mixture(features).set_params(gaussianmixture__random_state=1)


def neighbourhoods(features: Features) -> Pipeline:
    """It has no graph."""
    return make_pipeline(scaled(features), LocalOutlierFactor(novelty=True))


def density_clusters(features: Features) -> Pipeline:
    """It predicts no row that it was not fitted on."""
    return make_pipeline(scaled(features), DBSCAN())


def outliers_within(features: Features) -> Pipeline:
    return make_pipeline(scaled(features), LocalOutlierFactor())


def components(features: Features) -> Pipeline:
    """It ends in a transformer."""
    return make_pipeline(scaled(features), PCA(2))


def log_price() -> TransformedTargetRegressor:
    """A price whose logarithm is learnt: far beyond the data it is infinite."""
    return TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1)


def of_logs() -> Pipeline:
    """Refuses rows with a value below -1, of which there is no logarithm."""
    return make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression())


def many_trees() -> RandomForestClassifier:
    return RandomForestClassifier(40, min_samples_leaf=3, random_state=0)


def with_a_gap() -> Pipeline:
    """Refuses values between 50 and 60, and has no graph."""
    return make_pipeline(FunctionTransformer(outside_the_gap), StandardScaler(), LogisticRegression())


def outside_the_gap(frame: Any) -> Any:
    if ((frame["x"] > 50) & (frame["x"] < 60)).any():
        raise ValueError("in the gap")
    return frame


def texts_alone() -> Pipeline:
    """The usual classifier of texts, which is fitted on a list of them."""
    return make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression())


def texts_by_hash() -> Pipeline:
    return make_pipeline(HashingVectorizer(n_features=4096), LogisticRegression())


def halves(text: str) -> list[str]:
    return [text[: len(text) // 2], text[len(text) // 2 :]]


def texts_by_own_code() -> Pipeline:
    """A tokenizer of which no graph can be made."""
    return make_pipeline(TfidfVectorizer(tokenizer=halves, token_pattern=None), LogisticRegression())


def _fitted(estimator: Any) -> Any:
    return estimator.fit(np.arange(8.0).reshape(4, 2), [0, 1, 0, 1])


def fitted_already() -> LogisticRegression:
    """What a notebook would pickle."""
    return _fitted(LogisticRegression())


def fitted_steps() -> Pipeline:
    return _fitted(make_pipeline(StandardScaler(), LogisticRegression()))


def of_frozen() -> Pipeline:
    """A scaler that is not fitted, before a classifier that is, and that no training changes."""
    return make_pipeline(StandardScaler(), FrozenEstimator(_fitted(LogisticRegression())))


def with_a_fitted_step() -> Pipeline:
    return make_pipeline(_fitted(StandardScaler()), LogisticRegression())


def around_frozen() -> CalibratedClassifierCV:
    """A calibration that is not fitted, of a classifier that is."""
    return CalibratedClassifierCV(FrozenEstimator(_fitted(LogisticRegression())))
