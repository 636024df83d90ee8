"""What a model is, how good it is, and its limits: the report, a page, and the card, the same as Markdown.

The headings are those of a model card. https://arxiv.org/abs/1810.03993
"""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from handler import dates
from handler.manifest import CARD, REPORT, UNSUPERVISED, Feature, Manifest
from handler.rendering import Code, Gallery, Rows, Section, markdown, page
from handler.schema import to_text
from handler.scoring.metrics import NAMES, baseline, scalars, shown
from training.report import metrics
from training.report.comparison import Comparison
from training.report.evidence import Evidence
from training.report.metrics import BETTER_BY, counts, per_class, residuals, spread
from training.report.pictures import draw

#: The most features that a table lists.
SHOWN = 100
#: A record of more letters is fetched from the server that it is sent to.
LONGEST_RECORD = 2000
#: What the labels and the score of a task without a target say.
WITHOUT_TARGET = {
    "anomaly": "-1 is an anomaly, and 1 any other row; a score is below zero for an anomaly.",
    "cluster": "The clusters' numbers have no order; a score is the logarithm of a row's likelihood.",
}
#: Where both are served, by relative links. The page for people is the folder's own.
LINKS = {"try it": "./", "API": "apidocs", "model": "model"}
#: What a metric says. {target} is the target, {positive} the second of two classes.
READ = {
    "accuracy": "the share of the rows that are predicted right",
    "roc_auc": "how often a row of {positive} gets a higher probability than another: 0.5 is chance, "
    "1 is perfect",
    "log_loss": "how far the probabilities are from what is true: the lower, the better",
    "r2": "the share of the variance that is explained: 0 is no better than the mean, 1 is perfect",
    "mae": "how far off a prediction is on average, in the unit of {target}",
    "median_ae": "half of the predictions are off by less, in the unit of {target}",
    "rmse": "as the mean error, but large errors count more, in the unit of {target}",
}
READ_BINARY = {
    "precision": "of the rows predicted as {positive}, the share that is right",
    "recall": "of the rows that are {positive}, the share that is found",
    "f1": "the harmonic mean of precision and recall",
}
READ_SEVERAL = {
    "precision": "of the rows predicted as a class, the share that is right; the mean over the classes",
    "recall": "of the rows of a class, the share that is found; the mean over the classes",
    "f1": "the harmonic mean of precision and recall; the mean over the classes",
}


def documents(
    manifest: Manifest, evidence: Evidence, answer: Mapping[str, Any], comparison: Comparison | None = None
) -> dict[str, bytes]:
    """The bundle's ``MODEL_CARD.md`` and ``report.html``.

    ``answer``: what the bundle serves for the first golden record.
    """
    title = f"{manifest.name}: model report"
    sections = [
        Section("Summary", [_summary(manifest, len(evidence.scores.values)), _use(manifest)]),
        Section("Metrics", list(_measured(manifest, evidence))),
        *_threshold(manifest, evidence),
        *([] if comparison is None else [_compared(comparison)]),
        Section("Pictures", [Gallery(draw(evidence))]),
        Section("How to call it", list(_calls(manifest, answer))),
        Section("Features", list(_features(manifest))),
        Section("Limits", list(_limits(manifest))),
        Section("Model details", [_details(manifest)]),
    ]
    return {
        CARD: markdown(title, {**LINKS, "report with pictures": "report"}, sections).encode(),
        REPORT: page(title, {**LINKS, "card (Markdown)": "card"}, sections).encode(),
    }


def _use(manifest: Manifest) -> str:
    return (
        f"It is meant for predicting {_predicted(manifest)} for rows like those that it was trained on. A "
        "prediction is not a judgement on a person: whoever acts on it is responsible for what follows."
    )


def _measured(manifest: Manifest, evidence: Evidence) -> Iterator[str | Rows]:
    """How good the model is, or what it predicts where nothing is known of that."""
    contract, count = manifest.contract, len(evidence.scores.values)
    imported = "imported" in manifest.training
    if manifest.metrics.keys() - {"compared"}:
        measured = f"On {count:,} rows held out, which it was not fitted on."
        if imported:
            measured = f"On {count:,} rows of the sample: measured on rows that the model may have seen."
        yield f"{measured} {_baseline(manifest, evidence)}"
        yield _metrics(manifest)
        if contract.task == "regression":
            yield (
                "How far off the predictions are: quantiles of what is actual minus what is predicted, in "
                f"the unit of '{manifest.target}'."
            )
            yield residuals(evidence.truth, evidence.scores)
        else:
            yield (
                "Each class: precision is the share of its predictions that is right, recall the share of "
                "its rows that is found, and F1 their harmonic mean."
            )
            yield per_class(contract, evidence.truth, evidence.scores)
    elif manifest.task in UNSUPERVISED:
        unmeasured = f"It has no target, so nothing says how good it is. {WITHOUT_TARGET[manifest.task]}"
        rows = "of the sample, which it may have seen" if imported else "held out"
        yield f"{unmeasured} These are its predictions for {count:,} rows {rows}."
        yield from filter(None, (counts(contract, evidence.scores), spread(evidence.scores)))
    else:
        yield "It was packaged without a target, so nothing was measured."


def _baseline(manifest: Manifest, evidence: Evidence) -> str:
    constant = baseline(manifest.contract, evidence.every_truth, 1).values[0]
    if manifest.task == "regression":
        answer = f"{shown(constant)}, the mean of the file,"
    else:
        answer = f"'{manifest.classes[constant]}', the most frequent class of the file,"
    return f"The baseline predicts {answer} for every row: a model that is no better has learnt nothing."


def _metrics(manifest: Manifest) -> Rows:
    """Each metric beside the baseline's, and what it says."""
    positive = f"'{manifest.classes[1]}'" if manifest.task == "binary" else ""
    read = {**READ, **(READ_BINARY if manifest.task == "binary" else READ_SEVERAL)}
    baseline = manifest.metrics.get("baseline", {})
    rows = [
        (
            NAMES.get(name, name),
            shown(value),
            shown(baseline[name]) if name in baseline else "–",
            read.get(name, "").format(target=f"'{manifest.target}'", positive=positive),
        )
        for name, value in scalars(manifest.metrics).items()
    ]
    return [("metric", "model", "baseline", "what it says"), *rows]


def _threshold(manifest: Manifest, evidence: Evidence) -> Iterator[Section]:
    """Another threshold, where it would predict the second class much better."""
    if manifest.task != "binary" or evidence.truth is None or evidence.scores.probabilities is None:
        return
    truth, positive, used = evidence.truth, evidence.positive, evidence.threshold
    better = metrics.better_threshold(truth, positive, used)
    if better is None:
        return
    label, now = f"'{manifest.classes[1]}'", metrics.at_threshold(truth, positive, used)
    if "imported" in manifest.training:
        wrapped = f"FixedThresholdClassifier(FrozenEstimator(model), threshold={better.value:g})"
        how = f"To use it, package {wrapped}."
    else:
        how = (
            f"Train again with --threshold {better.value:g} to use it, or with --threshold auto, which "
            "chooses one on the rows that the model is fitted on."
        )
    table: Rows = [
        ("threshold", "precision", "recall", "F1", f"predicted as {label}"),
        *(
            (f"{each.value:g} {note}", *map(shown, each[1:4]), f"{each.positives:,}")
            for each, note in ((now, "(in use)"), (better, "(best F1)"))
        ),
    ]
    yield Section(
        "Another threshold",
        [
            f"{label} is predicted from a probability of {used:g} on. From {better.value:g} on, its F1 on "
            f"these rows would be {shown(better.f1)} rather than {shown(now.f1)}. {how}",
            table,
            "It was chosen on the very rows that it is measured on, so that its F1 is a little flattered. "
            f"It is suggested where the F1 grows by {BETTER_BY:g} or more. Which is right depends "
            "on what a false alarm costs, and what a miss.",
        ],
    )


def _compared(comparison: Comparison) -> Section:
    parts: list[str | Rows] = [
        f"Both models on the same {comparison.rows:,} rows. {comparison.caution} A metric is the better "
        "the higher, except for errors and the log loss, which are the better the lower.",
        *([comparison.metrics] if comparison.metrics else []),
        " ".join(comparison.notes),
        *([comparison.labels] if comparison.labels else []),
    ]
    return Section(f"Compared with {comparison.name} {comparison.version}", parts)


def _features(manifest: Manifest) -> Iterator[str | Rows]:
    seen = f"seen in {'the sample' if 'imported' in manifest.training else 'training'}"
    features = manifest.features
    yield [("feature", "kind", "may be missing", seen), *map(_feature, features[:SHOWN])]
    if len(features) > SHOWN:
        yield f"And {len(features) - SHOWN:,} more."


def _calls(manifest: Manifest, answer: Mapping[str, Any]) -> Iterator[str | Code]:
    """Commands that work as they stand where ``make serve`` runs, and their answer."""
    record = manifest.golden[0]["record"]
    body = json.dumps(record, ensure_ascii=False)
    yield (
        "These work as they stand while the model is served on this machine (make serve); elsewhere, put "
        "its URL in place of http://localhost:8080."
    )
    if len(body) > LONGEST_RECORD:
        yield (
            f"A record has {len(record):,} values; this takes the example that the server has, and sends "
            "it back:"
        )
        yield Code(
            "import json\nfrom urllib.request import Request, urlopen\n\n"
            'model = json.load(urlopen("http://localhost:8080/model"))\n'
            'body = json.dumps(model["golden"][0]["record"]).encode()\n'
            'headers = {"content-type": "application/json"}\n'
            'print(json.load(urlopen(Request("http://localhost:8080/predict", body, headers))))'
        )
    else:
        cells = {each.name: to_text(each, record[each.name]) for each in manifest.features}
        texts = {name: text for name, text in cells.items() if text}
        url = f"http://localhost:8080/predict?{urlencode(texts, quote_via=quote)}"
        yield "One record, in the address:"
        yield Code(f"curl {shlex.quote(url)}")
        yield "One record as JSON, or a list of them:"
        yield Code(
            f"curl http://localhost:8080/predict -H 'content-type: application/json' -d {shlex.quote(body)}"
        )
        yield "The answer to both:"
        yield Code(json.dumps(answer, ensure_ascii=False))
        yield "The same in Python:"
        yield Code(
            "import json\nfrom urllib.request import Request, urlopen\n\n"
            f"record = {record!r}\n"
            'body, headers = json.dumps(record).encode(), {"content-type": "application/json"}\n'
            'print(json.load(urlopen(Request("http://localhost:8080/predict", body, headers))))'
        )
        yield "A file, here rows.csv, with a header and a row for each record:"
        lines = io.StringIO()
        csv.writer(lines, lineterminator="\n").writerows([cells, cells.values()])
        yield Code(lines.getvalue().rstrip("\n"))
    yield "Its rows with their predictions, over HTTP, or on this machine as a new file:"
    yield Code(
        "curl http://localhost:8080/predict_file -H 'accept: text/csv' -F file=@rows.csv\n"
        "python -m handler score rows.csv"
    )


def _summary(manifest: Manifest, held_out: int) -> str:
    shown = ", ".join(str(label) for label in manifest.classes[:6])
    what = f"{_predicted(manifest)} ({shown}{', ...' if len(manifest.classes) > 6 else ''})"
    if manifest.task == "regression":
        what = f"a number, {_predicted(manifest)},"
    count, training = len(manifest.features), manifest.training
    trained = f"trained on {training['rows'] - held_out:,} rows and " if "rows" in training else ""
    synthetic = " They are synthetic: none of them is a real customer." if training.get("synthetic") else ""
    if "imported" in training:
        return (
            f"It predicts {what} from {count} feature{'s' if count > 1 else ''}. It came here fitted, and "
            f"was packaged with a sample of {held_out:,} rows, which it may have seen in its training."
        )
    return (
        f"It predicts {what} from {count} feature{'s' if count > 1 else ''}. It was {trained}measured on "
        f"{held_out:,} {'others' if trained else 'rows'}.{synthetic}"
    )


def _predicted(manifest: Manifest) -> str:
    names = {"anomaly": "anomalies", "cluster": "the cluster of a row"}
    return names.get(manifest.task, f"'{manifest.target}'")


def _details(manifest: Manifest) -> Rows:
    training, parity = manifest.training, manifest.parity
    served = {"scalar": "the one-row program", "onnx": "onnxruntime", "joblib": "scikit-learn"}
    made = "packaged" if "imported" in training else "trained"
    rows: Rows = [
        ("what", "value"),
        ("model", f"{manifest.name}, version {manifest.version}, {made} {manifest.created}"),
        ("one row is served by", served[manifest.engines["one"]]),
        ("many rows are served by", served[manifest.engines["many"]]),
    ]
    if "pipeline" in training:  # else it came here fitted
        rows[2:2] = [
            ("pipeline", training["pipeline"]),
            ("data", f"{training['data']}, sha256 {training['sha256']}"),
            ("split", f"{training['test_size']:g} held out, seed {training['seed']}"),
        ]
    if "imported" in training:
        rows[2:2] = _imported(training["imported"])
    if manifest.threshold is not None:
        threshold = (
            f"'{manifest.classes[1]}' is predicted from a probability of {manifest.threshold:.6g} on"
        )
        rows.append(("threshold", threshold))
    if manifest.runtime == "onnx":
        tried = parity["rows"] + parity["adversarial_rows"]
        difference = f"largest difference {parity['largest_difference']:.1e}"
        rows.append(("exported graph", f"compared with scikit-learn on {tried:,} rows: {difference}"))
    else:
        rows.append(("no exported graph, because", str(parity.get("reason", ""))))
    libraries = ", ".join(f"{name} {version}" for name, version in manifest.libraries.items())
    return [*rows, ("libraries", libraries)]


def _imported(imported: Mapping[str, Any]) -> Rows:
    """Where a model that came fitted is from: its file, if there was one, its versions and its sample."""
    rows: Rows = [("estimator", imported["estimator"])]
    if "source" in imported:
        rows.append(("fitted model", f"{imported['source']}, sha256 {imported['sha256']}"))
    versions = ", ".join(f"{name} {version}" for name, version in imported["versions"].items())
    sample = imported["sample"]
    named = f"{sample['data']}, sha256 {sample['sha256']}" if "data" in sample else "rows in memory"
    return [*rows, ("fitted with", versions or "unknown versions"), ("sample", named)]


def _feature(feature: Feature) -> Sequence[str]:
    if feature.kind == "text":
        seen = "free text"
    elif feature.kind == "category":
        shown = ", ".join(feature.categories[:8])
        more = f", ... ({len(feature.categories):,} in all)" if len(feature.categories) > 8 else ""
        others = "; others are accepted" if feature.open else "; no others"
        seen = f"{shown}{more}{others}"
    elif feature.kind == "boolean":
        seen = "true, false"
    elif feature.kind == "date":
        seen = dates.seen(feature)
    else:
        seen = f"{feature.minimum:,.6g} to {feature.maximum:,.6g}"
    return feature.name, feature.kind, "yes" if feature.nullable else "no", seen


def _limits(manifest: Manifest) -> Iterator[str]:
    if manifest.training.get("synthetic"):
        yield "It was trained on synthetic rows, as a demonstration: do not use its predictions."
    beyond = "It also predicts for values beyond those seen in training; nothing is known of how well."
    if "imported" in manifest.training:
        yield (
            "It may have seen the rows of the sample in its training: how good it is on others was not "
            f"measured. {beyond}"
        )
    else:
        held_out = (
            "The rows held out come from the same file: they do not show how good it is on later or other"
        )
        yield f"{held_out} rows. {beyond}"
    yield "Fairness was not measured: nobody has compared how good it is for different groups of people."
    if manifest.task == "binary" and "roc_auc" in manifest.metrics:
        yield "The calibration picture shows how far its probabilities can be trusted."
