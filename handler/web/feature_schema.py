"""One feature in the OpenAPI document: as a parameter of the query, and as a member of a record in JSON.

A value that the schema allows is predicted, one that it forbids is refused. What training observed
(ranges, the categories of an open feature) stands in words and examples, since the routes take values
beyond it; so do the missing words. An enum leaves out blanks around a text, and a boolean in capitals,
which are taken too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from handler import dates
from handler.manifest import Feature
from handler.schema import (
    BOOLEANS,
    LARGEST_INTEGER,
    LARGEST_NUMBER,
    LONGEST_TEXT,
    MEANING,
    spelled_as,
    spelling_of,
    to_text,
)
from handler.web.json_schema import Node, given, listed, type_of

#: Categories, and missing words, that a description or an example names.
CATEGORIES_SHOWN = 8
#: The formats of which a date is what JSON Schema calls a ``date-time``: with seconds and a zone.
#: https://json-schema.org/draft/2020-12/json-schema-validation#section-7.3.1
DATE_TIMES = ("%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z")


def parameter(feature: Feature, value: object) -> Node:
    """A feature as a query parameter: its value is text, and an empty one is a missing one.

    ``value``: the one of an example, as JSON has it, or None.
    """
    node: Node = {
        "name": feature.name,
        "in": "query",
        "required": not feature.nullable,
        "description": _meaning(feature) + _spelled(feature) + _unknown(feature, "leave it out"),
        "schema": _text_schema(feature),
    }
    if feature.nullable:
        node["allowEmptyValue"] = True
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


def member(feature: Feature) -> Node:
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
    return {**schema, "type": type_of(types), "description": _meaning(feature) + words}


def _bounds(feature: Feature) -> Node:
    """The type, and the limits that ``schema`` enforces."""
    if feature.kind == "date":
        forms = [re.sub(r"\?P<\w+>", "?:", form.pattern) for form in dates.patterns(feature.format)]
        return {
            "type": "string",
            "pattern": _pattern(feature, forms),
            **given(format=_date_format(feature)),
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
        seen = listed(feature.categories[:CATEGORIES_SHOWN])
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
    words = listed(feature.missing_words[:CATEGORIES_SHOWN])
    return f"; {how} where unknown" + (f" ({words} in any letter case say so too)" if words else "")
