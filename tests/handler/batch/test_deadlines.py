"""A run whose time is up withdraws, whatever it is at; a bug in one message costs no other message."""

from __future__ import annotations

import gzip
import io
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from handler import telemetry
from handler.app import App
from handler.batch.run import Batch
from handler.errors import Unforeseen
from handler.faults import DeadlineNear
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.deadline import Deadline
from handler.storage.locations import Location, Version
from handler.storage.storage import Storage
from tests.support.events import batch_operation
from tests.support.packing import zstd

HEADER = b"age,new_user,total_pages_visited\n"


class Looks:
    """Time that is up after so many looks at the clock."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0

    def __call__(self) -> float:
        self.count += 1
        return 600.0 if self.count <= self.most else 0.0


def score(model: Model, source: Path, remaining: Any) -> None:
    deadline = Deadline(remaining)
    batch = Batch(model, Settings(workers=2), Storage().within(deadline), deadline)
    batch.score(Location.parse(str(source)), Location.parse(str(source.parent / "out")))


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(HEADER) + gzip.compress(b"") * 400_000,
        zstd(HEADER + b"\n" * 30_000_000),
        gzip.compress(HEADER + b"\n" * 30_000_000),
        HEADER + b"\n" * 30_000_000,
    ],
    ids=["empty members", "zstd of blank lines", "gzip of blank lines", "blank lines"],
)
def test_bytes_that_hold_no_rows_do_not_hide_the_time(content: bytes, model: Model, tmp_path: Path) -> None:
    file = tmp_path / "b.csv"
    file.write_bytes(content)
    clock = Looks(6)
    with pytest.raises(DeadlineNear, match="Raise the function's timeout"):
        score(model, file, clock)
    assert clock.count < 12
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


class Stuck:
    """A scorer that does not come back."""

    def __init__(self, scorer: Any) -> None:
        self.scorer = scorer
        self.reached, self.released = threading.Event(), threading.Event()

    def score(self, columns: Any) -> Any:
        self.reached.set()
        self.released.wait(60)
        return self.scorer.score(columns)


def test_a_block_that_takes_for_ever_does_not_hide_the_time(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "b.csv"
    file.write_bytes(HEADER + b"45,0,5\n")
    scorer = Stuck(model.scorer)
    left = 600.0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(score, Model.of(model.manifest, scorer), file, lambda: left)
        assert scorer.reached.wait(60)
        left = 9.9
        with pytest.raises(DeadlineNear):
            running.result(timeout=60)
    assert not scorer.released.is_set()
    scorer.released.set()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [file]


def test_a_function_of_a_few_seconds_scores(model: Model, tmp_path: Path) -> None:
    file = tmp_path / "b.csv"
    file.write_bytes(HEADER + b"45,0,5\n")
    score(model, file, lambda: 3.0)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["rows"]["scored"] == 1


# One job of several.


class Buggy(Storage):
    """Storage with a bug that shows at some objects; no other object is there."""

    def version(self, location: Location) -> Version | None:
        if "bug" in location.key:
            raise ZeroDivisionError("a secret of the object")
        return None


def message(name: str) -> dict[str, Any]:
    body = {
        "Records": [
            {
                "eventSource": "aws:s3",
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": "bucket"}, "object": {"key": f"incoming/{name}.csv", "size": 1}},
            }
        ]
    }
    return {"eventSource": "aws:sqs", "messageId": name, "body": json.dumps(body)}


@pytest.fixture
def app(model: Model) -> App:
    return App(model, Settings(output_uri="s3://bucket/scored"), Buggy())


def test_a_bug_in_one_message_fails_that_message_alone(app: App) -> None:
    log = io.StringIO()
    telemetry.configure(app.settings, log)
    reply = app.handle({"Records": [message("a"), message("bug"), message("b")]})
    telemetry.configure(app.settings)
    assert reply == {"batchItemFailures": [{"itemIdentifier": "bug"}]}
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line.get("error") for line in lines] == [None, "ZeroDivisionError", "Unforeseen", None]
    assert any("test_deadlines.py" in place for place in lines[1]["at"])
    assert "secret" not in log.getvalue()


def test_the_other_records_of_a_notification_are_handled_before_it_is_raised(app: App) -> None:
    records = [json.loads(message(name)["body"])["Records"][0] for name in ("bug", "a")]
    log = io.StringIO()
    telemetry.configure(app.settings, log)
    with pytest.raises(Unforeseen, match="ZeroDivisionError"):
        app.handle({"Records": records})
    telemetry.configure(app.settings)
    assert "s3://bucket/incoming/a.csv" in log.getvalue()


def test_a_bug_in_the_only_job_is_raised(app: App) -> None:
    with pytest.raises(ZeroDivisionError):
        app.handle({"Records": [message("bug")]})


def test_a_bug_in_a_task_of_a_job_is_its_result_though_it_is_the_only_one(app: App) -> None:
    """Raised, its text would stand in the job's report."""
    (result,) = app.handle(batch_operation("bucket", ["incoming/bug.csv"]))["results"]
    assert result["resultCode"] == "TemporaryFailure"
    assert "ZeroDivisionError" in result["resultString"]
    assert "secret" not in result["resultString"]


def test_the_reserve_is_a_share_of_what_the_invocation_starts_with(model: Model, tmp_path: Path) -> None:
    """Not of what a later message starts with: that would be too little to withdraw in."""
    times = iter([100.0])
    app = App(model, Settings(output_uri=f"s3://{tmp_path.name}/scored"), Storage())
    reply = app.handle({"Records": [message("a"), message("b")]}, remaining=lambda: next(times, 9.0))
    assert [each["itemIdentifier"] for each in reply["batchItemFailures"]] == ["a", "b"]
