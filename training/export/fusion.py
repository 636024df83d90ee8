"""What is linear in a text's numbers moves from the graph into the text's recipe.

Where the numbers only go through linear steps to a product with weights, the text becomes that product at
once: of the 20,000 numbers of a usual text all but a few are zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from training.export.nodes import REAL
from training.export.texts import Recipe


class Chosen(NamedTuple):
    """Some of a text's numbers, by their indices, each multiplied by its factor."""

    indices: np.ndarray
    factors: np.ndarray


class Piece(NamedTuple):
    """Some columns of a tensor: those of another one or, where ``of`` is given, of the text ``source``.

    They are the text's numbers that are ``Chosen``, or all of them times a matrix.
    """

    source: str
    width: int
    of: Chosen | np.ndarray | None = None


def fused(
    model: onnx.ModelProto, recipes: Mapping[str, Recipe], widths: Mapping[str, int]
) -> dict[str, Recipe]:
    """Rewrite the graph; the recipes of the inputs that it needs then, by their names.

    ``recipes``: of tensors that no node gives any more. ``widths``: of tensors with columns.
    """
    return _Fusion(model, recipes, widths).run()


class _Fusion:
    """One pass over a graph; see ``fused``."""

    def __init__(
        self, model: onnx.ModelProto, recipes: Mapping[str, Recipe], widths: Mapping[str, int]
    ) -> None:
        self._model = model
        self._graph = model.graph
        self._recipes = {f"t{index}": recipe for index, recipe in enumerate(recipes.values())}
        self._constants = {each.name: numpy_helper.to_array(each) for each in self._graph.initializer}
        self._parts = {
            name: [Piece(text, each["width"], Chosen(np.arange(each["width"]), np.ones(each["width"])))]
            for name, (text, each) in zip(recipes, self._recipes.items(), strict=True)
        }
        self._nodes: list[onnx.NodeProto] = []
        #: What the graph needs of each text: the tensors to be made, and of what.
        self._wanted: dict[str, dict[str, Chosen | np.ndarray]] = {text: {} for text in self._recipes}
        self._widths = widths
        self._count = 0

    def run(self) -> dict[str, Recipe]:
        """The recipes of the inputs that the graph needs then."""
        for node in self._graph.node:
            if not any(name in self._parts for name in node.input):
                self._nodes.append(node)
                continue
            parts = self._through(node)
            if parts is None:
                for name in node.input:
                    self._make(name)
                self._nodes.append(node)
            else:
                self._parts[node.output[0]] = parts
        for output in self._graph.output:
            self._make(output.name)
        rest, self._nodes = self._nodes, []
        recipes = {}
        for text, wanted in self._wanted.items():
            recipe = self._recipes[text]
            chosen = {name: of for name, of in wanted.items() if isinstance(of, Chosen)}
            products = {name: of for name, of in wanted.items() if not isinstance(of, Chosen)}
            if chosen:
                recipes[text] = {**recipe, **self._choice(text, recipe["width"], chosen)}
            if products:
                text = f"{text}p" if chosen else text
                recipes[text] = {**recipe, **self._columns(text, products)}
        del self._graph.node[:]
        self._graph.node.extend([*self._nodes, *rest])
        return recipes

    def _choice(self, text: str, width: int, wanted: Mapping[str, Chosen]) -> Recipe:
        """What a recipe says of the numbers that are chosen; adds nodes that part them."""
        used = np.unique(np.concatenate([chosen.indices for chosen in wanted.values()]))
        for name, (indices, factors) in wanted.items():
            given, places = text, np.searchsorted(used, indices)
            if places.tolist() != list(range(len(used))):
                given = self._node("Gather", given, self._constant(places), axis=1)
            if (factors != 1.0).any():
                given = self._node("Mul", given, self._constant(factors))
            self._node("Identity", given, output=name)
        return {"chosen": used.tolist()} if len(used) < width else {}

    def _columns(self, text: str, wanted: Mapping[str, np.ndarray]) -> Recipe:
        """What a recipe says of products with a text; adds nodes that part them.

        Of a million hashes, most have no weight.
        """
        start = 0
        for name, matrix in wanted.items():
            places = self._constant(np.arange(start, start + matrix.shape[1]))
            self._node("Gather", text, places, output=name, axis=1)
            start += matrix.shape[1]
        matrix = np.hstack(list(wanted.values()))
        weighed = np.flatnonzero(matrix.any(axis=1))
        if 2 * len(weighed) > len(matrix):
            return {"columns": matrix.T.tolist()}
        return {"chosen": weighed.tolist(), "columns": matrix[weighed].T.tolist()}

    # Tensors

    def _new(self) -> str:
        self._count += 1
        return f"u{self._count}"

    def _constant(self, value: np.ndarray) -> str:
        name = self._new()
        self._constants[name] = value
        self._graph.initializer.append(numpy_helper.from_array(value, name))
        return name

    def _node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or self._new()
        self._nodes.append(onnx.helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def _make(self, name: str) -> None:
        """A tensor that stood in parts becomes one of the graph's own."""
        parts = self._parts.pop(name, None)
        if parts is None:
            return
        tensors = [self._tensor(part) for part in parts]
        if len(tensors) == 1:
            self._node("Identity", *tensors, output=name)
        else:
            self._node("Concat", *tensors, output=name, axis=1)

    def _tensor(self, part: Piece) -> str:
        if part.of is None:
            return part.source
        name = self._new()
        self._wanted[part.source][name] = part.of
        return name

    # Nodes that are linear: each method gives the parts of the output, or None.

    def _through(self, node: onnx.NodeProto) -> list[Piece] | None:
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        first, *others = node.input
        constants = [self._constants.get(name) for name in others]
        kind = node.op_type
        if kind == "Concat" and attributes["axis"] in (1, -1):
            return [part for name in node.input for part in self._parts_of(name)]
        if first not in self._parts:
            if kind not in ("Mul", "Add") or self._constants.get(first) is None:
                return None
            first, constants = others[0], [self._constants[first]]  # the constant may stand first
        parts, width = self._parts[first], sum(part.width for part in self._parts[first])
        if (
            kind == "Identity"
            or (kind == "Cast" and attributes["to"] == REAL)
            or (kind == "Flatten" and attributes.get("axis", 1) == 1)
            or (kind == "Reshape" and self._widths.get(node.output[0]) == width)
        ):
            return parts
        constant, more = (constants[0], constants[1:]) if constants else (None, [])
        if constant is None:
            return None
        if kind in ("Add", "Sub") and not constant.any() and constant.size in (1, width):
            return parts
        if kind in ("Mul", "Div") and constant.size in (1, width):
            return self._scaled(kind, parts, np.broadcast_to(constant.reshape(-1), width))
        if kind == "ArrayFeatureExtractor" or (kind == "Gather" and attributes.get("axis", 0) in (1, -1)):
            return self._chosen(parts, constant.reshape(-1).tolist())
        if kind == "MatMul" and constant.ndim == 2:
            return self._product(parts, constant)
        if kind == "Gemm" and _is_plain(attributes) and not (more and more[0] is None):
            product = self._product(parts, constant.T if attributes.get("transB") else constant)
            if not more:
                return product
            given = self._new()
            self._parts[given] = product
            self._make(given)
            return [Piece(self._node("Add", given, others[1]), product[0].width)]
        if kind == "ReduceSum" and constant.tolist() == [1] and attributes.get("keepdims", 1):
            return self._product(parts, np.ones((width, 1)))
        if kind == "Greater" and constant.size == 1:
            return self._above(node.output[0], parts, float(constant.reshape(-1)[0]))
        return None

    def _parts_of(self, name: str) -> list[Piece]:
        return self._parts.get(name) or [Piece(name, self._widths[name])]

    def _scaled(self, kind: str, parts: Sequence[Piece], by: np.ndarray) -> list[Piece]:
        made, start = [], 0
        for part in parts:
            each = by[start : start + part.width].astype(np.float64)
            start += part.width
            if part.of is None:
                made.append(Piece(self._node(kind, part.source, self._constant(each)), part.width))
                continue
            factor = 1.0 / each if kind == "Div" else each
            if isinstance(part.of, Chosen):
                made.append(part._replace(of=part.of._replace(factors=part.of.factors * factor)))
            else:
                made.append(part._replace(of=part.of * factor))
        return made

    def _chosen(self, parts: Sequence[Piece], indices: Iterable[int]) -> list[Piece]:
        places = [(number, index) for number, part in enumerate(parts) for index in range(part.width)]
        made = []
        for number, group in groupby((places[index] for index in indices), key=lambda each: each[0]):
            part, which = parts[number], np.array([index for _, index in group])
            if part.of is None:
                source = self._node("Gather", part.source, self._constant(which), axis=1)
                made.append(Piece(source, len(which)))
            elif isinstance(part.of, Chosen):
                of = Chosen(part.of.indices[which], part.of.factors[which])
                made.append(Piece(part.source, len(which), of))
            else:
                made.append(Piece(part.source, len(which), part.of[:, which]))
        return made

    def _product(self, parts: Sequence[Piece], weights: np.ndarray) -> list[Piece]:
        """Rows of the weights by the part that they belong to; the products are added."""
        products: dict[str, np.ndarray] = {}
        others, rows, start, width = [], [], 0, weights.shape[1]
        for part in parts:
            mine = weights[start : start + part.width].astype(np.float64)
            start += part.width
            if part.of is None:
                others.append(part.source)
                rows.append(mine)
                continue
            product = products.setdefault(
                part.source, np.zeros((self._recipes[part.source]["width"], width))
            )
            if isinstance(part.of, Chosen):
                np.add.at(product, part.of.indices, part.of.factors[:, None] * mine)
            else:
                product += part.of @ mine
        terms = [Piece(text, width, product) for text, product in products.items()]
        if len(terms) > 1 or others:
            terms = [term for term in terms if np.any(term.of)] or terms[: not others]
        if others:
            given = others[0] if len(others) == 1 else self._node("Concat", *others, axis=1)
            terms.insert(0, Piece(self._node("MatMul", given, self._constant(np.vstack(rows))), width))
        if len(terms) == 1:
            return terms
        return [Piece(self._node("Sum", *map(self._tensor, terms)), width)]

    def _above(self, output: str, parts: Sequence[Piece], limit: float) -> list[Piece] | None:
        """A text's numbers that are above a limit, where they are used as ones and zeros."""
        (part, *others) = parts
        users = [node for node in self._graph.node if output in node.input]
        as_numbers = all(
            node.op_type == "Cast" and any(each.i == REAL for each in node.attribute) for node in users
        )
        if others or not isinstance(part.of, Chosen) or (part.of.factors != 1.0).any():
            return None
        if limit < 0 or not as_numbers:
            return None
        text = f"t{len(self._recipes)}"
        self._recipes[text] = {**self._recipes[part.source], "above": limit}
        self._wanted[text] = {}
        return [part._replace(source=text)]


def _is_plain(attributes: Mapping[str, Any]) -> bool:
    """Whether a Gemm is only a product and a sum."""
    scales = attributes.get("alpha", 1.0), attributes.get("beta", 1.0)
    return scales == (1.0, 1.0) and not attributes.get("transA")
