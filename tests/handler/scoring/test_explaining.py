"""Explanations against definitions, against ``shap``, and against what is served.

The definitions are Lundberg et al.'s, 2018: https://arxiv.org/abs/1802.03888, algorithm 1 for what a tree
expects of a row of which some columns are known.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import jsonschema
import numpy as np
import pandas as pd
import pytest

from handler.__main__ import main
from handler.app import App
from handler.errors import BundleError, NotExplainable
from handler.manifest import EXPLANATION
from handler.schema import Columns
from handler.scoring.estimator import fed
from handler.scoring.explaining_many import Many
from handler.scoring.model import Model
from handler.scoring.row_program import arrays, stored
from handler.scoring.shapley import gauss_legendre
from handler.settings import Settings
from handler.web.messages import Request
from tests.support.bundles import copied, mixed_rows, resealed, trained

JSON_TYPE, CSV_TYPE = {"content-type": "application/json"}, {"content-type": "text/csv"}
BOOSTERS = "tests.support.explained"
#: Each pipeline with the target of ``mixed_rows`` that it predicts.
PIPELINES = {
    "logistic": "class",
    "ridge": "price",
    "decision_tree": "price",
    f"{BOOSTERS}:deep_trees": "garden",
    f"{BOOSTERS}:small_forest": "class",
    f"{BOOSTERS}:whole_trees": "garden",
    f"{BOOSTERS}:native_categories": "price",
    f"{BOOSTERS}:one_hot": "garden",
    f"{BOOSTERS}:xgboost": "class",
    f"{BOOSTERS}:lightgbm": "garden",
    f"{BOOSTERS}:catboost": "price",
}


class Case:
    """A bundle that was trained on ``mixed_rows``, and rows for it."""

    def __init__(self, folder: Path, name: str, target: str) -> None:
        drop = tuple({"class", "price"} - {target})
        pipeline = {"pipeline": name, "target": target, "drop": drop, "seed": 3}
        self.folder = trained(folder, mixed_rows(700), "offers", **pipeline)
        self.model = Model.load(self.folder)
        others = mixed_rows(60, seed=8).drop(
            columns=["class", "price", "garden"] if target == "garden" else ["class", "price"]
        )
        texts = others.astype(object).where(others.notna(), "").astype(str).replace("nan", "")
        self.records = [self.model.schema.from_cells(row) for row in texts.to_dict("records")]
        self.columns: Columns = self.model.schema.columns(self.records)
        self.explainer = self.model.explainer()

    @property
    def outputs(self) -> list[int]:
        """Of each record the output that is explained."""
        if len(self.explainer.base) == 1:
            return [0] * len(self.records)
        return self.model.score(self.records).values.tolist()


#: Those that ``--fast`` explains: a linear model, a tree and a forest.
FAST = ("logistic", "decision_tree", f"{BOOSTERS}:small_forest")


@pytest.fixture(
    scope="module",
    params=[name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in PIPELINES],
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("explained"), request.param, PIPELINES[request.param])


def estimator(case: Case) -> Any:
    return joblib.load(io.BytesIO((case.folder / "model.joblib").read_bytes()))


def steps(case: Case) -> tuple[Any, Any]:
    """The steps before the last one, and that; a vote of one is XGBoost's with encoded classes."""
    fitted = estimator(case)
    last = fitted[-1]
    return fitted[:-1], last.estimators_[0] if hasattr(last, "voting") else last


def raw(case: Case) -> np.ndarray:
    """What the estimator itself gives for each record on the scale of its explanations."""
    rows = fed(case.model.manifest.features, case.columns, case.model.manifest.rows_as)
    before, last = steps(case)
    given = before.transform(rows)
    if case.explainer.of == "probability":
        made = last.predict_proba(given)
    elif type(last).__module__ == "xgboost.sklearn":
        made = last.predict(given, output_margin=True)
    elif type(last).__module__ == "lightgbm.sklearn":
        made = last.predict(given, raw_score=True)
    elif case.explainer.of == "log-odds":
        made = last.decision_function(given) * halves(last)
    else:
        made = last.predict(given)
    made = np.asarray(made, np.float64).reshape(len(case.records), -1)
    if made.shape[1] == 1 or len(case.model.manifest.classes) == 2:
        return made[:, -1]
    return made[np.arange(len(made)), case.outputs]


def halves(model: Any) -> float:
    """How many halves of the log-odds gradient boosting's own sum is, where the loss is exponential."""
    return 2.0 if getattr(model, "loss", "") == "exponential" else 1.0


def test_base_and_contributions_add_up_to_the_models_output(case: Case) -> None:
    """XGBoost itself adds in float32."""
    expected, single = raw(case), "xgboost" in str(case.model.manifest.training["pipeline"])
    for record, output, total in zip(case.records, case.outputs, expected, strict=True):
        added = case.explainer.adds(record, output)
        assert case.explainer.base[output] + math.fsum(added) == pytest.approx(
            total, rel=1e-5 if single else 1e-9, abs=1e-5 if single else 1e-9
        )


def test_many_rows_get_what_single_rows_get(case: Case) -> None:
    indices = np.array(case.model.score(case.records).values.astype(int))
    many = Many(case.explainer).explain(case.columns, indices).T
    single = [case.explainer.adds(*each) for each in zip(case.records, case.outputs, strict=True)]
    np.testing.assert_allclose(many, single, rtol=1e-9, atol=1e-12)


def test_a_row_gets_the_same_bits_whatever_rows_are_beside_it(case: Case) -> None:
    indices = np.array(case.model.score(case.records).values.astype(int))
    many = Many(case.explainer)
    whole = many.explain(case.columns, indices)
    for part in (slice(0, 1), slice(7, 20), slice(20, 60)):
        columns = {name: values[part] for name, values in case.columns.items()}
        np.testing.assert_array_equal(many.explain(columns, indices[part]), whole[:, part])


def test_a_linear_model_adds_its_coefficients_times_the_distances_from_the_means(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": np.arange(200.0), "b": np.arange(200.0)[::-1] % 7})
    frame["y"] = 2 * frame["a"] - 5 * frame["b"] + 1
    model = Model.load(trained(tmp_path, frame, "line", target="y", pipeline="linear"))
    explainer = model.explainer()
    zero, one = explainer.adds((0.0, 0.0), 0), explainer.adds((1.0, 3.0), 0)
    assert np.subtract(one, zero) == pytest.approx([2, -15], abs=1e-9)
    assert explainer.base[0] + sum(zero) == pytest.approx(1, abs=1e-9)


def expected(trees: Any, tree: int, given: Any, known: set[int]) -> float:
    """Lundberg et al.'s algorithm 1: a tree's value where only some columns of a row are known."""

    def weight(node: int) -> float:
        return trees["cover"][~node] if node < 0 else weight(trees["yes"][node]) + weight(trees["no"][node])

    def value(node: int) -> float:
        if node < 0:
            return trees["weights"][0][~node]
        column, yes, no = (trees[key][node] for key in ("feature", "yes", "no"))
        if column in known:
            return value(yes if given[column] <= trees["split"][node] else no)
        return (weight(yes) * value(yes) + weight(no) * value(no)) / (weight(yes) + weight(no))

    return value(trees["roots"][tree])


@pytest.mark.slow
def test_trees_add_shapleys_values_by_their_definition(tmp_path: Path) -> None:
    """Every subset of the columns is gone through, and each weighs |S|! (n - |S| - 1)! / n!."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(300, 5)).round(3), columns=list("abcde"))
    frame["y"] = (frame["a"] * frame["b"] + frame["c"] ** 2 + frame["a"] > 0.5).astype(int)
    model = Model.load(trained(tmp_path, frame, "tree", target="y", pipeline="gradient_boosting"))
    content = model.documents(EXPLANATION)
    line, _, rest = content.partition(b"\n")
    document = json.loads(line)
    large = arrays(document["arrays"], memoryview(rest))
    trees = {name: stored(value, large) for name, value in document["trees"].items()}
    every = range(5)
    for row in frame.drop(columns="y").to_numpy()[:2].tolist():
        wanted = [0.0] * 5
        for tree in range(len(trees["roots"])):
            used = sorted({trees["feature"][node] for node in walk(trees, trees["roots"][tree])})
            count = len(used)
            values = {
                subset: expected(trees, tree, row, set(subset))
                for size in range(count + 1)
                for subset in itertools.combinations(used, size)
            }
            for column in used:
                for subset, without in values.items():
                    if column not in subset:
                        share = math.factorial(len(subset)) * math.factorial(count - len(subset) - 1)
                        with_it = values[tuple(sorted((*subset, column)))]
                        wanted[column] += share / math.factorial(count) * (with_it - without)
        assert model.explainer().adds(row, 0) == pytest.approx(wanted, abs=1e-9)
        assert len(every) == len(wanted)


def walk(trees: Any, node: int) -> Iterator[int]:
    """The branches below a node, itself included."""
    if node >= 0:
        yield node
        yield from walk(trees, trees["yes"][node])
        yield from walk(trees, trees["no"][node])


@pytest.mark.parametrize("count", range(1, 12))
def test_the_integral_of_a_polynomial_is_exact(count: int) -> None:
    for degree in range(2 * count):
        total = sum(weight * point**degree for point, weight in gauss_legendre(count))
        assert total == pytest.approx(1 / (degree + 1), rel=1e-13)


@pytest.mark.filterwarnings("ignore:LightGBM binary classifier")
def test_models_are_explained_as_shap_explains_them(case: Case) -> None:
    """XGBoost's and CatBoost's own libraries stand behind shap here: the first computes in float32."""
    if importlib.util.find_spec("shap") is None and os.environ.get("CI") == "true":
        pytest.fail("shap is missing: make test installs it")
    shap = pytest.importorskip("shap")
    before, last = steps(case)
    if getattr(last, "is_categorical_", None) is not None:
        pytest.skip("shap takes the sets of categories for thresholds")
    given = before.transform(fed(case.model.manifest.features, case.columns, "frame"))
    if hasattr(given, "toarray"):
        given = given.toarray()
    if isinstance(given, pd.DataFrame) and "object" in map(str, given.dtypes):
        pytest.skip("shap does not take texts")
    document = json.loads(case.model.documents(EXPLANATION).partition(b"\n")[0])
    if hasattr(last, "coef_"):
        means = np.array(document["linear"]["means"])
        values = np.asarray(shap.LinearExplainer(last, (means, np.eye(len(means)))).shap_values(given))
    else:
        tree = shap.TreeExplainer(last, feature_perturbation="tree_path_dependent")
        values = np.asarray(tree.shap_values(given, check_additivity=False)) * halves(last)
    if values.ndim == 3 and values.shape[0] == len(given):
        values = np.moveaxis(values, -1, 0)
    if values.ndim == 3:
        binary = len(case.explainer.base) == 1
        values = values[-1] if binary else values[case.outputs, np.arange(len(given))]
    wanted = np.zeros((len(given), len(case.model.manifest.features)))
    for column, group in enumerate(document["groups"]):
        wanted[:, group] += values[:, column]
    single = "xgboost" in type(last).__module__
    made = [case.explainer.adds(*each) for each in zip(case.records, case.outputs, strict=True)]
    np.testing.assert_allclose(made, wanted, rtol=0, atol=1e-4 if single else 1e-9)


def test_the_command_prints_contributions(
    bundle_dir: Path, capsys: pytest.CaptureFixture[str], model: Model
) -> None:
    values = ["age=45", "new_user=0", "total_pages_visited=5"]
    assert main(["explain", *values, "--model", str(bundle_dir)]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert main(["predict", *values, "--model", str(bundle_dir)]) == 0
    contributions = printed.pop("contributions")
    assert printed == json.loads(capsys.readouterr().out)
    assert list(contributions["features"]) == list(model.schema.names)
    assert contributions["of"] == "log-odds"
    assert contributions["class"] == model.manifest.classes[1]
    total = contributions["base"] + sum(contributions["features"].values())
    assert 1 / (1 + math.exp(-total)) == pytest.approx(
        printed["probabilities"][str(contributions["class"])], abs=1e-9
    )


def test_a_model_without_explanations_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = trained(tmp_path, mixed_rows(300), "net", target="price", drop=("class",), pipeline="mlp")
    model = Model.load(folder)
    with pytest.raises(NotExplainable, match="TransformedTargetRegressor is neither"):
        model.explainer()
    assert main(["explain", "x=1", "--model", str(folder)]) == 2
    assert "cannot be explained" in capsys.readouterr().err
    assert model.reasoning(0) == model
    with pytest.raises(NotExplainable):
        model.reasoning(3)


@pytest.mark.slow
def test_a_column_of_several_features_is_not_explained(tmp_path: Path) -> None:
    folder = trained(
        tmp_path, mixed_rows(300), "pca", target="price", drop=("class",), pipeline=f"{BOOSTERS}:components"
    )
    with pytest.raises(NotExplainable, match="makes a column of several features"):
        Model.load(folder).explainer()


def test_a_bundle_of_an_older_release_is_served_and_says_train_again(
    bundle_dir: Path, tmp_path: Path
) -> None:
    def older(document: Any) -> None:
        del document["explanation"], document["files"][EXPLANATION]

    model = Model.load(resealed(bundle_dir, tmp_path / "older", older))
    assert model.predict([model.schema.from_json(model.manifest.golden[0]["record"])])
    with pytest.raises(NotExplainable, match="train it again"):
        model.explainer()


def test_a_changed_file_is_not_read(bundle_dir: Path, tmp_path: Path) -> None:
    folder = copied(bundle_dir, tmp_path / "changed")
    (folder / EXPLANATION).write_bytes(b"{}")
    with pytest.raises(BundleError, match="changed after training"):
        Model.load(folder).explainer()


def test_the_routes_answer_with_contributions(model: Model) -> None:
    app = App(model, Settings())
    query = (("age", "45"), ("new_user", "0"), ("total_pages_visited", "5"))
    one = json.loads(app.handle(Request("GET", "/prod/explain", query)).body)
    assert set(one) == {"prediction", "probabilities", "contributions", "model"}
    record = {"age": 45, "new_user": 0, "total_pages_visited": 5}
    for count in (2, 40):  # one by one, and at once
        body = json.dumps([record] * count).encode()
        many = json.loads(app.handle(Request("POST", "/explain", headers=JSON_TYPE, body=body)).body)
        assert len(many["predictions"]) == count
        for each in many["predictions"]:
            assert each["contributions"] == one["contributions"]
    table = b"age,new_user,total_pages_visited\n45,0,5\n"
    rows = json.loads(app.handle(Request("POST", "/explain", headers=CSV_TYPE, body=table)).body)
    assert rows["predictions"][0]["contributions"] == one["contributions"]
    document = json.loads(app.handle(Request("GET", "/openapi.json")).body)
    schema = {**document["components"]["schemas"]["Explanation"], "components": document["components"]}
    jsonschema.validate(one, schema)


def test_a_route_says_why_there_are_no_explanations(bundle_dir: Path, tmp_path: Path) -> None:
    def change(document: Any) -> None:
        document["explanation"] = {"reason": "KMeans has no target"}
        del document["files"][EXPLANATION]

    model = Model.load(resealed(bundle_dir, tmp_path / "none", change))
    answer = App(model, Settings()).handle(Request("GET", "/explain", (("age", "45"),)))
    assert answer.status == 501
    assert "KMeans has no target" in json.loads(answer.body)["detail"]
    document = json.loads(App(model, Settings()).handle(Request("GET", "/openapi.json")).body)
    assert "/explain" not in document["paths"]


@pytest.mark.parametrize("rows", [40, 3000])
def test_a_batch_names_the_strongest_features_of_each_row(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """A small file is scored row by row, a large one block by block."""
    monkeypatch.setenv("BLOCK_BYTES", "20000")
    target = case.model.manifest.target
    frame = mixed_rows(rows, seed=9).drop(columns=list({"class", "price", target}))
    frame.to_csv(tmp_path / "in.csv", index=False)
    output = tmp_path / "out"
    command = ["score", str(tmp_path / "in.csv"), "--model", str(case.folder), "--output", str(output)]
    monkeypatch.setenv("EXPLAIN", "2")
    assert main([*command, "--quiet"]) == 0
    written = pd.read_csv(output / "in.csv" / "predictions.csv", dtype=str, keep_default_na=False)
    assert list(written)[-4:] == ["reason_1", "reason_1_contribution", "reason_2", "reason_2_contribution"]
    names, outputs = case.model.schema.names, len(case.explainer.base)
    for index in range(0, rows, rows // 20):
        cells = written.iloc[index]
        record = case.model.schema.from_cells({name: cells[name] for name in names})
        classes = [str(each) for each in case.model.manifest.classes]
        explained = classes.index(cells["prediction"]) if outputs > 1 else 0
        added = case.explainer.adds(record, explained)
        for place in (1, 2):
            strongest = sorted(added, key=lambda each: -abs(each))[place - 1]
            assert float(cells[f"reason_{place}_contribution"]) == pytest.approx(strongest, rel=1e-9)
            assert added[names.index(cells[f"reason_{place}"])] == pytest.approx(strongest, rel=1e-9)
    assert json.loads((output / "in.csv" / "summary.json").read_text())["explain"] == 2


def test_other_reasons_are_another_result(
    bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in.csv").write_text("age,new_user,total_pages_visited\n45,0,5\n")
    command = [
        "score",
        str(tmp_path / "in.csv"),
        "--model",
        str(bundle_dir),
        "--output",
        str(tmp_path / "o"),
    ]
    written = tmp_path / "o" / "in.csv" / "predictions.csv"
    for reasons, width in (("", 5), ("2", 9), ("2", 9), ("5", 11), ("", 5)):
        monkeypatch.setenv("EXPLAIN", reasons)
        assert main(command) == 0
        assert len(written.read_text().splitlines()[0].split(",")) == width


def test_a_batch_for_a_model_without_explanations_says_why(
    bundle_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def older(document: Any) -> None:
        del document["explanation"], document["files"][EXPLANATION]

    folder = resealed(bundle_dir, tmp_path / "older", older)
    (tmp_path / "in.csv").write_text("age,new_user,total_pages_visited\n45,0,5\n")
    monkeypatch.setenv("EXPLAIN", "3")
    assert main(["score", str(tmp_path / "in.csv"), "--model", str(folder)]) == 2
    assert "train it again" in capsys.readouterr().err
    assert not (tmp_path / "scored").exists()
