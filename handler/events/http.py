"""The envelopes of HTTP: API Gateway, Function URLs, load balancers, and plain requests.

Modules that not every event needs are imported where one does: the first prediction waits for imports.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from handler.errors import InvalidBody, RefusedEvent, UnknownEvent
from handler.events.jobs import Event, Job, Outcome, context_of, keys, member, text
from handler.typed import Any
from handler.web.messages import Answer, Request, problem

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
        members = keys(event)
        return "httpMethod" in members and "elb" not in context_of(event) and not _kind(members)

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        path, whole = text(event, "path"), text(event, "requestContext", "path", default="")
        if path == "/" and whole and not whole.endswith("/"):
            path = ""  # the stage itself, as in /prod
        return [
            Request(
                method=text(event, "httpMethod"),
                path=path,
                query=_pairs(event, "queryStringParameters", "multiValueQueryStringParameters"),
                headers=_headers(event),
                body=_body(event),
                prefix=whole.removesuffix(path) if whole.endswith(path) else "",
                most=LAMBDA_ANSWER,
            )
        ]

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        return _reply(outcomes)


class ApiGatewayV2:
    """HTTP APIs with payload format 2.0, and Function URLs, which share it.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    https://docs.aws.amazon.com/lambda/latest/dg/urls-invocation.html
    """

    def matches(self, event: Event) -> bool:
        members = keys(event)
        return members.get("version") == "2.0" and "http" in context_of(event) and not _kind(members)

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        return [
            Request(
                method=text(event, "requestContext", "http", "method"),
                path=text(event, "rawPath"),
                query=pairs(text(event, "rawQueryString", default="")),
                headers=_headers(event),
                body=_body(event),
                most=LAMBDA_ANSWER,
            )
        ]

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        return _reply(outcomes)


class Alb:
    """An Application Load Balancer's target group; query parameters come percent-encoded.

    https://docs.aws.amazon.com/elasticloadbalancing/latest/application/lambda-functions.html
    """

    def matches(self, event: Event) -> bool:
        return "elb" in context_of(event) and "multiValueHeaders" not in keys(event)

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        from urllib.parse import unquote_plus

        query = _pairs(event, "queryStringParameters", "multiValueQueryStringParameters")
        return [
            Request(
                method=text(event, "httpMethod"),
                path=text(event, "path"),
                query=tuple((unquote_plus(name), unquote_plus(value)) for name, value in query),
                headers=_headers(event),
                body=_body(event),
                most=ALB_ANSWER,
            )
        ]

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        return _with_status_line(_reply(outcomes))


class AlbMultiValue(Alb):
    """A target group with multi-value headers switched on: they are lists both ways."""

    def matches(self, event: Event) -> bool:
        return "elb" in context_of(event) and "multiValueHeaders" in keys(event)

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        reply = _with_status_line(_reply(outcomes))
        headers = reply.pop("headers")
        return {**reply, "multiValueHeaders": {name: [value] for name, value in headers.items()}}


class VpcLattice:
    """A target group of VPC Lattice, in both versions of its events.

    Version 1.0 has no ``version``, and spells its members with underscores.
    https://docs.aws.amazon.com/vpc-lattice/latest/ug/lambda-functions.html
    """

    def matches(self, event: Event) -> bool:
        return "serviceArn" in context_of(event) or keys(event).keys() >= {"raw_path", "method", "headers"}

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        if "raw_path" in event:
            event = {
                **event,
                "path": event["raw_path"],
                "queryStringParameters": event.get("query_string_parameters"),
                "isBase64Encoded": event.get("is_base64_encoded"),
            }
        query = _texts(event, "queryStringParameters") or {}
        return [
            Request(
                method=text(event, "method"),
                path=text(event, "path").partition("?")[0],
                query=tuple((name, value) for name, values in query.items() for value in values),
                headers=_headers(event),
                body=_body(event),
                most=LAMBDA_ANSWER,
            )
        ]

    def reply(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        return _with_status_line(_reply(outcomes))


class NotForUs:
    """Events that look like a request and are not one: they are refused by name."""

    def matches(self, event: Event) -> bool:
        return bool(_kind(keys(event)))

    def jobs(self, event: Mapping[str, Any]) -> Iterable[Job]:
        raise RefusedEvent(
            f"this is {_kind(event)}, and this function answers only requests and storage events"
        )

    def reply(self, outcomes: Sequence[Outcome]) -> Any:
        """Raises the error, which denies a caller, closes a WebSocket, and tells an agent of a failure."""
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error


class PlainHttp:
    """A request that functions-framework received."""

    def matches(self, event: Event) -> bool:
        if not isinstance(event, Request):
            return False
        from handler.events.objects import carries_event

        return not carries_event(event)

    def jobs(self, event: Request) -> Iterable[Job]:
        return [event]

    def reply(self, outcomes: Sequence[Outcome]) -> Answer:
        return _answer(outcomes)


def _kind(event: Mapping[str, Any]) -> str:
    """What an event is that looks like a request and is not one; empty for any other.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-lambda-authorizer-input.html
    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-lambda-authorizer.html
    https://docs.aws.amazon.com/apigateway/latest/developerguide/apigateway-websocket-api-route-keys-connect-disconnect.html
    https://docs.aws.amazon.com/bedrock/latest/userguide/agents-lambda.html
    """
    if "type" in event and ("methodArn" in event or "routeArn" in event):
        return "an event for an API Gateway authorizer"
    if "messageVersion" in event and "agent" in event:
        return "an event of a Bedrock agent"
    if "connectionId" in context_of(event):
        return "an event of an API Gateway WebSocket"
    return ""


def pairs(text: str) -> Pairs:
    """A query string's parameters. https://url.spec.whatwg.org/#urlencoded-parsing"""
    if "%" in text or "+" in text:
        from urllib.parse import parse_qsl

        return tuple(parse_qsl(text, keep_blank_values=True))
    return tuple(pair.partition("=")[::2] for pair in text.split("&") if pair)


def _pairs(event: Mapping[str, Any], single: str, multi: str) -> Pairs:
    """The query parameters; the single-value form has only the last value of each, or is left out."""
    last, every = _texts(event, single), _texts(event, multi) or {}
    if last is None:
        return tuple((name, value) for name, values in every.items() for value in values)
    return tuple((name, value) for name, values in last.items() for value in every.get(name) or values)


def _headers(event: Mapping[str, Any]) -> dict[str, str]:
    """Header names in lower case; several values of one are joined. RFC 9110, section 5.3."""
    many = _texts(event, "multiValueHeaders" if event.get("multiValueHeaders") else "headers") or {}
    return {name.lower(): ", ".join(values) for name, values in many.items()}


def _texts(event: Mapping[str, Any], name: str) -> Mapping[str, list[str]] | None:
    """Texts by name, a single one as a list of one; None if the event does not have the member."""
    texts = member(event, name)
    if texts is None:
        return None
    if isinstance(texts, dict):
        many = {key: value if isinstance(value, list) else [value] for key, value in texts.items()}
        if all(isinstance(value, str) for values in many.values() for value in values):
            return many
    raise UnknownEvent([f"(not an object of texts at {name})"])


def _body(event: Mapping[str, Any]) -> bytes:
    body = text(event, "body", default="")
    if not event.get("isBase64Encoded"):
        try:
            return body.encode()
        except UnicodeEncodeError as error:
            raise InvalidBody("the body holds half of a surrogate pair") from error
    import base64
    import binascii

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
    body = answer.body
    if binary:
        import base64

        body = base64.b64encode(body)
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
