"""XGBoost's models, from their JSON.

https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from training.export.dumps import Dump, numbered, tested_for_members
from training.export.trees import Tree


def of_xgboost(model: Any) -> Dump:
    """From its JSON; sums are in float32 there, and in doubles here."""
    if callable(model.get_params()["objective"]):
        raise NotImplementedError("XGBoost with an objective of its own")
    learner = json.loads(model.get_booster().save_raw("json"))["learner"]
    booster, parameters = learner["gradient_booster"], learner["learner_model_param"]
    if booster["name"] == "gblinear":
        raise NotImplementedError("XGBoost with booster='gblinear', which has no trees")
    weights = booster.get("weight_drop")  # of DART
    grown = (booster["gbtree"] if booster["name"] == "dart" else booster)["model"]
    if any(int(each["tree_param"]["size_leaf_vector"]) > 1 for each in grown["trees"]):
        raise NotImplementedError("XGBoost with multi_strategy='multi_output_tree'")
    if int(parameters["num_target"]) > 1:
        raise NotImplementedError("trees with several targets")
    end = len(grown["trees"])
    if (best := learner["attributes"].get("best_iteration")) is not None:
        end = grown["iteration_indptr"][int(best) + 1]
    trees = [
        _xgboost_tree(each, grown["tree_info"][index]) for index, each in enumerate(grown["trees"][:end])
    ]
    if weights is not None:
        trees = [
            replace(tree, value=tree.value * weight) for tree, weight in zip(trees, weights, strict=False)
        ]
    objective = learner["objective"]["name"]
    given = np.atleast_1d(np.array(json.loads(parameters["base_score"]), np.float64))
    groups = max(1, int(parameters["num_class"]))
    link = XGBOOST_LINKS.get(objective)
    if link is None:
        raise NotImplementedError(f"XGBoost with the objective {objective}")
    base = np.broadcast_to(_raw(link, given), groups).tolist()
    missing = float(np.float32(model.missing))
    known = [_xgboost_texts(each) for each in grown.get("cats", {}).get("enc", ())]
    return Dump(
        trees,
        base,
        link,
        single=True,
        gaps=() if math.isnan(missing) else (missing,),
        whole=tested_for_members(trees),
        texts=[numbered(each) for each in known if each],
    )


def _xgboost_texts(encoder: Mapping[str, Any]) -> list[str]:
    """A feature's categories, which follow each other as bytes."""
    if encoder["values"] and "offsets" not in encoder:
        raise NotImplementedError("XGBoost with categories of pandas that are not texts")
    content = bytes(each & 0xFF for each in encoder["values"])
    return [content[start:end].decode() for start, end in itertools.pairwise(encoder.get("offsets", ()))]


#: What an objective makes of a raw prediction.
#: https://xgboost.readthedocs.io/en/stable/parameter.html#learning-task-parameters
XGBOOST_LINKS: Mapping[str, str] = {
    **dict.fromkeys(("binary:logistic", "reg:logistic"), "sigmoid"),
    **dict.fromkeys(("multi:softprob", "multi:softmax"), "softmax"),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie"), "exp"),
    **dict.fromkeys(
        (
            "reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror", "reg:pseudohubererror",
            "reg:quantileerror",
        ),
        "identity",
    ),
}  # fmt: skip


def _raw(link: str, base: np.ndarray) -> np.ndarray:
    """A base score, which is stated as the link gives it, before the link."""
    if link == "sigmoid":
        base = base / (1 - base)
    return np.asarray(np.log(base) if link in ("sigmoid", "exp") else base)


def _xgboost_tree(tree: Mapping[str, Any], target: int) -> Tree:
    """A row goes left if it is below the condition, or, for categories, not among those of the node."""
    left, right = (np.array(tree[f"{side}_children"]) for side in ("left", "right"))
    conditions = np.array(tree["split_conditions"], np.float32)
    missing_left = np.array(tree["default_left"], bool)
    below = np.nextafter(conditions, np.float32(-np.inf)).astype(np.float64)
    members = {}
    for node, start, size in zip(
        tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True
    ):
        members[node] = [float(each) for each in tree["categories"][start : start + size]]
        left[node], right[node], missing_left[node] = right[node], left[node], not missing_left[node]
    value = np.where(left < 0, conditions, 0).astype(np.float64)
    cover = np.array(tree["sum_hessian"], np.float64)
    column = np.array(tree["split_indices"])
    return Tree(left, right, column, below, missing_left, value, target, members, cover)
