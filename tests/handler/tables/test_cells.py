"""The kernel reads and writes numbers as Python does, to the last bit, and leaves rare spellings to it."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from handler.categories import Coded
from handler.manifest import Feature
from handler.schema import Schema
from handler.tables import reading, writing
from handler.tables.cells import Cells, cells_of
from handler.tables.rows import Block, Layout, Lines, Rejects, Rows
from handler.tables.series import series_of
from tests.support.kernel import needs_compiler

pytestmark = needs_compiler

NUMBER = Schema([Feature("x", "number", nullable=True)])
ONE = Layout(("x",), ",", {"x": 0})
DOUBLES = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("d", bits.to_bytes(8, "little"))[0]),
    st.builds(
        lambda digits, power: float(f"{digits}e{power}"), st.integers(-999, 999), st.integers(-20, 20)
    ),
)
#: Powers of two, and the doubles beside them, one of which is nearer than the other.
EDGES = [
    beside
    for power in range(-1074, 1024)
    for edge in [math.ldexp(1.0, power)]
    for beside in (edge, math.nextafter(edge, 0.0), math.nextafter(edge, math.inf))
    if math.isfinite(beside)
]


def read(texts: list[str], schema: Schema = NUMBER) -> Cells:
    """What the kernel makes of one column."""
    given = cells_of("".join(f"{text}\n" for text in texts).encode(), ONE, schema)
    assert given is not None
    return given


def written(*outputs: object) -> str:
    """Rows of one cell, with their outputs."""
    rows = len(outputs[0])  # type: ignore[arg-type]
    lines = Lines(b"row\n", np.zeros(rows, np.int64), np.full(rows, 3))
    none = Rejects([], [], [], lambda _: ([], []))
    return writing.write(Rows(rows, {}, none, lines), ONE, list(outputs)).decode()  # type: ignore[arg-type]


@settings(deadline=None, max_examples=300)
@given(numbers=st.lists(DOUBLES, min_size=1))
@example(EDGES)
@example([0.0, -0.0, 1e-5, 9.999e-6, 1e15, 1e16, 123456789012345680000.0, 5e-324, 1.7976931348623157e308])
def test_a_double_is_written_by_the_fewest_digits_that_read_back_to_it(numbers: list[float]) -> None:
    numbers = [number for number in numbers if math.isfinite(number)]
    assert written(np.array(numbers)) == "".join(f"row,{writing.cell(number)}\n" for number in numbers)


@settings(deadline=None, max_examples=300)
@given(
    numbers=st.lists(DOUBLES.filter(math.isfinite), min_size=1),
    spelling=st.sampled_from(["%r", "%.17g", "%.18g", "%.16e", "%.3f", "%+.9E", "%05.1f", "%.25f", "%g"]),
)
@example(EDGES, "%r")
@example(EDGES, "%.17g")
@example([0.5 + 2.0**-53, 9007199254740993.0, 1700000000000000.0, 8.5e15], "%r")
def test_a_number_is_read_as_the_nearest_double_or_left_to_python(
    numbers: list[float], spelling: str
) -> None:
    texts = [spelling % number for number in numbers]
    given = read(texts)
    rows, left = given.odd("x")
    assert left == [texts[row] for row in rows.tolist()]
    expected = np.array([float(text) for text in texts])
    is_read = np.ones(len(texts), bool)
    is_read[rows] = False
    assert given.values["x"][is_read].tobytes() == expected[is_read].tobytes()
    assert (np.abs(expected[is_read]) < 3.5e38).all()


@pytest.mark.parametrize(
    "text",
    ["1", "-1.5", "+2", ".5", "5.", "1e3", "1E-3", "007", "0.1", " 3", "4\t", "-0", "123456.789",
     "0.30000000000000004", "1.7976931348623157e-270", "6362916304879480.0", "3.4028234663852886e38"],
)  # fmt: skip
def test_numbers_as_files_spell_them_are_not_left_to_python(text: str) -> None:
    given = read([text])
    assert given.odd("x")[1] == []
    assert given.values["x"].tobytes() == np.array([float(text)]).tobytes()


@pytest.mark.parametrize(
    "text",
    ["x", "-", "+", ".", "e5", "1e", "1e+", "1.2.3", "1_5", "--1", "+-1", "0x10", "nan", "inf",
     "1 2", "\u0661", "1e400", "3.5e38", "1" * 101, "1e-400", "\x00", "1\x00", "NULL", "1\u00a0"],
)  # fmt: skip
def test_what_is_spelled_in_a_rare_way_is_left_to_python(text: str) -> None:
    rows, left = read(["1", text, "2"]).odd("x")
    assert (rows.tolist(), left) == ([1], [text])


def test_a_missing_number_is_nan_where_it_may_be_missing() -> None:
    two, nullable = Layout(("x", "y"), ",", {"x": 0, "y": 1}), [Feature("y", "integer", nullable=True)]
    given = cells_of(b",\n1, \n", two, Schema([Feature("x", "number"), *nullable]))
    assert given is not None
    assert given.odd("x")[0].tolist() == [0]
    assert given.odd("y")[0].tolist() == []
    assert np.isnan(given.values["y"]).all()


def test_whole_numbers_are_those_that_a_double_is_exactly() -> None:
    texts = ["1", "1.0", "1e2", "1.5", "9007199254740991", "9007199254740992", "-9007199254740992", "1e-1"]
    left = read(texts, Schema([Feature("x", "integer")])).odd("x")[1]
    assert left == ["1.5", "9007199254740992", "-9007199254740992", "1e-1"]


@pytest.mark.parametrize("count", [1, 2, 300, 5000])
def test_levels_are_found_however_many_there_are(count: int) -> None:
    levels = [*(f"level {index:x}" for index in range(count)), "Köln", "a" * 500]
    schema = Schema([Feature("x", "category", nullable=True, categories=tuple(levels))])
    unknown = ["level", "level  1", "a" * 499, "a" * 501, "KÖLN"]
    given = read([*levels, *unknown], schema)
    known = (*series_of(schema).known(schema.features[0]), None)
    found = [known[code] for code in given.values["x"].tolist()]
    assert found == [*levels, *[None] * len(unknown)]
    assert given.odd("x")[1] == unknown


SPELLED = st.lists(st.text(st.sampled_from("0123456789.,.,+-eE '−€"), max_size=9), min_size=1, max_size=30)


@pytest.mark.parametrize("kind", ["number", "integer"])
@pytest.mark.parametrize("format", ["1234,5", "1.234,5", "1 234,5", "1,234.5", "1'234.5", "1.234,5 €"])
@given(texts=SPELLED)
@example(["1,5", "-0,25", "1.234,5", "12,", ",5", "1e3", "1,5e-3", "+7", "1.5", "", "1,234.5", "9,", "5,0"])
@example(["0,00000000000000000001234567890123456789", "9007199254740993,0", "1,797e309", "3,5e38"])
def test_numbers_are_read_by_their_format_as_row_by_row(kind: str, format: str, texts: list[str]) -> None:
    schema = Schema([Feature("x", kind, nullable=True, format=format)])  # type: ignore[arg-type]
    layout = Layout(("x", "note"), ";", {"x": 0})
    block = Block("".join(f"{text};,\n" for text in texts).encode(), 1)
    expected = reading.read(block, layout, schema)
    assert isinstance(expected.text, list)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "SMALL", 0)
        found = reading.read(block, layout, schema)
    assert isinstance(found.text, Lines)
    assert repr(found.columns["x"].tolist()) == repr(expected.columns["x"].tolist())
    assert [*found.rejects] == [*expected.rejects]
    outputs = [np.arange(len(found.columns["x"]))]
    assert writing.write(found, layout, outputs) == writing.write(expected, layout, outputs)


def test_a_missing_category_is_left_to_python_where_it_may_not_be_missing() -> None:
    schema = Schema([Feature("x", "category", categories=("a", "b")), Feature("y", "boolean")])
    given = cells_of(b"a,1\n,0\nb,yes\n", Layout(("x", "y"), ",", {"x": 0, "y": 1}), schema)
    assert given is not None
    assert given.odd("x")[0].tolist() == [1]


def test_records_of_other_widths_and_blank_lines_are_no_rows() -> None:
    schema = Schema([Feature("x", "number"), Feature("y", "number")])
    data = b"\n1,2\n3\n\nbad,4,5\nbad,6\n7,8\n\n"
    given = cells_of(data, Layout(("x", "y"), ",", {"x": 0, "y": 1}), schema)
    assert given is not None
    records = [data[start:stop] for start, stop in zip(given.starts, given.stops, strict=True)]
    assert records == [b"1,2", b"3", b"bad,4,5", b"bad,6", b"7,8"]
    assert (given.others.tolist(), given.widths.tolist()) == ([1, 2], [1, 3])
    assert given.values["y"].tolist() == [2, 6, 8]
    assert given.odd("x")[0].tolist() == [1]


@pytest.mark.parametrize("code", [-1, 2])
def test_a_label_that_there_is_not_makes_no_row(code: int) -> None:
    """A bundle is data: it must not have the kernel read beyond its arrays."""
    with pytest.raises(IndexError, match="not one of the model's"):
        written(Coded(np.array([0, code]), ("a", "b")))


def test_outputs_are_written_as_csv_cells() -> None:
    labels = ('say "x"', "a,b", "two\nlines", "", "plain")
    coded = Coded(np.array([4, 0, 1, 2, 3], np.int32), labels)
    whole = np.array([0, -1, 2**63 - 1, -(2**63), 7])
    given = written(coded, whole, [*"abcde"])
    rows = zip(["row"] * 5, coded.tolist(), whole.tolist(), [*"abcde"], strict=True)
    assert given == "".join(f"{line}\n" for line in writing.line_texts(rows))
