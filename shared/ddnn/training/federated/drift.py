"""What keeps a site from learning its own events too well: a pull to what was sent, or what others would have learnt.

Legend: n weights that learn.
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from ddnn.training.distributed.vector import Vector
from ddnn.training.exchange import Alone
from ddnn.training.federated.settings import Federated

__all__ = ["Drift"]


class Drift(Alone):
    """An exchange of a site that changes the gradients of its steps.

    - FedProx (Li et al. 2020): besides, the gradient of μ/2 ‖w − w₀‖², w₀ being the weights that were sent.
    - SCAFFOLD (Karimireddy et al. 2020): g − cₖ + c, cₖ being the mean of this site's gradients in the round before, c
      that of all sites. A site that was not in it corrects nothing.
    """

    def __init__(self, settings: Federated) -> None:
        self._settings = settings
        self._own: Tensor | None = None
        self._learnt, self._towards, self._changed = -2, torch.zeros(0), False

    def of(self, weights: Vector) -> None:
        """The weights that learn."""
        self._weights = weights
        self._sent, self._sum, self._steps = weights.read(), torch.zeros(weights.count), 0

    @property
    def count(self) -> int:
        """Numbers that travel beside the weights: n of SCAFFOLD."""
        return self._weights.count if self._settings.method == "scaffold" else 0

    def begin_round(self, round: int, others: Tensor) -> None:
        """The weights are those that were sent; `others` is c (n,), of zeros where nothing is known yet."""
        self._sent, self._sum, self._steps = self._weights.read(), torch.zeros(self._weights.count), 0
        known = self.count and self._own is not None and self._learnt == round - 1 and bool(others.any())
        self._changed, self._learnt = bool(known), round
        if known:
            assert self._own is not None
            self._towards = others - self._own

    def gradients(self) -> None:
        """Change them."""
        if self.count:
            weights = self._weights.tensors
            own = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in weights]
            self._sum += torch.cat([each.flatten() for each in own]).cpu()
            self._steps += 1
            if self._changed:
                self._add(self._towards)
        elif self._settings.method == "fedprox" and self._settings.mu:
            self._add((self._weights.read() - self._sent).mul_(self._settings.mu))

    def end_round(self) -> Tensor:
        """What of it travels: cₖ (n,), or nothing."""
        if not self.count:
            return torch.zeros(0)
        self._own = self._sum / max(self._steps, 1)
        return self._own

    def kept(self) -> dict[str, bytes]:
        """What of its last round the next one needs."""
        if self._own is None:
            return {}
        return {"drift": self._own.numpy().tobytes(), "learnt": str(self._learnt).encode()}

    def recall(self, kept: Mapping[str, bytes]) -> None:
        """Go on from what another one has kept."""
        if "drift" in kept:
            self._own, self._learnt = (
                torch.from_numpy(np.frombuffer(kept["drift"], np.float32).copy()),
                int(kept["learnt"]),
            )

    def _add(self, vector: Tensor) -> None:
        """To the gradients, (n,)."""
        for weight, part in zip(self._weights.tensors, torch.split(vector, self._weights.sizes), strict=True):
            if weight.grad is not None:
                weight.grad.add_(part.reshape(weight.shape).to(weight.device))
