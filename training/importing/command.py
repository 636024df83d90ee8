"""``python -m training package``: a file of a fitted model, and a CSV of sample rows, become a bundle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from handler.manifest import Kind, Manifest
from handler.scoring.model import Model
from training import bundling
from training.errors import Say, TrainingError
from training.importing import files, models, samples
from training.importing.files import Opened, Trust
from training.importing.models import Wishes
from training.importing.packages import clean_name, packaged
from training.importing.samples import Sample
from training.report.progress import step


@dataclass(frozen=True, slots=True)
class Options:
    """What ``python -m training package`` is asked for."""

    model: Path
    sample: Path | None = None
    target: str | None = None
    names: tuple[str, ...] = ()
    classes: Mapping[str, str] = field(default_factory=dict)
    trust: bool = False
    trusted_types: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    kinds: Mapping[str, Kind] = field(default_factory=dict)
    exact: bool = False
    name: str | None = None
    out: Path = Path("handler/model")
    compare: Path | None = None


def package_file(options: Options, again: str, say: Say) -> Manifest:
    """Put the bundle of a model's file at ``options.out``, whole or not at all.

    ``again``: this command's words, for messages. Raises ``TrainingError`` or ``BundleError``.
    """
    bundling.check_target(options.out)
    other = None if options.compare is None else Model.load(options.compare)
    if options.sample is None and not options.model.is_dir():
        raise TrainingError(
            "--sample is missing: name a CSV with rows as the model was fitted on, some hundred; they "
            "show what each feature holds, and are never fitted on"
        )
    with step(say, f"reading {options.model}"):
        opened = files.opened(options.model, Trust(options.trust, options.trusted_types), again)
    if not opened.imported["versions"]:
        say(f"note: {options.model.name} does not say which scikit-learn it was saved with")
    sample = _sample(options, opened)
    say(f"sample: {len(sample.frame):,} rows x {len(sample.frame.columns)} columns")
    wishes = Wishes(
        name=clean_name(options.name or options.model.resolve().stem),
        target=options.target,
        names=options.names or _signed(opened),
        classes=options.classes,
        ids=options.ids,
        kinds={**_kinds(opened), **options.kinds},
    )
    return packaged(opened.model, sample, wishes, opened.imported, options.out, options.exact, say, other)


def _signed(opened: Opened) -> tuple[str, ...]:
    """The names of an MLflow signature, for a model that does not know its own."""
    if opened.folder is None or models.own_names(opened.model):
        return ()
    return tuple(opened.folder.kinds)


def _kinds(opened: Opened) -> dict[str, Kind]:
    """The kinds that an MLflow signature states of the model's features."""
    signed = {} if opened.folder is None else opened.folder.kinds
    own = models.own_names(opened.model) or signed
    return {name: kind for name, kind in signed.items() if name in own}


def _sample(options: Options, opened: Opened) -> Sample:
    if options.sample is not None:
        return samples.from_csv(options.sample, options.target)
    folder = opened.folder
    if folder is None or folder.example is None:
        raise TrainingError(
            f"{options.model} has no input example; name a CSV with rows as the model was fitted on: "
            "--sample"
        )
    sample = samples.from_memory(folder.example)
    return replace(sample, named=all(isinstance(name, str) for name in folder.example))
