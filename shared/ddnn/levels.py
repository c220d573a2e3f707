"""What a tier above may ask for, level by level: scores, features, the view itself; and whose views tell most.

Legend: D devices, K classes; `…` any leading axes, events and often none.
"""

from typing import Literal

import numpy as np

from ddnn.types import Array, Bools

__all__ = ["Pick", "picked"]

Pick = Literal["sure", "unsure"]
"""Whose views go up where not all do: the devices that are surest by their own scores, or the least sure."""


def picked(scores: Array, present: Bools, most: int, by: Pick) -> Bools:
    """(…, D), at most `most` of the devices that are `present` (…, D), by their scores (…, D, K); 0: all of them.

    How sure a device is, is its largest probability; of equals the lower index comes first.
    """
    if not most:
        return present
    values = np.ascontiguousarray(scores, np.float64)
    sure = 1 / np.exp(values - values.max(axis=-1, keepdims=True)).sum(axis=-1)
    order = np.where(present, -sure if by == "sure" else sure, np.inf)
    rank = order.argsort(axis=-1, kind="stable").argsort(axis=-1, kind="stable")
    return np.asarray(present & (rank < most))
