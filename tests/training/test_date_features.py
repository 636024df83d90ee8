"""Dates from a CSV to an answer: training, the bundle, HTTP, files, and the parts that a model is given."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from handler.__main__ import main as handler_main
from handler.app import App
from handler.errors import BundleError
from handler.manifest_rules import parsed
from handler.scoring.model import Model
from handler.settings import Settings
from handler.web import openapi
from handler.web.messages import Request
from tests.support.bundles import Run, resealed, trained
from training.__main__ import main

pytestmark = pytest.mark.slow
FORMAT = "%d/%m/%Y %H:%M"
PARTS = ["year", "month", "weekday", "day", "hour"]
DATES = ("31/01/2024 14:45", "2024-02-29", "1999-12-31T23:59:59Z", "1/7/2023 00:00", None)


def visits(rows: int = 600) -> pd.DataFrame:
    """Visits of three years: ``y`` is 1 at weekends and, more and more, in the afternoon."""
    random = np.random.default_rng(5)
    when = pd.Timestamp("2022-01-01") + pd.to_timedelta(random.integers(0, 3 * 365 * 24 * 60, rows), "min")
    afternoon = (when.hour >= 12) & (random.random(rows) < (when.year - 2021) / 3)
    texts = np.array(when.strftime(FORMAT), dtype=object)
    texts[random.random(rows) < 0.05] = ""
    y = ((when.day_of_week >= 5) | afternoon).astype(int)
    return pd.DataFrame({"when": texts, "amount": random.normal(50, 9, rows).round(2), "y": y})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Visits, by trees that split on the parts."""
    return trained(
        tmp_path_factory.mktemp("visits"), visits(), "visits", target="y", pipeline="decision_tree"
    )


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return Model.load(folder)


@pytest.fixture(scope="module")
def app(model: Model) -> App:
    return App(model, Settings())


def given(dates: list[str | None], amount: float) -> pd.DataFrame:
    """The parts that pandas makes of dates in the format or in ISO 8601, as the pipeline was fitted on."""
    when = [
        pd.NaT if each is None else pd.to_datetime(each, format=FORMAT if "/" in each else "ISO8601")
        for each in dates
    ]
    series = pd.Series([each if each is pd.NaT else each.tz_localize(None) for each in when])
    parts = {
        "when (year)": series.dt.year,
        "when (month)": series.dt.month,
        "when (weekday)": series.dt.day_of_week + 1,
        "when (day)": (series - pd.Timestamp("1970-01-01")).dt.days,
        "when (hour)": series.dt.hour,
    }
    return pd.DataFrame({**parts, "amount": amount}).astype(float)


def expected(folder: Path, dates: list[str | None], amount: float = 47.5) -> np.ndarray:
    """The probabilities that the pickled pipeline gives to the parts that pandas makes."""
    probabilities: np.ndarray = joblib.load(folder / "model.joblib").predict_proba(given(dates, amount))
    return probabilities[:, 1]


def ask(app: App, method: str, path: str, body: Any = None, query: tuple[tuple[str, str], ...] = ()) -> Any:
    headers = {"content-type": "application/json"} if body is not None else {}
    answer = app.handle(Request(method, path, query, headers, json.dumps(body).encode()))
    return answer.status, json.loads(answer.body)


def test_the_manifest_states_the_date_and_the_pipeline_is_given_its_parts(
    folder: Path, model: Model
) -> None:
    feature = model.manifest.features[0]
    assert (feature.name, feature.kind, feature.nullable, feature.format) == ("when", "date", True, FORMAT)
    assert [each.name for each in model.manifest.features] == ["when", "amount"]
    assert model.manifest.engines == {"one": "scalar", "many": "onnx"}
    document = json.loads((folder / "model.json").read_text())
    assert parsed(document) == model.manifest
    names = joblib.load(folder / "model.joblib").feature_names_in_.tolist()
    assert names == [*(f"when ({part})" for part in PARTS), "amount"]


def test_a_date_is_predicted_as_scikit_learn_does_one_by_one_and_many_at_once(
    folder: Path, model: Model
) -> None:
    true = expected(folder, [*DATES])
    records = [model.schema.from_json({"when": each, "amount": 47.5}) for each in DATES]
    together, alone = model.predict(records), [model.predict_one(each) for each in records]
    for answers in (together, alone):
        np.testing.assert_allclose([each["probabilities"]["1"] for each in answers], true, atol=1e-12)
    many = model.score(records * 20).probabilities
    assert many is not None
    np.testing.assert_allclose(many[:, 1], np.tile(true, 20), atol=1e-12)
    assert len({round(each, 9) for each in true}) > 2, "the date counts"


def test_a_query_and_json_take_a_date_in_its_format_and_in_iso(folder: Path, app: App) -> None:
    (true,) = expected(folder, ["31/01/2024 14:45"])
    for text in ("31/01/2024 14:45", " 31/1/2024  14:45", "2024-01-31T14:45", "2024-01-31 15:45+01:00"):
        for status, answer in (
            ask(app, "GET", "/predict", query=(("when", text), ("amount", "47.5"))),
            ask(app, "POST", "/predict", {"when": text, "amount": 47.5}),
        ):
            assert status == 200, answer
            assert answer["probabilities"]["1"] == pytest.approx(true, abs=1e-12)


@pytest.mark.parametrize("value", ["31/02/2024 10:00", "01/31/2024 10:00", "20240131", "soon", 1706712300])
def test_what_is_no_date_is_refused_with_an_example_and_without_the_value(app: App, value: Any) -> None:
    answers = [
        ask(app, "POST", "/predict", [{"when": "2024-01-31", "amount": 1}, {"when": value, "amount": 1}])
    ]
    answers.append(ask(app, "GET", "/predict", query=(("when", str(value)), ("amount", "1"))))
    for status, answer in answers:
        (problem,) = answer["errors"]
        assert (status, problem["field"], problem["code"]) == (422, "when", "not_a_date")
        assert str(value) not in json.dumps(answer)
    assert "31/01/2024 14:45, or in ISO 8601, as 2024-01-31" in problem["message"]


def test_a_file_is_scored_and_a_bad_date_is_rejected_with_its_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(folder))
    dates = [*DATES, "31/02/2024 10:00", "n/a"] * 800
    pd.DataFrame({"id": range(len(dates)), "when": dates, "amount": 47.5}).to_csv(
        tmp_path / "rows.csv", index=False
    )
    assert handler_main(["score", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "out")]) == 0
    out = tmp_path / "out" / "rows.csv"
    with (out / "predictions.csv").open(newline="") as file:
        scored = list(csv.DictReader(file))
    known = [*DATES, None]
    assert [row["when"] for row in scored] == [each or "" for each in [*DATES, "n/a"]] * 800
    np.testing.assert_allclose(
        [float(row["probability"]) for row in scored], np.tile(expected(folder, known), 800), atol=1e-12
    )
    with (out / "rejected.csv").open(newline="") as file:
        rejected = list(csv.DictReader(file))
    assert [(int(each["line"]), each["column"], each["code"]) for each in rejected] == [
        (7 * index + 7, "when", "not_a_date") for index in range(800)
    ]


def test_the_command_line_predicts_and_checks(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(folder))
    assert handler_main(["predict", "when=2024-01-31T14:45", "amount=47.5"]) == 0
    answer = json.loads(capsys.readouterr().out)
    (true,) = expected(folder, ["31/01/2024 14:45"])
    assert answer["probabilities"]["1"] == pytest.approx(true, abs=1e-12)
    assert handler_main(["check"]) == 0
    assert "all reproduced" in capsys.readouterr().out


def test_golden_rows_and_openapi_spell_dates_as_the_data_do(model: Model) -> None:
    golden = [row["record"]["when"] for row in model.manifest.golden]
    assert {type(each) for each in golden} == {str, type(None)}
    document = openapi.document(model.manifest, "/")
    schema = document["components"]["schemas"]["Record"]["properties"]["when"]
    assert schema["type"] == ["string", "null"]
    assert "31/01/2024 14:45" in schema["description"]
    assert re.search(r"01/01/2022 \d\d:\d\d to \d\d/12/2024", schema["description"])
    for text in (*(each for each in golden if each), *(each for each in DATES if each), "", "n/a"):
        assert re.search(schema["pattern"], text), text
    for text in ("01-31-2024", "soon", "2024"):
        assert not re.search(schema["pattern"], text), text
    (parameter, _) = document["paths"]["/predict"]["get"]["parameters"]
    assert parameter["schema"]["pattern"] == schema["pattern"]
    assert parameter["example"] == golden[0]


def test_the_card_shows_dates(folder: Path) -> None:
    card = (folder / "MODEL_CARD.md").read_text()
    assert re.search(r"\| when +\| date +\| yes +\| 01/01/2022 \d\d:\d\d to \d\d/12/2024 \d\d:\d\d", card)


@pytest.mark.parametrize("pipeline", ["logistic", "tests.support.pipelines:unexportable"])
def test_other_pipelines_are_given_the_parts_too(
    run: Run, folder: Path, tmp_path: Path, pipeline: str
) -> None:
    rows = visits(300)
    rows = rows[rows["when"] != ""]
    manifest = run(rows, "--pipeline", pipeline, "--compare", str(folder))
    assert manifest.metrics["compared"]["rows"] == math.ceil(0.3 * len(rows))
    assert manifest.runtime == ("onnx" if pipeline == "logistic" else "joblib")
    model = Model.load(tmp_path / "model")
    known: list[str | None] = [each for each in DATES if each]
    records = [model.schema.from_json({"when": each, "amount": 47.5}) for each in known]
    answers = [model.predict_one(each)["probabilities"]["1"] for each in records]
    np.testing.assert_allclose(answers, expected(tmp_path / "model", known), atol=1e-9)


def test_a_month_has_no_weekday_and_a_quarter_is_read(run: Run, tmp_path: Path) -> None:
    quarters = [f"{1970 + index // 4}Q{index % 4 + 1}" for index in range(200)]
    manifest = run(pd.DataFrame({"quarter": quarters, "y": np.arange(200) * 1.5}))
    assert (manifest.features[0].kind, manifest.features[0].format) == ("date", "%YQ%q")
    names = joblib.load(tmp_path / "model" / "model.joblib").feature_names_in_.tolist()
    assert names == ["quarter (year)", "quarter (month)", "quarter (day)"]
    model = Model.load(tmp_path / "model")
    value = model.predict_one(model.schema.from_json({"quarter": "1974q3"}))["prediction"]
    assert value == pytest.approx(18 * 1.5, abs=1.0)


def test_a_column_with_the_name_of_a_part_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    visits(300).assign(**{"when (year)": np.arange(300) % 7}).to_csv(tmp_path / "rows.csv", index=False)
    options = ["--data", str(tmp_path / "rows.csv"), "--target", "y", "--out", str(tmp_path / "model")]
    assert main(options) == 2
    assert "--drop 'when (year)'" in capsys.readouterr().err


def test_a_stated_format_decides_and_one_that_is_none_is_refused(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.DataFrame({"when": [f"{1 + index % 12:02}/{1 + index % 11:02}/2024" for index in range(200)]})
    rows["y"] = [int(text[:2]) > 6 for text in rows["when"]]
    manifest = run(rows, "--kind", "when=date:%d/%m/%Y")
    assert (manifest.features[0].kind, manifest.features[0].format) == ("date", "%d/%m/%Y")
    options = ["--data", str(tmp_path / "rows.csv"), "--target", "y", "--out", str(tmp_path / "other")]
    assert main([*options, "--kind", "when=date:%d/%m"]) == 2
    assert "'%d/%m' is not the format of a date: a date needs a year, %Y or %y" in capsys.readouterr().err
    (tmp_path / "columns.toml").write_text('[kinds]\nwhen = "date:%Q"\n')
    assert main([*options, "--columns", str(tmp_path / "columns.toml")]) == 2
    assert "'%Q' is not the format of a date" in capsys.readouterr().err


def test_a_model_that_came_fitted_is_given_no_parts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = visits(200)
    joblib.dump(
        make_pipeline(OneHotEncoder(), LogisticRegression()).fit(rows[["when"]], rows["y"]),
        tmp_path / "m.joblib",
    )
    rows[["when", "y"]].to_csv(tmp_path / "rows.csv", index=False)
    options = [
        "package",
        str(tmp_path / "m.joblib"),
        "--sample",
        str(tmp_path / "rows.csv"),
        "--target",
        "y",
        "--trust",
    ]
    options += ["--out", str(tmp_path / "model")]
    assert main([*options, "--kind", "when=date"]) == 2
    assert "cannot be a date" in capsys.readouterr().err
    assert main(options) == 0
    assert Model.load(tmp_path / "model").manifest.features[0].kind == "category"


def test_a_manifest_whose_dates_have_no_sound_format_is_refused(folder: Path, tmp_path: Path) -> None:
    broken = resealed(
        folder, tmp_path / "broken", lambda document: document["features"][0].update(format="%d/%m")
    )
    with pytest.raises(BundleError, match="format"):
        Model.load(broken)
