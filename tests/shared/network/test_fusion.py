"""Fusion under a presence mask."""

import pytest
import torch

from ddnn.network.fusion import FUSIONS, Concat

B, N, SHAPE = 5, 4, (3, 2, 2)


@pytest.mark.parametrize("name", FUSIONS)
def test_what_an_absent_child_says_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    fusion = FUSIONS[name](N, SHAPE)
    x, present = torch.randn(B, N, *SHAPE), torch.tensor([[True, False, True, False]] * B)
    other = torch.where(present[:, :, None, None, None], x, torch.full_like(x, 1e9))
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
    out = FUSIONS[name](N, SHAPE)(torch.randn(B, N, *SHAPE), torch.zeros(B, N, dtype=torch.bool))
    assert out.isfinite().all()


def test_concat_puts_a_learned_token_in_an_absent_ones_place() -> None:
    fusion = Concat(2, (3,))
    present = torch.tensor([[True, False]])
    fusion(torch.ones(1, 2, 3), present).sum().backward()
    assert fusion.absent.grad is not None
    assert fusion.absent.grad.tolist() == [[0, 0, 0], [1, 1, 1]]
    with torch.no_grad():
        fusion.absent.fill_(9.0)
    assert fusion(torch.ones(1, 2, 3), present).tolist() == [[1, 1, 1, 9, 9, 9]]
