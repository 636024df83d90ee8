"""``pip install``: a wheel is built and installed, and its script works in a folder without a checkout."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest

from handler import __version__
from tests.support.serving import serve
from training.__main__ import command
from training.data import sample

ROOT = Path(__file__).resolve().parents[1]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
PACKAGES = ("handler", "training")
#: What a checkout may hold of the machine's own: a wheel is for every platform.
STRAYS = ("handler/model/model.json", "handler/kernel/libkernel.so", "handler/kernel/libkernel.so.from")
VERBS = (
    *("train", "package", "predict", "explain", "score", "plan", "invoke"),
    *("check", "drift", "compare", "evaluate", "sign", "serve"),
)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("hatchling") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("hatchling is missing: make test installs it")
        pytest.skip("hatchling is missing")
    folder = tmp_path_factory.mktemp("wheel")
    sources = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, sources)
    for name in PACKAGES:
        shutil.copytree(
            ROOT / name, sources / name, ignore=shutil.ignore_patterns("model", "libkernel.so*")
        )
    for name in STRAYS:
        (sources / name).parent.mkdir(exist_ok=True)
        (sources / name).write_text("stray")
    subprocess.run(
        [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, sources],
        check=True,
    )
    (file,) = folder.iterdir()
    return file


def test_a_wheel_has_both_packages_and_neither_a_model_nor_what_was_compiled(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    sources = {
        file.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file()
        and "__pycache__" not in file.parts
        and (ROOT / "handler" / "model") not in file.parents
        and not file.name.startswith("libkernel.so")
    }
    assert {f"handler/web/{folder}/index.html" for folder in ("swagger", "page")} < sources
    assert "handler/kernel/trees.c" in sources
    assert held == sources


@pytest.mark.slow
def test_the_installed_script_trains_predicts_scores_checks_and_serves(wheel: Path, tmp_path: Path) -> None:
    """The locked libraries are lent to the new environment; only the wheel is installed into it."""
    home, here = tmp_path / "venv", tmp_path / "here"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / "bin" / "python"
    subprocess.run([*PIP, "--python", python, "install", "--no-deps", "--no-index", wheel], check=True)
    (site,) = (home / "lib").glob("python*/site-packages")
    (site / "lent.pth").write_text(sysconfig.get_path("purelib"))
    here.mkdir()
    sample.rows(555, rows=2_000, converted=65).to_csv(here / "sales.csv", index=False)
    unset = ("MODEL_DIR", "PYTHONPATH", "PORT")
    environ = {name: value for name, value in os.environ.items() if name not in unset}
    script = home / "bin" / "sklearn-function"

    def run(*words: str) -> str:
        done = subprocess.run([script, *words], cwd=here, env=environ, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert run("--version") == f"sklearn-function {__version__}\n"
    run("train", "--data", "sales.csv")
    assert (here / "handler" / "model" / "model.json").is_file()
    record = ("age=45", "new_user=0", "total_pages_visited=5")
    assert json.loads(run("predict", *record))["prediction"] == 0
    assert "2,000 rows, 2,000 scored" in run("score", "sales.csv", "--output", "out")
    assert "all reproduced" in run("check")
    (here / "handler").rename(here / "moved")
    assert "all reproduced" in run("check", "--model", "moved/model")

    with serve(here / "moved" / "model", [script, "serve"], here) as base:
        for route, text in (("/healthz", b'"name": "sales"'), ("/apidocs", b"swagger-ui")):
            with urllib.request.urlopen(base + route, timeout=10) as answer:
                assert text in answer.read()


def test_the_script_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command(["--help"])
    listed = dict(re.findall(r"^    (\w+) +(\w.*)$", capsys.readouterr().out, re.M))
    assert tuple(listed) == VERBS


@pytest.mark.parametrize("by_flag", [True, False])
def test_training_writes_where_the_bundle_is_named(
    by_flag: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that holds something else is refused, by its name, before anything is trained."""
    named = tmp_path / "notes"
    named.mkdir()
    (named / "note.txt").write_text("mine")
    monkeypatch.setenv("MODEL_DIR", str(tmp_path / "elsewhere" if by_flag else named))
    assert command(["train", *(["--model", str(named)] if by_flag else [])]) == 2
    assert f"{named} " in capsys.readouterr().err


def test_every_program_prints_the_one_version() -> None:
    for module in ("handler", "training"):
        done = subprocess.run(
            [sys.executable, "-m", module, "--version"],
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stdout == f"sklearn-function {__version__}\n"


def names(requirements: list[str]) -> set[str]:
    """Distributions by their names, with the markers that they are needed under."""
    return {re.sub(r"\s|[<>=]=?[\d.]+(?=$|;)", "", each).replace("'", '"') for each in requirements}


def test_pyproject_asks_for_what_the_locks_are_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def wanted(file: str) -> set[str]:
        lines = (ROOT / "requirements" / file).read_text(encoding="utf-8").splitlines()
        return names([line for line in lines if line and not line.startswith(("#", "-"))])

    extras = {name: names(each) for name, each in project["optional-dependencies"].items()}
    assert names(project["dependencies"]) == wanted("serve.in")
    assert extras["cloudrun"] == wanted("cloudrun.in")
    assert extras["lambda"] == wanted("lambda.in")
    assert extras["joblib"] == wanted("joblib.in")
    assert extras["training"] == wanted("train.in") | {"sklearn-function[cloudrun,joblib]"}
