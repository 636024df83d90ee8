"""The components of the OpenAPI document: the schemas that its paths name, and the answers to errors."""

from __future__ import annotations

from collections.abc import Mapping

from handler.errors import MOST_PROBLEMS, RequestTooSlow
from handler.faults import ServerBusy
from handler.manifest import Manifest, Task
from handler.typed import get_args
from handler.web import feature_schema
from handler.web.json_schema import TEXT, Node, list_of, object_of, or_null, ref, type_of
from handler.web.messages import PROBLEM, title

#: What the score of a task without a target says.
SCORE = {
    "anomaly": "The lower, the more unusual; below zero for an anomaly",
    "cluster": "The logarithm of the record's likelihood: the lower, the more unusual",
}
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
    "Reject": object_of(
        {
            "line": {"type": "integer", "minimum": 1, "description": "The header's is 1"},
            "column": {**TEXT, "description": "Empty where the whole row is at fault"},
            "code": TEXT,
            "reason": TEXT,
        }
    ),
    "Identity": object_of({"name": TEXT, "version": TEXT}),
    "Health": object_of({"status": {"const": "ok"}, "model": ref("Identity")}),
    "Model": {
        "type": "object",
        "description": "The manifest, whose optional members may grow",
        "properties": {
            "format": {"type": "integer", "description": "The number of this format"},
            "name": TEXT,
            "version": {**TEXT, "description": "A hash of the model's content"},
            "created": TEXT,
            "task": {"enum": list(get_args(Task))},
            "features": list_of({"type": "object", "required": ["name", "kind", "nullable"]}),
            "target": {**TEXT, "description": "Empty where the model was fitted without one"},
            "classes": list_of({"type": ["integer", "string"]}),
            "metrics": {"type": "object"},
            "runtime": {"enum": ["onnx", "joblib"]},
            "parity": {"type": "object", "description": "How the exported model was proven equal"},
            "libraries": {"type": "object", "additionalProperties": TEXT},
            "training": {"type": "object"},
            "golden": list_of({"type": "object", "required": ["record", "prediction"]}),
            "threshold": {
                "type": ["number", "null"],
                "description": "The second class is predicted from this probability on",
            },
            "ids": {**list_of(TEXT), "description": "What a record may carry beside its features"},
            "ignored": {**list_of(TEXT), "description": "What a record may have that is read by no one"},
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
            "errors": {**list_of(ref("Fault")), "maxItems": MOST_PROBLEMS},
            "more": {"type": "integer", "minimum": 1, "description": "Problems that `errors` leaves out"},
        },
        "required": ["type", "title", "status", "detail", "errors"],
    },
    "Fault": object_of(
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


def components(manifest: Manifest) -> Node:
    """The components; an answer to an error is named by its status."""
    return {
        "schemas": _schemas(manifest),
        "responses": {str(status): _problem(manifest, status) for status in PROBLEMS},
    }


def _schemas(manifest: Manifest) -> Node:
    label = _label(manifest)
    identity = {"model": ref("Identity")}
    answer: Node = {"prediction": label}
    if manifest.probabilities:
        answer["probabilities"] = object_of({str(each): {"type": "number"} for each in manifest.classes})
    file: Node = {"predictions": list_of(or_null(label))}
    if manifest.score:
        answer["score"] = {"type": "number", "description": SCORE[manifest.task]}
        file["scores"] = list_of(or_null(answer["score"]))
    if manifest.probabilities:
        file["probabilities"] = {**list_of(or_null(answer["probabilities"])), "description": OF_ROWS}
    nullable = [feature.name for feature in manifest.features if feature.nullable]
    record = {feature.name: feature_schema.member(feature) for feature in manifest.features}
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
        answer["ids"] = object_of(carried, optional=manifest.ids)
        optional = ("outside", "ids")
    explained: Node = {}
    if "of" in manifest.explanation:
        reasoned = {**answer, "contributions": _contributions(manifest)}
        rows = list_of(object_of(reasoned, optional=optional))
        explained = {
            "Explanation": object_of({**reasoned, **identity}, optional=optional),
            "Explanations": object_of({"predictions": rows, **identity}),
        }
    return {
        "Record": object_of({**ignored, **record, **carried}, optional=[*nullable, *carried, *ignored]),
        "Prediction": object_of({**answer, **identity}, optional=optional),
        "Predictions": object_of(
            {"predictions": list_of(object_of(answer, optional=optional)), **identity}
        ),
        "FilePredictions": object_of(
            {**file, "rejected": list_of(ref("Reject")), **identity}, optional=["probabilities"]
        ),
        **explained,
        **SCHEMAS,
    }


def _contributions(manifest: Manifest) -> Node:
    number: Node = {"type": "number"}
    members: Node = {
        "base": {**number, "description": "What the model gives before it knows anything of the record"},
        "features": {
            **object_of({feature.name: number for feature in manifest.features}),
            "description": "What each feature adds: with `base`, they add up to the model's output",
        },
        "of": {"const": manifest.explanation["of"], "description": "The scale of all these numbers"},
    }
    if manifest.classes:
        members["class"] = {**_label(manifest), "description": "The class whose output is explained"}
    return object_of(members)


def _label(manifest: Manifest) -> Node:
    """The schema of one prediction."""
    if manifest.task == "regression":
        return {"type": "number"}
    types = {"integer" if isinstance(label, int) else "string" for label in manifest.classes}
    return {"type": type_of(sorted(types)), "enum": list(manifest.classes)}


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
    content = {PROBLEM: {"schema": ref("Problem"), "example": example}}
    return {"description": description, "content": content}
