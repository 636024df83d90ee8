"""The exported graph in onnxruntime, as a scorer: what it is given, and what is made of its outputs."""

from __future__ import annotations

import os
from collections.abc import Mapping

from handler.errors import BundleError
from handler.manifest import Contract, Feature
from handler.schema import Columns
from handler.scoring.scorers import LANES, Scores, class_index, length, models_code
from handler.typed import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from handler.categories import Numbering
    from handler.scoring.texts import Vectorizer
    from handler.scoring.trees import Sums

#: The most rows that a graph is given at once, which bounds what lies between its nodes, and the most
#: numbers that texts become at once: 64 MB of doubles.
PIECE, CELLS = 2048, 8_000_000
#: The key of the graph's metadata, whose value is a JSON object: by the name of an input of codes, the
#: texts that have one beside the feature's own levels.
LEVELS = "levels"
#: The key of a graph's metadata that states trees which follow it; see ``handler.scoring.trees``.
TREES = "trees"
#: The graph's output of a score, which is its last one.
SCORE = "score"
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else onnxruntime writes a device id, and calls home


class OnnxScorer:
    """The exported graph in onnxruntime, one thread per call; safe to call from several threads."""

    def __init__(self, graph: bytes, contract: Contract) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise BundleError(
                "onnxruntime is not installed: activate .venv (make serve makes it), or install "
                "requirements/serve.txt"
            ) from error

        def session(graph: bytes) -> Any:
            return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = session(graph)
        stated = self._session.get_modelmeta().custom_metadata_map
        features = {name: feature for feature, name in input_names(contract).items()}
        every = {feature.name: feature for feature in contract.features}
        inputs = self._session.get_inputs()
        names = [node.name for node in inputs]
        self._inputs = [(name, features[name]) for name in names if name in features]
        #: Of a category: its codes where the graph takes these, else None.
        self._numberings: dict[str, Numbering | None] = {
            node.name: _numbering(every[features[node.name]], node, stated)
            for node in inputs
            if node.name in features and every[features[node.name]].kind == "category"
        }
        self._texts: list[tuple[str, str, Vectorizer]] = []
        if len(self._inputs) < len(names):
            from handler.scoring.texts import Vectorizer, recipes

            self._texts = [
                (name, features[recipe.pop("feature")], Vectorizer(**recipe))
                for name, recipe in recipes(stated).items()
            ]
        self._made = [node.name for node in self._session.get_outputs()]
        self._sums: list[Sums] = []
        last = self._session
        if TREES in stated:
            from handler.scoring.trees import follows

            self._sums, after = follows(stated[TREES])
            last = self._last = session(after)
            self._needed = [node.name for node in last.get_inputs()]
        label, *_ = made = last.get_outputs()
        self._outputs = [node.name for node in made]
        self._has_score = SCORE in self._outputs
        self._index = class_index(contract.classes)
        if isinstance(next(iter(contract.classes), 0), str) and label.type == "tensor(int64)":
            self._index = lambda indices: indices  # the graph has texts, if at all

    def score(self, columns: Columns) -> Scores:
        outputs = self._run(columns)
        if self._index is None:
            return Scores(outputs[0].reshape(-1).astype("float64", copy=False), None)
        score = outputs.pop().reshape(-1) if self._has_score else None
        probabilities = outputs[1] if len(outputs) > 1 else None
        return Scores(self._index(outputs[0].reshape(-1)), probabilities, score)

    @property
    def at_once(self) -> int:
        """How many rows the graph is given at once: fewer, where a text becomes many thousand numbers."""
        numbers = sum(vectorizer.size for _, _, vectorizer in self._texts)
        return min(PIECE, max(1, CELLS // numbers // LANES) * LANES) if numbers else PIECE

    def table(self, columns: Columns) -> np.ndarray:
        """The graph's only output, shape (n, k), where it is not a prediction."""
        (output,) = self._run(columns)
        return output

    def _run(self, columns: Columns) -> list[np.ndarray]:
        """The outputs, made ``at_once`` rows at a time."""
        import numpy as np

        from handler.categories import texts_of

        size = self.at_once
        every, pieces = length(columns), []
        for start in range(0, max(every, 1), size):
            piece = {name: values[start : start + size] for name, values in columns.items()}
            made = {
                name: vectorizer.table(texts_of(piece[feature]))
                for name, feature, vectorizer in self._texts
            }
            outputs = self._run_piece(piece, made)
            if every > size:  # a graph may give its labels the shape (1, n)
                outputs = [each.reshape(length(piece), -1) for each in outputs]
            pieces.append(outputs)
        return pieces[0] if every <= size else [np.concatenate(each) for each in zip(*pieces, strict=True)]

    def _run_piece(self, columns: Columns, made: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        feed = {name: self._given(name, columns[feature]) for name, feature in self._inputs}
        feed |= made
        with models_code():
            outputs: list[np.ndarray] = self._session.run(self._made, feed)
            if self._sums:
                feed |= zip(self._made, outputs, strict=True)
                feed |= {each.name: each.of(feed[each.given]) for each in self._sums}
                outputs = self._last.run(self._outputs, {name: feed[name] for name in self._needed})
        return outputs

    def _given(self, name: str, column: Any) -> Any:
        """A column as the input of that name takes it."""
        if name not in self._numberings:
            return column.reshape(-1, 1)
        numbering = self._numberings[name]
        if numbering is not None:
            return numbering.codes(column)
        from handler.categories import texts_of

        return texts_of(column).reshape(-1, 1)


def _numbering(feature: Feature, node: Any, metadata: Mapping[str, str]) -> Numbering | None:
    """How a graph's input numbers a category, None where it takes texts."""
    if node.type == "tensor(string)":
        return None
    import json

    from handler.categories import Numbering

    return Numbering(feature, json.loads(metadata.get(LEVELS, "{}")).get(node.name, ()))


def input_names(contract: Contract) -> dict[str, str]:
    """The graph's input of each feature: ``x0``, ``x1``, ..., since a feature's name may be anything."""
    return {feature.name: f"x{index}" for index, feature in enumerate(contract.features)}
