"""What a bundle that serves from its pickle says that it needs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from lightgbm import LGBMClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from training.errors import TrainingError
from training.needs import Needs, needs_of

ROWS = np.random.default_rng(0).normal(size=(60, 2))
TARGET = (ROWS[:, 0] > 0).astype(int)


def test_scikit_learn_alone_is_no_need() -> None:
    assert needs_of(LogisticRegression().fit(ROWS, TARGET)) == Needs({}, ())


def test_libraries_and_own_modules_are_found_with_what_they_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "own_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "steps.py").write_text(
        "import json\nimport polars\nfrom own_constants import ONE\n"
        "def one_more(values):\n    return values + ONE\n".replace("", "")
    )
    (tmp_path / "own_constants.py").write_text("ONE = 1\n")
    (tmp_path / "unrelated.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    from own_package.steps import one_more

    model = make_pipeline(FunctionTransformer(one_more), LGBMClassifier(n_estimators=2, verbose=-1))
    needs = needs_of(model.fit(ROWS, TARGET))
    assert list(needs.libraries) == ["lightgbm", "polars"]
    assert needs.modules == ("own_constants", "own_package")


def test_a_class_of_the_notebook_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(LogisticRegression):
        pass

    Mine.__module__, Mine.__qualname__ = "__main__", "Mine"
    monkeypatch.setattr(sys.modules["__main__"], "Mine", Mine, raising=False)
    with pytest.raises(TrainingError, match="Mine is defined in the notebook"):
        needs_of(Mine().fit(ROWS, TARGET))
