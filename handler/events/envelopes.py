"""Every envelope that is understood, and which of them an event is.

Adding one is a class with the three verbs of ``jobs.Envelope``, in ``http.py`` or ``objects.py``, and its
name in ``envelopes``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from handler.errors import LONGEST_NAME, FunctionError, InvalidBody, RequestsOnly, UnknownEvent
from handler.events.http import (
    Alb,
    AlbMultiValue,
    ApiGatewayV1,
    ApiGatewayV2,
    NotForUs,
    PlainHttp,
    VpcLattice,
)
from handler.events.jobs import (
    Envelope,
    Event,
    Job,
    JoinParts,
    Outcome,
    PlanObject,
    Predict,
    ScoreObject,
    keys,
    remote,
)
from handler.schema import Schema
from handler.settings import Settings
from handler.typed import Any
from handler.web.messages import Request

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
    """A direct invoke that names an object: ``{"input": "s3://...", "output": "s3://..."}``.

    A member more asks for a step of a file in parts, as a state machine does: ``plan`` (its parts),
    ``part`` (score one), ``complete`` (join them), ``failed`` (what stopped it, as Step Functions says).

    https://docs.aws.amazon.com/step-functions/latest/dg/concepts-error-handling.html
    """

    STEPS = frozenset(("plan", "part", "complete", "failed"))

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def matches(self, event: Event) -> bool:
        names = keys(event).keys()
        return (
            "input" in names
            and "input" not in self._schema
            and names <= {"input", "output", *self.STEPS}
            and len(names & self.STEPS) <= 1
        )

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        input, output = remote(event["input"], "'input'"), event.get("output")
        folder = remote(output, "'output'") if output is not None else None
        if not input.is_nameable or (folder and not folder.child(input.key).is_nameable):
            raise InvalidBody(
                "'input' must name an object, by a key without //, ., .. and control characters"
            )
        if "plan" in event:
            return [PlanObject(input, folder, _part_bytes(event["plan"]))]
        if "complete" in event:
            return [JoinParts(input, folder)]
        if "failed" in event:
            return [JoinParts(input, folder, _cause(event["failed"]))]
        if event.get("part") is None:
            return [ScoreObject(input, folder)]
        try:
            from handler.batch.parts import Part
        except ModuleNotFoundError as error:  # the zip of the request function, which has no library
            raise RequestsOnly from error
        return [ScoreObject(input, folder, part=Part.parse(event["part"]))]

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


def _part_bytes(plan: object) -> int | None:
    """The bytes of a part that a plan is asked for; None where it leaves them to the function."""
    size = plan.get("part_bytes") if isinstance(plan, Mapping) and plan.keys() <= {"part_bytes"} else plan
    if size is not None and not (type(size) is int and 0 < size < 1 << 63):
        raise InvalidBody(
            "'plan' must be an object, with 'part_bytes', a whole number of 1 or more, or none"
        )
    return size


def _cause(failed: object) -> str:
    """What stopped a run, in a word: the error's name as Step Functions gives it, never its whole cause."""
    name = failed.get("Error") if isinstance(failed, Mapping) else None
    return name[:LONGEST_NAME] if isinstance(name, str) and name else "an unknown error"


def _bare(outcomes: Sequence[Outcome]) -> Any:
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return outcomes[0].result
