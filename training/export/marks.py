"""Trees that branch on the marks of a one-hot encoder branch on the place of the mark instead.

A category of 200 levels is 200 columns, of which a row has one that is marked, and trees read them from
far beyond the processor's cache. After ``codes`` these columns are rows of a table, by the category's code.
Here they become one column, the place of the mark: a branch that asks whether a column is marked asks for
that.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from training.export.codes import example
from training.export.nodes import prune
from training.export.trees import EQUAL, UNEQUAL


class _Marks(NamedTuple):
    """Columns of which a row has one at most that is marked.

    ``places``: for each row of a table, which the tensor ``code`` names, the place of the marked column, or
    -1. ``marked`` and ``plain``: the value of each column where it is marked, and elsewhere.
    """

    code: str
    places: np.ndarray
    marked: np.ndarray
    plain: np.ndarray


class _Column(NamedTuple):
    """Where a column of the trees is now; ``marks``: those of which it was the one at ``place``."""

    number: int
    marks: _Marks | None = None
    place: int = 0


def unmarked(graph: bytes) -> bytes:
    """The graph with branches on places where it had branches on marks; the same where it has none."""
    model = onnx.load_from_string(graph)
    if not any(node.op_type == "TreeEnsemble" for node in model.graph.node):
        return graph
    narrowing = _Narrowing(model)
    nodes = []
    for node in model.graph.node:
        if node.op_type == "TreeEnsemble" and (columns := narrowing.columns(node.input[0])):
            nodes += narrowing.take()
            node.input[0] = narrowing.names[node.input[0]]
            _ask_for_places(node, columns)
        nodes.append(node)
    if not narrowing.names:
        return graph
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    prune(model.graph)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


class _Narrowing:
    """Makes narrower tensors of those that trees read. ``names``: theirs, by the names of the wide ones."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._makers = {name: node for node in model.graph.node for name in node.output}
        self._constants = {each.name: each for each in model.graph.initializer}
        self._widths = {name: np.shape(each)[-1:] for name, each in example(model).items()}
        self._known: dict[str, list[_Column]] = {}
        self._made: list[onnx.NodeProto] = []
        self.names: dict[str, str] = {}

    def take(self) -> list[onnx.NodeProto]:
        """The nodes that were made since they were last taken."""
        made, self._made = self._made, []
        return made

    def columns(self, given: str) -> list[_Column]:
        """Where the columns of a tensor are now, if it has marks, else nothing."""
        if given not in self._known:
            self._known[given] = self._narrowed(given)
        return self._known[given]

    def _narrowed(self, given: str) -> list[_Column]:
        maker = self._makers.get(given)
        joined = maker is not None and maker.op_type == "Concat"
        pieces = list(maker.input) if maker is not None and joined else [given]
        every = [self._marks(piece) for piece in pieces]
        if not any(every):
            return []
        columns: list[_Column] = []
        parts = []
        start = 0
        for piece, marks in zip(pieces, every, strict=True):
            if marks is None:
                (width,) = self._widths[piece]
                parts.append(piece)
                columns += [_Column(start + index) for index in range(width)]
                start += width
            else:
                table = numpy_helper.from_array(marks.places.reshape(-1, 1), f"{piece} places")
                self._graph.initializer.append(table)
                place = f"{piece} place"
                self._made.append(
                    onnx.helper.make_node("Gather", [table.name, marks.code], [place], axis=0)
                )
                parts.append(place)
                columns += [_Column(start, marks, index) for index in range(len(marks.plain))]
                start += 1
        self.names[given] = f"{given} narrow"
        self._made.append(onnx.helper.make_node("Concat", parts, [self.names[given]], axis=1))
        return columns

    def _marks(self, name: str) -> _Marks | None:
        """The marks that a tensor is, if it is: rows of a table, or what an encoder makes of places."""
        maker = self._makers.get(name)
        if maker is None:
            return None
        attributes = {each.name: onnx.helper.get_attribute_value(each) for each in maker.attribute}
        if maker.op_type == "Gather" and attributes.get("axis", 0) == 0:
            return self._of_table(*maker.input)
        encoder = self._makers.get(maker.input[0]) if maker.op_type == "Cast" else None
        if encoder is None or encoder.op_type != "OneHotEncoder":
            return None
        index = self._makers.get(encoder.input[0])
        if index is None or index.op_type != "Gather" or index.input[0] not in self._constants:
            return None
        places = numpy_helper.to_array(self._constants[index.input[0]]).astype(np.float64)
        (width,) = self._widths[name]
        return _Marks(index.input[1], places, np.ones(width), np.zeros(width))

    def _of_table(self, name: str, code: str) -> _Marks | None:
        if name not in self._constants or self._widths[code] not in ((), (1,)):
            return None
        table = numpy_helper.to_array(self._constants[name])
        if table.ndim != 2 or table.shape[1] < 2 or table.dtype != np.float64 or np.isnan(table).any():
            return None
        plain, marked = table.min(axis=0), table.max(axis=0)
        is_marked = table > plain
        if (is_marked.sum(axis=1) > 1).any() or (np.where(is_marked, marked, plain) != table).any():
            return None
        places = np.where(is_marked.any(axis=1), is_marked.argmax(axis=1), -1).astype(np.float64)
        return _Marks(code, places, marked, plain)


def _ask_for_places(node: onnx.NodeProto, columns: list[_Column]) -> None:
    """Rewrite the branches of a ``TreeEnsemble``, which read other columns now."""
    attributes = {each.name: each for each in node.attribute}
    features = list(attributes["nodes_featureids"].ints)
    splits = numpy_helper.to_array(attributes["nodes_splits"].t).copy()
    modes = numpy_helper.to_array(attributes["nodes_modes"].t).copy()
    missing = attributes["nodes_missing_value_tracks_true"].ints
    for branch, feature in enumerate(features):
        number, marks, place = columns[feature]
        features[branch] = number
        if marks is not None:
            if_marked, if_plain = (
                values[place] <= splits[branch] for values in (marks.marked, marks.plain)
            )
            if if_marked == if_plain:  # whatever the place is
                splits[branch] = np.inf if if_marked else -np.inf
            else:
                modes[branch], splits[branch] = EQUAL if if_marked else UNEQUAL, place
                missing[branch] = int(not if_marked)  # as another place: no place is missing
    del attributes["nodes_featureids"].ints[:]
    attributes["nodes_featureids"].ints.extend(features)
    attributes["nodes_splits"].t.CopyFrom(numpy_helper.from_array(splits, "splits"))
    attributes["nodes_modes"].t.CopyFrom(numpy_helper.from_array(modes, "modes"))
