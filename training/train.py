"""A CSV becomes a fitted estimator, and that a bundle: read, split, fit, then ``packaging``."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from handler import dates
from handler.bundle import DOCUMENTS, Feature, Kind, Manifest
from handler.schema import Columns
from handler.scoring.scorers import class_index, fed
from training import bundling, feeding, fitting, pipelines
from training.data import columns, files, reading, sample
from training.data.columns import ColumnSpec
from training.data.files import Table
from training.data.reading import Dataset
from training.errors import Say, TrainingError
from training.export.graph import to_onnx
from training.packaging import Export, Fitted, package
from training.pipelines import Choice
from training.report import console
from training.report.progress import Progress, step, steps_to_come

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Options:
    """What ``python -m training`` is asked for; without ``data``, the synthetic sample."""

    data: Path | tuple[Path, ...] | None = None
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

    ``say`` is called with what there is to tell, stage by stage. Raises ``TrainingError`` or
    ``BundleError``, and then an earlier bundle is as it was.
    """
    _check(options)
    progress = Progress.of(say)
    progress.expect(steps_to_come(options.threshold))
    dataset, choice = _read(options, progress)
    fitted = _fit(dataset, choice, options, progress)
    made = package(fitted, options.out, seed=options.seed, exact=options.exact, say=progress, export=export)
    if options.report:
        (options.report / "report.txt").write_text("\n".join(progress.transcript) + "\n", encoding="utf-8")
        for name in DOCUMENTS:
            (options.report / name).write_bytes(made.files[name])
        (options.report / "metrics.json").write_text(json.dumps(made.manifest.metrics, indent=2) + "\n")
    return made.manifest


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
    bundling.check_target(options.out)
    if options.report:
        options.report.mkdir(parents=True, exist_ok=True)


def _read(options: Options, say: Say) -> tuple[Dataset, Choice]:
    """The features and the target of the CSV, or of the synthetic sample; and the pipeline."""
    flags = columns.ColumnSpec(options.target, options.drop, options.ids, options.kinds)
    file = columns.read(options.columns) if options.columns else None
    if options.data is None:
        say("there is no --data, so the model learns from a synthetic sample")
        with step(say, f"making the synthetic sample (seed {options.seed})"):
            content = sample.rows(options.seed).to_csv(index=False).encode()
            table = files.parse(content, f"{sample.NAME}.csv", synthetic=True)
    else:
        paths = (options.data,) if isinstance(options.data, Path) else options.data
        with step(say, f"reading {', '.join(map(str, paths))}") as tick:
            table = files.read(*paths, tick=tick)
    stated = flags.target or (file and file.target)
    unsupervised = None if stated else _unsupervised(table, flags, file, options.pipeline)
    if unsupervised is not None:
        say(console.columns(unsupervised[0]))
        return unsupervised
    dataset = reading.prepare(table, flags, file)
    say(console.columns(dataset))
    target = dataset.target
    assert target is not None
    if target.mixed and options.pipeline is None:
        raise TrainingError(target.mixed)
    name = options.pipeline or ("logistic" if target.classifies else "linear")
    choice = pipelines.choose(name, given(dataset), classifies=target.classifies)
    if choice.unsupervised:
        raise TrainingError(
            f"pipeline '{name}' learns without a target: leave out "
            f"{'--target' if flags.target or not file else file.where('target')}, and every column is a "
            f"feature; to leave out that column too, write --drop '{target.name}'"
        )
    return dataset, choice


def _unsupervised(
    table: Table, flags: ColumnSpec, file: ColumnSpec | None, name: str | None
) -> tuple[Dataset, Choice] | None:
    """All columns as features, and the pipeline, if that takes no target: it must be made to be asked."""
    if name is None:
        return None
    try:
        dataset = reading.prepare(table, flags, file, supervised=False)
        choice = pipelines.choose(name, given(dataset))
    except TrainingError:
        if reading.DEFAULT_TARGET in table.columns:  # then a supervised pipeline does not need --target
            return None
        raise
    return (dataset, choice) if choice.unsupervised else None


def _fit(dataset: Dataset, choice: Choice, options: Options, say: Say) -> Fitted:
    """The pipeline, fitted on the dataset, with the rows held out."""
    target = dataset.target

    def take(rows: np.ndarray) -> Columns:
        return dates.expanded(dataset.features, dataset.take(rows))

    parts = fitting.split(dataset, choice, options.test_size, options.seed)
    say(console.split(parts, choice, options.test_size, options.seed))
    features = feeding.as_looked_for(choice.estimator, given(dataset))
    if choice.name not in pipelines.NAMED and (line := feeding.described(features)):
        say(line)
    rows_as = feeding.rows_as(choice.estimator)
    if rows_as == "texts" and [each.is_text for each in features] != [True]:
        raise TrainingError(
            f"pipeline '{choice.name}' takes one column of texts, and the features are "
            f"{', '.join(each.name for each in features)}; leave out the others (--drop), or put the "
            "vectorizer into a ColumnTransformer"
        )
    rows = fed(features, take(parts.train), rows_as)
    y = None if parts.y is None else parts.y[parts.train]
    estimator = fitting.fit(choice, rows, y, options.threshold, options.seed, say)
    contract = fitting.contract_of(estimator, features, take(parts.train[:1]), rows_as)
    by_name = {feature.name: feature for feature in contract.features}
    index = None if parts.y is None else class_index(contract.classes)
    truth = parts.y if parts.y is None or index is None else index(parts.y)
    table = dataset.table
    stem = re.sub(r"[^a-z0-9]+", "_", table.stem.lower()).strip("_")[:100]
    return Fitted(
        name=options.name or stem or "model",
        estimator=estimator,
        contract=contract,
        target="" if target is None else target.name,
        ids=dataset.ids,
        typical=tuple(column.typical for column in dataset.columns),
        rows=take(parts.held_out),
        truth=None if truth is None else truth[parts.held_out],
        every_truth=truth,
        training={
            "data": ", ".join(table.files),
            "sha256": table.sha256,
            "rows": table.rows,
            "seed": options.seed,
            "test_size": options.test_size,
            "pipeline": choice.name,
            "synthetic": table.synthetic,
        },
        stated=tuple(by_name.get(feature.name, feature) for feature in dataset.features),
    )


def given(dataset: Dataset) -> tuple[Feature, ...]:
    """The features that a pipeline is given: parts in place of dates. Raises ``TrainingError``."""
    features = dates.expanded_features(dataset.features)
    (name, count), *_ = Counter(feature.name for feature in features).most_common(1)
    if count > 1:
        raise TrainingError(
            f"column '{name}' has the name of a part of a date: rename it, or leave it out: --drop '{name}'"
        )
    return features
