"""``training.package``: what a notebook has fitted becomes a bundle, served without scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.compose import make_column_transformer
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from handler.bundle import Bundle
from handler.manifest import Manifest
from handler.scoring.model import Model
from tests.support.alone import served_alone
from tests.support.bundles import measurements
from training import package

SALES = ["age", "new_user", "total_pages_visited"]


def sales(rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """The book's table, as an array of doubles, and its target."""
    random = np.random.default_rng(0)
    features = np.column_stack(
        [random.integers(17, 90, rows), random.integers(0, 2, rows), random.integers(1, 29, rows)]
    ).astype(float)
    target = (features[:, 2] + random.normal(0, 3, rows) > 12).astype(int)
    return features, target


def logreg() -> LogisticRegression:
    """The book's model."""
    return LogisticRegression(class_weight="balanced", max_iter=1000).fit(*sales())


def offers(rows: int = 300) -> pd.DataFrame:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "area": random.normal(80, 20, rows).round(1),
            "rooms": random.integers(1, 6, rows),
            "garden": random.random(rows) < 0.4,
            "city": random.choice(["Oslo", "Rome", "Bern"], rows),
        }
    )
    frame["price"] = frame["area"] * 3 + frame["rooms"] * 20 + (frame["city"] == "Oslo") * 50
    return frame


def priced(frame: pd.DataFrame) -> Any:
    """A pipeline that was fitted on the DataFrame."""
    steps = make_column_transformer(
        (StandardScaler(), ["area", "rooms", "garden"]), (OneHotEncoder(handle_unknown="ignore"), ["city"])
    )
    return make_pipeline(steps, Ridge()).fit(frame.drop(columns="price"), frame["price"])


def manifest(bundle: Path) -> Manifest:
    return Bundle.open(bundle).manifest


def test_the_books_model_is_packaged_from_an_array_and_served_without_scikit_learn(tmp_path: Path) -> None:
    rows, _ = sales()
    model = logreg()
    before = model.coef_.copy()
    bundle = package(model, rows, out=tmp_path / "churn", feature_names=SALES)
    made = manifest(bundle)
    assert made.name == "churn"
    assert made.engines == {"one": "scalar", "many": "onnx"}
    assert made.rows_as == "array"
    assert [feature.name for feature in made.features] == SALES
    assert made.metrics == {}
    (served,) = served_alone(bundle, [{"age": 45, "new_user": 0, "total_pages_visited": 5}])
    own = model.predict_proba([[45, 0, 5]])[0]
    assert served["prediction"] == model.predict([[45, 0, 5]])[0]
    assert list(served["probabilities"].values()) == pytest.approx(own, abs=1e-12)
    assert (model.coef_ == before).all()


def test_a_pipeline_of_a_dataframe_is_fed_as_it_was_fitted(tmp_path: Path) -> None:
    frame = offers()
    model = priced(frame)
    rows = frame.drop(columns="price")
    bundle = package(model, rows, frame["price"], out=tmp_path / "offers")
    made = manifest(bundle)
    assert made.target == "price"
    assert made.rows_as == "frame"
    assert [(each.kind, each.fed_as) for each in made.features] == [
        ("number", None), ("integer", "int64"), ("boolean", "bool"), ("category", None),
    ]  # fmt: skip
    records = json.loads(rows.head(5).to_json(orient="records"))
    predictions = [each["prediction"] for each in served_alone(bundle, records)]
    assert predictions == pytest.approx(model.predict(rows.head(5)), rel=1e-9)


def test_with_a_target_the_metrics_are_marked_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, target = sales()
    bundle = package(logreg(), rows, target, out=tmp_path / "m", target="converted", feature_names=SALES)
    marked = "measured on rows that the model may have seen"
    assert marked in capsys.readouterr().out
    for name in ("MODEL_CARD.md", "report.html"):
        assert marked in (bundle / name).read_text()
    made = manifest(bundle)
    assert made.target == "converted"
    assert made.metrics["accuracy"] == pytest.approx((logreg().predict(rows) == target).mean())


def test_without_a_target_the_report_has_no_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = offers()
    bundle = package(priced(frame), frame.drop(columns="price"), out=tmp_path / "m")
    said = capsys.readouterr().out
    report, card = ((bundle / name).read_text() for name in ("report.html", "MODEL_CARD.md"))
    for text in (said, report, card):
        assert "R²" not in text
        assert "mean absolute error" not in text
    assert "without a target" in card
    assert "<h3>Effects</h3>" in report
    assert "<h3>Predictions</h3>" in report
    assert "could not be drawn" not in report
    parity = manifest(bundle).parity
    values = priced(frame).predict(frame.drop(columns="price"))
    assert parity["unit"] == pytest.approx(values.std())


def test_one_served_prediction_is_shown_beside_the_models_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, _ = sales()
    package(logreg(), rows, out=tmp_path / "m", feature_names=SALES)
    probability = logreg().predict_proba(rows[:1])[0].max()
    beginning = "the first row of the sample: the model itself predicts "
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith(beginning)]
    assert line.count(f"(with {probability:.6f})") == 2


@pytest.mark.parametrize("classes", [["no", "yes"], {0: "no", 1: "yes"}, {"0": "no", "1": "yes"}])
def test_classes_are_served_under_their_names(classes: Any, tmp_path: Path) -> None:
    rows, target = sales()
    bundle = package(logreg(), rows, target, out=tmp_path / "m", feature_names=SALES, classes=classes)
    made = manifest(bundle)
    assert made.classes == ("no", "yes")
    assert made.engines == {"one": "scalar", "many": "onnx"}
    records = [dict(zip(SALES, row, strict=True)) for row in rows[:40].tolist()]
    served = served_alone(bundle, records)
    assert [each["prediction"] for each in served] == [
        "yes" if each else "no" for each in logreg().predict(rows[:40])
    ]
    assert [each["probabilities"]["yes"] for each in served] == pytest.approx(
        logreg().predict_proba(rows[:40])[:, 1]
    )


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (np.array([False, True]), ("False", "True")),
        (np.array([1.0, 2.0]), (1, 2)),
    ],
)
def test_labels_of_every_type_are_served(
    labels: np.ndarray, classes: tuple[Any, ...], tmp_path: Path
) -> None:
    rows, target = sales()
    model = LogisticRegression(max_iter=1000).fit(rows, labels[target])
    bundle = package(model, rows, labels[target], out=tmp_path / "m", feature_names=SALES)
    made = manifest(bundle)
    assert made.classes == classes
    assert made.metrics["accuracy"] > 0.8
    records = [dict(zip(SALES, row, strict=True)) for row in rows[:20].tolist()]
    index = {label: place for place, label in enumerate(labels.tolist())}
    expected = [classes[index[each]] for each in model.predict(rows[:20]).tolist()]
    from handler.scoring.model import Model

    loaded = Model.load(bundle)
    assert [
        each["prediction"] for each in loaded.predict([loaded.schema.from_json(each) for each in records])
    ] == expected


@pytest.mark.parametrize(
    "estimator",
    [
        IsolationForest(n_estimators=20, random_state=0),
        KMeans(3, n_init=1, random_state=0),
        GaussianMixture(2, random_state=0),
    ],
    ids=["IsolationForest", "KMeans", "GaussianMixture"],
)
def test_a_fitted_model_without_a_target_is_packaged(
    estimator: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = measurements(300)[["load", "heat"]]
    model = make_pipeline(StandardScaler(), estimator).fit(frame)
    bundle = package(model, frame, out=tmp_path / "model")
    capsys.readouterr()
    served, own = Model.load(bundle), model.predict(frame)
    assert served.manifest.target == ""
    assert served.manifest.engines == {"one": "scalar", "many": "onnx"}, served.manifest.parity
    records = [served.schema.from_json(row) for row in frame.head(40).to_dict("records")]
    assert [each["prediction"] for each in served.predict(records)] == own[:40].tolist()
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "It has no target" in card
    assert "300 rows of the sample, which it may have seen" in card
