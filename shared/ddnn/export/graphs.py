"""Sections as they are served: levels instead of values at the cuts, flat features, a dynamic batch, as ONNX files."""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from ddnn.golden import taken
from ddnn.network import DDNN
from ddnn.network.pieces import OfBackbone
from ddnn.network.quantise import Quantiser
from ddnn.network.views import OfViews
from ddnn.network.weights import in_eight_bits
from ddnn.onnx_parts import EACH
from ddnn.topology import SectionSpec, Topology
from ddnn.types import Array, Exit, Tier

__all__ = ["write_sections"]

OPSET = 18


class _Graph(nn.Module):
    """What a section's inputs say, in the order of the topology, and `present` → `scores` [B, K], `features` [B, n].

    Behind them come what the section has made of each child before it joins them, where it looks at each by itself.
    """

    def __init__(self, section: nn.Module, take: nn.Module, give: Quantiser | None) -> None:
        super().__init__()
        self.section, self.take, self.give = section, take, give
        joins = getattr(section, "fusion", None), getattr(section, "maps", None)
        self.joins = [join for join in joins if isinstance(join, nn.Module) and _looks_at_each(section)]

    def forward(self, given: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        each: list[Tensor] = []
        hooks = [join.register_forward_pre_hook(lambda _, taken: each.append(taken[0])) for join in self.joins]
        found = self.section(self.take(given), *rest)
        for hook in hooks:
            hook.remove()
        if self.give is None:
            return found, *each
        scores, cut = found
        return scores, self.give.encode(cut).flatten(1), *each


class _Decode(nn.Module):
    """Features of n children [B, n, values], as their codec unpacks them → [B, n, *shape], for the section."""

    def __init__(self, quantiser: Quantiser, children: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.quantiser, self.shape = quantiser, (-1, children, *shape)

    def forward(self, values: Tensor) -> Tensor:
        return self.quantiser.decode(values.reshape(self.shape))


class _Views(nn.Module):
    """Views [B, D, …] → the same, normalised by device."""

    def __init__(self, network: DDNN) -> None:
        super().__init__()
        self.inputs = nn.ModuleList(network.inputs)

    def forward(self, views: Tensor) -> Tensor:
        each = zip(self.inputs, views.unbind(dim=1), strict=True)
        return torch.stack([normalise(view) for normalise, view in each], dim=1)


def _looks_at_each(section: nn.Module) -> bool:
    return isinstance(section, OfViews) or (isinstance(section, OfBackbone) and section.pooled)


def write_sections(network: DDNN, answers: Mapping[str, Array], folder: Path) -> None:
    """Write every section of `network` (in evaluation mode, on the CPU) into `folder`, traced on torch's `answers`."""
    topology = network.topology
    for file, spec in {spec.file: spec for spec in reversed(topology.sections)}.items():  # devices may share one
        rows = taken(topology, spec, answers)
        inputs = {name: torch.from_numpy(np.resize(array, (2, *array.shape[1:]))) for name, array in rows.items()}
        _write(_graph(network, topology, spec), inputs, spec, folder / file)
        if network.plan.config.weight_type == "int8":
            _shorten(folder / file)


def _graph(network: DDNN, topology: Topology, spec: SectionSpec) -> _Graph:
    lists = {Exit.DEVICE: network.devices, Exit.LOCAL: network.locals, Exit.EDGE: network.edges}
    section = network.cloud if spec.exit is Exit.CLOUD else lists[spec.exit][spec.index]
    take: nn.Module = nn.Identity()
    given, features = spec.inputs[0], topology.features(spec.inputs[0].child)
    if given.what == "features" and features:
        take = _Decode(network.cut(given.child), len(topology.children(spec, given)), features.shape)
    elif given.what == "view" and given.when == "always" and spec.tier is Tier.CLOUD:
        take = _Views(network)
    return _Graph(section, take, network.cut(spec.tier).first(spec.features.values) if spec.features else None)


def _write(graph: _Graph, inputs: dict[str, Tensor], spec: SectionSpec, file: Path) -> None:
    """Trace `graph` into one file."""
    # By the TorchScript exporter: a section takes 30 ms and a clean graph results; the newer one takes a second, and
    # writes messages of its own. torch is pinned, and the proof after every export would notice a difference.
    outputs = [f"{name}_out" if name in inputs else name for name in ("scores", "features")[: 1 + bool(spec.features)]]
    each = [f"{EACH}_{index}" for index in range(len(graph.joins))]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # it warns that it is the older one
        torch.onnx.export(
            graph.eval(),
            tuple(inputs.values()),
            str(file),
            input_names=list(inputs),
            output_names=[*outputs, *each],
            dynamic_axes={name: {0: "B"} for name in (*inputs, *outputs, *each)},
            opset_version=OPSET,
            dynamo=False,
        )
        found = graph(*inputs.values())
    # The exporter loses track of a flattened size; a reader of the file should see it.
    model = onnx.load(file)
    del model.graph.output[len(outputs) :]  # values within the graph, as all others; their names stay
    for value, tensor in zip(model.graph.output, found, strict=False):
        value.type.tensor_type.shape.dim[1].dim_value = tensor.shape[1]
    onnx.save(model, file)


def _shorten(file: Path) -> None:
    """Keep weights that eight bits hold in eight bits, which are single precision again once the file is loaded."""
    model = onnx.load(file)
    graph, nodes = model.graph, list[onnx.NodeProto]()
    for weight in list(graph.initializer):
        values = torch.from_numpy(onnx.numpy_helper.to_array(weight).copy())
        # A layer's output channels are its weight's first axis, or the last one where the exporter has turned it.
        for axis, turned in ((0, values), (values.dim() - 1, values.movedim(-1, 0) if values.dim() else values)):
            if eight := in_eight_bits(turned):
                whole = eight[0].movedim(0, axis).contiguous().numpy()
                name, parts = weight.name, {"whole": whole, "scale": eight[1].numpy()}
                graph.initializer.remove(weight)
                graph.initializer.extend(
                    onnx.numpy_helper.from_array(array, f"{name}_{part}") for part, array in parts.items()
                )
                given = [f"{name}_{part}" for part in parts]
                nodes.append(onnx.helper.make_node("DequantizeLinear", given, [name], axis=axis))
                break
    for node in reversed(nodes):
        graph.node.insert(0, node)
    onnx.save(model, file)
