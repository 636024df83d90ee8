"""Training by its command line."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from handler.bundle import Bundle
from handler.manifest import Manifest
from tests.support.bundles import Run
from training.__main__ import main


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """``python -m training`` on rows, which must succeed; the bundle is in ``tmp_path / "model"``."""

    def command(rows: pd.DataFrame | str | bytes, *arguments: str, target: str = "y") -> Manifest:
        content = rows.to_csv(index=False) if isinstance(rows, pd.DataFrame) else rows
        path = tmp_path / "rows.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        out = tmp_path / "model"
        code = main(["--data", str(path), "--target", target, "--out", str(out), *arguments])
        assert code == 0, capsys.readouterr().err
        return Bundle.open(out).manifest

    return command
