"""Another bundle beside the model at hand, on the same rows: ``--compare``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from handler.manifest import Contract, Feature
from handler.rendering import Rows
from handler.schema import Columns
from handler.scoring import agreement, metrics
from handler.scoring.metrics import shown
from handler.scoring.model import Model
from handler.scoring.scorers import Scores
from training.errors import TrainingError


class Comparison(NamedTuple):
    """What two models predict for the same ``rows``, in words and tables, and as the manifest has it.

    ``own`` and ``other`` are metrics, empty where no target is known; ``differing``: the rows that get
    another label, or None for a regression. ``caution``: whether the other model has seen the rows.
    """

    name: str
    version: str
    rows: int
    own: Mapping[str, float]
    other: Mapping[str, float]
    differing: int | None
    caution: str
    notes: tuple[str, ...]
    labels: Rows

    @property
    def metrics(self) -> Rows:
        """A table of the metrics of both."""
        header = ("metric", "this model", f"{self.name} {self.version}", "difference")
        rows = [
            (
                metrics.NAMES.get(name, name),
                shown(value),
                shown(self.other[name]),
                _signed(value - self.other[name]),
            )
            for name, value in self.own.items()
            if name in self.other
        ]
        return [header, *rows] if rows else []

    def as_json(self) -> dict[str, Any]:
        """The manifest's ``metrics.compared``."""
        document = {
            "name": self.name,
            "version": self.version,
            "rows": self.rows,
            "metrics": {"this": dict(self.own), "other": dict(self.other)},
        }
        return document if self.differing is None else {**document, "differing": self.differing}


def compare(
    contract: Contract,
    training: Mapping[str, Any],
    columns: Columns,
    truth: np.ndarray | None,
    scores: Scores,
    model: Model,
) -> Comparison:
    """The other ``model`` on rows that have their ``scores``; raises ``TrainingError`` where it cannot be.

    ``training`` is the manifest's, of the model at hand.
    """
    _check(contract, model.manifest.contract)
    features = model.manifest.contract.features
    taken = np.logical_and.reduce([_taken(each, columns[each.name]) for each in features])
    rows = np.flatnonzero(taken)
    others, sound = model.attempt({each.name: columns[each.name][rows] for each in features})
    rows = rows[sound]
    if not len(rows):
        raise TrainingError("it takes none of these rows")
    others = _relabelled(others, contract, model.manifest.contract)
    own, actual = scores.at(rows), None if truth is None else truth[rows]
    notes = []
    if left := len(scores.values) - len(rows):
        notes.append(f"The other model does not take {left:,} of the rows, which are left out here.")
    differing: int | None = None
    pairs: agreement.Pairs = {}
    if contract.task == "regression":
        notes += _closeness(own.values, others.values, actual)
    else:
        pairs = agreement.pairs(own.values, others.values)
        differing = agreement.differing(pairs)
        notes += _agreement(own, others, actual, differing)
        if contract.task == "cluster":
            notes += agreement.numbered_anew(pairs, list(map(str, contract.classes)))
    return Comparison(
        name=model.manifest.name,
        version=model.manifest.version,
        rows=len(rows),
        own={} if actual is None else metrics.scalars(metrics.measure(contract, actual, own)),
        other={} if actual is None else metrics.scalars(metrics.measure(contract, actual, others)),
        differing=differing,
        caution=_caution(training, model.manifest.training),
        notes=tuple(notes),
        labels=agreement.by_label(pairs, list(map(str, contract.classes))) if differing else [],
    )


def _check(contract: Contract, other: Contract) -> None:
    if other.task != contract.task:
        raise TrainingError(agreement.other_task(contract.task, other.task))
    if sorted(map(str, other.classes)) != sorted(map(str, contract.classes)):
        raise TrainingError("it has other classes")
    own = {each.name: each for each in contract.features}
    absent = [each.name for each in other.features if each.name not in own]
    if absent:
        more = f" and {len(absent) - 3} more" if len(absent) > 3 else ""
        names = ", ".join(f"'{name}'" for name in absent[:3])
        are = "are not features" if len(absent) > 1 else "is not a feature"
        raise TrainingError(f"it needs {names}{more}, which {are} of this model")
    for each in other.features:
        here = own[each.name]
        if (each.is_text, each.kind == "date") != (here.is_text, here.kind == "date"):
            kinds = f"of the kind {each.kind} there and {here.kind} here"
            raise TrainingError(f"'{each.name}' is {kinds}")


def _taken(feature: Feature, values: np.ndarray) -> np.ndarray:
    """Which rows have a value that the other model's requests may have, shape (n,)."""
    if feature.is_text:
        missing = values == ""
        known = feature.open or feature.kind == "text" or np.isin(values.astype(str), feature.categories)
    else:
        missing = np.isnan(values)
        whole = {"integer": np.floor(values) == values, "boolean": np.isin(values, (0, 1))}
        known = whole.get(feature.kind, True)
    return np.where(missing, feature.nullable, known).astype(bool)


def _relabelled(scores: Scores, contract: Contract, other: Contract) -> Scores:
    """Scores of the other model with this one's order of the classes."""
    if not contract.classes:
        return scores
    theirs = [str(each) for each in other.classes]
    order = np.array([theirs.index(str(each)) for each in contract.classes])
    probabilities = None if scores.probabilities is None else scores.probabilities[:, order]
    return Scores(np.argsort(order)[scores.values], probabilities, scores.score)


def _agreement(own: Scores, other: Scores, truth: np.ndarray | None, differing: int) -> list[str]:
    count = len(own.values)
    notes = [
        f"They predict different labels for {differing:,} of {count:,} rows ({differing / count:.1%})."
    ]
    if differing and truth is not None:
        where = own.values != other.values
        ours, theirs = ((each.values == truth)[where].sum() for each in (own, other))
        notes[0] += f" There this model is right for {ours:,}, and the other for {theirs:,}."
    if own.probabilities is not None and other.probabilities is not None:
        apart = np.abs(own.probabilities - other.probabilities).max(axis=1)
        notes.append(
            f"A probability differs by {apart.mean():.4f} on average, and by {apart.max():.4f} at most."
        )
    return notes


def _closeness(own: np.ndarray, other: np.ndarray, truth: np.ndarray | None) -> list[str]:
    apart = np.abs(own - other)
    notes = [
        f"The predictions differ by {shown(apart.mean())} on average, and by {shown(apart.max())} at most."
    ]
    if truth is not None:
        closer = np.abs(own - truth) < np.abs(other - truth)
        notes.append(f"This model is closer to what is true for {closer.mean():.1%} of the rows.")
    return notes


def _caution(own: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Whether the other model was fitted on some of the rows, as far as the manifests say."""
    if "imported" in own or "imported" in other or "sha256" not in other:
        return "Whether the other model has seen these rows in its training is not known."
    if other["sha256"] != own.get("sha256"):
        return "The other model was trained on another file: whether it has seen these rows is not known."
    if (other["seed"], other["test_size"]) == (own["seed"], own["test_size"]):
        return (
            "The other model was trained on the same file with the same split, which held out these rows "
            "too."
        )
    return (
        f"The other model was trained on the same file with another split (seed {other['seed']}, "
        f"{other['test_size']:g} held out): it was fitted on some of these rows, which flatters it."
    )


def _signed(difference: float) -> str:
    return f"{'+' if difference > 0 else ''}{shown(difference)}"
