"""Device sections that run as one, beside the same ones in turn."""

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor

from ddnn.network import DDNN, NetworkConfig, Plan, SectionConfig, batched
from ddnn.topology import View

B, K = 24, 3
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "vectors": [(7,)] * 3,
    "series": [(2, 20)] * 3,
    "images": [(2, 12, 10)] * 3,
    "unequal": [(7,), (2, 20), (7,), (2, 20), (1, 12, 10)],
}
SMALL = SectionConfig(filters=(4, 8), widths=(16,), cut_filters=2, cut_width=8)
CONFIGS: dict[str, dict[str, Any]] = {
    "float": {},
    "binary": {"blocks": "binary", "bias": True},
    "residual": {"blocks": "residual"},
    "no tail": {"device": SMALL.model_copy(update={"tail": False})},
    "parts": {"device": SMALL.model_copy(update={"parts": 3})},
    "bins": {"device": SMALL.model_copy(update={"bins": 4, "flat": True})},
    "spectrum": {"spectrum": True, "device": SMALL.model_copy(update={"flat": True})},
    "passed on": {"device": SMALL.model_copy(update={"pass_on": True, "cut_codec": "float16"})},
}
NETWORKS = {
    f"{name}, {views}": (shapes, config)
    for name, config in CONFIGS.items()
    for views, shapes in SHAPES.items()
    if views != "unequal" or name not in ("no tail", "spectrum")  # refused: unequal devices end in one dense cut
}


def made(shapes: list[tuple[int, ...]], **config: Any) -> tuple[DDNN, list[Tensor]]:
    """A network whose normalisations and norms have seen something; in doubles.

    Sums of signs are integers, often alike in a pool, whose gradient goes to the first: rounding must not choose it.
    """
    torch.manual_seed(0)
    views = [View(shape=shape, dtype="FP32") for shape in shapes]
    network = DDNN(Plan.of(NetworkConfig.model_validate({"device": SMALL, **config}), views, K))
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if name in ("mean", "spread", "running_mean", "running_var"):
                buffer.copy_(0.5 + torch.rand_like(buffer))
    return network.double(), [torch.randn(B, *shape, dtype=torch.float64) for shape in shapes]


def learnt(network: DDNN, views: list[Tensor]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Scores and cuts of the devices, and all that learning from them leaves."""
    scores, cuts = network.below(views)
    torch.manual_seed(1)
    loss = (scores * torch.randn(scores.shape)).sum() + (cuts * torch.randn(cuts.shape)).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    gradients = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
    return scores, cuts, {**gradients, **{f"buffer {name}": buffer for name, buffer in network.named_buffers()}}


def in_turn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(batched, "alike", lambda sections, views: [[index] for index in range(len(views))])


def assert_same(network: DDNN, views: list[Tensor], patch: pytest.MonkeyPatch) -> None:
    twin = deepcopy(network)
    *together, left = learnt(network, views)
    in_turn(patch)
    *apart, expected = learnt(twin, views)
    torch.testing.assert_close(together, apart, rtol=1e-3, atol=1e-4)
    assert left.keys() == expected.keys()
    torch.testing.assert_close(left, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("shapes", "config"), NETWORKS.values(), ids=NETWORKS)
def test_devices_learn_as_one_what_they_learn_in_turn(
    shapes: list[tuple[int, ...]], config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    network, views = made(shapes, **config)
    groups = batched.alike(network.devices, views)
    assert groups == ([[0, 1, 2]] if len(set(shapes)) == 1 else [[0, 2], [1, 3], [4]])
    assert_same(network, views, monkeypatch)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("turn", [False, True], ids=["as one", "in turn"])
def test_joined_weights_learn_what_those_of_sections_do(
    config: dict[str, Any], turn: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, views = made(SHAPES["series"], **config)
    twin = deepcopy(network)
    joined = batched.Joined(network.devices)
    if turn:
        in_turn(monkeypatch)
    for each in (network, twin):
        weights = joined.weights(network) if each is network else list(twin.parameters())
        optimizer = torch.optim.SGD(weights, lr=0.01)
        for _ in range(2):
            optimizer.zero_grad()
            learnt(each, views)
            joined.gather()
            optimizer.step()
    torch.testing.assert_close(network.state_dict(), twin.state_dict(), rtol=1e-3, atol=1e-3)
    assert all(weight.grad is None for weight in network.devices.parameters())


def test_a_frozen_device_learns_nothing_beside_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    network, views = made(SHAPES["vectors"])
    network.devices[1].eval().requires_grad_(False)
    before = deepcopy(network.devices[1].state_dict())
    assert batched.alike(network.devices, views) == [[0, 2], [1]]
    assert_same(network, views, monkeypatch)
    torch.testing.assert_close(network.devices[1].state_dict(), before)


def test_channels_bent_by_their_quantiles_run_as_one_with_others(monkeypatch: pytest.MonkeyPatch) -> None:
    network, views = made(SHAPES["series"])
    for device in network.inputs[:2]:
        device.bend(torch.linspace(-1, 1, 5).repeat(2, 1), torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0]).repeat(2, 1))
    assert batched.alike(network.devices, views) == [[0, 1, 2]]
    assert_same(network, views, monkeypatch)


def test_images_that_are_shrunk_first_run_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    network, views = made(SHAPES["images"], device=SMALL.model_copy(update={"input_size": 8}))
    assert batched.alike(network.devices, views) == [[0, 1, 2]]
    assert_same(network, views, monkeypatch)


def test_a_network_that_does_not_learn_runs_in_turn() -> None:
    network, views = made(SHAPES["vectors"])
    assert batched.alike(network.eval().devices, views) == [[0], [1], [2]]
