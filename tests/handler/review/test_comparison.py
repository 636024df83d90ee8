"""``python -m handler compare``: another bundle beside this one, on the same file."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest

from handler.__main__ import main
from tests.support.bundles import measurements, mixed_rows, resealed
from tests.support.cloud import GCS, S3
from training.data import sample

FEATURES = ["age", "new_user", "total_pages_visited"]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def again(trained_once: Callable[..., Path]) -> Path:
    """The model of ``bundle_dir``, trained on other customers, who buy more."""
    return trained_once("sales_again", sample.rows(556, rows=3000, converted=400), "sales_again")


@pytest.fixture(scope="module")
def wider(trained_once: Callable[..., Path]) -> Path:
    """The model of ``mixed_dir``, that knows a class more, and neither the age nor Oslo."""
    rows = mixed_rows(1500, seed=8).drop(columns=["âge"])
    rows["class"] = rows["class"].where(rows["price"] < 500, "huge")
    rows = rows[rows["Straße"] != "Oslo"].drop(columns="price")
    return trained_once("wider", rows, "wider", target="class")


@pytest.fixture(scope="module")
def dearer(trained_once: Callable[..., Path]) -> Path:
    """The model of ``regression_dir``, trained on other offers, which cost more."""
    rows = mixed_rows(1500, seed=8).drop(columns="class")
    return trained_once("dearer", rows.assign(price=rows["price"] + 5), "dearer", target="price")


@pytest.fixture(scope="module")
def customers() -> pd.DataFrame:
    return sample.rows(11, rows=3000, converted=400)


@pytest.fixture
def file(customers: pd.DataFrame, tmp_path: Path) -> Path:
    customers.to_csv(tmp_path / "customers.csv", index=False)
    return tmp_path / "customers.csv"


def run(capsys: Capture, *words: object) -> tuple[int, str, str]:
    code = main(["compare", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def compared(capsys: Capture, *words: object) -> dict[str, Any]:
    code, out, err = run(capsys, *words, "--json")
    assert code in (0, 1), err
    document: dict[str, Any] = json.loads(out)
    assert code == int(document["changed"]["share"] > document["limit"])
    return document


def scored(capsys: Capture, folder: Path, file: Path, output: Path) -> pd.DataFrame:
    """What ``score`` writes, by the lines of the file."""
    assert main(["score", str(file), "--model", str(folder), "--output", str(output)]) == 0
    capsys.readouterr()
    rows = pd.read_csv(output / file.name / "predictions.csv", keep_default_na=False)
    out = set(pd.read_csv(output / file.name / "rejected.csv")["line"])
    lines = [line for line in range(2, len(rows) + len(out) + 2) if line not in out]
    return rows.set_index(pd.Index(lines))


def test_a_model_beside_itself_changes_no_row(bundle_dir: Path, file: Path, capsys: Capture) -> None:
    code, out, err = run(capsys, bundle_dir, file, "--model", bundle_dir, "--limit", "0")
    assert (code, err) == (0, "")
    assert "0 of 3,000 rows change (0.00%)" in out
    assert "The probability of '1' shifts in no row." in out
    document = compared(capsys, bundle_dir, file, "--model", bundle_dir)
    assert document["rows"] == {
        "read": 3000,
        "compared": 3000,
        "rejected": {"both": 0, "this": 0, "other": 0},
    }
    assert document["changed"] == {"rows": 0, "share": 0.0, "labels": 0}
    assert document["labels"] == document["largest"] == document["differences"] == []
    assert set(document["shifts"].values()) == {"the probability of '1'", 0.0}


def test_what_changes_is_what_scikit_learn_says(
    bundle_dir: Path, again: Path, customers: pd.DataFrame, file: Path, capsys: Capture
) -> None:
    before, after = (
        joblib.load(folder / "model.joblib").predict_proba(customers[FEATURES])[:, 1]
        for folder in (bundle_dir, again)
    )
    was, now = before >= 0.5, after >= 0.5
    document = compared(capsys, bundle_dir, file, "--model", again)
    changed = int((was != now).sum())
    assert 0 < changed == document["changed"]["rows"] == document["changed"]["labels"]
    assert document["changed"]["share"] == pytest.approx(changed / 3000, abs=1e-6)
    assert document["predictions"] == {
        "other": {"0": int((~was).sum()), "1": int(was.sum())},
        "this": {"0": int((~now).sum()), "1": int(now.sum())},
    }
    pairs = {(each["other"], each["this"]): each["rows"] for each in document["labels"]}
    expected = {("0", "1"): int((~was & now).sum()), ("1", "0"): int((was & ~now).sum())}
    assert pairs == {pair: count for pair, count in expected.items() if count}

    shift = after - before
    shifts = document["shifts"]
    assert shifts["of"] == "the probability of '1'"
    assert shifts["mean"] == pytest.approx(shift.mean(), rel=1e-6)
    assert shifts["mean_absolute"] == pytest.approx(np.abs(shift).mean(), rel=1e-6)
    assert shifts["largest"] == pytest.approx(np.abs(shift).max(), rel=1e-6)
    for name, share in (("median", 0.5), ("p90", 0.9), ("p99", 0.99)):
        exact = np.quantile(np.abs(shift), share, method="inverted_cdf")
        assert shifts[name] == pytest.approx(exact, rel=0.011)
    largest = document["largest"]
    assert [each["shift"] for each in largest] == pytest.approx(shift[np.argsort(-np.abs(shift))[:10]])
    for each in largest:
        row = each["line"] - 2
        assert (each["before"], each["after"]) == pytest.approx((before[row], after[row]))
        assert (each["other"], each["this"]) == (str(int(was[row])), str(int(now[row])))
    assert [(-abs(each["shift"]), each["line"]) for each in largest] == sorted(
        (-abs(each["shift"]), each["line"]) for each in largest
    )


def test_the_limit_decides_the_exit_code(
    bundle_dir: Path, again: Path, file: Path, capsys: Capture
) -> None:
    share = compared(capsys, bundle_dir, file, "--model", again)["changed"]["share"]
    for limit, code in ((0, 1), (share * 0.99, 1), (share * 1.01, 0), (1, 0)):
        got, out, err = run(capsys, bundle_dir, file, "--model", again, "--limit", limit)
        assert got == code
        assert f"rows change ({share:.2%})" in out
        said = f"error: {share:.2%} of the rows change, which is above the limit of {limit:.2%}\n"
        assert err == (said if code else "")


@pytest.mark.parametrize("kind", ["blocks", "gz", "s3", "gs"])
def test_it_is_the_same_wherever_the_file_is_and_however_it_comes(
    kind: str,
    bundle_dir: Path,
    again: Path,
    file: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    whole = compared(capsys, bundle_dir, file, "--model", again)
    place = str(file)
    packed = file.with_name("customers.csv.gz")
    packed.write_bytes(gzip.compress(file.read_bytes()))
    if kind == "blocks":
        monkeypatch.setenv("BLOCK_BYTES", "997")
    elif kind == "gz":
        place = str(packed)
    else:
        cloud: S3 | GCS = request.getfixturevalue("s3" if kind == "s3" else "gcs")
        for name, value in cloud.env.items():
            monkeypatch.setenv(name, value)
        bucket = cloud.bucket()
        cloud.put(bucket, "in/customers.csv.gz", packed.read_bytes())
        place = f"{kind}://{bucket}/in/customers.csv.gz"
    document = compared(capsys, bundle_dir, place, "--model", again)
    assert document.pop("input").endswith(place)
    whole.pop("input")
    assert document.pop("shifts") == pytest.approx(whole.pop("shifts"))
    assert document == whole


def test_the_page_stands_alone_and_shows_no_value_of_a_row(
    bundle_dir: Path, again: Path, customers: pd.DataFrame, tmp_path: Path, capsys: Capture
) -> None:
    file, page = tmp_path / "customers.csv", tmp_path / "page.html"
    customers.assign(customer=[f"Mallory {index}" for index in range(3000)]).to_csv(file, index=False)
    code, out, _ = run(capsys, bundle_dir, file, "--model", again, "--output", page, "--limit", 1)
    assert code == 0
    assert f"the page: {page}" in out
    content = page.read_text(encoding="utf-8")
    assert content.count("<svg") == 4
    for heading in ("Labels", "Shifts", "The rows that shift the most"):
        assert f"<h2>{heading}</h2>" in content
    assert "<script" not in content
    assert "Mallory" not in content + out
    document = compared(capsys, bundle_dir, file, "--model", again, "--output", page)
    assert document["page"] == str(page)
    assert "Mallory" not in json.dumps(document)


def test_a_class_more_and_a_feature_less_are_compared(
    mixed_dir: Path, wider: Path, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "offers.csv"
    mixed_rows(800, seed=5).drop(columns=["class", "price"]).to_csv(file, index=False)
    other, this = (scored(capsys, each, file, tmp_path / each.parent.name) for each in (mixed_dir, wider))
    document = compared(capsys, mixed_dir, file, "--model", wider)
    assert document["changed"]["labels"] == int((other["prediction"] != this["prediction"]).sum())
    table = pd.crosstab(other["prediction"], this["prediction"])
    for each in document["labels"]:
        assert each["rows"] == table.loc[each["other"], each["this"]]
    assert any(each["this"] == "huge" for each in document["labels"])
    names = ["high", "huge", "low", "middle"]
    old, new = (
        each.reindex(columns=[f"probability_{name}" for name in names], fill_value=0.0).to_numpy()
        for each in (other, this)
    )
    assert document["shifts"]["of"] == "the probability that shifts the most"
    assert document["shifts"]["mean_absolute"] == pytest.approx(np.abs(new - old).max(axis=1).mean())
    assert "mean" not in document["shifts"]
    first = document["largest"][0]
    row, of = first["line"] - 2, names.index(first["class"])
    assert (first["before"], first["after"]) == pytest.approx((old[row, of], new[row, of]))
    differences = {each["feature"]: each for each in document["differences"]}
    assert differences["âge"]["this"] == "is not a feature"
    assert differences["âge"]["other"] == "number, may be missing"
    assert "knows 'Oslo'" in differences["Straße"]["other"]
    assert differences[""]["this"] == "knows 'huge'"
    _, out, _ = run(capsys, mixed_dir, file, "--model", wider, "--output", tmp_path / "page.html")
    assert "(the model)" in out
    assert "What the models take differently" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_regression_changes_where_it_shifts_by_more_than_the_tolerance(
    regression_dir: Path, dearer: Path, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / "offers.csv"
    mixed_rows(800, seed=5).drop(columns=["class", "price"]).to_csv(file, index=False)
    other, this = (
        scored(capsys, each, file, tmp_path / each.parent.name) for each in (regression_dir, dearer)
    )
    shift = (this["prediction"] - other["prediction"]).to_numpy()
    edges = json.loads((regression_dir / "model.json").read_text())["profile"]["predictions"]["edges"]
    for flags, tolerance in (([], (edges[-1] - edges[0]) / 20), (["--tolerance", "4.5"], 4.5)):
        document = compared(capsys, regression_dir, file, "--model", dearer, *flags)
        assert document["tolerance"] == pytest.approx(tolerance)
        assert document["changed"]["values"] == int((np.abs(shift) > tolerance).sum())
        assert "labels" not in document["changed"]
    assert 0 < document["changed"]["values"] < 800
    assert document["shifts"]["mean"] == pytest.approx(shift.mean())
    assert document["predictions"] == {}
    assert document["largest"][0]["line"] == 2 + int(np.abs(shift).argmax())
    page = tmp_path / "page.html"
    _, out, _ = run(capsys, regression_dir, file, "--model", dearer, "--output", page)
    assert "shift by more than" in out
    assert page.read_text(encoding="utf-8").count("<svg") == 2


def test_a_bundle_without_a_profile_asks_for_the_tolerance(
    regression_dir: Path, tmp_path: Path, capsys: Capture
) -> None:
    old = resealed(regression_dir, tmp_path / "old", lambda manifest: manifest.pop("profile"))
    file = tmp_path / "offers.csv"
    mixed_rows(50).to_csv(file, index=False)
    code, _, err = run(capsys, old, file, "--model", old)
    assert code == 2
    assert "--tolerance" in err
    assert run(capsys, old, file, "--model", old, "--tolerance", "1")[0] == 0
    assert run(capsys, old, file, "--model", regression_dir)[0] == 0


def test_rows_that_only_one_model_rejects_change(mixed_dir: Path, tmp_path: Path, capsys: Capture) -> None:
    def stricter(manifest: Any) -> None:
        for feature in manifest["features"]:
            feature["nullable"] = feature["nullable"] and feature["name"] != "living area"

    strict = resealed(mixed_dir, tmp_path / "strict", stricter)
    rows = mixed_rows(400, seed=5).drop(columns=["class", "price"]).astype({"no.rooms": str})
    rows.loc[7, "no.rooms"] = rows.loc[8, "no.rooms"] = "many"
    rows["living area"] = rows["living area"].where(rows.index != 8, 50.0)
    file = tmp_path / "offers.csv"
    rows.to_csv(file, index=False)
    gaps = int(rows["living area"].drop(index=[7, 8]).isna().sum())
    assert gaps > 0
    for this, other, which in ((strict, mixed_dir, "this"), (mixed_dir, strict, "other")):
        document = compared(capsys, other, file, "--model", this)
        elsewhere = "other" if which == "this" else "this"
        assert document["rows"]["rejected"] == {"both": 2, which: gaps, elsewhere: 0}
        assert document["rows"]["compared"] == 398 - gaps
        assert document["rejects"] == {which: {"missing": gaps}, elsewhere: {}}
        assert document["changed"] == {"rows": gaps, "share": round(gaps / 398, 6), "labels": 0}
        assert {"feature", "this", "other"} == document["differences"][0].keys()
        _, out, _ = run(capsys, other, file, "--model", this)
        model = "this" if which == "this" else "the other"
        assert f"{gaps} rows are rejected by {model} model only: missing {gaps}." in out
        assert "2 are rejected by both" in out


@pytest.mark.slow
def test_clusters_that_are_numbered_anew_are_recognised(
    cluster_dir: Path, trained_once: Callable[..., Path], tmp_path: Path, capsys: Capture
) -> None:
    anew = trained_once(
        "cluster_anew", measurements(), "machines", pipeline="tests.support.pipelines:mixture_anew"
    )
    file = tmp_path / "machines.csv"
    measurements().to_csv(file, index=False)
    other, this = (scored(capsys, each, file, tmp_path / each.parent.name) for each in (cluster_dir, anew))
    apart = int((other["prediction"] != this["prediction"]).sum())
    document = compared(capsys, cluster_dir, file, "--model", anew)
    assert document["changed"]["labels"] == apart > 500
    assert document["renumbered"] == {"clusters": {"0": "1", "1": "0"}, "labels": 600 - apart}
    assert document["shifts"]["of"] == "the score"
    assert "numbered anew (0 to 1, 1 to 0)" in run(capsys, cluster_dir, file, "--model", anew)[1]
    assert "renumbered" not in compared(capsys, cluster_dir, file, "--model", cluster_dir)


@pytest.mark.slow
def test_anomalies_are_compared_by_label_and_score(
    anomaly_dir: Path, trained_once: Callable[..., Path], tmp_path: Path, capsys: Capture
) -> None:
    anew = trained_once("anomaly_anew", measurements(seed=9), "machines", pipeline="isolation_forest")
    file = tmp_path / "machines.csv"
    measurements(seed=5).to_csv(file, index=False)
    other, this = (scored(capsys, each, file, tmp_path / each.parent.name) for each in (anomaly_dir, anew))
    document = compared(capsys, anomaly_dir, file, "--model", anew)
    assert document["changed"]["labels"] == int((other["prediction"] != this["prediction"]).sum())
    assert "renumbered" not in document
    assert document["shifts"]["of"] == "the score"
    assert document["shifts"]["mean"] == pytest.approx((this["score"] - other["score"]).mean())


def test_a_probability_of_the_other_label_is_named(
    bundle_dir: Path, tmp_path: Path, customers: pd.DataFrame, capsys: Capture
) -> None:
    """Both know the same labels, and the column ``probability`` is another one's; all labels change."""
    file = tmp_path / "customers.csv"
    pd.concat([customers, customers]).to_csv(file, index=False)

    def bundle(name: str, threshold: float, *classes: str) -> Path:
        def change(manifest: Any) -> None:
            manifest["classes"], manifest["threshold"] = list(classes), threshold
            for golden in manifest["golden"]:
                golden["prediction"] = classes[golden["prediction"]]
                golden["probabilities"] = dict(zip(classes, golden["probabilities"].values(), strict=True))

        return resealed(bundle_dir, tmp_path / name, change)

    this, other = bundle("this", 0.3, "yes", "no"), bundle("other", 0.5, "no", "yes")
    document = compared(capsys, other, file, "--model", this)
    assert [(each["this"], each["other"]) for each in document["differences"]] == [
        ("its probability is that of 'no'", "its probability is that of 'yes'"),
        ("predicts the second label from 0.3 on", "predicts the second label from 0.5 on"),
    ]
    assert document["changed"]["labels"] == 6000
    first = document["largest"][0]
    assert first["class"] == "no"
    assert first["before"] + first["after"] == pytest.approx(1)


def test_a_file_that_one_model_cannot_read_names_the_model(
    mixed_dir: Path, wider: Path, tmp_path: Path, file: Path, capsys: Capture
) -> None:
    offers = tmp_path / "offers.csv"
    mixed_rows(20).drop(columns="âge").to_csv(offers, index=False)
    for this, other, which in (
        (wider, mixed_dir, "the other model, mixed "),
        (mixed_dir, wider, "this model, mixed "),
    ):
        code, out, err = run(capsys, other, offers, "--model", this)
        assert (code, out) == (2, "")
        assert f"cannot be read by {which}" in err
        assert "lacks: âge" in err
        assert "and by" not in err
    code, _, err = run(capsys, mixed_dir, file, "--model", wider, "--json")
    assert code == 2
    assert err.count("lacks: ") == 2
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{nowhere}", "{file}"], "the other bundle: no model at "),
        (["{file}", "{bundle}"], "did you mean 'compare "),
        (["{bundle}", "{bundle}"], "is a bundle, where a file of rows is wanted"),
        (["{file}", "{file}"], "is a file, where the folder of the other bundle is wanted"),
        (["{bundle}", "{folder}"], "is a folder"),
        (["{bundle}", "{nowhere}"], "there is no file "),
        (["{bundle}", "s3://bucket/in/"], "is a prefix; name one object"),
        (["s3://bucket/model", "{file}"], "a bundle is a folder on this machine"),
        (["{bundle}", "{empty}"], "the file is empty; a header line is needed"),
        (["{bundle}", "{header}"], "has no rows: there is nothing to compare"),
        (["{bundle}", "{bad}"], "both models reject every row"),
        (["{bundle}", "{open}"], "a quote is opened and never closed (line 3)"),
        (["{regression}", "{file}"], "its task is 'regression', and this model's is 'binary'"),
        (["{bundle}", "{file}", "--limit", "5"], "must be a share from 0 to 1, such as 0.05 for 5 % (see"),
        (["{bundle}", "{file}", "--limit", "nan"], "must be a share from 0 to 1"),
        (["{bundle}", "{file}", "--tolerance", "1"], "--tolerance is for regressions"),
        (["{bundle}", "{file}", "--output", "{nowhere}/page.html"], "cannot be written"),
        (["{bundle}"], "FILE"),
    ],
)
def test_careless_uses_are_one_line(
    words: list[str],
    said: str,
    bundle_dir: Path,
    regression_dir: Path,
    file: Path,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    texts = {
        "empty": "",
        "header": "age,new_user,total_pages_visited\n",
        "bad": "age,new_user,total_pages_visited\nx,0,1\n",
        "open": 'age,new_user,total_pages_visited\n30,0,1\n"30,0,1\n',
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.csv").write_text(text)
    places = {
        **{name: tmp_path / f"{name}.csv" for name in texts},
        "bundle": bundle_dir,
        "regression": regression_dir,
        "file": file,
        "folder": tmp_path,
        "nowhere": tmp_path / "nowhere",
    }
    code, _, err = run(capsys, *(word.format(**places) for word in words), "--model", bundle_dir)
    assert code == 2
    assert said in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
