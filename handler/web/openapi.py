"""The OpenAPI 3.1 document, made from the manifest: its paths, with golden rows as examples.

The document promises what the routes do, no more.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

from handler.manifest import CARD, REPORT, Manifest
from handler.schema import Schema, to_text
from handler.typed import Any
from handler.web import feature_schema
from handler.web.components import CARRIED, IGNORED, PROBLEMS, components
from handler.web.json_schema import TEXT, Node, given, list_of, listed, object_of, ref
from handler.web.messages import CODINGS, CSV, HTML, JSON, MARKDOWN, MULTIPART

#: Golden rows that an example shows.
ROWS_SHOWN = 3
ABOUT = """\
{predicts} from {count}. {trained}`/model` tells how it was trained and how well \
it did.

Every error is an `application/problem+json` document that names all faults of a request at once, \
with the same codes for queries, JSON and CSV. Values in JSON are typed (`45`, not `"45"`); \
in a query and in a CSV they are text.
"""
TARGET = "Predicts **{target}** ({values})"
ANOMALY = "Finds **anomalies** (`-1` for an anomaly, `1` for any other record)"
CLUSTER = "Predicts the **cluster** of a record ({values})"
SYNTHETIC = "**Trained on synthetic data**: good for a try, not for decisions. "
#: The statuses of a route that takes a body.
WITH_BODY = tuple(status for status in PROBLEMS if status != 501)
PACKED = f"The body may be compressed, and `Content-Encoding` names how: {' or '.join(CODINGS)}."
OPENAPI: Node = {
    "description": "An OpenAPI 3.1 document",
    "content": {JSON: {"schema": {"type": "object", "required": ["openapi", "info", "paths"]}}},
}


def document(manifest: Manifest, server: str) -> Node:
    """The OpenAPI document of a model's routes; ``server`` is the URL or path that they stand under."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": manifest.name,
            "version": manifest.version,
            "description": _about(manifest),
        },
        "servers": [{"url": server}],
        "tags": [
            {"name": "Predict", "description": "Ask the model"},
            {"name": "About", "description": "The model, this page, and whether the server is up"},
        ],
        "paths": {
            "/predict": {"get": _predict(manifest), "post": _predict_many(manifest)},
            "/predict_file": {"post": _predict_file(manifest)},
            **_explain(manifest),
            "/model": {"get": _about_route("model", "What the model is and achieved", _answer("Model"))},
            "/healthz": {"get": _about_route("health", "Whether the model is loaded", _answer("Health"))},
            "/openapi.json": {"get": _about_route("openapi", "This document", OPENAPI)},
            "/apidocs": {"get": _about_route("apidocs", "This page", _page("Swagger UI", HTML))},
            **_reports(manifest),
        },
        "components": components(manifest),
    }


def _about(manifest: Manifest) -> str:
    count = len(manifest.features)
    values = listed(manifest.classes, " or ") if manifest.classes else "a number"
    predicts = {"anomaly": ANOMALY, "cluster": CLUSTER}.get(manifest.task, TARGET)
    return ABOUT.format(
        predicts=predicts.format(target=manifest.target, values=values),
        count=f"{count} feature" + ("s" if count != 1 else ""),
        trained=SYNTHETIC if manifest.training.get("synthetic") else "",
    )


def _predict(manifest: Manifest) -> Node:
    shown: Mapping[str, Any] = manifest.golden[0]["record"] if manifest.golden else {}
    return {
        "operationId": "predict",
        "tags": ["Predict"],
        "summary": "Predict one record, from the query",
        "parameters": [
            *(feature_schema.parameter(each, shown.get(each.name)) for each in manifest.features),
            *(
                {"name": name, "in": "query", "description": CARRIED, "schema": TEXT}
                for name in manifest.ids
            ),
            *(
                {"name": name, "in": "query", "description": IGNORED, "schema": TEXT}
                for name in manifest.ignored
            ),
        ],
        "responses": {"200": _answer("Prediction", _prediction(manifest)), **_errors(422, 500)},
    }


def _predict_many(manifest: Manifest) -> Node:
    records = _records(manifest)
    shapes: list[Node] = [ref("Record"), list_of(ref("Record"))]
    examples: Node = {}
    if records:
        examples["one"] = {"summary": "One record", "value": records[0]}
        examples["several"] = {"summary": "Several records", "value": records}
    if not Schema.of(manifest).carries("instances"):
        shapes.append(object_of({"instances": list_of(ref("Record"))}))
        if records:
            examples["instances"] = {"summary": "Instances", "value": {"instances": records}}
    answers: Node = {JSON: {"schema": {"oneOf": [ref("Prediction"), ref("Predictions")]}}}
    if records:
        answers[JSON]["examples"] = {
            "one": {"summary": "To one record", "value": _prediction(manifest)},
            "several": {"summary": "To several, instances, or a CSV", "value": _predictions(manifest)},
        }
    return {
        "operationId": "predict_many",
        "tags": ["Predict"],
        "summary": "Predict one record or several, from JSON or CSV",
        "description": "All records are predicted, or none: one fault in one of them answers 422. "
        "The answer to one record has its prediction; the answer to a list, to `instances` or to a "
        f"CSV has `predictions`, in order. {PACKED}",
        "requestBody": {
            "required": True,
            "content": {
                JSON: {"schema": {"oneOf": shapes}, **given(examples=examples)},
                CSV: _csv(manifest),
            },
        },
        "responses": {
            "200": {"description": "The predictions", "content": answers},
            **_errors(*WITH_BODY),
        },
    }


def _explain(manifest: Manifest) -> Node:
    """The routes that explain, of a model that they explain."""
    if "of" not in manifest.explanation:
        return {}
    one, many = _predict(manifest), _predict_many(manifest)
    shapes: Node = {JSON: {"schema": {"oneOf": [ref("Explanation"), ref("Explanations")]}}}
    explained: Node = {"description": "The predictions, with their contributions", "content": shapes}
    get: Node = {
        **one,
        "operationId": "explain",
        "summary": "Predict one record, and say what each feature adds",
        "responses": {"200": _answer("Explanation"), **_errors(422, 500)},
    }
    post: Node = {
        **many,
        "operationId": "explain_many",
        "summary": "Predict records, and say what each feature adds",
        "responses": {"200": explained, **_errors(*WITH_BODY)},
    }
    return {"/explain": {"get": get, "post": post}}


def _predict_file(manifest: Manifest) -> Node:
    return {
        "operationId": "predict_file",
        "tags": ["Predict"],
        "summary": "Predict every row of a CSV file",
        "description": "The header names the features, in any order; other columns are kept. A row "
        "that the model does not take, or cannot predict, is rejected with its line and reason, and the "
        "others are predicted. `Accept: text/csv` gives the file back with the predictions joined to it. "
        f"{PACKED}",
        "requestBody": {
            "required": True,
            "content": {
                MULTIPART: {
                    "schema": {
                        "type": "object",
                        "properties": {
                            "file": {
                                "type": "string",
                                "format": "binary",
                                "description": "A CSV file in UTF-8",
                            }
                        },
                        "required": ["file"],
                    },
                    "encoding": {"file": {"contentType": CSV}},
                },
                CSV: _csv(manifest),
            },
        },
        "responses": {
            "200": {
                "description": "One prediction per row, in order, and the rejected rows",
                "headers": {
                    "X-Rows-Rejected": {
                        "description": "How many rows got no prediction; only with `text/csv`",
                        "schema": {"type": "integer", "minimum": 0},
                    }
                },
                "content": {
                    JSON: {
                        "schema": ref("FilePredictions"),
                        **given(example=_file_predictions(manifest)),
                    },
                    CSV: {
                        "schema": {
                            "type": "string",
                            "description": "Every row as it was sent, then `prediction` and, where the "
                            "model has them, probabilities and `score`; these are empty where the row was "
                            "rejected",
                        }
                    },
                },
            },
            **_errors(*WITH_BODY),
        },
    }


def _about_route(operation: str, summary: str, answer: Node) -> Node:
    return {
        "operationId": operation,
        "tags": ["About"],
        "summary": summary,
        "responses": {"200": answer, **_errors(500)},
    }


def _page(description: str, media_type: str) -> Node:
    return {"description": description, "content": {media_type: {"schema": TEXT}}}


def _reports(manifest: Manifest) -> Node:
    """The model report's routes, where the bundle has one."""
    routes: Node = {}
    if REPORT in manifest.files:
        page = _page("A page", HTML)
        routes["/report"] = {"get": _about_route("report", "The model report, with pictures", page)}
    if CARD in manifest.files:
        page = _page("Markdown", MARKDOWN)
        routes["/card"] = {"get": _about_route("card", "The model report in words", page)}
    return routes


def _records(manifest: Manifest) -> list[Mapping[str, Any]]:
    return [row["record"] for row in manifest.golden[:ROWS_SHOWN]]


def _golden_answers(manifest: Manifest) -> list[Node]:
    keys = ("prediction", "probabilities", "score")
    rows = manifest.golden[:ROWS_SHOWN]
    return [{key: row[key] for key in keys if row.get(key) is not None} for row in rows]


def _prediction(manifest: Manifest) -> Node | None:
    answers = _golden_answers(manifest)
    return {**answers[0], "model": manifest.identity} if answers else None


def _predictions(manifest: Manifest) -> Node:
    return {"predictions": _golden_answers(manifest), "model": manifest.identity}


def _file_predictions(manifest: Manifest) -> Node | None:
    answers = _golden_answers(manifest)
    if not answers:
        return None
    keys = {
        "predictions": "prediction",
        **({"scores": "score"} if manifest.score else {}),
        **({"probabilities": "probabilities"} if manifest.probabilities else {}),
    }
    columns: Node = {name: [*(answer[key] for answer in answers), None] for name, key in keys.items()}
    width = len(manifest.features)
    reason = f"the row has {width + 1} cells and the header {width}"
    reject = {"line": len(answers) + 2, "column": "", "code": "too_many_cells", "reason": reason}
    return {**columns, "rejected": [reject], "model": manifest.identity}


def _csv(manifest: Manifest) -> Node:
    """A CSV body, with the golden rows as its example."""
    features = manifest.features
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow([each.name for each in features])
    writer.writerows([to_text(each, row.get(each.name)) for each in features] for row in _records(manifest))
    schema = {
        "type": "string",
        "description": "A header line with the features' names, then one row per record",
    }
    return {"schema": schema, **given(example=sink.getvalue() if manifest.golden else None)}


def _answer(schema: str, example: object = None) -> Node:
    content = {JSON: {"schema": ref(schema), **given(example=example)}}
    return {"description": "The answer", "content": content}


def _errors(*statuses: int) -> Node:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}
