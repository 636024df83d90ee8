"""Models of older scikit-learns: fitted, pickled and packaged with those, and served here without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from handler.bundle import Bundle
from tests.support.alone import served_alone
from tests.support.environments import environment, run
from training.__main__ import main

pytestmark = pytest.mark.slow

FIT = """
import json, pickle
import joblib, numpy as np, pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from training import package
from training.__main__ import main

random = np.random.default_rng(0)
sales = pd.DataFrame({"age": random.integers(17, 90, 300), "new_user": random.integers(0, 2, 300),
                      "pages": random.integers(1, 29, 300)})
bought = (sales["pages"] + random.normal(0, 3, 300) > 12).astype(int)
logreg = LogisticRegression(max_iter=1000).fit(sales.values, bought)
pickle.dump(logreg, open("logreg.pkl", "wb"))
package(logreg, sales, bought, out="logreg", classes=["no", "yes"])

offers = pd.DataFrame({"area": random.normal(80, 20, 300).round(1),
                       "city": random.choice(["Oslo", "Rome"], 300), "garden": random.random(300) < 0.4,
                       "rooms": random.integers(1, 6, 300)})
dear = np.where(offers["area"] + 20 * offers["garden"] > 85, "dear", "cheap")
steps = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city"]),
                                (StandardScaler(), ["area", "garden", "rooms"]))
forest = make_pipeline(steps, RandomForestClassifier(20, max_depth=5, random_state=0)).fit(offers, dear)
joblib.dump(forest, "forest.joblib", compress=3)
offers.assign(price=dear).to_csv("offers.csv", index=False)

assert main(["package", "forest.joblib", "--sample", "offers.csv", "--target", "price", "--trust",
             "--out", "forest"]) == 0

def expected(rows, probabilities):
    return [json.loads(rows.head(9).to_json(orient="records")), probabilities.tolist()]

json.dump({"logreg": expected(sales, logreg.predict_proba(sales.values[:9])),
           "forest": expected(offers, forest.predict_proba(offers.head(9)))}, open("expected.json", "w"))
"""
PACKAGE = ("-m", "training", "package")


@pytest.mark.parametrize("version", ["1.3", "1.5", "1.7"])
def test_a_model_is_packaged_where_it_was_fitted_and_served_here(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    python = environment(version)
    run(python, "-c", FIT, folder=tmp_path)
    expected = json.loads((tmp_path / "expected.json").read_text())
    for name, (records, probabilities) in expected.items():
        made = Bundle.open(tmp_path / name).manifest
        assert made.engines == {"one": "scalar", "many": "onnx"}, made.parity
        assert made.training["imported"]["versions"]["scikit-learn"].startswith(version)
        assert "could not be drawn" not in (tmp_path / name / "report.html").read_text()
        served = served_alone(tmp_path / name, records)
        given = [list(each["probabilities"].values()) for each in served]
        np.testing.assert_allclose(given, probabilities, rtol=0, atol=1e-6)

    # Here, with another scikit-learn, it is refused before it is opened.
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    assert main(["package", "logreg.pkl", "--sample", "sales.csv"]) == 2
    first, *lines = capsys.readouterr().err.splitlines()
    exact = made.training["imported"]["versions"]["scikit-learn"]
    assert f"logreg.pkl was saved with scikit-learn {exact}, and here is " in first
    assert lines[0].endswith(f"-m venv sklearn-{exact}")
    assert (
        lines[1]
        == f"  sklearn-{exact}/bin/python -m pip install scikit-learn=={exact} 'sklearn-function[training]'"
    )
    assert lines[2] == f"  sklearn-{exact}/bin/python -m training package logreg.pkl --sample sales.csv"


MLFLOW = """
import json
import mlflow.sklearn, numpy as np, pandas as pd
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

random = np.random.default_rng(0)
rows = pd.DataFrame({"age": random.integers(17, 90, 200), "spent": random.normal(50, 9, 200)})
bought = (rows["spent"] > 50).astype(int)
model = make_pipeline(StandardScaler(), LogisticRegression())
pins = {"pip_requirements": ["scikit-learn"]}
mlflow.sklearn.save_model(model.fit(rows.values, bought), "signed", signature=infer_signature(rows),
                          input_example=rows.head(50), serialization_format="cloudpickle", **pins)
mlflow.sklearn.save_model(model.fit(rows, bought), "unsigned", **pins)
rows.to_csv("rows.csv", index=False)
json.dump([json.loads(rows.head(5).to_json(orient="records")), model.predict_proba(rows.head(5)).tolist()],
          open("expected.json", "w"))
"""


def test_folders_of_mlflow_are_packaged_with_and_without_a_signature(tmp_path: Path) -> None:
    python = environment("1.7")
    run(python, "-W", "ignore", "-c", MLFLOW, folder=tmp_path)
    run(python, *PACKAGE, "signed", "--trust", "--out", "a", folder=tmp_path)
    run(python, *PACKAGE, "unsigned", "--sample", "rows.csv", "--out", "b", folder=tmp_path)
    records, probabilities = json.loads((tmp_path / "expected.json").read_text())
    for name, source in (("a", "signed"), ("b", "unsigned")):
        made = Bundle.open(tmp_path / name).manifest
        assert made.name == source
        assert [feature.name for feature in made.features] == ["age", "spent"]
        assert [feature.kind for feature in made.features] == ["integer", "number"]
        assert made.training["imported"]["format"] == "mlflow"
        for served, own in zip(served_alone(tmp_path / name, records), probabilities, strict=True):
            assert list(served["probabilities"].values()) == pytest.approx(own, abs=1e-9)
