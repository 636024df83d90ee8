"""The check that a bundle still predicts what it did when it was trained."""

from __future__ import annotations

from collections.abc import Mapping

from handler.scoring.model import Model
from handler.scoring.scorers import FEW
from handler.typed import Any


def differences(model: Model) -> list[str]:
    """Predict the golden rows again, alone and together; one line per row that differs from training.

    Labels must be equal; probabilities, values and scores may differ by the manifest's tolerance, since
    another processor may round otherwise. The difference of a value or of a score counts in units of its
    distance from ``parity.centre``, and at least of ``parity.unit``.
    """
    golden, parity = model.manifest.golden, model.manifest.parity
    records = [model.schema.from_json(row["record"], index) for index, row in enumerate(golden)]
    together = model.predict(records * (FEW + 1))[: len(records)]  # more than the one-row program scores
    lines = []
    for index, (row, record, scored) in enumerate(zip(golden, records, together, strict=True)):
        for prediction in (model.predict_one(record), scored):
            if not _agree(row, prediction, parity):
                expected = {key: row[key] for key in row if key != "record"}
                lines.append(f"golden row {index}: training gave {expected}, this model gives {prediction}")
                break
    return lines


def _agree(golden: Mapping[str, Any], prediction: Mapping[str, Any], parity: Mapping[str, Any]) -> bool:
    tolerance = max(parity["tolerance"], 1e-9)

    def close(key: str) -> bool:
        expected = golden[key]
        unit = max(parity.get("unit", 1.0), abs(expected - parity.get("centre", 0.0)))
        return bool(abs(expected - prediction[key]) <= tolerance * unit)

    if isinstance(golden["prediction"], float):
        return close("prediction")
    known, given = golden.get("probabilities") or {}, prediction.get("probabilities") or {}
    return bool(
        golden["prediction"] == prediction["prediction"]
        and known.keys() == given.keys()
        and all(abs(known[name] - given[name]) <= tolerance for name in known)
        and ("score" in golden) == ("score" in prediction)
        and ("score" not in golden or close("score"))
    )
