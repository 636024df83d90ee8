"""The sums of trees, for many rows at once, outside of onnxruntime.

onnxruntime sends one row after the other through a tree, and the processor waits at every branch. Here
small trees are words of bits (``handler.scoring.words``), and through others many rows walk side by side,
in ``trees.c`` where it is compiled, else in numpy, which takes three times as long and gives the same bits.

Which trees are summed so is stated in the graph's metadata, as ``training.export.lifting`` writes it: the
graph ends before them, and another one begins after them.
"""

from __future__ import annotations

import base64
import functools
import itertools
import json
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from handler.kernel.compiled import LANES, library

if TYPE_CHECKING:
    import numpy as np

#: Trees that rows walk through at once in numpy.
TOGETHER = 32
#: A branch or a leaf, as ``struct node`` is.
NODE = [("low", "<i8"), ("span", "<u8"), ("yes", "<u4"), ("column", "<u4")]


class Sums(Protocol):
    """Sums of trees; safe to use from several threads.

    ``given`` and ``name``: the tensors in the graphs that they read, shape (n, columns), and make, shape
    (n, width).
    """

    given: str
    name: str

    def of(self, given: np.ndarray) -> np.ndarray:
        """The sums, shape (n, width), of the rows of ``given``, shape (n, columns)."""
        ...


class Follows(NamedTuple):
    """What a graph that ends before trees states of them: their sums, and the graph after them."""

    sums: list[Sums]
    graph: bytes


def follows(content: str) -> Follows:
    """What follows a graph with this metadata, which is JSON.

    ``after`` is the graph that follows, in base64, and ``sums`` states each of its inputs that trees give.
    """
    from handler.scoring.words import Words

    stated = json.loads(content)
    sums: list[Sums] = [Walks(**each) if "sizes" in each else Words(**each) for each in stated["sums"]]
    return Follows(sums, base64.b64decode(stated["after"]))


class Walks:
    """Sums of trees through which rows walk, tree after tree.

    ``sizes``: how many nodes each tree has, level by level from its root; ``leaf``: whether each is a leaf.
    Below a tree's branch number k, from 0, are its nodes 2 k + 1 and 2 k + 2. A row goes to the first of
    them where its number in ``column`` is at most ``split``, or is that, where ``equal``, or is NaN, where
    ``missing``. ``depths``: the most branches on a way. ``targets``: what each tree adds to; ``values``:
    those of its leaves, for each target. Texts are little-endian arrays, in zlib's format and base64.

    Raises ``ValueError`` where a row could leave the arrays: what walks looks at no bounds.
    """

    def __init__(
        self,
        *,
        given: str,
        name: str,
        width: int,
        sizes: str,
        depths: str,
        leaf: str,
        column: str,
        split: str,
        equal: str,
        missing: str,
        targets: Sequence[Sequence[int]],
        values: str,
    ) -> None:
        import numpy as np

        def array(text: str, kind: str) -> np.ndarray:
            return np.frombuffer(zlib.decompress(base64.b64decode(text)), kind)

        self.given = given
        self.name = name
        self._width = width
        is_leaf = array(leaf, "?")
        counts = array(sizes, "<i4").astype(np.int64)
        roots = np.cumsum(counts) - counts
        number = np.arange(len(is_leaf)) - np.repeat(roots, counts)
        leaves = np.cumsum(is_leaf) - is_leaf
        leaves -= np.repeat(leaves[roots], counts)
        highest, least = _keys(array(split, "<f8")), np.iinfo(np.int64).min
        lowest = np.where(array(missing, "?"), least, _keys(np.array(-np.inf)))
        lowest = np.where(array(equal, "?"), highest, lowest)
        self._nodes = nodes = np.zeros(len(is_leaf), NODE)
        nodes["low"], nodes["span"], nodes["yes"] = leaves, np.iinfo(np.uint64).max, number
        nodes["low"][~is_leaf] = lowest
        nodes["span"][~is_leaf] = highest.view(np.uint64) - lowest.view(np.uint64)
        nodes["yes"][~is_leaf] = 2 * (number - leaves)[~is_leaf] + 1
        nodes["column"][~is_leaf] = array(column, "<i4")
        self._values = array(values, "<f8")
        self._targets = np.array([*itertools.chain(*targets)], np.int32)
        widths = np.array([len(each) for each in targets])
        own_leaves = np.add.reduceat(is_leaf, roots, dtype=np.int64)
        first_value, first_target = (np.cumsum(each) - each for each in (widths * own_leaves, widths))
        self._trees = np.stack([roots, first_value, first_target, widths, array(depths, "<i4")], axis=1)
        self._highest = nodes["column"].max()
        within = (
            (counts == 2 * own_leaves - 1).all()  # so that no branch leads beyond its tree
            and counts.sum() == len(is_leaf)
            and len(self._values) == (widths * own_leaves).sum()
            and ((self._targets >= 0) & (self._targets < width)).all()
        )
        if not within:
            raise ValueError("the trees of a graph are not whole")

    @functools.cached_property
    def _columns(self) -> list[np.ndarray]:
        """The members of nodes as numpy takes them, each in an array; ``yes`` counts through all trees."""
        import numpy as np

        trees = self._trees[:, 0]
        root = np.repeat(trees, np.diff(trees, append=len(self._nodes)))
        low, span, yes, column = (self._nodes[name] for name, _ in NODE)
        kinds = np.uint64, np.uint64, np.intp, np.intp
        return [
            each.astype(kind) for each, kind in zip((low, span, yes + root, column), kinds, strict=True)
        ]

    def of(self, given: np.ndarray) -> np.ndarray:
        import numpy as np

        if given.shape[1] <= self._highest:
            raise ValueError("the trees of a graph test a column that it does not have")
        sums = np.zeros((len(given), self._width))
        given = np.ascontiguousarray(given, np.float64)
        (self._in_numpy if library() is None else self._compiled)(given, sums)
        return sums

    def _compiled(self, given: np.ndarray, sums: np.ndarray) -> None:
        import numpy as np

        rows, columns = given.shape
        keys = np.empty((rows + -rows % LANES, columns), np.int64)
        library().keys(given.ctypes.data, given.size, keys.ctypes.data)
        library().walk(
            self._nodes.ctypes.data,
            self._trees.ctypes.data,
            len(self._trees),
            self._targets.ctypes.data,
            self._values.ctypes.data,
            keys.ctypes.data,
            rows,
            columns,
            sums.ctypes.data,
            self._width,
        )

    def _in_numpy(self, given: np.ndarray, sums: np.ndarray) -> None:
        import numpy as np

        keys = _keys(given)
        row = np.arange(len(given)) * given.shape[1]
        for start in range(0, len(self._trees), TOGETHER):
            trees = self._trees[start : start + TOGETHER]
            at = np.repeat(trees[:, :1], len(given), axis=1)
            for _ in range(trees[:, -1].max()):
                low, span, yes, column = (each.take(at) for each in self._columns)
                column += row
                at = yes + (keys.take(column).view(np.uint64) - low > span)
            leaves = self._nodes["low"].take(at)
            for leaf, (_, value, target, width, _) in zip(leaves, trees.tolist(), strict=True):
                for each, to in enumerate(self._targets[target : target + width].tolist()):
                    sums[:, to] += self._values.take(leaf * width + (value + each))


def _keys(numbers: np.ndarray) -> np.ndarray:
    """Integers in the order of their numbers; NaN's comes first, and zero has one, whatever its sign."""
    import numpy as np

    numbers = numbers + 0.0
    bits = numbers.view(np.int64)
    keys = bits ^ ((bits >> 63) & np.iinfo(np.int64).max)
    return np.where(np.isnan(numbers), np.iinfo(np.int64).min, keys)
