"""Exact binomial bounds, against scipy's."""

import numpy as np
import pytest
from scipy.stats import beta, binom

from ddnn.tuning.promise import fewest_events, p_value, p_values, upper_bound


@pytest.mark.parametrize("risk", [0.001, 0.02, 0.5, 0.97])
@pytest.mark.parametrize("n", [1, 7, 150, 5000])
def test_p_values_are_those_of_scipy(n: int, risk: float) -> None:
    found = p_values(n, risk)
    assert np.allclose(found, binom.cdf(np.arange(n + 1), n, risk), rtol=1e-9, atol=1e-300)
    assert p_value(n // 3, n, risk) == found[n // 3]


def test_p_values_by_hand() -> None:
    assert p_values(2, 0.1) == pytest.approx([0.81, 0.99, 1.0])


@pytest.mark.parametrize(("losses", "n"), [(0, 1), (0, 10), (3, 50), (49, 50), (40, 4000)])
def test_the_upper_bound_is_clopper_and_pearsons(losses: int, n: int) -> None:
    assert upper_bound(losses, n, 0.95) == pytest.approx(beta.ppf(0.95, losses + 1, n - losses), abs=1e-8)


def test_events_that_are_all_losses_rule_nothing_out() -> None:
    assert upper_bound(5, 5, 0.95) == 1


@pytest.mark.parametrize(
    ("risk", "confidence", "events"), [(0.02, 0.95, 149), (0.01, 0.95, 299), (0.01, 0.9, 230), (0.5, 0.5, 1)]
)
def test_so_many_events_without_a_loss_are_needed_and_no_fewer(risk: float, confidence: float, events: int) -> None:
    assert fewest_events(risk, confidence) == events
    assert (1 - risk) ** events <= 1 - confidence + 1e-12
    assert events == 1 or (1 - risk) ** (events - 1) > 1 - confidence


def test_losses_ask_for_more_events_and_too_many_for_more_than_there_are() -> None:
    with_losses = fewest_events(0.02, 0.95, rate=0.01)
    assert with_losses is not None
    assert with_losses > 149
    assert binom.cdf(np.ceil(0.01 * with_losses), with_losses, 0.02) <= 0.05
    assert fewest_events(0.02, 0.95, rate=0.02) is None
