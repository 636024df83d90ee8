"""skl2onnx's table of converters, with ours in it.

A module of converters has four tables. ``REPLACED``: skl2onnx's name of an operator, without ``Sklearn``,
and the converter that takes its place. ``SOME``: the same, but where ours returns False, skl2onnx's own
converts. ``SHAPES``: the function that takes the place of skl2onnx's for the outputs' types. ``ADDED``:
classes that skl2onnx does not know, with their function of types and their converter.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

from skl2onnx import update_registered_converter
from skl2onnx._parse import _parse_sklearn_simple_model
from skl2onnx._supported_operators import sklearn_classifier_list, sklearn_operator_name_map
from skl2onnx.common._container import ModelComponentContainer
from skl2onnx.common._registration import get_converter, register_converter, register_shape_calculator
from sklearn.base import ClassifierMixin

from training.export import (
    binning,
    boosters,
    boosting,
    distances,
    encoders,
    functions,
    histograms,
    imputing,
    inexpressible,
    isotonic,
    kernels,
    linear,
    naive_bayes,
    projecting,
    scaling,
    svm,
    trees,
    unsupervised,
)
from training.export.nodes import Converter, Shape, classes_out

MODULES: Any = (
    binning,
    boosting,
    distances,
    encoders,
    functions,
    histograms,
    imputing,
    inexpressible,
    isotonic,
    kernels,
    linear,
    naive_bayes,
    projecting,
    scaling,
    svm,
    trees,
    unsupervised,
)


def register() -> None:
    """Change skl2onnx's table, which is one for the whole process."""
    _register()
    for kind, shape, converter in boosters.imported():
        _add(kind, shape, converter, texts=None)
        if shape is classes_out and kind not in sklearn_classifier_list:
            sklearn_classifier_list.append(kind)  # CatBoost's does not have scikit-learn's base class


@cache
def _register() -> None:
    _remember_versions()
    for module in MODULES:
        for name, some in module.SOME.items():
            _replace(name, _or_stock(some, get_converter(f"Sklearn{name}")))
        for name, converter in module.REPLACED.items():
            _replace(name, converter)
        for name, shape in module.SHAPES.items():
            register_shape_calculator(f"Sklearn{name}", shape, overwrite=True)
        for kind, (shape, converter) in module.ADDED.items():
            _add(kind, shape, converter)


def _remember_versions() -> None:
    """Have the versions of operators listed once: each conversion would list them for itself, in 20 ms."""
    listing: Any = getattr(ModelComponentContainer, "_build_op_version", None)
    if listing is not None:  # which is skl2onnx's own affair
        made = SimpleNamespace()
        listing(made)
        ModelComponentContainer._op_versions = made._op_versions


def _add(kind: type, shape: Shape, converter: Converter, **options: Any) -> None:
    """``options``: what the converter may be given, each with its values, or None for any."""
    classifies = issubclass(kind, ClassifierMixin) or shape is classes_out
    allowed = {
        **options,
        **(_options(alias) if (alias := sklearn_operator_name_map.get(kind)) else {}),
        **(
            {"zipmap": [True, False, "columns"], "nocl": [True, False], "raw_scores": [True, False]}
            if classifies
            else {}
        ),
    }
    parser = _two_outputs if classifies else None
    update_registered_converter(
        kind, f"Our{kind.__name__}", shape, converter, parser=parser, options=allowed
    )


def _two_outputs(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """A classifier's outputs as they are: skl2onnx would make a dictionary of them."""
    return _parse_sklearn_simple_model(scope, model, inputs, custom_parsers=custom_parsers)


def _replace(name: str, converter: Converter) -> None:
    register_converter(f"Sklearn{name}", converter, overwrite=True, options=_options(f"Sklearn{name}"))


def _options(alias: str) -> dict[str, Any]:
    """The options that skl2onnx's own converter takes: its parsers ask for them."""
    stock = get_converter(alias)
    return (stock.get_allowed_options() or {}) if hasattr(stock, "get_allowed_options") else {}


def _or_stock(ours: Callable[[Any, Any, Any], bool], stock: Converter) -> Converter:
    """A converter that asks ours, and ``stock`` where ours returns False: the case is not its own."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        if not ours(scope, operator, container):
            stock(scope, operator, container)

    return convert
