"""``handler.typed`` stands in for ``typing`` where a first answer waits: named tuples are as typing's."""

from __future__ import annotations

import pickle
import typing
from typing import Any

import pytest

from handler import typed


class Ours(typed.NamedTuple):
    """A point."""

    x: int
    y: int = 2
    tags: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """The sum."""
        return self.x + self.y


class Theirs(typing.NamedTuple):
    """A point."""

    x: int
    y: int = 2
    tags: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """The sum."""
        return self.x + self.y


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ((1,), {}),
        ((1, 5), {}),
        ((1, 5, ("a",)), {}),
        ((1,), {"tags": ("b",)}),
        ((), {"tags": ("b",), "y": 3, "x": 1}),
        ((), {}),
        ((), {"y": 3}),
        ((1,), {"z": 3}),
        ((1, 2, (), 4), {}),
        ((1, 2, ()), {"z": 4}),
        ((1, 2), {"y": 3}),
    ],
)
def test_a_named_tuple_is_made_and_refused_as_typings(values: Any, named: Any) -> None:
    try:
        theirs = Theirs(*values, **named)
    except TypeError:
        with pytest.raises(TypeError):
            Ours(*values, **named)
        return
    ours = Ours(*values, **named)
    assert tuple(ours) == tuple(theirs)
    assert ours == tuple(theirs)
    assert (ours.x, ours.y, ours.tags, ours.total) == (theirs.x, theirs.y, theirs.tags, theirs.total)
    assert ours._asdict() == theirs._asdict()
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert tuple(ours._replace(y=7)) == tuple(theirs._replace(y=7))
    assert pickle.loads(pickle.dumps(ours)) == ours
    assert type(pickle.loads(pickle.dumps(ours))) is Ours


def test_a_named_tuple_is_a_class_as_typings() -> None:
    assert Ours._fields == Theirs._fields
    assert Ours._field_defaults == Theirs._field_defaults
    assert (Ours.__name__, Ours.__module__, Ours.__doc__) == ("Ours", __name__, "A point.")
    match Ours(1, 5):
        case Ours(x, y):
            assert (x, y) == (1, 5)
    with pytest.raises(AttributeError):
        Ours(1).x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError):
        Ours(1).other = 2  # type: ignore[attr-defined]
    with pytest.raises((TypeError, ValueError)):
        Ours(1)._replace(other=2)  # type: ignore[call-arg]
