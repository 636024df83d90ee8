"""``drift``, ``compare`` and ``evaluate``: what was scored is looked back on."""

from __future__ import annotations

import argparse
from pathlib import Path

from handler import terminal
from handler.bundle import Bundle
from handler.commands import common
from handler.settings import Settings
from handler.storage.storage import Storage


def add_drift(add: common.Add) -> None:
    """Add ``drift`` and its flags."""
    command = add(
        drift, "show on one page how the rows of many files drift from the training data, over time",
        "scored/", "s3://bucket/scored/ --output drift.html", "--limit 0.1 'scored/*/summary.json'",
        one="the largest index of the last period is above the limit",
    )  # fmt: skip
    command.add_argument(
        "summaries",
        nargs="+",
        metavar="SUMMARY",
        help="a summary.json, a folder, a glob in quotes, or a prefix s3://bucket/scored/ or gs://...: all "
        "summaries below it",
    )
    command.add_argument(
        "--output", type=Path, default=Path("drift.html"), metavar="PAGE.html", help="(%(default)s)"
    )
    command.add_argument(
        "--limit",
        type=common.not_negative,
        default=0.25,
        metavar="INDEX",
        help="the index above which the exit code is 1 (%(default)s)",
    )


def drift(options: argparse.Namespace, settings: Settings) -> int:
    """Write a page about many summaries; 1 if the last of them drift more than the limit."""
    from handler.review import history

    manifest = Bundle.open(settings.model_dir, settings.model_public_key).manifest
    made = history.history(options.summaries, manifest, Storage(settings.allow_http))
    common.write_page(options.output, history.as_page(made))
    largest = made.last.drift["largest"]
    document = {
        "model": manifest.identity,
        "files": made.files,
        "rows": made.rows,
        "left_out": dict(made.left_out),
        "unit": made.unit,
        "periods": [
            {"start": made.start(each.number), "files": each.files, "drift": each.drift}
            for each in made.periods
        ],
        "page": str(options.output),
    }
    common.print_result(options, document, f"{history.in_words(made)}\nthe page: {options.output}")
    if largest is None or largest <= options.limit:
        return 0
    terminal.complain(f"the largest index of the last {made.unit}, {largest:g}, is above {options.limit:g}")
    return 1


def add_compare(add: common.Add) -> None:
    """Add ``compare`` and its flags."""
    command = add(
        compare, "predict a file with this bundle and with another, and count the rows that change",
        "deployed/ rows.csv", "deployed/ s3://bucket/in/rows.csv.gz --limit 0.01 --output changes.html",
        one="the share of rows that change is above the limit",
    )  # fmt: skip
    command.add_argument(
        "other",
        metavar="OTHER",
        help="the folder of the bundle that serves today; this one (--model) is to be deployed",
    )
    command.add_argument("input", metavar="FILE", help="a CSV file, s3://bucket/key or gs://bucket/key")
    command.add_argument("--output", type=Path, metavar="PAGE.html", help="write a page with pictures too")
    command.add_argument(
        "--limit",
        type=common.share,
        default=0.05,
        metavar="SHARE",
        help="the share of rows that change above which the exit code is 1 (%(default)s)",
    )
    command.add_argument(
        "--tolerance",
        type=common.not_negative,
        metavar="SHIFT",
        help="of a regression: the shift above which a row changes, in units of the target (default: a "
        "twentieth of the range from the 10th to the 90th percentile of predictions at training)",
    )


def compare(options: argparse.Namespace, settings: Settings) -> int:
    """Predict a file with two models; 1 if the share of rows that change is above the limit."""
    from handler.batch.progress import bar
    from handler.review import changes, comparison

    storage = Storage(settings.allow_http)
    input, size = comparison.located(options.other, options.input, storage)
    this, other = common.load_model(settings), comparison.loaded(options.other, settings)
    with bar(0 if options.quiet else size) as shown:
        made = comparison.compare(this, other, input, settings, storage, shown, options.tolerance)
    text = changes.in_words(made)
    if options.output is not None:
        common.write_page(options.output, changes.as_page(made, options.limit))
        text += f"\nthe page: {options.output}"
    share, page = made.counts.share, options.output and str(options.output)
    common.print_result(options, {**made.as_json(), "limit": options.limit, "page": page}, text)
    if share <= options.limit:
        return 0
    terminal.complain(f"{share:.2%} of the rows change, which is above the limit of {options.limit:.2%}")
    return 1


def add_evaluate(add: common.Add) -> None:
    """Add ``evaluate`` and its flags."""
    command = add(
        evaluate, "measure predictions on what really came, by the metrics of training and beside them",
        "scored/customers.csv/predictions.csv truth.csv --on customer",
        "s3://bucket/scored/ truth.csv.gz --on customer --date scored_at --output evaluation.html",
        "scored/ truth.csv --on customer --on month --target bought --limit 0.05",
        one="the main metric has dropped by more than the limit, or has no value",
    )  # fmt: skip
    command.add_argument(
        "predictions",
        metavar="PREDICTIONS",
        help="what scoring wrote: a table, a summary.json, a folder, a glob in quotes, or a prefix "
        "s3://bucket/scored/ or gs://...: all predictions below it",
    )
    command.add_argument(
        "truth",
        metavar="TRUTH",
        help="a table with what came, in the target's column; or many, named as for score",
    )
    command.add_argument(
        "--on",
        action="append",
        required=True,
        metavar="ID",
        help="a column by which rows of both are joined; may be given several times",
    )
    command.add_argument(
        "--target", metavar="COLUMN", help="what TRUTH calls the target (default: as the model does)"
    )
    command.add_argument(
        "--date",
        metavar="COLUMN[=FORMAT]",
        help="by week, too: a date in PREDICTIONS, or else in TRUTH (default of FORMAT: ISO 8601)",
    )
    command.add_argument(
        "--output", type=Path, metavar="PAGE.html", help="a page with pictures (default: none)"
    )
    command.add_argument(
        "--limit",
        type=common.not_negative,
        metavar="DROP",
        help="exit with code 1 where the ROC area, else F1, or R² has dropped by more than this",
    )


def evaluate(options: argparse.Namespace, settings: Settings) -> int:
    """Measure predictions on what really came; 1 if the main metric has dropped by more than the limit."""
    from handler.review import evaluation

    manifest = Bundle.open(settings.model_dir, settings.model_public_key).manifest
    question = evaluation.question(manifest, options.on, options.target, options.date)
    storage = Storage(settings.allow_http)
    made = evaluation.evaluate(options.predictions, options.truth, question, manifest, storage)
    document, text = made.as_json(), evaluation.in_words(made)
    if options.output is not None:
        common.write_page(options.output, evaluation.as_page(made))
        document, text = {**document, "page": str(options.output)}, f"{text}\nthe page: {options.output}"
    common.print_result(options, document, text)
    fault = None if options.limit is None else evaluation.fault(made, options.limit)
    if fault is not None:
        terminal.complain(fault)
    return 0 if fault is None else 1
