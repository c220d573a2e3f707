"""The network's configuration: the table `[network]` of a training config.

A shape is (C, H, W) of an image, (C, L) of a series or (F,) of a vector.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ddnn.extensions import is_extension
from ddnn.levels import Pick
from ddnn.topology import FeatureFusion, Fusion

__all__ = ["NetworkConfig", "SectionConfig", "Shape", "Table"]

Shape = tuple[int, ...]
Count = Annotated[int, Field(ge=1, le=65_536)]
Temperature = Annotated[float, Field(gt=0, le=1e3)]
# Configs in bundles from before there were forests have three.
Judged = Annotated[
    tuple[Temperature, ...], Field(min_length=3, max_length=4), AfterValidator(lambda given: (*given, 1.0)[:4])
]
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
    linear_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Its share of the probabilities that the exit gives; the network has what is left."""
    trees: Annotated[int, Field(ge=0, le=1000)] = 0
    """Rounds of boosted trees that judge beside them; 0: none."""
    trees_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Their share of the probabilities."""
    forest: Annotated[int, Field(ge=0, le=1000)] = 0
    """Extremely randomised trees that judge beside them; 0: none."""
    forest_share: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Their share of the probabilities."""
    temperatures: Judged = (1.0, 1.0, 1.0, 1.0)
    """Of network, regression, trees and forest: what their scores are divided by before their probabilities mix."""
    apart: Annotated[int, Field(ge=0, le=64)] = 0
    """So many first blocks have filters of their own for each child that concat joins, an even share each."""
    halve: Literal["fit", "all"] = "fit"
    """Which blocks halve the view: as many as its features need to fit cut_bits, or all of them."""
    pool: Literal["mean", "covariance"] = "mean"
    """What the exit of a piece of a backbone sees of each map: its channels' means, or their covariances too."""
    bottleneck: Index = 0
    """Channels of the features that a piece of a backbone sends up, made by a learned 1 × 1 convolution; 0: all."""
    input_size: Index = 0
    """Pixels of a side that a view, an image, is shrunk to within the section; 0: it is taken as it is."""
    takes: Literal["features", "views"] = "features"
    """What the cloud takes: features of the tier below, or the devices' views, which it asks for through the edge."""
    picture: str = "jpeg50"
    """How a view goes up to a cloud that takes views: jpeg or webp with a quality, as in jpeg50, or view, raw."""
    views: Index = 0
    """Views of so many devices go up to it; 0: of all."""
    pick: Pick = "sure"
    """Whose they are: of the devices that are surest by their own scores, or of the least sure ones."""
    mix: bool = True
    """Whether its exit adds to its own scores those of the edge's exit, by a learned weight."""
    backbone: str = ""
    """The network of a cloud that takes views, as `network.backbone`; empty: blocks."""
    backbone_weights: str = ""
    """What that starts from, as `network.backbone_weights`."""
    backbone_end: str = ""
    """Name of its last module that is used; empty: all of it."""
    learn: str = "all"
    """What of it learns: all, nothing, or the name of the first module that does."""


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
    """What sections are pieces of: efficientnet_lite0, efficientnet_lite2, package.module:factory; empty: blocks."""
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
        named = {
            self.backbone,
            *(name for table in tables for name in (table.section, table.cut_codec, table.backbone)),
        }
        return {name for name in named if is_extension(name)}
