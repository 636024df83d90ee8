"""Explanations: what each feature adds to a model's output for one row, in plain Python.

A linear model's feature adds its coefficient times its distance from the mean. A tree's adds the
path-dependent Shapley value of Lundberg et al. (2018, https://arxiv.org/abs/1802.03888; 2020,
https://doi.org/10.1038/s42256-019-0138-9). The columns that one feature was encoded into are summed.

``model.explain`` is a line of JSON, then large arrays as in ``model.scalar``, then two files, whose
sizes the line states: the program and the graph that make what the last step is given, one row at a time
and many at once::

    {"format": 1, "of": "log-odds", "groups": [0, 1, 1], "base": [-2.9], "arrays": [], "files": [512, 300],
     "linear": {"coefficients": [[0.5, 1.2, -0.1]], "means": [0.0, 0.3, 0.7]}}

``groups`` has the index of each given column's feature. ``base`` has a number for each output of the
model: one, or one per class. Raise FORMAT when the meaning or the layout changes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from handler.bundle import EXPLANATION, Manifest
from handler.errors import BundleError, NotExplainable
from handler.scoring.row_program import RowProgram, Values, arrays, listed, stored

FORMAT = 1
#: Why an older bundle has no explanations.
OLDER = "the model was trained by a release without explanations; train it again"


class Linear(NamedTuple):
    """A linear model: for each output the coefficients of the given columns, whose means these are."""

    coefficients: list[list[float]]
    means: list[float]

    def add(self, given: Values, output: int, groups: Sequence[int], sums: list[float]) -> None:
        """Add to ``sums`` what each feature adds to the output for a row."""
        for group, weight, value, mean in zip(
            groups, self.coefficients[output], given, self.means, strict=True
        ):
            sums[group] += weight * (value - mean)


class Explainer:
    """Explains the predictions of a model; safe to use from several threads."""

    def __init__(self, manifest: Manifest, content: bytes | None) -> None:
        """Read ``model.explain``; raises ``NotExplainable`` where there is none, and ``BundleError``."""
        if reason := why_not(manifest):
            raise NotExplainable(reason)
        if content is None or not manifest.vouches(EXPLANATION, content):
            raise BundleError(
                f"{EXPLANATION} is absent, or was changed after training; restore it or train again"
            )
        self._manifest = manifest
        try:
            line, _, rest = content.partition(b"\n")
            document = json.loads(line)
            if document["format"] != FORMAT:
                raise BundleError(
                    f"{EXPLANATION} has format {document['format']}, and this code reads {FORMAT}; "
                    "train again"
                )
            program, graph = document["files"]
            large = arrays(document["arrays"], rest)
            self._program = RowProgram(rest[len(rest) - program - graph : len(rest) - graph])
            self.graph = rest[len(rest) - graph :]
            self.of: str = document["of"]
            self.groups: list[int] = document["groups"]
            self.base: list[float] = document["base"]
            linear = {name: stored(value, large) for name, value in document["linear"].items()}
            self.model = Linear(**listed(linear))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise BundleError(f"{EXPLANATION} does not follow its format; train again") from error

    def explain(self, record: Values, label: Any) -> dict[str, Any]:
        """The ``contributions`` of a record whose prediction is ``label``."""
        classes = self._manifest.classes
        output = 0 if len(self.base) == 1 else classes.index(label)
        sums = [0.0] * len(self._manifest.features)
        self.model.add(self._program.values(self._given(record)), output, self.groups, sums)
        return self.as_json(self.base[output], sums, output)

    def as_json(self, base: float, sums: Sequence[float], output: int) -> dict[str, Any]:
        """The ``contributions`` from what each feature adds."""
        classes = self._manifest.classes
        explained = classes[output if len(self.base) > 1 else -1] if classes else None
        return {
            "base": base,
            "features": dict(zip((each.name for each in self._manifest.features), sums, strict=True)),
            "of": self.of,
            **({} if explained is None else {"class": explained}),
        }

    def _given(self, record: Values) -> Values:
        features = self._manifest.features
        if not any(feature.kind == "date" for feature in features):
            return record
        from handler import dates  # which few models need

        return dates.expanded_record(features, record)


def why_not(manifest: Manifest) -> str | None:
    """Why a model's predictions cannot be explained, or None."""
    if EXPLANATION in manifest.files:
        return None
    reason: str = manifest.explanation.get("reason", OLDER)
    return reason
