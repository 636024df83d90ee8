"""Real containers: the images under the runtime interface emulator and on Cloud Run's terms.

Storage for them is a proxy on the bridge's own address, in front of a stand-in of ``tests.support.cloud``.
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import json
import os
import platform
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import KEYS, REGION, Storage
from tests.support.faults import FaultyProxy
from tests.support.functions import FunctionFailed

ROOT = Path(__file__).resolve().parents[2]
#: Seconds after which a container has surely gone wrong.
PATIENCE = 60
PYTHON = "/opt/function/bin/python"
#: What Lambda and Cloud Run allow an image: nothing but /tmp to write to, no shared memory, no privilege.
LOCKED = (
    "--read-only", "--tmpfs=/tmp:size=64m", "--ipc=none", "--cap-drop=ALL",
    "--security-opt=no-new-privileges", "--memory=1g",
)  # fmt: skip
INVOKE = "/2015-03-31/functions/function/invocations"


def missing(what: str) -> None:
    """Skip the test, or fail it where nothing may be skipped."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


@functools.cache
def has_engine() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "version"], capture_output=True).returncode == 0


def docker(*words: str, check: bool = True, errors: bool = False, timeout: float = 600) -> str:
    """What the command prints; with ``errors``, on both streams."""
    done = subprocess.run(
        ["docker", *words],
        env={**os.environ, "DOCKER_BUILDKIT": "1"},  # sam uses the classic builder
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if errors else subprocess.PIPE,
        text=True,
        timeout=timeout,
    )
    said = f"{done.stdout}{done.stderr or ''}"
    assert done.returncode == 0 or not check, f"docker {' '.join(words)}:\n{said[-4000:]}"
    return done.stdout.strip()


def checkout(folder: Path, bundle: Path) -> Path:
    """A copy of what images are built from, with ``bundle`` as its model."""
    for name in ("Dockerfile.lambda", "Dockerfile.cloudrun", ".dockerignore", "Makefile", "template.yaml"):
        shutil.copy(ROOT / name, folder / name)
    for name in ("handler", "requirements", "containers", "events", "statemachine", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "model"))
    shutil.copytree(bundle, folder / "handler" / "model")
    return folder


def gateway() -> str:
    """The host's address on the bridge, which containers reach."""
    subnet = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Subnet}}")
    return str(next(ipaddress.ip_network(subnet).hosts()))


@contextlib.contextmanager
def reachable(storage: Storage) -> Iterator[FaultyProxy]:
    """The storage as containers reach it."""
    with FaultyProxy(storage.url, gateway()) as proxy:
        yield proxy


class Container:
    """A running container; ``base`` is the URL of its port."""

    def __init__(self, name: str, base: str) -> None:
        self.name = name
        self.base = base

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(docker("inspect", "--format", "{{json .State}}", self.name))
        return state

    def logs(self) -> str:
        return docker("logs", self.name, errors=True)

    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines of the log."""
        return [json.loads(line) for line in self.logs().splitlines() if line.startswith("{")]

    def stop(self) -> tuple[int, float]:
        """SIGTERM, and SIGKILL after 20 s: the exit code, and the seconds that it took."""
        start = time.monotonic()
        docker("stop", "--time=20", self.name)
        return self.state()["ExitCode"], time.monotonic() - start

    def ready(self) -> None:
        """Wait until the port answers at all."""
        deadline = time.monotonic() + PATIENCE
        while True:
            assert self.state()["Running"], f"the container ended:\n{self.logs()}"
            assert time.monotonic() < deadline, f"no answer within {PATIENCE} s:\n{self.logs()}"
            try:
                urllib.request.urlopen(self.base, timeout=5).close()
            except urllib.error.HTTPError:
                return
            except OSError:  # nothing listens, or the engine's own proxy does, and hangs up
                time.sleep(0.05)
            else:
                return

    def ask(
        self,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        patience: float = PATIENCE,
    ) -> tuple[int, bytes]:
        """Status and body."""
        request = urllib.request.Request(self.base + path, data=body, headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=patience) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def invoke(self, event: Any) -> Any:
        """Under the emulator: the function's reply, or its error document."""
        return json.loads(self.ask(INVOKE, json.dumps(event).encode())[1])


@contextlib.contextmanager
def run(
    image: str,
    *command: str,
    env: Mapping[str, str] | None = None,
    options: Sequence[str] = LOCKED,
    port: int = 8080,
) -> Iterator[Container]:
    """Run the image until the block is left; ready to answer."""
    given = [word for name, value in (env or {}).items() for word in ("--env", f"{name}={value}")]
    name = docker("run", "--detach", f"--publish=127.0.0.1::{port}", *options, *given, image, *command)
    try:
        container = Container(name, f"http://{docker('port', name, str(port)).splitlines()[0]}")
        container.ready()
        yield container
    finally:
        docker("rm", "--force", name)


def on_lambda(
    image: str, env: Mapping[str, str] | None = None, options: Sequence[str] = LOCKED
) -> contextlib.AbstractContextManager[Container]:
    """Run a Lambda image under the runtime interface emulator."""
    emulated = (*options, f"--volume={emulator()}:/emulator:ro", "--entrypoint=/emulator")
    return run(image, PYTHON, "-m", "awslambdaric", "handler.app.lambda_handler", env=env, options=emulated)


class Emulated:
    """A Lambda image under the emulator as a function, started anew where it was killed; a context manager.

    The emulator panics on concurrent requests, so events are handled one after the other.
    """

    def __init__(self, image: str, env: Mapping[str, str]) -> None:
        self.events: list[Any] = []
        self._image, self._env = image, {**env, "AWS_LAMBDA_FUNCTION_TIMEOUT": "900"}
        self._running = contextlib.ExitStack()
        self._container: Container | None = None
        self._lock = threading.Lock()

    def __call__(self, event: Any) -> Any:
        with self._lock:
            self.events.append(event)
            self._container = self._container or self._running.enter_context(
                on_lambda(self._image, self._env)
            )
            try:
                _, body = self._container.ask(INVOKE, json.dumps(event).encode(), patience=900)
            except (OSError, HTTPException):
                self._container = None
                raise FunctionFailed("Runtime.ExitError", "the container was killed") from None
        answer = json.loads(body)
        if isinstance(answer, dict) and "errorType" in answer:
            raise FunctionFailed(answer["errorType"], answer["errorMessage"])
        return answer

    def kill(self, which: Callable[[Any], bool]) -> None:
        assert which(self.events[-1])
        assert self._container is not None
        docker("kill", self._container.name)

    def log(self) -> str:
        return self._container.logs()[-4000:] if self._container else ""

    def __enter__(self) -> Emulated:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()


def emulator() -> str:
    """The path of the runtime interface emulator: on the path, or beside sam."""
    found = shutil.which("aws-lambda-rie")
    if found is None:
        package = sam("-c", "import samcli; print(*samcli.__path__)", python=True)
        machine = "arm64" if platform.machine() in ("aarch64", "arm64") else "x86_64"
        found = f"{package}/local/rapid/aws-lambda-rie-{machine}"
    return found


def sam(*words: str, python: bool = False, **options: Any) -> str:
    """What ``sam``, or its Python, prints on standard output."""
    done = subprocess.run(
        [sam_command(python), *words], capture_output=True, text=True, env=sam_env(), **options
    )
    assert done.returncode == 0, f"sam {' '.join(words)}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()


def sam_command(python: bool = False) -> str:
    """The path of ``sam``, or of the Python that it is installed in."""
    command = tool("sam", "aws-sam-cli")
    return python_of(command) if python else command


def tool(command: str, package: str) -> str:
    """The path of a command whose pins are not ours."""
    path = shutil.which(command)
    if path is None:
        missing(f"{command} is missing: pip install {package}, in an environment of its own")
    assert path is not None
    return path


def python_of(command: str) -> str:
    """The Python that a command is installed in."""
    return Path(command).read_text().splitlines()[0].removeprefix("#!")


def checkov(*files: str) -> dict[str, Any]:
    """What checkov, which asks nobody, finds in files of the checkout: its results by framework."""
    done = subprocess.run(
        [tool("checkov", "checkov"), "--skip-download", "--compact", "--output=json",
         "--framework", "cloudformation", "dockerfile", "--file", *files],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr[-4000:]
    return {each["check_type"]: each["results"] for each in json.loads(done.stdout)}


def asl_validator(path: Path) -> str:
    """What asl-validator, which asks nobody, says of a state machine's definition."""
    package = "npm install asl-validator@4.0.0, with its node_modules/.bin on the path"
    command = shutil.which("asl-validator")
    if command is None:
        missing(f"asl-validator is missing: {package}")
    done = subprocess.run([str(command), "--json-path", str(path)], capture_output=True, text=True)
    return f"{done.stdout}{done.stderr}"


def faults_of_bill(bill: str) -> str:
    """What CycloneDX's own schema for 1.6 finds wrong; its library comes with checkov."""
    validate = """
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(sys.stdin.read()) or "")
"""
    python = python_of(tool("checkov", "checkov"))
    return subprocess.run(
        [python, "-c", validate], input=bill, capture_output=True, text=True, check=True
    ).stdout.strip()


def sam_env() -> dict[str, str]:
    """For a sam that asks nobody: it would try for seconds to find out whose account this is."""
    return {
        **os.environ,
        **KEYS,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:9",
        "AWS_MAX_ATTEMPTS": "1",
        "SAM_CLI_TELEMETRY": "0",
    }
