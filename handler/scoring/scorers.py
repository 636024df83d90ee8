"""What scores many rows: the graph in onnxruntime, the pickled estimator, or the one-row program in a loop.

A scorer takes columns (one array per feature) and gives ``Scores``: whatever serves, the labels and the
shapes are the same. The first two are modules of their own: the prediction of one row waits for neither.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from handler.errors import BundleError
from handler.manifest import MANIFEST, Contract, Label, Manifest
from handler.schema import Columns
from handler.scoring.row_program import Row, Values
from handler.typed import TYPE_CHECKING, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    import numpy as np

#: Rows of which an array has a multiple where each is to be computed alike: more than ``FEW``, and what the
#: widest vector units and the kernels of matrix products take at once.
LANES = 64
#: Rows up to which each is scored alone, by the one-row program.
FEW = 16


class Scores(NamedTuple):
    """What a scorer gives for n rows.

    ``values``: shape (n,); the row's index into the classes (int64), or the predicted value
    (float64) of a regression. ``probabilities``: shape (n, classes), or None where the model has
    none. ``score``: shape (n,), how usual the row is to a model without a target, or None.
    """

    values: np.ndarray
    probabilities: np.ndarray | None
    score: np.ndarray | None = None

    def at(self, rows: np.ndarray | slice) -> Scores:
        """Those of some rows, by their indices, a mask or a slice."""
        others = (None if each is None else each[rows] for each in (self.probabilities, self.score))
        return Scores(self.values[rows], *others)


@contextlib.contextmanager
def models_code() -> Iterator[None]:
    """Mark an exception that a model's own code raises in the block, for ``is_models``."""
    try:
        yield
    except (MemoryError, ImportError, OSError):  # whatever the values are
        raise
    except Exception as error:
        vars(error)["is_models"] = True
        raise


def is_models(error: Exception) -> bool:
    """Whether the estimator or onnxruntime raised the error on its values, and not this project."""
    return bool(vars(error).get("is_models"))


class Scorer(Protocol):
    """A model that scores many rows at once."""

    def score(self, columns: Columns) -> Scores:
        """Score the rows; ``columns`` holds one column per feature, all of equal length.

        A category is ``Coded``, or an array of texts.

        A row that the model cannot score gets NaN or infinity, or raises an error that ``is_models``.
        """
        ...


class OneRow(Protocol):
    """A model that scores one record, in Python alone."""

    def run(self, record: Values) -> Row:
        """What the model gives; raises ``ArithmeticError`` or ``ValueError`` where it cannot."""
        ...


class RowByRow:
    """The one-row program as a ``Scorer``, which scores the rows one after the other."""

    def __init__(self, program: OneRow, contract: Contract) -> None:
        self._program = program
        self._names = [feature.name for feature in contract.features]
        self._classes = contract.classes

    def score(self, columns: Columns) -> Scores:
        import numpy as np

        index = class_index(self._classes)
        records = zip(*(columns[name].tolist() for name in self._names), strict=True)
        with models_code():
            labels, *others = zip(*map(self._program.run, records), strict=True)
        if index is None:
            return Scores(np.array(labels, np.float64), None)
        text = isinstance(labels[0], str)
        given = (None if each[0] is None else np.array(each) for each in others)
        return Scores(index(np.array(labels, dtype=object if text else np.int64)), *given)


class BySize:
    """One scorer for up to ``FEW`` rows, and for more another one, loaded when they first come."""

    def __init__(self, few: Scorer, load: Callable[[], Scorer]) -> None:
        self._few = few
        self._load: Callable[[], Scorer] | None = load
        self._loading = threading.Lock()
        self._many: Scorer | None = None

    def score(self, columns: Columns) -> Scores:
        if length(columns) <= FEW:
            return self._few.score(columns)
        if self._many is None:
            with self._loading:
                if self._load is not None:
                    self._many, self._load = self._load(), None  # what it was loaded from is let go
        return cast("Scorer", self._many).score(columns)


class Steady:
    """A scorer that gives a row the same bits whatever rows it is scored with.

    Libraries compute the last few rows of an array in another way than the others, and one row in another
    way than many, so that the last digits may differ. So the rows are filled up, with copies of the last
    one, to a multiple of ``LANES``.
    """

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer

    def score(self, columns: Columns) -> Scores:
        rows = length(columns)
        if rows % LANES == 0:
            return self._scorer.score(columns)
        return self._scorer.score(filled(columns)).at(slice(rows))


def filled(columns: Columns) -> Columns:
    """The columns with copies of the last row, so that their length is a multiple of ``LANES``."""
    import numpy as np

    rows = length(columns)
    which = np.minimum(np.arange(rows + -rows % LANES), rows - 1)
    return {name: values[which] for name, values in columns.items()}


def length(columns: Columns) -> int:
    """How many rows the columns have."""
    return len(next(iter(columns.values())))


def finite(scores: Scores) -> np.ndarray:
    """Which rows' value, probabilities and score are all finite, shape (n,)."""
    import numpy as np

    sound = np.isfinite(scores.values)
    if scores.probabilities is not None and not (each := np.isfinite(scores.probabilities)).all():
        sound = sound & each.all(axis=1)  # slow: a row has few classes
    return np.asarray(sound if scores.score is None else sound & np.isfinite(scores.score))


def class_index(classes: tuple[Label, ...]) -> Callable[[np.ndarray], np.ndarray] | None:
    """A function from labels, shape (n,), to their index into ``classes``; None for a regression."""
    if not classes:
        return None
    import numpy as np

    if classes == tuple(range(len(classes))):
        return lambda labels: labels.astype("int64", copy=False)  # they may be booleans
    if all(isinstance(label, int) for label in classes):
        ordered = np.array(classes, dtype=np.int64)  # as scikit-learn orders them
        return lambda labels: np.searchsorted(ordered, labels.astype(np.int64, copy=False))
    indices = {label: index for index, label in enumerate(classes)}
    return lambda labels: np.fromiter((indices[label] for label in labels), np.int64, len(labels))


def served_contract(manifest: Manifest) -> Contract:
    """The manifest's contract as its scorers have it: parts in place of dates. Raises ``BundleError``."""
    contract = manifest.contract
    if not any(feature.kind == "date" for feature in contract.features):
        return contract
    from handler import dates  # which few models need

    try:
        return contract._replace(features=dates.expanded_features(contract.features))
    except ValueError as error:
        raise BundleError(f"{MANIFEST} has a date whose format is not one: {error}") from error
