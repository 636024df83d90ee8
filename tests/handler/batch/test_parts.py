"""A file in parts comes to what it comes to in one piece, byte for byte, wherever the parts are cut."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import json
import lzma
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler.batch.parts import SOUGHT, Part
from handler.batch.run import Batch
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.locations import Location
from handler.storage.storage import Storage
from handler.tables import header
from tests.support.packing import zstd
from tests.support.quoted import quoted_file
from tests.support.tables import LOOKS, NASTY, PLAIN, SOUND, files, header_of, large, spelt

pytestmark = pytest.mark.slow

HEADER = "age,note,new_user,total_pages_visited\n"
#: What a summary says of the rows, whether the file was scored in parts or not.
COUNTS = ("rows", "rejects", "predictions", "encoding", "error")
KINDS = ("bundle_dir", "mixed_dir", "joblib_dir", "regression_dir", "text_dir", "date_dir")


class Outputs(NamedTuple):
    """What scoring wrote: the predictions with one header, the rejects, and the counts of the summary."""

    predictions: bytes | None
    rejected: bytes | None
    counts: dict[str, Any]


class Scoring:
    """A file that is scored in one piece, and in parts, as often as a test wants."""

    def __init__(
        self, model: Model, data: bytes, folder: Path, block_bytes: int = 50, workers: int = 2
    ) -> None:
        self.file, self._folder = folder / "in.csv", folder
        self.file.write_bytes(data)
        self.size = len(data)
        self._storage = Storage()
        self._batch = Batch(model, Settings(block_bytes=block_bytes, workers=workers), self._storage)
        self.location = Location.parse(str(self.file))
        version = self._storage.version(self.location)
        assert version is not None
        self._etag = version.etag
        self.summary: dict[str, Any] = {}

    def whole(self) -> Outputs:
        out = self._folder / "whole"
        self._batch.score(self.location, Location.parse(str(out)))
        summary = json.loads((out / "summary.json").read_text())
        counts = {name: summary[name] for name in COUNTS if name in summary}
        if summary["outputs"] is None:
            return Outputs(None, None, counts)
        return Outputs((out / "predictions.csv").read_bytes(), (out / "rejected.csv").read_bytes(), counts)

    def cut(self, cuts: Sequence[int]) -> list[Part]:
        edges = [0, *sorted(cuts), self.size]
        return [
            Part(index, len(edges) - 1, start, end, self._etag)
            for index, (start, end) in enumerate(itertools.pairwise(edges))
        ]

    def planned(self, count: int) -> list[Part]:
        return self._batch.plan(self.location, count=count)

    def in_parts(self, parts: Sequence[Part]) -> Outputs:
        """Score the parts in this order, once each."""
        out = self._folder / "parts"
        shutil.rmtree(out, ignore_errors=True)
        scored = [self._batch.score_part(self.location, Location.parse(str(out)), part) for part in parts]
        assert [each.complete for each in scored] == [False] * (len(parts) - 1) + [True]
        self.summary = json.loads((out / "summary.json").read_text())
        counts = {name: self.summary[name] for name in COUNTS if name in self.summary}
        if self.summary["outputs"] is None:
            assert not (out / "rejected.csv").exists()
            return Outputs(None, None, counts)
        names = [f"part-{index:05}.csv" for index in range(len(parts))]
        assert sorted(each.name for each in (out / "predictions").iterdir()) == names
        tables = [(out / "predictions" / name).read_bytes() for name in names]
        head = header_of(tables[0])
        assert all(table.startswith(head) for table in tables)
        joined = b"".join([head, *(table[len(head) :] for table in tables)])
        return Outputs(joined, (out / "rejected.csv").read_bytes(), counts)


@cache
def loaded(folder: Path) -> Model:
    return Model.load(folder)


@pytest.fixture(params=KINDS)
def served(request: pytest.FixtureRequest) -> Model:
    return loaded(request.getfixturevalue(request.param))


@st.composite
def tables(draw: Any, model: Model) -> bytes:
    """Any table with the model's columns, in any encoding; now and then a damaged one."""
    features = [
        {"name": each.name, "kind": each.kind if each.kind in SOUND else "category"}
        for each in model.manifest.features
    ]
    table, _ = draw(files(features))
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "cp1252"]))
    if encoding == "cp1252":
        table = table.decode().encode("cp1252", "replace")
    damage = draw(st.sampled_from([b"", b"", b"", b"\xff", b'\n"open', b'"', b"\x81", b"\xc3"]))
    at = draw(st.integers(0, len(table)))
    return table[:at] + damage + table[at:]


@settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)
@given(data=st.data(), block_bytes=st.sampled_from([1, 7, 60, 10_000]))
def test_any_file_in_any_parts_in_any_order(served: Model, data: Any, block_bytes: int) -> None:
    table = data.draw(tables(served))
    cuts = data.draw(st.lists(st.integers(0, len(table)), max_size=6))
    order = data.draw(st.permutations(range(len(cuts) + 1)))
    with tempfile.TemporaryDirectory() as folder:
        scoring = Scoring(served, table, Path(folder), block_bytes)
        parts = scoring.cut(cuts)
        assert scoring.in_parts([parts[index] for index in order]) == scoring.whole()


def test_a_header_alone_says_what_the_file_is_encoded_in(model: Model, tmp_path: Path) -> None:
    scoring = Scoring(model, "age;new_user;total_pages_visited;año\n".encode("cp1252"), tmp_path)
    whole = scoring.whole()
    assert whole.counts["encoding"] == "Windows-1252"
    assert scoring.in_parts(scoring.cut([10])) == whole


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (NASTY, "utf-8"),
        (NASTY.removeprefix("\ufeff").replace("27,", '"27,'), "cp1252"),
        (PLAIN, "utf-8"),
        (PLAIN.replace(";", ","), "cp1252"),
    ],
    ids=["nasty", "nasty, in Windows-1252", "plain", "plain, in Windows-1252"],
)
def test_every_boundary(text: str, encoding: str, model: Model, tmp_path: Path) -> None:
    scoring = Scoring(model, text.encode(encoding, "replace"), tmp_path)
    whole = scoring.whole()
    for cut in range(scoring.size + 1):
        assert scoring.in_parts(scoring.cut([cut])[:: 1 - 2 * (cut % 2)]) == whole, cut


@pytest.mark.parametrize("look", LOOKS)
def test_a_large_file_in_planned_parts(served: Model, look: str, tmp_path: Path) -> None:
    table = large(served.manifest.features, 400_000, look)
    if look == "quoted":
        table = table.replace(b"\n", b"\r\n")
    scoring = Scoring(served, table, tmp_path, block_bytes=100_000)
    whole = scoring.whole()
    assert whole.counts["rows"]["rejected"] > 0
    for count in (2, 3):
        assert scoring.in_parts(scoring.planned(count)[::-1]) == whole
        assert scoring.summary["split"] == "planned"


def test_cells_that_hold_rows_lie_across_every_boundary(model: Model, tmp_path: Path) -> None:
    file = quoted_file(tmp_path / "quoted.csv", 1_000_000, 130_000)
    scoring = Scoring(model, file.read_bytes(), tmp_path, block_bytes=100_000)
    whole = scoring.whole()
    cuts = range(130_000, scoring.size, 130_000)
    assert scoring.in_parts(scoring.cut(cuts)) == whole
    assert scoring.summary["split"] == "planned"
    assert scoring.in_parts(scoring.planned(8)) == whole
    assert scoring.summary["split"] == "planned"


def test_a_cell_that_holds_more_rows_than_a_window_is_found_out(model: Model, tmp_path: Path) -> None:
    rows = "".join(f"{20 + row % 50},x,1,{row % 20}\n" for row in range(40_000))
    scoring = Scoring(model, f'{HEADER}1,a,1,2\n2,"{rows}",1,3\n{rows}x,y\n'.encode(), tmp_path, 100_000)
    whole = scoring.whole()
    assert scoring.in_parts(scoring.cut([100_000, 200_000, 300_000])) == whole
    assert scoring.summary["split"] == "replanned"
    assert [part.get("replanned") for part in scoring.summary["parts"]][:3] == [None, True, True]


def test_rejects_have_the_lines_of_the_file(model: Model, tmp_path: Path) -> None:
    row = 'x,"cell\r\nof ""two"" lines\r",1,2\r\n'
    giant = "30," + spelt('"' * 1_500_000, ",") + ",1,no\n"
    assert len(giant) > SOUGHT
    table = HEADER + row * 20 + "\n" + giant * 2 + row + "45,a,1,5\n"
    scoring = Scoring(model, table.encode(), tmp_path, 200_000)
    whole = scoring.whole()
    assert whole.counts["rows"] == {"read": 24, "scored": 1, "rejected": 23}
    middle = scoring.size // 2
    assert scoring.in_parts(scoring.cut([100, 300, 333, middle, scoring.size - 30])) == whole
    assert whole.rejected is not None
    lines = [
        int(cells[0])
        for cells in csv.reader(io.StringIO(whole.rejected.decode(), newline=""))
        if cells[0] != "line"
    ]
    assert lines == [*range(2, 62, 3), 63, 64, 65]


def test_there_may_be_no_rejects_in_some_parts_or_in_any(model: Model, tmp_path: Path) -> None:
    scoring = Scoring(model, (HEADER + "45,a,1,5\n" * 20).encode(), tmp_path)
    whole = scoring.whole()
    assert whole.rejected == b"line,column,code,reason,row\n"
    assert scoring.in_parts(scoring.cut([60, 80, 120])) == whole


WHOLE = {
    "gzip": (gzip.compress, "the file is compressed"),
    "zstd": (zstd, "the file is compressed"),
    "bzip2": (bz2.compress, "the file is compressed"),
    "xz": (lzma.compress, "the file is compressed"),
    "UTF-16": (lambda table: table.decode().encode("utf-16"), "the file is UTF-16"),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_what_has_no_ranges_is_scored_in_one_piece(kind: str, model: Model, tmp_path: Path) -> None:
    pack, why = WHOLE[kind]
    scoring = Scoring(model, pack(large(model.manifest.features, 100_000, "quoted")), tmp_path, 10_000)
    whole = scoring.whole()
    planned = scoring.planned(5)
    assert planned == scoring.cut([])
    assert scoring.in_parts(planned) == whole
    assert (scoring.summary["split"], scoring.summary["whole"]) == ("whole", why)
    quarter = scoring.size // 4
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        parts = scoring.cut([quarter, 2 * quarter, 3 * quarter])
        assert scoring.in_parts([parts[index] for index in order]) == whole
        assert (scoring.summary["split"], scoring.summary["whole"]) == ("whole", why)


@pytest.mark.parametrize("first", ["é".encode("cp1252"), "é".encode(), b"\x81"])
def test_parts_that_read_different_encodings_are_read_again(
    first: bytes, model: Model, tmp_path: Path
) -> None:
    """The first character that is not ASCII decides for all: far beyond the header, and in any part."""
    plain = HEADER.encode() + b"45,a,1,5\n" * 7500
    assert len(plain) > header.FIRST
    for others in (b"", "45,é,1,5\n".encode() * 50, "45,é,1,5\n".encode("cp1252") * 50):
        table = plain + b"45," + first + b",1,5\n" + b"45,a,1,5\n" * 5000 + others
        scoring = Scoring(model, table, tmp_path, 30_000)
        whole = scoring.whole()
        middle, last = len(plain) + 20_000, len(plain) + 44_900
        for cuts in ([40_000], [40_000, middle, last], [len(plain) + 4, len(table) - 100]):
            parts = scoring.cut(cuts)
            assert scoring.in_parts(parts) == whole
            assert scoring.in_parts(parts[::-1]) == whole


GOOD = b"45,a,1,5\n" * 100
REFUSED = {
    "not UTF-8 in the middle": ("é,1,5\n".encode() + b"45,\xff\xfe,1,5\n", "not_utf8"),
    "a quote that is never closed, in the middle": (b'45,"a,1,5\n', "unclosed_quote"),
    "both": (b'45,\xc3\xa9,1,5\n45,"a,1,5\n45,\xff,1,5\n', "not_utf8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_is_refused_in_the_middle(name: str, model: Model, tmp_path: Path) -> None:
    odd, code = REFUSED[name]
    scoring = Scoring(model, HEADER.encode() + GOOD + odd + GOOD, tmp_path, 200)
    whole = scoring.whole()
    assert whole.counts["error"]["code"] == code
    assert whole.counts["error"]["line"] >= 102
    for cut in range(800, scoring.size, 97):
        assert scoring.in_parts(scoring.cut([cut])) == whole
    assert scoring.in_parts(scoring.cut(range(300, 1700, 200))[::-1]) == whole


@pytest.mark.parametrize(
    "table",
    [b"", b"\n", b"\xef\xbb\xbf", HEADER.encode(), HEADER.encode()[:-1], b"age,note\n1,2\n", b"\x00\x01",
     b'"age', HEADER.encode() + b'45,"a,1,5', HEADER.encode() + GOOD + b'"', b"{}", b"PK\x03\x04",
     b"sep=;\n" + PLAIN.encode()],
)  # fmt: skip
def test_a_file_of_little_or_nothing(table: bytes, model: Model, tmp_path: Path) -> None:
    scoring = Scoring(model, table, tmp_path)
    whole = scoring.whole()
    assert scoring.in_parts(scoring.planned(3)) == whole
    for cut in range(0, min(len(table), 60) + 1, 4):
        assert scoring.in_parts(scoring.cut([cut, cut])) == whole


@pytest.mark.parametrize("workers", [1, 3])
def test_the_first_fault_of_a_file_is_told_whatever_comes_after_it(
    workers: int, model: Model, tmp_path: Path
) -> None:
    table = HEADER.encode() + "45,é,1,5\n".encode() + b"45,\xff,1,5\n" + GOOD + b'45,"' + b"x" * 20_000_000
    scoring = Scoring(model, table, tmp_path, 768 * 1024, workers)
    whole = scoring.whole()
    assert whole.counts["error"]["code"] == "not_utf8"
    assert scoring.in_parts(scoring.cut([600, 10_000_000])) == whole


def test_a_record_that_is_too_long_is_refused_by_its_line(model: Model, tmp_path: Path) -> None:
    table = HEADER.encode() + GOOD + b'45,"' + b"x" * 20_000_000
    scoring = Scoring(model, table, tmp_path, 768 * 1024)
    whole = scoring.whole()
    assert (whole.counts["error"]["code"], whole.counts["error"]["line"]) == ("record_too_long", 102)
    for parts in (scoring.cut([500, 2000, 20_000_000]), scoring.planned(3)):
        assert scoring.in_parts(parts) == whole
