"""The OpenAPI 3.1 document, made from the manifest.

The document promises what the routes do, no more: a value that it allows is predicted, one that it
forbids is refused. What training observed (ranges, the categories of an open feature) stands in
words and examples, since the routes take values beyond it; so do the missing words. An enum
leaves out blanks around a text, and a boolean in capitals, which are taken too.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence

from handler import dates
from handler.bundle import CARD, REPORT, Feature, Manifest, Task
from handler.errors import MOST_PROBLEMS, RequestTooSlow, ServerBusy
from handler.schema import (
    BOOLEANS,
    LARGEST_INTEGER,
    LARGEST_NUMBER,
    LONGEST_TEXT,
    MEANING,
    Schema,
    spelled_as,
    spelling_of,
    to_text,
)
from handler.typed import Any, get_args
from handler.web.messages import CODINGS, CSV, HTML, JSON, MARKDOWN, MULTIPART, PROBLEM, title

Node = dict[str, Any]

#: Golden rows that an example shows, and categories that a description or an example names.
ROWS_SHOWN = 3
CATEGORIES_SHOWN = 8
#: The formats of which a date is what JSON Schema calls a ``date-time``: with seconds and a zone.
#: https://json-schema.org/draft/2020-12/json-schema-validation#section-7.3.1
DATE_TIMES = ("%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z")

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
#: What the score of a task without a target says.
SCORE = {
    "anomaly": "The lower, the more unusual; below zero for an anomaly",
    "cluster": "The logarithm of the record's likelihood: the lower, the more unusual",
}
SYNTHETIC = "**Trained on synthetic data**: good for a try, not for decisions. "
#: What each error status means, and the ``detail`` of an example.
PROBLEMS = {
    400: ("The body cannot be read as what it claims to be.", "the body is not UTF-8"),
    408: ("The body came too slowly.", str(RequestTooSlow())),
    413: (
        "The body, or the answer to it, is too large for one request; batch scoring takes any size.",
        "the body is over 4,194,304 bytes",
    ),
    415: (
        "The route does not read this content type or content coding; the header `Accept`, or "
        "`Accept-Encoding`, names those that it reads.",
        "send text/csv with that content-type header",
    ),
    422: (
        "Readable, but not what the model takes, or what it cannot predict (`not_predictable`); `errors` "
        f"names each fault, up to {MOST_PROBLEMS}.",
        "'{first}' is missing",
    ),
    500: (
        "The server failed. Its log says where; the answer does not.",
        "the server failed on this request; its log says where",
    ),
    501: (
        "The model's predictions have no explanations; `detail` says why.",
        "this model's predictions cannot be explained: MLPClassifier is neither a linear model nor an "
        "ensemble of trees",
    ),
    503: ("The server has no room for the body at the moment.", str(ServerBusy())),
}
#: The statuses of a route that takes a body.
WITH_BODY = tuple(status for status in PROBLEMS if status != 501)
PACKED = f"The body may be compressed, and `Content-Encoding` names how: {' or '.join(CODINGS)}."


def _object(properties: Mapping[str, Node], optional: Sequence[str] = ()) -> Node:
    """An object with these members and no others."""
    node: Node = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    required = [name for name in properties if name not in optional]
    return {**node, "required": required} if required else node


def _list(items: Node) -> Node:
    return {"type": "array", "items": items}


def _ref(schema: str) -> Node:
    return {"$ref": f"#/components/schemas/{schema}"}


TEXT: Node = {"type": "string"}
OUTSIDE = (
    "The features whose value lies outside of what training saw: beyond its range, or another category. "
    "Only where there are any"
)
OF_ROWS = "Of each row, null where it is rejected; left out where the answer would be too large with them"
#: What an id column is.
CARRIED = "Carried back in the answer; it is not a feature"
#: What a column is that training dropped.
IGNORED = "Read by no one; it may be there, since the training data had it"
#: The schemas that are the same for every model.
SCHEMAS: Mapping[str, Node] = {
    "Reject": _object(
        {
            "line": {"type": "integer", "minimum": 1, "description": "The header's is 1"},
            "column": {**TEXT, "description": "Empty where the whole row is at fault"},
            "code": TEXT,
            "reason": TEXT,
        }
    ),
    "Identity": _object({"name": TEXT, "version": TEXT}),
    "Health": _object({"status": {"const": "ok"}, "model": _ref("Identity")}),
    "Model": {
        "type": "object",
        "description": "The manifest, whose optional members may grow",
        "properties": {
            "format": {"type": "integer", "description": "The number of this format"},
            "name": TEXT,
            "version": {**TEXT, "description": "A hash of the model's content"},
            "created": TEXT,
            "task": {"enum": list(get_args(Task))},
            "features": _list({"type": "object", "required": ["name", "kind", "nullable"]}),
            "target": {**TEXT, "description": "Empty where the model was fitted without one"},
            "classes": _list({"type": ["integer", "string"]}),
            "metrics": {"type": "object"},
            "runtime": {"enum": ["onnx", "joblib"]},
            "parity": {"type": "object", "description": "How the exported model was proven equal"},
            "libraries": {"type": "object", "additionalProperties": TEXT},
            "training": {"type": "object"},
            "golden": _list({"type": "object", "required": ["record", "prediction"]}),
            "threshold": {
                "type": ["number", "null"],
                "description": "The second class is predicted from this probability on",
            },
            "ids": {**_list(TEXT), "description": "What a record may carry beside its features"},
            "ignored": {**_list(TEXT), "description": "What a record may have that is read by no one"},
            "engines": {"type": "object", "description": "What serves one row, and many"},
            "links": {"type": "object", "additionalProperties": TEXT},
        },
        "required": ["format", "name", "version", "created", "task", "features", "target", "classes"],
    },
    "Problem": {
        "type": "object",
        "description": "What went wrong, as RFC 9457 words it",
        "properties": {
            "type": TEXT,
            "title": TEXT,
            "status": {"type": "integer"},
            "detail": TEXT,
            "errors": {**_list(_ref("Fault")), "maxItems": MOST_PROBLEMS},
            "more": {"type": "integer", "minimum": 1, "description": "Problems that `errors` leaves out"},
        },
        "required": ["type", "title", "status", "detail", "errors"],
    },
    "Fault": _object(
        {
            "field": {**TEXT, "description": "Empty where no single field is at fault"},
            "code": {**TEXT, "examples": ["missing", "not_a_number", "not_predictable"]},
            "message": TEXT,
            "record": {"type": "integer", "minimum": 0, "description": "Its index in a list, from 0"},
            "line": {"type": "integer", "minimum": 1, "description": "Its line in a CSV"},
        },
        optional=["record", "line"],
    ),
}


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
        "components": {
            "schemas": _schemas(manifest),
            "responses": {str(status): _problem(manifest, status) for status in PROBLEMS},
        },
    }


def _about(manifest: Manifest) -> str:
    count = len(manifest.features)
    values = _listed(manifest.classes, " or ") if manifest.classes else "a number"
    predicts = {"anomaly": ANOMALY, "cluster": CLUSTER}.get(manifest.task, TARGET)
    return ABOUT.format(
        predicts=predicts.format(target=manifest.target, values=values),
        count=f"{count} feature" + ("s" if count != 1 else ""),
        trained=SYNTHETIC if manifest.training.get("synthetic") else "",
    )


def _predict(manifest: Manifest) -> Node:
    return {
        "operationId": "predict",
        "tags": ["Predict"],
        "summary": "Predict one record, from the query",
        "parameters": [
            *(_parameter(manifest, feature) for feature in manifest.features),
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
    shapes: list[Node] = [_ref("Record"), _list(_ref("Record"))]
    examples: Node = {}
    if records:
        examples["one"] = {"summary": "One record", "value": records[0]}
        examples["several"] = {"summary": "Several records", "value": records}
    if not Schema.of(manifest).carries("instances"):
        shapes.append(_object({"instances": _list(_ref("Record"))}))
        if records:
            examples["instances"] = {"summary": "Instances", "value": {"instances": records}}
    answers: Node = {JSON: {"schema": {"oneOf": [_ref("Prediction"), _ref("Predictions")]}}}
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
                JSON: {"schema": {"oneOf": shapes}, **_given(examples=examples)},
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
    shapes: Node = {JSON: {"schema": {"oneOf": [_ref("Explanation"), _ref("Explanations")]}}}
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
                        "schema": _ref("FilePredictions"),
                        **_given(example=_file_predictions(manifest)),
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


def _schemas(manifest: Manifest) -> Node:
    label = _label(manifest)
    identity = {"model": _ref("Identity")}
    answer: Node = {"prediction": label}
    if manifest.probabilities:
        answer["probabilities"] = _object({str(each): {"type": "number"} for each in manifest.classes})
    file: Node = {"predictions": _list(_or_null(label))}
    if manifest.score:
        answer["score"] = {"type": "number", "description": SCORE[manifest.task]}
        file["scores"] = _list(_or_null(answer["score"]))
    if manifest.probabilities:
        file["probabilities"] = {**_list(_or_null(answer["probabilities"])), "description": OF_ROWS}
    nullable = [feature.name for feature in manifest.features if feature.nullable]
    record = {feature.name: _json_schema(feature) for feature in manifest.features}
    types = ["string", "number", "boolean", "null"]
    carried: Node = {name: {"type": types, "description": CARRIED} for name in manifest.ids}
    ignored: Node = {name: {"description": IGNORED} for name in manifest.ignored}
    optional: tuple[str, ...] = ("outside",)
    answer["outside"] = {
        "type": "array",
        "description": OUTSIDE,
        "items": TEXT,
        "minItems": 1,
    }
    if carried:
        answer["ids"] = _object(carried, optional=manifest.ids)
        optional = ("outside", "ids")
    explained: Node = {}
    if "of" in manifest.explanation:
        reasoned = {**answer, "contributions": _contributions(manifest)}
        rows = _list(_object(reasoned, optional=optional))
        explained = {
            "Explanation": _object({**reasoned, **identity}, optional=optional),
            "Explanations": _object({"predictions": rows, **identity}),
        }
    return {
        "Record": _object({**ignored, **record, **carried}, optional=[*nullable, *carried, *ignored]),
        "Prediction": _object({**answer, **identity}, optional=optional),
        "Predictions": _object({"predictions": _list(_object(answer, optional=optional)), **identity}),
        "FilePredictions": _object(
            {**file, "rejected": _list(_ref("Reject")), **identity}, optional=["probabilities"]
        ),
        **explained,
        **SCHEMAS,
    }


def _contributions(manifest: Manifest) -> Node:
    number: Node = {"type": "number"}
    members: Node = {
        "base": {**number, "description": "What the model gives before it knows anything of the record"},
        "features": {
            **_object({feature.name: number for feature in manifest.features}),
            "description": "What each feature adds: with `base`, they add up to the model's output",
        },
        "of": {"const": manifest.explanation["of"], "description": "The scale of all these numbers"},
    }
    if manifest.classes:
        members["class"] = {**_label(manifest), "description": "The class whose output is explained"}
    return _object(members)


def _label(manifest: Manifest) -> Node:
    """The schema of one prediction."""
    if manifest.task == "regression":
        return {"type": "number"}
    types = {"integer" if isinstance(label, int) else "string" for label in manifest.classes}
    return {"type": _types(sorted(types)), "enum": list(manifest.classes)}


def _parameter(manifest: Manifest, feature: Feature) -> Node:
    """A feature as a query parameter: its value is text, and an empty one is a missing one."""
    node: Node = {
        "name": feature.name,
        "in": "query",
        "required": not feature.nullable,
        "description": _meaning(feature) + _spelled(feature) + _unknown(feature, "leave it out"),
        "schema": _text_schema(feature),
    }
    if feature.nullable:
        node["allowEmptyValue"] = True
    value = manifest.golden[0]["record"].get(feature.name) if manifest.golden else None
    if value is not None:
        as_it_is = feature.kind != "boolean" and feature.format is None
        node["example"] = value if as_it_is else to_text(feature, value)
    return node


def _text_schema(feature: Feature) -> Node:
    """What a query parameter takes; OpenAPI reads its text by ``type``."""
    if feature.kind == "boolean":
        return {"type": "string", "enum": list(BOOLEANS)}
    if (spelling := spelling_of(feature)) is not None:
        return {"type": "string", "pattern": _pattern(feature, [spelling.pattern.pattern])}
    schema = _bounds(feature)
    if feature.kind == "category" and not feature.open:
        return {**schema, "enum": list(feature.categories)}
    return schema


def _json_schema(feature: Feature) -> Node:
    """What a record's member takes, in JSON."""
    schema = _bounds(feature)
    types = [schema["type"]]
    if feature.kind == "boolean":
        types = ["boolean", "integer", "string"]
        schema["enum"] = [True, False, 1, 0, *BOOLEANS]
    if feature.kind == "category" and not feature.open:
        schema["enum"] = [*feature.categories, *([""] if feature.nullable else [])]
    if feature.nullable:
        types.append("null")
        if "enum" in schema:
            schema["enum"].append(None)
    in_text = feature.is_text or feature.kind == "date"
    words = _unknown(feature if in_text else feature._replace(missing_words=()), "null")
    return {**schema, "type": _types(types), "description": _meaning(feature) + words}


def _bounds(feature: Feature) -> Node:
    """The type, and the limits that ``schema`` enforces."""
    if feature.kind == "date":
        forms = [re.sub(r"\?P<\w+>", "?:", form.pattern) for form in dates.patterns(feature.format)]
        return {
            "type": "string",
            "pattern": _pattern(feature, forms),
            **_given(format=_date_format(feature)),
        }
    if feature.kind == "integer":
        limit = int(LARGEST_INTEGER)
        return {"type": "integer", "minimum": -limit, "maximum": limit}
    if feature.kind == "number":
        return {"type": "number", "minimum": -LARGEST_NUMBER, "maximum": LARGEST_NUMBER}
    if feature.kind == "text":
        node: Node = {"type": "string", "maxLength": LONGEST_TEXT}
        return node if feature.nullable else {**node, "minLength": 1}
    if feature.kind == "category" and feature.open:
        node = {"type": "string", "examples": list(feature.categories[:CATEGORIES_SHOWN])}
        return node if feature.nullable else {**node, "pattern": "[^ \\t]"}
    return {"type": "string"}


def _pattern(feature: Feature, forms: Sequence[str]) -> str:
    """What a text may look like, in regular expressions of ECMA, which name no groups as Python does."""
    missing = ["", *map(dates.in_either_case, feature.missing_words)] if feature.nullable else []
    return f"^[ \\t]*(?:{'|'.join([*forms, *missing])})[ \\t]*$"


def _date_format(feature: Feature) -> str | None:
    """JSON Schema's name of the date's own format, if it has one."""
    if feature.format == dates.ISO_DATE:
        return "date"
    return "date-time" if feature.format in DATE_TIMES else None


def _meaning(feature: Feature) -> str:
    words = MEANING[feature.kind].capitalize()
    if feature.kind == "category":
        if not feature.open:
            return f"{words}: one of the categories of the training data"
        seen = _listed(feature.categories[:CATEGORIES_SHOWN])
        more = f" and {hidden} more" if (hidden := len(feature.categories) - CATEGORIES_SHOWN) > 0 else ""
        return f"{words}; training saw {seen}{more}, others are accepted too" if seen else words
    if feature.kind == "date":
        words = f"A{dates.described(feature.format)[1:]}"
    if feature.kind == "boolean" or feature.minimum is None or feature.maximum is None:
        return words
    if feature.kind == "date":
        return f"{words}; {dates.seen(feature)} in training"
    return f"{words}; {feature.minimum:.10g} to {feature.maximum:.10g} in training"


def _spelled(feature: Feature) -> str:
    """How text spells the feature's numbers, where they are not plain."""
    example = spelled_as(feature)
    return f"; spelled as `{example}`" if example else ""


def _unknown(feature: Feature, how: str) -> str:
    """How a missing value is given, where there may be one."""
    if not feature.nullable:
        return ""
    words = _listed(feature.missing_words[:CATEGORIES_SHOWN])
    return f"; {how} where unknown" + (f" ({words} in any letter case say so too)" if words else "")


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
    return {"schema": schema, **_given(example=sink.getvalue() if manifest.golden else None)}


def _or_null(schema: Node) -> Node:
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    node = {**schema, "type": [*types, "null"]}
    return {**node, "enum": [*schema["enum"], None]} if "enum" in schema else node


def _types(types: Sequence[str]) -> str | list[str]:
    return types[0] if len(types) == 1 else list(types)


def _answer(schema: str, example: object = None) -> Node:
    content = {JSON: {"schema": _ref(schema), **_given(example=example)}}
    return {"description": "The answer", "content": content}


def _problem(manifest: Manifest, status: int) -> Node:
    description, detail = PROBLEMS[status]
    first = next((feature.name for feature in manifest.features if not feature.nullable), "")
    detail = detail.format(first=first)
    example = {
        "type": "about:blank",
        "title": title(status),
        "status": status,
        "detail": detail,
        "errors": [{"field": first, "code": "missing", "message": detail}] if status == 422 else [],
    }
    content = {PROBLEM: {"schema": _ref("Problem"), "example": example}}
    return {"description": description, "content": content}


def _errors(*statuses: int) -> Node:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _given(**nodes: object) -> Node:
    """The keywords that have a value."""
    return {keyword: value for keyword, value in nodes.items() if value}


def _listed(words: Sequence[object], last: str = ", ") -> str:
    quoted = [f"`{word}`" for word in words]
    return last.join(filter(None, [", ".join(quoted[:-1]), *quoted[-1:]]))
