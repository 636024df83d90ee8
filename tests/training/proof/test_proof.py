"""The gate: what it tries, what it lets through, and what it measures differences in."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier, StackingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    PowerTransformer,
    QuantileTransformer,
    SplineTransformer,
    StandardScaler,
)
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from handler.bundle import Bundle
from handler.errors import InvalidRecords
from handler.manifest import Contract, Feature, Manifest
from handler.scoring.checking import differences
from handler.scoring.estimator import JoblibScorer, unpickle
from handler.scoring.model import Model
from training.errors import TrainingError
from training.export.graph import to_onnx
from training.proof import parity, rows
from training.proof.breakpoints import breakpoints
from training.train import Options, train

pytestmark = pytest.mark.slow

Trained = Callable[..., tuple[Manifest, str]]


@pytest.fixture
def trained(tmp_path: Path) -> Trained:
    """Train on a frame with the target ``y``, and return the manifest and the report; see ``model``."""

    def command(frame: pd.DataFrame, pipeline: str, *, export: Any = to_onnx, **options: Any) -> Any:
        frame.to_csv(tmp_path / "rows.csv", index=False)
        said: list[str] = []
        name = f"tests.support.pipelines:{pipeline}"
        made = Options(tmp_path / "rows.csv", "y", name, out=tmp_path / "model", **options)
        return train(made, said.append, export), "\n".join(said)

    return command


def truth(folder: Path) -> Model:
    """The pickled estimator of a bundle, as a model."""
    bundle = Bundle.open(folder)
    manifest = bundle.manifest
    return Model.of(manifest, JoblibScorer(unpickle(bundle.read("model.joblib")), manifest.contract))


def fevers(count: int = 400) -> pd.DataFrame:
    random = np.random.default_rng(0)
    temp = np.round(random.normal(37, 1, count), 2)
    frame = pd.DataFrame({"temp": temp, "age": random.integers(1, 91, count)})
    frame["y"] = ((temp > 37.8) ^ (random.random(count) < 0.1)).astype(int)
    return frame[frame["temp"] != 37.8]


# Thresholds of every step


def test_a_binarizer_is_served_as_scikit_learn_has_it_at_its_threshold(
    tmp_path: Path, trained: Trained
) -> None:
    manifest, _ = trained(fevers(), "fever")
    assert manifest.engines == {"one": "scalar", "many": "onnx"}
    model = Model.load(tmp_path / "model")
    for records in ([(each, 30.0) for each in (37.79, 37.8, 37.81)], [(37.8, 30.0)] * 20):
        served, true = (
            [each["prediction"] for each in one.predict(records)]
            for one in (model, truth(tmp_path / "model"))
        )
        assert served == true


def test_a_graph_that_is_wrong_at_a_steps_threshold_alone_is_rejected(trained: Trained) -> None:
    def stock(estimator: Any, contract: Contract, **options: Any) -> bytes:
        """With the fault of skl2onnx's converter: 1 from the threshold on, rather than above it."""
        model = onnx.load_from_string(to_onnx(estimator, contract, **options))
        (first, *_) = [node for node in model.graph.node if node.op_type == "Greater"]
        first.op_type = "GreaterOrEqual"
        return bytes(model.SerializeToString())

    manifest, _ = trained(fevers(), "fever", export=stock)
    assert manifest.runtime == "joblib"
    assert "another label" in manifest.parity["reason"]


def hot() -> Binarizer:
    return Binarizer(threshold=37.8)


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([hot()], id="first"),
        pytest.param([StandardScaler(), Binarizer(threshold=0.7)], id="after a scaler"),
        pytest.param([FunctionTransformer(np.log1p), Binarizer(threshold=3.6)], id="after a curve"),
        pytest.param([FunctionTransformer(np.negative), Binarizer(threshold=-37)], id="after a fall"),
        pytest.param([StandardScaler(), KBinsDiscretizer(4, encode="ordinal")], id="bins"),
        pytest.param([ColumnTransformer([("hot", hot(), ["temp"])])], id="columns"),
        pytest.param(
            [ColumnTransformer([("hot", make_pipeline(StandardScaler(), Binarizer()), [0])])], id="nested"
        ),
        pytest.param([FeatureUnion([("hot", hot()), ("same", StandardScaler())])], id="union"),
        pytest.param(
            [make_union(make_pipeline(StandardScaler(), Binarizer(threshold=0.5)))], id="nested union"
        ),
    ],
)
def test_both_sides_of_a_steps_threshold_are_tried(steps: list[Any]) -> None:
    """Two doubles next to each other, of which the last step makes different things."""
    frame = fevers()
    given = frame[["temp", "age"]].astype(float)
    pipeline = make_pipeline(*steps, LogisticRegression()).fit(given, frame["y"])
    values = tried(pipeline, frame)["temp"]
    values = values[values > 0]  # where every step takes it
    probe = pd.DataFrame({"temp": values, "age": 40.0})
    made = np.asarray(pipeline[:-1].transform(probe))
    changes = np.flatnonzero((np.abs(np.diff(made, axis=0)) > 0.5).any(axis=1))
    assert any(np.nextafter(values[place], np.inf) == values[place + 1] for place in changes)


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        pytest.param(
            StackingClassifier([("hot", make_pipeline(hot(), LogisticRegression()))], cv=2),
            37.8,
            id="stacked",
        ),
        pytest.param(make_pipeline(SplineTransformer(), LogisticRegression()), None, id="knots"),
        pytest.param(
            make_pipeline(QuantileTransformer(n_quantiles=10), LogisticRegression()), None, id="quantiles"
        ),
        pytest.param(make_pipeline(PowerTransformer(), LogisticRegression()), 0.0, id="power"),
        pytest.param(RandomForestClassifier(5, random_state=0), None, id="forest"),
    ],
)
def test_the_numbers_that_a_step_was_fitted_with_are_tried(estimator: Any, expected: float | None) -> None:
    frame = fevers()
    estimator.fit(frame[["temp", "age"]].astype(float), frame["y"])
    values = tried(estimator, frame)["temp"]
    if expected is None:
        (name,) = {"splinetransformer", "quantiletransformer"} & set(
            getattr(estimator, "named_steps", {})
        ) or {""}
        if name == "splinetransformer":
            expected = float(estimator[0].bsplines_[0].t[4])
        elif name == "quantiletransformer":
            expected = float(estimator[0].quantiles_[4, 0])
        else:
            expected = float(estimator.estimators_[0].tree_.threshold[0])
    assert expected in values
    assert np.nextafter(expected, np.inf) in values


def tried(estimator: Any, frame: pd.DataFrame) -> Any:
    low, high = float(frame["temp"].min()), float(frame["temp"].max())
    features = (Feature("temp", "number", False, low, high), Feature("age", "number", False, 1.0, 90.0))
    return breakpoints(estimator, Contract(features, "binary", (0, 1)), (37.0, 40.0), 0)


def thresholds(tree: Any) -> np.ndarray:
    return tree.tree_.threshold[tree.tree_.children_left >= 0]


def assert_tried(values: np.ndarray, expected: np.ndarray) -> None:
    assert len(expected)
    assert np.abs(np.subtract.outer(expected, values)).min(axis=1).max() < 1e-5


def test_trees_that_are_bagged_are_tried_at_the_thresholds_of_their_own_columns() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"temp": random.uniform(36, 40, 300), "age": random.uniform(1, 90, 300)})
    target = (frame["temp"] + frame["age"] / 30 > 40).astype(int)
    trees = BaggingClassifier(DecisionTreeClassifier(max_depth=2), 6, max_features=1, random_state=0)
    model = make_pipeline(StandardScaler(), trees).fit(frame, target)
    values = tried(model, frame)
    scaler = model[0]
    assert {column for (column,) in trees.estimators_features_} == {0, 1}
    for tree, (column,) in zip(trees.estimators_, trees.estimators_features_, strict=True):
        assert_tried(
            values[frame.columns[column]],
            thresholds(tree) * scaler.scale_[column] + scaler.mean_[column],
        )


def test_calibration_is_tried_at_its_steps() -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"temp": random.uniform(36, 40, 300), "age": random.uniform(1, 90, 300)})
    target = (frame["temp"] + random.normal(size=300) > 38).astype(int)
    model = CalibratedClassifierCV(LinearSVC(), method="isotonic", ensemble=False).fit(frame, target)
    (calibrated,) = model.calibrated_classifiers_
    weight, _ = calibrated.estimator.coef_[0]
    zero = calibrated.estimator.decision_function(pd.DataFrame({"temp": [0.0], "age": [40.0]}))[0]
    steps = (calibrated.calibrators[0].X_thresholds_ - zero) / weight
    assert_tried(tried(model, frame)["temp"], steps[(steps > 36) & (steps < 40)])


@pytest.mark.parametrize("columns", [slice(0, 1), slice("temp", "temp"), [True, False], [-2]], ids=str)
def test_columns_are_traced_however_they_are_named(columns: Any) -> None:
    frame = pd.DataFrame({"temp": np.linspace(36, 40, 100), "age": np.linspace(1, 90, 100)[::-1]})
    tree = DecisionTreeClassifier(max_depth=1)
    model = make_pipeline(ColumnTransformer([("scaled", StandardScaler(), columns)]), tree)
    model.fit(frame, frame["temp"] > 37.77)
    scaler = model[0].transformers_[0][1]
    assert_tried(tried(model, frame)["temp"], thresholds(tree) * scaler.scale_ + scaler.mean_)


# Texts, and values far beyond what training saw


def reviews() -> pd.DataFrame:
    words = [
        "actor",
        "very",
        "good",
        "ending",
        "plot",
        "great",
        "awful",
        "or",
        "star",
        "film",
        "bad",
        "sum",
    ]
    random = np.random.default_rng(0)
    chosen = random.choice(words, (500, 6))
    worth = {"good": 2, "great": 3, "bad": -2, "awful": -3}
    y = [int(sum(worth.get(word, 0) for word in row) + random.normal() > 0) for row in chosen]
    return pd.DataFrame({"text": [" ".join(row) for row in chosen], "y": y})


@pytest.mark.parametrize("pipeline", ["pairs_of_words", "lower_words"])
def test_a_graph_splits_the_texts_of_a_category_as_scikit_learn_does(
    tmp_path: Path, trained: Trained, pipeline: str
) -> None:
    manifest, _ = trained(reviews(), pipeline, kinds={"text": "category"})
    assert manifest.engines == {"one": "scalar", "many": "onnx"}
    model = Model.load(tmp_path / "model")
    records = [("good film",), ("goodé film",), ("the égood star",), ("中文good",), ("good a film",)]
    expected = truth(tmp_path / "model").score(records)
    np.testing.assert_allclose(model.score(records).probabilities, expected.probabilities, atol=1e-12)


def test_texts_hold_what_can_be_inside_a_text() -> None:
    made = rows.texts(["good film", "bad plot"])
    for piece in ("é", "ß", "İ", "ﬁ", "中文", "🙂", "_", "’", "-", "\t", "\n", " a ", "7"):
        assert any(piece in each and ("good" in each or "bad" in each) for each in made), piece
    assert any(each != unicodedata.normalize("NFC", each) for each in made)
    assert max(map(len, made)) > 10_000
    assert "GOOD FILM" in made
    assert all(rows.texts([each]) for each in ("x", " ", "a b", "\n"))


def test_numbers_are_tried_up_to_what_the_schema_takes(trained: Trained) -> None:
    number, whole = (rows.edges(Feature("a", kind, False, 0.0, 1.0)) for kind in ("number", "integer"))
    for value in (1e15, 1e20, 3.4028234663852886e38):
        assert {value, -value} <= set(number)
    assert {2.0**53 - 1, 1 - 2.0**53} <= set(whole)
    assert all(each.is_integer() and abs(each) < 2**53 for each in map(float, whole))

    def near(estimator: Any, contract: Contract, **options: Any) -> bytes:
        """With what is beyond 1e30 taken for 1e30."""
        model = onnx.load_from_string(to_onnx(estimator, contract, **options))
        names = {each.name: f"near {each.name}" for each in model.graph.input}
        for node in model.graph.node:
            node.input[:] = [names.get(each, each) for each in node.input]
        for name, made in names.items():
            clip = onnx.helper.make_node("Clip", [name, "least", "most"], [made])
            model.graph.node.insert(0, clip)
        for name, limit in (("least", -1e30), ("most", 1e30)):
            model.graph.initializer.append(
                onnx.helper.make_tensor(name, onnx.TensorProto.DOUBLE, [], [limit])
            )
        return bytes(model.SerializeToString())

    manifest, _ = trained(doses(1.0), "dosed", export=near)
    assert manifest.runtime == "joblib"
    assert "over the tolerance" in manifest.parity["reason"]


# Rows on which scikit-learn raises


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pipeline", ["logarithms", "stretched_forest"])
def test_a_graph_has_no_number_where_scikit_learn_raises(
    tmp_path: Path, trained: Trained, pipeline: str
) -> None:
    asked: list[bool] = []

    def noted(estimator: Any, contract: Contract, *, guarded: bool = False) -> bytes:
        asked.append(guarded)
        return to_onnx(estimator, contract, guarded=guarded)

    manifest, _ = trained(fevers(), pipeline, export=noted)
    assert asked == [False, True]
    assert manifest.engines == {"one": "scalar", "many": "onnx"}, manifest.parity
    model, true = Model.load(tmp_path / "model"), truth(tmp_path / "model")
    refused = 0
    for value in (-1e38, -5.0, -1.0, 0.0, 37.0, 1e30, 3.4e38):
        for crowd in (1, 20):
            try:
                expected = true.predict([(value, 30.0)])[0]["probabilities"]
            except InvalidRecords:
                refused += 1
                with pytest.raises(InvalidRecords, match="cannot predict"):
                    model.predict([(value, 30.0)] * crowd)
            else:
                (found, *_) = model.predict([(value, 30.0)] * crowd)
                assert found["probabilities"] == pytest.approx(expected, abs=1e-6)
    assert refused


def test_a_classifier_without_probabilities_cannot_show_that_it_has_no_answer(trained: Trained) -> None:
    manifest, _ = trained(fevers(), "logarithms_without_probabilities")
    assert manifest.runtime == "joblib"
    assert "without probabilities" in manifest.parity["reason"]


# The unit of a regression


def doses(scale: float, offset: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(0)
    dose = random.choice([0.1, 0.25, 0.75, 0.9], 300)
    frame = pd.DataFrame({"dose": dose, "other": np.round(random.normal(size=300), 4)})
    frame["y"] = offset + scale * (1 + 3 * (dose > 0.5) + 0.1 * random.normal(size=300))
    return frame


@pytest.mark.parametrize(("scale", "offset"), [(1e-6, 0.0), (1e-3, 300.0)])
def test_a_difference_counts_in_the_targets_own_spread(
    trained: Trained, scale: float, offset: float
) -> None:
    def off(estimator: Any, contract: Contract, **options: Any) -> bytes:
        """Wrong by a thousandth of the target's scale, however little that is."""
        model = onnx.load_from_string(to_onnx(estimator, contract, **options))
        (value,) = [each.name for each in model.graph.output]
        for node in model.graph.node:
            node.output[:] = ["right" if name == value else name for name in node.output]
        wrong = onnx.helper.make_tensor("wrong", onnx.TensorProto.DOUBLE, [], [scale / 1000])
        model.graph.initializer.append(wrong)
        model.graph.node.append(onnx.helper.make_node("Add", ["right", "wrong"], [value]))
        return bytes(model.SerializeToString())

    frame = doses(scale, offset)
    manifest, said = trained(frame, "dosed")
    assert manifest.runtime == "onnx"
    assert manifest.parity["unit"] == pytest.approx(frame["y"].std(ddof=0))
    assert manifest.parity["centre"] == pytest.approx(frame["y"].mean())
    assert "mae 0.0000" not in said
    manifest, _ = trained(frame, "dosed", export=off)
    assert manifest.runtime == "joblib"
    assert "over the tolerance" in manifest.parity["reason"]


def test_check_measures_in_the_manifests_unit(tmp_path: Path, trained: Trained) -> None:
    trained(doses(1e-6), "dosed")
    model = Model.load(tmp_path / "model")
    golden = model.manifest.golden
    off = tuple({**each, "prediction": each["prediction"] + 1e-9} for each in golden)
    assert len(differences(model._replace(manifest=model.manifest._replace(golden=off)))) == len(golden)
    older = {name: value for name, value in model.manifest.parity.items() if name not in ("unit", "centre")}
    assert differences(model._replace(manifest=model.manifest._replace(golden=off, parity=older))) == []


# The same answer twice


@pytest.mark.parametrize("pipeline", ["boosted_line", "single_ridge"])
def test_a_model_that_rounds_otherwise_in_a_crowd_is_served_by_joblib(
    tmp_path: Path, trained: Trained, pipeline: str
) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(30, 9, (440, 10)).round(1), columns=list("abcdefghij"))
    frame["y"] = (frame.sum(axis=1) * 3 + random.normal(0, 40, 440)).round()
    manifest, said = trained(frame, pipeline)
    assert manifest.runtime == "joblib"
    assert 0 < manifest.parity["tolerance"] < 1e-3
    assert "note: the last digits of a prediction depend on how many rows are scored at once" in said
    assert differences(Model.load(tmp_path / "model")) == []


def test_a_random_model_is_refused_however_little_it_varies(trained: Trained) -> None:
    with pytest.raises(TrainingError, match="same answer twice"):
        trained(doses(1.0), "Noisy")


# Names, and growth


NAMES = ["x", "x0", "variable", "probabilities", "label", "v7", "MatMul", "threshold", "guard", "_", "é 中"]


@pytest.mark.parametrize("names", [["x", "x1"], [*NAMES, "n" * 1000]], ids=["x", "many"])
def test_no_feature_name_meets_a_name_of_the_graph(trained: Trained, names: list[str]) -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(200, len(names))).round(3), columns=names)
    frame["y"] = (frame.sum(axis=1) > 0).astype(int)
    manifest, _ = trained(frame, "bare")
    assert manifest.engines == {"one": "scalar", "many": "onnx"}, manifest.parity


def test_rows_to_try_are_bounded_and_hold_every_edge() -> None:
    features = [Feature(f"g{place}", "number", False, -3.0, 3.0) for place in range(5000)]
    thresholds = {"g7": np.array([0.25, 0.5])}
    made = rows.adversarial(features, (0.0,) * 5000, 0, thresholds, at_least=20_000)
    assert sum(map(len, made.values())) <= rows.CELLS
    for feature in features:
        assert set(rows.edges(feature)) <= set(made[feature.name].tolist())
    assert {0.25, 0.5} <= set(made["g7"].tolist())


def test_a_forest_of_many_classes_is_served_by_its_graph(trained: Trained) -> None:
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(4000, 4)).round(3), columns=list("abcd"))
    frame["y"] = [f"class {place}" for place in pd.qcut(frame["a"] + frame["b"], 80, labels=False)]
    manifest, _ = trained(frame, "many_trees")
    assert manifest.runtime == "onnx"
    assert manifest.parity["largest_difference"] == 0.0


def test_a_finding_is_json() -> None:
    finding = parity.untried("why", 1e-5, parity.Scale.of(np.array([1.0, 3.0])))
    assert json.loads(json.dumps(finding.as_json())) == {
        "rows": 0, "adversarial_rows": 0, "tolerance": 1e-5, "reason": "why", "unit": 1.0, "centre": 2.0
    }  # fmt: skip


def test_records_that_the_model_cannot_predict_are_not_golden(trained: Trained) -> None:
    x = np.concatenate([np.linspace(0, 50, 150), np.linspace(60, 100, 150)])
    manifest, _ = trained(pd.DataFrame({"x": x, "y": (x > 40).astype(int)}), "with_a_gap")
    assert manifest.runtime == "joblib"
    assert manifest.golden
    assert not [each for each in manifest.golden if 50 < each["record"]["x"] < 60]
