"""skl2onnx's table of converters, with ours in it.

A module of converters has four tables. ``REPLACED``: skl2onnx's name of an operator, without ``Sklearn``,
and the converter that takes its place. ``SOME``: the same, but where ours returns False, skl2onnx's own
converts. ``SHAPES``: the function that takes the place of skl2onnx's for the outputs' types. ``ADDED``:
classes that skl2onnx does not know, with their function of types and their converter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from skl2onnx import update_registered_converter
from skl2onnx.common._registration import get_converter, register_converter, register_shape_calculator
from sklearn.base import ClassifierMixin

from training.export import (
    binning,
    estimators,
    finish,
    functions,
    imputing,
    inexpressible,
    kernels,
    projecting,
    scaling,
    trees,
)
from training.export.nodes import Converter, same_shape

MODULES: Any = (
    functions, binning, scaling, imputing, kernels, projecting, inexpressible, trees, estimators,
)  # fmt: skip


@cache
def register() -> None:
    """Change skl2onnx's table, which is one for the whole process."""
    for module in MODULES:
        for name, some in module.SOME.items():
            _replace(name, _or_stock(some, get_converter(f"Sklearn{name}")))
        for name, converter in module.REPLACED.items():
            _replace(name, converter)
        for name, shape in module.SHAPES.items():
            register_shape_calculator(f"Sklearn{name}", shape, overwrite=True)
        for kind, (shape, converter) in module.ADDED.items():
            classifies = issubclass(kind, ClassifierMixin)
            options = {"zipmap": [True, False, "columns"], "nocl": [True, False]} if classifies else {}
            update_registered_converter(kind, f"Our{kind.__name__}", shape, converter, options=options)
    update_registered_converter(finish.Entrance, "Entrance", same_shape, finish.entrance)


def _replace(name: str, converter: Converter) -> None:
    stock = get_converter(f"Sklearn{name}")
    options = stock.get_allowed_options() if hasattr(stock, "get_allowed_options") else {}
    register_converter(f"Sklearn{name}", converter, overwrite=True, options=options)


def _or_stock(ours: Callable[[Any, Any, Any], bool], stock: Converter) -> Converter:
    """A converter that asks ours, and ``stock`` where ours returns False: the case is not its own."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        if not ours(scope, operator, container):
            stock(scope, operator, container)

    return convert
