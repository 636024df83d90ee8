"""Pipelines that have names, and those of one's own."""

from __future__ import annotations

import collections
import sys
from pathlib import Path

import pytest

from handler.manifest import Feature
from handler.scoring.checking import differences
from handler.scoring.model import Model
from tests.support.bundles import OFFERS, Run, mixed_rows, offers, small
from training import pipelines
from training.__main__ import main
from training.data import targets


@pytest.mark.slow
def test_a_pipeline_decides_the_task(run: Run) -> None:
    assert run(small()).task == "binary"
    assert run(small(), "--pipeline", "linear").task == "regression"


@pytest.mark.slow
def test_a_pipeline_beside_the_data(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_pipeline.py").write_text(
        "from sklearn.linear_model import LogisticRegression\n"
        "def build(features):\n"
        "    assert [each.name for each in features] == ['a']\n"
        "    return LogisticRegression()\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", sys.path.copy())  # since main adds the folder
    assert run(small(), "--pipeline", "own_pipeline:build").training["pipeline"] == "own_pipeline:build"


NAMES = (
    "decision_tree",
    "random_forest",
    "extra_trees",
    "gradient_boosting",
    "hist_gradient_boosting",
    "mlp",
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "target"),
    [
        *((name, target) for name in NAMES for target in ("class", "price")),
        *((name, "class") for name in ("logistic", "naive_bayes", "svc")),
        *((name, "price") for name in ("linear", "ridge", "lasso")),
    ],
)
def test_every_pipeline_by_name_is_served(name: str, target: str, tmp_path: Path) -> None:
    other = "price" if target == "class" else "class"
    arguments = ["--data", offers(tmp_path), "--target", target, "--drop", other, "--id", "customer"]
    assert main([*arguments, "--pipeline", name, "--out", str(tmp_path / "model")]) == 0
    model = Model.load(tmp_path / "model")
    assert model.manifest.engines == {"one": "scalar", "many": "onnx"}
    chance = max(collections.Counter(mixed_rows(900)["class"]).values()) / 900
    assert model.manifest.metrics.get("accuracy", 1) > chance
    assert model.manifest.metrics.get("r2", 1) > 0.5
    assert differences(model) == []


@pytest.mark.parametrize("name", ["fitted_already", "fitted_steps"])
def test_a_fitted_estimator_is_to_be_packaged_and_not_fitted_again(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", offers(tmp_path), *OFFERS, "--id", "customer", "--out", str(tmp_path / "model")]
    assert main([*arguments, "--pipeline", f"tests.support.pipelines:{name}"]) == 2
    message = capsys.readouterr().err
    assert "that is fitted already, and training would fit it again" in message
    assert "python -m training package MODEL --sample CSV" in message
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["bare", "of_frozen", "with_a_fitted_step", "around_frozen"])
def test_an_estimator_that_has_something_to_learn_is_fitted(name: str) -> None:
    choice = pipelines.choose(f"tests.support.pipelines:{name}", (), classifies=True)
    assert choice.classifies


def test_the_list_of_names_is_tested_and_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    without_target = {"isolation_forest", "kmeans"}  # see test_unsupervised.py
    listed = {*NAMES, "logistic", "naive_bayes", "svc", "linear", "ridge", "lasso", *without_target}
    assert listed == set(pipelines.NAMED)
    assert main(["--data", offers(tmp_path), *OFFERS, "--id", "customer", "--pipeline", "forest"]) == 2
    assert set(capsys.readouterr().err.replace(",", " ").split()) >= listed


def test_what_each_pipeline_fits_is_known_before_scikit_learn_is_loaded() -> None:
    groups = (targets.CLASSIFIERS, targets.REGRESSORS, targets.EITHER, targets.WITHOUT_TARGET)
    assert sorted(each for group in groups for each in group) == sorted(pipelines.NAMED)
    features = (Feature("a", "number", minimum=0.0, maximum=1.0),)
    for name in pipelines.NAMED:
        fits = [pipelines.choose(name, features, classifies=each).classifies for each in (False, True)]
        known = [name in targets.CLASSIFIERS, name in targets.CLASSIFIERS | targets.EITHER]
        assert fits == known
        without = pipelines.choose(name, features).unsupervised
        assert without == (name in targets.WITHOUT_TARGET)
