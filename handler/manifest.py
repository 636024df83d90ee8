"""The manifest, ``model.json``: the contract between training and serving, and what vouches for a bundle.

It names the model's features, its task and its classes, and the sha256 of the bundle's other files.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence

from handler import PACKED
from handler.typed import Any, Literal, NamedTuple, get_args

#: Bytes of a file from which OpenSSL, five times as fast as Python's own sha256, has won its 3 ms back.
LARGE = 1024 * 1024
#: The manifest's format. Raise it when a reader of the old number would misread a new manifest
#: (a key renamed, removed, or with another meaning); a new optional key does not raise it, as a reader
#: refuses by name a key that it does not know. Keep the old reader as long as bundles of its format are
#: served, with a test on one such manifest.
#: 1: ``version`` is over the model's files, features, task, classes and target only; still read.
FORMAT = 2

MANIFEST = "model.json"
SIGNATURE = "model.json.sig"
ONNX = "model.onnx"
SCALAR = "model.scalar"
JOBLIB = "model.joblib"
EXPLANATION = "model.explain"
CARD = "MODEL_CARD.md"
REPORT = "report.html"
FILES = frozenset({MANIFEST, SIGNATURE, ONNX, SCALAR, JOBLIB, EXPLANATION, CARD, REPORT})
#: What is written about the model, and names its version.
DOCUMENTS = frozenset({CARD, REPORT})
#: The keys that ``version`` leaves out: itself, and those that describe the model and that nothing reads
#: in order to predict or to check. Their edits are found by a signature only.
DESCRIPTION = frozenset({"version", "created", "metrics", "training"})
#: Keys that are written only where they say something: releases from before them refuse them.
LEFT_OUT = ("rows_as", "needs", "ignored", "explanation", "profile")

Kind = Literal["integer", "number", "boolean", "category", "text", "date"]
#: ``anomaly``: the label is -1 for an anomaly, else 1. ``cluster``: the label is the cluster's number.
Task = Literal["binary", "multiclass", "regression", "anomaly", "cluster"]
#: The tasks that are learnt without a target; their labels may have a score beside them.
UNSUPERVISED: Sequence[Task] = ("anomaly", "cluster")
RowsAs = Literal["frame", "array", "texts"]
Label = int | str
KINDS: Sequence[Kind] = get_args(Kind)

#: ``Feature.fed_as`` of texts: a missing one is NaN or None, or the column is a pandas category.
TEXTS_FED_AS = ("nan", "none", "category")
#: ``Feature.fed_as`` of any other kind: numpy's name of the dtype, where that is not float64.
NUMBERS_FED_AS = (
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32",
)  # fmt: skip


class Feature(NamedTuple):
    """One input of the model, as training saw it.

    ``minimum`` and ``maximum`` are observed, not enforced. ``open`` says of a category whether
    the model takes values beyond ``categories``. A ``text`` is free text; its ``categories`` are some
    texts of the training data, which only training knows: the manifest does not hold them. ``fed_as``:
    what the model was fitted on, one of ``TEXTS_FED_AS`` or ``NUMBERS_FED_AS``; None: texts that are empty
    where missing, or float64. Only ``estimator.fed`` reads it: records and columns are the same for all.
    ``format``: how text spells a number (``handler.spelling``), where that is not plain, or a date, in
    strptime's directives and ``%q``, the quarter. ``missing_words``: what spells a missing value in text,
    in lower case, where ``nullable``. ``minimum`` and ``maximum`` of a date are seconds since 1970.
    """

    name: str
    kind: Kind
    nullable: bool = False
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] = ()
    open: bool = False
    fed_as: str | None = None
    format: str | None = None
    missing_words: tuple[str, ...] = ()

    @property
    def is_text(self) -> bool:
        """Whether its values are strings, empty where missing; else they are doubles."""
        return self.kind in ("category", "text")

    def as_json(self) -> dict[str, Any]:
        """The feature's entry in the manifest."""
        head = {"name": self.name, "kind": self.kind, "nullable": self.nullable}
        tail: dict[str, Any] = {} if self.fed_as is None else {"fed_as": self.fed_as}
        if self.format is not None:
            tail["format"] = self.format
        if self.missing_words:
            tail["missing_words"] = list(self.missing_words)
        if self.kind == "text":
            return {**head, **tail}
        if self.kind == "category":
            return {**head, "categories": list(self.categories), "open": self.open, **tail}
        return {**head, "minimum": self.minimum, "maximum": self.maximum, **tail}


class Contract(NamedTuple):
    """What a scorer must know of its model; the features and the classes are in the model's order.

    ``rows_as``: whether the model was fitted on a DataFrame, on an array, or on its only column's texts.
    """

    features: tuple[Feature, ...]
    task: Task
    classes: tuple[Label, ...]
    rows_as: RowsAs = "frame"


class Manifest(NamedTuple):
    """The content of ``model.json``; ``docs/reference.md`` has the meaning of each key.

    ``target`` is empty where the model was fitted without one. ``threshold``: the probability of the
    second class from which it is predicted, where training was asked for one. ``ids``: columns that a
    request may carry and that are not features. ``ignored``: columns that it may carry too, and that no
    one reads.
    ``engines``: what serves ``one`` row and ``many`` (``scalar``, ``onnx`` or ``joblib``).
    ``needs``: of a model that is served from its pickle, the ``libraries`` beside scikit-learn, and the
    ``modules`` of the user's own, that the pickle imports. ``explanation``: the scale of explanations in
    ``of``, or in ``reason`` why there are none. ``profile``: what drift is measured against, see
    ``manifest_rules``. Both are empty in an older bundle.
    """

    name: str
    version: str
    created: str
    task: Task
    features: tuple[Feature, ...]
    target: str
    classes: tuple[Label, ...]
    metrics: Mapping[str, Any]
    runtime: Literal["onnx", "joblib"]
    parity: Mapping[str, Any]
    libraries: Mapping[str, str]
    training: Mapping[str, Any]
    files: Mapping[str, str]
    golden: tuple[Mapping[str, Any], ...] = ()
    threshold: float | None = None
    ids: tuple[str, ...] = ()
    engines: Mapping[str, str] = {}
    rows_as: RowsAs = "frame"
    needs: Mapping[str, Sequence[str]] = {}
    ignored: tuple[str, ...] = ()
    explanation: Mapping[str, str] = {}
    profile: Mapping[str, Any] = {}
    format: int = FORMAT

    def as_json(self) -> dict[str, Any]:
        """The manifest as the JSON object that ``model.json`` holds."""
        document = self._asdict()
        document["ignored"] = list(self.ignored)
        for key in LEFT_OUT:
            if not document[key] or document[key] == self._field_defaults[key]:
                del document[key]
        return {
            "format": document.pop("format"),
            **document,
            "features": [feature.as_json() for feature in self.features],
            "classes": list(self.classes),
            "golden": list(self.golden),
            "ids": list(self.ids),
        }

    def packed(self) -> tuple[Any, ...]:
        """Its members, for ``handler.PACKED``: plain tuples, as ``marshal`` has them."""
        members = {**self._asdict(), "features": tuple(tuple(each) for each in self.features)}
        return tuple(members.values())

    @classmethod
    def unpacked(cls, members: Sequence[Any]) -> Manifest:
        """The manifest whose ``packed`` gave these members."""
        manifest = cls(*members)
        return manifest._replace(features=tuple(Feature(*each) for each in manifest.features))

    @property
    def contract(self) -> Contract:
        """What the model's scorers must know of it."""
        return Contract(self.features, self.task, self.classes, self.rows_as)

    @property
    def probabilities(self) -> bool:
        """Whether the model gives probabilities; a few classifiers give only labels."""
        return bool(self.golden) and "probabilities" in self.golden[0]

    @property
    def score(self) -> bool:
        """Whether the model gives a score beside its label."""
        return bool(self.golden) and "score" in self.golden[0]

    @property
    def identity(self) -> dict[str, str]:
        """The model's name and version, as every answer carries them."""
        return {"name": self.name, "version": self.version}

    def vouches(self, name: str, content: bytes) -> bool:
        """Whether ``content`` is what training wrote as the file ``name``."""
        return digest(content) == self.files.get(name)


def content_version(document: Mapping[str, Any]) -> str:
    """The ``version`` that a manifest's content makes: 12 hex digits over all that is served or checked.

    ``document`` is the JSON of a manifest. All its keys count, future ones included, except those in
    ``DESCRIPTION``, and the hashes of all files except the report and the card, which name the version.
    """
    files = {name: each for name, each in document["files"].items() if name not in DOCUMENTS}
    contract: Any
    if document["format"] == 1:
        contract = [document[key] for key in ("features", "task", "classes", "target")]
    else:
        contract = {key: document[key] for key in document.keys() - DESCRIPTION - {"files"}}
    text = json.dumps([files, contract], sort_keys=True)
    return digest(text.encode())[:12]


def digest(content: bytes) -> str:
    """The sha256 of a file's content, in hexadecimal digits."""
    if len(content) < LARGE:
        return str(_sha256()(content).hexdigest())
    import hashlib

    return hashlib.sha256(content).hexdigest()


@functools.cache
def _sha256() -> Callable[[bytes], Any]:
    """Python's own, as the standard library's random does: hashlib would load OpenSSL, which takes 3 ms."""
    try:
        from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        try:
            from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]  # Python 3.11's name
        except ImportError:
            from hashlib import sha256
    return sha256  # type: ignore[no-any-return,unused-ignore]


def known_since_packing(name: str, content: bytes) -> Any:
    """What ``handler.PACKED`` has of a file whose bytes are those that were packed, as a fast hash says."""
    if not PACKED or name not in PACKED:
        return None
    from _imp import source_hash  # importlib's own, of sources: those of zlib and hashlib would be loaded

    packed, known = PACKED[name]
    return known if source_hash(0, content) == packed else None
