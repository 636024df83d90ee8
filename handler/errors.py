"""Every error a user can meet. Errors carry data; the HTTP status of each stands in ``STATUS``.

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
        - ``InvalidCsv`` 400: not a CSV that can be read at all
            - ``MissingColumns`` 422: a CSV without the model's columns
        - ``Forbidden`` 403: an object that this deployment does not read
    - ``PassingFault`` 503: another try may succeed, so the platform should make one
        - ``StorageDown``: the object store is unreachable, throttled, or refuses access
        - ``NoObject``: the object, or its bucket, is not there
        - ``Changed``: an object is no longer of the version that was read
        - ``NotComplete``: parts of a file are not scored yet
        - ``Outranked``: only a run of a model that was created later can mend the outputs
        - ``DeadlineNear``: the platform would stop this run before its end
        - ``JobDown``: the job that scores large objects could not be started
        - ``ServerBusy``: the bodies that are being read fill the memory meant for them

Messages never hold a value that a caller sent: they name fields, lines and rules.
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


class SettingError(FunctionError):
    """An environment variable holds a value that cannot be used."""

    def __init__(self, variable: str, rule: str) -> None:
        self.variable = variable
        super().__init__(f"{variable} {rule}")


class BundleError(FunctionError):
    """The bundle is absent, altered, or of another format or library version."""


class UnknownEvent(FunctionError):
    """No envelope matches the event; names its keys, never its values."""

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


class NotFound(RequestError):
    """There is no such route."""


class MethodNotAllowed(RequestError):
    """The route exists, under other methods."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self.allowed = tuple(allowed)
        super().__init__(f"this route answers {', '.join(allowed)}")

    @property
    def headers(self) -> Mapping[str, str]:
        return {"allow": ", ".join(self.allowed)}


class BodyTooLarge(RequestError):
    """The body is over the limit that keeps a request below the platform's own."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the body is over {limit:,} bytes; {BATCH_INSTEAD}")


class RequestTooSlow(RequestError):
    """The body did not come in the time that a request has."""

    def __init__(self) -> None:
        super().__init__("the body came too slowly; send it again over a faster connection")


class AnswerTooLarge(RequestError):
    """The answer would be over what the platform passes on."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the answer would be over {limit:,} bytes; {BATCH_INSTEAD}")


class UnsupportedMediaType(RequestError):
    """The body's content type is not one that the route reads."""

    def __init__(self, accepted: Sequence[str], detail: str = "") -> None:
        self.accepted = tuple(accepted)
        super().__init__(f"send {' or '.join(accepted)} with that content-type header{detail}")

    @property
    def headers(self) -> Mapping[str, str]:
        return {"accept": ", ".join(self.accepted)}


class UnsupportedEncoding(RequestError):
    """The body's content coding is not one that is read."""

    def __init__(self, accepted: Sequence[str]) -> None:
        self.accepted = tuple(accepted)
        super().__init__(f"send the body as it is, or with a content-encoding of {' or '.join(accepted)}")

    @property
    def headers(self) -> Mapping[str, str]:
        return {"accept-encoding": ", ".join(self.accepted)}


class InvalidRecords(RequestError):
    """Records that do not fit the model's schema, or that it cannot predict; all problems at once."""

    def __init__(self, problems: Sequence[Problem], more: int = 0) -> None:
        shown = "; ".join(str(problem) for problem in problems[:NAMED])
        super().__init__(shown + _and_more(len(problems) + more, "; "), problems, more)


class InvalidCsv(RequestError):
    """Bytes that are not a CSV in UTF-8; ``code`` is stable, ``line`` counts from 1.

    ``rule``: the message without the line.
    """

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        self.code = code
        self.rule = message
        self.line = line
        message += f" (line {line})" if line is not None else ""
        super().__init__(message, [Problem("file", code, message, line=line)])


class MissingColumns(InvalidCsv):
    """A CSV whose header lacks features of the model."""

    def __init__(self, missing: Sequence[str], columns: int, delimiter: str) -> None:
        self.missing = tuple(missing)
        named = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}[delimiter]
        shown = ", ".join(name[:LONGEST_NAME] for name in missing[:NAMED]) + _and_more(len(missing), ", ")
        super().__init__(
            "missing", f"the header has {columns} {named}-separated columns and lacks: {shown}", line=1
        )
        problems = Problems()
        for name in missing:
            problems.add(name, "missing", f"the header has no column '{name[:LONGEST_NAME]}'", line=1)
        self.problems, self.more = tuple(problems.listed), problems.more


class Forbidden(RequestError):
    """An event that names an object which this deployment does not read."""


class NotExplainable(FunctionError):
    """The model's predictions have no explanations; ``reason`` says why."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"this model's predictions cannot be explained: {reason}")


class PassingFault(FunctionError):
    """A fault of the moment: nothing was left half done, and another try may succeed."""


class StorageDown(PassingFault):
    """The object store did not do what was asked."""

    def __init__(self, uri: str, why: str) -> None:
        self.uri = uri
        super().__init__(f"storage failed at {uri}: {why}")


class NoObject(PassingFault):
    """The object, or its bucket, is not there."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        what = f"object {uri}, or no such bucket" if "://" in uri else f"file {uri}"
        super().__init__(f"there is no {what}")


class Changed(PassingFault):
    """An object is no longer of the version that was read: another run was faster."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        super().__init__(f"{uri} was changed by another run meanwhile")


class Outranked(PassingFault):
    """The tables of a model that was created later are damaged: only a run of that model mends them."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        super().__init__(
            f"{uri} is of a model that was created later than this one, and its tables are not its own any "
            "more. That model mends them when it gets the event; to have this one score the file, delete "
            "the summary, or run 'python -m handler score'"
        )


class NotComplete(PassingFault):
    """Parts of a file are not scored yet, or not all by this model."""

    def __init__(self, uri: str, part: int) -> None:
        self.uri = uri
        super().__init__(
            f"{uri} is not complete: part {part} is not there, or is of another plan or model. Score the "
            "parts of one plan by one model; those that are done are skipped"
        )


class DeadlineNear(PassingFault):
    """The platform would stop this run before its end."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        super().__init__(
            f"the time limit is near: the run stopped at {uri} and wrote no summary. Raise the function's "
            "timeout or memory, split the file, or run 'python -m handler score' on a machine"
        )


class JobDown(PassingFault):
    """The job that scores large objects could not be started; ``soon``: another try may succeed at once."""

    def __init__(self, job: str, why: str, soon: bool = False) -> None:
        self.job, self.soon = job, soon
        super().__init__(f"{job} could not be started: {why}")


class ServerBusy(PassingFault):
    """The bodies that are being read fill the memory that is meant for them."""

    def __init__(self) -> None:
        super().__init__("the server is reading as many bodies as it has room for; try again")


STATUS: Mapping[type[FunctionError], int] = {
    InvalidRecords: 422,
    MissingColumns: 422,
    InvalidCsv: 400,
    InvalidBody: 400,
    UnknownEvent: 400,
    Forbidden: 403,
    NotFound: 404,
    RequestTooSlow: 408,
    MethodNotAllowed: 405,
    BodyTooLarge: 413,
    AnswerTooLarge: 413,
    UnsupportedMediaType: 415,
    UnsupportedEncoding: 415,
    RequestsOnly: 501,
    NotExplainable: 501,
    PassingFault: 503,
    FunctionError: 500,
}


def status_of(error: FunctionError) -> int:
    """The HTTP status of an error: that of its nearest class in ``STATUS``."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def _and_more(count: int, separator: str) -> str:
    """How many there are beyond those that are named."""
    return f"{separator}and {count - NAMED:,} more" if count > NAMED else ""
