"""A loaded bundle, and what scores for it: one row in Python alone, many in onnxruntime.

Where no graph could be proven equal, the pickled estimator scores both. The scorers of many rows take
columns (one array a feature) and give ``Scores``, with the same labels and the same shape.
"""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from handler import bundle as bundles
from handler import telemetry
from handler.bundle import Bundle, Label, Manifest
from handler.errors import BundleError, InvalidRecords, Problem, Problems
from handler.schema import Columns, Record, Schema
from handler.scoring.scalar import ScalarEngine

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

#: Rows up to which each is scored alone.
FEW = 16
#: Lines of a file up to which each is scored alone: by then onnxruntime would have been imported.
MANY = 4096
#: The code and the reason of a row that the schema takes and the model cannot score.
NOT_PREDICTABLE = "not_predictable"
UNPREDICTABLE = (
    "the model cannot predict these values: it fails on them, or its answer is not a finite number"
)
#: Different failures of models that a process logs.
FAILURES_LOGGED = 100
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else onnxruntime writes a device id, and calls home


class Scores(NamedTuple):
    """What a scorer says of n rows.

    ``values``: shape (n,); the row's index into the classes (int64), or the predicted value
    (float64) of a regression. ``probabilities``: shape (n, classes), or None where the model has
    none.
    """

    values: np.ndarray
    probabilities: np.ndarray | None


@contextlib.contextmanager
def models_code() -> Iterator[None]:
    """Where a model's own code runs: an exception that comes out of it is marked, for ``is_models``."""
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
        """Score the rows; ``columns`` holds one array of equal length a feature.

        Where the model cannot score one, it gives NaN or infinity, or raises an error that ``is_models``.
        """
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
        with models_code():
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
        with models_code():
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
        self._load: Callable[[], Scorer] | None = load
        self._loading = threading.Lock()
        self._many: Scorer | None = None

    def score(self, columns: Columns) -> Scores:
        """See ``Scorer``."""
        if length(columns) <= FEW:
            return self._few.score(columns)
        if self._many is None:
            with self._loading:
                if self._load is not None:
                    self._many, self._load = self._load(), None  # what it was loaded from is let go
        return cast("Scorer", self._many).score(columns)


class JoblibScorer:
    """The fitted estimator itself, fed as training fed it; loads scikit-learn and pandas."""

    def __init__(self, estimator: Any, manifest: Manifest) -> None:
        self._estimator = estimator
        self._names = [feature.name for feature in manifest.features]
        self._index = class_index(manifest.classes)

    def score(self, columns: Columns) -> Scores:
        """See ``Scorer``."""
        import numpy as np
        import pandas as pd

        frame = pd.DataFrame({name: columns[name] for name in self._names})
        with models_code(), np.errstate(all="ignore"):  # what is not finite is seen in the scores
            values = self._estimator.predict(frame)
            has = self._index is not None and hasattr(self._estimator, "predict_proba")
            probabilities = self._estimator.predict_proba(frame) if has else None
        if self._index is None:
            return Scores(values.reshape(-1).astype("float64", copy=False), None)
        return Scores(self._index(values), probabilities)


def length(columns: Columns) -> int:
    """How many rows the columns have."""
    return len(next(iter(columns.values())))


def finite(scores: Scores) -> np.ndarray:
    """Which rows' value and probabilities are all finite, shape (n,)."""
    import numpy as np

    if scores.probabilities is None:
        return np.asarray(np.isfinite(scores.values))
    return np.asarray(np.isfinite(scores.probabilities).all(axis=1))


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

    ``engine`` scores one row; where there is none, ``scorer`` does. ``documents`` are the report and the
    card as they lay in the folder at the start. No file of the bundle is read after it, so that training
    into the folder changes no answer.
    """

    manifest: Manifest
    schema: Schema
    scorer: Scorer
    engine: ScalarEngine | None = None
    documents: Mapping[str, bytes] = {}

    @classmethod
    def load(cls, folder: str | Path, public_key: str | None = None) -> Model:
        """Load the bundle in ``folder``, verified; raises ``BundleError``.

        ``public_key``: see ``Bundle.open``.
        """
        bundle = Bundle.open(folder, public_key)
        engine = load_engine(bundle)
        model = cls.of(bundle.manifest, load_scorer(bundle, engine), engine)
        return model._replace(documents=bundle.documents())

    @classmethod
    def of(cls, manifest: Manifest, scorer: Scorer, engine: ScalarEngine | None = None) -> Model:
        """A model from its parts."""
        return cls(manifest, Schema.of(manifest), scorer, engine)

    def predict_one(self, record: Record) -> dict[str, Any]:
        """The prediction of a record, as JSON has it; raises ``InvalidRecords`` where there is none."""
        (prediction,) = self._predict([record])
        if prediction is None:
            raise InvalidRecords([Problem("", NOT_PREDICTABLE, UNPREDICTABLE)])
        return prediction

    def predict(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """One prediction per record, as JSON has it; up to ``FEW`` of them without onnxruntime.

        Raises ``InvalidRecords`` with the records that are not predictable.
        """
        predictions = self._predict(records)
        sound = [prediction for prediction in predictions if prediction is not None]
        if len(sound) < len(records):
            problems = Problems()
            for index, prediction in enumerate(predictions):
                if prediction is None:
                    problems.add("", NOT_PREDICTABLE, UNPREDICTABLE, index)
            raise InvalidRecords(problems.listed, problems.more)
        return sound

    def _predict(self, records: Sequence[Record]) -> list[dict[str, Any] | None]:
        """One prediction per record, None where it is not predictable."""
        if self.engine is None or len(records) > FEW:
            scores, sound = self.attempt(self.schema.columns(records))
            predictions = iter(self.predictions(scores))
            return [next(predictions) if each else None for each in sound.tolist()]
        scored = (self._run(record) for record in records)
        return [None if each is None else self._prediction(*each) for each in scored]

    def _run(self, record: Record) -> tuple[Any, Sequence[float] | None] | None:
        """What the engine makes of a record, None where it is not predictable."""
        assert self.engine is not None
        try:
            label, probabilities = self.engine.run(record)
        except (ArithmeticError, ValueError) as error:
            _log(error)
            return None
        total = label if probabilities is None else sum(probabilities)
        return (label, probabilities) if isinstance(total, str) or math.isfinite(total) else None

    def attempt(self, columns: Columns) -> tuple[Scores, np.ndarray]:
        """The scores of the rows that are predictable, and which rows these are, shape (n,).

        A row is not predictable if the model fails on it, or if its value or one of its probabilities is
        not finite. The rows on which a model fails are found by halving: at most two calls per row.
        """
        import numpy as np

        rows = length(columns)
        classes = self.manifest.classes
        given = np.empty((0, len(classes))) if self.manifest.probabilities else None
        none = Scores(np.empty(0, np.int64 if classes else np.float64), given)
        if rows == 0:
            return none, np.ones(0, bool)
        try:
            scores = self.scorer.score(columns)
        except Exception as error:
            if not is_models(error):
                raise
            if rows == 1:
                _log(error)
                return none, np.zeros(1, bool)
        else:
            sound = finite(scores)
            if sound.all():
                return scores, sound
            given = scores.probabilities
            return Scores(scores.values[sound], None if given is None else given[sound]), sound
        parts = [
            self.attempt({name: values[part] for name, values in columns.items()})
            for part in (slice(rows // 2), slice(rows // 2, rows))
        ]
        scored = [scores for scores, _ in parts if len(scores.values)] or [none]
        some = [scores.probabilities for scores in scored if scores.probabilities is not None]
        joined = Scores(
            np.concatenate([scores.values for scores in scored]), np.concatenate(some) if some else None
        )
        return joined, np.concatenate([sound for _, sound in parts])

    def _prediction(self, label: Any, probabilities: Sequence[float] | None) -> dict[str, Any]:
        if probabilities is None:
            return {"prediction": label}
        names = map(str, self.manifest.classes)
        return {"prediction": label, "probabilities": dict(zip(names, probabilities, strict=True))}

    def added(self, records: Sequence[Record]) -> Iterator[tuple[int, list[object]] | None]:
        """The place of each record's class (0 for a regression), and the cells that scoring adds to it.

        None where a record is not predictable.
        """
        classes = self.manifest.classes
        if self.engine is None or len(records) > MANY:
            scores, sound = self.attempt(self.schema.columns(records))
            outputs = [each if isinstance(each, list) else each.tolist() for each in self.outputs(scores)]
            places = scores.values.tolist() if classes else [0] * len(scores.values)
            scored = zip(places, map(list, zip(*outputs, strict=True)), strict=True)
            yield from (next(scored) if each else None for each in sound.tolist())
            return
        place_of = {label: place for place, label in enumerate(classes)}
        for each in map(self._run, records):
            if each is None:
                yield None
            else:
                label, probabilities = each
                yield place_of.get(label, 0), [label, *(probabilities or ())[self._shown]]

    @property
    def _shown(self) -> slice:
        """The probabilities that a CSV has: of two classes, that of the positive one."""
        return slice(1 if self.manifest.task == "binary" else 0, None)

    def score(self, records: Sequence[Record]) -> Scores:
        """Score records that the schema has read, whether or not they are predictable; see ``Scorer``."""
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
        if not self.manifest.probabilities:
            return ("prediction",)
        shown = self.manifest.classes[self._shown]
        names = ("probability",) if len(shown) == 1 else (f"probability_{label}" for label in shown)
        return ("prediction", *names)

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
        return [labels, *np.ascontiguousarray(scores.probabilities.T)[self._shown]]

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
        together = self.predict(records * (FEW + 1))[: len(records)]  # more than the engine scores
        differences = []
        for place, (golden, record, scored) in enumerate(
            zip(self.manifest.golden, records, together, strict=True)
        ):
            for found in (self.predict_one(record), scored):
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
        graph = bundle.read(bundles.ONNX)
        if engine is None:
            return OnnxScorer(graph, manifest)
        # The graph waits in memory, where it is smaller than the engine: by then the file may be another.
        return BySize(RowByRow(engine, manifest), lambda: OnnxScorer(graph, manifest))
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


#: What models raised and the log has: the type, and the code and line that raised it.
_logged: set[tuple[object, ...]] = set()


def _log(error: Exception) -> None:
    """Log the type and place of what a model raised, each once in a process."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    met = (type(error), *((trace.tb_frame.f_code, trace.tb_lineno) if trace is not None else ()))
    if met not in _logged and len(_logged) < FAILURES_LOGGED:
        _logged.add(met)
        telemetry.failure("the model fails on a row, which is rejected", error)


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
