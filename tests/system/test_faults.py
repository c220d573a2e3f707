"""Tiers as real processes that are killed and stopped; `test_fault_matrix.py` has all the other troubles."""

from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ddnn.bundle import Bundle
from ddnn.client import Client, EventAnswer
from ddnn.client.admin import Admin
from ddnn.fleet.processes import LocalFleet
from ddnn.types import Exit
from real_fleet import Sensors, follow

EVENTS = slice(0, 96)


def told(answers: list[EventAnswer]) -> list[tuple[int, Exit]]:
    return [(answer.label, answer.exit) for answer in answers]


def missing(url: str) -> list[float]:
    """Events each device took no part in, as the edge counts them."""
    text = httpx.get(f"{url}/metrics", trust_env=False).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    counts = {s.labels["device"]: s.value for s in families["ddnn_fusion_missing"].samples if s.name.endswith("_total")}
    return [counts[str(device)] for device in range(6)]


def test_a_killed_cloud_degrades_exactly_what_would_have_gone_up_until_it_is_back(
    served: LocalFleet, sensors: Sensors
) -> None:
    before = sensors.see(EVENTS)
    assert {answer.exit for answer in before} == {Exit.LOCAL, Exit.EDGE, Exit.CLOUD}
    assert not any(answer.degraded for answer in before)

    served.kill("cloud")
    for _ in range(2):  # the second time the circuit may be open
        after = sensors.see(EVENTS, deadline_ms=5000)
        assert [answer.degraded for answer in after] == [answer.exit is Exit.CLOUD for answer in before]
        for was, answer in zip(before, after, strict=True):
            if answer.degraded:
                assert (answer.exit, answer.degraded_reason != "") == (Exit.EDGE, True)
            else:
                assert (answer.label, answer.exit) == (was.label, was.exit)

    served.start("cloud")
    served.wait_until_ready(seconds=120)
    sensors.until_whole()
    assert told(sensors.see(EVENTS)) == told(before)


def test_nobody_waits_for_two_killed_devices_after_a_few_events(
    served: LocalFleet, sensors: Sensors, source: Admin
) -> None:
    """The policy's wait is a minute and so is the deadline's half: an event that waited would not come back in time."""
    living, patient = (0, 2, 3, 5), source.read_policy()
    for device in (1, 4):
        served.kill(f"device-{device}")
    hasty = patient.model_copy(update={"wait_ms": 500})
    follow(served, source.write_policy(hasty, over=patient)["etag"])
    for _ in range(4):  # one after the other: a burst says no more of a device than one event
        sensors.see(slice(0, 2), devices=living)
    follow(served, source.write_policy(patient, over=source.read_policy())["etag"])
    with Client(served.edge_urls[0]) as edge:
        assert edge.status()["collector"]["alive"] == [n in living for n in range(6)]
    before = missing(served.edge_urls[0])
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(sensors.see, EVENTS, devices=living, deadline_ms=120_000)
        answers = waiting.result(timeout=30)
    for answer in answers:
        assert not answer.degraded
        assert answer.devices.tolist() == [n in living for n in range(6)]
    count = len(answers)
    gone = [after - was for after, was in zip(missing(served.edge_urls[0]), before, strict=True)]
    assert gone == [0 if n in living else count for n in range(6)]
    for device in (1, 4):
        served.start(f"device-{device}")
    served.wait_until_ready(seconds=120)
    sensors.until_whole()
    with Client(served.edge_urls[0]) as edge:
        assert edge.status()["collector"]["alive"] == [True] * 6


@pytest.mark.parametrize("name", ["edge", "device-3"])
def test_sigterm_ends_a_tier_with_exit_code_0_after_what_is_in_flight(
    served: LocalFleet, every_exit: Bundle, name: str
) -> None:
    view = every_exit.golden["view_3"][:1]
    with Client(served.device_urls[3]) as device, Client(served.edge_urls[0]) as edge, ThreadPoolExecutor(1) as thread:
        # Alone with its event id it waits for five siblings that never come; then the local exit answers.
        answer = thread.submit(
            device.infer, view, events=[f"in flight at {name}"], wait_ms=2000, max_exit="local", deadline_ms=20_000
        )
        until = monotonic() + 30
        while not edge.status()["collector"]["pending"]:
            assert monotonic() < until
        served.terminate(name)
        (given,) = answer.result(timeout=30)
    process = served.members[name].process
    assert process is not None
    assert process.returncode == 0, served.members[name].last_words()
    assert (given.exit, given.degraded) == (Exit.LOCAL, False)
    assert given.devices.tolist() == [n == 3 for n in range(6)]
