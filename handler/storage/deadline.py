"""The time that a run may still use; every wait asks for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from handler.faults import DeadlineNear

if TYPE_CHECKING:
    from concurrent.futures import Future

    from handler.storage.locations import Location

T = TypeVar("T")

#: Seconds before the platform's limit that are kept for withdrawing uploads and for the answer, at most;
#: a function with less time keeps a fifth of what it starts with.
RESERVE = 10.0
#: Seconds after which a wait looks at the clock again: it may be a person's signal that ends the time.
TICK = 0.1


class Deadline:
    """When a run gives up: a reserve before the platform's limit.

    ``remaining`` gives the seconds until that limit, ``most`` those that there were when the invocation
    began (None: it begins now). By default there is no limit.
    """

    def __init__(
        self, remaining: Callable[[], float] = lambda: float("inf"), most: float | None = None
    ) -> None:
        self._remaining = remaining
        self._reserve = min(RESERVE, (remaining() if most is None else most) / 5)

    def left(self) -> float:
        """The seconds until the run gives up."""
        return self._remaining() - self._reserve

    def last(self) -> float:
        """The seconds that one withdrawal may take; some stay for the next one, and for the answer."""
        return max(0.0, min(self._remaining(), RESERVE) / 3)

    def check(self, location: Location) -> None:
        """Raise ``DeadlineNear`` if the time is up; ``location`` is what the run is at."""
        if self.left() <= 0:
            raise DeadlineNear(str(location))

    def result(self, future: Future[T], location: Location) -> T:
        """The future's result; raises ``DeadlineNear`` if it does not come in time."""
        while not done_within(future, min(TICK, self.left())):
            self.check(location)
        return future.result()

    def pause(self, seconds: float, location: Location) -> None:
        """Sleep; raises ``DeadlineNear``."""
        import time

        end = time.monotonic() + seconds
        while (rest := end - time.monotonic()) > 0:
            self.check(location)
            time.sleep(min(TICK, rest))


def done_within(future: Future[T], seconds: float) -> bool:
    """Whether the future is done, within that time at most."""
    from concurrent.futures import wait

    return bool(wait([future], max(0.0, seconds)).done)
