"""A file scored by DuckDB: text columns, the linear model as one SQL expression, copied to CSV in order.

No row is checked; the coefficients are given, so that nothing else is loaded.
"""

import json
import sys

import duckdb

source, target, given = sys.argv[1:]
model = json.loads(given)
terms = [f'CAST("{name}" AS DOUBLE) * {value!r}' for name, value in model["coefficients"].items()]
for name, levels in model.get("levels", {}).items():  # the code of an ENUM is the place of its coefficient
    words = ", ".join(f"'{level}'" for level in levels)
    duckdb.sql(f'CREATE TYPE "of {name}" AS ENUM ({words})')
    values = ", ".join(map(repr, levels.values()))
    terms.append(f'COALESCE([{values}][enum_code(TRY_CAST("{name}" AS "of {name}")) + 1], 0)')
score = " + ".join([repr(model["intercept"]), *terms])
first, second = (
    label if isinstance(label, int) else f"'{label}'" for label in model.get("classes", (0, 1))
)
duckdb.sql(f"""
    COPY (
        SELECT * EXCLUDE (score), CASE WHEN score > 0 THEN {second} ELSE {first} END AS prediction,
            1 / (1 + exp(-score)) AS probability
        FROM (SELECT *, {score} AS score FROM read_csv('{source}', header = true, all_varchar = true))
    ) TO '{target}' (HEADER, DELIMITER ',')
""")
