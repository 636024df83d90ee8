"""A file in parts comes to what it comes to in one piece, byte for byte, wherever the parts are cut."""

from __future__ import annotations

import csv
import io
import itertools
import json
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler.batch.parts import Part
from handler.batch.run import Batch
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.locations import Location
from handler.storage.storage import Storage
from tests.support.tables import NASTY, PLAIN, SOUND, files

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

    def __init__(self, model: Model, data: bytes, folder: Path, block_bytes: int = 50) -> None:
        self.file, self._folder = folder / "in.csv", folder
        self.file.write_bytes(data)
        self.size = len(data)
        self._storage = Storage()
        self._batch = Batch(model, Settings(block_bytes=block_bytes, workers=2), self._storage)
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


def header_of(table: bytes) -> bytes:
    """The first record of a table, as it stands."""
    lines = list(io.StringIO(table.decode(), newline=""))
    reader = csv.reader(lines)
    next(reader)
    return "".join(lines[: reader.line_num]).encode()


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
