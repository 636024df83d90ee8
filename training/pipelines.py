"""The pipelines with names: plain functions from the features to an unfitted scikit-learn Pipeline.

A user's own pipeline is the same, in any importable module: ``--pipeline module:function``. The
function may take the features, or nothing, and by the keyword ``classifies`` whether the target has
classes. A pipeline that ends in an outlier detector or a clusterer takes no target. It is fitted on a
DataFrame with one column per feature: float64 for ``integer``, ``number`` and
``boolean`` (NaN where missing), text for ``category`` and ``text``. A date is several features and columns:
its parts (``handler.dates.parts``). A missing text is NaN, as in pandas, in
a column where an imputer, a ``MissingIndicator`` or an encoder looks for NaN (None, where it looks for
that); elsewhere it is the empty text: see ``training.feeding``. A pipeline that starts with a text
vectorizer is fitted on the texts of its only feature, shape (n,).
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone, is_classifier, is_regressor
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LassoCV,
    LinearRegression,
    LogisticRegression,
    MultiTaskElasticNet,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
    Ridge,
)
from sklearn.model_selection._search import BaseSearchCV
from sklearn.multioutput import (
    ClassifierChain,
    MultiOutputClassifier,
    MultiOutputRegressor,
    RegressorChain,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils.validation import check_is_fitted

from handler.manifest import Feature, Task
from training.compat import get_tags
from training.errors import TrainingError, one_line

Features = tuple[Feature, ...]
#: Estimators that are fitted on a table of targets.
SEVERAL_TARGETS = (
    ClassifierChain, MultiOutputClassifier, MultiOutputRegressor, MultiTaskElasticNet,
    MultiTaskElasticNetCV, MultiTaskLasso, MultiTaskLassoCV, RegressorChain,
)  # fmt: skip
FOREST: Mapping[str, Any] = {"max_depth": 12, "min_samples_leaf": 5, "random_state": 0, "n_jobs": -1}


def logistic(features: Features) -> Pipeline:
    """Logistic regression that weighs the classes equally, however rare one of them is."""
    return make_pipeline(scaled(features), LogisticRegression(class_weight="balanced", max_iter=1000))


def linear(features: Features) -> Pipeline:
    """Linear regression by least squares."""
    return make_pipeline(scaled(features), LinearRegression())


def scaled(features: Features) -> ColumnTransformer:
    """Numbers are imputed by their median and scaled; categories are one-hot, a missing one being its own.

    An unknown category is taken as none of the known ones. Words of free text are weighed by tf-idf.
    """
    numbers = [feature.name for feature in features if not feature.is_text]
    categories = [feature.name for feature in features if feature.kind == "category"]
    nullable = any(feature.nullable for feature in features if not feature.is_text)
    steps = [SimpleImputer(strategy="median"), StandardScaler()] if nullable else [StandardScaler()]
    parts = [
        ("numbers", make_pipeline(*steps), numbers),
        ("categories", OneHotEncoder(handle_unknown="ignore"), categories),
        *_vectorized(features, 20_000),
    ]
    return ColumnTransformer([part for part in parts if part[2]])


def ridge(features: Features) -> Pipeline:
    """Linear regression with a squared penalty."""
    return make_pipeline(scaled(features), Ridge())


def lasso(features: Features) -> Pipeline:
    """Linear regression that leaves features out; the penalty is chosen by cross-validation."""
    return make_pipeline(scaled(features), LassoCV(max_iter=10_000))


def naive_bayes(features: Features) -> Pipeline:
    """Gaussian naive Bayes."""
    dense = scaled(features).set_params(sparse_threshold=0.0)  # GaussianNB takes nothing else
    # Without smoothing, a rare category, whose variance is next to nothing, would outweigh all others.
    return make_pipeline(dense, GaussianNB(var_smoothing=0.1))


def svc(features: Features) -> Pipeline:
    """A linear support vector classifier with calibrated probabilities."""
    linear_svc = LinearSVC(class_weight="balanced", random_state=0)
    return make_pipeline(scaled(features), CalibratedClassifierCV(linear_svc, ensemble=False))


def decision_tree(features: Features, *, classifies: bool) -> Pipeline:
    """One tree of at most eight levels."""
    tree = DecisionTreeClassifier if classifies else DecisionTreeRegressor
    return make_pipeline(with_gaps(features), tree(max_depth=8, min_samples_leaf=5, random_state=0))


def random_forest(features: Features, *, classifies: bool) -> Pipeline:
    """A hundred trees of at most twelve levels; each class counts the same."""
    forest = (
        partial(RandomForestClassifier, class_weight="balanced") if classifies else RandomForestRegressor
    )
    return make_pipeline(with_gaps(features), forest(**FOREST))


def extra_trees(features: Features, *, classifies: bool) -> Pipeline:
    """A hundred trees with random splits, of at most twelve levels; each class counts the same."""
    forest = partial(ExtraTreesClassifier, class_weight="balanced") if classifies else ExtraTreesRegressor
    return make_pipeline(with_gaps(features), forest(**FOREST))


def gradient_boosting(features: Features, *, classifies: bool) -> Pipeline:
    """A hundred small trees, each fitted to what those before it leave."""
    model = GradientBoostingClassifier if classifies else GradientBoostingRegressor
    return make_pipeline(without_gaps(features), model(random_state=0))


def hist_gradient_boosting(features: Features, *, classifies: bool) -> Pipeline:
    """The same over binned features: the fast one for many rows."""
    if classifies:
        model = HistGradientBoostingClassifier(class_weight="balanced", random_state=0)
    else:
        model = HistGradientBoostingRegressor(random_state=0)
    return make_pipeline(with_gaps(features), model)


def mlp(features: Features, *, classifies: bool) -> Pipeline:
    """A network with one layer of 32; it stops when a tenth of the rows shows no gain."""
    model = MLPClassifier if classifies else MLPRegressor
    network = model(hidden_layer_sizes=(32,), early_stopping=True, random_state=0)
    if not classifies:  # it starts near zero, and would be long in reaching a target of another size
        network = TransformedTargetRegressor(network, transformer=StandardScaler())
    return make_pipeline(scaled(features), network)


def isolation_forest(features: Features) -> Pipeline:
    """A hundred random trees, without a target: what few splits isolate is an anomaly."""
    return make_pipeline(with_gaps(features), IsolationForest(random_state=0))


def kmeans(features: Features) -> Pipeline:
    """Eight clusters, without a target: a row is in the one whose centre is the nearest."""
    dense = scaled(features).set_params(sparse_threshold=0.0)
    return make_pipeline(dense, KMeans(8, n_init=10, random_state=0))


def with_gaps(features: Features) -> ColumnTransformer:
    """For trees that know missing values: numbers stay as they are, categories become ordinals.

    An unknown category becomes -1.
    """
    return _for_trees(features, "passthrough")


def without_gaps(features: Features) -> ColumnTransformer:
    """For other trees: numbers are imputed by their median, categories become ordinals, unknown ones -1."""
    nullable = any(feature.nullable for feature in features if not feature.is_text)
    return _for_trees(features, SimpleImputer(strategy="median") if nullable else "passthrough")


def _for_trees(features: Features, numeric: Any) -> ColumnTransformer:
    numbers = [feature.name for feature in features if not feature.is_text]
    categories = [feature.name for feature in features if feature.kind == "category"]
    ordinals = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    parts = [("numbers", numeric, numbers), ("categories", ordinals, categories)]
    words = _vectorized(features, 300)
    return ColumnTransformer([*(part for part in parts if part[2]), *words], sparse_threshold=0.0)


def _vectorized(features: Features, most: int) -> list[tuple[str, TfidfVectorizer, str]]:
    """The parts of a ColumnTransformer that weigh the ``most`` frequent words of each free text."""
    names = [feature.name for feature in features if feature.kind == "text"]
    return [(f"text{index}", TfidfVectorizer(max_features=most), name) for index, name in enumerate(names)]


#: The tasks without a target, by what scikit-learn calls their estimators; a mixture estimates density.
UNSUPERVISED: Mapping[str | None, Task] = {
    "outlier_detector": "anomaly",
    "clusterer": "cluster",
    "density_estimator": "cluster",
}
#: What does predict for other rows than those that it was fitted on.
PREDICTING: Mapping[Task, str] = {
    "anomaly": "IsolationForest, OneClassSVM, EllipticEnvelope and LocalOutlierFactor(novelty=True)",
    "cluster": "KMeans, BisectingKMeans, Birch, MeanShift, AffinityPropagation and GaussianMixture",
}

#: The pipelines by their names; those that take ``classifies`` fit classes or numbers, as the target is.
NAMED: Mapping[str, Callable[..., Pipeline]] = {
    each.__name__: each
    for each in (
        logistic, linear, ridge, lasso, decision_tree, random_forest, extra_trees, gradient_boosting,
        hist_gradient_boosting, mlp, naive_bayes, svc, isolation_forest, kmeans,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Choice:
    """An unfitted estimator and how it was asked for."""

    name: str
    estimator: Any

    @property
    def classifies(self) -> bool:
        return bool(is_classifier(self.estimator))

    @property
    def unsupervised(self) -> bool:
        """Whether it is fitted without a target."""
        return task_without_target(self.estimator) is not None


def choose(spec: str, features: Features, *, classifies: bool = False) -> Choice:
    """The estimator that ``--pipeline`` names; raises ``TrainingError``."""
    build: Callable[..., Any] = NAMED[spec] if spec in NAMED else _imported(spec)
    try:
        options = {"classifies": classifies} if "classifies" in inspect.signature(build).parameters else {}
        estimator = build(features, **options) if _takes_features(build) else build(**options)
    except Exception as error:  # the function is the user's
        raise TrainingError(f"pipeline '{spec}' fails: {one_line(error)}") from error
    check_predicts(estimator, f"pipeline '{spec}'")
    if is_fitted(estimator) and not is_fitted(clone(estimator)):
        raise TrainingError(
            f"pipeline '{spec}' gives a {type(estimator).__name__} that is fitted already, and training "
            "would fit it again; bundle it as it is: python -m training package MODEL --sample CSV"
        )
    return Choice(spec, estimator)


def is_fitted(estimator: Any) -> bool:
    """Whether an estimator is fitted; of a pipeline, whether each of its steps is."""
    steps = getattr(estimator, "steps", None)
    if isinstance(steps, list):
        return all(is_fitted(each) for _, each in steps if not isinstance(each, str | None))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_is_fitted(estimator)
    except NotFittedError:
        return False
    except TypeError:  # it has no fit
        return hasattr(estimator, "predict")
    return True


def task_without_target(estimator: Any) -> Task | None:
    """The task of an estimator that is fitted without a target, or None."""
    return UNSUPERVISED.get(get_tags(estimator).estimator_type)


def check_predicts(estimator: Any, what: str) -> None:
    """Raise ``TrainingError`` with the reason why an estimator, fitted or not, cannot be served.

    ``what``: what the message calls it.
    """
    if (reason := unfit(estimator)) is not None:
        raise TrainingError(f"{what} gives a {reason}")
    last = type(estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator).__name__
    if _fits_and_predicts(estimator):
        return
    if isinstance(estimator, BaseEstimator):
        if task := task_without_target(estimator):
            if hasattr(estimator, "predict"):
                return
            raise TrainingError(
                f"{what} ends in {last}, which cannot predict rows that it was not fitted on; "
                f"{PREDICTING[task]} can"
            )
        if hasattr(estimator, "transform"):
            raise TrainingError(
                f"{what} ends in {last}, which transforms its rows and predicts nothing; end it with a "
                "classifier, a regressor, an outlier detector or a clusterer"
            )
    raise TrainingError(
        f"{what} gives a {type(estimator).__name__}, which is not a scikit-learn classifier, regressor, "
        "outlier detector or clusterer"
    )


def unfit(estimator: Any) -> str | None:
    """Why an estimator cannot become a model, seen before it is fitted; None if nothing is known."""
    if isinstance(estimator, Pipeline):
        return unfit(estimator.steps[-1][1])
    name = type(estimator).__name__
    if isinstance(estimator, BaseSearchCV):
        if not estimator.refit:
            return f"{name}(refit=False), which ends without a fitted estimator: leave refit at True"
        return unfit(estimator.estimator)
    if isinstance(estimator, SEVERAL_TARGETS):
        return f"{name}, which is for several targets; a model has one: train one for each target"
    return None


def _fits_and_predicts(estimator: Any) -> bool:
    """Whether it is an estimator for classes or numbers; CatBoost's have no scikit-learn base."""
    known = isinstance(estimator, BaseEstimator) or all(
        hasattr(estimator, each) for each in ("fit", "predict", "get_params", "__sklearn_tags__")
    )
    return (
        known and not isinstance(estimator, type) and (is_classifier(estimator) or is_regressor(estimator))
    )


def with_encoded_labels(estimator: Any, y: np.ndarray) -> Any:
    """The same, with an ``XGBClassifier`` at its end in a vote of one, unless it takes the classes.

    It takes 0 to k - 1 only. ``VotingClassifier`` encodes the labels for its members.
    """
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        ends = with_encoded_labels(last, y)
        return estimator if ends is last else Pipeline([*estimator.steps[:-1], (name, ends)])
    kind, classes = type(estimator), np.unique(y)
    takes = classes.dtype.kind in "iu" and classes.tolist() == list(range(len(classes)))
    if takes or not (kind.__module__ == "xgboost.sklearn" and is_classifier(estimator)):
        return estimator
    return VotingClassifier([(kind.__name__.lower(), estimator)], voting="soft")


def _imported(spec: str) -> Callable[[Features], Any]:
    module, colon, name = spec.partition(":")
    if not (module and colon and name):
        raise TrainingError(
            f"there is no pipeline '{spec}'; name one of {', '.join(NAMED)}, or module:function"
        )
    try:
        imported = importlib.import_module(module)
    except Exception as error:  # importing runs the user's code
        raise TrainingError(f"pipeline '{spec}' cannot be imported: {one_line(error)}") from error
    build: Callable[[Features], Any] | None = getattr(imported, name, None)
    if not callable(build):
        what = "has no" if build is None else "has no function"
        raise TrainingError(f"pipeline '{spec}' cannot be imported: the module {what} '{name}'")
    return build


def _takes_features(build: Callable[..., Any]) -> bool:
    """Whether the function has a parameter that must be given."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(build).parameters.values()
    return any(each.kind in kinds and each.default is each.empty for each in parameters)
