"""The joint loss of all exits."""

import math

import pytest
import torch

from ddnn.network import Scored
from ddnn.training import TrainingConfig
from ddnn.training.loss import joint_loss, taught_loss

B, D, K = 5, 3, 4
CONFIG = TrainingConfig(device_weight=0.2, local_weight=0.5, edge_weight=1.0, cloud_weight=2.0)


def scored(edges: int = 1, **changes: torch.Tensor) -> Scored:
    parts = {
        "device": torch.zeros(B, D, K),
        "local": torch.zeros(B, edges, K),
        "edge": torch.zeros(B, edges, K),
        "cloud": torch.zeros(B, K),
        "device_cuts": torch.zeros(B, D, 1),
        "edge_cuts": torch.zeros(B, edges, 1),
    }
    return Scored(**{**parts, **changes})


Y = torch.tensor([0, 1, 2, 3, 0])
ALIVE = torch.ones(B, 1, dtype=torch.bool)


def test_it_is_the_weighted_sum_over_exits_divided_by_the_classes() -> None:
    loss = joint_loss(scored(), Y, Y[:, None].repeat(1, D), ALIVE, CONFIG)
    assert loss.item() == pytest.approx((3 * 0.2 + 0.5 + 1.0 + 2.0) * math.log(K) / K)


def test_a_device_that_does_not_see_is_left_out() -> None:
    wrong = torch.zeros(B, D, K)
    wrong[:, 1, 3] = 50.0
    seen = Y[:, None].repeat(1, D)
    unseen = seen.clone()
    unseen[:, 1] = -1
    without = joint_loss(scored(), Y, unseen, ALIVE, CONFIG)
    assert joint_loss(scored(device=wrong), Y, unseen, ALIVE, CONFIG) == without
    assert joint_loss(scored(device=wrong), Y, seen, ALIVE, CONFIG) > without
    assert without.item() == pytest.approx((2 * 0.2 + 0.5 + 1.0 + 2.0) * math.log(K) / K)


def test_an_edge_without_devices_is_left_out() -> None:
    wrong = torch.zeros(B, 2, K)
    wrong[:, 1] = torch.randn(B, K) * 100
    alive = torch.tensor([[True, False]] * B)
    y_dev = Y[:, None].repeat(1, D)
    assert joint_loss(scored(2, edge=wrong, local=wrong), Y, y_dev, alive, CONFIG) == joint_loss(
        scored(), Y, y_dev, ALIVE, CONFIG
    )


def test_a_smoothed_label_is_wrong_by_its_share() -> None:
    sure = torch.nn.functional.one_hot(Y, K) * 10.0
    config = TrainingConfig(device_weight=0, local_weight=0, edge_weight=0, cloud_weight=1, smoothing=0.2)
    loss = joint_loss(scored(cloud=sure), Y, Y[:, None].repeat(1, D), ALIVE, config)
    logs = sure.log_softmax(dim=1)
    wanted = -(0.8 * logs.gather(1, Y[:, None]).mean() + 0.2 * logs.mean()) / K
    assert loss.item() == pytest.approx(wanted.item())


def test_exits_below_learn_from_the_cloud_and_the_cloud_not_from_them() -> None:
    torch.manual_seed(0)
    local, edge, cloud = (torch.randn(*shape, requires_grad=True) for shape in ((B, 1, K), (B, 1, K), (B, K)))
    y_dev = Y[:, None].repeat(1, D)
    plain, distilled = (
        joint_loss(scored(local=local, edge=edge, cloud=cloud), Y, y_dev, ALIVE, CONFIG.model_copy(update=update))
        for update in ({}, {"distil": 0.7, "distil_temperature": 3.0})
    )
    teacher = (cloud / 3).softmax(1).detach()
    each = [
        9 * (teacher * (teacher.log() - (scores[:, 0] / 3).log_softmax(1))).sum(1).mean() for scores in (local, edge)
    ]
    torch.testing.assert_close((distilled - plain) * K, 0.7 * (each[0] + each[1]) / 2)
    (gradient,) = torch.autograd.grad(distilled - plain, cloud, retain_graph=True)
    assert gradient.abs().max() < 1e-7
    assert torch.autograd.grad(distilled - plain, local)[0].abs().max() > 0


def test_what_others_say_is_learnt_at_every_exit_as_a_soft_label_and_they_learn_nothing() -> None:
    others = [scored(cloud=torch.randn(B, K, requires_grad=True), device=torch.randn(B, D, K)) for _ in range(2)]
    own = scored(cloud=torch.randn(B, K, requires_grad=True))
    y_dev = Y[:, None].repeat(1, D)
    loss = taught_loss(own, others, Y, y_dev, ALIVE, CONFIG)
    means = torch.stack([other.cloud.softmax(dim=1) for other in others]).mean(dim=0).detach()
    cloud = -(means * own.cloud.log_softmax(dim=1)).sum(dim=1).mean()
    even = (3 * 0.2 + 0.5 + 1.0) * math.log(K)  # of the other exits, which are unsure whatever they are told
    assert loss.item() == pytest.approx((even + 2.0 * cloud.item()) / K, rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    assert own.cloud.grad is not None
    torch.testing.assert_close(own.cloud.grad, 2.0 / K / B * (own.cloud.softmax(dim=1) - means).detach())
    assert all(other.cloud.grad is None for other in others)


def test_one_hot_others_teach_what_labels_teach_wherever_these_do() -> None:
    own = scored(2, **{name: torch.randn(B, 2, K) for name in ("local", "edge")}, device=torch.randn(B, D, K))
    sure = torch.nn.functional.one_hot(Y, K) * 1e3
    told = scored(2, local=sure[:, None].repeat(1, 2, 1), edge=sure[:, None].repeat(1, 2, 1), cloud=sure)
    told = told._replace(device=sure[:, None].repeat(1, D, 1))
    y_dev = Y[:, None].repeat(1, D)
    y_dev[0, 1] = -1
    alive = torch.tensor([[True, False]] + [[True, True]] * (B - 1))
    taught = taught_loss(own, [told], Y, y_dev, alive, CONFIG)
    torch.testing.assert_close(taught, joint_loss(own, Y, y_dev, alive, CONFIG))
