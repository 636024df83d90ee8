"""The bundle: one folder with the fitted model, its ONNX twin, and the manifest that vouches for both.

``model.json`` is the contract between training and serving. Loading trusts a manifest only if its
content makes its ``version``, a file only if its sha256 is the manifest's, and a pickle only under the
library versions that it was made with. That finds what was changed by accident; a signature
(``handler.signing``) finds what was changed on purpose. What was verified when a zip was packed is not
verified again at each start, where a faster hash finds the same bytes.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Container, Mapping, Sequence

from handler import PACKED
from handler.errors import BundleError
from handler.typed import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from pathlib import Path

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
#: What to do with a model that is put in the place of the bundle's.
SWAPPED = ", or package the model that it is: python -m training package MODEL --sample CSV --trust"
#: What is written about the model, and names its version.
DOCUMENTS = frozenset({CARD, REPORT})
#: The keys that ``version`` leaves out: itself, and those that describe the model and that nothing reads
#: in order to predict or to check. Their edits are found by a signature only.
DESCRIPTION = frozenset({"version", "created", "metrics", "training"})
#: Keys that are written only where they say something: releases from before them refuse them.
LEFT_OUT = ("rows_as", "needs", "ignored", "explanation", "profile")
LARGEST_DOUBLE = 1.7976931348623157e308

#: A pickle of a fitted estimator is read only under these libraries' very versions.
#: https://scikit-learn.org/stable/model_persistence.html
PICKLE_LIBRARIES = ("scikit-learn", "numpy", "scipy", "joblib")

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
#: What may follow a percent sign in a date's ``format``: of strptime's directives, and the quarter.
DATE_DIRECTIVES = "YymdbBHMSfzpIjq"


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
    ``PROFILE_RULES``. Both are empty in an older bundle.
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

    @classmethod
    def from_json(cls, document: Any, checked: bool = False) -> Manifest:
        """Parse ``model.json``; raises ``BundleError`` that names the key at fault, or both versions.

        ``checked``: the same document was parsed when it was packed, see ``handler.PACKED``.
        """
        if not checked:
            _check(document)
        return cls(
            **{
                **document,
                "features": tuple(
                    Feature(**{**feature, **{key: tuple(feature.get(key, ())) for key in FEATURE_LISTS}})
                    for feature in document["features"]
                ),
                "classes": tuple(document["classes"]),
                "golden": tuple(document["golden"]),
                "ids": tuple(document.get("ids", ())),
                "ignored": tuple(document.get("ignored", ())),
            }
        )

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
        return (_packed_digest(name, content) or _digest(content)) == self.files.get(name)


class Bundle(NamedTuple):
    """An opened bundle: the manifest is read, no model file is yet."""

    folder: str | Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: str | Path, public_key: str | None = None) -> Bundle:
        """Read the manifest in ``folder``; raises ``BundleError``.

        ``public_key``: whose signature the manifest must have; PEM text, or the path of a PEM file.
        """
        path = os.path.join(folder, MANIFEST)
        try:
            content = _content(path)
            if public_key is not None:
                _verify(public_key, content, os.path.join(folder, SIGNATURE))
            checked = _packed_digest(MANIFEST, content) is not None
            return cls(folder, Manifest.from_json(json.loads(content), checked))
        except FileNotFoundError as error:
            raise BundleError(
                f"no model at {folder} ({MANIFEST} is missing): run 'make train' or "
                "'sklearn-function train', or point MODEL_DIR at a bundle"
            ) from error
        except (OSError, ValueError, RecursionError) as error:
            raise BundleError(f"{path} cannot be read: {type(error).__name__}") from error

    def has(self, name: str) -> bool:
        """Whether the folder has a file of that name."""
        return os.path.exists(os.path.join(self.folder, name))

    def read(self, name: str) -> bytes:
        """A model file's bytes, only if their sha256 is the manifest's; raises ``BundleError``."""
        expected = self.manifest.files.get(name)
        if expected is None:
            raise BundleError(f"{MANIFEST} does not vouch for a file {name}")
        path = os.path.join(self.folder, name)
        try:
            content = _content(path)
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {type(error).__name__}") from error
        if not self.manifest.vouches(name, content):
            raise BundleError(
                f"{path} has sha256 {_digest(content)} and {MANIFEST} says {expected}: the file "
                f"was changed after training; restore it or train again{SWAPPED if name == JOBLIB else ''}"
            )
        return content

    def documents(self) -> dict[str, bytes]:
        """The files that no prediction needs, as they lie in the folder now: ask ``Manifest.vouches``.

        They are the report, the card and what explains predictions. Hashing them takes over a
        millisecond, which a first prediction does not wait for.
        """
        contents = {}
        for name in sorted((DOCUMENTS | {EXPLANATION}) & self.manifest.files.keys()):
            try:
                contents[name] = _content(os.path.join(self.folder, name))
            except OSError:  # a bundle may be served without them
                continue
        return contents

    def check_libraries(self) -> None:
        """Raise ``BundleError`` unless the pickle's libraries are installed in the same versions."""
        import importlib.metadata  # 10 ms that only a pickle needs

        differences = []
        libraries = [*PICKLE_LIBRARIES, *self.manifest.needs.get("libraries", ())]
        for library in libraries:
            trained = self.manifest.libraries.get(library)
            try:
                installed = importlib.metadata.version(library)
            except importlib.metadata.PackageNotFoundError:
                installed = "absent"
            if trained is not None and trained != installed:
                differences.append(f"{library} {trained} at training, {installed} here")
        if differences:
            wanted = " ".join(
                f"{library}=={self.manifest.libraries[library]}"
                for library in libraries
                if library in self.manifest.libraries
            )
            raise BundleError(
                f"{JOBLIB} was made with other library versions: {'; '.join(differences)}. "
                f"Install {wanted}, or train again"
            )


def _verify(public_key: str, content: bytes, path: str) -> None:
    """``signing.verify``, whose import takes 30 ms that only a key needs."""
    try:
        from handler import signing
    except ImportError as error:  # the zip of the request function leaves it out
        raise BundleError(
            "MODEL_PUBLIC_KEY asks for a signature, which the zip of the request function cannot check: "
            "serve the image, or have Lambda check the zip's own signature"
        ) from error
    signing.verify(public_key, content, path)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:  # without pathlib: the first prediction waits for every import
        return file.read()


def content_version(document: Mapping[str, Any]) -> str:
    """The ``version`` that a manifest's content makes: 12 hex digits over all that is served or checked.

    ``document`` is the JSON of a manifest. All its keys count, future ones included, except those in
    ``DESCRIPTION``, and the hashes of all files except the report and the card, which name the version.
    """
    files = {name: digest for name, digest in document["files"].items() if name not in DOCUMENTS}
    contract: Any
    if document["format"] == 1:
        contract = [document[key] for key in ("features", "task", "classes", "target")]
    else:
        contract = {key: document[key] for key in document.keys() - DESCRIPTION - {"files"}}
    text = json.dumps([files, contract], sort_keys=True)
    return _digest(text.encode())[:12]


def _digest(content: bytes) -> str:
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


def _packed_digest(name: str, content: bytes) -> str | None:
    """The sha256 of a file whose bytes are those that were packed into a zip, as a faster hash says."""
    if not PACKED or name not in PACKED:
        return None
    from _imp import source_hash  # importlib's own, of sources: those of zlib and hashlib would be loaded

    packed, digest = PACKED[name]
    return digest if source_hash(0, content) == packed else None


def _is_text(value: object) -> bool:
    """Whether it is a text that UTF-8 can hold: JSON can spell half of a surrogate pair."""
    return isinstance(value, str) and (
        value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value)
    )


def _is_number(value: Any) -> bool:
    """Whether it is a finite number: JSON's reader takes NaN and Infinity too."""
    return type(value) in (int, float) and abs(value) <= LARGEST_DOUBLE


def _are_numbers(value: Any, low: float = -LARGEST_DOUBLE, high: float = LARGEST_DOUBLE) -> bool:
    return isinstance(value, list) and all(_is_number(each) and low <= each <= high for each in value)


def _are_edges(value: Any) -> bool:
    return _are_numbers(value) and all(value[index] < value[index + 1] for index in range(len(value) - 1))


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value)) and len(set(value)) == len(value)


def _are_words(value: Any) -> bool:
    return _are_texts(value) and all(each and each == each.strip().lower() for each in value)


def _are_classes(value: object) -> bool:
    if not isinstance(value, list):
        return False
    whole = all(type(each) is int and -(2**63) <= each < 2**63 for each in value)
    return (whole or all(map(_is_text, value))) and len(set(value)) == len(value)


#: What the value of a key must be, in words, and whether it is.
Rule = tuple[str, Callable[[Any], bool]]
TEXT: Rule = ("a text", _is_text)
TEXTS: Rule = ("a list of different texts", _are_texts)
TEXT_BY_NAME: Rule = (
    "an object of texts",
    lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
)
NUMBER_OR_NULL: Rule = ("a number or null", lambda value: value is None or _is_number(value))
BOOLEAN: Rule = ("true or false", lambda value: isinstance(value, bool))
OBJECT: Rule = ("an object", lambda value: isinstance(value, dict))
ROWS: Rule = ("a list with one entry or more", lambda value: isinstance(value, list) and value != [])


def _one_of(words: Sequence[str]) -> Rule:
    return (f"one of {', '.join(words)}", lambda value: value in words)


RULES: Mapping[str, Rule] = {
    "format": ("an integer", lambda value: isinstance(value, int)),
    "name": ("a printable text", lambda value: _is_text(value) and value.isprintable() and value != ""),
    "version": TEXT,
    "created": TEXT,
    "task": _one_of(get_args(Task)),
    "features": ROWS,
    "target": TEXT,
    "classes": ("a list of different texts, or of different integers of 64 bits", _are_classes),
    "metrics": OBJECT,
    "runtime": _one_of(("onnx", "joblib")),
    "parity": OBJECT,
    "libraries": TEXT_BY_NAME,
    "training": OBJECT,
    "files": TEXT_BY_NAME,
    "golden": ROWS,
    "threshold": NUMBER_OR_NULL,
    "ids": TEXTS,
    "engines": TEXT_BY_NAME,
    "rows_as": _one_of(get_args(RowsAs)),
    "needs": OBJECT,
    "ignored": TEXTS,
    "explanation": TEXT_BY_NAME,
    "profile": OBJECT,
}
#: ``rows`` were profiled. ``predictions`` has the edges of what is predicted (the probability of the
#: positive class, the score, or the value), or the classes as its levels.
PROFILE_RULES: Mapping[str, Rule] = {
    "rows": ("a whole number of 1 or more", lambda value: type(value) is int and value >= 1),
    "features": OBJECT,
    "predictions": OBJECT,
}
#: A feature's values, or predictions, in bins: of numbers between ``edges``, where an edge belongs to the
#: bin above it; of texts by ``levels``, and one more bin for all other texts. ``shares`` has a number for
#: each bin; ``missing`` is the share that no bin holds.
BINS_RULES: Mapping[str, Rule] = {
    "edges": ("a list of numbers that rise", _are_edges),
    "levels": TEXTS,
    "shares": ("a list of numbers from 0 to 1", lambda value: _are_numbers(value, 0, 1)),
    "missing": ("a number from 0 to 1", lambda value: _are_numbers([value], 0, 1)),
}
NEEDS_RULES: Mapping[str, Rule] = {"libraries": TEXTS, "modules": TEXTS}
FEATURE_RULES: Mapping[str, Rule] = {
    "name": TEXT,
    "kind": _one_of(KINDS),
    "nullable": BOOLEAN,
    "minimum": NUMBER_OR_NULL,
    "maximum": NUMBER_OR_NULL,
    "categories": TEXTS,
    "open": BOOLEAN,
    "fed_as": _one_of((*TEXTS_FED_AS, *NUMBERS_FED_AS)),
    "format": TEXT,
    "missing_words": ("a list of different texts, in lower case and without blanks around", _are_words),
}
#: The keys of a feature that hold lists.
FEATURE_LISTS = ("categories", "missing_words")


def _check(document: Any) -> None:
    """Raise ``BundleError`` unless ``document`` is a manifest, of a known format, as training wrote it."""
    if not isinstance(document, dict):
        raise BundleError(f"{MANIFEST} does not hold a JSON object; train again")
    number = document.get("format")
    if type(number) is not int or not 1 <= number <= FORMAT:
        shown = number if type(number) is int and abs(number) < 1000 else "unknown"
        raise BundleError(
            f"{MANIFEST} has format {shown} and this code reads formats 1 to {FORMAT}; train again, "
            "or serve it with the release that made it"
        )
    _check_content(document)
    made = content_version(document)
    if made != document["version"]:
        raise BundleError(
            f"{MANIFEST} says version {document['version'][:40]!r} and its content makes {made!r}: it "
            "was changed after training; restore it or train again"
        )


def _check_content(document: Mapping[str, Any]) -> None:
    """Raise ``BundleError`` that names the key, unless ``document`` can be a manifest."""
    _check_keys(document, RULES, Manifest._field_defaults.keys() - {"golden"}, "")
    if "needs" in document:
        _check_keys(document["needs"], NEEDS_RULES, (), "needs")
    for index, each in enumerate(document["features"]):
        _check_keys(each, FEATURE_RULES, Feature._field_defaults, f"features[{index}]")
        fed_as = TEXTS_FED_AS if each["kind"] in ("category", "text") else NUMBERS_FED_AS
        if each.get("fed_as", fed_as[0]) not in fed_as:
            raise _wrong(f"'features[{index}].fed_as' must be one of {', '.join(fed_as)}")
        if "format" in each:
            _check_format(each["kind"], each["format"], f"features[{index}].format")
    names = [each["name"] for each in document["features"]]
    if len(set(names)) < len(names):
        raise _wrong("'features' must have different names")
    if document.get("profile"):
        _check_profile(document)
    classes, task = document["classes"], document["task"]
    sound = {
        "regression": not classes,
        "binary": len(classes) == 2,
        "multiclass": bool(classes),
        "anomaly": classes == [-1, 1],
        "cluster": bool(classes) and type(classes[0]) is int,
    }
    if not sound[task]:
        raise _wrong(f"'classes' must be those that a task of '{task}' has")
    if not _is_number(document["parity"].get("tolerance")):
        raise _wrong("'parity' must have a number as its 'tolerance'")
    labels, known = set(map(str, classes)), frozenset(classes)
    golden_rules: Mapping[str, Rule] = {
        "record": OBJECT,
        "prediction": ("one of the classes", lambda value: type(value) in (int, str) and value in known)
        if classes
        else ("a number", _is_number),
        "probabilities": (
            "an object with a number for each class",
            lambda value: (
                isinstance(value, dict) and value.keys() == labels and all(map(_is_number, value.values()))
            ),
        ),
    }
    if task in UNSUPERVISED:
        golden_rules = {**golden_rules, "score": ("a number", _is_number)}
    for index, row in enumerate(document["golden"]):
        _check_keys(row, golden_rules, {"probabilities", "score"}, f"golden[{index}]")
    for key in ("probabilities", "score"):
        if len({key in row for row in document["golden"]}) > 1:
            raise _wrong(f"'golden' must have '{key}' in every row, or in none")


def _check_profile(document: Mapping[str, Any]) -> None:
    """Raise ``BundleError`` unless a manifest's profile is one of its model."""
    profile, golden = document["profile"], document["golden"][0]
    _check_keys(profile, PROFILE_RULES, (), "profile")
    kinds = {each["name"]: each["kind"] for each in document["features"]}
    if profile["features"].keys() != kinds.keys():
        raise _wrong("'profile.features' must have the names of the features")
    by_amount = document["task"] == "regression" or (
        isinstance(golden, dict)
        and ("score" in golden or (document["task"] == "binary" and "probabilities" in golden))
    )
    levelled = {name: kind == "category" for name, kind in kinds.items()}
    every = [
        (f"profile.features[{name[:40]!r}]", bins, levelled[name])
        for name, bins in profile["features"].items()
    ]
    for where, bins, has_levels in (*every, ("profile.predictions", profile["predictions"], not by_amount)):
        _check_keys(bins, BINS_RULES, ("edges", "levels", "missing"), where)
        key, other = ("levels", "edges") if has_levels else ("edges", "levels")
        if key not in bins or other in bins:
            raise _wrong(f"'{where}' must have '{key}', and no '{other}'")
        if len(bins["shares"]) != len(bins[key]) + 1:
            raise _wrong(f"'{where}.shares' must have one number more than '{key}'")
    levels = profile["predictions"].get("levels")
    if levels is not None and levels != [str(label) for label in document["classes"]]:
        raise _wrong("'profile.predictions.levels' must be the classes")


def _check_format(kind: str, format: str, where: str) -> None:
    """Raise ``BundleError`` unless a feature of the kind can have the format."""
    if kind in ("integer", "number"):
        from handler.spelling import spelling  # which few models need

        if spelling(format) is None:
            raise _wrong(f"'{where}' must spell the number 1234.5, as 1.234,5 or $1,234.5 does")
    elif kind == "date":
        directives = set(format.replace("%%", "").split("%")[1:])
        if not directives or any(each[:1] not in DATE_DIRECTIVES for each in directives):
            raise _wrong(f"'{where}' must have directives of %{', %'.join(DATE_DIRECTIVES)}, and no others")
    else:
        raise _wrong(f"'{where}' must not be there: only numbers and dates have a format")


def _check_keys(value: Any, rules: Mapping[str, Rule], optional: Container[str], where: str) -> None:
    """Raise ``BundleError`` unless ``value`` is an object with these keys, each as its rule says."""
    if not isinstance(value, dict):
        raise _wrong(f"'{where}' must be an object")
    prefix = f"{where}." if where else ""
    for key in value:
        if key not in rules:
            raise _wrong(f"it has a key {prefix + key[:40]!r}, which this code does not know")
    for key, (rule, holds) in rules.items():
        if key in value:
            if not holds(value[key]):
                raise _wrong(f"'{prefix}{key}' must be {rule}")
        elif key not in optional:
            raise _wrong(f"it lacks '{prefix}{key}'")


def _wrong(what: str) -> BundleError:
    return BundleError(f"{MANIFEST} does not follow its format: {what}; restore it or train again")
