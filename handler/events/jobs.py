"""What an envelope decodes to, what becomes of it, and the three verbs of an envelope."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from handler.errors import FunctionError, InvalidBody, RequestError, UnknownEvent
from handler.typed import TYPE_CHECKING, Any, NamedTuple, Protocol
from handler.web.messages import Request

if TYPE_CHECKING:
    from handler.batch.parts import Part
    from handler.storage.locations import Location

Event = Mapping[str, Any] | Request


class Predict(NamedTuple):
    """A direct invoke: a record, or ``{"instances": [...]}``, as parsed JSON."""

    payload: Mapping[str, Any]


class ScoreObject(NamedTuple):
    """Score the object at ``input``, or a part of it; ``output`` None means the deployment's OUTPUT_URI.

    ``id`` is the envelope's name for what it carried the job in, where it replies one by one.
    """

    input: Location
    output: Location | None = None
    id: str = ""
    part: Part | None = None


class PlanObject(NamedTuple):
    """Write the plan of the parts of an object, of ``size`` bytes each (None: what the function can do)."""

    input: Location
    output: Location | None = None
    size: int | None = None
    id: str = ""


class JoinParts(NamedTuple):
    """Join the parts of an object, which all are scored; or say that their run ``failed``, and why."""

    input: Location
    output: Location | None = None
    failed: str | None = None
    id: str = ""


class Acknowledge(NamedTuple):
    """An event that asks for nothing: a test event, a deletion, a folder marker, an empty object."""

    reason: str
    id: str = ""


class Undecodable(NamedTuple):
    """One message of a batch that cannot be understood; the others go on."""

    error: FunctionError
    id: str = ""


Job = Request | Predict | ScoreObject | PlanObject | JoinParts | Acknowledge | Undecodable


class Outcome(NamedTuple):
    """What became of a job: a result, or the error that stopped it; no job where none was decoded."""

    job: Job | None
    result: Any = None
    error: FunctionError | None = None

    @property
    def failed(self) -> bool:
        """Whether the platform should try again, and dead-letter the event in the end.

        A ``RequestError`` is permanent: trying again cannot mend what was asked.
        """
        return self.error is not None and not isinstance(self.error, RequestError)


class Envelope(Protocol):
    """One envelope, by its three verbs.

    One with ``answers_bugs = True`` replies to its only job where that met a bug; others let it be raised.
    """

    def matches(self, event: Event) -> bool:
        """Whether the event declares itself to be of this envelope."""
        ...

    def jobs(self, event: Any) -> Iterable[Job]:
        """What the event asks for; raises ``FunctionError`` where it cannot be decoded."""
        ...

    def reply(self, outcomes: Sequence[Outcome]) -> Any:
        """The reply to the platform; raises where the platform expects a raised error."""
        ...


def keys(event: Event) -> Mapping[str, Any]:
    """A JSON event's members; an HTTP request has none."""
    return event if isinstance(event, dict) else {}


def context_of(event: Event) -> Mapping[str, Any]:
    """A JSON event's request context; empty where it has none."""
    context = keys(event).get("requestContext")
    return context if isinstance(context, dict) else {}


def member(event: object, *path: str) -> Any:
    """What stands at ``path`` in a JSON event; None where nothing does."""
    for name in path:
        event = event.get(name) if isinstance(event, dict) else None
    return event


def text(event: object, *path: str, default: str | None = None) -> str:
    """The text at ``path`` in a JSON event, ``default`` where nothing is; else raises ``UnknownEvent``."""
    value = member(event, *path)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise UnknownEvent([f"(no text at {'.'.join(path)})"])
    return value


def remote(uri: object, name: str) -> Location:
    """The location of an object or folder in a bucket: an event may not name the function's own files.

    Raises ``InvalidBody``, which calls it by ``name``.
    """
    from handler.storage.locations import SCHEMES, Location

    if not isinstance(uri, str) or not uri.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        raise InvalidBody(f"{name} must be a URI that starts with s3:// or gs://")
    return Location.parse(uri)
