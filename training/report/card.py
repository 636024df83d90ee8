"""What a model is, how good it is, and its limits: the report, a page, and the card, the same as Markdown.

The headings are those of a model card. https://arxiv.org/abs/1810.03993
The report is one file, with its pictures, without scripts or links.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from handler import bundle, dates
from handler.bundle import UNSUPERVISED, Feature, Manifest
from training.report import metrics
from training.report.metrics import counts, spread
from training.report.pictures import Evidence, Picture, draw

#: The most features that a table lists.
SHOWN = 100
Section = tuple[str, list[str | list[Sequence[str]]]]
#: What the labels and the score of a task without a target say.
WITHOUT_TARGET = {
    "anomaly": "-1 is an anomaly, and 1 any other row; a score is below zero for an anomaly.",
    "cluster": "The clusters' numbers have no order; a score is the logarithm of a row's likelihood.",
}
NAMES = {
    "roc_auc": "ROC area",
    "log_loss": "log loss",
    "f1": "F1",
    "r2": "R²",
    "mae": "mean absolute error",
    "rmse": "root mean squared error",
}
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d0d7de; --soft: #57606a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --line: #30363d; --soft: #9198a1; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: anywhere; }
h1, h2 { line-height: 1.2; }
h2 { margin-top: 2.2rem; border-bottom: 1px solid var(--line); padding-bottom: .3rem; }
table { border-collapse: collapse; font-size: .9rem; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; break-inside: avoid; }
figure img { max-width: 100%; background: #fff; border-radius: 6px; }
figcaption { color: var(--soft); font-size: .9rem; }
pre { overflow-x: auto; padding: .8rem; border: 1px solid var(--line); border-radius: 6px;
  font-size: .85rem; white-space: pre-wrap; }
"""


def documents(manifest: Manifest, evidence: Evidence) -> dict[str, bytes]:
    """The bundle's ``MODEL_CARD.md`` and ``report.html``."""
    sections = list(_sections(manifest, evidence))
    title = f"{manifest.name}: model report"
    return {
        bundle.CARD: "\n".join(_markdown(title, sections)).encode(),
        bundle.REPORT: "\n".join(_page(title, sections, draw(evidence))).encode(),
    }


def _sections(manifest: Manifest, evidence: Evidence) -> Iterator[Section]:
    """The headings, each with its paragraphs and tables (rows of cells, the header first)."""
    held_out = len(evidence.scores.values)
    imported = "imported" in manifest.training
    yield "Model details", [_summary(manifest, held_out), _details(manifest)]
    use = (
        f"Predicting {_predicted(manifest)} for rows like those that it was trained on. A prediction "
        "is not a judgement on a person: whoever acts on it is responsible for what follows."
    )
    yield "Intended use", [use]
    measured = f"On {held_out:,} rows held out, which it was not fitted on."
    if imported:
        measured = f"On {held_out:,} rows of the sample: measured on rows that the model may have seen."
    if manifest.metrics:
        yield "Metrics", [measured, [("metric", "value"), *_metrics(manifest)]]
    elif manifest.task in UNSUPERVISED:
        both = (counts(manifest.contract, evidence.scores), spread(evidence.scores))
        tables = [each for each in both if each]
        unmeasured = f"It has no target, so nothing says how good it is. {WITHOUT_TARGET[manifest.task]}"
        rows = "of the sample, which it may have seen" if imported else "held out"
        yield "Metrics", [f"{unmeasured} These are its predictions for {held_out:,} rows {rows}.", *tables]
    else:
        yield "Metrics", ["It was packaged without a target, so nothing was measured."]
    seen = f"seen in {'the sample' if imported else 'training'}"
    features, header = manifest.features, ("feature", "kind", "may be missing", seen)
    more = [f"And {len(features) - SHOWN} more."] if len(features) > SHOWN else []
    yield "Features", [[header, *map(_feature, features[:SHOWN])], *more]
    yield "Limits", list(_limits(manifest))
    curl = "    curl localhost:8080/predict -H 'content-type: application/json' -d"
    yield "How to call", [f"{curl} '{_example(manifest)}'"]


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


def _details(manifest: Manifest) -> list[Sequence[str]]:
    training, parity = manifest.training, manifest.parity
    served = {"scalar": "the one-row program", "onnx": "onnxruntime", "joblib": "scikit-learn"}
    made = "packaged" if "imported" in training else "trained"
    rows: list[Sequence[str]] = [
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


def _metrics(manifest: Manifest) -> Iterator[Sequence[str]]:
    for name, value in manifest.metrics.items():
        if not isinstance(value, list):
            yield NAMES.get(name, name), metrics.shown(value)


def _imported(imported: Mapping[str, Any]) -> list[Sequence[str]]:
    """Where a model that came fitted is from: its file, if there was one, its versions and its sample."""
    rows: list[Sequence[str]] = [("estimator", imported["estimator"])]
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


def _example(manifest: Manifest) -> str:
    record = manifest.golden[0]["record"] if manifest.golden else {}
    return json.dumps(record, ensure_ascii=False).replace("'", "'\\''")


def _markdown(title: str, sections: Iterable[Section]) -> Iterator[str]:
    yield f"# {_plain(title)}\n"
    for heading, parts in sections:
        yield f"## {heading}\n"
        for part in parts:
            if isinstance(part, str):
                yield f"{part if part.startswith('    ') else _plain(part)}\n"
                continue
            cells = [[_plain(cell).replace("|", "\\|") for cell in row] for row in part]
            widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
            rule = ["-" * width for width in widths]
            for row in (cells[0], rule, *cells[1:]):
                padded = (f"{cell:{width}}" for cell, width in zip(row, widths, strict=True))
                yield f"| {' | '.join(padded)} |"
            yield ""


def _plain(text: str) -> str:
    """Text that Markdown shows unchanged, on one line."""
    text = " ".join(text.split())
    return "".join(f"\\{letter}" if letter in "\\`*[]<>#" else letter for letter in text)


def _page(title: str, sections: Sequence[Section], pictures: Sequence[Picture]) -> Iterator[str]:
    yield "<!doctype html>"
    yield '<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body>"
    yield f"<h1>{html.escape(title)}</h1>"
    for heading, parts in sections:
        yield f"<h2>{heading}</h2>"
        for part in parts:
            yield from _html(part)
        if heading == "Metrics":
            yield '<div class="pictures">'
            yield from map(_figure, pictures)
            yield "</div>"
    yield "</body></html>\n"


def _html(part: str | list[Sequence[str]]) -> Iterator[str]:
    if isinstance(part, str):
        code = part.startswith("    ")
        yield f"<pre>{html.escape(part.strip())}</pre>" if code else f"<p>{html.escape(part)}</p>"
        return
    header, *rows = ([html.escape(cell) for cell in row] for row in part)
    yield "<table><thead><tr>" + "".join(f"<th>{cell}</th>" for cell in header) + "</tr></thead><tbody>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    yield "</tbody></table>"


def _figure(picture: Picture) -> str:
    title, caption = html.escape(picture.title), html.escape(picture.caption)
    image = ""
    if picture.png is not None:
        data = base64.b64encode(picture.png).decode()
        image = f'<img alt="{title}" src="data:image/png;base64,{data}">'
    return f"<figure><h3>{title}</h3>{image}<figcaption>{caption}</figcaption></figure>"
