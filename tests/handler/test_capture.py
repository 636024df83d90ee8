"""The capture: what its objects hold, when they are written, and that no request fails or waits for it."""

from __future__ import annotations

import contextlib
import io
import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import polars as pl
import pytest

from handler import telemetry
from handler.app import App
from handler.errors import SettingError
from handler.schema import to_text
from handler.scoring.model import Model
from handler.settings import Settings
from tests.support.bundles import resealed
from tests.support.cloud import GCS, S3
from tests.support.faults import FaultyProxy, on
from tests.support.serving import ROOT, free_port, serve

ON_LAMBDA = {"AWS_LAMBDA_FUNCTION_NAME": "scorer"}
RECORD = {"age": 45, "new_user": 0, "total_pages_visited": 5}
QUERY = urlencode(RECORD)
CSV = "age,new_user,total_pages_visited\n45,0,5\n22,1,25\n"


def http(method: str, path: str, body: str = "", kind: str = "application/json", query: str = "") -> Any:
    """An event of a function URL."""
    return {
        "version": "2.0",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {"content-type": kind},
        "body": body,
        "requestContext": {"http": {"method": method}},
    }


def app_of(model: Model, folder: Path, **environ: str) -> App:
    """The application on Lambda, which captures into a folder, by itself at once."""
    environ = {"CAPTURE_URI": str(folder), "CAPTURE_SECONDS": "0", **ON_LAMBDA, **environ}
    return App(model, Settings.from_env(environ))


def captured(folder: Path) -> list[dict[str, Any]]:
    """The lines of all objects, the oldest object first."""
    paths = sorted(folder.rglob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns)
    return [json.loads(line) for path in paths for line in path.read_text().splitlines()]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What is logged on Lambda."""
    stream = io.StringIO()
    telemetry.configure(Settings.from_env(ON_LAMBDA), stream)
    yield stream
    telemetry.configure(Settings())


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


EVENTS: dict[str, tuple[str, Any, int]] = {
    "query": ("GET /predict", http("GET", "/predict", query=QUERY), 1),
    "record": ("POST /predict", http("POST", "/predict", json.dumps(RECORD)), 1),
    "records": ("POST /predict", http("POST", "/predict", json.dumps([RECORD] * 20)), 20),
    "csv": ("POST /predict", http("POST", "/predict", CSV, "text/csv"), 2),
    "explained query": ("GET /explain", http("GET", "/explain", query=QUERY), 1),
    "explained records": ("POST /explain", http("POST", "/explain", json.dumps([RECORD, RECORD])), 2),
    "direct": ("invoke", RECORD, 1),
    "direct instances": ("invoke", {"instances": [RECORD] * 3}, 3),
}


@pytest.mark.parametrize("name", EVENTS)
def test_each_predicted_record_is_a_line_with_its_prediction(
    name: str, model: Model, tmp_path: Path, log: io.StringIO
) -> None:
    route, event, count = EVENTS[name]
    answer = app_of(model, tmp_path).handle(event, "request-1")
    answer = json.loads(answer["body"]) if "body" in answer else answer
    predictions = answer.get("predictions", [answer])
    assert len(captured(tmp_path)) == len(predictions) == count
    for line, prediction in zip(captured(tmp_path), predictions, strict=True):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
        assert (line.pop("request_id"), line.pop("route")) == ("request-1", route)
        features, identity = line.pop("features"), line.pop("model")
        assert identity == model.manifest.identity
        assert features.keys() == RECORD.keys()
        assert line == {
            name: each for name, each in prediction.items() if name not in ("contributions", "model")
        }
    (logged,) = lines(log)
    assert not {"features", "prediction", "probabilities"} & logged.keys()


@pytest.mark.parametrize("bundle", ["mixed_dir", "text_dir", "date_dir", "anomaly_dir", "regression_dir"])
def test_what_is_captured_may_be_sent_again_and_is_predicted_the_same(
    bundle: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Gaps, dates, texts, booleans and categories are written as a JSON request states them."""
    model = Model.load(request.getfixturevalue(bundle))
    records = [row["record"] for row in model.manifest.golden]
    app = app_of(model, tmp_path)
    app.handle({"instances": records})
    for record in records:
        known = {
            each.name: to_text(each, record[each.name])
            for each in model.manifest.features
            if record[each.name] is not None
        }
        app.handle(http("GET", "/predict", query=urlencode(known)))
    many, single = captured(tmp_path)[: len(records)], captured(tmp_path)[len(records) :]
    assert [line["features"] for line in many] == records
    assert [line["features"] for line in single] == records
    for line in single:
        again = model.predict_one(model.schema.from_json(line["features"]))
        assert {name: line[name] for name in again} == again


def test_nothing_that_was_refused_and_no_file_is_captured(
    model: Model, tmp_path: Path, log: io.StringIO
) -> None:
    app = app_of(model, tmp_path)
    refused = (
        http("GET", "/predict", query="age=45"),
        http("POST", "/predict", json.dumps([RECORD, {}])),
        http("POST", "/predict", CSV + "old,0,5\n", "text/csv"),
        http("POST", "/explain", "{"),
        http("GET", "/healthz"),
        http("POST", "/predict_file", CSV, "text/csv"),
    )
    for event in refused:
        app.handle(event)
    assert captured(tmp_path) == []
    assert {line["message"] for line in lines(log)} == {"request"}


@pytest.fixture(scope="module")
def with_ids(bundle_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("ids") / "model"
    return Model.load(resealed(bundle_dir, folder, lambda each: each.update(ids=["customer", "order no"])))


@pytest.mark.parametrize(("named", "ids"), [("", None), ("customer", {"customer": "c-4711"})])
def test_an_id_column_is_captured_where_it_is_named(
    named: str, ids: object, with_ids: Model, tmp_path: Path, log: io.StringIO
) -> None:
    record = {**RECORD, "customer": "c-4711", "order no": 12}
    head, *rows = CSV.splitlines()
    table = "\n".join([f"customer,{head},order no", *(f"c-4711,{row},12" for row in rows)])
    app = app_of(with_ids, tmp_path, CAPTURE_IDS=named)
    for event in (
        record,
        {"instances": [record]},
        http("GET", "/predict", query=urlencode(record)),
        http("POST", "/explain", json.dumps(record)),
        http("POST", "/predict", table, "text/csv"),
    ):
        app.handle(event)
    found = captured(tmp_path)
    assert [line.get("ids") for line in found] == [ids] * 6
    assert all(line["features"].keys() == RECORD.keys() for line in found)
    assert "4711" not in log.getvalue()
    app.handle(RECORD)
    assert captured(tmp_path)[-1].get("ids") == (ids and {"customer": None})


def test_a_share_of_requests_is_captured(model: Model, tmp_path: Path) -> None:
    """Of 600 requests, half are 300, and six standard deviations are 73."""
    counts = {}
    for share in ("0", "0.5", "1"):
        app = app_of(model, tmp_path / share, CAPTURE_SHARE=share)
        for number in range(600):
            app.handle({**RECORD, "age": 18 + number % 60}, str(number))
        counts[share] = len(captured(tmp_path / share))
    assert (counts["0"], counts["1"]) == (0, 600)
    assert 227 <= counts["0.5"] <= 373


def test_records_are_written_together_when_they_are_many(model: Model, tmp_path: Path) -> None:
    app = app_of(model, tmp_path, CAPTURE_SECONDS="3600")
    app.handle({"instances": [RECORD] * 499})
    assert captured(tmp_path) == []
    app.handle(RECORD)
    (path,) = tmp_path.rglob("*.jsonl")
    assert len(captured(tmp_path)) == 500
    version = model.manifest.version
    assert re.fullmatch(
        rf"day=\d{{4}}-\d\d-\d\d/\d{{6}}-{version}-[0-9a-f]{{16}}\.jsonl", str(path.relative_to(tmp_path))
    )
    app.handle(RECORD)
    assert len(captured(tmp_path)) == 500


def test_records_are_written_when_they_have_waited_by_whatever_request_comes(
    model: Model, tmp_path: Path
) -> None:
    app = app_of(model, tmp_path, CAPTURE_SECONDS="1")
    app.handle(RECORD)
    app.handle({**RECORD, "age": 46})
    time.sleep(1.1)
    app.handle(http("GET", "/healthz"))
    assert [line["features"]["age"] for line in captured(tmp_path)] == [45, 46]


def test_a_store_that_fails_fails_no_prediction_and_gets_the_records_later(
    model: Model, tmp_path: Path, log: io.StringIO
) -> None:
    (tmp_path / "folder").write_text("a file where the folder is to be")
    app = app_of(model, tmp_path / "folder")
    answers = [app.handle({**RECORD, "age": 20 + number}) for number in range(30)]
    assert all("prediction" in answer for answer in answers)
    warnings = [line for line in lines(log) if line["message"] != "request"]
    assert [(line["severity"], line["error"]) for line in warnings] == [("WARNING", "StorageDown")]
    (tmp_path / "folder").unlink()
    app.close()
    assert [line["features"]["age"] for line in captured(tmp_path)] == list(range(20, 50))
    app.close()
    assert len(captured(tmp_path)) == 30


@pytest.mark.slow
def test_what_waits_is_bounded_and_what_is_dropped_is_counted_in_the_log(
    model: Model, tmp_path: Path, log: io.StringIO
) -> None:
    (tmp_path / "folder").write_text("a file where the folder is to be")
    app = app_of(model, tmp_path / "folder")
    for _ in range(9):
        app.handle({"instances": [RECORD] * 5000})
    app.handle(http("GET", "/healthz"))
    requests = [line for line in lines(log) if line["message"] == "request"]
    dropped = [line.get("capture_dropped", 0) for line in requests]
    assert dropped[0] == dropped[-1] == 0
    assert dropped[-2] == 5000
    counted = [line.get("CaptureDropped", 0) for line in requests]
    assert counted == dropped
    (directive,) = requests[-2]["_aws"]["CloudWatchMetrics"]
    assert {"Name": "CaptureDropped", "Unit": "Count"} in directive["Metrics"]
    (tmp_path / "folder").unlink()
    app.close()
    assert len(captured(tmp_path)) == 45_000 - sum(dropped)
    (path,) = tmp_path.rglob("*.jsonl")
    assert path.stat().st_size <= 8 * 1024 * 1024


def test_records_that_are_lost_at_the_end_are_counted(
    model: Model, tmp_path: Path, log: io.StringIO
) -> None:
    (tmp_path / "folder").write_text("a file where the folder is to be")
    app = app_of(model, tmp_path / "folder", CAPTURE_SECONDS="60")
    app.handle({"instances": [RECORD] * 3})
    app.close()
    assert (lines(log)[-1]["message"], lines(log)[-1]["records"]) == ("captured records are lost", 3)


def test_a_client_of_storage_that_cannot_be_made_fails_no_prediction(
    bundle_dir: Path,
) -> None:
    """Its credentials are none: the log names the fault's type, and nothing of them."""
    done = subprocess.run(
        [sys.executable, "-c", INVOKE],
        cwd=ROOT,
        env={
            "PATH": "", "MODEL_DIR": str(bundle_dir), **ON_LAMBDA, "GOOGLE_SERVICE_ACCOUNT_KEY": "{secret",
            "CAPTURE_URI": "gs://bucket/folder", "CAPTURE_SECONDS": "0",
        },
        input=json.dumps(RECORD) + "\n" + json.dumps(RECORD) + "\n",
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line.get("status") for line in logged] == [None, 200, 200]
    assert (logged[0]["severity"], logged[0]["records"]) == ("WARNING", 1)
    assert "secret" not in done.stderr


@pytest.mark.parametrize(
    ("environ", "variable"),
    [
        ({"CAPTURE_URI": "http://bucket/folder"}, "CAPTURE_URI"),
        ({"CAPTURE_URI": "s3://"}, "CAPTURE_URI"),
        ({"CAPTURE_URI": "s3://bucket//folder"}, "CAPTURE_URI"),
        ({"CAPTURE_URI": "s3://bucket/../folder"}, "CAPTURE_URI"),
        ({"CAPTURE_URI": "s3://in/a/captured", "INPUT_URI": "s3://out s3://in/a"}, "CAPTURE_URI"),
        ({"CAPTURE_URI": "captured", "CAPTURE_SHARE": "10%"}, "CAPTURE_SHARE"),
        ({"CAPTURE_URI": "captured", "CAPTURE_SHARE": "1.1"}, "CAPTURE_SHARE"),
        ({"CAPTURE_URI": "captured", "CAPTURE_SHARE": "-0.1"}, "CAPTURE_SHARE"),
        ({"CAPTURE_URI": "captured", "CAPTURE_SHARE": "nan"}, "CAPTURE_SHARE"),
        ({"CAPTURE_URI": "captured", "CAPTURE_SECONDS": "-1"}, "CAPTURE_SECONDS"),
        ({"CAPTURE_URI": "captured", "CAPTURE_IDS": "customer, age"}, "CAPTURE_IDS"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    environ: dict[str, str], variable: str, with_ids: Model
) -> None:
    with pytest.raises(SettingError, match=f"^{variable} "):
        App(with_ids, Settings.from_env(environ))


@pytest.mark.parametrize("share", ["0", "1", "0.25", ".5", "1.0"])
def test_shares_that_are_taken(share: str) -> None:
    assert Settings.from_env({"CAPTURE_SHARE": share}).capture_share == float(share)


#: Invocations in a process of their own, as Lambda makes them: an event a line.
INVOKE = """
import json, sys
from handler.app import lambda_handler
class Context:
    aws_request_id = "invocation"
    def get_remaining_time_in_millis(self): return 29_000
for line in sys.stdin:
    lambda_handler(json.loads(line), Context())
"""


def invoked_until_written(
    command: Sequence[str], env: Mapping[str, str], s3: S3, bucket: str, *events: Any, cwd: Path = ROOT
) -> list[str]:
    """The keys of what was captured of events, and of more like the last where a slow machine needs it."""
    with subprocess.Popen(
        command, cwd=cwd, env={"PATH": "", **env}, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        try:
            for event in events:
                process.stdin.write(json.dumps(event) + "\n")
            for _ in range(60):
                process.stdin.flush()
                time.sleep(1)
                if keys := s3.keys(bucket):
                    return keys
                process.stdin.write(json.dumps(events[-1]) + "\n")
        finally:
            process.kill()
        raise AssertionError(process.stderr.read())


@pytest.mark.slow
def test_lambda_writes_to_s3_within_an_invocation(bundle_dir: Path, s3: S3) -> None:
    bucket = s3.bucket("captured")
    uri = f"s3://{bucket}/requests/"
    env = {
        "MODEL_DIR": str(bundle_dir), **s3.env, **ON_LAMBDA, "CAPTURE_URI": uri, "CAPTURE_SECONDS": "3600",
    }  # fmt: skip
    events = {"instances": [RECORD] * 600}, RECORD
    (key,) = invoked_until_written([sys.executable, "-c", INVOKE], env, s3, bucket, *events)
    assert key.startswith("requests/day=")
    frame = pl.read_ndjson(s3.get(bucket, key))
    assert frame.height >= 600
    assert set(frame["features"].struct.field("age")) == {45}
    assert set(frame["request_id"]) == {"invocation"}
    assert {"prediction", "probabilities", "model", "time", "route"} <= set(frame.columns)


def get(base: str, age: int) -> int:
    query = urlencode({**RECORD, "age": age})
    with urllib.request.urlopen(f"{base}/predict?{query}", timeout=60) as answer:
        return int(answer.status)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["s3", "gcs"])
def test_a_server_writes_what_is_left_when_it_is_stopped(
    kind: str, bundle_dir: Path, s3: S3, gcs: GCS
) -> None:
    cloud, scheme = (s3, "s3") if kind == "s3" else (gcs, "gs")
    bucket = cloud.bucket("captured")
    uri = f"{scheme}://{bucket}/requests"
    with serve(bundle_dir, **cloud.env, CAPTURE_URI=uri, CAPTURE_SECONDS="3600") as base:
        with ThreadPoolExecutor(8) as clients:
            assert set(clients.map(lambda age: get(base, age), range(20, 120))) == {200}
        assert cloud.keys(bucket) == []
    (key,) = cloud.keys(bucket)
    ages = [json.loads(line)["features"]["age"] for line in cloud.get(bucket, key).splitlines()]
    assert sorted(ages) == list(range(20, 120))


@pytest.mark.slow
def test_a_server_writes_when_it_is_time_and_no_request_waits_for_it(bundle_dir: Path, s3: S3) -> None:
    bucket = s3.bucket("captured")
    put = on("PUT", bucket)
    with FaultyProxy(s3.url) as proxy:
        env = {**s3.at(proxy.url).env, "CAPTURE_URI": f"s3://{bucket}", "CAPTURE_SECONDS": "1"}
        with serve(bundle_dir, **env) as base:
            with proxy.pause(when=put) as pause:
                assert get(base, 20) == 200
                pause.wait()
                assert [get(base, age) for age in range(21, 40)] == [200] * 19
            while not s3.keys(bucket):
                time.sleep(0.05)
    found = [line for key in s3.keys(bucket) for line in s3.get(bucket, key).splitlines()]
    assert sorted(json.loads(line)["features"]["age"] for line in found) == list(range(20, 40))


@pytest.mark.slow
def test_a_server_whose_store_is_down_answers_and_stops(bundle_dir: Path, s3: S3) -> None:
    env = s3.at(f"http://127.0.0.1:{free_port()}").env
    with serve(bundle_dir, **env, CAPTURE_URI="s3://nowhere", CAPTURE_SECONDS="1") as base:
        assert [get(base, age) for age in range(20, 60)] == [200] * 40


@pytest.mark.slow
def test_the_frameworks_own_server_writes_what_is_left_when_it_is_stopped(bundle_dir: Path, s3: S3) -> None:
    bucket = s3.bucket("captured")
    command = [sys.executable, "-m", "functions_framework", "--target=http", "--source=handler/app.py"]
    env = {"PATH": "", "PYTHONPATH": str(ROOT), "MODEL_DIR": str(bundle_dir), **s3.env}
    port = free_port()
    process = subprocess.Popen(
        [*command, "--host=127.0.0.1", f"--port={port}"],
        cwd=ROOT,
        env={**env, "CAPTURE_URI": f"s3://{bucket}", "CAPTURE_SECONDS": "3600"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            with contextlib.suppress(OSError):
                if get(f"http://127.0.0.1:{port}", 30) == 200:
                    break
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
    (key,) = s3.keys(bucket)
    assert json.loads(s3.get(bucket, key))["features"]["age"] == 30


def test_an_event_that_a_person_invokes_is_captured(bundle_dir: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "handler", "invoke", "events/direct.json"],
        cwd=ROOT,
        env={"PATH": "", "MODEL_DIR": str(bundle_dir), "CAPTURE_URI": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (line,) = captured(tmp_path)
    assert line["prediction"] == json.loads(done.stdout)["prediction"]
