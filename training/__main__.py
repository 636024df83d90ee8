"""``python -m training``, and the script ``sklearn-function``, which joins it to ``python -m handler``.

Training, and packaging a model that is fitted already, end with exit code 0 and a bundle, or with 2 and one
line that says what to mend; where that takes another environment, the lines that make it follow.
"""

from __future__ import annotations

from handler import interrupts

interrupts.catch()  # before the imports, which take a while

import argparse
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handler import terminal
from training import bundling
from training.data.columns import parse_kind
from training.data.notes import Refused
from training.errors import TrainingError
from training.report.next_steps import next_steps
from training.report.progress import PACKAGING, Progress, step

if TYPE_CHECKING:
    from handler.manifest import Manifest

Add = Callable[..., Any]


def command(arguments: Sequence[str] | None = None) -> int:
    """The script: ``train``, ``package``, and what ``python -m handler`` has; returns its exit code."""
    if arguments is None:
        if sys.argv[1:2] in (["train"], ["package"]):
            interrupts.insist()
        interrupts.leave(command(sys.argv[1:]))
    if arguments[:1] == ["train"]:
        return main(arguments[1:], "sklearn-function train")
    if arguments[:1] == ["package"]:
        return main(arguments, "sklearn-function")
    from handler import __main__ as serving

    # A pickle may need a module of one's own, which is looked for here, as ``python -m`` does.
    sys.path.insert(0, str(Path.cwd()))
    verbs = {
        "train": "train a pipeline on a CSV, and bundle it",
        "package": "bundle a model that is fitted already",
    }
    return serving.main(arguments, "sklearn-function", verbs)


def main(arguments: Sequence[str] | None = None, program: str = "python -m training") -> int:
    """Run the command; returns its exit code."""
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    return terminal.guarded(lambda: _run(words, program), "--json" in words)


def _run(words: Sequence[str], program: str) -> int:
    packages = words[:1] == ["package"]
    parser = _package_parser(f"{program} package") if packages else _parser(program)
    options = vars(terminal.parsed(parser, words[packages:], ["package"]))
    as_json, quiet = options.pop("json"), options.pop("quiet")
    bundling.check_target(options["out"])
    options["kinds"] = dict(map(parse_kind, options.pop("kind")))
    say = Progress(None if quiet else sys.stderr if as_json else sys.stdout)
    # A pipeline or a pickle may need a module of one's own, which is looked for where the command is run.
    sys.path.insert(0, str(Path.cwd()))
    if packages:
        manifest = _package(options, shlex.join(["python", "-m", "training", *words]), say)
    else:
        try:
            manifest = _train(options, say)
        except Refused as error:
            error.lines = error.lines_after([*program.split(), *words])
            raise
    if as_json:
        print(json.dumps(_result(manifest, options["out"]), ensure_ascii=False))
    elif quiet:
        from training.report.console import done

        print(done(manifest, options["out"]))
    else:
        say(next_steps(manifest, options["out"], _to_score(options)))
    return 0


def _train(options: dict[str, Any], say: Progress) -> Manifest:
    """Train, and write the bundle; raises ``FunctionError``."""
    options |= {name: tuple(options[name]) for name in ("drop", "ids", "nullable")}
    options["data"] = tuple(options["data"] or ()) or None
    from training.train import Options, train

    return train(Options(**options), say)


def _to_score(options: Mapping[str, Any]) -> Path | None:
    """A file or folder that ``score`` takes, for which the data or the sample will do."""
    given = options.get("sample") or options.get("data") or ()
    paths = [given] if isinstance(given, Path) else given
    return next((path for path in paths if path.is_dir() or path.suffix != ".parquet"), None)


def _package(options: dict[str, Any], again: str, say: Progress) -> Manifest:
    """Bundle a fitted model; raises ``FunctionError``. ``again``: the command, for messages."""
    options["kinds"] = {name: kind.partition(":")[0] for name, kind in options["kinds"].items()}
    options["classes"] = _pairs(options["classes"])
    options["names"] = tuple(filter(None, map(str.strip, options["names"].split(","))))
    options |= {name: tuple(options[name]) for name in ("ids", "trusted_types")}
    say.expect(2 + PACKAGING)
    with step(say, "loading scikit-learn"):
        from training.importing.command import Options, package_file
    return package_file(Options(**options), again, say)


def _result(manifest: Manifest, out: Path) -> dict[str, Any]:
    """What ``--json`` prints of a bundle."""
    shown = (
        "task",
        "target",
        "classes",
        "runtime",
        "engines",
        "threshold",
        "metrics",
        "parity",
        "training",
    )
    document = manifest.as_json()
    return {
        "bundle": str(out),
        "model": manifest.identity,
        **{name: document[name] for name in shown if name in document},
    }


def _pairs(text: str) -> dict[str, str]:
    """``--classes``: LABEL=NAME, parted by commas; raises ``TrainingError``."""
    pairs = [each.partition("=")[::2] for each in text.split(",") if each]
    if not all(label and name for label, name in pairs) or len(dict(pairs)) < len(pairs):
        raise TrainingError(f"--classes takes LABEL=NAME for each class, such as 0=no,1=yes, not '{text}'")
    return {label.strip(): name.strip() for label, name in pairs}


def _parser(program: str) -> argparse.ArgumentParser:
    parser = terminal.Parser(
        prog=program,
        description="Train a scikit-learn pipeline on a CSV, and bundle it for serving.\n"
        "Without --data, it trains on a synthetic sample. A model that is fitted already is bundled\n"
        "by 'package': see 'package --help'.",
        epilog=terminal.epilog(
            f"{program} --data f.csv --target price",
            f"{program} --data f.csv --target churned --pipeline random_forest --threshold auto",
            f"{program} --data f.csv --target y --drop comment --id customer --kind zip=category",
            f"{program} --data f.csv --pipeline isolation_forest --out build/outliers",
        ),
    )
    _add_data(parser.add_argument)
    _add_pipeline(parser.add_argument)
    _add_exact(parser.add_argument)
    _add_compare(parser.add_argument)
    _add_bundle(parser.add_argument)
    parser.add_argument(
        "--report",
        type=Path,
        metavar="DIR",
        help="also write the report, the card, the metrics and this output to a folder",
    )
    terminal.add_common(parser)
    return parser


def _add_data(add: Add) -> None:
    add(
        "--data",
        type=Path,
        nargs="+",
        action="extend",
        metavar="FILE",
        help="the rows to learn from: CSV with a header, plain or packed, Parquet, several, or a folder",
    )
    add(
        "--target",
        metavar="COLUMN",
        help="the column to predict (default: converted; none for outliers and clusters)",
    )
    add("--drop", action="append", default=[], metavar="COLUMN", help="leave a column out")
    _add_columns(add)
    add(
        "--nullable",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column that may be missing in a request, though it never is in the data",
    )
    add("--columns", type=Path, metavar="TOML", help="a file with target, drop, ids, kinds and nullable")


def _add_pipeline(add: Add) -> None:
    add(
        "--pipeline",
        metavar="NAME",
        help="logistic, linear, random_forest, ... or module:function (default: by the target)",
    )
    add(
        "--threshold",
        metavar="P",
        help="predict the second of two classes from this probability on; auto: the one with the best F1",
    )
    add(
        "--test-size",
        type=float,
        default=0.3,
        metavar="SHARE",
        help="the share of the rows to hold out (default: %(default)s)",
    )
    add(
        "--seed",
        type=int,
        default=555,
        help="the seed of the split and of the sample (default: %(default)s)",
    )


def _add_columns(add: Add) -> None:
    add(
        "--id",
        dest="ids",
        action="append",
        default=[],
        metavar="COLUMN",
        help="a column that is not a feature and that requests may carry",
    )
    add(
        "--kind",
        action="append",
        default=[],
        metavar="COLUMN=KIND",
        help="take a column as integer, number, boolean, category, text, date or date:FORMAT",
    )


def _add_exact(add: Add) -> None:
    add("--exact", action="store_true", help="serve the ONNX graph only where it differs by at most 1e-12")


def _add_compare(add: Add) -> None:
    add(
        "--compare",
        type=Path,
        metavar="DIR",
        help="another bundle, to show what both models predict for the same rows",
    )


def _add_bundle(add: Add) -> None:
    add("--name", help="the model's name (default: made from the file's name)")
    add(
        "--out",
        "--model",
        type=Path,
        default=Path(os.environ.get("MODEL_DIR") or "handler/model"),
        metavar="DIR",
        help="the folder for the bundle (default: $MODEL_DIR, or handler/model)",
    )


def _package_parser(program: str) -> argparse.ArgumentParser:
    parser = terminal.Parser(
        prog=program,
        description="Bundle a scikit-learn model that is fitted already: it is proven, and never refitted.",
        epilog=terminal.epilog(
            f"{program} logreg.pkl --sample rows.csv --names age,pages --classes 0=no,1=yes --trust",
            f"{program} pipeline.joblib --sample rows.csv --target price --trust",
            f"{program} model.skops --sample rows.csv --trust-type my_module.MyTransformer",
            f"{program} mlruns/1/models/m-1/artifacts --out build/model",
        ),
    )
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL", help="a pickle, joblib or skops file, or an MLflow folder")
    add(
        "--sample",
        type=Path,
        metavar="CSV",
        help="rows as the model was fitted on (an MLflow folder may bring its own)",
    )
    add("--target", metavar="COLUMN", help="the sample's column that is predicted, for metrics")
    add(
        "--names",
        default="",
        metavar="A,B,C",
        help="the features in the model's order, if it does not know",
    )
    add("--classes", default="", metavar="0=NO,1=YES", help="the names of the model's labels")
    add("--trust", action="store_true", help="open a pickle, which runs the code that it holds")
    add(
        "--trust-type",
        dest="trusted_types",
        action="append",
        default=[],
        metavar="TYPE",
        help="a type in a skops file that you trust",
    )
    _add_columns(add)
    _add_exact(add)
    _add_compare(add)
    _add_bundle(add)
    terminal.add_common(parser)
    return parser


if __name__ == "__main__":
    interrupts.insist()
    interrupts.leave(main())
