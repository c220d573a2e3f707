"""What fails, against what is known of it without simulating."""

import numpy as np
import pytest
from typer.testing import CliRunner

from ddnn.cli.app import app
from ddnn.errors import BadInput
from ddnn.links import LinkShape
from ddnn.types import Exit
from ddnn_lab.planning.outages import Outage, UpAndAway, parse_outages, spares
from ddnn_lab.planning.queues import poisson, sojourns
from ddnn_lab.planning.site import Simulation
from ddnn_lab.planning.sizing import Wanted, sized
from planned import costs, ways

COUNT = 100_000


def test_the_share_of_the_time_that_a_thing_is_away_is_that_of_an_alternating_renewal_process() -> None:
    outage, chance = Outage(30.0, 10.0), np.random.default_rng(1)
    thing = UpAndAway(outage, chance)
    away = [thing.back_in(float(at)) > 0 for at in np.arange(0, 200_000, 0.5)]
    assert outage.share == 0.25
    assert np.mean(away) == pytest.approx(0.25, abs=0.01)


def test_once_away_it_is_back_after_so_long_in_the_mean_whenever_one_looks() -> None:
    chance = np.random.default_rng(2)
    waits = [UpAndAway(Outage(5.0, 3.0), chance).back_in(50.0) for _ in range(20_000)]
    assert np.mean([wait for wait in waits if wait]) == pytest.approx(3.0, rel=0.05)  # no memory


def test_two_servers_of_which_one_never_comes_back_are_one() -> None:
    chance = np.random.default_rng(3)
    arrivals, services = poisson(0.6, COUNT, chance), chance.exponential(1.0, COUNT)
    one = sojourns(arrivals, services, 1)
    assert one.mean() == pytest.approx(1 / 0.4, rel=0.05)
    seldom = next(seed for seed in range(100) if _firsts(seed) == [False, True])
    both = sojourns(arrivals, services, 2, Outage(1e12, 1e12), seldom)
    np.testing.assert_allclose(both, one)


def _firsts(seed: int) -> list[bool]:
    """Which of two servers are away at the start of `sojourns`."""
    both = [UpAndAway(Outage(1e12, 1e12), np.random.default_rng((seed, server))) for server in range(2)]
    return [bool(one.back_in(0.0)) for one in both]


def test_work_that_finds_all_servers_away_is_not_done_as_often_as_they_are_all_away() -> None:
    arrivals = poisson(1.0, COUNT, np.random.default_rng(4))
    spent = sojourns(arrivals, np.full(COUNT, 0.01), 2, Outage(30.0, 30.0), seed=5)
    assert np.isinf(spent).mean() == pytest.approx(0.25, abs=0.02)
    done = spent[np.isfinite(spent)]
    assert np.median(done) == pytest.approx(0.01, rel=0.01)


def test_as_many_are_to_spare_as_leave_enough_but_for_a_thousandth_of_the_time() -> None:
    assert spares(5, None) == 0
    half = Outage(1.0, 1.0)
    assert spares(1, half) == 9  # of ten all away: 2 to the power of -10, below a thousandth; of nine it is above
    chance, outage = np.random.default_rng(6), Outage(9.0, 1.0)
    more = spares(20, outage)
    away = chance.random((200_000, 20 + more)) < outage.share
    assert (away.sum(axis=1) > more).mean() <= 1.3e-3
    assert (away[:, :-1].sum(axis=1) > more - 1).mean() > 1e-3


def test_events_are_degraded_as_often_as_what_they_need_is_away_and_then_wait_for_less() -> None:
    fails = {"edge": Outage(3.0, 1.0), "edge-cloud": Outage(1.0, 1.0)}
    far = LinkShape.parse("80ms,10mbit")
    found = Simulation(costs(), ways(Exit.LOCAL, Exit.CLOUD), 2.0, sites=40, far=far, fails=fails).run(20_000)
    share = found.degraded.mean()
    assert share == pytest.approx(0.25 + 0.75 * 0.5 * 0.5, abs=0.03)
    by_devices = found.degraded & (found.exits == Exit.LOCAL.rank)
    assert by_devices[found.exits == Exit.LOCAL.rank].mean() == pytest.approx(0.25, abs=0.05)
    assert np.median(found.seconds[by_devices]) == pytest.approx(0.002)  # the device's work, and nothing else
    up = found.exits == Exit.CLOUD.rank
    assert np.median(found.seconds[up & found.degraded]) < 0.05 < found.seconds[up & ~found.degraded].min()


def test_a_plan_with_failures_has_cores_to_spare_and_says_how_many_events_are_degraded() -> None:
    fails = parse_outages(["cloud=9h,1h", "edge-cloud=99m,1m", "edge=999d,1d"])
    known = ways(Exit.LOCAL, Exit.CLOUD)
    plain, failing = (sized(costs(), known, Wanted(20_000, 0.5, events=600, fails=given)) for given in ({}, fails))
    assert failing["cloud"]["cores"] == plain["cloud"]["cores"] + spares(plain["cloud"]["cores"], fails["cloud"])
    assert plain["degraded"] == {"edge": 0.0, "edge-cloud": 0.0, "cloud": 0.0}
    assert failing["degraded"]["edge"] == pytest.approx(0.001)
    assert failing["degraded"]["edge-cloud"] == pytest.approx(0.5 * 0.999 * 0.01)
    assert failing["degraded"]["cloud"] < 1e-9


@pytest.mark.parametrize("given", ["edge", "edge=", "moon=1d,1m", "edge=1d", "edge=0d,1m", "edge=1d,1w"])
def test_what_is_no_outage_is_refused_with_what_would_be_one(given: str) -> None:
    with pytest.raises(BadInput, match="30d,10m"):
        parse_outages([given])


def test_the_command_tells_it() -> None:
    told = CliRunner().invoke(app, ["plan", "--devices", "6000", "--events", "500", "--fails", "edge=99h,1h"])
    assert told.exit_code == 0, told.output
    assert "degraded, answered below: 1 % as an edge is away" in told.output
