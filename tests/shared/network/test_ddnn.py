"""The whole network."""

from typing import Any

import pytest
import torch

from ddnn.network import DDNN, NetworkConfig, Plan, SectionConfig
from ddnn.network.sections import Blocks
from ddnn.topology import View

B, K = 48, 4
SHAPES: dict[str, list[tuple[int, ...]]] = {
    "images": [(1, 12, 10)] * 3,
    "series": [(2, 20)] * 3,
    "vectors": [(7,)] * 3,
    "unequal": [(1, 12, 10), (2, 20), (7,)],
    "one": [(1, 12, 10)],
}


def made(shapes: list[tuple[int, ...]], **config: Any) -> tuple[DDNN, list[torch.Tensor]]:
    torch.manual_seed(0)
    network = DDNN(Plan.of(NetworkConfig(**config), [View(shape=shape, dtype="FP32") for shape in shapes], K))
    return network, [torch.randn(B, *shape) for shape in shapes]


def first(network: DDNN) -> Blocks:
    device = network.devices[0]
    assert isinstance(device, Blocks)
    return device


@pytest.mark.parametrize("blocks", ["float", "binary", "residual"])
@pytest.mark.parametrize("shapes", SHAPES.values(), ids=SHAPES)
def test_every_exit_scores_and_every_weight_learns(shapes: list[tuple[int, ...]], blocks: str) -> None:
    network, views = made(shapes, blocks=blocks)
    present = torch.ones(B, len(shapes), dtype=torch.bool)
    present[0, 1:] = False
    scored = network(views, present)
    assert scored.device.shape == (B, len(shapes), K)
    assert scored.local.shape == (B, 1, K)
    assert scored.edge is not None
    assert scored.edge.shape == (B, 1, K)
    assert scored.cloud.shape == (B, K)
    # One exit alone may leave a weight out; all together must reach every one.
    total = sum(part.square().sum() for part in (scored.device, scored.local, scored.edge, scored.cloud))
    total.backward()
    still = [
        name
        for name, weight in network.named_parameters()
        if weight.grad is None or (not weight.grad.any() and "absent" not in name)
    ]
    assert still == []


def test_several_edges_each_see_their_own_devices() -> None:
    network, views = made([(7,)] * 4, edges=((2, 0), (1, 3)))
    network.eval()
    present = torch.ones(B, 4, dtype=torch.bool)
    before = network(views, present)
    views[3] = views[3] + 5
    after = network(views, present)
    assert network.plan.edges == ((0, 2), (1, 3))
    assert torch.equal(before.local[:, 0], after.local[:, 0])
    assert not torch.equal(before.local[:, 1], after.local[:, 1])
    assert not torch.equal(before.cloud, after.cloud)


def test_an_edge_without_devices_is_absent_at_the_cloud() -> None:
    network, views = made([(7,)] * 4, edges=((0, 1), (2, 3)), cloud_fusion="max")
    network.eval()
    present = torch.tensor([[True, True, False, False]] * B)
    assert network.alive(present).tolist() == [[True, False]] * B
    before = network(views, present).cloud
    with torch.no_grad():
        edge = network.edges[1]
        assert isinstance(edge, Blocks)
        edge.fusion.absent.fill_(3.0)  # type: ignore[operator]
    assert torch.equal(network(views, present).cloud, before)


def test_without_edge_sections_there_is_no_edge_exit() -> None:
    network, views = made(SHAPES["images"], edge_section=False)
    scored = network(views, torch.ones(B, 3, dtype=torch.bool))
    assert scored.edge is None
    assert scored.edge_cuts is None
    assert scored.cloud.shape == (B, K)


def test_over_raw_views_there_is_the_cloud_alone() -> None:
    network, views = made(SHAPES["images"], device_section=False, edge_section=False)
    present = torch.ones(B, 3, dtype=torch.bool)
    present[:, 1] = False
    scored = network(views, present)
    assert scored.cloud.shape == (B, K)
    assert scored._replace(cloud=None) == (None,) * 6
    scored.cloud.square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    network.eval()
    for i, normalise in enumerate(network.inputs):
        normalise.mean.fill_(i)
    before = network(views, present).cloud
    other = [view + 1000 * (i == 1) for i, view in enumerate(views)]
    assert torch.equal(network(other, present).cloud, before)
    shifted = [view + 5 for view in views]
    for normalise in network.inputs:
        normalise.mean.add_(5)
    torch.testing.assert_close(network(shifted, present).cloud, before, rtol=1e-3, atol=1e-4)


def test_devices_that_share_their_weights_say_the_same_of_the_same() -> None:
    network, views = made(SHAPES["images"], shared_weights=True)
    assert len(network.devices) == 1
    assert len(set(network.inputs)) == 1
    assert len(network.inputs) == 3
    scores, cuts = network.below([views[0], views[1], views[0]])
    assert scores.shape == (B, 3, K)
    assert torch.equal(scores[:, 0], scores[:, 2])
    assert not torch.equal(scores[:, 0], scores[:, 1])
    network.eval()
    scores, cuts = network.below(views)
    for i, view in enumerate(views):
        alone, cut = network.devices[0](view)
        torch.testing.assert_close(scores[:, i], alone)
        torch.testing.assert_close(cuts[:, i], cut)


def test_without_a_tail_the_exit_sees_the_bits_that_go_up() -> None:
    network, views = made(SHAPES["images"], device=SectionConfig(filters=(4, 4), tail=False))
    scores, cuts = network.below(views)
    bits = torch.where(cuts[:, 0] >= 0, 1.0, -1.0)
    torch.testing.assert_close(first(network).fork.head(bits), scores[:, 0])
    assert (cuts < 0).any()


def test_binary_blocks_keep_inner_values_at_one_bit() -> None:
    network, views = made(SHAPES["images"], blocks="binary")
    seen = first(network).trunk(views[0])
    assert set(seen.unique().tolist()) == {-1.0, 1.0}
