"""Categories as codes: what a graph makes of one category alone becomes a table with a row for each level.

An exported graph takes texts, looks each up, and multiplies the marks of one-hot encoders, nearly all of
which are zero. Here its nodes are followed from those texts on. As long as columns depend on one category,
the nodes are run for each of its levels, and the graph gathers rows of what comes out; a matrix product of
such columns is a table too. No operator is written anew: the nodes themselves are run, and
``proof.parity`` judges the graph that is made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper
from scipy import sparse

from handler.categories import levels_of
from handler.manifest import Contract
from handler.scoring.graph import LEVELS, input_names
from training.export.nodes import REAL, TEXT, prune
from training.export.program import every_tensor

#: Stands for any text that is not a level.
OTHER = "\0 any other text"
#: The most members of a table that is computed or written with all its zeros.
MOST_RUN, MOST_WRITTEN = 4_000_000, 100_000
#: Operators that compute each member from those in the same place.
EACH = frozenset(
    ("Abs", "Add", "And", "Cast", "Div", "Equal", "Exp", "Greater", "GreaterOrEqual", "Identity", "IsNaN",
     "LabelEncoder", "Less", "LessOrEqual", "Log", "Max", "Min", "Mul", "Neg", "Not", "Or", "Sqrt", "Sub",
     "Where")
)  # fmt: skip
#: Operators that change only shapes.
SHAPING = frozenset(("Flatten", "Identity", "Reshape", "Squeeze"))
DTYPES = {REAL: np.float64, onnx.TensorProto.FLOAT: np.float32}


class Piece(NamedTuple):
    """Some columns of a tensor: another tensor, or rows of ``table`` by the codes of the input ``source``.

    The table has a row for each level, and a last one for other texts; where it is sparse, all else is 0.
    """

    source: str
    width: int
    table: Any = None


class _TextsNeeded(Exception):
    """A node needs the texts of the input that the error names."""


def coded(graph: bytes, contract: Contract) -> bytes:
    """The same graph, with codes in place of the texts of those categories whose nodes allow it.

    Such an input is int32, of shape (n,): the code of one of ``levels_of``, of one of the texts that the
    metadata has for it under ``LEVELS``, or the next one, which stands for any other text.
    """
    model = onnx.load_from_string(graph)
    features = {
        name: feature
        for feature, name in zip(contract.features, input_names(contract).values(), strict=True)
    }
    texts = [each.name for each in model.graph.input if each.type.tensor_type.elem_type == TEXT]
    own = {name: levels_of(features[name]) for name in texts if features[name].kind == "category"}
    more: dict[str, tuple[str, ...]] = dict.fromkeys(own, ())
    while more:
        coding = _Coding(model, {name: (*own[name], *texts) for name, texts in more.items()})
        try:
            made = coding.run()
        except _TextsNeeded as error:
            del more[str(error)]
            continue
        if not coding.missed:
            stated = {name: texts for name, texts in more.items() if texts}
            if stated:
                entry = made.metadata_props.add()
                entry.key, entry.value = LEVELS, json.dumps(stated, ensure_ascii=False)
            content: bytes = made.SerializeToString(deterministic=True)
            return content
        for name, found in coding.missed.items():
            more[name] = (*more[name], *sorted(found))
    return graph


class _Coding:
    """One pass over a graph. ``missed``: texts that a node looks for, and that are not among the levels."""

    def __init__(self, model: onnx.ModelProto, levels: Mapping[str, Sequence[str]]) -> None:
        self._model = onnx.ModelProto()
        self._model.CopyFrom(model)
        self._graph = self._model.graph
        self._levels = {name: frozenset(each) for name, each in levels.items()}
        self._constants = {each.name: numpy_helper.to_array(each) for each in self._graph.initializer}
        self._tensors = example(model)
        self._parts: dict[str, list[Piece]] = {
            name: [Piece(name, 1, np.array([*each, OTHER], object).reshape(-1, 1))]
            for name, each in levels.items()
        }
        self._nodes: list[onnx.NodeProto] = []
        self._made: dict[Any, str] = {}
        self._gathered: dict[int, tuple[str, Any]] = {}
        self._count = 0
        self.missed: dict[str, set[str]] = {}

    def run(self) -> onnx.ModelProto:
        """The graph with codes; raises ``_TextsNeeded``."""
        graph = self._graph
        for node in list(graph.node):
            parts = self._through(node) if any(name in self._parts for name in node.input) else None
            if parts is None:
                for name in node.input:
                    self._make(name)
                self._nodes.append(node)
            elif len(parts) == 1 and parts[0].table is None:
                self._node("Identity", parts[0].source, output=node.output[0])
            else:
                self._parts[node.output[0]] = parts
        for output in graph.output:
            self._make(output.name)
        del graph.node[:]
        graph.node.extend(self._nodes)
        for each in graph.input:
            if each.name in self._levels:
                codes = onnx.helper.make_tensor_value_info(each.name, onnx.TensorProto.INT32, [None])
                each.CopyFrom(codes)
        prune(graph)
        return self._model

    # Tensors

    def _constant(self, value: np.ndarray) -> str:
        self._count += 1
        name = f"c{self._count}"
        self._constants[name] = value
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        self._count += not output
        output = output or f"g{self._count}"
        self._nodes.append(onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _make(self, name: str) -> None:
        """A tensor that stood in parts becomes one of the graph's own, once."""
        if name not in self._parts or name in self._made:
            return
        self._made[name] = name
        tensors = [self._tensor(part) for part in self._parts[name]]
        if np.ndim(self._tensors[name]) != 2:
            raise _TextsNeeded(self._parts[name][0].source)
        if len(tensors) == 1:
            self._node("Identity", *tensors, output=name)
        else:
            self._node("Concat", *tensors, output=name, axis=1)

    def _tensor(self, part: Piece) -> str:
        """The columns of a part as a tensor."""
        table = part.table
        if table is None:
            return part.source
        if id(table) not in self._gathered:
            self._gathered[id(table)] = (self._rows(part), table)  # kept, or its id might be another's
        return self._gathered[id(table)][0]

    def _rows(self, part: Piece) -> str:
        table = part.table
        if sparse.issparse(table):
            if np.prod(table.shape) > MOST_WRITTEN:
                return self._marks(part)
            table = table.toarray()
        if table.dtype == object and (table == OTHER).any():
            raise _TextsNeeded(part.source)
        return self._node("Gather", self._constant(table), part.source, axis=0)

    def _marks(self, part: Piece) -> str:
        """The marks of a one-hot encoder with many columns."""
        table = part.table
        if (table.data != 1).any() or np.diff(table.indptr).max() > 1:
            raise _TextsNeeded(part.source)
        places = np.full(table.shape[0], -1, np.int64)
        places[np.diff(table.indptr) > 0] = table.indices
        index = self._node("Gather", self._constant(places), part.source, axis=0)
        marks = self._node(
            "OneHotEncoder", index, domain="ai.onnx.ml", zeros=1, cats_int64s=list(range(part.width))
        )
        return self._node("Cast", marks, to=onnx.helper.np_dtype_to_tensor_dtype(table.dtype))

    # Nodes: each method gives the parts of the output, or None.

    def _through(self, node: onnx.NodeProto) -> list[Piece] | None:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        kind, shape = node.op_type, np.shape(self._tensors[node.output[0]])
        operands = [self._parts_of(name) for name in node.input]
        parts, constants = operands[0], [self._constants.get(name) for name in node.input[1:]]
        constant = constants[0] if constants else None
        if kind == "Concat" and attributes["axis"] in (1, -1):
            every = [part for each in operands if each is not None for part in each]
            return None if None in operands else self._beside(every)
        if kind == "OneHotEncoder":
            return self._one_hot(node, attributes)
        width = sum(part.width for part in parts) if parts else 0
        if parts and kind in SHAPING and len(shape) == 2 and shape[1] == width:
            return parts
        if any(np.ndim(self._tensors.get(name, 0)) > 2 for name in node.input) or len(shape) != 2:
            return None
        if kind in EACH:
            return self._each(node, attributes)
        if not parts or constant is None:
            return None
        if kind == "ArrayFeatureExtractor" or (kind == "Gather" and attributes.get("axis", 0) in (1, -1)):
            return self._chosen(parts, constant.reshape(-1).tolist())
        if kind == "MatMul" and constant.ndim == 2 and constant.dtype == np.float64:
            return self._product(parts, constant)
        if kind == "ReduceSum" and constant.tolist() == [1] and attributes.get("keepdims", 1):
            return self._product(parts, np.ones((width, 1))) if self._doubles(node.output[0]) else None
        return None

    def _doubles(self, name: str) -> bool:
        return bool(np.asarray(self._tensors[name]).dtype == np.float64)

    def _parts_of(self, name: str) -> list[Piece] | None:
        shape = np.shape(self._tensors.get(name, 0))
        return self._parts.get(name) or ([Piece(name, shape[1])] if len(shape) == 2 else None)

    def _beside(self, parts: Iterable[Piece]) -> list[Piece]:
        """The parts, with neighbours that are tensors as one."""
        made: list[Piece] = []
        run: list[Piece] = []
        for part in (*parts, None):
            if part is not None and part.table is None:
                run.append(part)
                continue
            if run:
                made.append(self._joined(run))
                run = []
            if part is not None:
                made.append(part)
        return made

    def _joined(self, run: Sequence[Piece]) -> Piece:
        if len(run) == 1:
            return run[0]
        key = tuple(part.source for part in run)
        if key not in self._made:
            self._made[key] = self._node("Concat", *key, axis=1)
        return Piece(self._made[key], sum(part.width for part in run))

    def _one_hot(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> list[Piece] | None:
        (part, *others) = self._parts[node.input[0]]
        if others or part.table is None or sparse.issparse(part.table):
            return None
        keys = attributes.get("cats_int64s") or [each.decode() for each in attributes["cats_strings"]]
        self._look(part, keys)
        place = {key: index for index, key in enumerate(keys)}
        rows = [place.get(each, -1) for each in part.table[:, 0].tolist()]
        marked = [row for row, index in enumerate(rows) if index >= 0]
        marks = np.ones(len(marked), np.float32), (marked, [rows[row] for row in marked])
        return [Piece(part.source, len(keys), sparse.csr_matrix(marks, (len(rows), len(keys))))]

    def _look(self, part: Piece, keys: Iterable[Any]) -> None:
        """Note the texts that a node looks for in a part, if they may be there and are no levels."""
        texts = {key for key in keys if isinstance(key, str)} - self._levels[part.source]
        if texts and part.table.dtype == object and (part.table == OTHER).any():
            self.missed.setdefault(part.source, set()).update(texts)

    def _each(self, node: onnx.NodeProto, attributes: Mapping[str, Any]) -> list[Piece] | None:
        """A node of ``EACH``, for every part on its own."""
        given = [name for name in node.input if name not in self._constants]
        operands = {name: self._parts_of(name) for name in given}
        widths = [[part.width for part in parts] for parts in operands.values() if parts]
        total = sum(widths[0]) if widths else 0
        sizes = {self._constants[name].size for name in node.input if name in self._constants}
        if (
            len(widths) < len(operands)
            or any(each != widths[0] for each in widths)
            or not sizes <= {1, total}
        ):
            return None
        made, start = [], 0
        for index, width in enumerate(widths[0]):
            parts = [operands[name][index] for name in given]  # type: ignore[index]
            inputs: list[Any] = []
            for name in node.input:
                constant = self._constants.get(name)
                if constant is None:
                    inputs.append(operands[name][index])  # type: ignore[index]
                elif constant.size == total and total > 1:
                    inputs.append(constant.reshape(1, -1)[:, start : start + width])
                else:
                    inputs.append(constant)
            start += width
            alone = all(part.table is not None and part.source == parts[0].source for part in parts)
            made.append(
                self._run(node, attributes, inputs, parts)
                if alone
                else self._emitted(node, attributes, inputs, width)
            )
        return None if None in made else [part for part in made if part is not None]

    def _emitted(
        self, node: onnx.NodeProto, attributes: Mapping[str, Any], inputs: Sequence[Any], width: int
    ) -> Piece:
        names = [self._tensor(each) if isinstance(each, Piece) else self._constant(each) for each in inputs]
        return Piece(self._node(node.op_type, *names, domain=node.domain, **attributes), width)

    def _run(
        self,
        node: onnx.NodeProto,
        attributes: Mapping[str, Any],
        inputs: Sequence[Any],
        parts: Sequence[Piece],
    ) -> Piece | None:
        """What the node gives for each level."""
        source, width = parts[0].source, parts[0].width
        for part in parts:
            for each in inputs:
                if not isinstance(each, Piece) and each.dtype.kind in "OUS":
                    self._look(part, map(_text, each.reshape(-1).tolist()))
            if node.op_type == "LabelEncoder":
                self._look(part, _keys(attributes))
        if sparse.issparse(parts[0].table):
            if node.op_type == "Cast" and attributes["to"] in DTYPES:
                return parts[0]._replace(table=parts[0].table.astype(DTYPES[attributes["to"]]))
            if any(np.prod(part.table.shape) > MOST_RUN for part in parts):
                return None
        arrays = [each.table if isinstance(each, Piece) else each for each in inputs]
        arrays = [each.toarray() if sparse.issparse(each) else each for each in arrays]
        return Piece(source, width, self._result(node, attributes, arrays))

    def _result(
        self, node: onnx.NodeProto, attributes: Mapping[str, Any], arrays: Sequence[np.ndarray]
    ) -> np.ndarray:
        value = onnx.helper.make_tensor_value_info
        names = [f"given{index}" for index in range(len(arrays))]
        kinds = [
            TEXT if each.dtype == object else onnx.helper.np_dtype_to_tensor_dtype(each.dtype)
            for each in arrays
        ]
        only = onnx.helper.make_node(node.op_type, names, ["made"], domain=node.domain, **attributes)
        graph = onnx.helper.make_graph(
            [only],
            "node",
            [value(*each, None) for each in zip(names, kinds, strict=True)],
            [onnx.ValueInfoProto(name="made")],
        )
        model = onnx.helper.make_model(
            graph, opset_imports=self._model.opset_import, ir_version=self._model.ir_version
        )
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        (made,) = session.run(None, dict(zip(names, arrays, strict=True)))
        return np.asarray(made)

    def _chosen(self, parts: Sequence[Piece], indices: Iterable[int]) -> list[Piece]:
        places = [(number, index) for number, part in enumerate(parts) for index in range(part.width)]
        made: list[Piece] = []
        for number, column in (places[index] for index in indices):
            part = parts[number]
            if part.width == 1:
                made.append(part)
            elif part.table is None:
                chosen = self._node("Gather", part.source, self._constant(np.array([column])), axis=1)
                made.append(Piece(chosen, 1))
            else:
                made.append(Piece(part.source, 1, part.table[:, [column]]))
        return self._beside(made)

    def _product(self, parts: Sequence[Piece], weights: np.ndarray) -> list[Piece]:
        """Each part times its rows of the weights; the products are added, those of categories last."""
        tables: dict[str, np.ndarray] = {}
        others, rows, start = [], [], 0
        for part in parts:
            mine = weights[start : start + part.width]
            start += part.width
            if part.table is None:
                others.append(part)
                rows.append(mine)
            else:
                product = np.asarray(part.table @ mine)
                tables[part.source] = tables[part.source] + product if part.source in tables else product
        terms = [Piece(source, weights.shape[1], table) for source, table in tables.items()]
        if others:
            given = self._joined(others).source
            numbers = self._node("MatMul", given, self._constant(np.vstack(rows)))
            terms.insert(0, Piece(numbers, weights.shape[1]))
        if len(terms) == 1:
            return terms
        return [Piece(self._node("Sum", *map(self._tensor, terms)), weights.shape[1])]


def example(model: onnx.ModelProto) -> dict[str, Any]:
    """Every tensor of the graph for some row."""
    feed: dict[str, Any] = {}
    for each in model.graph.input:
        given = each.type.tensor_type
        width = given.shape.dim[1].dim_value if len(given.shape.dim) == 2 else 1
        if given.elem_type == onnx.TensorProto.INT32:  # codes
            feed[each.name] = np.zeros(1, np.int32)
        elif given.elem_type == TEXT:
            feed[each.name] = np.array([[""]], object)
        else:
            feed[each.name] = np.zeros((1, width or 1))
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    return {**constants, **every_tensor(model, feed)}


def _keys(attributes: Mapping[str, Any]) -> list[Any]:
    (keys,) = (value for name, value in attributes.items() if name.startswith("keys_"))
    if isinstance(keys, onnx.TensorProto):
        keys = numpy_helper.to_array(keys).reshape(-1).tolist()
    return list(map(_text, keys))


def _text(key: Any) -> Any:
    return key.decode() if isinstance(key, bytes) else key
