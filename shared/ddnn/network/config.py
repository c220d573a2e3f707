"""The network's configuration: the tables `[network]`, `[network.device]`, `[network.edge]`, `[network.cloud]`."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ddnn.topology import Fusion

__all__ = ["Kind", "NetworkConfig", "SectionConfig"]

Kind = Literal["float", "binary", "residual"]
Count = Annotated[int, Field(ge=1, le=65_536)]
Index = Annotated[int, Field(ge=0, le=65_536)]


class SectionConfig(BaseModel):
    """Blocks of one section; `filters` for images and series, `widths` for vectors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

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
    apart: Annotated[int, Field(ge=0, le=64)] = 0
    """So many first blocks have filters of their own for each child that concat joins, an even share each."""
    halve: Literal["fit", "all"] = "fit"
    """Which blocks halve the view: as many as its features need to fit cut_bits, or all of them."""


class NetworkConfig(BaseModel):
    """The network's shape."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    blocks: Kind = "float"
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
    spectrum: bool = False
    """Whether a series is seen together with its magnitude spectrum; what takes it in must be flat."""
    local_fusion: Fusion = "mean"
    """How the devices' scores are joined."""
    edge_fusion: Fusion = "concat"
    """How the devices' features are joined at the edge."""
    cloud_fusion: Fusion = "concat"
    """How the edges' features (the devices', without edge sections; raw views, without device sections) are joined."""
    device: SectionConfig = SectionConfig()
    """Blocks of each device."""
    edge: SectionConfig = SectionConfig(flat=True, filters=(32,), widths=(512,), cut_filters=32, cut_width=512)
    """Blocks of each edge."""
    cloud: SectionConfig = SectionConfig(flat=True, filters=(32, 64, 64), widths=(512, 256))
    """Blocks of the cloud, which sends nothing up; over raw views they halve as a device's would."""
