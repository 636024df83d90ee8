"""Trees are taken out of the graph, for ``handler.scoring.trees`` to sum faster than onnxruntime does.

The graph ends before them, and its metadata states them, with another graph that follows. Trees of few
leaves are stated as words where these take less of a row's time than walking, others as walks.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence

import onnx
import onnxruntime
from onnx import numpy_helper

from handler.scoring.graph import TREES
from training.export import sums, walks, words
from training.export.nodes import REAL
from training.export.sums import Sets, Sum

#: Types of tensors, as onnxruntime names them.
KINDS = {
    "tensor(double)": onnx.TensorProto.DOUBLE,
    "tensor(float)": onnx.TensorProto.FLOAT,
    "tensor(int64)": onnx.TensorProto.INT64,
    "tensor(int32)": onnx.TensorProto.INT32,
    "tensor(bool)": onnx.TensorProto.BOOL,
    "tensor(string)": onnx.TensorProto.STRING,
}


def lifted(graph: bytes) -> bytes:
    """The graph, without the trees that are summed faster elsewhere; the same where there are none."""
    model = onnx.load_from_string(graph)
    known, parts, sets = _sums(model.graph)
    after: set[str] = set()  # tensors that depend on sums
    stated = []
    for name in _last(model.graph, known, parts):
        total = known[name]
        if total.given in after:
            continue
        how = (None if total.in_order else words.stated(total, sets)) or walks.stated(total, sets)
        if how is not None:
            stated.append({"given": total.given, "name": name, **how})
            after |= _downstream(model.graph, {name})
    if not stated or any(each.name not in after for each in model.graph.output):
        return graph
    names = [each["name"] for each in stated]
    graphs = _split(model, names, [each["given"] for each in stated], after)
    if graphs is None:
        return graph
    first, last = graphs
    content = base64.b64encode(last.SerializeToString(deterministic=True)).decode()
    onnx.helper.set_model_props(
        first,
        {
            **{each.key: each.value for each in model.metadata_props},
            TREES: json.dumps({"after": content, "sums": stated}),
        },
    )
    result: bytes = first.SerializeToString(deterministic=True)
    return result


def _sums(graph: onnx.GraphProto) -> tuple[dict[str, Sum], set[str], Sets]:
    """The tensors that are sums of trees, shape (n, width); the names of others that are part of them."""
    known: dict[str, Sum] = {}
    numbers: dict[str, Sum] = {}  # of leaves, shape (n, 1)
    shares: dict[str, Sum] = {}  # rows of a table by these, shape (n, 1, width)
    tables = {each.name: each for each in graph.initializer}
    sets: Sets = {}
    for node in graph.node:
        where, total = known, None
        if node.op_type == "TreeEnsemble":
            total = sums.read(node, sets)
        elif node.op_type == "Cast":
            where, total = numbers, known.get(node.input[0])
            total = total if total is not None and len(total.trees) == 1 else None
        elif node.op_type == "Gather" and node.input[0] in tables and node.input[1] in numbers:
            table = numpy_helper.to_array(tables[node.input[0]])
            where, total = shares, sums.looked_up(numbers[node.input[1]], table)
        elif node.op_type == "Reshape" and node.input[0] in shares and node.input[1] in tables:
            share = shares[node.input[0]]
            shape = numpy_helper.to_array(tables[node.input[1]]).tolist()
            total = share if shape == [-1, share.width] else None
        elif node.op_type in ("Add", "Concat"):
            where = shares if shares.keys() & set(node.input) else known
            terms = [where.get(name) for name in node.input]
            total = sums.joined(terms, side_by_side=node.op_type == "Concat")
        if total is not None:
            where[node.output[0]] = total
    return known, {*numbers, *shares}, sets


def _last(graph: onnx.GraphProto, known: Mapping[str, Sum], parts: set[str]) -> Iterator[str]:
    """The sums that are more than a term of another one, in the graph's order."""
    outputs = {each.name for each in graph.output}
    for name in known:
        readers = [node for node in graph.node if name in node.input]
        if name in outputs or any(node.output[0] not in known.keys() | parts for node in readers):
            yield name


def _downstream(graph: onnx.GraphProto, names: set[str]) -> set[str]:
    """Those tensors, and all that depend on them."""
    reached = set(names)
    for node in graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
    return reached


def _split(
    model: onnx.ModelProto, names: Sequence[str], given: Sequence[str], after: set[str]
) -> tuple[onnx.ModelProto, onnx.ModelProto] | None:
    """The graph of what comes before the sums of these names, and that of what comes after them."""
    graph = model.graph
    if any(part.type == onnx.AttributeProto.GRAPH for node in graph.node for part in node.attribute):
        return None  # it may read what no node's inputs name
    constants, inputs = {each.name for each in graph.initializer}, {each.name for each in graph.input}
    last = _part(model, [node for node in graph.node if after.intersection(node.output).difference(names)])
    made = {name for node in last.graph.node for name in node.output}
    passed = {name for node in last.graph.node for name in node.input} - made - constants - {"", *names}
    wanted = dict.fromkeys([*given, *sorted(passed)])
    first = _part(model, _needed(graph, {*wanted}))
    first.graph.input.extend(graph.input)
    first.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in inputs)
    if not first.graph.output:
        return None
    session = onnxruntime.InferenceSession(first.SerializeToString(), providers=["CPUExecutionProvider"])
    kinds = {each.name: each.type for each in (*session.get_inputs(), *session.get_outputs())}
    if any(kinds[name] not in KINDS for name in passed):
        return None
    value = onnx.helper.make_tensor_value_info
    last.graph.input.extend(value(name, REAL, None) for name in names)
    last.graph.input.extend(value(name, KINDS[kinds[name]], None) for name in sorted(passed))
    last.graph.output.extend(graph.output)
    return first, last


def _needed(graph: onnx.GraphProto, names: set[str]) -> list[onnx.NodeProto]:
    """The nodes that make some tensors; ``names`` becomes all tensors that they need."""
    nodes = []
    for node in reversed(graph.node):
        if names.intersection(node.output):
            names.update(node.input)
            nodes.append(node)
    return nodes[::-1]


def _part(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    """A model of some of the nodes, without inputs and outputs."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    part.graph.Clear()
    part.graph.name = model.graph.name
    part.graph.node.extend(nodes)
    read = {name for node in nodes for name in node.input}
    part.graph.initializer.extend(each for each in model.graph.initializer if each.name in read)
    del part.metadata_props[:]
    return part
