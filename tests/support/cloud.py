"""Clouds for tests: S3 with SQS, SNS and EventBridge, and a Cloud Storage.

Each is moto's server (``tests.support.moto``) in a process of its own, on a free port of 127.0.0.1; S3's
notifications travel through moto's queues, topics and rules. It ends with the block, or with this process.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import boto3
from botocore.config import Config

Event = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
ACCOUNT = "123456789012"
REGION = "us-east-1"
KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
#: Seconds after which a test has surely gone wrong, rather than is slow.
PATIENCE = 60


@contextlib.contextmanager
def s3_server(functions: str = "") -> Iterator[S3]:
    """S3, SQS, SNS and EventBridge on one address; and Step Functions, with the URL of an Invoke API."""
    with _server("s3", *filter(None, [functions])) as url:
        yield S3(url)


@contextlib.contextmanager
def gcs_server() -> Iterator[GCS]:
    """Cloud Storage's XML API, with generations."""
    with _server("gcs") as url:
        yield GCS(url)


@contextlib.contextmanager
def _server(kind: str, *more: str) -> Iterator[str]:
    """Run ``tests.support.moto`` until the block is left; yields its URL."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.support.moto", kind, *more],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        with process:  # closes the server's input, which ends it, and waits
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            if not port:
                errors.seek(0)
                raise AssertionError(f"the {kind} server did not start:\n{errors.read().decode()[-4000:]}")
            yield f"http://127.0.0.1:{port}"


@dataclass(frozen=True, slots=True)
class Queue:
    url: str
    arn: str


@dataclass(frozen=True)
class Storage:
    """Buckets on a server. ``at`` gives the same ones through another address, such as a proxy's."""

    url: str
    _clients: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def at(self, url: str) -> Self:
        return replace(self, url=url, _clients={})

    def client(self, service: str) -> Any:
        """A boto3 client, made once."""
        if service not in self._clients:
            self._clients[service] = boto3.session.Session().client(
                service,
                endpoint_url=self.url,
                region_name=REGION,
                aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
                aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
                config=Config(
                    s3={"addressing_style": "path"},
                    request_checksum_calculation="when_required",
                    response_checksum_validation="when_required",
                    max_pool_connections=40,
                ),
            )
        return self._clients[service]

    def bucket(self, name: str = "bucket") -> str:
        """The name of a new bucket: ``name`` and something that makes it unique."""
        bucket = _unique(name)
        self.client("s3").create_bucket(Bucket=bucket)
        return bucket

    def put(self, bucket: str, key: str, body: bytes, content_type: str = "text/csv") -> None:
        self.client("s3").put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)

    def get(self, bucket: str, key: str) -> bytes:
        """Raises boto3's ``NoSuchKey`` where there is none."""
        content: bytes = self.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
        return content

    def delete(self, bucket: str, key: str) -> None:
        self.client("s3").delete_object(Bucket=bucket, Key=key)

    def keys(self, bucket: str, prefix: str = "") -> list[str]:
        """All keys, sorted as storage sorts them."""
        pages = self.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [each["Key"] for page in pages for each in page.get("Contents", ())]

    def pending(self, bucket: str) -> list[str]:
        """The keys of uploads begun and neither completed nor aborted."""
        uploads = self.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", ())
        return [each["Key"] for each in uploads]


class S3(Storage):
    """S3 and what its notifications pass through. Wiring a bucket replaces its earlier wiring."""

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            **KEYS,
        }

    def queue(self) -> Queue:
        sqs = self.client("sqs")
        url = sqs.create_queue(QueueName=_unique("queue"))["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return Queue(url, arn)

    def bucket_to_sqs(self, bucket: str, events: Sequence[str] = ("s3:ObjectCreated:*",)) -> Queue:
        queue = self.queue()
        target = {"QueueArn": queue.arn, "Events": list(events)}
        self._configure(bucket, {"QueueConfigurations": [target]})
        return queue

    def bucket_to_sns(self, bucket: str, events: Sequence[str] = ("s3:ObjectCreated:*",)) -> str:
        """The ARN of the topic."""
        topic: str = self.client("sns").create_topic(Name=_unique("topic"))["TopicArn"]
        target = {"TopicArn": topic, "Events": list(events)}
        self._configure(bucket, {"TopicConfigurations": [target]})
        return topic

    def bucket_to_sns_to_sqs(self, bucket: str, *, raw: bool = False) -> Queue:
        """The queue; with ``raw`` message delivery it holds S3's own event, else SNS's envelope of it."""
        queue = self.queue()
        topic = self.client("sns").create_topic(Name=_unique("topic"))["TopicArn"]
        self.client("sns").subscribe(
            TopicArn=topic,
            Protocol="sqs",
            Endpoint=queue.arn,
            Attributes={"RawMessageDelivery": "true"} if raw else {},
        )
        target = {"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}
        self._configure(bucket, {"TopicConfigurations": [target]})
        return queue

    def bucket_to_eventbridge_to_sqs(self, bucket: str) -> Queue:
        queue, rule = self.queue(), _unique("rule")
        pattern = {
            "source": ["aws.s3"],
            "detail-type": ["Object Created"],
            "detail": {"bucket": {"name": [bucket]}},
        }
        self.client("events").put_rule(Name=rule, EventPattern=json.dumps(pattern))
        self.client("events").put_targets(Rule=rule, Targets=[{"Id": "queue", "Arn": queue.arn}])
        self._configure(bucket, {"EventBridgeConfiguration": {}})
        return queue

    def _configure(self, bucket: str, configuration: Event) -> None:
        self.client("s3").put_bucket_notification_configuration(
            Bucket=bucket, NotificationConfiguration=configuration
        )

    def lambda_event(self, queue: Queue, most: int = 10) -> Event:
        """What Lambda's poller passes to a function: up to ``most`` (10) of the messages that wait.

        They stay in flight, as with Lambda, until ``settle`` says what became of them.
        https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
        """
        received = self.client("sqs").receive_message(
            QueueUrl=queue.url,
            MaxNumberOfMessages=most,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["All"],
        )
        return {
            "Records": [
                {
                    "messageId": message["MessageId"],
                    "receiptHandle": message["ReceiptHandle"],
                    "body": message["Body"],
                    "attributes": message["Attributes"],
                    "messageAttributes": {},
                    "md5OfBody": message["MD5OfBody"],
                    "eventSource": "aws:sqs",
                    "eventSourceARN": queue.arn,
                    "awsRegion": REGION,
                }
                for message in received.get("Messages", ())
            ]
        }

    def settle(self, queue: Queue, event: Event, reply: Any = None) -> None:
        """What Lambda's poller does after the function's reply, with ``ReportBatchItemFailures`` on.

        The messages are deleted, but for those that ``reply`` names: they may be received again at once.
        """
        failures = (reply or {}).get("batchItemFailures", ())
        failed = {each["itemIdentifier"] for each in failures}
        for record in event["Records"]:
            message = {"QueueUrl": queue.url, "ReceiptHandle": record["receiptHandle"]}
            if record["messageId"] in failed:
                self.client("sqs").change_message_visibility(**message, VisibilityTimeout=0)
            else:
                self.client("sqs").delete_message(**message)

    def bodies(self, queue: Queue) -> list[Event]:
        """Take every waiting message: its body, parsed.

        From ``bucket_to_sqs`` these are the events that S3 passes to a function of its own, from
        ``bucket_to_eventbridge_to_sqs`` those that EventBridge does; ``s3:TestEvent`` included.
        """
        taken: list[Event] = []
        while (event := self.lambda_event(queue))["Records"]:
            taken += [json.loads(record["body"]) for record in event["Records"]]
            self.settle(queue, event)
        return taken

    def sns_events(self, queue: Queue) -> list[Event]:
        """Take every waiting message of ``bucket_to_sns_to_sqs``, as SNS passes it to a function.

        https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html
        """
        return [
            {
                "Records": [
                    {
                        "EventSource": "aws:sns",
                        "EventVersion": "1.0",
                        "EventSubscriptionArn": f"{sent['TopicArn']}:{uuid.uuid4()}",
                        "Sns": {
                            "Type": sent["Type"],
                            "MessageId": sent["MessageId"],
                            "TopicArn": sent["TopicArn"],
                            "Subject": sent.get("Subject"),
                            "Message": sent["Message"],
                            "Timestamp": sent["Timestamp"],
                            "SignatureVersion": sent["SignatureVersion"],
                            "Signature": sent["Signature"],
                            "SigningCertUrl": sent["SigningCertURL"],
                            "UnsubscribeUrl": sent["UnsubscribeURL"],
                            "MessageAttributes": sent.get("MessageAttributes", {}),
                        },
                    }
                ]
            }
            for sent in self.bodies(queue)
        ]


@dataclass(frozen=True, slots=True)
class Post:
    """What Cloud Run receives."""

    headers: Mapping[str, str]
    body: bytes


class GCS(Storage):
    """Cloud Storage, and the events that it would send about its objects."""

    @property
    def env(self) -> dict[str, str]:
        key = {
            "gcs_base_url": self.url,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(key), "GOOGLE_ALLOW_HTTP": "true"}

    def resource(self, bucket: str, key: str) -> Event:
        """The object as the JSON API describes it.

        https://cloud.google.com/storage/docs/json_api/v1/objects#resource
        """
        answer = self.client("s3").get_object(Bucket=bucket, Key=key)
        headers = answer["ResponseMetadata"]["HTTPHeaders"]
        generation = headers["x-goog-generation"]
        created = parsedate_to_datetime(headers["last-modified"]).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        path = f"storage/v1/b/{bucket}/o/{quote(key, safe='')}"
        return {
            "kind": "storage#object",
            "id": f"{bucket}/{key}/{generation}",
            "selfLink": f"https://www.googleapis.com/{path}",
            "name": key,
            "bucket": bucket,
            "generation": generation,
            "metageneration": "1",
            "contentType": headers["content-type"],
            "timeCreated": created,
            "updated": created,
            "storageClass": "STANDARD",
            "timeStorageClassUpdated": created,
            "size": headers["content-length"],
            "md5Hash": base64.b64encode(hashlib.md5(answer["Body"].read()).digest()).decode(),
            "mediaLink": f"https://www.googleapis.com/download/{path}?generation={generation}&alt=media",
            "etag": base64.b64encode(generation.encode()).decode(),
        }

    def cloudevent(self, bucket: str, key: str, *, structured: bool = False) -> Post:
        """What Eventarc sends when the object is finalized: binary mode, or structured.

        Headers hold what is not printable ASCII percent-encoded; the body never does.
        https://cloud.google.com/eventarc/docs/cloudevents
        https://github.com/cloudevents/spec/blob/v1.0.1/http-protocol-binding.md#3132-http-header-values
        """
        resource = self.resource(bucket, key)
        attributes = {
            "specversion": "1.0",
            "id": str(uuid.uuid4().int)[:17],
            "source": f"//storage.googleapis.com/projects/_/buckets/{bucket}",
            "type": "google.cloud.storage.object.v1.finalized",
            "subject": f"objects/{key}",
            "time": resource["updated"],
            "bucket": bucket,
        }
        if structured:
            event = {**attributes, "datacontenttype": "application/json", "data": resource}
            return Post({"content-type": "application/cloudevents+json"}, json.dumps(event).encode())
        printable = "".join(map(chr, range(0x21, 0x7F))).translate({ord('"'): None, ord("%"): None})
        headers = {f"ce-{name}": quote(value, safe=printable) for name, value in attributes.items()}
        headers["content-type"] = "application/json; charset=utf-8"
        return Post(headers, json.dumps(resource).encode())

    def pubsub_push(self, bucket: str, key: str, *, eventarc: bool = False) -> Post:
        """What a Pub/Sub push subscription posts about the object; through ``eventarc`` it is a CloudEvent.

        https://cloud.google.com/storage/docs/pubsub-notifications
        https://cloud.google.com/pubsub/docs/push#receive_push
        """
        resource = self.resource(bucket, key)
        number = str(uuid.uuid4().int)[:17]
        event = {
            "message": {
                "attributes": {
                    "bucketId": bucket,
                    "eventTime": resource["updated"],
                    "eventType": "OBJECT_FINALIZE",
                    "notificationConfig": f"projects/_/buckets/{bucket}/notificationConfigs/1",
                    "objectGeneration": resource["generation"],
                    "objectId": key,
                    "payloadFormat": "JSON_API_V1",
                },
                "data": base64.b64encode(json.dumps(resource).encode()).decode(),
                "messageId": number,
                "message_id": number,
                "publishTime": resource["updated"],
                "publish_time": resource["updated"],
            },
            "subscription": "projects/example-project/subscriptions/uploads",
        }
        headers = {"content-type": "application/json"}
        if eventarc:
            headers |= {
                "ce-specversion": "1.0",
                "ce-id": number,
                "ce-source": "//pubsub.googleapis.com/projects/example-project/topics/uploads",
                "ce-type": "google.cloud.pubsub.topic.v1.messagePublished",
                "ce-time": resource["updated"],
            }
        return Post(headers, json.dumps(event).encode())


def _unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:12]}"
