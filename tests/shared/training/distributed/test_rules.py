"""The arithmetic of learning together, and the server's rules, without a transport."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ddnn.training.config import WorkersConfig
from ddnn.training.distributed.arithmetic import Consensus, mean, scale, soft_update
from ddnn.training.distributed.compression import Threshold, expanded
from ddnn.training.distributed.rules import Agreeing, Pouring, Softly, Weights

TARGETS = 0.6, -0.4, 1.0, -0.2
"""Of four workers' quadratics (w − c)²/2."""


def weights(*values: float) -> Weights:
    here = torch.tensor(values)

    def write(vector: Tensor) -> None:
        here.copy_(vector)

    return Weights(here.clone, write)


def workers(**keys: Any) -> WorkersConfig:
    return WorkersConfig.model_validate({"count": 4} | keys)


def test_a_mean_is_by_amounts_which_weigh_one_together() -> None:
    vectors = [torch.full((2,), value) for value in (1.0, 2.0, 4.0)]
    assert mean(vectors).tolist() == pytest.approx([7 / 3] * 2)
    assert mean(vectors, [1, 1, 2]).tolist() == [2.75] * 2
    ones = [torch.ones(1)] * 5
    assert float(mean(ones, [3, 1, 4, 1, 5])) == pytest.approx(1.0)


def test_consensus_on_four_quadratics_is_the_known_series() -> None:
    consensus, rho = Consensus(torch.zeros(1), 1.0), 1.0
    for k in range(1, 12):
        points = {}
        for worker, target in enumerate(TARGETS):
            u = consensus.duals.get(worker, torch.zeros(1))
            x = (target + rho * (consensus.z - u)) / (1 + rho)  # argmin of (x − c)²/2 + ρ/2 (x − z + u)²
            points[worker] = x + u
        z = consensus.iterate(points)
        assert float(z) == pytest.approx(0.25 * (1 - 2.0**-k), abs=1e-6)
    assert consensus.dual == pytest.approx(2 * 0.25 * 2.0**-11, rel=1e-3)


def test_ridge_regression_over_four_workers_is_the_central_solution() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(4, 30, 6)), random.normal(size=(4, 30))
    ridge = 0.5
    central = np.linalg.solve(
        sum(part.T @ part for part in x) + ridge * np.eye(6),
        sum(part.T @ each for part, each in zip(x, y, strict=True)),
    )
    rho = 30.0
    consensus = Consensus(torch.zeros(6, dtype=torch.float64), rho)
    primals = []
    for _ in range(100):
        points = {}
        for worker in range(4):
            u = consensus.duals.get(worker, torch.zeros(6, dtype=torch.float64)).numpy()
            # Each has a quarter of the ridge.
            left = x[worker].T @ x[worker] + (ridge / 4 + rho) * np.eye(6)
            point = np.linalg.solve(left, x[worker].T @ y[worker] + rho * (consensus.z.numpy() - u))
            points[worker] = torch.from_numpy(point + u)
        consensus.iterate(points)
        primals.append(consensus.primal)
    np.testing.assert_allclose(consensus.z.numpy(), central, atol=1e-4)
    assert max(consensus.primal, consensus.dual) < 1e-4
    assert primals[-1] < primals[0]


def test_a_soft_update_is_the_scaled_mean_of_what_is_there() -> None:
    changed = soft_update(torch.ones(2), [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])], [1.0, 0.5])
    assert changed.tolist() == [0.5, 0.5]
    assert [scale(staleness, scaled=True) for staleness in (0, 1, 4)] == [1, 1, 0.25]
    assert scale(4, scaled=False) == 1


@pytest.mark.parametrize("threshold", [0.25, 0.1])
def test_what_is_sent_and_what_is_kept_are_the_sum_of_the_updates_exactly(threshold: float) -> None:
    torch.manual_seed(0)
    kept, sent, total = Threshold(1000, threshold), torch.zeros(1000, dtype=torch.float64), 0
    updates = (torch.randn(40, 1000) * 0.1).round(decimals=4)
    for update in updates:
        entries = kept.take(update)
        assert entries.dtype == torch.int32
        total += len(entries)
        sent += expanded(entries, 1000, kept.threshold).double()
    assert torch.equal(sent + kept.kept, updates.double().sum(dim=0))
    assert 0 < total < updates.numel() / 2


def test_a_compressed_entry_is_an_index_whose_complement_is_negative() -> None:
    entries = Threshold(4, 0.5).take(torch.tensor([0.6, -0.7, 0.5, 3.0]))
    assert entries.tolist() == [0, -2, 3]
    assert expanded(entries, 4, 0.5).tolist() == [0.5, -0.5, 0, 0.5]


def test_soft_synchronisation_waits_for_its_handful_and_no_more_than_are_active() -> None:
    here = weights(1.0)
    rule = Softly(here, workers(mode="softsync", soft=2))
    rule.push(1, torch.tensor([0.5]), 0, {1, 2, 3})
    assert rule.waits(1)
    rule.push(3, torch.tensor([0.1]), 0, {1, 2, 3})
    assert not rule.waits(1)
    assert float(here.read()) == pytest.approx(0.7)
    assert here.version == 1
    rule.push(2, torch.tensor([0.2]), 0, {1, 2})  # one change late, which counts in full
    assert rule.waits(2)
    rule.left(1, {2})
    assert float(here.read()) == pytest.approx(0.5)
    assert rule.figures()["staleness"] == {
        "updates": 3, "mean": 1 / 3, "most": 1, "by": {"0": 2, "1": 1}, "refused": 0,
    }  # fmt: skip


def test_a_stale_update_counts_less_and_one_past_the_bound_not_at_all() -> None:
    here = weights(1.0)
    rule = Pouring(here, workers(mode="downpour", most_stale=2))
    for worker in (1, 2, 3, 4):  # all from the first weights: 0, 1, 2 and 3 changes late
        rule.push(worker, torch.tensor([0.1]), 0, {1, 2, 3, 4})
    assert float(here.read()) == pytest.approx(1 - 0.1 - 0.1 - 0.05)
    told = rule.figures()["staleness"]
    assert told == {"updates": 3, "mean": 1.0, "most": 2, "by": {"0": 1, "1": 1, "2": 1}, "refused": 1}


def test_what_a_worker_has_pushed_itself_makes_it_no_staler() -> None:
    rule = Pouring(weights(0.0), workers(mode="downpour"))
    for _ in range(3):
        rule.push(1, torch.ones(1), 0, {1})
    assert rule.figures()["staleness"]["most"] == 0  # type: ignore[index]


@pytest.mark.parametrize("count", [2, 4, 8])
def test_workers_that_take_turns_are_as_stale_as_there_are_others(count: int) -> None:
    here = weights(0.0)
    rule = Pouring(here, workers(mode="downpour", count=count))
    seen = dict.fromkeys(range(count), 0)
    for _ in range(50):
        for worker in range(count):
            rule.push(worker, torch.ones(1), seen[worker], set(range(count)))
            rule.fetched(worker)
            seen[worker] = here.version
    assert count - 1.1 < rule.figures()["staleness"]["mean"] <= count  # type: ignore[index]


def test_the_servers_consensus_is_that_of_the_arithmetic_and_survives_a_worker() -> None:
    here, settings = weights(0.0, 5.0), workers(mode="admm", rho=1.0, tolerance=0.2)
    rule = Agreeing(here, settings, 1, resumed=False)
    points = {worker: torch.tensor([(target + 0.0) / 2, float(worker)]) for worker, target in enumerate(TARGETS)}
    for worker, point in points.items():
        rule.push(worker, point, 0, points.keys())
    assert here.read().tolist() == [pytest.approx(0.125), 1.5]
    assert rule.figures()["agreed"] is False
    rule.push(0, torch.tensor([0.1, 0.0]), 1, {0, 1})
    assert rule.waits(0)
    rule.left(1, {0})
    assert not rule.waits(0)


def test_residuals_fall_on_the_quadratics_until_all_agree() -> None:
    here = weights(0.0)
    rule, u = Agreeing(here, workers(mode="admm", rho=1.0, tolerance=1e-3), 1, resumed=False), [torch.zeros(1)] * 4
    told: list[dict[str, Any]] = []
    while not (told and told[-1]["agreed"]):
        z = here.read()
        points: dict[int, Tensor] = {
            worker: (target + z - u[worker]) / 2 + u[worker] for worker, target in enumerate(TARGETS)
        }
        for worker, point in points.items():
            rule.push(worker, point, 0, points.keys())
        u = [points[worker] - here.read() for worker in range(4)]
        told.append(rule.figures())
    assert len(told) < 15
    assert float(here.read()) == pytest.approx(0.25, abs=2e-3)
    assert all(later["residuals"]["dual"] < earlier["residuals"]["dual"] for earlier, later in pairwise(told))
