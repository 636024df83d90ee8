"""A fitted estimator becomes a bundle: scored, exported, proven, rehearsed and written.

Nothing here knows how the estimator came to be fitted, or where its rows come from.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import joblib
import numpy as np

from handler import dates
from handler.bundle import PICKLE_LIBRARIES
from handler.manifest import (
    EXPLANATION,
    JOBLIB,
    ONNX,
    SCALAR,
    UNSUPERVISED,
    Contract,
    Feature,
    Manifest,
    content_version,
)
from handler.schema import Columns, Record
from handler.scoring.checking import differences
from handler.scoring.estimator import JoblibScorer, own_labels
from handler.scoring.explaining import Explainer
from handler.scoring.graph import OnnxScorer
from handler.scoring.metrics import measure
from handler.scoring.model import Model
from handler.scoring.row_program import RowProgram
from handler.scoring.scorers import RowByRow, Scorer, Scores, finite, length
from training import bundling
from training.errors import Say, TrainingError, one_line, users_code
from training.export.codes import coded
from training.export.explanation import NotExplainable, explanation, mean_contributions
from training.export.graph import NotExportable, decision_threshold, to_onnx
from training.export.labels import indexed, renamed
from training.export.lifting import lifted
from training.export.marks import unmarked
from training.export.program import NotCompilable, compile_program
from training.needs import Needs, needs_of
from training.profile import profile
from training.proof import parity, rows
from training.proof.breakpoints import breakpoints
from training.proof.parity import Finding, Gate, Scale
from training.report import card, comparison, console
from training.report.comparison import Comparison
from training.report.evidence import Evidence
from training.report.progress import Tick, step

LIBRARIES = (*PICKLE_LIBRARIES, "pandas", "skl2onnx", "onnx", "onnxruntime")

#: The most rows on which it is checked that explanations add up.
MOST_EXPLAINED = 1000

#: In the error of pickle: a function that no other process could find, and its name, if it has one.
LOCAL = re.compile(r"<lambda>|<locals>\.(\w+)")

#: ``to_onnx``, or another function with its parameters.
Export = Callable[..., bytes]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted estimator, and all that is needed to make a bundle of it.

    ``ids`` and ``ignored``: columns that are not features, and that requests may carry.
    ``typical``: a record in the middle of those that it was fitted on. ``rows``: some that it was not
    fitted on, with their targets in ``truth``; ``every_truth``: the targets of all rows. Both are indices
    into the classes, or numbers, as ``Scores.values``, and None where no target is known. ``training``: the
    manifest's, its provenance; where it has ``imported``, the estimator came here fitted, and may have
    seen ``rows``. ``stated``: the features as requests, ``typical`` and ``rows`` have them, where there are
    dates among them: the contract's features are the dates' parts.
    """

    name: str
    estimator: Any
    contract: Contract
    target: str
    ids: tuple[str, ...]
    typical: Record
    rows: Columns
    truth: np.ndarray | None
    every_truth: np.ndarray | None
    training: Mapping[str, Any]
    ignored: tuple[str, ...] = ()
    stated: tuple[Feature, ...] = ()

    @property
    def requested(self) -> Contract:
        """The contract with what requests state: a date, where the model is given its parts."""
        return self.contract._replace(features=self.stated or self.contract.features)

    @property
    def given(self) -> Columns:
        """The rows as the estimator's scorers are given them, with the parts of dates."""
        return dates.expanded(self.requested.features, self.rows)

    @property
    def imported(self) -> bool:
        """Whether the estimator came here fitted, and the rows are a sample that it may have seen."""
        return "imported" in self.training

    @property
    def threshold(self) -> float | None:
        """The probability from which the second class is predicted, where the estimator states one."""
        try:
            return decision_threshold(self.estimator)
        except NotExportable:  # it is a threshold of another score than a probability
            return None


@dataclass(frozen=True, slots=True)
class Proven:
    """What may serve: the model files, the scorer of many rows, and the findings on what was exported.

    ``program`` is the finding on the one-row program, or None where there was no graph to compile.
    ``needs``: what serving from the pickle needs, where no graph serves. ``contributions``: the mean
    absolute ones of the features, where there are explanations.
    """

    files: Mapping[str, bytes]
    scorer: Scorer
    graph: Finding
    program: Finding | None
    needs: Needs | None = None
    explanation: Mapping[str, str] = field(default_factory=dict)
    contributions: Mapping[str, float] = field(default_factory=dict)


class Package(NamedTuple):
    """A bundle that is not written yet: the manifest, and the other files by their names."""

    manifest: Manifest
    files: Mapping[str, bytes]


def package(
    fitted: Fitted,
    out: Path,
    *,
    seed: int,
    exact: bool,
    say: Say,
    export: Export = to_onnx,
    other: Model | None = None,
) -> Package:
    """Put the bundle of a fitted estimator at ``out``, whole or not at all.

    ``exact``: let the exported forms differ by 1e-12 at most. ``other``: a model to compare with.
    Raises ``TrainingError`` or ``BundleError``.
    """
    estimator = JoblibScorer(fitted.estimator, fitted.contract)
    imported = fitted.imported
    named = console.named_rows(imported)
    with (
        step(say, f"scoring the {length(fitted.rows):,} {named}"),
        users_code(f"scoring the {named} fails", say),
    ):
        scores = estimator.score(fitted.given)
        fitted, scores = _answered(fitted, scores, say)
        measured: dict[str, Any] = {}
        if fitted.truth is not None:
            measured = measure(fitted.contract, fitted.truth, scores, fitted.every_truth)
    threshold = fitted.threshold
    say(console.quality(measured, fitted.contract, threshold, fitted.truth, scores, imported=imported))
    compared = None if other is None else _compared(fitted, scores, other, say)
    if compared is not None:
        measured["compared"] = compared.as_json()
    proven = prove(fitted, estimator, seed=seed, exact=exact, say=say, export=export)
    with step(say, "drawing the model report"):
        with users_code("scoring the golden rows fails", say):
            golden = rows.golden(proven.scorer, fitted.requested, fitted.typical, seed)
        made = _described(fitted, scores, measured, proven, golden, compared)
    with step(say, "writing the bundle, and serving its golden rows from it"):
        bundling.write(out, *made, check=_rehearse)
    say(console.done(made.manifest, out))
    return made


def _compared(fitted: Fitted, scores: Scores, other: Model, say: Say) -> Comparison | None:
    """The other model on the same rows; None, with the reason said, where both cannot be compared."""
    try:
        made = comparison.compare(
            fitted.requested, fitted.training, fitted.rows, fitted.truth, scores, other
        )
    except TrainingError as error:
        say(f"not compared with {other.manifest.name} {other.manifest.version}: {error}")
        return None
    say(console.compared(made))
    return made


def _answered(fitted: Fitted, scores: Scores, say: Say) -> tuple[Fitted, Scores]:
    """The same without the rows for which the estimator gives no finite number: no prediction is made."""
    sound, named = finite(scores), console.named_rows(fitted.imported)
    if sound.all():
        return fitted, scores
    if not sound.any():
        raise TrainingError(f"the model gives no finite number for any of the {named}")
    say(f"{(~sound).sum():,} of the {len(sound):,} {named} get no finite number, and are left out")
    left, truth = {name: values[sound] for name, values in fitted.rows.items()}, fitted.truth
    truth = None if truth is None else truth[sound]
    return replace(fitted, rows=left, truth=truth), scores.at(sound)


def prove(
    fitted: Fitted,
    estimator: Scorer,
    *,
    seed: int,
    exact: bool,
    say: Say,
    export: Export = to_onnx,
    rows_compared: int = parity.ROWS,
) -> Proven:
    """Export the estimator; what was found equal to it will serve. Raises ``TrainingError``.

    ``rows_compared``: so many rows are compared, or as many more as the edges of the features need.
    """
    contract = fitted.contract
    with step(say, "exporting to ONNX, and comparing the graph with scikit-learn") as tick:
        typical = dates.expanded_record(fitted.requested.features, fitted.typical)
        some = {name: values[:rows_compared] for name, values in fitted.given.items()}
        adversarial = rows.adversarial(
            contract.features,
            typical,
            seed,
            breakpoints(fitted.estimator, contract, typical, seed),
            at_least=rows_compared - length(some),
        )
        gate = Gate(estimator, contract.task, some, adversarial, _scale(fitted, estimator, some), exact)
        graph, served, scorer, finding = _exported(fitted, gate, export, tick)
        program, program_finding = (None, None) if graph is None else _compiled(graph, contract, gate, tick)
    say(console.parity(finding, program_finding, imported=fitted.imported))
    if graph is None:
        finding = _steady(gate, finding, say)
    files = {JOBLIB: _pickled(fitted.estimator), ONNX: served, SCALAR: program}
    needs = None
    if graph is None:
        needs = needs_of(fitted.estimator)
        say(console.needs(needs))
    explaining, described, contributions = _explained(fitted, scorer)
    files[EXPLANATION] = explaining
    made = {name: content for name, content in files.items() if content is not None}
    return Proven(made, scorer, finding, program_finding, needs, described, contributions)


def _explained(
    fitted: Fitted, scorer: Scorer
) -> tuple[bytes | None, Mapping[str, str], Mapping[str, float]]:
    """What explains the predictions of a scorer, the manifest's ``explanation``, and what features add."""
    try:
        content, of = explanation(
            fitted.estimator, fitted.contract, fitted.requested.features, fitted.given
        )
        features = fitted.requested.features
        explainer = Explainer(content, features, fitted.contract)
        some = {name: values[:MOST_EXPLAINED] for name, values in fitted.rows.items()}
        scores = scorer.score({name: values[:MOST_EXPLAINED] for name, values in fitted.given.items()})
        means = mean_contributions(explainer, some, scores)
    except NotExplainable as error:
        return None, {"reason": str(error)}, {}
    return content, {"of": of}, dict(zip((each.name for each in features), means, strict=True))


def _scale(fitted: Fitted, estimator: Scorer, some: Columns) -> Scale | None:
    """The spread of a regression's target, or of its values on ``some`` rows; or of the score on them."""
    task = fitted.contract.task
    if task != "regression" and task not in UNSUPERVISED:
        return None
    if fitted.every_truth is not None:
        return Scale.of(fitted.every_truth)
    scores = estimator.score(some)
    values = scores.values if task == "regression" else scores.score
    return None if values is None else Scale.of(values[finite(scores)])


def _exported(
    fitted: Fitted, gate: Gate, export: Export, tick: Tick
) -> tuple[bytes | None, bytes | None, Scorer, Finding]:
    """The graph of texts and the one that serves, with codes in their place, if that was found equal.

    A graph that only answers too much is exported again with a guard.
    """
    classes, own = fitted.contract.classes, own_labels(fitted.estimator, fitted.contract)
    try:
        for guarded in (False, True):
            graph = export(fitted.estimator, fitted.contract._replace(classes=own), guarded=guarded)
            if own != classes:
                graph = renamed(graph, own, classes)
            served = lifted(unmarked(indexed(coded(graph, fitted.contract), classes)))
            scorer = OnnxScorer(served, fitted.contract)
            finding = gate.compare(scorer, tick=tick)
            if not finding.answers_too_much:
                break
    except NotExportable as error:
        return None, None, gate.estimator, parity.untried(str(error), gate.tolerance, gate.scale)
    if finding.reason is not None:
        return None, None, gate.estimator, finding
    return graph, served, scorer, finding


def _compiled(graph: bytes, contract: Contract, gate: Gate, tick: Tick) -> tuple[bytes | None, Finding]:
    """The one-row program of a graph, if it was found equal."""
    try:
        program = compile_program(graph, contract, gate.adversarial)
    except NotCompilable as error:
        return None, parity.untried(f"Python alone cannot do {error}")
    most = max(parity.FEWEST_ROWS, parity.PROGRAMS_WORK // max(1, program.work))
    finding = gate.compare(RowByRow(RowProgram(program.content), contract), most, tick)
    return program.content if finding.reason is None else None, finding


def _steady(gate: Gate, finding: Finding, say: Say) -> Finding:
    """The finding, with a tolerance for an estimator whose answer depends on the rows beside a row.

    Raises ``TrainingError`` where that is more than rounding.
    """
    with users_code("scoring single rows fails", say):
        unsteady = gate.unsteadiness()
    if unsteady > parity.UNSTEADY:
        raise TrainingError(
            "the model does not give the same answer twice: the same rows, scored again or one by one, "
            "get other predictions"
        )
    if unsteady > parity.STEADY:
        say(console.unsteady(unsteady, finding.scale))
    return replace(finding, tolerance=max(finding.tolerance, 10 * unsteady))


def _pickled(estimator: Any) -> bytes:
    content = io.BytesIO()
    try:
        joblib.dump(estimator, content)
    except Exception as error:  # pickling runs the estimator's code
        local = LOCAL.search(str(error))
        if local:
            held = f"'{local[1]}'" if local[1] else "a lambda"
            raise TrainingError(
                f"the model holds {held}, which cannot be pickled; move "
                "the function into a module, under a name of its own"
            ) from error
        raise TrainingError(f"the fitted pipeline cannot be pickled: {one_line(error)}") from error
    return content.getvalue()


def _described(
    fitted: Fitted,
    scores: Scores,
    measured: Mapping[str, Any],
    proven: Proven,
    golden: tuple[Mapping[str, Any], ...],
    compared: Comparison | None,
) -> Package:
    """The model files with the manifest that states them, and the documents that show it."""
    runtime: Literal["onnx", "joblib"] = "onnx" if ONNX in proven.files else "joblib"
    found = {} if proven.program is None else {"scalar": proven.program.as_json()}
    unversioned = Manifest(
        name=fitted.name,
        version="",
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        target=fitted.target,
        **fitted.requested._asdict(),
        metrics=measured,
        runtime=runtime,
        parity={**proven.graph.as_json(), **found},
        libraries={library: importlib.metadata.version(library) for library in LIBRARIES}
        | (proven.needs.libraries if proven.needs else {}),
        training=fitted.training,
        files=bundling.sha256_of(proven.files),
        golden=golden,
        threshold=fitted.threshold,
        ids=fitted.ids,
        ignored=fitted.ignored,
        profile=profile(fitted.requested, fitted.rows, scores),
        engines={"one": "scalar" if SCALAR in proven.files else runtime, "many": runtime},
        needs=proven.needs.as_json() if proven.needs and any(proven.needs) else {},
        explanation=proven.explanation,
    )
    manifest = unversioned._replace(version=content_version(unversioned.as_json()))
    evidence = Evidence(
        contract=fitted.contract,
        threshold=0.5 if fitted.threshold is None else fitted.threshold,
        scorer=proven.scorer,
        columns=fitted.given,
        scores=scores,
        truth=fitted.truth,
        every_truth=fitted.every_truth,
        rows=console.named_rows(fitted.imported),
        contributions=proven.contributions,
        of=proven.explanation.get("of", ""),
    )
    program = RowProgram(proven.files[SCALAR]) if SCALAR in proven.files else None
    model = Model.of(manifest, proven.scorer, program)
    answer = model.predict_one(model.schema.from_json(golden[0]["record"]))
    # They name the version, which is not over them.
    documents = card.documents(manifest, evidence, {**answer, "model": manifest.identity}, compared)
    files = {**manifest.files, **bundling.sha256_of(documents)}
    return Package(manifest._replace(files=files), {**proven.files, **documents})


def _rehearse(folder: Path) -> None:
    """Load a bundle as serving does, and raise ``TrainingError`` unless its golden rows reproduce."""
    for difference in differences(Model.load(folder)):
        raise TrainingError(f"the model does not give the same answer twice: {difference}")
