"""What the contenders answer to the same question, each in its own shape, and that it is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

RECORD = {"age": 45, "new_user": 0, "total_pages_visited": 5}
#: A request of many rows, the first of which is that record.
RECORDS = [
    RECORD,
    *({**RECORD, "age": 20 + row % 60, "total_pages_visited": row % 30} for row in range(99)),
]


def predicted(answer: Any) -> tuple[int, float] | None:
    """The label and the second class's probability in any contender's answer; None of an empty one.

    Of an answer to several rows, those of the first.
    """
    body = answer.get("body", answer) if isinstance(answer, dict) else answer
    document = json.loads(body) if isinstance(body, str) else body
    if isinstance(document, dict) and isinstance(next(iter(document.get("predictions", ())), None), dict):
        document = document["predictions"]
    if isinstance(document, list) and document:
        document = document[0]
    if not document:
        return None
    if (
        "outputs" in document
    ):  # MLServer: https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
        outputs = {each["name"]: each["data"] for each in document["outputs"]}
        return int(outputs["predict"][0]), float(outputs["predict_proba"][1])
    if "predictions" in document:  # MLflow, of its model's predict_proba
        first, second = document["predictions"][0]
        return int(second > first), float(second)
    probabilities = document.get("probabilities") or {"1": document["probability"]}
    return int(document["prediction"]), float(probabilities["1"])


def same_answers(answers: Mapping[str, tuple[int, float] | None]) -> None:
    """Raise ``AssertionError`` unless all said the same label, and the same probability within 1e-6."""
    (label, probability), *others = filter(None, answers.values())
    for other, given in others:
        assert other == label, answers
        assert abs(given - probability) < 1e-6, answers
