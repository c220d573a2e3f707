"""What a network's configuration decides before anything is built: edges, what sections are asked, shapes.

A shape is (C, H, W) of an image, (C, L) of a series or (F,) of a vector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ddnn.codec import codec_of, trims
from ddnn.errors import BadConfig
from ddnn.network.config import NetworkConfig, SectionConfig, Shape, Table
from ddnn.network.refused import refuse
from ddnn.topology import Fusion, View
from ddnn.types import Tier

__all__ = ["Family", "NetworkConfig", "Plan", "SectionConfig", "SectionPlan", "Shape", "Table", "Wanted"]

Family = Literal["image", "series", "dense"]


@dataclass(frozen=True)
class Wanted:
    """What a section is asked for: the one argument of a factory, built in or a user's own.

    The module it makes takes a view (B, *input) at a device, else what its children gave (B, children, *input) and who
    is present (B, children); it gives scores (B, K) or, where `features` are wanted, (scores, features (B, …)).
    """

    tier: Tier
    input: Shape  #: of one view, or of what one child gives
    classes: int  #: K
    features: bool
    """Whether a tier above wants features, values of any size before they are quantised, beside the scores."""
    config: SectionConfig  #: the table of this tier in the user's configuration
    network: NetworkConfig  #: the whole of it
    view: View | None = None
    """The view as the data have it, at a device; it comes normalised, unless the module has a true `raw_view`."""
    children: int = 1  #: how many are fused
    fusion: Fusion = "concat"  #: how the user wants them fused
    lengths: tuple[int, ...] = ()  #: numbers that each child gives, the first of its `input`, where not all of them
    flat: bool = False  #: whether features must be flat, as views are of several shapes
    raw: int = 0
    """Bytes of the raw views that its features stand for, which these may cost at most."""

    @property
    def key(self) -> str:
        """Where this section stands in the configuration."""
        return f"network.{self.tier}"


@dataclass(frozen=True)
class SectionPlan:
    """What a section made of blocks is built from."""

    family: Family
    input: Shape  #: what its first block takes
    blocks: tuple[int, ...]  #: outputs (filters or widths) of each block
    halvings: int  #: so many blocks halve height, width or length, the first ones first
    features: bool  #: whether it has something above it
    tail: int | None  #: outputs of a block of its own that makes the features; none: they are the last block's
    flat: bool = False  #: whether that block is dense
    taken: Shape = ()  #: what the section takes, its children side by side
    pass_on: bool = False  #: whether that is what goes up
    parts: int = 1  #: parts of a series whose means the exit sees
    apart: int = 0  #: so many blocks, the first ones, keep `children` apart
    children: int = 1  #: how many are joined in the input, side by side as channels

    @classmethod
    def of(cls, wanted: Wanted) -> "SectionPlan":
        """Decide; raise `BadConfig` where the features cannot be as small as the configuration says."""
        config = wanted.config
        most, raw = _most(wanted)
        children = wanted.children if wanted.fusion == "concat" else 1
        shape = (wanted.input[0] * children, *wanted.input[1:])  # concatenation stacks channels
        if wanted.lengths:
            shape = (sum(wanted.lengths),)
        natural: dict[int, Family] = {1: "dense", 2: "series", 3: "image"}
        family = "dense" if config.flat else natural[len(shape)]
        if config.pass_on:
            return cls._passing(wanted, family, shape)
        filters = min(config.cut_filters, raw) if config.tail else config.filters[-1]
        if wanted.features and family != "dense" and filters > raw:
            found = f"{wanted.key}.tail is false with {filters} filters"
            raise BadConfig(f"{found}, and the raw view has room for {raw}; expected no more")
        tail = min(config.cut_width, most) if family == "dense" or wanted.flat else filters
        made = wanted.features, tail if config.tail else None
        if family == "dense":
            return cls(family, (_numbers(config, shape),), config.widths, 0, *made, taken=shape)
        halvings = _halvings(config, shape[1:], most, filters, fit=wanted.features or not wanted.network.device_section)
        # A large view may need more halvings than there are blocks: the last block is repeated.
        blocks = config.filters + config.filters[-1:] * (halvings - len(config.filters))
        if any(filters % children for filters in blocks[: config.apart]):
            found = f"the first {config.apart} of the filters {list(blocks)}"
            raise BadConfig(f"{found} keep {children} apart; expected multiples")
        plan = replace(cls(family, shape, blocks, halvings, *made), taken=shape, flat=wanted.flat)
        return replace(plan, parts=config.parts, apart=config.apart, children=children)

    @classmethod
    def _passing(cls, wanted: Wanted, family: Family, shape: Shape) -> "SectionPlan":
        """Of a section that passes on what it takes: its blocks are for its own exit alone."""
        config, dense = wanted.config, family == "dense"
        input, blocks = ((_numbers(config, shape),), config.widths) if dense else (shape, config.filters)
        halvings = 0 if dense or config.halve == "fit" else len(blocks)
        made = wanted.features, None, wanted.flat
        return cls(family, input, blocks, halvings, *made, taken=shape, pass_on=True, parts=config.parts)


@dataclass(frozen=True)
class Plan:
    """The network before it is built; the shapes between its sections are known when they are."""

    config: NetworkConfig
    classes: int
    views: tuple[View, ...]
    edges: tuple[tuple[int, ...], ...]  #: global device indices of each edge, ascending

    @classmethod
    def of(cls, config: NetworkConfig, views: Sequence[View], classes: int) -> "Plan":
        """Deal the devices to edges; raise `BadConfig` where the configuration does not fit the views."""
        edges = _edges(config, len(views))
        refuse(config, views, edges)
        return cls(config, classes, tuple(views), edges)

    @property
    def raw(self) -> bool:
        """Whether raw views go up to the cloud, the only section (configuration (a))."""
        return not self.config.device_section

    def device(self, index: int) -> Wanted:
        """What device number `index` is asked for."""
        view, flat = self.views[index], len({view.shape for view in self.views}) > 1
        raw = self._raw(Tier.DEVICE, index, flat=flat or self.config.device.flat or len(view.shape) == 1)
        shape = _shrunk(self.config.device, _seen(self.config, view))
        return self._wanted(Tier.DEVICE, shape, view=view, flat=flat, raw=raw)

    def edge(self, index: int, child: Shape, lengths: Sequence[int] = ()) -> Wanted:
        """What edge number `index` is asked for, whose devices give features of the shape `child`.

        Where not all of them give as much, `lengths` of each.
        """
        devices = {"children": len(self.edges[index]), "fusion": self.config.edge_fusion, "lengths": tuple(lengths)}
        raw = self._raw(Tier.EDGE, index, flat=self.config.edge.flat or len(child) == 1)
        return self._wanted(Tier.EDGE, child, raw=raw, **devices)

    def cloud(self, child: Shape | None, children: int, lengths: Sequence[int] = ()) -> Wanted:
        """What the cloud is asked for, whose children give features of the shape `child`, or raw views."""
        joined = {"children": children, "fusion": self.config.cloud_fusion, "lengths": tuple(lengths)}
        return self._wanted(Tier.CLOUD, child or _seen(self.config, self.views[0]), **joined)

    def seen(self) -> View:
        """A view as the first piece of a backbone takes it, of views that are all of one kind."""
        view, table = self.views[0], self.config.device if self.config.device_section else self.config.cloud
        return view.model_copy(update={"shape": _shrunk(table, view.shape)})

    def one_view(self) -> Wanted:
        """What a cloud that takes views is asked for, of one of them."""
        return self._wanted(Tier.CLOUD, _shrunk(self.config.cloud, self.views[0].shape))

    def unequal(self, tier: Tier) -> bool:
        """Whether what a tier sends may be of another length for each of its sections: it is put end to end above."""
        below = tier is Tier.DEVICE and self.config.edge_section
        fusion = self.config.edge_fusion if below else self.config.cloud_fusion
        return fusion == "concat" and trims(self._table(tier).cut_codec)

    def _raw(self, tier: Tier, index: int, *, flat: bool) -> int:
        """Bytes of the raw views that one section's features stand for; the least of its tier, if all are alike."""
        groups = [(view,) for view in range(len(self.views))] if tier is Tier.DEVICE else self.edges
        each = [sum(self.views[view].bytes for view in group) for group in groups]
        return each[index] if flat and self.unequal(tier) else min(each)

    def _table(self, tier: Tier) -> SectionConfig:
        return getattr(self.config, tier.value)  # type: ignore[no-any-return]

    def _wanted(self, tier: Tier, shape: Shape, **rest: Any) -> Wanted:
        top = Tier.CLOUD if self.config.cloud.takes == "features" else Tier.EDGE
        above = list(Tier).index(tier) < list(Tier).index(top)
        return Wanted(tier, shape, self.classes, above, self._table(tier), self.config, **rest)


def _shrunk(config: SectionConfig, shape: Shape) -> Shape:
    return (shape[0], config.input_size, config.input_size) if config.input_size else shape


def _seen(config: NetworkConfig, view: View) -> Shape:
    """Shape of a view as a section takes it: a series (C, L) may have its spectrum, L // 2 values, behind it."""
    if config.spectrum and len(view.shape) == 2:
        return (view.shape[0], view.shape[1] + view.shape[1] // 2)
    return view.shape


def _numbers(config: SectionConfig, shape: Shape) -> int:
    """Inputs of the first of dense blocks: numbers, or their places in bins."""
    return math.prod(shape) * max(config.bins, 1)


def _most(wanted: Wanted) -> tuple[int, int]:
    """Most elements of the features, by the configuration and by the raw views, and by the latter alone."""
    config, key = wanted.config, wanted.key
    bits = -(-8 * codec_of(config.cut_codec).bytes((1024,)) // 1024)  # of a value
    asked, raw = config.cut_bits // bits, 8 * wanted.raw // bits
    if not asked:
        raise BadConfig(f"{key}.cut_bits is {config.cut_bits}; expected room for one element of cut_codec")
    if not wanted.features:
        return asked, max(asked, config.cut_filters)
    if not raw:
        found = f"{key}.cut_codec is {config.cut_codec!r}, {bits} bits an element"
        raise BadConfig(f"{found}, and the raw view has {8 * wanted.raw}; expected fewer than that")
    return min(asked, raw), raw


def _halvings(config: SectionConfig, places: Shape, most: int, filters: int, *, fit: bool) -> int:
    """How often to halve height, width or length to `fit`; raw views at the cloud as they would at a device."""
    if config.halve == "all" or not fit:
        return len(config.filters) if config.halve == "all" else 0
    halvings = 0
    while filters * math.prod(places) > most:
        if max(places) == 1:
            name = "cut_filters" if config.tail else "the last filters,"
            raise BadConfig(f"cut_bits is {config.cut_bits}, less than {name} {filters}; expected at least as many")
        places, halvings = tuple(-(-place // 2) for place in places), halvings + 1
    return halvings


def _edges(config: NetworkConfig, devices: int) -> tuple[tuple[int, ...], ...]:
    if isinstance(config.edges, int):
        if config.edges > devices:
            raise BadConfig(f"network.edges is {config.edges}; expected at most one for each of {devices} devices")
        # In order and as evenly as can be; the first edges have the devices that are left over.
        return tuple(tuple(group.tolist()) for group in np.array_split(np.arange(devices), config.edges or 1))
    edges = tuple(tuple(sorted(group)) for group in config.edges) or (tuple(range(devices)),)
    if sorted(device for group in edges for device in group) != list(range(devices)) or not all(edges):
        found = list(map(list, edges))
        raise BadConfig(f"network.edges is {found}; expected each of the devices 0..{devices - 1} once")
    return edges
