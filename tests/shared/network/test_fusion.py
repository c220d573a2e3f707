"""Fusion under a presence mask."""

import pytest
import torch
from torch import nn

from ddnn.network.blocks import FUSIONS, Attention, Concat

B, N, SHAPE = 5, 4, (3, 2, 2)


def made(name: str) -> nn.Module:
    """A fusion whose weights, where it has some, are as after training."""
    torch.manual_seed(0)
    fusion = FUSIONS[name](N, SHAPE)
    for weight in fusion.parameters():
        nn.init.normal_(weight)
    return fusion


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("nonsense", [1e9, -1e30, float("nan")])
def test_what_an_absent_child_says_changes_nothing(name: str, nonsense: float) -> None:
    fusion = made(name)
    x, present = torch.randn(B, N, *SHAPE), torch.tensor([[True, False, True, False]] * B)
    other = torch.where(present[:, :, None, None, None], x, torch.full_like(x, nonsense))
    assert torch.equal(fusion(x, present), fusion(other, present))
    assert not torch.equal(fusion(x, present), fusion(x, torch.ones_like(present)))


@pytest.mark.parametrize("name", ["max", "mean"])
def test_only_present_children_count(name: str) -> None:
    x, present = torch.randn(B, N, *SHAPE) - 5, torch.tensor([[False, True, False, True]] * B)
    kept = x[:, [1, 3]]
    expected = kept.amax(dim=1) if name == "max" else kept.mean(dim=1)
    torch.testing.assert_close(FUSIONS[name](N, SHAPE)(x, present), expected)


@pytest.mark.parametrize("name", FUSIONS)
def test_an_event_without_children_gives_finite_numbers(name: str) -> None:
    out = made(name)(torch.randn(B, N, *SHAPE), torch.zeros(B, N, dtype=torch.bool))
    assert out.isfinite().all()
    assert name == "concat" or not out.any()


@pytest.mark.parametrize("name", FUSIONS)
def test_gradients_flow_to_those_present_alone(name: str) -> None:
    x = torch.randn(B, N, *SHAPE, requires_grad=True)
    made(name)(x, torch.tensor([[True, False, True, False]] * B)).square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert [bool(x.grad[:, child].any()) for child in range(N)] == [True, False, True, False]


@pytest.mark.parametrize("name", ["max", "mean", "attention"])
def test_the_order_of_children_does_not_count(name: str) -> None:
    fusion, order = made(name), [2, 0, 3, 1]
    x, present = torch.randn(B, N, *SHAPE), torch.rand(B, N) < 0.7
    before = fusion(x, present)
    with torch.no_grad():
        for weight in fusion.parameters():  # a child's own weights go with it
            weight.copy_(weight[order])
    torch.testing.assert_close(fusion(x[:, order], present[:, order]), before)


@pytest.mark.parametrize("name", ["max", "mean", "concat", "attention"])
def test_what_a_child_alone_says_is_passed_on(name: str) -> None:
    x = torch.randn(B, N, *SHAPE)
    out = made(name)(x, torch.tensor([[False, False, True, False]] * B))
    torch.testing.assert_close(out[:, 6:9] if name == "concat" else out, x[:, 2])


def test_one_child_of_many_cannot_outweigh_the_others_where_scores_are_clipped() -> None:
    clipped, mean = FUSIONS["clipped"](6, (10,)), FUSIONS["mean"](6, (10,))
    said, present = torch.eye(10)[torch.tensor([[3] * 6])] * 9.0, torch.ones(1, 6, dtype=torch.bool)
    said[0, 2] = -1e6
    said[0, 2, 7] = 1e6
    assert mean(said, present).argmax() == 7
    assert clipped(said, present).argmax() == 3


def test_attention_starts_as_the_mean_and_learns_whom_to_trust() -> None:
    fusion, mean = Attention(N, SHAPE), FUSIONS["mean"](N, SHAPE)
    x, present = torch.randn(B, N, *SHAPE), torch.tensor([[True, True, True, False]] * B)
    torch.testing.assert_close(fusion(x, present), mean(x, present))
    with torch.no_grad():
        fusion.bias[1] = 50.0
    torch.testing.assert_close(fusion(x, present), x[:, 1])
    (fusion(x, present) - x[:, 0]).square().sum().backward()
    assert fusion.weight.grad is not None
    assert not fusion.weight.grad[3].any()


def test_concat_puts_a_learned_token_in_an_absent_ones_place() -> None:
    fusion = Concat(2, (3,))
    present = torch.tensor([[True, False]])
    fusion(torch.ones(1, 2, 3), present).sum().backward()
    assert fusion.absent.grad is not None
    assert fusion.absent.grad.tolist() == [[0, 0, 0], [1, 1, 1]]
    with torch.no_grad():
        fusion.absent.fill_(9.0)
    assert fusion(torch.ones(1, 2, 3), present).tolist() == [[1, 1, 1, 9, 9, 9]]
