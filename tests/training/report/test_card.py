"""The model report: what it tells, that it stands alone, and that it is served."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from handler.app import App
from handler.scoring.model import Model
from handler.settings import Settings
from handler.web.messages import Request
from tests.support.bundles import mixed_rows, quiet, trained
from training.train import Options, train

pytestmark = pytest.mark.slow

BINARY = [
    "Class balance", "Confusion matrix", "Predicted probabilities", "ROC", "Precision and recall",
    "Threshold", "Calibration", "Permutation importance", "Effects",
]  # fmt: skip
SEVERAL = ["Class balance", "Confusion matrix", "ROC, each class against the others", *BINARY[-2:]]
NUMBER = ["Predicted and actual", "Residuals", "Distribution of residuals", *BINARY[-2:]]


class Page(HTMLParser):
    """What stands in a page: its pictures, its words, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures: list[str] = []
        self.marks = 0
        self.words = ""
        self.tags: set[str] = set()
        self.tables: list[list[list[str]]] = []
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

    def table(self, head: str) -> list[list[str]]:
        """The rows of the table whose first header cell is ``head``, with the header."""
        (found,) = (table for table in self.tables if table[0][0] == head)
        return found


def page(folder: Path) -> Page:
    return Page((folder / "report.html").read_text())


@pytest.mark.parametrize(
    ("fixture", "pictures"),
    [("bundle_dir", BINARY), ("mixed_dir", SEVERAL), ("regression_dir", NUMBER), ("joblib_dir", BINARY)],
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
    assert page(folder).pictures == ["Class balance", "Confusion matrix", *BINARY[-2:]]


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


def ask(folder: Path, route: str) -> Any:
    app = App(Model.load(folder), Settings(model_dir=str(folder)))
    return app.handle(Request("GET", f"/prod/{route}"))


def test_the_report_is_served_and_linked(bundle_dir: Path) -> None:
    links = json.loads(ask(bundle_dir, "model").body)["links"]
    assert links == {"openapi": "openapi.json", "page": "apidocs", "report": "report", "card": "card"}
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
