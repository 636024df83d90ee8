"""Every error a user can meet. Errors carry data; the HTTP status of each stands in ``STATUS``.

- ``FunctionError``
    - ``SettingError``: an environment variable holds a value that cannot be used
    - ``BundleError``: the bundle is absent, altered, or of another format or library version
    - ``UnknownEvent``: no source knows the event's envelope
    - ``RequestError``: the caller can mend it
        - ``InvalidBody`` 400, ``NotFound`` 404, ``MethodNotAllowed`` 405, ``BodyTooLarge`` and
          ``AnswerTooLarge`` 413, ``UnsupportedMediaType`` 415
        - ``InvalidRecords`` 422: readable, but not what the model's schema asks for
        - ``InvalidCsv`` 400: not a CSV that can be read at all
            - ``MissingColumns`` 422: a CSV without the model's columns
        - ``Forbidden`` 403: an object that this deployment does not read
    - ``PassingFault`` 503: another try may succeed, so the platform is to make one
        - ``StorageDown``: the object store is unreachable, throttled, or refuses access
        - ``NoObject``: the object, or its bucket, is not there
        - ``Changed``: an object is no longer of the version that was read
        - ``Outranked``: only a run of a model that was created later can mend the outputs
        - ``DeadlineNear``: the platform would stop this run before its end

Messages never hold a value that a caller sent: they name fields, lines and rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

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
    """No source recognises the event; names its keys, never its values."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = tuple(keys)
        named = ", ".join(self.keys[:20]) or "none"
        super().__init__(
            f"unknown event with the keys: {named}. Expected an HTTP or storage event, a record of "
            'the model\'s features, or {"instances": [...]}'
        )


class Problem(NamedTuple):
    """One thing wrong with one field; ``record`` (from 0) or ``line`` (from 1) says in which."""

    field: str
    code: str
    message: str
    record: int | None = None
    line: int | None = None

    def as_json(self) -> dict[str, object]:
        """The member of ``errors`` in a problem document."""
        places = {"record": self.record, "line": self.line}
        return {
            "field": self.field,
            "code": self.code,
            "message": self.message,
            **{name: place for name, place in places.items() if place is not None},
        }

    def __str__(self) -> str:
        place = f" (record {self.record})" if self.record is not None else ""
        return f"{self.message}{place}"


class RequestError(FunctionError):
    """A request that cannot be answered as it stands; ``problems`` has the details, field by field."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message)

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that the answer owes to this error."""
        return {}


class InvalidBody(RequestError):
    """The body cannot be read as what it claims to be."""


class NotFound(RequestError):
    """No such route."""


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


class InvalidRecords(RequestError):
    """Records that do not fit the model's schema, all problems at once."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        shown = "; ".join(str(problem) for problem in problems[:20])
        more = f"; and {len(problems) - 20} more" if len(problems) > 20 else ""
        super().__init__(shown + more, problems)


class InvalidCsv(RequestError):
    """Bytes that are not a CSV in UTF-8; ``code`` is stable, ``line`` counts from 1."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        self.code = code
        self.line = line
        place = f" (line {line})" if line is not None else ""
        super().__init__(message + place, [Problem("file", code, message + place, line=line)])


class MissingColumns(InvalidCsv):
    """A CSV whose header lacks features of the model."""

    def __init__(self, missing: Sequence[str], found: int, delimiter: str) -> None:
        self.missing = tuple(missing)
        named = {",": "comma", ";": "semicolon", "\t": "tab", "|": "pipe"}[delimiter]
        super().__init__(
            "missing",
            f"the header has {found} {named}-separated columns and lacks: {', '.join(missing)}",
            line=1,
        )
        self.problems = tuple(
            Problem(name, "missing", f"the header has no column '{name}'", line=1) for name in missing
        )


class Forbidden(RequestError):
    """An event that names an object which this deployment does not read."""


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


class DeadlineNear(PassingFault):
    """The platform would stop this run before its end."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        super().__init__(
            f"the time limit is near and {uri} is not scored to its end; nothing was written. Raise the "
            "function's timeout or memory, split the file, or run 'python -m handler score' on a machine"
        )


STATUS: Mapping[type[FunctionError], int] = {
    InvalidRecords: 422,
    MissingColumns: 422,
    InvalidCsv: 400,
    InvalidBody: 400,
    UnknownEvent: 400,
    Forbidden: 403,
    NotFound: 404,
    MethodNotAllowed: 405,
    BodyTooLarge: 413,
    AnswerTooLarge: 413,
    UnsupportedMediaType: 415,
    PassingFault: 503,
    FunctionError: 500,
}


def status_of(error: FunctionError) -> int:
    """The HTTP status of an error: that of its nearest class in ``STATUS``."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)
