"""Uploads become predictions: real notifications, real conditional writes, real failures."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from handler.__main__ import main
from handler.app import App
from handler.batch.naming import into, is_output
from handler.batch.run import Batch, Scored
from handler.errors import Forbidden
from handler.faults import PassingFault, StorageDown
from handler.scoring.model import Model
from handler.scoring.outputs import names as output_names
from handler.settings import Settings
from handler.storage.buckets import PART, Retries
from handler.storage.deadline import Deadline
from handler.storage.locations import Location
from handler.storage.storage import Storage
from handler.web.messages import Request
from tests.support.cloud import GCS, S3, Post
from tests.support.events import batch_operation
from tests.support.faults import FaultyProxy, on
from tests.support.packing import zstd

CUSTOMERS = b"age,note,new_user,total_pages_visited\n45,a,0,5\n25,b,1,29\n030, c ,0,1\n"
#: Two tries and no waiting, for faults that last.
QUICK = Retries(tries=2, first=0.001, longest=0.005)
AWKWARD = ("a b.csv", "a+b.csv", "100%.csv", "año/ü.csv")


@pytest.fixture
def cloud(s3: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """S3, with its address and keys in the environment."""
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    return s3


@pytest.fixture
def google(gcs: GCS, monkeypatch: pytest.MonkeyPatch) -> GCS:
    for name, value in gcs.env.items():
        monkeypatch.setenv(name, value)
    return gcs


def app_on(model: Model, bucket: str, scheme: str = "s3", **settings: Any) -> App:
    """The handler, reading ``incoming/`` and writing ``scored/`` of a bucket."""
    root = f"{scheme}://{bucket}"
    chosen = Settings(input_uri=(f"{root}/incoming/",), output_uri=f"{root}/scored", allow_http=True)
    return App(model, chosen._replace(**settings), Storage(allow_http=True, retries=QUICK))


def outputs(cloud: S3 | GCS, bucket: str, key: str = "incoming/c.csv") -> tuple[Any, Any, Any]:
    """The three objects of an input: two tables as lists of rows, and the summary."""
    tables = []
    for name in ("predictions.csv", "rejected.csv"):
        text = cloud.get(bucket, f"scored/{key}/{name}").decode()
        tables.append(list(csv.reader(io.StringIO(text, newline=""))))
    return tables[0], tables[1], json.loads(cloud.get(bucket, f"scored/{key}/summary.json"))


def batch_on(model: Model, retries: Retries = QUICK, deadline: Deadline | None = None) -> Batch:
    deadline = deadline or Deadline()
    storage = Storage(allow_http=True, retries=retries).within(deadline)
    return Batch(model, Settings(workers=2), storage, deadline)


def score(
    model: Model, bucket: str, key: str = "incoming/c.csv", scheme: str = "s3", **options: Any
) -> Scored:
    source = Location(scheme, bucket, key)
    return batch_on(model, **options).score(source, Location(scheme, bucket, f"scored/{key}"))


def assert_right(cloud: S3 | GCS, bucket: str, key: str = "incoming/c.csv") -> Any:
    """The outputs are those of ``CUSTOMERS``, matched by their etags, and nothing is pending."""
    predictions, rejected, summary = outputs(cloud, bucket, key)
    assert [row[:5] for row in predictions[1:]] == [
        ["45", "a", "0", "5", "0"],
        ["25", "b", "1", "29", "1"],
        ["030", " c ", "0", "1", "0"],
    ]
    assert rejected == [["line", "column", "code", "reason", "row"]]
    assert summary["rows"] == {"read": 3, "scored": 3, "rejected": 0}
    for name, etag in summary["outputs"].items():
        head = cloud.client("s3").head_object(Bucket=bucket, Key=f"scored/{key}/{name}")
        assert head["ETag"] == etag
    assert cloud.pending(bucket) == []
    return summary


# Envelopes: what the platform really sends, for keys of every kind.


def routes(cloud: S3, bucket: str, route: str) -> Any:
    """A function that gives the events that wait on a route, as Lambda would be invoked with them."""
    if route == "s3":
        queue = cloud.bucket_to_sqs(bucket)
        return lambda: cloud.bodies(queue)
    if route == "sns":
        queue = cloud.bucket_to_sns_to_sqs(bucket)
        return lambda: cloud.sns_events(queue)
    if route == "eventbridge":
        queue = cloud.bucket_to_eventbridge_to_sqs(bucket)
        return lambda: cloud.bodies(queue)
    queue = {
        "sqs": cloud.bucket_to_sqs,
        "sqs-sns": cloud.bucket_to_sns_to_sqs,
        "sqs-raw-sns": lambda bucket: cloud.bucket_to_sns_to_sqs(bucket, raw=True),
        "sqs-eventbridge": cloud.bucket_to_eventbridge_to_sqs,
    }[route](bucket)

    def waiting() -> Iterator[Any]:
        while (event := cloud.lambda_event(queue))["Records"]:
            yield event
            cloud.settle(queue, event)

    return waiting


@pytest.mark.slow
@pytest.mark.parametrize(
    "route", ["s3", "sns", "eventbridge", "sqs", "sqs-sns", "sqs-raw-sns", "sqs-eventbridge"]
)
def test_an_upload_is_scored_over_every_route_and_key(cloud: S3, model: Model, route: str) -> None:
    bucket = cloud.bucket()
    waiting = routes(cloud, bucket, route)
    app = app_on(model, bucket)
    for key in AWKWARD:
        cloud.put(bucket, f"incoming/{key}", CUSTOMERS)
    cloud.put(bucket, "incoming/empty.csv", b"")
    cloud.put(bucket, "incoming/folder/", b"")
    for event in waiting():
        reply = app.handle(event)
        assert reply == {"batchItemFailures": []} if route.startswith("sqs") else "results" in reply
    for key in AWKWARD:
        assert_right(cloud, bucket, f"incoming/{key}")
    assert len(cloud.keys(bucket, "scored/")) == 3 * len(AWKWARD)
    for event in waiting():  # the outputs' own events
        app.handle(event)
    assert len(cloud.keys(bucket, "scored/")) == 3 * len(AWKWARD)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["binary", "structured", "push"])
def test_an_upload_to_gcs_is_scored_in_every_form(google: GCS, model: Model, form: str) -> None:
    bucket = google.bucket()
    app = app_on(model, bucket, "gs")
    for key in AWKWARD:
        google.put(bucket, f"incoming/{key}", CUSTOMERS)
        answer = app.handle(request(gcs_event(google, bucket, f"incoming/{key}", form)))
        assert answer.status == 200, answer.body
        summary = assert_right(google, bucket, f"incoming/{key}")
        assert int(summary["input"]["generation"]) > 0


def gcs_event(google: GCS, bucket: str, key: str, form: str) -> Post:
    if form == "push":
        return google.pubsub_push(bucket, key)
    return google.cloudevent(bucket, key, structured=form == "structured")


def request(post: Post, path: str = "/") -> Request:
    headers = {name.lower(): text for name, text in post.headers.items()}
    return Request("POST", path, headers=headers, body=post.body)


@pytest.mark.parametrize("form", ["binary", "structured", "push"])
def test_over_http_events_are_refused_until_inputs_are_named(google: GCS, model: Model, form: str) -> None:
    bucket = google.bucket()
    google.put(bucket, "incoming/c.csv", CUSTOMERS)
    post = gcs_event(google, bucket, "incoming/c.csv", form)
    assert app_on(model, bucket, "gs", input_uri=()).handle(request(post)).status == 403
    assert google.keys(bucket) == ["incoming/c.csv"]


def test_an_object_outside_the_inputs_is_acknowledged_and_not_read(google: GCS, model: Model) -> None:
    bucket = google.bucket()
    google.put(bucket, "incoming-not/c.csv", CUSTOMERS)
    post = google.cloudevent(bucket, "incoming-not/c.csv")
    answer = app_on(model, bucket, "gs").handle(request(post))
    assert (answer.status, "not under INPUT_URI" in answer.body.decode()) == (200, True)
    assert google.keys(bucket) == ["incoming-not/c.csv"]


def test_a_deletion_and_a_test_event_are_acknowledged(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    queue = cloud.bucket_to_sqs(bucket, ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"])
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
    cloud.delete(bucket, "incoming/c.csv")
    event = cloud.lambda_event(queue)
    assert len(event["Records"]) == 3
    assert app_on(model, bucket).handle(event) == {"batchItemFailures": []}
    assert cloud.keys(bucket) == []


def test_one_bad_message_fails_alone(cloud: S3, model: Model) -> None:
    bucket, nowhere = cloud.bucket(), cloud.bucket()
    queue = cloud.bucket_to_sqs(bucket)
    cloud.bodies(queue)
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
    cloud.put(bucket, "incoming/junk.csv", b"\x00\x01")
    event = cloud.lambda_event(queue)
    good = event["Records"][0]
    event["Records"] += [
        {**good, "messageId": "not-json", "body": "{"},
        {**good, "messageId": "unknown", "body": '{"foo": 1}'},
    ]
    failures = app_on(model, bucket).handle(event)["batchItemFailures"]
    assert [each["itemIdentifier"] for each in failures] == ["not-json", "unknown"]
    assert_right(cloud, bucket)
    refused = json.loads(cloud.get(bucket, "scored/incoming/junk.csv/summary.json"))
    assert refused["error"]["code"] == "not_a_csv"
    down = app_on(model, bucket, output_uri=f"s3://{nowhere}-missing/scored")
    failures = down.handle({"Records": [good]})["batchItemFailures"]
    assert [each["itemIdentifier"] for each in failures] == [good["messageId"]]


def test_a_direct_invoke_names_input_and_output(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    cloud.put(bucket, "any/c.csv", CUSTOMERS)
    app = App(model, Settings(allow_http=True))
    uri = f"s3://{bucket}/any/c.csv"
    summary = app.handle({"input": uri, "output": f"s3://{bucket}/scored"})
    assert summary["rows"]["scored"] == 3
    assert_right(cloud, bucket, "any/c.csv")
    assert "skipped" in app.handle({"input": uri, "output": f"s3://{bucket}/scored"})


def results(reply: Any) -> dict[str, tuple[str, str]]:
    """The result code and the message of each object, by its key."""
    return {
        each["taskId"].removeprefix("task "): (each["resultCode"], each["resultString"])
        for each in reply["results"]
    }


@pytest.mark.parametrize("version", [pytest.param("1.0", marks=pytest.mark.slow), "2.0"])
def test_a_job_over_a_whole_bucket(cloud: S3, model: Model, version: str) -> None:
    bucket = cloud.bucket()
    app = app_on(model, bucket, input_uri=(f"s3://{bucket}/",))
    keys = [f"incoming/{key}" for key in AWKWARD]
    for key in keys:
        cloud.put(bucket, key, CUSTOMERS)
    cloud.put(bucket, "incoming/folder/", b"")
    for key in [*keys, "incoming/folder/"]:  # one at a time, as AWS does today
        reply = app.handle(batch_operation(bucket, [key], version))
        assert {name: reply[name] for name in reply if name != "results"} == {
            "invocationSchemaVersion": version,
            "treatMissingKeysAs": "PermanentFailure",
            "invocationId": "an id",
        }
        assert results(reply)[key][0] == "Succeeded"
    for key in keys:
        assert_right(cloud, bucket, key)
    # All that is in the bucket, outputs too, in one invocation.
    again = results(app.handle(batch_operation(bucket, cloud.keys(bucket), version)))
    assert len(again) == 4 * len(keys) + 1
    for key, (code, message) in again.items():
        expected = (
            "this model version has scored it already" if key in keys else "it is an output of scoring"
        )
        if key.endswith("/"):
            expected = f"s3://{bucket}/incoming/folder/ is a folder marker"
        assert (code, message) == ("Succeeded", expected)
    assert len(cloud.keys(bucket, "scored/")) == 3 * len(keys)


def test_each_task_of_a_job_has_its_result_code(
    cloud: S3, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = cloud.bucket()
    app = app_on(model, bucket)
    cloud.put(bucket, "incoming/good.csv", CUSTOMERS + b"x,e,0,1\n")
    cloud.put(bucket, "incoming/one.csv", CUSTOMERS[: CUSTOMERS.index(b"25")])
    cloud.put(bucket, "incoming/other.csv", b"a,b\n1,2\n")
    cloud.put(bucket, "elsewhere/c.csv", CUSTOMERS)
    keys = ["incoming/good.csv", "incoming/one.csv", "incoming/other.csv", "incoming/gone.csv",
            "elsewhere/c.csv", "incoming//c.csv"]  # fmt: skip
    event = batch_operation(bucket, keys)
    odd = [{**event["tasks"][0], "s3Key": None, "taskId": "no key"}, "no task"]
    reply = app.handle({**event, "tasks": [*odd, *event["tasks"]]})
    found = results({"results": reply["results"][2:]})
    assert {key: code for key, (code, _) in found.items()} == {
        key: "Succeeded" if key in keys[:2] else "PermanentFailure" for key in keys
    }
    assert found[keys[0]][1] == "4 rows, 3 scored, 1 rejected"
    assert found[keys[1]][1] == "1 row, 1 scored, 0 rejected"
    summary = json.loads(cloud.get(bucket, f"scored/{keys[2]}/summary.json"))
    assert found[keys[2]][1] == summary["error"]["message"]
    assert found[keys[3]][1] == "it is not there any more"
    assert found[keys[4]][1] == f"s3://{bucket}/elsewhere/c.csv is not under INPUT_URI"
    assert "the object cannot be scored under its key" in found[keys[5]][1]
    assert [(each["taskId"], each["resultCode"]) for each in reply["results"][:2]] == [
        ("no key", "PermanentFailure"),
        (None, "PermanentFailure"),
    ]
    again = results(app.handle(event))
    assert [again[key][1] for key in keys[:3]] == ["this model version has scored it already"] * 3
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    away = results(app_on(model, bucket).handle(event))
    assert [away[key][0] for key in keys] == ["TemporaryFailure"] * 4 + ["PermanentFailure"] * 2


def test_a_job_says_where_its_results_go(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
    app = App(model, Settings(allow_http=True))
    event = batch_operation(bucket, ["incoming/c.csv"], output=f"s3://{bucket}/scored")
    assert results(app.handle(event))["incoming/c.csv"][0] == "Succeeded"
    assert_right(cloud, bucket, "incoming/c.csv")


def test_a_job_scores_again_what_an_older_model_scored(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
    event = batch_operation(bucket, ["incoming/c.csv"])
    old, new = dated(model, "b", "2026-01-01T00:00:00Z"), dated(model, "a", "2026-01-02T00:00:00Z")
    for each in (old, new, old, new):
        assert results(app_on(each, bucket).handle(event))["incoming/c.csv"][0] == "Succeeded"
        version = assert_right(cloud, bucket)["model"]["version"]
    assert version == "a"


def test_a_batch_of_a_distributed_map(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    app = App(model, Settings(allow_http=True))
    for name in "ab":
        cloud.put(bucket, f"any/{name}.csv", CUSTOMERS)
    items = [{"input": f"s3://{bucket}/any/{name}.csv"} for name in "ab"]
    batch = {"Items": items, "BatchInput": {"output": f"s3://{bucket}/scored"}}
    first, second = app.handle(batch)
    assert [each["input"]["uri"] for each in (first, second)] == [each["input"] for each in items]
    for name in "ab":
        assert_right(cloud, bucket, f"any/{name}.csv")
    skipped = {"skipped": "this model version has scored it already"}
    cloud.put(bucket, "any/b.csv", CUSTOMERS + b"1,e,0,1\n")
    assert app.handle(batch)[0] == skipped
    assert app.handle(batch) == [skipped, skipped]


def test_the_parts_of_a_file_in_one_batch(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    app = app_on(model, bucket)
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS + b"25,b,1,29\n" * 97)
    uri = f"s3://{bucket}/incoming/c.csv"
    plan = app.handle({"input": uri, "plan": {"part_bytes": 300}})["plan"]
    items = json.loads(cloud.get(plan["bucket"], plan["key"]))
    assert len(items) == plan["parts"] > 1
    reply = app.handle({"Items": items})
    assert [each["complete"] for each in reply] == [False] * (len(items) - 1) + [True]
    assert json.loads(cloud.get(bucket, "scored/incoming/c.csv/summary.json"))["rows"]["scored"] == 100


def test_a_passing_fault_in_a_batch_is_raised_when_all_have_run(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    app = app_on(model, bucket)
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
    good = {"input": f"s3://{bucket}/incoming/c.csv"}
    passing = {**good, "output": f"s3://{bucket}-not/scored"}
    forbidden = {"input": f"s3://{bucket}/elsewhere/c.csv"}
    with pytest.raises(PassingFault):
        app.handle({"Items": [forbidden, passing, good]})
    assert_right(cloud, bucket)
    with pytest.raises(Forbidden, match="is not under INPUT_URI"):
        app.handle({"Items": [good, forbidden]})


# Every kind of bad row, and every way to pack a file.


BAD_ROWS = (
    "id,age,new_user,total_pages_visited\r\n"
    "good,45,0,5\r\n"
    "few,45,0\r\n"
    "many,45,0,5,9\r\n"
    "text,old,0,5\r\n"
    '"quoted\nid",,0,5\r\n'
    "half,45.5,0,5\r\n"
    "huge,1e30,0,5\r\n"
    "nan,nan,0,5\r\n"
    "inf,45,0,-inf\r\n"
    "\r\n"
    "last, 45 ,0,5.0"
)


def test_every_kind_of_bad_row(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    cloud.put(bucket, "incoming/c.csv", BAD_ROWS.encode())
    score(model, bucket)
    predictions, rejected, summary = outputs(cloud, bucket)
    assert [row[:4] for row in predictions[1:]] == [["good", "45", "0", "5"], ["last", " 45 ", "0", "5.0"]]
    assert [row[:3] for row in rejected[1:]] == [
        ["3", "", "too_few_cells"],
        ["4", "", "too_many_cells"],
        ["5", "age", "not_a_number"],
        ["6", "age", "missing"],
        ["8", "age", "not_an_integer"],
        ["9", "age", "out_of_range"],
        ["10", "age", "not_finite"],
        ["11", "total_pages_visited", "not_finite"],
    ]
    assert rejected[4][4] == '"quoted\nid",,0,5'
    assert summary["rows"] == {"read": 10, "scored": 2, "rejected": 8}
    assert sum(summary["rejects"].values()) == 8


@pytest.mark.parametrize(
    "pack",
    [
        gzip.compress,
        lambda data: gzip.compress(data[:50]) + gzip.compress(data[50:]),
        zstd,
        bz2.compress,
        lzma.compress,
    ],
)
def test_packed_files(cloud: S3, model: Model, pack: Any) -> None:
    bucket = cloud.bucket()
    cloud.put(bucket, "incoming/c.csv.gz", pack(CUSTOMERS))
    score(model, bucket, "incoming/c.csv.gz")
    assert_right(cloud, bucket, "incoming/c.csv.gz")


@pytest.mark.parametrize(("encoding", "name"), [("utf-16", "UTF-16"), ("cp1252", "Windows-1252")])
@pytest.mark.parametrize("size", [64, 1 << 20])
def test_another_encoding_is_read_and_written_as_utf8(
    cloud: S3, model: Model, encoding: str, name: str, size: int
) -> None:
    bucket = cloud.bucket()
    text = CUSTOMERS.decode() + "45,Köln €,0,5\n" * 30 + "x,Zürich,0,5\n"
    cloud.put(bucket, "incoming/c.csv", text.encode(encoding))
    batch = Batch(model, Settings(block_bytes=size), Storage(allow_http=True))
    batch.score(Location("s3", bucket, "incoming/c.csv"), Location("s3", bucket, "scored/incoming/c.csv"))
    predictions, rejected, summary = outputs(cloud, bucket)
    assert [row[1] for row in predictions].count("Köln €") == 30
    assert rejected[-1][:1] + rejected[-1][-1:] == [str(text.count("\n")), "x,Zürich,0,5"]
    assert summary["encoding"] == name


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (gzip.compress(CUSTOMERS * 1000, mtime=0)[:-20], "truncated"),
        (gzip.compress(CUSTOMERS, mtime=0)[:12] + b"x" * 200, "corrupt"),
        (zstd(CUSTOMERS * 1000)[:-5], "truncated"),
        (CUSTOMERS + b'1,"never closed,0,5\n2,x,0,5\n', "unclosed_quote"),
        (CUSTOMERS.decode().encode("utf-16")[:-1], "not_utf8"),
        (CUSTOMERS + "1,Köln,0,5\n".encode() + "1,Köln,0,5\n".encode("latin-1"), "not_utf8"),
        (CUSTOMERS + b"1,K\x81ln,0,5\n", "not_utf8"),
        (b"\x89PNG\r\n\x1a\n", "not_a_csv"),
        (b"age,note\n1,2\n", "missing"),
        (b"\n", "empty"),
        (b"\x00" * 100, "not_a_csv"),
    ],
)
def test_a_permanent_fault_is_told_in_the_summary_alone(
    cloud: S3, model: Model, content: bytes, code: str
) -> None:
    bucket = cloud.bucket()
    cloud.put(bucket, "incoming/c.csv", content)
    assert score(model, bucket).summary is not None
    assert cloud.keys(bucket, "scored/") == ["scored/incoming/c.csv/summary.json"]
    summary = json.loads(cloud.get(bucket, "scored/incoming/c.csv/summary.json"))
    assert summary["error"]["code"] == code
    assert summary["outputs"] is None
    assert summary["rows"] == {"read": 0, "scored": 0, "rejected": 0}
    assert cloud.pending(bucket) == []
    assert score(model, bucket).skipped is not None


@pytest.mark.slow
def test_many_blocks_keep_the_order(cloud: S3, model: Model) -> None:
    bucket, count = cloud.bucket(), 30_000
    lines = [f"{20 + row % 60},n{row},{row % 2},{1 + row % 25}" for row in range(count)]
    lines[777] = "x,n777,0,1"
    cloud.put(
        bucket, "incoming/c.csv", "\n".join(["age,note,new_user,total_pages_visited", *lines]).encode()
    )
    batch = Batch(model, Settings(workers=3, block_bytes=10_000), Storage(allow_http=True))
    batch.score(Location("s3", bucket, "incoming/c.csv"), Location("s3", bucket, "scored/incoming/c.csv"))
    predictions, rejected, summary = outputs(cloud, bucket)
    assert [row[1] for row in predictions[1:]] == [f"n{row}" for row in range(count) if row != 777]
    assert [row[0] for row in rejected[1:]] == ["779"]
    assert summary["rows"] == {"read": count, "scored": count - 1, "rejected": 1}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixed", "regression", "joblib"])
def test_other_models_and_clashing_column_names(
    cloud: S3, kind: str, request: pytest.FixtureRequest
) -> None:
    model: Model = request.getfixturevalue(f"{kind}_model")
    bucket, sink = cloud.bucket(), io.StringIO()
    records = [golden["record"] for golden in model.manifest.golden]
    writer = csv.DictWriter(sink, ["prediction", *records[0]])
    writer.writeheader()
    for record in records:
        writer.writerow(
            {**{name: "" if value is None else value for name, value in record.items()}, "prediction": "p"}
        )
    writer.writerow({})  # every cell is empty
    cloud.put(bucket, "incoming/c.csv", sink.getvalue().encode())
    score(model, bucket)
    predictions, _, summary = outputs(cloud, bucket)
    names = ["prediction_2", *output_names(model.manifest)[1:]]
    assert predictions[0] == ["prediction", *records[0], *names]
    found = [row[len(records[0]) + 1] for row in predictions[1 : len(records) + 1]]
    told = [golden["prediction"] for golden in model.manifest.golden]
    if model.manifest.task == "regression":
        assert [float(text) for text in found] == pytest.approx(told)
        assert summary["predictions"] == {}
    else:
        assert found == [str(label) for label in told]
        assert sum(summary["predictions"].values()) == summary["rows"]["scored"]


def test_a_file_without_a_sound_row(cloud: S3, joblib_model: Model) -> None:
    bucket = cloud.bucket()
    cloud.put(bucket, "incoming/c.csv", b"age,new_user,total_pages_visited\nx,0,5\n")
    score(joblib_model, bucket)
    assert outputs(cloud, bucket)[2]["rows"] == {"read": 1, "scored": 0, "rejected": 1}


# Repeated, late and simultaneous events.


def test_the_same_event_twice_scores_once_and_a_new_version_again(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
    assert score(model, bucket).summary is not None
    assert score(model, bucket).skipped is not None
    retrained = Model.of(model.manifest._replace(version="0123456789ab"), model.scorer)
    assert score(retrained, bucket).summary is not None
    assert score(retrained, bucket).skipped is not None
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS + b"50,d,0,9\n")
    summary = score(retrained, bucket).summary
    assert summary is not None
    assert summary["rows"]["read"] == 4


def test_a_late_event_of_an_older_version_changes_nothing(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    queue = cloud.bucket_to_sqs(bucket)
    app = app_on(model, bucket)
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS + b"50,d,0,9\n")
    _, old = cloud.bodies(queue)
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
    (new,) = cloud.bodies(queue)
    app.handle(new)
    before = outputs(cloud, bucket)
    assert "skipped" in app.handle(old)["results"][0]
    assert outputs(cloud, bucket) == before
    assert_right(cloud, bucket)


@pytest.mark.slow
def test_outputs_that_were_tampered_with_are_mended(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
    for name in ("predictions.csv", "rejected.csv", "summary.json"):
        score(model, bucket)
        cloud.put(bucket, f"scored/incoming/c.csv/{name}", b"{}")
        assert score(model, bucket).summary is not None
        assert_right(cloud, bucket)


@pytest.mark.slow
def test_the_same_event_twenty_times_in_parallel(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    queue = cloud.bucket_to_sqs(bucket)
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
    event = cloud.lambda_event(queue)
    apps = [app_on(model, bucket) for _ in range(20)]
    start = threading.Barrier(20)

    def invoke(app: App) -> Any:
        start.wait()
        return app.handle(event)

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(invoke, apps)) == [{"batchItemFailures": []}] * 20
    assert_right(cloud, bucket)
    assert len(cloud.keys(bucket)) == 4


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["s3", "gs"])
def test_a_run_that_was_overtaken_mends_what_it_overwrote(
    scheme: str, model: Model, request: pytest.FixtureRequest
) -> None:
    """An old run is held at each of its calls in turn, while a newer upload is scored to the end."""
    cloud: Any = request.getfixturevalue("cloud" if scheme == "s3" else "google")
    with FaultyProxy(cloud.url) as proxy:
        slow = cloud.at(proxy.url)
        monkeypatch = request.getfixturevalue("monkeypatch")
        for name, value in slow.env.items():
            monkeypatch.setenv(name, value)
        bucket = cloud.bucket()
        cloud.put(bucket, "incoming/c.csv", b"age,new_user,total_pages_visited\n45,0,5\n")
        score(model, bucket, scheme=scheme)
        calls = len(proxy.calls)
        for held in range(1, calls + 1):
            proxy.clear()
            bucket = cloud.bucket()
            cloud.put(bucket, "incoming/c.csv", b"age,new_user,total_pages_visited\n45,0,5\n")
            with proxy.pause(held, when=on(text=bucket)) as pause, ThreadPoolExecutor(1) as pool:
                old = pool.submit(score, model, bucket, scheme=scheme)
                pause.wait()
                cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
                score(model, bucket, scheme=scheme)
                pause.release()
                old.result()
            score(model, bucket, scheme=scheme)  # the late event of the newer upload
            assert_right(cloud, bucket)


def dated(model: Model, version: str, created: str) -> Model:
    """A model that differs from the others by its version and date alone."""
    return Model.of(model.manifest._replace(version=version, created=created), model.scorer)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (("b", "2026-01-01T00:00:00+00:00"), ("a", "2026-01-01T00:00:01+00:00")),
        (("b", "2026-01-01T01:00:00+02:00"), ("a", "2026-01-01T00:00:00Z")),
        (("a", "2026-01-01T00:00:00+00:00"), ("b", "2026-01-01T00:00:00+00:00")),  # one second: by version
        (("b", "no date"), ("a", "2026-01-01T00:00:00")),
    ],
)
def test_an_older_models_late_event_changes_nothing(
    cloud: S3, model: Model, older: tuple[str, str], newer: tuple[str, str]
) -> None:
    bucket = cloud.bucket()
    queue = cloud.bucket_to_sqs(bucket)
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
    *_, event = cloud.bodies(queue)
    old, new = (app_on(dated(model, *each), bucket) for each in (older, newer))
    assert "skipped" not in old.handle(event)["results"][0]
    assert "skipped" not in new.handle(event)["results"][0]
    before = outputs(cloud, bucket)
    assert old.handle(event)["results"] == [
        {"skipped": "a model that was created later has scored it already"}
    ]
    assert outputs(cloud, bucket) == before
    assert before[2]["model"] == {"name": model.manifest.name, "version": newer[0], "created": newer[1]}
    # A newer version of the file is scored by whoever is asked to: it has no result yet.
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS + b"50,d,0,9\n")
    assert old.handle(event)["results"][0]["model"]["version"] == older[0]
    assert new.handle(event)["results"][0]["model"]["version"] == newer[0]


def test_an_older_model_scores_where_a_person_asks_or_the_summary_is_deleted(
    cloud: S3, model: Model
) -> None:
    bucket = cloud.bucket()
    queue = cloud.bucket_to_sqs(bucket)
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
    *_, event = cloud.bodies(queue)
    old, new = dated(model, "b", "2026-01-01T00:00:00Z"), dated(model, "a", "2026-01-02T00:00:00Z")
    app_on(new, bucket).handle(event)
    assert score(old, bucket).summary is not None
    assert assert_right(cloud, bucket)["model"]["version"] == "b"
    app_on(new, bucket).handle(event)
    cloud.client("s3").delete_object(Bucket=bucket, Key="scored/incoming/c.csv/summary.json")
    app_on(old, bucket).handle(event)
    assert assert_right(cloud, bucket)["model"]["version"] == "b"


def test_a_newer_models_result_that_was_damaged_waits_for_that_model(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    queue = cloud.bucket_to_sqs(bucket)
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
    event = cloud.lambda_event(queue)
    event = {"Records": event["Records"][-1:]}  # S3's test event comes first
    old, new = (
        app_on(dated(model, *each), bucket)
        for each in (("b", "2026-01-01T00:00:00Z"), ("a", "2026-01-02T00:00:00Z"))
    )
    new.handle(event)
    cloud.put(bucket, "scored/incoming/c.csv/predictions.csv", b"age\n")
    assert len(old.handle(event)["batchItemFailures"]) == 1
    assert new.handle(event) == {"batchItemFailures": []}
    assert assert_right(cloud, bucket)["model"]["version"] == "a"


@pytest.mark.parametrize("missing", [("created",), ("run",), ("created", "run")])
def test_summaries_of_earlier_releases(cloud: S3, model: Model, missing: tuple[str, ...]) -> None:
    """They had neither ``created`` nor ``run``: their own model skips, and any other scores."""
    bucket = cloud.bucket()
    queue = cloud.bucket_to_sqs(bucket)
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
    *_, event = cloud.bodies(queue)
    score(model, bucket)
    summary = outputs(cloud, bucket)[2]
    for name in missing:
        (summary if name == "run" else summary["model"]).pop(name)
    cloud.put(bucket, "scored/incoming/c.csv/summary.json", json.dumps(summary).encode())
    assert "skipped" in app_on(model, bucket).handle(event)["results"][0]
    if "created" in missing:
        older = dated(model, "b", "2001-01-01T00:00:00Z")
        assert app_on(older, bucket).handle(event)["results"][0]["model"]["version"] == "b"


# Inputs in several buckets.


def test_two_buckets_have_outputs_of_their_own(cloud: S3, model: Model) -> None:
    first, second, out = (cloud.bucket(name) for name in ("first", "second", "out"))
    prefixes = (f"s3://{first}/incoming", f"s3://{second}/incoming/")
    app = app_on(model, out, input_uri=prefixes)
    for bucket in (first, second):
        cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
        result = app.handle({"input": f"s3://{bucket}/incoming/c.csv"})
        assert result["input"]["uri"] == f"s3://{bucket}/incoming/c.csv"
        assert_right(cloud, out, f"{bucket}/incoming/c.csv")
        assert "skipped" in app.handle({"input": f"s3://{bucket}/incoming/c.csv"})


def test_the_command_line_scores_to_where_events_do(
    cloud: S3, bundle_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, out = (cloud.bucket(name) for name in ("first", "second", "out"))
    monkeypatch.setenv("MODEL_DIR", str(bundle_dir))
    monkeypatch.setenv("INPUT_URI", f"s3://{first}/incoming s3://{second}/incoming")
    cloud.put(second, "incoming/c.csv", CUSTOMERS)
    assert main(["score", f"s3://{second}/incoming/c.csv", "--output", f"s3://{out}/scored"]) == 0
    assert_right(cloud, out, f"{second}/incoming/c.csv")


def test_equal_files_that_share_a_folder_are_not_taken_for_each_other(cloud: S3, model: Model) -> None:
    first, second = cloud.bucket("first"), cloud.bucket("second")
    folder = Location("s3", first, "scored/c.csv")
    for bucket in (first, second):
        cloud.put(bucket, "c.csv", CUSTOMERS)
        assert batch_on(model).score(Location("s3", bucket, "c.csv"), folder).summary is not None


@pytest.mark.parametrize(
    ("inputs", "source", "folder"),
    [
        ((), "s3://one/in/c.csv", "in/c.csv"),
        (("s3://one/in", "s3://one/more"), "s3://one/in/c.csv", "in/c.csv"),
        (("s3://one/in", "s3://two/in"), "s3://two/in/c.csv", "two/in/c.csv"),
        (("s3://one/in", "gs://two/in"), "gs://two/in/c.csv", "two/in/c.csv"),
        (("s3://one/in", "gs://one/in"), "s3://one/in/c.csv", "s3/one/in/c.csv"),
        (("s3://one/in", "gs://one/in"), "gs://one/in/c.csv", "gs/one/in/c.csv"),
        (("s3://one", "gs://one", "s3://two"), "s3://two/c.csv", "s3/two/c.csv"),
        (("s3://one/in", "s3://two/in"), "/data/c.csv", "c.csv"),
    ],
)
def test_the_folder_of_an_input(inputs: tuple[str, ...], source: str, folder: str) -> None:
    output = Location.parse("s3://out/scored")
    assert str(into(Location.parse(source), output, inputs)) == f"s3://out/scored/{folder}"


# Failures: nothing partial, and the retry completes.


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["status", "drop", "late", "cut"])
def test_storage_that_fails_at_any_call(
    cloud: S3, model: Model, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultyProxy(cloud.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        n, failed = 0, True
        while failed:
            n += 1
            proxy.clear()
            bucket = cloud.bucket()
            cloud.put(bucket, "incoming/c.csv", CUSTOMERS)
            fault = proxy.fail(n, mode, lasting="call")
            try:
                score(model, bucket)
            except PassingFault:
                assert fault.reached.is_set()
            assert cloud.pending(bucket) == []
            written = cloud.keys(bucket, "scored/")
            if "scored/incoming/c.csv/summary.json" in written:
                assert_right(cloud, bucket)
            failed = fault.reached.is_set()
            proxy.clear()
            score(model, bucket)
            assert_right(cloud, bucket)
        assert n > 8


@pytest.mark.slow
def test_a_failure_in_the_middle_of_a_large_file_leaves_no_pending_upload(
    cloud: S3, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = cloud.bucket()
    line = b"45," + b"x" * 200 + b",0,5\n"
    cloud.put(bucket, "incoming/c.csv", CUSTOMERS + line * (3 * PART // len(line)))
    with FaultyProxy(cloud.url) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        fault = proxy.fail(1, "status", lasting="call", when=on("PUT", "partNumber=2"))
        with pytest.raises(StorageDown):
            score(model, bucket)
        assert fault.reached.is_set()
        assert cloud.pending(bucket) == []
        assert cloud.keys(bucket, "scored/") == []
        proxy.clear()
        summary = score(model, bucket).summary
    assert summary is not None
    assert summary["rows"]["rejected"] == 0


def test_storage_that_is_away_is_a_passing_fault_everywhere(
    model: Model, monkeypatch: pytest.MonkeyPatch, gcs: GCS
) -> None:
    for name, value in {**S3("http://127.0.0.1:9").env, **gcs.env}.items():
        monkeypatch.setenv(name, value)
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "bucket"}, "object": {"key": "incoming/c.csv", "size": 1}},
    }
    app = app_on(model, "bucket")
    with pytest.raises(StorageDown) as caught:
        app.handle({"Records": [record]})
    assert "127.0.0.1" not in str(caught.value)
    body = json.dumps({"Records": [record]})
    reply = app.handle({"Records": [{"eventSource": "aws:sqs", "messageId": "m", "body": body}]})
    assert reply == {"batchItemFailures": [{"itemIdentifier": "m"}]}
    monkeypatch.setenv(
        "GOOGLE_SERVICE_ACCOUNT_KEY", gcs.at("http://127.0.0.1:9").env["GOOGLE_SERVICE_ACCOUNT_KEY"]
    )
    headers = {"ce-type": "google.cloud.storage.object.v1.finalized", "content-type": "application/json"}
    post = Post(headers, b'{"bucket": "bucket", "name": "incoming/c.csv", "size": "1"}')
    assert app_on(model, "bucket", "gs").handle(request(post)).status == 503


@pytest.mark.parametrize(
    ("key", "output", "expected"),
    [
        ("scored/incoming/a.csv/predictions.csv", "s3://b/scored", True),
        ("scored/anything.csv", "s3://b/scored/", True),
        ("scored-not/a.csv", "s3://b/scored", False),
        ("incoming/a.csv/predictions.csv", "s3://b", True),
        ("incoming/a.csv/summary.json", "s3://b", True),
        ("bucket/incoming/a.csv/predictions.csv", "s3://b", True),
        ("s3/bucket/incoming/a.csv/rejected.csv", "s3://b", True),
        ("incoming/predictions.csv", "s3://b", False),
        ("v1.2/predictions.csv", "s3://b/scored", False),
        ("incoming/a.csv", "s3://b", False),
        ("incoming/a.csv", "s3://other/incoming", False),
    ],
)
def test_outputs_are_known_whatever_the_filters_say(key: str, output: str, expected: bool) -> None:
    assert is_output(Location("s3", "b", key), Location.parse(output)) is expected


def test_an_event_of_an_output_triggers_no_run(cloud: S3, model: Model) -> None:
    bucket = cloud.bucket()
    cloud.put(bucket, "x.csv/predictions.csv", CUSTOMERS)
    output = Location("s3", bucket, "x.csv/predictions.csv")
    assert batch_on(model).run(output, Location("s3", bucket, "")).skipped == "it is an output of scoring"
