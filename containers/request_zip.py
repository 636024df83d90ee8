"""The request function as a zip for AWS Lambda's own Python runtime: no library, no image.

    python -m containers.request_zip MODEL_DIR [RUNTIME]

It holds the handler's request path, the one module of others that this needs (it reads forms), the bundle's
manifest and one-row program, and the pages; ``first_answer.py`` adds what makes it start faster. What needs
numpy or onnxruntime stays in the images: files in buckets, and models without a one-row program. The same
files and the same Python make the same bytes.

https://docs.aws.amazon.com/lambda/latest/dg/python-package.html
"""

from __future__ import annotations

import ast
import importlib.metadata as metadata
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from containers import needs
from handler.bundle import Bundle
from handler.errors import BundleError
from handler.manifest import DOCUMENTS, EXPLANATION, MANIFEST, SCALAR, SIGNATURE

ROOT = Path(__file__).resolve().parent.parent
#: Where the handler's imports are followed from; the second one checks what was packed.
WANTED = ("handler.app", "handler.scoring.checking")
#: What requests do not need of what these import: batch, its storage, and what has libraries.
LEFT_OUT = (
    "handler.batch", "handler.categories", "handler.kernel", "handler.scoring.estimator",
    "handler.scoring.explaining_many", "handler.scoring.graph", "handler.scoring.trees",
    "handler.scoring.words", "handler.signing", "handler.storage.buckets",
    "handler.storage.deadline", "handler.storage.storage", "handler.tables.cells",
    "handler.tables.regular", "handler.tables.series", "handler.tables.sweeping",
)  # fmt: skip
#: The pages' own files.
ASSETS = ("web/page", "web/swagger")
#: What the zip's ``handler/__init__.py`` ends with, and the script that writes what this loads.
START, FIRST_ANSWER = ROOT / "containers" / "start.py", ROOT / "containers" / "first_answer.py"
#: Of the Python that the zip is for. The columns of instructions, a quarter of bytecode, are left out: a
#: traceback names files and lines without them.
OPTIONS = ("-S", "-B", "-P", "-X", "no_debug_ranges")
#: Where Lambda unpacks the zip.
TASK = "/var/task"
#: Lambda's name of the entry point.
ENTRY = "handler.app.lambda_handler"
#: The runtimes that Lambda has are those of Python 3.11 and newer, as far as this project goes.
RUNTIME = "import sys; print('python%d.%d' % sys.version_info[:2])"
#: Compiles each module where it lies, for whoever unpacks the zip below /var/task. Nothing writes bytecode
#: there, and without it each start would compile the source. Hashes are not checked: nothing changes there.
#: Docstrings, a third of it, and assertions are left out.
COMPILE = """
import importlib.util, pathlib, py_compile, sys
folder = pathlib.Path(sys.argv[1])
for path in sorted(folder.rglob("*.py")):
    py_compile.compile(str(path), importlib.util.cache_from_source(str(path)), optimize=2, doraise=True,
                       dfile=sys.argv[2] + "/" + path.relative_to(folder).as_posix(),
                       invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
"""
#: Loads the bundle that was packed, with nothing else on the path, and predicts the golden rows again.
CHECK = """
import sys
sys.path.insert(0, sys.argv[1])
from handler.scoring.checking import differences
from handler.scoring.model import Model
print(*differences(Model.load(sys.argv[1] + "/handler/model")), sep="\\n", end="")
"""


def main(model: Path, python: str = sys.executable) -> None:
    """Build ``build/NAME-VERSION.zip``, check it, and describe it; ends with a message where it cannot."""
    try:
        bundle = Bundle.open(model)
        needs.refuse_synthetic(
            bundle.manifest._asdict(), model, "make a zip of it all the same: make zip SYNTHETIC=1"
        )
        if bundle.manifest.engines.get("one") != "scalar":
            needed = "scikit-learn" if bundle.manifest.runtime == "joblib" else "onnxruntime"
            sys.exit(
                f"make: the model at {model} has no one-row program, so that even one row needs {needed}, "
                f"which a zip does not hold: build the images, make images MODEL={model}"
            )
        with tempfile.TemporaryDirectory() as folder:
            runtime = run(python, "-c", RUNTIME).strip()
            fill(Path(folder), bundle)
            run(python, *OPTIONS, "-c", COMPILE, folder, TASK)
            run(python, *OPTIONS, str(FIRST_ANSWER), folder, TASK)
            if wrong := run(python, "-I", *OPTIONS, "-c", CHECK, folder):
                sys.exit(
                    f"make: out of the zip, the model does not predict what it did in training:\n{wrong}"
                )
            target = Path("build", f"{file_name(bundle)}.zip")
            target.parent.mkdir(exist_ok=True)
            pack(Path(folder), target)
    except BundleError as error:
        sys.exit(f"make: {error}")
    describe(bundle, target, runtime)


def fill(folder: Path, bundle: Bundle) -> None:
    """Copy what the zip holds into a folder."""
    for path in sources():
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    package = folder / "handler" / "__init__.py"
    package.write_text(f"{package.read_text()}\n\n{START.read_text()}")
    for file in metadata.files("multipart") or ():  # of forms; it is a module in Python alone
        if file.name in ("multipart.py", "LICENSE"):
            (folder / file.name).write_bytes(file.read_binary())
    (folder / "LICENSE").rename(folder / "multipart.LICENSE")
    model = folder / "handler" / "model"
    model.mkdir()
    for name in {MANIFEST, SIGNATURE, SCALAR, EXPLANATION, *DOCUMENTS}:
        if (source := Path(bundle.folder, name)).is_file():
            (model / name).write_bytes(source.read_bytes())


def sources() -> Iterator[Path]:
    """The handler's files that requests need: what is imported anywhere, and the pages."""
    seen: set[str] = set()
    names = [*WANTED]
    while names:
        name = names.pop()
        path = ROOT.joinpath(*name.split("."))
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if (
            name in seen
            or not name.startswith("handler")
            or name.startswith(LEFT_OUT)
            or not path.is_file()
        ):
            continue
        yield path
        seen.add(name)
        names.append(name.rpartition(".")[0])
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    for folder in ASSETS:
        yield from (path for path in (ROOT / "handler" / folder).iterdir() if path.is_file())


def pack(folder: Path, target: Path) -> None:
    """Write a zip of a folder's files: one order, one time, and readable to any user, as Lambda asks."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            entry.external_attr, entry.create_system = 0o100644 << 16, 3  # of Unix
            entry.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(entry, path.read_bytes())


def run(python: str, *words: str) -> str:
    """What a Python prints, with hashes that are the same in every process."""
    environ = {**os.environ, "PYTHONHASHSEED": "0"}
    try:
        done = subprocess.run([python, *words], env=environ, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit(f"make: there is no {python} on the path, which a zip for that runtime is compiled with")
    if done.returncode:
        sys.exit(f"make: {python} failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    return done.stdout


def file_name(bundle: Bundle) -> str:
    """The model's name and version, as one segment of an object's key."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", bundle.manifest.name).strip("-.") or "model"
    return f"{name}-{bundle.manifest.version}"


def describe(bundle: Bundle, target: Path, runtime: str) -> None:
    """Say what was built and how it is deployed."""
    with zipfile.ZipFile(target) as packed:
        modules = sum(name.endswith(".py") for name in packed.namelist())
        unpacked = sum(each.file_size for each in packed.infolist())
    print(f"""\
{target}: {target.stat().st_size / 1e6:.2f} MB, unpacked {unpacked / 1e6:.1f} MB, for {runtime}
  the request path of the handler ({modules} modules and their bytecode), without libraries
  {bundle.manifest.name} {bundle.manifest.version}: manifest, one-row program, report and pages
  files in buckets are the image's: make images
deploy it with the stack of template.yaml:
  aws s3 cp {target} s3://BUCKET/
  sam deploy --parameter-overrides RequestZip=BUCKET/{target.name} RequestRuntime={runtime}
or alone:
  aws lambda create-function --function-name {bundle.manifest.name} --runtime {runtime} --handler {ENTRY} \\
    --memory-size 1024 --zip-file fileb://{target} --role ROLE""")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
