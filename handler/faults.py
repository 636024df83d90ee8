"""What fails for the moment: another try may succeed, so the platform should make one.

- ``PassingFault`` 503
    - ``StorageDown``: the object store is unreachable, throttled, or refuses access
    - ``NoObject``: the object, or its bucket, is not there
    - ``Changed``: an object is no longer of the version that was read
    - ``NotComplete``: parts of a file are not scored yet
    - ``Outranked``: only a run of a model that was created later can mend the outputs
    - ``DeadlineNear``: the platform would stop this run before its end
    - ``JobDown``: the job that scores large objects could not be started
    - ``ServerBusy``: the bodies that are being read fill the memory meant for them
"""

from __future__ import annotations

from handler.errors import FunctionError


class PassingFault(FunctionError):
    """A fault of the moment: nothing was left half done, and another try may succeed."""

    status = 503


class StorageDown(PassingFault):
    """The object store did not do what was asked."""

    def __init__(self, uri: str, why: str) -> None:
        self.uri = uri
        super().__init__(f"storage failed at {uri}: {why}")


class NoObject(PassingFault):
    """The object, or its bucket, is not there."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        what = f"object {uri}, or no such bucket" if "://" in uri else f"file {uri}"
        super().__init__(f"there is no {what}")


class Changed(PassingFault):
    """An object is no longer of the version that was read: another run was faster."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        super().__init__(f"{uri} was changed by another run meanwhile")


class Outranked(PassingFault):
    """The tables of a model that was created later are damaged: only a run of that model mends them."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        super().__init__(
            f"{uri} is of a model that was created later than this one, and its tables are not its own any "
            "more. That model mends them when it gets the event; to have this one score the file, delete "
            "the summary, or run 'python -m handler score'"
        )


class NotComplete(PassingFault):
    """Parts of a file are not scored yet, or not all by this model."""

    def __init__(self, uri: str, part: int) -> None:
        self.uri = uri
        super().__init__(
            f"{uri} is not complete: part {part} is not there, or is of another plan or model. Score the "
            "parts of one plan by one model; those that are done are skipped"
        )


class DeadlineNear(PassingFault):
    """The platform would stop this run before its end."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        super().__init__(
            f"the time limit is near: the run stopped at {uri} and wrote no summary. Raise the function's "
            "timeout or memory, split the file, or run 'python -m handler score' on a machine"
        )


class JobDown(PassingFault):
    """The job that scores large objects could not be started; ``soon``: another try may succeed at once."""

    def __init__(self, job: str, why: str, soon: bool = False) -> None:
        self.job, self.soon = job, soon
        super().__init__(f"{job} could not be started: {why}")


class ServerBusy(PassingFault):
    """The bodies that are being read fill the memory that is meant for them."""

    def __init__(self) -> None:
        super().__init__("the server is reading as many bodies as it has room for; try again")
