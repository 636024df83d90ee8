"""The fitted estimator as an ONNX graph: one input per feature, the label and the probabilities out.

A regression's graph has only its value, and that of a classifier without ``predict_proba`` only the label.
How an estimator is laid out is in ``layout``. Whether the graph equals the model is judged in
``proof.parity``.
"""

from __future__ import annotations

import warnings
from typing import Any

import onnx
import onnxruntime
from sklearn.base import is_classifier
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline

from handler.bundle import Contract
from handler.scoring.scorers import input_names
from training.errors import one_line
from training.export import converters, trees
from training.export.layout import Layout, rename
from training.export.layout import NotExportable as NotExportable
from training.export.nodes import REAL, TEXT, WHOLE, Part


def to_onnx(estimator: Any, contract: Contract, *, guarded: bool = False) -> bytes:
    """The graph, with its inputs named by ``input_names(contract)``; raises ``NotExportable``.

    Steps compute in double precision, and estimators that cannot in float32. ``guarded``: the value or the
    probabilities are NaN where scikit-learn refuses what a step is given.
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
    inputs = input_names(contract)
    classifies, layout = is_classifier(estimator), Layout(guarded=guarded)
    probabilities = classifies and hasattr(estimator, "predict_proba")
    if guarded and classifies and not probabilities:
        raise NotImplementedError(
            "a classifier without probabilities, which cannot show that it has no answer"
        )
    kinds = [TEXT if each.kind == "category" else REAL for each in contract.features]
    table = tuple(Part(f"feature {index}", kind, 1) for index, kind in enumerate(kinds))
    outputs = [layout.respond(estimator, table, "label" if classifies else "predict")]
    if probabilities:
        outputs.append(layout.respond(estimator, table, "predict_proba"))
    for guard in layout.guards:
        outputs[-1] = layout.nodes.add("Add", outputs[-1], guard)
    label = REAL if not classifies else TEXT if estimator.classes_.dtype.kind in "OU" else WHOLE
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        layout.graph.nodes,
        "model",
        [value(part.name, part.kind, [None, 1]) for part in table],
        [value(name, kind, None) for name, kind in zip(outputs, (label, REAL), strict=False)],
        layout.graph.constants,
    )
    _prune(graph)
    names = {"": "", **{part.name: name for part, name in zip(table, inputs.values(), strict=True)}}
    rename(graph, names, lambda _: f"v{len(names)}")
    versions = layout.graph.versions
    if trees.ML in versions:
        versions[trees.ML] = trees.ML_VERSION
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid(*each) for each in sorted(versions.items())]
    )
    model.ir_version = onnx.helper.find_min_ir_version_for(model.opset_import)
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _prune(graph: onnx.GraphProto) -> None:
    """Drop the nodes and constants that no output needs."""
    needed = {output.name for output in graph.output}
    nodes: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            nodes.insert(0, node)
    constants = [each for each in graph.initializer if each.name in needed]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(constants)
