"""Few bits an element, with a gradient."""

from typing import Any

import pytest
import torch

from ddnn.codec import codec_of
from ddnn.errors import BadConfig
from ddnn.network.quantise import BinaryConv2d, BinaryLinear, Levels, clip_weights, quantiser, sign, signed_weights
from ddnn.topology import Features


def test_zero_and_above_is_plus_one() -> None:
    assert sign(torch.tensor([-0.1, -0.0, 0.0, 0.1])).tolist() == [-1, 1, 1, 1]


def test_the_gradient_passes_straight_through_up_to_one() -> None:
    x = torch.tensor([-1.5, -1.0, -0.2, 0.0, 0.7, 1.0, 1.1], requires_grad=True)
    sign(x).backward(torch.full((7,), 3.0))  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 3, 3, 3, 3, 3, 0]


def test_a_binary_layer_multiplies_by_signs_and_learns_real_weights() -> None:
    layer = BinaryLinear(3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.3, -0.01, 0.9]]))
    out = layer(torch.tensor([[1.0, 10.0, 100.0]]))
    assert out.item() == 1 - 10 + 100
    out.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.tolist() == [[1, 10, 100]]


def test_weights_behind_signs_are_clipped_and_others_are_not() -> None:
    network = torch.nn.Sequential(BinaryConv2d(1, 1, 3, bias=False), BinaryLinear(2, 2), torch.nn.Linear(2, 2))
    with torch.no_grad():
        for weight in network.parameters():
            weight.fill_(7.0)
    clip_weights(signed_weights(network))
    assert [weight.max().item() for weight in network.parameters()] == [1, 1, 7, 7, 7]


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("per", ["tensor", "channel"])
def test_levels_are_even_and_a_value_arrives_as_the_middle_of_its_own(bits: int, per: Any) -> None:
    torch.manual_seed(0)
    twin = quantiser(codec_of(f"bits{bits}"), (3, 4), per)
    x = 2 * torch.randn(50, 3, 4)
    levels = twin.encode(x)
    assert (levels.dtype, levels.shape) == (torch.uint8, x.shape)
    assert int(levels.max()) < 2**bits
    torch.testing.assert_close(twin.decode(levels), twin(x))
    assert isinstance(twin, Levels)
    inside = x.abs() <= twin.range.min()
    assert (twin(x) - x)[inside].abs().max() <= twin.range.max() / 2**bits + 1e-5
    assert twin.decode(torch.arange(2**bits).reshape(-1, 1, 1).expand(-1, 3, 4))[:, 0, 0].diff().std() < 1e-5


@pytest.mark.parametrize(("per", "shape"), [("tensor", ()), ("channel", (3, 1))])
def test_the_range_is_learnt_and_gradients_pass_straight_through_within_it(per: Any, shape: tuple[int, ...]) -> None:
    twin = quantiser(codec_of("bits2"), (3, 4), per)
    assert isinstance(twin, Levels)
    assert twin.log_range.shape == shape
    x = torch.linspace(-3, 5, 12).reshape(1, 3, 4).requires_grad_()
    twin(x).backward(torch.ones(1, 3, 4))
    assert x.grad is not None
    assert torch.equal(x.grad != 0, x.abs() <= twin.range.max())
    assert set(x.grad.flatten().tolist()) == {0, 1}
    assert twin.log_range.grad is not None
    assert twin.log_range.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["bits1", "bits2", "bits4", "bits8", "float16", "float32"])
def test_what_the_wire_does_is_what_training_saw(name: str) -> None:
    torch.manual_seed(0)
    features = Features(shape=(3, 4), codec=name)
    twin, x = quantiser(features.coded, features.shape), torch.randn(20, 3, 4)
    with torch.no_grad():
        rows = features.pack(twin.encode(x).flatten(1).numpy())
        arrived = torch.from_numpy(features.unpack(rows)).reshape(x.shape)
        torch.testing.assert_close(twin.decode(arrived), twin(x))


def test_only_values_at_a_border_between_levels_are_near_one() -> None:
    twin = quantiser(codec_of("bits2"), (1,), "tensor")
    assert isinstance(twin, Levels)
    r = float(twin.range.detach())
    x = torch.tensor([-r, -r / 2, -r / 4, 0.0, r / 2, r, 9 * r, 1e-5, -2e-4]).reshape(-1, 1)
    assert twin.near(x, 1e-4).flatten().tolist() == [False, True, False, True, True, False, False, True, False]
    one = quantiser(codec_of("bits1"), (1,))
    assert one.near(torch.tensor([0.0, 9e-5, 2e-4]), 1e-4).tolist() == [True, True, False]


@pytest.mark.parametrize("name", ["view", "jpeg50", "webp50"])
def test_a_codec_of_views_is_none_for_features(name: str) -> None:
    with pytest.raises(BadConfig, match=f"cut_codec is '{name}', which has no twin in torch"):
        quantiser(codec_of(name), (4,))
