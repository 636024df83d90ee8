"""Trees after one-hot encoders: scikit-learn is the oracle, and the graph reads one column per category."""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from handler.scoring.graph import TREES
from tests.support.proving import proven, served_by

pytestmark = pytest.mark.slow

ROWS = 600
COLUMNS = 4


def table() -> tuple[pd.DataFrame, np.ndarray]:
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "size": random.normal(size=ROWS),
            "town": random.choice([f"town {index}" for index in range(30)], ROWS),
            "kind": random.choice(["a", "b", "c", ""], ROWS),
            "side": random.choice(["left", "right"], ROWS),
        }
    )
    effect = frame["town"].str[5:].astype(int) % 3 + (frame["kind"] == "b") * (frame["side"] == "left")
    return frame, (effect + frame["size"] + random.normal(size=ROWS) > 1.5).to_numpy().astype(int)


def pipeline(last: Any, *after: Any, **options: Any) -> Any:
    encoder = OneHotEncoder(sparse_output=False, **{"handle_unknown": "ignore", **options})
    return make_pipeline(
        make_column_transformer((encoder, ["town", "kind", "side"]), remainder="passthrough"), *after, last
    )


FOREST = RandomForestClassifier(10, random_state=0)
CASES = {
    "a forest": pipeline(FOREST),
    "a tree": pipeline(DecisionTreeClassifier(random_state=0)),
    "a forest of values": pipeline(ExtraTreesRegressor(10, random_state=0)),
    "columns that are dropped": pipeline(FOREST, drop="first"),
    "rare categories as one": pipeline(FOREST, min_frequency=20, handle_unknown="infrequent_if_exist"),
    "marks that are scaled": pipeline(FOREST, StandardScaler()),
    "gradient boosting": pipeline(GradientBoostingClassifier(random_state=0)),
    "histograms": pipeline(HistGradientBoostingClassifier(max_iter=60, random_state=0)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_trees_read_one_column_for_each_category(name: str) -> None:
    frame, target = table()
    made = proven(CASES[name], frame, target, exact=True, rows_compared=3000)
    assert served_by(made) == ("onnx", "scalar"), (made.graph.reason, made.program)
    graph = made.files["model.onnx"]
    assert read_by_trees(graph) <= set(range(COLUMNS))


def walked_columns(stated: dict[str, Any]) -> list[int]:
    """The columns of all branches of trees that rows walk through."""
    return np.frombuffer(zlib.decompress(base64.b64decode(stated["column"])), "<i4").tolist()


def read_by_trees(graph: bytes) -> set[int]:
    """The indices of the columns that trees read, in the graph or after it."""
    model = onnx.load_from_string(graph)
    stated = {each.key: each.value for each in model.metadata_props}
    stated_sums = json.loads(stated[TREES])["sums"] if TREES in stated else []
    read = {
        column
        for each in stated_sums
        for column in (walked_columns(each) if "column" in each else each["columns"])
    }
    for node in model.graph.node:
        for each in node.attribute:
            if each.name == "nodes_featureids":
                read.update(each.ints)
    assert read
    return read
