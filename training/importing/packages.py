"""From a fitted model to a proven bundle: for a notebook, and for ``python -m training package``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import sklearn

from handler.manifest import Manifest
from handler.schema import Record
from handler.scoring import outputs
from handler.scoring.estimator import JoblibScorer
from handler.scoring.model import Model
from training import bundling, packaging
from training.errors import Say
from training.importing import models, samples
from training.importing.models import Wishes
from training.importing.samples import Sample
from training.report import console
from training.report.next_steps import next_steps
from training.report.progress import PACKAGING, Progress

#: The seed of the adversarial rows, as training has it by default.
SEED = 555


def package(
    model: Any,
    rows: Any,
    y: Any = None,
    *,
    out: str | Path,
    name: str | None = None,
    target: str | None = None,
    feature_names: Sequence[str] | None = None,
    classes: Mapping[Any, str] | Sequence[str] | None = None,
    exact: bool = False,
    say: Say = print,
) -> Path:
    """``training.package``, which says what it does."""
    folder = Path(out)
    sample = samples.from_memory(rows, y)
    named = (
        {str(models.label_of(key)): each for key, each in classes.items()}
        if isinstance(classes, Mapping)
        else classes
    )
    wishes = Wishes(
        name=clean_name(name or folder.name),
        target=target or (getattr(y, "name", None) or "target" if y is not None else None),
        names=tuple(map(str, feature_names or ())),
        classes=named or (),
    )
    versions = {"versions": {"scikit-learn": sklearn.__version__}}
    say(next_steps(packaged(model, sample, wishes, versions, folder, exact, say), folder))
    return folder


def packaged(
    model: Any,
    sample: Sample,
    wishes: Wishes,
    imported: Mapping[str, Any],
    out: Path,
    exact: bool,
    say: Say,
    other: Model | None = None,
) -> Manifest:
    """Put the bundle of a fitted model at ``out``; raises ``TrainingError`` or ``BundleError``.

    ``other``: a model to compare with.
    """
    bundling.check_target(out)
    say = Progress.of(say)
    say.expect(PACKAGING)
    fitted = models.fitted(model, sample, wishes, imported, say)
    made = packaging.package(fitted, out, seed=SEED, exact=exact, say=say, other=other)
    first: Record = tuple(fitted.rows[feature.name][0] for feature in fitted.contract.features)
    columns = {feature.name: fitted.rows[feature.name][:1] for feature in fitted.contract.features}
    own = JoblibScorer(fitted.estimator, fitted.contract).score(columns)
    (prediction,) = outputs.predictions(fitted.contract.classes, own)
    say(console.beside(prediction, Model.load(out).predict_one(first)))
    return made.manifest


def clean_name(text: str) -> str:
    """A model's name, made of a file's or a folder's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("_.-")[:100] or "model"
