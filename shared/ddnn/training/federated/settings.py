"""What a federated training can set, beside a config."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Federated", "Method", "ServerOptimizer", "What"]

Method = Literal["fedavg", "fedprox", "fedbn", "scaffold"]
ServerOptimizer = Literal["sgd", "adam"]
What = Literal["network", "device"]


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
    server_optimizer: ServerOptimizer = "sgd"  #: by which the server moves to what comes back: sgd of rate 1 is there
    server_rate: float = 1.0
    server_momentum: float = 0.0
    steady: float = 1.0  #: share of the rounds after which batch norms keep the statistics that they have
    secret: bool = False  #: the server sees the sum of what the sites send, and no part of it
    clip: float = 0.0  #: most that a site may change the weights by in a round, as a norm; 0: all it likes
    noise: float = 0.0  #: deviation of the noise on the sum of the changes, in multiples of `clip`
    delta: float = 1e-5  #: chance that the ε that is told does not hold
    what: What = "network"  #: what is averaged: all, or the section that all devices share

    def keeps(self, round: int) -> bool:
        """Whether batch norms keep their statistics in a round."""
        return round >= self.steady * self.rounds

    @property
    def plain(self) -> bool:
        """Whether the weights become the mean itself."""
        return self.server_optimizer == "sgd" and self.server_rate == 1 and self.server_momentum == 0
