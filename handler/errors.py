"""The errors that a request can meet. They carry data, and the HTTP status of an answer.

- ``FunctionError``
    - ``SettingError``: an environment variable holds a value that cannot be used
    - ``BundleError``: the bundle is absent, altered, or of another format or library version
    - ``UnknownEvent``: no envelope matches the event
        - ``RefusedEvent``: the event is known by name, and asks for what this function does not do
    - ``NotExplainable`` 501: the model's predictions have no explanations
    - ``Unforeseen``: a bug stopped one job of several
    - ``RequestsOnly`` 501: the function was deployed as a zip, and a file is to be scored
    - ``RequestError``: the caller can mend it
        - ``InvalidBody`` 400, ``NotFound`` 404, ``MethodNotAllowed`` 405, ``BodyTooLarge`` and
          ``AnswerTooLarge`` 413, ``UnsupportedMediaType`` and ``UnsupportedEncoding`` 415
        - ``RequestTooSlow`` 408: the body did not come in time
        - ``InvalidRecords`` 422: readable, but not what the model's schema asks for
        - ``handler.tables.errors.InvalidCsv`` 400: not a CSV that can be read at all
        - ``Forbidden`` 403: an object that this deployment does not read
    - ``handler.faults.PassingFault`` 503: another try may succeed, so the platform should make one

A first answer waits for each class that stands here, so those of files stand elsewhere. Messages never hold
a value that a caller sent: they name fields, lines and rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from handler.typed import NamedTuple

#: Problems that an error lists; the others are counted.
MOST_PROBLEMS = 100
#: Characters of a name that a caller sent, or of a feature's, as far as a problem repeats it.
LONGEST_NAME = 100
#: Problems and names that the one line of an error names.
NAMED = 20

BATCH_INSTEAD = (
    "score it as a batch, which takes a CSV of any size: upload it to the input bucket, or run "
    "'python -m handler score'; or send it in parts"
)


class FunctionError(Exception):
    """Base of all errors that this project raises on purpose; ``str()`` is one readable line."""

    status = 500


class SettingError(FunctionError):
    """An environment variable holds a value that cannot be used."""

    def __init__(self, variable: str, rule: str) -> None:
        self.variable = variable
        super().__init__(f"{variable} {rule}")


class BundleError(FunctionError):
    """The bundle is absent, altered, or of another format or library version."""


class UnknownEvent(FunctionError):
    """No envelope matches the event; names its keys, never its values."""

    status = 400

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)
        named = ", ".join(self.keys[:NAMED]) or "none"
        super().__init__(
            f"unknown event with the keys: {named}. Expected an HTTP or storage event, a record of "
            'the model\'s features, or {"instances": [...]}'
        )


class RefusedEvent(UnknownEvent):
    """The event is known by name, and asks for what this function does not do; ``why`` is the message."""

    def __init__(self, why: str) -> None:
        self.keys = ()
        FunctionError.__init__(self, why)


class Unforeseen(FunctionError):
    """A bug stopped one job of several; names the exception's type, and the log has the lines."""

    def __init__(self, bug: Exception) -> None:
        super().__init__(f"an unforeseen {type(bug).__name__} stopped this job; the log has the lines")


class RequestsOnly(FunctionError):
    """The function was deployed as a zip without libraries, and is asked to score a file."""

    status = 501

    def __init__(self) -> None:
        super().__init__(
            "this function answers requests only: it was deployed as a zip, which has no library to score "
            "files with. Send the event to a function of the image (make images)"
        )


class Problem(NamedTuple):
    """One thing wrong with one field, in ``record`` (from 0) or ``line`` (from 1)."""

    field: str
    code: str
    message: str
    record: int | None = None
    line: int | None = None

    def as_json(self) -> dict[str, object]:
        """The member of ``errors`` in a problem document."""
        position = {"record": self.record, "line": self.line}
        return {
            "field": self.field,
            "code": self.code,
            "message": self.message,
            **{name: number for name, number in position.items() if number is not None},
        }

    def __str__(self) -> str:
        record = f" (record {self.record})" if self.record is not None else ""
        return f"{self.message}{record}"


class Problems:
    """The problems of one request, up to ``MOST_PROBLEMS``: ``more`` counts those beyond.

    ``hints``: for how many more unknown names a similar name may be sought.
    """

    def __init__(self) -> None:
        self.listed: list[Problem] = []
        self.more = 0
        self.hints = 5

    def __bool__(self) -> bool:
        return bool(self.listed)

    @property
    def full(self) -> bool:
        """Whether a further problem would only be counted."""
        return len(self.listed) >= MOST_PROBLEMS

    def add(
        self, field: str, code: str, message: str, record: int | None = None, line: int | None = None
    ) -> None:
        """Add a problem of these parts."""
        if self.full:
            self.more += 1
        else:
            self.listed.append(Problem(field[:LONGEST_NAME], code, message, record, line))


class RequestError(FunctionError):
    """A request that cannot be answered as it stands; ``problems`` has the details, field by field.

    ``more`` counts the problems that are not listed.
    """

    def __init__(self, message: str, problems: Sequence[Problem] = (), more: int = 0) -> None:
        self.problems = tuple(problems[:MOST_PROBLEMS])
        self.more = more + len(problems) - len(self.problems)
        super().__init__(message)

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that the answer owes to this error."""
        return {}


class InvalidBody(RequestError):
    """The body cannot be read as what it claims to be."""

    status = 400


class NotFound(RequestError):
    """There is no such route."""

    status = 404


class MethodNotAllowed(RequestError):
    """The route exists, under other methods."""

    status = 405

    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = tuple(allowed)
        super().__init__(f"this route answers {', '.join(allowed)}")

    @property
    def headers(self) -> Mapping[str, str]:
        return {"allow": ", ".join(self.allowed)}


class BodyTooLarge(RequestError):
    """The body is over the limit that keeps a request below the platform's own."""

    status = 413

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the body is over {limit:,} bytes; {BATCH_INSTEAD}")


class RequestTooSlow(RequestError):
    """The body did not come in the time that a request has."""

    status = 408

    def __init__(self) -> None:
        super().__init__("the body came too slowly; send it again over a faster connection")


class AnswerTooLarge(RequestError):
    """The answer would be over what the platform passes on."""

    status = 413

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the answer would be over {limit:,} bytes; {BATCH_INSTEAD}")


class UnsupportedMediaType(RequestError):
    """The body's content type is not one that the route reads."""

    status = 415

    def __init__(self, accepted: Sequence[str], detail: str = "") -> None:
        self.accepted = tuple(accepted)
        super().__init__(f"send {' or '.join(accepted)} with that content-type header{detail}")

    @property
    def headers(self) -> Mapping[str, str]:
        return {"accept": ", ".join(self.accepted)}


class UnsupportedEncoding(RequestError):
    """The body's content coding is not one that is read."""

    status = 415

    def __init__(self, accepted: Sequence[str]) -> None:
        self.accepted = tuple(accepted)
        super().__init__(f"send the body as it is, or with a content-encoding of {' or '.join(accepted)}")

    @property
    def headers(self) -> Mapping[str, str]:
        return {"accept-encoding": ", ".join(self.accepted)}


class InvalidRecords(RequestError):
    """Records that do not fit the model's schema, or that it cannot predict; all problems at once."""

    status = 422

    def __init__(self, problems: Sequence[Problem], more: int = 0) -> None:
        shown = "; ".join(str(problem) for problem in problems[:NAMED])
        super().__init__(shown + and_more(len(problems) + more, "; "), problems, more)


class Forbidden(RequestError):
    """An event that names an object which this deployment does not read."""

    status = 403


class NotExplainable(FunctionError):
    """The model's predictions have no explanations; ``reason`` says why."""

    status = 501

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"this model's predictions cannot be explained: {reason}")


def and_more(count: int, separator: str) -> str:
    """How many there are beyond those that are named."""
    return f"{separator}and {count - NAMED:,} more" if count > NAMED else ""
