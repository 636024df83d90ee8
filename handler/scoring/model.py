"""A loaded bundle, and what scores for it: one row in Python alone, many in onnxruntime.

Where no graph could be proven equal, the pickled estimator scores both. The scorers of many rows take
columns (one array a feature) and give ``Scores``, with the same labels and the same shape.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from handler import bundle as bundles
from handler.bundle import Bundle, Label, Manifest
from handler.errors import BundleError
from handler.schema import Columns, Record, Schema
from handler.scoring.scalar import ScalarEngine

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

#: Rows up to which each is scored alone.
FEW = 16
#: Lines of a file up to which each is scored alone: by then onnxruntime would have been imported.
MANY = 4096
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else onnxruntime writes a device id, and calls home


class Scores(NamedTuple):
    """What a scorer says of n rows.

    ``values``: shape (n,); the row's index into the classes (int64), or the predicted value
    (float64) of a regression. ``probabilities``: shape (n, classes), or None where the model has
    none.
    """

    values: np.ndarray
    probabilities: np.ndarray | None


class Scorer(Protocol):
    """A model that scores many rows at once."""

    def score(self, columns: Columns) -> Scores:
        """Score the rows; ``columns`` holds one array of equal length a feature."""
        ...


class OnnxScorer:
    """The exported graph in onnxruntime, on one thread a call; safe to call from several threads."""

    def __init__(self, graph: bytes, manifest: Manifest) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise BundleError(
                "onnxruntime is not installed: activate .venv (make serve makes it), or install "
                "requirements/serve.txt"
            ) from error

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        features = {name: feature for feature, name in input_names(manifest).items()}
        self._inputs = [(each.name, features[each.name]) for each in self._session.get_inputs()]
        self._outputs = [each.name for each in self._session.get_outputs()]
        self._index = class_index(manifest.classes)

    def score(self, columns: Columns) -> Scores:
        """See ``Scorer``."""
        feed = {name: columns[feature].reshape(-1, 1) for name, feature in self._inputs}
        outputs = self._session.run(self._outputs, feed)
        if self._index is None:
            return Scores(outputs[0].reshape(-1).astype("float64", copy=False), None)
        probabilities = outputs[1] if len(outputs) > 1 else None
        return Scores(self._index(outputs[0].reshape(-1)), probabilities)


class RowByRow:
    """The engine of one row as a ``Scorer``, which scores the rows one after the other."""

    def __init__(self, engine: ScalarEngine, manifest: Manifest) -> None:
        self._engine = engine
        self._names = [feature.name for feature in manifest.features]
        self._classes = manifest.classes

    def score(self, columns: Columns) -> Scores:
        """See ``Scorer``."""
        import numpy as np

        index = class_index(self._classes)
        records = zip(*(columns[name].tolist() for name in self._names), strict=True)
        labels, probabilities = zip(*map(self._engine.run, records), strict=True)
        if index is None:
            return Scores(np.array(labels, np.float64), None)
        given = None if probabilities[0] is None else np.array(probabilities)
        text = isinstance(labels[0], str)
        return Scores(index(np.array(labels, dtype=object if text else np.int64)), given)


class BySize:
    """The engine for up to ``FEW`` rows, and for more a scorer that is loaded when they first come."""

    def __init__(self, few: Scorer, load: Callable[[], Scorer]) -> None:
        self._few = few
        self._load = load
        self._loading = threading.Lock()
        self._many: Scorer | None = None

    def score(self, columns: Columns) -> Scores:
        """See ``Scorer``."""
        if 0 < len(next(iter(columns.values()))) <= FEW:
            return self._few.score(columns)
        if self._many is None:
            with self._loading:
                self._many = self._many or self._load()
        return self._many.score(columns)


class JoblibScorer:
    """The fitted estimator itself, fed as training fed it; loads scikit-learn and pandas."""

    def __init__(self, estimator: Any, manifest: Manifest) -> None:
        self._estimator = estimator
        self._names = [feature.name for feature in manifest.features]
        self._index = class_index(manifest.classes)

    def score(self, columns: Columns) -> Scores:
        """See ``Scorer``."""
        import pandas as pd

        frame = pd.DataFrame({name: columns[name] for name in self._names})
        if frame.empty:
            return self._none()
        values = self._estimator.predict(frame)
        if self._index is None:
            return Scores(values.reshape(-1).astype("float64", copy=False), None)
        probabilities = (
            self._estimator.predict_proba(frame) if hasattr(self._estimator, "predict_proba") else None
        )
        return Scores(self._index(values), probabilities)

    def _none(self) -> Scores:
        """The scores of no rows, which an estimator refuses to give."""
        import numpy as np

        if self._index is None:
            return Scores(np.empty(0), None)
        shape = (0, len(self._estimator.classes_))
        probabilities = np.empty(shape) if hasattr(self._estimator, "predict_proba") else None
        return Scores(np.empty(0, np.int64), probabilities)


def input_names(manifest: Manifest) -> dict[str, str]:
    """The graph's input of each feature: ``x0``, ``x1``, ..., since a feature's name may be anything."""
    return {feature.name: f"x{place}" for place, feature in enumerate(manifest.features)}


def class_index(classes: tuple[Label, ...]) -> Callable[[np.ndarray], np.ndarray] | None:
    """A function from labels, shape (n,), to their index into ``classes``; None for a regression."""
    if not classes:
        return None
    import numpy as np

    if classes == tuple(range(len(classes))):
        return lambda labels: labels
    if all(isinstance(label, int) for label in classes):
        ordered = np.array(classes, dtype=np.int64)  # as scikit-learn orders them
        return lambda labels: np.searchsorted(ordered, labels.astype(np.int64, copy=False))
    places = {label: place for place, label in enumerate(classes)}
    return lambda labels: np.fromiter((places[label] for label in labels), np.int64, len(labels))


class Model(NamedTuple):
    """A loaded bundle: what it takes, what it says, and the scorers that say it.

    ``engine`` scores one row; where there is none, ``scorer`` does.
    """

    manifest: Manifest
    schema: Schema
    scorer: Scorer
    engine: ScalarEngine | None = None

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Load the bundle in ``folder``, verified; raises ``BundleError``."""
        bundle = Bundle.open(folder)
        engine = load_engine(bundle)
        return cls.of(bundle.manifest, load_scorer(bundle, engine), engine)

    @classmethod
    def of(cls, manifest: Manifest, scorer: Scorer, engine: ScalarEngine | None = None) -> Model:
        """A model from its parts."""
        return cls(manifest, Schema.of(manifest), scorer, engine)

    def predict(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """A prediction a record, as JSON has it; up to ``FEW`` of them without onnxruntime."""
        if not records:
            return []
        if self.engine is None or len(records) > FEW:
            return self.predictions(self.score(records))
        return [self._prediction(*self.engine.run(record)) for record in records]

    def _prediction(self, label: Any, probabilities: Sequence[float] | None) -> dict[str, Any]:
        if probabilities is None:
            return {"prediction": label}
        names = map(str, self.manifest.classes)
        return {"prediction": label, "probabilities": dict(zip(names, probabilities, strict=True))}

    def added(self, records: Sequence[Record]) -> Iterator[tuple[int, list[object]]]:
        """Of each record, its class's place (0 of a regression) and the cells that scoring adds to it."""
        classes = self.manifest.classes
        if self.engine is None or len(records) > MANY:
            scores = self.score(records)
            outputs = [each if isinstance(each, list) else each.tolist() for each in self.outputs(scores)]
            places = scores.values.tolist() if classes else [0] * len(records)
            yield from zip(places, map(list, zip(*outputs, strict=True)), strict=True)
            return
        places = {label: place for place, label in enumerate(classes)}
        first = 1 if self.manifest.task == "binary" else 0
        for record in records:
            label, probabilities = self.engine.run(record)
            yield places.get(label, 0), [label, *(probabilities or ())[first:]]

    def score(self, records: Sequence[Record]) -> Scores:
        """Score records that the schema has read."""
        return self.scorer.score(self.schema.columns(records))

    def predictions(self, scores: Scores) -> list[dict[str, Any]]:
        """One JSON object a row: ``prediction`` and, where the model has them, ``probabilities``."""
        labels = self.labels(scores)
        if scores.probabilities is None:
            return [{"prediction": label} for label in labels]
        names = [str(label) for label in self.manifest.classes]
        return [
            {"prediction": label, "probabilities": dict(zip(names, row, strict=True))}
            for label, row in zip(labels, scores.probabilities.tolist(), strict=True)
        ]

    def labels(self, scores: Scores) -> list[Label | float]:
        """The rows' predicted classes, or values, as JSON takes them."""
        if self.manifest.task == "regression":
            return list(scores.values.tolist())
        classes = self.manifest.classes
        return [classes[place] for place in scores.values.tolist()]

    @property
    def output_names(self) -> tuple[str, ...]:
        """The columns that scoring adds to a CSV."""
        classes = self.manifest.classes
        if not self.manifest.probabilities:
            return ("prediction",)
        if self.manifest.task == "binary":
            return ("prediction", "probability")
        return ("prediction", *(f"probability_{label}" for label in classes))

    def outputs(self, scores: Scores) -> list[np.ndarray | list[str]]:
        """The columns that scoring adds to a CSV, shape (n,) each; text labels as a list."""
        classes = self.manifest.classes
        if not classes:
            return [scores.values]
        import numpy as np

        labels: np.ndarray | list[str]
        if all(isinstance(label, int) for label in classes):
            labels = np.array(classes)[scores.values]
        else:
            labels = [str(classes[place]) for place in scores.values.tolist()]
        if scores.probabilities is None:
            return [labels]
        first = 1 if self.manifest.task == "binary" else 0
        return [labels, *np.ascontiguousarray(scores.probabilities.T)[first:]]

    def check(self) -> list[str]:
        """Predict the golden rows again, alone and together; one line a row that differs from training.

        Labels must be equal; probabilities and values may differ by the manifest's tolerance,
        since another processor may round otherwise. A value's difference counts in units of its distance
        from ``parity.centre``, and at least of ``parity.unit``.
        """
        parity = self.manifest.parity
        records = [
            self.schema.from_json(golden["record"], place)
            for place, golden in enumerate(self.manifest.golden)
        ]
        crowd = records * (FEW + 1)  # more than the engine scores
        together = self.predictions(self.score(crowd))[: len(records)] if records else []
        differences = []
        for place, (golden, record, scored) in enumerate(
            zip(self.manifest.golden, records, together, strict=True)
        ):
            for found in (self.predict([record])[0], scored):
                if not _agree(golden, found, parity):
                    told = {key: golden[key] for key in found}
                    differences.append(f"golden row {place}: training said {told}, this says {found}")
                    break
        return differences


def load_scorer(bundle: Bundle, engine: ScalarEngine | None = None) -> Scorer:
    """The scorer that the manifest names, from verified files; raises ``BundleError``.

    ``engine`` scores few rows in its place.
    """
    manifest = bundle.manifest
    if manifest.runtime == "onnx":
        graph = bundle.read(bundles.ONNX)  # verified now, whenever it is needed
        if engine is None:
            return OnnxScorer(graph, manifest)
        return BySize(RowByRow(engine, manifest), lambda: OnnxScorer(bundle.read(bundles.ONNX), manifest))
    content = bundle.read(bundles.JOBLIB)
    bundle.check_libraries()
    return JoblibScorer(unpickle(content), manifest)


def load_engine(bundle: Bundle) -> ScalarEngine | None:
    """The engine of one row, if the manifest names it, from a verified file; raises ``BundleError``."""
    if bundle.manifest.engines.get("one") != "scalar":
        return None
    return ScalarEngine(bundle.read(bundles.SCALAR))


def unpickle(content: bytes) -> Any:
    """The estimator in verified ``model.joblib`` bytes; raises ``BundleError``."""
    import io

    try:
        import joblib
        import sklearn  # noqa: F401  nearly every pickle needs it
    except ImportError as error:
        raise BundleError(
            f"{error.name} is not installed, and this bundle is served from {bundles.JOBLIB}: install "
            "requirements/joblib.txt"
        ) from error
    try:
        return joblib.load(io.BytesIO(content))
    except (ImportError, AttributeError) as error:
        raise BundleError(
            f"{bundles.JOBLIB} needs code that is not here ({error}): put the module that defines "
            "your pipeline beside the handler"
        ) from error


def _agree(golden: Mapping[str, Any], found: Mapping[str, Any], parity: Mapping[str, Any]) -> bool:
    tolerance = max(parity["tolerance"], 1e-9)
    value = golden["prediction"]
    if isinstance(value, float):
        unit = max(parity.get("unit", 1.0), abs(value - parity.get("centre", 0.0)))
        return bool(abs(value - found["prediction"]) <= tolerance * unit)
    told, says = golden.get("probabilities") or {}, found.get("probabilities") or {}
    return bool(
        value == found["prediction"]
        and told.keys() == says.keys()
        and all(abs(told[name] - says[name]) <= tolerance for name in told)
    )
