"""LightGBM's models, from what they dump.

https://lightgbm.readthedocs.io/en/stable/pythonapi/lightgbm.Booster.html
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from training.export.dumps import Dump, Growing, grow, numbered, tested_for_members

#: What LightGBM counts as zero is at most this, a float32.
#: https://github.com/microsoft/LightGBM/blob/master/include/LightGBM/meta.h
ZERO = float(np.float32(1e-35))


def of_lightgbm(model: Any) -> Dump:
    """From ``dump_model``, which has the best iterations only, if fitting stopped early."""
    dump = model.booster_.dump_model()
    name, *options = dump["objective"].split() if dump.get("objective") else ["none"]
    link = LIGHTGBM_LINKS.get(name)
    if callable(model.get_params()["objective"]) or name in ("none", "custom"):
        raise NotImplementedError("LightGBM with an objective of its own")
    if link is None:
        raise NotImplementedError(f"LightGBM with the objective {name}")
    if name == "regression" and "sqrt" in options:
        raise NotImplementedError("LightGBM with reg_sqrt=True")
    (scale,) = [float(each[8:]) for each in options if each.startswith("sigmoid:")] or [1.0]
    targets = dump["num_tree_per_iteration"]
    width = dump["max_feature_idx"] + 1
    kinds: dict[int, set[str]] = {}
    trees = [
        tree
        for index, each in enumerate(dump["tree_info"])
        for tree in _lightgbm_tree(each["tree_structure"], kinds).trees([index % targets])
    ]
    if dump["average_output"]:
        rounds = max(1, len(trees) // targets)
        trees = [replace(tree, value=tree.value / rounds) for tree in trees]
    for found in kinds.values():
        if "Zero" in found and "NaN" in found:
            raise NotImplementedError("LightGBM with zeros that are missing in some of its trees only")
    return Dump(
        trees,
        [0.0] * targets,
        link,
        scale=scale,
        zeros=[math.nan if "Zero" in kinds.get(index, ()) else 0.0 for index in range(width)],
        whole=tested_for_members(trees),
        around_zero=True,
        texts=[numbered(each) for each in dump["pandas_categorical"] or ()],
    )


#: What an objective makes of a raw prediction.
#: https://lightgbm.readthedocs.io/en/stable/Parameters.html#objective
LIGHTGBM_LINKS: Mapping[str, str] = {
    **dict.fromkeys(("binary", "multiclassova", "cross_entropy"), "sigmoid"),
    "multiclass": "softmax",
    **dict.fromkeys(("poisson", "gamma", "tweedie"), "exp"),
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "identity"),
}


def _lightgbm_tree(root: Mapping[str, Any], kinds: dict[int, set[str]]) -> Growing:
    """``kinds`` gets what is missing for a feature: nothing (``None``), ``NaN``, or ``Zero`` too."""
    tree = Growing()

    def add(node: Mapping[str, Any]) -> int:
        if "leaf_coeff" in node:
            raise NotImplementedError("LightGBM with linear_tree=True")
        if "split_feature" not in node:
            return tree.leaf(node["leaf_value"], cover=node.get("leaf_count", 1))
        feature, missing = node["split_feature"], node["missing_type"]
        if node["decision_type"] == "==":  # a missing value is no category
            index = tree.branch(feature, 0.0, False)
            tree.members[index] = [float(each) for each in str(node["threshold"]).split("||")]
            return index
        kinds.setdefault(feature, set()).add(missing)
        threshold = float(node["threshold"])
        return tree.branch(
            feature, threshold, threshold >= 0 if missing == "None" else node["default_left"]
        )

    grow(tree, root, add, "left_child", "right_child")
    return tree
