"""Every envelope through the one dispatch: the events in ``events/``, each with its golden reply.

``python -m tests.support.events`` writes the replies anew: look at the difference first.
"""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler import telemetry
from handler.app import App
from handler.errors import InvalidBody, InvalidRecords, RefusedEvent, UnknownEvent
from handler.events.envelopes import envelopes
from handler.events.jobs import Acknowledge, Envelope, ScoreObject
from handler.events.objects import S3BatchOperations
from handler.schema import Schema
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.locations import Location
from handler.web.messages import Request
from tests.support.events import (
    DIRECT,
    EVENTS,
    GOLDEN,
    HTTP,
    LATTICE,
    REFUSED,
    batch_operation,
    comparable,
    event,
)

S3_OBJECT, GCS_OBJECT = (
    "s3://example-input/incoming/customers.csv",
    "gs://example-input/incoming/customers.csv",
)
#: What each object event asks for.
OBJECTS: dict[str, list[Any]] = {
    "s3-put": [S3_OBJECT],
    "s3-put-two-records": [S3_OBJECT, "s3://example-input/incoming/more customers.csv"],
    "s3-test-event": [Acknowledge],
    "sqs-s3": [S3_OBJECT],
    "sns-s3": [S3_OBJECT],
    "sqs-sns-s3": [S3_OBJECT],
    "sqs-s3-raw-sns": [S3_OBJECT],
    "eventbridge-s3": [S3_OBJECT],
    "sqs-eventbridge-s3": [S3_OBJECT],
    "cloudevent-binary-gcs": [GCS_OBJECT],
    "cloudevent-structured-gcs": [GCS_OBJECT],
    "pubsub-push-gcs": [GCS_OBJECT],
    "s3-batch-1": [S3_OBJECT],
    "s3-batch-2": ["s3://example-input/incoming/more customers.csv"],
    "direct-batch": [S3_OBJECT],
    "direct-items": [S3_OBJECT, "s3://example-input/incoming/more customers.csv"],
}
GOOD = {"age": "45", "new_user": "0", "total_pages_visited": "5"}


@pytest.fixture(scope="module")
def app(model: Model) -> App:
    return App(model, Settings(input_uri=("gs://example-input/incoming",)))


def known(app: App) -> list[Envelope]:
    return list(envelopes(Schema.of(app.model.manifest), app.settings))


@pytest.mark.parametrize("name", [*HTTP, *LATTICE, *DIRECT])
def test_every_event_has_its_golden_reply(app: App, name: str) -> None:
    assert comparable(app.handle(event(name))) == json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize("name", OBJECTS)
def test_every_object_event_is_understood_by_one_envelope(app: App, name: str) -> None:
    given = as_received(name)
    (envelope,) = (envelope for envelope in known(app) if envelope.matches(given))
    found = [str(job.input) if isinstance(job, ScoreObject) else type(job) for job in envelope.jobs(given)]
    assert found == OBJECTS[name]


def as_received(name: str) -> Any:
    """An object event as the handler gets it: from Cloud Run, as an HTTP request."""
    given = event(name)
    if "method" not in given:
        return given
    headers = {key.lower(): text for key, text in given["headers"].items()}
    return Request(given["method"], given["path"], headers=headers, body=json.dumps(given["body"]).encode())


def test_every_event_file_is_tested() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == {*HTTP, *LATTICE, *DIRECT, *OBJECTS, *REFUSED}


@pytest.mark.parametrize("name", [*HTTP, *LATTICE, *REFUSED])
def test_the_order_of_the_envelopes_does_not_matter(app: App, name: str) -> None:
    matching = [envelope for envelope in known(app) if envelope.matches(event(name))]
    assert len(matching) == 1


def get(name: str, path: str, query: dict[str, Any], headers: dict[str, str] | None = None) -> Any:
    """The named HTTP event, turned into a GET of ``path``; a list in ``query`` repeats a parameter."""
    found, headers = event(name), headers or {}
    many = {key: value if isinstance(value, list) else [value] for key, value in query.items()}
    found["body"], found["isBase64Encoded"] = "", False
    if name in LATTICE:
        old = name == "vpc-lattice-v1"
        found |= {"method": "GET", "raw_path" if old else "path": path, "is_base64_encoded": False}
        found["headers"] = headers if old else {key: [text] for key, text in headers.items()}
        found["query_string_parameters" if old else "queryStringParameters"] = query if old else many
        return found
    if name in ("apigateway-v2", "function-url"):
        found["requestContext"]["http"]["method"] = "GET"
        found["rawPath"], found["rawQueryString"] = path, urlencode(many, doseq=True)
        found["headers"] = headers
        return found
    found["httpMethod"], found["path"] = "GET", path
    if name.startswith("alb"):
        many = {quote(key): [quote(text) for text in texts] for key, texts in many.items()}
    single = {key: texts[-1] for key, texts in many.items()}
    found.pop("queryStringParameters", None)
    found.pop("multiValueQueryStringParameters", None)
    if name != "alb-multi-value":
        found["queryStringParameters"], found["headers"] = single, headers
    if name != "alb":
        found["multiValueQueryStringParameters"] = many
        found["multiValueHeaders"] = {key: [text] for key, text in headers.items()}
    return found


@pytest.mark.parametrize("name", [*HTTP, *LATTICE])
@pytest.mark.parametrize("path", ["/predict", "/predict/", "/prod/predict"])
def test_one_customer_over_every_envelope(app: App, name: str, path: str) -> None:
    reply = app.handle(get(name, path, GOOD))
    assert reply["statusCode"] == 200
    assert json.loads(reply["body"])["prediction"] == 0


@pytest.mark.parametrize("name", [*(each for each in HTTP if each != "alb"), "vpc-lattice-v2"])
def test_a_repeated_parameter_is_told_over_every_envelope_that_carries_it(app: App, name: str) -> None:
    reply = app.handle(get(name, "/predict", {**GOOD, "age": ["45", "46"]}))
    assert [each["code"] for each in json.loads(reply["body"])["errors"]] == ["repeated"]


@pytest.mark.parametrize("name", [*HTTP, *LATTICE])
def test_awkward_names_and_texts_arrive_intact(mixed_model: Model, name: str) -> None:
    query = {"living area": "80.5", "no.rooms": "3", "garden": "yes", "Straße": "東京",
             "heating": "heat pump", "âge": "1e1"}  # fmt: skip
    reply = App(mixed_model, Settings()).handle(get(name, "/predict", query))
    assert reply["statusCode"] == 200, reply["body"]


@pytest.mark.parametrize("name", [*HTTP, *LATTICE])
def test_errors_and_headers_over_every_envelope(app: App, name: str) -> None:
    reply = app.handle(get(name, "/predict", {"age": "x"}))
    assert reply["statusCode"] == 422
    assert len(json.loads(reply["body"])["errors"]) == 3
    reply = app.handle(get(name, "/nowhere", {}))
    headers = reply.get("headers") or {key: texts[0] for key, texts in reply["multiValueHeaders"].items()}
    assert (reply["statusCode"], headers["content-type"]) == (404, "application/problem+json")
    assert reply.get("statusDescription") == ("404 Not Found" if name.startswith(("alb", "vpc")) else None)


@pytest.mark.parametrize("name", [*HTTP, *LATTICE])
@pytest.mark.parametrize("spelled", ["Accept-Encoding", "accept-encoding"])
def test_swagger_goes_compressed_as_base64(app: App, name: str, spelled: str) -> None:
    reply = app.handle(get(name, "/prod/apidocs", {}, {spelled: "gzip"}))
    assert reply["isBase64Encoded"]
    assert b"swagger-ui.css" in gzip.decompress(base64.b64decode(reply["body"]))
    plain = app.handle(get(name, "/prod/apidocs", {}))
    assert not plain["isBase64Encoded"]


@pytest.mark.parametrize("name", HTTP)
def test_head_has_no_body(app: App, name: str) -> None:
    asked = get(name, "/healthz", {})
    if "http" in asked["requestContext"]:
        asked["requestContext"]["http"]["method"] = "HEAD"
    else:
        asked["httpMethod"] = "HEAD"
    reply = app.handle(asked)
    assert (reply["statusCode"], reply["body"]) == (200, "")


@pytest.mark.parametrize("name", REFUSED)
def test_an_event_that_only_looks_like_a_request_is_refused_by_name(app: App, name: str) -> None:
    with pytest.raises(RefusedEvent, match=REFUSED[name]):
        app.handle(event(name))


def test_an_authorizer_is_none_whatever_it_asks_for(app: App) -> None:
    asked = get("apigateway-v1", "/predict", GOOD)
    assert app.handle(asked)["statusCode"] == 200
    with pytest.raises(RefusedEvent, match="authorizer"):
        app.handle(
            {**asked, "type": "REQUEST", "methodArn": "arn:aws:execute-api:us-east-1:1:a/prod/GET/predict"}
        )


@pytest.mark.parametrize("name", LATTICE)
def test_a_binary_body_through_vpc_lattice(app: App, name: str) -> None:
    asked = get(name, "/predict?age=1", {}, {"content-type": "text/csv"})
    sent = base64.b64encode(b"age,new_user,total_pages_visited\n45,0,5\n").decode()
    asked |= {"method": "POST", "body": sent, "isBase64Encoded": True, "is_base64_encoded": True}
    assert len(json.loads(app.handle(asked)["body"])["predictions"]) == 1


@pytest.mark.slow
def test_an_answer_through_vpc_lattice_keeps_its_limit(app: App) -> None:
    record = {name: int(text) for name, text in GOOD.items()}
    asked = {**event("vpc-lattice-v1"), "body": json.dumps([record] * 75_000), "is_base64_encoded": False}
    assert app.handle(asked)["statusCode"] == 413


@pytest.mark.parametrize("key", ["incoming//a.csv", "a/../b.csv", "a%0Ab.csv", "", "x" * 1025])
def test_a_key_that_storage_cannot_name_is_said_to_be_the_fault(app: App, key: str) -> None:
    asked = event("s3-put")
    asked["Records"][0]["s3"]["object"]["key"] = key
    with pytest.raises(RefusedEvent, match="under its key") as caught:
        app.handle(asked)
    assert "unknown event" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("google.cloud.storage.object.v1.deleted", b"{}"),
        ("google.cloud.audit.log.v1.written", b"{}"),
        ("com.example.other", b"not JSON"),
        ("google.cloud.storage.object.v1.finalized", b"not JSON"),
        ("google.cloud.storage.object.v1.finalized", b"{}"),
        ("google.cloud.storage.object.v1.finalized", b'{"bucket": "b", "name": "incoming//a.csv"}'),
        ("google.cloud.pubsub.topic.v1.messagePublished", b'{"message": {}}'),
    ],
)
def test_a_cloudevent_that_can_never_be_scored_is_not_sent_again(
    app: App, model: Model, kind: str, body: bytes
) -> None:
    asked = Request("POST", "/", headers={"ce-type": kind, "content-type": "application/json"}, body=body)
    assert app.handle(asked).status == 200
    assert App(model, Settings()).handle(asked).status == 403


def test_a_push_that_can_never_be_scored_is_not_sent_again(
    app: App, capfd: pytest.CaptureFixture[str]
) -> None:
    telemetry.configure(Settings(platform="cloud_run"))
    body = b'{"message": {"data": "%%%"}, "subscription": "projects/p/subscriptions/s"}'
    asked = Request("POST", "/", headers={"content-type": "application/json"}, body=body)
    answer = app.handle(asked)
    assert (answer.status, "refused" in json.loads(answer.body)["results"][0]) == (200, True)
    assert json.loads(capfd.readouterr().err)["severity"] == "WARNING"


def test_the_openapi_server_is_the_stage_that_the_gateway_took_off(app: App) -> None:
    asked = get("apigateway-v1", "/openapi.json", {})
    asked["requestContext"]["path"] = "/prod/openapi.json"
    assert json.loads(app.handle(asked)["body"])["servers"][0]["url"] == "/prod"


def test_an_event_with_nothing_in_it_but_the_essentials(app: App) -> None:
    asked = {"httpMethod": "GET", "path": "/healthz", "headers": None, "multiValueHeaders": None,
             "queryStringParameters": None, "multiValueQueryStringParameters": None, "body": None,
             "requestContext": {}}  # fmt: skip
    assert app.handle(asked)["statusCode"] == 200


def test_a_direct_invoke_raises_on_bad_input(app: App) -> None:
    with pytest.raises(InvalidRecords, match="'age' is missing; 'agee' is not a feature"):
        app.handle({"agee": 45, "new_user": 0, "total_pages_visited": 5})


@pytest.mark.parametrize(
    "unknown", [{}, {"foo": 1, "bar": 2}, {"Records": []}, {"Records": [{"eventSource": "x"}]}]
)
def test_an_unknown_event_names_its_keys_and_is_no_prediction(app: App, unknown: Any) -> None:
    with pytest.raises(UnknownEvent) as caught:
        app.handle(unknown)
    assert caught.value.keys == tuple(sorted(unknown))


@pytest.mark.parametrize("unknown", [[], "text", 3, None])
def test_an_event_that_is_no_object_is_told_so(app: App, unknown: Any) -> None:
    with pytest.raises(UnknownEvent, match="not an object"):
        app.handle(unknown)


def test_a_record_among_several_services_is_told_apart(app: App) -> None:
    mixed = {"Records": [{"eventSource": "aws:s3"}, {"eventSource": "aws:sqs"}]}
    with pytest.raises(UnknownEvent):
        app.handle(mixed)


@pytest.mark.parametrize(
    "text",
    ["", "a=1", "a=1&b=", "a", "&&a=1&", "a=1=2", "=1", "a=%C3%A9&b=x+y", "a+b=%2B", "ä=ö&a=;", "a=%zz"],
)
def test_a_query_string_is_read_as_pythons_own_library_reads_it(model: Model, text: str) -> None:
    event = {
        "version": "2.0", "rawPath": "/predict", "rawQueryString": text,
        "requestContext": {"http": {"method": "GET"}},
    }  # fmt: skip
    (envelope,) = (envelope for envelope in envelopes(model.schema, Settings()) if envelope.matches(event))
    (job,) = envelope.jobs(event)
    assert isinstance(job, Request)
    assert job.query == tuple(parse_qsl(text, keep_blank_values=True))


# S3 Batch Operations, and batches of a Distributed Map.


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@given(
    key=st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(
        lambda key: not key.endswith("/") and Location("s3", "bucket", key).is_nameable
    )
)
def test_every_key_comes_back_from_a_task_as_it_is(version: str, key: str) -> None:
    """A plus for a blank, or %20, and slashes as they are, or %2F: all are read the same way."""
    given = batch_operation("bucket", [key], version)
    for encoded in (given["tasks"][0]["s3Key"], quote_plus(key), quote(key), quote(key, safe="")):
        given["tasks"][0]["s3Key"] = encoded
        (job,) = S3BatchOperations().jobs(given)
        assert isinstance(job, ScoreObject)
        assert job.input == Location("s3", "bucket", key)


@pytest.mark.parametrize(
    ("arn", "bucket"),
    [
        ("arn:aws:s3:::example-input", "example-input"),
        ("arn:aws-cn:s3:::example-input", "example-input"),
        ("arn:aws-us-gov:s3:::my.bucket", "my.bucket"),
        ("arn:aws:s3:us-east-1:0123456788:awsexamplebucket1", "awsexamplebucket1"),  # AWS's older example
        ("arn:aws:s3:us-east-1:123456789012:accesspoint/mine", None),
        ("arn:aws:s3:::", None),
        ("example-input", None),
    ],
)
def test_the_bucket_of_a_task_is_in_its_arn(app: App, arn: str, bucket: str | None) -> None:
    given = event("s3-batch-1")
    given["tasks"][0]["s3BucketArn"] = arn
    (result,) = app.handle(given)["results"]
    said = f"s3://{bucket}/incoming/customers.csv is not under INPUT_URI" if bucket else "is not the ARN of"
    assert result["resultCode"] == "PermanentFailure"
    assert said in result["resultString"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"invocationSchemaVersion": "3.0"}, "create it with 2.0"),
        ({"job": {"userArguments": {"output": "/tmp/scored"}}}, "a URI that starts with s3:// or gs://"),
        ({"job": {"userArguments": {"output": "s3://a b"}}}, "make no key of an object"),
        ({"job": {"userArguments": {"outptu": "s3://b/scored"}}}, "'outptu' is not known"),
        ({"job": {"userArguments": ["output"]}}, "must be an object"),
        ({"tasks": [{"taskId": "1", "s3Bucket": "b"}]}, "no text at s3Key"),
    ],
)
def test_a_job_that_is_not_understood_fails_its_tasks(app: App, change: Any, said: str) -> None:
    (result,) = app.handle({**event("s3-batch-2"), **change})["results"]
    assert result["resultCode"] == "PermanentFailure"
    assert said in result["resultString"]


JOB = {"input": "s3://example-input/a.csv"}


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        ({"Items": [JOB, {"inptu": "s3://b/a.csv"}]}, r"Items\[1\] is not a job"),
        ({"Items": [JOB, JOB, None]}, r"Items\[2\] is not a job"),
        ({"Items": [JOB, {"input": "/etc/passwd"}]}, r"Items\[1\]: 'input' must be a URI"),
        ({"Items": [JOB], "BatchInput": "s3://b"}, "'BatchInput' must be an object"),
        ({"Items": [JOB], "BatchInput": {"x": 1}}, r"Items\[0\] is not a job"),
    ],
)
def test_an_item_that_is_no_job_is_named_by_its_position(app: App, batch: Any, said: str) -> None:
    with pytest.raises(InvalidBody, match=said):
        app.handle(batch)


def test_a_batch_without_items_has_no_results(app: App) -> None:
    assert app.handle({"Items": []}) == []
