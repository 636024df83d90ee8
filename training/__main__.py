"""``python -m training``, and the script ``sklearn-function``, which joins it to ``python -m handler``.

Training ends with exit code 0 and a bundle, or with 2 and one line that says what to mend.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NoReturn

from handler import __main__ as serving
from handler import __version__
from handler.errors import FunctionError
from training.data.columns import parse_kind
from training.errors import TrainingError


def command(arguments: Sequence[str] | None = None) -> int:
    """The script: ``train``, and every command of ``python -m handler``; returns its exit code."""
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    if words[:1] == ["train"]:
        return main(words[1:], "sklearn-function train")
    # A pickle may need a module of one's own, which is looked for here, as ``python -m`` does.
    sys.path.insert(0, str(Path.cwd()))
    return serving.main(words, "sklearn-function", {"train": "train a pipeline on a CSV, and bundle it"})


def main(arguments: Sequence[str] | None = None, program: str = "python -m training") -> int:
    """Run the command; returns its exit code."""
    say = partial(print, flush=True)
    try:
        options = vars(_parser(program).parse_args(arguments))
        if options.pop("version"):
            say(f"sklearn-function {__version__}")
            return 0
        options["kinds"] = dict(parse_kind(text) for text in options.pop("kind"))
        options |= {name: tuple(options[name]) for name in ("drop", "ids")}
        say("loading scikit-learn ...")
        from training.train import Options, train

        # A pipeline of one's own is looked for where the command is run.
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
    """A parser that says what is wrong in one line, as all else here does."""

    def error(self, message: str) -> NoReturn:
        raise TrainingError(f"{message} (see --help)")


def _parser(program: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=program,
        description="Train a scikit-learn pipeline on a CSV, and bundle it for serving.",
        epilog="Without --data, it trains on a synthetic sample.",
    )
    add = parser.add_argument
    add("--version", action="store_true", help="print the version")
    add("--data", type=Path, metavar="CSV", help="the rows to learn from, with a header")
    add(
        "--target",
        metavar="COLUMN",
        help="the column to predict (default: converted)",
    )
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
        help="a column that is not a feature, and that requests may carry",
    )
    add(
        "--kind",
        action="append",
        default=[],
        metavar="COLUMN=KIND",
        help="take a column as integer, number, boolean or category",
    )
    add("--columns", type=Path, metavar="TOML", help="a file that states target, drop, ids and kinds")
    add(
        "--threshold",
        metavar="P",
        help="of two classes, predict the second from this probability on; auto: the one with the best F1",
    )
    add("--exact", action="store_true", help="let ONNX serve only where it differs by 1e-12 at most")
    add(
        "--test-size",
        type=float,
        default=0.3,
        metavar="SHARE",
        help="the share to hold out (default: %(default)s)",
    )
    add("--seed", type=int, default=555, help="of the split and the sample (default: %(default)s)")
    add("--name", help="the model's name (default: the file's)")
    add(
        "--out",
        "--model",
        type=Path,
        default=Path(os.environ.get("MODEL_DIR") or "handler/model"),
        metavar="DIR",
        help="the bundle (default: $MODEL_DIR, or handler/model)",
    )
    add("--report", type=Path, metavar="DIR", help="also write the report and the metrics there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
