"""What to build: the shapes that follow from the network's configuration and the views.

Legend: K classes, D devices; a shape is (C, H, W) of an image, (C, L) of a series or (F,) of a vector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ddnn.errors import BadConfig
from ddnn.network.config import NetworkConfig, SectionConfig

__all__ = ["Family", "NetworkConfig", "Plan", "SectionConfig", "SectionPlan", "Shape", "ViewSpec", "seen"]

Family = Literal["image", "series", "dense"]
Shape = tuple[int, ...]


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
    tail: bool = True
    """Whether a block of its own makes the features."""
    apart: int = 0
    """So many blocks, the first ones, keep `children` apart."""
    children: int = 1
    """How many are joined in the input, side by side as channels."""


@dataclass(frozen=True)
class Plan:
    """The whole network with its shapes."""

    config: NetworkConfig
    classes: int
    views: tuple[ViewSpec, ...]
    edges: tuple[tuple[int, ...], ...]
    """Global device indices of each edge, ascending."""
    devices: tuple[SectionPlan, ...]
    """One a device, or none at all: raw views go up."""
    edge_sections: tuple[SectionPlan, ...]
    """One an edge, or none at all."""
    cloud: SectionPlan

    @property
    def raw(self) -> bool:
        """Whether raw views go up to the cloud, the only section (configuration (a))."""
        return not self.devices

    @property
    def device_cut(self) -> Shape | None:
        """Features of every device, all alike, if there are device sections."""
        return self.devices[0].cut if self.devices else None

    @property
    def edge_cut(self) -> Shape | None:
        """Features of every edge, all alike, if there are edge sections."""
        return self.edge_sections[0].cut if self.edge_sections else None

    @property
    def child(self) -> Shape:
        """What the cloud fuses: features of an edge or of a device, or raw views."""
        return self.edge_cut or self.device_cut or seen(self.config, self.views[0])

    @property
    def children(self) -> int:
        """How many of them the cloud fuses."""
        return len(self.edges) if self.edge_sections else len(self.views)

    @classmethod
    def of(cls, config: NetworkConfig, views: Sequence[ViewSpec], classes: int) -> "Plan":
        """Work the shapes out; raise `BadConfig` where the configuration does not fit the views."""
        edges = _edges(config, len(views))
        _refuse(config, views, edges)
        families = [_family(config.device if config.device_section else config.cloud, view.shape) for view in views]
        # Features must be alike to be fused: devices that differ all end in a dense cut of one width.
        dense_cut = len({view.shape for view in views}) > 1
        devices: tuple[SectionPlan, ...] = ()
        if config.device_section:
            devices = tuple(
                _section(config.device, family, seen(config, view), dense_cut=dense_cut)
                for family, view in zip(families, views, strict=True)
            )
        sections: tuple[SectionPlan, ...] = ()
        if config.edge_section:
            joined = [_fused(config.edge_fusion, _cut(devices[0]), len(group)) for group in edges]
            sections = tuple(
                _section(
                    config.edge, _family(config.edge, shape), shape, children=_side_by_side(config.edge_fusion, group)
                )
                for group, shape in zip(edges, joined, strict=True)
            )
        child, children = seen(config, views[0]), len(views)
        if devices:
            child, children = (_cut(sections[0]), len(edges)) if sections else (_cut(devices[0]), len(views))
        shape = _fused(config.cloud_fusion, child, children)
        family = _family(config.cloud, shape)
        cloud = _section(
            config.cloud,
            family,
            shape,
            cut=False,
            fit=not devices,
            children=_side_by_side(config.cloud_fusion, range(children)),
        )
        return cls(config, classes, tuple(views), edges, devices, sections, cloud)


def seen(config: NetworkConfig, view: ViewSpec) -> Shape:
    """Shape of a view as the first block takes it: a series (C, L) may have its spectrum, L // 2 values, behind it."""
    if config.spectrum and len(view.shape) == 2:
        return (view.shape[0], view.shape[1] + view.shape[1] // 2)
    return view.shape


def _cut(section: SectionPlan) -> Shape:
    if section.cut is None:
        raise AssertionError("only the cloud has no cut")
    return section.cut


def _edges(config: NetworkConfig, devices: int) -> tuple[tuple[int, ...], ...]:
    if isinstance(config.edges, int):
        if config.edges > devices:
            raise BadConfig(f"network.edges is {config.edges}; expected at most one for each of {devices} devices")
        # In order and as evenly as can be; the first edges have the devices that are left over.
        return tuple(tuple(group.tolist()) for group in np.array_split(np.arange(devices), config.edges or 1))
    edges = tuple(tuple(sorted(group)) for group in config.edges) or (tuple(range(devices)),)
    if sorted(device for group in edges for device in group) != list(range(devices)) or not all(edges):
        raise BadConfig(
            f"network.edges is {list(map(list, edges))}; expected each of the devices 0..{devices - 1} once"
        )
    return edges


def _refuse(config: NetworkConfig, views: Sequence[ViewSpec], edges: tuple[tuple[int, ...], ...]) -> None:
    """Raise `BadConfig` where two keys, or a key and the views, do not go together."""
    if config.devices and len(config.devices) != len(views):
        raise BadConfig(f"network.devices names {len(config.devices)} devices; the data have {len(views)}")
    if not config.device_section and config.edge_section:
        raise BadConfig("network.edge_section is true without device sections; expected false: raw views go up")
    first = "device" if config.device_section else "cloud"
    if config.spectrum and not getattr(config, first).flat:
        raise BadConfig(f"network.{first}.flat is false with network.spectrum; expected true: frequencies are no times")
    for name, section in (("device", config.device), ("edge", config.edge), ("cloud", config.cloud)):
        if section.apart and (name == "device" or config.blocks != "float" or section.flat):
            raise BadConfig(
                f"network.{name}.apart is {section.apart}; expected 0 but of float convolutions over what is joined"
            )
    if not config.device_section and len(edges) > 1:
        raise BadConfig(f"network.edges makes {len(edges)} edges without device sections; expected one")
    kinds = sorted({f"{'UINT8' if view.uint8 else 'FP32'} {view.shape}" for view in views})
    if len({view.shape for view in views}) > 1 and not config.device.tail and config.device_section:
        raise BadConfig(f"network.device.tail is false, but views are {', '.join(kinds)}; expected true")
    if len(kinds) > 1:
        for key, wanted in (("shared_weights", False), ("device_section", True)):
            if getattr(config, key) is not wanted:
                told = f"network.{key} is {str(not wanted).lower()}"
                raise BadConfig(f"{told}, but views are {', '.join(kinds)}; expected views of one kind")


def _family(config: SectionConfig, shape: Shape) -> Family:
    natural: dict[int, Family] = {1: "dense", 2: "series", 3: "image"}
    return "dense" if config.flat else natural[len(shape)]


def _fused(fusion: str, cut: Shape, children: int) -> Shape:
    """Shape after fusion: concatenation stacks channels."""
    return (cut[0] * children, *cut[1:]) if fusion == "concat" else cut


def _side_by_side(fusion: str, children: Sequence[int]) -> int:
    """How many children's channels a section takes in one beside the other."""
    return len(children) if fusion == "concat" else 1


def _section(
    config: SectionConfig,
    family: Family,
    shape: Shape,
    *,
    cut: bool = True,
    fit: bool = True,
    dense_cut: bool = False,
    children: int = 1,
) -> SectionPlan:
    """Shapes of one section; `fit`: its values halve until they fit `cut_bits`, whether or not they are sent up."""
    if family == "dense":
        width = (min(config.cut_width, config.cut_bits) if config.tail else config.widths[-1],)
        return SectionPlan(family, (math.prod(shape),), config.widths, 0, width if cut else None, config.tail)
    filters = config.cut_filters if config.tail else config.filters[-1]
    halvings = len(config.filters) if config.halve == "all" else 0
    places = _halved(shape[1:], halvings)
    while fit and config.halve == "fit" and filters * math.prod(places) > config.cut_bits:
        if max(places) == 1:
            name = "cut_filters" if config.tail else "the last filters,"
            raise BadConfig(f"cut_bits is {config.cut_bits}, less than {name} {filters}; expected at least as many")
        places = _halved(places, 1)
        halvings += 1
    # A large view may need more halvings than there are blocks: the last block is repeated.
    blocks = config.filters + config.filters[-1:] * (halvings - len(config.filters))
    if any(filters % children for filters in blocks[: config.apart]):
        raise BadConfig(
            f"the first {config.apart} of the filters {list(blocks)} keep {children} apart; expected multiples"
        )
    sent = (min(config.cut_width, config.cut_bits),) if dense_cut else (filters, *places)
    return SectionPlan(family, shape, blocks, halvings, sent if cut else None, config.tail, config.apart, children)


def _halved(places: Shape, times: int) -> Shape:
    for _ in range(times):
        places = tuple(-(-place // 2) for place in places)
    return places
