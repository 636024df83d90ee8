"""Transformers that ask in which interval a value is: bins, quantiles and splines, in doubles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from scipy import special
from sklearn.preprocessing import Binarizer, KBinsDiscretizer, QuantileTransformer, SplineTransformer

from training.export.functions import polynomial
from training.export.nodes import REAL, WHOLE, Converter, Nodes, Shape, columns_out, from_rows
from training.export.trees import Tree, ensemble


def _search_tree(edges: np.ndarray, target: int) -> Tree:
    """How many of the edges, which are in order, a value reaches: a balanced tree."""
    left: list[int] = []
    right: list[int] = []
    split: list[float] = []
    value: list[float] = []

    def grow(first: int, last: int) -> int:
        """The tree of the intervals from ``first`` to ``last``; returns its root."""
        node, middle = len(left), (first + last) // 2
        inner = first < last
        left.append(-1)
        right.append(-1)
        # A row goes left if it is at most the split value: here, if it is less than the edge.
        split.append(np.nextafter(edges[middle], -np.inf) if inner else 0.0)
        value.append(0.0 if inner else float(first))
        if inner:
            left[node] = grow(first, middle)
            right[node] = grow(middle + 1, last)
        return node

    grow(0, len(edges))
    return Tree(
        np.array(left), np.array(right), np.full(len(left), target), np.array(split),
        np.zeros(len(left), bool), np.array(value), target,
    )  # fmt: skip


def reached(nodes: Nodes, given: str, edges: Sequence[np.ndarray]) -> str:
    """How many of its column's edges each value reaches, as doubles; as ``searchsorted`` on the right."""
    trees = [_search_tree(np.asarray(each, np.float64), column) for column, each in enumerate(edges)]
    return ensemble(nodes, given, trees, len(trees))


def one_hot(nodes: Nodes, numbers: str, counts: Sequence[int]) -> str:
    """For each column of ``numbers`` as many columns as ``counts`` says; 1 stands in that of the number."""
    repeated = nodes.columns(numbers, np.repeat(np.arange(len(counts)), counts))
    own = nodes.row(np.concatenate([np.arange(each) for each in counts]))
    return nodes.add("Cast", nodes.add("Equal", repeated, own), to=REAL)


def _bins(nodes: Nodes, model: Any, given: str) -> str:
    """https://scikit-learn.org/stable/modules/preprocessing.html#k-bins-discretization"""
    values = given
    if model.dtype == np.float32:
        values = nodes.add("Cast", nodes.add("Cast", given, to=onnx.TensorProto.FLOAT), to=REAL)
    number = reached(nodes, values, [edges[1:-1] for edges in model.bin_edges_])
    if model.encode != "ordinal":
        number = one_hot(nodes, number, model.n_bins_)
    return number


def _width_of_bins(model: Any) -> int:
    return len(model.n_bins_) if model.encode == "ordinal" else int(sum(model.n_bins_))


def _interpolated(nodes: Nodes, given: str, points: Sequence[np.ndarray], heights: np.ndarray) -> str:
    """``np.interp`` of each column; the points may be equal to each other."""
    place = reached(nodes, given, points)  # from 0 to all points
    size = len(heights)
    starts = nodes.row(np.arange(len(points)) * (size + 1))
    index = nodes.add("Cast", nodes.add("Add", place, starts), to=WHOLE)
    tables: tuple[list[float], list[float], list[float]] = ([], [], [])
    for column in points:
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = (heights[1:] - heights[:-1]) / (column[1:] - column[:-1])
        # Before the first point and from the last one on, the values do not change.
        tables[0].extend([0.0, *np.where(np.isfinite(slopes), slopes, 0.0), 0.0])
        tables[1].extend([column[0], *column])
        tables[2].extend([heights[0], *heights])
    slope, point, height = (
        nodes.add("Gather", nodes.constant("table", REAL, [len(each)], map(float, each)), index, axis=0)
        for each in tables
    )
    return nodes.add("Add", nodes.add("Mul", slope, nodes.add("Sub", given, point)), height)


def _quantiles(nodes: Nodes, model: Any, given: str) -> str:
    """The mean of both directions, as ``QuantileTransformer._transform_col`` has it."""
    columns, references = model.quantiles_.T, model.references_
    missing = nodes.add("IsNaN", given)
    up = _interpolated(nodes, given, list(columns), references)
    turned = [-column[::-1] for column in columns]
    down = _interpolated(nodes, nodes.add("Neg", given), turned, -references[::-1])
    mean = nodes.add("Mul", nodes.add("Sub", up, down), nodes.number(0.5))
    least, most = nodes.row(columns[:, 0]), nodes.row(columns[:, -1])
    normal = model.output_distribution == "normal"
    if normal:
        near = nodes.number(1e-7)
        low = nodes.add("Less", nodes.add("Sub", given, near), least)
        high = nodes.add("Greater", nodes.add("Add", given, near), most)
    else:
        low, high = nodes.add("Equal", given, least), nodes.add("Equal", given, most)
    bounded = nodes.add("Where", high, nodes.number(1.0), mean)
    bounded = nodes.add("Where", low, nodes.number(0.0), bounded)
    if normal:
        end = float(special.ndtri(1e-7 - np.spacing(1)))
        other = float(special.ndtri(1 - (1e-7 - np.spacing(1))))
        bounded = nodes.clipped(_normal_quantile(nodes, bounded), nodes.number(end), nodes.number(other))
    return nodes.add("Where", missing, given, bounded)


#: Cephes' coefficients. https://www.netlib.org/cephes/ (ndtri.c)
_CENTRE = (
    (-5.99633501014107895267e1, 9.80010754185999661536e1, -5.66762857469070293439e1,
     1.39312609387279679503e1, -1.23916583867381258016e0),
    (1.0, 1.95448858338141759834e0, 4.67627912898881538453e0, 8.63602421390890590575e1,
     -2.25462687854119370527e2, 2.00260212380060660359e2, -8.20372256168333339912e1,
     1.59056225126211695515e1, -1.18331621121330003142e0),
)  # fmt: skip
_TAIL = (
    (4.05544892305962419923e0, 3.15251094599893866154e1, 5.71628192246421288162e1,
     4.40805073893200834700e1, 1.46849561928858024014e1, 2.18663306850790267539e0,
     -1.40256079171354495875e-1, -3.50424626827848203418e-2, -8.57456785154685413611e-4),
    (1.0, 1.57799883256466749731e1, 4.53907635128879210584e1, 4.13172038254672030440e1,
     1.50425385692907503408e1, 2.50464946208309415979e0, -1.42182922854787788574e-1,
     -3.80806407691578277194e-2, -9.33259480895457427372e-4),
)  # fmt: skip


def _normal_quantile(nodes: Nodes, probability: str) -> str:
    """``scipy.special.ndtri`` from 1e-14 on; what is less is clipped after it."""
    one = nodes.number(1.0)
    upper = nodes.add("Greater", probability, nodes.number(1.0 - np.exp(-2.0)))
    y = nodes.add("Where", upper, nodes.add("Sub", one, probability), probability)
    central = nodes.add("Greater", y, nodes.number(float(np.exp(-2.0))))
    middle = nodes.add("Sub", y, nodes.number(0.5))
    square = nodes.add("Mul", middle, middle)
    ratio = nodes.add(
        "Div",
        nodes.add("Mul", square, polynomial(nodes, square, _CENTRE[0])),
        polynomial(nodes, square, _CENTRE[1]),
    )
    inner = nodes.add("Add", middle, nodes.add("Mul", middle, ratio))
    inner = nodes.add("Mul", inner, nodes.number(2.50662827463100050242))
    # Zero would be infinite here; its end is clipped, and so is this one's.
    some = nodes.add("Max", y, nodes.number(1e-14))
    x = nodes.add("Sqrt", nodes.add("Mul", nodes.add("Log", some), nodes.number(-2.0)))
    first = nodes.add("Sub", x, nodes.add("Div", nodes.add("Log", x), x))
    z = nodes.add("Reciprocal", x)
    second = nodes.add(
        "Div",
        nodes.add("Mul", z, polynomial(nodes, z, _TAIL[0])),
        polynomial(nodes, z, _TAIL[1]),
    )
    outer = nodes.add("Sub", first, second)
    outer = nodes.add("Where", upper, outer, nodes.add("Neg", outer))
    return nodes.add("Where", central, inner, outer)


def _splines(nodes: Nodes, model: Any, given: str) -> str:
    """The basis splines of each column.

    https://scikit-learn.org/stable/modules/preprocessing.html#spline-transformer
    """
    degree, mode = model.degree, model.extrapolation
    knots = np.stack([each.t for each in model.bsplines_])  # shape (columns, knots)
    columns, count = len(knots), knots.shape[1] - degree - 1
    values = nodes.add("Where", nodes.add("IsNaN", given), nodes.row(knots[:, degree]), given)
    if mode == "periodic":
        values = _wrapped(nodes, values, knots[:, degree], knots[:, count])
    basis = _de_boor(nodes, values, knots, degree)
    if mode == "periodic" and degree:
        count -= degree
        basis = _closed(nodes, basis, count, degree)
    elif mode in ("constant", "linear", "error"):
        basis = _ended(nodes, basis, _upright(nodes, values), model)
    flat = nodes.constant("flat", WHOLE, [2], [-1, columns * count])
    result = nodes.add("Reshape", basis, flat)
    if model.handle_missing == "zeros":
        missing = nodes.columns(nodes.add("IsNaN", given), np.repeat(np.arange(columns), count))
        result = nodes.add("Where", missing, nodes.number(0.0), result)
    if not model.include_bias:
        result = nodes.columns(result, [each for each in range(columns * count) if (each + 1) % count])
    return result


def _closed(nodes: Nodes, basis: str, count: int, degree: int) -> str:
    """The last splines of a period continue as the first ones."""
    which = np.arange(count)
    more = _members(nodes, basis, np.where(which < degree, count + which, 0))
    own = nodes.constant("closed", REAL, [1, 1, count], (which < degree).astype(float))
    return nodes.add("Add", _members(nodes, basis, which), nodes.add("Mul", more, own))


class End(NamedTuple):
    """Where a column's range ends, and its splines beyond: values there, and slopes."""

    bound: float
    values: np.ndarray
    slopes: np.ndarray


def _ends(model: Any) -> tuple[list[End], list[End]]:
    """Each column's lower and upper end, as ``SplineTransformer.transform`` has them.

    For the lines of low degrees it looks at one more knot with each column, up to two.
    """
    degree, mode, low, high = model.degree, model.extrapolation, [], []
    for spline in model.bsplines_:
        bounds = float(spline.t[degree]), float(spline.t[-degree - 1])
        (least, most), (falling, rising) = (
            [spline(bound, nu=order) for bound in bounds] for order in (0, 1)
        )
        if mode == "linear" and degree <= 1:
            degree += 1
        index = np.arange(len(least))
        first, last = index < degree, index >= len(index) - degree
        if mode != "linear":
            falling, rising = np.zeros(len(index)), np.zeros(len(index))
        if mode == "error":
            least, most, first, last = least * np.nan, most * np.nan, first | True, last | True
        elif mode == "constant" and not degree:  # it refuses what is above, unless it makes it sparse
            most, last = most if model.sparse_output else most * np.nan, last | True
        low.append(End(bounds[0], np.where(first, least, 0.0), np.where(first, falling, 0.0)))
        high.append(End(bounds[1], np.where(last, most, 0.0), np.where(last, rising, 0.0)))
    return low, high


def _ended(nodes: Nodes, basis: str, x: str, model: Any) -> str:
    """The splines with constants or lines beyond the ends; ``x``: shape (n, columns, 1)."""
    for kind, ends in zip(("Less", "Greater"), _ends(model), strict=True):
        bounds = nodes.constant("bounds", REAL, [1, len(ends), 1], [each.bound for each in ends])
        line = _table(nodes, np.stack([each.values for each in ends]))
        slopes = np.stack([each.slopes for each in ends])
        if slopes.any():
            rise = nodes.add("Mul", nodes.add("Sub", x, bounds), _table(nodes, slopes))
            line = nodes.add("Add", line, rise)
        basis = nodes.add("Where", nodes.add(kind, x, bounds), line, basis)
    return basis


def _table(nodes: Nodes, numbers: np.ndarray) -> str:
    """Numbers of shape (columns, splines) for each row."""
    return nodes.constant("table", REAL, [1, *numbers.shape], numbers.reshape(-1).tolist())


def _upright(nodes: Nodes, given: str) -> str:
    """Shape (n, columns) as (n, columns, 1)."""
    return nodes.add("Unsqueeze", given, nodes.constant("axis", WHOLE, [1], [2]))


def _members(nodes: Nodes, basis: str, which: np.ndarray) -> str:
    """Some of the splines of every column; ``basis``: shape (n, columns, splines)."""
    chosen = nodes.constant("which", WHOLE, [len(which)], which.tolist())
    return nodes.add("Gather", basis, chosen, axis=2)


def _de_boor(nodes: Nodes, values: str, knots: np.ndarray, degree: int) -> str:
    """All splines at the values, shape (n, columns, splines), as scipy has them.

    Beyond the ends their polynomials go on. https://en.wikipedia.org/wiki/De_Boor%27s_algorithm
    """
    count = knots.shape[1] - degree - 1
    x = _upright(nodes, values)

    # The interval of each value, as one of those between the first knot of the range and the last.
    edges = knots[:, degree + 1 : count]
    past = nodes.add("Cast", nodes.add("GreaterOrEqual", x, _table(nodes, edges)), to=REAL)
    first = nodes.add("Mul", x, nodes.number(0.0))
    one = nodes.add("Add", first, nodes.number(1.0))
    here = nodes.add(
        "Sub", nodes.add("Concat", one, past, axis=2), nodes.add("Concat", past, first, axis=2)
    )
    # Outside of the range there are as many intervals again as the degree, on each side.
    sides = [nodes.add("Concat", *[first] * degree, axis=2)] if degree else []
    basis = nodes.add("Concat", *sides, here, *sides, axis=2) if degree else here
    for order in range(1, degree + 1):
        size = knots.shape[1] - 1 - order
        width = knots[:, order : order + size + 1] - knots[:, : size + 1]
        # Of equal knots no spline comes.
        share = nodes.add("Div", basis, _table(nodes, np.where(width > 0, width, np.inf)))
        rising = nodes.add(
            "Mul",
            _members(nodes, share, np.arange(size)),
            nodes.add("Sub", x, _table(nodes, knots[:, :size])),
        )
        falling = nodes.add(
            "Mul",
            _members(nodes, share, np.arange(1, size + 1)),
            nodes.add("Sub", _table(nodes, knots[:, order + 1 : order + 1 + size]), x),
        )
        basis = nodes.add("Add", rising, falling)
    return basis


def _wrapped(nodes: Nodes, values: str, low: np.ndarray, high: np.ndarray) -> str:
    """The values in their period; a column that has none is at zero."""
    period = nodes.row(np.where(high > low, high - low, 1.0))
    start = nodes.row(low)
    rest = nodes.add("Mod", nodes.add("Sub", values, start), period, fmod=1)
    negative = nodes.add("Less", rest, nodes.number(0.0))
    rest = nodes.add("Where", negative, nodes.add("Add", rest, period), rest)
    wrapped = nodes.add("Add", start, rest)
    if (high > low).all():
        return wrapped
    return nodes.add("Mul", wrapped, nodes.row((high > low).astype(float)))


def _binarizer(nodes: Nodes, model: Any, given: str) -> str:
    """1 above the threshold; the stock converter has 1 at the threshold too."""
    above = nodes.add("Greater", given, nodes.number(float(model.threshold)))
    return nodes.add("Cast", above, to=REAL)


REPLACED: Mapping[str, Converter] = {}
SOME: Mapping[str, Converter] = {}
SHAPES: Mapping[str, Shape] = {}
ADDED: Mapping[type, tuple[Shape, Converter]] = {
    Binarizer: (columns_out(lambda model: int(model.n_features_in_)), from_rows(_binarizer)),
    KBinsDiscretizer: (columns_out(_width_of_bins), from_rows(_bins)),
    QuantileTransformer: (columns_out(lambda model: int(model.n_features_in_)), from_rows(_quantiles)),
    SplineTransformer: (columns_out(lambda model: int(model.n_features_out_)), from_rows(_splines)),
}
