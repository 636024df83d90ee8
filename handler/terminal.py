"""What both command lines have in common: their parser, their errors, colour, and how they are stopped."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TextIO

from handler import __version__, interrupts
from handler.errors import FunctionError

RED, YELLOW = "31", "33"
CODES = """\
exit codes:
  0  done
  2  bad input, a bad setting or no model: one line on standard error says what to do
  130, 143  interrupted by Ctrl-C, or stopped by SIGTERM
  141  whoever read the output, such as head, has closed it"""


class UsageError(FunctionError):
    """The words of a command line that cannot be read."""


class Parser(argparse.ArgumentParser):
    """A parser that raises ``UsageError`` in place of printing its usage; help keeps its lines."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter, **options})

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def add_common(parser: argparse.ArgumentParser) -> None:
    """The flags that every command has."""
    add = parser.add_argument
    add(
        "--json",
        action="store_true",
        help="print the result as one JSON object, all else on standard error",
    )
    add("--quiet", action="store_true", help="print errors and the result only")
    add_version(parser)


def add_version(parser: argparse.ArgumentParser) -> None:
    """``--version``."""
    text = f"sklearn-function {__version__}"
    parser.add_argument("--version", action="version", version=text, help="print the version")


def epilog(*examples: str, one: str | None = None) -> str:
    """The end of a command's help: examples, and exit codes; ``one``: what 1 means, where it occurs."""
    codes = CODES if one is None else CODES.replace("\n  2", f"\n  1  {one}\n  2", 1)
    return "\n".join(["examples:", *(f"  {each}" for each in examples), "", codes])


def parsed(
    parser: argparse.ArgumentParser, words: Sequence[str], commands: Sequence[str] = ()
) -> argparse.Namespace:
    """The options; raises ``UsageError``, which names the flag that a mistyped one may have meant.

    ``commands``: words that may also have been meant. Where ``parser`` has commands of its own, each sets
    ``parser`` to its own.
    """
    options, unknown = parser.parse_known_args(words)
    if unknown:
        named = getattr(options, "parser", parser)
        flags = [flag for action in named._actions for flag in action.option_strings] + [*commands]
        word = next((each for each in unknown if each.startswith("-")), unknown[0]).partition("=")[0]
        kind = "flag" if word.startswith("-") else "argument"
        raise UsageError(f"there is no {kind} '{word}'{near(word, flags)} (see {named.prog} --help)")
    return options


def near(word: str, known: Iterable[str]) -> str:
    """``; did you mean ...?``, where one of the known words is like this one."""
    import difflib

    by_lower = {each.lower(): each for each in known}
    alike = difflib.get_close_matches(word.lower(), by_lower, 1)
    return f"; did you mean '{by_lower[alike[0]]}'?" if alike else ""


def draws(stream: TextIO) -> bool:
    """Whether a line may be drawn over another one: a person watches, on a terminal that can."""
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # it is closed
        return False


def painted(text: str, colour: str, stream: TextIO) -> str:
    """The text in a colour, where ``stream`` is a terminal and NO_COLOR is not set (https://no-color.org)."""
    if not draws(stream) or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{colour}m{text}\x1b[0m"


def grid(header: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> list[str]:
    """Lines of cells in columns; ``align`` holds ``<`` or ``>`` for each column."""
    table = [header, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(header))]
    return [
        "  "
        + "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)
        ).rstrip()
        for row in table
    ]


def complain(message: str, lines: Sequence[str] = ()) -> None:
    """Print an error in one line on standard error, and lines that may help below it.

    In a Cloud Run job it is a JSON line, since Cloud Logging takes any other for one without a severity.
    https://cloud.google.com/run/docs/logging#container-logs
    """
    if "CLOUD_RUN_JOB" in os.environ:
        entry = {"severity": "ERROR", "message": " ".join([message, *lines])}
        print(json.dumps(entry, ensure_ascii=False), file=sys.stderr)
        return
    print(painted("error:", RED, sys.stderr), " ".join(message.splitlines()), file=sys.stderr)
    for line in lines:
        print(f"  {line}", file=sys.stderr)


def guarded(body: Callable[[], int], as_json: bool = False) -> int:
    """The exit code of a command: the body's, or that of the error that ended it, which is printed.

    ``as_json``: an error is a JSON object on standard output too.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal may lack a letter of a column's name
    try:
        try:
            return body()
        finally:
            sys.stdout.flush()
    except KeyboardInterrupt:
        interrupts.say()
        return 130
    except BrokenPipeError:
        # Nothing more can be written, not even when Python flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except FunctionError as error:
        message, lines = str(error), getattr(error, "lines", ())
    except MemoryError:
        message, lines = "there is not enough memory here; take fewer rows, or a larger machine", ()
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        message, lines = f"{named}{error.strerror or error}", ()
    complain(message, lines)
    if as_json:
        print(json.dumps({"error": message}, ensure_ascii=False), flush=True)
    return 2
