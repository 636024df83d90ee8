"""Every envelope that is understood, and which of them an event is.

Adding one is a class with the three verbs of ``jobs.Envelope``, in ``http.py`` or ``objects.py``, and its
name in ``envelopes``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from handler.errors import FunctionError, InvalidBody, UnknownEvent
from handler.events.http import (
    Alb,
    AlbMultiValue,
    ApiGatewayV1,
    ApiGatewayV2,
    NotForUs,
    PlainHttp,
    VpcLattice,
)
from handler.events.jobs import Envelope, Event, Job, Outcome, Predict, ScoreObject, keys
from handler.schema import Schema
from handler.settings import Settings
from handler.web.messages import Request

if TYPE_CHECKING:
    from handler.storage.locations import Location


#: Members by which other envelopes declare themselves, whatever a model's features are called.
OTHERS = frozenset({"requestContext", "Records", "detail-type", "invocationSchemaVersion"})


class Direct:
    """A direct invoke: a record of the model's features, or ``{"instances": [...]}``.

    https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def matches(self, event: Event) -> bool:
        members = keys(event)
        if not members.keys().isdisjoint(OTHERS):
            return False
        return "instances" in members or any(name in self._schema for name in members)

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        return [Predict(event)]

    def reply(self, outcomes: Sequence[Outcome]) -> Any:
        """The body only; raises the error, so that the caller sees a function error."""
        return _bare(outcomes)


class DirectBatch:
    """A direct invoke that names an object: ``{"input": "s3://...", "output": "s3://..."}``."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def matches(self, event: Event) -> bool:
        members = keys(event)
        return "input" in members and members.keys() <= {"input", "output"} and "input" not in self._schema

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        input, output = _remote(event["input"]), event.get("output")
        folder = _remote(output) if output is not None else None
        if not input.is_nameable or (folder and not folder.child(input.key).is_nameable):
            raise InvalidBody(
                "'input' must name an object, by a key without //, ., .. and control characters"
            )
        return [ScoreObject(input, folder)]

    def reply(self, outcomes: Sequence[Outcome]) -> Any:
        """The summary only; raises the error, so that the caller sees a function error."""
        return _bare(outcomes)


class ItemBatch:
    """What a Distributed Map with an ItemBatcher sends: ``{"Items": [job, ...]}``, each a ``DirectBatch``.

    The members of ``BatchInput``, where there is one, are added to every job that has none of that name.

    https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itembatcher.html
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._single = DirectBatch(schema)

    def matches(self, event: Event) -> bool:
        members = keys(event)
        return (
            isinstance(members.get("Items"), list)
            and members.keys() <= {"Items", "BatchInput"}
            and not any(name in self._schema for name in members)
        )

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        shared = event.get("BatchInput") or {}
        if not isinstance(shared, dict):
            raise InvalidBody("'BatchInput' must be an object, whose members every job gets")
        jobs: list[Job] = []
        for position, item in enumerate(event["Items"]):
            job = {**shared, **item} if isinstance(item, dict) else {}
            if not self._single.matches(job):
                raise InvalidBody(f'Items[{position}] is not a job, such as {{"input": "s3://..."}}')
            try:
                jobs += self._single.jobs(job)
            except FunctionError as error:
                raise InvalidBody(f"Items[{position}]: {error}") from error
        return jobs

    def reply(self, outcomes: Sequence[Outcome]) -> list[Any]:
        """The result of each job, in their order. Raises a passing fault, or else another error: then the
        whole batch is tried again, and what is done by then is skipped."""
        for failed in (True, False):
            for outcome in outcomes:
                if outcome.error is not None and outcome.failed is failed:
                    raise outcome.error
        return [outcome.result for outcome in outcomes]


HTTP: tuple[Envelope, ...] = (
    ApiGatewayV2(),
    ApiGatewayV1(),
    Alb(),
    AlbMultiValue(),
    PlainHttp(),
    VpcLattice(),
    NotForUs(),
)


def envelopes(schema: Schema, settings: Settings) -> Iterator[Envelope]:
    """Every envelope that is understood. No event matches two of them: their order matters for speed only.

    The first prediction does not wait for the envelopes of uploads.
    """
    yield from HTTP
    yield from (DirectBatch(schema), ItemBatch(schema), Direct(schema))
    from handler.events.objects import (
        S3,
        CloudEvent,
        EventBridge,
        PubSubPush,
        S3BatchOperations,
        Sns,
        Sqs,
    )

    yield from (
        S3(),
        Sqs(),
        Sns(),
        EventBridge(),
        S3BatchOperations(),
        CloudEvent(settings),
        PubSubPush(settings),
    )


def envelope_of(event: object, known: Iterable[Envelope]) -> Envelope:
    """The envelope that the event declares; raises ``UnknownEvent`` that names its keys."""
    if not isinstance(event, (dict, Request)):
        raise UnknownEvent([f"(a JSON {type(event).__name__}, not an object)"])
    for envelope in known:
        if envelope.matches(event):
            return envelope
    raise UnknownEvent(sorted(str(key)[:100] for key in keys(event)))


def _bare(outcomes: Sequence[Outcome]) -> Any:
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return outcomes[0].result


def _remote(uri: object) -> Location:
    """An object's location in a bucket: an event may not name the function's own files."""
    from handler.storage.locations import SCHEMES, Location

    if not isinstance(uri, str) or not uri.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        raise InvalidBody("'input' and 'output' must be URIs that start with s3:// or gs://")
    return Location.parse(uri)
