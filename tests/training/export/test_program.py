"""The one-row program's arrays: as short as their numbers allow, and read back to the same numbers."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handler.scoring import row_program
from training.export.program import LONG, little_endian, with_arrays

INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1), min_size=LONG, max_size=LONG)
SMALL = st.lists(st.integers(-200, 200), min_size=LONG, max_size=LONG)
NUMBERS = st.lists(st.floats() | st.floats(width=32), min_size=LONG, max_size=LONG)


def stored(*lists: list[Any]) -> tuple[list[Any], list[Any]]:
    """The type codes of the arrays that lists become, and the arrays as a bundle's reader has them."""
    arrays: list[array[Any]] = []
    named = [with_arrays(each, arrays) for each in lists]
    assert named == [{"array": index} for index in range(len(lists))]
    content = b"".join(map(little_endian, arrays))
    layout = [(each.typecode, len(each)) for each in arrays]
    return [kind for kind, _ in layout], row_program.arrays(layout, memoryview(content))


@given(INTEGERS, SMALL, NUMBERS)
@example([0] * LONG, [0] * LONG, [-0.0] * LONG)
@example([0] * LONG, [0] * LONG, [1e300] * LONG)
def test_arrays_are_read_back_to_the_same_numbers(
    integers: list[int], small: list[int], numbers: list[float]
) -> None:
    _, read = stored(integers, small, numbers)
    assert [list(map(repr, each)) for each in read] == [
        list(map(repr, each)) for each in (integers, small, numbers)
    ]


@pytest.mark.parametrize(
    ("least", "most", "code"),
    [
        (-128, 127, "b"),
        (0, 128, "h"),
        (-129, 0, "h"),
        (-(2**15), 2**15 - 1, "h"),
        (0, 2**15, "i"),
        (-(2**31), 2**31 - 1, "i"),
        (0, 2**31, "q"),
        (-(2**63), 2**63 - 1, "q"),
        (0.5, -3.25, "f"),
        (0.1, 0.5, "d"),
        (0.5, float("inf"), "f"),
        (0.5, 1e39, "d"),
    ],
)
def test_an_array_is_as_short_as_its_numbers(least: float, most: float, code: str) -> None:
    codes, (read,) = stored([least, most, *[least] * LONG])
    assert codes == [code]
    assert list(read)[:2] == [least, most]
