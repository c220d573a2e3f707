"""What must be decided before anything is built: edges, what each section is asked for, and the shapes of its blocks.

Legend: K classes, D devices; a shape is (C, H, W) of an image, (C, L) of a series or (F,) of a vector.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ddnn.codec import codec_of
from ddnn.errors import BadConfig
from ddnn.network.config import NetworkConfig, SectionConfig
from ddnn.topology import Fusion, View
from ddnn.types import Tier

__all__ = ["Family", "NetworkConfig", "Plan", "SectionConfig", "SectionPlan", "Shape", "Wanted"]

Family = Literal["image", "series", "dense"]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Wanted:
    """What a section is asked for: the one argument of a factory, built in or a user's own.

    The module it makes takes a view (B, *input) at a device, else what its children gave (B, children, *input) and who
    is present (B, children); it gives scores (B, K) or, where `features` are wanted, (scores, features (B, …)).
    """

    tier: Tier
    input: Shape
    """Of one view, or of what one child gives."""
    classes: int
    """K."""
    features: bool
    """Whether a tier above wants features, values of any size before they are quantised, beside the scores."""
    config: SectionConfig
    """The table of this tier in the user's configuration."""
    network: NetworkConfig
    """The whole of it."""
    view: View | None = None
    """The view as the data have it, at a device; it comes normalised, unless the module has a true `raw_view`."""
    children: int = 1
    """How many are fused."""
    fusion: Fusion = "concat"
    """How the user wants them fused."""
    flat: bool = False
    """Whether features must be flat, since devices with views of other shapes have the same."""

    @property
    def key(self) -> str:
        """Where this section stands in the configuration."""
        return f"network.{self.tier}"


@dataclass(frozen=True)
class SectionPlan:
    """What a section made of blocks is built from."""

    family: Family
    input: Shape
    """What its first block takes."""
    blocks: tuple[int, ...]
    """Outputs (filters or widths) of each block."""
    halvings: int
    """So many blocks halve height, width or length, the first ones first."""
    features: bool
    """Whether it has something above it."""
    tail: int | None
    """Outputs of a block of its own that makes the features; none: they are the last block's."""
    flat: bool = False
    """Whether that block is dense."""
    apart: int = 0
    """So many blocks, the first ones, keep `children` apart."""
    children: int = 1
    """How many are joined in the input, side by side as channels."""

    @classmethod
    def of(cls, wanted: Wanted) -> "SectionPlan":
        """Decide; raise `BadConfig` where the features cannot be as small as the configuration says."""
        config, most = wanted.config, wanted.config.cut_bits // _bits_each(wanted.config)
        if not most:
            raise BadConfig(f"{wanted.key}.cut_bits is {config.cut_bits}; expected room for one element of cut_codec")
        children = wanted.children if wanted.fusion == "concat" else 1
        shape = (wanted.input[0] * children, *wanted.input[1:])  # concatenation stacks channels
        family = _family(config, shape)
        tail = min(config.cut_width, most) if family == "dense" or wanted.flat else config.cut_filters
        made = wanted.features, tail if config.tail else None
        if family == "dense":
            return cls(family, (math.prod(shape),), config.widths, 0, *made)
        halvings = _halvings(config, shape[1:], most, fit=wanted.features or not wanted.network.device_section)
        # A large view may need more halvings than there are blocks: the last block is repeated.
        blocks = config.filters + config.filters[-1:] * (halvings - len(config.filters))
        if any(filters % children for filters in blocks[: config.apart]):
            raise BadConfig(
                f"the first {config.apart} of the filters {list(blocks)} keep {children} apart; expected multiples"
            )
        return cls(family, shape, blocks, halvings, *made, wanted.flat, config.apart, children)


@dataclass(frozen=True)
class Plan:
    """The network before it is built; the shapes between its sections are known when they are."""

    config: NetworkConfig
    classes: int
    views: tuple[View, ...]
    edges: tuple[tuple[int, ...], ...]
    """Global device indices of each edge, ascending."""

    @classmethod
    def of(cls, config: NetworkConfig, views: Sequence[View], classes: int) -> "Plan":
        """Deal the devices to edges; raise `BadConfig` where the configuration does not fit the views."""
        edges = _edges(config, len(views))
        _refuse(config, views, edges)
        return cls(config, classes, tuple(views), edges)

    @property
    def raw(self) -> bool:
        """Whether raw views go up to the cloud, the only section (configuration (a))."""
        return not self.config.device_section

    def device(self, index: int) -> Wanted:
        """What device number `index` is asked for."""
        view, mixed = self.views[index], len({view.shape for view in self.views}) > 1
        config = self.config
        return Wanted(
            Tier.DEVICE, _seen(config, view), self.classes, True, config.device, config, view=view, flat=mixed
        )

    def edge(self, index: int, child: Shape) -> Wanted:
        """What edge number `index` is asked for, whose devices give features of the shape `child`."""
        config, children = self.config, len(self.edges[index])
        return Wanted(
            Tier.EDGE, child, self.classes, True, config.edge, config, children=children, fusion=config.edge_fusion
        )

    def cloud(self, child: Shape | None, children: int) -> Wanted:
        """What the cloud is asked for, whose children give features of the shape `child`, or raw views."""
        config, shape = self.config, child or _seen(self.config, self.views[0])
        return Wanted(
            Tier.CLOUD, shape, self.classes, False, config.cloud, config, children=children, fusion=config.cloud_fusion
        )


def _seen(config: NetworkConfig, view: View) -> Shape:
    """Shape of a view as a section takes it: a series (C, L) may have its spectrum, L // 2 values, behind it."""
    if config.spectrum and len(view.shape) == 2:
        return (view.shape[0], view.shape[1] + view.shape[1] // 2)
    return view.shape


def _bits_each(config: SectionConfig) -> int:
    """Bits of one value of the features on the wire."""
    return -(-8 * codec_of(config.cut_codec).bytes((1024,)) // 1024)


def _halvings(config: SectionConfig, places: Shape, most: int, *, fit: bool) -> int:
    """How often to halve height, width or length; `fit`: until there are at most so many values.

    Raw views halve at the cloud as they would at a device; what devices have made smaller already does not.
    """
    if config.halve == "all" or not fit:
        return len(config.filters) if config.halve == "all" else 0
    filters, halvings = config.cut_filters if config.tail else config.filters[-1], 0
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
        raise BadConfig(
            f"network.edges is {list(map(list, edges))}; expected each of the devices 0..{devices - 1} once"
        )
    return edges


def _refuse(config: NetworkConfig, views: Sequence[View], edges: tuple[tuple[int, ...], ...]) -> None:
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
    for name, section in (("device", config.device), ("edge", config.edge)):
        if section.section == "blocks" and not section.tail and section.cut_codec != "bits1":
            raise BadConfig(
                f"network.{name}.tail is false with cut_codec {section.cut_codec!r}; expected true:"
                " without a tail the exit sees bits"
            )
    kinds = sorted({f"{view.dtype} {view.shape}" for view in views})
    if len({view.shape for view in views}) > 1 and not config.device.tail and config.device_section:
        raise BadConfig(f"network.device.tail is false, but views are {', '.join(kinds)}; expected true")
    if len(kinds) > 1:
        for key, wanted in (("shared_weights", False), ("device_section", True)):
            if getattr(config, key) is not wanted:
                told = f"network.{key} is {str(not wanted).lower()}"
                raise BadConfig(f"{told}, but views are {', '.join(kinds)}; expected views of one kind")


def _family(config: SectionConfig, shape: Shape) -> Family:
    """Which blocks a section has over what comes in."""
    natural: dict[int, Family] = {1: "dense", 2: "series", 3: "image"}
    return "dense" if config.flat else natural[len(shape)]
