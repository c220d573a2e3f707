"""What is odd about events, and allowed: missing numbers, devices that say nothing, rare classes; a sentence each."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from ddnn.data.dataset import Dataset, pieces
from ddnn.data.split import SPLIT_NAMES
from ddnn.formatting import percent

__all__ = ["few", "oddities"]

MOST_NAMES: Final = 5  #: how many are named in one sentence
UNEVEN: Final = 20  #: the most frequent class has so many times the events of another
FEW: Final = 5  #: training events


def few(names: Sequence[object]) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - MOST_NAMES
    return ", ".join(map(str, names[:MOST_NAMES])) + (f" and {rest} more" if rest > 0 else "")


def oddities(data: Dataset) -> Iterator[str]:
    """A sentence for each, of devices and of classes; views are read once at most."""
    learning = data.present[data.split == "train"].any(axis=0)
    unseen, still = np.flatnonzero(~learning).tolist(), list[int]()
    missing, among = np.zeros(data.devices), np.zeros(data.devices)
    for device in np.flatnonzero(learning).tolist():
        missing[device], among[device], changes = _looked_at(data, device)
        still += [] if changes else [device]
    if unseen:
        yield f"device {few(unseen)} has no view in any training event; what it sees later is noise to the network"
    if still:
        yield f"device {few(still)} has the same view in every event, which says nothing; is it broken?"
    if missing.any():
        which = few(np.flatnonzero(missing).tolist())
        yield (
            f"{percent(missing.sum() / among[missing > 0].sum(), 1)} of the numbers in views of device {which} are "
            "missing (NaN or infinity); each counts as its channel's usual value in training, mean or median, "
            "at serving too"
        )
    yield from _classes(data)


def _looked_at(data: Dataset, device: int) -> tuple[int, int, bool]:
    """Numbers that are missing in views a device has, of how many, and whether the views differ at all."""
    view, seen = data.views[device], data.present[:, device]
    floats, changes = view.dtype.kind == "f", False
    first = view[seen.argmax()]
    missing = among = start = 0
    for part in pieces(view):
        rows = part[seen[start : start + len(part)]]
        start += len(part)
        if floats:
            missing, among = missing + int(np.count_nonzero(~np.isfinite(rows))), among + rows.size
        changes = changes or not np.array_equal(rows, np.broadcast_to(first, rows.shape), equal_nan=floats)
        if changes and not floats:
            break
    return missing, among, changes


def _classes(data: Dataset) -> Iterator[str]:
    """Classes that are rare, or have no event in a split that another has, of all that occur."""
    names, count = data.classes, len(data.classes)
    train, validation, test = (np.bincount(data.y[data.split == part], minlength=count) for part in SPLIT_NAMES)
    known = np.flatnonzero(train + validation + test)
    most = int(train.argmax())
    rare = [label for label in known if train[label] < FEW or train[label] * UNEVEN <= train[most]]
    if rare:
        counts = few([f"{names[label]} ({train[label]:,})" for label in rare])
        yield (
            f"class {counts} has few of the training events, class {names[most]} {train[most]:,}; overall accuracy "
            "hides how a rare class fares: look at its recall"
        )
    if np.count_nonzero(validation) == 1:
        yield (
            f"all validation events have class {names[int(validation.argmax())]}, so epoch and thresholds cannot be "
            "chosen for the others; expected some of every class, by other groups or an array split"
        )
    for part, counted in (("validation", validation), ("test", test)):
        absent = [names[label] for label in known if not counted[label]]
        if absent and np.count_nonzero(counted) > 1:
            yield f"class {few(absent)} has no {part} event, so {part} figures say nothing of it"
