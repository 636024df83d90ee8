"""Tables as people have them, from a command to an answer: serving does to a cell what training does."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path

import numpy as np
import pytest

from handler.__main__ import main as handler
from handler.bundle import Bundle
from handler.schema import Schema
from handler.scoring.estimator import JoblibScorer
from handler.scoring.model import Model
from tests.support.bundles import Run
from training import learning
from training.__main__ import main
from training.data import files, reading
from training.data.columns import ColumnSpec
from training.packaging import prove
from training.train import Options


def messy(rows: int = 120) -> str:
    """A table with a little of everything, parted by semicolons, with a target of text."""
    random = np.random.default_rng(1)
    lines = ['"";"customer";"price";"size";"fuel";"since";"sold";"comment";"notes";"kind of";"class"']
    words = ["good", "house", "with", "garden", "near", "school", "quiet", "street", "old", "roof"]
    for index in range(rows):
        price = f"{1000 * random.random() + 1000:,.2f} €".translate(str.maketrans(",.", ".,"))
        size = "k.A." if index in (4, 50) else "NA" if index % 9 == 0 else f"{random.integers(40, 200)}"
        fuel = random.choice(["gas", " gas", "oil ", "NA", "none"])
        since = f"{index % 28 + 1}.{index % 12 + 1}.{2000 + index % 20}"
        sold = random.choice(["yes", "no"])
        comment = " ".join(random.choice(words, 7))
        label = "odd" if index == 7 else "" if index % 10 == 3 else random.choice(["low", "high ", "high"])
        cells = (index + 1, f"c{index}", price, size, fuel, since, sold, comment, "", "house", label)
        lines.append(";".join(f'"{cell}"' for cell in cells))
    return "\n".join(lines) + "\n"


@pytest.mark.slow
def test_a_messy_table_is_learnt_and_no_row_of_it_is_rejected(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = run(messy(), target="class")
    said = capsys.readouterr().out
    kinds = {each.name: (each.kind, each.format) for each in manifest.features}
    assert kinds == {
        "price": ("number", "1.234,5 €"),
        "size": ("integer", None),
        "fuel": ("category", None),
        "since": ("date", "%d.%m.%Y"),
        "sold": ("boolean", None),
        "comment": ("text", None),
    }
    by_name = {each.name: each for each in manifest.features}
    assert by_name["fuel"].categories == ("gas", "none", "oil")
    assert "k.a." in by_name["size"].missing_words
    assert manifest.ids == ("customer",)
    assert manifest.ignored == ("column 1", "notes", "kind of")
    assert manifest.classes == ("high", "low")
    assert manifest.training["rows"] == 107
    assert manifest.training["rows_left_out"] == 13
    assert said.count("note: ") >= 8

    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "model"))
    assert handler(["score", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "scored")]) == 0
    with (tmp_path / "scored" / "rows.csv" / "predictions.csv").open() as file:
        scored = list(csv.reader(file, delimiter=";"))
    assert len(scored) == 1 + 120
    model = Model.load(tmp_path / "model")
    record = {
        "price": 1500.5,
        "size": None,
        "fuel": " gas ",
        "since": "1.2.2003",
        "sold": True,
        "comment": "roof",
    }
    answer = model.predict_one(
        model.schema.from_json({**record, "customer": "c1", "notes": "x", "kind of": 3})
    )
    cells = {**record, "price": "€ 1.500,5", "size": "K.A.", "since": "2003-02-01", "sold": "Yes"}
    assert model.predict_one(model.schema.from_cells(cells)) == answer


@pytest.mark.slow
def test_the_command_that_a_refusal_ends_with_trains(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{i * 7 % 11},A{i % 3},{i % 5},{i * 3 % 2}\n" for i in range(60))
    Path("rows of mine.csv").write_text(f"'size,zip code,b,price\n{rows}")
    command = ["--data", "rows of mine.csv", "--target", "Price", "--kind", "zip code=number"]
    command += ["--kind", "b=boolean", "--drop", "comments", "--out", "my model"]
    assert main(command) == 2
    error, *problems, said, ready = capsys.readouterr().err.splitlines()
    assert error == "error: rows of mine.csv cannot be learnt from as it is, for 4 reasons:"
    assert len(problems) == 4
    assert said.strip() == "this command would train:"
    python, m, training, *words = shlex.split(ready)
    assert (python, m, training) == ("python", "-m", "training")
    assert main(words) == 0
    kinds = {each.name: each.kind for each in Bundle.open("my model").manifest.features}
    assert kinds == {"size": "integer", "zip code": "category", "b": "integer"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "pipeline", ["logistic", "decision_tree", "gradient_boosting", "hist_gradient_boosting"]
)
def test_what_is_nullable_may_be_missing_though_it_never_was(pipeline: str) -> None:
    random = np.random.default_rng(0)
    rows = "".join(
        f"{random.normal():.3f},{random.integers(0, 9)},{'abc'[index % 3]},{index * 7 % 2}\n"
        for index in range(200)
    )
    table = files.parse(f"x,k,c,y\n{rows}".encode(), "rows.csv")
    dataset = reading.prepare(table, ColumnSpec("y", nullable=("x", "c")), pipeline=pipeline)
    fitted = learning.learnt(dataset, Options(pipeline=pipeline), lambda _: None)
    scorer = JoblibScorer(fitted.estimator, fitted.contract)
    made = prove(fitted, scorer, seed=0, exact=False, say=lambda _: None)
    assert {"model.onnx", "model.scalar"} <= made.files.keys()
    schema = Schema(fitted.contract.features)
    records = [schema.from_cells({"x": "NA", "k": "3", "c": "n/a"}), schema.from_cells({"k": "3"})]
    expected = scorer.score(schema.columns(records)).values.tolist()
    assert made.scorer.score(schema.columns(records)).values.tolist() == expected
    assert expected[0] == expected[1]


@pytest.mark.slow
def test_a_column_that_is_empty_in_the_rows_fitted_on_is_left_out(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    held_out = _held_out(120)
    rows = "".join(f"{i * 7 % 11},{3 if i == held_out else ''},{i * 3 % 2}\n" for i in range(120))
    manifest = run(f"a,rare,y\n{rows}")
    assert [each.name for each in manifest.features] == ["a"]
    assert manifest.ignored == ("rare",)
    assert "note: 'rare' has no value in the rows to fit on, and is left out" in capsys.readouterr().out


def _held_out(rows: int) -> int:
    """A row that training holds out by default, of a target that alternates."""
    from sklearn.model_selection import train_test_split

    classes = [index * 3 % 2 for index in range(rows)]
    _, held_out = train_test_split(np.arange(rows), test_size=0.3, random_state=555, stratify=classes)
    return int(held_out[0])
