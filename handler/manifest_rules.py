"""What ``model.json`` must be: the keys that it may have, what each holds, and what they have in common."""

from __future__ import annotations

import sys
from collections.abc import Callable, Container, Mapping, Sequence

from handler.errors import BundleError
from handler.manifest import (
    FORMAT,
    KINDS,
    MANIFEST,
    NUMBERS_FED_AS,
    TEXTS_FED_AS,
    UNSUPERVISED,
    Feature,
    Manifest,
    RowsAs,
    Task,
    content_version,
)
from handler.typed import Any, get_args

#: The keys of a feature that hold lists.
FEATURE_LISTS = ("categories", "missing_words")
LARGEST_DOUBLE = sys.float_info.max
#: What may follow a percent sign in a date's ``format``: of strptime's directives, and the quarter.
DATE_DIRECTIVES = "YymdbBHMSfzpIjq"


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


def parsed(document: Any) -> Manifest:
    """The manifest that ``model.json`` holds; raises ``BundleError`` that names the key at fault."""
    _check(document)
    return Manifest(
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
