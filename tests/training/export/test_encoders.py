"""Encoders and imputers of texts: graph and one-row program equal scikit-learn on every known, missing and
unknown value, with each kind of step and each way to feed a missing text."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from handler.manifest import Contract, Feature
from handler.schema import Columns
from handler.scoring.estimator import JoblibScorer, fed
from handler.scoring.row_program import RowProgram
from handler.scoring.scorers import RowByRow
from tests.support.proving import feature_of
from training.export.codes import coded
from training.export.graph import to_onnx
from training.export.program import compile_program
from training.feeding import as_looked_for
from training.fitting import contract_of
from training.packaging import OnnxScorer
from training.proof.parity import EXACT_TOLERANCE, Gate

IGNORED = {"handle_unknown": "ignore"}
CODED: dict[str, Any] = {"handle_unknown": "use_encoded_value", "unknown_value": -1}
#: Seen by the feature, and not in fitting.
LATE = "zürich"


def frequent(**options: Any) -> SimpleImputer:
    return SimpleImputer(strategy="most_frequent", **options)


def constant(**options: Any) -> SimpleImputer:
    return SimpleImputer(strategy="constant", **options)


def table(rows: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(0)
    cities, shares = ["oslo", "rome", "paris", "bern", ""], [0.05, 0.4, 0.3, 0.15, 0.1]
    return pd.DataFrame(
        {
            "city": random.choice(cities, rows, p=shares),
            "color": random.choice(["blue", "red", ""], rows, p=[0.6, 0.3, 0.1]),
            "visits": random.integers(0, 5, rows),
            "new": random.random(rows) < 0.3,
            "rate": np.where(random.random(rows) < 0.2, np.nan, random.integers(0, 4, rows) / 2),
        }
    )


def target(frame: pd.DataFrame) -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=len(frame))
    score = (frame["city"] == "rome") * 1.0 - (frame["color"] == "red") + frame["visits"] / 3 + noise
    return np.asarray(score)


def edges(feature: Feature) -> list[Any]:
    if feature.kind == "category":
        return [
            *feature.categories,
            *(["?", "Rome", "rome ", "none"] if feature.open else []),
            *[""] * feature.nullable,
        ]
    return [0.0, -0.0, 1.0, 0.5, 1.5, 4.0, 7.0, -3.0, *[np.nan] * feature.nullable]


def findings(estimator: Any, frame: pd.DataFrame, y: np.ndarray, features: Any = None) -> Gate:
    """Both forms must equal the fitted estimator on every combination of two features' edges."""
    features = features or as_looked_for(estimator, [feature_of(name, frame[name]) for name in frame])
    columns: Columns = {
        each.name: frame[each.name].to_numpy(dtype=object if each.kind == "category" else np.float64)
        for each in features
    }
    estimator.fit(fed(features, columns), y)
    seen = tuple(
        each._replace(categories=(*each.categories, LATE)) if each.name == "city" else each
        for each in features
    )
    contract = contract_of(estimator, seen, {name: values[:1] for name, values in columns.items()})
    probes = [edges(each) for each in contract.features]
    records = [
        [
            values[0] if place not in pair else pair[place]
            for place, values in enumerate(probes)
        ]
        for (a, first), (b, second) in itertools.combinations(enumerate(probes), 2)
        for pair in ({a: x, b: y} for x in first for y in second)
    ] or [[each] for each in probes[0]]  # fmt: skip
    rows: Columns = {
        each.name: np.array(
            [record[place] for record in records], object if each.kind == "category" else float
        )
        for place, each in enumerate(contract.features)
    }
    gate = Gate(JoblibScorer(estimator, contract), contract.task, columns, rows)
    checked(gate, estimator, contract)
    return gate


def checked(gate: Gate, estimator: Any, contract: Contract) -> None:
    for guarded in (False, True):
        graph = to_onnx(estimator, contract, guarded=guarded)
        finding = gate.compare(OnnxScorer(graph, contract))
        if not finding.answers_too_much:
            break
    assert finding.reason is None
    served = coded(graph, contract)
    inputs = {each.type.tensor_type.elem_type for each in onnx.load_from_string(served).graph.input}
    assert onnx.TensorProto.STRING not in inputs
    coded_finding = gate.compare(OnnxScorer(served, contract))
    assert coded_finding.reason is None
    content = compile_program(graph, contract, gate.adversarial).content
    program = gate.compare(RowByRow(RowProgram(content), contract))
    assert program.reason is None
    for each in (finding, coded_finding, program):
        assert each.largest_difference is not None
        assert each.largest_difference <= EXACT_TOLERANCE


def model(step: Any, names: Any, *rest: Any) -> Any:
    columns = ColumnTransformer([("encoded", step, list(names))], sparse_threshold=0.0)
    return make_pipeline(columns, *rest, LogisticRegression())


TEXTS = ("city", "color")
STEPS = {
    "imputed by the most frequent": make_pipeline(frequent(), OneHotEncoder(**IGNORED)),
    "imputed by a constant": make_pipeline(constant(fill_value="none"), OneHotEncoder(**IGNORED)),
    "imputed by the default constant": make_pipeline(constant(), OrdinalEncoder(**CODED)),
    "None imputed": make_pipeline(frequent(missing_values=None), OneHotEncoder(**IGNORED)),
    "the empty text imputed": make_pipeline(frequent(missing_values=""), OneHotEncoder(**IGNORED)),
    "a word imputed": make_pipeline(frequent(missing_values="red"), OneHotEncoder(**IGNORED)),
    "imputed with marks": make_pipeline(frequent(add_indicator=True), OneHotEncoder(**IGNORED)),
    "imputed with marks, ordinals": make_pipeline(constant(add_indicator=True), OrdinalEncoder(**CODED)),
    "marks": MissingIndicator(),
    "marks of all": MissingIndicator(features="all"),
    "one-hot": OneHotEncoder(**IGNORED),
    "one-hot, refusing": OneHotEncoder(),
    "one-hot, warning": OneHotEncoder(handle_unknown="warn"),
    "one-hot, the first dropped": OneHotEncoder(drop="first"),
    "one-hot, the first dropped, ignoring": OneHotEncoder(drop="first", **IGNORED),
    "one-hot, dropped if binary": OneHotEncoder(drop="if_binary", **IGNORED),
    "one-hot, some dropped": OneHotEncoder(drop=["rome", "red"], **IGNORED),
    "one-hot, rare ones": OneHotEncoder(min_frequency=0.1, **IGNORED),
    "one-hot, unknown as rare": OneHotEncoder(max_categories=3, handle_unknown="infrequent_if_exist"),
    "one-hot, rare and dropped": OneHotEncoder(min_frequency=0.1, drop="first", **IGNORED),
    "one-hot, whole numbers": OneHotEncoder(dtype=int, **IGNORED),
    "one-hot, NaN a category": OneHotEncoder(
        categories=[["rome", "bern", np.nan], ["red", "blue", np.nan]], **IGNORED
    ),
    "one-hot, None a category": OneHotEncoder(
        categories=[["rome", "bern", None], ["red", "blue", None]], **IGNORED
    ),
    "ordinals": OrdinalEncoder(**CODED),
    "ordinals, refusing": OrdinalEncoder(),
    "ordinals, missing": OrdinalEncoder(encoded_missing_value=-2, **CODED),
    "ordinals, rare ones": OrdinalEncoder(max_categories=3, encoded_missing_value=-2, **CODED),
    "ordinals, whole numbers": OrdinalEncoder(dtype=int, **CODED),
    "mean of the target": TargetEncoder(),
    "mean of the target, smooth": TargetEncoder(smooth=5.0),
}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_texts(step: Any) -> None:
    frame = table()
    findings(model(step, TEXTS), frame[list(TEXTS)], target(frame) > 0.5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "step",
    [
        OneHotEncoder(**IGNORED),
        OneHotEncoder(),
        OneHotEncoder(min_frequency=100, handle_unknown="infrequent_if_exist"),
        OneHotEncoder(drop="if_binary", **IGNORED),
        OrdinalEncoder(encoded_missing_value=-2, **CODED),
        TargetEncoder(),
    ],
    ids=str,
)
def test_numbers_and_booleans_beside_texts(step: Any) -> None:
    frame = table()
    findings(model(step, ("rate", "city", "visits", "new")), frame, target(frame) > 0.5)


def test_the_mean_of_a_number_and_of_three_classes() -> None:
    frame = table()
    y, columns = target(frame), ColumnTransformer([("mean", TargetEncoder(), list(TEXTS))])
    findings(make_pipeline(columns, LinearRegression()), frame[list(TEXTS)], y)
    three = np.array(["low", "middle", "high"])[np.digitize(y, [0, 1])]
    findings(make_pipeline(columns, LogisticRegression()), frame[list(TEXTS)], three)


@pytest.mark.parametrize(
    "last", [RandomForestClassifier(5, random_state=0), HistGradientBoostingClassifier(max_iter=5)]
)
@pytest.mark.parametrize("encoder", [OneHotEncoder(sparse_output=False), OrdinalEncoder()])
def test_a_category_that_was_not_in_fitting_is_refused_as_scikit_learn_does(
    encoder: Any, last: Any
) -> None:
    frame = table()
    columns = ColumnTransformer([("encoded", encoder, list(TEXTS))])
    gate = findings(make_pipeline(columns, last), frame[list(TEXTS)], target(frame) > 0.5)
    assert LATE in gate.adversarial["city"]


@pytest.mark.parametrize(
    "step",
    [
        OneHotEncoder(**IGNORED),
        OrdinalEncoder(**CODED),
        TargetEncoder(),
        make_pipeline(frequent(), OneHotEncoder(**IGNORED)),
    ],
    ids=lambda step: type(step).__name__,
)
def test_an_encoder_of_the_whole_frame(step: Any) -> None:
    frame = table()
    findings(make_pipeline(step, LogisticRegression()), frame[list(TEXTS)], target(frame) > 0.5)


def test_a_missing_indicator_refuses_a_new_gap_unless_told_not_to() -> None:
    frame = table()
    features = as_looked_for(
        model(MissingIndicator(), TEXTS), [feature_of(name, frame[name]) for name in TEXTS]
    )
    for error_on_new in (True, False):
        both = FeatureUnion(
            [("marks", MissingIndicator(error_on_new=error_on_new)), ("codes", OneHotEncoder(**IGNORED))]
        )
        full = frame.assign(color=frame["color"].replace("", "red"))
        findings(model(both, TEXTS), full[list(TEXTS)], target(frame) > 0.5, features)


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
@pytest.mark.parametrize(
    "imputer",
    [frequent(), frequent(keep_empty_features=True), constant(fill_value="x", keep_empty_features=True)],
    ids=str,
)
def test_a_column_that_was_empty_is_left_out_or_kept(imputer: Any) -> None:
    frame = table()
    features = as_looked_for(model(imputer, TEXTS), [feature_of(name, frame[name]) for name in TEXTS])
    empty = frame.assign(color="")
    step = make_pipeline(imputer, OneHotEncoder(**IGNORED))
    findings(model(step, TEXTS), empty[list(TEXTS)], target(frame) > 0.5, features)


@pytest.mark.parametrize("fed_as", [None, "nan", "none", "category"])
@pytest.mark.parametrize(
    "step",
    [OneHotEncoder(**IGNORED), OrdinalEncoder(encoded_missing_value=-2, **CODED), TargetEncoder()],
    ids=lambda step: type(step).__name__,
)
def test_every_way_to_feed_a_missing_text(step: Any, fed_as: str | None) -> None:
    frame = table()[list(TEXTS)]
    features = tuple(feature_of(name, frame[name])._replace(fed_as=fed_as) for name in frame)
    findings(model(step, TEXTS), frame, target(table()) > 0.5, features)


def test_numbers_are_rounded_as_a_model_of_float32_is_fed_them() -> None:
    frame = table()[["rate", "visits"]].fillna(0.0) / 3
    features = tuple(feature_of(name, frame[name])._replace(fed_as="float32") for name in frame)
    codes = OrdinalEncoder(**CODED)
    findings(model(codes, frame), frame, target(table()) > 0.5, features)


def test_thousands_of_categories_need_no_square_of_them() -> None:
    names = [f"c{index}" for index in range(5000)]
    frame = pd.DataFrame({"city": names})
    estimator = make_pipeline(OneHotEncoder(**IGNORED), LogisticRegression(max_iter=20))
    feature = feature_of("city", frame["city"])
    estimator.fit(frame, np.arange(5000) % 2)
    contract = contract_of(estimator, (feature,), {"city": frame["city"].to_numpy(object)[:1]})
    assert len(to_onnx(estimator, contract)) < 300_000
