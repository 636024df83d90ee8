"""A file scored by DuckDB: text columns, the linear model as one SQL expression, copied to CSV in order.

No row is checked; the coefficients are given, so that nothing else is loaded.
"""

import json
import sys

import duckdb

source, target, given = sys.argv[1:]
model = json.loads(given)
terms = (f'CAST("{name}" AS DOUBLE) * {value!r}' for name, value in model["coefficients"].items())
score = " + ".join([repr(model["intercept"]), *terms])
duckdb.sql(f"""
    COPY (
        SELECT * EXCLUDE (score), CAST(score > 0 AS INT) AS prediction, 1 / (1 + exp(-score)) AS probability
        FROM (SELECT *, {score} AS score FROM read_csv('{source}', header = true, all_varchar = true))
    ) TO '{target}' (HEADER, DELIMITER ',')
""")
