"""A file in parts through the public entry, as a state machine asks for its steps: by direct invokes.

https://docs.aws.amazon.com/step-functions/latest/dg/connect-lambda.html
"""

from __future__ import annotations

import collections
import contextlib
import json
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from handler.app import App
from handler.errors import Forbidden, InvalidBody
from handler.events.envelopes import DirectBatch
from handler.faults import NotComplete, PassingFault
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.buckets import Retries
from handler.storage.storage import Storage
from tests.support.cloud import GCS, S3
from tests.support.faults import FaultyProxy, on

pytestmark = pytest.mark.slow

KEY = "incoming/c.csv"
FOLDER = f"scored/{KEY}"
HEADER = b"age,note,new_user,total_pages_visited\n"
QUICK = Retries(tries=2, first=0.001, longest=0.005)
DONE = "this model version has scored it already"


def table(rows: int, shift: int = 0) -> bytes:
    """A file of which every seventh row is rejected, and some cells have two lines."""
    lines = []
    for row in range(rows):
        age = "old" if row % 7 == 3 else str(20 + (row + shift) % 50)
        note = '"two\nlines"' if row % 5 == 1 else f"n{row}"
        lines.append(f"{age},{note},{row % 2},{1 + row % 29}\n")
    return HEADER + "".join(lines).encode()


def dated(model: Model, version: str, created: str) -> Model:
    return Model.of(model.manifest._replace(version=version, created=created), model.scorer)


@dataclass
class Deployment:
    """The handler on a bucket, and its steps."""

    model: Model
    cloud: S3 | GCS
    scheme: str = "s3"
    bucket: str = ""
    app: App = field(init=False)

    def __post_init__(self) -> None:
        self.bucket = self.bucket or self.cloud.bucket()
        root = f"{self.scheme}://{self.bucket}"
        settings = Settings(input_uri=(f"{root}/incoming/",), output_uri=f"{root}/scored", allow_http=True)
        self.app = App(self.model, settings, Storage(allow_http=True, retries=QUICK))

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{self.bucket}/{KEY}"

    def by(self, model: Model) -> Deployment:
        """The same bucket under another model."""
        return Deployment(model, self.cloud, self.scheme, self.bucket)

    def put(self, content: bytes) -> None:
        self.cloud.put(self.bucket, KEY, content)

    def step(self, **step: Any) -> Any:
        return self.app.handle({"input": self.uri, **step})

    def plan(self, size: int) -> list[Any]:
        plan = self.step(plan={"part_bytes": size})["plan"]
        items: list[Any] = json.loads(self.cloud.get(plan["bucket"], plan["key"]))
        assert len(items) == plan["parts"]
        return items

    def names(self) -> list[str]:
        return [key.removeprefix(f"{FOLDER}/") for key in self.cloud.keys(self.bucket, f"{FOLDER}/")]

    def summary(self) -> Any:
        return json.loads(self.cloud.get(self.bucket, f"{FOLDER}/summary.json"))

    def tables(self, folder: str = FOLDER) -> tuple[bytes, bytes]:
        """The predictions, joined as the summary lists them, and the rejects."""
        summary = json.loads(self.cloud.get(self.bucket, f"{folder}/summary.json"))
        names = sorted(name for name in summary["outputs"] if name.startswith("predictions"))
        parts = [self.cloud.get(self.bucket, f"{folder}/{name}") for name in names]
        header = parts[0].partition(b"\n")[0] + b"\n"
        joined = header + b"".join(part.removeprefix(header) for part in parts)
        return joined, self.cloud.get(self.bucket, f"{folder}/rejected.csv")

    def whole(self) -> Any:
        """The summary of the file as it is now, scored in one piece into ``unsplit``."""
        self.app.handle({"input": self.uri, "output": f"{self.scheme}://{self.bucket}/unsplit"})
        return json.loads(self.cloud.get(self.bucket, f"unsplit/{KEY}/summary.json"))

    def assert_right(self, whole: Any = None) -> Any:
        """The outputs are those of the file in one piece, their etags the summary's, nothing pending."""
        whole = whole or self.whole()
        assert self.tables() == self.tables(f"unsplit/{KEY}")
        summary = self.summary()
        for member in ("input", "model", "rows", "rejects", "predictions", "outside", "drift"):
            assert summary[member] == whole[member], member
        client = self.cloud.client("s3")
        for name, etag in summary["outputs"].items():
            assert client.head_object(Bucket=self.bucket, Key=f"{FOLDER}/{name}")["ETag"] == etag, name
        assert self.cloud.pending(self.bucket) == []
        return summary


@pytest.fixture
def deployed(s3: S3, model: Model, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    deployment = Deployment(model, s3)
    deployment.put(table(200))
    return deployment


@pytest.fixture
def google(gcs: GCS, model: Model, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    for name, value in gcs.env.items():
        monkeypatch.setenv(name, value)
    deployment = Deployment(model, gcs, "gs")
    deployment.put(table(200))
    return deployment


def test_parts_in_any_order_each_twice_many_at_once(deployed: Deployment) -> None:
    items = deployed.plan(350)
    assert len(items) >= 8
    with pytest.raises(NotComplete, match="part 0 is not there"):
        deployed.step(complete=True)
    events = [*items, *items]
    random.Random(1).shuffle(events)
    with ThreadPoolExecutor(20) as pool:
        replies = list(pool.map(deployed.app.handle, events))
    assert any(reply.get("complete") for reply in replies)
    summary = deployed.assert_right()
    assert deployed.step(complete=True) == summary
    assert deployed.plan(350) == []
    assert deployed.app.handle(items[0]) == {"skipped": DONE, "complete": True}
    assert [part["index"] for part in summary["parts"]] == list(range(len(items)))
    assert sum(part["rows"]["read"] for part in summary["parts"]) == 200


def test_completion_says_which_part_is_missing(deployed: Deployment) -> None:
    items = deployed.plan(2000)
    for item in items[:1] + items[2:]:
        assert deployed.app.handle(item)["complete"] is False
    with pytest.raises(NotComplete, match="part 1 is not there"):
        deployed.step(complete=True)
    assert deployed.app.handle(items[1])["complete"] is True
    deployed.assert_right()


def test_parts_that_do_not_cover_the_file_are_never_complete(deployed: Deployment) -> None:
    """With a gap, an overlap, or an end that is too early; the plan itself then mends it."""
    items = deployed.plan(2000)
    for index, member, shift in ((1, "start", 90), (1, "start", -90), (len(items) - 1, "end", -90)):
        for number, item in enumerate(items):
            part = {**item["part"], **({member: item["part"][member] + shift} if number == index else {})}
            assert deployed.app.handle({**item, "part": part})["complete"] is False
        with pytest.raises(NotComplete, match=f"part {index} is"):
            deployed.step(complete=True)
    for item in items:
        deployed.app.handle(item)
    deployed.assert_right()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["status", "late"])
def test_a_part_that_fails_at_any_call_is_repeated(
    deployed: Deployment, model: Model, monkeypatch: pytest.MonkeyPatch, mode: Any
) -> None:
    """The last part of two, which completes the file; after each fault storage is down for good."""
    cloud, bucket = deployed.cloud, deployed.bucket
    deployed.put(table(30))
    whole = deployed.whole()
    first, last = deployed.plan(300)
    with FaultyProxy(cloud.url) as proxy:
        for name, value in cloud.at(proxy.url).env.items():
            monkeypatch.setenv(name, value)
        flaky = deployed.by(model)
        call, reached = 0, True
        while reached:
            call += 1
            for name in deployed.names():
                if name != "plan.json":
                    cloud.delete(bucket, f"{FOLDER}/{name}")
            deployed.app.handle(first)
            proxy.clear()
            fault = proxy.fail(call, mode)
            proxy.fail(call + 1, lasting="ever")
            with contextlib.suppress(PassingFault):
                flaky.app.handle(last)
            reached = fault.reached.is_set()
            proxy.clear()
            assert flaky.app.handle(last)["complete"] is True
            uploads = cloud.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", ())
            for upload in uploads:  # that storage did not let the run withdraw: a lifecycle rule does
                cloud.client("s3").abort_multipart_upload(
                    Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
                )
            deployed.assert_right(whole)
        assert call > 20


def test_a_failed_run_is_never_done_and_replaces_no_good_one(deployed: Deployment, model: Model) -> None:
    items = deployed.plan(2000)
    failed = {"Error": "States.TaskFailed", "Cause": "secret " * 100}
    for _ in range(2):
        reply = deployed.step(failed=failed)
        assert reply == deployed.summary()
        assert reply["outputs"] is None
        assert reply["error"]["code"] == "run_failed"
        assert "States.TaskFailed" in reply["error"]["message"]
        assert "secret" not in json.dumps(reply)
    older = deployed.by(dated(model, "older", "2000-01-01T00:00:00+00:00"))
    assert len(older.plan(2000)) == len(items), "a failed run of a later model is not done either"
    assert len(deployed.plan(2000)) == len(items)
    for item in items:
        deployed.app.handle(item)
    good = deployed.assert_right()
    newer = deployed.by(dated(model, "newer", "2100-01-01T00:00:00+00:00"))
    for each in (deployed, older, newer):
        assert "has scored it already" in each.step(failed=failed)["skipped"]
    assert deployed.summary() == good
    deployed.cloud.delete(deployed.bucket, f"{FOLDER}/predictions/part-00000.csv")
    assert deployed.step(failed=failed)["error"]["code"] == "run_failed"
    deployed.app.handle(items[0])
    deployed.assert_right()


def test_a_new_model_plans_and_scores_again(deployed: Deployment, model: Model) -> None:
    items = deployed.plan(2000)
    for item in items:
        deployed.app.handle(item)
    newer = deployed.by(dated(model, "newer", "2100-01-01T00:00:00+00:00"))
    again = newer.plan(3000)
    assert 0 < len(again) < len(items)
    for item in again:
        newer.app.handle(item)
    summary = newer.assert_right()
    assert summary["model"]["version"] == "newer"
    before = {name: newer.cloud.get(newer.bucket, f"{FOLDER}/{name}") for name in newer.names()}
    for item in items:
        assert (
            deployed.app.handle(item)["skipped"] == "a model that was created later has scored it already"
        )
    assert deployed.step(complete=True) == summary
    assert deployed.plan(2000) == []
    del before["plan.json"]  # which is empty now
    for name, content in before.items():
        assert newer.cloud.get(newer.bucket, f"{FOLDER}/{name}") == content


def kinds(names: list[str]) -> dict[str, int]:
    """How many tables there are of each kind."""
    return collections.Counter(name.partition("/")[0] for name in names if name.endswith(".csv"))


def test_what_was_scored_otherwise_before_leaves_no_table_behind(deployed: Deployment) -> None:
    def in_parts(size: int) -> None:
        for item in deployed.plan(size):
            deployed.app.handle(item)

    steps: list[tuple[Callable[[], Any], int]] = [
        (lambda: in_parts(500), 1),
        (lambda: in_parts(2000), 1),
        (lambda: deployed.step(), 0),
        (lambda: in_parts(1000), 1),
    ]
    notes = [f"{FOLDER}/predictions/{name}" for name in ("notes.txt", "part-1.csv")]
    for name in notes:  # of a person, who looked at the predictions
        deployed.cloud.put(deployed.bucket, name, b"mine")
    for shift, (score, split) in enumerate(steps):
        deployed.put(table(200, shift))
        score()
        count = len(deployed.assert_right().get("parts", ()))
        wanted = {"predictions": count, "rejected": count, "rejected.csv": 1}
        names = [name for name in deployed.names() if f"{FOLDER}/{name}" not in notes]
        assert kinds(names) == (wanted if split else {"predictions.csv": 1, "rejected.csv": 1})
    assert all(deployed.cloud.get(deployed.bucket, name) == b"mine" for name in notes)


def test_a_role_that_may_not_delete(
    s3: S3, model: Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FaultyProxy(s3.url) as proxy:
        for name, value in s3.at(proxy.url).env.items():
            monkeypatch.setenv(name, value)
        deployment = Deployment(model, s3)
        deployment.put(table(200))
        deployment.step()
        deployment.put(table(200, shift=1))
        proxy.fail(status=403, lasting="ever", when=on("DELETE"))
        proxy.fail(status=403, lasting="ever", when=on("POST", "delete"))
        replies = [deployment.app.handle(item) for item in deployment.plan(2000)]
        assert replies[-1]["complete"] is True
        assert "what an earlier run has left was not deleted" in capsys.readouterr().err
        deployment.assert_right()
        assert "predictions.csv" in deployment.names()


def test_outputs_of_parts_are_not_inputs(deployed: Deployment) -> None:
    """Even where outputs and inputs share a bucket without a prefix."""
    for item in deployed.plan(2000):
        deployed.app.handle(item)
    root = f"s3://{deployed.bucket}"
    open_app = App(
        deployed.model,
        Settings(input_uri=(root,), output_uri=root, allow_http=True),
        Storage(allow_http=True, retries=QUICK),
    )
    names = [name for name in deployed.names() if name != "plan.json"]
    assert len(names) == 8
    for name in names:
        uri = f"{root}/{FOLDER}/{name}"
        assert open_app.handle({"input": uri}) == {"skipped": "it is an output of scoring"}


def test_parts_in_cloud_storage(google: Deployment) -> None:
    for shift in range(2):
        google.put(table(200, shift))
        items = google.plan(1000)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(google.app.handle, [*items, *items]))
        summary = google.assert_right()
        assert summary["input"]["generation"] is not None
        assert google.step(complete=True) == summary
        google.put(table(200, shift))  # the same bytes, and another generation
        assert len(google.plan(1000)) == len(items)
        for item in items:
            google.app.handle(item)
        google.assert_right()


@pytest.mark.slow
def test_a_part_costs_the_same_calls_whatever_their_number(
    s3: S3, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scored in order, in reverse, and delivered again when the file is done."""
    most: dict[str, list[int]] = collections.defaultdict(list)
    with FaultyProxy(s3.url) as proxy:
        for name, value in s3.at(proxy.url).env.items():
            monkeypatch.setenv(name, value)
        for rows, size in ((140, 200), (560, 200)):
            for order in (1, -1):
                deployment = Deployment(model, s3)
                deployment.put(table(rows))
                items = deployment.plan(size)
                for name, events in (("part", items[::order][:-1]), ("again", items)):
                    if name == "again":
                        proxy.clear()
                        assert deployment.app.handle(items[::order][-1])["complete"] is True
                        calls = collections.Counter(call.method for call in proxy.calls)
                        print(f"the last of {len(items)}: {sum(calls.values())} calls, {dict(calls)}")
                        assert sum(calls.values()) < 40 + 2.2 * len(items)
                    counts = []
                    for event in events:
                        proxy.clear()
                        deployment.app.handle(event)
                        counts.append(len(proxy.calls))
                    calls = collections.Counter(call.method for call in proxy.calls)
                    print(f"{name} of {len(items)}: {max(counts)} calls at most, {dict(calls)}")
                    most[name].append(max(counts))
    assert len(items) > 35
    for counts in most.values():
        assert len(set(counts)) == 1, counts


def test_steps_outside_input_uri_are_forbidden(deployed: Deployment) -> None:
    part = deployed.plan(2000)[0]["part"]
    steps = {"plan": {}, "part": part, "complete": True, "failed": {"Error": "x"}}
    assert steps.keys() == DirectBatch.STEPS
    for name, value in steps.items():
        with pytest.raises(Forbidden, match="is not under INPUT_URI"):
            deployed.app.handle({"input": f"s3://{deployed.bucket}/elsewhere/c.csv", name: value})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"of": 10_001}, "'index' of a part must be less than 'of', which is 10,000 at most"),
        ({"index": 5, "of": 5}, "must be less than 'of'"),
        ({"index": True}, "'index' of a part must be a whole number of 0 or more"),
        ({"start": -1}, "'start' of a part must be a whole number"),
        ({"start": 9, "end": 8}, "'start' of a part must not be over 'end'"),
        ({"etag": None}, "'etag' of a part must be the text that the plan has"),
        ({"encoding": "EBCDIC"}, "'encoding' of a part must be UTF-8 or Windows-1252"),
        ({"stray": 1}, "'part' has no member 'stray'"),
    ],
)
def test_a_part_that_is_none(deployed: Deployment, change: Any, message: str) -> None:
    part = {"index": 0, "of": 2, "start": 0, "end": 100, "etag": '"e"', **change}
    with pytest.raises(InvalidBody, match=message):
        deployed.step(part=part)


def test_a_part_of_another_version(deployed: Deployment) -> None:
    items = deployed.plan(2000)
    deployed.put(table(200, shift=1))
    reply = deployed.app.handle(items[0])
    assert reply == {"skipped": "it has changed since it was planned", "complete": False}
    deployed.cloud.delete(deployed.bucket, KEY)
    gone = {"skipped": "it is not there any more"}
    assert deployed.step(complete=True) == gone
    assert deployed.step(failed={}) == gone
