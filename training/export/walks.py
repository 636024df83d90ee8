"""Sums of trees through which rows walk, as ``handler.scoring.trees`` takes them."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

from training.export.sums import Sets, Sum

#: Branches on a way through all trees from which on walking outside of onnxruntime is worth a call.
FEWEST = 50


def stated(total: Sum, sets: Sets) -> dict[str, Any] | None:
    """What states a sum of trees; None if onnxruntime is to walk.

    That is where branches are few, or look for a column in a set.
    """
    members = {number: each for each, number in sets.items()}
    columns, splits, equal, missing, leaf, values = [], [], [], [], [], []
    sizes, depths = [], []
    for tree in total.trees:
        own = [members.get(number) for number in tree.set_of.tolist()]
        if any(each is not None and len(each) != 1 for each in own):
            return None
        is_equal = tree.set_of >= 0
        if (tree.missing.astype(bool) & is_equal).any():
            return None
        levels = tree.levels()
        nodes = np.concatenate(levels)
        branches, leaves = nodes[nodes >= 0], ~nodes[nodes < 0]
        split = np.array([each[0] if each else split for each, split in zip(own, tree.split, strict=True)])
        columns.append(tree.feature[branches])
        splits.append(split[branches])
        equal.append(is_equal[branches])
        missing.append(tree.missing[branches] != 0)
        leaf.append(nodes < 0)
        values.append(np.stack([weights[leaves] for weights in tree.weights], axis=1).reshape(-1))
        sizes.append(len(nodes))
        depths.append(len(levels) - 1)
    if sum(depths) < FEWEST:
        return None
    return {
        "width": total.width,
        "targets": [tree.targets for tree in total.trees],
        "sizes": _packed(np.array(sizes), "<i4"),
        "depths": _packed(np.array(depths), "<i4"),
        "leaf": _packed(np.concatenate(leaf), "?"),
        "column": _packed(np.concatenate(columns), "<i4"),
        "split": _packed(np.concatenate(splits), "<f8"),
        "equal": _packed(np.concatenate(equal), "?"),
        "missing": _packed(np.concatenate(missing), "?"),
        "values": _packed(np.concatenate(values), "<f8"),
    }


def _packed(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(zlib.compress(values.astype(kind).tobytes())).decode()
