"""What trees of a graph add up to: its ``TreeEnsemble`` nodes, read back, and the nodes that join them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from training.export.trees import AT_MOST, EQUAL, IN_ORDER, MEMBER, UNEQUAL

#: Numbers of the sets that branches look for a feature in, by their members.
Sets = dict[tuple[float, ...], int]


class Branches(NamedTuple):
    """A tree whose leaves have weights for one target or several; arrays over its branches.

    ``yes`` and ``no``: the next branch, or the complement of a leaf's number. ``set_of``: the index of a
    branch's set, or -1. ``weights``: for each of ``targets`` an array over the leaves.
    """

    feature: np.ndarray
    split: np.ndarray
    yes: np.ndarray
    no: np.ndarray
    missing: np.ndarray
    set_of: np.ndarray
    targets: tuple[int, ...]
    weights: tuple[np.ndarray, ...]

    def form(self) -> bytes:
        """What trees have in common that differ only in the weights of their leaves."""
        return b"".join(each.tobytes() for each in self[:6])

    def levels(self) -> list[np.ndarray]:
        """The nodes of each level from the root on: a branch by its number, a leaf by its complement."""
        levels = [np.zeros(1, np.int64)]
        while (branches := levels[-1][levels[-1] >= 0]).size:
            levels.append(np.stack([self.yes[branches], self.no[branches]], axis=1).reshape(-1))
        return levels


class Sum(NamedTuple):
    """The sums of trees that read the same tensor, shape (n, width).

    ``in_order``: the trees are to be summed one after the other, since equal votes decide labels.
    """

    given: str
    trees: list[Branches]
    width: int
    in_order: bool = False


def read(node: onnx.NodeProto, sets: Sets) -> Sum | None:
    """The sum of a ``TreeEnsemble``, if its branches are of this project's kinds; ``sets`` grows."""
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    modes = numpy_helper.to_array(attributes["nodes_modes"])
    if attributes.get("post_transform", 0) or attributes.get("aggregate_function", 1) != 1:
        return None
    if not np.isin(modes, (AT_MOST, EQUAL, UNEQUAL, MEMBER)).all():
        return None
    set_of = _sets_of(attributes, modes == MEMBER, sets)
    feature = np.array(attributes["nodes_featureids"])
    split = numpy_helper.to_array(attributes["nodes_splits"]).astype(np.float64)
    missing = np.array(attributes.get("nodes_missing_value_tracks_true", np.zeros(len(feature))), np.int64)
    for branch in np.flatnonzero(np.isin(modes, (EQUAL, UNEQUAL))):
        set_of[branch] = sets.setdefault((float(split[branch]),), len(sets))
    unequal = modes == UNEQUAL  # the sides of such a branch change places
    missing = np.where(unequal, 1 - missing, missing)
    sides = []
    for side in ("true", "false"):
        ids, leaf = (np.array(attributes[f"nodes_{side}{what}"]) for what in ("nodeids", "leafs"))
        sides.append(np.where(leaf == 1, ~ids, ids))
    sides = [np.where(unequal, sides[1], sides[0]), np.where(unequal, sides[0], sides[1])]
    weights = numpy_helper.to_array(attributes["leaf_weights"]).astype(np.float64)
    target_of_leaf = np.array(attributes["leaf_targetids"])
    trees = []
    for start, end in itertools.pairwise([*attributes["tree_roots"], len(feature)]):
        inner = slice(start, end)
        leaves = ~np.concatenate([side[inner][side[inner] < 0] for side in sides])
        first, after = int(leaves.min()), int(leaves.max()) + 1
        yes, no = (np.where(side[inner] < 0, side[inner] + first, side[inner] - start) for side in sides)
        tree = Branches(
            feature[inner],
            split[inner],
            yes,
            no,
            missing[inner],
            set_of[inner],
            targets=(int(target_of_leaf[first]),),
            weights=(weights[first:after],),
        )
        trees.append(tree)
    in_order = node.doc_string == IN_ORDER
    return Sum(node.input[0], _alike(trees), int(attributes["n_targets"]), in_order)


def looked_up(numbers: Sum, table: np.ndarray) -> Sum | None:
    """A tree whose leaves have numbers, with rows of a table by these as weights; None if it is not one."""
    if len(numbers.trees) != 1 or numbers.width != 1 or table.ndim != 2:
        return None
    (tree,) = numbers.trees
    weights = tuple(table[tree.weights[0].astype(np.int64)].T)
    tree = tree._replace(targets=tuple(range(len(weights))), weights=weights)
    return numbers._replace(trees=[tree], width=len(weights))


def _sets_of(attributes: Mapping[str, Any], tests: np.ndarray, sets: Sets) -> np.ndarray:
    """The index of each branch's set, or -1.

    ``tests``: whether a branch has one, whose members the attribute has in order, NaN after each.
    """
    set_of = np.full(len(tests), -1)
    if tests.any():
        values = numpy_helper.to_array(attributes["membership_values"]).astype(np.float64)
        ends = np.flatnonzero(np.isnan(values))
        lists = [tuple(each[~np.isnan(each)].tolist()) for each in np.split(values, ends)]
        set_of[tests] = [sets.setdefault(each, len(sets)) for each in lists[: int(tests.sum())]]
    return set_of


def _alike(trees: Sequence[Branches]) -> list[Branches]:
    """Neighbours that differ only in the targets and weights of their leaves as one tree."""
    kept: list[Branches] = []
    last = b""
    for tree in trees:
        form = tree.form()
        if kept and form == last and tree.targets[0] not in kept[-1].targets:
            targets, weights = kept[-1].targets + tree.targets, kept[-1].weights + tree.weights
            kept[-1] = kept[-1]._replace(targets=targets, weights=weights)
        else:
            kept.append(tree)
        last = form
    return kept


def joined(terms: Sequence[Sum | None], *, side_by_side: bool = False) -> Sum | None:
    """One sum of several, if all are of trees that read the same tensor; or all of their columns."""
    known = [each for each in terms if each is not None]
    widths = [each.width for each in known]
    if len(known) < len(terms) or len({each.given for each in known}) > 1:
        return None
    if not side_by_side and len(set(widths)) > 1:
        return None
    shifts = itertools.accumulate([0, *widths[:-1]]) if side_by_side else itertools.repeat(0)
    trees = [
        tree._replace(targets=tuple(target + shift for target in tree.targets)) if shift else tree
        for each, shift in zip(known, shifts, strict=False)
        for tree in each.trees
    ]
    in_order = any(each.in_order for each in known)
    return Sum(known[0].given, trees, sum(widths) if side_by_side else widths[0], in_order)
