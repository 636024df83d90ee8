"""The fitted estimator as an ONNX graph: one input per feature, the label and the probabilities out.

A regression's graph has only its value, and that of a classifier without ``predict_proba`` only the label.
How an estimator is laid out is in ``layout``. Whether the graph equals the model is judged in
``proof.parity``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import onnx
import onnxruntime
from sklearn.pipeline import Pipeline

from handler.manifest import Contract
from handler.scoring.estimator import SCORE_METHODS
from handler.scoring.graph import SCORE, input_names
from training.compat import FixedThresholdClassifier, TunedThresholdClassifierCV
from training.errors import one_line
from training.export import converters, encoders, text_inputs, trees
from training.export.layout import Layout, NotExportable, rename, steps_of
from training.export.nodes import REAL, TEXT, WHOLE, Part, Table, prune

__all__ = ["NotExportable", "decision_threshold", "given_to_last", "to_onnx"]


def to_onnx(estimator: Any, contract: Contract, *, guarded: bool = False) -> bytes:
    """The graph, with its inputs named by ``input_names(contract)``; raises ``NotExportable``.

    The outputs are the label or the value, the probabilities if there are some, and a score as ``SCORE``.
    Steps compute in double precision, and estimators that cannot in float32. ``guarded``: the value, the
    probabilities or the score are NaN where scikit-learn refuses what a step is given.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are about skl2onnx's own code
            graph = _laid_out(estimator, contract, guarded=guarded)
        onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    except NotExportable:
        raise
    except NotImplementedError as error:
        raise NotExportable(str(error)) from error
    except Exception as error:  # of a kind that nobody foresaw
        raise NotExportable(one_line(error)) from error
    return graph


def decision_threshold(estimator: Any) -> float | None:
    """The probability from which a wrapped classifier predicts its second class, or None.

    Raises ``NotExportable`` where it decides by another score than that probability.
    """
    if hasattr(estimator, "best_estimator_"):
        return decision_threshold(estimator.best_estimator_)
    if isinstance(estimator, Pipeline):
        return decision_threshold(estimator.steps[-1][1])
    if not isinstance(estimator, FixedThresholdClassifier | TunedThresholdClassifierCV):
        return None
    tuned = isinstance(estimator, TunedThresholdClassifierCV)
    threshold = estimator.best_threshold_ if tuned else estimator.threshold
    by_probability = estimator.response_method == "predict_proba" or (
        estimator.response_method == "auto" and hasattr(estimator.estimator_, "predict_proba")
    )
    if not by_probability:
        raise NotExportable("its decision threshold is for decision_function")
    positive = estimator._curve_scorer._get_pos_label() if tuned else estimator.pos_label
    if positive not in (None, estimator.classes_[1]):
        raise NotExportable("its decision threshold is for the first class")
    return 0.5 if threshold == "auto" else float(threshold)


def _laid_out(estimator: Any, contract: Contract, *, guarded: bool) -> bytes:
    converters.register()
    labels, layout = contract.task != "regression", Layout(guarded=guarded)
    probabilities = labels and hasattr(estimator, "predict_proba")
    scored = hasattr(estimator, SCORE_METHODS.get(contract.task, ""))
    if guarded and labels and not (probabilities or scored):
        raise NotImplementedError(
            "a label without probabilities or a score, which cannot show that it has no answer"
        )
    table = _table(contract)
    fed = tuple(map(partial(encoders.as_fed, layout.nodes), contract.features, table))
    outputs = [layout.respond(estimator, fed, "label" if labels else "predict")]
    if probabilities:
        outputs.append(layout.respond(estimator, fed, "predict_proba"))
    if scored:
        outputs.append(layout.respond(estimator, fed, "score"))
    for guard in layout.guards:
        outputs[-1] = layout.nodes.add("Add", outputs[-1], guard)
    label = REAL if not labels else TEXT if isinstance(contract.classes[0], str) else WHOLE
    kinds = dict(zip(outputs, (label, REAL, REAL), strict=False))
    return _content(layout, contract, table, kinds, {outputs[-1]: SCORE} if scored else {})


def given_to_last(
    estimator: Any, contract: Contract, *, operand: Callable[[onnx.ModelProto], str] | None = None
) -> bytes:
    """The graph of what the last step of a fitted pipeline is given, shape (n, columns).

    ``operand``: the name, in the step's own graph, of what is wanted in place of what the step is given.
    Raises ``NotExportable``.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converters.register()
            layout, table = Layout(guarded=False), _table(contract)
            made: Table = tuple(map(partial(encoders.as_fed, layout.nodes), contract.features, table))
            *before, last = steps_of(estimator)
            for step in before:
                made = layout.transform(step, made)
            given = layout.joined(made) if operand is None else layout.within(last, made, operand)
            given = layout.nodes.add("Identity", given)  # onnxruntime takes no graph without a node
            return _content(layout, contract, table, {given: REAL}, {})
    except NotImplementedError as error:
        raise NotExportable(str(error)) from error


def _table(contract: Contract) -> Table:
    """The features as the graph's inputs."""
    kinds = [TEXT if each.is_text else REAL for each in contract.features]
    return tuple(
        Part(f"feature {index}", kind, 1, each.categories)
        for index, (kind, each) in enumerate(zip(kinds, contract.features, strict=True))
    )


def _content(
    layout: Layout, contract: Contract, table: Table, outputs: Mapping[str, int], named: Mapping[str, str]
) -> bytes:
    """A graph from the features in ``table`` to ``outputs``, by their names; some are ``named`` anew."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        layout.graph.nodes,
        "model",
        [value(part.name, part.kind, [None, 1]) for part in table],
        [value(name, kind, None) for name, kind in outputs.items()],
        layout.graph.constants,
    )
    prune(graph)
    inputs = input_names(contract).values()
    names = {"": "", **{part.name: name for part, name in zip(table, inputs, strict=True)}, **named}
    rename(graph, names, lambda _: f"v{len(names)}")
    versions = layout.graph.versions
    if trees.ML in versions:
        versions[trees.ML] = trees.ML_VERSION
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid(*each) for each in sorted(versions.items())]
    )
    if text_inputs.lift(model, contract):
        prune(model.graph)
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
