"""Dry runs: what was decided is decided again, and what is not known is estimated by what is."""

from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import orjson
import pytest

from ddnn.bundle import Bundle
from ddnn.evaluation import Scores
from ddnn.evaluation.decide import decide, judge
from ddnn.evaluation.report import traffic
from ddnn.policy import Audits, Policy, Temperatures, Thresholds
from ddnn.serving.ledger import MOST_BYTES, Decision, Ledger, compare, merge, replay, sentence
from ddnn.serving.service import Service
from ddnn.types import Exit
from ddnn_lab.in_process import NEVER, Fleet
from networks import TOPOLOGIES, make_bundle

ADMIN = "may-write-the-policy"
ROWS = slice(0, 24)


def service(fleet: Fleet, host: str) -> Service:
    found: Service = fleet.switch.apps[host].state.service
    return found


@pytest.fixture
async def fleet(tiny_bundle: Bundle) -> AsyncIterator[Fleet]:
    fleet = Fleet(Bundle.open(tiny_bundle.path), settings={"admin_token": ADMIN})
    fleet.start()
    yield fleet
    await fleet.close()


@pytest.fixture
def offline(tiny_bundle: Bundle) -> Scores:
    """The golden events with all devices, as they are recorded offline."""
    golden = Bundle.open(tiny_bundle.path).golden
    names = ("device", "local", "edge", "cloud")
    device, local, edge, cloud = (golden[f"{name}_scores"][ROWS] for name in names)
    y, here = golden["y"][ROWS], np.ones(device.shape[:2], np.bool_)
    return Scores(device, local, edge, cloud, here, y, np.tile(y[:, None], 6), tiny_bundle.topology, {})


def halving(scores: Scores, **changes: Any) -> Policy:
    """Half of the events leave at the local exit, half of the others at the edge."""
    start = Policy(bundle="b", temperatures=Temperatures(local=0.5, edge=2.0), thresholds=NEVER, **changes)
    local = np.sort(judge(scores, start, Exit.LOCAL)[1][:, 0])
    edge = np.sort(judge(scores, start, Exit.EDGE)[1][:, 0])
    half = len(scores) // 2
    thresholds = Thresholds(local=local[half - 1 : half + 1].mean(), edge=edge[half - 1 : half + 1].mean())
    return start.model_copy(update={"thresholds": thresholds})


async def dry_run(fleet: Fleet, policy: Policy, host: str = "edge") -> dict[str, Any]:
    document = policy.model_copy(update={"bundle": fleet.bundle.fingerprint}).model_dump(mode="json")
    async with fleet.client(host) as client:
        response = await client.put(
            "/v2/policy",
            params={"dry_run": "true"},
            headers={"authorization": f"Bearer {ADMIN}"},
            content=orjson.dumps(document),
        )
    assert response.status_code == 200, response.text
    told: dict[str, Any] = response.json()
    return told


@pytest.mark.parametrize("offload", ["staged", "eager"])
async def test_where_all_is_known_a_dry_run_is_what_happens(fleet: Fleet, offline: Scores, offload: str) -> None:
    fleet.use(thresholds=NEVER)
    await fleet.see(rows=ROWS)
    policy = halving(offline, offload=offload)
    told = await dry_run(fleet, policy)
    expected = decide(offline, policy)
    bytes = traffic(offline, expected, policy)
    assert (told["events"], told["estimated"]) == (24, 0)
    assert told["after"]["share"] == pytest.approx({exit.value: expected.share(exit) for exit in Exit})
    assert 0 < told["after"]["share"]["local"] < 1
    assert told["after"]["bytes"] == pytest.approx(sum(bytes[f"{link}"]["payload"] for link in LINKS))
    assert told["after"]["accuracy"] == pytest.approx(expected.probabilities.max(axis=1).mean(), abs=1e-3)
    assert told["before"]["share"]["cloud"] == 1
    assert service(fleet, "edge").policy.version == 1


LINKS = ("device_to_edge", "edge_to_cloud")


async def test_a_device_that_would_be_sure_is_seen_at_its_edge(fleet: Fleet, offline: Scores) -> None:
    fleet.use(thresholds=NEVER)
    await fleet.see(rows=ROWS)
    unsure = judge(offline, Policy(bundle="b"), Exit.DEVICE)[1]
    policy = Policy(bundle="b", thresholds=Thresholds(device=np.median(unsure.min(axis=1)), local=0, edge=0))
    told = await dry_run(fleet, policy)
    assert told["after"]["share"]["device"] == pytest.approx(decide(offline, policy).share(Exit.DEVICE))


async def test_what_the_cloud_was_not_asked_is_estimated_and_counted(fleet: Fleet, offline: Scores) -> None:
    policy = halving(offline)
    fleet.use(thresholds=policy.thresholds, temperatures=policy.temperatures)
    await fleet.see(rows=ROWS)
    under = decide(offline, policy)
    told = await dry_run(fleet, policy.model_copy(update={"thresholds": NEVER}))
    assert told["before"]["share"] == pytest.approx({exit.value: under.share(exit) for exit in Exit})
    assert told["after"]["share"]["cloud"] == 1
    assert told["estimated"] == int((under.exit != Exit.CLOUD.rank).sum())
    known = under.probabilities[under.exit == Exit.CLOUD.rank].max(axis=1)
    assert told["after"]["accuracy"] == pytest.approx(known.mean(), abs=1e-3)
    assert f"({told['estimated']} estimated)" in told["says"]


async def test_an_exit_nobody_came_to_has_no_known_accuracy(fleet: Fleet) -> None:
    fleet.use(thresholds=Thresholds(local=1.0))
    await fleet.see(rows=ROWS)
    told = await dry_run(fleet, Policy(bundle="b", thresholds=NEVER))
    assert (told["after"]["accuracy"], told["estimated"]) == (None, 24)
    assert "expected accuracy unknown" in told["says"]


async def test_what_an_audit_learned_later_is_no_estimate(fleet: Fleet) -> None:
    fleet.use(thresholds=Thresholds(local=1.0), audits=Audits(share=1.0, per_second=1e6, burst=100), offload="eager")
    await fleet.see(rows=ROWS)
    edge = service(fleet, "edge")
    assert edge.engine.offload
    await edge.engine.offload.close()  # lets the audits end
    told = await dry_run(fleet, Policy(bundle="b", thresholds=NEVER))
    assert (told["estimated"], told["after"]["share"]["cloud"]) == (0, 1)


@pytest.fixture(scope="module")
def lone_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "lone", **TOPOLOGIES["d"])


async def test_a_device_that_is_alone_tries_its_own_exit(lone_bundle: Bundle) -> None:
    fleet = Fleet(Bundle.open(lone_bundle.path), settings={"admin_token": ADMIN})
    fleet.start()
    fleet.use(thresholds=NEVER)
    await fleet.see(rows=slice(0, 16))
    told = await dry_run(fleet, Policy(bundle="b", thresholds=Thresholds(device=1.0)), "device-0")
    assert (told["events"], told["estimated"]) == (16, 0)
    assert (told["before"]["share"]["cloud"], told["after"]["share"]["device"]) == (1, 1)
    assert told["before"]["bytes"] > told["after"]["bytes"] == 0
    await fleet.close()


async def test_tiers_that_see_no_decisions_say_so(fleet: Fleet) -> None:
    assert (await dry_run(fleet, Policy(bundle="b")))["says"] == "no decisions are recorded yet"
    await fleet.see(rows=ROWS)
    for host in ("cloud", "device-0"):
        told = await dry_run(fleet, Policy(bundle="b"), host)
        assert (told["events"], "ask the edges" in told["says"]) == (0, True)


def decision(live: int = 1, classes: int = 4) -> Decision:
    scores = np.zeros(classes, np.float32)
    return Decision({Exit.CLOUD: scores}, np.zeros((0, classes), np.float32), np.zeros(0, np.bool_), live, Exit.CLOUD)


def test_a_ledger_keeps_the_latest_and_never_more_than_its_bytes() -> None:
    assert Ledger(2000, devices=6, classes=10).room == 2000
    wide = Ledger(2000, devices=64, classes=1000)
    assert 0 < wide.room * 4 * 1000 * 68 < MOST_BYTES
    assert Ledger(0, devices=6, classes=10).room == 0


async def test_only_the_latest_are_tried(tiny_bundle: Bundle) -> None:
    fleet = Fleet(Bundle.open(tiny_bundle.path), settings={"admin_token": ADMIN, "ledger_events": 5})
    fleet.start()
    await fleet.see(rows=ROWS)
    assert (await dry_run(fleet, Policy(bundle="b")))["events"] == 5
    await fleet.close()


def test_a_sentence_says_what_changes_and_tiers_count_by_their_events() -> None:
    def part(events: int, edge: float, bytes: float, accuracy: float | None) -> dict[str, Any]:
        share = {"local": edge / 2, "edge": edge / 2, "cloud": 1 - edge}
        return {"events": events, "share": share, "bytes": bytes, "accuracy": accuracy}

    def told(events: int, before: tuple[float, float, float | None], after: tuple[float, float, float | None]) -> Any:
        both = {"before": part(events, *before), "after": part(events, *after)}
        return {"events": events, "estimated": 312 if events > 1 else 0, **both}

    whole = told(1874, (0.5, 100, 0.98), (0.54, 82, 0.977))
    assert sentence(whole) == (
        "bytes −18 %, 4 % more answered at the edge, expected accuracy −0.3 points,"
        " on 1,874 recorded decisions (312 estimated)"
    )
    same = told(1, (0.5, 0, 0.5), (0.5, 0, 0.5))
    assert sentence(same) == (
        "bytes as they are, as many answered below the cloud, expected accuracy as it is, on 1 recorded decisions"
    )
    both = merge([told(30, (0.0, 40, 1.0), (1.0, 0, 1.0)), told(10, (0.0, 0, 0.0), (0.0, 0, 0.0)), merge([])])
    assert (both["events"], both["estimated"]) == (40, 624)
    assert both["before"]["bytes"] == 30
    assert both["after"]["share"]["cloud"] == pytest.approx(0.25)
    assert both["after"]["accuracy"] == pytest.approx(0.75)


def test_what_a_tier_has_no_say_in_stays_where_it_was_answered(tiny_bundle: Bundle) -> None:
    outcome = replay([decision(), decision()], Policy(bundle="b"), tiny_bundle.topology, [])
    assert (outcome.share[Exit.CLOUD], outcome.estimated, outcome.accuracy) == (1.0, 0, 0.25)
    assert "bytes as they are" in compare(outcome, outcome)["says"]
