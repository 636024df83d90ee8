"""What is trained to be measured: ``--pipeline benchmarks.pipelines:forest``.

``book_forest`` is for the sample of three columns, ``texts`` for one column of text, the others are for the
columns of ``benchmarks.tables``.
"""

from __future__ import annotations

from typing import Any

from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler


def book_forest() -> Any:
    """100 trees of depth 8."""
    return RandomForestClassifier(100, max_depth=8, class_weight="balanced", random_state=0)


def logistic() -> Any:
    """A logistic regression of scaled numbers and one column per category."""
    return make_pipeline(_one_hot(), LogisticRegression(max_iter=300))


def forest() -> Any:
    """100 trees of depth 12."""
    return make_pipeline(_one_hot(), RandomForestClassifier(100, max_depth=12, random_state=0))


def mlp() -> Any:
    """One hidden layer of 32."""
    return make_pipeline(_one_hot(), MLPClassifier((32,), max_iter=15, random_state=0))


def hist() -> Any:
    """Scikit-learn's histogram gradient boosting, 100 trees of 31 leaves."""
    return make_pipeline(_ordinal(), HistGradientBoostingClassifier(early_stopping=False, random_state=0))


def boosting() -> Any:
    """Scikit-learn's gradient boosting, 100 trees of depth 3."""
    return make_pipeline(_ordinal(), GradientBoostingClassifier(random_state=0))


def lightgbm() -> Any:
    """LightGBM, 100 trees of 31 leaves."""
    from lightgbm import LGBMClassifier

    return make_pipeline(_ordinal(), LGBMClassifier(random_state=0, n_jobs=2, verbose=-1))


def texts() -> Any:
    """A logistic regression of the words and pairs of words of a text."""
    return make_pipeline(TfidfVectorizer(ngram_range=(1, 2), min_df=5), LogisticRegression())


def _one_hot() -> Any:
    encoder = OneHotEncoder(handle_unknown="ignore")
    return make_column_transformer((encoder, _TEXTS), remainder=StandardScaler())


def _ordinal() -> Any:
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    return make_column_transformer((encoder, _TEXTS), remainder="passthrough")


_TEXTS = make_column_selector(dtype_exclude=("number", "bool"))
