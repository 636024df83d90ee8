"""What a library of gradient boosting says of a fitted model: its trees, and what becomes of their sums."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from training.export.trees import Tree


@dataclass(frozen=True, slots=True)
class Dump:
    """A fitted booster: what its trees are given, and what becomes of their sums.

    ``base``: what is added to each sum, the raw prediction; ``link``: what makes a value or probabilities
    of that, times ``scale``. ``single``: features are compared as float32. ``gaps``: further values that
    count as missing. ``zeros``: what each feature's values next to zero are replaced by. ``whole``: the
    features that are categories, of whose numbers what is after the point is cut off; what is between -1
    and 0 is category 0 if ``around_zero``. ``texts``: of each feature that is fed as texts, the numbers of
    its categories. ``hashes``: CatBoost's numbers for the categories that it tests, of each feature of
    texts: it keeps nothing else of them.
    """

    trees: Sequence[Tree]
    base: Sequence[float]
    link: str
    scale: float = 1.0
    single: bool = False
    gaps: Sequence[float] = ()
    zeros: Sequence[float] | None = None
    whole: Sequence[int] = ()
    around_zero: bool = False
    texts: Sequence[Mapping[str, float]] = ()
    hashes: Mapping[int, set[float]] = field(default_factory=dict)


class Growing:
    """A tree that is built node by node from a dump that nests."""

    def __init__(self) -> None:
        self.left: list[int] = []
        self.right: list[int] = []
        self.feature: list[int] = []
        self.split: list[float] = []
        self.missing_left: list[bool] = []
        self.value: list[list[float]] = []
        self.members: dict[int, Sequence[float]] = {}
        self.cover: dict[int, float] = {}

    def leaf(self, *values: float, cover: float) -> int:
        index = self._node(0, 0.0, False, values)
        self.cover[index] = cover
        return index

    def branch(self, feature: int, split: float, missing_left: bool) -> int:
        return self._node(feature, split, missing_left, ())

    def _node(self, feature: int, split: float, missing_left: bool, values: Sequence[float]) -> int:
        self.left.append(-1)
        self.right.append(-1)
        self.feature.append(feature)
        self.split.append(split)
        self.missing_left.append(missing_left)
        self.value.append([*values])
        return len(self.left) - 1

    def trees(self, targets: Sequence[int]) -> Iterator[Tree]:
        """One tree for each of the numbers that a leaf has."""
        width = len(targets)
        values = np.array([each or [0.0] * width for each in self.value], np.float64)
        cover = np.array([self.cover.get(index, 0.0) for index in range(len(self.left))], np.float64)
        for column, target in enumerate(targets):
            yield Tree(
                np.array(self.left),
                np.array(self.right),
                np.array(self.feature),
                np.array(self.split, np.float64),
                np.array(self.missing_left, bool),
                values[:, column],
                target,
                self.members,
                cover,
            )


def numbered(categories: Sequence[Any]) -> dict[Any, float]:
    return {each: float(number) for number, each in enumerate(categories)}


def tested_for_members(trees: Sequence[Tree]) -> list[int]:
    return sorted({int(tree.feature[node]) for tree in trees for node in tree.members})


def grow(
    tree: Growing,
    root: Mapping[str, Any],
    add: Callable[[Mapping[str, Any]], int],
    left: str,
    right: str,
    *,
    swapped: bool = False,
) -> None:
    """Add all nodes of a tree that nests, however deep. ``swapped``: members go right in the dump."""
    waiting = [(root, add(root))]
    while waiting:
        node, index = waiting.pop()
        if left in node:
            sides = tree.left, tree.right
            if swapped and index in tree.members:
                sides = sides[::-1]
            for side, child in zip(sides, (node[left], node[right]), strict=True):
                side[index] = add(child)
                waiting.append((child, side[index]))
