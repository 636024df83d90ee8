"""The router: one request in, one answer out, whatever carried it.

A route is the tail of the path; what stands before it (a stage, a base path, a load balancer's rule)
belongs to the platform. Errors answer as RFC 9457 problem documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from handler import telemetry
from handler.errors import AnswerTooLarge, BodyTooLarge, FunctionError, MethodNotAllowed, NotFound
from handler.scoring.model import Model
from handler.settings import Settings
from handler.typed import NamedTuple
from handler.web.messages import Answer, Request, length_in_json, problem, unpacked
from handler.web.predictions import (
    get_explain,
    get_predict,
    post_explain,
    post_predict,
    post_predict_file,
)

Respond = Callable[[Model, Settings, Request], Answer]


class Route(NamedTuple):
    """What answers the paths that end in ``tail``, by method; ``{}`` in it is any one segment.

    A route without methods keeps its paths from the shorter tails that they end in, too. ``public``: the
    answer to an unknown path names it.
    """

    tail: str
    methods: Mapping[str, Respond]
    public: bool = True


def _page(model: Model, settings: Settings, request: Request) -> Answer:  # noqa: ARG001
    """A page about the model, for which the first prediction does not wait."""
    from handler.web.pages import PAGES

    return PAGES[request.route](model, request)


def _front(model: Model, settings: Settings, request: Request) -> Answer:  # noqa: ARG001
    from handler.web.pages import get_front

    return get_front(model, request)


#: The page for people, at the root. A browser gets it at any folder that no route names as well: a stage
#: or a load balancer's rule may stand for the root.
FRONT = Route("", {"GET": _front})
#: The tails that end in a parameter are those of the inference protocols: a model may be called "model".
#: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
ROUTES = (
    FRONT,
    Route("predict", {"GET": get_predict, "POST": post_predict}),
    Route("predict_file", {"POST": post_predict_file}),
    Route("explain", {"GET": get_explain, "POST": post_explain}),
    Route("apidocs", {"GET": _page}),
    Route("docs", {"GET": _page}, public=False),
    Route("openapi.json", {"GET": _page}),
    Route("model", {"GET": _page}),
    Route("healthz", {"GET": _page}),
    Route("report", {"GET": _page}),
    Route("card", {"GET": _page}),
    Route("page.js", {"GET": _page}, public=False),
    Route("page.css", {"GET": _page}, public=False),
    Route("apidocs.js", {"GET": _page}, public=False),
    Route("swagger-ui.css", {"GET": _page}, public=False),
    Route("swagger-ui-bundle.js", {"GET": _page}, public=False),
    Route("v1/models/{}", {}, public=False),
    Route("v2/models/{}", {}, public=False),
    Route("v2/models/{}/{}", {}, public=False),
    Route("v2/models/{}/versions/{}", {}, public=False),
    Route("v2/models/{}/versions/{}/{}", {}, public=False),
)
#: The tails of the routes that may be answered at once.
AT_ONCE = ("predict", "healthz")
#: Bytes of a body of one record, which has some hundred features then.
SHORT_BODY = 32 * 1024
#: Each route's tail in segments, under the first of them.
_TAILS: dict[str, list[tuple[list[str], Route]]] = {}
for _route in ROUTES:
    _segments = _route.tail.split("/")
    _TAILS.setdefault(_segments[0], []).append((_segments, _route))


class Api:
    """The routes of one loaded model."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self._model = model
        self._settings = settings

    def respond(self, request: Request) -> Answer:
        """Answer a request; never raises: what goes wrong is a problem document."""
        granted = _cors(request, self._settings.cors_origins)
        try:
            answer = self._dispatch(request)
            if request.most is not None and length_in_json(answer) > request.most:
                raise AnswerTooLarge(request.most)
        except FunctionError as error:
            answer = problem(error, request.most)
        except Exception as error:  # noqa: BLE001  the caller gets an answer, and the log the lines at fault
            telemetry.failure("request failed", error, route=request.route)
            answer = problem(FunctionError("the server failed on this request; its log says where"))
        return answer._replace(headers={**answer.headers, **granted}) if granted else answer

    def answers_at_once(self, request: Request) -> bool:
        """Whether a request is answered in well below a millisecond, so that a server need not hand it to a
        thread: that the model is loaded, and one row of a bundle with a one-row program.
        """
        route = matching(request.path)
        if route is None or route.tail not in AT_ONCE:
            return False
        if request.method in ("GET", "HEAD"):
            return route.tail != "predict" or self._model.program is not None
        body = request.body
        return (
            self._model.program is not None
            and len(body) <= SHORT_BODY
            and body[:1] == b"{"
            and b'"instances"' not in body
            and "content-encoding" not in request.headers
        )

    def _dispatch(self, request: Request) -> Answer:
        route = matching(request.path) or (FRONT if _wants_page(request) else None)
        methods = route.methods if route else None
        if not methods:
            public = ", ".join(f"/{known.tail}" for known in ROUTES if known.public)
            raise NotFound(f"no such route; there are {public}")
        respond = methods.get("GET" if request.method == "HEAD" else request.method)
        if respond is None:
            allowed = (*methods, *(("HEAD",) if "GET" in methods else ()), "OPTIONS")
            if request.method != "OPTIONS":
                raise MethodNotAllowed(allowed)
            return Answer(204, {"allow": ", ".join(allowed)})
        if max(request.size, len(request.body)) > self._settings.max_body_bytes:
            raise BodyTooLarge(self._settings.max_body_bytes)
        if request.body and "content-encoding" in request.headers:
            request = request._replace(body=unpacked(request, self._settings.max_body_bytes))
        return respond(self._model, self._settings, request)


def matching(path: str) -> Route | None:
    """The route with the longest tail that the path ends in."""
    segments = path.strip("/").split("/")
    for start, first in enumerate(segments):
        for tail, route in _TAILS.get(first, ()):
            if len(tail) == len(segments) - start and all(map(_fits, tail, segments[start:])):
                return route
    return None


def _wants_page(request: Request) -> bool:
    return request.method in ("GET", "HEAD") and "text/html" in request.headers.get("accept", "")


def _fits(pattern: str, segment: str) -> bool:
    return pattern in ("{}", segment)


def _cors(request: Request, origins: tuple[str, ...]) -> dict[str, str]:
    """https://fetch.spec.whatwg.org/#http-cors-protocol"""
    origin = request.headers.get("origin")
    if not origins or not origin:
        return {}
    if "*" not in origins and origin not in origins:
        return {"vary": "origin"}
    granted = {"access-control-allow-origin": origin, "vary": "origin"}
    if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
        granted["access-control-allow-methods"] = "GET, HEAD, POST, OPTIONS"
        granted["access-control-allow-headers"] = "authorization, content-type"
        granted["access-control-max-age"] = "600"
    return granted
