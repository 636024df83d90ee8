"""Whatever comes in, what comes out is an answer or one of the project's own errors.

Nothing is proven about results here: that is the other tests' business. Events are those of ``events/``
with members taken out, replaced or retyped at any depth; files are valid ones with bytes changed.
"""

from __future__ import annotations

import copy
import gzip
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from handler.app import App
from handler.batch.run import Batch
from handler.errors import FunctionError, InvalidBody, UnknownEvent
from handler.faults import PassingFault
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.buckets import Retries
from handler.storage.locations import Location
from handler.storage.storage import Storage
from handler.tables import reading, records, sweeping, writing
from handler.tables.errors import InvalidCsv
from handler.tables.header import header
from handler.web.messages import Answer, Request
from tests.support.packing import zstd
from tests.support.strategies import JSON, changed, mutated, opened, paths

pytestmark = pytest.mark.slow

EVENTS = Path(__file__).resolve().parents[1] / "events"
EVENT = {path.stem: json.loads(path.read_text()) for path in EVENTS.glob("*.json")}
HTTP = ("apigateway-v1", "apigateway-v2", "function-url", "alb", "alb-multi-value")
QUEUED = tuple(name for name in EVENT if name.startswith("sqs"))
OPERATIONS = tuple(name for name in EVENT if name.startswith("s3-batch"))
GOOGLE = tuple(name for name in EVENT if name.endswith("gcs"))

BOUNDED = settings(
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


#: Asked once, and no more.
AWAY = Storage(allow_http=True, retries=Retries(tries=1))


@pytest.fixture(scope="module", autouse=True)
def nowhere() -> Iterator[None]:
    """Storage that nobody serves: an event that names an object gets a passing fault, and soon."""
    away = "http://127.0.0.1:9"
    google = {"gcs_base_url": away, "disable_oauth": True, "client_email": "", "private_key": "",
              "private_key_id": ""}  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {
            "AWS_ENDPOINT_URL": away,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "us-east-1",
            "GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(google),
        }.items():
            patched.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def app(model: Model) -> App:
    return App(model, Settings(output_uri="s3://example-output/scored"), AWAY)


@pytest.fixture(scope="module")
def cloud_run(model: Model) -> App:
    return App(
        model,
        Settings(input_uri=("gs://example-input/",), output_uri="gs://example-output/scored"),
        AWAY,
    )


def assert_handled(app: App, event: Any) -> None:
    """The platform is given a reply in JSON, or one of the project's own errors; HTTP's is no 500."""
    try:
        reply = app.handle(event)
    except FunctionError:
        return
    json.dumps(reply)
    assert not isinstance(reply, dict) or reply.get("statusCode", 200) < 500, reply


# Events.

MEMBERS = st.sampled_from(
    ["Records", "requestContext", "httpMethod", "path", "version", "source", "detail-type", "detail",
    "input",
     "output", "instances", "age", "Event", "headers", "x", "Items", "BatchInput", "tasks", "job",
     "invocationSchemaVersion"]
)  # fmt: skip


@BOUNDED
@given(data=st.data(), name=st.sampled_from(sorted(set(EVENT) - set(GOOGLE))))
def test_a_mutated_event_gets_a_reply_or_an_error_of_the_projects_own(
    app: App, data: st.DataObject, name: str
) -> None:
    event = mutated(data, EVENT[name])
    assert_handled(app, event)


@BOUNDED
@given(event=st.dictionaries(MEMBERS, JSON, max_size=5))
def test_a_made_up_event_gets_a_reply_or_an_error_of_the_projects_own(app: App, event: Any) -> None:
    assert_handled(app, event)


@BOUNDED
@given(data=st.data(), name=st.sampled_from(HTTP))
def test_a_mutated_request_is_answered_below_500(app: App, data: st.DataObject, name: str) -> None:
    """As above, with what makes the event one of this envelope left alone."""
    event = copy.deepcopy(EVENT[name])
    kept = {each: event[each] for each in ("requestContext", "httpMethod", "version") if each in event}
    event = {**mutated(data, {each: event[each] for each in event if each not in kept}), **kept}
    reply = app.handle(event)
    assert reply["statusCode"] < 500, reply


@BOUNDED
@given(data=st.data(), name=st.sampled_from(QUEUED))
def test_a_mutated_message_fails_alone(app: App, data: st.DataObject, name: str) -> None:
    good, body = EVENT[name]["Records"][0], json.loads(EVENT[name]["Records"][0]["body"])
    test_event = json.dumps(EVENT["s3-test-event"])
    bad = data.draw(st.sampled_from(["body", "text", "record"]))
    if bad == "body":
        changed = {**good, "body": json.dumps(mutated(data, body))}
    elif bad == "text":
        changed = {**good, "body": data.draw(JSON)}
    else:
        changed = mutated(
            data, {each: good[each] for each in good if each not in ("eventSource", "messageId")}
        )
        changed |= {"eventSource": "aws:sqs", "messageId": good["messageId"]}
    fine = [{**good, "messageId": number, "body": test_event} for number in ("1", "2")]
    reply = app.handle({"Records": [fine[0], changed, fine[1]]})
    assert reply["batchItemFailures"] in ([], [{"itemIdentifier": good["messageId"]}])


@BOUNDED
@given(data=st.data(), name=st.sampled_from(OPERATIONS))
def test_a_mutated_task_of_a_job_fails_alone(app: App, data: st.DataObject, name: str) -> None:
    """A folder marker asks for nothing, so its task succeeds."""
    event = copy.deepcopy(EVENT[name])
    good = {**event["tasks"][0], "s3Key": "incoming/"}
    if data.draw(st.booleans()):
        event["job"] = data.draw(JSON)
    event["tasks"] = [good, mutated(data, event["tasks"][0]), good]
    reply = app.handle(event)
    codes = [each["resultCode"] for each in reply["results"]]
    assert codes[0] == codes[2]
    assert codes[0] == "Succeeded" or not isinstance(event["job"], dict) or "userArguments" in event["job"]
    assert codes[1] in ("Succeeded", "TemporaryFailure", "PermanentFailure")
    json.dumps(reply)


@BOUNDED
@given(data=st.data(), name=st.sampled_from(GOOGLE), opens=st.booleans())
def test_a_mutated_cloud_event_is_answered(
    cloud_run: App, app: App, data: st.DataObject, name: str, opens: bool
) -> None:
    """A passing fault is 503 there; nothing is 500."""
    event = EVENT[name]
    body = mutated(data, event["body"]) if data.draw(st.booleans()) else event["body"]
    headers = {**event["headers"], **data.draw(HEADERS)}
    answer = (cloud_run if opens else app).handle(
        Request("POST", event["path"], headers=headers, body=json.dumps(body).encode())
    )
    assert isinstance(answer, Answer)
    assert answer.status != 500, answer.body


# HTTP requests.

TEXTS = st.sampled_from(
    ["", "text/csv", "application/json", "application/json; charset=utf-16", "multipart/form-data",
     "multipart/form-data; boundary=b", 'multipart/form-data; boundary="',
     "multipart/form-data; boundary=\x00",
     "multipart/form-data; boundary=é", "multipart/form-data; boundary=" + "b" * 500, "gzip", "gzip;q=x",
     "text/csv;q=nan", "text/csv;q=1e999, application/json;q=inf", "*/*;", ",;,;=", "\ud800", "-1",
         "1e9", "é" * 90]
) | st.text(max_size=12)  # fmt: skip
HEADERS = st.dictionaries(
    st.sampled_from(
        ["content-type", "accept", "accept-encoding", "origin", "content-length", "x-request-id",
         "access-control-request-method", "ce-type", "ce-id"]
    ),
    TEXTS,
    max_size=4,
)  # fmt: skip
PATHS = st.sampled_from(
    ["/predict", "/predict_file", "/apidocs", "/apidocs/", "/openapi.json", "/model", "/healthz", "/",
    "", "//",
     "//evil.example/openapi.json", "/../model", "/é", "/\ud800", "/swagger-ui.css", "/a" * 3000]
)  # fmt: skip
FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
    b"age,new_user,total_pages_visited\r\n45,0,5\r\n\r\n--b--\r\n"
)
CSV = b'age,note,new_user,total_pages_visited\n45,"a\nb",0,5\n25,b,1,29\nx,,0,\n\n1\n'
BODIES = (
    b"", b"null", b"[]", b"{}", b'{"age": 45, "new_user": 0, "total_pages_visited": 5}',
    b'{"instances": [{}]}',
    b'[{"age": 1e999, "new_user": NaN, "total_pages_visited": "\\ud800"}]', b"[" * 100_000, b"1" * 5000,
    CSV, FORM, b"\xef\xbb\xbf" + CSV, gzip.compress(CSV), zstd(CSV), CSV.decode().encode("utf-16"),
    b"\xff\xfe", b'"',
)  # fmt: skip


@BOUNDED
@given(
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "get", "", "\ud800"]),
    path=PATHS,
    query=st.lists(st.tuples(st.sampled_from(["age", "new_user", "total_pages_visited", "", "é"]),
        TEXTS), max_size=4),
    headers=HEADERS,
    body=st.sampled_from(BODIES).flatmap(changed) | st.binary(max_size=50),
    cors=st.booleans(),
)  # fmt: skip
@example("POST", "/predict_file", [], {"content-type": "multipart/form-data; boundary=\ud800"}, FORM, False)
@example("POST", "/predict", [], {}, BODIES[7], False)
def test_any_request_is_answered_below_500(
    model: Model, method: str, path: str, query: Any, headers: Any, body: bytes, cors: bool
) -> None:
    app = App(model, Settings(cors_origins=("*",) if cors else ()))
    answer = app.handle(Request(method, path, tuple(query), headers, body))
    assert 200 <= answer.status < 500, answer.body


# Files.

FILES = st.sampled_from(
    (CSV, CSV * 8, gzip.compress(CSV * 3), zstd(CSV * 3), gzip.compress(CSV) * 2)
).flatmap(changed)


@pytest.mark.parametrize("small", [0, reading.SMALL])
@BOUNDED
@given(content=FILES | st.binary(max_size=200), size=st.integers(1, 100), workers=st.integers(1, 2))
def test_scoring_any_bytes_raises_passing_faults_alone(
    model: Model, small: int, content: bytes, size: int, workers: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "SMALL", small)
        patched.setattr(sweeping, "FEW_TEXTS", 0)
        file, out = Path(folder) / "in.csv", Path(folder) / "out"
        file.write_bytes(content)
        batch = Batch(model, Settings(block_bytes=size, workers=workers), Storage())
        try:
            summary = batch.score(Location.parse(str(file)), Location.parse(str(out))).summary
        except PassingFault as fault:
            pytest.fail(f"nothing passes by itself on a disk: {fault}")
        assert summary is not None
        rows, names = summary["rows"], {path.name for path in out.iterdir()}
        assert rows["read"] == rows["scored"] + rows["rejected"]
        assert names == (
            {"summary.json"} if "error" in summary else {"predictions.csv", "rejected.csv", "summary.json"}
        )


@pytest.mark.parametrize("small", [0, reading.SMALL])
@BOUNDED
@given(
    content=st.sampled_from((CSV, CSV * 8)).flatmap(changed) | st.binary(max_size=200),
    size=st.integers(1, 99),
)
def test_reading_any_bytes_raises_invalid_csv_alone(
    model: Model, small: int, content: bytes, size: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "SMALL", small)
        patched.setattr(sweeping, "FEW_TEXTS", 0)
        try:
            layout, rest, line = header([content], model.schema)
            data = b"".join(rest)
            pieces = (data[at : at + size] for at in range(0, len(data), size))
            for block in records.blocks(pieces, layout.delimiter, line, size):
                rows = reading.read(block, layout, model.schema)
                writing.write(rows, layout, [["x"] * (rows.total - len(rows.rejects))])
        except InvalidCsv as error:
            assert error.code.isidentifier()  # noqa: PT017  not to raise is as well


# One change at a time, at every place.

VALUES = (None, True, 0, 1.5, "", "x", "\ud800", [], ["x"], [None], {}, {"a": None}, "[", "{}", "/", "//",
          "a//b.csv", "../x", "a b", "\x00", "[" * 100_000)  # fmt: skip


def variants(document: Any) -> Iterator[Any]:
    """The document with one member at any depth, in a text of JSON too, taken out or replaced."""
    for *path, last in paths(document):

        def put(value: Any, path: Any = path, last: Any = last, out: bool = False) -> Any:
            changed = holder = copy.deepcopy(document)
            for key in path:
                holder = holder[key]
            if out:
                del holder[last]
            else:
                holder[last] = value
            return changed

        yield put(None, out=True)
        yield from map(put, VALUES)
        holder = document
        for key in path:
            holder = holder[key]
        if inner := opened(holder[last]):
            yield from (put(json.dumps(each)) for each in variants(inner))


@pytest.mark.parametrize("name", sorted(EVENT))
def test_every_member_of_every_event_may_be_missing_or_wrong(app: App, cloud_run: App, name: str) -> None:
    for event in variants(EVENT[name]):
        if name in GOOGLE:
            headers = event.get("headers")
            if not isinstance(headers, dict) or not all(isinstance(each, str) for each in headers.values()):
                continue  # no HTTP server would make that of a request
            body = json.dumps(event.get("body")).encode()
            answer = cloud_run.handle(Request("POST", "/", headers=headers, body=body))
            assert answer.status != 500, event
            continue
        assert_handled(app, event)


STEPS = (
    {"plan": {"part_bytes": 100}},
    {"part": {"index": 0, "of": 2, "start": 0, "end": 9, "etag": "e", "first": 1, "encoding": "UTF-8"}},
    {"complete": True},
    {"failed": {"Error": "States.TaskFailed", "Cause": "{}"}},
)


@pytest.mark.parametrize("step", STEPS, ids=lambda step: next(iter(step)))
def test_every_member_of_every_step_of_a_file_in_parts_may_be_missing_or_wrong(app: App, step: Any) -> None:
    secret = "a value that was sent"
    for event in variants({**EVENT["direct-batch"], **step}):
        assert_handled(app, event)
    for member, value in step.items():
        wrong = [secret, {secret: 1}, [secret]]
        if isinstance(value, dict):
            wrong += [{**value, name: each} for name in value for each in (secret, {secret: 1}, 10**400)]
        for each in wrong:
            try:
                app.handle({**EVENT["direct-batch"], member: each})
            except FunctionError as error:
                assert "that was sent" not in str(error).replace(f"no member '{secret}'", "")  # noqa: PT017


@pytest.mark.parametrize(
    "key", ["a//b.csv", "/a.csv", "a/./b.csv", "a/../b.csv", "a%01b.csv", "a%0Ab.csv", ""]
)
def test_a_key_that_the_storage_client_cannot_take_fails_alone_and_is_not_lost(app: App, key: str) -> None:
    record = copy.deepcopy(EVENT["s3-put"]["Records"][0])
    record["s3"]["object"]["key"] = key
    message = {**EVENT["sqs-s3"]["Records"][0], "body": json.dumps({"Records": [record]})}
    fine = {**message, "messageId": "fine", "body": json.dumps(EVENT["s3-test-event"])}
    reply = app.handle({"Records": [message, fine]})
    assert reply == {"batchItemFailures": [{"itemIdentifier": message["messageId"]}]}
    with pytest.raises(UnknownEvent, match="control character"):
        app.handle({"Records": [record]})


@pytest.mark.parametrize(
    "uri", ["s3://", "s3://bucket", "s3://bucket/", "s3://a b/c.csv", "gs://b/a//c.csv", "s3://b/\ud800"]
)
@pytest.mark.parametrize("member", ["input", "output"])
def test_a_direct_invoke_with_a_name_that_no_object_has_is_refused(app: App, uri: str, member: str) -> None:
    if member == "output" and uri in ("s3://bucket", "s3://bucket/"):
        return  # a folder may be a bucket
    with pytest.raises(InvalidBody):
        app.handle({**EVENT["direct-batch"], member: uri})


@pytest.mark.parametrize("wrap", [dict, lambda record: {"instances": [record]}])
def test_half_a_surrogate_pair_in_a_direct_invoke_is_refused(mixed_model: Model, wrap: Any) -> None:
    record = {**mixed_model.manifest.golden[0]["record"], "Straße": "\ud800"}
    with pytest.raises(FunctionError):
        App(mixed_model, Settings()).handle(wrap(record))
