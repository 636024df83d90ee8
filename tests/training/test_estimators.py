"""Every classifier and regressor of scikit-learn is proven and served as docs/estimators.md says.

``WRITE_DOCS=1 pytest tests/training/test_estimators.py`` measures and writes that page anew.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import OutlierMixin
from sklearn.linear_model import Lasso, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import all_estimators

from tests.support.bundles import mixed_rows, reviews
from tests.support.estimators import ESTIMATORS, REFUSED, Row, scaled
from tests.support.proving import feature_of, proven, served_by
from training.errors import TrainingError
from training.packaging import Proven
from training.pipelines import choose

TABLE = Path(__file__).resolve().parents[2] / "docs" / "estimators.md"
WRITING = os.environ.get("WRITE_DOCS") == "1"
HEAD = """# Estimators

Which engine serves what: every classifier, regressor, outlier detector and clusterer of scikit-learn, each
fitted on mixed columns (numbers with gaps, booleans, whole numbers, categories; a free text before a
vectorizer), and compared with scikit-learn on 4,000 rows or more. `make estimators` writes this page; a
test holds each line to it, and fails for an estimator of scikit-learn that is not here.

- *many*, *one*: what serves many rows, and one: the ONNX graph, the one-row program (`scalar`), or the
  pickled estimator (`joblib`), which needs scikit-learn where it serves.
- *difference*: the largest one found on any row by either, of a probability, or of a value or a score in
  units of its spread; labels were equal on every row. Where joblib serves, the reason stands there.

| estimator | predicts | many | one | difference, or why joblib serves |
|---|---|---|---|---|
"""
REST = """
Not trained:

| estimator | why |
|---|---|
"""
PREDICTS = {"dear": "two classes", "y": "two classes", "class": "three classes", "price": "a number"}
PREDICTS |= {"anomalies": "anomalies", "clusters": "clusters"}
measured: dict[tuple[str, str], str] = {}


def table() -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """300 rows of mixed columns, and their targets."""
    frame = mixed_rows(300)
    frame = frame.fillna({name: "" for name in frame if frame[name].dtype == object})
    classes, price = frame.pop("class").to_numpy(dtype=object), frame.pop("price").to_numpy()
    dear = np.where(price > np.median(price), "yes", "no").astype(object)
    return frame, {"class": classes, "price": price, "dear": dear}


def texts() -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """300 reviews with a free text, and their target."""
    frame = reviews(300)
    return frame, {"y": frame.pop("y").to_numpy()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", ESTIMATORS, ids=lambda row: f"{row.name} [{row.target}]")
def test_an_estimator_is_served_as_the_table_says(row: Row) -> None:
    frame, targets = texts() if row.target == "y" else table()
    features = tuple(feature_of(name, frame[name]) for name in frame)
    free = [name for name in frame if name == "comment"]
    made = proven(row.build(features), frame, targets.get(row.target), texts=free)
    reasons = (made.graph.reason, made.program and made.program.reason)
    assert served_by(made) == (row.runtime, row.engine), reasons
    assert row.reason in (made.graph.reason or "")
    if WRITING:
        measured[row.name, row.target] = line(row, made)


def line(row: Row, made: Proven) -> str:
    differences = [each.largest_difference for each in (made.graph, made.program) if each is not None]
    largest = max((each for each in differences if each is not None), default=0.0)
    last = (
        f"{largest:.0e}"
        if row.runtime == "onnx"
        else str(made.graph.reason).removeprefix("NotImplementedError: ")
    )
    return f"| {row.name} | {PREDICTS[row.target]} | {row.runtime} | {row.engine} | {last} |"


def test_the_table_has_every_estimator() -> None:
    if WRITING:
        lines = [measured[row.name, row.target] for row in ESTIMATORS]
        refused = [f"| {name} | {why} |" for name, why in REFUSED.items()]
        TABLE.write_text(HEAD + "\n".join(lines) + "\n" + REST + "\n".join(refused) + "\n")
    cells = [
        each.strip("| ").split(" | ") for each in TABLE.read_text().splitlines() if each.startswith("| ")
    ]
    served = [tuple(each[:4]) for each in cells if len(each) > 2][1:]
    assert served == [(row.name, PREDICTS[row.target], row.runtime, row.engine) for row in ESTIMATORS]
    assert [tuple(each) for each in cells if len(each) == 2][1:] == list(REFUSED.items())


def test_the_table_has_every_estimator_of_scikit_learn() -> None:
    listed = {re.match(r"\w+", name)[0] for name in (*(row.name for row in ESTIMATORS), *REFUSED)}  # type: ignore[index]
    known = {name for name, _ in all_estimators(type_filter=["classifier", "regressor", "cluster"])}
    known |= {name for name, kind in all_estimators() if issubclass(kind, OutlierMixin)}
    assert known - listed == set()


def several(name: str) -> object:
    """An estimator of several targets, unfitted, at the end of a pipeline."""
    kind = dict(all_estimators())[name]
    inner = LogisticRegression() if "Classifier" in name else Lasso()
    takes_one = name.startswith(("ClassifierChain", "MultiOutput", "RegressorChain"))
    return make_pipeline(StandardScaler(), kind(inner) if takes_one else kind())


@pytest.mark.parametrize("name", [name for name, why in REFUSED.items() if "several targets" in why])
def test_several_targets_are_refused_before_the_fit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.pipelines.NAMED", {"chosen": lambda: several(name)})
    with pytest.raises(
        TrainingError, match=f"pipeline 'chosen' gives a {name}, which is for several targets"
    ):
        choose("chosen", (), classifies=True)


def test_a_search_without_refit_is_refused_before_the_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    search = GridSearchCV(LogisticRegression(), {"C": [1, 2]}, refit=False)
    monkeypatch.setattr("training.pipelines.NAMED", {"chosen": lambda: search})
    with pytest.raises(TrainingError, match=r"GridSearchCV\(refit=False\).*leave refit at True"):
        choose("chosen", (), classifies=True)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("strategy", ["stratified", "uniform"])
def test_what_answers_at_random_is_refused(strategy: str) -> None:
    from sklearn.dummy import DummyClassifier

    frame, targets = table()
    features = tuple(feature_of(name, frame[name]) for name in frame)
    with pytest.raises(TrainingError, match="does not give the same answer twice"):
        proven(make_pipeline(scaled(features), DummyClassifier(strategy=strategy)), frame, targets["dear"])
