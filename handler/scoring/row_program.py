"""The interpreter of the one-row program: the exported graph for one row, in plain Python.

onnxruntime scores many rows fast and takes 0.1 seconds and 40 MB to import; one row needs neither.
Training compiles the graph to a program for one row (``training.export.program``), and proves that the
program too equals the estimator. Every value is a flat list, whatever the tensor's shape.

``model.scalar`` is a line of JSON, then the large arrays, one after the other, little-endian::

    {"format": 1, "slots": 9, "constants": {"3": [0.5]}, "steps": [["matmul", 4, [2], {...}], ...],
     "label": 7, "probabilities": 8, "score": null, "arrays": [["d", 43788], ...]}

Slot 0 is the record. A step names its operator, the slot that it fills, those that it reads, and its
parameters; ``{"array": 0}`` stands for an array. Raise FORMAT when an operator's meaning or the layout
changes; a new operator does not raise it. A reader refuses other formats; train again then.
"""

from __future__ import annotations

import json
import math
import operator
import sys
from collections.abc import Callable, Mapping, Sequence

from handler.errors import BundleError
from handler.manifest import SCALAR
from handler.typed import Any

FORMAT = 1
#: Rows that are scored over arrays of trees: see ``_trees``.
ROWS_OF_ARRAYS = 128
#: Bytes of a number by the letter that ``arrays`` has for its type, as ``memoryview`` and ``array`` have.
BYTES = {"b": 1, "h": 2, "i": 4, "q": 8, "f": 4, "d": 8}

Values = Sequence[Any]
#: The label, or the value, of a record; its classes' probabilities and its score, if the model has them.
Row = tuple[Any, Values | None, float | None]
Step = Callable[[list[Any]], None]
Unary = Callable[[Any], Any]


class RowProgram:
    """A program for one row, ready to run; safe to use from several threads."""

    def __init__(self, content: bytes) -> None:
        """Read ``model.scalar``; raises ``BundleError``."""
        try:
            document, large, _ = head(content, SCALAR, FORMAT)
            self._start: list[Any] = [None] * document["slots"]
            for slot, values in document["constants"].items():
                self._start[int(slot)] = values
            self._steps = []
            for kind, out, given, parameters in document["steps"]:
                read = {name: stored(value, large) for name, value in parameters.items()}
                if kind != "trees":
                    read = listed(read)
                self._steps.append(OPERATORS[kind](out, given, **read))
            self._label: int = document["label"]
            self._probabilities: int | None = document["probabilities"]
            self._score: int | None = document.get("score")
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise BundleError(f"{SCALAR} does not follow its format; train again") from error

    def run(self, record: Values) -> Row:
        """Run the program on a record, whose values are in the order of the features."""
        slots = self._start.copy()
        slots[0] = record
        for step in self._steps:
            step(slots)
        given, score = self._probabilities, self._score
        return (
            slots[self._label][0],
            None if given is None else slots[given],
            None if score is None else slots[score][0],
        )

    def values(self, record: Values) -> Values:
        """All members of the first output for a record: what a program of transformers makes of it."""
        slots = self._start.copy()
        slots[0] = record
        for step in self._steps:
            step(slots)
        values: Values = slots[self._label]
        return values


def head(content: bytes, name: str, known: int) -> tuple[Any, list[Any], memoryview]:
    """The line of JSON that a file begins with, the large arrays, and all that follows the line.

    ``name``: the file's, for the message. Raises ``BundleError`` where the file has another format than
    ``known``, and ``ValueError``, ``KeyError`` or ``TypeError`` where it does not begin as these files do.
    """
    end = content.index(b"\n")
    document, rest = json.loads(content[:end]), memoryview(content)[end + 1 :]
    if document["format"] != known:
        raise BundleError(
            f"{name} has format {document['format']}, and this code reads {known}; train again"
        )
    return document, arrays(document["arrays"], rest), rest


def arrays(layout: Sequence[tuple[str, int]], content: memoryview) -> list[Any]:
    """The arrays that ``content`` begins with, where they lie; ``layout``: the type and length of each."""
    made, start = [], 0
    for kind, count in layout:
        end = start + count * BYTES[kind]
        if end > len(content):
            raise ValueError("too short")
        values: memoryview[Any] = content[start:end].cast(kind)  # type: ignore[call-overload,unused-ignore]
        made.append(values if sys.byteorder == "little" else _turned(values))
        start = end
    return made


def _turned(values: memoryview[Any]) -> memoryview[Any]:
    """Numbers with their bytes in the other order."""
    from array import array  # a first answer waits for its import

    turned: array[Any] = array(values.format, values.tobytes())
    turned.byteswap()
    return memoryview(turned)


def stored(value: Any, large: Sequence[Any]) -> Any:
    """A parameter with the arrays that it names, itself or in a list."""
    if isinstance(value, dict):
        return large[value["array"]]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [stored(each, large) for each in value]
    return value


def listed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters with lists in place of arrays, themselves or in a list."""

    def as_list(value: Any) -> Any:
        if isinstance(value, list):
            return [as_list(each) for each in value]
        return value.tolist() if hasattr(value, "tolist") else value

    return {name: as_list(value) for name, value in parameters.items()}


# IEEE 754's answers where Python raises.


def _divide(a: float, b: float) -> float:
    try:
        return a / b
    except ZeroDivisionError:
        return math.nan if a == 0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf if x == 0 else math.nan


def _power(a: float, b: float) -> float:
    try:
        return math.pow(a, b)
    except OverflowError:
        return math.inf if a > 0 or b % 2 == 0.0 else -math.inf
    except ValueError:
        return math.inf if a == 0 else math.nan


def _remainder(a: float, b: float) -> float:
    """With the sign of ``a``, as in C."""
    try:
        return math.fmod(a, b)
    except ValueError:
        return math.nan


def _sqrt(x: float) -> float:
    return math.sqrt(x) if x >= 0 else math.nan


def _sigmoid(x: float) -> float:
    """https://onnx.ai/onnx/operators/onnx__Sigmoid.html, without overflow on either side."""
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    small = math.exp(x)
    return small / (1.0 + small)


def _finite(function: Unary) -> Unary:
    """A function that Python has for finite numbers only; an infinite one gives NaN."""
    return lambda x: function(x) if math.isfinite(x) else math.nan


def _rounded(function: Unary) -> Unary:
    """A function that gives a whole number, which Python makes an ``int``."""
    return lambda x: float(function(x)) if math.isfinite(x) else x


def _whole(x: float) -> int:
    return int(x) if math.isfinite(x) else -(1 << 63)


def _log_sum_exp(values: Values) -> float:
    top: float = max(values)
    return top if math.isinf(top) else top + math.log(math.fsum(_exp(each - top) for each in values))


BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Div": _divide,
    "Pow": _power,
    "Greater": operator.gt,
    "GreaterOrEqual": operator.ge,
    "Less": operator.lt,
    "LessOrEqual": operator.le,
    "Equal": operator.eq,
    "And": lambda a, b: a and b,
    "Or": lambda a, b: a or b,
    "Max": lambda a, b: a if a > b or a != a else b,
    "Min": lambda a, b: a if a < b or a != a else b,
    "Mod": _remainder,
}
UNARY: dict[str, Unary] = {
    "Abs": abs,
    "Ceil": _rounded(math.ceil),
    "Cos": _finite(math.cos),
    "Exp": _exp,
    "Floor": _rounded(math.floor),
    "IsNaN": lambda x: x != x,
    "Log": _log,
    "Neg": operator.neg,
    "Not": operator.not_,
    "Reciprocal": lambda x: _divide(1.0, x),
    "Relu": lambda x: x if x > 0 or x != x else 0.0,
    "Round": _rounded(round),
    "Sigmoid": _sigmoid,
    "Sign": lambda x: (x > 0) - (x < 0) if x == x else x,
    "Sin": _finite(math.sin),
    "Sqrt": _sqrt,
    "Tanh": math.tanh,
    "double": float,
    "int": _whole,
    "bool": bool,
}
REDUCTIONS: dict[str, Callable[[Values], float]] = {
    "ReduceSum": sum,
    "ReduceSumSquare": lambda values: sum(map(operator.mul, values, values)),
    "ReduceMean": lambda values: sum(values) / len(values),
    "ReduceMax": max,
    "ReduceMin": min,
    "ReduceLogSumExp": _log_sum_exp,
}


def _pick(out: int, given: Values, places: list[int]) -> Step:
    """Some of a value's members: gathers, transpositions, and the record's columns."""
    (operand,) = given
    if len(places) == 1:
        (only,) = places

        def one(slots: list[Any]) -> None:
            slots[out] = (slots[operand][only],)

        return one
    getter = operator.itemgetter(*places)

    def many(slots: list[Any]) -> None:
        slots[out] = getter(slots[operand])

    return many


def _concat(out: int, given: Values) -> Step:
    def step(slots: list[Any]) -> None:
        slots[out] = [each for slot in given for each in slots[slot]]

    return step


def _unary(out: int, given: Values, name: str) -> Step:
    (operand,), function = given, UNARY[name]

    def step(slots: list[Any]) -> None:
        slots[out] = list(map(function, slots[operand]))

    return step


def _binary(
    out: int, given: Values, name: str, left: list[int] | None = None, right: list[int] | None = None
) -> Step:
    """Member by member; ``left`` and ``right`` are the indices that broadcasting repeats."""
    (a, b), function = given, BINARY[name]
    if left is None and right is None:

        def even(slots: list[Any]) -> None:
            slots[out] = list(map(function, slots[a], slots[b]))

        return even

    def step(slots: list[Any]) -> None:
        x, y = slots[a], slots[b]
        x = x if left is None else [x[index] for index in left]
        y = y if right is None else [y[index] for index in right]
        slots[out] = list(map(function, x, y))

    return step


def _where(out: int, given: Values, maps: list[list[int] | None]) -> Step:
    def step(slots: list[Any]) -> None:
        condition, yes, no = (
            slots[slot] if indices is None else [slots[slot][index] for index in indices]
            for slot, indices in zip(given, maps, strict=True)
        )
        slots[out] = [a if chosen else b for chosen, a, b in zip(condition, yes, no, strict=True)]

    return step


def _to_single(out: int, given: Values) -> Step:
    """Rounded to float32, in which a part of a graph may compute."""
    (operand,) = given

    def step(slots: list[Any]) -> None:
        row = slots[operand]
        single = memoryview(bytearray(4 * len(row))).cast("f")
        for index, value in enumerate(row):
            single[index] = value
        slots[out] = single.tolist()

    return step


def _matmul(out: int, given: Values, columns: list[list[float]]) -> Step:
    """A row by a constant matrix, given by its columns."""
    (operand,) = given

    def step(slots: list[Any]) -> None:
        row = slots[operand]
        slots[out] = [sum(map(operator.mul, row, column)) for column in columns]

    return step


def _text(out: int, given: Values, column: int, **recipe: Any) -> Step:
    """A text of the record as numbers; ``recipe``: see ``texts.Vectorizer``."""
    from handler.scoring.texts import Vectorizer  # few models take free text

    (operand,), row = given, Vectorizer(**recipe).row

    def step(slots: list[Any]) -> None:
        slots[out] = row(slots[operand][column])

    return step


def _one_hot(out: int, given: Values, categories: list[Any]) -> Step:
    (operand,) = given
    indices = {category: index for index, category in enumerate(categories)}
    zeros = [0.0] * len(categories)

    def step(slots: list[Any]) -> None:
        encoded: list[float] = []
        for value in slots[operand]:
            marks = zeros.copy()
            index = indices.get(value)
            if index is not None:
                marks[index] = 1.0
            encoded += marks
        slots[out] = encoded

    return step


def _look_up(
    out: int, given: Values, keys: list[Any], values: list[Any], default: Any, missing: Any = None
) -> Step:
    """Each member's value by its key; ``missing`` is the one of NaN, where that is a key."""
    (operand,) = given
    table = dict(zip(keys, values, strict=True))
    if missing is not None:

        def step_past_gaps(slots: list[Any]) -> None:
            slots[out] = [table.get(x, default) if x == x else missing for x in slots[operand]]

        return step_past_gaps

    def step(slots: list[Any]) -> None:
        slots[out] = [table.get(each, default) for each in slots[operand]]

    return step


def _at(out: int, given: Values) -> Step:
    """The members of the first value at the indices that the second one holds."""
    table, indices = given

    def step(slots: list[Any]) -> None:
        values = slots[table]
        slots[out] = [values[index] for index in slots[indices]]

    return step


def _reduce(out: int, given: Values, name: str, groups: list[list[int]]) -> Step:
    (operand,), function = given, REDUCTIONS[name]

    def step(slots: list[Any]) -> None:
        values = slots[operand]
        slots[out] = [function([values[index] for index in group]) for group in groups]

    return step


def _argmax(out: int, given: Values, groups: list[list[int]]) -> Step:
    """The index of the greatest member in each group, the first of equals."""
    (operand,) = given

    def step(slots: list[Any]) -> None:
        values = slots[operand]
        slots[out] = [
            max(range(len(group)), key=[values[index] for index in group].__getitem__) for group in groups
        ]

    return step


def _running(out: int, given: Values) -> Step:
    """The sums of the members so far."""
    (operand,) = given

    def step(slots: list[Any]) -> None:
        sums, total = [], 0.0
        for value in slots[operand]:
            total += value
            sums.append(total)
        slots[out] = sums

    return step


def _order(out: int, given: Values, largest: int) -> Step:
    """The indices that bring the members into order, equal ones as they stand."""
    (operand,) = given

    def step(slots: list[Any]) -> None:
        values = slots[operand]
        slots[out] = sorted(range(len(values)), key=values.__getitem__, reverse=bool(largest))

    return step


def _softmax(out: int, given: Values) -> Step:
    (operand,) = given

    def step(slots: list[Any]) -> None:
        values = slots[operand]
        top = max(values)
        raised = [_exp(each - top) for each in values]
        total = sum(raised)
        slots[out] = [each / total for each in raised]

    return step


def _trees(out: int, given: Values, **tables: Any) -> Step:
    """``_walk``, over arrays as they were read for the first ``ROWS_OF_ARRAYS`` rows, then over lists.

    Lists are read a sixth faster, and making them takes as long as those rows gain: 2 to 4 ms for 100 trees
    of depth 8, for which a first answer would wait.
    """
    rows, first = 0, _walk(out, given, **tables)
    walk = first

    def step(slots: list[Any]) -> None:
        nonlocal rows, walk
        if rows < ROWS_OF_ARRAYS:
            rows += 1
        elif walk is first:
            walk = _walk(out, given, **listed(tables))
        walk(slots)

    return step


def _walk(
    out: int,
    given: Values,
    roots: list[int],
    feature: list[int],
    split: list[float],
    yes: list[int],
    no: list[int],
    missing: list[int] | None,
    targets: list[list[int]],
    weights: list[list[float]],
    size: int,
    sets: list[list[float]] | None = None,
    set_of: list[int] | None = None,
) -> Step:
    """Sums of trees. A row goes to ``yes`` if its feature is at most the split; ``~leaf`` ends the way.

    A node with a set, by its index in ``set_of`` unless that is -1, asks whether its feature is in it.

    Tree t adds ``weights[k][leaf]`` to target ``targets[k][t]`` for each k: trees that differ only in
    their leaves, as those of a forest's classes do, are walked once.
    """
    (operand,) = given
    kept = list(zip(roots, *targets, strict=True))
    (first, *others) = weights

    def leaf_of(row: Values, node: int) -> int:
        while node >= 0:
            node = yes[node] if row[feature[node]] <= split[node] else no[node]
        return ~node

    def leaf_past_gaps(row: Values, node: int) -> int:
        while node >= 0:
            value = row[feature[node]]
            left = value <= split[node] or (value != value and missing is not None and missing[node])
            node = yes[node] if left else no[node]
        return ~node

    known = [frozenset(each) for each in sets or ()]
    tests = [known[index] if index >= 0 else None for index in set_of or ()]

    def leaf_by_sets(row: Values, node: int) -> int:
        while node >= 0:
            value, members = row[feature[node]], tests[node]
            left = value <= split[node] if members is None else value in members
            left = left or (value != value and missing is not None and missing[node])
            node = yes[node] if left else no[node]
        return ~node

    def step(slots: list[Any]) -> None:
        row = slots[operand]
        gaps = missing is not None and any(value != value for value in row)
        sums = [0.0] * size
        if not gaps and not others and not tests:
            for node, target in kept:
                while node >= 0:
                    node = yes[node] if row[feature[node]] <= split[node] else no[node]
                sums[target] += first[~node]
        else:
            walk = leaf_by_sets if tests else leaf_past_gaps if gaps else leaf_of
            for root, *reached in kept:
                leaf = walk(row, root)
                for target, each in zip(reached, weights, strict=True):
                    sums[target] += each[leaf]
        slots[out] = sums

    return step


OPERATORS: dict[str, Callable[..., Step]] = {
    "pick": _pick,
    "concat": _concat,
    "unary": _unary,
    "binary": _binary,
    "where": _where,
    "single": _to_single,
    "matmul": _matmul,
    "one_hot": _one_hot,
    "look_up": _look_up,
    "at": _at,
    "reduce": _reduce,
    "argmax": _argmax,
    "running": _running,
    "order": _order,
    "softmax": _softmax,
    "text": _text,
    "trees": _trees,
}
