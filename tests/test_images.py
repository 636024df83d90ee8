"""Both images as real containers, locked down as on their platforms: what they hold, answer and survive."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
import yaml
from sklearn.datasets import load_wine

from tests.support.bundles import resealed, trained
from tests.support.cloud import GCS, S3, s3_server
from tests.support.containers import (
    LOCKED,
    PATIENCE,
    PYTHON,
    Container,
    Emulated,
    checkout,
    docker,
    emulator,
    faults_of_bill,
    gateway,
    has_engine,
    missing,
    on_lambda,
    reachable,
    run,
    sam,
    sam_command,
    sam_env,
)
from tests.support.deployed import KEY, Deployment
from tests.support.events import DIRECT, EVENTS, GOLDEN, HTTP, LATTICE, REFUSED, comparable, event
from tests.support.faults import FaultyProxy, on
from tests.support.functions import invoke_api
from tests.support.google import EXECUTION, JOB, Google
from tests.support.once import once
from tests.support.quoted import quoted_file
from tests.support.serving import free_port
from training.data import sample

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = "sklearn-function-test"
LAMBDA, CLOUD_RUN = f"{REPOSITORY}:lambda", f"{REPOSITORY}:cloudrun"
CUSTOMERS = b"age,new_user,total_pages_visited\n45,0,5\nold,1,2\n22,1,25\n"
OUTPUTS = ("predictions.csv", "rejected.csv", "summary.json")
#: The events of object storage that Lambda receives; those of Google are requests to Cloud Run.
UPLOADS = sorted(
    path.stem
    for path in EVENTS.glob("*.json")
    if path.stem not in (*HTTP, *LATTICE, *DIRECT, *REFUSED) and "gcs" not in path.stem
)

pytestmark = [pytest.mark.containers, pytest.mark.usefixtures("project")]


@pytest.fixture(scope="session")
def engine() -> None:
    if not has_engine():
        missing('no container engine answers: start Docker, or eval "$(../shared/bin/container-engine)"')


@pytest.fixture(scope="session")
def project(engine: None, bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """A checkout with its model, and both images built from it by ``make images``."""

    def build(folder: Path) -> None:
        make(checkout(folder, bundle_dir), "images", DOCKER_BUILDKIT="1")

    return once(tmp_path_factory, "project", build)


@pytest.fixture
def proxy(s3: S3) -> Iterator[FaultyProxy]:
    """The way from containers to S3."""
    with reachable(s3) as proxy:
        yield proxy


def make(folder: Path, *words: str, **env: str) -> str:
    done = subprocess.run(
        ["make", "--silent", "--no-print-directory", "-C", str(folder), *words],
        env={**os.environ, "REPOSITORY": REPOSITORY, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def build(folder: Path, file: str, tag: str) -> str:
    """What a build that is expected to fail prints, or a good one."""
    return docker("build", f"--file={folder / file}", f"--tag={tag}", str(folder), check=False, errors=True)


class Uploads:
    """An uploaded file, what tells a function of it, and what it writes."""

    def __init__(self, s3: S3, proxy: FaultyProxy, content: bytes) -> None:
        self.s3, self.source, self.target = s3, s3.bucket("in"), s3.bucket("out")
        s3.put(self.source, "incoming/a.csv", content)
        self.env = {
            **s3.at(proxy.url).env,
            "INPUT_URI": f"s3://{self.source}/incoming",
            "OUTPUT_URI": f"s3://{self.target}/scored",
        }
        event: dict[str, Any] = json.loads((EVENTS / "sqs-eventbridge-s3.json").read_text())
        record = event["Records"][0]
        body = json.loads(record["body"])
        body["detail"]["bucket"]["name"] = self.source
        body["detail"]["object"] |= {"key": "incoming/a.csv", "size": len(content)}
        record["body"] = json.dumps(body)
        self.event, self.id = event, record["messageId"]

    @property
    def failed(self) -> dict[str, Any]:
        """The reply by which the queue keeps the message."""
        return {"batchItemFailures": [{"itemIdentifier": self.id}]}

    @property
    def written(self) -> list[str]:
        return [key.removeprefix("scored/incoming/a.csv/") for key in self.s3.keys(self.target)]

    @property
    def rows(self) -> dict[str, int]:
        """What the summary counts."""
        rows: dict[str, int] = json.loads(self.s3.get(self.target, "scored/incoming/a.csv/summary.json"))[
            "rows"
        ]
        return rows


def lines(rows: int) -> bytes:
    return b"age,new_user,total_pages_visited\n" + b"45,0,5\n" * rows


GOOD = {"batchItemFailures": []}


# What is in them.


@pytest.mark.parametrize("image", [LAMBDA, CLOUD_RUN])
def test_an_image_holds_what_serving_needs_and_no_more(project: Path, image: str) -> None:
    config = json.loads(docker("inspect", "--format", "{{json .Config}}", image))
    manifest = json.loads((project / "handler" / "model" / "model.json").read_text())
    assert config["User"] == "65532:65532"
    assert config["Labels"]["org.opencontainers.image.title"] == manifest["name"]
    assert config["Labels"]["org.opencontainers.image.version"] == manifest["version"]
    assert config["Labels"]["org.opencontainers.image.base.name"] == "python:3.13-slim-trixie"
    look = """
        id -u
        command -v pip pip3 gcc cc make
        for at in /opt/function /usr /usr/local; do $at/bin/python3 -c 'import pip'; done 2>/dev/null
        cd /opt/function/lib/python3*/site-packages && ls -d sklearn pandas joblib pytest boto3 2>/dev/null
        find /opt/function -name tests
        cd /opt/function/app && ls && ls handler/model
        python -c 'import handler.app as m; print(m.__spec__.cached)' | xargs ls
    """
    found = docker("run", "--rm", "--entrypoint=sh", *LOCKED, image, "-c", look)
    assert re.fullmatch(
        r"65532\nhandler\nMODEL_CARD.md\nmodel.explain\nmodel.json\nmodel.onnx\nmodel.scalar\nreport.html\n/opt/function/app/handler/__pycache__/app\.\S+\.pyc",
        found,
    )
    base = int(docker("inspect", "--format", "{{.Size}}", "python:3.13-slim-trixie"))
    assert int(docker("inspect", "--format", "{{.Size}}", image)) - base < 400e6


@pytest.mark.parametrize("image", [LAMBDA, CLOUD_RUN])
def test_an_image_has_the_compiled_kernel_and_no_compiler(image: str) -> None:
    """It was compiled in the image's build: what lies in the checkout may be of another platform."""
    look = """
        command -v cc gcc clang zig
        find /opt /usr /build -name '*ziglang*' 2>/dev/null
        ls handler/kernel
        python -c 'import ctypes; ctypes.CDLL("handler/kernel/libkernel.so")'
    """
    found = docker("run", "--rm", "--entrypoint=sh", *LOCKED, image, "-c", look, errors=True)
    given = set(found.split()) - {"__pycache__"}
    assert given == {
        "__init__.py",
        "compiled.py",
        "kernel.c",
        "libkernel.so",
        "numbers.c",
        "quotes.c",
        "rows.c",
        "trees.c",
    }


def test_lambdas_image_loads_what_a_first_prediction_runs_with_its_package() -> None:
    look = "import handler, sys; print('handler.app' in sys.modules)"
    started = [
        docker("run", "--rm", f"--entrypoint={PYTHON}", *LOCKED, image, "-c", look).strip()
        for image in (LAMBDA, CLOUD_RUN)
    ]
    assert started == ["True", "False"]


def bill_of(image: str) -> str:
    """The image's bill of materials, which CycloneDX's schema has nothing against."""
    bill = docker("run", "--rm", "--entrypoint=cat", *LOCKED, image, "/opt/function/sbom.cdx.json")
    assert faults_of_bill(bill) == ""
    return bill


def listed(bill: str) -> dict[str, str]:
    """Version and hash of each component, as a lock spells them."""
    return {
        f"{each['name']}=={each['version']}": f"--hash=sha256:{each['hashes'][0]['content']}"
        for each in json.loads(bill)["components"]
    }


def test_the_bill_of_materials_is_what_is_installed_and_what_the_lock_says(project: Path) -> None:
    """A bill has no time and no random number, and a library that both images have is the same file."""
    manifest = json.loads((project / "handler" / "model" / "model.json").read_text())
    bills = {}
    for image in (LAMBDA, CLOUD_RUN):
        bill = bill_of(image)
        look = (
            "import importlib.metadata as m; print(*(f'{d.name}=={d.version}' for d in m.distributions()))"
        )
        installed = docker("run", "--rm", f"--entrypoint={PYTHON}", *LOCKED, image, "-c", look).split()
        entries = bills[image] = listed(bill)
        names = [re.sub(r"[-_.]+(?=.*==)", "-", each).lower() for each in installed]
        assert sorted(entries) == sorted(names)
        lock = (ROOT / "requirements" / f"{image.partition(':')[2]}.txt").read_text()
        for entry, hashed in entries.items():
            (locked,) = (each for each in re.split(r"\n(?=\S)", lock) if each.startswith(f"{entry} "))
            assert hashed in locked.split()
        assert "awslambdaric" in bill or "functions-framework" in bill
        component = json.loads(bill)["metadata"].pop("component")
        assert (component["name"], component["version"]) == (manifest["name"], manifest["version"])
        assert not {"serialNumber", "timestamp"} & {*json.loads(bill), *json.loads(bill)["metadata"]}
    shared = bills[LAMBDA].keys() & bills[CLOUD_RUN].keys()
    assert shared >= {
        each for each in bills[LAMBDA] if each.startswith(("numpy==", "onnxruntime==", "polars=="))
    }
    assert {bills[LAMBDA][each] for each in shared} == {bills[CLOUD_RUN][each] for each in shared}


def test_a_bundle_that_does_not_predict_as_it_did_ends_the_build(bundle_dir: Path, tmp_path: Path) -> None:
    folder = checkout(tmp_path, bundle_dir)

    def change(manifest: Any) -> None:
        manifest["golden"][0]["prediction"] = 1 - manifest["golden"][0]["prediction"]

    resealed(bundle_dir, folder / "handler" / "model", change)
    for name in ("Dockerfile.lambda", "Dockerfile.cloudrun"):
        said = build(folder, name, f"{REPOSITORY}:broken")
        assert "golden rows, 1 differ" in said


OWN_STEPS = """
import numpy as np
from lightgbm import LGBMClassifier
from own_numbers import FLOOR
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer


def raised(values):
    return np.maximum(values, FLOOR)


def pipeline():
    return make_pipeline(FunctionTransformer(raised), LGBMClassifier(n_estimators=5, verbose=-1))
"""


def test_a_model_that_only_scikit_learn_can_serve_brings_its_libraries_and_modules_along(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    modules = tmp_path_factory.mktemp("modules")
    (modules / "own_steps.py").write_text(OWN_STEPS)
    (modules / "own_numbers.py").write_text("FLOOR = 1.0\n")
    monkeypatch.syspath_prepend(str(modules))
    frame = sample.rows(555, rows=20_000, converted=645)
    bundle = trained(tmp_path_factory.mktemp("own"), frame, "own", pipeline="own_steps:pipeline")
    folder = checkout(tmp_path_factory.mktemp("project"), bundle)
    image = f"{REPOSITORY}:joblib"
    said = build(folder, "Dockerfile.lambda", image)
    assert "the model needs your own module own_numbers" in said
    copying = [sys.executable, "containers/needs.py", "modules", "handler/model"]
    subprocess.run(copying, cwd=folder, env={**os.environ, "PYTHONPATH": str(modules)}, check=True)
    docker("build", f"--file={folder / 'Dockerfile.lambda'}", f"--tag={image}", str(folder))
    with on_lambda(image) as container:
        assert container.invoke(event("direct"))["model"]["name"] == "own"
    assert "joblib" in docker("run", "--rm", "--entrypoint=ls", image, "handler/model")
    bill = [each.partition("==")[0] for each in listed(bill_of(image))]
    assert {"scikit-learn", "lightgbm"} <= set(bill)


def test_another_data_set_is_served_by_the_same_image(tmp_path: Path) -> None:
    wine = load_wine(as_frame=True)
    frame = wine.frame.assign(target=[str(wine.target_names[place]) for place in wine.target])
    bundle = trained(tmp_path, frame, "wine", target="target", pipeline="random_forest")
    (tmp_path / "project").mkdir()
    folder = checkout(tmp_path / "project", bundle)
    image = f"{REPOSITORY}:wine"
    build(folder, "Dockerfile.lambda", image)
    record = json.loads((bundle / "model.json").read_text())["golden"][0]
    with on_lambda(image) as container:
        answer = container.invoke(record["record"])
        several = container.invoke({"instances": [record["record"]] * 20})  # for onnxruntime
    assert answer["prediction"] == record["prediction"]
    assert [each["prediction"] for each in several["predictions"]] == [record["prediction"]] * 20


# The Lambda image under the emulator.


def test_the_lambda_image_answers_every_request_event() -> None:
    with on_lambda(LAMBDA, env={"LOG_LEVEL": "ERROR"}) as container:
        for name in (*DIRECT, *HTTP):
            golden = json.loads((GOLDEN / f"{name}.json").read_text())
            assert comparable(container.invoke(event(name))) == golden, name
        error = container.invoke({"age": "old"})
        assert error["errorType"] == "InvalidRecords"
        assert docker("exec", container.name, "ls", "-A", "/tmp") == ""  # no library leaves anything
        told = container.lines()
        code, seconds = container.stop()
    assert (code, seconds < 5) == (0, True)
    assert len(told) == len(DIRECT) + len(HTTP) + 1
    for line in told:
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Dimensions"] == [["FunctionName"]]
        assert all(isinstance(line[metric["Name"]], int | float) for metric in directive["Metrics"])
    assert [line["ColdStarts"] for line in told] == [1] + [0] * (len(told) - 1)
    assert sum(line["RowsRejected"] for line in told) == 1  # in the file of alb-multi-value
    assert sum(line["Errors"] for line in told) == 0


def test_make_invoke_prints_the_answer(project: Path) -> None:
    path = f"{Path(sam_command()).parent}{os.pathsep}{os.environ['PATH']}"
    said = make(project, "invoke", "EVENT=events/direct.json", PATH=path)
    assert comparable(json.loads(said)) == json.loads((GOLDEN / "direct.json").read_text())


def test_the_docker_lines_of_the_documentation_work(project: Path) -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    blocks = re.findall(r"```\w*\n(docker run .*?)```", "\n".join(map(Path.read_text, pages)), re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        port, name = free_port(), f"pasted-{free_port()}"
        pasted = re.sub(r"(?:(?<=-p )|(?<=localhost:))(?:8080|9000)\b", str(port), block)
        pasted = pasted.replace("sklearn-function:", f"{REPOSITORY}:").replace(
            "$(command -v aws-lambda-rie)", emulator()
        )
        pasted = pasted.replace("docker run", f"docker run --detach --name {name}")
        pasted = pasted.replace("curl ", "curl --silent --show-error --retry 20 --retry-all-errors ")
        try:
            done = subprocess.run(
                ["bash", "-ec", pasted], cwd=project, capture_output=True, text=True, timeout=PATIENCE
            )
            assert '"prediction": 0' in done.stdout, done.stdout + done.stderr
        finally:
            docker("rm", "--force", name)


# The Cloud Run image.


def test_the_cloud_run_image_answers_http_and_cloud_events(gcs: GCS) -> None:
    source, target = gcs.bucket("in"), gcs.bucket("out")
    with reachable(gcs) as proxy:
        env = {**cloud_run_env(gcs, proxy, source, target), "WORKERS": "3", "PORT": "9090"}
        with run(CLOUD_RUN, env=env, port=9090) as container:
            for path in ("/healthz", "/apidocs", "/openapi.json", "/model"):
                assert container.ask(path)[0] == 200
            status, body = container.ask("/predict?age=45&new_user=0&total_pages_visited=5")
            assert (status, json.loads(body)["prediction"]) == (200, 0)
            status, body = container.ask("/predict_file", CUSTOMERS, {"content-type": "text/csv"})
            assert json.loads(body)["predictions"] == [0, None, 1]
            for structured in (False, True):
                key = f"incoming/{structured} & more.csv"
                gcs.put(source, key, CUSTOMERS)
                post = gcs.cloudevent(source, key, structured=structured)
                status, body = container.ask("/", post.body, post.headers)
                rows = {"read": 3, "scored": 2, "rejected": 1}
                assert (status, json.loads(body)["results"][0]["rows"]) == (200, rows)
                assert gcs.keys(target, f"scored/{key}") == [f"scored/{key}/{name}" for name in OUTPUTS]
            assert len(docker("top", container.name).splitlines()) == 2  # a title, one server
            assert all("_aws" not in line for line in container.lines())
            code, seconds = container.stop()
    assert (code, seconds < 5) == (0, True)


def test_sigterm_lets_a_request_in_flight_finish(gcs: GCS) -> None:
    source, target = gcs.bucket("in"), gcs.bucket("out")
    gcs.put(source, "incoming/a.csv", CUSTOMERS)
    post = gcs.cloudevent(source, "incoming/a.csv")
    with (
        reachable(gcs) as proxy,
        run(CLOUD_RUN, env=cloud_run_env(gcs, proxy, source, target)) as container,
        proxy.pause(when=on("PUT")) as pause,
    ):
        with in_background(lambda: container.ask("/", post.body, post.headers)) as answers:
            pause.wait()
            threading.Timer(1, pause.release).start()
            code, seconds = container.stop()
        assert (code, seconds < 8) == (0, True)
        assert [status for status, _ in answers] == [200]
    assert gcs.keys(target) == [f"scored/incoming/a.csv/{name}" for name in OUTPUTS]


def test_a_cloud_run_job_scores_a_file_in_parts(gcs: GCS) -> None:
    """As job.yaml has it, started by the service: three tasks side by side, one of them killed in a part,
    and again where it joins them all; the parts are those of the file scored in one piece."""
    source, target = gcs.bucket("in"), gcs.bucket("out")
    content = table_with_long_cells()
    gcs.put(source, "incoming/big.csv", content)
    event = gcs.cloudevent(source, "incoming/big.csv")
    folder = "scored/incoming/big.csv"
    with reachable(gcs) as proxy, Google(gateway()) as google:
        env = {**cloud_run_env(gcs, proxy, source, target), **google.env}
        env |= {"JOB": JOB, "LARGE_BYTES": str(len(content) - 1)}

        def service() -> Any:
            """The service's result for the event."""
            with run(CLOUD_RUN, env=env) as container:
                status, body = container.ask("/", event.body, event.headers)
                assert status == 200, body
                (result,) = json.loads(body)["results"]
                return result

        assert service() == {"started": EXECUTION}
        (overrides,) = google.starts()
        (override,) = overrides["containerOverrides"]
        assert (override["args"][-2:], overrides["taskCount"]) == (["--parts", "1"], 1)
        words = [*override["args"][:-1], "7"]  # by hand, with more parts than its size asks for
        given = {**gcs.at(proxy.url).env, **{each["name"]: each["value"] for each in override["env"]}}

        with contextlib.ExitStack() as stack:
            with proxy.pause(when=on("PUT", "predictions/part-00001.csv")) as pause:
                first = [stack.enter_context(task(words, given, index, 3)) for index in range(3)]
                pause.wait()
                docker("kill", first[1].name)
            assert [ended(each) for each in first] == [0, 137, 0], first[0].logs()
            assert f"{folder}/summary.json" not in gcs.keys(target)
            with proxy.pause(when=on("PUT", "summary.json")) as pause:
                second = stack.enter_context(task(words, given, 1, 3, attempt=1))
                pause.wait()
                docker("kill", second.name)
            assert ended(second) == 137
            third = stack.enter_context(task(words, given, 1, 3, attempt=2))
            assert ended(third) == 0, third.logs()
            told = [[line["part"] for line in each.lines()] for each in (first[0], second, first[2])]
            assert told == [[0, 3, 6], [1, 4], [2, 5]], "the second was killed where it joined them"
            assert {line["severity"] for each in (*first, second, third) for line in each.lines()} == {
                "INFO"
            }
        assert service() == {"skipped": "this model version has scored it already"}

        whole = [*words[:2], "--output", f"gs://{target}/whole"]
        with task(whole, given) as container:
            assert ended(container) == 0, container.logs()
    parts = [gcs.get(target, key) for key in gcs.keys(target, f"{folder}/predictions/")]
    assert len(parts) == 7
    header, _, _ = parts[0].partition(b"\n")
    unsplit = gcs.get(target, "whole/incoming/big.csv/predictions.csv")
    assert b"".join([header + b"\n", *(part.removeprefix(header + b"\n") for part in parts)]) == unsplit
    names = [f"{each}/incoming/big.csv" for each in ("scored", "whole")]
    assert len({gcs.get(target, f"{each}/rejected.csv") for each in names}) == 1
    summaries = [json.loads(gcs.get(target, f"{each}/summary.json")) for each in names]
    for member in ("input", "model", "rows", "rejects", "predictions"):
        assert summaries[0][member] == summaries[1][member]
    assert gcs.pending(target) == []


def table_with_long_cells() -> bytes:
    """Rows with line ends in quoted cells, and some that are rejected."""
    notes = ("", "a", '"two\nlines"', '"1,0,5,\n2,1,6,\n3,0,7,\n4,1,8,"', '"a ""quoted"" word"')
    rows = (f"{'old' if n % 17 == 0 else n % 60},{n % 2},{n % 31},{notes[n % 5]}" for n in range(3000))
    return "\n".join(["age,new_user,total_pages_visited,note", *rows, ""]).encode()


@contextlib.contextmanager
def task(
    words: list[str], env: dict[str, str], index: int | None = None, count: int = 1, attempt: int = 0
) -> Iterator[Container]:
    """A container that runs job.yaml's command with these arguments, as a task of so many; None: alone.

    https://cloud.google.com/run/docs/container-contract#jobs-env-vars
    """
    job = yaml.safe_load((ROOT / "job.yaml").read_text())
    (described,) = job["spec"]["template"]["spec"]["template"]["spec"]["containers"]
    entry, *command = described["command"]
    tasks = {
        "CLOUD_RUN_JOB": "sklearn-function",
        "CLOUD_RUN_EXECUTION": "sklearn-function-x7b2k",
        "CLOUD_RUN_TASK_INDEX": str(index),
        "CLOUD_RUN_TASK_ATTEMPT": str(attempt),
        "CLOUD_RUN_TASK_COUNT": str(count),
    }
    given = env if index is None else {**env, **tasks}
    options = [word for name, value in given.items() for word in ("--env", f"{name}={value}")]
    name = docker(
        "run", "--detach", f"--entrypoint={entry}", *LOCKED, *options, CLOUD_RUN, *command, *words
    )
    try:
        yield Container(name, "")
    finally:
        docker("rm", "--force", name)


def ended(container: Container) -> int:
    """The exit code of a container, once it has ended."""
    return int(docker("wait", container.name, timeout=PATIENCE))


def cloud_run_env(gcs: GCS, proxy: FaultyProxy, source: str, target: str) -> dict[str, str]:
    return {
        **gcs.at(proxy.url).env,
        "INPUT_URI": f"gs://{source}/incoming",
        "OUTPUT_URI": f"gs://{target}/scored",
        "K_SERVICE": "sklearn-function",
    }


@contextlib.contextmanager
def in_background(ask: Callable[[], Any]) -> Iterator[list[Any]]:
    """Ask while the block runs; the list has the answer, or the error, once the block is left."""
    answers: list[Any] = []

    def asking() -> None:
        try:
            answers.append(ask())
        except (OSError, HTTPException, ValueError) as error:  # it may be killed at any time
            answers.append(error)

    thread = threading.Thread(target=asking)
    thread.start()
    yield answers
    thread.join(PATIENCE)


# sam.


@pytest.fixture(scope="session")
def built(project: Path, bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: ARG001
    """A checkout after ``sam build``; sam passes on no variable that the template does not declare."""

    def build(folder: Path) -> None:
        file = checkout(folder, bundle_dir) / "template.yaml"
        declared = "LOG_LEVEL: !Ref LogLevel\n"
        storage = "".join(f"        {name}: ''\n" for name in ("AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP"))
        file.write_text(file.read_text().replace(declared, declared + storage))
        sam("build", cwd=folder)

    return once(tmp_path_factory, "built", build)


def test_sam_local_invoke_answers_every_event(
    built: Path, s3: S3, proxy: FaultyProxy, tmp_path: Path
) -> None:
    for bucket in ("example-input", "example-output"):
        s3.client("s3").create_bucket(Bucket=bucket)
    for name in ("customers", "more customers"):
        s3.put("example-input", f"incoming/{name}.csv", CUSTOMERS)
    env = {
        **s3.at(proxy.url).env,
        "INPUT_URI": "s3://example-input/incoming",
        "OUTPUT_URI": "s3://example-output/scored",
    }
    variables = tmp_path / "env.json"
    variables.write_text(json.dumps({"Parameters": env}))
    said = sam(
        "local", "invoke", "RequestFunction", "--skip-pull-image", "--event=events/direct.json",
        f"--env-vars={variables}", cwd=built,
    )  # fmt: skip
    answered = (*DIRECT, *HTTP, *LATTICE)
    golden = {name: json.loads((GOLDEN / f"{name}.json").read_text()) for name in answered}
    assert comparable(json.loads(said.splitlines()[-1])) == golden["direct"]
    refused = list(REFUSED)[::4]  # one of each kind
    with sam_serves("start-lambda", built, f"--env-vars={variables}") as url:
        for name in (*golden, *refused, *UPLOADS):
            reply = invoked(url, "BatchFunction" if name in UPLOADS else "RequestFunction", event(name))
            if name in refused:
                assert reply["errorType"] == "RefusedEvent", name
            elif name in UPLOADS:
                assert "errorType" not in reply, name
                assert name.startswith("sqs") <= (reply == GOOD), name
            else:
                assert comparable(reply) == golden[name], name
    folders = ("customers.csv", "more customers.csv")
    expected = [f"scored/incoming/{folder}/{name}" for folder in folders for name in OUTPUTS]
    assert s3.keys("example-output") == expected


def invoked(url: str, function: str, event: Any) -> Any:
    """The function's reply, or its error document, by Lambda's Invoke API."""
    request = urllib.request.Request(
        f"{url}/2015-03-31/functions/{function}/invocations", data=json.dumps(event).encode()
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def test_sam_local_start_api_answers_the_documentation(built: Path) -> None:
    pages = "\n".join((ROOT / name).read_text() for name in ("README.md", "docs/requests.md"))
    told = r"""curl() { command curl -sS -w '\n%{http_code}' "$@"; }"""
    lines = re.findall(r"^\$ (curl (?:.*\\\n)*.*)$", pages, re.MULTILINE)
    assert len(lines) > 5
    with sam_serves("start-api", built) as url:
        for line in lines:
            typed = line.replace("http://localhost:8080", url).replace("localhost:8080", url)
            done = subprocess.run(
                ["bash", "-c", f"{told}; {typed}"],
                cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE,
            )  # fmt: skip
            body, _, status = done.stdout.rpartition("\n")
            assert status in ("200", "422"), f"{line}\n{done.stdout}{done.stderr}"
            assert "prediction" in body or "errors" in body


@contextlib.contextmanager
def sam_serves(command: str, folder: Path, *options: str) -> Iterator[str]:
    """The URL of ``sam local start-lambda`` or ``start-api``, which keeps a container for each function."""
    port, quiet = free_port(), subprocess.DEVNULL
    given = (f"--port={port}", "--skip-pull-image", "--warm-containers=LAZY", *options)
    words = [sam_command(), "local", command, *given]
    with subprocess.Popen(words, cwd=folder, env=sam_env(), stdout=quiet, stderr=quiet) as server:
        try:
            wait_for(port, server)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(PATIENCE)


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        assert server.poll() is None
        assert time.monotonic() < deadline
        try:
            socket.create_connection(("127.0.0.1", port), PATIENCE).close()
        except OSError:
            time.sleep(0.2)
        else:
            return


# The fault drill; its table is in docs/operations.md.


def test_killed_in_the_middle_of_a_file(s3: S3, proxy: FaultyProxy) -> None:
    uploads = Uploads(s3, proxy, lines(500_000))
    with (
        on_lambda(LAMBDA, uploads.env) as container,
        proxy.pause(2, when=on("PUT", "partNumber")) as pause,
        in_background(lambda: container.invoke(uploads.event)),
    ):
        pause.wait()
        docker("kill", container.name)
        pause.release()
    assert uploads.written == []
    assert s3.pending(uploads.target)  # the bucket's lifecycle rule ends these
    with on_lambda(LAMBDA, uploads.env) as container:  # the queue gives the message to another one
        assert container.invoke(uploads.event) == GOOD
    assert uploads.written == [*OUTPUTS]
    assert uploads.rows == {"read": 500_000, "scored": 500_000, "rejected": 0}


def test_out_of_memory(s3: S3, proxy: FaultyProxy) -> None:
    uploads = Uploads(s3, proxy, lines(4_000_000))
    small = ("--memory=160m", "--memory-swap=160m")
    with on_lambda(LAMBDA, {**uploads.env, "BLOCK_BYTES": "30000000"}, small) as container:
        reply = container.invoke(uploads.event)
        assert (reply["errorType"], "signal: killed" in reply["errorMessage"]) == (
            "Runtime.ExitError",
            True,
        )
        assert container.invoke(event("direct"))["prediction"] == 0  # in a new process
    assert uploads.written == []
    with on_lambda(LAMBDA, uploads.env, ("--memory=512m", "--memory-swap=512m")) as container:
        assert container.invoke(uploads.event) == GOOD
    assert uploads.rows["scored"] == 4_000_000


def test_no_room_in_tmp(s3: S3, proxy: FaultyProxy) -> None:
    uploads = Uploads(s3, proxy, lines(500_000))
    options = ("--read-only", "--tmpfs=/tmp:size=4k", "--ipc=none")
    with on_lambda(LAMBDA, uploads.env, options) as container:
        full = "dd if=/dev/zero of=/tmp/fill bs=4k count=1; ! echo more >/tmp/more"
        docker("exec", container.name, "sh", "-c", full)
        assert container.invoke(uploads.event) == GOOD
        assert container.invoke(event("direct"))["prediction"] == 0
    assert uploads.rows["scored"] == 500_000


def test_storage_down(s3: S3, proxy: FaultyProxy, gcs: GCS) -> None:
    """Both images at once, as each waits for its storage for a while."""

    def on_s3() -> None:
        uploads = Uploads(s3, proxy, CUSTOMERS)
        with on_lambda(LAMBDA, uploads.env) as container:
            proxy.fail(mode="drop", lasting="ever")
            assert container.invoke(uploads.event) == uploads.failed
            error = container.invoke({"input": f"s3://{uploads.source}/incoming/a.csv"})
            assert error["errorType"] == "StorageDown"
            assert container.lines()[-1]["Errors"] == 1
            assert container.invoke(event("direct"))["prediction"] == 0
            proxy.clear()
            assert container.invoke(uploads.event) == GOOD

    def on_cloud_storage() -> None:
        source, target = gcs.bucket("in"), gcs.bucket("out")
        gcs.put(source, "incoming/a.csv", CUSTOMERS)
        post = gcs.cloudevent(source, "incoming/a.csv")
        env = cloud_run_env(gcs, way, source, target)
        with run(CLOUD_RUN, env=env) as container:
            way.fail(mode="drop", lasting="ever")
            assert container.ask("/", post.body, post.headers)[0] == 503
            assert container.ask("/healthz")[0] == 200
            way.clear()
            assert container.ask("/", post.body, post.headers)[0] == 200

    with reachable(gcs) as way, ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(on_s3), pool.submit(on_cloud_storage)]:
            done.result()


def test_the_deadline_is_near(s3: S3, proxy: FaultyProxy) -> None:
    uploads = Uploads(s3, proxy, lines(500_000))
    env = {
        **uploads.env,
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "6",
    }  # the handler gives up with a fifth of it left
    with on_lambda(LAMBDA, env) as container:
        with proxy.pause(when=on("GET", "a.csv")):  # and sees it while the call stalls
            assert container.invoke(uploads.event) == uploads.failed
        assert container.lines()[-1]["error"] == "DeadlineNear"
    assert (uploads.written, s3.pending(uploads.target)) == ([], [])


def test_a_tampered_bundle(project: Path, tmp_path: Path) -> None:
    tampered = tmp_path / "model.onnx"
    tampered.write_bytes((project / "handler" / "model" / "model.onnx").read_bytes() + b"\0")
    tampered.chmod(0o644)
    options = (*LOCKED, f"--volume={tampered}:/opt/function/app/handler/model/model.onnx:ro")
    with on_lambda(LAMBDA, options=options) as container:
        error = container.invoke(event("direct"))
        assert error["errorType"] == "BundleError"
        assert len(set(re.findall("[0-9a-f]{64}", error["errorMessage"]))) == 2
    name = docker("run", "--detach", *options, CLOUD_RUN)
    try:
        assert docker("wait", name, timeout=PATIENCE) != "0"
        told = docker("logs", name, errors=True)
        assert told.startswith("error: handler/model/model.onnx has sha256 ")
        assert "the file was changed after training" in told
        assert "Traceback" not in told
    finally:
        docker("rm", "--force", name)


def test_a_file_in_parts_through_the_state_machine(tmp_path: Path) -> None:
    """The definition, by moto, on the real image: quoted line ends across each boundary, and a part killed.

    12 MB, or as many bytes as SKLEARN_FUNCTION_SPLIT_BYTES says: with 1000000000, a gigabyte.
    """
    size = int(os.environ.get("SKLEARN_FUNCTION_SPLIT_BYTES", "12000000"))
    part_bytes = size // 8
    path = quoted_file(tmp_path / "big.csv", size, part_bytes)
    reached: list[Deployment] = []
    with (
        invoke_api(lambda event: reached[0].function(event)) as url,
        s3_server(url) as s3,
        reachable(s3) as proxy,
        Emulated(LAMBDA, s3.at(proxy.url).env) as emulated,
    ):
        deployed = Deployment(s3, proxy, emulated, emulated, part_bytes, bucket=s3.bucket())
        reached.append(deployed)
        s3.client("s3").upload_file(str(path), deployed.bucket, KEY)
        killer = deployed.kill_part_1()
        first = deployed.in_moto(deployed.asked())
        killer.join()
        assert first["status"] == "SUCCEEDED", (first, emulated.log())
        parts = [event["part"]["index"] for event in emulated.events if "part" in event]
        assert sorted(parts) == sorted([*range(9), 1])
        deployed.assert_equal_to_unsplit()
        before = deployed.outputs()
        second = deployed.in_moto(deployed.asked())
        assert second["status"] == "SUCCEEDED", (second, emulated.log())
        after = deployed.outputs()
        assert all(after[name] == before[name] for name in before if name != "plan.json")
