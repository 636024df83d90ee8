"""What each feature adds to the output of a linear model, and of a sum of trees, in plain Python.

A linear model's feature adds its coefficient times its distance from the mean. A tree's adds the
path-dependent Shapley value of Lundberg et al. (2018, https://arxiv.org/abs/1802.03888; 2020,
https://doi.org/10.1038/s42256-019-0138-9). The columns that one feature was encoded into are summed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence

from handler.scoring.row_program import Values
from handler.typed import NamedTuple

#: The tests of a piece of a tree: what it adds is looked up by their outcomes, of which there are 2^10.
MOST_TESTS = 10
#: The pieces of a tree beyond which it stays whole, and those of all trees that rows are looked up in.
MOST_OF_TREE, MOST_PIECES = 64, 5_000
#: The edges up to which a piece keeps their choices.
MOST_KEPT = 64
#: The outcomes that a piece remembers, and all pieces together: about 50 MB.
MOST_KNOWN = 200_000
#: The state of a row at an edge, by the tests of the edge's column on the way: it has failed one before, it
#: fails the last one, or it passes them all.
FAILED, FAILS, PASSED = 0, 1, 2
#: What an edge adds under the integral, at two points: its factor and its gain at one, and at the other.
Terms = tuple[float, float, float, float]


class Linear:
    """A linear model: for each output the coefficients of the given columns, and the columns' means."""

    def __init__(self, coefficients: list[list[float]], means: list[float], groups: Sequence[int]) -> None:
        self.coefficients = coefficients
        self.means = means
        self.groups = groups

    def add(self, given: Values, output: int, sums: list[float]) -> None:
        """Add to ``sums`` what each feature adds to the output for a row."""
        members = zip(self.groups, self.coefficients[output], given, self.means, strict=True)
        for group, weight, value, mean in members:
            sums[group] += weight * (value - mean)


class Test(NamedTuple):
    """A branch's question: whether a column is at most ``split``, or among ``members``, if there are some.

    ``missing``: the answer for NaN.
    """

    column: int
    split: float
    members: frozenset[float] | None
    missing: bool


class Edge(NamedTuple):
    """A way from a branch to what is below it, in a piece of a tree.

    ``above``: the index of the edge before it, or -1. ``test`` and ``side``: the index of the branch's
    test, and the answer that leads this way. ``column``: the test's. ``share``: of the training rows at
    the first test of this column on the way, those that pass all of them, branch by branch. ``same``: the
    index of the last edge before it with the same column, or -1. ``leaf``: the index of the leaf, or -1.
    """

    above: int
    test: int
    side: bool
    column: int
    share: float
    same: int
    leaf: int


class Piece:
    """Some leaves of a tree with the ways to them: with at most ``MOST_TESTS`` tests, one leaf, or all."""

    def __init__(self, tree: int, tests: list[Test], edges: list[Edge], groups: Sequence[int]) -> None:
        self.tree = tree
        self.tests = tests
        self.edges = edges
        #: The index of each edge's feature.
        self.groups = [groups[edge.column] for edge in edges]
        self.is_whole = len(tests) > MOST_TESTS
        #: The index of the edge above each one, or -1.
        self.above = [edge.above for edge in edges]
        #: The terms of each edge for each state; of a deep tree the rule that they are made by.
        is_deep = len(edges) > MOST_KEPT
        self._kept = None if is_deep else [*every_state(edges)]
        self._rule = rule_for(edges) if is_deep else ()
        self.upwards = [
            (index, edge.above, edge.leaf, group)
            for index, (edge, group) in enumerate(zip(edges, self.groups, strict=True))
        ][::-1]
        self.known: dict[tuple[int, int], list[tuple[int, float]]] = {}

    def terms(self, states: Sequence[int]) -> Iterator[list[Terms]]:
        """As the function. Those of a deep tree, which would take much room, are made each time."""
        if self._kept is None:
            return terms(self.edges, states, self._rule)
        return ([each[state] for each, state in zip(kept, states, strict=True)] for kept in self._kept)


class Trees:
    """Sums of trees. A row goes to ``yes`` if its column is at most the split; ``~leaf`` ends the way.

    As in the one-row program: ``missing`` says where NaN goes, and a branch with a set, by its index in
    ``set_of`` unless that is -1, asks whether its column is in it. ``cover`` has the weight of the training
    rows in each leaf. Tree t adds ``weights[k][leaf]`` to output ``targets[k][t]`` for each k.
    """

    def __init__(
        self,
        groups: Sequence[int],
        roots: list[int],
        feature: list[int],
        split: list[float],
        yes: list[int],
        no: list[int],
        missing: list[int],
        cover: list[float],
        targets: list[list[int]],
        weights: list[list[float]],
        sets: list[list[float]],
        set_of: list[int],
    ) -> None:
        self.weights = weights
        members = [frozenset(each) for each in sets]
        questions = [
            Test(column, value, members[index] if index >= 0 else None, bool(gap))
            for column, value, index, gap in zip(feature, split, set_of, missing, strict=True)
        ]
        self.pieces = [
            piece
            for tree, root in enumerate(roots)
            for piece in _pieces(tree, root, questions, yes, no, cover, groups)
        ]
        #: For each output the pieces of its trees, and which of the weights are the output's.
        self.of_output: dict[int, list[tuple[Piece, int]]] = {}
        for piece in self.pieces:
            for kind, own in enumerate(targets):
                self.of_output.setdefault(own[piece.tree], []).append((piece, kind))
        #: Whether what the pieces add can be looked up, for many rows.
        self.is_small = len(self.pieces) <= MOST_PIECES and not any(
            sum(edge.leaf >= 0 for edge in piece.edges) > 1 for piece in self.pieces if piece.is_whole
        )
        self._known = 0

    def add(self, given: Values, output: int, sums: list[float]) -> None:
        """Add to ``sums`` what each feature adds to the output for a row."""
        for piece, kind in self.of_output.get(output, ()):
            outcome, bit = 0, 1
            for column, split, members, missing in piece.tests:
                value = given[column]
                holds = value <= split if members is None else value in members
                if holds or (missing and value != value):
                    outcome |= bit
                bit <<= 1
            added = piece.known.get((kind, outcome))
            if added is None:
                added = self._added(piece, self.weights[kind], outcome)
                if self._known < MOST_KNOWN and not piece.is_whole:
                    self._known += len(added)
                    piece.known[kind, outcome] = added
            for group, value in added:
                sums[group] += value

    def _added(self, piece: Piece, weights: list[float], outcome: int) -> list[tuple[int, float]]:
        """What each feature adds, by its index, where the tests of a piece have an outcome.

        A leaf with the columns N on its way adds to column j the sum over subsets S of the others of
        |S|! (|N| - |S| - 1)! / |N|! times the change that knowing j makes. The fraction is the integral of
        t^|S| (1 - t)^(|N| - |S| - 1) over t from 0 to 1, and under it the sum is a product over the
        columns, a polynomial in t, of which Gauss and Legendre's rule gives the integral exactly.
        """
        edges = piece.edges
        states: list[int] = []
        for _, test, side, _, _, same, _ in edges:
            before = PASSED if same < 0 else states[same]
            passes = before == PASSED and (outcome >> test & 1) == side
            states.append(PASSED if passes else before >> 1)
        sums = dict.fromkeys(piece.groups, 0.0)
        for chosen in piece.terms(states):
            ones: list[float] = []  # the products at one point, and at the other
            others: list[float] = []
            for above, (one, _, other, _) in zip(piece.above, chosen, strict=True):
                if above >= 0:
                    one *= ones[above]
                    other *= others[above]
                ones.append(one)
                others.append(other)
            below = [0.0] * len(edges)  # what the leaves below an edge make of them
            others_below = [0.0] * len(edges)
            members = zip(piece.upwards, reversed(chosen), strict=True)
            for (index, above, leaf, group), (_, gain, _, other_gain) in members:
                if leaf >= 0:
                    weight = weights[leaf]
                    one, other = ones[index] * weight, others[index] * weight
                else:
                    one, other = below[index], others_below[index]
                sums[group] += one * gain + other * other_gain
                if above >= 0:
                    below[above] += one
                    others_below[above] += other
        return list(sums.items())


def _pieces(
    tree: int,
    root: int,
    questions: list[Test],
    yes: list[int],
    no: list[int],
    cover: list[float],
    groups: Sequence[int],
) -> list[Piece]:
    """A tree in pieces, each of leaves that are beside each other."""
    weight: dict[int, float] = {}
    order, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        order.append(node)
        if node >= 0:
            waiting += (no[node], yes[node])
    for node in reversed(order):
        weight[node] = cover[~node] if node < 0 else weight[yes[node]] + weight[no[node]]
    ways: list[list[tuple[int, bool, float]]] = []  # to each leaf: branches, sides and shares
    leaves: list[int] = []
    walking: list[tuple[int, list[tuple[int, bool, float]]]] = [(root, [])]
    while walking:
        node, way = walking.pop()
        if node < 0:
            leaves.append(~node)
            ways.append(way)
            continue
        for side, below in ((False, no[node]), (True, yes[node])):
            share = weight[below] / weight[node] if weight[node] else 0.5
            walking.append((below, [*way, (node, side, share)]))
    pieces: list[Piece] = []
    start = 0
    while start < len(leaves):
        tests: dict[Test, int] = {}
        end = start
        while end < len(leaves):
            more = {questions[node] for node, _, _ in ways[end]} - tests.keys()
            if tests and len(tests) + len(more) > MOST_TESTS:
                break
            for node, _, _ in ways[end]:
                tests.setdefault(questions[node], len(tests))
            end += 1
        if tests:  # a tree of one leaf adds to the base alone
            edges = _edges(ways[start:end], leaves[start:end], questions, tests)
            pieces.append(Piece(tree, list(tests), edges, groups))
        start = end
        if len(pieces) > MOST_OF_TREE:
            tests = {}
            for node in (node for way in ways for node, _, _ in way):
                tests.setdefault(questions[node], len(tests))
            return [Piece(tree, list(tests), _edges(ways, leaves, questions, tests), groups)]
    return pieces


def _edges(
    ways: Sequence[Sequence[tuple[int, bool, float]]],
    leaves: Sequence[int],
    questions: Sequence[Test],
    tests: dict[Test, int],
) -> list[Edge]:
    """The edges of the ways to some leaves, each after the one above it."""
    edges: list[Edge] = []
    index_of: dict[tuple[int, bool], int] = {}
    for way, leaf in zip(ways, leaves, strict=True):
        above, last = -1, dict[int, int]()
        for node, side, share in way:
            question = questions[node]
            index = index_of.get((node, side))
            if index is None:
                same = last.get(question.column, -1)
                share = share if same < 0 else share * edges[same].share
                index = index_of[node, side] = len(edges)
                edges.append(Edge(above, tests[question], side, question.column, share, same, -1))
            above = last[question.column] = index
        edges[above] = edges[above]._replace(leaf=leaf)
    return edges


def terms(
    edges: Sequence[Edge], states: Sequence[int], rule: Sequence[tuple[float, float]]
) -> Iterator[list[Terms]]:
    """The terms of edges for a row's states there, for each two points of the rule, which halves the steps.

    The product of a way's factors has one for each column, and the sum of a column's gains is the change
    that knowing it makes: an edge replaces what the last one with its column has put there.
    """
    for (one, weight), (other, other_weight) in zip(rule[::2], rule[1::2], strict=True):
        left, other_left = 1.0 - one, 1.0 - other
        if_failed, if_other_failed = -1.0 / left, -1.0 / other_left
        made: list[Terms] = []
        for (above, _, _, _, share, same, _), state in zip(edges, states, strict=True):
            before = edges[same][4] if same >= 0 else 0.0
            if state == FAILED and same >= 0:
                ratio = share / before if before else 0.0
                made.append((ratio, 0.0, ratio, 0.0))
                continue
            factor, other_factor = share * left, share * other_left
            if state == PASSED:
                factor, other_factor = one + factor, other + other_factor
                gain, other_gain = (1.0 - share) / factor, (1.0 - share) / other_factor
            else:
                gain, other_gain = if_failed, if_other_failed
            if same >= 0:
                its, other_its = one + before * left, other + before * other_left
                gain, other_gain = gain - (1.0 - before) / its, other_gain - (1.0 - before) / other_its
                factor, other_factor = factor / its, other_factor / other_its
            elif above < 0:
                factor, other_factor = factor * weight, other_factor * other_weight
            made.append((factor, gain, other_factor, other_gain))
        yield made


def every_state(edges: Sequence[Edge]) -> Iterator[list[tuple[Terms, ...]]]:
    """The terms of edges for each state, for each two points of the rule."""
    rule = rule_for(edges)
    ways = [terms(edges, [state] * len(edges), rule) for state in (FAILED, FAILS, PASSED)]
    for each in zip(*ways, strict=True):
        yield [*zip(*each, strict=True)]


def rule_for(edges: Sequence[Edge]) -> tuple[tuple[float, float], ...]:
    """The rule of an even number of points that is exact for the ways along these edges."""
    count = (most_columns(edges) + 1) // 2
    return gauss_legendre(count + count % 2)


def most_columns(edges: Sequence[Edge]) -> int:
    """The most different columns on a way."""
    counts: list[int] = []
    for edge in edges:
        counts.append((counts[edge.above] if edge.above >= 0 else 0) + (edge.same < 0))
    return max(counts)


@functools.cache  # the pieces of all trees need few different ones
def gauss_legendre(count: int) -> tuple[tuple[float, float], ...]:
    """Points between 0 and 1, with their weights, that integrate polynomials of degree 2 count - 1.

    They are the zeros of Legendre's polynomial, by Newton's method:
    https://mathworld.wolfram.com/Legendre-GaussQuadrature.html
    """
    points = []
    for index in range(count):
        x, slope = math.cos(math.pi * (index + 0.75) / (count + 0.5)), 1.0
        for _ in range(100):
            before, value = 1.0, x
            for degree in range(2, count + 1):
                before, value = value, ((2 * degree - 1) * x * value - (degree - 1) * before) / degree
            slope = count * (x * value - before) / (x * x - 1.0)
            step = value / slope
            x -= step
            if abs(step) < 1e-16:
                break
        points.append(((1.0 + x) / 2, 1.0 / ((1.0 - x * x) * slope * slope)))
    return tuple(points)
