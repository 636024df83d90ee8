"""First answers of real containers, whole and with the processor and memory of a small function.

Of a Lambda image the clock runs from the first invocation's being sent, when the emulator starts the
runtime, to its answer; of a server's image from the moment when the engine says that its process was
started. What the engine does before that is left out.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.answers import predicted, same_answers
from benchmarks.environments import CONTENDERS, ROOT, environment, versions
from benchmarks.lambdas import EVENT, INVOKE, unpacked
from containers.request_zip import COMPILE, FIRST_ANSWER, OPTIONS, TASK

OURS = ("/opt/function/bin/python", "-m", "awslambdaric")
THEIRS = ("python", "-m", "awslambdaric")
EMPTY = "def handler(event, context):\n    return {}\n"
QUERY = "/predict?age=45&new_user=0&total_pages_visited=5"
#: A function of so many MB: its part of a processor, and its memory. 1,769 MB make one processor.
#: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
SIZES = {"limited_128": ("0.07", "128m"), "limited_512": ("0.29", "512m")}
#: Runs of a handler under those limits, which make some take 20 seconds each.
FEW = 5


@dataclass(frozen=True, slots=True)
class Handler:
    """A Lambda handler in an image; ``options`` are words for ``docker run``."""

    image: str
    command: Sequence[str]
    options: Sequence[str] = ()


def emulator() -> Path | None:
    """The runtime interface emulator: on the path, or out of the aws-sam-cli wheel, which brings it."""
    found = shutil.which("aws-lambda-rie")
    if found:
        return Path(found)
    programs = environment("emulator", "--no-deps")
    if programs is None:
        return None
    machine = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
    return next(
        programs.parent.glob(f"lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine}")
    )


def docker(*words: str) -> str:
    """What the engine's client prints."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def engine() -> bool:
    """Whether a container engine answers; where none does, what it means is printed."""
    found = shutil.which("docker") is not None and not (
        subprocess.run(["docker", "version"], capture_output=True).returncode
    )
    if not found:
        print("\nContainers: left out, no engine answers")
    return found


def compare_cloud_run(bundle: Path, folder: Path, runs: int) -> None:
    """Measure the Cloud Run image beside FastAPI's."""
    if not engine():
        return
    ours = build(folder / "image-onnx", bundle, "sklearn-function-bench-onnx")
    images: dict[str, tuple[str, Sequence[str]]] = {
        "this handler, Dockerfile.cloudrun": (f"{ours}:cloudrun", ("--env=K_SERVICE=bench",)),
        "FastAPI, uvicorn, scikit-learn": (fastapi_image(), with_pickle(bundle)),
    }
    found: dict[str, list[float]] = {each: [] for each in images}
    answers = {}
    for _ in range(runs):
        for each, (image, options) in images.items():
            seconds, answer = first_of_server(image, options)
            found[each].append(seconds)
            answers[each] = predicted(answer)
    same_answers(answers)
    notes = {each: f"{size(image):.0f} MB image" for each, (image, _) in images.items()}
    settings = {
        "FastAPI, uvicorn, scikit-learn": "benchmarks/contenders/fastapi_app/Dockerfile; "
        + versions("fastapi_app", "fastapi", "uvicorn", "scikit-learn")
    }
    title, more = "First answer of a server's image, from its process's start", f"Medians of {runs}."
    results.keep("cloudrun", results.table(title, found, notes=notes, more=more, settings=settings))


def compare_lambda(bundle: Path, forest: Path, pickled: Path, folder: Path, runs: int) -> None:
    """Measure the Lambda image, whole and limited, beside handlers with scikit-learn; sizes beside them."""
    if not engine():
        return
    rie = emulator()
    if rie is None:
        print("\nContainers: left out, no emulator")
        return
    ours, trees, joblib = (
        build(folder / f"image-{kind}", model, f"sklearn-function-bench-{kind}")
        for kind, model in (("onnx", bundle), ("trees", forest), ("joblib", pickled))
    )
    fastapi = fastapi_image()
    code, entry = folder / "empty.py", "handler.app.lambda_handler"
    code.write_text(EMPTY)
    model = with_pickle(bundle)
    vendor = CONTENDERS / "vendor_lambda.py"
    handlers = {
        "an empty handler": Handler(f"{ours}:lambda", (*OURS, "empty.handler"), mounted(code)),
        "this handler, logistic regression": Handler(f"{ours}:lambda", (*OURS, entry)),
        "this handler, 100 trees of depth 8": Handler(f"{trees}:lambda", (*OURS, entry)),
        "this handler, served by joblib": Handler(f"{joblib}:lambda", (*OURS, entry)),
        "scikit-learn as the vendor's template": Handler(
            f"{joblib}:lambda", (*OURS, "vendor_lambda.handler"), (*mounted(vendor), *model)
        ),
        "Mangum, FastAPI, scikit-learn": Handler(fastapi, (*THEIRS, "mangum_app.handler"), model),
    }
    lambdas("image", "First answer of a Lambda image, under the emulator", handlers, rie, (), runs)
    compare_zips(ours, {"logistic regression": bundle, "100 trees of depth 8": forest}, folder, rie, runs)
    for name, (processors, memory) in SIZES.items():
        limits = (f"--cpus={processors}", f"--memory={memory}", f"--memory-swap={memory}")
        title = f"First answer of a Lambda image with {processors} of a processor and {memory[:-1]} MB"
        lambdas(name, title, handlers, rie, limits, min(runs, FEW))


def compare_zips(image: str, bundles: Mapping[str, Path], folder: Path, rie: Path, runs: int) -> None:
    """What is in a zip, beside an empty handler, in our image's Python and runtime client.

    AWS has no image of its own runtime for zips that is as it runs there: this one stands in for it.
    """
    empty = folder / "zip-empty"
    empty.mkdir()
    (empty / "empty.py").write_text(EMPTY)
    handlers = {"an empty handler": zip_handler(image, empty, "empty.handler")}
    for name, bundle in bundles.items():
        task = unpacked(bundle, folder / f"zip of {name}")
        handlers[f"make zip, {name}"] = zip_handler(image, task, "handler.app.lambda_handler")
    lambdas(
        "zip", "First answer of a zip, in the image's Python under the emulator", handlers, rie, (), runs
    )


def zip_handler(image: str, task: Path, entry: str) -> Handler:
    """A handler in a folder that lies where Lambda unpacks zips; compiled for the Python that runs it."""
    options = (f"--volume={task}:/var/task", "--workdir=/var/task")
    script = "/first_answer.py"
    running = ("run", "--rm", "--user=0", *options, f"--volume={FIRST_ANSWER}:{script}:ro")
    steps = [("-c", COMPILE, ".", TASK), (script, ".", TASK)]
    for words in steps if (task / "handler").is_dir() else steps[:1]:
        docker(*running, f"--entrypoint={OURS[0]}", f"{image}:lambda", *OPTIONS, *words)
    return Handler(f"{image}:lambda", (*OURS, entry), options)


def lambdas(
    name: str, title: str, handlers: Mapping[str, Handler], rie: Path, limits: Sequence[str], runs: int
) -> None:
    """First answers of handlers, in turn, under the ``limits`` of the engine."""
    found: dict[str, list[float]] = {each: [] for each in handlers}
    notes = {each: f"{size(handler.image):.0f} MB image" for each, handler in handlers.items()}
    answers = {}
    for _ in range(runs):
        for each, handler in handlers.items():
            if notes[each].startswith("no answer"):
                continue
            try:
                seconds, answer = first_answer(handler, rie, limits)
            except (RuntimeError, OSError) as error:
                notes[each] = f"no answer: {error}"[:160]
                continue
            found[each].append(seconds)
            answers[each] = predicted(answer)
    same_answers({each: told for each, told in answers.items() if "trees" not in each})
    results.keep(
        name, results.table(title, found, notes=notes, more=f"Without SnapStart. Medians of {runs}.")
    )


def fastapi_image() -> str:
    """Build FastAPI's image; returns its name."""
    name = "sklearn-function-bench:fastapi"
    docker("build", "--quiet", "--tag", name, str(CONTENDERS / "fastapi_app"))
    return name


def with_pickle(bundle: Path) -> tuple[str, ...]:
    """Words for ``docker run`` that give a contender the bundle's pickle."""
    return f"--volume={bundle / 'model.joblib'}:/model.joblib:ro", "--env=MODEL_FILE=/model.joblib"


def build(context: Path, bundle: Path, repository: str) -> str:
    """Build both images with ``bundle``, once, from a copy of the sources; returns their repository."""
    if context.exists():
        return repository
    for name in ("handler", "requirements", "containers"):
        ignored = shutil.ignore_patterns("__pycache__", "model")
        shutil.copytree(ROOT / name, context / name, ignore=ignored)
    for name in ("Dockerfile.lambda", "Dockerfile.cloudrun", ".dockerignore"):
        shutil.copy(ROOT / name, context)
    shutil.copytree(bundle, context / "handler" / "model")
    print(f"building {repository} ...", flush=True)
    environ = {**os.environ, "REPOSITORY": repository, "MODEL_DIR": "", "SYNTHETIC": "1"}
    subprocess.run([context / "containers" / "build.sh"], check=True, env=environ, capture_output=True)
    return repository


def mounted(code: Path) -> tuple[str, ...]:
    """A file of Python beside the handler of our images."""
    return (f"--volume={code}:/opt/function/app/{code.name}:ro",)


def size(image: str) -> float:
    """An image's megabytes."""
    return int(docker("image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def first_answer(handler: Handler, rie: Path, limits: Sequence[str]) -> tuple[float, Any]:
    """Seconds from sending the first invocation to its answer, in a container of its own, and the answer.

    Raises ``RuntimeError`` where the handler fails or the container is stopped.
    """
    container = docker(
        "run", "--detach", "--publish=127.0.0.1::8080", f"--volume={rie}:/emulator:ro",
        *limits, *handler.options, "--entrypoint=/emulator", handler.image, *handler.command,
    )  # fmt: skip
    try:
        base = f"http://{docker('port', container, '8080').splitlines()[0]}"
        for _ in range(600):
            try:
                urllib.request.urlopen(base, timeout=5).close()
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.05)
        start = time.perf_counter()
        try:
            with urllib.request.urlopen(base + INVOKE, json.dumps(EVENT).encode(), timeout=120) as reply:
                answer = json.loads(reply.read())
        except (OSError, ValueError) as error:
            raise RuntimeError(ended(container) or str(error)) from error
        seconds = time.perf_counter() - start
        if isinstance(answer, dict) and "errorMessage" in answer:
            raise RuntimeError(ended(container) or str(answer["errorMessage"]))
        return seconds, answer
    finally:
        docker("rm", "--force", container)


def ended(container: str) -> str:
    """Why a container's processes ended, as the engine has it; empty where it does not say."""
    killed = docker("inspect", "--format", "{{.State.OOMKilled}}", container) == "true"
    return "out of memory" if killed else ""


def first_of_server(image: str, options: Sequence[str]) -> tuple[float, Any]:
    """Seconds from a server's start in its container to its first answer, and the answer."""
    container = docker("run", "--detach", "--publish=127.0.0.1::8080", "--env=PORT=8080", *options, image)
    try:
        base = f"http://{docker('port', container, '8080').splitlines()[0]}"
        end = time.time() + 60
        while time.time() < end:
            try:
                with urllib.request.urlopen(base + QUERY, timeout=60) as reply:
                    answer = json.loads(reply.read())
                now = time.time()
                break
            except OSError:
                time.sleep(0.005)
        else:
            raise RuntimeError(f"{image} does not answer")
        told = docker("inspect", "--format", "{{.State.StartedAt}}", container)
        started = datetime.fromisoformat(told[:26].rstrip("Z") + "+00:00").timestamp()
        return now - started, answer
    finally:
        docker("rm", "--force", container)
