"""The whole network: devices, local exits, edges and cloud as one module."""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ddnn.codec import codec_of
from ddnn.errors import BadConfig
from ddnn.levels import picked
from ddnn.network import batched
from ddnn.network.backbone import Backbone, as_built_in
from ddnn.network.normalise import Normalise, normaliser
from ddnn.network.plan import Plan, Shape, Wanted
from ddnn.network.quantise import Quantiser, quantiser
from ddnn.network.sections import Blocks, Local, features_of, make_section
from ddnn.network.views import OfViews
from ddnn.topology import Features, Files, Fusion, Level, Topology
from ddnn.types import Tier

__all__ = ["DDNN", "Scored", "Still", "side_by_side"]

Still = Literal["device", "above"] | None
"""What views are instead, where it does not change while the network learns: what the devices' pieces of a backbone
make of them; or what its exit sees of that and what the pieces above make of what arrives, side by side, flat."""


class Scored(NamedTuple):
    """What every exit says; cuts are features before they are quantised."""

    device: Tensor | None  #: (B, D, K), if there are device sections
    local: Tensor | None  #: (B, E, K), if there are device sections
    edge: Tensor | None  #: (B, E, K), if there are edge sections
    cloud: Tensor  #: (B, K)
    device_cuts: Tensor | None  #: (B, D, *cut), if there are device sections
    edge_cuts: Tensor | None  #: (B, E, *edge cut), if there are edge sections


class DDNN(nn.Module):
    """One network of several sections with an exit each; weights are each section's own, or one for all devices."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        config = plan.config
        self.plan = plan
        different = 1 if config.shared_weights else len(plan.views)
        backbone = Backbone(config, plan.seen(), plan.classes) if config.backbone else None
        wanted = [plan.device(index) for index in range(0 if plan.raw else different)]
        self.devices, each = _built(wanted, plan, backbone)
        below, lengths = _longest(each, len(plan.views))
        # Without device sections the views are still normalised by device, in the cloud.
        self.raw_views = nn.ModuleList(
            normaliser(view, config) for view in (plan.views[:different] if plan.raw else ())
        )
        self.locals = nn.ModuleList(
            Local(config.local_fusion, len(group), plan.classes) for group in (() if plan.raw else plan.edges)
        )
        groups = plan.edges if config.edge_section else ()
        of_each = [[lengths[device] for device in group] if lengths else () for group in groups]
        wanted = [plan.edge(index, below or (), given) for index, given in enumerate(of_each)]
        self.edges, each_up = _built(wanted, plan, backbone)
        up, lengths_up = _longest(each_up, len(groups))
        self.cloud: nn.Module
        if config.cloud.takes == "views":
            self.cloud = OfViews(plan)
        else:
            children = (up, len(groups), lengths_up) if up else (below, len(plan.views), lengths)
            self.cloud = make_section(last := plan.cloud(*children), backbone)
            features_of(self.cloud, last)
        self.cuts = nn.ModuleDict()
        """The quantiser between a tier's features and the tier above."""
        self._features: dict[Tier, Sequence[Features]] = {}
        cuts = (Tier.DEVICE, below, each, config.device), (Tier.EDGE, up, each_up, config.edge)
        for tier, shape, shapes, table in cuts:
            if shape:
                cut = quantiser(codec_of(table.cut_codec), shape, table.cut_range)
                self.cuts[tier] = cut.requires_grad_(not table.pass_on)  # what is passed on keeps its levels
                count = len(plan.views) if tier is Tier.DEVICE else len(plan.edges)
                every = shapes if len(shapes) == count else shapes * count  # devices may share their one section
                self._features[tier] = [Features(shape=each, codec=table.cut_codec) for each in every]

    @property
    def topology(self) -> Topology:
        """What is served where, and what goes up."""
        config = self.plan.config
        fusion: dict[Level, Fusion] = {"cloud": config.cloud_fusion}
        if len(self.locals):
            fusion["local"] = config.local_fusion
        if len(self.edges):
            fusion["edge"] = config.edge_fusion
        devices = 0 if self.plan.raw else len(self.plan.views)
        files = Files.usual(devices, len(self.plan.edges), section=len(self.edges) > 0, shared=config.shared_weights)
        features = (self._features.get(tier) for tier in (Tier.DEVICE, Tier.EDGE))
        views_up = self.cloud.inputs(config) if isinstance(self.cloud, OfViews) else ()
        return Topology.tiered(
            self.plan.views, self.plan.edges, *features, views_up=views_up, files=files, fusion=fusion
        )

    def cut(self, tier: Tier) -> Quantiser:
        """The quantiser of what a tier's sections give upward."""
        found = self.cuts[tier]
        assert isinstance(found, Quantiser)
        return found

    @property
    def inputs(self) -> list[Normalise]:
        """The input normalisation of each device; the same one D times, if all devices share it."""
        modules = [device.normalise for device in self.devices] or self.raw_views
        own = [module for module in modules if isinstance(module, Normalise)]
        return own if len(own) == len(self.plan.views) else own * len(self.plan.views)

    @property
    def built_in(self) -> set[str]:
        """Names of those of its weights that stay a built-in backbone's own: whoever has its configuration has them."""
        config, cloud = self.plan.config, self.plan.config.cloud
        prefixes = list[str]()
        if as_built_in(config.backbone, config.backbone_weights, config.learn):
            prefixes += ["devices.", "edges."] if isinstance(self.cloud, OfViews) else ["devices.", "edges.", "cloud."]
        if isinstance(self.cloud, OfViews) and as_built_in(cloud.backbone, cloud.backbone_weights, cloud.learn):
            prefixes.append("cloud.")
        return {name for name in self.state_dict() if name.startswith(tuple(prefixes)) and ".body." in f".{name}"}

    def forward(self, views: Sequence[Tensor], present: Tensor, *, still: Still = None) -> Scored:
        """D views (B, *shape_i), present (B, D) → the scores of every exit; views may be what is `Still` already."""
        return self.above(*self.below(views, still=still), present, self.told(views, still=still), still=still)

    def below(self, views: Sequence[Tensor], *, still: Still = None) -> tuple[Tensor, Tensor]:
        """Device sections: D views (B, *shape_i) → scores (B, D, K), cuts (B, D, *cut); of raw views only the views."""
        if self.plan.raw:
            x = torch.stack([module(view) for module, view in zip(self.inputs, views, strict=True)], dim=1)
            return x.new_zeros(*x.shape[:2], 0), x
        if self.plan.config.shared_weights:
            # All devices in one batch: batch norms then learn from all of them alike.
            scores, cuts = self._device(0, torch.cat(list(views)), still)
            by_device = len(views), -1
            return scores.unflatten(0, by_device).transpose(0, 1), cuts.unflatten(0, by_device).transpose(0, 1)
        groups = batched.alike(self.devices, views)
        if len(groups) == 1 < len(views):
            return batched.forward(self.devices, views)
        pairs: dict[int, tuple[Tensor, Tensor]] = {}
        for group in groups:
            if len(group) == 1:
                pairs[group[0]] = self._device(group[0], views[group[0]], still)
                continue
            parts = batched.forward([self.devices[index] for index in group], [views[index] for index in group])
            pairs |= zip(group, zip(*(part.unbind(dim=1) for part in parts), strict=True), strict=True)
        scores, cuts = zip(*(pairs[index] for index in range(len(views))), strict=True)
        return torch.stack(scores, dim=1), side_by_side(cuts)

    def told(self, views: Sequence[Tensor], *, still: Still = None) -> Tensor:
        """What a cloud that takes views sees of D views (B, *shape), each by itself: (B, D, F); F = 0 without."""
        if not isinstance(self.cloud, OfViews):
            return views[0].new_zeros(len(views[0]), len(views), 0, dtype=torch.float32)
        if still == "above":
            return torch.stack([view[:, -self.cloud.pool.numbers :] for view in views], dim=1)
        seen: Tensor = self.cloud.seen(self.cloud.arrived(torch.cat(list(views))))
        return seen.reshape(len(views), -1, seen.shape[1]).transpose(0, 1)

    def above(
        self, scores: Tensor, cuts: Tensor, present: Tensor, told: Tensor | None = None, *, still: Still = None
    ) -> Scored:
        """The upper sections, on what `below` gave, and `told`."""
        if self.plan.raw:
            return Scored(None, None, None, self.cloud(cuts, present), None, None)
        groups: list[Any] = [list(group) for group in self.plan.edges]
        features = cuts if still == "above" else self.cut(Tier.DEVICE)(cuts)
        if groups == [list(range(len(self.plan.views)))]:
            groups = [slice(None)]  # all, in order: nothing to pick, which costs as much as a layer
        local = [module(scores[:, group], present[:, group]) for module, group in zip(self.locals, groups, strict=True)]
        if not len(self.edges):
            return Scored(
                scores, torch.stack(local, 1), None, _joined(self.cloud, features, present, still), cuts, None
            )
        pairs = [
            _joined(edge, features[:, group], present[:, group], still)
            for edge, group in zip(self.edges, groups, strict=True)
        ]
        if isinstance(self.cloud, OfViews):
            assert told is not None
            (edge_only,) = pairs
            cloud = self._of_views(self.cloud, told, scores, edge_only, present)
            return Scored(scores, torch.stack(local, 1), edge_only.unsqueeze(1), cloud, cuts, None)
        edge_scores, up = zip(*pairs, strict=True)
        edge_cuts = side_by_side(up)
        cloud = self.cloud(self.cut(Tier.EDGE)(edge_cuts), self.alive(present))
        return Scored(scores, torch.stack(local, 1), torch.stack(edge_scores, 1), cloud, cuts, edge_cuts)

    def _of_views(self, cloud: OfViews, told: Tensor, scores: Tensor, edge: Tensor, present: Tensor) -> Tensor:
        """The cloud's scores, of the views of those devices that the edge would ask; the edge learns nothing of it."""
        table = self.plan.config.cloud
        if table.views:
            some = picked(scores.detach().cpu().numpy(), present.cpu().numpy(), table.views, table.pick)
            present = torch.from_numpy(some).to(present.device)
        below = () if cloud.mix is None else (edge.detach().unsqueeze(1),)
        return cloud.ended(told, *below, present)

    def _device(self, index: int, view: Tensor, still: Still) -> Any:
        device: Any = self.devices[index]
        if still == "above":
            numbers, shape = device.pool.numbers, self.above_device(index).shape
            made = view[:, numbers : numbers + math.prod(shape)]
            return device.head(view[:, :numbers]), made.reshape(-1, *shape)
        return device.ended(view) if still else device(view)

    def above_device(self, index: int) -> Any:
        """The section that joins what device number `index` gives."""
        edges = (edge for edge, group in zip(self.edges, self.plan.edges, strict=False) if index in group)
        return next(edges, self.cloud)

    def alive(self, present: Tensor) -> Tensor:
        """Edges with some device present: (B, D) → (B, E)."""
        return torch.stack([present[:, list(group)].any(dim=1) for group in self.plan.edges], dim=1)


def _joined(section: Any, x: Tensor, present: Tensor, still: Still) -> Any:
    return section.ended(*section.joined(x, present, made=True)) if still == "above" else section(x, present)


def _built(wanted: Sequence[Wanted], plan: Plan, backbone: Backbone | None) -> tuple[nn.ModuleList, list[Shape]]:
    """A tier's sections, and the shape of the features that each gives.

    Raise `BadConfig` where they differ so that they cannot be joined, or cost more than the raw views.
    """
    sections = nn.ModuleList(make_section(each, backbone) for each in wanted)
    shapes = [features_of(section, each) or () for section, each in zip(sections, wanted, strict=True)]
    if len(set(shapes)) > 1 and not (set(map(len, shapes)) == {1} and plan.unequal(wanted[0].tier)):
        found = ", ".join(sorted(set(map(str, shapes))))
        raise BadConfig(
            f"{wanted[0].key}.section gives features of the shapes {found}; expected one, or vectors that concat joins"
        )
    for section, each, shape in zip(sections, wanted, shapes, strict=True):
        size = codec_of(each.config.cut_codec).bytes(shape)
        if isinstance(section, Blocks) and size > each.raw:  # a section of the user's own may send what it likes
            found = f"{each.key} sends {size} bytes of {each.config.cut_codec} for raw views of {each.raw}"
            raise BadConfig(f"{found}; expected at most as many: fewer bits an element, or features made of the view")
    return sections, shapes


def _longest(shapes: Sequence[Shape], children: int) -> tuple[Shape | None, list[int]]:
    """The longest of the shapes of features, if there are any, and the numbers of each where not all have as many."""
    longest = max(shapes, key=math.prod, default=None)
    return longest, [math.prod(shape) for shape in shapes] if len(set(shapes)) > 1 else []


def side_by_side(cuts: Sequence[Tensor]) -> Tensor:
    """Features of several sections, (B, *cut) each, as (B, n, *cut): zeros behind those that are fewer."""
    most = max(cut.shape[1] for cut in cuts)
    return torch.stack([functional.pad(cut, (0, most - cut.shape[1])) if cut.dim() == 2 else cut for cut in cuts], 1)
