"""What a user of ``python -m training`` can mend, and how other people's code is run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from handler.errors import FunctionError

#: Prints a text of one line or more.
Say = Callable[[str], None]


class TrainingError(FunctionError):
    """The data, the pipeline or an option cannot be used; ``str()`` is one line that says what to do."""


def one_line(error: object) -> str:
    """An exception or warning of other people's code: its type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


@contextmanager
def users_code(failure: str, say: Say) -> Iterator[None]:
    """Say the warnings of a user's code as notes, and raise its exceptions as ``TrainingError``."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)  # for the pipeline's author, not its user
        try:
            yield
        except Exception as error:  # whatever the user's code raises
            raise TrainingError(f"{failure}: {one_line(error)}") from error
        finally:
            for note in dict.fromkeys(one_line(each.message) for each in caught):
                say(f"note: {note}")
