"""The lists of an answer to a file are the same, written by the kernel and in Python alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from handler.kernel import compiled
from handler.scoring.model import Model
from handler.scoring.scorers import Scores
from handler.tables.rows import Refusal, Rejects, Rows
from handler.web.lists import Lists
from tests.support.kernel import needs_compiler

#: Of two classes that are numbers, three that are texts, a value, a score, and a score with probabilities.
BUNDLES = ("bundle_dir", "mixed_dir", "regression_dir", "anomaly_dir", "cluster_dir")
REFUSAL = Refusal("age", "not_a_number", 'a "reason"')


def block(model: Model, rejected: list[bool], seed: int) -> tuple[Rows, Scores]:
    """Rows of which some are rejected, and scores of the others, made up."""
    indices = [index for index, each in enumerate(rejected) if each]
    rejects = Rejects(
        indices, [0] * len(indices), [REFUSAL], lambda some: (list(some), ["row"] * len(some))
    )
    random, sound = np.random.default_rng(seed), len(rejected) - len(indices)
    classes, manifest = len(model.manifest.classes), model.manifest
    values = random.integers(classes, size=sound) if classes else random.normal(size=sound) * 1e-5
    scores = Scores(
        values,
        random.dirichlet(np.ones(classes), sound) if manifest.probabilities else None,
        random.normal(size=sound) if manifest.score else None,
    )
    return Rows(len(rejected), {}, rejects, []), scores


def expected(model: Model, blocks: list[tuple[Rows, Scores]]) -> dict[str, Any]:
    """What the lists hold."""
    manifest, lists = model.manifest, dict[str, list[Any]](predictions=[])
    lists |= {name: [] for name in ("scores",) if manifest.score}
    lists |= {name: [] for name in ("probabilities",) if manifest.probabilities}
    lists["rejected"] = []
    for rows, scores in blocks:
        left = iter(range(rows.total))
        rejected = set(rows.rejects.indices)
        for index in range(rows.total):
            row = None if index in rejected else next(left)
            label = None if row is None else scores.values[row].item()
            lists["predictions"].append(
                label if row is None or not manifest.classes else manifest.classes[label]
            )
            if scores.score is not None:
                lists["scores"].append(None if row is None else scores.score[row].item())
            if scores.probabilities is not None:
                given = None if row is None else scores.probabilities[row].tolist()
                labels = map(str, manifest.classes)
                lists["probabilities"].append(given and dict(zip(labels, given, strict=True)))
        told = {"column": REFUSAL.column, "code": REFUSAL.code, "reason": REFUSAL.reason}
        lists["rejected"] += [{"line": index, **told} for index in rows.rejects.indices]
    return lists


@pytest.mark.parametrize("with_kernel", [pytest.param(True, marks=needs_compiler), False])
@pytest.mark.parametrize("name", BUNDLES)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks=st.lists(st.lists(st.booleans(), max_size=40), max_size=3), seed=st.integers(0, 99))
def test_lists_grow_block_by_block(
    name: str, with_kernel: bool, blocks: list[list[bool]], seed: int, request: pytest.FixtureRequest
) -> None:
    bundle: Path = request.getfixturevalue(name)
    model = Model.load(bundle)
    made = [block(model, rejected, seed) for rejected in blocks]
    lists = Lists(model.manifest)
    with pytest.MonkeyPatch.context() as patched:
        if not with_kernel:
            patched.setattr(compiled, "library", lambda: None)
        for rows, scores in made:
            lists.add(rows, scores)
    document = json.loads(lists.before(b'{"model": 1}'))
    assert list(document) == [*expected(model, []), "model"]
    assert document == {**expected(model, made), "model": 1}
