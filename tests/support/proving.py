"""An estimator fitted on a table in memory, and proven: without a CSV, a report or a bundle."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier

from handler.manifest import Feature
from handler.scoring.estimator import JoblibScorer, fed
from handler.scoring.scorers import class_index
from training.feeding import as_looked_for, rows_as
from training.fitting import contract_of
from training.packaging import Fitted, Proven, prove

#: Rows that are compared, as for docs/estimators.md: every edge of every feature is among them.
ROWS = 4000


def feature_of(name: str, values: pd.Series) -> Feature:
    """The feature that a column is, by its dtype; texts may be missing where one of them is empty."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        known = tuple(values.cat.categories)
        return Feature(name, "category", bool(values.isna().any()), categories=known, fed_as="category")
    if values.dtype.kind in "OU" or isinstance(values.dtype, pd.StringDtype):
        known = tuple(sorted({str(each) for each in values} - {""}))
        return Feature(name, "category", bool((values == "").any()), categories=known)
    gaps = bool(values.isna().any())
    kind: Any = {"b": "boolean", "i": "integer"}.get(values.dtype.kind, "number")
    return Feature(name, kind, gaps, float(values.min()), float(values.max()))


def proven(
    estimator: Any,
    rows: pd.DataFrame,
    target: Any = None,
    *,
    exact: bool = False,
    texts: Collection[str] = (),
    rows_compared: int = ROWS,
) -> Proven:
    """Fit the estimator on two thirds of the rows, and prove what is exported of it on the others.

    Numbers and booleans are fed as doubles, and missing texts, which are empty in ``rows``, as the
    estimator looks for them, as training from a CSV does. Columns named in ``texts`` are free text.
    Without a ``target``, the estimator is an outlier detector or a clusterer.
    """
    made = [feature_of(name, rows[name]) for name in rows]
    features = as_looked_for(
        estimator, [each._replace(kind="text") if each.name in texts else each for each in made]
    )
    rows = rows.assign(
        **{name: rows[name].astype(object).fillna("") for name in rows.select_dtypes("category")}
    )
    columns = {
        each.name: rows[each.name].to_numpy(dtype=object if each.is_text else np.float64)
        for each in features
    }
    fed_rows, y = fed(features, columns, rows_as(estimator)), None if target is None else np.asarray(target)
    held_out = np.arange(len(rows)) % 3 == 0
    estimator.fit(fed_rows[~held_out], *([] if y is None else [y[~held_out]]))
    some = {name: values[held_out] for name, values in columns.items()}
    row = {name: values[:1] for name, values in some.items()}
    contract = contract_of(estimator, features, row, rows_as(estimator))
    index = class_index(contract.classes)
    truth = index(y) if y is not None and index is not None and is_classifier(estimator) else y
    typical = tuple(
        values[0] if values.dtype == object else float(np.nanmedian(values)) for values in columns.values()
    )
    fitted = Fitted(
        name="proven",
        estimator=estimator,
        contract=contract,
        target="y",
        ids=(),
        typical=typical,
        rows=some,
        truth=None if truth is None else truth[held_out],
        every_truth=truth,
        training={},
    )
    return prove(
        fitted,
        JoblibScorer(estimator, contract),
        seed=0,
        exact=exact,
        say=lambda _: None,
        rows_compared=rows_compared,
    )


def served_by(made: Proven) -> tuple[str, str]:
    """What serves many rows and one, as the manifest's ``engines`` says."""
    many = "onnx" if "model.onnx" in made.files else "joblib"
    return many, "scalar" if "model.scalar" in made.files else many
