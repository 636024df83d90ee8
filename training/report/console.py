"""What training prints, one stage after the other; each function returns a text of one line or more."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import metrics as sk

from handler.manifest import UNSUPERVISED, Contract, Label, Manifest
from handler.scoring.metrics import scalars, shown
from handler.scoring.scorers import Scores
from handler.terminal import grid
from training.fitting import Split
from training.needs import Needs
from training.pipelines import Choice
from training.proof.parity import Finding, Scale
from training.report import metrics
from training.report.comparison import Comparison

#: A class counts as rare below this share of what it would have if all classes had as many rows.
RARE = 0.4
#: The most classes that a table lists.
SHOWN = 20


def split(parts: Split, choice: Choice, test_size: float, seed: int) -> str:
    """Both sides of the split; for a classifier also the sizes of the classes, with a note on imbalance."""
    stratified = ", stratified" if choice.classifies else ""
    head = (
        f"split: {len(parts.train):,} rows to fit on, {len(parts.held_out):,} held out "
        f"(test size {test_size:g}, seed {seed}{stratified})"
    )
    if parts.y is None or not choice.classifies:
        return head
    return "\n".join([head, *_balance(parts, parts.y, choice)])


def _balance(parts: Split, y: np.ndarray, choice: Choice) -> list[str]:
    classes, counts = np.unique(y, return_counts=True)
    rows = [
        (
            str(label),
            f"{count:,}",
            f"{count / len(y):.1%}",
            *(f"{(y[side] == label).sum():,}" for side in (parts.train, parts.held_out)),
        )
        for label, count in list(zip(classes, counts, strict=True))[:SHOWN]
    ]
    lines = grid(("class", "rows", "share", "to fit on", "held out"), rows, "<>>>>")
    if len(classes) > SHOWN:
        lines.append(f"  and {len(classes) - SHOWN} more classes")
    rare, common = counts.argmin(), counts.argmax()
    if counts[rare] / len(y) < RARE / len(classes):
        lines.append(
            f"  imbalanced: {counts[rare] / len(y):.1%} of the rows are '{classes[rare]}', so always "
            f"predicting '{classes[common]}' would be right in {counts[common] / len(y):.1%}.\n"
            "  Judge by precision and recall, not by accuracy."
        )
        parameters = choice.estimator.get_params().items()
        if any(name.endswith("class_weight") and value == "balanced" for name, value in parameters):
            lines.append(
                "  class_weight='balanced' weighs the classes equally: more of the rare rows are found\n"
                "  (recall), with more false alarms (precision)."
            )
    return lines


def quality(
    measured: Mapping[str, Any],
    contract: Contract,
    threshold: float | None,
    truth: np.ndarray | None,
    scores: Scores,
    *,
    imported: bool,
) -> str:
    """The metrics on the rows held out, for a classifier with its confusion matrix.

    ``imported``: the model came fitted, and the rows are a sample, perhaps without ``truth``.
    """
    rows = named_rows(imported)
    if contract.task in UNSUPERVISED:
        head = (
            f"on the {len(scores.values):,} {rows}; there is no target, so nothing says how good this is:"
        )
        aligned = ((metrics.counts(contract, scores), "<>>"), (metrics.spread(scores), "<>"))
        tables = (grid(table[0], table[1:], align) for table, align in aligned if table)
        return "\n".join([head, *itertools.chain.from_iterable(tables)])
    if truth is None:
        return f"scored the {len(scores.values):,} {rows}; without their targets there are no metrics"
    named = ", ".join(f"{name} {shown(value)}" for name, value in scalars(measured).items())
    seen = " (measured on rows that the model may have seen)" if imported else ""
    lines = [f"on the {len(truth):,} {rows}{seen}: {named}"]
    if baseline := scalars(measured.get("baseline", {})):
        guess = "the mean" if contract.task == "regression" else "the most frequent class"
        plain = ", ".join(f"{name} {shown(value)}" for name, value in baseline.items())
        lines.append(f"  always {guess} would have: {plain}")
    classes = contract.classes
    if contract.task != "regression" and len(classes) <= SHOWN:
        table: str = sk.classification_report(
            truth,
            scores.values,
            labels=range(len(classes)),
            target_names=[str(label) for label in classes],
            digits=4,
            zero_division=0.0,
        )
        lines.append(table.rstrip())
        lines += _confusion(classes, measured["confusion_matrix"])
    if threshold is not None and scores.probabilities is not None:
        lines += _thresholds(classes[1], threshold, truth == 1, scores.probabilities[:, 1])
    elif contract.task == "binary" and scores.probabilities is not None and not imported:
        better = metrics.better_threshold(truth, scores.probabilities[:, 1], 0.5)
        if better is not None:
            lines.append(
                f"note: predicted from {better.value:g} on, '{classes[1]}' has f1 {better.f1:.4f} "
                f"(--threshold {better.value:g}, or auto)"
            )
    return "\n".join(lines)


def _confusion(classes: Sequence[Label], matrix: Sequence[Sequence[int]]) -> list[str]:
    names = [str(label) for label in classes]
    rows = [
        (f"is {name}", *(f"{count:,}" for count in row)) for name, row in zip(names, matrix, strict=True)
    ]
    return grid(
        ("confusion matrix", *(f"predicted {name}" for name in names)), rows, "<" + ">" * len(names)
    )


def _thresholds(label: Label, chosen: float, positive: np.ndarray, probability: np.ndarray) -> list[str]:
    """How well ``label`` is predicted at the chosen threshold, and at one half."""
    rows = []
    for threshold in dict.fromkeys((0.5, chosen)):
        measured = sk.precision_recall_fscore_support(
            positive, probability >= threshold, average="binary", zero_division=0.0
        )
        mark = " (chosen)" if threshold == chosen else ""
        rows.append((f"{threshold:.4g}{mark}", *(f"{value:.4f}" for value in measured[:3])))
    return grid((f"'{label}' from", "precision", "recall", "f1"), rows, "<>>>")


def compared(comparison: Comparison) -> str:
    """Both models on the same rows."""
    table, labels = comparison.metrics, comparison.labels
    return "\n".join(
        [
            f"compared with {comparison.name} {comparison.version} on {comparison.rows:,} rows:",
            *(grid(table[0], table[1:], "<>>>") if table else []),
            *(grid(labels[0], labels[1:], "<" + ">" * (len(labels[0]) - 1)) if labels else []),
            *(f"  {note}" for note in (*comparison.notes, comparison.caution)),
        ]
    )


def named_rows(imported: bool) -> str:
    """What the rows are called that a model was scored on."""
    return "rows of the sample" if imported else "rows held out"


def parity(finding: Finding, program: Finding | None, *, imported: bool) -> str:
    """What will serve many rows, what will serve one row, and why."""
    if finding.reason is not None:
        return f"runtime: joblib (scikit-learn itself, slower to start). No ONNX graph: {finding.reason}"
    same = "identical labels, " if finding.labels_identical else ""
    whose = "score" if finding.labels_identical is not None else "target"
    unit = f" of the {whose}'s standard deviation, {finding.scale.unit:.4g}" if finding.scale else ""
    lines = [
        f"runtime: onnx. The graph was found equal on {finding.rows:,} {named_rows(imported)} and "
        f"{finding.adversarial_rows:,} adversarial rows:",
        f"  {same}largest difference {finding.largest_difference:.1e} "
        f"(tolerance {finding.tolerance:.0e}{unit})",
    ]
    if program is not None and program.reason is None:
        difference = f"largest difference {program.largest_difference:.1e}"
        compared = program.rows + program.adversarial_rows
        every = compared == finding.rows + finding.adversarial_rows
        same = "the same rows" if every else f"{compared:,} of these rows"
        lines.append(f"one row: a program in Python, found equal on {same} ({difference})")
    elif program is not None:
        lines.append(f"one row: onnx too, because {program.reason}")
    return "\n".join(lines)


def needs(wanted: Needs) -> str:
    """What an image brings that serves the pickle."""
    libraries = ", ".join(f"{name} {version}" for name, version in wanted.libraries.items())
    lines = [f"the image brings scikit-learn and pandas{', ' + libraries if libraries else ''}"]
    if wanted.modules:
        names = ", ".join(f"{name}" for name in wanted.modules)
        lines.append(
            f"  and your own module {names}: run make images where Python finds it, here or on PYTHONPATH"
        )
    return "\n".join(lines)


def unsteady(difference: float, scale: Scale | None) -> str:
    """A note on an estimator that rounds differently when many rows are scored at once."""
    unit = "a probability" if scale is None else "the standard deviation of the target, or of the score,"
    return (
        "note: the last digits of a prediction depend on how many rows are scored at once, by "
        f"{difference:.0e} of {unit} on the rows tried: the pipeline computes in float32 somewhere"
    )


def beside(own: Mapping[str, Any], served: Mapping[str, Any]) -> str:
    """What the model itself predicts for a row, and what its bundle does."""
    return (
        f"the first row of the sample: the model itself predicts {_prediction(own)}, "
        f"and the bundle serves {_prediction(served)}"
    )


def _prediction(prediction: Mapping[str, Any]) -> str:
    label, probabilities = prediction["prediction"], prediction.get("probabilities")
    if probabilities is None:
        return f"{label:.6g}" if isinstance(label, float) else str(label)
    return f"{label} (with {probabilities[str(label)]:.6f})"


def done(manifest: Manifest, out: Path) -> str:
    """Where the bundle is, and which model it holds."""
    synthetic = " (trained on synthetic data)" if manifest.training.get("synthetic") else ""
    return f"bundle: {out}, model {manifest.name} version {manifest.version}{synthetic}"
