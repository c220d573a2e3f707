"""One bit an element, with a gradient."""

import torch

from ddnn.network.quantise import BinaryConv2d, BinaryLinear, clip_weights, sign


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
    clip_weights(network)
    assert [weight.max().item() for weight in network.parameters()] == [1, 1, 7, 7, 7]
