"""Files become a table: whatever people save, with the names and the cells that serving reads."""

from __future__ import annotations

import bz2
import csv
import datetime
import gzip
import hashlib
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from handler.manifest import Feature
from handler.schema import Schema
from handler.tables import formats
from tests.support.packing import zstd
from training.data import files, memory
from training.data.files import Table
from training.errors import TrainingError

ROWS = b"a,b,y\n1,2,0\n3,4,1\n"
CELLS = {"a": ["1", "3"], "b": ["2", "4"], "y": ["0", "1"]}


def cells(table: Table) -> dict[str, list[str]]:
    return {name: series.to_list() for name, series in table.columns.items()}


def served(content: bytes, table: Table, size: int = 1 << 20) -> dict[str, list[str]]:
    """The cells that serving reads in the same bytes, by the names that training gave."""
    schema = Schema([Feature(name, "text", nullable=True) for name in table.columns])
    opened = formats.opened([content], schema, size)
    read: dict[str, list[str]] = {name: [] for name in table.columns}
    for block in opened.blocks:
        rows = opened.format.read(block, opened.layout, schema)
        assert not rows.rejects
        for name in read:
            read[name] += rows.columns[name].tolist()
    return read


def zipped(content: bytes, *names: str) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for name in names:
            archive.writestr(name, content)
    return sink.getvalue()


def tarred(content: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        member = tarfile.TarInfo("rows.csv")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return sink.getvalue()


NASTY = st.sampled_from(
    ["1", "", " 7 ", "x,y", "x;y", "a|b", "a\tb", 'say "hi"', '"', "line\nbreak", "cr\r\nlf", "lone\rcr",
     "ä€"]
)  # fmt: skip


@given(
    rows=st.lists(st.lists(NASTY, min_size=3, max_size=3), min_size=1, max_size=8),
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n", "\n\n", "\r\n\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
)
def test_a_nasty_file_reads_as_the_csv_module_and_serving_read_it(
    rows: list[list[str]], delimiter: str, end: str, quoting: int, encoding: str
) -> None:
    text = ""
    for row in (["a", "b c", "y"], *rows):
        sink = io.StringIO(newline="")
        csv.writer(sink, delimiter=delimiter, lineterminator="\r\n", quoting=quoting).writerow(row)
        text += sink.getvalue()[:-2] + end  # so that a lone CR and a lone LF are quoted
    table = files.parse(text.encode(encoding), "rows.csv")
    expected = list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))
    assert cells(table) == {name: [row[name] for row in expected] for name in ("a", "b c", "y")}
    assert cells(table) == served(text.encode(encoding), table)


@given(text=st.text(st.sampled_from('1,2;"\n\r aeKö.'), max_size=60))
@example('1,"2"\n5" pipe,2\n"a","b\n"')
@example('a"b,1\n"c"d,1\n')
@example("1,2\r3,4\r")
@example("1,2")
def test_any_text_reads_as_serving_reads_it_or_is_refused(text: str) -> None:
    content = b"u,v\n" + text.encode()
    try:
        table = files.parse(content, "rows.csv")
    except TrainingError:
        return
    assert cells(table) == served(content, table, size=7)


@pytest.mark.parametrize(
    ("header", "names"),
    [
        pytest.param('a,"b (x;y;z;v;w)",y', ["a", "b (x;y;z;v;w)", "y"], id="semicolons in a name"),
        pytest.param(",a,y", ["column 1", "a", "y"], id="an index without a name"),
        pytest.param("a,,y", ["a", "column 2", "y"], id="a column without a name"),
        pytest.param("a,a,y", ["a", "a.2", "y"], id="a name twice"),
        pytest.param("'a,a,y", ["a", "a.2", "y"], id="a name twice once it is clean"),
        pytest.param("a.2,a,a", ["a.2", "a", "a.3"], id="a name that is taken"),
        pytest.param("a,a,a", ["a", "a.2", "a.3"], id="a name thrice"),
    ],
)
def test_columns_have_the_same_names_in_training_and_serving(header: str, names: list[str]) -> None:
    content = f"{header}\n1,2,0\n3,4,1\n".encode()
    table = files.parse(content, "rows.csv")
    assert cells(table) == dict(zip(names, CELLS.values(), strict=True)) == served(content, table)
    given = next(csv.reader([header]))
    assert list(table.header.values()) == given
    assert [name for _, name in table.cleaned] == [
        name for name, cell in zip(names, given, strict=True) if name != cell
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("sep=;\na;b;y\n1;2;0\n3;4;1\n", CELLS, id="Excel's first line"),
        pytest.param("\ufeffSEP=,\r\na,b,y\r\n1,2,0\r\n3,4,1", CELLS, id="with a mark"),
        pytest.param("a;b;y\n1,5;2,5;0\n3,5;4,5;1\n", None, id="decimal commas"),
        pytest.param('"last, first";y\nDoe, J;0\nRoe, J;1\n', None, id="a comma in a cell of every row"),
        pytest.param("a,b,y,\n1,2,0,\n3,4,1,\n", {**CELLS, "column 4": ["", ""]}, id="rows end in a comma"),
        pytest.param("a,b,y\n1,2,0,\n3,4,1,\n", {**CELLS, "column 4": ["", ""]}, id="only the rows do"),
        pytest.param(
            '"a","b","y"\n"1",1,2,0\n"2",3,4,1\n', {"column 1": ["1", "2"], **CELLS}, id="R's write.table"
        ),
        pytest.param(
            "a\tb\n1\t5\t6\n2\t7\t8\n3\t7\t8\n",
            {"column 1": ["1", "2", "3"], "a": ["5", "7", "7"], "b": ["6", "8", "8"]},
            id="R's write.table without quotes",
        ),
    ],
)
def test_dialects_are_recognised_in_training_and_serving(
    content: str, expected: Mapping[str, Sequence[str]] | None
) -> None:
    table = files.parse(content.encode(), "rows.csv")
    if expected is not None:
        assert cells(table) == expected
    assert cells(table) == served(content.encode(), table)
    assert len(table.columns) == len(set(table.columns)) > 1


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param("a,y\n1,2\n1,2,3\n", "line 3 has 3 cells and the header has 2; put quotes", id="long"),
        pytest.param("sep=,\na,y\n\n1\n1,2\n", "line 4 has 1 cells", id="the true line"),
        pytest.param("a,y\n" + "1,2\n" * 9 + "1\n" * 3, "line 11 has 1 cells", id="short"),
        pytest.param("a,y\n" + "1,2\n" * 9 + "1\n" * 3, "and 2 more rows differ", id="how many"),
        pytest.param('a,y\n1,2\n1,"2\n3,4\n', "never closed (line 3)", id="unclosed quote"),
        pytest.param("a,y\n1,5,3\n2,6,4\n", "line 2 has 3 cells", id="decimal commas among commas"),
        pytest.param("a,y\n1,ä\n".encode() + b"2,\xe4\n", "not UTF-8", id="UTF-8 and then not"),
        pytest.param(b"a,y\n1,2\n1,\x81\n", "save it as UTF-8 (line 3)", id="an unknown encoding"),
        pytest.param(b"SQLite format 3\0", "is an SQLite database", id="SQLite"),
        pytest.param(b'{"nbformat": 4}', "is a notebook", id="notebook"),
        pytest.param("<!DOCTYPE html>", "is an HTML page", id="HTML"),
        pytest.param(gzip.compress(ROWS)[:-9], "the gzip data end early", id="cut gzip"),
        pytest.param(b"PK\x03\x04 and no more", "damaged zip archive", id="damaged zip"),
        pytest.param(zipped(ROWS * 99, "rows.csv").replace(b"PK\1\2", b"PK\1\1"), "damaged zip", id="zip"),
        pytest.param(gzip.compress(tarred(ROWS)), "is a tar archive", id="tar"),
        pytest.param(b"PAR1 and no more", "cannot be read as Parquet", id="damaged Parquet"),
    ],
)
def test_what_cannot_be_read_is_refused_in_a_sentence(content: str | bytes, told: str) -> None:
    with pytest.raises(TrainingError) as caught:
        files.parse(content.encode() if isinstance(content, str) else content, "rows.csv")
    assert told in str(caught.value)
    assert str(caught.value).startswith("rows.csv")


@pytest.mark.parametrize(
    ("encoding", "notes"),
    [
        ("utf-8", 0),
        ("utf-16", 1),
        ("cp1252", 1),
    ],
)
def test_another_encoding_is_noted(encoding: str, notes: int) -> None:
    table = files.parse("größe,y\nä,0\n€,1\n".encode(encoding), "rows.csv")
    assert cells(table) == {"größe": ["ä", "€"], "y": ["0", "1"]}
    assert len(table.notes) == notes


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstd])
def test_a_packed_file_is_unpacked_by_training_and_serving(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "rows.csv.x").write_bytes(pack(ROWS))
    table = files.read(tmp_path / "rows.csv.x")
    assert cells(table) == CELLS
    assert table.sha256 == hashlib.sha256(pack(ROWS)).hexdigest()


def test_a_zip_archive_holds_one_file() -> None:
    assert cells(files.parse(zipped(ROWS, "in/", "in/rows.csv", "__MACOSX/rows.csv"), "rows.zip")) == CELLS
    with pytest.raises(TrainingError, match="holds 2 files"):
        files.parse(zipped(ROWS, "a.csv", "b.csv"), "rows.zip")
    with pytest.raises(TrainingError, match="is a workbook"):
        files.parse(zipped(b"<xml/>", "[Content_Types].xml", "xl/workbook.xml"), "rows.xlsx")


def test_several_files_are_one_table(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(ROWS)
    (tmp_path / "a.tsv").write_bytes(b"y\tb\ta\n9\t8\t7\n")
    (tmp_path / "README.txt").write_text("no data")
    both = {name: ["789"["aby".index(name)], *values] for name, values in CELLS.items()}
    digest = hashlib.sha256(b"y\tb\ta\n9\t8\t7\n" + ROWS).hexdigest()
    for paths, stem in (([tmp_path], tmp_path.name), ([tmp_path / "a.tsv", tmp_path / "b.csv"], "a"),
                        ([tmp_path / "*.?sv"], "a")):  # fmt: skip
        table = files.read(*paths)
        assert {name: cells(table)[name] for name in CELLS} == both
        assert (table.files, table.sha256, table.stem) == (("a.tsv", "b.csv"), digest, stem)
    (tmp_path / "c.csv").write_bytes(b"a,z,y\n1,2,3\n")
    with pytest.raises(TrainingError, match=r"c\.csv has other columns than a\.tsv: it lacks 'b' and"):
        files.read(tmp_path)


@pytest.mark.parametrize(
    ("names", "path", "told"),
    [
        ([], "absent.csv", "absent.csv does not exist"),
        ([], "*.csv", "no file is named like"),
        (["notes.txt"], "", "has no data files"),
    ],
)
def test_paths_without_data(tmp_path: Path, names: Sequence[str], path: str, told: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(ROWS)
    with pytest.raises(TrainingError) as caught:
        files.read(tmp_path / path)
    assert told in str(caught.value)


def test_parquet_spells_the_values_that_it_holds() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=2))
    frame = pl.DataFrame(
        {
            "whole": [1, None],
            "number": [0.1, float("nan")],
            "single": pl.Series([0.1, 2.0], dtype=pl.Float32),
            "truth": [True, False],
            "day": [datetime.date(2024, 1, 31), None],
            "time": [datetime.datetime(2024, 1, 31, 10, 30), None],
            "zoned": pl.Series([datetime.datetime(2024, 1, 31, 10, 30, tzinfo=zone)] * 2),
            "kind": pl.Series(["x", None], dtype=pl.Categorical),
            "price": [Decimal("1.50"), None],
            "tags": [["p"], ["q"]],
            "": [1, 2],
        }
    )
    sink = io.BytesIO()
    frame.write_parquet(sink)
    table = files.parse(sink.getvalue(), "rows.parquet")
    assert cells(table) == {
        "whole": ["1", ""],
        "number": ["0.1", ""],
        "single": [repr(float(frame["single"][0])), "2.0"],
        "truth": ["true", "false"],
        "day": ["2024-01-31", ""],
        "time": ["2024-01-31T10:30:00", ""],
        "zoned": ["2024-01-31T08:30:00Z"] * 2,
        "kind": ["x", ""],
        "price": ["1.50", ""],
        "column 10": ["1", "2"],
    }
    assert table.notes == ("'tags' is left out: it holds List(String), which no cell of a CSV can",)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_parquet_doubles_are_spelled_exactly(values: list[float]) -> None:
    sink = io.BytesIO()
    pl.DataFrame({"x": values, "y": values}).write_parquet(sink)
    table = files.parse(sink.getvalue(), "rows.parquet")
    assert [float(cell) for cell in table.columns["x"]] == values


def test_a_table_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"a,b,y\n" + b"1,2,0\n" * 10_000
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(content))
    monkeypatch.setattr(memory, "available", lambda: 1e5)
    with pytest.raises(TrainingError, match=r"rows\.csv\.gz is too large"):
        files.read(tmp_path / "rows.csv.gz")
    pl.DataFrame({"a": [1] * 10_000, "b": 2}).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(TrainingError, match=r"rows\.parquet is too large"):
        files.read(tmp_path / "rows.parquet")


def test_progress_counts_bytes(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_bytes(ROWS)
    ticks: list[tuple[int, int]] = []
    files.read(tmp_path, tick=lambda done, total: ticks.append((done, total)))
    assert ticks == [(len(ROWS), 2 * len(ROWS)), (2 * len(ROWS), 2 * len(ROWS))]
