"""A file scored by polars itself: text columns, the linear model as one expression, streamed to CSV.

No row is checked; the coefficients are given, so that nothing else is loaded.
"""

import json
import sys

import polars as pl

source, target, given = sys.argv[1:]
model = json.loads(given)
score = pl.lit(model["intercept"])
for name, coefficient in model["coefficients"].items():
    score = score + pl.col(name).cast(pl.Float64) * coefficient
for name, levels in model.get("levels", {}).items():
    score = score + pl.col(name).replace_strict(levels, default=0.0, return_dtype=pl.Float64)
first, second = model.get("classes", (0, 1))
pl.scan_csv(source, infer_schema=False).with_columns(
    prediction=pl.when(score > 0).then(pl.lit(second)).otherwise(pl.lit(first)),
    probability=1 / (1 + (-score).exp()),
).sink_csv(target)
