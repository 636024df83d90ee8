"""The compiler of the one-row program: the exported graph for ``handler.scoring.row_program``.

One row is sent through onnxruntime with every tensor in between as an output. Since the shapes of a row do
not depend on its values, that fixes where each member of a flat list comes from: broadcasting, transposing
and concatenating become lists of indices, and what depends on the number of rows alone becomes a constant.
"""

from __future__ import annotations

import itertools
import json
import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

from handler.manifest import Contract
from handler.schema import Columns
from handler.scoring import texts
from handler.scoring.graph import SCORE, input_names
from handler.scoring.row_program import BINARY, FORMAT, REDUCTIONS, UNARY
from training.export import sums

#: Longer lists of numbers are written as binary arrays.
LONG = 64
#: The most multiplications and branches on the ways through trees: beyond, a row takes milliseconds.
MOST_WORK = 50_000
MOST_BRANCHES = 500_000
#: The most weights of the terms of a text: beyond, loading them takes over ten milliseconds.
MOST_WEIGHTS = 500_000
#: Operators that change only shapes.
SHAPING = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
#: Operators whose results need no rounding to float32: they move members, or round themselves.
EXACT = (
    *SHAPING, "Abs", "ArrayFeatureExtractor", "Cast", "Concat", "Gather", "LabelEncoder", "OneHotEncoder",
    "Transpose", "Where",
)  # fmt: skip


class NotCompilable(Exception):
    """The graph needs what no one-row program can do; ``str()`` names it."""


class Program(NamedTuple):
    """The content of ``model.scalar``, and about how many numbers it computes for a row."""

    content: bytes
    work: int


def compile_program(graph: bytes, contract: Contract, rows: Columns) -> Program:
    """The one-row program of a graph; of any ``rows``, one is run. Raises ``NotCompilable``."""
    model = onnx.load_from_string(graph)
    try:
        compiler = _Compiler(model, contract, rows)
        return Program(compiler.content(), compiler.work())
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise NotCompilable(f"{type(error).__name__} {error}") from error


class _Compiler:
    def __init__(self, model: onnx.ModelProto, contract: Contract, rows: Columns) -> None:
        self._graph = model.graph
        self._tensors = every_tensor(model, _feed(model, contract, rows))
        self._constants = {each.name: numpy_helper.to_array(each) for each in self._graph.initializer}
        self._slots: dict[str, int] = {}
        self._start: dict[int, list[Any]] = {}
        self._steps: list[list[Any]] = []
        self._arrays: list[array[Any]] = []
        self._next = 1
        self._work = 0
        #: What trees give, and the leaves' numbers that others give, until something else reads them: terms
        #: of one sum become one step.
        self._sums: dict[str, sums.Sum] = {}
        self._leaves: dict[str, str] = {}
        self._sets: dict[tuple[float, ...], int] = {}
        #: Tensors that are columns of the record, as the columns' indices.
        self._columns = {name: [index] for index, name in enumerate(input_names(contract).values())}
        self._width = len(self._columns)
        self._texts = _recipes(model)

    def content(self) -> bytes:
        for node in self._graph.node:
            self._node(node)
        label, *others = (each.name for each in self._graph.output)
        score = self._slot(others.pop()) if SCORE in others else None
        outputs = {
            "label": self._slot(label),
            "probabilities": self._slot(others[0]) if others else None,
            "score": score,
        }
        if self._work > MOST_WORK:
            raise NotCompilable(f"a model so large ({self._work:,} operations per row)")
        document = {
            "format": FORMAT,
            "slots": self._next,  # after the outputs, which may be constants that nothing has read yet
            "constants": self._start,
            "steps": self._steps,
            **outputs,
            "arrays": [[each.typecode, len(each)] for each in self._arrays],
        }
        head = json.dumps(document, ensure_ascii=False).encode()
        return head + b"\n" + b"".join(little_endian(each) for each in self._arrays)

    def work(self) -> int:
        """The multiplications, the branches, and the numbers that the nodes give."""
        given = (name for node in self._graph.node for name in node.output if name not in self._constants)
        return self._work + sum(math.prod(self._shape(name)) for name in given if name in self._tensors)

    # What a node reads and writes.

    def _slot(self, name: str) -> int:
        """The slot that holds a tensor; constants and columns of the record get one when first read."""
        if name not in self._slots:
            self._slots[name] = self._new()
            if name in self._constants:
                self._start[self._slots[name]] = _plain(self._constants[name])
            elif name in self._texts:
                self._text(name)
            elif name in self._sums:
                self._emit_trees(name)
            elif name in self._leaves:
                self._emit("unary", name, [self._slot(self._leaves[name])], name="int")
            else:
                self._emit("pick", name, [0], places=self._columns[name])
        return self._slots[name]

    def _text(self, name: str) -> None:
        """The numbers of a text; only the few that are not zero are multiplied."""
        recipe = dict(self._texts[name])
        (column,) = self._columns[recipe.pop("feature")]
        if (size := sum(map(len, recipe.get("columns", ())))) > MOST_WEIGHTS:
            raise NotCompilable(f"a text with {size:,} weights")
        self._emit("text", name, [0], column=column, **recipe)

    def _new(self) -> int:
        self._next += 1
        return self._next - 1

    def _emit(self, kind: str, output: str, given: Sequence[int], **parameters: Any) -> None:
        if output not in self._slots:
            self._slots[output] = self._new()
        stored = {name: with_arrays(value, self._arrays) for name, value in parameters.items()}
        self._steps.append([kind, self._slots[output], list(given), stored])

    def _shape(self, name: str) -> tuple[int, ...]:
        value = self._constants.get(name)
        return self._tensors[name].shape if value is None else value.shape

    def _same(self, output: str, source: str) -> None:
        """The output is the source; at most the shape differs."""
        if source in self._columns:
            self._columns[output] = self._columns[source]
        elif source in self._constants:
            self._constants[output] = self._constants[source].reshape(self._shape(output))
        else:
            self._slots[output] = self._slot(source)

    def _node(self, node: onnx.NodeProto) -> None:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        kind = node.op_type
        if kind in ("Shape", "ConstantOfShape", "Constant") or all(
            name in self._constants for name in node.input
        ):
            for name in node.output:  # it depends only on the number of rows, which is one
                self._constants[name] = self._tensors[name]
            return
        handlers: Mapping[str, Callable[[onnx.NodeProto, dict[str, Any]], None]] = {
            **dict.fromkeys(SHAPING, lambda node, _: self._same(node.output[0], node.input[0])),
            **dict.fromkeys(UNARY, lambda node, _: self._emit_for(node, "unary", name=node.op_type)),
            **dict.fromkeys((*BINARY, "Sum"), self._binary),
            **dict.fromkeys((*REDUCTIONS, "ArgMax"), self._reduce),
            **dict.fromkeys(("MatMul", "Gemm"), self._matmul),
            **dict.fromkeys(("Gather", "ArrayFeatureExtractor"), self._gather),
            "Cast": self._cast,
            "Concat": self._concat,
            "CumSum": self._running,
            "LinearClassifier": self._linear_classifier,
            "LabelEncoder": self._label_encoder,
            "OneHotEncoder": self._one_hot,
            "Softmax": lambda node, _: self._emit_for(node, "softmax"),
            "Transpose": self._transpose,
            "TopK": self._order,
            "TreeEnsemble": self._trees,
            "Where": self._where,
        }
        if kind not in handlers:
            raise NotCompilable(f"the operator {kind}")
        handlers[kind](node, attributes)
        self._round(node)

    def _round(self, node: onnx.NodeProto) -> None:
        """Round to float32 where the graph computes in it."""
        for name in node.output:
            slot, single = self._slots.get(name), self._tensors[name].dtype == np.float32
            if slot is not None and single and node.op_type not in EXACT:
                self._steps.append(["single", slot, [slot], {}])

    def _emit_for(self, node: onnx.NodeProto, kind: str, **parameters: Any) -> None:
        self._emit(kind, node.output[0], [self._slot(name) for name in node.input], **parameters)

    def _binary(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        (output,), (first, *others) = node.output, node.input
        if node.op_type in ("Add", "Sum") and self._join(output, node.input):
            return
        if self._tensors[output].dtype.kind in "iu" and node.op_type in ("Div", "Mod", "Pow"):
            raise NotCompilable(f"{node.op_type} of whole numbers")
        if not others:
            self._same(output, first)
        for index, other in enumerate(others):
            target = output if index == len(others) - 1 else f"{output} {index}"
            shape = np.broadcast_shapes(self._shape(first), self._shape(other))
            maps = {
                side: indices
                for side, name in (("left", first), ("right", other))
                if (indices := _repeated(self._shape(name), shape)) is not None
            }
            name = "Add" if node.op_type == "Sum" else node.op_type
            self._emit("binary", target, [self._slot(first), self._slot(other)], name=name, **maps)
            self._tensors.setdefault(target, np.empty(shape, self._tensors[output].dtype))
            first = target

    def _reduce(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        source = node.input[0]
        shape = self._shape(source)
        if node.op_type == "ArgMax":
            axes = [attributes.get("axis", 0)]
        elif len(node.input) > 1:
            axes = self._constants[node.input[1]].reshape(-1).tolist()
        else:
            axes = list(attributes.get("axes", range(len(shape))))
        groups = _groups(shape, [axis % len(shape) for axis in axes])
        name = {} if node.op_type == "ArgMax" else {"name": node.op_type}
        kind = "argmax" if node.op_type == "ArgMax" else "reduce"
        self._emit(kind, node.output[0], [self._slot(source)], groups=groups, **name)

    def _matmul(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        row, matrix, *addend = node.input
        (output,) = node.output
        if matrix not in self._constants or row in self._constants or attributes.get("transA"):
            raise NotCompilable(f"{node.op_type} of two values")
        weights = self._constants[matrix] * attributes.get("alpha", 1.0)
        weights = weights.T if attributes.get("transB") else weights
        if weights.ndim != 2 or math.prod(self._shape(row)) != weights.shape[0]:
            raise NotCompilable(f"{node.op_type} of more than one row")
        self._work += weights.size
        target = f"{output} product" if addend else output
        self._emit("matmul", target, [self._slot(row)], columns=weights.T.tolist())
        if addend:
            bias = self._constants[addend[0]] * attributes.get("beta", 1.0)
            self._constants[f"{output} bias"] = np.broadcast_to(bias, self._shape(output))
            self._emit("binary", output, [self._slot(target), self._slot(f"{output} bias")], name="Add")

    def _linear_classifier(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        """Only its label: the class of the highest score, or by the sign of a single score."""
        label, scores = node.output
        if any(scores in other.input for other in self._graph.node):
            raise NotCompilable("LinearClassifier with scores")
        classes = _member(attributes, "classlabels_")
        intercepts = [float(each) for each in attributes["intercepts"]]
        columns = np.reshape(attributes["coefficients"], (len(intercepts), -1)).astype(float).tolist()
        self._emit("matmul", f"{label} product", [self._slot(node.input[0])], columns=columns)
        self._constants |= {
            f"{label} intercepts": np.array(intercepts),
            f"{label} classes": np.array(classes),
        }
        given = [self._slot(f"{label} product"), self._slot(f"{label} intercepts")]
        self._emit("binary", f"{label} score", given, name="Add")
        score = self._slot(f"{label} score")
        if len(intercepts) == 1:
            self._constants[f"{label} zero"] = np.zeros(1)
            given = [score, self._slot(f"{label} zero")]
            self._emit("binary", f"{label} above", given, name="Greater")
            self._emit("unary", f"{label} index", [self._slot(f"{label} above")], name="int")
        else:
            groups = [list(range(len(intercepts)))]
            self._emit("argmax", f"{label} index", [score], groups=groups)
        self._emit("at", label, [self._slot(f"{label} classes"), self._slot(f"{label} index")])

    def _gather(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        source, where = node.input
        (output,) = node.output
        if where in self._leaves and self._look_up_leaves(output, self._constants.get(source), where):
            return
        shape = self._shape(source)
        last = len(shape) - 1
        axis = last if node.op_type == "ArrayFeatureExtractor" else attributes.get("axis", 0) % len(shape)
        if where in self._constants:
            indices = np.arange(math.prod(shape)).reshape(shape)
            taken = np.take(indices, self._constants[where].reshape(-1), axis=axis).reshape(-1).tolist()
            if source in self._columns:
                self._columns[output] = [self._columns[source][index] for index in taken]
            else:
                self._emit("pick", output, [self._slot(source)], places=taken)
        elif math.prod(shape) == shape[axis]:  # in one dimension
            self._emit("at", output, [self._slot(source), self._slot(where)])
        else:
            raise NotCompilable("Gather by indices that depend on the row")

    def _cast(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        (source,), (output,) = node.input, node.output
        before, after = self._tensors[source].dtype, self._tensors[output].dtype
        if before == after or (before == np.float32 and after == np.float64):
            self._same(output, source)
        elif source in self._sums and after == np.int64:
            self._leaves[output] = source
        elif before.kind in "OU" or after.kind in "OU":
            raise NotCompilable("Cast of texts")
        elif after == np.float32:
            self._emit("single", output, [self._slot(source)])
        else:
            name = {"f": "double", "i": "int", "b": "bool"}[after.kind]
            self._emit("unary", output, [self._slot(source)], name=name)

    def _concat(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        (output,) = node.output
        if all(name in self._columns for name in node.input):
            self._columns[output] = [index for name in node.input for index in self._columns[name]]
            if self._columns[output] == list(range(self._width)):
                self._slots[output] = 0
            return
        if self._join(output, node.input, side_by_side=True):
            return
        shapes = [self._shape(name) for name in node.input]
        axis = attributes["axis"] % len(shapes[0])
        inner = any(math.prod(shape[:axis]) != 1 for shape in shapes)
        joined = f"{output} joined" if inner else output
        self._emit("concat", joined, [self._slot(name) for name in node.input])
        if inner:
            starts = np.cumsum([0, *map(math.prod, shapes)])
            members = [
                np.arange(math.prod(shape)).reshape(shape) + start
                for shape, start in zip(shapes, starts[:-1], strict=True)
            ]
            places = np.concatenate(members, axis).reshape(-1).tolist()
            self._emit("pick", output, [self._slot(joined)], places=places)

    def _running(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if len(set(self._shape(node.input[0])) - {1}) > 1 or any(attributes.values()):
            raise NotCompilable("CumSum of a table, or from its end")
        self._emit("running", node.output[0], [self._slot(node.input[0])])

    def _order(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        """All members of a list in order, and where they stood."""
        (given, count), (ordered, order) = node.input, node.output
        size = math.prod(self._shape(given))
        if self._constants[count].reshape(-1).tolist() != [size] or self._shape(given)[-1] != size:
            raise NotCompilable("TopK of some members")
        self._emit("order", order, [self._slot(given)], largest=attributes.get("largest", 1))
        self._emit("at", ordered, [self._slot(given), self._slot(order)])

    def _label_encoder(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        keys, values = (_member(attributes, f"{side}_") for side in ("keys", "values"))
        kind, default = {float: ("float", -0.0), str: ("string", "_Unused"), int: ("int64", -1)}[
            type(values[0])
        ]
        default = attributes.get(f"default_{kind}", default)
        if "default_tensor" in attributes:
            default = numpy_helper.to_array(attributes["default_tensor"]).reshape(-1).tolist()[0]
        default = default.decode() if isinstance(default, bytes) else default
        missing = {}
        for index, key in enumerate(keys):
            if key != key:  # no dictionary finds NaN
                del keys[index]
                missing["missing"] = values.pop(index)
                break
        self._emit_for(node, "look_up", keys=keys, values=values, default=default, **missing)

    def _one_hot(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        if not attributes.get("zeros", 1):
            raise NotCompilable("OneHotEncoder that refuses unknown values")
        self._emit_for(node, "one_hot", categories=_member(attributes, "cats_"))

    def _transpose(self, node: onnx.NodeProto, attributes: dict[str, Any]) -> None:
        shape = self._shape(node.input[0])
        indices = np.arange(math.prod(shape)).reshape(shape).transpose(attributes.get("perm"))
        self._emit_for(node, "pick", places=indices.reshape(-1).tolist())

    def _where(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        shape = self._shape(node.output[0])
        maps = [_repeated(self._shape(name), shape) for name in node.input]
        self._emit_for(node, "where", maps=maps)

    def _trees(self, node: onnx.NodeProto, _: dict[str, Any]) -> None:
        if (found := sums.read(node, self._sets)) is None:
            raise NotCompilable("TreeEnsemble with another end or other branches than those made here")
        self._sums[node.output[0]] = found

    def _join(self, output: str, names: Sequence[str], *, side_by_side: bool = False) -> bool:
        """Make one sum of several that trees of the same tensor give; whether they are."""
        total = sums.joined([self._sums.get(name) for name in names], side_by_side=side_by_side)
        if total is not None:
            self._sums[output] = total
        return total is not None

    def _look_up_leaves(self, output: str, table: np.ndarray | None, leaves: str) -> bool:
        """Take the rows of a table as a tree's weights, if its leaves' numbers are their indices."""
        total = None if table is None else sums.looked_up(self._sums[self._leaves[leaves]], table)
        if total is not None:
            self._sums[output] = total
        return total is not None

    def _emit_trees(self, name: str) -> None:
        """Branches and leaves are numbered through; a leaf stands as its number's complement."""
        given, trees, width, _ = self._sums[name]
        if len({len(tree.targets) for tree in trees}) > 1:
            trees = [
                tree._replace(targets=(target,), weights=(weights,))
                for tree in trees
                for target, weights in zip(tree.targets, tree.weights, strict=True)
            ]
        sizes = [len(tree.feature) for tree in trees]
        self._work += sum(2 * size.bit_length() for size in sizes)
        if sum(sizes) > MOST_BRANCHES:
            raise NotCompilable(f"a model so large ({sum(sizes):,} branches)")
        roots = [0, *itertools.accumulate(sizes)][:-1]
        leaves = [0, *itertools.accumulate(len(tree.weights[0]) for tree in trees)][:-1]
        yes, no = (
            np.concatenate(
                [
                    np.where(side < 0, side - leaf, side + root)
                    for side, root, leaf in zip(sides, roots, leaves, strict=True)
                ]
            ).tolist()
            for sides in ([tree.yes for tree in trees], [tree.no for tree in trees])
        )
        feature, split, missing, set_of = (
            np.concatenate(each)
            for each in zip(
                *((tree.feature, tree.split, tree.missing, tree.set_of) for tree in trees), strict=True
            )
        )
        weights = [tree.weights for tree in trees]
        sets = {"sets": [list(each) for each in self._sets], "set_of": set_of.tolist()}
        self._emit(
            "trees",
            name,
            [self._slot(given)],
            roots=roots,
            feature=feature.tolist(),
            split=split.tolist(),
            yes=yes,
            no=no,
            missing=missing.tolist() if missing.any() else None,
            targets=[list(each) for each in zip(*(tree.targets for tree in trees), strict=True)],
            weights=[np.concatenate(each).tolist() for each in zip(*weights, strict=True)],
            size=width,
            **(sets if (set_of >= 0).any() else {}),
        )


def _recipes(model: onnx.ModelProto) -> dict[str, dict[str, Any]]:
    return texts.recipes({each.key: each.value for each in model.metadata_props})


def _feed(model: onnx.ModelProto, contract: Contract, rows: Columns) -> dict[str, np.ndarray]:
    """The graph's inputs for the first of the rows."""
    features = {name: feature for feature, name in input_names(contract).items()}
    first = {name: rows[feature][:1] for name, feature in features.items()}
    feed = {each.name: first[each.name].reshape(1, 1) for each in model.graph.input if each.name in first}
    for name, recipe in _recipes(model).items():
        texts_of_row = first[recipe.pop("feature")]
        feed[name] = texts.Vectorizer(**recipe).table(texts_of_row)
    return feed


def every_tensor(model: onnx.ModelProto, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor of the graph for a row, by name; ``feed``: its inputs."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    del wide.graph.output[:]
    names = [name for node in model.graph.node for name in node.output if name]
    wide.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        wide.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return {**feed, **dict(zip(names, session.run(names, dict(feed)), strict=True))}


def _plain(values: np.ndarray) -> list[Any]:
    flat = values.reshape(-1).tolist()
    return [each.decode() if isinstance(each, bytes) else each for each in flat]


def _member(attributes: Mapping[str, Any], prefix: str) -> list[Any]:
    """The list in the attribute whose name starts with ``prefix``."""
    (value,) = (each for name, each in attributes.items() if name.startswith(prefix))
    if isinstance(value, onnx.TensorProto):
        return _plain(numpy_helper.to_array(value))
    return [each.decode() if isinstance(each, bytes) else each for each in value]


def _repeated(shape: Sequence[int], to: Sequence[int]) -> list[int] | None:
    """The index that each member comes from in broadcasting; None where that changes nothing."""
    indices = np.broadcast_to(np.arange(math.prod(shape)).reshape(shape), to).reshape(-1).tolist()
    return None if indices == list(range(math.prod(shape))) else indices


def _groups(shape: Sequence[int], axes: Sequence[int]) -> list[list[int]]:
    """The indices that each member of a reduction over ``axes`` is made of."""
    indices = np.arange(math.prod(shape)).reshape(shape)
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    sizes = [shape[axis] for axis in kept]
    grouped: list[list[int]] = indices.transpose([*kept, *axes]).reshape(math.prod(sizes), -1).tolist()
    return grouped


def with_arrays(value: Any, arrays: list[array[Any]]) -> Any:
    """A parameter as JSON has it; long lists of numbers go to the arrays."""
    if not isinstance(value, list):
        return value
    kinds = set(map(type, value)) if len(value) >= LONG else set()
    if kinds and kinds <= {int, float}:
        arrays.append(array(narrowest(value), value))
        return {"array": len(arrays) - 1}
    if value and all(isinstance(each, list) and len(each) >= LONG for each in value):
        return [with_arrays(each, arrays) for each in value]
    return value


def narrowest(values: Sequence[float]) -> str:
    """The type code of the shortest numbers that hold the values: a start waits for every byte."""
    if any(isinstance(each, float) for each in values):
        with np.errstate(over="ignore"):
            return "f" if (np.array(values, np.float32) == np.array(values)).all() else "d"
    bits = max(int(max(values)).bit_length(), (~int(min(values))).bit_length()) + 1
    return "b" if bits <= 8 else "h" if bits <= 16 else "i" if bits <= 32 else "q"


def little_endian(values: array[Any]) -> bytes:
    """The content of an array, in the byte order of a bundle."""
    return np.array(values).astype(np.dtype(values.typecode).newbyteorder("<")).tobytes()
