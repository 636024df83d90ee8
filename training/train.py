"""From a CSV to a proven bundle: read, split, fit, measure, export, compare, write."""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib

from handler import bundle
from handler.bundle import Manifest
from handler.model import JoblibScorer, Model, OnnxScorer, Scorer
from training import data, fitting, metrics, parity, pipelines, report, rows, sample
from training.data import Dataset
from training.errors import TrainingError, one_line
from training.export import NotExportable, to_onnx
from training.fitting import Say, Split
from training.parity import Finding

LIBRARIES = (*bundle.PICKLE_LIBRARIES, "pandas", "skl2onnx", "onnx", "onnxruntime")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)

Export = Callable[[Any, Manifest], bytes]


@dataclass(frozen=True, slots=True)
class Options:
    """What ``python -m training`` is asked for; without ``data``, the synthetic sample."""

    data: Path | None = None
    target: str = "converted"
    pipeline: str | None = None
    test_size: float = 0.3
    seed: int = 555
    name: str | None = None
    out: Path = Path("handler/model")
    report: Path | None = None


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
    tell(report.columns(dataset, synthetic=options.data is None))
    choice = pipelines.choose(options.pipeline or _default(dataset), dataset.features)
    parts = fitting.split(dataset, choice, options.test_size, options.seed)
    tell(report.split(parts, options.test_size, options.seed, choice))
    estimator = fitting.fit(choice, dataset, parts, tell)

    manifest = _draft(options, dataset, choice.name, estimator)
    scorer = JoblibScorer(estimator, manifest)
    manifest = dataclasses.replace(manifest, features=fitting.opened(scorer, dataset))
    manifest = _measured(manifest, scorer, dataset, parts, tell)
    manifest, files, served = _proven(manifest, estimator, scorer, dataset, parts, export, tell)
    ...
