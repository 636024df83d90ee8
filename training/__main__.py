"""``python -m training``: exit code 0 where a bundle was made, 2 with one line that says what to mend."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from handler.errors import FunctionError
from training.data.columns import parse_kind
from training.errors import TrainingError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    say = partial(print, flush=True)
    try:
        options = vars(_parser().parse_args(arguments))
        options["kinds"] = dict(map(parse_kind, options.pop("kind")))
        options |= {name: tuple(options[name]) for name in ("drop", "ids")}
        say("loading scikit-learn ...")
        from training.train import Options, train

        # The user's own pipeline is looked for where the command is run.
        sys.path.insert(0, str(Path.cwd()))
        train(Options(**options), say)
    except FunctionError as error:
        return _failed(str(error))
    except OSError as error:
        return _failed(f"{error.filename or 'the bundle'}: {error.strerror or error}")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


def _failed(message: str) -> int:
    print("error:", " ".join(message.splitlines()), file=sys.stderr)
    return 2


class _Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, as the rest of this command does."""

    def error(self, message: str) -> NoReturn:
        raise TrainingError(f"{message} (see --help)")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m training",
        description="Train a scikit-learn pipeline on a CSV, and bundle it for serving.",
        epilog="Without --data, it trains on a synthetic sample.",
    )
    add = parser.add_argument
    add("--data", type=Path, metavar="CSV", help="the rows to learn from, with a header")
    add("--target", metavar="COLUMN", help="the column to predict (default: converted)")
    add(
        "--pipeline",
        metavar="NAME",
        help="logistic, linear, random_forest, ... or module:function (default: by the target)",
    )
    add("--drop", action="append", default=[], metavar="COLUMN", help="leave a column out")
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
        help="take a column as integer, number, boolean or category",
    )
    add("--columns", type=Path, metavar="TOML", help="a file with target, drop, ids and kinds")
    add(
        "--threshold",
        metavar="P",
        help="predict the second of two classes from this probability on; auto: the one with the best F1",
    )
    add("--exact", action="store_true", help="serve the ONNX graph only where it differs by at most 1e-12")
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
    add("--name", help="the model's name (default: made from the file's name)")
    add(
        "--out",
        type=Path,
        default=Path("handler/model"),
        metavar="DIR",
        help="the folder for the bundle (default: %(default)s)",
    )
    add(
        "--report",
        type=Path,
        metavar="DIR",
        help="also write the report, the card, the metrics and this output to a folder",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
