"""The kernel finds records among quotes, and leaves out the quotes that no cell needs, as ``csv`` does."""

from __future__ import annotations

import csv
import io
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handler.batch.run import Batch
from handler.kernel import compiled
from handler.manifest import Feature
from handler.schema import Schema
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.locations import Location
from handler.storage.storage import Storage
from handler.tables import reading, records
from handler.tables.cells import cells_of
from handler.tables.rows import Block, Layout
from handler.tables.writing import write
from tests.support.kernel import needs_compiler

pytestmark = needs_compiler

#: What decides where cells and records end, and what stands between; 8 bytes are looked at at once.
TEXTS = st.text(st.sampled_from('",\n\r;a0é'), max_size=40) | st.lists(
    st.sampled_from(['"', '""', ",", "\n", '"a long cell"', '"1,5"', "seven", '"two\nlines"', '",\n"']),
    max_size=12,
).map("".join)
DELIMITERS = st.sampled_from([",", ";"])
LAYOUT = Layout(("a", "b"), ",", {"a": 0, "b": 1})
SCHEMA = Schema([Feature("a", "number", nullable=True), Feature("b", "category", categories=("x", "y, z"))])


def rows_of(text: str, delimiter: str) -> list[list[str]]:
    return [cells for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if cells]


def lines_of(rows: list[list[str]]) -> str:
    """The rows as ``csv`` writes them, with no more quotes than they need."""
    sink = io.StringIO(newline="")
    csv.writer(sink, lineterminator="\n").writerows(rows)
    return sink.getvalue()


@given(text=TEXTS, delimiter=DELIMITERS, start=st.integers(0, 5), left=st.integers(0, 5))
@example(text='"a"\n"b', delimiter=",", start=0, left=0)
@example(text='"a""\n"\n"', delimiter=",", start=0, left=1)
def test_a_block_ends_where_it_does_without_the_kernel(
    text: str, delimiter: str, start: int, left: int
) -> None:
    data = text.encode()
    stop = max(start, len(data) - left)
    found = records.boundary(data, delimiter, start, stop)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(compiled, "library", lambda: None)
        assert found == records.boundary(data, delimiter, start, stop)


@given(text=TEXTS, delimiter=DELIMITERS, as_lines=st.booleans())
@example(text='"a","b"', delimiter=",", as_lines=True)
@example(text='a,"b, c","say ""no"""', delimiter=",", as_lines=True)
@example(text='"two\nlines",1', delimiter=",", as_lines=False)
@example(text='""', delimiter=",", as_lines=False)
@example(text='1,5;"2,5";,;;"a;b"', delimiter=";", as_lines=True)
def test_records_are_left_with_the_quotes_that_csv_would_write(
    text: str, delimiter: str, as_lines: bool
) -> None:
    text = text.replace("\r", "") + "\n"
    layout = Layout(("a", "b"), delimiter, {"a": 0, "b": 1})
    read = cells_of(text.encode(), layout, SCHEMA, as_lines)
    rows = rows_of(text, delimiter)
    if read is None:  # a quote is out of place, or a cell needs quotes that it may not have
        assert '"' in text
        return
    spans = zip(read.starts.tolist(), read.stops.tolist(), strict=True)
    lines = [f"{read.data[start:stop].decode()}\n" for start, stop in spans]
    assert "".join(lines) == lines_of(rows)
    assert rows_of(read.data.decode(), ",") == rows
    if as_lines:
        assert not any("\n" in cell for row in rows for cell in row)


def test_cells_are_read_within_their_quotes() -> None:
    data = b'"1.5","x"\n2,"y, z"\n" 3 ","y"\n"","x"\n"1,5",x\n"4","y, ""z"""\n'
    read = cells_of(data, LAYOUT, SCHEMA)
    assert read is not None
    assert read.data == b'1.5,x\n2,"y, z"\n 3 ,y\n,x\n"1,5",x\n4,"y, ""z"""\n'
    assert read.values["a"][:3].tolist() == [1.5, 2.0, 3.0]
    assert read.values["b"].tolist() == [0, 1, -1, 0, 0, -1]
    rows, texts = read.odd("a")
    assert (rows.tolist(), texts) == ([4], ["1,5"])
    rows, texts = read.odd("b")
    assert (rows.tolist(), texts) == ([2, 5], ["y", 'y, "z"'])


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_rejected_row_keeps_its_quotes_and_its_line(end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SMALL", 0)
    lines = [b'"1","x"', b"", b'"old","x"', b'3,"y, z"', b'4,"y, z","more"']
    rows = reading.read(Block(end.join(lines) + end, 2), LAYOUT, SCHEMA)
    assert [(each.line, each.row) for each in rows.rejects] == [(4, '"old","x"'), (6, '4,"y, z","more"')]
    assert write(rows, LAYOUT, []) == b'1,x\n3,"y, z"\n'


@pytest.mark.parametrize("text", ["\n" * 500_000, '"' + "\n" * 500_000 + '"'], ids=["blank", "quoted"])
def test_line_ends_that_end_no_row_take_no_room_for_one(text: str) -> None:
    names = [f"c{number}" for number in range(300)]
    layout = Layout(tuple(names), ",", {name: at for at, name in enumerate(names)})
    schema = Schema([Feature(name, "number", nullable=True) for name in names[1:]])
    data = (text + ",1" * 299 + "\nother\n").encode()
    cells_of(b"\n", layout, schema)
    tracemalloc.start()
    read = cells_of(data, layout, schema)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert read is not None
    assert (read.values["c1"].tolist(), read.others.tolist()) == ([1.0], [1])
    assert peak < 100 * len(data)


@pytest.mark.parametrize("note", ["plain", "with, a comma", 'with "quotes"', "of two\nlines"])
def test_a_file_scores_alike_however_it_is_quoted(note: str, bundle_dir: Path, tmp_path: Path) -> None:
    model = Model.load(bundle_dir)
    found = set()
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC):
        source = tmp_path / f"{quoting}.csv"
        with source.open("w", newline="") as file:
            writer = csv.writer(file, quoting=quoting, lineterminator="\n")
            writer.writerow(["age", "new_user", "note", "total_pages_visited"])
            writer.writerows([18 + row % 60, row % 2, note, row % 30] for row in range(20_000))
        output = Location.parse(str(tmp_path / f"out {quoting}"))
        batch = Batch(model, Settings.from_env({"MODEL_DIR": str(bundle_dir)}), Storage())
        batch.score(Location.parse(str(source)), output)
        found.add((tmp_path / f"out {quoting}" / "predictions.csv").read_bytes())
    assert len(found) == 1
