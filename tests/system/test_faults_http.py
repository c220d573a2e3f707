"""The core of the faults where tiers ask each other by HTTP alone; the other tests of faults ask over streams."""

from collections.abc import Iterator

import pytest

from ddnn.bundle import Bundle
from ddnn.client import Client
from ddnn.fleet.processes import LocalFleet
from ddnn.types import Exit
from real_fleet import Sensors

EVENTS = slice(0, 32)


@pytest.fixture(scope="module")
def by_http(every_exit: Bundle) -> Iterator[LocalFleet]:
    with LocalFleet(every_exit.path, base_port=0, env={"DDNN_UPLINK__TRANSPORT": "http"}) as fleet:
        fleet.wait_until_ready(seconds=120)
        yield fleet


def test_killed_tiers_degrade_what_they_would_have_answered_and_nothing_else(
    by_http: LocalFleet, every_exit: Bundle
) -> None:
    sensors = Sensors(every_exit, by_http, "http ")
    sensors.until_whole()
    before = sensors.see(EVENTS)
    assert {answer.exit for answer in before} == {Exit.LOCAL, Exit.EDGE, Exit.CLOUD}
    with Client(by_http.device_urls[0]) as client:
        assert client.status()["uplink"]["transport"] == "http"

    by_http.kill("cloud")
    after = sensors.see(EVENTS, deadline_ms=5000)
    assert [answer.degraded for answer in after] == [answer.exit is Exit.CLOUD for answer in before]
    by_http.kill("edge")
    assert {(answer.exit, answer.degraded) for answer in sensors.see(EVENTS, deadline_ms=5000)} == {(Exit.DEVICE, True)}

    for name in ("edge", "cloud"):
        by_http.start(name)
    by_http.wait_until_ready(seconds=120)
    sensors.until_whole()
    again = sensors.see(EVENTS)
    assert [(answer.label, answer.exit) for answer in again] == [(answer.label, answer.exit) for answer in before]
    sensors.client.close()
