"""A dataset becomes a fitted estimator: the pipeline is chosen, the rows are split, and it is fitted."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from handler import dates
from handler.manifest import Feature
from handler.schema import Columns
from handler.scoring.estimator import fed
from handler.scoring.scorers import class_index
from training import feeding, fitting, pipelines
from training.data import notes, reading
from training.data.columns import ColumnSpec
from training.data.files import Table
from training.data.reading import Dataset
from training.data.targets import unfit, unwanted
from training.errors import Say, TrainingError
from training.packaging import Fitted
from training.pipelines import Choice
from training.report import console

if TYPE_CHECKING:
    from training.train import Options


def dataset_for(pipeline: str, table: Table, flags: ColumnSpec, file: ColumnSpec | None) -> Dataset:
    """The dataset that a user's own pipeline takes, where no target is named: it must be made to be asked.

    Raises ``TrainingError``.
    """
    try:
        dataset = reading.prepare(table, flags, file, supervised=False, pipeline=pipeline)
        if pipelines.choose(pipeline, _given(dataset)).unsupervised:
            return dataset
    except TrainingError:
        if reading.DEFAULT_TARGET not in table.columns:  # which a supervised pipeline would take
            raise
    return reading.prepare(table, flags, file, pipeline=pipeline)


def _given(dataset: Dataset) -> tuple[Feature, ...]:
    """The features that a pipeline is given: parts in place of dates. Raises ``TrainingError``."""
    features = dates.expanded_features(dataset.features)
    (name, count), *_ = Counter(feature.name for feature in features).most_common(1)
    if count > 1:
        raise TrainingError(
            f"column '{name}' has the name of a part of a date: rename it, or leave it out: --drop '{name}'"
        )
    return features


def _choice(name: str, dataset: Dataset) -> Choice:
    target = dataset.target
    return pipelines.choose(name, _given(dataset), classifies=target is not None and target.classifies)


def learnt(dataset: Dataset, options: Options, say: Say, stated: str = "--target") -> Fitted:
    """The pipeline that is named, or the target's own, fitted on the dataset, with the rows held out.

    ``stated``: what messages call that which names the target. Raises ``TrainingError``.
    """
    target = dataset.target
    name = options.pipeline or ("logistic" if target is None or target.classifies else "linear")
    choice = _choice(name, dataset)
    if choice.unsupervised and target is not None:
        raise TrainingError(unwanted(target.name, name, stated))
    if problems := unfit(
        target, name, classifies=choice.classifies and target is not None, threshold=options.threshold
    ):
        raise TrainingError(problems[0].message)
    parts = fitting.split(dataset, choice, options.test_size, options.seed)
    say(console.split(parts, choice, options.test_size, options.seed))
    filled = reading.without_values(dataset, parts.train)
    if filled is not dataset:
        say("\n".join(f"note: {line}" for line in notes.lines(filled.notes)))
        dataset = filled
        choice = _choice(name, dataset)

    def take(rows: np.ndarray) -> Columns:
        return dates.expanded(dataset.features, dataset.take(rows))

    features = feeding.as_looked_for(choice.estimator, _given(dataset))
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
        ignored=dataset.ignored,
        typical=tuple(column.typical for column in dataset.columns),
        rows=dataset.take(parts.held_out),
        truth=None if truth is None else truth[parts.held_out],
        every_truth=truth,
        training={
            "data": ", ".join(table.files),
            "sha256": table.sha256,
            "rows": table.rows,
            **({"rows_left_out": dataset.rows_left_out} if dataset.rows_left_out else {}),
            "seed": options.seed,
            "test_size": options.test_size,
            "pipeline": choice.name,
            "synthetic": table.synthetic,
        },
        stated=tuple(by_name.get(feature.name, feature) for feature in dataset.features),
    )
