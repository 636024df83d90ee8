"""A model's explanations: what makes them is read when the first one is asked for.

A first prediction imports this module, and so it imports nothing itself that explains.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from handler.bundle import Documents
from handler.manifest import EXPLANATION, Manifest
from handler.schema import Columns, Record
from handler.scoring.scorers import served_contract
from handler.typed import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from handler.scoring.explaining import Explainer
    from handler.scoring.explaining_many import Many


class Explaining:
    """A model's explainer, which is read when the first explanation is asked for."""

    def __init__(self, manifest: Manifest, documents: Documents) -> None:
        self._manifest = manifest
        self._documents = documents
        self._reading = threading.Lock()
        self._explainer: Explainer | None = None
        self._many: Many | None = None

    def explainer(self) -> Explainer:
        """Raises ``NotExplainable`` or ``BundleError``."""
        from handler.scoring.explaining import opened  # no prediction waits for it

        with self._reading:
            if self._explainer is None:
                contract = served_contract(self._manifest)
                content = self._documents(EXPLANATION)
                self._explainer = opened(self._manifest, contract, content)
            return self._explainer

    def many(self) -> Many:
        """What explains many rows at once; raises as ``explainer``."""
        from handler.scoring.explaining_many import Many  # one row needs no numpy

        explainer = self.explainer()
        with self._reading:
            if self._many is None:
                self._many = Many(explainer)
            return self._many

    def explained(
        self, records: Sequence[Record], predictions: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """The predictions of records, each with its ``contributions``; raises as ``explainer``."""
        explain = self.explainer().explain
        return [
            {**prediction, "contributions": explain(record, prediction["prediction"])}
            for record, prediction in zip(records, predictions, strict=True)
        ]

    def reasons(self, columns: Columns, values: np.ndarray, count: int) -> list[np.ndarray | list[str]]:
        """The columns of the ``count`` strongest features of each row, and of what each of them adds.

        ``values``: the indices of the predicted classes, shape (n,). Raises as ``explainer``.
        """
        return self.many().reasons(columns, values, count)

    def reasons_one_by_one(
        self, columns: Columns, values: np.ndarray, count: int
    ) -> list[np.ndarray | list[str]]:
        """As ``reasons``, but each row by itself, in Python."""
        import numpy as np

        explain = self.explainer().reasons
        names = [feature.name for feature in self._manifest.features]
        records = zip(*(columns[name].tolist() for name in names), strict=True)
        rows = [explain(record, int(index), count) for record, index in zip(records, values, strict=True)]
        cells: list[list[Any]] = [list(each) for each in zip(*rows, strict=True)]
        return [each if index % 2 == 0 else np.array(each) for index, each in enumerate(cells)]
