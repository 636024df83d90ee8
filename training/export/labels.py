"""The labels of a graph: under other names, or as indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from handler.manifest import Label


def renamed(graph: bytes, labels: Sequence[Any], classes: Sequence[Label]) -> bytes:
    """The graph, which gives ``labels``, with ``classes`` in their places as its labels."""
    model = onnx.load_from_string(graph)
    output = model.graph.output[0]
    for node in model.graph.node:
        node.output[:] = ["own label" if name == output.name else name for name in node.output]
        node.input[:] = ["own label" if name == output.name else name for name in node.input]
    own, kind = "own label", output.type.tensor_type.elem_type
    if kind not in (TensorProto.INT64, TensorProto.STRING):
        model.graph.node.append(helper.make_node("Cast", [own], ["whole label"], to=TensorProto.INT64))
        own = "whole label"
    texts = all(isinstance(each, str) for each in classes)
    mapping: dict[str, Any] = {f"values_{'strings' if texts else 'int64s'}": list(classes)}
    if kind == TensorProto.STRING:
        mapping["keys_strings"] = list(map(str, labels))
    else:
        mapping["keys_int64s"] = list(map(int, labels))
    node = helper.make_node("LabelEncoder", [own], [output.name], domain="ai.onnx.ml", **mapping)
    model.graph.node.append(node)
    if node.domain not in {each.domain for each in model.opset_import}:
        model.opset_import.append(helper.make_opsetid(node.domain, 3))
    output.type.tensor_type.elem_type = TensorProto.STRING if texts else TensorProto.INT64
    return bytes(model.SerializeToString())


def indexed(graph: bytes, classes: Sequence[Label]) -> bytes:
    """The graph, which gives ``classes`` as texts, with their indices in place of them, where it can.

    It looks the texts up in a constant, which then has the indices.
    """
    model = onnx.load_from_string(graph)
    output = model.graph.output[0]
    if output.type.tensor_type.elem_type != TensorProto.STRING:
        return graph
    makers = {name: node for node in model.graph.node for name in node.output}
    name = output.name
    while (node := makers.get(name)) is not None and node.op_type in ("Identity", "Reshape"):
        name = node.input[0]
    if node is None or node.op_type not in ("Gather", "ArrayFeatureExtractor"):
        return graph
    constants = [each for each in model.graph.initializer if each.name == node.input[0]]
    users = [each for each in model.graph.node if node.input[0] in each.input]
    if len(constants) != 1 or len(users) != 1:
        return graph
    (constant,) = constants
    labels = [list(classes).index(each.decode()) for each in constant.string_data]
    indices = np.array(labels, np.int64).reshape(tuple(constant.dims))
    constant.CopyFrom(numpy_helper.from_array(indices, constant.name))
    output.type.tensor_type.elem_type = TensorProto.INT64
    return bytes(model.SerializeToString(deterministic=True))
