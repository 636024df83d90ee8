"""Ranges of a CSV: which records one owns, and where its first one starts, against a reading of it all."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.tables import ranges, records
from handler.tables.encodings import UTF_8, WINDOWS_1252, Utf8
from handler.tables.errors import InvalidCsv
from tests.support.work import Work, assert_linear, work_of

#: Texts of quoted cells, each with something that a reader of half a file may take for something else.
TEXTS = ('two\nlines', 'say "hi"', '"', '""', "a,b", "\n", "x\n,\n", "1,2\n3,4", "", '"\n"', '",\n,"',
         '\n"a",b\n', "\r\n", "é\n", '1,2,3\n"4"')  # fmt: skip
WIDTH = 4


def starts(data: bytes, encoding: str) -> list[int]:
    """The offsets after each record that ends in LF, by Python's ``csv`` on the whole file."""
    lines = list(io.StringIO(data.decode(encoding, "surrogateescape"), newline=""))
    reader = csv.reader(lines)
    ends, at, done = [], 0, 0
    for _ in reader:
        raw = "".join(lines[done : reader.line_num])
        at, done = at + len(raw.encode(encoding, "surrogateescape")), reader.line_num
        if raw.endswith("\n"):
            ends.append(at)
    return ends


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@st.composite
def tables(draw: Any, encoding: str, stray: bool, rows: int = 8) -> bytes:
    """Rows that are mostly as wide as the header; ``stray``: with quotes out of place, too."""
    end = draw(st.sampled_from(["\n", "\r\n"]))
    odd = ['5" pipe', '"a"b', "lone\rcr", "é𝒳"] if stray else ["é"]
    cells = st.sampled_from(TEXTS).map(quoted) | st.sampled_from(["", "p", "12.5", '""', *odd])
    lines = ["a,b,c,d"]
    for number in range(draw(st.integers(1, rows))):
        row = [str(number), draw(cells), str(7 * number), draw(cells)]
        shape = draw(st.integers(0, 19))
        lines.append(",".join(row[:-1] if shape == 0 else [] if shape == 1 else row))
    text = end.join([*lines, ""])
    return text.encode(encoding, "ignore") + (b"\x81" if stray and draw(st.booleans()) else b"")


class Read:
    """What a range owns: its bytes, as ``blocks`` of this size give them, and where it ends."""

    def __init__(self, data: bytes, first: int, end: int, size: int, encoding: str, chunk: int) -> None:
        pieces = (data[at : at + chunk] for at in range(first, len(data), chunk))
        text = Utf8(pieces, inside=True, encoding=encoding)
        blocks = records.blocks(iter(text), ",", 1, size)
        owned = ranges.Owned(blocks, text, first, 1, end, ",")
        found = list(owned)
        joined = b"".join(block.data for block in found)
        as_read = data[first : owned.next]
        if encoding == WINDOWS_1252:
            as_read = as_read.decode("cp1252", "surrogateescape").encode("utf-8", "surrogateescape")
        assert joined == as_read
        assert owned.line == 1 + records.line_ends(joined)
        for index, block in enumerate(found):
            before = b"".join(each.data for each in found[:index])
            assert block.line == 1 + records.line_ends(before)
        self.next = owned.next


@pytest.mark.slow
@pytest.mark.parametrize("encoding", [UTF_8, WINDOWS_1252])
@pytest.mark.parametrize("stray", [False, True])
@given(data=st.data(), size=st.integers(1, 80), chunk=st.sampled_from([1, 3, 50, 1000]))
def test_a_range_owns_the_records_that_start_in_it(
    encoding: str, stray: bool, data: Any, size: int, chunk: int
) -> None:
    codec = "cp1252" if encoding == WINDOWS_1252 else "utf-8"
    table = data.draw(tables(codec, stray, rows=4))
    ends = starts(table, codec)
    first = data.draw(st.sampled_from(ends))
    for end in range(first, len(table) + 1):
        found = Read(table, first, end, size, encoding, chunk).next
        wanted = min((each for each in ends if each >= end), default=len(table))
        if b"\r" in table.replace(b"\r\n", b""):  # then a block may end at the record before, after a CR
            assert end <= found <= wanted
        else:
            assert found == wanted


def sought(data: bytes, start: int, window: int) -> int:
    """Where the first record of a range starts, by as few bytes as ``first_record`` wants, from 4 on."""
    while True:
        ended = start + window >= len(data)
        found = ranges.first_record(data[start - 1 : start + window], ",", WIDTH, ended)
        if found is not None:
            return start + found
        window *= 4


@given(data=st.data(), window=st.sampled_from([100, 1000]))
def test_the_first_record_of_a_range(data: Any, window: int) -> None:
    """Where rows are as wide as the header, nearly all, and no cell holds lines of that width."""
    table = data.draw(tables("utf-8", stray=False, rows=6)) + b"".join(
        b"%d,p,5,\n" % row for row in range(9)
    )
    ends = starts(table, "utf-8")
    for start in range(ends[0] + 1, len(table)):
        wanted = min((each for each in ends if each >= start), default=len(table))
        assert sought(table, start, window) == wanted, start


ROWS = b"".join(b"%d,33,x,7\n" % row for row in range(100))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'1,"', b'",2,3\n'),
        (b'1,"' + ROWS, b'",2,3\n'),
        (b'1,"' + ROWS, b'""",2,3\n'),
        (b'1,"\n""', b'\n""",2,3\n'),
        (b'1,"', b'\r\n",2,""\r\n'),
    ],
    ids=["rows after it", "rows around it", "a quote too", "quoted ones", "CR LF"],
)
def test_rows_in_a_quoted_cell_are_not_taken_for_rows(before: bytes, after: bytes) -> None:
    table = b"a,b,c,d\n" + ROWS + before
    start = len(table)
    table += ROWS + after
    end = len(table)
    assert sought(table + ROWS, start, 64 * 1024) == end


def test_where_the_window_shows_no_quote_more_bytes_would_be_needed_than_are_read() -> None:
    """The guess is wrong, and whoever joins the ranges sees that: the range before ends elsewhere."""
    cell = b'1,"' + ROWS * 2000 + b'",2,3\n'
    table = b"a,b,c,d\n" + cell + ROWS
    assert len(cell) > 1_000_000
    start = len(b"a,b,c,d\n") + 500_000
    guess = sought(table, start, ranges.WINDOW)
    assert guess < table.index(b'"', start)
    found = Read(table, len(b"a,b,c,d\n"), start, 70_000, UTF_8, 1 << 20)
    assert found.next == len(table) - len(ROWS) != guess


@pytest.mark.slow
@pytest.mark.parametrize("inner", [b"x", b'""', b"1,2,3,4\n", "é\r".encode()])
def test_a_record_of_15_megabytes_is_owned_by_the_range_in_which_it_starts(inner: bytes) -> None:
    table = b'1,2,3,4\n5,"' + inner * (15 * 1024 * 1024 // len(inner)) + b'",7,8\n'
    end = len(table)
    table += ROWS
    for cut in (8, 10, 1_000_000, end - 1):
        found = Read(table, 8, cut, 768 * 1024, UTF_8, 1 << 20).next
        assert found == (8 if cut == 8 else end)


def test_a_longer_one_is_refused() -> None:
    table = b'1,2,3,4\n5,"' + b"x" * 30_000_000
    with pytest.raises(InvalidCsv, match=r"a record is over 16,777,216 bytes.* \(line 2\)"):
        Read(table, 0, 100, 768 * 1024, UTF_8, 1 << 20)


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"x", b"x" * 100, b'"', b'"' * 101, b"\r" * 10, b"x\r\n", b'""\n']
)
@pytest.mark.parametrize("before", [b"\n", b"\r", b'"', b",", b"x"])
def test_at_the_end_of_a_file_there_is_an_answer_always(data: bytes, before: bytes) -> None:
    assert 0 <= (ranges.first_record(before + data, ",", WIDTH, True) or 0) <= len(data)


def test_a_window_without_a_line_end_is_not_enough_until_no_record_can_be_so_long() -> None:
    assert ranges.first_record(b"\n" + b"x" * 100_000, ",", WIDTH, False) is None
    most = b"x" * ranges.MOST
    assert ranges.first_record(b"x" + most, ",", WIDTH, False) == ranges.MOST


@pytest.mark.slow
@pytest.mark.parametrize(
    "piece",
    [b"1,2,3,4\n", b"1,", b'"', b'""', b"\n", b"\r", b'"x\n",', b'1,"a""b\n",3,4\n', b'5" p,\n', b"x"],
)
@pytest.mark.parametrize("before", [b"\n", b'"'])
def test_the_work_is_linear(piece: bytes, before: bytes) -> None:
    def work(times: int) -> Iterator[Work]:
        yield work_of(lambda: ranges.first_record(before + piece * times, ",", WIDTH, False))
        table = b"1,2,3,4\n" + piece * times
        yield work_of(lambda: Read(table, 0, len(table) // 2, len(table), UTF_8, len(table)))

    for works in zip(*(work(500 * each) for each in (1, 2, 4, 8)), strict=True):
        assert_linear(works, piece)
