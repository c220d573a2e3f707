"""What a federated training can set, beside a config."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Federated", "Method"]

Method = Literal["fedavg", "fedprox", "fedbn"]


@dataclass(frozen=True)
class Federated:
    """How sites learn together."""

    rounds: int = 20
    epochs: int = 1  #: E, a site's passes over its own events in a round
    share: float = 1.0  #: C, of the sites that are drawn for a round
    method: Method = "fedavg"
    mu: float = 0.01  #: of fedprox: pull of a site's weights towards those that it was sent
    drop: float = 0.0  #: chance that a drawn site is lost in a round, to see what that costs (simulated)
    wait_s: float = 600.0  #: longest wait for the sites of a round
