"""CSV bodies for schemathesis, which knows how to make JSON, queries and forms by itself.

``test_contract`` names this module in ``SCHEMATHESIS_HOOKS``, and the bundle in ``MODEL_DIR``.
"""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import strategies as st

from handler.bundle import Bundle, Feature
from handler.schema import BOOLEANS, LARGEST_INTEGER, LARGEST_NUMBER

#: Any text that a cell can hold.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def cells(feature: Feature) -> st.SearchStrategy[str]:
    """Texts that the feature takes."""
    limit = int(LARGEST_INTEGER)
    said = {
        "integer": st.integers(-limit, limit).map(str),
        "number": st.floats(-LARGEST_NUMBER, LARGEST_NUMBER).map(repr),
        "boolean": st.sampled_from([*BOOLEANS, "TRUE", "No"]),
        "category": TEXT.filter(bool) if feature.open else st.sampled_from([*feature.categories] or [""]),
    }[feature.kind]
    return said | st.just("") if feature.nullable else said


@st.composite
def files(draw: st.DrawFn, features: tuple[Feature, ...]) -> bytes:
    """CSV files that the model takes whole: columns in any order, one that it does not know."""
    columns = draw(st.permutations([*features, None]))
    sink = io.StringIO()
    writer = csv.writer(sink, quoting=draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL])))
    writer.writerow([each.name if each else "note" for each in columns])
    for _ in range(draw(st.integers(0, 4))):
        writer.writerow([draw(cells(each) if each else TEXT) for each in columns])
    return draw(st.sampled_from([b"", b"\xef\xbb\xbf"])) + sink.getvalue().encode()


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:  # noqa: ARG001
    """Take the CSV examples out: schemathesis reads them as text, and its CSV strategy is of bytes.

    ``test_contract`` sends them itself.
    """
    for route in raw_schema["paths"].values():
        for operation in route.values():
            operation.get("requestBody", {}).get("content", {}).get("text/csv", {}).pop("example", None)


FILES = files(Bundle.open(Path(os.environ["MODEL_DIR"])).manifest.features)
schemathesis.openapi.media_type("text/csv", FILES)
schemathesis.openapi.format("binary", FILES)
