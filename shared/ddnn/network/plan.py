"""What to build: the network's configuration, and the shapes that follow from it.

Legend: K classes, D devices; a shape is (C, H, W) of an image, (C, L) of a series or (F,) of a vector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ddnn.errors import BadConfig

__all__ = ["Family", "NetworkConfig", "Plan", "SectionConfig", "SectionPlan", "Shape", "ViewSpec"]

Family = Literal["image", "series", "dense"]
Fusion = Literal["max", "mean", "concat"]
Shape = tuple[int, ...]
Count = Annotated[int, Field(ge=1, le=65_536)]


class SectionConfig(BaseModel):
    """Blocks of one section; `filters` for images and series, `widths` for vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    filters: tuple[Count, ...] = Field(default=(16, 16), min_length=1)
    """Filters of each convolution block."""
    widths: tuple[Count, ...] = Field(default=(64,), min_length=1)
    """Outputs of each dense block."""
    cut_filters: Count = 8
    """Filters of the features sent up, one bit an element (images and series)."""
    cut_width: Count = 128
    """Bits of the features sent up (vectors, and devices of unequal shapes)."""
    cut_bits: Count = 512
    """Most bits sent up; blocks halve the view, the first ones first, until the features fit."""


class NetworkConfig(BaseModel):
    """The network's shape."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    blocks: Literal["float", "binary"] = "float"
    """Weights and values inside a section; features at a cut are always one bit an element."""
    family: Literal["auto", "image", "series", "dense"] = "auto"
    """Kind of block; auto takes it from the shape of the views, dense flattens them."""
    edge_section: bool = True
    """Whether the edge has blocks and an exit of its own, or only fuses scores and passes features on."""
    edges: tuple[tuple[int, ...], ...] = ()
    """Devices of each edge, such as [[0, 1, 2], [3, 4, 5]]; empty: one edge over all devices."""
    local_fusion: Fusion = "mean"
    """How the devices' scores are joined."""
    edge_fusion: Fusion = "concat"
    """How the devices' features are joined at the edge."""
    cloud_fusion: Fusion = "concat"
    """How the edges' features (or the devices', without edge sections) are joined at the cloud."""
    device: SectionConfig = SectionConfig()
    """Blocks of each device."""
    edge: SectionConfig = SectionConfig(filters=(24,), widths=(128,), cut_filters=48, cut_bits=768)
    """Blocks of each edge."""
    cloud: SectionConfig = SectionConfig(filters=(64, 64, 64), widths=(128, 128))
    """Blocks of the cloud, which sends nothing up."""


@dataclass(frozen=True)
class ViewSpec:
    """What one device sees: shape of one view, and whether its numbers are bytes 0..255."""

    shape: Shape
    uint8: bool


@dataclass(frozen=True)
class SectionPlan:
    """One section with its shapes."""

    family: Family
    input: Shape
    """What its first block takes."""
    blocks: tuple[int, ...]
    """Outputs (filters or widths) of each block."""
    halvings: int
    """So many blocks halve height, width or length, the first ones first."""
    cut: Shape | None
    """Features sent up; none at the cloud."""


@dataclass(frozen=True)
class Plan:
    """The whole network with its shapes."""

    config: NetworkConfig
    classes: int
    views: tuple[ViewSpec, ...]
    edges: tuple[tuple[int, ...], ...]
    """Global device indices of each edge, ascending."""
    devices: tuple[SectionPlan, ...]
    edge_sections: tuple[SectionPlan, ...]
    """One an edge, or none at all."""
    cloud: SectionPlan

    @property
    def device_cut(self) -> Shape:
        """Features of every device, all alike."""
        return _cut(self.devices[0])

    @property
    def edge_cut(self) -> Shape | None:
        """Features of every edge, all alike, if there are edge sections."""
        return _cut(self.edge_sections[0]) if self.edge_sections else None

    @classmethod
    def of(cls, config: NetworkConfig, views: Sequence[ViewSpec], classes: int) -> "Plan":
        """Work the shapes out; raise `BadConfig` where the configuration does not fit the views."""
        edges = _edges(config, len(views))
        families = [_family(config, view.shape) for view in views]
        # Features must be alike to be fused: devices that differ all end in a dense cut of one width.
        dense_cut = len({view.shape for view in views}) > 1
        devices = tuple(
            _section(config.device, family, view.shape, cut=True, dense_cut=dense_cut)
            for family, view in zip(families, views, strict=True)
        )
        cut = _cut(devices[0])
        sections: tuple[SectionPlan, ...] = ()
        children, fusion = len(views), config.cloud_fusion
        if config.edge_section:
            joined = [_fused(config.edge_fusion, cut, len(group)) for group in edges]
            sections = tuple(_section(config.edge, _family_of(shape), shape, cut=True) for shape in joined)
            cut, children = _cut(sections[0]), len(edges)
        joined_cloud = _fused(fusion, cut, children)
        cloud = _section(config.cloud, _family_of(joined_cloud), joined_cloud, cut=False)
        return cls(config, classes, tuple(views), edges, devices, sections, cloud)


def _cut(section: SectionPlan) -> Shape:
    if section.cut is None:
        raise AssertionError("only the cloud has no cut")
    return section.cut


def _edges(config: NetworkConfig, devices: int) -> tuple[tuple[int, ...], ...]:
    edges = tuple(tuple(sorted(group)) for group in config.edges) or (tuple(range(devices)),)
    if sorted(device for group in edges for device in group) != list(range(devices)) or not all(edges):
        raise BadConfig(
            f"network.edges is {list(map(list, edges))}; expected each of the devices 0..{devices - 1} once"
        )
    return edges


def _family_of(shape: Shape) -> Family:
    families: dict[int, Family] = {1: "dense", 2: "series", 3: "image"}
    return families[len(shape)]


def _family(config: NetworkConfig, shape: Shape) -> Family:
    natural = _family_of(shape)
    if config.family in ("auto", natural):
        return natural
    if config.family == "dense":
        return "dense"
    raise BadConfig(f"network.family is {config.family!r}, but views are {shape}; expected auto, {natural} or dense")


def _fused(fusion: str, cut: Shape, children: int) -> Shape:
    """Shape after fusion: concatenation stacks channels."""
    return (cut[0] * children, *cut[1:]) if fusion == "concat" else cut


def _section(config: SectionConfig, family: Family, shape: Shape, *, cut: bool, dense_cut: bool = False) -> SectionPlan:
    if family == "dense":
        width: Shape = (min(config.cut_width, config.cut_bits),)
        return SectionPlan(family, (math.prod(shape),), config.widths, 0, width if cut else None)
    halvings, places = 0, shape[1:]
    limit = config.cut_bits if cut else math.prod(places) * config.cut_filters
    while config.cut_filters * math.prod(places) > limit:
        if max(places) == 1:
            raise BadConfig(
                f"cut_bits is {limit}, less than cut_filters {config.cut_filters}; expected at least as many"
            )
        places = tuple(-(-place // 2) for place in places)
        halvings += 1
    # A large view may need more halvings than there are blocks: the last block is repeated.
    blocks = config.filters + config.filters[-1:] * (halvings - len(config.filters))
    spatial = (config.cut_filters, *places)
    width = (min(config.cut_width, config.cut_bits),) if dense_cut else spatial
    return SectionPlan(family, shape, blocks, halvings, width if cut else None)
