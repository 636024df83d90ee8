"""Clouds for tests: S3 with SQS, SNS and EventBridge, a Cloud Storage, and a proxy that breaks on demand.

Each cloud is moto's server in a process of its own, on a free port of 127.0.0.1; S3's notifications
travel through moto's queues, topics and rules. It ends with the block, or with this process.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.client
import io
import json
import logging
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self, TypeVar
from urllib.parse import parse_qs, quote, quote_plus, unquote, urlsplit

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
def s3_server() -> Iterator[S3]:
    """S3, SQS, SNS and EventBridge on one address."""
    with _server("s3") as url:
        yield S3(url)


@contextlib.contextmanager
def gcs_server() -> Iterator[GCS]:
    """Cloud Storage's XML API, with generations."""
    with _server("gcs") as url:
        yield GCS(url)


@contextlib.contextmanager
def _server(kind: str) -> Iterator[str]:
    """Run this module as a server until the block is left; yields its URL."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.support.cloud", kind],
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


# The proxy.


@dataclass(frozen=True, slots=True)
class Call:
    """One HTTP request: the target as it was sent, percent signs and all; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)


When = Callable[[Call], bool]
Mode = Literal["status", "drop", "reset", "late", "cut"]
Lasting = Literal["once", "call", "ever"]


def anything(_: Call) -> bool:
    return True


def on(method: str = "", text: str = "") -> When:
    """Calls with this method, and this text in their decoded target."""
    return lambda call: method in ("", call.method) and text in unquote(call.target)


class _Nth:
    """Which calls are meant: the ``n``-th that meets ``when``, and those that ``lasting`` adds."""

    def __init__(self, n: int, lasting: Lasting, when: When) -> None:
        self.n, self.lasting, self.when = n, lasting, when
        self.seen = 0
        self.first: tuple[str, str] | None = None

    def meets(self, call: Call) -> bool:
        if not self.when(call):
            return False
        self.seen += 1
        if self.seen == self.n:
            self.first = (call.method, call.target)
            return True
        if self.lasting == "call":
            return self.first == (call.method, call.target)
        return self.lasting == "ever" and self.seen > self.n


class Fault(_Nth):
    """A way to fail. ``reached`` is set once it has happened."""

    def __init__(self, n: int, mode: Mode, status: int, lasting: Lasting, when: When) -> None:
        super().__init__(n, lasting, when)
        self.mode, self.status = mode, status
        self.reached = threading.Event()


class Pause(_Nth):
    """A call held, before it reaches the server or, with ``after``, before its answer is passed on.

    As a context manager it releases the call at the end of the block.
    """

    def __init__(self, n: int, after: bool, when: When) -> None:
        super().__init__(n, "once", when)
        self.after = after
        self.reached = threading.Event()
        self.released = threading.Event()

    def wait(self) -> None:
        """Until a call is held."""
        assert self.reached.wait(PATIENCE), "no such call came"

    def release(self) -> None:
        self.released.set()

    def hold(self) -> None:
        self.reached.set()
        self.released.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


RuleT = TypeVar("RuleT", Fault, Pause)


class FaultyProxy:
    """An HTTP proxy before ``upstream`` that notes every call, and fails or holds those it is told to.

    A context manager: leaving the block closes every connection. Each rule counts the calls that its
    ``when`` is true of, from 1 and from the moment when it was added.
    """

    def __init__(self, upstream: str, host: str = "127.0.0.1") -> None:
        self.upstream = urlsplit(upstream).netloc
        self.calls: list[Call] = []
        self._rules: list[Fault | Pause] = []
        self._lock = threading.Lock()
        self._server = _ProxyServer(self, host)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://{host}:{self._server.server_port}"

    def fail(
        self,
        n: int = 1,
        mode: Mode = "status",
        *,
        status: int = 503,
        lasting: Lasting = "once",
        when: When = anything,
    ) -> Fault:
        """Fail the ``n``-th call.

        Modes: ``status`` answers with ``status`` and does nothing else; ``drop`` closes the connection and
        does nothing else; ``reset`` resets it; ``late`` lets the server act, then closes the connection;
        ``cut`` passes on half of the answer's body. Lasting: ``once``; ``call``: and every repetition of
        that method and target, so that no retry succeeds, while other calls, such as those that clean up,
        do; ``ever``: and every call after.
        """
        return self._add(Fault(n, mode, status, lasting, when))

    def pause(self, n: int = 1, *, after: bool = False, when: When = anything) -> Pause:
        """Hold the ``n``-th call until it is released."""
        return self._add(Pause(n, after, when))

    def clear(self) -> None:
        """Forget all rules, let go of what is held, and count calls anew."""
        with self._lock:
            for rule in self._rules:
                if isinstance(rule, Pause):
                    rule.release()
            self._rules.clear()
            self.calls.clear()

    def _add(self, rule: RuleT) -> RuleT:
        with self._lock:
            self._rules.append(rule)
        return rule

    def met(self, call: Call) -> tuple[Fault | None, list[Pause]]:
        """Note the call; the fault and the pauses that are meant for it."""
        with self._lock:
            self.calls.append(call)
            rules = [rule for rule in self._rules if rule.meets(call)]
        faults = [rule for rule in rules if isinstance(rule, Fault)]
        return (faults[0] if faults else None), [rule for rule in rules if isinstance(rule, Pause)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()
        self._server.shutdown()
        self._server.close_connections()
        self._server.server_close()
        self._thread.join()


class _ProxyServer(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self, proxy: FaultyProxy, host: str) -> None:
        self.proxy = proxy
        self.connections: set[socket.socket] = set()
        super().__init__((host, 0), _ProxyHandler)

    def close_connections(self) -> None:
        for connection in tuple(self.connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients and servers may go away; anything else is a fault of the proxy's own."""
        if not isinstance(sys.exception(), OSError | http.client.HTTPException):
            super().handle_error(request, client_address)


class _ProxyHandler(BaseHTTPRequestHandler):
    """One call a connection. The base class answers ``Expect: 100-continue``, so it is not passed on."""

    server: _ProxyServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = PATIENCE
    HOP = frozenset(("connection", "expect", "keep-alive", "proxy-connection", "te", "transfer-encoding"))

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def forward(self) -> None:
        self.close_connection = True
        target = self.requestline.split()[1]  # ``self.path`` is not always as it was sent
        headers = {name.lower(): value for name, value in self.headers.items()}
        fault, pauses = self.server.proxy.met(Call(self.command, target, headers))
        for pause in pauses:
            if not pause.after:
                pause.hold()
        mode = fault.mode if fault else None
        if fault:
            fault.reached.set()
        if mode == "drop":
            return
        if mode == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())
            return
        if fault and mode == "status":
            for _ in self.body():
                pass
            self.refuse(fault.status)
            return
        with contextlib.closing(
            http.client.HTTPConnection(self.server.proxy.upstream, timeout=PATIENCE)
        ) as upstream:
            answer = self.ask(upstream, target)
            for pause in pauses:
                if pause.after:
                    pause.hold()
            if mode == "late":
                answer.read()
                return
            self.pass_on(answer, whole=mode != "cut")

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = forward  # noqa: N815

    def body(self) -> Iterator[bytes]:
        """The request's body as it arrives, without the framing."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().partition(b";")[0], 16):
                yield from self.take(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            yield from self.take(int(self.headers.get("content-length", 0)))

    def take(self, size: int) -> Iterator[bytes]:
        while size:
            block = self.rfile.read(min(size, 1 << 18))
            if not block:
                raise ConnectionError("the client went away")
            size -= len(block)
            yield block

    def ask(self, upstream: http.client.HTTPConnection, target: str) -> http.client.HTTPResponse:
        upstream.putrequest(self.command, target, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in self.HOP:
                upstream.putheader(name, value)
        chunked = "transfer-encoding" in self.headers
        if chunked:
            upstream.putheader("Transfer-Encoding", "chunked")
        upstream.putheader("Connection", "close")
        upstream.endheaders()
        for block in self.body():
            upstream.send(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if chunked:
            upstream.send(b"0\r\n\r\n")
        return upstream.getresponse()

    def pass_on(self, answer: http.client.HTTPResponse, *, whole: bool) -> None:
        self.send_response_only(answer.status, answer.reason)
        for name, value in answer.getheaders():
            if name.lower() not in self.HOP:
                self.send_header(name, value)
        self.send_header("Connection", "close")  # ends a body of unknown length, too
        self.end_headers()
        left = None if whole else (answer.length or 0) // 2
        while left != 0 and (block := answer.read(1 << 18 if left is None else min(left, 1 << 18))):
            self.wfile.write(block)
            left = left and left - len(block)

    def refuse(self, status: int) -> None:
        code = {403: "AccessDenied", 409: "ConditionalRequestConflict", 503: "SlowDown"}
        content = f"<Error><Code>{code.get(status, 'InternalError')}</Code></Error>".encode()
        self.send_response_only(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: ``FaultyProxy.calls`` is the log."""


# The servers: what follows runs in their own process.

Start = Callable[..., Any]
App = Callable[[dict[str, Any], Start], Iterable[bytes]]


def one_at_a_time(app: App, *, reads: bool) -> App:
    """Storage decides conditional writes one after the other; moto's threads would race."""
    from werkzeug.wsgi import get_input_stream

    lock = threading.Lock()

    def serve(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        storage = "/s3/aws4_request" in environ.get("HTTP_AUTHORIZATION", "")
        if not reads and (not storage or environ["REQUEST_METHOD"] in ("GET", "HEAD")):
            return app(environ, start)
        stream = get_input_stream(environ)
        content = b"".join(iter(lambda: stream.read(1 << 20), b""))  # before the lock: clients may be slow
        environ["wsgi.input"] = io.BytesIO(content)
        environ["CONTENT_LENGTH"] = str(len(content))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
        with lock:
            return app(environ, start)

    return serve


def like_gcs(app: App) -> App:
    """Cloud Storage's XML API over moto's S3. It checks the shape of requests and no more than that.

    https://cloud.google.com/storage/docs/xml-api/reference-headers
    """
    generations: dict[str, int] = {}
    signature = (
        "AWS4-HMAC-SHA256 Credential=t/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    )

    def serve(environ: dict[str, Any], start: Start) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        query = parse_qs(environ["QUERY_STRING"], keep_blank_values=True)
        for name in [name for name in environ if name.startswith("HTTP_X_GOOG_")]:
            environ[name.replace("GOOG", "AMZ", 1)] = environ[name]
        for name in ("RAW_URI", "REQUEST_URI"):  # moto takes "my%2Dbucket" for a bucket's name
            bucket, slash, key = environ[name][1:].partition("/")
            environ[name] = f"/{unquote(bucket)}{slash}{key}"
        if not environ.get("HTTP_AUTHORIZATION", "").startswith("AWS4"):
            environ["HTTP_AUTHORIZATION"] = signature
        now = generations.get(path, 0)
        wanted = environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH")
        if wanted is not None and int(wanted) != now:
            return _refusal(start, "412 Precondition Failed", "PreconditionFailed")
        if "generation" in query and int(query["generation"][0]) != now:
            return _refusal(start, "404 Not Found", "NoSuchKey")
        writes = (method == "PUT" and "partNumber" not in query) or (
            method == "POST" and "uploadId" in query
        )

        def answer(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            if status.startswith("2") and writes:
                generations[path] = max(now + 1, time.time_ns() // 1000)
            if status.startswith("2") and method == "DELETE" and "uploadId" not in query:
                generations.pop(path, None)
            headers = [(re.sub("^x-amz-", "x-goog-", name, flags=re.I), value) for name, value in headers]
            if status.startswith("2") and path in generations:
                headers.append(("x-goog-generation", str(generations[path])))
            return start(status, headers, *rest)

        return app(environ, answer)

    return serve


def _refusal(start: Start, status: str, code: str) -> Iterable[bytes]:
    content = f"<Error><Code>{code}</Code></Error>".encode()
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(content)))])
    return [content]


def like_aws() -> None:
    """Make moto's notifications what S3 documents: one for an upload in parts, each with its sequencer.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """
    from moto.events.models import events_backends
    from moto.s3 import notifications

    send, record_of = notifications.send_event, notifications._get_s3_event
    reasons = {"ObjectCreated:Put": "PutObject", "ObjectCreated:Copy": "CopyObject"}

    def send_event(account: str, name: Any, bucket: Any, key: Any) -> None:
        if name == "s3:ObjectCreated:Put" and key.multipart:
            return  # CompleteMultipartUpload follows
        key.sequencer = f"{time.time_ns() // 1000:016X}"
        send(account, name, bucket, key)

    def versioned(bucket: Any, key: Any, name: str) -> dict[str, str]:
        return {name: key.version_id} if bucket.is_versioned else {}

    def s3_event(name: str, bucket: Any, key: Any, configuration: str) -> Event:
        event: Event = record_of(name, bucket, key, configuration)
        event["Records"][0]["s3"]["object"].update(
            key=quote_plus(key.name, safe="/"),
            sequencer=key.sequencer,
            **versioned(bucket, key, "versionId"),
        )
        return event

    def event_bridge(account: str, bucket: Any, name: str, key: Any) -> None:
        action = name.split(":", 1)[1]
        created = action.startswith("ObjectCreated")
        event: Any = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": "Object Created" if created else "Object Deleted",
            "source": "aws.s3",
            "account": account,
            "time": time.time(),
            "region": bucket.region_name,
            "resources": [bucket.arn],
            "detail": {
                "version": "0",
                "event-version": "1.0",
                "bucket": {"name": bucket.name},
                "object": {
                    "key": key.name,
                    "size": key.size,
                    "etag": key.etag.strip('"'),
                    **versioned(bucket, key, "version-id"),
                    "sequencer": key.sequencer,
                },
                "request-id": "N4N7GDK58NMKJ12R",
                "requester": account,
                "source-ip-address": "127.0.0.1",
                "reason": reasons.get(action, action.partition(":")[2]),
            },
        }
        for bus in events_backends[account][bucket.region_name].event_buses.values():
            for rule in bus.rules.values():
                rule.send_to_targets(event, transform_input=False)

    vars(notifications).update(
        send_event=send_event, _get_s3_event=s3_event, _send_event_bridge_message=event_bridge
    )


def lean() -> None:
    """Spare two of the four copies in memory that moto makes of an object uploaded in parts."""
    from moto.s3.models import MultipartChecksumBuilder

    MultipartChecksumBuilder.addPart = lambda *_: None  # type: ignore[method-assign]
    MultipartChecksumBuilder.build = lambda _: None  # type: ignore[assignment,method-assign]


def main(kind: str) -> None:
    """Serve on a free port, print it, and end when the input does."""
    from moto.moto_server.werkzeug_app import (
        DomainDispatcherApplication,
        MotoRequestHandler,
        create_backend_app,
    )
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    like_aws()
    lean()
    app: App = DomainDispatcherApplication(create_backend_app)
    app = one_at_a_time(like_gcs(app), reads=True) if kind == "gcs" else one_at_a_time(app, reads=False)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    threading.Thread(target=functools.partial(server.serve_forever, 0.1), daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()
    os._exit(0)  # at once: threads may still be serving


if __name__ == "__main__":
    main(sys.argv[1])
