"""The labels of a graph under other names: the last node of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx
from onnx import TensorProto, helper

from handler.bundle import Label


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
