"""``python -m training package``: what it takes of a sample, what it says, and what it refuses."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from handler.bundle import Bundle
from tests.support.alone import served_alone
from training.__main__ import command, main


def customers(rows: int = 300) -> pd.DataFrame:
    """What a notebook reads from a CSV: gaps in a text and a number, a postcode that is a text, an id."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": random.integers(17, 90, rows),
            "spent": random.normal(50, 20, rows).round(2),
            "member": random.random(rows) < 0.5,
            "zip": random.choice(["01234", "90210", "10115"], rows),
            "city": random.choice(["Rome", "Oslo", "NA town"], rows),
            "customer": [f"c{index}" for index in range(rows)],
            "note": "x",
        }
    )
    frame["left"] = np.where(frame["age"] + frame["spent"] > 100, 1, 0)
    frame.loc[::7, "city"] = None
    frame.loc[::9, "spent"] = np.nan
    return frame


def churn(folder: Path) -> None:
    """``churn.pkl`` and ``rows.csv``; the sample lacks a city that the model was fitted on."""
    frame = customers()
    texts = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(handle_unknown="ignore"))
    steps = make_column_transformer(
        (texts, ["city"]), (OneHotEncoder(), ["zip"]), (SimpleImputer(), ["age", "spent", "member"])
    )
    rows = frame[["age", "spent", "member", "zip", "city"]]
    model = make_pipeline(steps, LogisticRegression(max_iter=5000)).fit(rows, frame["left"])
    (folder / "churn.pkl").write_bytes(pickle.dumps(model))
    frame[frame["city"] != "NA town"].head(150).to_csv(folder / "rows.csv", index=False)


def test_a_pipeline_of_a_notebook_is_packaged_from_its_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    churn(tmp_path)
    monkeypatch.chdir(tmp_path)
    flags = [
        "--target",
        "left",
        "--id",
        "customer",
        "--classes",
        "0=stays,1=leaves",
        "--trust",
        "--out",
        "m",
    ]
    assert command(["package", "churn.pkl", "--sample", "rows.csv", *flags]) == 0
    said = capsys.readouterr().out
    assert "note: columns that the model does not read are ignored: 'note'" in said
    assert "measured on rows that the model may have seen" in said
    made = Bundle.open(tmp_path / "m").manifest
    assert (made.name, made.target, made.ids) == ("churn", "left", ("customer",))
    assert made.classes == ("stays", "leaves")
    by_name = {feature.name: feature for feature in made.features}
    assert [*by_name] == ["age", "spent", "member", "zip", "city"]
    assert by_name["zip"].categories == ("01234", "10115", "90210")
    assert by_name["city"].categories == ("NA town", "Oslo", "Rome")  # one is the encoder's alone
    assert [each.fed_as for each in made.features] == ["int64", None, "bool", None, "nan"]
    assert [each.nullable for each in made.features] == [True, True, True, False, True]
    imported = made.training["imported"]
    assert imported["source"] == "churn.pkl"
    assert imported["sample"]["data"] == "rows.csv"
    assert imported["estimator"] == "Pipeline(ColumnTransformer, LogisticRegression)"
    assert made.engines == {"one": "scalar", "many": "onnx"}

    model = pickle.loads((tmp_path / "churn.pkl").read_bytes())
    frame = customers().drop(columns=["customer", "note", "left"]).iloc[:40]
    records = frame.astype(object).where(frame.notna(), None).to_dict("records")
    own = model.predict_proba(frame)[:, 1]
    served = [each["probabilities"]["leaves"] for each in served_alone(tmp_path / "m", records)]
    assert served == pytest.approx(own.tolist(), abs=1e-9)


@pytest.mark.slow
def test_a_text_classifier_is_packaged_with_a_sample_of_one_column(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    texts = pd.Series([" ".join(random.choice(["good", "bad", "fine", "awful"], 6)) for _ in range(80)])
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(
        texts, texts.str.contains("bad awful")
    )
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model))
    pd.DataFrame({"review": texts}).to_csv(tmp_path / "rows.csv", index=False)
    words = [
        str(tmp_path / "m.pkl"),
        "--sample",
        str(tmp_path / "rows.csv"),
        "--names",
        "review",
        "--trust",
    ]
    assert main(["package", *words, "--out", str(tmp_path / "m")]) == 0
    made = Bundle.open(tmp_path / "m").manifest
    assert [(each.name, each.kind) for each in made.features] == [("review", "text")]
    (served,) = served_alone(tmp_path / "m", [{"review": "a bad awful day"}])
    assert served["prediction"] == str(model.predict(["a bad awful day"])[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "the following arguments are required: MODEL"),
        (["churn.pkl"], "--sample is missing: name a CSV"),
        (["gone.pkl", "--sample", "rows.csv"], "gone.pkl does not exist"),
        (["churn.pkl", "--sample", "gone.csv", "--trust"], "gone.csv does not exist"),
        (["churn.pkl", "--sample", "rows.csv"], "runs whatever code it holds: add --trust"),
        (["churn.pkl", "--sample", "rows.csv", "--trust", "--target", "Left"], "did you mean 'left'?"),
        (["churn.pkl", "--sample", "rows.csv", "--trust", "--names", "a,b"], "cannot take other names"),
        (["churn.pkl", "--sample", "rows.csv", "--trust", "--kind", "city=number"], "must be a number"),
        (["churn.pkl", "--sample", "rows.csv", "--trust", "--kind", "town=number"], "names 'town', which"),
        (["churn.pkl", "--sample", "rows.csv", "--trust", "--id", "nobody"], "--id names 'nobody'"),
        (["churn.pkl", "--sample", "rows.csv", "--trust", "--classes", "0"], "--classes takes LABEL=NAME"),
        (["churn.pkl", "--sample", "few.csv", "--trust"], "lacks 1 of the columns"),
        ([".", "--sample", "rows.csv"], "is a folder without MLmodel"),
    ],
)  # fmt: skip
def test_what_cannot_be_packaged_is_one_line(
    words: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    churn(tmp_path)
    pd.read_csv(tmp_path / "rows.csv").drop(columns="zip").to_csv(tmp_path / "few.csv", index=False)
    monkeypatch.chdir(tmp_path)
    assert main(["package", *words, "--out", "made"]) == 2
    captured = capsys.readouterr()
    assert reason in captured.err
    assert captured.err.count("\n") == 1
    assert "Traceback" not in captured.err
    assert not (tmp_path / "made").exists()
