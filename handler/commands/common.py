"""What the commands share: how one is added, the values of flags, the model, how a result is printed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from handler.bundle import Bundle
from handler.errors import FunctionError
from handler.manifest import DOCUMENTS
from handler.scoring.model import Model
from handler.settings import Settings


class Add(Protocol):
    """Adds a command, named as the function that runs it, with the common flags; returns its parser.

    ``line``: its help. ``examples``: words that may follow its name. ``one``: what exit code 1 means, or
    None where it does not occur.
    """

    def __call__(
        self,
        run: Callable[[argparse.Namespace, Settings], int],
        line: str,
        /,
        *examples: str,
        one: str | None = None,
    ) -> argparse.ArgumentParser: ...


def whole_number(most: int) -> Callable[[str], int]:
    """What reads the value of a flag, a whole number from 1 to ``most``."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and 0 < int(text[:20]) <= most):
            raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {most:,}")
        return int(text)

    return read


def number(most: float, rule: str) -> Callable[[str], float]:
    """What reads the value of a flag, a number from 0 to ``most``; ``rule`` says so."""

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
        if not 0 <= number <= most:
            raise argparse.ArgumentTypeError(rule)
        return number

    return read


not_negative = number(sys.float_info.max, "must be a number of 0 or more, such as 0.25")
share = number(1, "must be a share from 0 to 1, such as 0.05 for 5 %")


def load_model(settings: Settings) -> Model:
    """The model that serves; raises ``BundleError``."""
    return Model.load(settings.model_dir, settings.model_public_key)


def whole_model(settings: Settings) -> Model:
    """The model, after every model file in the folder was verified, also one that does not serve.

    A model that someone puts in the place of ``model.joblib`` is noticed so, where the graph serves.
    """
    bundle = Bundle.open(settings.model_dir)
    for name in sorted(bundle.manifest.files.keys() - DOCUMENTS):
        if (Path(settings.model_dir) / name).exists():
            bundle.read(name)
    return load_model(settings)


def write_page(path: Path, page: str) -> None:
    """Write an HTML page; raises ``FunctionError``, which names the file."""
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise FunctionError(f"{path} cannot be written ({error.strerror})") from error


def print_result(options: argparse.Namespace, document: Mapping[str, Any], text: str) -> None:
    """Print what came of a command: a JSON object where that is asked for, else a text."""
    if options.json:
        print_json(document)
    else:
        print(text)


def print_json(document: Any) -> None:
    """Print it in one line, with letters of all alphabets as they are."""
    print(json.dumps(document, ensure_ascii=False))
