"""The HTTP routes: one request in, one answer out, whatever carried it.

A route is the tail of the path; what stands before it (a stage, a base path, a load balancer's rule)
belongs to the platform. Errors answer as RFC 9457 problem documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from handler import telemetry
from handler.bundle import CARD, REPORT
from handler.errors import (
    LONGEST_NAME,
    AnswerTooLarge,
    BodyTooLarge,
    FunctionError,
    InvalidRecords,
    MethodNotAllowed,
    NotFound,
    Problem,
    Problems,
    UnsupportedMediaType,
)
from handler.schema import Record
from handler.scoring.model import Model
from handler.settings import Settings
from handler.web.messages import (
    CSV,
    CSV_TYPES,
    CURL_CSV,
    CURL_JSON,
    FORM,
    JSON,
    MULTIPART,
    Answer,
    Request,
    answer_json,
    length_in_json,
    multipart_file,
    prefers_csv,
    problem,
    read_json,
    unpacked,
)

if TYPE_CHECKING:
    from handler.scoring.table import ScoredBlock
    from handler.tables.formats import Table

#: Characters of a path that the OpenAPI document names as its server's.
LONGEST_FOLDER = 1000
#: No rejected row takes fewer bytes of a JSON answer.
SHORTEST_REJECT = 60
#: The routes of the model report, and the bundle's files that they send.
REPORTS = {"report": REPORT, "card": CARD}


class Api:
    """The routes of one loaded model."""

    def __init__(self, model: Model, settings: Settings) -> None:
        self._model = model
        self._settings = settings

    def respond(self, request: Request) -> Answer:
        """Answer a request; never raises: what goes wrong is a problem document."""
        try:
            answer = self._dispatch(request)
            if request.most is not None and length_in_json(answer) > request.most:
                raise AnswerTooLarge(request.most)
        except FunctionError as error:
            answer = problem(error, request.most)
        except Exception as error:  # noqa: BLE001  the caller gets an answer, the log gets the place
            telemetry.failure("request failed", error, route=request.route)
            answer = problem(FunctionError("the server failed on this request; its log says where"))
        granted = self._cors(request)
        return answer._replace(headers={**answer.headers, **granted}) if granted else answer

    def predict(self, payload: object) -> tuple[dict[str, Any], int]:
        """Predict a JSON record, a list of records, or ``{"instances": [...]}``.

        Returns the body and the number of rows; raises ``InvalidRecords`` with all problems.
        """
        if (
            isinstance(payload, Mapping)
            and "instances" in payload
            and "instances" not in self._model.schema
            and "instances" not in self._model.schema.ids
        ):
            # Vertex AI's SDK writes "parameters": null beside the instances.
            strangers = [
                name
                for name, value in payload.items()
                if name != "instances" and (name != "parameters" or value is not None)
            ]
            if strangers:
                problems = Problems()
                for name in strangers:
                    shown = name[:LONGEST_NAME]
                    problems.add(shown, "unknown_field", f"'{shown}' cannot stand beside 'instances'")
                raise InvalidRecords(problems.listed, problems.more)
            payload = payload["instances"]
            if not isinstance(payload, list):
                raise InvalidRecords([Problem("instances", "not_a_list", "'instances' must be a list")])
        schema = self._model.schema
        if not isinstance(payload, list):
            record = schema.from_json(payload)
            return self._one(record, schema.carried(cast("Mapping[str, object]", payload))), 1
        problems = Problems()
        records = [schema.judge_json(each, problems, index) for index, each in enumerate(payload)]
        if problems:
            raise InvalidRecords(problems.listed, problems.more)
        predictions = self._model.predict(cast("list[Record]", records))
        document = {
            "predictions": [
                {**prediction, **schema.carried(each)}
                for prediction, each in zip(predictions, payload, strict=True)
            ],
            "model": self._model.manifest.identity,
        }
        return document, len(records)

    def _dispatch(self, request: Request) -> Answer:
        if request.path == "/" and request.method in ("GET", "HEAD"):
            return Answer(302, {"location": "apidocs"})
        route = matching(request.path)
        methods = route.methods if route else None
        if not methods:
            public = ", ".join(f"/{each.tail}" for each in ROUTES if each.public)
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
        return respond(self, request)

    def _cors(self, request: Request) -> dict[str, str]:
        """https://fetch.spec.whatwg.org/#http-cors-protocol"""
        origins, origin = self._settings.cors_origins, request.headers.get("origin")
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

    def get_predict(self, request: Request) -> Answer:
        """One customer, in the query."""
        schema = self._model.schema
        record = schema.from_query(request.query)
        ids = schema.carried(dict(request.query)) if schema.ids else {}
        return answer_json(self._one(record, ids), rows=1)

    def post_predict(self, request: Request) -> Answer:
        """Records as JSON, or rows as CSV: all are predicted, or none."""
        if request.media_type in ("", JSON):
            document, rows = self.predict(read_json(request.body))
            return answer_json(document, rows=rows)
        if request.media_type != CSV:
            hint = f"{CURL_JSON}, or {CURL_CSV}" if request.media_type == FORM else ""
            raise UnsupportedMediaType((JSON, CSV), hint)
        _, scored = self._score_csv(request.body)
        problems = Problems()
        predictions: list[dict[str, Any]] = []
        for block, scores in scored:
            for each in block.rejects:
                problems.add(each.column, each.code, each.reason, line=each.line)
            predictions += self._model.predictions(scores) if not problems else ()
        if problems:
            raise InvalidRecords(problems.listed, problems.more)
        document = {"predictions": predictions, "model": self._model.manifest.identity}
        return answer_json(document, rows=len(predictions))

    def post_predict_file(self, request: Request) -> Answer:
        """A CSV file: each row is predicted or rejected, in order."""
        if request.media_type == MULTIPART:
            body = multipart_file(request)
        elif request.media_type in ("", *CSV_TYPES):
            body = request.body
        else:
            hint = f"; with curl: -F file=@f.csv, or {CURL_CSV}" if request.media_type == FORM else ""
            raise UnsupportedMediaType((MULTIPART, CSV), hint)
        if prefers_csv(request.headers.get("accept", "")):
            return self._joined(*self._score_csv(body, every_row=True))
        _, scored = self._score_csv(body)
        predictions: list[object] = []
        rejects: list[dict[str, object]] = []
        for rows, scores in scored:
            labels = iter(self._model.labels(scores))
            rejected = rows.rejected
            predictions += [None if place in rejected else next(labels) for place in range(rows.total)]
            rejects += (
                {"line": each.line, "column": each.column, "code": each.code, "reason": each.reason}
                for each in rows.rejects
            )
            if request.most is not None and len(rejects) * SHORTEST_REJECT > request.most:
                raise AnswerTooLarge(request.most)
        document = {
            "predictions": predictions,
            "rejected": rejects,
            "model": self._model.manifest.identity,
        }
        return answer_json(document, rows=len(predictions), rejected=len(rejects))

    def get_model(self, request: Request) -> Answer:  # noqa: ARG002
        """What the model is, takes and achieved."""
        document = self._model.manifest.as_json()
        del document["files"]
        reports = {route: route for route, name in REPORTS.items() if name in self._model.documents}
        return answer_json({**document, "links": {"openapi": "openapi.json", "page": "apidocs", **reports}})

    def get_report(self, request: Request) -> Answer:
        """The model report that training wrote: a page with pictures, or Markdown."""
        name = REPORTS[request.route]
        content = self._model.documents.get(name)
        if content is None:
            raise NotFound("this bundle has no model report; train again, and it has")
        if not self._model.manifest.vouches(name, content):
            raise NotFound("the model report was changed after training; restore it or train again")
        media_type = "text/html" if name == REPORT else "text/markdown"
        return Answer(
            200,
            {
                "content-type": f"{media_type}; charset=utf-8",
                "x-content-type-options": "nosniff",
                "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
                "frame-ancestors 'none'",
            },
            content,
        )

    def get_health(self, request: Request) -> Answer:  # noqa: ARG002
        """That the model is loaded."""
        return answer_json({"status": "ok", "model": self._model.manifest.identity})

    def get_openapi(self, request: Request) -> Answer:
        """The OpenAPI document."""
        folder = request.prefix + request.path.rstrip("/").rpartition("/")[0]
        from handler.web import openapi

        return answer_json(openapi.document(self._model.manifest, _server(folder)))

    def get_page(self, request: Request) -> Answer:
        """The Swagger page and the files that it loads."""
        if request.path.endswith("/"):  # the page's links are relative to the path without the slash
            return Answer(308, {"location": f"../{request.route}"})
        from handler.web import openapi

        content, media_type = openapi.asset(request.route)
        headers = {
            "content-type": media_type,
            "vary": "accept-encoding",
            "x-content-type-options": "nosniff",
            "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; "
            "img-src 'self' data:; frame-ancestors 'none'",
            "cache-control": "no-cache" if request.route == "apidocs" else "public, max-age=86400",
        }
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Answer(200, {**headers, "content-encoding": "gzip"}, content)
        import gzip

        return Answer(200, headers, gzip.decompress(content))

    def _one(self, record: Record, ids: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._model.predict_one(record), **ids, "model": self._model.manifest.identity}

    def _score_csv(self, body: bytes, every_row: bool = False) -> tuple[Table, Iterator[ScoredBlock]]:
        """The header of a CSV body, and its blocks, each read and scored when its turn comes."""
        from handler.scoring.table import score_block  # what one customer's prediction does not wait for
        from handler.tables import formats

        table = formats.opened([body], self._model.schema, self._settings.block_bytes)
        return table, (score_block(self._model, block, table, every_row) for block in table.blocks)

    def _joined(self, table: Table, scored: Iterable[ScoredBlock]) -> Answer:
        """Every input row with its prediction; a rejected one keeps its cells and gets empty ones."""
        from handler.tables import writing

        total = rejected = 0
        lines = [writing.head(table.layout, self._model.output_names)]
        for rows, scores in scored:
            total, rejected = total + rows.total, rejected + len(rows.rejects)
            lines.append(
                table.format.write(rows, table.layout, self._model.outputs(scores), every_row=True)
            )
        headers = {"content-type": f"{CSV}; charset=utf-8", "x-rows-rejected": str(rejected)}
        return Answer(200, headers, b"".join(lines), total, rejected)


class Route(NamedTuple):
    """What answers the paths that end in ``tail``, by method; ``{}`` in it is any one segment.

    A route without methods keeps its paths from the shorter tails that they end in, too. ``public``: the
    answer to an unknown path names it.
    """

    tail: str
    methods: Mapping[str, Callable[[Api, Request], Answer]]
    public: bool = True


#: The tails that end in a parameter are those of the inference protocols: a model may be called "model".
#: https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
ROUTES = (
    Route("predict", {"GET": Api.get_predict, "POST": Api.post_predict}),
    Route("predict_file", {"POST": Api.post_predict_file}),
    Route("apidocs", {"GET": Api.get_page}),
    Route("openapi.json", {"GET": Api.get_openapi}),
    Route("model", {"GET": Api.get_model}),
    Route("healthz", {"GET": Api.get_health}),
    Route("report", {"GET": Api.get_report}),
    Route("card", {"GET": Api.get_report}),
    Route("apidocs.js", {"GET": Api.get_page}, public=False),
    Route("swagger-ui.css", {"GET": Api.get_page}, public=False),
    Route("swagger-ui-bundle.js", {"GET": Api.get_page}, public=False),
    Route("v1/models/{}", {}, public=False),
    Route("v2/models/{}", {}, public=False),
    Route("v2/models/{}/{}", {}, public=False),
    Route("v2/models/{}/versions/{}", {}, public=False),
    Route("v2/models/{}/versions/{}/{}", {}, public=False),
)
#: Each route's tail in segments, under the first of them.
_TAILS: dict[str, list[tuple[list[str], Route]]] = {}
for _route in ROUTES:
    _segments = _route.tail.split("/")
    _TAILS.setdefault(_segments[0], []).append((_segments, _route))


def matching(path: str) -> Route | None:
    """The route with the longest tail that the path ends in."""
    segments = path.strip("/").split("/")
    for start, first in enumerate(segments):
        for tail, route in _TAILS.get(first, ()):
            if len(tail) == len(segments) - start and all(map(_fits, tail, segments[start:])):
                return route
    return None


def _fits(pattern: str, segment: str) -> bool:
    return pattern in ("{}", segment)


def _server(folder: str) -> str:
    """The URL of a path's folder on this very server; its root where browsers could read another from it.

    https://url.spec.whatwg.org/#path-state
    """
    from urllib.parse import quote, unquote

    segments = unquote(folder).strip("/").split("/")
    sound = all(each.isprintable() and "\\" not in each and each.strip(".") for each in segments)
    if not sound or len(folder) > LONGEST_FOLDER:
        return "/"
    return "/" + "/".join(map(quote, segments))
