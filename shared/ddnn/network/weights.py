"""Weights of a user's own, read into a module; and weights in eight bits.

A weight of eight bits is a whole number in [−127, 127] times a scale of its output channel: batch norms that are folded
into it later change the scale alone.
"""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Final, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from ddnn.errors import BadConfig
from ddnn.network.quantise import signed_weights

__all__ = ["in_eight_bits", "load_weights", "packed", "rounded", "unpacked"]

LEAST: Final = 1024  #: numbers of a tensor that is worth rounding
MOST: Final = 127
CLOSE: Final = 1e-5  #: of a scale: as far as arithmetic in single precision may move a whole number
SCALE: Final = ":scale"  #: ends the name of a tensor of scales; no module's name has a colon

Network = TypeVar("Network", bound=nn.Module)
_LAYERS: Final = nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d


def load_weights(module: nn.Module, file: Path, key: str, what: str) -> None:
    """Take the weights in the .safetensors `file` that the table names by `key`; raise `BadConfig` unless they fit."""
    try:
        module.load_state_dict(load_file(file))
    except (OSError, SafetensorError) as error:
        raise BadConfig(f"{key} is {str(file)!r}, which cannot be read ({error}); expected .safetensors") from error
    except RuntimeError as error:
        why = " ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise BadConfig(f"{key} is {str(file)!r}, whose tensors are not those of the {what}: {why}") from error


def rounded(network: Network) -> Network:
    """A copy whose large layers have weights that eight bits hold, each the nearest one."""
    copied = deepcopy(network)
    signed = {id(weight) for weight in signed_weights(copied)}
    with torch.no_grad():
        for module in copied.modules():
            weight = module.weight if isinstance(module, _LAYERS) else None
            if weight is not None and weight.numel() >= LEAST and id(weight) not in signed:
                scale = _scale(weight)
                weight.copy_((weight / scale).round() * scale)
    return copied


def in_eight_bits(weight: Tensor) -> tuple[Tensor, Tensor] | None:
    """Whole numbers (C, …) of weights (C, …) and scales (C,), where eight bits hold them all; else None."""
    if weight.dtype != torch.float32 or weight.dim() < 2 or weight.numel() < LEAST:
        return None
    scale = _scale(weight)
    whole = (weight / scale).round()
    return (whole.to(torch.int8), scale.flatten()) if ((weight / scale) - whole).abs().max() < CLOSE * MOST else None


def packed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same weights by name, those that eight bits hold as whole numbers and scales."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if eight := in_eight_bits(tensor):
            found[name], found[name + SCALE] = eight
        else:
            found[name] = tensor.contiguous()
    return found


def unpacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `packed` was given."""
    return {
        name: tensor.float() * _along(state[name + SCALE], tensor) if name + SCALE in state else tensor
        for name, tensor in state.items()
        if not name.endswith(SCALE)
    }


def _scale(weight: Tensor) -> Tensor:
    """Of each output channel (C, 1, …): its largest weight is 127; 1 where all are 0."""
    largest = weight.detach().abs().flatten(1).amax(dim=1)
    return _along(torch.where(largest > 0, largest / MOST, 1.0), weight)


def _along(scale: Tensor, weight: Tensor) -> Tensor:
    return scale.reshape(-1, *[1] * (weight.dim() - 1))
