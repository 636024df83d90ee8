"""What the user states of columns, by flags and in a file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from handler.app import App
from handler.bundle import Bundle
from handler.scoring.model import Model
from handler.settings import Settings
from handler.web.messages import Request
from tests.support.bundles import OFFERS, offers, sales
from training.__main__ import main
from training.train import Options, train


@pytest.mark.slow
def test_columns_are_told_by_flags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["--data", offers(tmp_path), *OFFERS, "--id", "customer", "--kind", "zip=code=category"]
    assert main([*told, "--kind", "no.rooms=number", "--out", str(tmp_path / "model")]) == 0
    manifest = Bundle.open(tmp_path / "model").manifest
    features = {feature.name: feature for feature in manifest.features}
    assert features.keys().isdisjoint({"price", "customer", "class"})
    assert features["zip=code"].categories == tuple(f"{place:03}" for place in range(7))
    assert features["no.rooms"].kind == "number"
    assert manifest.ids == ("customer",)
    assert "carried through: customer" in capsys.readouterr().out


@pytest.mark.slow
def test_columns_are_told_in_a_file_and_flags_count_more(tmp_path: Path) -> None:
    told = tmp_path / "columns.toml"
    told.write_text(
        'target = "price"\ndrop = ["price"]\nids = ["customer"]\n'
        '[kinds]\n"zip=code" = "category"\n"no.rooms" = "category"\n'
    )
    flags = ["--target", "class", "--kind", "no.rooms=integer", "--columns", str(told)]
    assert main(["--data", offers(tmp_path), *flags, "--out", str(tmp_path / "model")]) == 0
    manifest = Bundle.open(tmp_path / "model").manifest
    kinds = {feature.name: feature.kind for feature in manifest.features}
    assert manifest.target == "class"
    assert (kinds["zip=code"], kinds["no.rooms"]) == ("category", "integer")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--drop", "nothing"], "--drop names 'nothing'"),
        (["--id", "class"], "which is the target"),
        (["--drop", "customer", "--id", "customer"], "name it once"),
        (["--id", "customer", "--kind", "customer=category"], "by --id and by --kind; name it once"),
        (["--drop", "custmer"], "did you mean 'customer'?"),
        (["--id", "customer", "--pipeline", "linear"], "holds text"),
        (["--kind", "garden"], "--kind takes COLUMN=KIND"),
        (["--kind", "garden=word"], "--kind takes COLUMN=KIND"),
        (["--kind", "heating=number"], "of its cells are not"),
        (["--id", "customer", "--threshold", "0.4"], "two classes"),
        (["--id", "customer", "--threshold", "half"], "--threshold takes auto"),
        (["--id", "customer", "--threshold", "1.5"], "--threshold takes auto"),
        (["--columns", "nowhere.toml"], "nowhere.toml cannot be read"),
    ],
)
def test_a_mistake_about_columns_is_told_in_one_line(
    flags: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", offers(tmp_path), *OFFERS, *flags, "--out", str(tmp_path / "model")]) == 2
    line, *_ = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("target = ", "is not TOML"),
        ("aim = 'y'", "no key 'aim'"),
        ("drop = 'y'", "'drop' must be a list"),
        ("target = 3", "'target' must be"),
        ("[kinds]\na = 'word'", "'kinds' must give 'a' one of integer, "),
        ("kinds = 'integer'", "'kinds' must be a table"),
        ("target = 'class'\ndrop = ['Heating']", "'drop' names 'Heating', and offers.csv has no such"),
        ("target = 'class'\ndrop = ['class']", "'drop' names 'class', which is the target"),
        ("target = 'class'\ndrop = ['âge']\nids = ['âge']", "'ids'; name it once"),
        ("target = 'clas'", "columns.toml: 'target'); did you mean 'class'?"),
    ],
)
def test_a_mistake_in_the_file_names_it(
    text: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "columns.toml").write_text(text)
    arguments = ["--data", offers(tmp_path), "--columns", str(tmp_path / "columns.toml")]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "columns.toml" in error
    assert said in error


def test_the_default_target_is_asked_for_where_it_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", offers(tmp_path)]) == 2
    assert "name the column to predict with --target" in capsys.readouterr().err
    assert main(["--target", "class"]) == 2
    assert "synthetic sample" in capsys.readouterr().err


@pytest.mark.slow
def test_an_id_is_carried_through_requests(tmp_path: Path) -> None:
    frame = sales(tmp_path)
    frame["customer"] = [f"c{place}" for place in range(len(frame))]
    frame.to_csv(tmp_path / "sales.csv", index=False)
    train(Options(tmp_path / "sales.csv", out=tmp_path / "model", ids=("customer",)), lambda _: None)
    app = App(Model.load(tmp_path / "model"), Settings())
    record = {"age": 45, "new_user": 0, "total_pages_visited": 5}
    assert app.handle({**record, "customer": "007"})["ids"] == {"customer": "007"}
    assert "ids" not in app.handle(record)
    several = app.handle({"instances": [{**record, "customer": 7}, record]})["predictions"]
    assert [each.get("ids") for each in several] == [{"customer": 7}, None]
    query = (("age", "45"), ("new_user", "0"), ("total_pages_visited", "5"), ("customer", "007"))
    answer = json.loads(app.handle(Request("GET", "/predict", query)).body)
    assert answer["ids"] == {"customer": "007"}
    document = json.loads(app.handle(Request("GET", "/openapi.json")).body)
    schemas = document["components"]["schemas"]
    assert "customer" in schemas["Record"]["properties"]
    assert "customer" not in schemas["Record"]["required"]
    assert "ids" in schemas["Prediction"]["properties"]
    for value in ("c1", 7, 1.5, True, None):
        assert app.handle({**record, "customer": value})["ids"] == {"customer": value}

    def errors(request: Request) -> list[tuple[str, str]]:
        return [(each["field"], each["code"]) for each in json.loads(app.handle(request).body)["errors"]]

    twice = Request("GET", "/predict", (*query, ("customer", "8"), ("Customer", "9")))
    assert errors(twice) == [("customer", "repeated"), ("Customer", "unknown_field")]
    for body, code in (('{"a": 1}', "not_a_string"), ("[1]", "not_a_string"), ("NaN", "not_finite")):
        text = json.dumps(record).removesuffix("}") + f', "customer": {body}}}'
        assert errors(Request("POST", "/predict", body=text.encode())) == [("customer", code)]
    csv = Request(
        "POST",
        "/predict_file",
        headers={"content-type": "text/csv", "accept": "text/csv"},
        body=b"customer,age,new_user,total_pages_visited\n007,45,0,5\n",
    )
    assert app.handle(csv).body.splitlines()[1].startswith(b"007,45,0,5,")
