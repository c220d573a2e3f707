"""Sections as they are served: bits instead of signs, flat features, ONNX files with a dynamic batch.

ONNX lets no output have an input's name: where they would meet, the output's ends in `_out`.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from ddnn.network import DDNN, ViewSpec
from ddnn.network.device import Device
from ddnn.network.upper import Cloud, Edge

__all__ = ["section_names", "write_sections"]

OPSET = 18


class _DeviceGraph(nn.Module):
    """`view` [B, …] → `scores` [B, K], `features` [B, bits] of 0 and 1."""

    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device = device

    def forward(self, view: Tensor) -> tuple[Tensor, Tensor]:
        scores, cut = self.device(view)
        return scores, (cut >= 0).to(torch.uint8).flatten(1)


class _EdgeGraph(nn.Module):
    """`features` [B, d, bits] of 0 and 1, `present` [B, d] → `scores` [B, K], `features` [B, bits]."""

    def __init__(self, edge: Edge, children: int) -> None:
        super().__init__()
        self.edge, self.shape = edge, (-1, children, *edge.child)

    def forward(self, features: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        scores, cut = self.edge(_signs(features).reshape(self.shape), present)
        return scores, (cut >= 0).to(torch.uint8).flatten(1)


class _CloudGraph(nn.Module):
    """`features` [B, n, bits] of 0 and 1, `present` [B, n] → `scores` [B, K]."""

    def __init__(self, cloud: Cloud, children: int) -> None:
        super().__init__()
        self.cloud, self.shape = cloud, (-1, children, *cloud.child)

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        return self.cloud(_signs(features).reshape(self.shape), present)  # type: ignore[no-any-return]


class _RawGraph(nn.Module):
    """`view` [B, D, …], `present` [B, D] → `scores` [B, K]: configuration (a), normalisation inside."""

    def __init__(self, network: DDNN) -> None:
        super().__init__()
        self.network = network

    def forward(self, view: Tensor, present: Tensor) -> Tensor:
        _, views = self.network.below(view.unbind(dim=1))
        return self.network.cloud(views, present)  # type: ignore[no-any-return]


def _signs(bits: Tensor) -> Tensor:
    return bits.to(torch.float32) * 2 - 1


def section_names(network: DDNN) -> tuple[list[str], list[str], list[str], str]:
    """File names of the device sections, a name a device, local exits, edge sections and the cloud."""
    several = len(network.plan.edges) > 1
    suffixes = [f"-{index}" if several else "" for index in range(len(network.plan.edges))]
    shared = network.plan.config.shared_weights
    return (
        ["device.onnx" if shared else f"device-{index}.onnx" for index in range(len(network.plan.devices))],
        [f"local{suffix}.onnx" for suffix in suffixes[: len(network.locals)]],
        [f"edge{suffix}.onnx" for suffix in suffixes[: len(network.edges)]],
        "cloud.onnx",
    )


def write_sections(network: DDNN, folder: Path) -> None:
    """Write every section of `network` (in evaluation mode, on the CPU) into `folder`."""
    plan = network.plan
    devices, locals_, edges, cloud = section_names(network)
    if plan.device_cut is None:
        inputs = {"view": torch.stack([_view(view) for view in plan.views], dim=1), "present": _everyone(plan.children)}
        _write(_RawGraph(network), inputs, ("scores",), folder / cloud)
        return
    device_bits = math.prod(plan.device_cut)
    for name, device, view in zip(devices, network.sensors, plan.views, strict=False):  # one, if all share it
        _write(_DeviceGraph(device), {"view": _view(view)}, ("scores", "features"), folder / name)
    for name, local, group in zip(locals_, network.locals, plan.edges, strict=True):
        inputs = {"scores": torch.zeros(2, len(group), plan.classes), "present": _everyone(len(group))}
        _write(local, inputs, ("scores_out",), folder / name)
    for name, edge, group in zip(edges, network.gateways, plan.edges, strict=False):
        inputs = {"features": _bits(len(group), device_bits), "present": _everyone(len(group))}
        _write(_EdgeGraph(edge, len(group)), inputs, ("scores", "features_out"), folder / name)
    inputs = {"features": _bits(plan.children, math.prod(plan.child)), "present": _everyone(plan.children)}
    _write(_CloudGraph(network.cloud, plan.children), inputs, ("scores",), folder / cloud)


def _view(view: ViewSpec) -> Tensor:
    return torch.zeros(2, *view.shape, dtype=torch.uint8 if view.uint8 else torch.float32)


def _everyone(children: int) -> Tensor:
    return torch.ones(2, children, dtype=torch.bool)


def _bits(children: int, bits: int) -> Tensor:
    return torch.zeros(2, children, bits, dtype=torch.uint8)


def _write(graph: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], file: Path) -> None:
    """Trace `graph` into one file.

    By the TorchScript exporter: a section takes 30 ms and a clean graph results; the newer one takes a second, and
    writes messages of its own. torch is pinned, and the proof after every export would notice a difference.
    """
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # it warns that it is the older one
        torch.onnx.export(
            graph.eval(),
            tuple(inputs.values()),
            str(file),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: {0: "B"} for name in (*inputs, *outputs)},
            opset_version=OPSET,
            dynamo=False,
        )
        found = graph(*inputs.values())
    # The exporter loses track of a flattened size; a reader of the file should see it.
    model = onnx.load(file)
    for value, tensor in zip(model.graph.output, found if isinstance(found, tuple) else (found,), strict=True):
        value.type.tensor_type.shape.dim[1].dim_value = tensor.shape[1]
    onnx.save(model, file)
