"""A folder that MLflow saved a model in: its files, its signature and its example, without MLflow.

https://mlflow.org/docs/latest/ml/model/
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from handler.manifest import Kind
from training.errors import TrainingError
from training.importing.versions import Needs

DESCRIPTION = "MLmodel"
#: The longest description that is read.
LONGEST = 1 << 24
#: The types of a signature's columns, and what a feature of each is.
KINDS: Mapping[str, Kind] = {
    "boolean": "boolean",
    "integer": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "string": "category",
}
#: Classes whose models MLflow saves in their library's own format, with the key that names the class.
OWN_FORMATS: Mapping[str, tuple[str, frozenset[str]]] = {
    "xgboost": (
        "model_class",
        frozenset({"XGBClassifier", "XGBRegressor", "XGBRFClassifier", "XGBRFRegressor"}),
    ),
    "catboost": ("model_type", frozenset({"CatBoostClassifier", "CatBoostRegressor"})),
}
#: Flavors whose model is a pickle of an estimator, each with the key of the file's name.
FLAVORS: Mapping[str, str] = {
    "sklearn": "pickled_model",
    "xgboost": "data",
    "lightgbm": "data",
    "catboost": "data",
}


@dataclass(frozen=True, slots=True)
class Folder:
    """What the folder says: the file of the model, what it needs, and what is known of its features.

    ``kinds``: by the names of the signature's columns, in order; empty where there is none. ``example``:
    rows, or None. ``own_format``: the library, the class and the options of ``load_model``, where the file
    is not a pickle.
    """

    model: Path
    needs: Needs
    kinds: Mapping[str, Kind]
    example: pd.DataFrame | None
    own_format: tuple[str, str, Mapping[str, str]] | None = None


def read(path: Path) -> Folder:
    """The description of the model in a folder; raises ``TrainingError``."""
    try:
        import yaml
    except ImportError as error:
        raise TrainingError(
            f"{path} is an MLflow folder, and reading one needs PyYAML: pip install pyyaml"
        ) from error
    description = path / DESCRIPTION
    try:
        if description.stat().st_size > LONGEST:
            raise TrainingError(f"{description} is longer than {LONGEST >> 20} MiB")
        document = yaml.safe_load(description.read_text(encoding="utf-8"))
        flavors = document["flavors"]
        flavor = next((name for name in FLAVORS if name in flavors), None)
        if flavor is None:
            raise TrainingError(
                f"{path} has the flavors {', '.join(map(str, flavors))}; one of {', '.join(FLAVORS)} is "
                "packaged"
            )
        details = flavors[flavor]
        file = path / str(details[FLAVORS[flavor]])
        if not file.resolve().is_relative_to(path.resolve()):
            raise TrainingError(f"{description} names a file outside of its folder")
        own = _own_format(flavor, details)
        return Folder(file, _needs(path, details), _kinds(document), _example(path, document), own)
    except FileNotFoundError as error:
        raise TrainingError(
            f"{path} is a folder without {DESCRIPTION}, and is not MLflow's; name a file, or a folder "
            "of MLflow"
        ) from error
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        yaml.YAMLError,
    ) as error:
        raise TrainingError(f"{description} cannot be read: {type(error).__name__}") from error


def _needs(path: Path, details: Mapping[str, Any]) -> Needs:
    """The version of scikit-learn by the description or, where it has none, by ``requirements.txt``."""
    stated = details.get("sklearn_version")
    if not stated:
        try:
            text = (path / "requirements.txt").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""
        found = re.search(r"^scikit-learn==([0-9][\w.]*)", text, re.M)
        stated = found[1] if found else None
    return Needs((str(stated),) if stated else ())


def _own_format(flavor: str, details: Mapping[str, Any]) -> tuple[str, str, Mapping[str, str]] | None:
    key, classes = OWN_FORMATS.get(flavor, ("", frozenset()))
    name = str(details.get(key, "")).rpartition(".")[2]
    if name not in classes:
        return None
    options = {"format": str(details["save_format"])} if "save_format" in details else {}
    return flavor, name, options


def _kinds(document: Mapping[str, Any]) -> dict[str, Kind]:
    """The names and kinds of the signature's inputs; where they have no names, nothing."""
    signature = document.get("signature") or {}
    inputs = json.loads(signature.get("inputs") or "[]")
    if not all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in inputs):
        return {}
    return {each["name"]: KINDS.get(str(each.get("type")), "number") for each in inputs}


def _example(path: Path, document: Mapping[str, Any]) -> pd.DataFrame | None:
    """The rows of ``input_example.json``, where they are a table."""
    info = document.get("saved_input_example_info") or {}
    file = path / str(info.get("artifact_path", ""))
    if info.get("type") not in ("dataframe", "ndarray") or not file.resolve().is_relative_to(
        path.resolve()
    ):
        return None
    held = json.loads(file.read_text(encoding="utf-8"))
    if info["type"] == "ndarray":
        rows = held.get("inputs", held) if isinstance(held, dict) else held
        return pd.DataFrame(rows)
    return pd.DataFrame(held["data"], columns=held.get("columns"))
