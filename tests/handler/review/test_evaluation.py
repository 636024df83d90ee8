"""``python -m handler evaluate``: predictions measured on what really came."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from handler.__main__ import main
from tests.support.bundles import copied, measurements, mixed_rows, trained
from tests.support.cloud import GCS, S3
from training.data import sample

ROOT = Path(__file__).resolve().parents[3]
#: From a row's number to a day; the weeks begin on Monday.
START = pd.Timestamp("2026-01-05")


def days(rows: int, weeks: int = 4) -> list[str]:
    return [str((START + pd.Timedelta(days=row % (7 * weeks))).date()) for row in range(rows)]


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()  # what scoring has printed
    code = main(["evaluate", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


class Case:
    """Rows with their truth, and what a model has predicted for them."""

    def __init__(self, folder: Path, model: Path, frame: pd.DataFrame, target: str) -> None:
        self.folder, self.model, self.target = folder, model, target
        frame.insert(0, "id", [f"{number:05}" for number in range(len(frame))])
        frame["when"] = days(len(frame))
        self.truth = frame[["id", target]]
        (folder / "in").mkdir()
        frame.drop(columns=target).to_csv(folder / "in" / "rows.csv", index=False)
        assert (
            main(["score", str(folder / "in"), "--output", str(folder / "out"), "--model", str(model)]) == 0
        )
        self.predictions = folder / "out" / "rows.csv" / "predictions.csv"
        self.predicted = pd.read_csv(self.predictions, dtype={"id": str})

    def write(self, truth: pd.DataFrame, name: str = "truth.csv", folder: Path | None = None) -> Path:
        path = (folder or self.folder) / name
        truth.to_csv(path, index=False)
        return path

    def joined(self, truth: pd.DataFrame) -> pd.DataFrame:
        return self.predicted.merge(truth, on="id")


Cases = Callable[..., Case]


@pytest.fixture(scope="module")
def sales(bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    frame = sample.rows(9, rows=2000, converted=300)
    return Case(tmp_path_factory.mktemp("sales"), bundle_dir, frame, "converted")


@pytest.fixture(scope="module")
def mixed(mixed_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    frame = mixed_rows(900, seed=5).drop(columns="price")
    return Case(tmp_path_factory.mktemp("mixed"), mixed_dir, frame, "class")


@pytest.fixture(scope="module")
def prices(regression_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    frame = mixed_rows(900, seed=5).drop(columns="class")
    return Case(tmp_path_factory.mktemp("prices"), regression_dir, frame, "price")


def binary(joined: pd.DataFrame) -> dict[str, float]:
    """What scikit-learn measures on joined rows of the sample."""
    truth, predicted, positive = joined["converted"], joined["prediction"], joined["probability"]
    return {
        "accuracy": sk.accuracy_score(truth, predicted),
        "precision": sk.precision_score(truth, predicted),
        "recall": sk.recall_score(truth, predicted),
        "f1": sk.f1_score(truth, predicted),
        "roc_auc": sk.roc_auc_score(truth, positive),
        "log_loss": sk.log_loss(truth, positive),
    }


def scalars(document: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in document.items() if isinstance(value, float)}


def measured(
    capsys: pytest.CaptureFixture[str], case: Case, truth: Path, *words: object, code: int = 0
) -> dict[str, Any]:
    given = [case.predictions, truth, "--on", "id", "--model", case.model, "--json", *words]
    got, out, err = run(capsys, *given)
    assert (got, err) == (code, ""), err
    return dict(json.loads(out))


def test_two_classes_are_measured_as_scikit_learn_does(
    sales: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = sales.truth.sample(1500, random_state=0)
    document = measured(capsys, sales, sales.write(truth))
    joined = sales.joined(truth)
    assert scalars(document["metrics"]["now"]) == pytest.approx(binary(joined), abs=1e-12)
    matrix = sk.confusion_matrix(joined["converted"], joined["prediction"])
    assert document["metrics"]["now"]["confusion_matrix"] == matrix.tolist()
    manifest = json.loads((sales.model / "model.json").read_text())
    assert scalars(document["metrics"]["training"]) == scalars(manifest["metrics"])
    assert (document["rows"], document["main"]) == (1500, "roc_auc")
    assert document["drop"] == pytest.approx(manifest["metrics"]["roc_auc"] - binary(joined)["roc_auc"])
    assert document["predictions"]["without_truth"] == 500
    assert document["truth"]["without_prediction"] == 0


def test_several_classes_are_measured_as_scikit_learn_does(
    mixed: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    document = measured(capsys, mixed, mixed.write(mixed.truth))
    joined, classes = mixed.joined(mixed.truth), ["high", "low", "middle"]
    truth, predicted = joined["class"], joined["prediction"]
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, predicted, average="macro")
    probabilities = joined[[f"probability_{each}" for each in classes]].to_numpy()
    assert scalars(document["metrics"]["now"]) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(truth, predicted),
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "log_loss": sk.log_loss(truth, probabilities, labels=classes),
        },
        abs=1e-12,
    )
    assert document["main"] == "f1"


def test_probabilities_may_be_rounded(
    mixed: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a graph or a database does: they do not quite add up to one."""
    mixed.predicted.round(3).to_csv(tmp_path / "predictions.csv", index=False)
    given = [tmp_path / "predictions.csv", mixed.write(mixed.truth), "--on", "id", "--model", mixed.model]
    code, _, err = run(capsys, *given)
    assert (code, err) == (0, "")


def test_numbers_are_measured_as_scikit_learn_does(
    prices: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    document = measured(capsys, prices, prices.write(prices.truth))
    joined = prices.joined(prices.truth)
    truth, predicted = joined["price"], joined["prediction"]
    expected = {
        "r2": sk.r2_score(truth, predicted),
        "mae": sk.mean_absolute_error(truth, predicted),
        "median_ae": sk.median_absolute_error(truth, predicted),
        "rmse": sk.mean_squared_error(truth, predicted) ** 0.5,
    }
    assert scalars(document["metrics"]["now"]) == pytest.approx(expected, abs=1e-9)
    assert document["main"] == "r2"


def test_a_threshold_is_that_of_the_predictions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = sample.rows(555, rows=4000, converted=400)
    model = trained(tmp_path, frame, "sales", threshold="0.2")
    case = Case(tmp_path, model, sample.rows(9, rows=800, converted=100), "converted")
    assert (case.predicted["prediction"] == (case.predicted["probability"] >= 0.2)).all()
    document = measured(capsys, case, case.write(case.truth))
    assert scalars(document["metrics"]["now"]) == pytest.approx(binary(case.joined(case.truth)), abs=1e-12)


def test_weeks_are_measured_one_by_one(sales: Case, capsys: pytest.CaptureFixture[str]) -> None:
    document = measured(capsys, sales, sales.write(sales.truth), "--date", "when")
    joined = sales.joined(sales.truth)
    week = (pd.to_datetime(joined["when"]) - START).dt.days // 7
    assert [each["start"] for each in document["weeks"]] == [
        "2026-01-05", "2026-01-12", "2026-01-19", "2026-01-26",
    ]  # fmt: skip
    for number, each in enumerate(document["weeks"]):
        rows = joined[week == number]
        assert (each["rows"], each["few"]) == (len(rows), False)
        assert each["metrics"] == pytest.approx(binary(rows), abs=1e-12)
    assert document["without_date"] == 0


@pytest.mark.parametrize(("written", "flag"), [("%Y-%m-%d %H:%M", "came"), ("%d.%m.%Y", "came=%d.%m.%Y")])
def test_a_date_may_stand_beside_the_truth_and_in_a_format(
    written: str, flag: str, sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = sales.truth.assign(came=(START + pd.to_timedelta(np.arange(2000) % 14, "D")).strftime(written))
    truth.loc[:9, "came"] = "later"
    document = measured(capsys, sales, sales.write(truth, folder=tmp_path), "--date", flag)
    assert [each["rows"] for each in document["weeks"]] == [994, 996]
    assert (document["rows"], document["without_date"]) == (2000, 10)


def test_a_week_with_one_class_says_so(
    sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    joined = sales.joined(sales.truth)
    first = pd.to_datetime(joined["when"]) < START + pd.Timedelta(days=7)
    truth = joined[~first | (joined["converted"] == 0)][["id", "converted"]]
    page = tmp_path / "page.html"
    document = measured(
        capsys, sales, sales.write(truth, folder=tmp_path), "--date", "when", "--output", page
    )
    alone, *others = document["weeks"]
    assert alone["few"]
    assert "roc_auc" not in alone["metrics"]
    assert all("roc_auc" in each["metrics"] and not each["few"] for each in others)
    assert "few" in Page(page.read_text(encoding="utf-8")).texts


def test_one_class_alone_has_no_main_metric(
    sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = sales.write(sales.truth[sales.truth["converted"] == 0], folder=tmp_path)
    given = [sales.predictions, truth, "--on", "id", "--model", sales.model]
    code, out, err = run(capsys, *given)
    assert (code, err) == (0, "")
    assert "note: the ROC area has no value now, as all rows are of one class" in out
    assert "note: these are too few rows to say much" in out
    code, _, err = run(capsys, *given, "--limit", "0.5")
    assert (code, err.count("\n")) == (1, 1)
    assert "cannot be compared" in err


def test_the_limit_is_on_the_drop_of_the_main_metric(
    sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = sales.truth.copy()
    some = truth.sample(frac=0.5, random_state=1).index
    truth.loc[some, "converted"] = truth.loc[some, "converted"].sample(frac=1, random_state=2).to_numpy()
    given = [sales.predictions, sales.write(truth, folder=tmp_path), "--on", "id", "--model", sales.model]
    code, _, err = run(capsys, *given, "--limit", "0.05")
    assert code == 1
    assert err.startswith("error: the ROC area has dropped by 0.")
    assert run(capsys, *given, "--limit", "0.9")[::2] == (0, "")
    assert run(capsys, *given)[::2] == (0, "")
    assert run(capsys, *given, "--limit", "much")[0] == 2


def test_no_row_counts_twice(sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ids that repeat with nothing new count once, those that differ not at all."""
    truth = pd.concat(
        [sales.truth, sales.truth[:30], sales.truth[30:50].assign(converted=lambda x: 1 - x["converted"])]
    )
    twice = pd.concat(
        [sales.predicted, sales.predicted[100:140], sales.predicted[140:145].assign(probability=0.123)]
    )
    twice.to_csv(tmp_path / "predictions.csv", index=False)
    given = [tmp_path / "predictions.csv", sales.write(truth, folder=tmp_path), "--on", "id"]
    code, out, _ = run(capsys, *given, "--model", sales.model, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["truth"] == {
        "rows": 2050, "without_id": 0, "without_value": 0, "unknown": 0,
        "repeated": 30, "contradictory": 40, "without_prediction": 5,
    }  # fmt: skip
    assert document["predictions"] == {
        "rows": 2045, "rejected": 0, "without_id": 0, "repeated": 40,
        "contradictory": 10, "without_truth": 20,
    }  # fmt: skip
    kept = sales.joined(sales.truth).drop(index=[*range(30, 50), *range(140, 145)])
    assert document["rows"] == len(kept) == 1975
    assert scalars(document["metrics"]["now"]) == pytest.approx(binary(kept), abs=1e-12)
    code, out, _ = run(capsys, *given, "--model", sales.model)
    assert "40 have an id that stands for different things" in out
    assert "add the column that tells its rows apart: --on COLUMN" in out


def test_two_columns_join_an_id_that_comes_back(
    sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    predicted = sales.predicted.assign(
        id=[f"{number % 500:03}" for number in range(2000)], turn=np.arange(2000) // 500
    )
    truth = predicted[["id", "turn"]].assign(converted=sales.truth["converted"].to_numpy())
    predicted.to_csv(tmp_path / "predictions.csv", index=False)
    given = [
        tmp_path / "predictions.csv",
        sales.write(truth, folder=tmp_path),
        "--on",
        "id",
        "--on",
        "turn",
    ]
    code, out, _ = run(capsys, *given, "--model", sales.model, "--json")
    document = json.loads(out)
    assert (code, document["rows"]) == (0, 2000)
    expected = binary(sales.joined(sales.truth))
    assert scalars(document["metrics"]["now"]) == pytest.approx(expected, abs=1e-12)


def test_ids_are_texts_and_those_that_look_alike_are_said(
    sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a spreadsheet and pandas make of ``00007``: 7 and 7.0."""
    truth = sales.truth.assign(id=sales.truth["id"].astype(float))
    given = ["--on", "id", "--model", sales.model]
    code, _, err = run(capsys, sales.predictions, sales.write(truth, folder=tmp_path), *given)
    assert code == 2
    assert "no row of PREDICTIONS has the same 'id' as a row of TRUTH" in err
    assert "2,000 are alike but for" in err
    some = truth.assign(id=truth["id"].astype(str))
    some.loc[:99, "id"] = sales.truth["id"][:100]
    code, out, _ = run(capsys, sales.predictions, sales.write(some, folder=tmp_path), *given)
    assert code == 0
    assert "1,900 more rows would be joined but for blanks, leading zeros" in out


def test_labels_are_read_in_every_spelling(
    sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spelled = [("0", "1"), ("0.0", "1.0"), ("false", "TRUE"), ("No", "yes"), (" 0", "+1 ")]
    truth = sales.truth.assign(
        converted=[spelled[row % 5][value] for row, value in enumerate(sales.truth["converted"].tolist())]
    )
    document = measured(capsys, sales, sales.write(truth, folder=tmp_path))
    assert document["rows"] == 2000
    assert scalars(document["metrics"]["now"]) == pytest.approx(
        binary(sales.joined(sales.truth)), abs=1e-12
    )


def test_labels_that_the_model_does_not_know_and_missing_ones_are_counted(
    mixed: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = mixed.truth.copy()
    truth.loc[5:14, "class"] = "luxury-9177"
    truth.loc[20:39, "class"] = ["", "NA", "null", " "] * 5
    path = mixed.write(truth, folder=tmp_path)
    document = measured(capsys, mixed, path)
    assert (document["truth"]["unknown"], document["truth"]["without_value"]) == (10, 20)
    assert document["rows"] == 870
    kept = mixed.joined(mixed.truth).drop(index=[*range(5, 15), *range(20, 40)])
    expected = sk.accuracy_score(kept["class"], kept["prediction"])
    assert document["metrics"]["now"]["accuracy"] == pytest.approx(expected)
    code, out, _ = run(capsys, mixed.predictions, path, "--on", "id", "--model", mixed.model)
    assert code == 0
    assert "10 have a label that the model does not know (the first on line 7)" in out
    assert "9177" not in out


@pytest.mark.parametrize("mark", [",", "."])
def test_numbers_of_the_truth_are_read_as_training_reads_them(
    mark: str, prices: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = prices.truth.assign(
        price=[f"{value:.3f}".replace(".", mark) for value in prices.truth["price"]]
    )
    truth.loc[3:6, "price"] = ["", "n/a", "-", "unknown"]
    path = tmp_path / "truth.csv"
    truth.to_csv(path, index=False, sep=";" if mark == "," else ",")
    document = measured(capsys, prices, path)
    kept = prices.joined(prices.truth).drop(index=range(3, 7))
    assert document["metrics"]["now"]["mae"] == pytest.approx(
        sk.mean_absolute_error(kept["price"], kept["prediction"])
    )
    assert (document["truth"]["without_value"], document["truth"]["unknown"]) == (3, 1)


def test_what_is_packed_is_unpacked(
    sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for source, name in (
        (sales.predictions, "predictions.csv.gz"),
        (sales.write(sales.truth), "truth.csv.gz"),
    ):
        (tmp_path / name).write_bytes(gzip.compress(source.read_bytes()))
    given = [
        tmp_path / "predictions.csv.gz",
        tmp_path / "truth.csv.gz",
        "--on",
        "id",
        "--model",
        sales.model,
    ]
    code, out, _ = run(capsys, *given)
    assert code == 0
    assert "2,000 rows with a prediction and a truth" in out
    assert "note: 1 file has no summary.json" in out


@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_both_are_read_in_buckets(
    kind: str,
    sales: Case,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cloud: S3 | GCS = request.getfixturevalue("s3" if kind == "s3" else "gcs")
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    bucket = cloud.bucket()
    for path in sales.predictions.parent.iterdir():
        cloud.put(bucket, f"scored/rows.csv/{path.name}", path.read_bytes())
    cloud.put(bucket, "truth.csv.gz", gzip.compress(sales.write(sales.truth).read_bytes()))
    for word in ("scored/", "scored/rows.csv/summary.json", "scored/rows.csv/predictions.csv"):
        given = [f"{kind}://{bucket}/{word}", f"{kind}://{bucket}/truth.csv.gz", "--on", "id", "--json"]
        code, out, err = run(capsys, *given, "--model", sales.model)
        assert (code, err) == (0, "")
        assert json.loads(out)["rows"] == 2000


def test_many_files_and_parts_are_measured_together(
    sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pd.read_csv(sales.folder / "in" / "rows.csv", dtype=str)
    rows[:800].to_csv(tmp_path / "a.csv", index=False)
    rows[800:].to_csv(tmp_path / "b.csv", index=False)
    flags = ["--output", str(tmp_path / "out"), "--model", str(sales.model), "--quiet"]
    assert main(["score", str(tmp_path / "a.csv"), *flags]) == 0
    assert main(["score", str(tmp_path / "b.csv"), "--parts", "2", *flags]) == 0
    assert len(list((tmp_path / "out" / "b.csv" / "predictions").iterdir())) == 2
    given = [tmp_path / "out", sales.write(sales.truth), "--on", "id", "--model", sales.model, "--json"]
    code, out, _ = run(capsys, *given)
    assert (code, json.loads(out)["rows"]) == (0, 2000)
    expected = binary(sales.joined(sales.truth))
    assert scalars(json.loads(out)["metrics"]["now"]) == pytest.approx(expected, abs=1e-12)
    code, out, _ = run(capsys, f"{tmp_path}/out/b.csv/predictions/*.csv", *given[1:])
    assert (code, json.loads(out)["rows"]) == (0, 1200)


def test_outputs_are_known_by_their_place(
    sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also beside columns of the same names, and after reasons and in another order."""
    rows = pd.read_csv(sales.folder / "in" / "rows.csv", dtype=str)
    rows.assign(prediction="old", probability_2="9").to_csv(tmp_path / "rows.csv", index=False)
    flags = ["--model", str(sales.model), "--quiet"]
    os.environ["EXPLAIN"] = "2"
    try:
        assert main(["score", str(tmp_path / "rows.csv"), *flags]) == 0
    finally:
        del os.environ["EXPLAIN"]
    scored = tmp_path / "scored" / "rows.csv" / "predictions.csv"
    header = scored.read_text().splitlines()[0].split(",")
    assert header[-6:-4] == ["prediction_2", "probability"]
    assert header[-4].startswith("reason_1")
    shuffled = tmp_path / "shuffled.csv"
    sales.predicted[["probability", "id", "prediction"]].to_csv(shuffled, index=False)
    for each in (scored, shuffled):
        given = [each, sales.write(sales.truth), "--on", "id", "--model", sales.model, "--json"]
        code, out, _ = run(capsys, *given)
        assert code == 0
        expected = binary(sales.joined(sales.truth))
        assert scalars(json.loads(out)["metrics"]["now"]) == pytest.approx(expected, abs=1e-12)


def test_rejected_rows_have_no_prediction(
    sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those of an answer stand in it with empty outputs."""
    answer = sales.predicted.astype({"prediction": "Int64"})
    answer.loc[:6, ["prediction", "probability"]] = pd.NA
    answer.loc[7:8, "id"] = ""
    answer.to_csv(tmp_path / "answer.csv", index=False)
    given = [
        tmp_path / "answer.csv",
        sales.write(sales.truth),
        "--on",
        "id",
        "--model",
        sales.model,
        "--json",
    ]
    code, out, _ = run(capsys, *given)
    document = json.loads(out)
    assert (code, document["rows"]) == (0, 1991)
    assert (document["predictions"]["rejected"], document["predictions"]["without_id"]) == (7, 2)
    assert document["truth"]["without_prediction"] == 9


def test_predictions_of_another_version_are_left_out(
    sales: Case, mixed: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = sales.write(sales.truth)
    flags = ["--on", "id", "--model", sales.model]
    for each in (mixed.predictions, mixed.predictions.parent):
        code, _, err = run(capsys, each, truth, *flags)
        assert code == 2
        assert "1 is of another model version" in err
        assert "--model DIR" in err
    for case, name in ((sales, "a"), (mixed, "b")):
        copied(case.predictions.parent, tmp_path / name)
    code, out, _ = run(capsys, tmp_path, truth, *flags)
    assert code == 0
    assert "2,000 rows with a prediction and a truth" in out
    assert "note: files that are left out: 1 is of another model version" in out


def test_a_detector_is_measured_where_anomalies_became_known(
    anomaly_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = measurements(seed=8)
    frame["odd"] = np.where(np.arange(len(frame)) % 30 == 7, -1, 1)
    case = Case(tmp_path, anomaly_dir, frame, "odd")
    truth = case.write(case.truth)
    document = measured(capsys, case, truth, "--target", "odd")
    joined = case.joined(case.truth)
    odd, predicted = joined["odd"] == -1, joined["prediction"] == -1
    expected = {
        "accuracy": sk.accuracy_score(odd, predicted),
        "precision": sk.precision_score(odd, predicted),
        "recall": sk.recall_score(odd, predicted),
        "f1": sk.f1_score(odd, predicted),
        "roc_auc": sk.roc_auc_score(odd, -joined["score"]),
    }
    assert scalars(document["metrics"]["now"]) == pytest.approx(expected, abs=1e-12)
    assert document["metrics"]["training"] == {}
    code, out, err = run(capsys, case.predictions, truth, "--on", "id", "--model", anomaly_dir)
    assert (code, out) == (2, "")
    assert "--target COLUMN" in err


def test_clusters_have_no_truth(cluster_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "a.csv", "b.csv", "--on", "id", "--model", cluster_dir)
    assert code == 2
    assert "finds clusters" in err


class Page(HTMLParser):
    """The texts and tags of a page."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: Any) -> None:  # noqa: ARG002
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_shows_every_metric_by_week(
    sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "page.html"
    document = measured(capsys, sales, sales.write(sales.truth), "--date", "when", "--output", output)
    assert document["page"] == str(output)
    page = Page(output.read_text(encoding="utf-8"))
    assert {"Metrics", "By week", "Confusion matrix", "ROC area", "2026-01-26"} <= set(page.texts)
    assert page.tags.count("svg") == 6 + 2
    assert page.tags.count("circle") >= 6 * 4
    assert not {"script", "img", "link"} & set(page.tags)
    given = [sales.predictions, sales.write(sales.truth), "--on", "id", "--model", sales.model]
    code, out, err = run(capsys, *given, "--output", tmp_path / "no" / "page.html")
    assert (code, out) == (2, "")
    assert "cannot be written" in err


def text(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


def test_what_goes_wrong_is_said_in_one_line(
    sales: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And no message has a value of a row."""
    truth, predictions = sales.write(sales.truth), sales.predictions
    rejects = text(tmp_path / "rejected.csv", "line,column,code,reason,row\n4,age,x,'age',secret-77\n")
    empty = text(tmp_path / "empty.csv", "")
    no_rows = text(tmp_path / "none.csv", "id,converted\n")
    short = text(tmp_path / "short.csv", "id,converted\n00001,1\n00002\n")
    quote = text(tmp_path / "quote.csv", 'id,converted\n"secret-77,1\n')
    names = text(tmp_path / "names.csv", "Id,bought\n00001,1\n")
    wrong = text(tmp_path / "wrong.csv", "id,converted\n00001,secret-77\n00002,1\n00003,secret-78\n")
    other = text(tmp_path / "other.csv", "id,prediction,probability\n00001,1,0.9\n00002,secret-77,0.9\n")
    born = text(
        tmp_path / "born.csv",
        "id,converted,born\n"
        + "".join(f"{n:05},1,{1950 + n % 67}-0{1 + n % 9}-{10 + n % 19}\n" for n in range(2000)),
    )
    for words, expected in (
        ([truth, predictions], "has no column 'prediction'; the command is: evaluate PREDICTIONS TRUTH"),
        ([rejects, truth], "has the rejected rows; name the predictions, predictions.csv beside it"),
        ([predictions, rejects], "has no column 'id' (--on)"),
        ([predictions, names], "has no column 'id' (--on); did you mean 'Id'?"),
        ([predictions, truth, "--target", "Converted"], "--target); did you mean 'converted'?"),
        (
            [predictions, truth, "--date", "wen"],
            "neither table has the column 'wen' (--date); did you mean 'when'?",
        ),
        ([predictions, truth, "--date", "id"], "'id' does not have a date written as"),
        ([predictions, truth, "--date", "when=%Q"], "'%Q' is not a format of dates (--date)"),
        ([predictions, born, "--date", "born"], "at most 520 are shown"),
        ([predictions, empty], "the file is empty; a header line is needed"),
        ([empty, truth], "the file is empty; a header line is needed"),
        ([predictions, no_rows], "TRUTH has no row that counts"),
        ([predictions, short], "line 3 has 1 cells and the header has 2"),
        ([predictions, quote], "a quote is opened and never closed"),
        ([predictions, wrong], "2 of 3 values of 'converted' are not one of the model's classes"),
        ([other, truth], "line 3 does not hold what"),
        ([predictions, tmp_path / "absent.csv"], "there is no file"),
        ([tmp_path / "absent.csv", truth], "there is no file"),
        ([sales.folder / "in", truth], "there is no summary.json below"),
        ([ROOT / "docs" / "flow.svg", truth], "is an SVG image, not a CSV"),
    ):
        code, out, err = run(capsys, *words, "--on", "id", "--model", sales.model)
        assert (code, out) == (2, ""), words
        assert expected in err
        assert err.count("\n") == 1
        assert "secret" not in err
        assert "00001" not in err
    assert run(capsys, predictions, truth, "--model", sales.model)[0] == 2


def test_without_scikit_learn_it_says_what_to_install(sales: Case) -> None:
    words = ["evaluate", str(sales.predictions), "truth.csv", "--on", "id", "--model", str(sales.model)]
    code = "import sys; sys.modules['sklearn'] = None; from handler.__main__ import main"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; sys.exit(main({words}))"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "install sklearn-function[training]" in done.stderr
    assert "Traceback" not in done.stderr
