"""The handler: ``lambda_handler`` for AWS Lambda, ``http`` for functions-framework, one dispatch.

The bundle is loaded once, when a platform's entry point imports this module, or else on first use.
"""

from __future__ import annotations

import functools
import logging
import os
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from handler import telemetry
from handler.api import Api
from handler.errors import FunctionError, status_of
from handler.messages import Answer, Request
from handler.model import Model
from handler.settings import Settings
from handler.sources import Job, Outcome, Predict, source_of, sources

if TYPE_CHECKING:
    import flask


class App:
    """A loaded model behind every envelope."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self.settings = settings
        self._model = model
        self._api = Api(model, settings)
        self._sources = sources(model.schema)
        self._cold = True

    def handle(self, event: object, request_id: str | None = None) -> Any:
        """Dispatch an event: find its source, run its jobs, reply.

        Raises ``UnknownEvent``, and whatever the source's platform wants raised.
        """
        source = source_of(event, self._sources)
        try:
            jobs: Iterable[Job] = source.jobs(event)
        except FunctionError as error:
            return source.reply([Outcome(None, error=error)])
        return source.reply([self._run(job, request_id) for job in jobs])

    def _run(self, job: Job, request_id: str | None) -> Outcome:
        """Run one job; the project's own errors become its outcome, a bug goes through."""
        start = time.perf_counter()
        cold, self._cold = self._cold, False
        if isinstance(job, Predict):
            route, outcome, status, rows = self._predict(job)
        else:
            answer = self._api.respond(job)
            route, outcome = f"{job.method} /{job.route[:40]}", Outcome(job, answer)
            status, rows = answer.status, answer.rows
        telemetry.event(
            logging.WARNING if status >= 500 else logging.INFO,
            "request",
            request_id=request_id,
            route=route,
            status=status,
            milliseconds=round((time.perf_counter() - start) * 1000, 3),
            rows=rows,
            cold_start=cold,
            model_version=self._model.manifest.version,
        )
        return outcome

    def _predict(self, job: Predict) -> tuple[str, Outcome, int, int]:
        try:
            document, rows = self._api.predict(job.payload)
        except FunctionError as error:
            return "invoke", Outcome(job, error=error), status_of(error), 0
        return "invoke", Outcome(job, document), 200, rows


@functools.cache
def application() -> App:
    """The one application of this process; raises ``SettingError`` or ``BundleError``."""
    settings = Settings.from_env(os.environ)
    telemetry.configure(settings)
    return App(Model.load(settings.model_dir), settings)


def lambda_handler(event: Mapping[str, Any], context: Any = None) -> Any:
    """AWS Lambda's entry point. https://docs.aws.amazon.com/lambda/latest/dg/python-handler.html"""
    return application().handle(event, getattr(context, "aws_request_id", None))


def http(request: flask.Request) -> tuple[bytes, int, dict[str, str]]:
    """functions-framework's entry point; takes a Flask request, returns what Flask makes a response of.

    https://github.com/GoogleCloudPlatform/functions-framework-python
    """
    app = application()
    headers = {name.lower(): text for name, text in request.headers.items()}
    trace = headers.get("x-cloud-trace-context", "").partition("/")[0]
    most = app.settings.max_body_bytes
    announced = request.content_length or 0
    event = Request(
        method=request.method,
        path=request.path,
        query=tuple(request.args.items(multi=True)),
        headers=headers,
        body=b"" if announced > most else request.stream.read(most + 1),
        size=announced,
    )
    answer: Answer = app.handle(event, headers.get("x-request-id") or trace or None)
    return answer.body, answer.status, dict(answer.headers)


if os.environ.keys() & {"AWS_LAMBDA_RUNTIME_API", "FUNCTION_TARGET"}:
    application()  # started by a platform: load now, so that the first request does not wait
