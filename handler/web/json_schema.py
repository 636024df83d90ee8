"""What the OpenAPI document is written with: nodes of JSON Schema, as Python has JSON.

https://json-schema.org/draft/2020-12
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from handler.typed import Any

Node = dict[str, Any]
TEXT: Node = {"type": "string"}


def object_of(properties: Mapping[str, Node], optional: Sequence[str] = ()) -> Node:
    """An object with these members and no others."""
    node: Node = {"type": "object", "properties": dict(properties), "additionalProperties": False}
    required = [name for name in properties if name not in optional]
    return {**node, "required": required} if required else node


def list_of(items: Node) -> Node:
    """A list of any length."""
    return {"type": "array", "items": items}


def or_null(schema: Node) -> Node:
    """The schema, which takes null too; it has a ``type``."""
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    node = {**schema, "type": [*types, "null"]}
    return {**node, "enum": [*schema["enum"], None]} if "enum" in schema else node


def type_of(types: Sequence[str]) -> str | list[str]:
    """The keyword ``type`` of one type, or of several."""
    return types[0] if len(types) == 1 else list(types)


def ref(schema: str) -> Node:
    """One of the document's schemas, by its name."""
    return {"$ref": f"#/components/schemas/{schema}"}


def given(**nodes: object) -> Node:
    """The keywords that have a value."""
    return {keyword: value for keyword, value in nodes.items() if value}


def listed(words: Sequence[object], last: str = ", ") -> str:
    """Values in a description, each as code."""
    quoted = [f"`{word}`" for word in words]
    return last.join(filter(None, [", ".join(quoted[:-1]), *quoted[-1:]]))
