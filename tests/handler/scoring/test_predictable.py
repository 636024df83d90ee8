"""A row that the schema takes and the model cannot score is rejected alone, on every path."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import telemetry
from handler.app import App
from handler.batch.run import Batch
from handler.errors import InvalidRecords
from handler.manifest import Feature, Manifest
from handler.scoring import model as models
from handler.scoring.model import Model
from handler.scoring.scorers import RowByRow, Scores, models_code
from handler.settings import Settings
from handler.storage.locations import Location
from handler.storage.storage import Storage
from handler.web.messages import Answer, Request
from tests.support.bundles import trained

pytestmark = pytest.mark.slow


class Case(NamedTuple):
    """A model with a value of its feature ``income`` that it predicts, and one that it does not."""

    model: Model
    good: float
    bad: float

    @property
    def app(self) -> App:
        return App(self.model, Settings())


def rows(target: Callable[[np.ndarray], np.ndarray]) -> pd.DataFrame:
    income = np.random.default_rng(3).uniform(20, 200, 400).round(1)
    return pd.DataFrame({"income": income, "y": target(income)})


@pytest.fixture(scope="module", params=["the answer is infinite", "the pipeline raises"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("case")
    if request.param == "the answer is infinite":
        frame = rows(lambda income: np.expm1(income / 40).round(2))
        pipeline, bad = "log_price", 1e6
    else:
        frame = rows(lambda income: (income > 100).astype(int))
        pipeline, bad = "of_logs", -5.0
    made = trained(folder, frame, "case", target="y", pipeline=f"tests.support.pipelines:{pipeline}")
    return Case(Model.load(made), 100.0, bad)


def ask(
    app: App, body: str, path: str = "/predict", media_type: str = "application/json", **more: str
) -> Answer:
    answer: Answer = app.handle(
        Request("POST", path, headers={"content-type": media_type, **more}, body=body.encode())
    )
    return answer


def errors(answer: Answer) -> Any:
    assert answer.status == 422
    return [
        (each["code"], each.get("record"), each.get("line")) for each in json.loads(answer.body)["errors"]
    ]


def test_a_single_request_is_refused_with_the_code(case: Case) -> None:
    query: Answer = case.app.handle(Request("GET", "/predict", query=(("income", str(case.bad)),)))
    for answer in (query, ask(case.app, json.dumps({"income": case.bad}))):
        assert errors(answer) == [("not_predictable", None, None)]
        assert f"{case.bad:g}" not in answer.body.decode()
    with pytest.raises(InvalidRecords, match="not a finite number"):
        case.app.handle({"income": case.bad})


def test_a_list_names_the_records_at_fault(case: Case) -> None:
    listed = json.dumps([{"income": each} for each in (case.good, case.bad, case.good, case.bad)])
    assert errors(ask(case.app, listed)) == [("not_predictable", 1, None), ("not_predictable", 3, None)]
    text = f"income\n{case.good}\n{case.bad}\n"
    assert errors(ask(case.app, text, media_type="text/csv")) == [("not_predictable", None, 3)]


def test_the_other_rows_of_a_file_are_predicted(case: Case) -> None:
    text = f'id,income\n1,{case.good}\n\n2,{case.bad}\n"3\n",{case.bad}\n4,x\n5,{case.good}\n'
    answer = json.loads(ask(case.app, text, "/predict_file", "text/csv").body)
    alone = json.loads(ask(case.app, json.dumps({"income": case.good})).body)["prediction"]
    assert answer["predictions"] == pytest.approx([alone, None, None, None, alone])
    assert [(each["line"], each["code"]) for each in answer["rejected"]] == [
        (4, "not_predictable"),
        (5, "not_predictable"),
        (7, "not_a_number"),
    ]
    joined = ask(case.app, text, "/predict_file", "text/csv", accept="text/csv")
    assert joined.headers["x-rows-rejected"] == "3"
    found = list(csv.DictReader(io.StringIO(joined.body.decode(), newline="")))
    assert [row["prediction"] != "" for row in found] == [True, False, False, False, True]


@pytest.mark.parametrize("name", ["folded", "swept", "walked", "quoted"])
def test_every_row_of_a_batch_is_predicted_or_rejected(case: Case, name: str, tmp_path: Path) -> None:
    good, bad = f"{case.good},yes", f"{case.bad},no"
    if name == "walked":
        lines = [good, bad, good]
    else:
        lines = [
            f"{case.good + (0 if name == 'folded' else each % 5000 / 100)},yes" if each % 1000 else bad
            for each in range(20_000)
        ]
    quoted = '"a ""note""", ' if name == "quoted" else "note, "
    (tmp_path / "in.csv").write_text(
        "\n".join(["note,income,word", *(quoted[:-1] + each for each in lines), ""])
    )
    scored = Batch(case.model, Settings(workers=2), Storage()).score(
        Location.parse(str(tmp_path / "in.csv")), Location.parse(str(tmp_path / "out"))
    )
    assert scored.summary is not None
    wrong = [place + 2 for place, line in enumerate(lines) if line == bad]
    assert scored.summary["rejects"] == {"not_predictable": len(wrong)}
    assert scored.summary["rows"]["read"] == len(lines)
    with (tmp_path / "out" / "rejected.csv").open(newline="") as file:
        rejected = list(csv.DictReader(file))
    assert [int(each["line"]) for each in rejected] == wrong
    assert {each["row"] for each in rejected} == {quoted[:-1] + bad}
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        predicted = list(csv.DictReader(file))
    assert len(predicted) == len(lines) - len(wrong)
    assert {each["word"] for each in predicted} == {"yes"}
    assert all(each["prediction"] not in ("", "inf", "nan") for each in predicted)


class Touchy:
    """A scorer of one number that raises where one is negative, and gives the others back."""

    def __init__(self) -> None:
        self.calls = 0

    def score(self, columns: Any) -> Scores:
        self.calls += 1
        values = columns["x"]
        with models_code():
            if (values < 0).any():
                raise ValueError("negative")
        return Scores(values, None)


MANIFEST = Manifest(
    name="touchy", version="0", created="", task="regression", features=(Feature("x", "number"),),
    target="y", classes=(), metrics={}, runtime="joblib", parity={}, libraries={}, training={}, files={},
    golden=(),
)  # fmt: skip


def test_what_a_model_raises_is_logged_once_by_type_and_place(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "_logged", set())
    telemetry.configure(Settings())
    for _ in range(3):
        Model.of(MANIFEST, Touchy()).attempt({"x": np.array([-5.0])})
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["error"] for line in lines] == ["ValueError"]
    assert "-5" not in str(lines)
    assert "negative" not in str(lines)


@given(st.lists(st.sampled_from([1.0, 2.0, -1.0, np.inf, -np.inf, np.nan]), max_size=40))
def test_the_rows_on_which_a_model_fails_are_found_by_halving(values: list[float]) -> None:
    scorer = Touchy()
    scores, sound = Model.of(MANIFEST, scorer).attempt({"x": np.array(values)})
    assert sound.tolist() == [value > 0 and np.isfinite(value) for value in values]
    assert scores.values.tolist() == [value for value in values if value in (1.0, 2.0)]
    assert scorer.calls <= max(1, 2 * len(values) - 1)


def test_a_single_bad_row_costs_a_few_calls_more() -> None:
    scorer = Touchy()
    values = np.ones(1 << 16)
    values[12_345] = -1
    _, sound = Model.of(MANIFEST, scorer).attempt({"x": values})
    assert np.flatnonzero(~sound).tolist() == [12_345]
    assert scorer.calls == 2 * 16 + 1


class Overflowing:
    """An engine of one row whose arithmetic overflows beyond 100."""

    def run(self, record: Any) -> tuple[float, None, None]:
        return (float("inf") if record[0] > 1000 else 10.0 ** (record[0] * 10)), None, None


@pytest.mark.parametrize("value", [100.0, 1e4])
def test_the_engine_of_one_row_keeps_the_same_rule(value: float) -> None:
    engine: Any = Overflowing()
    model = Model.of(MANIFEST, RowByRow(engine, MANIFEST.contract), engine)
    with pytest.raises(InvalidRecords, match="not a finite number"):
        model.predict_one((value,))
    with pytest.raises(InvalidRecords) as caught:
        model.predict([(1.0,), (value,)])
    assert [each.record for each in caught.value.problems] == [1]
    assert list(model.added([(value,), (0.0,)])) == [None, (0, [1.0])]
    assert model.attempt({"x": np.array([value, 0.0])})[1].tolist() == [False, True]
