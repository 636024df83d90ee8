"""The same rows give the same bytes, whatever the size of the blocks and the number of workers."""

from __future__ import annotations

from pathlib import Path

import pytest

from handler.batch.goals import SMALL
from handler.batch.run import Batch
from handler.scoring.model import Model
from handler.settings import Settings
from handler.storage.locations import Location
from handler.storage.storage import Storage
from tests.support.tables import LOOKS, large

pytestmark = pytest.mark.slow

KINDS = ("bundle_dir", "mixed_dir", "joblib_dir", "regression_dir", "text_dir", "date_dir", "anomaly_dir")


def outputs(model: Model, file: Path, block_bytes: int, workers: int) -> tuple[bytes, bytes]:
    out = file.parent / "out"
    options = Settings(block_bytes=block_bytes, workers=workers)
    scored = Batch(model, options, Storage()).score(Location.parse(str(file)), Location.parse(str(out)))
    assert scored.summary is not None
    assert scored.summary["rows"]["scored"] > 10 * scored.summary["rows"]["rejected"] > 0
    tables = (out / "predictions.csv").read_bytes(), (out / "rejected.csv").read_bytes()
    (out / "summary.json").unlink()
    return tables


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [SMALL - 3000, SMALL, 200_000], ids=["small", "barely large", "large"])
def test_blocks_and_workers_change_nothing(
    kind: str, look: str, size: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    model = Model.load(request.getfixturevalue(kind))
    file = tmp_path / "in.csv"
    file.write_bytes(large(model.manifest.features, size, look))
    assert (file.stat().st_size <= SMALL) == (size < SMALL)
    one = outputs(model, file, 1 << 30, 1)
    assert outputs(model, file, 1 << 30, 1) == one
    for block_bytes, workers in [(70_000, 3), (4001, 2)]:
        assert outputs(model, file, block_bytes, workers) == one, block_bytes
