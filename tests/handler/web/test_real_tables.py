"""What real tables hold, through every door: spelled numbers, missing words, blanks, ignored columns."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from handler.__main__ import main
from handler.app import App
from handler.manifest_rules import parsed
from handler.schema import to_text
from handler.scoring.model import Model
from handler.settings import Settings
from handler.web.messages import Answer, Request
from tests.support.bundles import resealed

NUMBER_WORDS = ["na", "n/a", "nan", "-", "?", "unbekannt"]
RECORD = {
    "living area": 1234.5, "no.rooms": 3, "garden": True, "Straße": "Oslo", "heating": "gas", "âge": None,
}  # fmt: skip
#: The same record as text: each spelling of each value that stands for it.
TEXTS = {
    "living area": ["1.234,5 €", "1234,5", "€ 1.234,50", " 1.234,5\u00a0€\t"],
    "no.rooms": ["3", " 3"],
    "garden": ["yes", " TRUE "],
    "Straße": ["Oslo", " Oslo", "Oslo\t"],
    "heating": ["gas", " gas "],
    "âge": ["", "NA", " n/a", "NaN", "-", "Unbekannt"],
}
DROPPED = {"price": "12", "a note": "NaN"}


def messy(document: dict[str, Any]) -> None:
    """The manifest of a model that was trained on such a table."""
    features = {each["name"]: each for each in document["features"]}
    features["living area"].update(format="1.234,5 €", missing_words=NUMBER_WORDS)
    features["âge"].update(missing_words=NUMBER_WORDS)
    features["heating"].update(missing_words=["na", "n/a"])
    document["ignored"] = list(DROPPED)


@pytest.fixture(scope="module")
def folder(mixed_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return resealed(mixed_dir, tmp_path_factory.mktemp("messy"), messy)


@pytest.fixture(scope="module")
def served(folder: Path) -> Model:
    return Model.load(folder)


@pytest.fixture(scope="module")
def app(served: Model) -> App:
    return App(served, Settings())


def ask(app: App, method: str, path: str, body: Any = b"", query: Any = (), **headers: str) -> Answer:
    if not isinstance(body, bytes):
        body, headers = json.dumps(body).encode(), {"content_type": "application/json"}
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    pairs = tuple(query.items()) if isinstance(query, dict) else tuple(query)
    answer: Answer = app.handle(Request(method, path, pairs, named, body))
    return answer


def said(answer: Answer) -> Any:
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def codes(answer: Answer) -> list[tuple[str, str]]:
    assert answer.status == 422
    return [(each["field"], each["code"]) for each in json.loads(answer.body)["errors"]]


def texts() -> list[dict[str, str]]:
    """The record as text, each time with one value spelled otherwise."""
    first = {name: spelled[0] for name, spelled in TEXTS.items()}
    return [{**first, name: text} for name, spelled in TEXTS.items() for text in spelled]


def csv_of(rows: list[dict[str, str]], delimiter: str) -> bytes:
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return sink.getvalue().encode()


def test_every_spelling_is_the_same_record_in_query_json_and_direct_invoke(app: App) -> None:
    expected = said(ask(app, "POST", "/predict", RECORD))
    for text in texts():
        assert said(ask(app, "GET", "/predict", query=text)) == expected, text
    for name in ("Straße", "heating"):
        for text in TEXTS[name]:
            assert said(ask(app, "POST", "/predict", {**RECORD, name: text})) == expected
            assert app.handle({**RECORD, name: text}) == expected
    unknown = said(ask(app, "POST", "/predict", {**RECORD, "heating": None}))
    for text in ("", "NA", " n/a ", "  "):
        assert said(ask(app, "POST", "/predict", {**RECORD, "heating": text})) == unknown
        assert said(ask(app, "GET", "/predict", query={**texts()[0], "heating": text})) == unknown


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("times", [1, 100], ids=["row by row", "swept"])
def test_every_spelling_is_the_same_record_in_a_file(app: App, delimiter: str, times: int) -> None:
    expected = said(ask(app, "POST", "/predict", RECORD))
    rows = [{**text, **DROPPED} for text in texts()] * times
    joined = ask(
        app, "POST", "/predict_file", csv_of(rows, delimiter), content_type="text/csv", accept="text/csv"
    )
    assert joined.headers["x-rows-rejected"] == "0"
    back = list(csv.DictReader(io.StringIO(joined.body.decode(), newline="")))
    assert [{name: row[name] for name in rows[0]} for row in back] == rows
    assert {row["prediction"] for row in back} == {expected["prediction"]}
    assert {float(row["probability_low"]) for row in back} == {expected["probabilities"]["low"]}


@pytest.mark.parametrize("times", [1, 100], ids=["row by row", "swept"])
def test_a_file_and_a_query_refuse_alike(app: App, times: int) -> None:
    good = texts()[0]
    wrong = {
        "living area": ["1.5", "1.23,4", "$5", "none", "inf"],
        "no.rooms": ["NA", "3,5", "2.5", ""],
        "garden": ["NA", "-"],
        "âge": ["none", "12,5"],
    }
    rows = [{**good, name: text} for name, all in wrong.items() for text in all]
    asked = [codes(ask(app, "GET", "/predict", query=row))[0] for row in rows]
    assert set(asked) == {
        ("living area", "not_a_number"), ("living area", "not_finite"), ("no.rooms", "not_a_number"),
        ("no.rooms", "not_an_integer"), ("no.rooms", "missing"), ("garden", "not_a_boolean"),
        ("âge", "not_a_number"),
    }  # fmt: skip
    body = csv_of([*rows * times, good], ";")
    answer = said(ask(app, "POST", "/predict_file", body, content_type="text/csv"))
    rejected = [(each["column"], each["code"]) for each in answer["rejected"]]
    assert rejected == asked * times
    assert answer["predictions"][-1] is not None


def test_a_number_in_json_is_a_number_whatever_its_spelling_in_text(app: App) -> None:
    for value in ("1.234,5 €", "NA", ""):
        assert codes(ask(app, "POST", "/predict", {**RECORD, "living area": value})) == [
            ("living area", "not_a_number")
        ]


def test_a_refused_number_is_shown_the_spelling_and_not_its_value(app: App) -> None:
    answer = ask(app, "GET", "/predict", query={**texts()[0], "living area": "12345.678"})
    (error,) = json.loads(answer.body)["errors"]
    assert error["message"] == "'living area' must be a number, spelled as 1.234,5 €"


def test_ignored_columns_may_be_there_and_are_in_no_answer(app: App) -> None:
    expected = said(ask(app, "POST", "/predict", RECORD))
    query = (*texts()[0].items(), *DROPPED.items(), ("price", "again"))
    assert said(ask(app, "GET", "/predict", query=query)) == expected
    for value in (None, 12, "x", [1], {"a": {}}, float("nan")):
        assert said(ask(app, "POST", "/predict", {**RECORD, "price": value})) == expected
        assert app.handle({**RECORD, "price": value}) == expected
    several = said(ask(app, "POST", "/predict", {"instances": [{**RECORD, **DROPPED}]}))
    assert several["predictions"] == [{key: expected[key] for key in expected.keys() - {"model"}}]
    assert codes(ask(app, "POST", "/predict", {**RECORD, **DROPPED, "prize": 1})) == [
        ("prize", "unknown_field")
    ]
    faulty = [{**RECORD, **DROPPED, "no.rooms": "x"}] * 150
    answer = json.loads(ask(app, "POST", "/predict", faulty).body)
    assert (len(answer["errors"]), answer["more"]) == (100, 50)


def test_the_command_line_reads_the_same_texts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MODEL_DIR", str(folder))
    assert main(["check"]) == 0
    capsys.readouterr()
    answers = []
    for row in (texts()[0], {**texts()[-1], **DROPPED}):
        assert main(["predict", *(f"{name}={text}" for name, text in row.items())]) == 0
        answers.append(json.loads(capsys.readouterr().out))
    assert answers[0] == answers[1]


def test_a_golden_record_is_spelled_as_a_query_reads_it(app: App, served: Model) -> None:
    for golden in served.manifest.golden:
        record = golden["record"]
        query = {each.name: to_text(each, record[each.name]) for each in served.manifest.features}
        assert said(ask(app, "GET", "/predict", query=query)) == said(ask(app, "POST", "/predict", record))


def test_the_manifest_has_the_keys_only_where_they_say_something(served: Model, model: Model) -> None:
    document = served.manifest.as_json()
    assert parsed(json.loads(json.dumps(document))) == served.manifest
    assert document["ignored"] == list(DROPPED)
    assert document["features"][0]["format"] == "1.234,5 €"
    plain = model.manifest.as_json()
    assert "ignored" not in plain
    assert not {"format", "missing_words"} & {key for each in plain["features"] for key in each}


def test_a_bundle_whose_categories_have_blanks_is_served_as_before(mixed_dir: Path, tmp_path: Path) -> None:
    def with_blanks(document: dict[str, Any]) -> None:
        next(each for each in document["features"] if each["name"] == "heating")["categories"] = [
            " gas",
            "gas",
        ]

    schema = Model.load(resealed(mixed_dir, tmp_path, with_blanks)).schema
    place = schema.names.index("heating")
    read = [
        schema.from_json({**RECORD, "heating": text})[place] for text in (" gas", "gas", "gas ", " oil")
    ]
    assert read == [" gas", "gas", "gas", "oil"]
