"""How the zip of the request function and Lambda's image start: from one file, or else by import."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from _imp import source_hash
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from handler.app import App
from handler.bundle import Bundle
from handler.errors import BundleError
from handler.manifest import MANIFEST, SCALAR, SIGNATURE, content_version
from handler.scoring.model import Model
from handler.settings import Settings
from handler.signing import sign
from tests.support.folders import answers, event, image, unpacked

ROOT = Path(__file__).resolve().parents[1]


REQUESTS = (
    "alb", "apigateway-v1", "apigateway-v2", "direct", "direct-instances", "function-url", "vpc-lattice-v2",
)  # fmt: skip
UPLOAD = {
    "version": "2.0",
    "rawPath": "/predict_file",
    "rawQueryString": "",
    "headers": {"content-type": "text/csv"},
    "body": "age,new_user,total_pages_visited\n45,0,5\n~,0,5\n",
    "requestContext": {"http": {"method": "POST"}},
}


@pytest.fixture(scope="module", params=[unpacked, image], ids=["zip", "image"])
def task(
    request: pytest.FixtureRequest, bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    folder: Path = request.param(bundle_dir, tmp_path_factory.mktemp("start"))
    return folder


#: What ``start.bin`` may be beside what it was packed as; None: it is missing.
UNREADABLE = {
    "missing": None,
    "of another Python": lambda content: b"\0\0\r\n" + content[4:],
    "empty": lambda content: b"",  # noqa: ARG005
    "cut off": lambda content: content[: len(content) // 2],
}


@pytest.mark.parametrize("change", UNREADABLE.values(), ids=UNREADABLE)
def test_where_the_start_cannot_be_read_import_serves(
    change: Callable[[bytes], bytes] | None, task: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(task, tmp_path / "task")
    start = copy / "handler" / "start.bin"
    if change is None:
        start.unlink()
    else:
        start.write_bytes(change(start.read_bytes()))
    events = [*map(event, REQUESTS), UPLOAD, {"unknown": 1}, event("s3-put")]
    env = {"INPUT_URI": "s3://example-input", "OUTPUT_URI": "s3://example-output"}
    assert answers(copy, events, **env) == answers(task, events, **env)
    model = copy / "handler" / "model" / "model.json"
    model.write_bytes(model.read_bytes().replace(b"0.", b"1.", 1))
    assert "was changed after training" in answers(copy, [event("direct")])[0]["errorMessage"]


def printed(task: Path, script: str, **env: str) -> Any:
    """What a script prints as JSON that imports the handler out of a folder."""
    code = f"import json, sys\nsys.path.insert(0, sys.argv[1])\n{script}"
    done = subprocess.run(
        [sys.executable, "-S", "-I", "-c", code, task],
        cwd=task,
        env={"LOG_LEVEL": "ERROR", **env},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


FIRST = """
import handler
packed = {name for name in sys.modules if name.startswith("handler.")}
from handler.app import lambda_handler
for event in json.loads(EVENTS):
    lambda_handler(event, None)
print(json.dumps(sorted({name for name in sys.modules if name.startswith("handler.")} - packed)))
"""


def test_a_first_prediction_imports_no_more_than_the_start_loads(task: Path) -> None:
    events = [event(name) for name in ("apigateway-v2", "direct")]
    assert printed(task, FIRST.replace("EVENTS", repr(json.dumps(events)))) == []


DESCRIBED = """
import importlib.machinery, handler
from pathlib import Path
described = {}
names = NAMES or [each for each in sys.modules if each.startswith("handler.")]
for name, module in zip(names, [importlib.import_module(name) for name in names]):
    spec, path = module.__spec__, getattr(module, "__path__", None)
    assert spec.loader is module.__loader__
    assert isinstance(spec.loader, importlib.machinery.SourceFileLoader)
    assert spec.loader.get_source(name) == Path(module.__file__).read_text()
    parent, _, own = name.rpartition(".")
    assert getattr(sys.modules[parent], own) is module
    described[name] = [
        module.__name__, module.__file__, module.__package__, path and [*path], spec.name, spec.origin,
        spec.has_location, spec.parent, spec.cached, path and [*spec.submodule_search_locations],
        spec.loader.name, spec.loader.path, sorted(vars(module).keys() - {"__cached__", "__annotations__"}),
    ]
print(json.dumps(described).replace(sys.argv[1], "/var/task"))
"""


def test_modules_of_the_start_are_described_as_imported_ones(task: Path, tmp_path: Path) -> None:
    """But for ``__cached__``, which Python gives up, and the annotations of a module's own names."""
    given = printed(task, DESCRIBED.replace("NAMES", "None"))
    assert len(given) > 20
    copy = shutil.copytree(task, tmp_path / "task")
    (copy / "handler" / "start.bin").unlink()
    assert printed(copy, DESCRIBED.replace("NAMES", repr([*given]))) == given


#: Every stand-in of ``start.bin``: its module, its qualified name and the function.
STAND_INS = """
import operator, types, handler

def waiting():
    for name, module in [*sys.modules.items()]:
        if name.startswith("handler."):
            for own_name, code in handler.codes_of(module.__loader__.get_code(name)):
                try:
                    found = operator.attrgetter(own_name)(module)
                except AttributeError:  # what a function or a class body has of its own
                    continue
                if isinstance(found, types.FunctionType) and "wake" in found.__code__.co_names:
                    yield name, own_name, found, code
"""
WOKEN = """
import inspect
named = []
for name, own_name, function, code in waiting():
    before, signature = function.__code__, str(inspect.signature(function))
    assert sys.modules[name].__loader__.wake(function) is function
    assert function.__code__ == code != before
    assert before.co_filename == f"{PLACE}/{name.replace('.', '/')}.py"
    assert function.__code__.co_filename == sys.modules[name].__file__
    assert str(inspect.signature(function)) == signature
    named.append(f"{name}.{own_name}")
assert not [*waiting()]
print(json.dumps(named))
"""


def test_every_stand_in_becomes_the_function_of_its_module(task: Path) -> None:
    place = "/var/task" if task.name == "task" else str(task)
    woken = printed(task, STAND_INS + WOKEN.replace("{PLACE}", place))
    assert len(woken) > 30
    assert "handler.manifest.content_version" in woken
    assert "handler.app.App.handle" not in woken  # a prediction calls it


THREADS = """
import threading
from handler.manifest import content_version as function
assert "wake" in function.__code__.co_names
document = {"format": 1, "files": {}, "features": [], "task": "binary", "classes": [0, 1], "target": ""}
ready, said = threading.Barrier(8), []
def call():
    ready.wait()
    said.append(function(document))
threads = [threading.Thread(target=call) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(json.dumps([len(said), sorted(set(said)), "wake" in function.__code__.co_names]))
"""


def test_threads_that_wake_the_same_function_all_get_its_answer(task: Path) -> None:
    count, said, waits = printed(task, THREADS)
    assert (count, waits) == (8, False)
    document = {"format": 1, "files": {}, "features": [], "task": "binary", "classes": [0, 1], "target": ""}
    assert said == [content_version(document)]


BUG = """
import traceback
from handler.manifest import content_version
try:
    content_version({"files": {}})
except Exception as error:
    frame = traceback.extract_tb(error.__traceback__)[-1]
print(json.dumps([frame.filename, frame.name, frame.lineno]))
"""


def test_a_bug_in_a_stand_in_is_traced_to_its_file_and_line(task: Path) -> None:
    filename, name, line = printed(task, BUG)
    assert (filename, name) == (str(task / "handler" / "manifest.py"), "content_version")
    assert 'document["format"]' in (ROOT / "handler" / "manifest.py").read_text().splitlines()[line - 1]


STARTED = """
import os
try:
    import handler.app
except Exception as error:
    said = [type(error).__module__, type(error).__name__, str(error), type(error.__context__).__name__]
print(json.dumps([said, sorted(name for name in sys.modules if name.startswith("handler"))]))
"""


@pytest.mark.parametrize("name", ["model.json", "model.scalar"])
def test_a_start_that_fails_raises_its_error_as_import_does(task: Path, tmp_path: Path, name: str) -> None:
    """The module that failed is not among the loaded ones, and those that it imported are."""
    copy = shutil.copytree(task, tmp_path / "task")
    path = copy / "handler" / "model" / name
    path.write_bytes(path.read_bytes().replace(b"0.", b"1.", 1))
    given = printed(copy, STARTED, AWS_LAMBDA_RUNTIME_API="localhost")
    (copy / "handler" / "start.bin").unlink()
    known = printed(copy, STARTED, AWS_LAMBDA_RUNTIME_API="localhost")
    assert given[0] == known[0]
    assert given[0][:2] == ["handler.errors", "BundleError"]
    assert "handler.app" not in given[1]
    assert set(given[1]) >= set(known[1]) - {"handler.manifest_rules"}  # checked when it was packed


@pytest.mark.parametrize("name", ["model.json", "model.scalar"])
def test_a_file_that_was_changed_is_not_loaded(task: Path, tmp_path: Path, name: str) -> None:
    copy = shutil.copytree(task, tmp_path / "task")
    path = copy / "handler" / "model" / name
    path.write_bytes(path.read_bytes().replace(b"0.", b"1.", 1))
    (answer,) = answers(copy, [event("direct")])
    assert answer["errorType"] == "BundleError"
    assert "was changed after training" in answer["errorMessage"]


@pytest.fixture
def packed(bundle_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of which ``PACKED`` takes another program for the one that it was packed with."""
    folder = shutil.copytree(bundle_dir, tmp_path / "model")
    manifest = Bundle.open(folder).manifest
    forged = (folder / SCALAR).read_bytes().replace(b"0.", b"1.", 1)
    (folder / SCALAR).write_bytes(forged)
    files = {
        MANIFEST: (source_hash(0, (folder / MANIFEST).read_bytes()), manifest.packed()),
        SCALAR: (source_hash(0, forged), manifest.files[SCALAR]),
    }
    monkeypatch.setattr("handler.manifest.PACKED", files)
    return folder


def test_what_was_packed_is_compared_by_the_fast_hash(packed: Path, bundle_dir: Path) -> None:
    bundle = Bundle.open(packed)
    assert bundle.packed
    assert bundle.manifest == Bundle.open(bundle_dir).manifest
    assert bundle.read(SCALAR) == (packed / SCALAR).read_bytes()


def test_a_signed_bundle_is_verified_by_sha256_alone(packed: Path, tmp_path: Path) -> None:
    """The fast hash finds what was changed by accident, not who makes a file that has it."""
    private, key = tmp_path / "key.pem", Ed25519PrivateKey.generate()
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (packed / SIGNATURE).write_bytes(sign(private, (packed / MANIFEST).read_bytes()))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    bundle = Bundle.open(packed, public.decode())
    assert not bundle.packed
    with pytest.raises(BundleError, match="was changed after training"):
        bundle.read(SCALAR)


def test_an_image_serves_the_bundle_that_is_put_in_the_place_of_its_own(
    bundle_dir: Path, mixed_dir: Path, tmp_path: Path
) -> None:
    folder = image(bundle_dir, tmp_path)
    shutil.rmtree(folder / "handler" / "model")
    shutil.copytree(mixed_dir, folder / "handler" / "model")
    other = Model.load(mixed_dir)
    record = other.manifest.golden[0]["record"]
    assert answers(folder, [record]) == [App(other, Settings()).handle(record)]


def test_an_image_of_a_model_without_a_one_row_program_starts_by_import(
    joblib_dir: Path, tmp_path: Path
) -> None:
    folder = image(joblib_dir, tmp_path)
    assert not (folder / "handler" / "start.bin").exists()
    package = Path("handler", "__init__.py")
    assert (folder / package).read_text() == (ROOT / package).read_text()
