"""Starts the Cloud Run job that scores a table which is too large for one request, part by part.

https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.jobs/run
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from handler.batch.naming import MOST_PARTS
from handler.faults import JobDown
from handler.settings import Settings
from handler.storage.buckets import Retries
from handler.storage.deadline import Deadline
from handler.storage.locations import Location, Version

#: How the names of tables end that have byte ranges to share out; a packed one has not.
PLAIN = (".csv", ".tsv")
#: Bytes of a part, as far as there may be so many parts: a task that is killed loses what it had read of
#: one, which is some seconds' work, or minutes' with a slow model.
PART_BYTES = 256 * 1024 * 1024
#: Tasks of an execution, at most. How many run side by side is a quota of the region and of a task's size;
#: it was 200 at 1 CPU and 2 GiB when Google gave a number, and services share the region's processors.
#: https://cloud.google.com/run/quotas
TASKS = 100
#: The event is delivered again where these do not help.
RETRIES = Retries(tries=4)
#: Seconds that one answer may take.
TIMEOUT = 10.0
#: Bytes of an answer that are read.
LONGEST = 1024 * 1024
#: The server itself keeps a token until minutes before its end, so that it is not kept here.
#: https://cloud.google.com/compute/docs/access/authenticate-workloads#applications
TOKEN = "/computeMetadata/v1/instance/service-accounts/default/token"
PERMISSIONS = (
    "access was refused; the service's account needs the permissions run.jobs.run and "
    "run.jobs.runWithOverrides on it, which roles/run.jobsExecutorWithOverrides has"
)


class JobStarter(NamedTuple):
    """Starts ``settings.job`` for large tables; ``output`` None means OUTPUT_URI."""

    settings: Settings
    deadline: Deadline
    output: Location | None = None

    def start(self, input: Location, version: Version) -> str | None:
        """The name of the execution (or of the operation that makes it) which scores ``input``.

        None where the object is no larger than ``settings.large_bytes``, or packed by its name. Starting a
        job twice is harmless: a task skips the parts that are done. Raises ``JobDown`` where the job cannot
        be started, and ``DeadlineNear``.
        """
        large = self.settings.large_bytes
        if large is None or version.size <= large or not input.name.lower().endswith(PLAIN):
            return None
        parts = min(-(-version.size // PART_BYTES), MOST_PARTS)
        output = str(self.output or self.settings.output_uri)
        arguments = ["score", str(input), "--output", output, "--parts", str(parts)]
        # A folder of outputs depends on INPUT_URI: the job's must be the one that is looked into here.
        environment = [{"name": "INPUT_URI", "value": " ".join(self.settings.input_uri)}]
        overrides = {
            "containerOverrides": [{"args": arguments, "env": environment}],
            "taskCount": min(parts, TASKS),
        }
        body = json.dumps({"overrides": overrides}).encode()
        for pause in RETRIES.pauses():
            self.deadline.check(input)
            try:
                return self._execution(body)
            except JobDown as fault:
                if not fault.soon or pause >= self.deadline.left():
                    raise
            self.deadline.pause(pause, input)
        return self._execution(body)

    def _execution(self, body: bytes) -> str:
        settings = self.settings
        token = self._ask(
            "the metadata server",
            "GET",
            f"http://{settings.metadata_host}{TOKEN}",
            {"Metadata-Flavor": "Google"},
        ).get("access_token")
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise self._down("the metadata server gave no access token")
        operation = self._ask(
            "the Cloud Run Admin API",
            "POST",
            f"{settings.run_api}/v2/{settings.job}:run",
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            body,
        )
        execution = operation.get("metadata")
        names = (execution.get("name") if isinstance(execution, dict) else None, operation.get("name"))
        for name in names:
            if isinstance(name, str) and name.startswith("projects/"):
                return name[:500]
        raise self._down("the Cloud Run Admin API answered what is not an operation")

    def _ask(
        self, who: str, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Mapping[str, Any]:
        """The JSON object that a server answers; raises ``JobDown``. Redirects are not followed, as they
        would take the token elsewhere."""
        from http.client import HTTPConnection, HTTPException, HTTPSConnection

        parts = urlsplit(url)
        client = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        seconds = max(0.1, min(TIMEOUT, self.deadline.left()))
        try:
            with contextlib.closing(client(parts.netloc, timeout=seconds)) as connection:
                connection.request(method, parts.path, body, dict(headers))
                answer = connection.getresponse()
                status, content = answer.status, answer.read(LONGEST)
        except (OSError, HTTPException) as error:
            raise self._down(f"{who} cannot be reached ({type(error).__name__})", soon=True) from error
        if status == 403 and method == "POST":
            raise self._down(PERMISSIONS)
        if status == 404 and method == "POST":
            raise self._down(
                "there is no such job; JOB must name one, which 'gcloud run jobs replace' makes"
            )
        if status != 200:
            raise self._down(f"{who} answered {status}", soon=status in (408, 429) or status >= 500)
        try:
            document = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._down(f"{who} answered what is not JSON") from error
        if not isinstance(document, dict):
            raise self._down(f"{who} answered what is not a JSON object")
        return document

    def _down(self, why: str, soon: bool = False) -> JobDown:
        return JobDown(str(self.settings.job), why, soon)
