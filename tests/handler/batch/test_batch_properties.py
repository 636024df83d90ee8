"""The three outputs of any CSV are what Python's csv module and scikit-learn itself say, whatever the cut.

The reference reads the file with ``csv`` and ``open``, judges a cell by rules of its own, and asks the
pickled estimator. ``Chopped`` hands the object over in pieces as small as one byte, so that block borders
fall everywhere; it is a store passed in, as any other.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import joblib
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler.batch import folding
from handler.batch.run import Batch
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.locations import Location, Version
from handler.storage.storage import Storage
from handler.tables import compression, reading, records, sweeping
from tests.support.tables import NASTY, PLAIN, files
from tests.support.widths import widened

pytestmark = pytest.mark.slow

KINDS = ("onnx", "mixed", "joblib")
WORDS = {"true": 1.0, "t": 1.0, "yes": 1.0, "y": 1.0, "1": 1.0,
         "false": 0.0, "f": 0.0, "no": 0.0, "n": 0.0, "0": 0.0}  # fmt: skip


# The reference.


@dataclass(frozen=True)
class Bundle:
    """A bundle as its files state it, with the estimator that training pickled."""

    manifest: dict[str, Any]
    estimator: Any
    model: Model

    @property
    def names(self) -> list[str]:
        return [feature["name"] for feature in self.manifest["features"]]

    @property
    def added(self) -> list[str]:
        if self.manifest["task"] == "binary":
            return ["prediction", "probability"]
        return ["prediction", *(f"probability_{label}" for label in self.manifest["classes"])]

    def scores(self, records: Sequence[Sequence[float | str]]) -> list[tuple[str, list[float]]]:
        """Each record's label and the probabilities that the output has of it, by scikit-learn."""
        if not records:
            return []
        frame = pd.DataFrame(
            {
                feature["name"]: pd.Series(
                    [record[place] for record in records],
                    dtype=object if feature["kind"] == "category" else float,
                )
                for place, feature in enumerate(self.manifest["features"])
            }
        )
        first = 1 if self.manifest["task"] == "binary" else 0
        labels, probabilities = self.estimator.predict(frame), self.estimator.predict_proba(frame)
        return [(str(label), list(row[first:])) for label, row in zip(labels, probabilities, strict=True)]


@cache
def bundle(folder: Path) -> Bundle:
    return Bundle(
        json.loads((folder / "model.json").read_text()),
        joblib.load(folder / "model.joblib"),
        Model.load(folder),
    )


@pytest.fixture(params=KINDS)
def served(request: pytest.FixtureRequest) -> Bundle:
    fixture = {"onnx": "bundle_dir", "mixed": "mixed_dir", "joblib": "joblib_dir"}[request.param]
    return bundle(request.getfixturevalue(fixture))


class Unsound(Exception):
    """A cell that the model does not take; the argument is the code."""


def value(feature: dict[str, Any], cell: str) -> float | str:
    """What a cell spells, by a reading of the rules that shares no code with ``handler.schema``."""
    kind = feature["kind"]
    text = cell.strip(" \t")
    if not text or text.lower() in feature.get("missing_words", ()):
        if not feature["nullable"]:
            raise Unsound("missing")
        return "" if kind == "category" else float("nan")
    if kind == "category":
        return text
    if kind == "boolean":
        if text.lower() not in WORDS:
            raise Unsound("not_a_boolean")
        return WORDS[text.lower()]
    if text.lower().lstrip("+-") in ("nan", "inf", "infinity"):
        raise Unsound("not_finite")
    if not set(text) <= set("0123456789.eE+-"):
        raise Unsound("not_a_number")
    try:
        number = float(text)
    except ValueError as error:
        raise Unsound("not_a_number") from error
    if number in (float("inf"), float("-inf")):
        raise Unsound("not_finite")
    if kind == "integer" and number != int(number):
        raise Unsound("not_an_integer")
    if abs(number) > (2**53 - 1 if kind == "integer" else 3.4028234663852886e38):
        raise Unsound("out_of_range")
    return number


@dataclass(frozen=True)
class Expected:
    """What the outputs must say; ``rejects`` as (line, column, code, row); ``head``: the header's bytes.

    ``closed``: no quote is open at the end of the file, or else it is refused.
    """

    header: list[str]
    scored: list[list[str]]
    scores: list[tuple[str, list[float]]]
    rejects: list[tuple[str, str, str, str]]
    head: int
    closed: bool


def expected(file: Path, delimiter: str, opener: Callable[..., Any], served: Bundle) -> Expected:
    with opener(file, "rt", encoding="utf-8", newline="") as text:
        lines = list(text)
    mark = len("\ufeff".encode()) if lines[0].startswith("\ufeff") else 0
    lines[0] = lines[0].removeprefix("\ufeff")
    *_, last = csv.reader([*lines, "\n", "end"], delimiter=delimiter)
    reader = csv.reader(lines, delimiter=delimiter)
    header = next(cells for cells in reader if cells)
    head = mark + len("".join(lines[: reader.line_num]).encode())
    scored, records, rejects, rows = [], [], [], []
    before = reader.line_num
    for cells in reader:
        if cells:
            rows.append((before + 1, "".join(lines[before : reader.line_num]), cells))
        before = reader.line_num
    header = widened(header, [(row, cells) for _, row, cells in rows])
    places = [
        at for name in served.names for at, cell in enumerate(header) if cell.strip(" '\ufeff") == name
    ]
    for line, row, cells in rows:
        row = row.removesuffix("\n").removesuffix("\r")
        if len(cells) != len(header):
            code = "too_few_cells" if len(cells) < len(header) else "too_many_cells"
            rejects.append((str(line), "", code, row))
            continue
        record: list[float | str] = []
        for feature, place in zip(served.manifest["features"], places, strict=True):
            try:
                record.append(value(feature, cells[place]))
            except Unsound as unsound:
                rejects.append((str(line), feature["name"], str(unsound), row))
                break
        else:
            scored.append(cells)
            records.append(record)
    return Expected(header, scored, served.scores(records), rejects, head, last == ["end"])


# The product.


class Chopped(Storage):
    """Storage that streams the first ``head`` bytes at once and the others ``size`` at a time."""

    def __init__(self, head: int, size: int) -> None:
        super().__init__()
        self._head, self._size = head, size

    def stream(self, location: Location, version: Version) -> Iterator[bytes]:
        data = b"".join(super().stream(location, version))
        yield data[: self._head]
        for at in range(self._head, len(data), self._size):
            yield data[at : at + self._size]


def zstd(data: bytes) -> bytes:
    from tests.support.packing import zstd as compress

    return compress(data)


def unzstd(file: Path, mode: str, **options: Any) -> Any:
    assert mode == "rt"
    try:
        from compression import zstd as library
    except ImportError:
        from backports import zstd as library
    return io.TextIOWrapper(io.BytesIO(library.decompress(file.read_bytes())), **options)


PACKED: dict[str, tuple[Callable[[bytes], bytes], Callable[..., Any]]] = {
    ".csv": (bytes, open),
    ".csv.gz": (lambda data: gzip.compress(data[:40]) + gzip.compress(data[40:]), gzip.open),
    ".csv.zst": (lambda data: zstd(data[:40]) + zstd(data[40:]), unzstd),
}


def assert_scored(
    data: bytes,
    delimiter: str,
    served: Bundle,
    *,
    size: int,
    workers: int = 1,
    ending: str = ".csv",
    told: Expected | None = None,
) -> Expected:
    """Score the file in pieces of ``size`` bytes and compare all that was written with the reference.

    Returns the reference, which may be passed on to the next call with the same file.
    """
    pack, opener = PACKED[ending]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        file, out = Path(folder) / f"in{ending}", Path(folder) / "out"
        file.write_bytes(pack(data))
        told = told or expected(file, delimiter, opener, served)
        packed = ending != ".csv"
        patched.setattr(compression, "CHUNK", told.head + size)
        options = Settings(block_bytes=told.head if packed else size, workers=workers)
        batch = Batch(served.model, options, Chopped(4 if packed else told.head, size))
        found = batch.score(Location.parse(str(file)), Location.parse(str(out)))
        summary = json.loads((out / "summary.json").read_text())
        assert found.summary == summary
        if not told.closed:
            assert summary["error"]["code"] == "unclosed_quote"
            assert [path.name for path in out.iterdir()] == ["summary.json"]
            return told
        assert "error" not in summary
        predictions, rejected = table(out / "predictions.csv"), table(out / "rejected.csv")
    assert_rejects(rejected, summary, told)
    assert_predictions(predictions, summary, told, served)
    return told


def table(file: Path) -> list[list[str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.reader(text))


def assert_rejects(rejected: list[list[str]], summary: Any, told: Expected) -> None:
    assert rejected[0] == ["line", "column", "code", "reason", "row"]
    assert [(line, column, code, row) for line, column, code, _, row in rejected[1:]] == told.rejects
    assert all(reason for _, _, _, reason, _ in rejected[1:])
    scored, refused = len(told.scored), len(told.rejects)
    assert summary["rows"] == {"read": scored + refused, "scored": scored, "rejected": refused}
    assert summary["rejects"] == Counter(code for _, _, code, _ in told.rejects)


def assert_predictions(predictions: list[list[str]], summary: Any, told: Expected, served: Bundle) -> None:
    width = len(told.header)
    assert predictions[0][:width] == told.header
    names = predictions[0][width:]
    assert len(set(names) - set(told.header)) == len(served.added)
    for name, wanted in zip(names, served.added, strict=True):
        assert name == wanted or (wanted in told.header and name.startswith(f"{wanted}_"))
    assert [row[:width] for row in predictions[1:]] == told.scored
    tolerance = max(served.manifest["parity"]["tolerance"], 1e-9)
    for row, (label, probabilities) in zip(predictions[1:], told.scores, strict=True):
        assert row[width] == label
        assert [float(text) for text in row[width + 1 :]] == pytest.approx(
            probabilities, rel=0, abs=tolerance
        )
    classes = Counter(label for label, _ in told.scores)
    assert {label: count for label, count in summary["predictions"].items() if count} == classes


# The files.


@pytest.fixture(params=["row by row", "swept", "folded"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way of scoring a block; they are chosen between by its size, and by how often lines repeat."""
    if request.param != "row by row":
        monkeypatch.setattr(reading, "SMALL", 0)
        monkeypatch.setattr(sweeping, "FEW_TEXTS", 0)
    if request.param == "folded":
        monkeypatch.setattr(folding, "repeats", lambda _: True)


@pytest.mark.usefixtures("way")
@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.filter_too_much,
    ],
)
@given(
    data=st.data(), size=st.integers(1, 200), workers=st.integers(1, 3), ending=st.sampled_from([*PACKED])
)
def test_any_file_is_scored_as_csv_and_scikit_learn_say(
    served: Bundle, data: Any, size: int, workers: int, ending: str
) -> None:
    content, delimiter = data.draw(files(served.manifest["features"]))
    assert_scored(content, delimiter, served, size=size, workers=workers, ending=ending)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    ("text", "delimiter"), [(NASTY, ","), (PLAIN, ";"), (PLAIN.replace(";", ","), ",")]
)
def test_every_block_size_gives_the_same_outputs(
    text: str, delimiter: str, bundle_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts = set()

    def counted(*arguments: Any) -> Iterator[Any]:
        found = list(cut(*arguments))
        cuts.update(each.line for each in found)
        yield from found

    cut = records.blocks
    monkeypatch.setattr(records, "blocks", counted)
    data, told = text.encode(), None
    for size in range(1, len(data) + 1):
        told = assert_scored(
            data, delimiter, bundle(bundle_dir), size=size, workers=1 + size % 3, told=told
        )
    assert len(cuts) > 5  # else the store did not hand the file over in pieces


@pytest.mark.parametrize("row", ["\ufeff45,a,0,5", "\ufeffa,45,0,5"])
def test_a_byte_order_mark_within_the_file_is_text(
    row: str, bundle_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SMALL", 0)
    monkeypatch.setattr(sweeping, "FEW_TEXTS", 0)
    header = "age,note" if row.startswith("\ufeff45") else "note,age"
    data = f"{header},new_user,total_pages_visited\n{row}\n{row}\n".encode()
    assert_scored(data, ",", bundle(bundle_dir), size=1)


@pytest.mark.parametrize("rows", ["45,0,5\n45,0\n46,0,5,", "45,0,5\n46,0,5\x00", "x^2,0,5\n46,0,5\n"])
def test_an_empty_cell_at_the_very_end_counts(
    rows: str, bundle_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SMALL", 0)
    monkeypatch.setattr(sweeping, "FEW_TEXTS", 0)
    data = f"age,new_user,total_pages_visited\n{rows}".encode()
    assert_scored(data, ",", bundle(bundle_dir), size=1000)


def test_a_local_path_may_have_any_name_and_lead_up_again(bundle_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a b%41" / "#?"
    folder.mkdir(parents=True)
    (tmp_path / "..new\nline.csv").write_text("age,new_user,total_pages_visited\n45,0,5\n")
    source = Location.parse(f"{folder}/../../..new\nline.csv")
    batch = Batch(bundle(bundle_dir).model, Settings(), Storage())
    assert batch.score(source, Location.parse(f"{folder}/../out//x")).rows == 1
    assert len(list((tmp_path / "a b%41" / "out" / "x").iterdir())) == 3


def test_a_header_may_be_longer_than_a_block(bundle_dir: Path, tmp_path: Path) -> None:
    source = tmp_path / "wide.csv"
    wide = [f"column {place} {'x' * 100}" for place in range(30_000)]
    blanks = "," * (len(wide) - 1)
    source.write_text(
        f"{','.join(wide)},age,new_user,total_pages_visited\n{blanks},45,0,5\n{blanks},x,0,5\n"
    )
    assert source.stat().st_size > 3 * Settings().block_bytes
    batch = Batch(bundle(bundle_dir).model, Settings(), Storage())
    scored = batch.score(Location.parse(str(source)), Location.parse(str(tmp_path / "out")))
    assert scored.summary is not None
    assert scored.summary["rows"] == {"read": 2, "scored": 1, "rejected": 1}
