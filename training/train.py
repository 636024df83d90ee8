"""From a CSV to a proven bundle: read, split, fit, measure, export, compare, write."""

from __future__ import annotations

import datetime
import io
import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import joblib
from sklearn.base import is_classifier

from handler import bundle
from handler.bundle import Kind, Manifest
from handler.schema import Columns
from handler.scoring import checking
from handler.scoring.model import Model
from handler.scoring.row_program import RowProgram
from handler.scoring.scorers import JoblibScorer, OnnxScorer, RowByRow, Scorer
from training import fitting, pipelines
from training.data import columns, reading, sample
from training.data.reading import Dataset
from training.errors import TrainingError, one_line
from training.export.graph import NotExportable, decision_threshold, to_onnx
from training.export.scalar import NotTranslatable, to_scalar
from training.fitting import Say
from training.proof import parity, rows
from training.proof.parity import Finding, Scale
from training.proof.thresholds import threshold_values
from training.report import card, console, metrics
from training.report.pictures import Evidence

LIBRARIES = (*bundle.PICKLE_LIBRARIES, "pandas", "skl2onnx", "onnx", "onnxruntime")
#: Rows that an estimator is asked for together and one by one.
STEADY_ROWS = 50
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)

#: ``to_onnx``, or another function with its parameters.
Export = Callable[..., bytes]


@dataclass(frozen=True, slots=True)
class Options:
    """What ``python -m training`` is asked for; without ``data``, the synthetic sample."""

    data: Path | None = None
    target: str | None = None
    pipeline: str | None = None
    test_size: float = 0.3
    seed: int = 555
    name: str | None = None
    out: Path = Path("handler/model")
    report: Path | None = None
    exact: bool = False
    drop: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    columns: Path | None = None
    threshold: str | None = None


def train(options: Options, say: Say = print, export: Export = to_onnx) -> Manifest:
    """Train, and put the bundle at ``options.out``, whole or not at all; returns its manifest.

    ``say`` takes the report piece by piece. Raises ``TrainingError`` or ``BundleError``, and then an
    earlier bundle is as it was.
    """
    _check(options)
    told: list[str] = []

    def tell(text: str) -> None:
        told.append(text)
        say(text)

    dataset = _read(options, tell)
    tell(console.columns(dataset, synthetic=options.data is None))
    if dataset.target.mixed and options.pipeline is None:
        raise TrainingError(dataset.target.mixed)
    classifies = dataset.target.classifies
    default = "logistic" if classifies else "linear"
    choice = pipelines.choose(options.pipeline or default, dataset.features, classifies=classifies)
    parts = fitting.split(dataset, choice, options.test_size, options.seed)
    tell(console.split(parts, choice, options.test_size, options.seed))
    if options.threshold is not None:
        fitting.check_classes(choice, parts)
    estimator = fitting.fit(choice, dataset, parts, tell)
    if options.threshold is not None:
        estimator = fitting.with_threshold(
            estimator, choice, dataset, parts, options.threshold, options.seed, tell
        )

    manifest = _draft(options, dataset, choice.name, estimator)
    scorer = JoblibScorer(estimator, manifest)
    manifest = manifest._replace(features=fitting.opened(scorer, dataset, parts))
    held_out, y = dataset.take(parts.held_out), parts.y[parts.held_out]
    with fitting.users_code("scoring the rows held out fails", tell):
        scores = scorer.score(held_out)
        manifest = manifest._replace(metrics=metrics.measure(manifest, y, scores))
    tell(console.quality(manifest, y, scores))

    tell("exporting to ONNX, and comparing the graph with scikit-learn ...")
    typical = tuple(column.typical for column in dataset.columns)
    some = {name: values[: parity.ROWS] for name, values in held_out.items()}
    adversarial = rows.adversarial(
        manifest.features,
        typical,
        options.seed,
        threshold_values(estimator, manifest.features, typical, options.seed),
        at_least=parity.ROWS - min(parity.ROWS, len(y)),
    )
    scale = None if manifest.classes else Scale.of(parts.y)
    proven = _prove(export, estimator, manifest, scorer, some, adversarial, scale, options.exact)
    tell(console.parity(proven.finding, proven.scalar_finding))
    if proven.graph is None:
        few = {name: values[:: max(1, len(values) // STEADY_ROWS)] for name, values in some.items()}
        with fitting.users_code("scoring single rows fails", tell):
            unsteady = parity.unsteadiness(scorer, few, scale)
        proven = proven.served_by_joblib(unsteady)
        if unsteady > parity.STEADY:
            tell(console.unsteady(unsteady, scale))

    files = {bundle.JOBLIB: _pickled(estimator), **proven.files}
    manifest = proven.applied(manifest)._replace(files=bundle.sha256_of(files))
    served = Model.of(
        manifest,
        OnnxScorer(proven.graph, manifest) if proven.graph is not None else scorer,
        RowProgram(proven.scalar) if proven.scalar is not None else None,
    )
    with fitting.users_code("scoring the golden rows fails", tell):
        manifest = manifest._replace(golden=rows.golden(served, typical, options.seed))
    manifest = manifest._replace(version=bundle.content_version(manifest.as_json()))
    tell("drawing the model report ...")
    evidence = Evidence(manifest, served.scorer, held_out, y, scores, parts.y)
    documents = card.documents(evidence)
    manifest = manifest._replace(files={**manifest.files, **bundle.sha256_of(documents)})
    files |= documents
    _rehearse(manifest, files)
    bundle.write(options.out, manifest, files)
    tell(console.done(manifest, options.out))
    if options.report:
        (options.report / "report.txt").write_text("\n".join(told) + "\n", encoding="utf-8")
        for name, content in documents.items():
            (options.report / name).write_bytes(content)
        (options.report / "metrics.json").write_text(json.dumps(manifest.metrics, indent=2) + "\n")
    return manifest


def _check(options: Options) -> None:
    """Raise for what can be known to fail before the minutes of fitting."""
    if not 0 < options.test_size < 1:
        raise TrainingError(
            f"--test-size is a share between 0 and 1, such as 0.3, not {options.test_size:g}"
        )
    if not 0 <= options.seed < 2**32:
        raise TrainingError(f"--seed is a whole number from 0 to 4294967295, not {options.seed}")
    if options.name is not None and not NAME.fullmatch(options.name):
        raise TrainingError(
            "--name takes letters, digits, '.', '_' and '-', at most 100, a letter or digit first"
        )
    fitting.check_threshold(options.threshold)
    bundle.check_target(options.out)
    if options.report:
        options.report.mkdir(parents=True, exist_ok=True)


def _read(options: Options, tell: Say) -> Dataset:
    flags = columns.Columns(options.target, options.drop, options.ids, options.kinds)
    file = columns.read(options.columns) if options.columns else None
    if options.data is None:
        tell(f"making the synthetic sample (seed {options.seed}); --data takes your own CSV")
        content = sample.rows(options.seed).to_csv(index=False).encode()
        return reading.prepare(reading.parse(content, f"{sample.NAME}.csv", synthetic=True), flags, file)
    tell(f"reading {options.data} ...")
    return reading.prepare(reading.read(options.data), flags, file)


def _draft(options: Options, dataset: Dataset, pipeline: str, estimator: Any) -> Manifest:
    """What is known of the model before it is measured and proven."""
    classes = tuple(estimator.classes_.tolist()) if is_classifier(estimator) else ()
    table = dataset.table
    stem = Path(table.source).stem
    return Manifest(
        name=options.name or re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_")[:100] or "model",
        version="",
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        task="regression" if not classes else "binary" if len(classes) == 2 else "multiclass",
        features=dataset.features,
        target=dataset.target.name,
        classes=classes,
        metrics={},
        runtime="joblib",
        parity={},
        libraries=bundle.installed_versions(LIBRARIES),
        training={
            "data": table.source,
            "sha256": table.sha256,
            "rows": table.rows,
            "seed": options.seed,
            "test_size": options.test_size,
            "pipeline": pipeline,
            "synthetic": options.data is None,
        },
        files={},
        threshold=_threshold(estimator),
        ids=dataset.ids,
    )


def _threshold(estimator: Any) -> float | None:
    try:
        return decision_threshold(estimator)
    except NotExportable:  # it is one of another score than a probability
        return None


@dataclass(frozen=True, slots=True)
class Proven:
    """The graph and the program for one row, each only if it was found equal to the estimator."""

    graph: bytes | None
    finding: Finding
    scalar: bytes | None = None
    scalar_finding: Finding | None = None

    @property
    def files(self) -> dict[str, bytes]:
        """The files of the bundle that hold them."""
        named = {bundle.ONNX: self.graph, bundle.SCALAR: self.scalar}
        return {name: content for name, content in named.items() if content is not None}

    def served_by_joblib(self, unsteady: float) -> Proven:
        """The same with a tolerance for an estimator that differs so much from itself.

        Raises ``TrainingError`` where that is more than rounding.
        """
        if unsteady > parity.UNSTEADY:
            raise TrainingError(
                "the model does not give the same answer twice: the same rows, scored again or one by one, "
                "get other predictions"
            )
        tolerance = max(self.finding.tolerance, 10 * unsteady)
        return replace(self, finding=replace(self.finding, tolerance=tolerance))

    def applied(self, manifest: Manifest) -> Manifest:
        """The manifest with what serves one row and many, and why."""
        told = self.finding.as_json()
        if self.scalar_finding is not None:
            told["scalar"] = self.scalar_finding.as_json()
        runtime: Literal["onnx", "joblib"] = "onnx" if self.graph is not None else "joblib"
        engines = {"one": "scalar" if self.scalar is not None else runtime, "many": runtime}
        return manifest._replace(runtime=runtime, engines=engines, parity=told)


def _prove(
    export: Export,
    estimator: Any,
    manifest: Manifest,
    scorer: Scorer,
    held_out: Columns,
    adversarial: Columns,
    scale: Scale | None,
    exact: bool,
) -> Proven:
    """Export, and compare; a graph that only answers too much is exported again with a guard."""

    def compared(found: Scorer) -> Finding:
        return parity.compare(found, scorer, manifest.task, held_out, adversarial, scale=scale, exact=exact)

    try:
        graph = export(estimator, manifest)
        finding = compared(OnnxScorer(graph, manifest))
        if finding.answers_too_much:
            graph = export(estimator, manifest, guarded=True)
            finding = compared(OnnxScorer(graph, manifest))
    except NotExportable as error:
        tolerance = parity.tolerance_of(manifest.task, exact=exact)
        return Proven(None, parity.untried(str(error), tolerance, scale))
    if finding.reason is not None:
        return Proven(None, finding)
    try:
        scalar = to_scalar(graph, manifest, {name: values[:1] for name, values in adversarial.items()})
    except NotTranslatable as error:
        return Proven(graph, finding, None, parity.untried(f"Python alone cannot do {error}"))
    of_one = compared(RowByRow(RowProgram(scalar), manifest))
    return Proven(graph, finding, scalar if of_one.reason is None else None, of_one)


def _rehearse(manifest: Manifest, files: dict[str, bytes]) -> None:
    """Write the bundle aside, load it as serving does, and raise unless its golden rows reproduce."""
    with tempfile.TemporaryDirectory() as folder:
        bundle.write(Path(folder) / "model", manifest, files)
        for difference in checking.differences(Model.load(Path(folder) / "model")):
            raise TrainingError(f"the model does not give the same answer twice: {difference}")


def _pickled(estimator: Any) -> bytes:
    content = io.BytesIO()
    try:
        joblib.dump(estimator, content)
    except Exception as error:  # pickling runs the estimator's code
        raise TrainingError(f"the fitted pipeline cannot be pickled: {one_line(error)}") from error
    return content.getvalue()
