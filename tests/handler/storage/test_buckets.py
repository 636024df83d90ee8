"""Storage that throttles, hangs up, cuts bodies short or stalls: tried again, as time allows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from handler.faults import Changed, DeadlineNear, StorageDown
from handler.storage.buckets import CHUNK, PART, Retries
from handler.storage.deadline import Deadline
from handler.storage.locations import Location
from handler.storage.storage import Storage
from tests.support.cloud import S3
from tests.support.faults import FaultyProxy, When, anything, on

#: As many tries as users get, and no waiting between them.
QUICK = Retries(first=0.001, longest=0.005)
TRIES = QUICK.tries
FAULTS = ["status", "drop", "reset"]


@pytest.fixture(params=["s3", "gs"])
def cloud(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue("s3" if request.param == "s3" else "gcs")


@pytest.fixture
def proxy(cloud: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    with FaultyProxy(cloud.url) as between:
        for name, value in cloud.at(between.url).env.items():
            monkeypatch.setenv(name, value)
        yield between


@pytest.fixture
def storage() -> Storage:
    return Storage(allow_http=True, retries=QUICK)


@pytest.fixture
def place(cloud: Any) -> Location:
    """An object that is not there yet."""
    return Location("s3" if isinstance(cloud, S3) else "gs", cloud.bucket(), "k.json")


def fails(proxy: FaultyProxy, times: int, mode: Any, when: When = anything, status: int = 503) -> None:
    for n in range(1, times + 1):
        proxy.fail(n, mode, when=when, status=status)


def whole(storage: Storage, location: Location) -> bytes:
    version = storage.version(location)
    assert version is not None
    return b"".join(storage.stream(location, version))


@pytest.mark.slow
@pytest.mark.parametrize("mode", FAULTS)
def test_each_call_is_tried_ten_times(
    cloud: Any, proxy: FaultyProxy, storage: Storage, place: Location, mode: Any
) -> None:
    fails(proxy, TRIES - 1, mode)
    storage.replace(place, b"first", None)
    assert cloud.get(place.bucket, place.key) == b"first"
    proxy.clear()
    fails(proxy, TRIES - 1, mode)
    version = storage.version(place)
    assert version is not None
    assert len(proxy.calls) == TRIES
    proxy.clear()
    fails(proxy, TRIES - 1, mode)
    assert storage.read(place) == (b"first", version)
    proxy.clear()
    fails(proxy, TRIES - 1, mode)
    assert b"".join(storage.stream(place, version)) == b"first"
    proxy.clear()
    fails(proxy, TRIES - 1, mode, on("PUT"))
    with storage.writer(place, "mine") as sink:
        sink.write(b"second")
    assert cloud.get(place.bucket, place.key) == b"second"


@pytest.mark.parametrize("mode", FAULTS)
def test_after_that_storage_is_down(
    proxy: FaultyProxy, storage: Storage, place: Location, mode: Any
) -> None:
    proxy.fail(mode=mode, lasting="ever")
    with pytest.raises(StorageDown):
        storage.read(place)
    assert len(proxy.calls) == TRIES


def test_too_many_requests_pass_and_a_bad_request_does_not(
    cloud: Any, proxy: FaultyProxy, storage: Storage, place: Location
) -> None:
    cloud.put(place.bucket, place.key, b"x")
    fails(proxy, TRIES - 1, "status", status=429)
    assert storage.version(place) is not None
    for status in (400, 403):
        proxy.clear()
        proxy.fail(status=status, lasting="ever")
        with pytest.raises(StorageDown):
            storage.version(place)
        assert len(proxy.calls) == 1


def test_a_body_that_is_cut_is_read_again(
    cloud: Any, proxy: FaultyProxy, storage: Storage, place: Location
) -> None:
    cloud.put(place.bucket, place.key, b'{"rows": 1}')
    fails(proxy, TRIES - 1, "cut")
    found = storage.read(place)
    assert found is not None
    assert found[0] == b'{"rows": 1}'
    assert len(proxy.calls) == TRIES


def test_a_stream_goes_on_however_often_it_is_cut(
    cloud: Any, proxy: FaultyProxy, storage: Storage, place: Location
) -> None:
    content = b"0123456789abcdef" * (3 * CHUNK // 16) + b"end"
    cloud.put(place.bucket, place.key, content)
    version = storage.version(place)
    assert version is not None
    found = b""
    for chunk in storage.stream(place, version):
        found += chunk
        fails(proxy, TRIES - 1, "status")  # the next request; one chunk's tries say nothing of another's
    assert found == content
    proxy.clear()
    fails(proxy, TRIES - 1, "cut", on("GET"))
    assert b"".join(storage.stream(place, version)) == content
    offsets = [call.headers.get("range", "bytes=0-") for call in proxy.calls]
    assert offsets == sorted(offsets, key=lambda text: int(text[6:].split("-")[0]))


def test_a_stream_that_is_cut_does_not_go_on_with_another_version(
    cloud: Any, proxy: FaultyProxy, storage: Storage, place: Location
) -> None:
    cloud.put(place.bucket, place.key, bytes(4 * CHUNK))
    version = storage.version(place)
    assert version is not None
    proxy.fail(mode="cut", when=on("GET"))
    chunks = storage.stream(place, version)
    next(chunks)
    cloud.put(place.bucket, place.key, b"1" * (4 * CHUNK))
    with pytest.raises(Changed):
        list(chunks)


@pytest.mark.parametrize("count", [0, 3])
def test_a_listing_has_what_lies_below_the_folder(
    cloud: Any, proxy: FaultyProxy, storage: Storage, place: Location, count: int
) -> None:
    keys = sorted(f"in/{number}.csv" for number in range(count))
    for key in keys:
        cloud.put(place.bucket, key, b"x")
    cloud.put(place.bucket, "in.csv", b"x")
    proxy.fail(1, "drop", when=on("GET"))
    proxy.fail(2, "status", when=on("GET"))
    folder = Location(place.scheme, place.bucket, "in")
    listed = list(storage.list(folder))
    assert [location.key for location, _ in listed] == keys
    for location, version in listed:
        present = storage.version(location)
        assert present is not None
        assert (present.etag, present.size) == (version.etag, version.size)


@pytest.mark.parametrize("update", [False, True])
def test_a_write_whose_answer_was_lost_is_known_as_ones_own(
    cloud: Any, proxy: FaultyProxy, storage: Storage, place: Location, update: bool
) -> None:
    if update:
        storage.replace(place, b"first", None)
    old = storage.version(place)
    proxy.fail(mode="late", when=on("PUT"))
    storage.replace(place, b"mine", old)
    assert cloud.get(place.bucket, place.key) == b"mine"
    with pytest.raises(Changed):
        storage.replace(place, b"mine", old)  # equal content of another write is another write


def test_an_upload_whose_completion_was_lost_is_known_as_ones_own(
    cloud: Any, proxy: FaultyProxy, storage: Storage, place: Location
) -> None:
    proxy.fail(mode="late", when=on("POST", "uploadId"))
    with storage.writer(place, "mine") as sink:
        sink.write(bytes(2 * PART))
    assert cloud.get(place.bucket, place.key) == bytes(2 * PART)
    assert cloud.pending(place.bucket) == []


@pytest.mark.parametrize("what", ["partNumber=1", "partNumber=2", "uploadId"])
def test_an_upload_that_fails_for_good_leaves_nothing(
    cloud: Any, proxy: FaultyProxy, storage: Storage, place: Location, what: str
) -> None:
    proxy.fail(lasting="call", when=on("POST" if what == "uploadId" else "PUT", what))
    with pytest.raises(StorageDown), storage.writer(place, "mine") as sink:
        sink.write(bytes(PART + 1))
    assert (cloud.pending(place.bucket), cloud.keys(place.bucket)) == ([], [])


class Clock:
    """The seconds that remain, which a test sets."""

    def __init__(self, seconds: float = 600) -> None:
        self.seconds = seconds

    def __call__(self) -> float:
        return self.seconds


@pytest.mark.slow
@pytest.mark.parametrize("call", ["version", "read", "stream", "replace", "write", "begin", "part"])
def test_a_call_that_stalls_ends_with_the_time(
    cloud: Any, proxy: FaultyProxy, storage: Storage, place: Location, call: str
) -> None:
    """The server holds its answer until after the run has given up."""
    cloud.put(place.bucket, place.key, bytes(4 * CHUNK))
    version = storage.version(place)
    assert version is not None
    clock = Clock()
    timed = storage.within(Deadline(clock))

    def upload(size: int) -> None:
        with timed.writer(place, "mine") as sink:
            sink.write(bytes(size))
            sink.write(b"")

    work: dict[str, tuple[Callable[[], object], When]] = {
        "version": (lambda: timed.version(place), on()),
        "read": (lambda: timed.read(place), on()),
        "stream": (lambda: list(timed.stream(place, version)), on()),
        "replace": (lambda: timed.replace(place, b"x", version), on("PUT")),
        "write": (lambda: upload(10), on("PUT")),
        "begin": (lambda: upload(3 * PART), on("POST", "uploads")),
        "part": (lambda: upload(3 * PART), on("PUT", "partNumber=2")),
    }
    task, when = work[call]
    with ThreadPoolExecutor(1) as pool, proxy.pause(when=when) as pause:
        running = pool.submit(task)
        pause.wait()
        clock.seconds = 9.9  # of a reserve of ten seconds
        with pytest.raises(DeadlineNear):
            running.result(timeout=60)
        assert cloud.pending(place.bucket) == []
    assert cloud.client("s3").head_object(Bucket=place.bucket, Key=place.key)["ContentLength"] in (
        (1, 10, 4 * CHUNK) if call in ("replace", "write") else (4 * CHUNK,)
    )


def test_a_completion_that_comes_within_the_reserve_counts(
    cloud: Any, proxy: FaultyProxy, storage: Storage, place: Location
) -> None:
    clock = Clock()
    timed = storage.within(Deadline(clock))
    written = threading.Event()

    def upload() -> None:
        with timed.writer(place, "mine") as sink:
            sink.write(bytes(2 * PART))
        written.set()

    with ThreadPoolExecutor(1) as pool, proxy.pause(when=on("POST", "uploadId")) as pause:
        running = pool.submit(upload)
        pause.wait()
        clock.seconds = 9.9  # of a reserve of ten seconds
        pause.release()
        running.result(timeout=60)
    assert written.is_set()
    assert cloud.pending(place.bucket) == []


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("versioned", [False, True])
def test_what_is_listed_is_read_as_long_as_it_is_of_that_version(
    cloud: Any, storage: Storage, place: Location, versioned: bool
) -> None:
    """A listing has no generation, and no version's name."""
    if versioned and isinstance(cloud, S3):
        cloud.client("s3").put_bucket_versioning(
            Bucket=place.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
    cloud.put(place.bucket, place.key, b"content")
    ((location, version),) = storage.list(Location(place.scheme, place.bucket, ""))
    assert b"".join(storage.stream(location, version)) == b"content"
    cloud.put(place.bucket, place.key, b"another")
    with pytest.raises(Changed):
        b"".join(storage.stream(location, version))


@pytest.mark.usefixtures("proxy")
def test_an_upload_is_not_completed_after_the_time(cloud: Any, storage: Storage, place: Location) -> None:
    clock = Clock()

    def upload() -> None:
        with storage.within(Deadline(clock)).writer(place, "mine") as sink:
            sink.write(bytes(2 * PART))
            clock.seconds = 9.9

    with pytest.raises(DeadlineNear):
        upload()
    assert (cloud.pending(place.bucket), cloud.keys(place.bucket)) == ([], [])


def test_no_call_is_begun_and_no_pause_is_slept_through_after_the_time(
    proxy: FaultyProxy, place: Location
) -> None:
    storage = Storage(allow_http=True, retries=Retries(first=1000, longest=1000))
    clock = Clock()
    timed = storage.within(Deadline(clock))
    proxy.fail(lasting="ever")
    with pytest.raises(StorageDown, match="503"):  # a pause of 1,000 s would be too long for the 590 s left
        timed.version(place)
    assert len(proxy.calls) == 1
    clock.seconds = 10
    with pytest.raises(DeadlineNear):
        timed.version(place)
    assert len(proxy.calls) == 1


@pytest.mark.parametrize(("seconds", "left"), [(3.0, 2.4), (50.0, 40.0), (900.0, 890.0)])
def test_the_reserve_is_a_fifth_and_ten_seconds_at_most(seconds: float, left: float) -> None:
    assert Deadline(lambda: seconds).left() == pytest.approx(left)
    assert Deadline(lambda: seconds / 2, seconds).left() == pytest.approx(left - seconds / 2)


def test_pauses_grow_at_random_and_are_bounded() -> None:
    drawn = {tuple(Retries().pauses()) for _ in range(5)}
    assert len(drawn) == 5
    for pauses in drawn:
        assert len(pauses) == 9
        assert pauses[0] == 0.1
        assert all(0.1 <= pause <= 5 for pause in pauses)
