"""When events come: as fast as so many clients get answers, or by themselves."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ddnn.errors import BadInput

__all__ = ["Arrivals", "Closed", "Poisson"]


@dataclass(frozen=True, slots=True)
class Closed:
    """Closed loop: each client sends its next event when its last was answered; shows what a fleet can do at most."""

    clients: int = 1

    def __post_init__(self) -> None:
        if self.clients < 1:
            raise BadInput(f"there are {self.clients} clients; expected at least 1")

    def part(self, place: int, of: int) -> "Closed | None":
        """The share of one of several processes; None where there is nothing for it to do."""
        clients = len(range(place, self.clients, of))
        return Closed(clients) if clients else None

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": "closed", "clients": self.clients}

    def __str__(self) -> str:
        return f"{self.clients} at once"


@dataclass(frozen=True, slots=True)
class Poisson:
    """Open loop: events come by themselves, independent of each other and of the answers, as those of many sensors do.

    A slow fleet slows nobody down who asks it, so whatever it makes others wait is seen.
    """

    rate: float
    """Events a second, on average."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate < float("inf"):
            raise BadInput(f"the rate is {self.rate:g}; expected a positive number of events a second")

    def times(self, seconds: float) -> npt.NDArray[np.float64]:
        """Seconds from the start at which events come, within `seconds`; the same for the same seed."""
        chance = np.random.default_rng(self.seed)
        mean = self.rate * seconds
        times = np.cumsum(chance.exponential(1 / self.rate, int(mean + 10 * mean**0.5 + 20)))
        return times[times < seconds]

    def part(self, place: int, of: int) -> "Poisson":
        """The share of one of several processes: the sum of Poisson processes is one."""
        return Poisson(self.rate / of, self.seed if of == 1 else self.seed * 1000 + place)

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {"kind": "poisson", "rate": self.rate, "seed": self.seed}

    def __str__(self) -> str:
        return f"{self.rate:g}/s"


Arrivals = Closed | Poisson
