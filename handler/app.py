"""The handler: ``lambda_handler`` for AWS Lambda, ``http`` for functions-framework, one dispatch.

The bundle is loaded once, when a platform's entry point imports this module, or else on first use.
"""

from __future__ import annotations

import gc

_collecting = gc.isenabled()
gc.disable()  # what a start makes stays: looking for garbage among it took a tenth of the start

import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping

from handler import telemetry
from handler.errors import FunctionError, RequestsOnly, Unforeseen
from handler.events.envelopes import envelope_of, envelopes
from handler.events.http import pairs
from handler.events.jobs import Acknowledge, Job, JoinParts, Outcome, PlanObject, Predict, ScoreObject
from handler.scoring.model import Model
from handler.settings import Settings
from handler.typed import TYPE_CHECKING, Any
from handler.web.api import Api
from handler.web.messages import Answer, Predicted, Request
from handler.web.predictions import predict

if TYPE_CHECKING:
    import flask

    from handler.batch.goals import HandOver
    from handler.batch.run import Batch
    from handler.capture import Capture
    from handler.storage.storage import Storage

#: Bytes of an answer that Cloud Run passes on in one piece, less room for its headers.
#: https://cloud.google.com/run/quotas
CLOUD_RUN_ANSWER = 31 * 1024 * 1024
#: Elsewhere over HTTP, an answer has at most so many times the bytes of the longest body.
ANSWER_BODIES = 4
#: Characters of a request's id, which a client may choose, in the log.
LONGEST_ID = 200
Remaining = Callable[[], float]


def forever() -> float:
    """The time that is left where no platform sets a limit."""
    return float("inf")


class App:
    """A loaded model behind every envelope; ``storage`` None is made when it is first needed."""

    def __init__(self, model: Model, settings: Settings, storage: Storage | None = None) -> None:
        self.settings = settings
        self.model = model
        self._api = Api(model, settings)
        self._storage = storage
        self._capture: Capture | None = None
        if settings.capture_uri is not None:
            from handler.capture import Capture  # where it is off, nothing waits for it

            self._capture = Capture(model, settings, storage)
        self._cold = True

    def handle(self, event: object, request_id: str | None = None, remaining: Remaining = forever) -> Any:
        """Dispatch an event: find its envelope, run its jobs, reply.

        ``remaining`` gives the seconds until the platform's deadline. Raises ``UnknownEvent``,
        whatever the envelope's platform wants raised, and a bug in an event's only job.
        """
        most = remaining()
        envelope = envelope_of(event, envelopes(self.model.schema, self.settings))
        try:
            jobs = list(envelope.jobs(event))
            alone = len(jobs) == 1 and not getattr(envelope, "answers_bugs", False)
            outcomes = [self._run(job, request_id, remaining, most, alone) for job in jobs]
        except FunctionError as error:
            self._log("event", request_id, time.perf_counter(), status=error.status, problem=str(error))
            outcomes = [Outcome(None, error=error)]
        return envelope.reply(outcomes)

    def answer(self, request: Request, arrived: float) -> Answer:
        """Answer a request that came over HTTP at the time ``arrived`` of ``time.monotonic``."""
        trace = request.headers.get("x-cloud-trace-context", "").partition("/")[0]
        request_id = request.headers.get("x-request-id") or trace or None
        settings = self.settings
        most = (
            CLOUD_RUN_ANSWER
            if settings.platform == "cloud_run"
            else ANSWER_BODIES * settings.max_body_bytes
        )
        end = arrived + (settings.timeout or float("inf"))
        answer: Answer = self.handle(
            request._replace(most=most), request_id, lambda: end - time.monotonic()
        )
        return answer

    def answers_at_once(self, request: Request) -> bool:
        """Whether a request is answered in well below a millisecond."""
        return self._api.answers_at_once(request)

    def _run(
        self, job: Job, request_id: str | None, remaining: Remaining, most: float, alone: bool
    ) -> Outcome:
        """Run one job; the project's own errors become its outcome.

        So does a bug, unless the job is ``alone`` in its envelope and the platform expects a raised error:
        its neighbours must not be delivered again because of it. ``most``: the seconds that remained when
        the invocation began.
        """
        start = time.perf_counter()
        captured = self._capture is not None and self._capture.draws()
        if isinstance(job, Request):
            answer = self._api.respond(job._replace(captured=True) if captured else job)
            route = f"{job.method[:40]} /{job.route[:40]}"
            counts = {"rows": answer.rows, "rejected": answer.rejected or None}
            dropped = self._captured(answer.predicted, route, request_id, remaining)
            self._log(route, request_id, start, status=answer.status, **counts, **dropped)
            return Outcome(job, answer)
        route, rows = "event", None
        fields: dict[str, object] = {}
        try:
            if isinstance(job, Predict):
                route = "invoke"
                result, rows, predicted = predict(self.model, job.payload)
                fields |= self._captured(predicted if captured else (), route, request_id, remaining)
            elif isinstance(job, ScoreObject):
                route, fields["input"] = "batch", str(job.input)
                batch = self._batch(remaining, most)
                scored = batch.run(job.input, job.output, job.part, self._starter(job, remaining, most))
                rows = scored.rows
                fields |= {"part": job.part and job.part.index, **scored.log_fields}
                result = scored.as_json()
            elif isinstance(job, PlanObject):
                route, fields["input"] = "plan", str(job.input)
                result = self._batch(remaining, most).write_plan(job.input, job.output, job.size)
                fields["parts"] = result["plan"]["parts"]
            elif isinstance(job, JoinParts):
                route, fields["input"] = "join", str(job.input)
                batch = self._batch(remaining, most)
                if job.failed is None:
                    scored = batch.complete(job.input, job.output)
                else:
                    fields["failed"] = job.failed
                    scored = batch.fail(job.input, job.output, job.failed)
                fields |= {"skipped": scored.skipped, "drift": scored.drift}
                result = scored.as_json()
            elif isinstance(job, Acknowledge):
                result = {"skipped": job.reason}
                fields |= result
            else:
                raise job.error
        except FunctionError as error:
            fault = error
        except Exception as bug:
            if alone:
                raise
            telemetry.failure("a bug stopped a job, and the others go on", bug, request_id=request_id)
            fault = Unforeseen(bug)
        else:
            self._log(route, request_id, start, status=200, rows=rows, **fields)
            return Outcome(job, result)
        self._log(
            route,
            request_id,
            start,
            status=fault.status,
            error=type(fault).__name__,
            problem=str(fault),
            **fields,
        )
        return Outcome(job, error=fault)

    def _captured(
        self, predicted: Predicted, route: str, request_id: str | None, remaining: Remaining
    ) -> dict[str, object]:
        """Capture what was predicted, and write what is due; the log gets how many were dropped."""
        if self._capture is None:
            return {}
        if predicted:
            self._capture.take(predicted, route, request_id and request_id[:LONGEST_ID])
        self._capture.write_if_due(remaining)
        return {"capture_dropped": self._capture.dropped() or None}

    def close(self) -> None:
        """Write what is captured and not written yet, at the process's end."""
        if self._capture is not None:
            self._capture.close()

    def _batch(self, remaining: Remaining, most: float) -> Batch:
        try:
            from handler.batch.run import Batch
        except ModuleNotFoundError as error:  # the zip of the request function, which has no library
            raise RequestsOnly from error
        from handler.storage.deadline import Deadline
        from handler.storage.storage import Storage

        self._storage = self._storage or Storage(self.settings.allow_http)
        deadline = Deadline(remaining, most)
        return Batch(self.model, self.settings, self._storage.within(deadline), deadline)

    def _starter(self, job: ScoreObject, remaining: Remaining, most: float) -> HandOver | None:
        """What starts JOB for a large object, where there is one."""
        if self.settings.job is None:
            return None
        from handler.batch.job import JobStarter
        from handler.storage.deadline import Deadline

        return JobStarter(self.settings, Deadline(remaining, most), job.output).start

    def _log(self, route: str, request_id: str | None, start: float, status: int, **fields: object) -> None:
        """The one line of an invocation's job."""
        cold, self._cold = self._cold, False
        telemetry.request(
            "WARNING" if status >= 500 or "problem" in fields else "INFO",
            {
                "request_id": request_id[:LONGEST_ID] if request_id else None,
                "route": route,
                "status": status,
                "milliseconds": round((time.perf_counter() - start) * 1000, 3),
                "cold_start": cold,
                "model_version": self.model.manifest.version,
                **fields,
            },
        )


@functools.cache
def application() -> App:
    """The one application of this process; raises ``SettingError`` or ``BundleError``."""
    settings = Settings.from_env(os.environ)
    telemetry.configure(settings)
    return App(Model.load(settings.model_dir, settings.model_public_key), settings)


def lambda_handler(event: Mapping[str, Any], context: Any = None) -> Any:
    """AWS Lambda's entry point. https://docs.aws.amazon.com/lambda/latest/dg/python-handler.html"""
    clock = getattr(context, "get_remaining_time_in_millis", None)
    remaining = (lambda: clock() / 1000) if clock else forever
    return application().handle(event, getattr(context, "aws_request_id", None), remaining)


def http(request: flask.Request) -> tuple[bytes | Iterator[bytes], int, dict[str, str]]:
    """functions-framework's entry point; takes a Flask request, returns what Flask makes a response of.

    A body over the limit is left where it is. The framework would then read all of it, to the end and into
    memory, unless the answer is a stream.

    https://github.com/GoogleCloudPlatform/functions-framework-python
    """
    app = application()
    most = app.settings.max_body_bytes
    announced = request.content_length or 0
    body = b"" if announced > most else request.stream.read(most + 1)
    event = Request(
        method=request.method,
        path=request.path,
        query=pairs(request.query_string.decode(errors="replace")),
        headers={name.lower(): text for name, text in request.headers.items()},
        body=body,
        size=announced,
    )
    answer = app.answer(event, time.monotonic())
    if max(announced, len(body)) > most:
        return (
            iter([answer.body]),
            answer.status,
            {**answer.headers, "content-length": str(len(answer.body))},
        )
    return answer.body, answer.status, dict(answer.headers)


try:
    if os.environ.keys() & {"AWS_LAMBDA_RUNTIME_API", "FUNCTION_TARGET"}:
        application()  # started by a platform: load now, so that the first request does not wait
        if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
            from handler import snapshot

            snapshot.prepare(application().model)
        # Read by now. functions-framework would start as many processes, each with a model of its own.
        os.environ.pop("WORKERS", None)
finally:
    if _collecting:
        gc.freeze()  # nor is it looked through by the first collection, which would come at once
        gc.enable()
