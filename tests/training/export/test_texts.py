"""Pipelines over free text: many rows by the graph, one by the program, as scikit-learn predicts them."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import TruncatedSVD
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import (
    CountVectorizer,
    HashingVectorizer,
    TfidfTransformer,
    TfidfVectorizer,
)
from sklearn.feature_selection import SelectKBest, chi2, f_classif
from sklearn.linear_model import LogisticRegression, Ridge, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import BernoulliNB, ComplementNB, MultinomialNB
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import MaxAbsScaler, OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from tests.support.bundles import reviews
from tests.support.pipelines import halves
from tests.support.proving import proven, served_by

ROWS = reviews(300)
WORDS, CHARS = TfidfVectorizer(), TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 3))


def mixed(*text: Any) -> ColumnTransformer:
    """The comment through these steps, beside a number and a category."""
    return ColumnTransformer(
        [
            ("number", StandardScaler(), ["stars"]),
            ("words", make_pipeline(*text) if len(text) > 1 else text[0], "comment"),
            ("shop", OneHotEncoder(handle_unknown="ignore"), ["shop"]),
        ]
    )


def logistic() -> LogisticRegression:
    return LogisticRegression(max_iter=500)


#: Fitted on the frame, or, where the first step is a vectorizer, on the texts alone.
PIPELINES = {
    "words": make_pipeline(WORDS, logistic()),
    "counts weighed later": make_pipeline(CountVectorizer(), TfidfTransformer(norm="l1"), MultinomialNB()),
    "words and letters": make_pipeline(make_union(WORDS, CHARS), LinearSVC()),
    "complement": make_pipeline(CountVectorizer(binary=True), ComplementNB()),
    "bernoulli": make_pipeline(CountVectorizer(strip_accents="unicode"), BernoulliNB()),
    "hashes": make_pipeline(HashingVectorizer(), SGDClassifier(loss="log_loss")),
    "search": GridSearchCV(make_pipeline(WORDS, logistic()), {"logisticregression__C": [1.0, 9.0]}, cv=2),
    "calibrated": CalibratedClassifierCV(make_pipeline(WORDS, LinearSVC()), cv=2),
    "components": make_pipeline(mixed(WORDS, TruncatedSVD(4, random_state=0)), logistic()),
    "chosen words": make_pipeline(mixed(CountVectorizer(), SelectKBest(chi2, k=5)), logistic()),
    "chosen of all": make_pipeline(mixed(WORDS), SelectKBest(f_classif, k=7), logistic()),
    "scaled": make_pipeline(mixed(CountVectorizer()), MaxAbsScaler(), SGDClassifier(loss="log_loss")),
    "scaled tree": make_pipeline(mixed(CountVectorizer()), MaxAbsScaler(), DecisionTreeClassifier()),
    "forest": make_pipeline(mixed(WORDS), RandomForestClassifier(5, random_state=0)),
    "both": VotingClassifier(
        [
            ("linear", make_pipeline(mixed(WORDS), logistic())),
            ("tree", make_pipeline(mixed(WORDS), DecisionTreeClassifier(max_depth=3))),
        ],
        voting="soft",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_over_texts_is_served_without_scikit_learn(name: str) -> None:
    pipeline = PIPELINES[name]
    whole = "ColumnTransformer" in str(pipeline)
    rows = ROWS[["comment", "stars", "shop"]] if whole else ROWS[["comment"]]
    made = proven(pipeline, rows, ROWS["y"], texts=("comment",))
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason
    assert made.program is not None
    for finding in (made.graph, made.program):
        assert finding.largest_difference is not None
        assert finding.largest_difference < 1e-12


@pytest.mark.slow
def test_a_booster_looks_at_few_of_the_words() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    booster = lightgbm.LGBMClassifier(n_estimators=10, verbose=-1)
    made = proven(
        make_pipeline(mixed(WORDS), booster), ROWS.drop(columns="y"), ROWS["y"], texts=("comment",)
    )
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason
    assert made.graph.largest_difference is not None
    assert made.graph.largest_difference < 1e-12


@pytest.mark.slow
def test_a_number_is_predicted_from_texts() -> None:
    made = proven(make_pipeline(mixed(WORDS), Ridge()), ROWS.drop(columns="y"), ROWS["y"] * 3.5)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason


@pytest.mark.slow
def test_a_linear_model_multiplies_only_the_words_that_a_text_has() -> None:
    made = proven(PIPELINES["words"], ROWS[["comment"]], ROWS["y"], texts=("comment",))
    graph = onnx.load_from_string(made.files["model.onnx"]).graph
    (given,) = graph.input
    assert given.type.tensor_type.shape.dim[1].dim_value == 1
    assert "MatMul" not in {node.op_type for node in graph.node}


@pytest.mark.parametrize(
    ("vectorizer", "reason"),
    [
        (CountVectorizer(tokenizer=halves, token_pattern=None), "tokenizer"),
        (CountVectorizer(preprocessor=str.swapcase), "preprocessor"),
        (TfidfVectorizer(dtype=np.float32), "float32"),
    ],
    ids=["tokenizer", "preprocessor", "float32"],
)
def test_what_is_the_users_own_code_stays_with_scikit_learn(vectorizer: Any, reason: str) -> None:
    made = proven(make_pipeline(vectorizer, logistic()), ROWS[["comment"]], ROWS["y"], texts=("comment",))
    assert served_by(made) == ("joblib", "joblib")
    assert made.graph.reason is not None
    assert reason in made.graph.reason


@pytest.mark.slow
def test_words_that_skl2onnx_splits_otherwise() -> None:
    """Its graph took only the letters of ASCII for a word's, and dropped words of one letter in pairs."""
    pairs = TfidfVectorizer(lowercase=False, ngram_range=(1, 2))
    made = proven(make_pipeline(pairs, logistic()), ROWS[["comment"]], ROWS["y"])
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason
    texts = ["good film", "résumé of the film", "goodé film", "the égood star", "中文good", "good a film"]
    estimator = make_pipeline(pairs, logistic())
    fitted = np.arange(len(ROWS)) % 3 != 0
    estimator.fit(ROWS["comment"][fitted], ROWS["y"][fitted])
    scores = made.scorer.score({"comment": np.array(texts, object)})
    np.testing.assert_allclose(scores.probabilities, estimator.predict_proba(texts), atol=1e-12)


@pytest.mark.slow
def test_wide_texts_are_explained_in_the_memory_of_few_rows() -> None:
    """The table of all rows held out would take 315 MB."""
    rows = reviews(900)
    hashed = make_pipeline(HashingVectorizer(n_features=2**17), SGDClassifier(loss="log_loss"))
    tracemalloc.start()
    try:
        made = proven(hashed, rows[["comment"]], rows["y"], texts=("comment",), rows_compared=1000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert made.explanation == {"of": "log-odds"}
    assert peak < 250_000_000
