"""A loaded model: records and columns become predictions, and rows that are not predictable are found.

One row goes through the one-row program, in Python alone, where the bundle has one; many go through a
scorer.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Sequence

from handler import PACKED, telemetry
from handler.bundle import Bundle, Documents
from handler.errors import InvalidRecords, Problem, Problems
from handler.manifest import JOBLIB, ONNX, SCALAR, Contract, Feature, Manifest
from handler.schema import Columns, Record, Schema
from handler.scoring import outputs
from handler.scoring.explanations import Explaining
from handler.scoring.row_program import Row, RowProgram, Values
from handler.scoring.scorers import (
    FEW,
    BySize,
    OneRow,
    RowByRow,
    Scorer,
    Scores,
    Steady,
    finite,
    is_models,
    length,
    served_contract,
)
from handler.typed import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from handler.scoring.explaining import Explainer

#: Lines of a file up to which each is scored alone; by then onnxruntime would have been imported.
MANY = 4096
#: The code and the reason of a row that the schema takes and the model cannot score.
NOT_PREDICTABLE = "not_predictable"
UNPREDICTABLE = (
    "the model cannot predict these values: it fails on them, or its answer is not a finite number"
)
#: Different failures of models that a process logs.
FAILURES_LOGGED = 100


class Dated:
    """A scorer and a one-row program that are given dates, and give their model the dates' parts."""

    def __init__(self, features: Sequence[Feature], scorer: Scorer, program: OneRow | None) -> None:
        from handler import dates  # which few models need

        self._dates = dates
        self._features = features
        self._scorer = scorer
        self._program = program

    def score(self, columns: Columns) -> Scores:
        return self._scorer.score(self._dates.expanded(self._features, columns))

    def run(self, record: Values) -> Row:
        assert self._program is not None
        return self._program.run(self._dates.expanded_record(self._features, record))


class Model(NamedTuple):
    """A loaded bundle: the manifest, what the model takes, and what scores.

    ``program`` scores up to ``few`` rows; where there is none, ``scorer`` does. ``documents`` are the
    report, the card and what explains predictions, as they were in the folder at the start. No file of the
    bundle is read later, so that training into the folder changes no answer. ``reasons``: how many of its
    strongest features a table's row has.
    """

    manifest: Manifest
    schema: Schema
    scorer: Scorer
    program: OneRow | None = None
    documents: Documents = lambda _: None
    few: int = FEW
    explaining: Explaining | None = None
    reasons: int = 0

    @classmethod
    def load(cls, folder: str | Path, public_key: str | None = None) -> Model:
        """Load the bundle in ``folder``, verified; raises ``BundleError``.

        ``public_key``: see ``Bundle.open``.
        """
        bundle = Bundle.open(folder, public_key)
        program = load_program(bundle)
        scorer = load_scorer(bundle, program)
        few = sys.maxsize if isinstance(scorer, RowByRow) else FEW
        documents = bundle.documents()
        explaining = Explaining(bundle.manifest, documents)
        model = cls.of(bundle.manifest, scorer, program)
        return model._replace(documents=documents, few=few, explaining=explaining)

    @classmethod
    def of(cls, manifest: Manifest, scorer: Scorer, program: OneRow | None = None) -> Model:
        """A model from its parts; the scorer and the program are of its ``served_contract``."""
        if any(feature.kind == "date" for feature in manifest.features):
            dated = Dated(manifest.features, scorer, program)
            scorer, program = dated, None if program is None else dated
        return cls(manifest, Schema.of(manifest), scorer, program)

    @property
    def alone(self) -> bool:
        """Whether only the one-row program is there, and no numpy: in the zip of the request function."""
        return self.few == sys.maxsize

    def steady(self, alone: bool) -> Model:
        """The same model for a table: a row's scores do not depend on the rows beside it, to the last bit.

        ``alone``: each row is scored by the one-row program, where there is one, however many they are.
        """
        if alone and self.program is not None:
            return self._replace(scorer=RowByRow(self.program, self.manifest.contract))
        return self._replace(scorer=Steady(self.scorer), program=None)

    def predict_one(self, record: Record) -> dict[str, Any]:
        """The prediction of a record, as JSON has it; raises ``InvalidRecords`` where there is none."""
        (prediction,) = self._predict([record])
        if prediction is None:
            raise InvalidRecords([Problem("", NOT_PREDICTABLE, UNPREDICTABLE)])
        return prediction

    def predict(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """One prediction per record, as JSON has it; up to ``few`` of them without onnxruntime.

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

    def explained(
        self, records: Sequence[Record], predictions: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """The predictions of records, each with its ``contributions``; raises ``NotExplainable``."""
        return self._explaining().explained(records, predictions)

    def explainer(self) -> Explainer:
        """What explains the predictions; raises ``NotExplainable``."""
        return self._explaining().explainer()

    def _explaining(self) -> Explaining:
        return self.explaining or Explaining(self.manifest, self.documents)

    def reasoning(self, count: int) -> Model:
        """The same model, that names the strongest features of a table's rows; ``count``: so many, if any.

        Raises ``NotExplainable``.
        """
        if count:
            self._explaining().many()
        return self._replace(reasons=min(count, len(self.manifest.features)))

    def columns(self, columns: Columns, scores: Scores) -> list[Any]:
        """The columns that scoring adds to the rows of a table, as ``tables.rows.Outputs`` has them."""
        added = outputs.columns(self.manifest, scores)
        if self.reasons:
            explaining, at_once = self._explaining(), self.program is None
            reasons = explaining.reasons if at_once else explaining.reasons_one_by_one
            added += reasons(columns, scores.values, self.reasons)
        return added

    def _predict(self, records: Sequence[Record]) -> list[dict[str, Any] | None]:
        """One prediction per record, None where it is not predictable."""
        if self.program is None or len(records) > self.few:
            scores, sound = self.attempt(self.schema.columns(records))
            predictions = iter(self.answers(itertools.compress(records, sound.tolist()), scores))
            return [next(predictions) if is_sound else None for is_sound in sound.tolist()]
        classes, outside = self.manifest.classes, self.schema.outside
        scored = ((record, self._run(record)) for record in records)
        return [
            None if row is None else outputs.prediction(classes, *row, outside=outside(record))
            for record, row in scored
        ]

    def answers(self, records: Iterable[Sequence[Any]], scores: Scores) -> list[dict[str, Any]]:
        """The predictions of records that are scored, as ``predict`` gives them."""
        return outputs.predictions(self.manifest.classes, scores, map(self.schema.outside, records))

    def _run(self, record: Record) -> Row | None:
        """What the one-row program gives for a record, None if that is not predictable."""
        assert self.program is not None
        try:
            row = self.program.run(record)
        except (ArithmeticError, ValueError) as error:
            _log(error)
            return None
        label, probabilities, score = row
        total = label if probabilities is None else sum(probabilities)
        sound = (isinstance(total, str) or math.isfinite(total)) and math.isfinite(score or 0.0)
        return row if sound else None

    def attempt(self, columns: Columns) -> tuple[Scores, np.ndarray]:
        """The scores of the rows that are predictable, and which rows these are, shape (n,).

        A row is not predictable if the model fails on it, or if its value, one of its probabilities or its
        score is not finite. The rows on which a model fails are found by halving: at most two calls per
        row.
        """
        if self.alone:
            return self._attempt_alone(columns)
        import numpy as np

        rows = length(columns)
        classes = self.manifest.classes
        none = Scores(
            np.empty(0, np.int64 if classes else np.float64),
            np.empty((0, len(classes))) if self.manifest.probabilities else None,
            np.empty(0) if self.manifest.score else None,
        )
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
            return scores if sound.all() else scores.at(sound), sound
        halves = [
            self.attempt({name: values[half] for name, values in columns.items()})
            for half in (slice(rows // 2), slice(rows // 2, rows))
        ]
        scored = [scores for scores, _ in halves if len(scores.values)] or [none]
        values, *others = zip(*scored, strict=True)
        joined = Scores(
            np.concatenate(values),
            *(None if parts[0] is None else np.concatenate(parts) for parts in others),
        )
        return joined, np.concatenate([sound for _, sound in halves])

    def _attempt_alone(self, columns: Columns) -> tuple[Any, Any]:
        """``attempt`` without numpy: each row by the one-row program."""
        from handler.plain import Column

        manifest, names = self.manifest, self.schema.names
        rows = list(map(self._run, zip(*(columns[name].tolist() for name in names), strict=True)))
        sound = [row for row in rows if row is not None]
        index_of = {label: index for index, label in enumerate(manifest.classes)}
        parts: Any = (
            Column(index_of.get(label, label) for label, _, _ in sound),
            Column(list(given or ()) for _, given, _ in sound) if manifest.probabilities else None,
            Column(score for _, _, score in sound) if manifest.score else None,
        )
        return Scores(*parts), Column(row is not None for row in rows)

    def added(self, records: Sequence[Record]) -> Iterator[tuple[int, list[object]] | None]:
        """The index of each record's class (0 for a regression), and the cells that scoring adds to it.

        None where a record is not predictable.
        """
        classes = self.manifest.classes
        if self.program is None or len(records) > MANY:
            given = self.schema.columns(records)
            scores, sound = self.attempt(given)
            if not sound.all():
                given = {name: values[sound] for name, values in given.items()}
            columns = self.columns(given, scores)
            lists = (values if isinstance(values, list) else values.tolist() for values in columns)
            indices = scores.values.tolist() if classes else [0] * len(scores.values)
            scored = zip(indices, map(list, zip(*lists, strict=True)), strict=True)
            yield from (next(scored) if is_sound else None for is_sound in sound.tolist())
            return
        index_of = {label: index for index, label in enumerate(classes)}
        shown = outputs.shown(self.manifest)
        explain = self.explainer().reasons if self.reasons else None
        for record in records:
            row = self._run(record)
            if row is None:
                yield None
                continue
            label, probabilities, score = row
            index = index_of.get(label, 0)
            cells = [label, *(probabilities or ())[shown], *(() if score is None else (score,))]
            yield index, cells if explain is None else [*cells, *explain(record, index, self.reasons)]

    def score(self, records: Sequence[Record]) -> Scores:
        """Score records that the schema has read, whether or not they are predictable; see ``Scorer``."""
        return self.scorer.score(self.schema.columns(records))


#: Failures of models that were logged: the type of the error, and the code and line that raised it.
_logged: set[tuple[object, ...]] = set()


def _log(error: Exception) -> None:
    """Log the type and line of what a model raised, each once per process."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    failure = (type(error), *((trace.tb_frame.f_code, trace.tb_lineno) if trace is not None else ()))
    if failure not in _logged and len(_logged) < FAILURES_LOGGED:
        _logged.add(failure)
        telemetry.failure("the model fails on a row, which is rejected", error)


def load_scorer(bundle: Bundle, program: RowProgram | None = None) -> Scorer:
    """The scorer that the manifest names, from verified files; raises ``BundleError``.

    ``program`` scores few rows in its place, and all rows in the zip of the request function, which
    does not have the graph.
    """
    contract = served_contract(bundle.manifest)
    if bundle.manifest.runtime == "onnx":
        if program is not None and PACKED is not None and ONNX not in PACKED and not bundle.has(ONNX):
            return RowByRow(program, contract)
        graph = bundle.read(ONNX)
        if program is None:
            return _of_graph(graph, contract)
        # The graph waits in memory, where it is smaller than the session: by then the file may be another.
        return BySize(RowByRow(program, contract), lambda: _of_graph(graph, contract))
    content = bundle.read(JOBLIB)
    bundle.check_libraries()
    from handler.scoring.estimator import JoblibScorer, unpickle

    return JoblibScorer(unpickle(content), contract)


def _of_graph(graph: bytes, contract: Contract) -> Scorer:
    from handler.scoring.graph import OnnxScorer

    return OnnxScorer(graph, contract)


def load_program(bundle: Bundle) -> RowProgram | None:
    """The one-row program, if the manifest names it, from a verified file; raises ``BundleError``."""
    if bundle.manifest.engines.get("one") != "scalar":
        return None
    return RowProgram(bundle.read(SCALAR))
