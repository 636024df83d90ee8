"""The first answer of the real Lambda image, under the runtime interface emulator.

The clock runs from the first invocation's being sent, when the emulator starts the runtime, to its
answer: the start of the container itself, which is the engine's affair, is left out.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ("/opt/function/bin/python", "-m", "awslambdaric")
INVOKE = "/2015-03-31/functions/function/invocations"
EMPTY = "def handler(event, context):\n    return {}\n"
EVENT = {"age": 45, "new_user": 0, "total_pages_visited": 5}


def emulator() -> Path | None:
    """The runtime interface emulator: on the path, or in the aws-sam-cli wheel beside ``sam``."""
    found = shutil.which("aws-lambda-rie")
    if found:
        return Path(found)
    sam = shutil.which("sam")
    if sam is None:
        return None
    python = Path(sam).read_text().splitlines()[0].removeprefix("#!")
    script = "import samcli; print(*samcli.__path__)"
    package = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
    machine = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
    return Path(package.stdout.strip()) / "local" / "rapid" / f"aws-lambda-rie-{machine}"


def docker(*words: str) -> str:
    """What the engine's client prints."""
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()


def build(folder: Path, bundle: Path, repository: str) -> str:
    """Build the Lambda image with ``bundle`` from a copy of the sources; returns its name."""
    for name in ("handler", "requirements", "containers"):
        ignored = shutil.ignore_patterns("__pycache__", "model")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("Dockerfile.lambda", "Dockerfile.cloudrun", ".dockerignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(bundle, folder / "handler" / "model")
    environ = {**os.environ, "REPOSITORY": repository}
    subprocess.run([folder / "containers" / "build.sh"], check=True, env=environ, capture_output=True)
    return f"{repository}:lambda"


def first_answer(image: str, handler: str, rie: Path, code: Path) -> float:
    """Seconds from sending the first invocation to its answer, in a container of its own."""
    container = docker(
        "run", "--detach", "--rm", "--publish=127.0.0.1::8080", f"--volume={rie}:/emulator:ro",
        f"--volume={code}:/opt/function/app/{code.name}:ro", "--entrypoint=/emulator",
        image, *RUNTIME, handler,
    )  # fmt: skip
    try:
        base = f"http://{docker('port', container, '8080').splitlines()[0]}"
        for _ in range(200):
            try:
                urllib.request.urlopen(base, timeout=5).close()
            except urllib.error.HTTPError:
                break
            except OSError:
                time.sleep(0.05)
        start = time.perf_counter()
        with urllib.request.urlopen(base + INVOKE, json.dumps(EVENT).encode(), timeout=60) as answer:
            document = json.loads(answer.read())
        seconds = time.perf_counter() - start
        if "errorMessage" in document:
            raise RuntimeError(f"{image} {handler}: {document['errorMessage']}")
        return seconds
    finally:
        docker("kill", container)


def compare(bundle: Path, pickled: Path, folder: Path, runs: int) -> None:
    """Print sizes and first answers of the image, of an empty handler in it, and of scikit-learn's."""
    rie = emulator()
    engine = shutil.which("docker")
    if engine is None or subprocess.run(["docker", "version"], capture_output=True).returncode:
        print("\nContainers: left out, no engine answers")
        return
    if rie is None:
        print("\nContainers: left out, no emulator (pip install aws-sam-cli brings one)")
        return
    images = {}
    for kind, model in (("onnx", bundle), ("joblib", pickled)):
        context = folder / f"image-{kind}"
        context.mkdir()
        images[kind] = build(context, model, f"sklearn-function-bench-{kind}")
    code = folder / "empty.py"
    code.write_text(EMPTY)
    contenders = {
        "an empty handler in the same image": (images["onnx"], "empty.handler"),
        "this handler, model.onnx": (images["onnx"], "handler.app.lambda_handler"),
        "this handler, model.joblib with scikit-learn": (images["joblib"], "handler.app.lambda_handler"),
    }
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(runs):
        for name, (image, handler) in contenders.items():
            found[name].append(first_answer(image, handler, rie, code))
    print(f"\nFirst answer of the Lambda image under the emulator: median of {runs} (minimum to maximum)")
    reference = statistics.median(found["an empty handler in the same image"])
    for name, seconds in found.items():
        middle = statistics.median(seconds)
        size = int(docker("image", "inspect", "--format", "{{.Size}}", contenders[name][0])) / 1e6
        span = f"({min(seconds):.3f} to {max(seconds):.3f})"
        print(f"  {middle / reference:6.2f} x  {middle:7.3f} s {span}  {size:5.0f} MB image  {name}")
