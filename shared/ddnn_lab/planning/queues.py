"""Waiting lines without a fleet around them: a pool of servers that takes what comes in turn."""

import heapq

import numpy as np
import numpy.typing as npt

__all__ = ["Seconds", "poisson", "sojourns"]

Seconds = npt.NDArray[np.float64]


def sojourns(arrivals: Seconds, services: Seconds, servers: int) -> Seconds:
    """Seconds from arrival to end, (N,), of work that arrives (N,), sorted, and takes its `services` (N,), in turn."""
    free = [0.0] * servers
    ends = np.empty(len(arrivals))
    for place, (at, takes) in enumerate(zip(arrivals.tolist(), services.tolist(), strict=True)):
        end = max(at, free[0]) + takes
        heapq.heapreplace(free, end)
        ends[place] = end
    return ends - arrivals


def poisson(rate: float, count: int, chance: np.random.Generator) -> Seconds:
    """Moments (N,) at which that many come by themselves, `rate` a second."""
    return np.cumsum(chance.exponential(1 / rate, count))
