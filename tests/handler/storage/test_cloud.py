"""The stand-ins behave as S3 and Cloud Storage do, in the points that batch scoring relies on."""

from __future__ import annotations

import base64
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import unquote, unquote_plus, urlsplit

import obstore
import pytest
from cloudevents.http import from_http
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import GCSStore, S3Store

from tests.support.cloud import GCS, S3, Storage
from tests.support.faults import FaultyProxy, on

#: What handlers forget to decode, or decode twice.
KEYS = ["a b.csv", "a+b.csv", "100%.csv", "año/ü.csv", "100%25/?#&=.csv"]
MB = bytes(1024 * 1024)
#: A part of an upload, the smallest that S3 takes.
PART = 5 * len(MB)


@pytest.fixture(params=["s3", "gcs"])
def cloud(request: pytest.FixtureRequest) -> Storage:
    storage: Storage = request.getfixturevalue(request.param)
    return storage


@pytest.fixture
def proxy(cloud: Storage) -> Iterator[FaultyProxy]:
    with FaultyProxy(cloud.url) as between:
        yield between


def store(cloud: Storage, bucket: str) -> Any:
    """The bucket through obstore, by the names that the environment would hold; two quick retries."""
    wait = {"init_backoff": timedelta(milliseconds=1), "max_backoff": timedelta(milliseconds=5), "base": 2}
    kind = S3Store if isinstance(cloud, S3) else GCSStore
    return kind(
        bucket,
        config={k.lower(): v for k, v in cloud.env.items() if not k.endswith("ALLOW_HTTP")},
        client_options={"allow_http": True},
        retry_config={"max_retries": 2, "backoff": wait},
    )


def version(result: Any) -> Any:
    """What ``mode`` takes: obstore refuses the ``None`` that it gives for S3's version."""
    return {name: result[name] for name in ("e_tag", "version") if result[name] is not None}


def read(bucket: Any, path: str) -> bytes:
    return bytes(obstore.get(bucket, path).bytes())


def won(write: Callable[[], object]) -> bool:
    try:
        write()
    except (AlreadyExistsError, PreconditionError):
        return False
    return True


def test_a_second_create_is_refused(cloud: Storage) -> None:
    bucket = store(cloud, cloud.bucket())
    obstore.put(bucket, "k", b"first", mode="create")
    with pytest.raises(AlreadyExistsError):
        obstore.put(bucket, "k", b"second", mode="create")
    assert read(bucket, "k") == b"first"
    obstore.delete(bucket, "k")
    obstore.put(bucket, "k", b"third", mode="create")


def test_a_stale_update_is_refused(cloud: Storage) -> None:
    bucket = store(cloud, cloud.bucket())
    first = obstore.put(bucket, "k", b"1")
    second = obstore.put(bucket, "k", b"2", mode=version(first))
    assert version(obstore.head(bucket, "k")) == version(second)
    with pytest.raises(PreconditionError):
        obstore.put(bucket, "k", b"3", mode=version(first))
    assert read(bucket, "k") == b"2"


def test_an_update_of_nothing_is_refused(cloud: Storage) -> None:
    name = cloud.bucket()
    bucket = store(cloud, name)
    seen = version(obstore.put(bucket, "k", b"1"))
    obstore.delete(bucket, "k")
    with pytest.raises(PreconditionError):
        obstore.put(bucket, "k", b"2", mode=seen)
    assert cloud.keys(name) == []


@pytest.mark.parametrize("update", [False, True])
def test_of_writers_at_once_one_wins(cloud: Storage, update: bool) -> None:
    bucket = store(cloud, cloud.bucket())
    mode = version(obstore.put(bucket, "k", b"")) if update else "create"
    together = threading.Barrier(20)

    def attempt(number: int) -> bool:
        together.wait()
        return won(lambda: obstore.put(bucket, "k", b"%d" % number, mode=mode))

    with ThreadPoolExecutor(20) as pool:
        wins = list(pool.map(attempt, range(20)))
    assert wins.count(True) == 1
    assert read(bucket, "k") == b"%d" % wins.index(True)


def test_generations_tell_equal_contents_apart(gcs: GCS) -> None:
    bucket = store(gcs, gcs.bucket())
    first, second = obstore.put(bucket, "k", b"same"), obstore.put(bucket, "k", b"same")
    assert first["e_tag"] == second["e_tag"]
    assert int(first["version"]) < int(second["version"])
    assert bytes(obstore.get(bucket, "k", options={"version": second["version"]}).bytes()) == b"same"
    with pytest.raises(FileNotFoundError):
        obstore.get(bucket, "k", options={"version": first["version"]})


def test_an_upload_in_parts_appears_whole_with_its_metadata(cloud: Storage) -> None:
    name = cloud.bucket()
    bucket = store(cloud, name)
    metadata = {"Content-Type": "text/csv", "input-etag": '"0f1e-2"', "rows": "12"}
    before = obstore.put(bucket, "big.csv", b"old")
    with obstore.open_writer(bucket, "big.csv", buffer_size=PART, attributes=metadata) as writer:
        for _ in range(12):
            writer.write(MB)
        assert read(bucket, "big.csv") == b"old"
        assert cloud.pending(name) == ["big.csv"]
    assert cloud.pending(name) == []
    assert read(bucket, "big.csv") == 12 * MB
    found = obstore.get(bucket, "big.csv", options={"head": True})
    assert dict(found.attributes) == metadata
    assert version(found.meta) != version(before)
    assert found.meta["size"] == 12 * len(MB)


def test_an_aborted_upload_leaves_nothing(cloud: Storage) -> None:
    name = cloud.bucket()

    def fail() -> None:
        with obstore.open_writer(store(cloud, name), "big.csv", buffer_size=PART) as writer:
            for _ in range(12):
                writer.write(MB)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert cloud.pending(name) == []
    assert cloud.keys(name) == []


@pytest.mark.parametrize("key", KEYS)
def test_keys_of_every_kind_are_stored(cloud: Storage, key: str) -> None:
    name = cloud.bucket()
    obstore.put(store(cloud, name), key, b"x")
    assert cloud.keys(name) == [key]
    assert cloud.get(name, key) == b"x"
    cloud.delete(name, key)
    assert cloud.keys(name) == []


# Notifications.


def created(events: list[Any]) -> list[Any]:
    """The S3 records in S3's own events; the test event has none."""
    return [record for event in events for record in event.get("Records", ())]


def keys(records: list[Any]) -> list[str]:
    return [unquote_plus(record["s3"]["object"]["key"]) for record in records]


def upload(s3: S3, bucket: str) -> None:
    for key in KEYS:
        s3.put(bucket, key, b"x")


def test_s3_announces_uploads(s3: S3) -> None:
    bucket = s3.bucket()
    queue = s3.bucket_to_sqs(bucket)
    upload(s3, bucket)
    s3.put(bucket, KEYS[0], b"again")
    test, *events = s3.bodies(queue)
    assert test["Event"] == "s3:TestEvent"
    assert keys(created(events)) == [*KEYS, KEYS[0]]
    assert {each["s3"]["bucket"]["name"] for each in created(events)} == {bucket}
    order = [each["s3"]["object"]["sequencer"] for each in created(events)]
    assert order == sorted(set(order))
    assert s3.bodies(queue) == []


def test_an_upload_in_parts_is_announced_once(s3: S3) -> None:
    bucket = s3.bucket()
    queue = s3.bucket_to_sqs(bucket)
    with obstore.open_writer(store(s3, bucket), "big.csv", buffer_size=PART) as writer:
        for _ in range(6):
            writer.write(MB)
    [record] = created(s3.bodies(queue))
    assert record["eventName"] == "ObjectCreated:CompleteMultipartUpload"
    assert record["s3"]["object"]["size"] == 6 * len(MB)


def test_s3_announces_deletions_where_it_is_asked_to(s3: S3) -> None:
    bucket = s3.bucket()
    queue = s3.bucket_to_sqs(bucket, ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"])
    s3.put(bucket, "k", b"x")
    s3.delete(bucket, "k")
    names = [record["eventName"] for record in created(s3.bodies(queue))]
    assert names == ["ObjectCreated:Put", "ObjectRemoved:Delete"]


def test_a_queue_hands_back_what_failed(s3: S3) -> None:
    bucket = s3.bucket()
    queue = s3.bucket_to_sqs(bucket)
    s3.bodies(queue)  # the test event
    upload(s3, bucket)
    event = s3.lambda_event(queue)
    assert keys(created([json.loads(record["body"]) for record in event["Records"]])) == KEYS
    assert {record["eventSource"] for record in event["Records"]} == {"aws:sqs"}
    assert {record["eventSourceARN"] for record in event["Records"]} == {queue.arn}
    assert s3.lambda_event(queue) == {"Records": []}
    failed = event["Records"][2]["messageId"]
    s3.settle(queue, event, {"batchItemFailures": [{"itemIdentifier": failed}]})
    [again] = s3.lambda_event(queue)["Records"]
    assert again["messageId"] == failed
    assert again["attributes"]["ApproximateReceiveCount"] == "2"


def test_sns_wraps_s3s_event(s3: S3) -> None:
    bucket = s3.bucket()
    queue = s3.bucket_to_sns_to_sqs(bucket)
    upload(s3, bucket)
    events = s3.sns_events(queue)
    assert all(len(event["Records"]) == 1 for event in events)
    assert {event["Records"][0]["EventSource"] for event in events} == {"aws:sns"}
    messages = [json.loads(event["Records"][0]["Sns"]["Message"]) for event in events]
    assert keys(created(messages)) == KEYS


def test_raw_delivery_does_not(s3: S3) -> None:
    bucket = s3.bucket()
    queue = s3.bucket_to_sns_to_sqs(bucket, raw=True)
    upload(s3, bucket)
    assert keys(created(s3.bodies(queue))) == KEYS


def test_eventbridge_leaves_keys_alone(s3: S3) -> None:
    bucket, other = s3.bucket(), s3.bucket()
    queue = s3.bucket_to_eventbridge_to_sqs(bucket)
    s3.bucket_to_eventbridge_to_sqs(other)
    upload(s3, bucket)
    upload(s3, other)
    events = s3.bodies(queue)
    assert [event["detail"]["object"]["key"] for event in events] == KEYS
    assert {event["detail"]["bucket"]["name"] for event in events} == {bucket}
    assert {(event["source"], event["detail-type"]) for event in events} == {("aws.s3", "Object Created")}
    assert {event["detail"]["reason"] for event in events} == {"PutObject"}


@pytest.mark.parametrize("structured", [False, True])
@pytest.mark.parametrize("key", KEYS)
def test_cloudevents_are_well_formed(gcs: GCS, key: str, structured: bool) -> None:
    bucket = gcs.bucket()
    gcs.put(bucket, key, b"x")
    post = gcs.cloudevent(bucket, key, structured=structured)
    assert all(value.isascii() and value.isprintable() for value in post.headers.values())
    event = from_http(post.headers, post.body)
    assert event["type"] == "google.cloud.storage.object.v1.finalized"
    subject = event["subject"] if structured else unquote(event["subject"])
    assert subject == f"objects/{key}"
    assert event.data == gcs.resource(bucket, key)


@pytest.mark.parametrize("eventarc", [False, True])
@pytest.mark.parametrize("key", KEYS)
def test_pubsub_pushes_the_objects_description(gcs: GCS, key: str, eventarc: bool) -> None:
    bucket = gcs.bucket()
    stored = obstore.put(store(gcs, bucket), key, b"x")
    post = gcs.pubsub_push(bucket, key, eventarc=eventarc)
    body = from_http(post.headers, post.body).data if eventarc else json.loads(post.body)
    message = body["message"]
    described = json.loads(base64.b64decode(message["data"]))
    assert (described["bucket"], described["name"]) == (bucket, key)
    assert (message["attributes"]["bucketId"], message["attributes"]["objectId"]) == (bucket, key)
    assert described["generation"] == message["attributes"]["objectGeneration"] == stored["version"]
    assert described["size"] == "1"


# The proxy.


@pytest.mark.parametrize("key", KEYS)
def test_the_proxy_changes_nothing(cloud: Storage, proxy: FaultyProxy, key: str) -> None:
    name = cloud.bucket()
    far = store(cloud.at(proxy.url), name)
    obstore.put(far, key, b"content", attributes={"note": "kept"})
    assert cloud.keys(name) == [key]
    assert read(far, key) == b"content"
    assert bytes(obstore.get_range(far, key, start=2, end=4)) == b"nt"
    found = obstore.get(far, key, options={"head": True})
    assert (found.meta["size"], found.attributes["note"]) == (7, "kept")
    assert [call.method for call in proxy.calls] == ["PUT", "GET", "GET", "HEAD"]
    assert {unquote(urlsplit(call.target).path) for call in proxy.calls} == {f"/{name}/{key}"}


def test_the_proxy_passes_every_framing_on(s3: S3) -> None:
    bucket = s3.bucket()
    with FaultyProxy(s3.url) as proxy:
        s3.at(proxy.url).put(bucket, "expect", 3 * MB)
        assert proxy.calls[0].headers["expect"] == "100-continue"
        connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc)
        connection.request(
            "PUT",
            f"/{bucket}/chunked",
            iter([b"in ", 3 * MB, b" parts"]),
            {"Authorization": "AWS4-HMAC-SHA256 Credential=t/20260101/us-east-1/s3/aws4_request"},
            encode_chunked=True,
        )
        with connection.getresponse() as answer:
            assert answer.status == 200
        connection.close()
    assert s3.get(bucket, "expect") == 3 * MB
    assert s3.get(bucket, "chunked") == b"in " + 3 * MB + b" parts"


@pytest.mark.parametrize("mode", ["status", "drop", "late"])
def test_a_fault_may_pass_or_last(cloud: Storage, proxy: FaultyProxy, mode: Any) -> None:
    name = cloud.bucket()
    far = store(cloud.at(proxy.url), name)
    fault = proxy.fail(2, mode, when=on("PUT"))
    obstore.put(far, "before", b"x")
    assert not fault.reached.is_set()
    obstore.put(far, "k", b"x")
    assert fault.reached.is_set()
    assert [call.target.rpartition("/")[2] for call in proxy.calls] == ["before", "k", "k"]

    proxy.clear()
    proxy.fail(mode=mode, lasting="call")
    with pytest.raises(BaseError, match="after 2 retries"):
        obstore.put(far, "lasting", b"x")
    assert ("lasting" in cloud.keys(name)) == (mode == "late")
    obstore.put(far, "other", b"x")

    proxy.clear()
    proxy.fail(2, mode, lasting="ever")
    obstore.put(far, "first", b"x")
    for key in ("second", "third"):
        with pytest.raises(BaseError, match="after 2 retries"):
            obstore.put(far, key, b"x")


def test_a_refusal_is_not_retried(cloud: Storage, proxy: FaultyProxy) -> None:
    name = cloud.bucket()
    cloud.put(name, "k", b"x")
    proxy.fail(status=403)
    with pytest.raises(BaseError, match="403"):
        read(store(cloud.at(proxy.url), name), "k")
    assert len(proxy.calls) == 1


def test_an_answer_that_came_too_late_looks_like_a_lost_race(cloud: Storage, proxy: FaultyProxy) -> None:
    name = cloud.bucket()
    far = store(cloud.at(proxy.url), name)
    proxy.fail(mode="late")
    with pytest.raises(AlreadyExistsError):
        obstore.put(far, "k", b"mine", mode="create")
    assert cloud.get(name, "k") == b"mine"
    seen = version(obstore.head(far, "k"))
    proxy.fail(mode="late")
    with pytest.raises(PreconditionError):
        obstore.put(far, "k", b"mine, too", mode=seen)
    assert cloud.get(name, "k") == b"mine, too"


def test_a_stream_that_is_cut_goes_on(cloud: Storage, proxy: FaultyProxy) -> None:
    name = cloud.bucket()
    cloud.put(name, "k", 4 * MB)
    proxy.fail(mode="cut")
    far = store(cloud.at(proxy.url), name)
    assert b"".join(map(bytes, obstore.get(far, "k").stream())) == 4 * MB
    assert [call.headers.get("range") for call in proxy.calls] == [
        None,
        f"bytes={2 * len(MB)}-{4 * len(MB) - 1}",
    ]


@pytest.mark.parametrize("after", [False, True])
def test_a_call_is_held(cloud: Storage, proxy: FaultyProxy, after: bool) -> None:
    name = cloud.bucket()
    far = store(cloud.at(proxy.url), name)
    with ThreadPoolExecutor() as pool, proxy.pause(after=after, when=on("PUT", "held")) as pause:
        write = pool.submit(obstore.put, far, "held", b"x")
        pause.wait()
        obstore.put(far, "free", b"x")
        assert cloud.keys(name) == (["free", "held"] if after else ["free"])
        assert not write.done()
        pause.release()
        write.result()
    assert cloud.keys(name) == ["free", "held"]
