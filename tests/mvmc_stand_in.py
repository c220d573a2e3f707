"""A stand-in for the paper's `MVMC.npz`: its names, shapes, types, order, absent views and split, with made-up objects.

For tests; a figure measured on it means nothing.
"""

import json
from pathlib import Path

import numpy as np

__all__ = ["EVENTS", "FRAMES", "write_mvmc"]

EVENTS, FRAMES, CAMERAS, ABSENT = 851, 241, 6, 3
STAY = 12
"""For how many frames an object stays."""
TRAIN_SHARE = 0.8
"""As in the authors' code: 680 of 851."""


def write_mvmc(folder: Path, *, events: int = EVENTS, split: bool = True, seed: int = 0) -> Path:
    """Write `MVMC.npz`, and `mvmc_split.json` beside it unless `split` is false; return the path of the former.

    Rows are in the order of the frames, several objects a frame. An object stays for some frames and hardly changes;
    each camera sees it or not, at least one does. A crop is divided by its own largest value.
    """
    random = np.random.default_rng(seed)
    frame = np.arange(events) * FRAMES // EVENTS
    # As many objects at a time as there are rows a frame; place p is taken by another object every STAY frames.
    place = np.arange(events) - np.searchsorted(frame, frame)
    _, thing = np.unique(np.stack([(frame + 3 * place) // STAY, place]), axis=1, return_inverse=True)
    thing = thing.reshape(-1)
    things = int(thing.max()) + 1
    label = random.permutation(np.arange(things) % 3)
    seen = random.random((things, CAMERAS)) < 0.6
    seen[np.arange(things), random.integers(CAMERAS, size=things)] = True
    kind = random.random((3, CAMERAS, 3, 8, 8), np.float32)
    looks = (kind[label] + random.random((things, CAMERAS, 3, 8, 8), np.float32)).repeat(4, axis=3).repeat(4, axis=4)
    X = looks[thing] + 0.05 * random.random((events, CAMERAS, 3, 32, 32), np.float32)
    X /= X.max(axis=(2, 3, 4), keepdims=True)
    y = np.where(seen, label[:, None], ABSENT)[thing].astype(np.int32)
    X[y == ABSENT] = 0
    np.savez(folder / "MVMC.npz", X=X, y=y)
    if split:
        rows = random.permutation(events).tolist()
        cut = int(events * TRAIN_SHARE)
        (folder / "mvmc_split.json").write_text(json.dumps({"train": rows[:cut], "test": rows[cut:]}))
    return folder / "MVMC.npz"
