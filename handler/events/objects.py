"""The envelopes that name objects: S3 notifications and what carries them, S3 Batch Operations, GCS in its
three forms.

Each inner format has one parser; an envelope around it calls that parser.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import unquote_plus

from handler.errors import (
    LONGEST_NAME,
    Forbidden,
    FunctionError,
    InvalidBody,
    RefusedEvent,
    Unforeseen,
    UnknownEvent,
)
from handler.events.jobs import (
    Acknowledge,
    Event,
    Job,
    Outcome,
    ScoreObject,
    Undecodable,
    keys,
    member,
    remote,
    text,
)
from handler.faults import PassingFault
from handler.settings import Settings
from handler.storage.locations import Location
from handler.typed import Any
from handler.web.messages import Answer, Request, answer_json, problem

GCS_FINALIZED = "google.cloud.storage.object.v1.finalized"
PUBSUB_PUBLISHED = "google.cloud.pubsub.topic.v1.messagePublished"
STRUCTURED = "application/cloudevents+json"
#: Characters of an object's URI that an acknowledgement repeats; no object has a longer one.
LONGEST_SHOWN = 1300
#: Characters of a task's message in the report of an S3 Batch Operations job; AWS documents no limit.
LONGEST_RESULT = 1000


class S3:
    """A notification that S3 sends to the function itself.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """

    def matches(self, event: Event) -> bool:
        return _is_s3(keys(event))

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        return _s3_jobs(event)

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        return _results(outcomes)


class Sns:
    """S3 notifications that come through SNS to the function.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html
    """

    def matches(self, event: Event) -> bool:
        return _all_from(keys(event), "EventSource", "aws:sns")

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        return [job for record in event["Records"] for job in _jobs_at(record, "Sns", "Message")]

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        return _results(outcomes)


class EventBridge:
    """An object event that EventBridge passes on; its key is not encoded.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """

    def matches(self, event: Event) -> bool:
        return _is_eventbridge(keys(event))

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        return _eventbridge_jobs(event)

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        return _results(outcomes)


class Sqs:
    """Messages of a queue, each with an S3, SNS or EventBridge event as its body.

    Replies message by message, for which the event source mapping needs ReportBatchItemFailures.
    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    """

    def matches(self, event: Event) -> bool:
        return _all_from(keys(event), "eventSource", "aws:sqs")

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        for record in event["Records"]:
            for job in _jobs_at(record, "body"):
                yield job._replace(id=text(record, "messageId"))

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        failed = dict.fromkeys(getattr(outcome.job, "id", "") for outcome in outcomes if outcome.failed)
        return {"batchItemFailures": [{"itemIdentifier": name} for name in failed]}


class S3BatchOperations:
    """An invocation by an S3 Batch Operations job, of schema version 1.0 or 2.0; each task is answered.

    AWS sends one task per invocation today. The user argument ``output`` of version 2.0 says where the
    results go, as in a direct invoke.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-invoke-lambda.html
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_control_LambdaInvokeOperation.html
    """

    #: The text of a raised exception would go into the job's report.
    answers_bugs = True

    def matches(self, event: Event) -> bool:
        members = keys(event)
        tasks = members.get("tasks")
        return "invocationSchemaVersion" in members and isinstance(tasks, list) and bool(tasks)

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        echoed = [event.get("invocationId"), event["invocationSchemaVersion"]]
        for task in event["tasks"]:
            yield _task_job(event, task)._replace(id=json.dumps([*echoed, member(task, "taskId")]))

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        results = []
        for outcome in outcomes:
            invocation, version, task = json.loads(getattr(outcome.job, "id", ""))
            code, message = _task_result(outcome)
            results.append({"taskId": task, "resultCode": code, "resultString": message[:LONGEST_RESULT]})
        return {
            "invocationSchemaVersion": version,
            "treatMissingKeysAs": "PermanentFailure",
            "invocationId": invocation,
            "results": results,
        }


class CloudEvent:
    """A GCS event from Eventarc: attributes in headers (binary) or all in the body (structured).

    https://cloud.google.com/eventarc/docs/cloudevents
    https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def matches(self, event: Event) -> bool:
        return isinstance(event, Request) and _is_cloudevent(event)

    def jobs(self, event: Request) -> Iterable[Job]:
        _require_inputs(self._settings)
        kind, data = event.headers.get("ce-type"), _json(event.body)
        if kind is None:
            kind, data = data.get("type"), _structured_data(data)
        if kind == PUBSUB_PUBLISHED:
            return _pubsub_jobs(data)
        if kind == GCS_FINALIZED:
            return [_gcs_job(data.get("bucket"), data.get("name"), data.get("size"))]
        return [Acknowledge(f"a CloudEvent of type {str(kind)[:100]} creates no object")]

    def reply(self, outcomes: Sequence[Outcome]) -> Answer:
        return _http_results(outcomes)


class PubSubPush:
    """A GCS notification that Pub/Sub pushes to the service's root.

    https://cloud.google.com/pubsub/docs/push
    https://cloud.google.com/storage/docs/pubsub-notifications
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def matches(self, event: Event) -> bool:
        return isinstance(event, Request) and _is_pubsub(event)

    def jobs(self, event: Request) -> Iterable[Job]:
        _require_inputs(self._settings)
        return _pubsub_jobs(_json(event.body))

    def reply(self, outcomes: Sequence[Outcome]) -> Answer:
        return _http_results(outcomes)


def carries_event(request: Request) -> bool:
    """Whether an HTTP request carries an object event rather than a call of the API."""
    return _is_cloudevent(request) or _is_pubsub(request)


def _is_cloudevent(request: Request) -> bool:
    return request.method == "POST" and ("ce-type" in request.headers or request.media_type == STRUCTURED)


def _is_pubsub(request: Request) -> bool:
    return (
        request.method == "POST"
        and not request.route
        and "ce-type" not in request.headers
        and request.media_type == "application/json"
        and b'"subscription"' in request.body
    )


def _is_s3(event: Mapping[str, Any]) -> bool:
    return event.get("Event") == "s3:TestEvent" or _all_from(event, "eventSource", "aws:s3")


def _is_eventbridge(event: Mapping[str, Any]) -> bool:
    return event.get("source") == "aws.s3" and "detail-type" in event


def _all_from(event: Mapping[str, Any], member: str, service: str) -> bool:
    records = event.get("Records")
    return (
        isinstance(records, Sequence)
        and bool(records)
        and all(isinstance(record, Mapping) and record.get(member) == service for record in records)
    )


def _jobs_at(record: Mapping[str, Any], *path: str) -> list[Any]:
    """The jobs of the message at ``path``; one that cannot be understood does not stop its neighbours."""
    try:
        return _message_jobs(text(record, *path))
    except FunctionError as error:
        return [Undecodable(error)]


def _message_jobs(message: str) -> list[Job]:
    """The jobs of a message: an S3 or EventBridge event, or an SNS notification of one.

    Raises ``UnknownEvent``.
    """
    event = _json(message)
    if _is_s3(event):
        return _s3_jobs(event)
    if _is_eventbridge(event):
        return _eventbridge_jobs(event)
    if event.get("Type") == "Notification" and "Message" in event:
        return _message_jobs(text(event, "Message"))
    raise UnknownEvent(sorted(str(key)[:100] for key in event))


def _s3_jobs(event: Mapping[str, Any]) -> list[Job]:
    if event.get("Event") == "s3:TestEvent":
        return [Acknowledge("s3:TestEvent, which S3 sends when notifications are configured")]
    return [_s3_job(record) for record in event["Records"]]


def _s3_job(record: Mapping[str, Any]) -> Job:
    name = str(record.get("eventName", "")).removeprefix("s3:")
    if not name.startswith("ObjectCreated:"):
        return Acknowledge(f"{name[:100]} creates no object")
    try:
        # S3 form-encodes keys in records: "red+flower.csv" names "red flower.csv".
        key = unquote_plus(text(record, "s3", "object", "key"))
        bucket = text(record, "s3", "bucket", "name")
        return _job(Location("s3", bucket, key), member(record, "s3", "object", "size"))
    except FunctionError as error:
        return Undecodable(error)


def _eventbridge_jobs(event: Mapping[str, Any]) -> list[Job]:
    if event["detail-type"] != "Object Created":
        return [Acknowledge(f"{str(event['detail-type'])[:100]} creates no object")]
    bucket, key = text(event, "detail", "bucket", "name"), text(event, "detail", "object", "key")
    return [_job(Location("s3", bucket, key), member(event, "detail", "object", "size"))]


def _task_job(event: Mapping[str, Any], task: object) -> ScoreObject | Acknowledge | Undecodable:
    try:
        if event["invocationSchemaVersion"] == "1.0":
            bucket = _bucket_of(text(task, "s3BucketArn"))
        elif event["invocationSchemaVersion"] == "2.0":
            bucket = text(task, "s3Bucket")
        else:
            raise RefusedEvent("the job's InvocationSchemaVersion is not known; create it with 2.0")
        # Keys are form-encoded, as in S3's records: powertools' authors saw the manifest's "a%20b.csv"
        # come as "a+b.csv" (aws-powertools/powertools-lambda-python#3572). Of the samples on AWS's page,
        # one decodes by unquote_plus, and one by unquote, which would leave that key's "+" as it is.
        job = _job(Location("s3", bucket, unquote_plus(text(task, "s3Key"))), None)
        folder = _user_output(member(event, "job", "userArguments"))
        if folder is None or not isinstance(job, ScoreObject):
            return job
        if not folder.child(job.input.key).is_nameable:
            raise InvalidBody("the user argument 'output' and the key together make no key of an object")
        return job._replace(output=folder)
    except FunctionError as error:
        return Undecodable(error)


def _bucket_of(arn: str) -> str:
    """The bucket's name in its ARN, of any partition (aws, aws-cn, aws-us-gov)."""
    bucket = re.fullmatch(r"arn:[^:]+:s3:[^:]*:[^:]*:([^:/]+)", arn)
    if bucket is None:
        raise RefusedEvent("the task's s3BucketArn is not the ARN of an S3 bucket")
    return bucket[1]


def _user_output(arguments: object) -> Location | None:
    """Where a job's user arguments let the results go, if they say so; raises ``InvalidBody``."""
    arguments = arguments or {}
    if not isinstance(arguments, Mapping):
        raise InvalidBody("the job's userArguments must be an object")
    for name in sorted(arguments.keys() - {"output"}):
        raise InvalidBody(
            f"the user argument '{name[:LONGEST_NAME]}' is not known; 'output' is the only one"
        )
    output = arguments.get("output")
    return remote(output, "the user argument 'output'") if output is not None else None


def _task_result(outcome: Outcome) -> tuple[str, str]:
    """A task's result code, and what the job's report says of it.

    A file that was refused fails, and so does one that is not there, so that the report names it.
    """
    from handler.batch.run import GONE

    if outcome.error is not None:
        passing = isinstance(outcome.error, PassingFault | Unforeseen)
        return "TemporaryFailure" if passing else "PermanentFailure", str(outcome.error)
    result = outcome.result
    if "skipped" in result:
        return "PermanentFailure" if result["skipped"] == GONE else "Succeeded", result["skipped"]
    if "error" in result:
        return "PermanentFailure", result["error"]["message"]
    read, scored, rejected = (result["rows"][name] for name in ("read", "scored", "rejected"))
    rows = "row" if read == 1 else "rows"
    return "Succeeded", f"{read:,} {rows}, {scored:,} scored, {rejected:,} rejected"


def _pubsub_jobs(event: Mapping[str, Any]) -> list[Job]:
    message = event.get("message")
    message = message if isinstance(message, Mapping) else {}
    attributes = message.get("attributes")
    if not isinstance(attributes, Mapping) or "eventType" not in attributes:
        raise UnknownEvent(["message without the attributes of a GCS notification"])
    if attributes["eventType"] != "OBJECT_FINALIZE":
        return [Acknowledge(f"{str(attributes['eventType'])[:100]} creates no object")]
    data = _json(_decoded(text(message, "data"))) if message.get("data") else {}
    return [_gcs_job(attributes.get("bucketId"), attributes.get("objectId"), data.get("size"))]


def _gcs_job(bucket: object, name: object, size: object) -> Job:
    if not isinstance(bucket, str) or not isinstance(name, str):
        raise UnknownEvent(["GCS event without a bucket and an object"])
    return _job(Location("gs", bucket, name), size)


def _job(location: Location, size: object) -> ScoreObject | Acknowledge:
    """What an object asks for; ``size`` in bytes, which GCS gives as text; None where it is not known."""
    shown = str(location)[:LONGEST_SHOWN]
    if location.key.endswith("/"):
        return Acknowledge(f"{shown} is a folder marker")
    if size is not None and str(size) == "0":
        return Acknowledge(f"{shown} has no bytes")
    if not location.is_nameable:
        raise RefusedEvent(
            "the object cannot be scored under its key, which is empty, over 1,024 bytes long, or holds "
            "//, a control character, or . or .. between slashes: the storage client cannot name it. "
            "Copy the object to another key"
        )
    return ScoreObject(location)


def _structured_data(event: Mapping[str, Any]) -> Mapping[str, Any]:
    if "data_base64" in event:
        return _json(_decoded(text(event, "data_base64")))
    data = event.get("data")
    return data if isinstance(data, Mapping) else {}


def _json(message: str | bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise UnknownEvent(["(a message that is not JSON)"]) from error
    if not isinstance(document, Mapping):
        raise UnknownEvent([f"(a JSON {type(document).__name__}, not an object)"])
    return document


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UnknownEvent(["(data that are not base64)"]) from error


def _require_inputs(settings: Settings) -> None:
    """Anyone who reaches the port can forge an event: it may only name what INPUT_URI allows."""
    if not settings.input_uri:
        raise Forbidden("events are refused over HTTP until INPUT_URI says which objects may be read")


def _results(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The result of each job; raises the first passing fault, so that the platform tries again."""
    for outcome in outcomes:
        if outcome.failed and outcome.error is not None:
            raise outcome.error
    return {"results": [_result(outcome) for outcome in outcomes]}


def _result(outcome: Outcome) -> Any:
    return {"refused": str(outcome.error)} if outcome.error is not None else outcome.result


def _http_results(outcomes: Sequence[Outcome]) -> Answer:
    """5xx for a passing fault, 2xx for what trying again cannot mend: 4xx too would bring the event again.

    Events that this deployment takes from nobody are the exception: no platform may have sent them.
    https://cloud.google.com/pubsub/docs/push#receive_push
    https://cloud.google.com/eventarc/docs/retry-events
    """
    for outcome in outcomes:
        if isinstance(outcome.error, UnknownEvent) or outcome.error is None:
            continue
        if outcome.failed or outcome.job is None:
            return problem(outcome.error)
    return answer_json({"results": [_result(outcome) for outcome in outcomes]})
