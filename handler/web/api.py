"""The HTTP routes: one request in, one answer out, whatever carried it.

A route is the last segment of the path; what stands before it (a stage, a base path, a load
balancer's rule) belongs to the platform. Errors answer as RFC 9457 problem documents.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from handler import telemetry
from handler.bundle import CARD, REPORT
from handler.errors import (
    AnswerTooLarge,
    BodyTooLarge,
    FunctionError,
    InvalidRecords,
    MethodNotAllowed,
    NotFound,
    Problem,
    UnsupportedMediaType,
)
from handler.schema import Record
from handler.scoring.model import Model, Scores
from handler.settings import Settings
from handler.web.messages import (
    CSV,
    CSV_TYPES,
    CURL_HINT,
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
)

if TYPE_CHECKING:
    from handler.tables.csv_blocks import Block, Layout, Reject, Rows
#: The routes of the model report, and the bundle's files that they send.
REPORTS = {"report": REPORT, "card": CARD}


class Table(NamedTuple):
    """A scored CSV body, block by block."""

    layout: Layout
    parts: tuple[tuple[Block, Rows, Scores], ...]

    @property
    def rejects(self) -> list[Reject]:
        """Every rejected row, in order."""
        return [reject for _, rows, _ in self.parts for reject in rows.rejects]


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
            answer = problem(error)
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
            strangers = [name for name in payload if name != "instances"]
            if strangers:
                raise InvalidRecords(
                    [
                        Problem(
                            name[:100], "unknown_field", f"'{name[:100]}' cannot stand beside 'instances'"
                        )
                        for name in strangers
                    ]
                )
            payload = payload["instances"]
            if not isinstance(payload, list):
                raise InvalidRecords([Problem("instances", "not_a_list", "'instances' must be a list")])
        if not isinstance(payload, list):
            record, ids = self._read(payload)
            return self._one(record, ids), 1
        read = _all_records(self._read, payload)
        predictions = self._model.predict([record for record, _ in read])
        document = {
            "predictions": [{**told, **ids} for told, (_, ids) in zip(predictions, read, strict=True)],
            "model": self._model.manifest.identity,
        }
        return document, len(read)

    def _read(self, payload: object, index: int | None = None) -> tuple[Record, dict[str, Any]]:
        """A JSON record, and the id columns in it as the answer carries them back."""
        schema = self._model.schema
        record = schema.from_json(payload, index)
        return record, schema.carried(cast("Mapping[str, object]", payload))

    def _dispatch(self, request: Request) -> Answer:
        methods = ROUTES.get(request.route)
        if request.path == "/" and request.method in ("GET", "HEAD"):
            return Answer(302, {"location": "apidocs"})
        if methods is None:
            raise NotFound(f"no such route; there are {', '.join('/' + route for route in PUBLIC)}")
        route = methods.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            allowed = (*methods, *(("HEAD",) if "GET" in methods else ()), "OPTIONS")
            if request.method != "OPTIONS":
                raise MethodNotAllowed(allowed)
            return Answer(204, {"allow": ", ".join(allowed)})
        if max(request.size, len(request.body)) > self._settings.max_body_bytes:
            raise BodyTooLarge(self._settings.max_body_bytes)
        return route(self, request)

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
            hint = CURL_HINT.format(JSON) if request.media_type == FORM else ""
            raise UnsupportedMediaType((JSON, CSV), hint)
        table = self._score_csv(request.body)
        if table.rejects:
            raise InvalidRecords(
                [Problem(each.column, each.code, each.reason, line=each.line) for each in table.rejects]
            )
        predictions = [each for _, _, scores in table.parts for each in self._model.predictions(scores)]
        document = {"predictions": predictions, "model": self._model.manifest.identity}
        return answer_json(document, rows=len(predictions))

    def post_predict_file(self, request: Request) -> Answer:
        """A CSV file: each row is predicted or rejected, in order."""
        if request.media_type == MULTIPART:
            body = multipart_file(request)
        elif request.media_type in ("", *CSV_TYPES):
            body = request.body
        else:
            hint = CURL_HINT.format(CSV) + ", or -F file=@..." if request.media_type == FORM else ""
            raise UnsupportedMediaType((MULTIPART, CSV), hint)
        if prefers_csv(request.headers.get("accept", "")):
            return self._joined(self._score_csv(body, row_by_row=True))
        table = self._score_csv(body)
        predictions: list[object] = []
        for _, rows, scores in table.parts:
            labels = iter(self._model.labels(scores))
            rejected = rows.rejected
            predictions += [None if place in rejected else next(labels) for place in range(rows.total)]
        document = {
            "predictions": predictions,
            "rejected": [
                {"line": each.line, "column": each.column, "code": each.code, "reason": each.reason}
                for each in table.rejects
            ],
            "model": self._model.manifest.identity,
        }
        return answer_json(document, rows=len(predictions), rejected=len(table.rejects))

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

        server = "/" + folder.strip("/")  # never //host, which would name another
        return answer_json(openapi.document(self._model.manifest, server))

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
        (prediction,) = self._model.predict([record])
        return {**prediction, **ids, "model": self._model.manifest.identity}

    def _score_csv(self, body: bytes, row_by_row: bool = False) -> Table:
        from handler.tables import csv_blocks  # what one customer's prediction does not wait for

        schema = self._model.schema
        layout, start, line = csv_blocks.Layout.of(body, schema)
        parts = []
        for block in csv_blocks.blocks([body[start:]], layout.delimiter, line, len(body)):
            rows = csv_blocks.read(block, layout, schema, row_by_row)
            parts.append((block, rows, self._model.scorer.score(rows.columns)))
        return Table(layout, tuple(parts))

    def _joined(self, table: Table) -> Answer:
        """Every input row with its prediction; a rejected one keeps its cells and gets empty ones."""
        from handler.tables import csv_blocks

        names = self._model.output_names
        joined: list[list[object]] = []
        for _, rows, scores in table.parts:
            outputs = zip(*self._model.outputs(scores), strict=True)
            rejected = rows.rejected
            for place, cells in enumerate(cast("list[list[str]]", rows.text)):
                row: Sequence[object] = [""] * len(names) if place in rejected else next(outputs)
                padding = [""] * (len(table.layout.header) - len(cells))
                joined.append([*cells, *padding, *row])
        header = [*table.layout.header, *csv_blocks.output_names(table.layout.header, names)]
        lines = csv_blocks.write_lines([header, *joined])
        body = "".join(f"{line}\n" for line in lines).encode()
        headers = {"content-type": f"{CSV}; charset=utf-8", "x-rows-rejected": str(len(table.rejects))}
        return Answer(200, headers, body, len(joined), len(table.rejects))


Route = Callable[[Api, Request], Answer]
ROUTES: Mapping[str, Mapping[str, Route]] = {
    "predict": {"GET": Api.get_predict, "POST": Api.post_predict},
    "predict_file": {"POST": Api.post_predict_file},
    "apidocs": {"GET": Api.get_page},
    "openapi.json": {"GET": Api.get_openapi},
    "model": {"GET": Api.get_model},
    "healthz": {"GET": Api.get_health},
    "report": {"GET": Api.get_report},
    "card": {"GET": Api.get_report},
    "apidocs.js": {"GET": Api.get_page},
    "swagger-ui.css": {"GET": Api.get_page},
    "swagger-ui-bundle.js": {"GET": Api.get_page},
}
PUBLIC = tuple(ROUTES)[:8]


def _all_records(
    read: Callable[[object, int], tuple[Record, dict[str, Any]]], payload: Sequence[object]
) -> list[tuple[Record, dict[str, Any]]]:
    """Read every record; raises ``InvalidRecords`` with the problems of all."""
    records: list[tuple[Record, dict[str, Any]]] = []
    problems: list[Problem] = []
    for index, each in enumerate(payload):
        try:
            records.append(read(each, index))
        except InvalidRecords as error:
            problems += error.problems
    if problems:
        raise InvalidRecords(problems)
    return records
