"""The interval of a share."""

import math
from statistics import NormalDist

__all__ = ["wilson"]


def wilson(share: float, events: int, certainty: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share of `events` (Wilson 1927); all of [0, 1] where there are none."""
    if not events:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + certainty) / 2)
    middle = (share + z * z / (2 * events)) / (1 + z * z / events)
    half = z / (1 + z * z / events) * math.sqrt(share * (1 - share) / events + z * z / (4 * events * events))
    # At 0 and 1 an end is the share, but for rounding, which may leave it outside.
    return max(min(middle - half, share), 0.0), min(max(middle + half, share), 1.0)
