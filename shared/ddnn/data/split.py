"""Which events train, which choose (validation), which are touched once (test).

Not scikit-learn's: a served machine has none, a class may have one event, and the built-in test must never move.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from ddnn.errors import BadData
from ddnn.types import Array, Bools, Ints

__all__ = ["SPLIT_NAMES", "TEST_SHARE", "VALIDATION_SHARE", "blocks"]
__all__ += ["by_group", "named_groups", "stratified", "watched"]

SPLIT_NAMES: Final = ("train", "validation", "test")
TEST_SHARE: Final = 0.2  #: of all events, where the data do not say which are test
VALIDATION_SHARE: Final = 0.15  #: of the training part
WATCHED: Final = 2000  #: validation events looked at after each epoch of training; more would cost a third of its time


def stratified(y: Ints, candidates: Bools, share: float, seed: int) -> Bools:
    """Choose `share` of each class among `candidates`, at least 1 where a class has 2 or more; (N,) chosen."""
    chosen = np.zeros(len(y), dtype=bool)
    random = np.random.default_rng(seed)
    for label in np.unique(y):
        rows = random.permutation(np.flatnonzero((y == label) & candidates))
        count = max(round(share * len(rows)), 1) if len(rows) > 1 else 0
        chosen[rows[:count]] = True
    return chosen


def by_group(groups: Array, candidates: Bools, share: float, seed: int) -> Bools:
    """Choose whole groups among `candidates` until they hold about `share` of them, at least one group."""
    names = np.unique(groups[candidates])
    if len(names) < 2:
        raise BadData(f"group-by leaves {len(names)} group to split; expected at least 2, one of them for validation")
    order = np.random.default_rng(seed).permutation(len(names))
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    return np.asarray(np.isin(groups, names[order[:count]]) & candidates)


def named_groups(name: str, groups: Array, wanted: Sequence[str]) -> Bools:
    """Events whose group is among `wanted`, given as text; raise `BadData` for a group that is not there."""
    text = groups.astype(str)
    missing = [group for group in wanted if group not in text]
    if missing:
        known = ", ".join(map(str, np.unique(groups)[:12]))
        raise BadData(f"test-groups names {', '.join(missing)}, which {name} does not hold; expected some of {known}")
    return np.asarray(np.isin(text, list(wanted)))


def blocks(name: str, values: Array, length: str, count: int) -> Ints:
    """(N,) which stretch of `length` each of the `values` (times, frame numbers) is in, counted from the smallest."""
    try:
        step = float(length)
    except ValueError:
        step = 0.0
    if not 0 < step < np.inf:
        expected = f"expected the length of a block in {name}'s own unit, such as {name}:60"
        raise BadData(f"group-by is {name}:{length}; {expected}")
    if values.shape != (count,) or values.dtype.kind not in "iuf" or not np.isfinite(values).all():
        raise BadData(f"{name} has type {values.dtype} and shape {values.shape}; expected finite numbers ({count},)")
    return np.asarray(((values - values.min()) // step).astype(np.int64))


def watched(events: int) -> Ints:
    """Rows, evenly taken, of the validation events by which training keeps its best epoch."""
    return np.linspace(0, events - 1, min(events, WATCHED)).astype(np.int64)
