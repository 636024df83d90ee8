"""What the template deploys for a file larger than one function, carried out by moto or by the driver."""

from __future__ import annotations

import json
import threading
import time
import uuid
from dataclasses import dataclass
from typing import Any

from tests.support.cloud import S3
from tests.support.faults import FaultyProxy, on
from tests.support.functions import Function, FunctionFailed, Running, Throttled
from tests.support.stepfunctions import Run, StateFailed, filled_in

KEY = "incoming/big.csv"
#: Seconds after which an execution has surely gone wrong.
PATIENCE = 1800


@dataclass
class Deployment:
    """What the template deploys. Invokes reach ``function``; a test may put another before the real one."""

    s3: S3
    proxy: FaultyProxy
    instances: Running
    function: Function
    part_bytes: int
    bucket: str = ""

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{KEY}"

    def definition(self) -> Any:
        values = {"OutputUri": f"s3://{self.bucket}/scored", "ResultBucket": self.bucket}
        return filled_in(PartConcurrency="3", **values)

    def run(self, event: Any = None, definition: Any = None) -> Run:
        """An execution by the driver; it has not begun."""

        def invoke(_: str, payload: Any) -> Any:
            try:
                return self.function(payload)
            except Throttled:
                raise StateFailed("Lambda.TooManyRequestsException", "Rate Exceeded.") from None
            except FunctionFailed as failed:
                cause = {"errorMessage": failed.message, "errorType": failed.error, "stackTrace": []}
                raise StateFailed(failed.error, json.dumps(cause)) from None

        return Run(definition or self.definition(), event or self.asked(), invoke, self.s3.get)

    def asked(self) -> Any:
        """The input of an execution that is started by hand."""
        return {"input": self.uri, "plan": {"part_bytes": self.part_bytes}}

    def in_moto(self, event: Any) -> Any:
        """An execution by moto, to its end: what DescribeExecution says of it."""
        client = self.s3.client("stepfunctions")
        machine = client.create_state_machine(
            name=f"score-{uuid.uuid4().hex}",
            definition=json.dumps(self.definition()),
            roleArn="arn:aws:iam::123456789012:role/score",
        )
        name = uuid.uuid4().hex  # moto gives none
        begun = client.start_execution(
            stateMachineArn=machine["stateMachineArn"], name=name, input=json.dumps(event)
        )
        deadline = time.monotonic() + PATIENCE
        while (execution := client.describe_execution(executionArn=begun["executionArn"]))[
            "status"
        ] == "RUNNING":
            assert time.monotonic() < deadline, self.instances.log()
            time.sleep(0.1)
        return execution

    def kill_part_1(self) -> threading.Thread:
        """Kill the instance that has part 1 as soon as it writes, once."""
        pause = self.proxy.pause(when=on("PUT", "predictions/part-00001.csv"))

        def kill() -> None:
            assert pause.reached.wait(PATIENCE), "part 1 has not begun to write"
            self.instances.kill(lambda event: event.get("part", {}).get("index") == 1)
            pause.release()

        thread = threading.Thread(target=kill, daemon=True)
        thread.start()
        return thread

    def outputs(self, base: str = "scored") -> dict[str, bytes]:
        """Every output of the file by its name; the parts' predictions joined as ``predictions.csv``."""
        folder = f"{base}/{KEY}/"
        names = [key.removeprefix(folder) for key in self.s3.keys(self.bucket, folder)]
        found = {name: self.s3.get(self.bucket, folder + name) for name in names}
        parts = [found[name] for name in names if name.startswith("predictions/")]
        if parts:
            header = parts[0].split(b"\n", 1)[0] + b"\n"
            assert all(each.startswith(header) for each in parts)
            found["predictions.csv"] = header + b"".join(each.removeprefix(header) for each in parts)
        return found

    def summary(self, base: str = "scored") -> Any:
        return json.loads(self.outputs(base)["summary.json"])

    def assert_equal_to_unsplit(self) -> None:
        """The outputs of the parts are those of the file that one function scored."""
        self.instances({"input": self.uri, "output": f"s3://{self.bucket}/unsplit"})
        parts, whole = self.outputs(), self.outputs("unsplit")
        for name in ("predictions.csv", "rejected.csv"):
            assert parts[name] == whole[name]
        one, other = json.loads(parts["summary.json"]), json.loads(whole["summary.json"])
        for member in ("input", "model", "rows", "rejects", "predictions", "drift", "outside"):
            assert one.get(member) == other.get(member), member
        assert one["rows"]["rejected"] > 0
