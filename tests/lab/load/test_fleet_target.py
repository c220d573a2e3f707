"""A fleet as a target."""

import os

import pytest

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.fleet.events import golden_events
from ddnn_lab.load import FleetTarget, Processes


async def test_nobody_there_is_a_failure_and_no_exception(tiny_bundle: Bundle) -> None:
    events = golden_events(tiny_bundle)
    target = FleetTarget(["http://127.0.0.1:1"] * 6, events.views)
    outcome = await target(0)
    assert not outcome.ok
    assert outcome.errors == ("NO_CONNECTION",) * 6


def test_addresses_must_be_as_many_as_devices(tiny_bundle: Bundle) -> None:
    with pytest.raises(BadInput, match="2 addresses for the views of 6"):
        FleetTarget(["http://127.0.0.1:1"] * 2, golden_events(tiny_bundle).views)


def test_a_process_that_is_gone_uses_nothing() -> None:
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    assert Processes({"gone": child}).read().cpu_s["gone"] == 0.0
