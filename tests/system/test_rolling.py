"""Every kind of tier restarted in turn under load: no request is lost, none ends in an error, every process in 0."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from time import monotonic
from typing import Final

import pytest

from ddnn.bundle import Bundle
from ddnn.client import Client
from ddnn.errors import DDNNError
from ddnn.fleet.processes import LocalFleet
from ddnn.types import Answer, Array
from real_fleet import Sensors

pytestmark = pytest.mark.long
PATIENCE_S: Final = 60.0
PAUSE_S: Final = 0.05
DEVICES: Final = (1, 4)
"""The first of them is restarted, the other is not."""


def ask(client: Client, view: Array, event: str, over: Event) -> Answer:
    """As the page tells clients to: what says that it may be tried again is tried again, with the same id."""
    until = monotonic() + PATIENCE_S
    while True:
        try:
            (answer,) = client.infer(view, events=[event], wait_ms=0, deadline_ms=5000)
            return answer
        except DDNNError as error:
            if not error.retryable or monotonic() > until:
                raise
            over.wait(PAUSE_S)


def watch(fleet: LocalFleet, bundle: Bundle, device: int, over: Event) -> list[Answer]:
    """Ask one device about one golden event after the other."""
    views, answers = bundle.golden[f"view_{device}"], list[Answer]()
    with Client(fleet.device_urls[device]) as client:
        while not over.is_set():
            row = len(answers) % len(views)
            answers.append(ask(client, views[row : row + 1], f"rolling {device} {len(answers)}", over))
    return answers


def test_a_rolling_restart_of_every_tier_loses_nothing_and_errors_nothing(
    served: LocalFleet, sensors: Sensors, every_exit: Bundle
) -> None:
    over = Event()
    with ThreadPoolExecutor(len(DEVICES)) as threads:
        asked = [threads.submit(watch, served, every_exit, device, over) for device in DEVICES]
        try:
            for name in (f"device-{DEVICES[0]}", "edge", "cloud"):
                restart(served, name)
        finally:
            over.set()
        for answers in (each.result(timeout=PATIENCE_S) for each in asked):
            assert answers
            assert all(answer.label >= 0 for answer in answers)
            # While the edge or the cloud is away a device has its own exit, and an edge its own.
            allowed = {"", "unreachable", "refused", "circuit_open", "timeout", "draining", "gone", "deadline"}
            assert {answer.degraded_reason for answer in answers} <= allowed
    sensors.until_whole()


def restart(fleet: LocalFleet, name: str) -> None:
    """Drain and end it, and start it again."""
    fleet.terminate(name)
    process = fleet.members[name].process
    assert process is not None
    assert process.returncode == 0, fleet.members[name].last_words()
    fleet.start(name)
    fleet.wait_until_ready(seconds=120)
