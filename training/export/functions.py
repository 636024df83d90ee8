"""``FunctionTransformer`` of numpy's and scipy's functions, in doubles.

onnxruntime has few functions in doubles, and none that keeps the digits of ``log1p`` and ``expm1`` near
zero: those are made of what there is, to a few units in the last place.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
from scipy import special
from skl2onnx.common.data_types import DoubleTensorType
from sklearn.preprocessing import FunctionTransformer

from training.export.nodes import REAL, Converter, Nodes, Shape

#: From the nodes and the name of the values to the name of the function's values.
Function = Callable[[Nodes, str], str]


def _node(kind: str) -> Function:
    return lambda nodes, x: nodes.add(kind, x)


def _times(factor: float) -> Function:
    return lambda nodes, x: nodes.add("Mul", x, nodes.number(factor))


def _power_of(base: float) -> Function:
    return lambda nodes, x: nodes.add("Pow", nodes.number(base), x)


def _log_of(base: float) -> Function:
    return lambda nodes, x: nodes.add("Div", nodes.add("Log", x), nodes.number(float(np.log(base))))


def _as_double(kind: str) -> Function:
    return lambda nodes, x: nodes.add("Cast", nodes.add(kind, x), to=REAL)


def log1p(nodes: Nodes, x: str) -> str:
    """With the digits that 1 + x loses: log(u) + (x - (u - 1)) / u, where u = 1 + x."""
    one = nodes.number(1.0)
    u = nodes.add("Add", x, one)
    lost = nodes.add("Div", nodes.add("Sub", x, nodes.add("Sub", u, one)), u)
    nothing = nodes.add("IsNaN", lost)  # at -1 and at infinity
    kept = nodes.add("Where", nothing, nodes.number(0.0), lost)
    return nodes.add("Add", nodes.add("Log", u), kept)


def expm1(nodes: Nodes, x: str) -> str:
    """W. Kahan's (u - 1) x / log(u) near zero, where u = exp(x)."""
    one = nodes.number(1.0)
    u = nodes.add("Exp", x)
    less = nodes.add("Sub", u, one)
    ratio = nodes.add("Div", nodes.add("Mul", less, x), nodes.add("Log", u))
    small = nodes.add("Where", nodes.add("Equal", u, one), x, ratio)
    return nodes.add("Where", nodes.add("Less", nodes.add("Abs", x), one), small, less)


def _cbrt(nodes: Nodes, x: str) -> str:
    """A power, and a step of Newton's for the digits that a third has not."""
    size = nodes.add("Abs", x)
    root = nodes.add("Pow", size, nodes.number(1 / 3))
    squared = nodes.add("Mul", root, root)
    over = nodes.add("Sub", root, nodes.add("Div", size, squared))
    better = nodes.add("Sub", root, nodes.add("Div", over, nodes.number(3.0)))
    sound = nodes.add("Where", nodes.add("IsNaN", better), root, better)  # at zero and at infinity
    return nodes.add("Mul", nodes.add("Sign", x), sound)


def _sinh(nodes: Nodes, x: str) -> str:
    rise = expm1(nodes, nodes.add("Abs", x))
    near = nodes.add("Add", rise, nodes.add("Div", rise, nodes.add("Add", rise, nodes.number(1.0))))
    far = nodes.add("Sub", *_half_exponentials(nodes, x))
    is_far = nodes.add("Greater", nodes.add("Abs", x), nodes.number(1.0))
    sized = nodes.add("Where", is_far, far, _times(0.5)(nodes, near))
    return nodes.add("Mul", sized, nodes.add("Sign", x))


def _cosh(nodes: Nodes, x: str) -> str:
    return nodes.add("Add", *_half_exponentials(nodes, x))


def _half_exponentials(nodes: Nodes, x: str) -> tuple[str, str]:
    """Half of exp(|x|) and of exp(-|x|), by way of exp(|x| / 2), which is finite for longer."""
    root = nodes.add("Exp", _times(0.5)(nodes, nodes.add("Abs", x)))
    falling = nodes.add("Div", nodes.add("Div", nodes.number(0.5), root), root)
    return nodes.add("Mul", _times(0.5)(nodes, root), root), falling


def _expit(nodes: Nodes, x: str) -> str:
    one = nodes.number(1.0)
    return nodes.add("Div", one, nodes.add("Add", one, nodes.add("Exp", nodes.add("Neg", x))))


def _arctan(nodes: Nodes, x: str) -> str:
    """Cephes' rational function. https://www.netlib.org/cephes/ (atan.c)"""
    size, one, zero = nodes.add("Abs", x), nodes.number(1.0), nodes.number(0.0)
    far = nodes.add("Greater", size, nodes.number(2.41421356237309504880))
    near = nodes.add("LessOrEqual", size, nodes.number(0.66))
    middle = nodes.add("Div", nodes.add("Sub", size, one), nodes.add("Add", size, one))
    turned = nodes.add("Where", far, nodes.add("Neg", nodes.add("Reciprocal", size)), middle)
    y = nodes.add("Where", near, size, turned)
    z = nodes.add("Mul", y, y)
    top, bottom = (polynomial(nodes, z, each) for each in (_ARCTAN_TOP, _ARCTAN_BOTTOM))
    ratio = nodes.add("Mul", z, nodes.add("Div", top, bottom))
    small = nodes.add("Add", nodes.add("Mul", y, ratio), y)
    # The angle that was turned by, and what its double lacks of it.
    turn, rest = (
        nodes.add("Where", far, nodes.number(2 * half), nodes.add("Where", near, zero, nodes.number(half)))
        for half in (np.pi / 4, 3.061616997868383e-17)
    )
    sized = nodes.add("Add", turn, nodes.add("Add", small, rest))
    return nodes.add("Mul", nodes.add("Sign", x), sized)


_ARCTAN_TOP = (
    -8.750608600031904122785e-1, -1.615753718733365076637e1, -7.500855792314704667340e1,
    -1.228866684490136173410e2, -6.485021904942025371773e1,
)  # fmt: skip
_ARCTAN_BOTTOM = (
    1.0, 2.485846490142306297962e1, 1.650270098316988542046e2, 4.328810604912902668951e2,
    4.853903996359136964868e2, 1.945506571482613964425e2,
)  # fmt: skip


def polynomial(nodes: Nodes, x: str, coefficients: tuple[float, ...]) -> str:
    """From the highest power to the lowest, as Horner has it."""
    value = nodes.number(coefficients[0])
    for each in coefficients[1:]:
        value = nodes.add("Add", nodes.add("Mul", value, x), nodes.number(each))
    return value


def _arcsin(nodes: Nodes, x: str) -> str:
    one = nodes.number(1.0)
    product = nodes.add("Mul", nodes.add("Sub", one, x), nodes.add("Add", one, x))
    return _arctan(nodes, nodes.add("Div", x, nodes.add("Sqrt", product)))


def _arccos(nodes: Nodes, x: str) -> str:
    one = nodes.number(1.0)
    ratio = nodes.add("Div", nodes.add("Sub", one, x), nodes.add("Add", one, x))
    return _times(2.0)(nodes, _arctan(nodes, nodes.add("Sqrt", ratio)))


def _arcsinh(nodes: Nodes, x: str) -> str:
    size, one = nodes.add("Abs", x), nodes.number(1.0)
    root = nodes.add("Sqrt", nodes.add("Add", nodes.add("Mul", size, size), one))
    share = nodes.add("Div", size, nodes.add("Add", root, one))
    near = log1p(nodes, nodes.add("Add", size, nodes.add("Mul", size, share)))
    far = nodes.add("Add", nodes.add("Log", size), nodes.number(float(np.log(2.0))))
    is_far = nodes.add("Greater", size, nodes.number(1e100))
    return nodes.add("Mul", nodes.add("Sign", x), nodes.add("Where", is_far, far, near))


def _arccosh(nodes: Nodes, x: str) -> str:
    above = nodes.add("Sub", x, nodes.number(1.0))
    roots = [nodes.add("Sqrt", each) for each in (above, nodes.add("Add", above, nodes.number(2.0)))]
    near = log1p(nodes, nodes.add("Add", above, nodes.add("Mul", *roots)))
    far = nodes.add("Add", nodes.add("Log", x), nodes.number(float(np.log(2.0))))
    return nodes.add("Where", nodes.add("Greater", x, nodes.number(1e100)), far, near)


def _arctanh(nodes: Nodes, x: str) -> str:
    size = nodes.add("Abs", x)
    ratio = nodes.add("Div", _times(2.0)(nodes, size), nodes.add("Sub", nodes.number(1.0), size))
    return nodes.add("Mul", _times(0.5)(nodes, log1p(nodes, ratio)), nodes.add("Sign", x))


def _trunc(nodes: Nodes, x: str) -> str:
    negative = nodes.add("Less", x, nodes.number(0.0))
    return nodes.add("Where", negative, nodes.add("Ceil", x), nodes.add("Floor", x))


def _logit(nodes: Nodes, x: str) -> str:
    return nodes.add("Log", nodes.add("Div", x, nodes.add("Sub", nodes.number(1.0), x)))


def _same(_: Nodes, x: str) -> str:
    return x


#: numpy's and scipy's functions of one value that a graph has.
FUNCTIONS: Mapping[Any, Function] = {
    np.abs: _node("Abs"),
    np.fabs: _node("Abs"),
    np.arccos: _arccos,
    np.arccosh: _arccosh,
    np.arcsin: _arcsin,
    np.arcsinh: _arcsinh,
    np.arctan: _arctan,
    np.arctanh: _arctanh,
    np.array: _same,
    np.asarray: _same,
    np.copy: _same,
    np.positive: _same,
    np.cbrt: _cbrt,
    special.cbrt: _cbrt,
    np.ceil: _node("Ceil"),
    np.cos: _node("Cos"),
    np.cosh: _cosh,
    np.deg2rad: _times(np.pi / 180),
    np.radians: _times(np.pi / 180),
    np.rad2deg: _times(180 / np.pi),
    np.degrees: _times(180 / np.pi),
    np.exp: _node("Exp"),
    np.exp2: _power_of(2.0),
    special.exp2: _power_of(2.0),
    special.exp10: _power_of(10.0),
    np.expm1: expm1,
    special.expm1: expm1,
    special.expit: _expit,
    special.logit: _logit,
    np.floor: _node("Floor"),
    np.isnan: _as_double("IsNaN"),
    np.log: _node("Log"),
    np.log1p: log1p,
    special.log1p: log1p,
    np.log10: _log_of(10.0),
    np.log2: _log_of(2.0),
    np.negative: _node("Neg"),
    np.reciprocal: _node("Reciprocal"),
    np.rint: _node("Round"),
    np.sign: _node("Sign"),
    np.sin: _node("Sin"),
    np.sinh: _sinh,
    np.sqrt: _node("Sqrt"),
    np.square: lambda nodes, x: nodes.add("Mul", x, x),
    np.tanh: _node("Tanh"),
    np.trunc: _trunc,
    np.fix: _trunc,
}


def _clip(nodes: Nodes, x: str, **limits: Any) -> str:
    for name, kind in (("min", "Max"), ("max", "Min")):
        limit = limits.pop(name, limits.pop(f"a_{name}", None))
        if limit is not None:
            x = nodes.add(kind, x, nodes.row(np.atleast_1d(limit)))
    _require_none(limits)
    return x


def _round(nodes: Nodes, x: str, decimals: int = 0, **others: Any) -> str:
    _require_none(others)
    there, back = ("Mul", "Div") if decimals >= 0 else ("Div", "Mul")
    unit = nodes.number(10.0 ** abs(decimals))
    return nodes.add(back, nodes.add("Round", nodes.add(there, x, unit)), unit)


def _nan_to_num(nodes: Nodes, x: str, **numbers: Any) -> str:
    largest = float(np.finfo(np.float64).max)
    numbers.pop("copy", None)
    missing, above, below = (numbers.pop(name, None) for name in ("nan", "posinf", "neginf"))
    _require_none(numbers)
    x = nodes.add("Where", nodes.add("IsNaN", x), nodes.number(float(missing or 0.0)), x)
    for infinite, number in (
        (np.inf, largest if above is None else above),
        (-np.inf, -largest if below is None else below),
    ):
        found = nodes.add("Equal", x, nodes.number(infinite))
        x = nodes.add("Where", found, nodes.number(float(number)), x)
    return x


#: Functions that take numbers beside the values, by keyword.
WITH_NUMBERS: Mapping[Any, Callable[..., str]] = {
    np.clip: _clip,
    np.round: _round,
    np.around: _round,
    np.nan_to_num: _nan_to_num,
}


def _require_none(arguments: Mapping[str, Any]) -> None:
    if arguments:
        raise NotImplementedError(f"FunctionTransformer with the argument {next(iter(arguments))}")


def apply(nodes: Nodes, function: Any, arguments: Mapping[str, Any] | None, x: str) -> str:
    """The values of a function, with its arguments by keyword; raises ``NotImplementedError``."""
    arguments = dict(arguments or {})
    while isinstance(function, functools.partial) and not function.args:
        function, arguments = function.func, {**function.keywords, **arguments}
    known = isinstance(function, Hashable)
    if known and function in WITH_NUMBERS:
        return WITH_NUMBERS[function](nodes, x, **arguments)
    if not known or function not in FUNCTIONS:
        name = getattr(function, "__name__", type(function).__name__)
        raise NotImplementedError(
            f"FunctionTransformer of {name}: a graph has numpy's own functions of one value, such as "
            "np.log1p or np.clip"
        )
    _require_none(arguments)
    return FUNCTIONS[function](nodes, x)


def _function(scope: Any, operator: Any, container: Any) -> bool:
    """``FunctionTransformer``; the stock converter has the one that changes nothing."""
    transformer = operator.raw_operator
    if transformer.func is None:
        return False
    nodes = Nodes(scope, container)
    given = nodes.double(operator)
    result = apply(nodes, transformer.func, transformer.kw_args, given)
    nodes.add("Identity", result, output=operator.output_full_names[0])
    return True


def _shape_of_function(operator: Any) -> None:
    """One column out for each that goes in; the stock calculator refuses every function."""
    widths = [each.type.shape[1] for each in operator.inputs]
    width = None if None in widths else sum(widths)
    given = operator.inputs[0]
    kind = given.type if operator.raw_operator.func is None else DoubleTensorType()
    operator.outputs[0].type = copy.deepcopy(kind)
    operator.outputs[0].type.shape = [given.get_first_dimension(), width]


REPLACED: Mapping[str, Converter] = {}
SOME = {FunctionTransformer.__name__: _function}
SHAPES: Mapping[str, Shape] = {FunctionTransformer.__name__: _shape_of_function}
ADDED: Mapping[type, tuple[Shape, Converter]] = {}
