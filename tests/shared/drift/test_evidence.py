"""The e-process: fair while the promise holds, whatever one looks at; and found out when it does not."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import binom

from ddnn.drift import Evidence


@pytest.mark.parametrize("promised", [0.01, 0.1, 0.5, 0.9])
def test_nothing_is_gained_on_average_while_the_promise_holds(promised: float) -> None:
    streams = np.array(list(product((False, True), repeat=8)))
    evidence = Evidence(promised, streams.shape[:1])
    for step in range(streams.shape[1]):
        evidence.add(streams[:, step])
        for truth in (promised, promised / 2):
            chance = np.where(streams, truth, 1 - truth).prod(axis=1)
            mean = float(chance @ evidence.value)
            assert mean == pytest.approx(1, abs=1e-9) if truth == promised else mean < 1


def test_one_audit_by_hand() -> None:
    evidence = Evidence(0.2)
    evidence.add(True)
    odds = 2 ** (np.arange(1, 13) / 2) / 4
    begun = 1 - np.log(2) / np.log(3)
    assert float(evidence.value) == pytest.approx((1 - begun) + begun * np.mean(odds / (1 + odds) / 0.2))


def test_false_alarms_are_no_more_than_stated_however_often_one_looks() -> None:
    rng, replays, alpha = np.random.default_rng(11), 400, 0.05
    evidence, alarmed = Evidence(0.05, (replays,)), np.zeros(replays, np.bool_)
    for _ in range(1_000):
        evidence.add(rng.random(replays) < 0.05)
        alarmed |= evidence.value >= 1 / alpha
    assert alarmed.sum() <= binom.ppf(0.999, replays, alpha)


@pytest.mark.parametrize(("quiet", "within"), [(0, 200), (3_000, 300)])
def test_a_broken_promise_is_found_early_and_late(quiet: int, within: int) -> None:
    rng, replays = np.random.default_rng(5), 100
    evidence = Evidence(0.02, (replays,))
    for _ in range(quiet):
        evidence.add(rng.random(replays) < 0.02)
    for _ in range(within):
        evidence.add(rng.random(replays) < 0.12)
    assert (evidence.value >= 200).mean() > 0.95


def test_streams_are_apart_and_one_without_an_audit_stays() -> None:
    both, alone = Evidence(0.1, (2,)), Evidence(0.1)
    for differs in (True, False, True):
        both.add(np.array([differs, True]), where=np.array([True, False]))
        alone.add(differs)
    assert both.value[0] == pytest.approx(float(alone.value))
    assert both.value[1] == pytest.approx(1)


def test_what_cannot_be_refuted_is_not_and_what_allows_nothing_is_at_once() -> None:
    anything, nothing = Evidence(1.0), Evidence(0.0)
    for evidence in (anything, nothing):
        evidence.add(True)
    assert float(anything.value) == 1
    assert float(nothing.value) > 1
    for _ in range(5_000):
        nothing.add(True)
    assert np.isfinite(nothing.value)
