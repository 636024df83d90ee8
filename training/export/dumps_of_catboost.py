"""CatBoost's models, from their JSON.

https://catboost.ai/docs/en/concepts/python-reference_catboost_save_model
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from training.export.dumps import Dump, Growing, grow, numbered
from training.export.trees import Tree


def of_catboost(model: Any) -> Dump:
    """From its JSON: oblivious trees, whose splits are the bits of a leaf's number, or trees that nest."""
    dump = _catboost_json(model)
    features = dump["features_info"]
    if features.get("ctrs") or features.get("text_features") or features.get("embedding_features"):
        raise NotImplementedError(
            "CatBoost with tables of counts, of categories, texts or embeddings; where one_hot_max_size is "
            "at least the number of categories, it makes none of them"
        )
    if getattr(model, "get_probability_threshold", lambda: 0.5)() != 0.5:
        raise NotImplementedError("CatBoost with a probability threshold of its own")
    columns = {each["feature_index"]: each["flat_feature_index"] for each in features["float_features"]}
    categories = {
        each["feature_index"]: each["flat_feature_index"]
        for each in features.get("categorical_features", ())
    }
    missing = {
        each["feature_index"]: each.get("nan_value_treatment", "AsIs")
        for each in features["float_features"]
    }
    loss = model.get_all_params().get("loss_function", "") if hasattr(model, "get_all_params") else ""
    name = str(loss).partition(":")[0]
    link = CATBOOST_LINKS.get(name)
    if link is None:
        raise NotImplementedError(f"CatBoost with the loss function {name or 'of its own'}")
    scale, base = dump["scale_and_bias"]
    targets = list(range(len(base)))
    split_of = _Splits(columns, missing, categories)
    grown = [_oblivious(each, len(targets), split_of) for each in dump.get("oblivious_trees") or ()] + [
        _nested(each, split_of) for each in dump.get("trees") or ()
    ]
    trees = [replace(tree, value=tree.value * scale) for each in grown for tree in each.trees(targets)]
    hashes: dict[int, set[float]] = {column: set() for column in sorted(categories.values())}
    for tree in trees:
        for node, members in tree.members.items():
            hashes[int(tree.feature[node])].update(members)
    return Dump(trees, base, link, single=True, hashes=hashes)


#: What a loss function makes of a raw prediction.
#: https://catboost.ai/docs/en/concepts/loss-functions
CATBOOST_LINKS: Mapping[str, str] = {
    **dict.fromkeys(("Logloss", "CrossEntropy", "MultiClassOneVsAll"), "sigmoid"),
    "MultiClass": "softmax",
    **dict.fromkeys(("Poisson", "Tweedie"), "exp"),
    **dict.fromkeys(
        ("RMSE", "MAE", "Quantile", "MAPE", "Huber", "LogCosh", "Lq", "Expectile"),
        "identity",
    ),
}


def _catboost_json(model: Any, pool: Any = None) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.json"
        model.save_model(str(file), format="json", pool=pool)
        return json.loads(file.read_text(encoding="utf-8"))


def with_hashed(dump: Dump, model: Any, texts: Sequence[Sequence[str]]) -> Dump:
    """The same, with the numbers of the texts that the sample had; CatBoost tells them for rows."""
    if not dump.hashes:
        return dump
    if len(texts) != len(dump.hashes):
        raise NotImplementedError("CatBoost with categories that are not texts")
    known = {column: ["", *own] for column, own in zip(dump.hashes, texts, strict=True)}
    rows = max(map(len, known.values()))
    names = model.feature_names_
    frame = pd.DataFrame(
        {
            name: np.resize(np.array(known[column], object), rows) if column in known else np.zeros(rows)
            for column, name in enumerate(names)
        }
    )
    pool = sys.modules["catboost.core"].Pool(frame, cat_features=list(known))
    stated = _catboost_json(model, pool)["features_info"]["cat_features_hash"]
    numbers = {each["value"]: float(np.uint32(each["hash"]).astype(np.int32)) for each in stated}
    if any(used - {numbers[text] for text in known[column]} for column, used in dump.hashes.items()):
        raise NotImplementedError("CatBoost with categories that the sample does not have")
    # As float32, in which all columns are compared, hashes would not differ.
    codes = {column: numbered(sorted(used)) for column, used in dump.hashes.items()}
    coded = [
        {text: codes[column].get(numbers[text], -1.0) for text in own} for column, own in known.items()
    ]
    return replace(dump, texts=coded, trees=[_with_codes(tree, codes) for tree in dump.trees])


def _with_codes(tree: Tree, codes: Mapping[int, Mapping[float, float]]) -> Tree:
    members = {
        node: [codes[int(tree.feature[node])][each] for each in own] for node, own in tree.members.items()
    }
    return replace(tree, members=members)


@dataclass(frozen=True, slots=True)
class _Splits:
    """Adds a branch for a split of CatBoost's: a row that is above the border goes right.

    So does one with the category, but here it goes left: the sides of such a branch change places.
    """

    columns: Mapping[int, int]
    missing: Mapping[int, str]
    categories: Mapping[int, int]

    def add(self, tree: Growing, split: Mapping[str, Any]) -> int:
        if split.get("split_type") == "OneHotFeature":
            index = tree.branch(self.categories[split["cat_feature_index"]], 0.0, False)
            tree.members[index] = [float(split["value"])]
            return index
        if split.get("split_type", "FloatFeature") != "FloatFeature":
            raise NotImplementedError(f"CatBoost with splits of the type {split['split_type']}")
        feature = split["float_feature_index"]
        border = float(np.float32(split["border"]))
        return tree.branch(self.columns[feature], border, self.missing[feature] != "AsTrue")


def _oblivious(tree: Mapping[str, Any], width: int, splits: _Splits) -> Growing:
    """Every branch of a level has the same split; the first split is the lowest bit of a leaf's number.

    The last split is the root, as CatBoost has it in its explanations: they depend on the order.
    https://github.com/catboost/catboost/blob/master/catboost/libs/fstr/shap_values.cpp
    """
    grown, tests = Growing(), tree["splits"] or []
    values = np.reshape(tree["leaf_values"], (-1, width)).tolist()
    weights = tree.get("leaf_weights") or [1.0] * len(values)

    def add(depth: int, number: int) -> int:
        if depth < 0:
            return grown.leaf(*values[number], cover=weights[number])
        index = splits.add(grown, tests[depth])
        low, high = grown.left, grown.right
        if index in grown.members:
            low, high = high, low
        low[index] = add(depth - 1, number)
        high[index] = add(depth - 1, number | 1 << depth)
        return index

    add(len(tests) - 1, 0)
    return grown


def _nested(root: Mapping[str, Any], splits: _Splits) -> Growing:
    tree = Growing()

    def add(node: Mapping[str, Any]) -> int:
        if "split" in node:
            return splits.add(tree, node["split"])
        return tree.leaf(*np.atleast_1d(node["value"]).tolist(), cover=node.get("weight", 1.0))

    grow(tree, root, add, "left", "right", swapped=True)
    return tree
