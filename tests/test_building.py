"""Building images, without an engine: what build.sh asks ``docker build`` for, what sbom.py refuses."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.terminal import drawn_by

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
PINNED = "sha256:" + "1" * 64
PULLED = "sha256:" + "2" * 64
#: An engine that knows the digest of any base that it is asked for, and writes down what it shall build.
DOCKER = f"""#!/bin/sh
case "$1 $2" in
"image inspect") echo "elsewhere/python@{PINNED}"; echo "${{5%:*}}@{PULLED}" ;;
"build "*)
    printf '%s\\n' "$@" --- >>"$BUILDS"
    for context; do :; done
    rm -rf built && cp -R "$context" built ;;
esac
"""
#: What ``make`` runs in place of Python: it says which bundle was named.
PYTHON = """#!/bin/sh
echo "$MODEL_DIR: $*"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make and the script read, two manifests, and an engine that only takes notes."""
    for name in ("containers", "requirements", "handler/model", "bin", "build/other", ".venv/bin"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("build.sh", "needs.py"):
        shutil.copy(ROOT / "containers" / name, tmp_path / "containers")
    for name in ("Dockerfile.lambda", "Makefile", ".dockerignore"):
        shutil.copy(ROOT / name, tmp_path)
    for folder, model in (("handler/model", "spring sales"), ("build/other", "other")):
        manifest = {
            "name": model,
            "version": "0123456789ab",
            "files": {"model.onnx": "", "report.html": ""},
        }
        (tmp_path / folder / "model.json").write_text(json.dumps(manifest))
        (tmp_path / folder / "model.onnx").write_text(model)
    for name, script in ((".venv/bin/python", PYTHON), ("requirements/install.sh", "#!/bin/sh\n")):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "bin" / "docker").write_text(DOCKER)
    (tmp_path / "bin" / "docker").chmod(0o755)
    return tmp_path


def builds(checkout: Path, *words: str) -> list[list[str]]:
    """The words of each ``docker build``."""
    notes = checkout / "builds.txt"
    environ = {**os.environ, "PATH": f"{checkout / 'bin'}:{os.environ['PATH']}", "BUILDS": str(notes)}
    subprocess.run(
        [checkout / "containers" / "build.sh", *words], env=environ, check=True, capture_output=True
    )
    return [each.splitlines() for each in notes.read_text().split("---\n")[:-1]]


def labels(words: list[str]) -> dict[str, str]:
    given = [after for word, after in itertools.pairwise(words) if word == "--label"]
    return dict(each.removeprefix("org.opencontainers.image.").split("=", 1) for each in given)


def base(words: list[str]) -> str:
    """The last one given, as for docker."""
    return [word for word in words if word.startswith("BASE=")][-1].removeprefix("BASE=")


def test_both_images_are_labelled_with_the_model_and_the_base(checkout: Path) -> None:
    one, other = builds(checkout)
    assert ("Dockerfile.lambda" in one, "Dockerfile.cloudrun" in other) == (True, True)
    for words in (one, other):
        assert labels(words) == {
            "title": "spring sales",
            "version": "0123456789ab",
            "base.name": "python:3.13-slim-trixie",
            "base.digest": PULLED,
        }
        assert base(words) == f"python:3.13-slim-trixie@{PULLED}"


def make(checkout: Path, *words: str, **env: str) -> str:
    """What a command prints, whether or not ``make test`` runs this."""
    path = f"{checkout / 'bin'}:{os.environ['PATH']}"
    outer = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    environ = {**outer, "PATH": path, "BUILDS": str(checkout / "builds.txt"), **env}
    done = subprocess.run(["make", *words], cwd=checkout, env=environ, capture_output=True, text=True)
    return done.stdout + done.stderr


NAMED: list[tuple[list[str], dict[str, str]]] = [
    (["MODEL=build/other"], {"MODEL_DIR": "handler/model"}),
    ([], {"MODEL_DIR": "build/other"}),
]


@pytest.mark.parametrize(("words", "env"), NAMED)
def test_images_have_the_bundle_that_is_named(
    checkout: Path, words: list[str], env: dict[str, str]
) -> None:
    assert "building sklearn-function:lambda with other" in make(checkout, "images", *words, **env)
    built = json.loads((checkout / "built" / "handler" / "model" / "model.json").read_text())
    assert built["name"] == "other"
    assert (checkout / "built" / ".dockerignore").is_file()
    assert sorted(each.name for each in (checkout / "build").iterdir()) == ["other"]
    kept = json.loads((checkout / "handler" / "model" / "model.json").read_text())
    assert kept["name"] == "spring sales"


@pytest.mark.parametrize(("words", "env"), NAMED)
@pytest.mark.parametrize("target", ["check", "serve", "train", "zip"])
def test_make_names_the_bundle_to_what_it_runs(
    checkout: Path, target: str, words: list[str], env: dict[str, str]
) -> None:
    assert make(checkout, target, *words, **env).startswith("build/other: ")


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("by", ["MODEL", "MODEL in the environment", "MODEL_DIR"])
def test_a_bundle_anywhere_is_copied_and_nothing_else_of_its_folder(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory, by: str, absolute: bool
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "a model"
    shutil.copytree(checkout / "build" / "other", outside)
    for name in ("customers.csv", ".secret", "scored/rows.csv/predictions.csv", "model.json.sig"):
        (outside / name).parent.mkdir(parents=True, exist_ok=True)
        (outside / name).write_text("")
    path = str(outside) if absolute else os.path.relpath(outside, checkout)
    words, env = ([f"MODEL={path}"], {}) if by == "MODEL" else ([], {by.split()[0]: path})
    assert f"with other 0123456789ab, from {outside}\n" in make(checkout, "images", *words, **env)
    built = checkout / "built" / "handler" / "model"
    assert sorted(each.name for each in built.rglob("*")) == ["model.json", "model.json.sig", "model.onnx"]
    assert (built / "model.onnx").read_text() == "other"


@pytest.mark.parametrize(("words", "env"), [(["MODEL=build/none"], {}), ([], {"MODEL_DIR": "build/none"})])
@pytest.mark.parametrize("synthetic", [[], ["SYNTHETIC=1"]])
def test_a_named_bundle_that_is_not_there_is_an_error(
    checkout: Path, words: list[str], env: dict[str, str], synthetic: list[str]
) -> None:
    said = make(checkout, "images", *words, *synthetic, **env)
    assert "there is no model at build/none: name a bundle's folder, or make one: make train" in said
    assert "-m training" not in said
    assert not (checkout / "builds.txt").exists()


def synthetic(checkout: Path) -> None:
    file = checkout / "handler" / "model" / "model.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "training": {"synthetic": True}}))


def test_a_synthetic_model_is_built_only_where_that_is_said(checkout: Path) -> None:
    synthetic(checkout)
    said = make(checkout, "images")
    assert "make: the model at handler/model learnt from the synthetic sample" in said
    assert "make train DATA=f.csv TARGET=column; or" in said
    assert not (checkout / "builds.txt").exists()
    assert "building sklearn-function:cloudrun with spring" in make(checkout, "images", "SYNTHETIC=1")
    assert "SYNTHETIC=1\n" in (checkout / "builds.txt").read_text()


def test_a_build_without_the_script_refuses_a_synthetic_model_too(checkout: Path) -> None:
    """``sam build`` and ``docker build`` run the step of image.sh that asks this, in the bundle."""
    synthetic(checkout)
    asking = [sys.executable, ROOT / "containers" / "needs.py", "describe", "."]
    assert "needs.py describe ." in (ROOT / "containers" / "image.sh").read_text()
    for allowed, code in (("", 1), ("1", 0)):
        done = subprocess.run(
            asking,
            cwd=checkout / "handler" / "model",
            env={**os.environ, "SYNTHETIC": allowed},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code
        assert done.stderr.startswith("make: the model learnt from" if code else "")
    for image in ("lambda", "cloudrun"):
        assert (
            "ARG SYNTHETIC=\nRUN sh /build/image.sh function" in (ROOT / f"Dockerfile.{image}").read_text()
        )


def test_images_of_a_fresh_clone_say_what_to_train(checkout: Path) -> None:
    shutil.rmtree(checkout / "handler" / "model")
    said = make(checkout, "images")
    assert "there is no model at handler/model: train one: make train DATA=f.csv TARGET=column; or" in said
    assert "make images SYNTHETIC=1" in said
    assert "-m training" not in said
    assert "-m training" in make(checkout, "images", "SYNTHETIC=1")


@pytest.mark.parametrize("content", ["{", "[]", '{"name": "x"}'])
def test_a_manifest_that_cannot_be_read_is_one_line(checkout: Path, content: str) -> None:
    (checkout / "handler" / "model" / "model.json").write_text(content)
    said = make(checkout, "images")
    assert "make: handler/model/model.json cannot be read" in said
    assert "Traceback" not in said


def test_the_script_says_where_it_looked_for_a_model(checkout: Path) -> None:
    script = checkout / "containers" / "build.sh"
    environ = {**os.environ, "MODEL_DIR": str(checkout / "bin")}
    done = subprocess.run([script], env=environ, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"make: there is no model at {checkout / 'bin'}")


@pytest.mark.parametrize(
    ("given", "name", "digest"),
    [
        (["--build-arg", "BASE=registry:5000/python:3.12"], "registry:5000/python:3.12", PULLED),
        ([f"--build-arg=BASE=python:3.12@{PINNED}"], "python:3.12", PINNED),
    ],
)
def test_the_base_is_built_on_by_the_digest_that_the_label_names(
    checkout: Path, given: list[str], name: str, digest: str
) -> None:
    for words in builds(checkout, *given):
        assert (labels(words)["base.name"], labels(words)["base.digest"]) == (name, digest)
        assert base(words) == f"{name}@{digest}"


def test_a_base_whose_digest_nobody_knows_is_built_on_by_its_name(checkout: Path) -> None:
    engine = checkout / "bin" / "docker"
    engine.write_text(engine.read_text().replace('"image inspect")', '"image inspect") exit 1;'))
    for words in builds(checkout):
        assert "base.digest" not in labels(words)
        assert not [word for word in words if word.startswith("BASE=")]


def test_a_checkout_gives_its_commit_and_its_address_without_a_password(checkout: Path) -> None:
    def git(*words: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        done = subprocess.run(
            ["git", *identity, *words], cwd=checkout, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "--quiet")
    git("remote", "add", "origin", "https://me:secret@example.com/sklearn-function.git")
    git("add", "Dockerfile.lambda")
    git("commit", "--quiet", "--message=one")
    head = git("rev-parse", "HEAD")
    (words, _) = builds(checkout)
    assert labels(words)["revision"] == head
    assert labels(words)["source"] == "https://example.com/sklearn-function.git"
    with (checkout / "Dockerfile.lambda").open("a") as file:
        file.write("# edited")
    assert labels(builds(checkout)[-1])["revision"] == f"{head}-dirty"


def test_a_library_that_no_lock_asked_for_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"name": "sales", "version": "0123456789ab"}')
    (tmp_path / "report.json").write_text('{"install": []}')
    done = subprocess.run(
        [sys.executable, ROOT / "containers" / "sbom.py", "model.json", "report.json"],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("not as the locks say: ")
    assert "'numpy'" in done.stderr


def test_own_modules_are_copied_by_name_and_their_absence_ends_the_build(checkout: Path) -> None:
    manifest = {
        "name": "own",
        "version": "0123456789ab",
        "files": {},
        "needs": {"modules": ["steps", "parts"]},
    }
    (checkout / "build" / "other" / "model.json").write_text(json.dumps(manifest))
    said = make(checkout, "images", "MODEL=build/other")
    assert "the model needs your own module steps, parts, and it is not here: copy steps.py" in said
    assert not (checkout / "built").exists()
    (checkout / "steps.py").write_text("import parts\n")
    (checkout / "elsewhere" / "parts").mkdir(parents=True)
    (checkout / "elsewhere" / "parts" / "__init__.py").write_text("")
    make(checkout, "images", "MODEL=build/other", PYTHONPATH=str(checkout / "elsewhere"))
    copied = checkout / "built" / "handler" / "model" / "modules"
    assert sorted(each.name for each in copied.iterdir()) == ["parts", "steps.py"]
    assert not (checkout / "build" / "other" / "modules").exists()


def test_libraries_are_pinned_as_in_training(tmp_path: Path) -> None:
    versions = {"scikit-learn": "1.5.2", "onnx": "1.0", "lightgbm": "4.7.0"}
    manifest = {"libraries": versions, "needs": {"libraries": ["lightgbm"], "modules": []}}
    (tmp_path / "model.json").write_text(json.dumps(manifest))
    command = [sys.executable, ROOT / "containers" / "needs.py", "libraries", tmp_path / "model.json"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["scikit-learn==1.5.2", "lightgbm==4.7.0"]


#: What ``install.sh`` runs in place of Python, pip and uv: it makes an environment of itself, and is slow.
SLOW_PYTHON = """#!/bin/sh
case "$*" in
*"-m venv"*) mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
*"pip install"*)
    echo "$*" >"${0%/*}/installed.by"
    for each in numpy polars; do echo "Collecting $each==1"; sleep 1; done
    [ -z "$FAILS" ] || { echo "ERROR: no such wheel" >&2; exit 1; } ;;
*"import pip"*) exit 1 ;;
*print*) echo "Python 3.13.1" ;;
esac
"""


@pytest.fixture
def installing(tmp_path: Path) -> list[str]:
    """``install.sh`` in a checkout of its own."""
    for name in ("requirements", "containers"):
        (tmp_path / name).mkdir()
    shutil.copy(ROOT / "requirements" / "install.sh", tmp_path / "requirements")
    (tmp_path / "containers" / "compile.sh").write_text("#!/bin/sh\n")
    (tmp_path / "containers" / "compile.sh").chmod(0o755)
    (tmp_path / "requirements" / "train.txt").write_text("numpy==1 --hash=sha256:0\npolars==1\n")
    (tmp_path / "python").write_text(SLOW_PYTHON)
    (tmp_path / "python").chmod(0o755)
    return [str(tmp_path / "requirements" / "install.sh"), "train", "dev"]


@pytest.mark.parametrize("by", ["pip", "uv"])
def test_installing_is_two_lines_in_a_log_and_none_the_second_time(
    installing: list[str], tmp_path: Path, by: str
) -> None:
    python = str(tmp_path / "python")
    environ = {**os.environ, "PYTHON": python, "FAILS": "", "UV": python if by == "uv" else ""}

    def run() -> str:
        done = subprocess.run(
            installing, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True
        )
        return done.stdout

    assert run() == (
        "making .venv with Python 3.13.1\n"
        "installing requirements/train.txt into .venv (about a minute the first time)\n"
    )
    assert run() == ""
    ran = tmp_path if by == "uv" else tmp_path / ".venv" / "bin"
    command = (ran / "installed.by").read_text()
    assert command.startswith("pip install" if by == "uv" else "-m pip install")
    assert "--require-hashes --only-binary :all: --requirement requirements/train.txt" in command


def test_installing_on_a_terminal_counts_libraries_and_seconds(
    installing: list[str], tmp_path: Path
) -> None:
    code, drawn = drawn_by(installing, tmp_path, UV="", PYTHON=str(tmp_path / "python"), FAILS="")
    assert code == 0
    assert re.search(r" 2 of 2 libraries, [1-9]\d* s", drawn)
    last = drawn.rstrip("\n").rpartition("\x1b[K")[2]
    assert re.fullmatch(r"installing requirements/train.txt into .venv \(.*\): \d+ s", last)


def test_installing_that_fails_ends_with_pips_own_error(installing: list[str], tmp_path: Path) -> None:
    code, drawn = drawn_by(installing, tmp_path, UV="", PYTHON=str(tmp_path / "python"), FAILS="1")
    assert code == 1
    assert "ERROR: no such wheel" in drawn
    assert not (tmp_path / ".venv" / "installed.txt").exists()


def test_installing_that_is_interrupted_stops_pip(installing: list[str], tmp_path: Path) -> None:
    """Ctrl-C typed on the terminal, while pip goes on."""
    (tmp_path / "python").write_text(SLOW_PYTHON.replace("sleep 1", "echo $$ >pip.pid; sleep 600"))
    code, drawn = drawn_by(installing, tmp_path, "1 of 2 libraries", UV="", PYTHON=str(tmp_path / "python"))
    assert code == 130
    assert drawn.endswith("\ninterrupted\n")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pip.pid").read_text()), 0)
