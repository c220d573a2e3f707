"""Devices that lie, in training: exits above them learn to bear one.

Legend: B events, D devices, K classes.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ddnn.network import DDNN, Scored, Still

__all__ = ["Below", "lie", "scored_with_liars", "worst"]

Below = Callable[[Sequence[Tensor]], tuple[Tensor, Tensor]]
"""What D devices say of views (B, …) each: scores (B, D, K) and cuts (B, D, *cut)."""


def scored_with_liars(
    network: DDNN,
    views: Sequence[Tensor],
    y: Tensor,
    present: Tensor,
    share: float,
    still: Still = None,
    below: Below | None = None,
) -> Scored:
    """What every exit says where in `share` of events one device lies; device exits learn from what they see.

    Half of the lies are what the device would say of another event, half the worst that it could say of this one.
    Devices say what the network's own sections do, or what `below` tells of them.
    """
    scores, cuts = below(views) if below else network.below(views, still=still)
    if not share or not len(network.devices):
        return network.above(scores, cuts, present, network.told(views, still=still), still=still)
    events, devices = scores.shape[:2]
    liar = torch.randint(devices, (events, 1), device=scores.device) == torch.arange(devices, device=scores.device)
    chance = torch.rand(events, 1, device=scores.device)
    told = lie(scores, cuts, liar & (chance < share))
    seen = network.told(views, still=still)
    if still != "above":  # where features are made of what is frozen, there is no other lie
        told = worst(network, *told, seen, y, present, liar & (chance < share / 2))
    return network.above(*told, present, seen, still=still)._replace(device=scores)


def lie(scores: Tensor, cuts: Tensor, liar: Tensor) -> tuple[Tensor, Tensor]:
    """What D devices say, (B, D, K) and (B, D, *cut), where those that lie, (B, D), speak of another event."""
    other = torch.randperm(len(scores), device=scores.device)
    return _told(scores, scores[other], liar), _told(cuts, cuts[other], liar)


def worst(
    network: DDNN, scores: Tensor, cuts: Tensor, seen: Tensor, y: Tensor, present: Tensor, liar: Tensor
) -> tuple[Tensor, Tensor]:
    """The same where those that lie, (B, D), know what all others say, the label (B,) and the network.

    Scores are all for the wrong class that the others find likeliest; features the signs by which the loss of the exits
    above grows fastest (Goodfellow et al. 2015).
    """
    others = (functional.log_softmax(scores.detach(), dim=2) * (present & ~liar)[..., None]).sum(dim=1)
    wrong = others.scatter(1, y[:, None], -torch.inf).argmax(dim=1)
    one = functional.one_hot(wrong, scores.shape[2])[:, None] * (2 * scores.detach().abs().max())
    above = [*network.edges, network.cloud]
    modes = [section.training for section in above]
    for section in above:
        section.eval()  # what a liar tries must not move their batch norms
    with torch.enable_grad():
        tried = cuts.detach().tanh().requires_grad_()  # within the reach of the gradient of a sign
        scored = network.above(scores.detach(), tried, present, seen.detach())
        exits = [scored.cloud] if scored.edge is None else [scored.cloud, *scored.edge.unbind(dim=1)]
        loss = torch.stack([functional.cross_entropy(said, y) for said in exits]).sum()
        (slope,) = torch.autograd.grad(loss, tried)
    for section, mode in zip(above, modes, strict=True):
        section.train(mode)
    return _told(scores, one.expand_as(scores), liar), _told(cuts, slope.sign(), liar)


def _told(said: Tensor, instead: Tensor, liar: Tensor) -> Tensor:
    return torch.where(liar.reshape(*liar.shape, *[1] * (said.dim() - 2)), instead, said)
