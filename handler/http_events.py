"""The envelopes of HTTP: API Gateway, Function URLs, load balancers, and plain requests."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from handler.errors import InvalidBody
from handler.jobs import Event, Job, Outcome, context_of, keys
from handler.messages import Answer, Request, problem
from handler.object_events import carries_event

Pairs = tuple[tuple[str, str], ...]

#: Bytes of an answer that the platform passes on, less room for the envelope around the body.
#: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
LAMBDA_ANSWER = 6 * 1024 * 1024 - 16 * 1024
#: https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
ALB_ANSWER = 1024 * 1024 - 16 * 1024


class ApiGatewayV1:
    """REST APIs, and HTTP APIs with payload format 1.0.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html
    """

    def matches(self, event: Event) -> bool:
        """See ``Source``."""
        return "httpMethod" in keys(event) and "elb" not in context_of(event)

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        """See ``Source``."""
        path, whole = event["path"], context_of(event).get("path") or ""
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
        return keys(event).get("version") == "2.0" and "http" in context_of(event)

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
        return "elb" in context_of(event) and "multiValueHeaders" not in keys(event)

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
        return "elb" in context_of(event) and "multiValueHeaders" in keys(event)

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        """See ``Source``."""
        reply = _with_status_line(_reply(outcomes))
        headers = reply.pop("headers")
        return {**reply, "multiValueHeaders": {name: [text] for name, text in headers.items()}}


class PlainHttp:
    """A request that functions-framework received."""

    def matches(self, event: Event) -> bool:
        """See ``Source``."""
        return isinstance(event, Request) and not carries_event(event)

    def jobs(self, event: Request) -> Iterable[Job]:
        """See ``Source``."""
        return [event]

    def reply(self, outcomes: Sequence[Outcome]) -> Answer:
        """See ``Source``."""
        return _answer(outcomes)


def _pairs(event: Mapping[str, Any], single: str, multi: str) -> Pairs:
    """The query parameters; the single-value form has but the last of each, or is left out."""
    last, all_of = event.get(single), event.get(multi) or {}
    if last is None:
        return tuple((name, text) for name, texts in all_of.items() for text in texts)
    return tuple((name, text) for name in last for text in all_of.get(name) or [last[name]])


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
