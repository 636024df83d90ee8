"""A bundle that another process serves, which can import neither scikit-learn nor the boosters."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, sys
for name in ("sklearn", "pandas", "joblib", "scipy", "xgboost", "lightgbm", "catboost"):
    sys.modules[name] = None
from handler.scoring.model import Model
model = Model.load(sys.argv[1])
records = [model.schema.from_json(each) for each in json.load(sys.stdin)]
alone = [model.predict_one(each) for each in records]
together = model.predict(records * 20)[: len(records)]
print(json.dumps([alone, together]))
"""


def served_alone(bundle: Path, records: Sequence[Any]) -> list[dict[str, Any]]:
    """What the bundle predicts for each record, one by one; for all together it must be the same."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(bundle.resolve())],
        cwd=ROOT,
        input=json.dumps(records),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    alone, together = json.loads(done.stdout)
    for one, other in zip(alone, together, strict=True):
        assert (
            one["prediction"] == other["prediction"] or abs(one["prediction"] - other["prediction"]) < 1e-6
        )
    return list(alone)
