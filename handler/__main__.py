"""Predictions, files, events and a server from a bundle, at a terminal."""

from __future__ import annotations

from handler import interrupts

interrupts.catch()  # before the imports, which take a while

import argparse
import atexit
import gc
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from handler import telemetry, terminal
from handler.commands import bundles, files, review, rows, serving
from handler.settings import Settings

atexit.register(gc.freeze)  # else Python searches all that polars has loaded for garbage: 0.1 s of a batch

#: What adds each command, in the order in which help lists them.
COMMANDS = (
    rows.add_predict,
    rows.add_explain,
    files.add_score,
    files.add_plan,
    rows.add_invoke,
    bundles.add_check,
    review.add_drift,
    review.add_compare,
    review.add_evaluate,
    bundles.add_sign,
    serving.add_serve,
)


def main(
    arguments: Sequence[str] | None = None,
    program: str = "python -m handler",
    elsewhere: Mapping[str, str] | None = None,
) -> int:
    """Run a command; returns its exit code: 0 done, 1 a check failed, 2 bad input or no model.

    A process that is asked to stop ends with 130 (Ctrl-C) or 143 (SIGTERM). ``elsewhere`` has the further
    commands of ``program``, each with its line of help: they are listed here and run by the caller.
    """
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    return terminal.guarded(lambda: _run(words, program, elsewhere or {}), "--json" in words)


def _run(words: list[str], program: str, elsewhere: Mapping[str, str]) -> int:
    parser, commands = _parsers(program, elsewhere)
    if words and not words[0].startswith("-") and words[0] not in commands:
        hint = terminal.near(words[0], commands)
        raise terminal.UsageError(f"there is no command '{words[0]}'{hint} (see {program} --help)")
    options = terminal.parsed(parser, words)
    if not hasattr(options, "run"):
        parser.print_help(sys.stderr)
        return 2
    settings = Settings.from_env({**os.environ, **({"MODEL_DIR": options.model} if options.model else {})})
    telemetry.configure(settings)
    return int(options.run(options, settings))


def _parser(program: str, elsewhere: Mapping[str, str]) -> argparse.ArgumentParser:
    return _parsers(program, elsewhere)[0]


def _parsers(program: str, elsewhere: Mapping[str, str]) -> tuple[argparse.ArgumentParser, Sequence[str]]:
    """The parser, and the names of its commands."""
    parser = terminal.Parser(
        prog=program,
        description=__doc__,
        epilog=terminal.epilog(
            f"{program} predict age=45 new_user=0 total_pages_visited=5",
            f"{program} score data/*.csv --output scored",
            f"{program} serve --port 8081",
            one="the check failed, or a file was refused, or could not be read or written",
        ),
    )
    terminal.add_version(parser)
    commands = parser.add_subparsers(metavar="COMMAND")
    for name, line in elsewhere.items():
        commands.add_parser(name, help=line)

    def add(
        run: Callable[[argparse.Namespace, Settings], int],
        line: str,
        /,
        *examples: str,
        one: str | None = None,
    ) -> argparse.ArgumentParser:
        name = run.__name__
        typed = [f"{program} {name} {each}".rstrip() for each in examples]
        command = commands.add_parser(
            name,
            help=line,
            description=f"{line[0].upper()}{line[1:]}.",
            epilog=terminal.epilog(*typed, one=one),
        )
        command.add_argument(
            "--model",
            metavar="DIR",
            help="the bundle (default: $MODEL_DIR, or handler/model: here or beside this code)",
        )
        terminal.add_common(command)
        command.set_defaults(run=run, parser=command)
        return command

    for add_to in COMMANDS:
        add_to(add)
    return parser, list(commands.choices)


if __name__ == "__main__":
    interrupts.leave(main())
