"""The envelopes: one class each, with three verbs. Adding one touches this file and ``SOURCES``.

``matches`` recognises an event by what it declares about itself, ``jobs`` decodes it into values,
``reply`` puts the outcomes into the form that the platform expects.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote_plus

from handler.errors import FunctionError, InvalidBody, UnknownEvent
from handler.messages import Answer, Request, problem
from handler.schema import Schema

Event = Mapping[str, Any] | Request
Pairs = tuple[tuple[str, str], ...]

#: Bytes of an answer that the platform passes on, less room for the envelope around the body.
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAMBDA_ANSWER = 6 * 1024 * 1024 - 16 * 1024
#: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
ALB_ANSWER = 1024 * 1024 - 16 * 1024


@dataclass(frozen=True, slots=True)
class Predict:
    """A direct invoke: a record, or ``{"instances": [...]}``, as parsed JSON."""

    payload: Mapping[str, Any]


Job = Request | Predict


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: a result, or the error that stopped it; no job where none was decoded."""

    job: Job | None
    result: Any = None
    error: FunctionError | None = None


class Source(Protocol):
    """One envelope."""

    def matches(self, event: Event) -> bool:
        """Whether the event declares itself to be of this envelope."""
        ...

    def jobs(self, event: Any) -> Iterable[Job]:
        """What the event asks for; raises ``FunctionError`` where it cannot be decoded."""
        ...

    def reply(self, outcomes: Sequence[Outcome]) -> Any:
        """What the platform is told; raises where the platform expects a raised error."""
        ...


class ApiGatewayV1:
    """REST APIs, and HTTP APIs with payload format 1.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """

    def matches(self, event: Event) -> bool:
        """See ``Source``."""
        return "httpMethod" in _keys(event) and "elb" not in _context(event)

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        """See ``Source``."""
        path, whole = event["path"], _context(event).get("path") or ""
        return [
            Request(
                method=event["httpMethod"],
                path=path,
                query=_pairs(event, "queryStringParameters", "multiValueQueryStringParameters"),
                headers=_headers(event),
                body=_body(event),
                prefix=whole.removesuffix(path) if whole.endswith(path) else "",
                most=LAMBDA_ANSWER,
            )
        ]

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """See ``Source``."""
        return _reply(outcomes)


class ApiGatewayV2:
    """HTTP APIs with payload format 2.0, and Function URLs, which share it.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    """

    def matches(self, event: Event) -> bool:
        """See ``Source``."""
        return _keys(event).get("version") == "2.0" and "http" in _context(event)

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        """See ``Source``."""
        return [
            Request(
                method=event["requestContext"]["http"]["method"],
                path=event["rawPath"],
                query=tuple(parse_qsl(event.get("rawQueryString") or "", keep_blank_values=True)),
                headers=_headers(event),
                body=_body(event),
                most=LAMBDA_ANSWER,
            )
        ]

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """See ``Source``."""
        return _reply(outcomes)


class Alb:
    """An Application Load Balancer's target group; query parameters come percent-encoded.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
    """

    def matches(self, event: Event) -> bool:
        """See ``Source``."""
        return "elb" in _context(event) and "multiValueHeaders" not in _keys(event)

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        """See ``Source``."""
        query = _pairs(event, "queryStringParameters", "multiValueQueryStringParameters")
        return [
            Request(
                method=event["httpMethod"],
                path=event["path"],
                query=tuple((unquote_plus(name), unquote_plus(text)) for name, text in query),
                headers=_headers(event),
                body=_body(event),
                most=ALB_ANSWER,
            )
        ]

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """See ``Source``."""
        return _with_status_line(_reply(outcomes))


class AlbMultiValue(Alb):
    """A target group with multi-value headers switched on: they are lists both ways."""

    def matches(self, event: Event) -> bool:
        """See ``Source``."""
        return "elb" in _context(event) and "multiValueHeaders" in _keys(event)

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """See ``Source``."""
        reply = _with_status_line(_reply(outcomes))
        headers = reply.pop("headers")
        return {**reply, "multiValueHeaders": {name: [text] for name, text in headers.items()}}


class PlainHttp:
    """A request that functions-framework received."""

    def matches(self, event: Event) -> bool:
        """See ``Source``."""
        return isinstance(event, Request)

    def jobs(self, event: Request) -> Iterable[Job]:
        """See ``Source``."""
        return [event]

    def reply(self, outcomes: Sequence[Outcome]) -> Answer:
        """See ``Source``."""
        return _answer(outcomes)


class Direct:
    """A direct invoke with a record of the model's features, or ``{"instances": [...]}``.

    https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def matches(self, event: Event) -> bool:
        """See ``Source``."""
        keys = _keys(event)
        if "requestContext" in keys or "Records" in keys:
            return False
        return "instances" in keys or any(name in self._schema for name in keys)

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        """See ``Source``."""
        return [Predict(event)]

    def reply(self, outcomes: Sequence[Outcome]) -> Any:
        """The body alone; raises the error, so that the caller sees a function error."""
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        return outcomes[0].result


def sources(schema: Schema) -> tuple[Source, ...]:
    """Every envelope that is understood."""
    return (ApiGatewayV2(), ApiGatewayV1(), Alb(), AlbMultiValue(), PlainHttp(), Direct(schema))


def source_of(event: object, known: Sequence[Source]) -> Source:
    """The source whose envelope the event declares; raises ``UnknownEvent`` that names its keys."""
    if not isinstance(event, Mapping | Request):
        raise UnknownEvent([f"(a JSON {type(event).__name__}, no object)"])
    for source in known:
        if source.matches(event):
            return source
    raise UnknownEvent(sorted(str(key)[:100] for key in _keys(event)))


def _keys(event: Event) -> Mapping[str, Any]:
    return event if isinstance(event, Mapping) else {}


def _context(event: Event) -> Mapping[str, Any]:
    context = _keys(event).get("requestContext")
    return context if isinstance(context, Mapping) else {}


def _pairs(event: Mapping[str, Any], single: str, multi: str) -> Pairs:
    """The query parameters: from the multi-value form where it is there."""
    many = event.get(multi)
    if many:
        return tuple((name, text) for name, texts in many.items() for text in texts)
    return tuple((event.get(single) or {}).items())


def _headers(event: Mapping[str, Any]) -> dict[str, str]:
    """Header names in lower case; several values of one are joined. RFC 9110, section 5.3."""
    many = event.get("multiValueHeaders")
    if many:
        return {name.lower(): ", ".join(texts) for name, texts in many.items()}
    return {name.lower(): text for name, text in (event.get("headers") or {}).items()}


def _body(event: Mapping[str, Any]) -> bytes:
    body = event.get("body") or ""
    if not event.get("isBase64Encoded"):
        return str(body).encode()
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidBody("the event says that its body is base64, and it is not") from error


def _answer(outcomes: Sequence[Outcome]) -> Answer:
    outcome = outcomes[0]
    if outcome.error is not None:
        return problem(outcome.error)
    answer: Answer = outcome.result
    return answer


def _reply(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The proxy response that API Gateway, Function URLs and ALB share."""
    answer, job = _answer(outcomes), outcomes[0].job
    binary = "content-encoding" in answer.headers
    body = base64.b64encode(answer.body) if binary else answer.body
    if isinstance(job, Request) and job.method == "HEAD":
        body = b""
    return {
        "statusCode": answer.status,
        "headers": dict(answer.headers),
        "body": body.decode(),
        "isBase64Encoded": binary,
    }


def _with_status_line(reply: dict[str, Any]) -> dict[str, Any]:
    from http import HTTPStatus

    status = reply["statusCode"]
    return {**reply, "statusDescription": f"{status} {HTTPStatus(status).phrase}"}
