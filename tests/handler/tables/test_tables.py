"""Reading CSV in blocks gives what Python's csv module and the schema give row by row, whatever the cut."""

from __future__ import annotations

import collections
import contextlib
import csv
import io
import math
import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from handler.errors import InvalidRecords
from handler.manifest import Feature, Kind
from handler.schema import Record, Schema
from handler.tables import formats, reading, records, sweeping, writing
from handler.tables import header as headers
from handler.tables.errors import InvalidCsv, MissingColumns
from handler.tables.header import DELIMITERS, header
from handler.tables.rows import Block, Layout, Lines, Refusal, Rejects, Rows
from tests.support.widths import widened

SCHEMA = Schema(
    [
        Feature("age", "integer"),
        Feature("income", "number", nullable=True, missing_words=("na", "nan", "-")),
        Feature("member", "boolean"),
        Feature("city", "category", True, categories=("Köln", "Rome, IT"), missing_words=("na",)),
    ]
)
KINDS: tuple[Kind, ...] = ("number", "integer", "boolean", "number")
HEADER = ["id", "age", "income", "member", "city"]


def by_hand(text: str, delimiter: str, line: int) -> list[tuple[int, Record | tuple[str, str]]]:
    """The reference: ``csv.reader`` over the lines and ``Schema.from_cells`` over the cells."""
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter=delimiter)
    rows = []
    start = 0
    for cells in reader:
        if cells:
            rows.append((line + start, "".join(lines[start : reader.line_num]), cells))
        start = reader.line_num
    columns = widened(HEADER, [(raw, cells) for _, raw, cells in rows])
    found: list[tuple[int, Record | tuple[str, str]]] = []
    for at, _, cells in rows:
        if len(cells) != len(columns):
            found.append((at, ("", "too_few_cells" if len(cells) < len(columns) else "too_many_cells")))
            continue
        named = dict(zip(columns, cells, strict=True))
        try:
            record = SCHEMA.from_cells({name: named[name] for name in SCHEMA.names})
        except InvalidRecords as error:
            found.append((at, (error.problems[0].field, error.problems[0].code)))
        else:
            found.append((at, record))
    return found


def in_blocks(data: bytes, delimiter: str, size: int) -> list[tuple[int, Record | tuple[str, str]]]:
    """What the blocks of ``size`` bytes give, in the reference's form (lines of sound rows are 0)."""
    head = delimiter.join(HEADER).encode() + b"\n" + data
    layout, rest, line = header([head], SCHEMA)
    assert layout.delimiter == delimiter
    data = b"".join(rest)
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    found: list[tuple[int, Record | tuple[str, str]]] = []
    for block in records.blocks(chunks, delimiter, line, size):
        rows = reading.read(block, layout, SCHEMA)
        assert_text_kept(block.data.decode(), rows, layout)
        rejected = dict(zip(rows.rejects.indices, rows.rejects, strict=True))
        sound = zip(*(rows.columns[name].tolist() for name in SCHEMA.names), strict=True)
        for place in range(rows.total):
            reject = rejected.get(place)
            if reject is None:
                found.append((0, next(sound)))
            else:
                found.append((reject.line, (reject.column, reject.code)))
    return found


def assert_text_kept(text: str, rows: Rows, layout: Layout) -> None:
    """The written rows are the block's sound rows, cell for cell, with the output at their end."""
    given = [
        cells for cells in csv.reader(io.StringIO(text, newline=""), delimiter=layout.delimiter) if cells
    ]
    kept = [cells for place, cells in enumerate(given) if place not in rows.rejects.indices]
    written = writing.write(rows, layout, [["x, y"] * len(kept)]).decode()
    assert list(csv.reader(io.StringIO(written, newline=""))) == [[*cells, "x, y"] for cells in kept]


def same(one: Record | tuple[str, str], other: Record | tuple[str, str]) -> bool:
    return len(one) == len(other) and all(
        a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))
        for a, b in zip(one, other, strict=True)
    )


def assert_same(data: bytes, delimiter: str, size: int) -> None:
    expected = by_hand(data.decode(), delimiter, 2)
    found = in_blocks(data, delimiter, size)
    assert len(found) == len(expected)
    for (line, told), (at, says) in zip(found, expected, strict=True):
        assert same(told, says), (told, says)
        assert line in (0, at)


CELLS = st.sampled_from(
    ["1", "45", "45.0", "45.5", "", " 7 ", "\t8", "1e3", "1e400", "nan", "-inf", "1_0", "٣", "0x10", "+.5",
     "007", "9007199254740993", "yes", "No", "TRUE", "t", "2", "Köln", "Rome, IT", "Rom", "x;y", "a|b",
     "a\tb", 'say "hi"', "line\nbreak", "cr\r\nlf", "lone\rcr", "  ", "\x0b", "\u2028", "'", "\x00",
     "NA", "NaN", "-nan", " na\t", "-", " Köln "]
)  # fmt: skip
ROWS = st.lists(
    st.one_of(
        st.lists(CELLS, min_size=0, max_size=7),
        st.tuples(st.just("id"), st.sampled_from(["1", "45"]), st.sampled_from(["", "2.5"]),
                  st.sampled_from(["yes", "0"]), st.sampled_from(["Köln", ""])).map(list),
    ),
    max_size=12,
)  # fmt: skip


def written(rows: list[list[str]], delimiter: str, end: str, quoting: int) -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=delimiter, lineterminator=end, quoting=quoting)
    for row in rows:
        writer.writerow(row) if row else sink.write(end)
    return sink.getvalue().encode()


@pytest.fixture(autouse=True, params=["row by row", "swept", "by the kernel"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in each way: the small-file threshold, and the kernel, are the seams between them."""
    if request.param != "row by row":
        sweep(monkeypatch, with_kernel=request.param == "by the kernel")


def sweep(patched: pytest.MonkeyPatch, with_kernel: bool) -> None:
    """Have blocks of any size read all rows at once."""
    patched.setattr(reading, "SMALL", 0)
    patched.setattr(sweeping, "FEW_TEXTS", 0)
    if not with_kernel:
        patched.setattr(sweeping, "cells_of", lambda *_, **__: None)


FUNCTION_FIXTURE_IS_FINE = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.slow
@FUNCTION_FIXTURE_IS_FINE
@given(
    rows=ROWS,
    delimiter=st.sampled_from(DELIMITERS),
    end=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    size=st.integers(1, 200),
)
def test_written_rows_read_as_the_csv_module_reads_them(
    rows: list[list[str]], delimiter: str, end: str, quoting: int, size: int
) -> None:
    assert_same(written(rows, delimiter, end, quoting), delimiter, size)


@FUNCTION_FIXTURE_IS_FINE
@given(
    text=st.text(st.sampled_from('1,2;"\n\r ayesKö.'), max_size=80),
    size=st.integers(1, 60),
)
@example(text='1,"2",3,yes,\n5" pipe,2,3,no,\n"a","b\n"', size=7)
@example(text='a"b,1,,yes,\n"c"d,1,,1,\n', size=3)
@example(text="1,2,3,yes,Köln\r2,2,3,yes,Köln\r", size=5)
@example(text="1,2,3,yes,Köln", size=1)
def test_any_text_reads_as_the_csv_module_reads_it(text: str, size: int) -> None:
    *_, last = csv.reader(io.StringIO(text + "\nend", newline=""))
    if last == ["end"]:
        assert_same(text.encode(), ",", size)
    else:  # the quote that is open at the end took the line in
        with pytest.raises(InvalidCsv, match="never closed"):
            in_blocks(text.encode(), ",", size)


@pytest.mark.slow
def test_every_cut_of_a_nasty_file_gives_the_same_rows() -> None:
    rows = [
        ["1", "45", "2.5", "yes", "Köln"],
        ["two\nlines", "46", "", "no", "Rome, IT"],
        ["", "x", "1", "1", ""],
        [],
        ['"', "47", "1e400", "0", "Köln"],
        ["short"],
        ["last", "48", "-1", "f", "Paris"],
    ]
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        for end in ("\n", "\r\n"):
            data = written(rows, ",", end, quoting)
            for size in range(1, len(data) + 2):
                assert_same(data, ",", size)


def test_the_output_keeps_every_cell_as_it_was() -> None:
    import numpy as np

    rows = [
        ["007", "45", "1.50", "yes", "Rome, IT"],
        [' say "hi"\n', "1", "", "0", ""],
        [" a ", "2", "3", "t", "Köln"],
        ["a\nb\r\nc\rd", "2", "3", "t", "Köln"],
    ]
    for delimiter in DELIMITERS:
        head = delimiter.join(HEADER).encode() + b"\n" + written(rows, delimiter, "\r\n", csv.QUOTE_MINIMAL)
        layout, rest, line = header([head], SCHEMA)
        (block,) = records.blocks(rest, delimiter, line, 1 << 20)
        read = reading.read(block, layout, SCHEMA)
        assert not read.rejects
        doubles = np.array([0.1, 1e-300, 1 / 3, -0.0])
        out = writing.write(read, layout, [["a,b", "c", 'd"', "e"], doubles]).decode()
        found = list(csv.reader(io.StringIO(out, newline="")))
        assert [row[:5] for row in found] == rows
        assert [row[5] for row in found] == ["a,b", "c", 'd"', "e"]
        assert [float(row[6]) for row in found] == doubles.tolist()


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_rejected_row_does_not_make_the_others_of_its_block_be_read_one_by_one(
    delimiter: str, quoting: int
) -> None:
    rows = [["two\nlines", "45", "2.5", "yes", "Rome, IT"], ["", "46", "NA", "no", " Köln "]] * 2000
    rows[10] = ["short", "45"]
    rows[20] = []
    rows[701] = ["", "x", "2.5", "yes", "Köln"]
    rows[801] = ["long", "45", "2.5", "yes", "Köln", "", ""]
    rows[3999] = ["", "47", "1e400", "yes", 'say "hi"']
    head = delimiter.join(HEADER).encode() + b"\n" + written(rows, delimiter, "\n", quoting)
    layout, rest, line = header([head], SCHEMA)
    (block,) = records.blocks(rest, delimiter, line, 1 << 20)
    read = reading.read(block, layout, SCHEMA)
    assert not isinstance(read.text, list)
    kept = read.text.starts.size if isinstance(read.text, Lines) else read.text.height
    assert (read.total, kept) == (3999, 3995)
    assert read.rejects.indices == [10, 700, 800, 3998]
    assert [(each.line, each.column, each.code) for each in read.rejects] == [
        (17, "", "too_few_cells"),
        (1052, "age", "not_a_number"),
        (1202, "", "too_many_cells"),
        (5999, "income", "not_finite"),
    ]
    for reject, row in zip(read.rejects, (rows[each] for each in (10, 701, 801, 3999)), strict=True):
        assert reject.row == written([row], delimiter, "", quoting).decode()
    assert read.columns["city"].tolist()[:2] == ["Rome, IT", "Köln"]
    assert_text_kept(block.data.decode(), read, layout)


@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_a_reject_has_every_problem_of_its_row(delimiter: str) -> None:
    schema = Schema(
        [Feature("é" * 120 if place == 7 else f"a,b {place}", KINDS[place % 4]) for place in range(120)]
    )
    good, bad = ("1.5", "7", "yes", "2.5"), ("x", "7.5", "", "1e999")
    rows = []
    for wrong in (0, 1, 2, 19, 20, 21, 99, 100, 101, 120, 2, 1):
        for first in (0, 1, 119):
            at_fault = {(first + place) % 120 for place in range(wrong)}
            rows.append([(bad if place in at_fault else good)[place % 4] for place in range(120)])
    data = written([list(schema.names), *rows], delimiter, "\n", csv.QUOTE_MINIMAL)
    layout, rest, line = header([data], schema)
    (block,) = records.blocks(rest, delimiter, line, 1 << 20)
    expected: list[tuple[object, ...]] = []
    for at, cells in enumerate(rows, line):
        try:
            schema.from_cells(dict(zip(schema.names, cells, strict=True)))
        except InvalidRecords as error:
            first_problem = error.problems[0]
            expected.append(
                (at, first_problem.field, first_problem.code, str(error), delimiter.join(cells))
            )
    read = reading.read(block, layout, schema)
    assert list(read.rejects) == expected
    assert read.rejects.by_code() == collections.Counter(code for _, _, code, _, _ in expected)


@pytest.mark.parametrize("delimiter", DELIMITERS)
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_rows_that_are_taken_out_later_stand_among_the_other_rejects(delimiter: str, quoting: int) -> None:
    import numpy as np

    rows = [
        ["two\nlines", "45", "2.5", "yes", "Rome, IT"],
        ["", "x", "NA", "no", " Köln "],
        ["", "46", "NA", "no", " Köln "],
        ["short"],
        ["", "47", "3", "yes", ""],
        ["", "y", "3", "yes", ""],
    ]
    head = delimiter.join(HEADER).encode() + b"\n" + written(rows, delimiter, "\r\n", quoting)
    layout, rest, line = header([head], SCHEMA)
    (block,) = records.blocks(rest, delimiter, line, 1 << 20)
    read = reading.read(block, layout, SCHEMA)
    some = read.without(np.array([True, False, True]), "not_predictable", "why")
    texts = [written([row], delimiter, "\n", quoting).decode()[:-1] for row in rows]
    assert some.rejects.indices == [0, 1, 3, 4, 5]
    assert [(each.line, each.column, each.code, each.row) for each in some.rejects] == [
        (2, "", "not_predictable", texts[0]),
        (4, "age", "not_a_number", texts[1]),
        (6, "", "too_few_cells", texts[3]),
        (7, "", "not_predictable", texts[4]),
        (8, "age", "not_a_number", texts[5]),
    ]
    assert (some.total, some.columns["age"].tolist()) == (6, [46.0])
    assert next(csv.reader(io.StringIO(writing.write(some, layout, [["a"]]).decode(), newline=""))) == [
        *rows[2],
        "a",
    ]


@FUNCTION_FIXTURE_IS_FINE
@given(
    refusals=st.lists(
        st.builds(Refusal, *[st.text(st.sampled_from("a,'\"\n\r é;"), max_size=5)] * 3), min_size=1
    ),
    rows=st.lists(
        st.tuples(
            st.integers(2),
            st.text(st.sampled_from('a,"\n\r é;\t\x00\x85\u2028'), min_size=1),
            st.integers(0),
        )
    ),
)
def test_rejects_are_written_as_the_csv_module_writes_them(
    refusals: list[Refusal], rows: list[tuple[int, str, int]]
) -> None:
    lines, texts = [line for line, _, _ in rows], [text for _, text, _ in rows]
    which = [number % len(refusals) for _, _, number in rows]
    rejects = Rejects(range(len(rows)), which, refusals, lambda _: (lines, texts))
    assert writing.rejected(rejects) == writing.lines(*rejects)
    found = csv.reader(io.StringIO(writing.rejected(rejects).decode(), newline=""))
    assert [(int(line), *cells) for line, *cells in found] == list(rejects)


def whole(data: bytes, layout: Layout, line: int) -> tuple[object, ...]:
    """All that reading a block and writing it gives."""
    try:
        rows = reading.read(Block(data, line), layout, SCHEMA)
    except InvalidCsv as error:
        return error.code, error.line
    columns = [[repr(value) for value in rows.columns[name].tolist()] for name in SCHEMA.names]
    sound = rows.total - len(rows.rejects)
    text = writing.write(rows, layout, [["a", "b,"] * (sound // 2) + ["c"] * (sound % 2)]) if sound else b""
    return rows.total, columns, rows.rejects.indices, list(rows.rejects), text


@pytest.mark.slow
@FUNCTION_FIXTURE_IS_FINE
@given(
    rows=st.lists(
        st.one_of(
            st.lists(st.one_of(CELLS, st.sampled_from(["7\x0b", "\xa07", '"7', '7"'])), max_size=6),
            st.tuples(*[CELLS] * 5).map(list),
        ),
        max_size=20,
    ),
    delimiter=st.sampled_from(DELIMITERS),
    end=st.sampled_from(["\n", "\r\n"]),
    form=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, None]),
    spoilt=st.sampled_from([b"", b"\xff", b'"', b"\r", records.BOM, b"\n", b"\x00"]),
    where=st.floats(0, 1),
)
def test_a_swept_block_is_the_block_read_row_by_row(
    rows: list[list[str]], delimiter: str, end: str, form: int | None, spoilt: bytes, where: float
) -> None:
    if form is None:  # no quotes but those of the cells themselves
        data = "".join(delimiter.join(row) + end for row in rows).encode()
    else:
        data = written(rows, delimiter, end, form)
    at = round(where * len(data))
    data = data[:at] + spoilt + data[at:]
    layout = Layout(tuple(HEADER), delimiter, {name: HEADER.index(name) for name in SCHEMA.names})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(reading, "SMALL", len(data) + 1)
        expected = whole(data, layout, 7)
        sweep(patched, with_kernel=True)
        assert whole(data, layout, 7) == expected
        sweep(patched, with_kernel=False)
        assert whole(data, layout, 7) == expected


@pytest.mark.parametrize(
    ("data", "code", "told"),
    [
        (b"", "empty", "empty"),
        (b"\n\n", "empty", "empty"),
        ("age,income\n".encode("utf-16-le"), "not_a_csv", "UTF-16"),
        (b"\x1f\x8b\x08junk", "not_a_csv", "gzip"),
        (b"PK\x03\x04junk", "not_a_csv", "Excel"),
        (b"\x00\x01\x02\x03", "not_a_csv", "binary"),
        (b"gr\x81\xe4e,age\n", "not_utf8", "Latin-1"),
        ("größe,".encode() + "größe\n".encode("latin-1"), "not_utf8", "Latin-1"),
        (b"\x89PNG\r\n\x1a\n", "not_a_csv", "PNG"),
        (b"RIFF\x12\x07\x00WAVE", "not_a_csv", "binary"),
        (b" \n<!DOCTYPE html><table>", "not_a_csv", "HTML"),
        (b'[{"age": 1, "income": 2}]', "not_a_csv", "JSON"),
        (b'{\n "cells": [], "nbformat": 4}', "not_a_csv", "notebook"),
        (b"age,age,income,member,city\n", "repeated", "'age'"),
        (b"id\n", "missing", "age, income, member, city"),
        (b"id;age;income;member\n", "missing", "4 semicolon-separated columns and lacks: city"),
    ],
)
def test_what_is_no_csv_is_refused_by_name(data: bytes, code: str, told: str) -> None:
    with pytest.raises(InvalidCsv) as caught:
        formats.opened([data], SCHEMA, 1000)
    assert caught.value.code == code
    assert told in str(caught.value)
    assert isinstance(caught.value, MissingColumns) == (code == "missing")


@pytest.mark.parametrize(
    ("data", "code", "line"),
    [
        (b'a,1,2,yes,\nb,"1,2,yes,\nc,1,2,no,\n', "unclosed_quote", 3),
        (b"a,1,2,yes,\n" + "Kölner,1,2,yes,Köln\n".encode("latin-1"), "not_utf8", 3),
        (b"a,1,2,yes,\n" + "Kölner,1,2\n".encode("latin-1"), "not_utf8", 3),
    ],
)
def test_what_stops_being_a_csv_is_told_with_its_line(data: bytes, code: str, line: int) -> None:
    head = ",".join(HEADER).encode() + b"\n" + data
    layout, rest, first = header([head], SCHEMA)
    (block,) = records.blocks(rest, ",", first, 1 << 20)
    with pytest.raises(InvalidCsv) as caught:
        reading.read(block, layout, SCHEMA)
    assert (caught.value.code, caught.value.line) == (code, line)


def test_where_numpy_is_not_installed_a_late_fault_of_a_large_table_has_its_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = b"a,1,2,yes,\n" * 10_000 + b"K\xf6ln,1,2,yes,\n"
    layout = Layout(tuple(HEADER), ",", {name: HEADER.index(name) for name in SCHEMA.names})
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(InvalidCsv) as caught:
        reading.read(Block(data, 2), layout, SCHEMA, every_row=True)
    assert (caught.value.code, caught.value.line) == ("not_utf8", 10_002)


def test_an_unclosed_quote_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "LONGEST_RECORD", 1000)
    chunks = [b'a,"1,2\n', *[b"x,1,2,yes,\n" * 10] * 1000]
    with pytest.raises(InvalidCsv, match=r"over 1,000 bytes.*\(line 2\)"):
        list(records.blocks(chunks, ",", 2, 100))


def test_stray_quotes_and_blanks_in_the_header_are_forgiven() -> None:
    layout, _, _ = header([b"\xef\xbb\xbf'age , income,member,city\n1,2,yes,\n"], SCHEMA)
    assert layout.header == ("'age ", " income", "member", "city")
    assert layout.positions == {"age": 0, "income": 1, "member": 2, "city": 3}


def test_an_output_name_that_the_input_has_is_named_apart() -> None:
    names = writing.free_names(["age", "prediction", "prediction_2"], ["prediction", "probability"])
    assert names == ("prediction_3", "probability")


class UnclosedQuote(Exception):
    """A header that is refused for its quotes."""


def cells_of(data: bytes) -> tuple[tuple[str, ...], list[list[str]]]:
    """The header's cells, and those of every record after it."""
    try:
        layout, rest, line = header([data], SCHEMA)
    except InvalidCsv as error:
        raise UnclosedQuote if error.code == "unclosed_quote" else error from error
    blocks = records.blocks(rest, layout.delimiter, line, 100)
    rows = [reading.read(block, layout, SCHEMA, every_row=True) for block in blocks]
    return layout.header, [cells for each in rows for cells in each.text if isinstance(each.text, list)]


@FUNCTION_FIXTURE_IS_FINE
@given(
    names=st.lists(st.text(st.sampled_from('ab,;\t|"\n\r '), max_size=12), max_size=3),
    first=st.booleans(),
    rows=st.lists(st.text(st.sampled_from('a1,"\n'), max_size=6), max_size=4),
    delimiter=st.sampled_from(DELIMITERS),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_the_header_and_the_rows_account_for_every_record(
    names: list[str], first: bool, rows: list[str], delimiter: str, end: str
) -> None:
    """A sound file reads as it was written, or its header is refused as one that may hold rows."""
    columns = [*names, *HEADER[1:]] if first else [*HEADER[1:], *names]
    cells = [[row] * len(names) + ["1", "2", "yes", ""] for row in rows]
    cells = cells if first else [[*row[len(names) :], *row[: len(names)]] for row in cells]
    data = written([columns, *cells], delimiter, end, csv.QUOTE_ALL)
    if any("\n" in name or "\r" in name for name in names):
        with contextlib.suppress(UnclosedQuote):
            assert cells_of(data) == (tuple(columns), cells)
    else:
        assert cells_of(data) == (tuple(columns), cells)


@FUNCTION_FIXTURE_IS_FINE
@given(
    rows=st.integers(1, 6),
    column=st.integers(0, 5),
    stray=st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 4), st.sampled_from(['"', '"x', 'x"'])), max_size=2
    ),
    delimiter=st.sampled_from(DELIMITERS),
    size=st.sampled_from([1, 7, 1 << 20]),
)
def test_a_stray_quote_in_the_header_never_takes_rows_into_it(
    rows: int, column: int, stray: list[tuple[int, int, str]], delimiter: str, size: int
) -> None:
    columns = [*HEADER, "note"]
    columns[column] = '"' + columns[column]
    cells = [["a", "1", "2", "yes", "", "b"] for _ in range(rows)]
    for row, place, text in stray:
        cells[row % rows][place] = text
    data = "\n".join(map(delimiter.join, [columns, *cells, ""])).encode()
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    with pytest.raises(InvalidCsv) as caught:
        header(chunks, SCHEMA)
    assert (caught.value.code, caught.value.line) == ("unclosed_quote", 1)


@pytest.mark.slow
@pytest.mark.parametrize("delimiter", DELIMITERS)
def test_a_long_header_is_read_under_its_own_delimiter(delimiter: str) -> None:
    """A quoted cell of 2 MB that is full of every other delimiter, and of line ends."""
    other = "".join(each for each in DELIMITERS if each != delimiter)
    cell = f"a{other}b\n" * 300_000
    columns, row = [*HEADER, cell], ["7", "1", "2", "yes", "", "b"]
    data = written([columns, row], delimiter, "\n", csv.QUOTE_MINIMAL)
    layout, rest, line = header((data[at : at + 65_000] for at in range(0, len(data), 65_000)), SCHEMA)
    assert (layout.header, layout.delimiter, line) == (tuple(columns), delimiter, 300_002)
    assert b"".join(rest) == delimiter.join(row).encode() + b"\n"


@pytest.mark.slow
def test_a_quote_that_stays_open_in_a_large_file_is_refused_before_its_end() -> None:
    taken = 0

    def chunks() -> Iterator[bytes]:
        nonlocal taken
        yield f'{",".join(HEADER)},"note\n'.encode()
        for _ in range(1000):
            taken += 1
            yield b"a,1,2,yes,,b\n" * 50_000

    with pytest.raises(InvalidCsv, match="never closed"):
        header(chunks(), SCHEMA)
    assert taken < 100


@pytest.mark.parametrize("quote", ["", '"'])
def test_a_header_has_a_limit_of_columns(quote: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headers, "MOST_COLUMNS", 100)
    more = [f"{quote}c{each}{quote}" for each in range(96)]
    layout, _, _ = header([",".join([*HEADER[1:], *more]).encode()], SCHEMA)
    assert len(layout.header) == 100
    with pytest.raises(InvalidCsv, match="over 100 columns") as caught:
        header([",".join([*HEADER, *more]).encode()], SCHEMA)
    assert caught.value.code == "too_many_columns"
    quoted = ",".join([*HEADER[1:], '"' + "," * 1000 + '"'])
    assert len(header([quoted.encode()], SCHEMA)[0].header) == 5


def test_a_number_has_a_limit_of_characters_whichever_way_it_is_read() -> None:
    rows = [["1", "45", "2." + "0" * length, "yes", ""] for length in (1, 98, 99, 500)]
    rows += [["1", "4" * 500 + "x", "2", "yes", ""], ["1", "45", " " * 200 + "2", "yes", ""]]
    rows += [["long " * 100, "45", "2", "y" * 500, ""], ["long " * 100, "45", "2", "y", ""]]
    for end in ("\n", "\r\n"):
        assert_same(written(rows, ",", end, csv.QUOTE_MINIMAL), ",", 10_000)
    found = in_blocks(written(rows, ",", "\n", csv.QUOTE_MINIMAL), ",", 10_000)
    assert [each[1][1] for each in found if each[0]] == [*["not_a_number"] * 3, "not_a_boolean"]
