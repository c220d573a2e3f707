"""Several loads on one target, one after the other."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ddnn_lab.load.arrivals import Arrivals, Closed, Poisson
from ddnn_lab.load.measured import Measured
from ddnn_lab.load.outcome import Target
from ddnn_lab.load.processes import Processes
from ddnn_lab.load.run import measure

__all__ = ["Plan", "sweep"]

_AT_MOST: Final = Closed(16)
_SHARES: Final = (0.25, 0.5, 0.75, 1.0, 1.5)


@dataclass(frozen=True)
class Plan:
    """How each load is made."""

    seconds: float = 10.0
    warm_up_s: float = 2.0
    deadline_s: float = 2.0
    workers: int = 1
    seed: int = 0


def sweep(
    target: Callable[[], Target],
    loads: Sequence[Arrivals],
    plan: Plan,
    processes: Processes,
    *,
    begins: Callable[[Arrivals], object] = lambda load: None,
    progress: Callable[[float, int], object] | None = None,
) -> Iterator[Measured]:
    """Measure each of `loads` on a new target; yield what was found.

    Without loads: 16 clients find what the target does at most, then events come by themselves at shares of that.
    `begins` hears of each load, `progress` its seconds and events.
    """

    def one(load: Arrivals) -> Measured:
        begins(load)
        return measure(
            target(),
            load,
            seconds=plan.seconds,
            warm_up_s=plan.warm_up_s,
            deadline_s=plan.deadline_s,
            processes=processes,
            workers=plan.workers,
            progress=progress,
        )

    if not loads:
        most = one(_AT_MOST)
        yield most
        loads = [Poisson(float(f"{share * most.goodput:.2g}"), plan.seed) for share in _SHARES if most.goodput]
    for load in loads:
        yield one(load)
