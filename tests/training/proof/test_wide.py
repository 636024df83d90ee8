"""The proof of wide tables and of large forests: its cost is bounded, and what it finds is not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from handler.manifest import Contract, Feature
from handler.schema import Columns
from handler.scoring.estimator import fed
from handler.scoring.scorers import Scores, length
from tests.support.proving import feature_of, proven, served_by
from training.fitting import contract_of
from training.pipelines import choose
from training.proof import parity, rows
from training.proof.breakpoints import breakpoints
from training.proof.parity import Gate

WIDTH = 2000
FEATURES = tuple(Feature(f"g{index}", "number", True, -3.0, 3.0) for index in range(WIDTH))


class Sums:
    """A regression: the sum of the features; ``wrong`` at one value of one of them."""

    def __init__(self, name: str = "g0", wrong: float | None = None) -> None:
        self.name = name
        self.wrong = wrong
        self.rows = 0

    def score(self, columns: Columns) -> Scores:
        self.rows += length(columns)
        values = np.nan_to_num(np.stack([columns[each.name] for each in FEATURES])).sum(axis=0)
        if self.wrong is not None:
            given = columns[self.name]
            hit = np.isnan(given) if math.isnan(self.wrong) else given == self.wrong
            values = np.where(hit, values * 2 + 1, values)
        return Scores(values, None)


@pytest.fixture(scope="module")
def adversarial() -> Columns:
    return rows.adversarial(FEATURES, (0.0,) * WIDTH, 0, at_least=parity.ROWS)


@pytest.mark.parametrize("wrong", [-3.0, math.nextafter(3.0, 4.0), 1e-9, 1e6, math.nan])
@pytest.mark.parametrize("most", [None, parity.FEWEST_ROWS])
def test_a_scorer_that_is_wrong_at_one_edge_of_one_feature_of_2000_is_found(
    adversarial: Columns, wrong: float, most: int | None
) -> None:
    gate = Gate(
        Sums(), "regression", {name: values[:1] for name, values in adversarial.items()}, adversarial
    )
    finding = gate.compare(Sums("g1234", wrong), most)
    assert "over the tolerance" in str(finding.reason)
    assert gate.compare(Sums(), most).reason is None


def test_every_edge_stands_in_the_first_rows_too(adversarial: Columns) -> None:
    for feature in FEATURES[::100]:
        known, edges = set(adversarial[feature.name][: rows.FIRST]), rows.edges(feature)
        assert {each for each in edges if each == each} <= known
        assert any(each != each for each in known)


def test_the_estimator_scores_the_rows_once_however_many_scorers_are_compared(adversarial: Columns) -> None:
    estimator = Sums()
    held_out = {name: values[:10] for name, values in adversarial.items()}
    gate = Gate(estimator, "regression", held_out, adversarial)
    for most in (None, parity.FEWEST_ROWS, None):
        finding = gate.compare(Sums(), most)
        assert finding.adversarial_rows == most or length(adversarial)
    assert estimator.rows == 10 + length(adversarial)


def test_an_estimator_that_refuses_a_row_is_still_compared_on_the_others() -> None:
    class Refusing(Sums):
        def score(self, columns: Columns) -> Scores:
            if (columns["g7"] > 3).any():
                raise ValueError("too much")
            return super().score(columns)

    class Silent(Sums):
        """No number where the estimator refuses, and at ``silent``, where it does not."""

        silent = math.inf

        def score(self, columns: Columns) -> Scores:
            values = super().score(columns).values
            return Scores(np.where(columns["g7"] > min(3.0, self.silent), np.nan, values), None)

    columns = {each.name: np.zeros(40) for each in FEATURES}
    columns["g7"] = np.linspace(0, 4, 40)
    few = {name: values[:1] for name, values in columns.items()}
    gate = Gate(Refusing(), "regression", few, columns)
    assert gate.compare(Silent()).reason is None
    assert "ValueError" in str(gate.compare(Sums()).reason)
    assert gate.compare(Sums()).answers_too_much
    quiet = Silent()
    quiet.silent = 2.0
    assert "over the tolerance" in str(gate.compare(quiet).reason)


def wide(count: int, width: int) -> tuple[pd.DataFrame, np.ndarray, Contract, tuple[float, ...]]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        random.normal(size=(count, width)).round(3), columns=[f"g{each}" for each in range(width)]
    )
    target = (frame.iloc[:, 0] + frame.iloc[:, 1] > 0).to_numpy().astype(int)
    features = tuple(
        Feature(name, "number", False, values.min(), values.max()) for name, values in frame.items()
    )
    return frame, target, Contract(features, "binary", (0, 1)), (0.0,) * width


@pytest.mark.parametrize("scaled", [False, True])
def test_every_threshold_of_a_forest_over_many_columns_is_tried(scaled: bool) -> None:
    frame, target, contract, typical = wide(150, 400)
    forest = RandomForestClassifier(20, random_state=0)
    model = make_pipeline(*[StandardScaler()] * scaled, forest).fit(frame, target)
    values = breakpoints(model, contract, typical, 0)
    scale, mean = (model[0].scale_, model[0].mean_) if scaled else (np.ones(400), np.zeros(400))
    for tree in (each.tree_ for each in forest.estimators_):
        inner = tree.children_left >= 0
        for column, threshold in zip(tree.feature[inner], tree.threshold[inner], strict=True):
            level = threshold * scale[column] + mean[column]
            assert np.abs(values[f"g{column}"] - level).min() < 1e-5


@pytest.mark.parametrize("first", [PCA(3), StandardScaler()])
def test_a_threshold_is_traced_through_columns_of_one_feature_or_of_several(first: Any) -> None:
    """Two doubles next to each other, of which the last step makes different things."""
    frame, target, contract, typical = wide(100, 5)
    model = make_pipeline(first, Binarizer(threshold=0.25), LogisticRegression()).fit(frame, target)
    for name, values in breakpoints(model, contract, typical, 0).items():
        probe = pd.DataFrame(0.0, range(len(values)), frame.columns).assign(**{name: values})
        made = model[:-1].transform(probe)
        changes = np.flatnonzero((np.diff(made, axis=0) != 0).any(axis=1))
        assert any(np.nextafter(values[index], np.inf) == values[index + 1] for index in changes), name


@pytest.mark.slow
def test_a_forest_is_proven_whole_and_its_program_on_a_sample() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(900, 6)).round(3), columns=list("abcdef"))
    target = np.where(frame["a"] * frame["b"] + random.normal(size=900) > 0, "yes", "no")
    made = proven(RandomForestClassifier(150, random_state=0), frame, target, rows_compared=parity.ROWS)
    assert made.graph.rows + made.graph.adversarial_rows >= parity.ROWS
    assert made.program is not None
    assert made.program.reason is None
    assert parity.FEWEST_ROWS <= made.program.adversarial_rows < made.graph.adversarial_rows


# Splits that only ask whether a value is missing


def fevers(dose: float = 5.0) -> tuple[pd.DataFrame, np.ndarray]:
    """A dose that is always the same or missing, which says all about the target."""
    age = np.random.default_rng(0).integers(20, 81, 60)
    given = np.arange(60) % 2 == 0
    return pd.DataFrame({"dose": np.where(given, dose, np.nan), "age": age}), np.where(given, "no", "yes")


@pytest.mark.parametrize(
    "estimator",
    [
        HistGradientBoostingClassifier(max_iter=10, min_samples_leaf=2),
        RandomForestClassifier(5, random_state=0),
        ExtraTreesClassifier(5, random_state=0),
        DecisionTreeClassifier(random_state=0),
    ],
    ids=lambda each: type(each).__name__,
)
@pytest.mark.parametrize("others", [True, False])
def test_trees_that_only_ask_whether_a_value_is_missing_are_exported(estimator: Any, others: bool) -> None:
    frame, target = fevers()
    made = proven(clone(estimator), frame if others else frame[["dose"]], target, rows_compared=2000)
    assert served_by(made) == ("onnx", "scalar")
    assert made.graph.labels_identical


def mixed(count: int, width: int) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {}
    for index in range(0, width, 2):
        columns[f"n{index}"] = random.normal(size=count).round(2)
        columns[f"c{index}"] = random.choice(np.array(["a", "b", "c", ""], object), count)
    columns["n0"] = np.where(random.random(count) < 0.2, np.nan, columns["n0"])
    frame = pd.DataFrame(columns)
    return frame, np.where(frame["n2"] + (frame["c2"] == "a") > 0.3, "yes", "no")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["logistic", "hist_gradient_boosting"])
def test_hundreds_of_categories_are_exported_with_the_one_row_program(name: str) -> None:
    frame, target = mixed(90, 300)
    features = tuple(feature_of(each, frame[each]) for each in frame)
    made = proven(choose(name, features, classifies=True).estimator, frame, target, rows_compared=1000)
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason


def test_each_category_is_open_where_its_own_encoder_takes_an_unknown_text() -> None:
    frame, target = mixed(60, 6)
    features = tuple(feature_of(each, frame[each]) for each in frame)
    encoders = [
        ("takes", OneHotEncoder(handle_unknown="ignore"), ["c0", "c4"]),
        ("refuses", OneHotEncoder(), ["c2"]),
    ]
    model = make_pipeline(ColumnTransformer(encoders), LogisticRegression())
    columns = {each.name: frame[each.name].to_numpy(object if each.is_text else float) for each in features}
    model.fit(fed(features, columns), target)
    contract = contract_of(model, features, {name: values[:1] for name, values in columns.items()})
    assert {each.name for each in contract.features if each.open} == {"c0", "c4"}
