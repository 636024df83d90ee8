"""What training prints at its end is typed as it stands; and what scripts read of it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from handler.bundle import Bundle
from tests.support.bundles import mixed_rows
from training.report.next_steps import next_steps

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without a checkout, whose name has a blank."""
    folder = tmp_path / "my work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("MODEL_DIR", raising=False)
    mixed_rows(600).drop(columns="price").to_csv("my offers.csv", index=False)
    return folder


TRAIN = ("-m", "training", "--data", "my offers.csv", "--target", "class", "--out", "it's a model")


def python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True)


@pytest.mark.slow
def test_the_next_steps_can_be_typed_as_they_stand(here: Path) -> None:
    done = python(*TRAIN)
    assert done.returncode == 0, done.stderr
    steps = dict(re.findall(r"^  # (\w+).*\n  (.*)$", done.stdout.partition("\nnext:\n")[2], re.M))
    assert list(steps) == ["serve", "predict", "score", "build", "run"]
    for verb, told in (("predict", '{"prediction": "'), ("score", "my offers.csv: 600 rows, 600 scored")):
        typed = subprocess.run(steps[verb], shell=True, capture_output=True, text=True)
        assert typed.stdout.startswith(told), (steps[verb], typed.stderr)
    assert steps["build"] == f"make images MODEL='{here}/it'\"'\"'s a model'"
    numbers = re.findall(r"^(\d)/(\d) ", done.stdout, re.M)
    assert numbers == [(str(step), "8") for step in range(1, 9)]


@pytest.mark.slow
def test_json_and_quiet_of_training(here: Path) -> None:
    done = python(*TRAIN, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    manifest = Bundle.open(here / "it's a model").manifest
    assert result["bundle"] == "it's a model"
    assert result["model"] == manifest.identity
    assert result["metrics"] == json.loads(json.dumps(dict(manifest.metrics)))
    assert "1/8 reading my offers.csv" in done.stderr
    done = python(*TRAIN, "--quiet")
    assert done.stdout == f"bundle: it's a model, model my_offers version {manifest.version}\n"
    assert done.stderr == ""


def test_the_steps_are_those_of_the_place(bundle_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = Bundle.open(bundle_dir).manifest
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PORT", "8123")
    for out, variable, flag in (
        ("handler/model", "", ""),
        ("build/x", " MODEL=build/x", " --model build/x"),
    ):
        text = next_steps(manifest, Path(out), Path("f.csv"))
        assert "  # serve it on http://localhost:8123/\n" in text
        assert f"  make serve{variable}\n" in text
        assert f"  make images{variable}\n" in text
        assert f" -m handler score{flag} f.csv\n" in text
        assert " -p 8123:8080 sklearn-function:cloudrun" in text
    synthetic = manifest._replace(training={**manifest.training, "synthetic": True})
    assert "  make images SYNTHETIC=1\n" in next_steps(synthetic, Path("handler/model"))
    monkeypatch.chdir(os.sep)
    monkeypatch.setattr("sys.argv", ["/usr/bin/sklearn-function"])
    text = next_steps(manifest, Path("build/x"))
    assert "  sklearn-function serve --model build/x\n" in text
    assert "in a checkout of sklearn-function\n  make images MODEL=/build/x\n" in text
