"""How the server's weights move to what its sites have come to: there, or by an optimizer (Reddi et al. 2021).

Legend: m weights and statistics.
"""

import torch
from torch import Tensor

from ddnn.training.distributed.vector import Vector
from ddnn.training.federated.settings import Federated
from ddnn.training.trainer import Trainer

__all__ = ["Mover"]

STEADY = 1e-3  #: τ of Reddi et al.: what Adam's steps are divided by, at least
SECOND = 0.99  #: β₂


class Mover:
    """Takes w − mean for a gradient of the weights; statistics become their mean. Its state is in the checkpoint.

    Args:
        trainer: The server's, whose optimizer is replaced.
        vector: All that travels (m,): first the weights in `learning`, then the rest.
        learning: The weights that an optimizer moves.
    """

    def __init__(self, trainer: Trainer, vector: Vector, learning: Vector, settings: Federated) -> None:
        self._vector, self._learning, self._plain = vector, learning, settings.plain
        if self._plain:
            return
        kept = trainer.optimizer.state_dict()["state"]
        rate, momentum, weights = settings.server_rate, settings.server_momentum, learning.tensors
        if settings.server_optimizer == "adam":
            self._optimizer: torch.optim.Optimizer = torch.optim.Adam(
                weights, lr=rate, betas=(momentum, SECOND), eps=STEADY
            )
        else:
            self._optimizer = torch.optim.SGD(weights, lr=rate, momentum=momentum)
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": kept})
        trainer.optimizer = self._optimizer

    def move(self, mean: Tensor) -> None:
        """Towards `mean` (m,)."""
        if self._plain:
            self._vector.write(mean)
            return
        before, size = self._learning.read(), self._learning.count
        parts = torch.split(before - mean[:size], self._learning.sizes)
        for weight, part in zip(self._learning.tensors, parts, strict=True):
            weight.grad = part.reshape(weight.shape).to(weight)
        self._optimizer.step()
        moved = self._learning.read()
        self._vector.write(torch.cat([moved, mean[size:]]))
        self._optimizer.zero_grad()
