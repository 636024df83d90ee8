"""A graph takes the numbers that ``handler.scoring.texts`` makes of a text, in place of the text."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper

from handler.manifest import Contract
from handler.scoring.graph import input_names
from handler.scoring.texts import KEY
from training.export.fusion import fused
from training.export.nodes import REAL
from training.export.program import every_tensor
from training.export.texts import COUNTS, WEIGHTS, Recipe


def lift(model: onnx.ModelProto, contract: Contract) -> bool:
    """Make inputs of the nodes of texts, and state their recipes in the metadata; whether there are any.

    ``model`` has the inputs that ``input_names`` names. Raises ``NotImplementedError``.
    """
    graph = model.graph
    if not any(node.op_type in (COUNTS, WEIGHTS) for node in graph.node):
        return False
    recipes = _take_out(graph)
    widths = _widths(model, recipes)
    _narrow_trees(graph, widths)
    names = list(input_names(contract).values())
    if foreign := [each["feature"] for each in recipes.values() if each["feature"] not in names]:
        raise NotImplementedError(f"texts that {len(foreign)} other steps have made")
    recipes = fused(model, recipes, widths)
    used = {name for node in graph.node for name in node.input}
    inputs = [each for each in graph.input if each.name in used]
    made = [
        onnx.helper.make_tensor_value_info(
            name, REAL, [None, len(each.get("columns") or each.get("chosen") or range(each["width"]))]
        )
        for name, each in recipes.items()
    ]
    del graph.input[:]
    graph.input.extend([*inputs, *made])
    packed = [{"input": name, **_packed(recipe)} for name, recipe in recipes.items()]
    onnx.helper.set_model_props(model, {KEY: json.dumps(packed, ensure_ascii=False)})
    return True


def _packed(recipe: Recipe) -> Recipe:
    packed = dict(recipe)
    if "idf" in recipe:
        packed["idf"] = _base64(recipe["idf"])
    if "columns" in recipe:
        packed["columns"] = list(map(_base64, recipe["columns"]))
    return packed


def _base64(values: Sequence[float]) -> str:
    return base64.b64encode(np.array(values, "<f8").tobytes()).decode()


def _take_out(graph: onnx.GraphProto) -> dict[str, Recipe]:
    """Remove the nodes of texts; the recipe of each by the name of its numbers."""
    recipes: dict[str, Recipe] = {}
    same: dict[str, str] = {}  # what moves a text, and changes nothing
    kept = []
    for node in graph.node:
        given = [same.get(name, name) for name in node.input]
        if node.op_type == COUNTS:
            (recipe,) = (json.loads(each.s) for each in node.attribute)
            recipes[node.output[0]] = {"feature": given[0], **recipe}
        elif node.op_type == WEIGHTS:
            if given[0] not in recipes:
                raise NotImplementedError("TfidfTransformer of other columns than one CountVectorizer's")
            (recipe,) = (json.loads(each.s) for each in node.attribute)
            if any(recipes[given[0]].get(name) for name in ("idf", "sublinear", "norm")):
                raise NotImplementedError("TfidfTransformer of what is weighted already")
            recipes[node.output[0]] = {**recipes[given[0]], **recipe}
        else:
            if node.op_type in ("Identity", "Flatten", "Reshape"):
                same[node.output[0]] = given[0]
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)
    inputs = {name for node in graph.node for name in node.input}
    return {name: recipe for name, recipe in recipes.items() if name in inputs}


#: Operators that compute each member from those in the same place.
EACH = (
    "Abs", "Add", "And", "Cast", "Div", "Equal", "Greater", "GreaterOrEqual", "Identity", "IsNaN", "Less",
    "LessOrEqual", "Mul", "Neg", "Not", "Or", "Sub", "Where",
)  # fmt: skip


def _narrow_trees(graph: onnx.GraphProto, widths: Mapping[str, int]) -> None:
    """Let trees take only the columns that they look at, of many thousand words."""
    makers = {name: node for node in graph.node for name in node.output}
    scalars = {each.name for each in graph.initializer if np.prod(each.dims) == 1}
    used: dict[str, np.ndarray] = {}  # by the table that trees are given, which several nodes of them share
    for node in graph.node:
        if node.op_type == "TreeEnsemble":
            before = used.get(node.input[0], np.empty(0, np.int64))
            used[node.input[0]] = np.union1d(before, np.array(_features(node).ints))
    nodes: list[onnx.NodeProto] = []
    narrowed: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "TreeEnsemble":
            wide, ids = node.input[0], _features(node)
            if wide not in narrowed:
                mark = f"trees {len(narrowed)} "
                graph.initializer.append(numpy_helper.from_array(used[wide], mark))
                made: dict[str, onnx.NodeProto] = {}
                _narrow(wide, mark, makers, widths, scalars, made)
                nodes += made.values()
                narrowed[wide] = mark + wide
            ids.ints[:] = np.searchsorted(used[wide], np.array(ids.ints)).tolist()
            node.input[0] = narrowed[wide]
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _features(node: onnx.NodeProto) -> onnx.AttributeProto:
    """The columns that the branches of a ``TreeEnsemble`` look at."""
    found: onnx.AttributeProto = next(each for each in node.attribute if each.name == "nodes_featureids")
    return found


def _narrow(
    name: str,
    mark: str,
    makers: Mapping[str, onnx.NodeProto],
    widths: Mapping[str, int],
    scalars: Collection[str],
    made: dict[str, onnx.NodeProto],
) -> None:
    """Add to ``made`` the nodes of ``mark + name``: the columns of ``name`` at the indices in ``mark``.

    The columns are chosen as early as that gives the same.
    """
    if name in made:
        return
    maker = makers.get(name)
    given = [] if maker is None else [each for each in maker.input if each not in scalars]
    as_wide = all(widths.get(each) == widths[name] for each in given)
    if maker is None or maker.op_type not in EACH or not as_wide:
        made[name] = onnx.helper.make_node("Gather", [name, mark], [mark + name], axis=1)
        return
    for each in given:
        _narrow(each, mark, makers, widths, scalars, made)
    same = onnx.NodeProto()
    same.CopyFrom(maker)
    same.input[:] = [mark + each if each in given else each for each in maker.input]
    same.output[:] = [mark + name]
    made[name] = same


def _widths(model: onnx.ModelProto, recipes: Mapping[str, Recipe]) -> dict[str, int]:
    """The columns of every tensor that has two dimensions."""
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    for name, recipe in recipes.items():
        wide.graph.input.append(onnx.helper.make_tensor_value_info(name, REAL, [None, recipe["width"]]))
    feed = {
        each.name: np.zeros((1, recipes[each.name]["width"]))
        if each.name in recipes
        else np.array([[""]], object)
        if each.type.tensor_type.elem_type == onnx.TensorProto.STRING
        else np.zeros((1, 1))
        for each in wide.graph.input
    }
    tensors = every_tensor(wide, feed)
    return {name: value.shape[1] for name, value in tensors.items() if np.ndim(value) == 2}
