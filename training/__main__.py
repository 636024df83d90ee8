"""``python -m training``, and the script ``sklearn-function``, which joins it to ``python -m handler``.

Training, and packaging a model that is fitted already, end with exit code 0 and a bundle, or with 2 and one
line that says what to mend; where that takes another environment, the lines that make it follow.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from handler import __main__ as serving
from handler import __version__
from handler.errors import FunctionError
from training.data.columns import parse_kind
from training.data.notes import Refused
from training.errors import TrainingError
from training.report.progress import PACKAGING, Progress, step

EXAMPLES = """\
examples:
  {program} logreg.pkl --sample rows.csv --names age,new_user,pages --classes 0=no,1=yes --trust
  {program} pipeline.joblib --sample rows.csv --target price --trust
  {program} model.skops --sample rows.csv --trust-type my_module.MyTransformer
  {program} mlruns/1/models/m-1/artifacts --out build/model
"""


def command(arguments: Sequence[str] | None = None) -> int:
    """The script: ``train``, ``package``, and what ``python -m handler`` has; returns its exit code."""
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    if words[:1] == ["train"]:
        return main(words[1:], "sklearn-function train")
    if words[:1] == ["package"]:
        return main(words, "sklearn-function")
    # A pickle may need a module of one's own, which is looked for here, as ``python -m`` does.
    sys.path.insert(0, str(Path.cwd()))
    verbs = {
        "train": "train a pipeline on a CSV, and bundle it",
        "package": "bundle a model that is fitted already",
    }
    return serving.main(words, "sklearn-function", verbs)


def main(arguments: Sequence[str] | None = None, program: str = "python -m training") -> int:
    """Run the command; returns its exit code."""
    say = Progress(sys.stdout)
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    try:
        if words[:1] == ["package"]:
            _package(words[1:], f"{program} package", say)
            return 0
        options = vars(_parser(program).parse_args(words))
        if options.pop("version"):
            say(f"sklearn-function {__version__}")
            return 0
        options["kinds"] = dict(map(parse_kind, options.pop("kind")))
        options |= {name: tuple(options[name]) for name in ("drop", "ids", "nullable")}
        options["data"] = tuple(options["data"] or ()) or None
        from training.train import Options, train

        # The user's own pipeline is looked for where the command is run.
        sys.path.insert(0, str(Path.cwd()))
        train(Options(**options), say)
    except Refused as error:
        return _failed(str(error), error.lines_after([*program.split(), *words]))
    except FunctionError as error:
        return _failed(str(error), getattr(error, "lines", ()))
    except OSError as error:
        return _failed(f"{error.filename or 'the bundle'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _failed(message: str, lines: Sequence[str] = ()) -> int:
    print("error:", " ".join(message.splitlines()), file=sys.stderr)
    for line in lines:
        print(f"  {line}", file=sys.stderr)
    return 2


def _package(words: Sequence[str], program: str, say: Progress) -> None:
    """Bundle a fitted model; raises ``FunctionError``."""
    options = vars(_package_parser(program).parse_args(words))
    options["kinds"] = {name: kind.partition(":")[0] for name, kind in map(parse_kind, options.pop("kind"))}
    options["classes"] = _pairs(options["classes"])
    options["names"] = tuple(filter(None, map(str.strip, options["names"].split(","))))
    options |= {name: tuple(options[name]) for name in ("ids", "trusted_types")}
    say.expect(2 + PACKAGING)
    with step(say, "loading scikit-learn"):
        # A pickle may need a module of one's own, which is looked for where the command is run.
        sys.path.insert(0, str(Path.cwd()))
        from training.importing.command import Options, package_file

    package_file(Options(**options), shlex.join(["python", "-m", "training", "package", *words]), say)


def _pairs(text: str) -> dict[str, str]:
    """``--classes``: LABEL=NAME, parted by commas; raises ``TrainingError``."""
    pairs = [each.partition("=")[::2] for each in text.split(",") if each]
    if not all(label and name for label, name in pairs) or len(dict(pairs)) < len(pairs):
        raise TrainingError(f"--classes takes LABEL=NAME for each class, such as 0=no,1=yes, not '{text}'")
    return {label.strip(): name.strip() for label, name in pairs}


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, as the rest of this command does."""

    def error(self, message: str) -> NoReturn:
        raise TrainingError(f"{message} (see --help)")


def _parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        description="Train a scikit-learn pipeline on a CSV, and bundle it for serving.",
        epilog="Without --data, it trains on a synthetic sample. A model that is fitted already is bundled "
        "by 'package': see 'package --help'.",
    )
    add = parser.add_argument
    add("--version", action="store_true", help="print the version")
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
    add(
        "--pipeline",
        metavar="NAME",
        help="logistic, linear, random_forest, ... or module:function (default: by the target)",
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
    add(
        "--threshold",
        metavar="P",
        help="predict the second of two classes from this probability on; auto: the one with the best F1",
    )
    _add_exact(add)
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
    _add_bundle(add)
    add(
        "--report",
        type=Path,
        metavar="DIR",
        help="also write the report, the card, the metrics and this output to a folder",
    )
    return parser


def _add_columns(add: Callable[..., Any]) -> None:
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


def _add_exact(add: Callable[..., Any]) -> None:
    add("--exact", action="store_true", help="serve the ONNX graph only where it differs by at most 1e-12")


def _add_bundle(add: Callable[..., Any]) -> None:
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
    parser = _Parser(
        prog=program,
        description="Bundle a scikit-learn model that is fitted already: it is proven, and never refitted.",
        epilog=EXAMPLES.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    _add_bundle(add)
    return parser


if __name__ == "__main__":
    sys.exit(main())
