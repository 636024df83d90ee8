"""Pipelines whose predictions are explained, or are not; named by ``--pipeline``."""

from __future__ import annotations

from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from handler.manifest import Feature
from training.pipelines import scaled, with_gaps, without_gaps

Features = tuple[Feature, ...]


def deep_trees(features: Features) -> Pipeline:
    """Two classes, and trees that are deeper than what is looked up at once."""
    return make_pipeline(with_gaps(features), ExtraTreesClassifier(3, min_samples_leaf=8, random_state=0))


def whole_trees(features: Features) -> Pipeline:
    """Trees of which each leaf has few rows."""
    return make_pipeline(with_gaps(features), ExtraTreesClassifier(2, random_state=0))


def small_forest(features: Features) -> Pipeline:
    """A forest of which some trees ask only whether a value is missing."""
    return make_pipeline(with_gaps(features), RandomForestClassifier(20, max_depth=5, random_state=0))


def native_categories(features: Features) -> Pipeline:
    """Trees that ask whether a category is in a set, and where missing values go."""
    columns = [each.name for each in features if each.kind == "category"]
    mask = [each.kind == "category" for each in sorted(features, key=lambda each: each.name in columns)]
    return make_pipeline(
        with_gaps(features),
        HistGradientBoostingRegressor(categorical_features=mask, max_iter=30, random_state=0),
    )


def one_hot(features: Features) -> Pipeline:
    """Trees over the columns that a category is encoded into."""
    numbers = without_gaps(features).transformers[0]
    categories = [each.name for each in features if each.kind == "category"]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([numbers, ("categories", encoder, categories)])
    return make_pipeline(columns, GradientBoostingClassifier(loss="exponential", random_state=0))


def xgboost(features: Features) -> Pipeline:
    """XGBoost's trees."""
    from xgboost import XGBClassifier

    return make_pipeline(with_gaps(features), XGBClassifier(n_estimators=15, max_depth=4, random_state=0))


def lightgbm(features: Features) -> Pipeline:
    """LightGBM's trees."""
    from lightgbm import LGBMClassifier

    return make_pipeline(with_gaps(features), LGBMClassifier(n_estimators=20, random_state=0, verbose=-1))


def catboost(features: Features) -> Pipeline:
    """CatBoost's plain trees, many of whose leaves no training row is in."""
    from catboost import CatBoostRegressor

    model = CatBoostRegressor(iterations=20, random_seed=0, verbose=False, allow_writing_files=False)
    return make_pipeline(with_gaps(features), model)


def components(features: Features) -> Pipeline:
    """A linear model of principal components, each of which is made of all features."""
    dense = scaled(features).set_params(sparse_threshold=0.0)
    return make_pipeline(dense, PCA(3, random_state=0), LinearRegression())
