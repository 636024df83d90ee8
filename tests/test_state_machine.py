"""``statemachine/score.asl.json`` carried out: by moto, and with failures by a driver of our own.

The functions are real processes with the real handler, and the storage is moto's server. A green run in
moto says that the definition is understood and that a file goes through; it says nothing of failures. moto
5.2.5 ignores ``ToleratedFailureCount`` and ``Catch`` of a Map (where all items fail, the execution is
SUCCEEDED), refuses ``ItemBatcher``, and writes a manifest without results for ``ResultWriter``. What comes
of failures is tried with ``tests.support.stepfunctions``, which follows Amazon's documentation.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cloud import s3_server
from tests.support.deployed import KEY, Deployment
from tests.support.faults import FaultyProxy
from tests.support.functions import Function, FunctionFailed, Instances, Throttled, invoke_api
from tests.support.quoted import quoted_file
from tests.support.stepfunctions import StateFailed

pytestmark = pytest.mark.slow

SIZE, PART = 400_000, 50_000
PARTS = 9


@pytest.fixture(scope="module")
def cloud(bundle_dir: Path) -> Iterator[Deployment]:
    reached: list[Deployment] = []
    with (
        invoke_api(lambda event: reached[0].function(event)) as url,
        s3_server(url) as s3,
        FaultyProxy(s3.url) as proxy,
        Instances(
            {
                **s3.at(proxy.url).env,
                "MODEL_DIR": str(bundle_dir),
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3008",
            },
            most=8,
        ) as instances,
    ):
        reached.append(Deployment(s3, proxy, instances, instances, PART))
        yield reached[0]


@pytest.fixture
def deployed(cloud: Deployment, tmp_path: Path) -> Deployment:
    """The deployment with a bucket of its own that holds the file."""
    cloud.proxy.clear()
    cloud.instances.events.clear()
    cloud.function = cloud.instances
    cloud.bucket = cloud.s3.bucket()
    path = quoted_file(tmp_path / "big.csv", SIZE, PART)
    cloud.s3.client("s3").upload_file(str(path), cloud.bucket, KEY)
    return cloud


def failing(
    function: Function,
    when: Callable[[Any], bool],
    error: Callable[[], Exception],
    times: float = float("inf"),
) -> Function:
    """The function, but the first ``times`` invokes of each event that meets ``when`` fail at once."""
    failed: Counter[str] = Counter()

    def invoke(event: Any) -> Any:
        name = json.dumps(event)
        if when(event) and failed[name] < times:
            failed[name] += 1
            raise error()
        return function(event)

    return invoke


def storage_down() -> Exception:
    return FunctionFailed("StorageDown", "storage is down")


def bug() -> Exception:
    return FunctionFailed("ZeroDivisionError", "a bug")


def is_part(index: int) -> Callable[[Any], bool]:
    return lambda event: event.get("part", {}).get("index") == index


def kinds(events: list[Any]) -> Counter[str]:
    """How often each kind of event came."""
    return Counter(
        kind for event in events for kind in ("plan", "part", "complete", "failed") if kind in event
    )


def test_a_file_is_scored_in_parts_as_it_is_in_one(deployed: Deployment) -> None:
    run = deployed.run()
    assert run.execute() == deployed.summary()
    assert kinds(deployed.instances.events) == {"plan": 1, "part": PARTS, "complete": 1}
    assert run.states[-1] == "Complete"
    assert run.waits == []
    deployed.assert_equal_to_unsplit()
    assert deployed.s3.pending(deployed.bucket) == []


def test_moto_carries_the_definition_out(deployed: Deployment) -> None:
    execution = deployed.in_moto(deployed.asked())
    assert execution["status"] == "SUCCEEDED", (execution, deployed.instances.log())
    assert json.loads(execution["output"]) == deployed.summary()
    assert any(key.startswith("_runs/") for key in deployed.s3.keys(deployed.bucket))
    deployed.assert_equal_to_unsplit()


def test_in_moto_a_part_that_is_killed_comes_again_and_throttles_pass(deployed: Deployment) -> None:
    killer = deployed.kill_part_1()
    deployed.function = failing(deployed.instances, is_part(2), Throttled, times=1)
    execution = deployed.in_moto(deployed.asked())
    killer.join()
    assert execution["status"] == "SUCCEEDED", (execution, deployed.instances.log())
    assert kinds(deployed.instances.events)["part"] == PARTS + 1
    deployed.assert_equal_to_unsplit()


def test_moto_has_the_objects_event(deployed: Deployment) -> None:
    """With the default part size, which makes one part of so small a file."""
    event = {"detail": {"bucket": {"name": deployed.bucket}, "object": {"key": KEY, "size": 10**12}}}
    execution = deployed.in_moto(event)
    assert execution["status"] == "SUCCEEDED", (execution, deployed.instances.log())
    deployed.assert_equal_to_unsplit()


def test_a_second_run_finds_nothing_to_score(deployed: Deployment) -> None:
    deployed.run().execute()
    before = deployed.outputs()
    deployed.instances.events.clear()
    run = deployed.run()
    assert run.execute()["plan"]["parts"] == 0
    assert run.states[-1] == "Nothing to score"
    assert kinds(deployed.instances.events) == {"plan": 1}
    outputs = deployed.outputs()
    assert outputs.keys() == before.keys()
    assert all(outputs[name] == before[name] for name in before if name != "plan.json")


def test_a_part_that_is_killed_at_its_first_try_comes_again(deployed: Deployment) -> None:
    killer = deployed.kill_part_1()
    run = deployed.run()
    run.execute()
    killer.join()
    assert kinds(deployed.instances.events)["part"] == PARTS + 1
    assert run.waits == [5]
    deployed.assert_equal_to_unsplit()


def test_throttled_parts_wait_their_turn(deployed: Deployment) -> None:
    """For long: another large file may have the function for hours."""
    deployed.function = failing(deployed.instances, lambda _: True, Throttled, times=20)
    run = deployed.run()
    run.execute()
    assert len(run.waits) == 20 * (PARTS + 2)
    assert max(run.waits) == 300
    assert sorted(run.waits)[: PARTS + 2] == [2] * (PARTS + 2)
    deployed.assert_equal_to_unsplit()


def test_a_part_that_fails_for_ever_fails_the_run_and_the_summary_says_so(deployed: Deployment) -> None:
    deployed.function = failing(deployed.instances, is_part(1), storage_down)
    run = deployed.run()
    with pytest.raises(StateFailed, match="ExceedToleratedFailureThreshold"):
        run.execute()
    assert run.waits == [5, 15, 45, 135, 300]
    assert run.states[-2:] == ["Report failure", "Failed"]
    assert kinds(deployed.instances.events)["failed"] == 1
    assert "complete" not in kinds(deployed.instances.events)
    summary = deployed.summary()
    assert summary["error"]["code"] == "run_failed"
    assert summary["outputs"] is None
    # Once the storage is up again, a run by hand takes up what is done, and the summary is a good one.
    deployed.function = deployed.instances
    deployed.run().execute()
    deployed.assert_equal_to_unsplit()


def test_a_bug_is_not_tried_again(deployed: Deployment) -> None:
    deployed.function = failing(deployed.instances, is_part(1), bug)
    run = deployed.run()
    with pytest.raises(StateFailed, match="ExceedToleratedFailureThreshold"):
        run.execute()
    assert run.waits == []
    assert deployed.summary()["error"]["code"] == "run_failed"


def test_where_the_plan_fails_the_summary_says_so(deployed: Deployment) -> None:
    deployed.function = failing(deployed.instances, lambda event: "plan" in event, storage_down)
    run = deployed.run()
    with pytest.raises(StateFailed, match="StorageDown"):
        run.execute()
    assert len(run.waits) == 5
    assert kinds(deployed.instances.events) == {"failed": 1}
    assert deployed.summary()["error"]["code"] == "run_failed"


def test_where_the_failure_cannot_be_written_the_run_fails_as_it_would(deployed: Deployment) -> None:
    deployed.function = failing(deployed.instances, lambda _: True, storage_down)
    run = deployed.run()
    with pytest.raises(StateFailed, match="StorageDown"):
        run.execute()
    assert run.states[-3:] == ["Plan", "Report failure", "Failed"]
    assert deployed.outputs() == {}


def test_completion_waits_for_a_part_that_is_late(deployed: Deployment) -> None:
    """A part that ends after the Map: what an instance does that was given up."""
    late: list[Any] = []
    checks: list[Any] = []

    def function(event: Any) -> Any:
        if is_part(1)(event):
            late.append(event)
            return {"skipped": "not yet"}
        if "complete" in event:
            checks.append(event)
            if len(checks) == 2:
                deployed.instances(*late)
        return deployed.instances(event)

    deployed.function = function
    run = deployed.run()
    run.execute()
    assert run.waits == [5]
    deployed.assert_equal_to_unsplit()


def test_a_part_that_never_comes_fails_the_run(deployed: Deployment) -> None:
    def function(event: Any) -> Any:
        return {"skipped": "lost"} if is_part(1)(event) else deployed.instances(event)

    deployed.function = function
    run = deployed.run()
    with pytest.raises(StateFailed, match="NotComplete"):
        run.execute()
    assert run.waits == [5, 15, 45, 135, 300]
    assert deployed.summary()["error"]["code"] == "run_failed"


def test_a_failed_run_leaves_a_good_summary(deployed: Deployment) -> None:
    deployed.run().execute()
    good = deployed.outputs()
    failure = {"Error": "States.Timeout", "Cause": "made up"}
    deployed.function(
        {"input": deployed.uri, "output": f"s3://{deployed.bucket}/scored", "failed": failure}
    )
    assert deployed.outputs() == good


def test_a_file_that_is_refused_is_done(deployed: Deployment) -> None:
    """As one that the queue has: another try would refuse it, too, and nobody need be woken."""
    lines = b"age,pages\n" + b"45,5\n" * 100_000
    deployed.s3.put(deployed.bucket, KEY, lines)
    deployed.run().execute()
    assert deployed.summary()["error"]["code"] == "missing"
    assert "failed" not in kinds(deployed.instances.events)


def test_a_file_that_is_gone_is_skipped(deployed: Deployment) -> None:
    deployed.s3.delete(deployed.bucket, KEY)
    run = deployed.run()
    run.execute()
    assert run.states[-1] == "Nothing to score"
    assert deployed.outputs() == {"plan.json": b"[]"}


@pytest.mark.parametrize("gone", [False, True])
def test_a_file_that_is_replaced_or_deleted_in_the_middle_fails_nothing(
    deployed: Deployment, tmp_path: Path, gone: bool
) -> None:
    """A new version has a run of its own, which its own event starts."""
    path = quoted_file(tmp_path / "newer.csv", SIZE // 2, PART)

    def function(event: Any) -> Any:
        if is_part(2)(event):
            if gone:
                deployed.s3.delete(deployed.bucket, KEY)
            else:
                deployed.s3.client("s3").upload_file(str(path), deployed.bucket, KEY)
        return deployed.instances(event)

    deployed.function = function
    deployed.run().execute()
    assert "failed" not in kinds(deployed.instances.events)
    if not gone:
        deployed.function = deployed.instances
        deployed.run().execute()
        deployed.assert_equal_to_unsplit()
        assert not any("part-00005" in name for name in deployed.outputs())


def test_parts_in_batches(deployed: Deployment) -> None:
    """Not in the definition, as a part is a function's time; ItemBatcher may be added for small ones."""
    definition = deployed.definition()
    definition["States"]["Parts"]["ItemBatcher"] = {"MaxItemsPerBatch": 4}
    deployed.run(definition=definition).execute()
    batches = [event["Items"] for event in deployed.instances.events if "Items" in event]
    assert sorted(map(len, batches)) == [1, 4, 4]
    deployed.assert_equal_to_unsplit()


def test_an_input_that_names_no_object_fails(deployed: Deployment) -> None:
    for event in ({"uri": deployed.uri}, {"detail": {"object": {"key": KEY}}}, {"input": 1}):
        with pytest.raises(StateFailed, match="NoInput"):
            deployed.run(event).execute()


def test_the_driver_refuses_what_it_does_not_know(deployed: Deployment) -> None:
    definition = deployed.definition()
    definition["States"]["Plan"]["HeartbeatSeconds"] = 5
    with pytest.raises(AssertionError, match="HeartbeatSeconds"):
        deployed.run(definition=definition).execute()
