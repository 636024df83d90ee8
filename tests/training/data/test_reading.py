"""What a CSV's columns are taken for, and its target."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import spelling
from handler.manifest import Feature, Kind
from handler.schema import parse_text
from handler.scoring.model import Model
from tests.support.bundles import Run, small
from training.data import files, kinds, reading
from training.data.columns import ColumnSpec
from training.data.notes import Refused
from training.errors import TrainingError

NUMBERS, TEXTS, INFINITE = spelling.MISSING_NUMBERS, spelling.MISSING_TEXTS, kinds.INFINITIES


def _csv(**columns: Sequence[str]) -> bytes:
    text = io.StringIO()
    pd.DataFrame(columns).to_csv(text, index=False)
    return text.getvalue().encode()


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        pytest.param(["1", "2.0", "3e0"], Feature("x", "integer", False, 1.0, 3.0), id="whole"),
        pytest.param(["0", "1"], Feature("x", "integer", False, 0.0, 1.0), id="zero and one"),
        pytest.param(["007", " 8 "], Feature("x", "integer", False, 7.0, 8.0), id="zeros, blanks"),
        pytest.param(
            ["1", "", "2.5"],
            Feature("x", "number", True, 1.0, 2.5, missing_words=NUMBERS),
            id="number with a gap",
        ),
        pytest.param(
            ["1", "3", "1e300"],
            Feature("x", "integer", True, 1.0, 3.0, missing_words=(*NUMBERS, *INFINITE, "1e300")),
            id="beyond float32",
        ),
        pytest.param(["1", "1e16"], Feature("x", "number", False, 1.0, 1e16), id="beyond 2^53"),
        pytest.param(
            ["Yes", "no", ""],
            Feature("x", "boolean", True, 0.0, 1.0, missing_words=NUMBERS),
            id="yes and no",
        ),
        pytest.param(["T", "f"], Feature("x", "boolean", False, 0.0, 1.0), id="letters"),
        pytest.param(
            ["true", "1", "no"], Feature("x", "category", categories=("1", "no", "true")), id="true and 1"
        ),
        pytest.param(["yes", "yes"], None, id="only yes"),
        pytest.param(["f", "m"], Feature("x", "category", categories=("f", "m")), id="f and m"),
        pytest.param(
            ["b ", "", "ä"],
            Feature("x", "category", True, categories=("b", "ä"), missing_words=TEXTS),
            id="texts without blanks around",
        ),
        pytest.param(
            ["NA", "EU", "US"],
            Feature("x", "category", True, categories=("EU", "US"), missing_words=TEXTS),
            id="NA among texts",
        ),
        pytest.param(
            ["none", "-", "gas"],
            Feature("x", "category", categories=("-", "gas", "none")),
            id="none is a level",
        ),
        pytest.param(["1", "2", "x"], Feature("x", "category", categories=("1", "2", "x")), id="codes"),
    ],
)
def test_a_columns_kind(cells: Sequence[str], expected: Feature | None) -> None:
    table = files.parse(_csv(x=cells, y=[str(place) for place in range(len(cells))]), "rows.csv")
    if expected is None:
        with pytest.raises(TrainingError, match="no column left"):
            reading.prepare(table, ColumnSpec("y"))
        return
    (column,) = reading.prepare(table, ColumnSpec("y")).columns
    assert column.feature == expected
    assert column.missing == sum(cell in ("", "NA", "1e300") for cell in cells)


@pytest.mark.slow
def test_what_is_odd_about_a_column_is_noted(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    constant, codes = [7] * 200, ["1", "2", "A", "4"] * 50
    manifest = run(small(number=range(200), constant=constant, code=codes))
    told = capsys.readouterr().out
    assert "note: 'number' differs in every row" in told
    assert "note: 'code' is taken as a category, since 'A' is not a number" in told
    assert "note: 'constant' has the same value in every row and is left out" in told
    for name in ("a", "number"):  # the classes stand in runs of five rows
        assert f"note: '{name}' alone predicts 'y' almost perfectly" in told
    assert told.count("note: ") == 5
    assert [each.kind for each in manifest.features] == ["integer", "integer", "category"]
    assert manifest.ignored == ("constant",)
    assert manifest.runtime == "onnx"


@pytest.mark.slow
@given(
    st.lists(
        st.floats(-1e6, 1e6).map(repr)
        | st.integers(-(10**9), 10**9).map(str)
        | st.sampled_from(["", " 1.5", "+2", ".5", "5.", "1E3", "-0", " \t"]),
        min_size=2,
        max_size=30,
    ).filter(lambda cells: len({float(cell) for cell in cells if cell.strip()}) > 1)
)
def test_training_reads_a_cell_as_serving_does(cells: list[str]) -> None:
    table = files.parse(_csv(x=cells, y=[str(place) for place in range(len(cells))]), "rows.csv")
    (column,) = reading.prepare(table, ColumnSpec("y")).columns
    assert column.values.tolist() == pytest.approx(
        [parse_text(column.feature, cell) for cell in cells], abs=0, rel=0, nan_ok=True
    )


@pytest.mark.parametrize(
    ("cells", "delimiter", "expected"),
    [
        (["967", "12.345", "1.000"], ";", Feature("x", "integer", False, 967, 12345, format="1.234,5")),
        (["967", "12.345", "1.000"], ",", Feature("x", "number", False, 1, 967)),
        (["967", "12.34", "1.000"], ";", Feature("x", "number", False, 1, 967)),
        (["1,5", "2"], ";", Feature("x", "number", False, 1.5, 2, format="1234,5")),
        (["12%", "7 %"], ",", Feature("x", "integer", False, 7, 12, format="1234.5%")),
        (["$1,200.50", "$3"], ",", Feature("x", "number", False, 3, 1200.5, format="$1,234.5")),
    ],
)
def test_numbers_are_read_as_they_are_spelled(cells: list[str], delimiter: str, expected: Feature) -> None:
    column = kinds.infer("x", pl.Series(cells), delimiter)
    assert isinstance(column, kinds.Column)
    assert column.feature == expected
    assert column.values.tolist() == [parse_text(expected, cell) for cell in cells]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\n\n"])
def test_the_csvs_that_are_read(delimiter: str, encoding: str, newline: str) -> None:
    lines = ['\'größe," b,c ",y', "1,p,0", '"2","q, r",1']
    text = newline.join(lines).replace(",", delimiter).replace(f"q{delimiter}", "q,")
    table = files.parse(text.replace(" b" + delimiter, " b,").encode(encoding), "rows.csv")
    assert list(table.columns) == ["größe", "b,c", "y"]
    assert [column.to_list() for column in table.columns.values()] == [
        ["1", "2"],
        ["p", "q, r"],
        ["0", "1"],
    ]
    assert ("'größe", "größe") in table.cleaned


@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "task", "classes"),
    [
        pytest.param(["no", "yes"], "binary", ("no", "yes"), id="words"),
        pytest.param(["True", "False"], "binary", ("False", "True"), id="truths"),
        pytest.param(["2", "1"], "binary", (1, 2), id="one and two"),
        pytest.param(["1.0", "0.0"], "binary", ("0.0", "1.0"), id="whole floats"),
        pytest.param(["-1", "10", "9"], "multiclass", (-1, 9, 10), id="three numbers"),
        pytest.param(["ü", "b", "1"], "multiclass", ("1", "b", "ü"), id="three texts"),
        pytest.param(["0.5", "1.5"], "regression", (), id="fractions"),
        pytest.param([str(place) for place in range(21)], "regression", (), id="many whole numbers"),
    ],
)
def test_task_and_classes_follow_from_the_target(
    run: Run, target: list[str], task: str, classes: tuple[int | str, ...]
) -> None:
    rows = len(target) * 20
    a = np.arange(rows) % len(target)
    manifest = run(pd.DataFrame({"a": a, "y": [target[place] for place in a]}))
    assert (manifest.task, manifest.classes) == (task, classes)
    assert manifest.runtime == "onnx"


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        pytest.param(
            ["007", "8", ""],
            "category",
            Feature("x", "category", True, categories=("007", "8"), missing_words=TEXTS),
            id="zip code",
        ),
        pytest.param(["1", "2"], "number", Feature("x", "number", False, 1.0, 2.0), id="whole as a number"),
        pytest.param(
            ["0", "1", ""],
            "boolean",
            Feature("x", "boolean", True, 0.0, 1.0, missing_words=NUMBERS),
            id="0 and 1",
        ),
        pytest.param(
            ["yes", "1", "F"], "boolean", Feature("x", "boolean", False, 0.0, 1.0), id="mixed words"
        ),
        pytest.param(["2.0", "3"], "integer", Feature("x", "integer", False, 2.0, 3.0), id="whole"),
        pytest.param(
            ["2.5", "3"], "integer", "1 of its cells are not, such as '2.5'", id="no whole number"
        ),
        pytest.param(["x", "3", "x"], "number", "2 of its cells are not, such as 'x'", id="a word"),
        pytest.param(
            ["maybe", "yes"], "boolean", "1 of its cells are not, such as 'maybe'", id="no boolean"
        ),
        pytest.param(["", ""], "category", "is empty", id="empty category"),
        pytest.param(["", " "], "integer", "is empty", id="empty integer"),
    ],
)
def test_a_kind_that_is_told(cells: Sequence[str], kind: Kind, expected: Feature | str) -> None:
    table = files.parse(_csv(x=cells, y=[str(place) for place in range(len(cells))]), "rows.csv")
    told = ColumnSpec("y", kinds={"x": kind})
    if isinstance(expected, str):
        with pytest.raises(Refused) as refused:
            reading.prepare(table, told)
        assert expected in refused.value.problems[0].message
        return
    (column,) = reading.prepare(table, told).columns
    assert column.feature == expected


@pytest.mark.slow
def test_what_is_refused_may_be_taken_as_a_category(run: Run, tmp_path: Path) -> None:
    rows = small(600)
    rows['Kürzel [x]."y"'] = [f"k{place * 7919 % 599}" for place in range(600)]
    rows["day"] = [f"2024-01-{place % 28 + 1:02}" for place in range(600)]
    names = [name for name in rows.columns if name not in ("a", "y")]
    kinds = [part for name in names for part in ("--kind", f"{name}=category")]
    manifest = run(rows, *kinds)
    assert [len(each.categories) for each in manifest.features] == [0, 599, 28]
    assert all(each.open for each in manifest.features[1:])
    assert manifest.engines == {"one": "scalar", "many": "onnx"}
    model = Model.load(tmp_path / "model")
    record = {"a": 3, names[0]: "never seen", "day": "2024-01-02"}
    assert model.predict([model.schema.from_json(record)])[0]["prediction"] == 0
