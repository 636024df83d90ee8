"""A CSV becomes a bundle: it is read and judged here, without scikit-learn, then learnt and packaged."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from handler.manifest import DOCUMENTS, Manifest
from handler.scoring.model import Model
from training import bundling
from training.data import columns, files, reading
from training.data.columns import ColumnSpec
from training.data.files import Table
from training.data.reading import Dataset
from training.data.targets import WITHOUT_TARGET
from training.errors import Say, TrainingError
from training.report.columns import columns as table_of_columns
from training.report.progress import Progress, step, steps_to_come

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
JUDGING = "judging what the columns hold"


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
    kinds: Mapping[str, str] = field(default_factory=dict)
    nullable: tuple[str, ...] = ()
    columns: Path | None = None
    threshold: str | None = None
    compare: Path | None = None


def train(options: Options, say: Say = print, export: Callable[..., bytes] | None = None) -> Manifest:
    """Train, and put the bundle at ``options.out``, whole or not at all; returns its manifest.

    ``say`` is called with what there is to tell, stage by stage. ``export``: another function in place of
    ``to_onnx``. Raises ``TrainingError`` or ``BundleError``, and then an earlier bundle is as it was.
    """
    _check(options)
    other = None if options.compare is None else Model.load(options.compare)
    progress = Progress.of(say)
    progress.expect(steps_to_come(options.threshold))
    table, flags, file = _read(options, progress)
    target = flags.target or (file and file.target)
    dataset: Dataset | None = None
    if target or options.pipeline is None or ":" not in options.pipeline:
        supervised = bool(target) or options.pipeline not in WITHOUT_TARGET
        with step(progress, JUDGING):
            dataset = reading.prepare(
                table,
                flags,
                file,
                supervised=supervised,
                pipeline=options.pipeline,
                threshold=options.threshold,
            )
        progress(table_of_columns(dataset))
    with step(progress, "loading scikit-learn"):
        from training import learning  # a table that is refused does not wait for scikit-learn
        from training.export.graph import to_onnx
        from training.packaging import package
    if dataset is None:
        assert options.pipeline is not None
        with step(progress, JUDGING):
            dataset = learning.dataset_for(options.pipeline, table, flags, file)
        progress(table_of_columns(dataset))
    # Their texts are not needed any more, and take as much memory as all that follows.
    dataset = replace(dataset, table=replace(dataset.table, columns={}))
    del table
    stated = file.where("target") if file and file.target and not flags.target else "--target"
    fitted = learning.learnt(dataset, options, progress, stated)
    made = package(
        fitted,
        options.out,
        seed=options.seed,
        exact=options.exact,
        say=progress,
        export=export or to_onnx,
        other=other,
    )
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
    _check_threshold(options.threshold)
    bundling.check_target(options.out)
    if options.report:
        bundling.require_writable(options.report.absolute(), options.report)
        options.report.mkdir(parents=True, exist_ok=True)


def _check_threshold(threshold: str | None) -> None:
    """Raise ``TrainingError`` unless ``--threshold`` is ``auto`` or a probability."""
    if threshold in (None, "auto"):
        return
    try:
        sound = 0 < float(str(threshold)) < 1
    except ValueError:
        sound = False
    if not sound:
        raise TrainingError(f"--threshold takes auto, or a probability between 0 and 1, not '{threshold}'")


def _read(options: Options, say: Say) -> tuple[Table, ColumnSpec, ColumnSpec | None]:
    """The CSV, or the synthetic sample, and what is stated about its columns by flags and in a file."""
    flags = ColumnSpec(options.target, options.drop, options.ids, options.kinds, options.nullable)
    file = columns.read(options.columns) if options.columns else None
    if options.data is None:
        from training.data import sample  # it needs pandas

        say("there is no --data, so the model learns from a synthetic sample")
        with step(say, f"making the synthetic sample (seed {options.seed})"):
            content = sample.rows(options.seed).to_csv(index=False).encode()
            table = files.parse(content, f"{sample.NAME}.csv", synthetic=True)
    else:
        paths = (options.data,) if isinstance(options.data, Path) else options.data
        with step(say, f"reading {', '.join(map(str, paths))}") as tick:
            table = files.read(*paths, tick=tick)
    return table, flags, file
