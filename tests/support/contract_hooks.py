"""CSV bodies for schemathesis, which knows how to make JSON, queries and forms by itself.

``test_contract`` names this module in ``SCHEMATHESIS_HOOKS``, and the bundle in ``MODEL_DIR``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import schemathesis

from handler.bundle import Bundle
from tests.support.strategies import files


@schemathesis.hook
def before_load_schema(context: schemathesis.HookContext, raw_schema: dict[str, Any]) -> None:  # noqa: ARG001
    """Take the CSV examples out: schemathesis reads them as text, and its CSV strategy is of bytes.

    ``test_contract`` sends them itself.
    """
    for route in raw_schema["paths"].values():
        for operation in route.values():
            operation.get("requestBody", {}).get("content", {}).get("text/csv", {}).pop("example", None)


FEATURES = Bundle.open(Path(os.environ["MODEL_DIR"])).manifest.features
WORDS = {word for feature in FEATURES for word in feature.missing_words}


@schemathesis.hook
def filter_query(context: schemathesis.HookContext, query: dict[str, Any] | None) -> bool:  # noqa: ARG001
    """Leave out queries with a word for a missing number, such as ``null``.

    The schema of the parameter is that of a number, so that Swagger's page has a field for it, and its
    description names the words; schemathesis takes them for faults.
    """
    return not any(
        ("null" if each is None else str(each)).lower() in WORDS for each in (query or {}).values()
    )


FILES = files(FEATURES)
schemathesis.openapi.media_type("text/csv", FILES)
schemathesis.openapi.format("binary", FILES)
