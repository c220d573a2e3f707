"""Devices that lie, in training: exits above them learn to bear one.

Legend: B events, D devices, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ddnn.network import DDNN, Scored, Still

__all__ = ["lie", "scored_with_liars"]


def scored_with_liars(
    network: DDNN, views: Sequence[Tensor], present: Tensor, share: float, still: Still = None
) -> Scored:
    """What every exit says where in `share` of events one device lies; device exits learn from what they see."""
    if not share or not len(network.devices):
        return network(views, present, still=still)  # type: ignore[no-any-return]
    scores, cuts = network.below(views, still=still)
    told = network.told(views, still=still)
    return network.above(*lie(scores, cuts, share), present, told, still=still)._replace(device=scores)


def lie(scores: Tensor, cuts: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """What D devices say, (B, D, K) and (B, D, *cut), with one of them, in `share` of events, speaking of another."""
    events, devices = scores.shape[:2]
    liar = torch.randint(devices, (events, 1), device=scores.device) == torch.arange(devices, device=scores.device)
    liar &= torch.rand(events, 1, device=scores.device) < share
    other = torch.randperm(events, device=scores.device)

    def told(said: Tensor) -> Tensor:
        return torch.where(liar.reshape(*liar.shape, *[1] * (said.dim() - 2)), said[other], said)

    return told(scores), told(cuts)
