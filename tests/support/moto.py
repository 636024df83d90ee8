"""moto's server, made more like S3 and Cloud Storage: ``python -m tests.support.moto s3`` (or ``gcs``).

``python -m tests.support.moto s3 URL`` has Step Functions, too; its state machines invoke functions at URL.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, quote_plus, unquote

Event = dict[str, Any]
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


def run_state_machines(functions: str, port: int) -> None:
    """Let Step Functions carry executions out; their tasks invoke functions at another address, once each.

    Of a Distributed Map, moto 5.2.5 leaves out tolerance, Catch and the files of ResultWriter, and refuses
    ItemBatcher. A failed item is a success to it: ``tests.support.stepfunctions`` tries failures.
    """
    import boto3
    from botocore.config import Config
    from moto.core.config import default_user_config
    from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils

    default_user_config["stepfunctions"]["execute_state_machine"] = True
    os.environ["MOTO_PORT"] = str(port)  # where the Map reads its items

    def client(region: str, service: str, **_: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=functions,
            region_name=region,
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            config=Config(read_timeout=960, retries={"total_max_attempts": 1}),
        )

    vars(lambda_eval_utils)["boto_client_for"] = client


def main(kind: str, functions: str = "") -> None:
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
    dispatcher = DomainDispatcherApplication(create_backend_app)
    # Else each request lists the folders of moto's package, and tries a pattern for each service, twice.
    vars(dispatcher)["get_backend_for_host"] = functools.cache(dispatcher.get_backend_for_host)
    app: App = dispatcher
    app = one_at_a_time(like_gcs(app), reads=True) if kind == "gcs" else one_at_a_time(app, reads=False)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=MotoRequestHandler)
    if functions:
        run_state_machines(functions, server.port)
    threading.Thread(target=functools.partial(server.serve_forever, 0.1), daemon=True).start()
    print(server.port, flush=True)
    sys.stdin.read()
    os._exit(0)  # at once: threads may still be serving


if __name__ == "__main__":
    main(*sys.argv[1:])
