"""The picture of a fleet: counts over restarts, figures of the last minute, events once."""

from typing import Any

import pytest

from ddnn.bundle import Bundle
from ddnn.serving.room.board import Board, Totals, between
from ddnn.serving.room.report import EventTold, Report, ViewTold
from ddnn.types import Exit, Tier


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board(tiny_bundle: Bundle, clock: Clock) -> Board:
    return Board(tiny_bundle, clock=clock, wall=lambda: 5000.0)


def report(tier: Tier = Tier.EDGE, index: int = 0, **given: Any) -> Report:
    usual: dict[str, Any] = {
        "uptime_s": 1.0,
        "cpu_s": 0.5,
        "requests": 0,
        "exits": {},
        "degraded": 0,
        "up": 0,
        "down": 0,
        "in_flight": 0,
        "waiting": 0,
        "p50_ms": None,
        "p95_ms": None,
        "circuit": None,
        "round_trip_ms": None,
        "policy": 1,
        "draining": False,
        "recorded": None,
        "below": {},
        "audits": {},
        "budget": {},
        "events": (),
        "views": (),
    }
    return Report(tier=tier, index=index, **{**usual, **given})


def event(n: int, **given: Any) -> EventTold:
    usual: dict[str, Any] = {"id": f"e{n}", "label": 0, "exit": Exit.LOCAL, "confidence": 0.9, "devices": "110000"}
    return EventTold(n=n, **{**usual, "reason": "", "ms": 3.0, "bytes": 12, "ago_s": 2.0, **given})


def test_the_page_names_the_bundle_and_the_rollout_that_the_cloud_tells_of(board: Board, tiny_bundle: Bundle) -> None:
    assert board.snapshot()["bundle"]["fingerprint"] == tiny_bundle.fingerprint[:12]
    board.take(report(Tier.CLOUD, bundle="second", fingerprint="0123456789ab", rollout="half of it"))
    board.take(report(Tier.EDGE, bundle="first", fingerprint="ba9876543210"))
    shown = board.snapshot()
    assert shown["bundle"] == {"name": "second", "fingerprint": "0123456789ab"}
    assert shown["rollout"] == "half of it"


def test_figures_are_of_what_happened_since_it_was_looked(board: Board, clock: Clock) -> None:
    board.take(report(uptime_s=500.0, exits={Exit.LOCAL: 90, Exit.EDGE: 10}, cpu_s=40.0))
    board.tick()
    clock.now += 10
    board.take(report(uptime_s=510.0, exits={Exit.LOCAL: 105, Exit.EDGE: 15}, degraded=5, up=400, cpu_s=41.0))
    board.take(report(Tier.DEVICE, uptime_s=2.0, up=2000, cpu_s=0.5))
    figures = board.figures()
    assert (figures["events"], figures["rate"], figures["degraded"]) == (20, 2.0, 0.25)
    assert (figures["exits"]["local"], figures["exits"]["edge"], figures["exits"]["cloud"]) == (0.75, 0.25, 0.0)
    assert (figures["bytes_devices"], figures["bytes_edges"], figures["cpu_ms"]) == (100.0, 20.0, 50.0)


def test_a_restart_takes_nothing_away(board: Board, clock: Clock) -> None:
    board.take(report(exits={Exit.LOCAL: 7}, events=(event(7),)))
    clock.now += 30
    new = board.take(report(uptime_s=0.5, exits={Exit.LOCAL: 2}, events=(event(1), event(2))))
    assert board.totals().events == 9
    assert [row["id"] for row in new] == ["e1", "e2"]


def test_an_event_is_shown_once_with_its_time_and_class(board: Board, tiny_bundle: Bundle) -> None:
    (row,) = board.take(report(events=(event(1),)))
    assert (row["at"], row["class"]) == (4998.0, tiny_bundle.manifest.classes[0])
    assert board.take(report(events=(event(1),))) == []
    assert len(board.events) == 1


def test_views_are_kept_of_few_events(board: Board) -> None:
    for number in range(200):
        board.take(report(Tier.DEVICE, 2, views=(ViewTold(id=f"e{number}", png="AAAA"),)))
    views = board.views()
    assert len(views) <= 64
    assert views["e199"] == {2: "AAAA"}


def test_what_is_not_of_this_network_is_left_out(board: Board) -> None:
    assert board.take(report(Tier.DEVICE, 40, events=(event(1),))) == []
    assert all(tier["key"] != "device-40" for tier in board.snapshot()["tiers"])


def test_agreement_is_that_of_the_audited_exits_by_how_often_they_answer(board: Board) -> None:
    assert board.audited() is None
    seen = {"audited": 50, "share": 0.1, "low": 0.05, "high": 0.2, "promised": None, "alarm": False}
    board.take(report(exits={Exit.LOCAL: 80, Exit.CLOUD: 20}, audits={Exit.LOCAL: seen}))
    audited = board.audited()
    assert audited is not None
    assert audited["agreement"] == pytest.approx({"share": 0.92, "low": 0.84, "high": 0.96})


def test_nothing_is_divided_by_no_events() -> None:
    nothing = Totals(0.0, {"local": 0.0}, 0.0, 0.0, 0.0, 0.0)
    figures = between(nothing, nothing)
    assert (figures["rate"], figures["exits"], figures["cpu_ms"]) == (None, {"local": None}, None)


def test_so_many_doubts_are_kept_as_the_edge_last_told(board: Board) -> None:
    for doubts in (5, 3):
        board.take(report(doubts=doubts))
        board.take(report(Tier.DEVICE, 1))
    board.states |= {"edge-0": "alive", "device-1": "alive"}
    assert board.figures()["doubts"] == 3
