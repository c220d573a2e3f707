"""Device sections of one plan as one operation, where they learn: D small ones in turn take D times as long to start.

Values lie as (B, D·C, …), the channels of all devices side by side: a batch norm of each is one of all, a convolution
of each is one in D groups. Sections that are `Joined` keep their weights as parts of one tensor; else these are joined
anew in every step.
Legend: B events, D devices, C channels (or numbers) of one, K classes.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from ddnn.network.blocks import Head, Residual, Tail, Trunk
from ddnn.network.products import Dense
from ddnn.network.quantise import BinaryConv1d, BinaryConv2d, BinaryLinear, Sign, sign
from ddnn.network.sections import Blocks

__all__ = ["Joined", "alike", "forward"]

LARGEST: Final = 1 << 17
"""Most numbers of all views of a step that images run as one with; past it, convolutions in turn fit the caches."""


class Joined:
    """What sections of one plan learn, each weight of all in one tensor that theirs are parts of, and so each buffer.

    An optimizer takes `weights` in the place of those of the sections, after `gather`.
    """

    def __init__(self, sections: Iterable[nn.Module]) -> None:
        groups: dict[Hashable, list[Blocks]] = {}
        for section in sections:
            if isinstance(section, Blocks) and all(weight.requires_grad for weight in section.parameters()):
                groups.setdefault(section.plan, []).append(section)
        self._parts: list[tuple[nn.Parameter, list[nn.Parameter]]] = []
        for group in groups.values():
            if len(group) == 1:
                continue
            for weights in zip(*(section.parameters() for section in group), strict=True):
                whole = nn.Parameter(_cat([weight.detach() for weight in weights]))
                _share(whole, weights)
                self._parts.append((whole, list(weights)))
            named = [dict(section.named_buffers()) for section in group]
            for name, first in named[0].items():
                buffers = [own[name] for own in named if name in own and own[name].shape == first.shape]
                if len(buffers) == len(group):
                    _share(_cat(buffers), buffers)

    def weights(self, network: nn.Module) -> list[nn.Parameter]:
        """All that the network learns, of the joined sections the joined ones."""
        parts = {id(part) for _, parts in self._parts for part in parts}
        return [*(whole for whole, _ in self._parts), *(w for w in network.parameters() if id(w) not in parts)]

    def gather(self) -> None:
        """Give the joined weights the gradients that sections got in turn."""
        for whole, parts in self._parts:
            if whole.grad is None and parts[0].grad is not None:
                whole.grad = _cat([part.grad for part in parts if part.grad is not None])
            for part in parts:
                part.grad = None


def _cat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(tensors)) if tensors[0].dim() else torch.stack(list(tensors))


def _share(whole: Tensor, parts: Sequence[Tensor]) -> None:
    """Make `parts` parts of `whole`, along its first axis."""
    for part, place in zip(parts, whole.detach().tensor_split(len(parts)), strict=True):
        part.data = place.reshape(part.shape)
    parts[0].whole = whole  # type: ignore[attr-defined]


def _whole(modules: Sequence[nn.Module], name: str) -> Tensor:
    """The tensors `name` of all as one: what they are parts of, or, where these are not all of it, a copy."""
    first = getattr(modules[0], name)
    whole = getattr(first, "whole", None)
    if whole is None or whole.data_ptr() != first.data_ptr() or whole.numel() != len(modules) * first.numel():
        return _cat([getattr(module, name) for module in modules])
    return whole  # type: ignore[no-any-return]


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
    x = _joined([section.normalise for section in sections], torch.cat(list(views), dim=1))
    within = x
    if first.encode is not None:
        within = _joined([section.encode for section in sections], x.flatten(1))
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


def _joined(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    """What modules that treat each channel for itself, by buffers alone, make of the channels of all.

    Where some have a curve, the others have one of zeros, which is none.
    """
    first = max(modules, key=lambda module: sum(buffer is not None for buffer in module._buffers.values()))
    joined: dict[str, Tensor] = {}
    for name, buffer in first.named_buffers(recurse=False):  # what is within is of all channels: how to shrink images
        own = [getattr(module, name) for module in modules]
        some = [torch.zeros_like(buffer) if each is None else each for each in own]
        joined[name] = _whole(modules, name) if all(each is not None for each in own) else torch.cat(some)
    return functional_call(first, joined, x)  # type: ignore[no-any-return]


def _dense(layers: Sequence[nn.Linear], x: Tensor) -> Tensor:
    weight = _whole(layers, "weight").reshape(len(layers), *layers[0].weight.shape)
    if isinstance(layers[0], BinaryLinear):
        weight = sign(weight)
    x = _apart(x, len(layers)).transpose(0, 1)
    x = torch.bmm(x, weight.transpose(1, 2)).transpose(0, 1).flatten(1)
    return x if layers[0].bias is None else x + _whole(layers, "bias")


def _convolved(layers: Sequence[nn.Conv1d | nn.Conv2d], x: Tensor) -> Tensor:
    first, weight = layers[0], _whole(layers, "weight")
    bias = None if first.bias is None else _whole(layers, "bias")
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
    first, names = norms[0], ("running_mean", "running_var")
    mean, var, weight, bias = (_whole(norms, name) for name in (*names, "weight", "bias"))
    assert first.momentum is not None
    made = functional.batch_norm(_image(x), mean, var, weight, bias, first.training, first.momentum, first.eps)
    if not first.training:
        return made.reshape(x.shape)
    with torch.no_grad():
        if mean.data_ptr() == first.get_buffer("running_mean").data_ptr():
            _whole(norms, "num_batches_tracked").add_(1)
        else:
            own = [norm.get_buffer(name) for name in names for norm in norms]
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
    **dict.fromkeys((Dense, BinaryLinear), _dense),
    **dict.fromkeys((nn.Conv1d, nn.Conv2d, BinaryConv1d, BinaryConv2d), _convolved),
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d), _normed),
    Residual: _residual,
    Head: _scored,
    Tail: _ended,
}
