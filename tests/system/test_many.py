"""Two clouds and a standby edge, processes all, of which one after the other goes and comes back under load."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Final

import httpx
import pytest

from ddnn.bundle import Bundle
from ddnn.client import EventAnswer, Fleet
from ddnn.fleet.processes import LocalFleet, Member
from ddnn.policy import Policy, Thresholds
from ddnn.types import Exit, Tier
from ddnn_lab.benchmarks import free_port
from networks import make_bundle

pytestmark = pytest.mark.long
PATIENCE_S: Final = 90.0
EDGES: Final = [[0, 1], [2, 3]]
CALLERS: Final = 2
AT_LEAST: Final = 20


class Many(LocalFleet):
    """A fleet with a second cloud, and a second edge-0 that its devices name after the first."""

    def _plan(self) -> Iterator[Member]:
        for member in super()._plan():
            yield member
            if member.name in ("cloud", "edge-0"):
                name = f"other-{member.name}"
                log = self.folder / f"{name}.log"
                yield Member(name, member.tier, member.index, free_port(), member.upstream, log)

    def _arguments(self, member: Member) -> list[str]:
        others = {"cloud": "other-cloud", "edge-0": "other-edge-0"}
        above = [name for name, other in self.members.items() if other.url == member.upstream]
        more = [self.members[others[name]].url for name in above if name in others]
        return [*super()._arguments(member), *(part for url in more for part in ("--upstream", url))]

    def _own(self, member: Member) -> dict[str, str]:
        return {**super()._own(member), "DDNN_STATE_DIR": str(self.folder / f"state-{member.name}")}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    made = make_bundle(tmp_path_factory.mktemp("many") / "bundle", devices=4, edges=EDGES)
    never = Thresholds(local=0.0, edge=0.0)
    Policy(bundle=made.fingerprint, thresholds=never, wait_ms=1500, adaptive_wait=False).write(Path(made.path))
    return Bundle.open(made.path)


@pytest.fixture(scope="module")
def fleet(bundle: Bundle) -> Iterator[Many]:
    with Many(bundle.path, base_port=0) as fleet:
        fleet.wait_until_ready(seconds=180)
        yield fleet


@dataclass
class Load:
    """Callers that ask one event after the other, all devices of each, and what they heard."""

    fleet: LocalFleet
    name: str

    def __enter__(self) -> "Load":
        self.heard: list[EventAnswer] = []
        self._over, self._threads = Event(), ThreadPoolExecutor(CALLERS)
        self._asked = [self._threads.submit(self._ask, caller) for caller in range(CALLERS)]
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for asked in self._asked:
            asked.result(PATIENCE_S)
        self._threads.shutdown()

    def until(self, happened: Callable[[list[EventAnswer]], bool], since: int = 0) -> list[EventAnswer]:
        """Wait until it is so of what was heard since then; that."""
        end = monotonic() + PATIENCE_S
        while not happened(found := self.heard[since:]):
            assert monotonic() < end, [(a.exit, a.degraded_reason, a.errors, a.devices.sum()) for a in found[-5:]]
            self._over.wait(0.05)
        return found

    def _ask(self, caller: int) -> None:
        golden, number = self.fleet.bundle.golden, 0
        rows = [row for row, seen in enumerate(golden["present"]) if seen.all()]
        with Fleet(self.fleet.device_urls) as sensors:
            while not self._over.is_set():
                views = [golden[f"view_{device}"][rows[number % len(rows)]] for device in range(4)]
                self.heard.append(sensors.answer_event(views, event=f"{self.name} {caller} {number}", deadline_ms=8000))
                number += 1


def whole(answer: EventAnswer) -> bool:
    return not answer.errors and not answer.degraded and answer.exit is Exit.CLOUD and bool(answer.devices.all())


def asked(fleet: LocalFleet, name: str) -> int:
    """Requests that a tier has answered."""
    text = httpx.get(f"{fleet.members[name].url}/metrics").text
    return sum(int(float(count)) for count in re.findall(r'^ddnn_requests_total\{code="200"\} (\S+)$', text, re.M))


def last_are_whole(answers: list[EventAnswer]) -> bool:
    return len(answers) >= AT_LEAST and all(map(whole, answers[-AT_LEAST:]))


def test_a_cloud_goes_and_comes_under_load_and_nothing_is_lost_or_degraded(fleet: Many) -> None:
    with Load(fleet, "clouds") as load:
        load.until(last_are_whole)
        assert min(asked(fleet, "cloud"), asked(fleet, "other-cloud")) > 0  # both are home to some
        killed = len(load.heard)
        fleet.kill("other-cloud")
        load.until(last_are_whole, killed)
        fleet.start("other-cloud")
        fleet.wait_until_ready(seconds=120)
        load.until(lambda _: asked(fleet, "other-cloud") > AT_LEAST)
        drained = len(load.heard)
        fleet.terminate("cloud")
        load.until(last_are_whole, drained)
        fleet.start("cloud")
        fleet.wait_until_ready(seconds=120)
        load.until(lambda _: asked(fleet, "cloud") > AT_LEAST)
        back = len(load.heard)
        load.until(last_are_whole, back)
    assert not [answer.errors for answer in load.heard if answer.errors]
    assert not [answer.degraded_reason for answer in load.heard if answer.degraded]
    # On the way back an event may be torn apart, no more than half a second's of each return.
    assert sum(not answer.devices.all() for answer in load.heard) <= 2 * CALLERS


def test_a_standby_edge_takes_over_and_hands_back(fleet: Many) -> None:
    assert fleet.members["other-edge-0"].tier is Tier.EDGE
    before = asked(fleet, "other-edge-0")
    with Load(fleet, "edges") as load:
        load.until(last_are_whole)
        assert asked(fleet, "other-edge-0") == before  # nothing, until it is needed
        killed = len(load.heard)
        fleet.kill("edge-0")
        load.until(last_are_whole, killed)
        assert asked(fleet, "other-edge-0") > before
        fleet.start("edge-0")
        fleet.wait_until_ready(seconds=120)
        load.until(lambda _: asked(fleet, "edge-0") > AT_LEAST)
        back = len(load.heard)
        load.until(last_are_whole, back)
    assert not [answer.errors for answer in load.heard if answer.errors]
    # What was on its way as the edge was killed may end with its devices.
    assert {answer.degraded_reason for answer in load.heard} <= {"", "gone", "no_features", "unreachable", "timeout"}
    assert sum(answer.degraded for answer in load.heard) <= 2 * CALLERS
