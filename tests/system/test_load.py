"""The load generator asks a fleet as the client does."""

import numpy as np

from ddnn.client import Fleet
from ddnn.fleet.events import Event, golden_events
from ddnn.fleet.processes import LocalFleet
from ddnn_lab.load import FleetTarget


async def test_a_target_says_what_the_client_says(served: LocalFleet) -> None:
    events = golden_events(served.bundle)
    target = FleetTarget(served.device_urls, events.views, events.y, events.present, parameters={"wait_ms": 2000})
    told = [await target(number) for number in range(4)]
    order = np.random.default_rng(0).permutation(len(events)).tolist()
    with Fleet(served.device_urls) as client:
        answers = [client.answer_event(Event.of(events, row).views, wait_ms=2000) for row in order[:4]]
    assert [(each.label, each.exit, each.bytes_up) for each in told] == [
        (answer.label, answer.exit, answer.bytes_up) for answer in answers
    ]
    assert [each.right for each in told] == [
        answer.label == events.y[row] for answer, row in zip(answers, order, strict=False)
    ]
    assert not any(each.errors for each in told)
    await target.aclose()
