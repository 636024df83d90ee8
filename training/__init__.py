"""Training: a CSV becomes a served model, proven and bundled. Nothing in ``handler`` imports this."""

import os

# Read when onnxruntime is imported; see handler.scoring.scorers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def package(
    model: Any,
    X: Any,  # noqa: N803 - as scikit-learn calls it
    y: Any = None,
    *,
    out: str | Path,
    name: str | None = None,
    target: str | None = None,
    feature_names: Sequence[str] | None = None,
    classes: Mapping[Any, str] | Sequence[str] | None = None,
    exact: bool = False,
) -> Path:
    """Put the bundle of a fitted scikit-learn model at ``out``, and return that folder; nothing is fitted.

    ``X``: rows as the model was fitted on, shape (n, features): a DataFrame of pandas or polars, an array
    or a list of rows. They show what each feature holds. ``y``: their targets; with them the report has
    metrics, and ``target`` names them. ``feature_names``: in the model's order, where it was fitted on an
    array. ``classes``: the served names of its labels, such as ``{0: "no", 1: "yes"}``, or a list in their
    order. ``exact``: as ``--exact``.

    Raises ``training.errors.TrainingError`` for a model or rows that cannot be served.
    """
    from training.importing.packages import package as packaged  # it loads scikit-learn

    return packaged(
        model,
        X,
        y,
        out=out,
        name=name,
        target=target,
        feature_names=feature_names,
        classes=classes,
        exact=exact,
    )
