"""The whole network: devices, local exits, edges and cloud as one module.

Legend: B events, D devices, E edges, K classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddnn.network.blocks import Style
from ddnn.network.device import Device
from ddnn.network.normalise import Normalise
from ddnn.network.plan import Plan
from ddnn.network.sign import sign
from ddnn.network.upper import Cloud, Edge, Local

__all__ = ["DDNN", "Scored"]


class Scored(NamedTuple):
    """What every exit says; cuts are features before their sign."""

    device: Tensor | None
    """(B, D, K), if there are device sections."""
    local: Tensor | None
    """(B, E, K), if there are device sections."""
    edge: Tensor | None
    """(B, E, K), if there are edge sections."""
    cloud: Tensor
    """(B, K)"""
    device_cuts: Tensor | None
    """(B, D, *cut), if there are device sections."""
    edge_cuts: Tensor | None
    """(B, E, *edge cut), if there are edge sections."""


class DDNN(nn.Module):
    """One network of several sections with an exit each; weights are each section's own, or one for all devices."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        config, k, style = plan.config, plan.classes, Style.of(plan.config)
        self.plan = plan
        different = 1 if config.shared_weights else len(plan.views)
        self.devices = nn.ModuleList(
            Device(style, view, section, k, config.spectrum)
            for view, section in zip(plan.views[:different], plan.devices, strict=False)  # none over raw views
        )
        # Without device sections the views are still normalised by device, in the cloud.
        self.raw_views = nn.ModuleList(
            Normalise(view, config.spectrum) for view in (plan.views[:different] if plan.raw else ())
        )
        self.locals = nn.ModuleList(
            Local(config.local_fusion, len(group), k) for group in (() if plan.raw else plan.edges)
        )
        self.edges = nn.ModuleList(
            Edge(style, config.edge_fusion, len(group), plan.device_cut or (), section, k)
            for group, section in zip(plan.edges, plan.edge_sections, strict=False)  # none without edge sections
        )
        self.cloud = Cloud(style, config.cloud_fusion, plan.children, plan.child, plan.cloud, k)

    @property
    def sensors(self) -> list[Device]:
        """The device sections by their type, which a `ModuleList` forgets; one, if all devices share it."""
        return [device for device in self.devices if isinstance(device, Device)]

    @property
    def gateways(self) -> list[Edge]:
        """The edge sections by their type."""
        return [edge for edge in self.edges if isinstance(edge, Edge)]

    @property
    def inputs(self) -> list[Normalise]:
        """The input normalisation of each device; the same one D times, if all devices share it."""
        own = [device.normalise for device in self.sensors]
        own = own or [module for module in self.raw_views if isinstance(module, Normalise)]
        return own if len(own) == len(self.plan.views) else own * len(self.plan.views)

    def forward(self, views: Sequence[Tensor], present: Tensor) -> Scored:
        """D views (B, *shape_i), present (B, D) → the scores of every exit."""
        return self.above(*self.below(views), present)

    def below(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The device sections: D views (B, *shape_i) → scores (B, D, K) and cuts (B, D, *cut).

        Without device sections: no scores (B, D, 0), and the normalised views (B, D, *shape) as what goes up.
        """
        if self.plan.raw:
            x = torch.stack([module(view) for module, view in zip(self.inputs, views, strict=True)], dim=1)
            return x.new_zeros(*x.shape[:2], 0), x
        if self.plan.config.shared_weights:
            # All devices in one batch: batch norms then learn from all of them alike.
            scores, cuts = self.devices[0](torch.cat(list(views)))
            return _by_device(scores, len(views)), _by_device(cuts, len(views))
        pairs = [device(view) for device, view in zip(self.devices, views, strict=True)]
        scores, cuts = zip(*pairs, strict=True)
        return torch.stack(scores, dim=1), torch.stack(cuts, dim=1)

    def above(self, scores: Tensor, cuts: Tensor, present: Tensor) -> Scored:
        """The upper sections, on what `below` gave."""
        if self.plan.raw:
            return Scored(None, None, None, self.cloud(cuts, present), None, None)
        groups = [list(group) for group in self.plan.edges]
        features = sign(cuts)
        local = [module(scores[:, group], present[:, group]) for module, group in zip(self.locals, groups, strict=True)]
        if not len(self.edges):
            return Scored(scores, torch.stack(local, 1), None, self.cloud(features, present), cuts, None)
        pairs = [edge(features[:, group], present[:, group]) for edge, group in zip(self.edges, groups, strict=True)]
        edge_scores, edge_cuts = (torch.stack(part, dim=1) for part in zip(*pairs, strict=True))
        cloud = self.cloud(sign(edge_cuts), self.alive(present))
        return Scored(scores, torch.stack(local, 1), edge_scores, cloud, cuts, edge_cuts)

    def alive(self, present: Tensor) -> Tensor:
        """Edges with some device present: (B, D) → (B, E)."""
        return torch.stack([present[:, list(group)].any(dim=1) for group in self.plan.edges], dim=1)


def _by_device(x: Tensor, devices: int) -> Tensor:
    """(D·B, …) → (B, D, …)."""
    return x.reshape(devices, -1, *x.shape[1:]).transpose(0, 1)
