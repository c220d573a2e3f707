"""Waiting lines against what queueing theory says of them."""

import numpy as np
import pytest

from ddnn_lab.planning.queues import poisson, sojourns

COUNT = 200_000


@pytest.mark.parametrize("busy", [0.3, 0.7])
def test_one_server_with_exponential_work_is_m_m_1(busy: float) -> None:
    chance = np.random.default_rng(1)
    spent = sojourns(poisson(busy, COUNT, chance), chance.exponential(1.0, COUNT), 1)
    assert spent.mean() == pytest.approx(1 / (1 - busy), rel=0.05)
    assert np.quantile(spent, 0.95) == pytest.approx(np.log(20) / (1 - busy), rel=0.06)


@pytest.mark.parametrize("busy", [0.3, 0.7])
def test_one_server_with_equal_work_is_m_d_1(busy: float) -> None:
    spent = sojourns(poisson(busy, COUNT, np.random.default_rng(2)), np.ones(COUNT), 1)
    assert spent.mean() == pytest.approx(1 + busy / (2 * (1 - busy)), rel=0.03)


def test_several_servers_with_exponential_work_are_m_m_c() -> None:
    chance, servers, busy = np.random.default_rng(3), 4, 0.8
    spent = sojourns(poisson(servers * busy, COUNT, chance), chance.exponential(1.0, COUNT), servers)
    offered = servers * busy
    terms = [offered**n / np.prod(np.arange(1, n + 1)) for n in range(servers)]
    last = offered**servers / np.prod(np.arange(1, servers + 1)) / (1 - busy)
    waits = last / (sum(terms) + last)  # Erlang's C
    assert spent.mean() == pytest.approx(1 + waits / (servers * (1 - busy)), rel=0.05)


def test_work_that_comes_one_by_one_waits_for_nothing() -> None:
    services = np.array([0.5, 2.0, 1.0])
    assert sojourns(np.array([0.0, 10.0, 20.0]), services, 1).tolist() == services.tolist()
    assert sojourns(np.array([0.0, 0.0, 0.0]), services, 2).tolist() == [0.5, 2.0, 1.5]
