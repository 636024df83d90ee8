"""Free text from a CSV to an answer: training, the bundle, HTTP, files, and the models of texts alone."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from handler.__main__ import main as handler_main
from handler.errors import InvalidRecords
from handler.manifest_rules import parsed
from handler.schema import LONGEST_TEXT, Schema
from handler.scoring.estimator import fed
from handler.scoring.model import Model
from tests.support.bundles import Run, reviews, trained
from training.__main__ import main

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
#: Texts as users write them, and as no one does.
TEXTS = (
    "good film",
    "It's GREAT: résumé\nof the 中文 plot",
    'a "bad", bad\r\nfilm; ok',
    "",
    "😀 e\u0301 ß İ _",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reviews, by the pipeline that training takes where none is named."""
    return trained(
        tmp_path_factory.mktemp("reviews"), reviews(), "reviews", target="y", kinds={"comment": "text"}
    )


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model.load(folder)


def expected(folder: Path, model: Model, records: list[dict[str, Any]]) -> np.ndarray:
    """The probabilities that the pickled estimator gives, fed as training fed it."""
    contract = model.manifest.contract
    columns = Schema(contract.features).columns(
        [Schema(contract.features).from_json(each) for each in records]
    )
    estimator = joblib.load(folder / "model.joblib")
    probabilities: np.ndarray = estimator.predict_proba(fed(contract.features, columns, contract.rows_as))
    return probabilities


def test_a_text_is_predicted_as_scikit_learn_does_one_by_one_and_many_at_once(
    folder: Path, model: Model
) -> None:
    assert model.manifest.engines == {"one": "scalar", "many": "onnx"}
    records = [{"comment": text or None, "stars": 4, "shop": "web"} for text in TEXTS]
    true = expected(folder, model, records)
    for answers in (
        model.predict(list(map(model.schema.from_json, records))),
        [model.predict_one(model.schema.from_json(each)) for each in records],
    ):
        np.testing.assert_allclose(
            [list(each["probabilities"].values()) for each in answers], true, atol=1e-12
        )
    many = model.score([model.schema.from_json(each) for each in records * 20])
    np.testing.assert_allclose(many.probabilities, np.tile(true, (20, 1)), atol=1e-12)


def test_the_manifest_holds_no_text_of_the_training_data_but_the_golden_rows(model: Model) -> None:
    (feature, *_) = model.manifest.features
    assert (feature.kind, feature.nullable, feature.categories) == ("text", True, ())
    document = model.manifest.as_json()
    assert document["features"][0] == {"name": "comment", "kind": "text", "nullable": True}
    assert parsed(json.loads(json.dumps(document))) == model.manifest


@pytest.mark.parametrize(
    ("value", "code"),
    [
        (7, "not_a_string"),
        ("\ud800", "not_a_string"),
        ("x" * (LONGEST_TEXT + 1), "out_of_range"),
    ],
    ids=["number", "surrogate", "long"],
)
def test_what_is_not_a_text_is_refused(model: Model, value: Any, code: str) -> None:
    with pytest.raises(InvalidRecords) as raised:
        model.schema.from_json({"comment": value, "stars": 4, "shop": "web"})
    (problem,) = raised.value.problems
    assert (problem.field, problem.code) == ("comment", code)
    assert "xxx" not in problem.message


def test_the_longest_text_is_answered(model: Model) -> None:
    text = "good plot " * (LONGEST_TEXT // 10)
    assert (
        model.predict_one(model.schema.from_json({"comment": text, "stars": 4, "shop": "web"}))[
            "prediction"
        ]
        == 1
    )


def test_a_file_with_quotes_and_line_ends_in_its_texts_is_scored(
    folder: Path, model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(folder))
    texts = [*TEXTS, "x" * (LONGEST_TEXT + 1)]
    rows = pd.DataFrame({"comment": texts * 3, "stars": 2, "shop": "Oslo"})
    rows.to_csv(tmp_path / "rows.csv", index=False, lineterminator="\r\n")
    assert handler_main(["score", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "out")]) == 0
    out = tmp_path / "out" / "rows.csv"
    with (out / "predictions.csv").open(newline="", encoding="utf-8") as file:
        scored = list(csv.DictReader(file))
    assert [row["comment"] for row in scored] == list(TEXTS) * 3
    records = [{"comment": text or None, "stars": 2, "shop": "Oslo"} for text in TEXTS]
    true = expected(folder, model, records)[:, 1]
    np.testing.assert_allclose([float(row["probability"]) for row in scored], np.tile(true, 3), atol=1e-12)
    rejected = list(csv.DictReader(io.StringIO((out / "rejected.csv").read_text())))
    assert [each["code"] for each in rejected] == ["out_of_range"] * 3


def test_openapi_and_http_take_a_text(folder: Path) -> None:
    script = (
        "import json, sys; from handler.app import lambda_handler as answer\n"
        "def get(path, method='GET', body=None):\n"
        "    event = {'version': '2.0', 'rawPath': path, 'rawQueryString': '', 'body': body,\n"
        "             'headers': {'content-type': 'application/json'},\n"
        "             'requestContext': {'http': {'method': method}}}\n"
        "    return answer(event, None)\n"
        "one = get('/predict', 'POST', json.dumps({'comment': 'good film', 'stars': 4, 'shop': 'web'}))\n"
        "loaded = [name for name in sys.modules if name in ('handler.scoring.texts', 'numpy')]\n"
        "print(json.dumps([one['statusCode'], loaded, json.loads(get('/openapi.json')['body'])]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"MODEL_DIR": str(folder), "PATH": "", "LOG_LEVEL": "ERROR"},
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    status, loaded, document = json.loads(done.stdout)
    assert status == 200
    assert loaded == ["handler.scoring.texts"]
    schema = document["components"]["schemas"]["Record"]["properties"]["comment"]
    assert schema["type"] == ["string", "null"]
    assert schema["maxLength"] == LONGEST_TEXT
    assert "enum" not in schema


@pytest.mark.parametrize("pipeline", ["texts_alone", "texts_by_hash"])
def test_a_pipeline_that_starts_with_a_vectorizer_is_fed_its_only_column(
    run: Run, tmp_path: Path, pipeline: str
) -> None:
    manifest = run(
        reviews()[["comment", "y"]],
        "--pipeline",
        f"tests.support.pipelines:{pipeline}",
        "--kind",
        "comment=text",
    )
    assert manifest.rows_as == "texts"
    assert manifest.engines == {"one": "scalar", "many": "onnx"}
    model = Model.load(tmp_path / "model")
    records = [{"comment": text or None} for text in TEXTS]
    answers = model.predict([model.schema.from_json(each) for each in records])
    np.testing.assert_allclose(
        [list(each["probabilities"].values()) for each in answers],
        joblib.load(tmp_path / "model" / "model.joblib").predict_proba(list(TEXTS)),
        atol=1e-12,
    )


def test_a_vectorizers_pipeline_wants_one_column_of_texts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reviews().to_csv(tmp_path / "rows.csv", index=False)
    options = ["--kind", "comment=text", "--pipeline", "tests.support.pipelines:texts_alone"]
    assert (
        main(
            ["--data", str(tmp_path / "rows.csv"), "--target", "y", "--out", str(tmp_path / "m"), *options]
        )
        == 2
    )
    assert "takes one column of texts" in capsys.readouterr().err


def test_a_column_of_several_words_is_free_text(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = run(reviews())
    assert [each.kind for each in manifest.features if each.name == "comment"] == ["text"]
    assert "note: 'comment' is taken as free text (--kind 'comment=category'" in capsys.readouterr().out


@pytest.mark.parametrize("pipeline", ["hist_gradient_boosting", "naive_bayes"])
def test_the_named_pipelines_take_texts(run: Run, pipeline: str) -> None:
    manifest = run(reviews(), "--pipeline", pipeline, "--kind", "comment=text")
    assert manifest.engines == {"one": "scalar", "many": "onnx"}
    assert manifest.metrics["roc_auc"] > 0.75


def test_a_model_of_the_users_own_tokenizer_is_served_by_its_pickle(run: Run, tmp_path: Path) -> None:
    manifest = run(
        reviews()[["comment", "y"]],
        *("--pipeline", "tests.support.pipelines:texts_by_own_code", "--kind", "comment=text"),
    )
    assert manifest.runtime == "joblib"
    assert "tokenizer" in manifest.parity["reason"]
    model = Model.load(tmp_path / "model")
    assert model.predict_one(("good film",))["prediction"] in (0, 1)
