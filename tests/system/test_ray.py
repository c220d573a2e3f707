"""A cloud whose section Ray Serve runs: it answers as any other, and its fleet does without it when it is gone."""

import os
import signal
from collections.abc import Iterator
from time import monotonic, sleep
from typing import Final

import numpy as np
import pytest

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.client import EventAnswer, Fleet
from ddnn.fleet.processes import LocalFleet
from ddnn.types import Exit

pytest.importorskip("ray", reason="the extra `ray` is not installed: no section on Ray Serve is tried")
psutil = pytest.importorskip("psutil")
pytestmark = pytest.mark.long
PATIENCE_S: Final = 240.0


class _CloudFirst(LocalFleet):
    """Ray gives its own parts 15 seconds to start, which they need where seven other tiers start beside them."""

    def start(self, name: str) -> None:
        super().start(name)
        until = monotonic() + PATIENCE_S
        while name == "cloud" and not self.is_ready(name):
            assert monotonic() < until, self.members[name].last_words()
            sleep(0.2)


@pytest.fixture(scope="module")
def fleet() -> Iterator[LocalFleet]:
    with _CloudFirst(shipped_bundle(), base_port=0, env={"DDNN_RAY__REPLICAS": "1", "DDNN_MAX_LAG_MS": "0"}) as fleet:
        fleet.wait_until_ready(seconds=PATIENCE_S)
        yield fleet


def ask(fleet: LocalFleet, bundle: Bundle, name: str, deadline_ms: float, count: int = 32) -> list[EventAnswer]:
    """Golden events, all of which are to go up to the cloud."""
    views = [bundle.golden[f"view_{device}"][:count] for device in range(len(fleet.device_urls))]
    with Fleet(fleet.device_urls) as sensors:
        ids = [f"{name}-{number}" for number in range(count)]
        return sensors.answer_events(views, events=ids, deadline_ms=deadline_ms, wait_ms=5000, threshold=0.0)


def replicas(fleet: LocalFleet) -> list[int]:
    """Processes that the cloud has started to run its section."""
    below = psutil.Process(fleet.pid("cloud")).children(recursive=True)
    return [process.pid for process in below if "ServeReplica" in " ".join(process.cmdline())]


def test_answers_are_those_of_a_cloud_of_its_own_and_a_lost_replica_costs_answers_of_the_cloud_alone(
    fleet: LocalFleet,
) -> None:
    bundle = Bundle.open(shipped_bundle())
    answers = ask(fleet, bundle, "all", 30_000)
    scores = bundle.golden["cloud_scores"][:32].reshape(32, -1)
    assert [answer.exit for answer in answers] == [Exit.CLOUD] * 32
    np.testing.assert_array_equal([answer.label for answer in answers], scores.argmax(axis=1))
    found = replicas(fleet)
    assert len(found) == 1
    os.kill(found[0], signal.SIGKILL)
    for number in range(30):
        after = ask(fleet, bundle, f"after-{number}", 4000, count=8)
        assert all(answer.label >= 0 for answer in after)
        assert all(answer.degraded or answer.exit is Exit.CLOUD for answer in after)
        if all(answer.exit is Exit.CLOUD for answer in after):  # Ray has started another
            break
    else:
        raise AssertionError("no replica came back")
    assert replicas(fleet) != found
