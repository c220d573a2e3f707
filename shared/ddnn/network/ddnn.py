"""The whole network: devices, local exits, edges and cloud as one module.

Legend: B events, D devices, E edges, K classes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ddnn.network.device import Device
from ddnn.network.plan import Plan
from ddnn.network.sign import sign
from ddnn.network.upper import Cloud, Edge, Local

__all__ = ["DDNN", "Scored"]


class Scored(NamedTuple):
    """What every exit says; cuts are features before their sign."""

    device: Tensor
    """(B, D, K)"""
    local: Tensor
    """(B, E, K)"""
    edge: Tensor | None
    """(B, E, K), if there are edge sections."""
    cloud: Tensor
    """(B, K)"""
    device_cuts: Tensor
    """(B, D, *cut)"""
    edge_cuts: Tensor | None
    """(B, E, *edge cut), if there are edge sections."""


class DDNN(nn.Module):
    """One network of several sections with an exit each; weights are each section's own."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        config, k = plan.config, plan.classes
        self.plan = plan
        self.devices = nn.ModuleList(
            Device(config.blocks, view, section, k) for view, section in zip(plan.views, plan.devices, strict=True)
        )
        self.locals = nn.ModuleList(Local(config.local_fusion, len(group), k) for group in plan.edges)
        self.edges = nn.ModuleList(
            Edge(config.blocks, config.edge_fusion, len(group), plan.device_cut, section, k)
            for group, section in zip(plan.edges, plan.edge_sections, strict=False)  # none without edge sections
        )
        children = len(plan.edges) if plan.edge_sections else len(plan.views)
        child = plan.edge_cut or plan.device_cut
        self.cloud = Cloud(config.blocks, config.cloud_fusion, children, child, plan.cloud, k)

    @property
    def sensors(self) -> list[Device]:
        """The device sections by their type, which a `ModuleList` forgets."""
        return [device for device in self.devices if isinstance(device, Device)]

    @property
    def gateways(self) -> list[Edge]:
        """The edge sections by their type."""
        return [edge for edge in self.edges if isinstance(edge, Edge)]

    def forward(self, views: Sequence[Tensor], present: Tensor) -> Scored:
        """D views (B, *shape_i), present (B, D) → the scores of every exit."""
        return self.above(*self.below(views), present)

    def below(self, views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """The device sections: D views (B, *shape_i) → scores (B, D, K) and cuts (B, D, *cut)."""
        scores, cuts = zip(*(device(view) for device, view in zip(self.devices, views, strict=True)), strict=True)
        return torch.stack(scores, dim=1), torch.stack(cuts, dim=1)

    def above(self, scores: Tensor, cuts: Tensor, present: Tensor) -> Scored:
        """The upper sections, on device scores (B, D, K) and device cuts (B, D, *cut)."""
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
