"""What scores many rows: the graph in onnxruntime, the pickled estimator, or the one-row program in a loop.

A scorer takes columns (one array per feature) and gives ``Scores``: whatever serves, the labels and the
shapes are the same.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping

from handler import bundle as bundles
from handler.bundle import UNSUPERVISED, Bundle, Contract, Feature, Label, Manifest, RowsAs, Task
from handler.errors import BundleError
from handler.schema import Columns
from handler.scoring.row_program import Row, RowProgram, Values
from handler.typed import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from handler.categories import Coded, Numbering
    from handler.scoring.texts import Vectorizer
    from handler.scoring.trees import Sums

#: The most rows that a graph is given at once, which bounds what lies between its nodes, and the most
#: numbers that texts become at once: 64 MB of doubles.
PIECE, CELLS = 2048, 8_000_000
#: The key of the graph's metadata, whose value is a JSON object: by the name of an input of codes, the
#: texts that have one beside the feature's own levels.
LEVELS = "levels"
#: The key of a graph's metadata that states trees which follow it; see ``handler.scoring.trees``.
TREES = "trees"
#: The graph's output of a score, which is its last one.
SCORE = "score"
#: The estimator's method that gives the score of a row, by the task; a clusterer may have none.
SCORE_METHODS: Mapping[Task, str] = {"anomaly": "decision_function", "cluster": "score_samples"}
#: Rows of which an array has a multiple where each is to be computed alike: more than ``FEW``, and what the
#: widest vector units and the kernels of matrix products take at once.
LANES = 64
#: Rows up to which each is scored alone, by the one-row program.
FEW = 16
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else onnxruntime writes a device id, and calls home


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


class OnnxScorer:
    """The exported graph in onnxruntime, one thread per call; safe to call from several threads."""

    def __init__(self, graph: bytes, contract: Contract) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise BundleError(
                "onnxruntime is not installed: activate .venv (make serve makes it), or install "
                "requirements/serve.txt"
            ) from error

        def session(graph: bytes) -> Any:
            return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = session(graph)
        stated = self._session.get_modelmeta().custom_metadata_map
        features = {name: feature for feature, name in input_names(contract).items()}
        every = {feature.name: feature for feature in contract.features}
        inputs = self._session.get_inputs()
        names = [node.name for node in inputs]
        self._inputs = [(name, features[name]) for name in names if name in features]
        #: Of a category: its codes where the graph takes these, else None.
        self._numberings: dict[str, Numbering | None] = {
            node.name: _numbering(every[features[node.name]], node, stated)
            for node in inputs
            if node.name in features and every[features[node.name]].kind == "category"
        }
        self._texts: list[tuple[str, str, Vectorizer]] = []
        if len(self._inputs) < len(names):
            from handler.scoring.texts import Vectorizer, recipes

            self._texts = [
                (name, features[recipe.pop("feature")], Vectorizer(**recipe))
                for name, recipe in recipes(stated).items()
            ]
        self._made = [node.name for node in self._session.get_outputs()]
        self._sums: list[Sums] = []
        last = self._session
        if TREES in stated:
            from handler.scoring.trees import follows

            self._sums, after = follows(stated[TREES])
            last = self._last = session(after)
            self._needed = [node.name for node in last.get_inputs()]
        label, *_ = made = last.get_outputs()
        self._outputs = [node.name for node in made]
        self._has_score = SCORE in self._outputs
        self._index = class_index(contract.classes)
        if isinstance(next(iter(contract.classes), 0), str) and label.type == "tensor(int64)":
            self._index = lambda indices: indices  # the graph has texts, if at all

    def score(self, columns: Columns) -> Scores:
        outputs = self._run(columns)
        if self._index is None:
            return Scores(outputs[0].reshape(-1).astype("float64", copy=False), None)
        score = outputs.pop().reshape(-1) if self._has_score else None
        probabilities = outputs[1] if len(outputs) > 1 else None
        return Scores(self._index(outputs[0].reshape(-1)), probabilities, score)

    @property
    def at_once(self) -> int:
        """How many rows the graph is given at once: fewer, where a text becomes many thousand numbers."""
        numbers = sum(vectorizer.size for _, _, vectorizer in self._texts)
        return min(PIECE, max(1, CELLS // numbers // LANES) * LANES) if numbers else PIECE

    def table(self, columns: Columns) -> np.ndarray:
        """The graph's only output, shape (n, k), where it is not a prediction."""
        (output,) = self._run(columns)
        return output

    def _run(self, columns: Columns) -> list[np.ndarray]:
        """The outputs, made ``at_once`` rows at a time."""
        import numpy as np

        from handler.categories import texts_of

        size = self.at_once
        every, pieces = length(columns), []
        for start in range(0, max(every, 1), size):
            piece = {name: values[start : start + size] for name, values in columns.items()}
            made = {
                name: vectorizer.table(texts_of(piece[feature]))
                for name, feature, vectorizer in self._texts
            }
            outputs = self._run_piece(piece, made)
            if every > size:  # a graph may give its labels the shape (1, n)
                outputs = [each.reshape(length(piece), -1) for each in outputs]
            pieces.append(outputs)
        return pieces[0] if every <= size else [np.concatenate(each) for each in zip(*pieces, strict=True)]

    def _run_piece(self, columns: Columns, made: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        feed = {name: self._given(name, columns[feature]) for name, feature in self._inputs}
        feed |= made
        with models_code():
            outputs: list[np.ndarray] = self._session.run(self._made, feed)
            if self._sums:
                feed |= zip(self._made, outputs, strict=True)
                feed |= {each.name: each.of(feed[each.given]) for each in self._sums}
                outputs = self._last.run(self._outputs, {name: feed[name] for name in self._needed})
        return outputs

    def _given(self, name: str, column: Any) -> Any:
        """A column as the input of that name takes it."""
        if name not in self._numberings:
            return column.reshape(-1, 1)
        numbering = self._numberings[name]
        if numbering is not None:
            return numbering.codes(column)
        from handler.categories import texts_of

        return texts_of(column).reshape(-1, 1)


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


class JoblibScorer:
    """The fitted estimator itself, fed as training fed it; loads scikit-learn and pandas."""

    def __init__(self, estimator: Any, contract: Contract) -> None:
        self._estimator = estimator
        self._contract = contract
        self._index = class_index(own_labels(estimator, contract))
        self._classes = contract.classes if contract.task in UNSUPERVISED else None
        self._before, self._last = _parts(estimator)
        score = SCORE_METHODS.get(contract.task, "")
        self._score = getattr(self._last, score) if hasattr(estimator, score) else None

    def score(self, columns: Columns) -> Scores:
        import numpy as np

        rows = fed(self._contract.features, columns, self._contract.rows_as)
        with models_code(), np.errstate(all="ignore"):  # what is not finite is seen in the scores
            for step in self._before:
                rows = step.transform(rows)
            values = np.reshape(self._last.predict(rows), -1)  # CatBoost's of three classes is (n, 1)
            has = self._index is not None and hasattr(self._estimator, "predict_proba")
            probabilities = self._last.predict_proba(rows) if has else None
            score = None if self._score is None else self._score(rows)
            if self._classes is not None and not np.isin(values, self._classes).all():
                raise ValueError("a label that is not one of the model's")
        if self._index is None:
            return Scores(values.astype("float64", copy=False), None)
        return Scores(self._index(values), probabilities, score)


def _parts(estimator: Any) -> tuple[list[Any], Any]:
    """The steps of a pipeline that transform rows, and the last one, which is asked several things of them.

    Each method of ``Pipeline`` would transform them anew. Another estimator, also one derived from it, is
    the last one itself.
    """
    kind = type(estimator)
    if (kind.__module__, kind.__qualname__) != ("sklearn.pipeline", "Pipeline"):
        return [], estimator
    *before, last = (step for _, step in estimator.steps)
    return [step for step in before if step is not None and step != "passthrough"], last


def own_labels(estimator: Any, contract: Contract) -> tuple[Any, ...]:
    """An estimator's own labels, which the contract's classes stand for, one for one."""
    if not contract.classes or contract.task in UNSUPERVISED:
        return contract.classes
    return tuple(estimator.classes_.tolist())


def fed(features: Sequence[Feature], columns: Columns, rows_as: RowsAs = "frame") -> Any:
    """The columns as the estimator is fed them, in fitting and afterwards.

    They are a DataFrame, an array, or the only column's texts, shape (n,). An array has the dtype that its
    columns have in common; with texts among them, it holds objects.
    """
    import numpy as np

    every = {feature.name: _fed(feature, columns[feature.name]) for feature in features}
    if rows_as == "texts":
        (only,) = every.values()
        return np.asarray(only, object)
    if rows_as == "frame":
        import pandas as pd

        if all(isinstance(each, np.ndarray) and each.dtype == np.float64 for each in every.values()):
            # At once, and once: column by column, pandas takes its time for thousands.
            return pd.DataFrame(np.array(list(every.values())).T, columns=list(every), copy=False)
        return pd.DataFrame(every)
    texts = any(feature.is_text for feature in features)
    return np.column_stack([np.asarray(each, object if texts else None) for each in every.values()])


def _fed(feature: Feature, values: Any) -> Any:
    """One column as ``Feature.fed_as`` says.

    Numbers that a whole-number dtype cannot hold, and missing ones, make the column float64, as in pandas.
    """
    import numpy as np

    if feature.is_text:
        return _fed_texts(feature, values)
    if feature.fed_as is None:
        return values
    dtype = np.dtype(feature.fed_as)
    with np.errstate(all="ignore"):
        cast = values.astype(dtype)
    return cast if dtype.kind == "f" or (cast == values).all() else values


def _fed_texts(feature: Feature, column: np.ndarray | Coded) -> Any:
    import numpy as np

    from handler.categories import Numbering, texts_of

    if feature.fed_as == "category":
        import pandas as pd

        codes = Numbering(feature).codes(column)
        known = np.where(codes < len(feature.categories), codes, -1)
        return pd.Categorical.from_codes(known, list(feature.categories))
    values = texts_of(column)
    if feature.fed_as is None:
        return values
    if feature.fed_as == "nan":
        return np.where(values == "", np.nan, values)
    import pandas as pd

    given: Any = values.copy()
    given[values == ""] = None
    return pd.Series(given, dtype=object)  # else pandas would make NaN of None


def _numbering(feature: Feature, node: Any, metadata: Mapping[str, str]) -> Numbering | None:
    """How a graph's input numbers a category, None where it takes texts."""
    if node.type == "tensor(string)":
        return None
    import json

    from handler.categories import Numbering

    return Numbering(feature, json.loads(metadata.get(LEVELS, "{}")).get(node.name, ()))


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


def input_names(contract: Contract) -> dict[str, str]:
    """The graph's input of each feature: ``x0``, ``x1``, ..., since a feature's name may be anything."""
    return {feature.name: f"x{index}" for index, feature in enumerate(contract.features)}


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
        raise BundleError(f"{bundles.MANIFEST} has a date whose format is not one: {error}") from error


def load_scorer(bundle: Bundle, program: RowProgram | None = None) -> Scorer:
    """The scorer that the manifest names, from verified files; raises ``BundleError``.

    ``program`` scores few rows in its place, and all rows in the zip of the request function, which
    does not have the graph.
    """
    contract = served_contract(bundle.manifest)
    if bundle.manifest.runtime == "onnx":
        if program is not None and not bundle.has(bundles.ONNX) and _is_zip():
            return RowByRow(program, contract)
        graph = bundle.read(bundles.ONNX)
        if program is None:
            return OnnxScorer(graph, contract)
        # The graph waits in memory, where it is smaller than the session: by then the file may be another.
        return BySize(RowByRow(program, contract), lambda: OnnxScorer(graph, contract))
    content = bundle.read(bundles.JOBLIB)
    bundle.check_libraries()
    return JoblibScorer(unpickle(content), contract)


def _is_zip() -> bool:
    """Whether this is the handler of the zip, which lacks what files in buckets need."""
    try:
        import handler.batch  # noqa: F401
    except ModuleNotFoundError:
        return True
    return False


def load_program(bundle: Bundle) -> RowProgram | None:
    """The one-row program, if the manifest names it, from a verified file; raises ``BundleError``."""
    if bundle.manifest.engines.get("one") != "scalar":
        return None
    return RowProgram(bundle.read(bundles.SCALAR))


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
