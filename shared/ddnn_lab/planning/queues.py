"""Waiting lines without a fleet around them: a pool of servers that takes what comes in turn."""

import heapq

import numpy as np
import numpy.typing as npt

from ddnn_lab.planning.outages import Outage, UpAndAway

__all__ = ["Seconds", "poisson", "sojourns"]

Seconds = npt.NDArray[np.float64]


def sojourns(
    arrivals: Seconds, services: Seconds, servers: int, outage: Outage | None = None, seed: int = 0
) -> Seconds:
    """Seconds from arrival to end, (N,), of work that arrives (N,), sorted, and takes its `services` (N,), in turn.

    Servers may fail: one that is away takes nothing, and what it has begun by then it ends. Work that finds none of
    them there is not done, and has infinity.
    """
    free = [(0.0, server) for server in range(servers)]
    # Each server's times, once as work comes and once as it begins, which is later: either only goes on.
    there, then = (
        [UpAndAway(outage, np.random.default_rng((seed, server))) for _, server in free] if outage else []
        for _ in range(2)
    )
    ends = np.empty(len(arrivals))
    for place, (at, takes) in enumerate(zip(arrivals.tolist(), services.tolist(), strict=True)):
        if there and all(one.back_in(at) for one in there):
            ends[place] = np.inf
            continue
        begins, server = free[0]
        begins = max(at, begins)
        while then and (wait := then[server].back_in(begins)):
            heapq.heapreplace(free, (begins + wait, server))
            begins, server = free[0]
            begins = max(at, begins)
        heapq.heapreplace(free, (begins + takes, server))
        ends[place] = begins + takes
    return ends - arrivals


def poisson(rate: float, count: int, chance: np.random.Generator) -> Seconds:
    """Moments (N,) at which that many come by themselves, `rate` a second."""
    return np.cumsum(chance.exponential(1 / rate, count))
