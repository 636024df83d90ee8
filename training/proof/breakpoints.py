"""The values of the features at which fitted steps change what they do: two scorers differ there first.

Each level of a step is traced back to a feature by running the steps before it: bisection finds the
values on both sides, so that no step needs to be linear, or to be known here. Where a column depends on one
feature alone, as most do, the features are traced at once, each in the same rows.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from handler.manifest import Contract, Feature
from handler.schema import LARGEST_NUMBER, Record
from handler.scoring.estimator import fed
from training.proof.levels import EVERY, Inputs, Levels, levels_by_input
from training.proof.rows import bounds

#: The most cells (rows by columns) that are computed at once.
CELLS = 2_000_000
#: The most crossings that are looked for at each step in one feature, or in all where these are traced one
#: by one; of more, a random sample is.
CROSSINGS = 3000
#: The most levels of a step, of more columns ``FEWEST`` of each.
LEVELS = 20_000
FEWEST = 10
#: Of so many crossings, this many halvings are asked for at once: it is running the steps that takes long.
FEW, HALVINGS = 500, 3


class Crossing(NamedTuple):
    """Where a column passes a level between two values of a feature; arrays of the same length."""

    feature: np.ndarray
    column: np.ndarray
    level: np.ndarray
    low: np.ndarray
    high: np.ndarray
    low_value: np.ndarray
    high_value: np.ndarray


class Moves(NamedTuple):
    """Columns that move while a feature goes through a grid, each with that feature; of shape (pairs,).

    ``grid`` and ``cells``: the feature's values, and the column's, of shape (pairs, points). ``together``:
    no other feature moves these columns, so that all may go through their values at once.
    """

    feature: np.ndarray
    column: np.ndarray
    grid: np.ndarray
    cells: np.ndarray
    together: bool


def breakpoints(estimator: Any, contract: Contract, typical: Record, seed: int) -> Mapping[str, np.ndarray]:
    """The values of each numeric feature on both sides of a level of any step, as doubles and as float32.

    The other features are as in ``typical``. A step that cannot be run on such rows adds none.
    """
    random = np.random.default_rng(seed)
    features, rows = contract.features, _Rows(contract, typical)
    parts: dict[int, list[np.ndarray]] = {}
    for inputs, levels in levels_by_input(estimator):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for feature, values in _traced(rows, inputs, levels, random):
                    parts.setdefault(feature, []).append(values)
        except Exception:  # noqa: BLE001 - the steps are the user's, and run on odd rows
            continue
    return {
        features[index].name: _allowed(features[index], np.concatenate(values))
        for index, values in parts.items()
    }


def close_to(values: np.ndarray) -> np.ndarray:
    """The values, and their neighbours on both sides, as doubles and as float32."""
    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
        around = [values, single.astype(np.float64)]
        for end in (-np.inf, np.inf):
            around.append(np.nextafter(values, end))
            around.append(np.nextafter(single, np.float32(end)).astype(np.float64))
    return np.unique(np.concatenate(around))


def _allowed(feature: Feature, values: np.ndarray) -> np.ndarray:
    values = close_to(values)
    if feature.kind == "integer":
        values = np.unique(np.concatenate([np.floor(values), np.ceil(values)]))
    sound: np.ndarray = values[np.abs(values) <= LARGEST_NUMBER]
    return sound


class _Rows:
    """Copies of a typical row, each with other numbers in some features."""

    def __init__(self, contract: Contract, typical: Record) -> None:
        self._features = features = contract.features
        self._rows_as = contract.rows_as
        self._typical = typical
        self.numbers = np.array(
            [index for index, each in enumerate(features) if each.kind in ("integer", "number")], int
        )
        self.width = len(features)

    def fed(self, row: np.ndarray, changed: np.ndarray, values: np.ndarray) -> Any:
        """The rows; each value stands in its ``row``, in the feature whose index is in ``changed``."""
        count = int(row.max()) + 1
        columns = {
            feature.name: np.full(count, value, object if isinstance(value, str) else np.float64)
            for feature, value in zip(self._features, self._typical, strict=True)
        }
        order = np.argsort(changed, kind="stable")
        indices, starts = np.unique(changed[order], return_index=True)
        for index, own in zip(indices, np.split(order, starts[1:]), strict=True):
            columns[self._features[index].name][row[own]] = values[own]
        return fed(self._features, columns, self._rows_as)

    def grid(self, index: int, *, within: bool) -> np.ndarray:
        """Values of a feature from its least to its greatest, and, unless ``within``, beyond."""
        low, high = bounds(self._features[index])
        span = high - low or 1.0
        inner = np.linspace(low, low + span, 9)
        if within:
            return np.concatenate([inner[:1], inner[:1], inner, inner[-1:], inner[-1:]])
        beyond = [low - 10 * span, low - span, high + span, high + 10 * span]
        return np.concatenate([beyond[:2], inner, beyond[2:]])


def _traced(
    rows: _Rows, inputs: Inputs, levels: Levels, random: np.random.Generator
) -> Iterator[tuple[int, np.ndarray]]:
    """The indices of features, and their values at which a column passes one of its levels."""
    for moves in _moves(rows, inputs, random):
        crossings = _crossings(moves, levels, random, rows.width)
        if not len(crossings.level):
            continue
        low, high = _narrowed(rows, inputs, crossings, moves.together)
        for index in np.unique(crossings.feature):
            own = crossings.feature == index
            yield int(index), np.concatenate([low[own], high[own]])


def _moves(rows: _Rows, inputs: Inputs, random: np.random.Generator) -> list[Moves]:
    """What moves when features go through their grids: all at once, or else one by one."""
    if not len(rows.numbers):
        return []
    reason: Exception | None = None
    for within in (False, True):
        grids = np.stack([rows.grid(index, within=within) for index in rows.numbers])
        try:
            together, others = _moved_together(rows, inputs, grids)
            if not len(others):
                return [together]
            alone = _moved_alone(rows, inputs, grids, random)
        except Exception as error:  # noqa: BLE001 - a step may refuse what lies beyond
            reason = error
            continue
        keep = np.isin(alone.column, others)
        feature, column, grid, cells = (each[keep] for each in alone[:-1])
        return [together, Moves(feature, column, grid, cells, together=False)]
    assert reason is not None
    raise reason


def _moved_together(rows: _Rows, inputs: Inputs, grids: np.ndarray) -> tuple[Moves, np.ndarray]:
    """The columns that one feature alone moves, and the indices of all others that move.

    The feature's number is found bit by bit: for each, the features whose bit is set go through their grids
    at once, and then the others; a column of one feature moves only in one of the two.
    """
    count, points = grids.shape
    position = np.arange(count)
    bits = np.arange(max(1, (count - 1).bit_length()))
    sets = np.stack([(position >> bit & 1) == side for bit in bits for side in (0, 1)] + [position >= 0])
    which, member = np.nonzero(sets)
    row = (which[:, None] * points + np.arange(points)).reshape(-1)
    given = rows.fed(row, np.repeat(rows.numbers[member], points), grids[member].reshape(-1))
    matrix, columns = _varying(inputs(given))
    cells = matrix.reshape(len(sets), points, -1)
    moved = np.nanmax(cells, axis=1) > np.nanmin(cells, axis=1)
    sides = moved[:-1].reshape(len(bits), 2, -1)
    owner = (sides[:, 1] << bits[:, None]).sum(axis=0)
    single = (sides.sum(axis=1) == 1).all(axis=0) & moved[-1] & (owner < count)
    own = owner[single]
    together = Moves(rows.numbers[own], columns[single], grids[own], cells[-1][:, single].T, together=True)
    return together, columns[moved.any(axis=0) & ~single]


def _moved_alone(rows: _Rows, inputs: Inputs, grids: np.ndarray, random: np.random.Generator) -> Moves:
    """The columns that features move one by one, of a random sample of the features if there are many."""
    points, chosen = grids.shape[1], np.arange(len(grids))
    most = max(1, CELLS // (points * rows.width))
    if len(chosen) > most:
        chosen = np.sort(random.choice(chosen, most, replace=False))
    changed = np.repeat(rows.numbers[chosen], points)
    given = rows.fed(np.arange(len(changed)), changed, grids[chosen].reshape(-1))
    matrix, columns = _varying(inputs(given))
    cells = matrix.reshape(len(chosen), points, -1)
    which, column = np.nonzero(np.nanmax(cells, axis=1) > np.nanmin(cells, axis=1))
    return Moves(
        rows.numbers[chosen[which]],
        columns[column],
        grids[chosen[which]],
        cells[which, :, column],
        together=False,
    )


def _crossings(moves: Moves, levels: Levels, random: np.random.Generator, width: int) -> Crossing:
    """Where a column passes a level between two points of a feature's grid."""
    pairs = np.arange(len(moves.column))
    if len(pairs) > CROSSINGS:
        pairs = random.choice(pairs, CROSSINGS, replace=False)
    share = max(FEWEST, (LEVELS if moves.together else 4 * CROSSINGS) // max(1, len(pairs)))
    order = np.argsort(levels.columns, kind="stable")
    columns, values = levels.columns[order], levels.values[order]
    common = values[columns == EVERY]
    parts = []
    for pair in pairs:
        start, end = np.searchsorted(columns, [moves.column[pair], moves.column[pair] + 1])
        own = np.unique(np.concatenate([common, values[start:end]]))
        own = close_to(random.choice(own, share, replace=False) if len(own) > share else own)
        before, after = moves.cells[pair, :-1], moves.cells[pair, 1:]
        least, most = np.minimum(before, after), np.maximum(before, after)
        which, segment = np.nonzero((least < own[:, None]) & (own[:, None] <= most))
        parts.append(
            Crossing(
                np.full(len(which), moves.feature[pair]),
                np.full(len(which), moves.column[pair]),
                own[which],
                moves.grid[pair, segment],
                moves.grid[pair, segment + 1],
                before[segment],
                after[segment],
            )
        )
    if not parts:
        return Crossing(*(np.empty(0) for _ in Crossing._fields))
    every = Crossing(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    most_rows = max(50, min(CROSSINGS, CELLS // width))
    chosen = random.permutation(len(every.level))
    chosen = chosen[_ranks(every.feature[chosen]) < most_rows] if moves.together else chosen[:most_rows]
    return Crossing(*(each[chosen] for each in every))


def _ranks(values: np.ndarray) -> np.ndarray:
    """How many of the same value stand before each."""
    order = np.argsort(values, kind="stable")
    _, starts, counts = np.unique(values[order], return_index=True, return_counts=True)
    ranks = np.empty(len(values), int)
    ranks[order] = np.arange(len(values)) - np.repeat(starts, counts)
    return ranks


def _narrowed(
    rows: _Rows, inputs: Inputs, crossing: Crossing, together: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The two values next to each other between which each level is passed.

    The level itself is tried first, as it is where no step changes a feature; then the guess of a straight
    line, wider and wider around it; and then halves.
    """
    share = (crossing.level - crossing.low_value) / (crossing.high_value - crossing.low_value)
    guess = crossing.low + share * (crossing.high - crossing.low)
    rising = crossing.high_value > crossing.low_value
    low, high = crossing.low.copy(), crossing.high.copy()

    def reached(which: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Whether the levels of some crossings are passed, seen from the lower end."""
        feature, level = crossing.feature[which], crossing.level[which]
        row = _ranks(feature) if together else np.arange(len(which))
        cells = _cells(inputs(rows.fed(row, feature, values)), row, crossing.column[which])
        passed: np.ndarray = np.where(rising[which], cells >= level, cells < level)
        return passed

    def within(which: np.ndarray, below: np.ndarray, above: np.ndarray) -> np.ndarray:
        """Narrow to these ends where the level is passed between them; returns the other crossings."""
        below, above = (np.clip(each, low[which], high[which]) for each in (below, above))
        ends = reached(np.tile(which, 2), np.concatenate([below, above]))
        there = ~ends[: len(which)] & ends[len(which) :]
        low[which[there]], high[which[there]] = below[there], above[there]
        others: np.ndarray = which[~there]
        return others

    left = np.arange(len(crossing.level))
    left = within(left, np.nextafter(crossing.level, -np.inf), crossing.level)
    width = 4 * np.spacing(np.maximum(np.abs(low), np.abs(high)))
    for _ in range(8):
        if not len(left):
            break
        left = within(left, guess[left] - width[left], guess[left] + width[left])
        width *= 256
    for _ in range(64):
        middle = low + (high - low) / 2
        left = np.flatnonzero((low < middle) & (middle < high))
        if not len(left):
            break
        middles = _middles(low[left], high[left], HALVINGS if len(left) <= FEW else 1)
        asked = np.concatenate(middles)
        passed = reached(np.tile(left, len(asked)), asked.reshape(-1)).reshape(asked.shape)
        node, every, start = np.zeros(len(left), int), np.arange(len(left)), 0
        for level in middles:
            middle, beyond = level[node, every], passed[start + node, every]
            inner = (low[left] < middle) & (middle < high[left])
            high[left[inner & beyond]] = middle[inner & beyond]
            low[left[inner & ~beyond]] = middle[inner & ~beyond]
            node, start = 2 * node + np.where(beyond, 0, 1), start + len(level)
    return low, high


def _middles(low: np.ndarray, high: np.ndarray, halvings: int) -> list[np.ndarray]:
    """The values that so many halvings may ask for: 1, then 2, 4, ... for each pair of ends.

    Of each, the next two are the middle of the lower half and that of the upper one.
    """
    made, lows, highs = [], low[None], high[None]
    for _ in range(halvings):
        middle = lows + (highs - lows) / 2
        made.append(middle)
        lows = np.stack([lows, middle], axis=1).reshape(-1, len(low))
        highs = np.stack([middle, highs], axis=1).reshape(-1, len(low))
    return made


def _varying(given: Any) -> tuple[np.ndarray, np.ndarray]:
    """The columns of a step's input that differ between rows, as doubles, and their indices."""
    if sparse.issparse(given):
        given = given.tocsc()
        columns = np.flatnonzero((given.max(axis=0) != given.min(axis=0)).toarray().reshape(-1))
        return given[:, columns].toarray().astype(np.float64), columns
    given = _two_dimensional(given)
    if given.dtype == object:  # texts among the columns
        whole = [index for index in range(given.shape[1]) if not isinstance(given[0, index], str)]
        return given[:, whole].astype(np.float64), np.array(whole, int)
    matrix = given.astype(np.float64)
    columns = np.flatnonzero((matrix != matrix[:1]).any(axis=0))
    return matrix[:, columns], columns


def _cells(given: Any, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The cells of some rows, each in its own column."""
    if sparse.issparse(given):
        return np.asarray(given.tocsr()[rows, columns], np.float64).reshape(-1)
    cells: np.ndarray = _two_dimensional(given)[rows, columns].astype(np.float64)
    return cells


def _two_dimensional(given: Any) -> np.ndarray:
    matrix = np.asarray(given)
    return matrix.reshape(-1, 1) if matrix.ndim == 1 else matrix
