"""One row in Python alone: the same answers as the graph's and the estimator's, and no heavy import."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler import manifest as manifests
from handler.bundle import Bundle
from handler.errors import BundleError
from handler.scoring import checking, outputs
from handler.scoring.model import Model, load_scorer
from handler.scoring.row_program import RowProgram
from tests.support.bundles import mixed_rows, quiet, resealed
from tests.support.strategies import values
from training.bundling import sha256_of
from training.train import Options, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def forest_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forest")
    frame = mixed_rows().drop(columns="price")
    frame.to_csv(folder / "rows.csv", index=False)
    options = Options(
        folder / "rows.csv", "class", "tests.support.pipelines:random_forest", out=folder / "model"
    )
    train(options, quiet)
    return folder / "model"


@pytest.mark.parametrize("fixture", ["bundle_dir", "mixed_dir", "regression_dir", "forest_dir"])
def test_one_row_is_served_by_the_engine_that_training_proved(
    fixture: str, request: pytest.FixtureRequest
) -> None:
    manifest = Bundle.open(request.getfixturevalue(fixture)).manifest
    assert manifest.engines == {"one": "scalar", "many": "onnx"}
    parity = manifest.parity
    assert parity["scalar"]["largest_difference"] <= parity["tolerance"]
    assert parity["scalar"]["rows"] == parity["rows"]
    assert parity["rows"] + parity["adversarial_rows"] >= 20_000


@pytest.mark.parametrize("fixture", ["bundle_dir", "mixed_dir", "regression_dir", "forest_dir"])
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_record_is_predicted_as_the_graph_predicts_it(
    fixture: str, data: Any, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(fixture)
    model = Model.load(folder)
    record = data.draw(st.tuples(*map(values, model.schema.features)))
    (one,) = model.predict([record])
    graph = load_scorer(Bundle.open(folder))
    (many,) = outputs.predictions(model.manifest.classes, graph.score(model.schema.columns([record])))
    if model.manifest.task == "regression":
        assert one["prediction"] == pytest.approx(many["prediction"], rel=1e-9, abs=1e-6)
        return
    assert one["probabilities"] == pytest.approx(many["probabilities"], abs=1e-9)
    first, second, *_ = [*sorted(many["probabilities"].values(), reverse=True), 0.0]
    if first - second > 1e-9:
        assert one["prediction"] == many["prediction"]


def altered(folder: Path, target: Path, content: bytes) -> Path:
    """The bundle with another ``model.scalar``, which the manifest vouches for."""
    target.mkdir()
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    files[manifests.SCALAR] = content
    manifest = Bundle.open(folder).manifest
    hashes = {**manifest.files, **sha256_of({manifests.SCALAR: content})}
    document = manifest._replace(files=hashes).as_json()
    document["version"] = manifests.content_version(document)
    files[manifests.MANIFEST] = json.dumps(document).encode()
    for name, each in files.items():
        (target / name).write_bytes(each)
    return target


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content[:-8],
        lambda content: content.replace(b'"format": 1', b'"format": 2', 1),
        lambda content: content.replace(b'"trees"', b'"shrub"', 1),
        lambda _: b"",
        lambda _: b"[]\n",
    ],
)
def test_a_program_that_does_not_follow_its_format_is_refused(
    spoil: Any, forest_dir: Path, tmp_path: Path
) -> None:
    content = (forest_dir / manifests.SCALAR).read_bytes()
    with pytest.raises(BundleError, match=r"model\.scalar"):
        Model.load(altered(forest_dir, tmp_path / "model", spoil(content)))


@pytest.mark.parametrize("name", [manifests.SCALAR, manifests.ONNX])
def test_a_changed_file_is_found_when_the_bundle_is_loaded(
    name: str, forest_dir: Path, tmp_path: Path
) -> None:
    for file in forest_dir.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b" ")
    with pytest.raises(BundleError, match=f"{name} has sha256"):
        Model.load(tmp_path)


def test_a_bundle_without_the_program_is_served_by_its_graph(bundle_dir: Path, tmp_path: Path) -> None:
    def change(document: Any) -> None:
        del document["engines"], document["files"][manifests.SCALAR]

    resealed(bundle_dir, tmp_path, change)
    (tmp_path / manifests.SCALAR).unlink()
    model = Model.load(tmp_path)
    assert model.program is None
    assert checking.differences(model) == []


def test_gaps_and_extremes_raise_nothing_in_python() -> None:
    document = {
        "format": 1, "slots": 5, "constants": {"1": [0.0]}, "label": 4, "probabilities": None, "arrays": [],
        "steps": [
            ["binary", 2, [0, 1], {"name": "Div", "right": [0, 0, 0]}],
            ["unary", 3, [0], {"name": "Exp"}],
            ["concat", 4, [2, 3], {}],
        ],
    }  # fmt: skip
    slots: list[Any] = [(5.0, -1e9, 0.0), [0.0], None, None, None]
    engine = RowProgram(json.dumps(document).encode() + b"\n")
    assert engine.run(slots[0])[0] == np.inf
    assert engine.run((1e9, 1.0, 1.0))[0] == np.inf
