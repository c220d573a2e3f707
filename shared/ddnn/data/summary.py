"""What a person should know of a data set before a network is trained on it."""

from collections import Counter
from typing import Final

import numpy as np

from ddnn.data.dataset import Dataset
from ddnn.data.neighbours import WORRYING, near_duplicates
from ddnn.data.split import SPLIT_NAMES

__all__ = ["describe", "doubts"]

CHANNELS: Final = (1, 3, 4)
"""Grey, colour, colour and alpha (or depth)."""
MOST_NAMES: Final = 5
"""How many are named in one sentence."""


def describe(data: Dataset) -> str:
    """Events, how they are split, devices, views and classes in one line."""
    kinds = Counter(f"{_times(view.shape[1:])} {view.dtype}" for view in data.views)
    views = ", ".join(f"{count} of {kind}" for kind, count in kinds.items())
    parts = ", ".join(f"{np.count_nonzero(data.split == part)} {part}" for part in SPLIT_NAMES)
    division, groups = f"test {data.division.get('test', 'as it came')}", data.division.get("groups")
    if groups:
        division += f": {_few(groups['test'])}, validation {_few(groups['validation'])}"
    classes = f"{len(data.classes)} classes ({_few(data.classes)})"
    return f"{data.name}: {len(data)} events ({parts}; {division}), {data.devices} devices (views: {views}), {classes}"


def doubts(data: Dataset) -> list[str]:
    """A sentence for everything that the contract allows and that is more likely a mistake."""
    found = []
    empty = sorted(set(range(len(data.classes))) - set(np.unique(data.y).tolist()))
    if empty:
        names = _few([data.classes[label] for label in empty])
        found.append(
            f"no event has class {names}; expected labels 0..{len(data.classes) - 1} that all occur, "
            "as an empty class still takes a place in the network"
        )
    last = [device for device, view in enumerate(data.views) if _channels_last(view.shape[1:])]
    if last:
        shape = _times(data.views[last[0]].shape[1:])
        found.append(
            f"views of device {_few(list(map(str, last)))} have shape {shape}, which looks like (H, W, C); expected "
            "(C, H, W), as numpy.moveaxis(views, -1, -3) makes it"
        )
    near = near_duplicates(data)
    if near is not None and near > WORRYING:
        found.append(
            f"{near:.0%} of the test events have a near-duplicate in training, so accuracy will look better "
            "than it is; expected groups that stay whole: --group-by subject, or --group-by time:60 for blocks of time"
        )
    return found


def _channels_last(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[2] in CHANNELS and shape[0] not in CHANNELS and shape[0] > shape[2]


def _few(names: list[str] | tuple[str, ...]) -> str:
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
