"""Residual blocks."""

import pytest
import torch

from ddnn.network import DDNN, NetworkConfig, Plan
from ddnn.network.blocks import Residual
from ddnn.network.plan import Family
from ddnn.topology import View
from ddnn.types import Tier


@pytest.mark.parametrize(
    ("family", "shape", "halved"),
    [("image", (8, 5, 8), (8, 3, 4)), ("series", (8, 11), (8, 6)), ("dense", (8,), (8,))],
)
def test_a_block_halves_as_a_pool_would(family: Family, shape: tuple[int, ...], halved: tuple[int, ...]) -> None:
    x = torch.randn(4, *shape)
    assert Residual(family, 8, 8, halve=False)(x).shape[1:] == shape
    assert Residual(family, 8, 6, halve=False)(x).shape[1:] == (6, *shape[1:])
    if family != "dense":  # which has nothing to halve
        assert Residual(family, 8, 8, halve=True)(x).shape[1:] == halved


def test_a_block_that_has_learned_nothing_passes_on_what_came() -> None:
    block = Residual("image", 8, 8, halve=False)
    with torch.no_grad():
        for weight in block.inner.parameters():
            weight.zero_()
    x = torch.randn(4, 8, 5, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("tail", [True, False])
@pytest.mark.parametrize("shape", [(1, 12, 10), (2, 20), (7,)])
def test_the_cut_is_where_it_is_with_plain_blocks(shape: tuple[int, ...], tail: bool) -> None:
    views = [torch.randn(6, *shape)] * 2
    for blocks in ("float", "residual"):
        config = NetworkConfig.model_validate({"blocks": blocks, "device": {"tail": tail, "cut_bits": 64}})
        network = DDNN(Plan.of(config, [View(shape=shape, dtype="FP32")] * 2, 3))
        scored = network(views, torch.ones(6, 2, dtype=torch.bool))
        features = network.topology.features(Tier.DEVICE)
        assert features is not None
        assert scored.device_cuts.shape == (6, 2, *features.shape)
