"""Explanations: ``model.explain``, and what it adds to the prediction of one record, in plain Python.

``model.explain`` is a line of JSON, then large arrays as in ``model.scalar``, then two files, whose
sizes the line states: the program and the graph that make what the last step is given, one row at a time
and many at once::

    {"format": 1, "of": "log-odds", "groups": [0, 1, 1], "base": [-2.9], "arrays": [], "files": [512, 300],
     "linear": {"coefficients": [[0.5, 1.2, -0.1]], "means": [0.0, 0.3, 0.7]}}

``groups`` has the index of each given column's feature. ``base`` has a number for each output of the
model: one, or one per class. ``trees`` stands in place of ``linear``: see ``shapley.Trees``. Raise FORMAT
when the meaning or the layout changes.
"""

from __future__ import annotations

from collections.abc import Sequence

from handler.errors import BundleError, NotExplainable
from handler.manifest import EXPLANATION, Contract, Feature, Manifest
from handler.scoring.row_program import RowProgram, Values, head, listed, stored
from handler.scoring.shapley import Linear, Trees
from handler.typed import Any

FORMAT = 1
#: Why an older bundle has no explanations.
OLDER = "the model was trained by a release without explanations; train it again"


class Explainer:
    """Explains the predictions of a model; safe to use from several threads.

    ``features`` are those of requests, and ``contract`` what the model's scorers have: parts of dates.
    ``graph``: the content of the one that makes what the last step is given.
    """

    def __init__(self, content: bytes, features: Sequence[Feature], contract: Contract) -> None:
        """Read ``model.explain``; raises ``BundleError``."""
        self.features = features
        self.contract = contract
        try:
            document, large, rest = head(content, EXPLANATION, FORMAT)
            program, graph = document["files"]
            self._program = RowProgram(bytes(rest[len(rest) - program - graph : len(rest) - graph]))
            self.graph = bytes(rest[len(rest) - graph :])
            self.of: str = document["of"]
            self.base: list[float] = document["base"]
            kind = Linear if "linear" in document else Trees
            members = document["linear" if "linear" in document else "trees"]
            named = listed({name: stored(value, large) for name, value in members.items()})
            self.model: Linear | Trees = kind(groups=document["groups"], **named)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise BundleError(f"{EXPLANATION} does not follow its format; train again") from error

    def explain(self, record: Values, label: Any) -> dict[str, Any]:
        """The ``contributions`` of a record whose prediction is ``label``."""
        output = 0 if len(self.base) == 1 else self.contract.classes.index(label)
        return self.as_json(self.adds(record, output), output)

    def adds(self, record: Values, output: int) -> list[float]:
        """What each feature adds to an output for a record."""
        sums = [0.0] * len(self.features)
        self.model.add(self._program.values(self._given(record)), output, sums)
        return sums

    def reasons(self, record: Values, index: int, count: int) -> list[Any]:
        """The strongest features of a record, each with what it adds; ``index``: of the predicted class."""
        sums = self.adds(record, index if len(self.base) > 1 else 0)
        strongest = sorted(range(len(sums)), key=lambda each: -abs(sums[each]))[:count]
        return [cell for each in strongest for cell in (self.features[each].name, sums[each])]

    def as_json(self, sums: Sequence[float], output: int) -> dict[str, Any]:
        """The ``contributions`` from what each feature adds."""
        classes = self.contract.classes
        explained = classes[output if len(self.base) > 1 else -1] if classes else None
        return {
            "base": self.base[output],
            "features": dict(zip((each.name for each in self.features), sums, strict=True)),
            "of": self.of,
            **({} if explained is None else {"class": explained}),
        }

    def _given(self, record: Values) -> Values:
        if self.features == self.contract.features:
            return record
        from handler import dates  # which few models need

        return dates.expanded_record(self.features, record)


def why_not(manifest: Manifest) -> str | None:
    """Why a model's predictions cannot be explained, or None."""
    if EXPLANATION in manifest.files:
        return None
    reason: str = manifest.explanation.get("reason", OLDER)
    return reason


def opened(manifest: Manifest, contract: Contract, content: bytes | None) -> Explainer:
    """The explainer of a bundle, whose ``model.explain`` has been read but not verified.

    Raises ``NotExplainable`` where there is none, and ``BundleError``.
    """
    if reason := why_not(manifest):
        raise NotExplainable(reason)
    if content is None or not manifest.vouches(EXPLANATION, content):
        raise BundleError(
            f"{EXPLANATION} is absent, or was changed after training; restore it or train again"
        )
    return Explainer(content, manifest.features, contract)
