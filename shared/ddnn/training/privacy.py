"""What goes up tells the class and as little else as may be: a term of the loss.

Legend: B events, D devices, E edges, K classes.
"""

from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from ddnn.network import DDNN, Scored
from ddnn.types import Tier

__all__ = ["looks", "told_beside_the_class"]

_LEAST: Final = 1e-3


def told_beside_the_class(network: DDNN, scored: Scored, y: Tensor, y_dev: Tensor) -> Tensor:
    """() in [0, 1]: how much of what each section sends up differs between events of one class, a mean over sections.

    y (B,), y_dev (B, D). A device's scores and features count alike.
    """
    sent: list[tuple[Tensor, Tensor]] = []
    if scored.device is not None and scored.device_cuts is not None:
        features = network.cut(Tier.DEVICE)(scored.device_cuts)
        for index, labels in enumerate(y_dev.unbind(dim=1)):
            sent += [(scored.device[:, index], labels), (features[:, index], labels)]
    if scored.edge_cuts is not None:
        sent += [(each, y) for each in network.cut(Tier.EDGE)(scored.edge_cuts).unbind(dim=1)]
    return (
        torch.stack([looks(values, labels) for values, labels in sent]).mean()
        if sent
        else y.new_zeros((), dtype=torch.float32)
    )


def looks(values: Tensor, labels: Tensor) -> Tensor:
    """() in [0, 1]: the share of the variance of `values` (B, …) that is within the classes of `labels` (B,).

    What is always the same counts as nothing: Fisher's criterion, from below.
    """
    values = values.flatten(1).float()
    same = functional.one_hot(labels - labels.min()).to(values.dtype)
    means = (same.T @ values) / same.sum(dim=0).clamp(min=1)[:, None]
    within = (values - same @ means).square().mean(dim=0)
    return (within / (values.var(dim=0, correction=0) + _LEAST)).mean()
