"""However runs interleave and wherever they are killed, the outputs end as those of the newest version.

Hypothesis chooses who goes next, who is killed, and when a new version or a new model arrives.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handler.batch.run import Batch
from handler.manifest import Feature
from handler.scoring.model import Model
from handler.scoring.scorers import Scores
from handler.settings import Settings
from handler.storage.locations import Location
from tests.support.interleaving import Bucket, Runner, View

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_processor")]

SOURCE = Location("s3", "bucket", "incoming/c.csv")
FOLDER = Location("s3", "bucket", "scored/incoming/c.csv")


class Sums:
    """A model whose prediction is the feature, so that outputs tell which input they are of."""

    def score(self, columns: Any) -> Scores:
        return Scores(np.asarray(columns["value"]), None)


def echo(base: Model, version: str) -> Model:
    created = f"2026-01-0{version[-1]}T00:00:00+00:00"
    manifest = base.manifest._replace(
        version=version, created=created, task="regression", classes=(), golden=(),
        features=(Feature("value", "integer"),), profile={},
    )  # fmt: skip
    return Model.of(manifest, Sums())


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_any_interleaving_ends_with_the_newest_version(data: Any, model: Model) -> None:
    bucket = Bucket()
    versions = [1]
    models = {name: echo(model, name) for name in ("m1", "m2")}
    newest = "m1"
    model_of: dict[Runner, str] = {}

    def upload() -> None:
        bucket.put(SOURCE, f"value\n{versions[-1]}\n".encode())

    def invoke(name: str) -> Runner:
        def work(runner: Runner) -> None:
            view: Any = View(bucket, runner)
            Batch(models[name], Settings(workers=1), view).score(SOURCE, FOLDER)

        runner = Runner(work)
        model_of[runner] = name
        return runner

    upload()
    running = [invoke(newest)]
    try:
        moves = data.draw(st.integers(5, 60))
        for _ in range(moves):
            move = data.draw(
                st.sampled_from(["step", "step", "step", "step", "kill", "upload", "again", "deploy"])
            )
            if move == "upload" and len(versions) < 4:
                versions.append(versions[-1] + 1)
                upload()
                running.append(invoke(newest))
            elif move == "again" and len(running) < 6:
                running.append(invoke(newest))
            elif (
                move == "deploy" and newest == "m1" and not any(model_of[each] == "m1" for each in running)
            ):
                newest = "m2"
                running.append(invoke(newest))
            elif running:
                runner = running[data.draw(st.integers(0, len(running) - 1))]
                runner.step(kill=move == "kill")
                if runner.over:
                    running.remove(runner)
                    if move == "kill":  # the platform sends the event of a dead invocation again
                        running.append(invoke(newest))
        while running:
            runner = running[data.draw(st.integers(0, len(running) - 1))]
            runner.step()
            if runner.over:
                running.remove(runner)
    finally:  # Hypothesis may leave in the middle
        for runner in running:
            runner.end()

    predictions, made = bucket.objects[f"{FOLDER.key}/predictions.csv"]
    rejected, refused = bucket.objects[f"{FOLDER.key}/rejected.csv"]
    summary = json.loads(bucket.objects[f"{FOLDER.key}/summary.json"][0])
    assert predictions.decode().split() == ["value,prediction", f"{versions[-1]},{versions[-1]}.0"]
    assert rejected.decode() == "line,column,code,reason,row\n"
    assert summary["outputs"] == {"predictions.csv": made.etag, "rejected.csv": refused.etag}
    assert summary["input"]["etag"] == bucket.objects[SOURCE.key][1].etag
    assert summary["model"]["version"] == newest
