"""The zip of the request function: what it answers with nothing but itself on the path, what is refused.

https://docs.aws.amazon.com/lambda/latest/dg/python-package.html
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import boto3
import pytest

from containers.request_zip import ENTRY
from handler.app import App
from handler.schema import to_text
from handler.scoring.model import Model
from handler.settings import Settings
from handler.tables.writing import lines
from handler.web.api import ROUTES
from tests.support.bundles import resealed
from tests.support.cloud import S3
from tests.support.folders import ANSWER, answers, build, event, unpacked

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def task(bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(bundle_dir, tmp_path_factory.mktemp("zip"))


REQUESTS = (
    "alb", "apigateway-v1", "apigateway-v2", "direct", "direct-instances", "function-url", "vpc-lattice-v2",
)  # fmt: skip


def test_requests_are_answered_as_by_the_image(task: Path, bundle_dir: Path) -> None:
    app = App(Model.load(bundle_dir), Settings())
    events = [event(name) for name in REQUESTS]
    events += [{**each, "rawPath": "/explain"} for each in events if "rawPath" in each]
    assert answers(task, events) == [app.handle(each) for each in events]


def test_the_pages_and_what_they_load_are_there(task: Path) -> None:
    asking = ("predict", "explain")
    routes = [each for each in ROUTES if each.public and "GET" in each.methods and each.tail not in asking]
    paths = [route.tail for route in routes] + ["page.js", "page.css", "apidocs.js", "swagger-ui-bundle.js"]
    page = {**event("apigateway-v2"), "rawQueryString": "", "requestContext": {"http": {"method": "GET"}}}
    asked = [{**page, "rawPath": f"/{path}"} for path in paths]
    for path, answer in zip(paths, answers(task, asked), strict=True):
        assert answer["statusCode"] == 200, (path, answer)


@pytest.mark.parametrize("rows", [1, 200])
def test_many_records_are_predicted_as_by_the_image(task: Path, bundle_dir: Path, rows: int) -> None:
    records = [
        {"age": 20 + row % 60, "new_user": row % 2, "total_pages_visited": row % 25} for row in range(rows)
    ]
    (answer,) = answers(task, [{"instances": records}])
    expected = App(Model.load(bundle_dir), Settings()).handle({"instances": records})
    for given, known in zip(answer["predictions"], expected["predictions"], strict=True):
        assert given["prediction"] == known["prediction"]
        assert given["probabilities"] == pytest.approx(known["probabilities"], abs=1e-12)


def upload(kind: str, body: str, accept: str = "*/*", route: str = "predict_file") -> Any:
    """The event of a file that is uploaded."""
    return {
        "version": "2.0",
        "rawPath": f"/{route}",
        "rawQueryString": "",
        "headers": {"content-type": kind, "accept": accept},
        "body": body,
        "requestContext": {"http": {"method": "POST"}},
    }


ROWS = "age,new_user,total_pages_visited\n" + 50 * "45,0,5\n~,0,5\n"
FORM = (
    '--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\nContent-Type: text/csv\r\n\r\n'
    "{}\r\n--x--\r\n"
)


@pytest.mark.parametrize(
    "name",
    [
        "bundle_dir",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("mixed_dir", "regression_dir", "anomaly_dir", "date_dir")
        ),
    ],
)
def test_files_are_predicted_as_by_the_image(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Quotes, rejected rows, rows of another width, gaps; as JSON, as CSV and all or none."""
    bundle = request.getfixturevalue(name)
    model = Model.load(bundle)
    names, features = model.schema.names, model.schema.features
    golden = [row["record"] for row in model.manifest.golden]
    rows = [[to_text(feature, record.get(feature.name)) for feature in features] for record in golden]
    sound = lines(names, *rows).decode()
    odd = sound + lines(["~"] * len(names), ["1"], [*rows[0], "more"], ['"', *rows[0][1:]], *rows).decode()
    events = [
        *(
            upload(kind, odd, accept)
            for kind in ("text/csv", "text/plain")
            for accept in ("*/*", "text/csv")
        ),
        upload("multipart/form-data; boundary=x", FORM.format(odd)),
        *(upload("text/csv", text, route="predict") for text in (sound, odd)),
        upload("text/csv", lines(names).decode()),
        upload("text/csv", "a,b\n1,2\n"),
    ]
    app = App(model, Settings())
    for given, known in zip(
        answers(unpacked(bundle, tmp_path), events), map(app.handle, events), strict=True
    ):
        assert (given["statusCode"], given["headers"]) == (known["statusCode"], known["headers"])
        if "text/csv" in known["headers"]["content-type"]:
            assert given["body"] == known["body"]
        else:
            assert near(json.loads(given["body"]), json.loads(known["body"]))


def near(one: Any, other: Any) -> bool:
    """Whether two documents are the same, but for the last digits of numbers."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(near(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(near, one, other))
    if isinstance(one, float):
        return isinstance(other, float) and abs(one - other) <= 1e-9 * max(1.0, abs(other))
    return bool(one == other)


def test_libraries_that_are_there_all_the_same_change_nothing(task: Path) -> None:
    """A layer of the function may bring numpy and onnxruntime."""
    script = ANSWER.replace("import json, sys", "import json, sys, numpy, onnxruntime")
    events = [event("direct"), {"instances": [event("direct")] * 40}, upload("text/csv", ROWS)]
    done = subprocess.run(
        [sys.executable, "-I", "-c", script, str(task)],
        cwd=task,
        env={"LOG_LEVEL": "ERROR"},
        input=json.dumps(events),
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == answers(task, events)


FILES = ("s3-put", "eventbridge-s3", "sns-s3", "direct-batch")


def test_an_event_of_a_file_is_an_error_that_names_the_image(task: Path) -> None:
    """Raised, so that the platform keeps the event for whoever can score the file."""
    settings = {"INPUT_URI": "s3://example-input", "OUTPUT_URI": "s3://example-output"}
    steps = [
        {"input": "s3://example-input/a.csv", step: {}} for step in ("plan", "part", "complete", "failed")
    ]
    for answer in answers(task, [*map(event, FILES), *steps], **settings):
        assert answer["errorType"] == "RequestsOnly"
        assert "make images" in answer["errorMessage"]


def test_a_message_of_a_queue_stays_in_the_queue(task: Path) -> None:
    (answer,) = answers(task, [event("sqs-s3")], INPUT_URI="s3://example-input", OUTPUT_URI="s3://out")
    failed = [record["messageId"] for record in event("sqs-s3")["Records"]]
    assert [each["itemIdentifier"] for each in answer["batchItemFailures"]] == failed


@pytest.mark.slow
def test_every_kind_of_feature_works_without_numpy(
    mixed_dir: Path, text_dir: Path, date_dir: Path, anomaly_dir: Path, tmp_path: Path
) -> None:
    """The golden rows, which have texts, dates, gaps, categories and scores."""
    for number, bundle in enumerate((mixed_dir, text_dir, date_dir, anomaly_dir)):
        (folder := tmp_path / str(number)).mkdir()
        model = Model.load(bundle)
        records = [row["record"] for row in model.manifest.golden]
        given = answers(unpacked(bundle, folder), [{"instances": records}])
        assert given == [App(model, Settings()).handle({"instances": records})]


def test_the_zip_is_small_and_the_same_each_time(bundle_dir: Path, tmp_path: Path) -> None:
    made = []
    for name in ("one", "other"):
        (folder := tmp_path / name).mkdir()
        said = build(bundle_dir, folder).stdout
        (path,) = (folder / "build").glob("*.zip")
        made.append(path.read_bytes())
    assert made[0] == made[1]
    assert len(made[0]) < 1_000_000
    runtime = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    assert f"RequestZip=BUCKET/{path.name} RequestRuntime={runtime}" in said
    template = (ROOT / "template.yaml").read_text()
    assert f"      Handler: {ENTRY}\n" in template
    with zipfile.ZipFile(path) as packed:
        for each in packed.infolist():
            assert each.external_attr >> 16 == 0o100644
            assert each.filename.startswith(("handler/", "multipart", "__pycache__/multipart"))
        held = {Path(name).name for name in packed.namelist()}
    assert not held & {"model.joblib", "model.onnx", "__main__.py", "trees.c", "libkernel.so"}


def test_bytecode_of_another_python_is_passed_over(task: Path, tmp_path: Path) -> None:
    """A runtime of another magic number compiles the source, as it does where there is no bytecode."""
    copy = shutil.copytree(task, tmp_path / "task")
    for path in copy.rglob("*.pyc"):
        path.write_bytes(b"\0\0\r\n" + path.read_bytes()[4:])
    assert answers(copy, [event("direct")]) == answers(task, [event("direct")])


def test_bytecode_is_what_the_runtime_loads(task: Path, tmp_path: Path) -> None:
    """Its hash is not compared with the source, and it names the file as it lies on Lambda."""
    copy = shutil.copytree(task, tmp_path / "task")
    for path in copy.rglob("*.py"):
        path.write_text("raise ImportError")
    assert answers(copy, [event("direct")]) == answers(task, [event("direct")])


#: What Lambda's own Python has of boto3.
#: https://docs.aws.amazon.com/lambda/latest/dg/lambda-python.html#python-sdk-included
BOTO3 = ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil", "six.py")
#: Answers events, an event a line, with a second folder that stands for the runtime's.
SERVE = """
import json, sys
sys.path[:0] = sys.argv[1:3]
from handler.app import lambda_handler
for line in sys.stdin:
    lambda_handler(json.loads(line), None)
"""


@pytest.mark.slow
def test_requests_are_captured_by_the_runtimes_own_boto3(task: Path, tmp_path: Path, s3: S3) -> None:
    for name in BOTO3:
        if (source := Path(boto3.__file__).parents[1] / name).exists():
            (tmp_path / name).symlink_to(source)
    bucket = s3.bucket("captured")
    uri = f"s3://{bucket}/requests"
    env = {**s3.env, "AWS_LAMBDA_FUNCTION_NAME": "f", "CAPTURE_URI": uri, "CAPTURE_SECONDS": "0"}
    with subprocess.Popen(
        [sys.executable, "-S", "-I", "-c", SERVE, str(task), str(tmp_path)],
        cwd=task,
        env=env,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        for _ in range(60):  # a write that was too slow is tried again by a later request
            process.stdin.write(json.dumps(event("direct")) + "\n")
            process.stdin.flush()
            time.sleep(1)
            if keys := s3.keys(bucket):
                break
        process.stdin.close()
        log = process.stderr.read()
    assert keys, log
    assert keys[0].startswith("requests/day=")
    line = json.loads(s3.get(bucket, keys[0]).splitlines()[0])
    assert line["features"] == event("direct")


def test_what_a_zip_cannot_capture_into_is_refused(task: Path) -> None:
    (answer,) = answers(task, [event("direct")], CAPTURE_URI="gs://bucket/folder")
    assert answer["errorType"] == "SettingError"
    assert "must be s3://BUCKET/FOLDER" in answer["errorMessage"]


def test_a_signature_is_not_passed_over(task: Path) -> None:
    (answer,) = answers(task, [event("direct")], MODEL_PUBLIC_KEY="public.pem")
    assert answer["errorType"] == "BundleError"
    assert "serve the image" in answer["errorMessage"]


@pytest.mark.slow
def test_a_model_without_a_one_row_program_is_refused(joblib_dir: Path, tmp_path: Path) -> None:
    done = build(joblib_dir, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no one-row program, so that even one row needs scikit-learn" in done.stderr
    assert f"make images MODEL={joblib_dir}" in done.stderr
    assert not (tmp_path / "build").exists()


def test_what_is_not_a_bundle_or_learnt_from_the_sample_is_refused(
    bundle_dir: Path, tmp_path: Path
) -> None:
    assert "make: no model at " in build(tmp_path / "none", tmp_path).stderr
    folder = resealed(bundle_dir, tmp_path / "model", lambda each: each["training"].update(synthetic=True))
    said = build(folder, tmp_path).stderr
    assert "learnt from the synthetic sample" in said
    assert "make zip SYNTHETIC=1" in said
    assert not (tmp_path / "build").exists()


def test_a_runtime_that_is_not_here_is_named(bundle_dir: Path, tmp_path: Path) -> None:
    said = build(bundle_dir, tmp_path, "python3.99").stderr
    assert said.startswith("make: there is no python3.99 on the path")
