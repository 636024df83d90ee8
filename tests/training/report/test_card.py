"""The model report: what it tells, that it stands alone, and that it is served."""

from __future__ import annotations

import ast
import json
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import IsolationForest
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.metrics import (
    accuracy_score,
    classification_report,
    f1_score,
    log_loss,
    precision_score,
    r2_score,
    recall_score,
)

from handler.app import App
from handler.scoring.model import Model
from handler.settings import Settings
from handler.web.messages import Request
from tests.support.bundles import mixed_rows, quiet, reviews, trained
from tests.support.serving import serve
from training.importing.packages import package
from training.train import Options, train

pytestmark = pytest.mark.slow

BINARY = [
    "Class balance", "Confusion matrix", "Predicted probabilities", "ROC", "Precision and recall",
    "Threshold", "Calibration", "Permutation importance", "Contributions", "Effects",
]  # fmt: skip
SEVERAL = ["Class balance", "Confusion matrix", "ROC, each class against the others", *BINARY[-3:]]
NUMBER = ["Predicted and actual", "Residuals", "Distribution of residuals", *BINARY[-3:]]


class Page(HTMLParser):
    """What stands in a page: its pictures, its words, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.marks = 0
        self.words = ""
        self.tags: set[str] = set()
        self.tables: list[list[list[str]]] = []
        self.commands: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.marks += tag in ("rect", "polyline", "circle")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "pre":
            self.commands.append("")
        elif tag == "svg":
            label = str(dict(attrs)["aria-label"])
            label = "Effects" if label.startswith("Effects of ") else label
            if label not in self.pictures:
                self.pictures.append(label)
        if tag != "meta":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self.marks += tag in ("rect", "polyline", "circle")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data
        if {"td", "th"} & {*self._open}:
            self.tables[-1][-1][-1] += data
        if "pre" in self._open:
            self.commands[-1] += data

    def table(self, head: str) -> list[list[str]]:
        """The rows of the table whose first header cell is ``head``, with the header."""
        (found,) = (table for table in self.tables if table[0][0] == head)
        return found


def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


@pytest.mark.parametrize(
    ("fixture", "pictures"),
    [
        ("bundle_dir", BINARY),
        ("mixed_dir", SEVERAL),
        ("regression_dir", NUMBER),
        ("joblib_dir", [each for each in BINARY if each != "Contributions"]),
    ],
)
def test_a_report_has_the_pictures_of_its_task(
    fixture: str, pictures: list[str], request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(fixture)
    found = page(folder)
    assert found.pictures == pictures
    assert found.marks > 30
    assert "could not be drawn" not in found.words
    metrics = Model.load(folder).manifest.metrics
    card = (folder / "MODEL_CARD.md").read_text()
    for value in metrics.values():
        if isinstance(value, float):
            assert f"{value:.4f}" in found.words
            assert f"{value:.4f}" in card


def packaged(folder: Path, model: Any, rows: pd.DataFrame, y: Any = None, **options: Any) -> Page:
    """The report of a model that came fitted, whose measured rows are known here."""
    said: list[str] = []
    package(model, rows, y, out=folder / "packaged", say=said.append, **options)
    assert not [line for line in said if line.startswith("note:")]
    report = page(folder / "packaged")
    assert "could not be drawn" not in report.words
    return report


def numbers(rows: int, seed: int = 0) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(rows, 2)).round(3), columns=["a", "b"])


def test_the_tables_have_the_metrics_that_scikit_learn_computes(tmp_path: Path) -> None:
    rows = numbers(400)
    y = np.array(["low", "middle", "top"])[np.digitize(rows["a"] + 0.5 * rows["b"], [-0.8, 1])]
    model = LogisticRegression(C=0.05).fit(rows, y)
    report, predicted = packaged(tmp_path, model, rows, y), model.predict(rows)
    each = classification_report(y, predicted, output_dict=True)
    assert report.table("class")[0] == ["class", "precision", "recall", "F1", "rows", "predicted"]
    for label, *cells, count, guesses in report.table("class")[1:]:
        wanted = [each[label][name] for name in ("precision", "recall", "f1-score")]
        assert cells == [f"{value:.4f}" for value in wanted]
        assert (int(count), int(guesses)) == ((y == label).sum(), (predicted == label).sum())
    table = {row[0]: row[1:3] for row in report.table("metric")}
    baseline = DummyClassifier(strategy="prior").fit(rows, y)
    for column, scored in enumerate((model, baseline)):
        chosen, probabilities = scored.predict(rows), scored.predict_proba(rows)
        of_all = classification_report(y, chosen, output_dict=True, zero_division=0.0)
        assert table["accuracy"][column] == f"{accuracy_score(y, chosen):.4f}"
        assert table["F1"][column] == f"{of_all['macro avg']['f1-score']:.4f}"
        assert table["log loss"][column] == f"{log_loss(y, probabilities):.4f}"
    assert "'middle', the most frequent class of the file" in report.words


def test_a_regression_is_shown_in_the_unit_of_its_target(tmp_path: Path) -> None:
    rows = numbers(300)
    y = pd.Series(1000 * rows["a"] + np.random.default_rng(1).normal(0, 400, 300), name="price")
    model = LinearRegression().fit(rows, y)
    report, errors = packaged(tmp_path, model, rows, y), y - model.predict(rows)
    table = {row[0]: row[1:] for row in report.table("metric")}
    assert table["mean absolute error"][0] == f"{errors.abs().mean():.2f}"
    assert table["median absolute error"][0] == f"{errors.abs().median():.2f}"
    assert table["root mean squared error"][0] == f"{np.sqrt((errors**2).mean()):.2f}"
    assert table["root mean squared error"][1] == f"{y.std(ddof=0):,.2f}"  # of the mean
    assert table["R²"][:2] == [f"{r2_score(y, model.predict(rows)):.4f}", "0.0000"]
    assert table["mean absolute error"][2].endswith("in the unit of 'price'")
    quantiles = dict(report.table("actual minus predicted")[1:])
    assert quantiles["5 %"] == f"{np.quantile(errors, 0.05):.2f}"
    assert quantiles["greatest"] == f"{errors.max():,.2f}"


def test_a_threshold_is_suggested_where_it_is_much_better(tmp_path: Path) -> None:
    rows = numbers(2000)
    y = (rows["a"] + np.random.default_rng(1).normal(0, 1, 2000) > 2.2).astype(int)
    model = LogisticRegression().fit(rows, y)
    report, positive = packaged(tmp_path, model, rows, y), model.predict_proba(rows)[:, 1]
    header, used, better = report.table("threshold")
    value = float(better[0].split()[0])
    assert used[0] == "0.5 (in use)"
    assert value < 0.4
    for row, threshold in ((used, 0.5), (better, value)):
        chosen = positive >= threshold
        wanted = [score(y, chosen) for score in (precision_score, recall_score, f1_score)]
        assert row[1:4] == [f"{each:.4f}" for each in wanted]
        assert row[4] == str(chosen.sum())
    assert f1_score(y, positive >= value) > f1_score(y, positive >= 0.5) + 0.05
    assert f"threshold={value:g}" in report.words
    assert header[4] == "predicted as '1'"
    balanced = LogisticRegression().fit(rows, rows["a"] > 0)
    assert "Another threshold" not in packaged(tmp_path, balanced, rows, rows["a"] > 0).words


def test_the_commands_work_as_they_stand_and_give_the_answer_that_is_shown(mixed_dir: Path) -> None:
    by_query, by_json, shown, script, lines, _ = page(mixed_dir).commands
    answer = json.loads(shown)
    url = urlsplit(shlex.split(by_query)[-1])
    asked = Request("GET", url.path, query=tuple(parse_qsl(url.query, keep_blank_values=True)))
    assert json.loads(app(mixed_dir).handle(asked).body) == answer
    words = shlex.split(by_json)
    headers = dict(word.split(": ") for word in words if word.startswith("content-type"))
    sent = Request("POST", urlsplit(words[1]).path, headers, body=words[-1].encode())
    assert json.loads(app(mixed_dir).handle(sent).body) == answer
    (record,) = re.findall(r"^record = (.*)$", script, re.MULTILINE)
    assert ast.literal_eval(record) == json.loads(words[-1])
    file = Request("POST", "/predict_file", {"content-type": "text/csv"}, body=lines.encode())
    answered = json.loads(app(mixed_dir).handle(file).body)
    assert (answered["predictions"], answered["rejected"]) == ([answer["prediction"]], [])
    golden = Model.load(mixed_dir).manifest.golden[0]
    assert answer["prediction"] == golden["prediction"]
    with serve(mixed_dir) as base:
        script = script.replace("http://localhost:8080", base)
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ast.literal_eval(ran.stdout) == answer


def test_a_record_of_very_many_features_is_fetched_from_the_server(tmp_path: Path) -> None:
    rows = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 200)).round(2)).add_prefix("measured_")
    model = Ridge().fit(rows, rows["measured_0"])
    report = packaged(tmp_path, model, rows, rows["measured_0"])
    assert len((tmp_path / "packaged" / "report.html").read_bytes()) < 300_000
    with serve(tmp_path / "packaged") as base:
        script = report.commands[0].replace("http://localhost:8080", base)
        ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "'prediction'" in ran.stdout
    assert "And 100 more." in report.words  # features
    assert re.search(r"And \d+ more\.", report.words)


ODD = {
    "a class that no row has": ([0, 1] * 30, [0] * 60),
    "rows of one class": ([0, 1, 2] * 20, [2] * 60),
    "twenty classes": (list(range(20)) * 3, list(range(20)) * 3),
    "two rows": ([0, 1] * 30, [0, 1]),
    "one row": ([0, 1] * 30, [1]),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_rows_are_drawn_without_warnings(case: str, tmp_path: Path) -> None:
    fitted_on, measured_on = ODD[case]
    model = LogisticRegression().fit(numbers(60), fitted_on)
    report = packaged(tmp_path, model, numbers(len(measured_on), 1), np.array(measured_on))
    assert len(report.table("class")) == 1 + len(set(fitted_on))


@pytest.mark.parametrize("rows", [1, 2, 60])
@pytest.mark.parametrize("target", ["constant", "huge", "tiny"])
def test_odd_numbers_are_drawn_without_warnings(target: str, rows: int, tmp_path: Path) -> None:
    scale = {"constant": 0.0, "huge": 1e100, "tiny": 1e-100}[target]
    model = DummyRegressor().fit(numbers(60), 5 * scale + scale * numbers(60)["a"])
    report = packaged(tmp_path, model, numbers(rows, 1), 5 * scale + scale * numbers(rows, 2)["a"])
    assert "Distribution of residuals" in report.pictures


@pytest.mark.parametrize(
    "model",
    [LogisticRegression(), LinearRegression(), IsolationForest(n_estimators=5), KMeans(2, n_init=1)],
)
def test_every_task_has_a_report_without_a_target(model: Any, tmp_path: Path) -> None:
    rows = numbers(80)
    supervised = isinstance(model, LogisticRegression | LinearRegression)
    fitted = clone(model).fit(rows, rows["a"] > 0 if supervised else None)
    report = packaged(tmp_path, fitted, rows)
    scores = ["Scores"] if isinstance(model, IsolationForest) else []
    contributions = ["Contributions"] if supervised else []
    assert report.pictures == ["Predictions", *scores, *contributions, "Effects"]


def test_no_picture_shows_a_text_that_the_manifest_does_not_have(tmp_path: Path) -> None:
    frame = reviews(200)
    frame["comment"] = [f"{text} secret{index}" for index, text in enumerate(frame["comment"])]
    folder = trained(tmp_path, frame, "texts", target="y", kinds={"comment": "text"})
    manifest, words = (folder / "model.json").read_text(), (folder / "report.html").read_text()
    leaked = set(re.findall(r"secret\d+", words)) - set(re.findall(r"secret\d+", manifest))
    assert not leaked


def test_a_report_stands_alone(bundle_dir: Path) -> None:
    text = (bundle_dir / "report.html").read_text()
    assert "script" not in page(bundle_dir).tags
    assert not re.search(r"https?://(?!localhost)|url\(|@import|<link", text)
    assert len(text) < 300_000


def test_labels_without_probabilities_have_fewer_pictures(tmp_path: Path) -> None:
    frame = mixed_rows(600).drop(columns="price")
    folder = trained(
        tmp_path, frame, "labels", target="class", pipeline="tests.support.pipelines:without_probabilities"
    )
    assert page(folder).pictures == ["Class balance", "Confusion matrix", *BINARY[-3:]]


def test_names_are_shown_as_they_are_and_the_threshold_is_told(tmp_path: Path) -> None:
    name = "<script>alert(1)</script> $x$ | `a`"
    frame = mixed_rows(600)[["âge", "no.rooms", "price"]].rename(columns={"no.rooms": name})
    frame["price"] = (frame["price"] > frame["price"].median()).map({True: "yes", False: "no"})
    folder = trained(tmp_path, frame, "odd", target="price", threshold="0.3")
    found = page(folder)
    assert name in found.words
    assert "script" not in found.tags
    assert "could not be drawn" not in found.words
    assert "'yes' is predicted from a probability of 0.3 on" in found.words
    assert Model.load(folder).manifest.threshold == 0.3


def test_the_report_and_the_metrics_are_also_written_where_asked(tmp_path: Path) -> None:
    frame = mixed_rows(300).drop(columns="class")
    frame.to_csv(tmp_path / "rows.csv", index=False)
    options = Options(tmp_path / "rows.csv", "price", out=tmp_path / "model", report=tmp_path / "report")
    train(options, quiet)
    names = {"report.txt", "metrics.json", "MODEL_CARD.md", "report.html"}
    assert {file.name for file in (tmp_path / "report").iterdir()} == names


def app(folder: Path) -> App:
    return App(Model.load(folder), Settings(model_dir=str(folder)))


def ask(folder: Path, route: str) -> Any:
    return app(folder).handle(Request("GET", f"/prod/{route}"))


def test_the_report_is_served_and_linked(bundle_dir: Path) -> None:
    links = json.loads(ask(bundle_dir, "model").body)["links"]
    assert (links["report"], links["card"]) == ("report", "card")
    for route, name, kind in (("report", "report.html", "html"), ("card", "MODEL_CARD.md", "markdown")):
        answer = ask(bundle_dir, route)
        assert answer.status == 200
        assert answer.headers["content-type"] == f"text/{kind}; charset=utf-8"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert answer.body == (bundle_dir / name).read_bytes()


def test_a_bundle_without_a_report_says_so(bundle_dir: Path, tmp_path: Path) -> None:
    for file in bundle_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    document = json.loads((tmp_path / "model.json").read_text())
    del document["files"]["report.html"], document["files"]["MODEL_CARD.md"]
    (tmp_path / "model.json").write_text(json.dumps(document))
    assert ask(tmp_path, "report").status == 404
    assert "report" not in json.loads(ask(tmp_path, "model").body)["links"]
