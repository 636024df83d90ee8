"""A service that starts a Cloud Run job for large objects.

https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs/run
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from handler import telemetry
from handler.app import App
from handler.batch.job import PART_BYTES, TASKS, JobStarter
from handler.errors import SettingError
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.deadline import Deadline
from handler.storage.locations import Location, Version
from handler.web.messages import Answer, Request
from tests.support.cloud import GCS, Post
from tests.support.google import (
    EXECUTION,
    JOB,
    OPERATION,
    RUN_PATH,
    TOKEN,
    TOKEN_PATH,
    Google,
    Reply,
)
from tests.support.serving import free_port

API = "CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN"
COMPLETE = {"JOB": JOB, "LARGE_BYTES": "1000"}
TABLE = b"age,new_user,total_pages_visited\n" + b"45,0,5\n" * 40
LARGE = 200


@pytest.fixture
def google() -> Iterator[Google]:
    with Google() as server:
        yield server


class Service:
    """The application as the service runs it: events in, answers and log lines out."""

    def __init__(self, model: Model, gcs: GCS, google: Google, **env: str) -> None:
        self.gcs, self.input, self.output = gcs, gcs.bucket("input"), gcs.bucket("output")
        settings = {
            "K_SERVICE": "sklearn-function",
            "INPUT_URI": f"gs://{self.input}/incoming",
            "OUTPUT_URI": f"gs://{self.output}/scored",
            "JOB": JOB,
            "LARGE_BYTES": str(LARGE),
            **google.env,
            **env,
        }
        self.settings = Settings.from_env(settings)
        self.app = App(model, self.settings)

    def put(self, name: str, body: bytes = TABLE) -> Post:
        """Upload an object below the prefix: the event about it."""
        self.gcs.put(self.input, f"incoming/{name}", body)
        return self.gcs.cloudevent(self.input, f"incoming/{name}")

    def send(self, post: Post, seconds: float = float("inf")) -> Answer:
        headers = {name.lower(): text for name, text in post.headers.items()}
        end = time.monotonic() + seconds
        event = Request("POST", "/", headers=headers, body=post.body)
        answer = self.app.handle(event, remaining=lambda: end - time.monotonic())
        assert isinstance(answer, Answer)
        return answer

    def result(self, post: Post) -> Any:
        answer = self.send(post)
        assert answer.status == 200
        (result,) = json.loads(answer.body)["results"]
        return result


@pytest.fixture
def service(model: Model, gcs: GCS, google: Google, monkeypatch: pytest.MonkeyPatch) -> Service:
    for name, text in gcs.env.items():
        monkeypatch.setenv(name, text)
    return Service(model, gcs, google)


@pytest.mark.parametrize("kind", ["binary", "structured", "push", "push through Eventarc"])
def test_a_large_object_starts_the_job(
    service: Service, google: Google, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    telemetry.configure(service.settings)
    service.put("big.csv")
    if kind.startswith("push"):
        post = service.gcs.pubsub_push(service.input, "incoming/big.csv", eventarc=kind != "push")
    else:
        post = service.gcs.cloudevent(service.input, "incoming/big.csv", structured=kind == "structured")
    assert service.result(post) == {"started": EXECUTION}
    uri = f"gs://{service.input}/incoming/big.csv"
    (asked, started) = google.calls
    assert (asked.method, asked.path, started.method) == ("GET", TOKEN_PATH, "POST")
    assert google.starts() == [
        {
            "containerOverrides": [
                {
                    "args": ["score", uri, "--output", f"gs://{service.output}/scored", "--parts", "1"],
                    "env": [{"name": "INPUT_URI", "value": f"gs://{service.input}/incoming"}],
                }
            ],
            "taskCount": 1,
        }
    ]
    assert service.gcs.keys(service.output) == []
    line = json.loads(capfd.readouterr().err)
    assert (line["severity"], line["status"], line["route"]) == ("INFO", 200, "batch")
    assert (line["input"], line["started"]) == (uri, EXECUTION)
    assert TOKEN not in json.dumps(line)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("equal.csv", TABLE[:LARGE].rpartition(b"\n")[0].ljust(LARGE, b"\n")),
        ("packed.csv.gz", gzip.compress(TABLE, 0, mtime=0)),
        ("packed.tsv.zst", TABLE),
        ("named-otherwise.txt", TABLE),
    ],
)
def test_other_objects_are_scored_by_the_service(
    service: Service, google: Google, name: str, body: bytes
) -> None:
    assert len(body) >= LARGE
    assert service.result(service.put(name, body))["outputs"]
    assert google.calls == []


@pytest.mark.parametrize("name", ["BIG.CSV", "big.tsv"])
def test_the_suffix_is_read_in_either_case(service: Service, google: Google, name: str) -> None:
    assert service.result(service.put(name)) == {"started": EXECUTION}
    assert len(google.starts()) == 1


def test_what_is_scored_is_not_started_again(service: Service, google: Google, model: Model) -> None:
    post = service.put("big.csv")
    assert [service.result(post) for _ in range(2)] == [{"started": EXECUTION}] * 2
    App(model, service.settings._replace(job=None)).handle(as_request(post))
    assert service.result(post) == {"skipped": "this model version has scored it already"}
    assert len(google.starts()) == 2


def as_request(post: Post) -> Request:
    return Request("POST", "/", headers={k.lower(): v for k, v in post.headers.items()}, body=post.body)


def test_what_an_event_may_not_name_starts_nothing(service: Service, google: Google) -> None:
    service.gcs.put(service.input, "elsewhere/big.csv", TABLE)
    outside = service.result(service.gcs.cloudevent(service.input, "elsewhere/big.csv"))
    assert "is not under INPUT_URI" in outside["refused"]
    gone = service.put("gone.csv")
    service.gcs.delete(service.input, "incoming/gone.csv")
    assert service.result(gone) == {"skipped": "it is not there any more"}
    assert google.calls == []


@pytest.mark.parametrize(
    ("path", "replies"),
    [
        (RUN_PATH, [Reply(503)]),
        (RUN_PATH, [Reply(429), Reply(500)]),
        (RUN_PATH, [Reply(0), Reply(408), Reply(502)]),
        (TOKEN_PATH, [Reply(503), Reply(0), Reply(429)]),
    ],
)
def test_a_fault_of_the_moment_is_tried_again(
    service: Service, google: Google, path: str, replies: list[Reply]
) -> None:
    google.replies[path] = [*replies]
    assert service.result(service.put("big.csv")) == {"started": EXECUTION}
    assert sum(call.path == path for call in google.calls) == len(replies) + 1


MALFORMED = [b"", b"not json", b"[]", b'"text"', b"{}", b'{"name": 3}', b'{"name": "x"}', b"[" * 100_000]


@pytest.mark.parametrize(
    ("path", "reply", "says"),
    [
        (RUN_PATH, Reply(403, b'{"error": {"message": "secret"}}'), "run.jobs.runWithOverrides"),
        (RUN_PATH, Reply(404), "no such job"),
        (RUN_PATH, Reply(400, b"secret"), "answered 400"),
        (RUN_PATH, Reply(401, b"secret"), "answered 401"),
        (RUN_PATH, Reply(302, headers=(("location", f"/v2/{JOB}:elsewhere"),)), "answered 302"),
        (TOKEN_PATH, Reply(404, b"secret"), "the metadata server answered 404"),
        (TOKEN_PATH, Reply(body=b'{"access_token": ""}'), "gave no access token"),
        (TOKEN_PATH, Reply(body=b'{"access_token": "a\\r\\nX-Evil: 1"}'), "gave no access token"),
        *((RUN_PATH, Reply(body=each), "answered what is not") for each in MALFORMED),
        *((TOKEN_PATH, Reply(body=each), "the metadata server") for each in MALFORMED),
    ],
)
def test_where_the_job_cannot_be_started_the_event_comes_again(
    service: Service,
    google: Google,
    capfd: pytest.CaptureFixture[str],
    path: str,
    reply: Reply,
    says: str,
) -> None:
    telemetry.configure(service.settings)
    google.replies[path] = [reply]
    post = service.put("big.csv")
    answer = service.send(post)
    line = json.loads(capfd.readouterr().err)
    assert (answer.status, line["status"], line["severity"]) == (503, 503, "WARNING")
    assert line["error"] == "JobDown"
    detail = json.loads(answer.body)["detail"]
    assert detail == line["problem"]
    assert detail.startswith(f"{JOB} could not be started: ")
    assert says in detail
    assert sum(call.path == path for call in google.calls) == 1, "trying again at once would not help"
    assert {call.path for call in google.calls} <= {TOKEN_PATH, RUN_PATH}
    assert not any(each in f"{answer.body!r}{line}" for each in (TOKEN, "secret", "Evil"))
    assert service.result(post) == {"started": EXECUTION}


def test_a_fault_that_lasts_is_passing(service: Service, google: Google) -> None:
    google.replies[RUN_PATH] = [Reply(503)] * 4
    answer = service.send(service.put("big.csv"))
    assert (answer.status, b"answered 503" in answer.body) == (503, True)
    assert google.replies[RUN_PATH] == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"run_api": f"http://127.0.0.1:{free_port()}"}, "ConnectionRefusedError"),
        ({"metadata_host": f"127.0.0.1:{free_port()}"}, "ConnectionRefusedError"),
        ({"metadata_host": "127.0.0.1:port"}, "InvalidURL"),
    ],
)
def test_a_server_that_is_not_there_is_a_passing_fault(
    service: Service, model: Model, changes: dict[str, str], says: str
) -> None:
    service.app = App(model, service.settings._replace(**changes))
    answer = service.send(service.put("big.csv"))
    assert answer.status == 503
    assert f"cannot be reached ({says})" in answer.body.decode()


def test_the_deadline_ends_the_tries(service: Service, google: Google) -> None:
    google.replies[RUN_PATH] = [Reply(503)] * 4
    assert service.send(service.put("big.csv"), seconds=0.05).status == 503
    assert len(google.starts()) <= 1


@pytest.mark.parametrize("path", [TOKEN_PATH, RUN_PATH])
def test_a_server_that_says_nothing_is_waited_for_until_the_deadline(
    service: Service, google: Google, path: str
) -> None:
    google.replies[path] = [Reply(-1)]
    post = service.put("big.csv")
    assert service.send(post, seconds=1).status == 503
    assert service.result(post) == {"started": EXECUTION}


def test_an_operation_is_named_where_the_execution_is_not(service: Service, google: Google) -> None:
    google.replies[RUN_PATH] = [Reply(body=json.dumps({"name": OPERATION}).encode())]
    assert service.result(service.put("big.csv")) == {"started": OPERATION}


@pytest.mark.parametrize(
    ("size", "parts", "tasks"),
    [
        (PART_BYTES, 1, 1),
        (PART_BYTES + 1, 2, 2),
        (PART_BYTES * TASKS, TASKS, TASKS),
        (5 << 40, 10_000, TASKS),  # the largest object of Cloud Storage
    ],
)
def test_parts_and_tasks_follow_from_the_size(google: Google, size: int, parts: int, tasks: int) -> None:
    env = {"JOB": JOB, "LARGE_BYTES": "1", "OUTPUT_URI": "gs://out", **google.env}
    starter = JobStarter(Settings.from_env(env), Deadline())
    starter.start(Location.parse("gs://in/big.csv"), Version("etag", "1", size))
    (overrides,) = google.starts()
    assert overrides["taskCount"] == tasks
    assert overrides["containerOverrides"][0]["args"][-2:] == ["--parts", str(parts)]


@pytest.mark.parametrize(
    ("env", "variable"),
    [
        ({"JOB": JOB}, "LARGE_BYTES"),
        ({"LARGE_BYTES": "1000"}, "JOB"),
        ({"JOB": "sklearn-function", "LARGE_BYTES": "1000"}, "JOB"),
        ({"JOB": f"{JOB}/", "LARGE_BYTES": "1000"}, "JOB"),
        ({"JOB": f"{JOB}\n", "LARGE_BYTES": "1000"}, "JOB"),
        ({"JOB": "projects/p/locations/r/jobs/j?x", "LARGE_BYTES": "1000"}, "JOB"),
        ({"JOB": JOB, "LARGE_BYTES": "1 GB"}, "LARGE_BYTES"),
        ({"JOB": JOB, "LARGE_BYTES": "0"}, "LARGE_BYTES"),
        ({**COMPLETE, API: "http://localhost:1/"}, API),
        ({**COMPLETE, API: "localhost:1", "GOOGLE_ALLOW_HTTP": "true"}, API),
    ],
)
def test_half_a_setting_names_its_variable(env: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_env(env)
    assert caught.value.variable == variable


def test_a_job_is_cloud_run_too() -> None:
    assert Settings.from_env({"CLOUD_RUN_JOB": "sklearn-function"}).platform == "cloud_run"
