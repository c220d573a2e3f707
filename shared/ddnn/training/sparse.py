"""Dense layers of which some weights do not exist: by chance from the start, and the nearest to zero late.

Erdős–Rényi graphs between layers, as Mocanu et al. (2018) begin with and Zhu and Jin (2020) search for, without growing
any again. A weight that does not exist is 0 and stays 0: no file needs a mask, and what is 0 need not be sent.
"""

from collections.abc import Iterable
from typing import Final

import torch
from torch import Tensor, nn

from ddnn.network.quantise import BinaryLinear
from ddnn.training.config import TrainingConfig
from ddnn.training.run import State

__all__ = ["Sparse", "exists", "sparse_of"]

LATE: Final = 0.75
"""Share of the epochs after which weights are removed."""


class Sparse:
    """The dense layers of a network that learns; binary ones have no zeros, and stay whole.

    Args:
        network: Whose weights they are.
        config: `sparse` and `remove`.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig) -> None:
        self._config = config
        self._weights = {
            f"{name}.weight": layer.weight
            for name, layer in network.named_modules()
            if isinstance(layer, nn.Linear) and not isinstance(layer, BinaryLinear) and layer.weight.requires_grad
        }
        self._masks = dict[str, Tensor]()
        self.take()

    @torch.no_grad()
    def draw(self, seed: int) -> None:
        """Let weights exist by chance."""
        chance = torch.Generator().manual_seed(seed)
        for weight in self._weights.values():
            drawn = torch.rand(weight.shape, generator=chance) < exists(self._config.sparse, *weight.shape)
            weight.mul_(drawn.to(weight))
        self.take()

    @torch.no_grad()
    def take(self) -> None:
        """Let those exist that are not 0."""
        self._masks = {name: (weight != 0).to(weight) for name, weight in self._weights.items()}

    @torch.no_grad()
    def keep(self) -> None:
        """Keep those at 0 that do not exist, after a step."""
        torch._foreach_mul_(list(self._weights.values()), list(self._masks.values()))

    @torch.no_grad()
    def remove(self, states: Iterable[State]) -> None:
        """Remove the nearest to zero of each layer, here and in `states` of the same network."""
        for weight in self._weights.values():
            there = weight[weight != 0].abs()
            if count := int(self._config.remove * len(there)):
                weight[weight.abs() <= there.kthvalue(count).values] = 0
        self.take()
        for state in states:
            for name, mask in self._masks.items():
                state[name].mul_(mask)

    def due(self, epoch: int) -> bool:
        """Whether weights are removed before this epoch."""
        return bool(self._config.remove) and epoch == int(LATE * self._config.epochs)


def sparse_of(network: nn.Module, config: TrainingConfig, seed: int, *, fresh: bool) -> Sparse | None:
    """Its dense layers, if not all of their weights exist; drawn where the network is `fresh`, else as they are."""
    if not (config.sparse or config.remove):
        return None
    made = Sparse(network, config)
    if fresh:
        made.draw(seed)
    return made


def exists(sparse: float, outputs: int, inputs: int) -> float:
    """Chance ε (n + m) / (n m) with which a weight between n numbers and m exists; 1 where ε is 0."""
    return min(sparse * (inputs + outputs) / (inputs * outputs), 1.0) if sparse else 1.0
