"""Branch and bound over boxes of thresholds: the combinations that nothing found so far is better than.

Legend: N events, m exits below the cloud; an event's `place` at an exit is the first of the exit's candidate thresholds
under which it answers. A box is, at each exit, one run of 2ˢ candidates, s being that exit's shift.

In a box no combination costs less than its highest corner, because a higher threshold answers earlier and costs do not
fall from exit to exit. Nor is any less often wrong than if each event that a run of thresholds may pass or not chose
for itself: one that the exit gets wrong would go on. A box whose bounds some found corner meets holds nothing better
and is left; the others are halved along every exit, until a box is one combination and its bounds are its values.
Corners of very many boxes are summed over the events at once, by cumulative sums.
A limit on the wrong answers of one class is bounded as all wrong answers are, by the events of the class alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from ddnn.types import Array, Bools, Ints

__all__ = ["NEVER", "NONE", "Ceiling", "Cells", "Found", "search"]

NEVER: Final = 1 << 40  #: place of an event that an exit never answers
NONE: Final = 1 << 60  #: a cost above every cost
_FIRST: Final = 1 << 18  #: boxes looked at first, at most
_BLOCK: Final = 1 << 18  #: boxes of one block at most; of many events more, as each block looks at all of them

Block = tuple[Ints, Bools]  #: where it starts, (m,), and which of its boxes count, one axis an exit
Ceiling = Callable[[Ints], Ints]
"""From `Found.cost` to what a box's cost must be below to be looked into, by the same numbers of wrong answers."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The events, as far as thresholds tell them apart."""

    places: tuple[Ints, ...]  #: m of (N,)
    sizes: tuple[int, ...]  #: (m,) candidates of each exit
    wrong: Ints  #: (N, m + 1), 0, or how much the event counts if it is answered wrong
    cost: Ints  #: (N, m + 1), not falling along a row if boxes are to have more than one combination
    caps: tuple[int | None, ...]  #: (m + 1,) how many events each exit may answer at most
    y: Ints  #: (N,) the class of each event
    missed: Bools  #: (N, m + 1) whether its class is missed there
    classes: Mapping[int, int]  #: how many events of a class may be missed at most

    @property
    def total(self) -> int:
        """No combination has more wrong answers, each counted as often as it counts."""
        return int(self.wrong.max(axis=1).sum())


@dataclass(slots=True)
class Found:
    """The best corners so far, by their number of wrong answers, 0 … W, the total."""

    own: Ints  #: (W + 1,) the lowest cost found with exactly so many
    at: Ints  #: (W + 1, m) the candidates that have it
    cost: Ints  #: (W + 1,) the lowest cost found with at most so many
    left: Ints
    """(W + 1,) the lowest cost that boxes not looked into may hold, by the fewest wrong answers that they may have."""
    boxes: int = 0  #: how many boxes were looked at


def search(cells: Cells, ceiling: Ceiling, budget: int, *, whole: bool = False) -> Found:
    """Look below the ceiling, into at most about `budget` boxes; `whole`: into every combination from the start."""
    total, exits = cells.total, len(cells.sizes)
    found = Found(_none(total), np.zeros((total + 1, exits), np.int64), _none(total), _none(total))
    shift = np.zeros(exits, np.int64)
    while not whole and prod(_boxes(cells, shift)) > _FIRST:
        shift[np.argmax(_boxes(cells, shift))] += 1
    most = max(_BLOCK, 4 * len(cells.wrong))
    blocks = list(_cut(np.zeros(exits, np.int64), np.ones(_boxes(cells, shift), np.bool_), most))
    while True:
        found.boxes += sum(mask.size for _, mask in blocks)
        found.left = _none(total)
        level = _Level(cells, shift)
        kept = [(start, level.keep(start, mask, found, ceiling)) for start, mask in blocks]
        halved = shift > 0
        parents = [part for start, mask in kept for part in _cut(start, mask, max(most >> int(halved.sum()), 1))]
        room, inside = budget - found.boxes, sum(mask.size for _, mask in parents)
        while halved.any() and inside << int(halved.sum()) > room:
            halved &= shift > shift[halved].min()  # the exits with the longest runs alone
        if not parents or not halved.any():
            return found
        shift = shift - halved
        blocks = [_halve(block, halved, _boxes(cells, shift)) for block in parents]


class _Level:
    """All boxes of one size."""

    def __init__(self, cells: Cells, shift: Ints) -> None:
        places, surely, hoping, sparing = [], [], [], []
        for exit, (place, s) in enumerate(zip(cells.places, shift.tolist(), strict=True)):
            mine = np.where(place == NEVER, NEVER, place >> s)
            may = (place & ((1 << s) - 1)) != 0  # in its own box it answers under some thresholds, not under others
            places.append(mine)
            surely.append(mine + may)
            hoping.append(mine + (may & (cells.wrong[:, exit] > 0)))
            sparing.append(mine + (may & cells.missed[:, exit]))
        self._shift, self._top = shift, np.array(cells.sizes) - 1
        self._cost, self._wrong = Sums(places, cells.cost), Sums(places, cells.wrong)
        self._fewest = Sums(hoping, cells.wrong) if shift.any() else self._wrong
        self._caps: list[tuple[Sums, Sums, int]] = []
        for exit, cap in enumerate(cells.caps):
            if cap is not None:
                answered = np.zeros_like(cells.wrong)
                answered[:, exit] = 1
                least = [*places[:exit], *surely[exit : exit + 1], *places[exit + 1 :]]
                self._caps.append((Sums(places, answered), Sums(least, answered), cap))
        for kind, cap in cells.classes.items():
            missed = (cells.missed & (cells.y == kind)[:, None]).astype(np.int64)
            self._caps.append((Sums(places, missed), Sums(sparing, missed), cap))

    def keep(self, start: Ints, mask: Bools, found: Found, ceiling: Ceiling) -> Bools:
        """Which boxes of a block may hold something below the ceiling; `found` learns of their corners and bounds."""
        origin, shape = start.tolist(), mask.shape
        cost, fewest = self._cost.over(origin, shape), self._fewest.over(origin, shape)
        keep = mask & (ceiling(found.cost)[fewest] > cost)
        allowed = np.ones(shape, np.bool_) if self._caps else mask
        for most, least, cap in self._caps:
            keep &= least.over(origin, shape) <= cap
            allowed &= most.over(origin, shape) <= cap
        rows = np.flatnonzero(keep)
        if not len(rows):
            return keep
        wrong = fewest if self._fewest is self._wrong else self._wrong.over(origin, shape)
        cost, fewest, wrong = (values.ravel()[rows] for values in (cost, fewest, wrong))
        new = np.flatnonzero(allowed.ravel()[rows] & (cost < found.cost[wrong]))
        if len(new):
            new = new[np.lexsort((cost[new], wrong[new]))]
            new = new[np.unique(wrong[new], return_index=True)[1]]
            corners = start + np.stack(np.unravel_index(rows[new], shape), axis=1)
            found.own[wrong[new]] = cost[new]
            found.at[wrong[new]] = np.minimum(((corners + 1) << self._shift) - 1, self._top)
            found.cost = np.minimum.accumulate(found.own)
            still = ceiling(found.cost)[fewest] > cost
            rows, cost, fewest = rows[still], cost[still], fewest[still]
        np.minimum.at(found.left, fewest, cost)
        keep[:] = False
        keep.ravel()[rows] = True
        return keep


def _none(total: int) -> Ints:
    return np.full(total + 1, NONE)


def _boxes(cells: Cells, shift: Ints) -> tuple[int, ...]:
    """How many boxes there are along each exit."""
    return tuple(((size - 1) >> int(s)) + 1 for size, s in zip(cells.sizes, shift, strict=True))


def _cut(start: Ints, mask: Bools, most: int) -> Iterator[Block]:
    """The set part of a block, without its empty margins, in blocks of at most `most` boxes."""
    todo = [(start, mask)]
    while todo:
        start, mask = todo.pop()
        for axis in range(mask.ndim):
            (some,) = np.nonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
            if not len(some):
                break
            mask = mask[(slice(None),) * axis + (slice(some[0], some[-1] + 1),)]
            start = start + some[0] * (np.arange(mask.ndim) == axis)
        else:
            if mask.size <= most:
                yield start, mask
                continue
            axis = int(np.argmax(mask.shape))
            middle = mask.shape[axis] // 2
            low, high = np.split(mask, [middle], axis=axis)
            todo += [(start, low), (start + middle * (np.arange(mask.ndim) == axis), high)]


def _halve(block: Block, halved: Bools, limits: tuple[int, ...]) -> Block:
    """The same part in boxes half as long along the exits `halved`."""
    start, mask = block
    start = start << halved
    for axis in np.flatnonzero(halved):
        mask = mask.repeat(2, axis=axis)
    return start, mask[tuple(slice(limit - int(low)) for low, limit in zip(start, limits, strict=True))]


class Sums:
    """Σ over events of the weight of the exit that answers.

    W(t) = Σ w_m + Σ_x Σ {w_x − w_m : the event passes every exit before x and answers there}: each exit's part is a
    histogram of the events over its own and all earlier indices, cumulated downwards along the earlier ones (passing)
    and upwards along its own (answering).
    """

    def __init__(self, places: Sequence[Ints], weights: Ints) -> None:
        """`places` has m arrays (N,), `weights` is (N, m + 1) of whole numbers whose sums stay below 2⁵³."""
        self._base = int(weights[:, -1].sum())
        self._parts: list[tuple[list[Ints], Ints]] = []
        for exit in range(len(places)):
            gain = weights[:, exit] - weights[:, -1]
            rows = np.flatnonzero(gain)
            self._parts.append(([place[rows] for place in places[: exit + 1]], gain[rows]))

    def over(self, start: Sequence[int], shape: Sequence[int]) -> Ints:
        """W at every combination of indices in the block from `start`: `shape`, one axis an exit."""
        total = np.full(tuple(shape), self._base, np.int64)
        for exit, (places, gain) in enumerate(self._parts):
            part = _histogram(places, gain, start, shape)
            for axis in range(exit):
                _pass(part, axis)
                part = part[(slice(None),) * axis + (slice(1, None),)]  # index above j, so from j + 1
            part = np.cumsum(part[..., :-1], axis=exit)
            total += part.reshape(part.shape + (1,) * (len(shape) - exit - 1))
        return total


def _histogram(places: list[Ints], gain: Ints, start: Sequence[int], shape: Sequence[int]) -> Ints:
    """Sums of `gain` by index, those below the block in its first cells, those above in one more cell an axis."""
    sizes = [size + 1 for size in shape[: len(places)]]
    cell = np.zeros(len(gain), np.int64)
    for place, low, size in zip(places, start, sizes, strict=False):
        cell = cell * size + np.clip(place - low, 0, size - 1)
    sums = np.bincount(cell, gain, minlength=prod(sizes)).reshape(sizes)
    return np.asarray(sums.astype(np.int64))


def _pass(part: Array, axis: int) -> None:
    """Cumulate downwards along `axis`, in place; plane by plane, which is many times faster than along the axis."""
    planes = np.moveaxis(part, axis, 0)
    for index in range(len(planes) - 2, -1, -1):
        planes[index] += planes[index + 1]
