"""What hypothesis draws for several tests: JSON, changed documents and bytes, a model's cells and files."""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any

from hypothesis import strategies as st

from handler.manifest import Feature
from handler.schema import BOOLEANS, LARGEST_INTEGER, LARGEST_NUMBER

#: Any text that a cell can hold.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
#: JSON values, many of them odd: numbers beyond doubles, lone surrogates, JSON and base64 inside texts.
JSON = st.recursive(
    st.sampled_from(
        [None, True, False, 0, -1, 1.5, 10**400, float("nan"), "", "x", "0", "é", "\ud800", "a/b.csv", "/",
         "{", "[]", "{}", "null", "e30=", "%ff", "[" * 5000, '{"Records": null}', "application/json"]
    ) | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["a", "s3", "age"]) | st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
#: Bytes that readers of CSV, JSON and forms may stumble over.
ODD = (b'"', b'""', b"\n", b"\r", b"\r\n", b",", b";", b"\t", b"|", b"\x00", b"\xef\xbb\xbf", b"\xff",
       b"\xed\xa0\x80", b"\xf0\x9f", b"\xe2\x80\xa8", b"nan", b"1e999", b"9" * 400)  # fmt: skip


def mutated(data: st.DataObject, document: Any) -> Any:
    """The document with one to three members removed, replaced, added or reversed; JSON in a text too."""
    document = copy.deepcopy(document)
    for _ in range(data.draw(st.integers(1, 3))):
        members = list(paths(document))
        if not members:
            return document
        *path, last = data.draw(st.sampled_from(members))
        holder = document
        for key in path:
            holder = holder[key]
        inner = opened(holder[last])
        if inner and data.draw(st.booleans()):
            holder[last] = json.dumps(mutated(data, inner))
            continue
        what = data.draw(st.sampled_from(["remove", "replace", "replace", "add", "reverse"]))
        if what == "remove":
            del holder[last]
        elif what == "replace":
            holder[last] = data.draw(JSON)
        elif isinstance(holder, list):
            holder.reverse() if what == "reverse" else holder.append(data.draw(JSON))
        else:
            holder[data.draw(st.text(max_size=5))] = data.draw(JSON)
    return document


def paths(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every member at any depth."""
    members = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in members:
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from paths(value, (*path, key))


def opened(value: Any) -> Any:
    """The object or list that a text spells as JSON, or None."""
    try:
        document = json.loads(value) if isinstance(value, str) and len(value) < 4000 else None
    except ValueError:
        return None
    return document if isinstance(document, dict | list) else None


@st.composite
def changed(draw: st.DrawFn, valid: bytes) -> bytes:
    """Bytes with some of them changed, taken out, put in or repeated."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(0, 4))):
        at, to = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        what = draw(st.sampled_from(["set", "cut", "add", "double", "end"]))
        if what == "set" and at < len(data):
            data[at] = draw(st.integers(0, 255))
        elif what == "cut":
            del data[at : min(to, at + 20)]
        elif what == "add":
            data[at:at] = draw(st.sampled_from(ODD) | st.binary(max_size=6))
        elif what == "double":
            data[at:at] = data[at : min(to, at + 100)]
        elif what == "end":
            del data[at:]
    return bytes(data)


def values(feature: Feature) -> st.SearchStrategy[Any]:
    """What a cell of the feature is once it is parsed: a float or a text."""
    known: st.SearchStrategy[Any]
    if feature.kind == "category":
        known = st.sampled_from(feature.categories)
        if feature.open:
            known |= st.text(max_size=5).filter(bool)
    elif feature.kind == "boolean":
        known = st.sampled_from([0.0, 1.0])
    elif feature.kind == "integer":
        known = st.integers(-(2**53) + 1, 2**53 - 1).map(float) | st.integers(-10, 200).map(float)
    else:
        known = st.floats(-1e9, 1e9) | st.floats(feature.minimum, feature.maximum)
    missing = "" if feature.kind == "category" else float("nan")
    return known | st.just(missing) if feature.nullable else known


def cells(feature: Feature) -> st.SearchStrategy[str]:
    """Texts that the feature takes."""
    limit = int(LARGEST_INTEGER)
    known = {
        "integer": st.integers(-limit, limit).map(str),
        "number": st.floats(-LARGEST_NUMBER, LARGEST_NUMBER).map(repr),
        "boolean": st.sampled_from([*BOOLEANS, "TRUE", "No"]),
        "category": TEXT.filter(bool) if feature.open else st.sampled_from([*feature.categories] or [""]),
    }[feature.kind]
    return known | st.just("") if feature.nullable else known


@st.composite
def files(draw: st.DrawFn, features: Sequence[Feature]) -> bytes:
    """CSV files that the model takes whole: columns in any order, one that it does not know."""
    columns = draw(st.permutations([*features, None]))
    sink = io.StringIO()
    writer = csv.writer(sink, quoting=draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])))
    writer.writerow([each.name if each else "note" for each in columns])
    for _ in range(draw(st.integers(0, 4))):
        writer.writerow([draw(cells(each) if each else TEXT) for each in columns])
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + sink.getvalue().encode()
