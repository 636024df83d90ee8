"""A driver of our own for ``statemachine/score.asl.json``, with what moto's Step Functions leaves out.

moto 5.2.5 runs the definition, but says that a Map succeeded whose every item failed: neither the Map's
tolerance nor its Catch is tried there. It refuses ItemBatcher, and sleeps through every pause. This driver
knows the members that the definition uses and refuses all others: it is not Step Functions.

https://states-language.net/spec.html
https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DEFINITION = ROOT / "statemachine" / "score.asl.json"
#: What the template fills in, as far as a test does not say otherwise.
VALUES = {
    "Partition": "aws",
    "PartFunction": "arn:aws:lambda:us-east-1:123456789012:function:part",
    "PartConcurrency": "4",
    "LargeBytes": "500000000",
    "OutputUri": "s3://example-output/scored",
    "ResultBucket": "example-output",
    "ResultPrefix": "_runs",
}
#: The members that the driver understands, by the state's type; "" has those of all types.
MEMBERS = {
    "": {"Type", "Comment", "Next", "End"},
    "Pass": {"Parameters", "ResultPath"},
    "Choice": {"Choices", "Default"},
    "Succeed": {"OutputPath"},
    "Fail": {"Error", "Cause", "ErrorPath", "CausePath"},
    "Task": {
        "Resource", "TimeoutSeconds", "Parameters", "ResultSelector", "ResultPath", "OutputPath", "Retry",
        "Catch",
    },
    "Map": {
        "Label", "MaxConcurrencyPath", "ToleratedFailureCount", "ItemReader", "ItemBatcher",
        "ItemProcessor", "ResultWriter", "ResultPath", "Catch",
    },
}  # fmt: skip
State = dict[str, Any]
#: What runs a function: its ARN and an event in, its answer out; raises ``StateFailed``.
Invoke = Callable[[str, Any], Any]
#: What reads an object: its bucket and key in, its content out.
Read = Callable[[str, str], bytes]


class StateFailed(Exception):
    """A state, or in the end the execution, failed, with Step Functions' two texts for it."""

    def __init__(self, error: str, cause: str) -> None:
        self.error, self.cause = error, cause
        super().__init__(f"{error}: {cause}")


def filled_in(**values: str) -> Any:
    """The definition, with the template's substitutions replaced as CloudFormation does it: in the text."""
    text = re.sub(r"\$\{(\w+)\}", lambda name: (VALUES | values)[name[1]], DEFINITION.read_text())
    return json.loads(text)


def _nothing(*_: Any) -> Any:
    raise AssertionError("the execution does what the test has not foreseen")


class Run:
    """One execution. ``states`` has the names of the states that it entered, in order, with those of parts.

    ``waits`` are the seconds, at most, that it would have paused between tries; it does not pause.
    """

    def __init__(
        self, definition: Any, event: Any, invoke: Invoke = _nothing, read: Read = _nothing
    ) -> None:
        self.definition, self.event = definition, event
        self.states: list[str] = []
        self.waits: list[float] = []
        self._invoke, self._read = invoke, read
        self._lock = threading.Lock()

    def route(self) -> str:
        """The first state that does something: what the input leads to."""
        name, data = self.definition["StartAt"], self.event
        while self.definition["States"][name]["Type"] in ("Pass", "Choice"):
            name, data = self._step(self.definition["States"], name, data)
        return str(name)

    def execute(self) -> Any:
        """The execution's output; raises ``StateFailed`` where it fails."""
        return self._through(self.definition, self.event)

    def _through(self, machine: Any, data: Any) -> Any:
        name = machine["StartAt"]
        while name is not None:
            name, data = self._step(machine["States"], name, data)
        return data

    def _step(self, states: dict[str, State], name: str, data: Any) -> tuple[str | None, Any]:
        """The state after this one, or None, and its input."""
        with self._lock:
            self.states.append(name)
        state = states[name]
        kind = state["Type"]
        unknown = set(state) - MEMBERS[""] - MEMBERS[kind]
        assert not unknown, f"the driver does not know {sorted(unknown)} of a {kind}"
        if kind == "Choice":
            chosen = [each["Next"] for each in state["Choices"] if _holds(each, data)]
            return (chosen or [state["Default"]])[0], data
        if kind == "Fail":
            error, cause = (
                at(data, state[f"{member}Path"]) if f"{member}Path" in state else state[member]
                for member in ("Error", "Cause")
            )
            raise StateFailed(error, cause)
        try:
            output = self._output(state, data)
        except StateFailed as failed:
            caught = (each for each in state.get("Catch", ()) if _meets(each["ErrorEquals"], failed.error))
            handler = next(caught, None)
            if handler is None:
                raise
            output = put(data, handler["ResultPath"], {"Error": failed.error, "Cause": failed.cause})
            return handler["Next"], output
        return state.get("Next"), output

    def _output(self, state: State, data: Any) -> Any:
        """What a Pass, Task, Map or Succeed makes of its input."""
        kind = state["Type"]
        if kind == "Succeed":
            result = data
        elif kind == "Pass":
            result = fill(state["Parameters"], data)
        elif kind == "Task":
            result = self._with_retries(state, fill(state["Parameters"], data))
        else:
            result = self._map(state, data)
        if "ResultSelector" in state:
            result = fill(state["ResultSelector"], result)
        if kind != "Succeed":
            result = put(data, state.get("ResultPath", "$"), result)
        return at(result, state.get("OutputPath", "$"))

    def _with_retries(self, state: State, parameters: Any) -> Any:
        assert state["Resource"] == "arn:aws:states:::lambda:invoke"
        retriers = state.get("Retry", [])
        tries = [0] * len(retriers)
        while True:
            try:
                return {
                    "Payload": self._invoke(parameters["FunctionName"], parameters["Payload"]),
                    "StatusCode": 200,
                }
            except StateFailed as failed:
                # The first that names the error counts, and a later one does not take over from it.
                which = [i for i, each in enumerate(retriers) if _meets(each["ErrorEquals"], failed.error)][
                    :1
                ]
                if not which or tries[which[0]] >= retriers[which[0]]["MaxAttempts"]:
                    raise
                (i,) = which
                each = retriers[i]
                assert each["JitterStrategy"] == "FULL"
                pause = min(
                    each["IntervalSeconds"] * each["BackoffRate"] ** tries[i], each["MaxDelaySeconds"]
                )
                tries[i] += 1
                with self._lock:
                    self.waits.append(pause)

    def _map(self, state: State, data: Any) -> Any:
        processor, reader = state["ItemProcessor"], state["ItemReader"]
        assert processor["ProcessorConfig"] == {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}
        assert reader["Resource"] == "arn:aws:states:::s3:getObject"
        assert reader["ReaderConfig"] == {"InputType": "JSON"}
        source = fill(reader["Parameters"], data)
        items = json.loads(self._read(source["Bucket"], source["Key"]))
        if "ItemBatcher" in state:
            items = batches(items, state["ItemBatcher"]["MaxItemsPerBatch"])
        failures: list[StateFailed] = []
        tolerated = state["ToleratedFailureCount"]

        def one(item: Any) -> None:
            if len(failures) > tolerated:
                return  # the Map has failed: what has not begun does not begin
            try:
                self._through(processor, item)
            except StateFailed as failed:
                failures.append(failed)

        with ThreadPoolExecutor(at(data, state["MaxConcurrencyPath"])) as pool:
            list(pool.map(one, items))
        if len(failures) > tolerated:
            cause = "The specified tolerated failure threshold was exceeded"
            raise StateFailed("States.ExceedToleratedFailureThreshold", cause)
        return {"ResultWriterDetails": fill(state["ResultWriter"]["Parameters"], data)}


def batches(items: Sequence[Any], most: int) -> list[dict[str, Any]]:
    """What ItemBatcher makes of items.

    https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itembatcher.html
    """
    return [{"Items": list(items[start : start + most])} for start in range(0, len(items), most)]


def _meets(names: Sequence[str], error: str) -> bool:
    return error in names or "States.ALL" in names


def at(data: Any, path: str) -> Any:
    """What stands at a reference path."""
    assert re.fullmatch(r"\$(\.\w+)*", path), f"the driver does not know the path {path}"
    for name in path.split(".")[1:]:
        if not isinstance(data, dict) or name not in data:
            raise StateFailed("States.Runtime", f"nothing stands at {path}")
        data = data[name]
    return data


def put(data: Any, path: str | None, result: Any) -> Any:
    """The state's input with the result at its ResultPath; None keeps the input as it is."""
    if path == "$":
        return result
    if path is None:
        return data
    name = path.removeprefix("$.")
    assert name.isidentifier(), f"the driver does not know the path {path}"
    return {**data, name: result}


def fill(template: Any, data: Any) -> Any:
    """Parameters, or a ResultSelector: members that end in ``.$`` are paths or intrinsic functions."""
    if isinstance(template, list):
        return [fill(each, data) for each in template]
    if not isinstance(template, dict):
        return template
    return {
        name.removesuffix(".$"): _evaluated(each, data) if name.endswith(".$") else fill(each, data)
        for name, each in template.items()
    }


def _evaluated(expression: str, data: Any) -> Any:
    call = re.fullmatch(r"States\.(\w+)\((.*)\)", expression)
    if call is None:
        return at(data, expression)
    words = re.findall(r"'([^']*)'|([^', ]+)", call[2])
    arguments = [json.loads(path) if path in ("true", "false") else at(data, path) if path else text
                 for text, path in words]  # fmt: skip
    if call[1] == "StringToJson":
        return json.loads(*arguments)
    if call[1] == "Format":
        return arguments[0].format(*arguments[1:])
    assert call[1] == "JsonMerge", f"the driver does not know States.{call[1]}"
    one, other, deep = arguments
    assert deep is False
    return {**one, **other}


def _holds(rule: State, data: Any) -> bool:
    """Whether a rule of a Choice, or all of its parts, hold."""
    if "And" in rule:
        return all(_holds(each, data) for each in rule["And"])
    (operator,) = set(rule) - {"Variable", "Next"}
    try:
        value = at(data, rule["Variable"])
    except StateFailed:
        assert operator.startswith("Is")
        return False
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if operator == "IsString":
        return isinstance(value, str) is rule[operator]
    if operator == "IsNumeric":
        return number is rule[operator]
    if operator == "NumericGreaterThan":
        return number and bool(value > rule[operator])
    assert operator == "NumericLessThanEqualsPath", f"the driver does not know {operator}"
    return number and bool(value <= at(data, rule[operator]))
