"""Our converters: what each gives is proven equal to scikit-learn, on edges and breakpoints too."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer

from tests.support.proving import proven, served_by


def numbers(rows: int = 600) -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"a": random.normal(size=rows), "b": random.exponential(size=rows)})
    return frame, (frame["a"] + frame["b"] > 1).to_numpy()


def test_a_binarizer_is_exported() -> None:
    made = proven(make_pipeline(Binarizer(threshold=0.5), LogisticRegression()), *numbers())
    assert served_by(made) == ("onnx", "scalar"), made.graph.reason
