"""The network's configuration, and what it decides before anything is built: edges, what sections are asked, shapes.

A shape is (C, H, W) of an image, (C, L) of a series or (F,) of a vector.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ddnn.codec import codec_of, trims
from ddnn.errors import BadConfig
from ddnn.extensions import is_extension
from ddnn.topology import FeatureFusion, Fusion, View
from ddnn.types import Tier

__all__ = ["Family", "NetworkConfig", "Plan", "SectionConfig", "SectionPlan", "Shape", "Table", "Wanted"]

Family = Literal["image", "series", "dense"]
Shape = tuple[int, ...]
Count = Annotated[int, Field(ge=1, le=65_536)]
Temperature = Annotated[float, Field(gt=0, le=1e3)]
Index = Annotated[int, Field(ge=0, le=65_536)]
Number = Annotated[float, Field(ge=-1e9, le=1e9)]
Spread = Annotated[float, Field(gt=0, le=1e9)]


class Table(BaseModel):
    """A table of a TOML file, each key with a default and a sentence."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class SectionConfig(Table):
    """Blocks of one section; `filters` for images and series, `widths` for vectors."""

    section: str = "blocks"
    """What the section is made of: blocks, or a factory of your own as package.module:factory."""
    weights: str = ""
    """A .safetensors file with weights that the section starts from."""
    filters: tuple[Count, ...] = Field(default=(16, 32), min_length=1)
    """Filters of each convolution block."""
    widths: tuple[Count, ...] = Field(default=(64,), min_length=1)
    """Outputs of each dense block."""
    cut_filters: Count = 8
    """Filters of the features sent up (images and series)."""
    cut_width: Count = 128
    """Elements of the features sent up (vectors, and devices of unequal shapes)."""
    cut_codec: str = "bits1"
    """How an element of the features is sent: bits1, bits2, bits4, bits8, float16, or package.module:factory."""
    cut_range: Literal["tensor", "channel"] = "channel"
    """Whether several bits have one range for all elements, or each channel its own; it is learnt."""
    cut_bits: Count = 512
    """Most bits sent up; blocks halve the view, the first ones first, until the features fit."""
    flat: bool = False
    """Dense blocks over what comes in, flattened, instead of convolutions over it."""
    tail: bool = True
    """Whether a block of its own makes the features; without, they are the last block's, and the exit sees them too."""
    pass_on: bool = False
    """What goes up is what came in, not features made of it: the normalised view, or what the devices gave."""
    bins: Annotated[int, Field(ge=0, le=256)] = 0
    """Bins of the encoding that dense blocks see each number in, between quantiles of the training events; 0: plain."""
    parts: Annotated[int, Field(ge=1, le=64)] = 1
    """Parts of a series whose means its exit sees; 1: its mean over all the time."""
    linear: Annotated[float, Field(ge=0, le=1e6)] = 0.0
    """Inverse penalty of a logistic regression that judges beside the network what the section takes in; 0: none."""
    linear_share: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Its share of the probabilities that the exit gives; the network has what is left."""
    trees: Annotated[int, Field(ge=0, le=1000)] = 0
    """Rounds of boosted trees that judge beside them; 0: none."""
    trees_share: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Their share of the probabilities."""
    forest: Annotated[int, Field(ge=0, le=1000)] = 0
    """Extremely randomised trees that judge beside them; 0: none."""
    forest_share: Annotated[float, Field(ge=0, lt=1)] = 0.3
    """Their share of the probabilities."""
    temperatures: tuple[Temperature, Temperature, Temperature, Temperature] = (1.0, 1.0, 1.0, 1.0)
    """Of network, regression, trees and forest: what their scores are divided by before their probabilities mix."""
    apart: Annotated[int, Field(ge=0, le=64)] = 0
    """So many first blocks have filters of their own for each child that concat joins, an even share each."""
    halve: Literal["fit", "all"] = "fit"
    """Which blocks halve the view: as many as its features need to fit cut_bits, or all of them."""
    pool: Literal["mean", "covariance"] = "mean"
    """What the exit of a piece of a backbone sees of each map: its channels' means, or their covariances too."""
    bottleneck: Index = 0
    """Channels of the features that a piece of a backbone sends up, made by a learned 1 × 1 convolution; 0: all."""


class NetworkConfig(Table):
    """The network's shape."""

    blocks: Literal["float", "binary", "residual"] = "float"
    """Weights and values inside a section made of blocks."""
    bias: bool = False
    """Biases in binary blocks; the paper's code has them, though the batch norm that follows takes them away."""
    devices: tuple[Index, ...] = ()
    """Which devices of the data the network has, in this order; empty: all."""
    device_section: bool = True
    """Whether devices have blocks and an exit; without, raw views go up and the cloud is the only section."""
    edge_section: bool = True
    """Whether the edge has blocks and an exit of its own, or only fuses scores and passes features on."""
    edges: Index | tuple[tuple[Index, ...], ...] = ()
    """How many edges share the devices, or the devices of each: [[0, 1, 2], [3, 4, 5]]; 0 or empty: one for all."""
    shared_weights: bool = False
    """Whether all devices have the same weights and input normalisation; their views must be of one kind."""
    backbone: str = ""
    """A network that the sections are pieces of: efficientnet_lite0, or package.module:factory; empty: blocks."""
    backbone_weights: str = ""
    """What it starts from: imagenet (if it is built in), none, or a .safetensors file; empty: as its factory has it."""
    backbone_end: str = ""
    """Name of its last module that is used; empty: all of it."""
    cuts: tuple[str, ...] = ()
    """Names of the modules, as torch has them, after which it is cut: first the device's end, then the edge's."""
    learn: str = "all"
    """What of the backbone learns: all, nothing, or the name of the first module that does."""
    join: Literal["pooled", "features"] = "pooled"
    """What a piece of it joins: what it makes of each child, or what the children gave, before it runs once."""
    input_mean: tuple[Number, ...] = ()
    """Mean that views are normalised by, one or one a channel; empty: the backbone's, else the training events'."""
    input_spread: tuple[Spread, ...] = ()
    """Spread that they are divided by then."""
    weight_type: Literal["float32", "int8"] = "float32"
    """How the bundle keeps weights; int8 is a quarter of the size, on a scale of each output channel of its own."""
    normalise: Literal["channel", "element"] = "channel"
    """Whether views are brought to one scale channel by channel, or each place of a channel by itself."""
    tails: Literal["bend", "keep"] = "bend"
    """Whether a channel with heavy tails is bent by its quantiles to a normal distribution, or kept as it is."""
    spectrum: bool = False
    """Whether a series is seen together with its magnitude spectrum; what takes it in must be flat."""
    local_fusion: Fusion = "mean"
    """How the devices' scores are joined; `clipped` is a mean in which none counts beyond all measure."""
    edge_fusion: FeatureFusion = "concat"
    """How the devices' features are joined at the edge."""
    cloud_fusion: FeatureFusion = "concat"
    """How the edges' features (the devices', without edge sections; raw views, without device sections) are joined."""
    device: SectionConfig = SectionConfig()
    """Blocks of each device."""
    edge: SectionConfig = SectionConfig(flat=True, filters=(32,), widths=(512,), cut_filters=32, cut_width=512)
    """Blocks of each edge."""
    cloud: SectionConfig = SectionConfig(flat=True, filters=(32, 64, 64), widths=(512, 256))
    """Blocks of the cloud, which sends nothing up; over raw views they halve as a device's would."""

    @property
    def extensions(self) -> set[str]:
        """The user's own parts that it names, package.module:attribute."""
        tables = self.device, self.edge, self.cloud
        named = {self.backbone, *(name for table in tables for name in (table.section, table.cut_codec))}
        return {name for name in named if is_extension(name)}


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
        _refuse(config, views, edges)
        return cls(config, classes, tuple(views), edges)

    @property
    def raw(self) -> bool:
        """Whether raw views go up to the cloud, the only section (configuration (a))."""
        return not self.config.device_section

    def device(self, index: int) -> Wanted:
        """What device number `index` is asked for."""
        view, flat = self.views[index], len({view.shape for view in self.views}) > 1
        raw = self._raw(Tier.DEVICE, index, flat=flat or self.config.device.flat or len(view.shape) == 1)
        return self._wanted(Tier.DEVICE, _seen(self.config, view), view=view, flat=flat, raw=raw)

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
        return Wanted(tier, shape, self.classes, tier is not Tier.CLOUD, self._table(tier), self.config, **rest)


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


def _refuse(config: NetworkConfig, views: Sequence[View], edges: tuple[tuple[int, ...], ...]) -> None:
    """Raise `BadConfig` where two keys, or a key and the views, do not go together."""
    if config.devices and len(config.devices) != len(views):
        raise BadConfig(f"network.devices names {len(config.devices)} devices; the data have {len(views)}")
    if not config.device_section and config.edge_section:
        raise BadConfig("network.edge_section is true without device sections; expected false: raw views go up")
    if not config.device_section and len(edges) > 1:
        raise BadConfig(f"network.edges makes {len(edges)} edges without device sections; expected one")
    first = "device" if config.device_section else "cloud"
    if config.spectrum and not getattr(config, first).flat:
        raise BadConfig(f"network.{first}.flat is false with network.spectrum; expected true: frequencies are no times")
    tables = {"device": config.device, "edge": config.edge, "cloud": config.cloud}
    _refuse_backbone(config, tables)
    for name, section in tables.items():
        if section.apart and (name == "device" or config.blocks != "float" or section.flat):
            found = f"network.{name}.apart is {section.apart}"
            raise BadConfig(f"{found}; expected 0 but of float convolutions over what is joined")
        if name != "cloud" and section.section == "blocks" and not section.tail and section.cut_codec != "bits1":
            found = f"network.{name}.tail is false with cut_codec {section.cut_codec!r}"
            raise BadConfig(f"{found}; expected true: without a tail the exit sees bits")
    kinds = sorted({f"{view.dtype} {view.shape}" for view in views})
    if len({view.shape for view in views}) > 1 and not config.device.tail and config.device_section:
        raise BadConfig(f"network.device.tail is false, but views are {', '.join(kinds)}; expected true")
    if len(kinds) > 1:
        for key, unfit in (("shared_weights", True), ("device_section", False)):
            if getattr(config, key) is unfit:
                found = f"network.{key} is {str(unfit).lower()}, but views are {', '.join(kinds)}"
                raise BadConfig(f"{found}; expected views of one kind")
        if config.backbone:
            raise BadConfig(
                f"network.backbone is {config.backbone!r}, but views are {', '.join(kinds)}; expected one kind"
            )


def _refuse_backbone(config: NetworkConfig, tables: Mapping[str, SectionConfig]) -> None:
    """Raise `BadConfig` for keys that say nothing without a backbone, and for half a normalisation."""
    given = {key: getattr(config, key) for key in ("backbone_weights", "backbone_end", "cuts")}
    given |= {f"{name}.bottleneck": table.bottleneck for name, table in tables.items()}
    for key, value in given.items():
        if value and not config.backbone:
            raise BadConfig(f"network.{key} is {value!r} without network.backbone; expected one")
    mean, spread = len(config.input_mean), len(config.input_spread)
    if mean != spread:
        raise BadConfig(f"network.input_mean has {mean} numbers, input_spread {spread}; expected as many")
