"""When events come."""

import numpy as np
import pytest

from ddnn.errors import BadInput
from ddnn_lab.load import Closed, Poisson


def test_the_same_seed_gives_the_same_times_and_another_gives_others() -> None:
    times = Poisson(100, seed=3).times(10)
    assert times.tolist() == Poisson(100, seed=3).times(10).tolist()
    assert times.tolist() != Poisson(100, seed=4).times(10).tolist()
    assert (np.diff(times) > 0).all()
    assert times[-1] < 10


def test_gaps_of_a_poisson_process_are_exponential() -> None:
    times = Poisson(50, seed=1).times(200)
    assert abs(len(times) - 10_000) < 5 * 100  # five deviations of the count
    gaps = np.diff(times) * 50
    assert gaps.mean() == pytest.approx(1, abs=0.05)
    assert gaps.std() == pytest.approx(1, abs=0.07)
    assert (gaps > 1).mean() == pytest.approx(np.exp(-1), abs=0.02)


def test_parts_make_up_the_whole() -> None:
    assert [Closed(5).part(place, 3) for place in range(3)] == [Closed(2), Closed(2), Closed(1)]
    assert Closed(1).part(1, 2) is None
    parts = [Poisson(90, seed=2).part(place, 3) for place in range(3)]
    assert sum(part.rate for part in parts) == pytest.approx(90)
    assert len({part.seed for part in parts}) == 3
    assert Poisson(90, seed=2).part(0, 1) == Poisson(90, seed=2)


def test_no_load_is_refused() -> None:
    with pytest.raises(BadInput, match="0 clients"):
        Closed(0)
    with pytest.raises(BadInput, match="rate is -1"):
        Poisson(-1)
