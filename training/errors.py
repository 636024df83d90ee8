"""What a user of ``python -m training`` can mend."""

from handler.errors import FunctionError


class TrainingError(FunctionError):
    """The data, the pipeline or an option cannot be used; ``str()`` is one line that says what to do."""


def one_line(error: object) -> str:
    """An exception or warning of other people's code: its type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__
