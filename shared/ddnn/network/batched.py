"""Device sections of one plan as one operation, where they learn: D small ones in turn take D times as long to start.

Values lie as (B, D·C, …), the channels of all devices side by side: a batch norm of each is one of all, a convolution
of each is one in D groups. Weights stay in their sections, and are joined anew in every step.
Legend: B events, D devices, C channels (or numbers) of one, K classes.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from ddnn.network.blocks import Head, Residual, Tail, Trunk
from ddnn.network.normalise import Normalise
from ddnn.network.quantise import BinaryConv1d, BinaryConv2d, BinaryLinear, Sign, sign
from ddnn.network.sections import Blocks

__all__ = ["alike", "forward"]

LARGEST: Final = 1 << 17
"""Most numbers of all views of a step that images run as one with; past it, convolutions in turn fit the caches."""


def alike(sections: Iterable[nn.Module], views: Sequence[Tensor]) -> list[list[int]]:
    """Which sections run as one on their D views (B, *shape_i): made of blocks, of one plan, and learning."""
    views = list(views)
    found: dict[Hashable, list[int]] = {}
    for index, (section, view) in enumerate(zip(sections, views, strict=True)):
        kind: Hashable = index
        if isinstance(section, Blocks) and section.training and _pays(section, view.numel() * len(views)):
            kind = section.plan, view.shape, view.dtype
        found.setdefault(kind, []).append(index)
    return list(found.values())


def forward(sections: Iterable[Any], views: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """D views (B, *shape) → scores (B, D, K), features (B, D, *cut), as each section would give them on its own."""
    sections = list(sections)
    first = sections[0]
    x = _normalised([section.normalise for section in sections], torch.cat(list(views), dim=1))
    within = x
    if first.encode is not None:
        within = _joined(first.encode, [dict(section.encode.named_buffers()) for section in sections], x.flatten(1))
    elif first.plan.family == "dense":
        within = x.flatten(1)
    within = _together([section.trunk for section in sections], within)
    if first.plan.pass_on:
        scores = _together([section.head for section in sections], within)
        cuts = first.passed(_apart(x, len(sections)).flatten(0, 1))
        return _apart(scores, len(sections)), cuts.reshape(len(x), len(sections), *cuts.shape[1:])
    forks = [section.fork for section in sections]
    scores = _together([fork.head for fork in forks], forks[0].seen(within))
    cuts = within if forks[0].tail is None else _together([fork.tail for fork in forks], within)
    return _apart(scores, len(sections)), _apart(cuts, len(sections))


def _pays(section: Blocks, numbers: int) -> bool:
    return section.plan.family != "image" or numbers <= LARGEST


def _apart(x: Tensor, devices: int) -> Tensor:
    """(B, D·C, …) → (B, D, C, …)."""
    return x.reshape(len(x), devices, -1, *x.shape[2:])


def _together(modules: Sequence[Any], x: Tensor) -> Tensor:
    """What modules of one kind make of (B, D·C, …)."""
    return _RULES[type(modules[0])](modules, x)


def _each(modules: Sequence[Any], x: Tensor) -> Tensor:
    return modules[0](x)  # type: ignore[no-any-return]


def _in_turn(modules: Sequence[Any], x: Tensor) -> Tensor:
    for layers in zip(*modules, strict=True):
        x = _together(layers, x)
    return x


def _normalised(modules: Sequence[Normalise], x: Tensor) -> Tensor:
    """Of all at once; where some have a curve, the others have one of zeros, which is none."""
    first = next((module for module in modules if module.slopes is not None), modules[0])
    none = {name: torch.zeros_like(buffer) for name, buffer in first.named_buffers()}
    return _joined(first, [none | dict(module.named_buffers()) for module in modules], x)


def _joined(module: nn.Module, buffers: Sequence[dict[str, Tensor]], x: Tensor) -> Tensor:
    """What a module that treats each channel for itself, by buffers alone, makes of the channels of all."""
    joined = {name: torch.cat([own[name] for own in buffers]) for name in buffers[0]}
    return functional_call(module, joined, x)  # type: ignore[no-any-return]


def _dense(layers: Sequence[nn.Linear], x: Tensor) -> Tensor:
    weight = torch.stack([layer.weight for layer in layers])
    if isinstance(layers[0], BinaryLinear):
        weight = sign(weight)
    x = _apart(x, len(layers)).transpose(0, 1)
    x = torch.bmm(x, weight.transpose(1, 2)).transpose(0, 1).flatten(1)
    return x if layers[0].bias is None else x + torch.cat([layer.bias for layer in layers])


def _convolved(layers: Sequence[nn.Conv1d | nn.Conv2d], x: Tensor) -> Tensor:
    first, weight = layers[0], torch.cat([layer.weight for layer in layers])
    bias = None if first.bias is None else torch.cat([layer.bias for layer in layers if layer.bias is not None])
    if isinstance(first, BinaryConv1d | BinaryConv2d):
        weight = sign(weight)
    stride, padding = ((*[least] * (4 - x.dim()), *given) for least, given in ((1, first.stride), (0, first.padding)))
    # Channels last: groups would else be convolved one after another.
    x, weight = (_image(tensor).contiguous(memory_format=torch.channels_last) for tensor in (x, weight))
    made = functional.conv2d(x, weight, bias, stride, padding, groups=len(layers))
    return made.squeeze(2) if isinstance(first, nn.Conv1d) else made


def _image(x: Tensor) -> Tensor:
    """A series (B, C, L) as an image (B, C, 1, L); all else as it is."""
    return x.unsqueeze(2) if x.dim() == 3 else x


def _normed(norms: Sequence[nn.BatchNorm1d | nn.BatchNorm2d], x: Tensor) -> Tensor:
    names = ("running_mean", "running_var")
    mean, var = (torch.cat([getattr(norm, name) for norm in norms]) for name in names)
    weight, bias = torch.cat([norm.weight for norm in norms]), torch.cat([norm.bias for norm in norms])
    assert norms[0].momentum is not None
    made = functional.batch_norm(_image(x), mean, var, weight, bias, True, norms[0].momentum, norms[0].eps)
    with torch.no_grad():
        own = [getattr(norm, name) for name in names for norm in norms]
        torch._foreach_copy_(own, [*mean.chunk(len(norms)), *var.chunk(len(norms))])
        torch._foreach_add_([norm.get_buffer("num_batches_tracked") for norm in norms], 1)
    return made.reshape(x.shape)


def _residual(blocks: Sequence[Residual], x: Tensor) -> Tensor:
    return _together([block.inner for block in blocks], x) + _together([block.past for block in blocks], x)


def _scored(heads: Sequence[Head], x: Tensor) -> Tensor:
    return _together([head.score for head in heads], heads[0].pooled(x).flatten(1))


def _ended(tails: Sequence[Tail], x: Tensor) -> Tensor:
    return _together([tail.block for tail in tails], x.flatten(1) if len(tails[0].input) == 1 else x)


_RULES: Final[dict[type[nn.Module], Callable[[Any, Tensor], Tensor]]] = {
    **dict.fromkeys((nn.Identity, nn.ReLU, nn.MaxPool1d, nn.MaxPool2d, Sign), _each),
    **dict.fromkeys((nn.Sequential, Trunk), _in_turn),
    **dict.fromkeys((nn.Linear, BinaryLinear), _dense),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, BinaryConv1d, BinaryConv2d), _convolved),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d), _normed),
    Residual: _residual,
    Head: _scored,
    Tail: _ended,
}
