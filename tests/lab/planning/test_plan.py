"""A plan against what is known of small fleets without simulating them, and the command that makes it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.cli.app import app
from ddnn.errors import BadInput, Infeasible
from ddnn.evaluation import decide
from ddnn.evaluation.scores import Recorder
from ddnn.fleet.events import golden_events
from ddnn.links import LinkShape
from ddnn.policy import Thresholds
from ddnn.types import Exit
from ddnn_lab.planning.site import Simulation
from ddnn_lab.planning.sizing import Wanted, cores_by_hour, sized
from ddnn_lab.planning.ways import ways_of
from planned import costs, ways

NEAR = LinkShape.parse("20ms,1mbit")
FAR = LinkShape.parse("80ms,10mbit")


def alone(exit: Exit) -> float:
    """What an event takes that meets no other: its works and its links, one after the other."""
    found = Simulation(costs(), ways(exit), 1e-3, near=NEAR, far=FAR).run(40).seconds
    assert np.ptp(found) == pytest.approx(0, abs=1e-9)
    return float(found[0])


def test_an_event_that_is_alone_takes_the_sum_of_its_works_and_links() -> None:
    work = 0.0012 + 0.006 + 0.0008  # both devices at the same time, the edge one after the other
    sent = 500 * 8 / 1e6 + 1000 * 8 / 1e6  # scores up, the answer down
    local = work + sent + 0.02
    assert alone(Exit.LOCAL) == pytest.approx(local)
    more = 1000 * 8 / 1e6 + 0.001 + 500 * 8 / 1e6 + 0.002 + 0.02  # the question down, features up
    assert alone(Exit.EDGE) == pytest.approx(local + more)
    assert alone(Exit.CLOUD) == pytest.approx(local + more + 0.002 + 2 * 800 * 8 / 10e6 + 0.08)


def test_an_edge_is_as_busy_as_what_comes_times_what_it_takes_and_waits_as_m_g_1() -> None:
    rate, events = 60.0, 4000
    found = Simulation(costs(), ways(Exit.LOCAL), rate).run(events)
    assert found.edge_busy == pytest.approx(rate * 0.006, rel=0.05)
    # Both contributions of an event come together, so the edge is a queue of whole events with equal work: M/D/1. The
    # first answer waits for the second contribution, and the devices' own queues are next to empty.
    busy = rate * 0.006
    expected = 0.0012 + 0.006 + 0.006 * busy / (2 * (1 - busy)) + 0.0008
    assert found.seconds.mean() == pytest.approx(expected, rel=0.05)


def test_bytes_are_those_of_the_ways_that_events_take() -> None:
    found = Simulation(costs(), ways(Exit.LOCAL, Exit.CLOUD), 1.0).run(2000)
    assert found.device_bytes[0] == pytest.approx(2 * 750, rel=0.05)
    assert found.cloud_bytes[0] == pytest.approx(400, rel=0.1)


def test_a_plan_has_as_many_cores_as_its_use_asks_for_and_a_million_devices_as_many_more() -> None:
    small, large = (
        sized(costs(), ways(Exit.LOCAL, Exit.LOCAL, Exit.CLOUD), Wanted(count, 0.5, far=FAR, events=600))
        for count in (20_000, 2_000_000)
    )
    sites, each = 10_000, 0.5 * (0.006 * 2 + 0.01) / 3
    assert (small["sites"], small["edges"]["services"]) == (sites, sites)
    assert small["edges"]["cores"] == math.ceil(sites / math.floor(0.7 / each))
    assert small["edges"]["busy"] <= 0.7
    assert small["cloud"]["cores"] == math.ceil(sites * 0.5 / 3 * 0.005 / 0.7)
    assert large["edges"]["cores"] == pytest.approx(100 * small["edges"]["cores"], rel=0.02)
    assert large["cloud"]["cores"] == pytest.approx(100 * small["cloud"]["cores"], rel=0.1)
    assert large["simulated"]["events"] == small["simulated"]["events"]


def test_a_wait_that_is_asked_for_needs_more_cores_and_one_that_no_cores_give_is_refused() -> None:
    loose, tight = (
        sized(costs(), ways(Exit.LOCAL), Wanted(20_000, 0.5, busy=0.95, p95_s=wait, events=600)) for wait in (1.0, 0.03)
    )
    assert tight["edges"]["cores"] > loose["edges"]["cores"]
    assert tight["latency_ms"]["p95"] <= 30 < loose["latency_ms"]["p95"]
    with pytest.raises(Infeasible, match="faster links"):
        sized(costs(), ways(Exit.LOCAL), Wanted(20, 0.5, near=NEAR, p95_s=0.01, events=500))


@pytest.mark.parametrize(
    ("wanted", "what"),
    [
        (Wanted(2, 200.0), "the edge of one site would use"),
        (Wanted(2, 100.0, near=NEAR), "the link of a device"),
    ],
)
def test_what_one_site_cannot_do_is_refused_by_name(wanted: Wanted, what: str) -> None:
    with pytest.raises(Infeasible, match=what):
        sized(costs(), ways(Exit.LOCAL), wanted)


def test_a_day_swings_about_its_mean_and_the_busiest_hour_is_the_plan() -> None:
    document = sized(costs(), ways(Exit.LOCAL), Wanted(20_000, 0.5, peak=2.0, events=1000))
    hours = cores_by_hour(document)
    assert max(hour["edge_cores"] for hour in hours) == document["edges"]["cores"]
    assert np.mean([hour["load"] for hour in hours]) == pytest.approx(0.5)


def test_ways_are_those_of_the_policy_and_fewer_devices_are_less_sure() -> None:
    bundle = Bundle.open(shipped_bundle())
    data = golden_events(bundle)
    decided = decide(Recorder(bundle, data).scores(), bundle.policy)
    found = ways_of(bundle)
    assert (found.exits == decided.exit).all()
    assert ways_of(bundle, away=0.4).share(Exit.LOCAL) < found.share(Exit.LOCAL)
    never = bundle.policy.at(Thresholds(local=0.0, edge=0.0))
    assert ways_of(bundle, never).share(Exit.CLOUD) == 1


def test_the_command_answers_from_what_is_shipped_and_says_what_is_wrong(tmp_path: Path) -> None:
    run = CliRunner().invoke
    told = run(app, ["plan", "--devices", "6000", "--link", "1mbit", "--events", "500", "--json"])
    assert told.exit_code == 0, told.output
    document = json.loads(told.output)
    assert (document["sites"], document["bundle"]["name"]) == (1000, "mnist5k")
    assert document["latency_ms"]["p50"] < document["latency_ms"]["p95"]
    shown = run(app, ["plan", "--devices", "6000", "--peak", "2", "--events", "500"])
    assert "an edge's core bears" in shown.output
    assert "core hours" in shown.output
    (tmp_path / "bad.json").write_text("{}")
    wrong = run(app, ["plan", "--costs", str(tmp_path / "bad.json")])
    assert isinstance(wrong.exception, BadInput)
    assert "no file of" in str(wrong.exception)
