"""Encoders of categories.

What a known, a missing and an unknown value become is asked of the fitted encoder itself: rare categories,
dropped ones and the ways to treat unknown ones need no rules of ours. In a graph the empty text stands for
a missing one, whatever the estimator is fed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import pandas as pd
from scipy import sparse
from skl2onnx.common.data_types import DoubleTensorType, StringTensorType
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from handler.manifest import Feature
from training.export.nodes import (
    REAL,
    TEXT,
    WHOLE,
    Converter,
    Nodes,
    Part,
    Shape,
    Table,
    columns_out,
)
from training.export.trees import ML

SINGLE = onnx.TensorProto.FLOAT


class Column(NamedTuple):
    """A column that an encoder is given, shape (n, 1): texts or doubles."""

    name: str
    texts: bool


class Codes(NamedTuple):
    """What an encoder makes of one column: a row of numbers for each key, and one for any other value.

    ``rows`` may be sparse. ``other`` is None where the encoder raises.
    """

    keys: list[Any]
    rows: Any
    other: Any


def _parts(nodes: Nodes, operator: Any) -> Table:
    """The operator's inputs, as texts or doubles."""
    parts = []
    for given in operator.inputs:
        kind, name = TEXT if isinstance(given.type, StringTensorType) else REAL, given.full_name
        if kind == REAL and not isinstance(given.type, DoubleTensorType):
            name = nodes.add("Cast", name, to=REAL)
        parts.append(Part(name, kind, given.type.shape[1]))
    return tuple(parts)


def columns_of(nodes: Nodes, operator: Any) -> list[Column]:
    """The operator's columns one by one, from however many inputs."""
    return _columns(nodes, operator.raw_operator, _parts(nodes, operator))


def _columns(nodes: Nodes, encoder: Any, parts: Table) -> list[Column]:
    """The columns one by one, from however many parts."""
    columns = []
    for part in parts:
        width = encoder.n_features_in_ if part.width is None and len(parts) == 1 else part.width or 1
        for index in range(width):
            name = part.name if width == 1 else nodes.columns(part.name, [index])
            columns.append(Column(name, part.kind == TEXT))
    return columns


def _key(category: Any, *, texts: bool) -> Any:
    """How the graph spells a category."""
    if pd.isna(category):
        return "" if texts else math.nan
    if isinstance(category, str) != texts and not (texts and isinstance(category, bool | int | np.bool_)):
        raise NotImplementedError("an encoder of texts and numbers in one column")
    return str(category) if texts else float(category)


def _codes(encoder: Any, columns: Sequence[Column]) -> list[Codes]:
    """What a fitted encoder makes of each of its columns, all of which are encoded at once."""
    plain = copy.copy(encoder)
    if hasattr(plain, "sparse_output"):
        plain.sparse_output = True  # as dense ones, many categories would take gigabytes
    plain.set_output(transform="default")
    categories = encoder.categories_

    def encoded(values: Sequence[Sequence[Any]]) -> Any:
        """The rows in which each column has its values, and then its first again."""
        count = max(map(len, values))
        parts = {
            place: pd.Series(
                [*given, *[known[0]] * (count - len(given))],
                dtype=np.float64 if known.dtype.kind in "biuf" else object,
            )
            for place, (known, given) in enumerate(zip(categories, values, strict=True))
        }
        rows = plain.transform(pd.DataFrame(parts))
        return rows.tocsc() if sparse.issparse(rows) else np.asarray(rows)

    keys: list[dict[Any, int]] = [
        # NaN stands last, and counts where the empty text is one too.
        {_key(category, texts=column.texts): place for place, category in enumerate(known)}
        for known, column in zip(categories, columns, strict=True)
    ]
    strangers = []
    for known_keys, column in zip(keys, columns, strict=True):
        unknown: Any = "unknown" if column.texts else 0.5
        while unknown in known_keys:
            unknown += unknown
        strangers.append([unknown])
    rows = encoded([list(known) for known in categories])
    try:
        others = encoded(strangers)
    except ValueError:
        others = None
    made, start = [], 0
    for known_keys, width in zip(keys, _widths(encoder), strict=True):
        own = rows[:, start : start + width]
        own = (own.tocsr() if sparse.issparse(own) else own)[list(known_keys.values())]
        made.append(
            Codes(list(known_keys), own, None if others is None else others[:, start : start + width])
        )
        start += width
    return made


def _widths(encoder: Any) -> list[int]:
    """How many columns each column becomes."""
    if isinstance(encoder, OneHotEncoder):
        return [int(each) for each in encoder._n_features_outs]
    columns = len(encoder.categories_)
    return [len(getattr(encoder, "encodings_", encoder.categories_)) // columns] * columns


def looked_up(nodes: Nodes, column: Column, keys: Sequence[Any], values: Any, other: Any, kind: int) -> str:
    """Each member's value by its key, a text or a double, or else ``other``; ``kind``: the values' type."""
    side = TEXT if column.texts else REAL
    spelled = [each.encode() for each in keys] if column.texts else list(keys)
    tensor = onnx.helper.make_tensor
    return nodes.add(
        "LabelEncoder",
        column.name,
        op_domain=ML,
        op_version=3,  # skl2onnx knows no later one; ``to_onnx`` states the true version
        keys_tensor=tensor("keys", side, [len(keys)], spelled),
        values_tensor=tensor("values", kind, [len(keys)], list(values)),
        default_tensor=tensor("default", kind, [1], [other]),
    )


def _numbers(scope: Any, operator: Any, container: Any) -> None:
    """``OrdinalEncoder`` and ``TargetEncoder``: the numbers of each category."""
    encoder, nodes = operator.raw_operator, Nodes(scope, container)
    parts = []
    columns = columns_of(nodes, operator)
    for column, width, codes in zip(columns, _widths(encoder), _codes(encoder, columns), strict=True):
        for place in range(width):
            other = math.nan if codes.other is None else float(codes.other[0, place])
            values = codes.rows[:, place].astype(np.float64)
            parts.append(looked_up(nodes, column, codes.keys, values, other, REAL))
    nodes.add("Concat", *parts, output=operator.output_full_names[0], axis=1)


def _one_hot(scope: Any, operator: Any, container: Any) -> None:
    """``OneHotEncoder``: a category's place among its columns, then a mark there."""
    encoder, nodes = operator.raw_operator, Nodes(scope, container)
    parts = []
    columns = columns_of(nodes, operator)
    for column, width, codes in zip(columns, _widths(encoder), _codes(encoder, columns), strict=True):
        if width:
            parts.append(_marks(nodes, column, codes, width))
    if not parts:
        raise NotImplementedError("OneHotEncoder without a column")
    marks = nodes.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
    nodes.add("Cast", marks, output=operator.output_full_names[0], to=REAL)


def _marks(nodes: Nodes, column: Column, codes: Codes, width: int) -> str:
    """The columns of one column, shape (n, width), float32."""
    places, other = _places(codes.rows), -1 if codes.other is None else _places(codes.other)[0]
    if column.texts and places == list(range(width)) and other == -1:
        cats: dict[str, Any] = {"cats_strings": [each.encode() for each in codes.keys]}
        index = column.name
    else:
        cats = {"cats_int64s": list(range(width))}
        index = looked_up(nodes, column, codes.keys, places, other, WHOLE)
    encoded = nodes.add("OneHotEncoder", index, op_domain=ML, zeros=1, **cats)
    return nodes.add("Reshape", encoded, nodes.constant("shape", WHOLE, [2], [-1, width]))


def _places(rows: Any) -> list[int]:
    """The column of each row's mark; -1 where there is none."""
    rows = sparse.csr_matrix(rows)
    return [
        int(rows.indices[start]) if end > start else -1
        for start, end in zip(rows.indptr[:-1], rows.indptr[1:], strict=True)
    ]


def refusals(nodes: Nodes, step: Any, parts: Table) -> list[str]:
    """Columns, shape (n, 1), that are 0, or NaN where an encoder raises on a category."""
    if isinstance(step, OneHotEncoder | OrdinalEncoder):
        columns = _columns(nodes, step, parts)
        return [
            looked_up(nodes, column, codes.keys, [0.0] * len(codes.keys), math.nan, REAL)
            for column, codes in zip(columns, _codes(step, columns), strict=True)
            if codes.other is None
        ]
    return []


def as_fed(nodes: Nodes, feature: Feature, given: Part) -> Part:
    """A feature's column as ``estimator.fed`` feeds it, where values of it become others there."""
    name = given.name
    if feature.fed_as == "category":
        known = [each.encode() for each in feature.categories]
        name = looked_up(nodes, Column(name, texts=True), feature.categories, known, b"", TEXT)
    elif feature.fed_as == "float32":
        name = nodes.add("Cast", nodes.add("Cast", name, to=SINGLE), to=REAL)
    elif feature.fed_as == "float16":
        raise NotImplementedError("numbers of 16 bits")
    return given._replace(name=name)


ENCODED: Shape = columns_out(lambda encoder: sum(_widths(encoder)))

REPLACED: Mapping[str, Converter] = {
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _numbers,
    "TargetEncoder": _numbers,
}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {
    "OneHotEncoder": ENCODED,
    "OrdinalEncoder": ENCODED,
    "TargetEncoder": ENCODED,
}
ADDED: Mapping[type, tuple[Shape, Converter]] = {}
