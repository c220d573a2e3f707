"""Differential privacy of whole sites: changes are clipped, their sum is noisy, and ε is what a library says of both.

DP-FedAvg (McMahan et al. 2018): each site is drawn by its own chance q, changes the weights by a norm of C at most,
and the server adds normal noise of deviation σ C to the sum, which it divides by q K.
Legend: K sites, m weights and statistics.
"""

import math
import secrets
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ddnn.errors import BadInput
from ddnn.training.federated.settings import Federated

__all__ = ["Noise", "clipped", "epsilon", "told_of"]


def clipped(sent: Tensor, learnt: Tensor, most: float) -> Tensor:
    """What was `sent` (m,), changed as in `learnt` but by a norm of `most` at most."""
    change = learnt - sent
    return sent + change * min(1.0, most / max(float(change.double().norm()), 1e-12))


def epsilon(settings: Federated, rounds: int) -> float:
    """ε after so many rounds, for `delta`, by Rényi differential privacy; neighbours differ by one site; ∞: none."""
    if not settings.noise or not settings.clip:
        return math.inf
    from absl import logging
    from dp_accounting import GaussianDpEvent, NeighboringRelation, PoissonSampledDpEvent
    from dp_accounting.rdp import RdpAccountant

    logging.set_verbosity(logging.ERROR)  # it warns of each order that it leaves out, which makes ε no smaller
    accountant = RdpAccountant(neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE)
    event = GaussianDpEvent(settings.noise)
    accountant.compose(PoissonSampledDpEvent(settings.share, event) if settings.share < 1 else event, rounds)
    return float(accountant.get_epsilon(settings.delta))


def told_of(settings: Federated, rounds: int) -> dict[str, Any]:
    """For metrics and manifest; an ε that is no number, as there is no noise, is null."""
    found = epsilon(settings, rounds)
    kept = {"clip": settings.clip, "noise": settings.noise, "delta": settings.delta}
    return {"privacy": {"epsilon": found if math.isfinite(found) else None, **kept}}


class Noise:
    """What the server adds and draws by, of chance that nobody can know beforehand; tests give a seed."""

    def __init__(self, settings: Federated, seed: int | None = None) -> None:
        if settings.noise and not settings.clip:
            raise BadInput(f"--noise is {settings.noise:g} of nothing; expected a --clip beside it")
        self._settings = settings
        seed = secrets.randbits(63) if seed is None else seed
        self._sites, self._values = np.random.default_rng(seed), torch.Generator().manual_seed(seed)

    def drawn(self, names: list[str]) -> list[str]:
        """Each site with the chance of the share: none is possible."""
        return [name for name in sorted(names) if self._sites.random() < self._settings.share]

    def moved(self, sent: Tensor, mean: Tensor, count: int, of: int) -> Tensor:
        """Of `sent` (m,) and the mean (m,) of `count` sites: sent + (Σ changes + noise) / (q K), of K sites = `of`."""
        spread = self._settings.noise * self._settings.clip
        noise = torch.randn(len(sent), generator=self._values, dtype=torch.float64) * spread
        total = (mean.double() - sent.double()) * count + noise
        return (sent.double() + total / (self._settings.share * of)).float()
