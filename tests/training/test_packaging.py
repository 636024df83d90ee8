"""A model that was fitted elsewhere becomes a bundle: no options, no CSV file and no split are needed."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import RadiusNeighborsRegressor

from handler.errors import InvalidRecords
from handler.manifest import Feature
from handler.scoring.model import Model
from tests.support.bundles import quiet
from training.errors import TrainingError
from training.fitting import contract_of
from training.packaging import Fitted, package


def fitted(name: str = "elsewhere") -> tuple[Fitted, LogisticRegression]:
    rows = pd.DataFrame({"age": np.arange(200) % 90.0, "income": np.arange(200) % 7.0})
    truth = (rows["age"] + rows["income"] > 50).to_numpy().astype(np.int64)
    estimator = LogisticRegression().fit(rows, truth)
    features = (Feature("age", "number", False, 0.0, 89.0), Feature("income", "number", False, 0.0, 6.0))
    columns = {column: rows[column].to_numpy() for column in rows}
    contract = contract_of(estimator, features, columns)
    made = Fitted(
        name=name,
        estimator=estimator,
        contract=contract,
        target="buys",
        ids=(),
        typical=(45.0, 3.0),
        rows=columns,
        truth=truth,
        every_truth=truth,
        training={},
    )
    return made, estimator


def test_a_model_fitted_elsewhere_is_proven_and_served(tmp_path: Path) -> None:
    given, estimator = fitted()
    made = package(given, tmp_path / "model", seed=0, exact=False, say=quiet)
    assert made.manifest.engines == {"one": "scalar", "many": "onnx"}
    assert made.manifest.name == "elsewhere"
    assert made.manifest.training == {}
    model = Model.load(tmp_path / "model")
    assert model.manifest == made.manifest
    prediction = model.predict_one((60.0, 2.0))
    frame = pd.DataFrame({"age": [60.0], "income": [2.0]})
    assert prediction["prediction"] == estimator.predict(frame)[0]
    expected = estimator.predict_proba(frame)[0].tolist()
    assert list(prediction["probabilities"].values()) == pytest.approx(expected)
    assert "measured on 200 rows" in (tmp_path / "model" / "MODEL_CARD.md").read_text()


def test_a_bundle_that_does_not_reproduce_itself_leaves_the_earlier_one(tmp_path: Path) -> None:
    class Fickle(LogisticRegression):
        def predict_proba(self, rows: pd.DataFrame) -> np.ndarray:
            noise = np.random.default_rng().uniform(0, 0.1, (len(rows), 1))
            return np.asarray(super().predict_proba(rows) * (1 - noise) + noise / 2)

    given, estimator = fitted()
    package(given, tmp_path / "model", seed=0, exact=False, say=quiet)
    before = (tmp_path / "model" / "model.json").read_bytes()
    estimator.__class__ = Fickle
    with pytest.raises(TrainingError, match="same answer twice"):
        package(given, tmp_path / "model", seed=0, exact=False, say=quiet)
    assert (tmp_path / "model" / "model.json").read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_a_model_of_whole_numbers_in_an_array_is_served_as_it_was_fitted(tmp_path: Path) -> None:
    given, _ = fitted()
    rows = np.column_stack([given.rows["age"], given.rows["income"]]).astype(np.int64)
    estimator = LogisticRegression().fit(rows, given.truth)
    features = tuple(
        feature._replace(kind="integer", fed_as="int64") for feature in given.contract.features
    )
    contract = contract_of(estimator, features, given.rows, "array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = package(
            replace(given, estimator=estimator, contract=contract),
            tmp_path / "model", seed=0, exact=False, say=quiet,
        )  # fmt: skip
    assert made.manifest.engines == {"one": "scalar", "many": "onnx"}
    model = Model.load(tmp_path / "model")
    assert model.manifest.contract == contract
    assert model.manifest.as_json()["rows_as"] == "array"
    assert [each["fed_as"] for each in model.manifest.as_json()["features"]] == ["int64", "int64"]
    expected = estimator.predict_proba(np.array([[60, 2]]))[0].tolist()
    assert list(model.predict_one((60.0, 2.0))["probabilities"].values()) == pytest.approx(expected)


@pytest.mark.filterwarnings("ignore:One or more samples have no neighbors")
def test_rows_without_an_answer_are_left_out_of_the_measures(tmp_path: Path) -> None:
    given, _ = fitted()
    values = np.asarray(given.rows["age"])
    near = pd.DataFrame(given.rows)[values < 80]
    estimator = RadiusNeighborsRegressor(5.0).fit(near, near["age"] + 0.5)
    contract = contract_of(estimator, given.contract.features, given.rows)
    truth = values + 0.5
    lone = replace(given, estimator=estimator, contract=contract, truth=truth, every_truth=truth)
    heard: list[str] = []
    made = package(lone, tmp_path / "model", seed=0, exact=False, say=heard.append)
    without = int(np.isnan(estimator.predict(pd.DataFrame(given.rows))).sum())
    assert 0 < without < 200
    assert f"{without} of the 200 rows held out get no finite number, and are left out" in heard
    assert made.manifest.metrics["mae"] < 5
    with pytest.raises(InvalidRecords):
        Model.load(tmp_path / "model").predict_one((89.0, 2.0))
