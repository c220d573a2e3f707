"""Audits in a real fleet: switched on while it runs, the answers stay as they are, and the cloud is asked."""

from time import monotonic, sleep
from typing import Any

from ddnn.client import Client
from ddnn.client.admin import Admin
from ddnn.fleet.processes import LocalFleet
from ddnn.policy import Audits
from ddnn.types import Exit
from real_fleet import PATIENCE_S, Sensors, follow

ROWS = slice(0, 48)


def audits(fleet: LocalFleet) -> dict[str, Any]:
    """What the edge has heard."""
    with Client(fleet.members["edge"].url) as client:
        found: dict[str, Any] = client.status()["audits"]["exits"]
    return found


def answered_by(fleet: LocalFleet) -> dict[str, int]:
    with Client(fleet.cloud_url) as client:
        found: dict[str, int] = client.status()["exits"]
    return found


def test_audits_compare_every_sure_answer_and_change_none(served: LocalFleet, sensors: Sensors, source: Admin) -> None:
    plain = sensors.see(ROWS)
    before = source.read_policy()
    wanted = before.model_copy(update={"audits": Audits(share=1.0, per_second=1000, burst=1000)})
    follow(served, source.write_policy(wanted, over=before)["etag"])
    counted = answered_by(served)
    audited = sensors.see(ROWS)
    expected = {exit.value: [answer for answer in plain if answer.exit is exit] for exit in (Exit.LOCAL, Exit.EDGE)}
    golden = sensors.bundle.golden["cloud_scores"][ROWS].argmax(axis=1)
    differ = {
        exit.value: sum(a.label != golden[row] for row, a in enumerate(plain) if a.exit is exit)
        for exit in (Exit.LOCAL, Exit.EDGE)
    }
    until = monotonic() + PATIENCE_S
    while any(audits(served).get(exit, {}).get("audited", 0) < len(answers) for exit, answers in expected.items()):
        assert monotonic() < until, audits(served)
        sleep(0.02)
    found = audits(served)
    assert {exit: (found[exit]["audited"], found[exit]["different"]) for exit in expected} == {
        exit: (len(answers), differ[exit]) for exit, answers in expected.items()
    }
    assert [(a.label, a.exit, a.degraded, a.bytes_up) for a in audited] == [
        (a.label, a.exit, a.degraded, a.bytes_up) for a in plain
    ]
    ups = sum(answer.exit is Exit.CLOUD for answer in audited)
    assert answered_by(served)["cloud"] - counted["cloud"] == ups
    assert sum(answered_by(served).values()) - sum(counted.values()) == ups
