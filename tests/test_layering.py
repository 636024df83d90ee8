"""The claims about what is imported: the layers, and what a cold prediction loads."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: The rooms of the handler, each with its modules, both lowest first: imports point to what stands before.
ROOMS: dict[str, tuple[str, ...]] = {
    "": (
        "typed",
        "plain",
        "errors",
        "faults",
        "interrupts",
        "terminal",
        "settings",
        "telemetry",
        "signing",
        "spelling",
        "manifest",
        "manifest_rules",
        "bundle",
        "categories",
        "dates",
        "schema",
        "charts",
        "rendering",
    ),
    "kernel": ("compiled",),
    "storage": ("locations", "deadline", "buckets", "folders", "storage"),
    "tables": (
        "errors",
        "compression",
        "encodings",
        "rows",
        "series",
        "cells",
        "records",
        "ranges",
        "header",
        "regular",
        "sweeping",
        "reading",
        "writing",
        "formats",
    ),
    "scoring": (
        "texts",
        "words",
        "trees",
        "row_program",
        "shapley",
        "explaining",
        "scorers",
        "graph",
        "estimator",
        "explaining_many",
        "explanations",
        "outputs",
        "agreement",
        "metrics",
        "model",
        "checking",
        "table",
    ),
    "batch": (
        "progress",
        "naming",
        "parts",
        "job",
        "drift",
        "folding",
        "blocks",
        "goals",
        "run",
        "inputs",
        "many",
        "split",
    ),
    "review": (
        "history",
        "measure",
        "differences",
        "comparison",
        "changes",
        "sources",
        "truths",
        "evaluation",
    ),
    "web": (
        "messages",
        "lists",
        "predictions",
        "json_schema",
        "feature_schema",
        "components",
        "openapi",
        "pages",
        "api",
    ),
    "events": ("jobs", "objects", "http", "envelopes"),
    "on top": ("snapshot", "capture", "app", "server"),
    "commands": ("common", "rows", "files", "review", "bundles", "serving"),
    "the command line": ("__main__",),
}
#: Those whose modules are in no folder of their own.
WITHOUT_FOLDER = ("", "on top", "the command line")
LAYERS = tuple(
    name if room in WITHOUT_FOLDER else f"{room}.{name}" for room, names in ROOMS.items() for name in names
)
#: Modules for many rows that are all numpy.
OF_NUMPY = {"scoring.explaining_many"}
HEAVY = {
    "sklearn",
    "pandas",
    "joblib",
    "scipy",
    "boto3",
    "polars",
    "numpy",
    "onnxruntime",
    "obstore",
    "flask",
}
#: What training may use of the handler: what it proves, and the tables, so that a file has one reading.
FROM_HANDLER = (
    "handler.manifest", "handler.bundle", "handler.categories", "handler.dates", "handler.schema",
    "handler.spelling", "handler.errors", "handler.scoring", "handler.tables", "handler.terminal",
    "handler.charts", "handler.rendering",
)  # fmt: skip
#: The installed script has the commands of both packages, and the handler must not import training.
JOINS = {"__main__": ("handler.__main__", "handler.__version__", "handler.interrupts")}


def imports(path: Path, top_only: bool = False) -> set[str]:
    """The modules that a file imports, anywhere or at its top."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_only else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules(package: str) -> dict[str, Path]:
    """The modules of a package at all levels, by their dotted names below it."""
    root = ROOT / package
    return {
        ".".join(path.relative_to(root).with_suffix("").parts): path
        for path in root.rglob("*.py")
        if path.stem != "__init__"
    }


def test_every_module_of_the_handler_has_its_layer() -> None:
    assert set(modules("handler")) == set(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_imports_only_point_down(name: str) -> None:
    above = LAYERS[LAYERS.index(name) :]
    wrong = {f"handler.{each}" for each in above} & imports(modules("handler")[name])
    assert not wrong


def test_the_handler_never_imports_training() -> None:
    for path in modules("handler").values():
        assert not {each for each in imports(path) if each.split(".")[0] == "training"}, path


def test_training_imports_only_what_it_proves() -> None:
    for name, path in modules("training").items():
        used = {each for each in imports(path) if each.startswith("handler.")}
        assert not {each for each in used if not each.startswith((*FROM_HANDLER, *JOINS.get(name, ())))}, (
            path
        )


def test_no_test_module_imports_another() -> None:
    """What tests share is in ``tests.support`` and in the fixtures of conftest."""
    for path in (ROOT / "tests").rglob("*.py"):
        shared = {each for each in imports(path) if each.split(".")[0] == "tests" and each != "tests"}
        assert not {each for each in shared if not each.startswith("tests.support")}, path


def test_no_heavy_library_is_imported_at_the_top_of_a_module() -> None:
    """But in those that are all numpy, which no other module imports at its top."""
    for name, path in modules("handler").items():
        found = imports(path, top_only=True)
        libraries = {each.split(".")[0] for each in found} & HEAVY
        assert libraries == ({"numpy"} if name in OF_NUMPY else set()), path
        assert not found & {f"handler.{each}" for each in OF_NUMPY}, path


def loaded(code: str, model_dir: Path) -> set[str]:
    """The top-level modules that a fresh interpreter has loaded after ``code``."""
    script = (
        f"import json, sys\n{code}\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={"MODEL_DIR": str(model_dir), "PATH": "", "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout))


PREDICT = """
from handler.app import lambda_handler
event = {"version": "2.0", "rawPath": "/predict", "headers": {},
         "rawQueryString": "age=45&new_user=0&total_pages_visited=5",
         "requestContext": {"http": {"method": "GET"}}}
assert lambda_handler(event, None)["statusCode"] == 200
"""
SMALL_FILE = """
from handler.app import lambda_handler
event = {"version": "2.0", "rawPath": "/predict_file", "rawQueryString": "",
         "headers": {"content-type": "text/csv"},
         "body": "age,new_user,total_pages_visited\\n45,0,5\\n",
         "requestContext": {"http": {"method": "POST"}}}
assert lambda_handler(event, None)["statusCode"] == 200
"""


@pytest.mark.parametrize("code", [PREDICT, SMALL_FILE])
def test_a_first_answer_loads_neither_scikit_learn_nor_pandas_nor_polars(
    code: str, bundle_dir: Path
) -> None:
    assert not loaded(code, bundle_dir) & {
        "sklearn",
        "pandas",
        "polars",
        "joblib",
        "scipy",
        "obstore",
        "boto3",
    }


@pytest.mark.slow
def test_a_joblib_bundle_is_what_loads_scikit_learn(joblib_dir: Path) -> None:
    assert "sklearn" in loaded(PREDICT, joblib_dir)
