"""Which events a fleet keeps, what of them where, and who may have it."""

from collections.abc import AsyncIterator, Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.policy import Audits, Doubts, Thresholds
from ddnn.serving.doubts.store import Store
from ddnn.serving.service import Service
from ddnn_lab.in_process import NEVER, Fleet
from networks import TOPOLOGIES, make_bundle
from real_port import until

ADMIN = "may-fetch-the-doubts"
ALL = Doubts(events=100, unsure=1.0, per_second=1000, views="given")
Start = Callable[..., Fleet]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Two devices."""
    return make_bundle(tmp_path_factory.mktemp("bundles") / "pair", devices=2)


@pytest.fixture
async def start(pair: Bundle, tmp_path: Path) -> AsyncIterator[Start]:
    fleets = []

    def make(keeping: Doubts = ALL, *, bundle: Bundle = pair, policy: Any = None, **settings: Any) -> Fleet:
        given = {"state_dir": tmp_path / "state", "admin_token": ADMIN, **settings}
        fleet = Fleet(Bundle.open(bundle.path), settings=given)
        fleet.start()
        fleet.use(**{"thresholds": NEVER, "doubts": keeping, **(policy or {})})
        for app in fleet.switch.apps.values():
            app.state.service.keeper.start(app.state.service)
        fleets.append(fleet)
        return fleet

    yield make
    for fleet in fleets:
        await fleet.close()


def service(fleet: Fleet, host: str) -> Service:
    found: Service = fleet.switch.apps[host].state.service
    return found


async def rows(fleet: Fleet, host: str = "edge") -> list[dict[str, Any]]:
    return await service(fleet, host).keeper.ask(Store.rows, 0, 1000)


async def told(fleet: Fleet) -> None:
    """Every device has asked its edge for the policy, as it does twice a second."""
    await rows(fleet)
    for host, app in fleet.switch.apps.items():
        if host.startswith("device") and app.state.service.follower:
            await app.state.service.follower.poll()


async def ask(fleet: Fleet, host: str, path: str, method: str = "GET", token: str = ADMIN) -> Any:
    async with fleet.client(host) as client:
        return await client.request(method, path, headers={"authorization": f"Bearer {token}"} if token else {})


async def test_an_unsure_event_is_kept_with_what_each_exit_said_and_what_each_device_saw(start: Start) -> None:
    fleet = start()
    answers = await fleet.see(rows=slice(3, 5))
    await told(fleet)
    kept = await rows(fleet)
    assert {row["name"]: row["kind"] for row in kept} == {"e0": "unsure", "e1": "unsure"}
    first = next(row for row in kept if row["name"] == "e0")
    assert (first["label"], first["exit"], first["reason"]) == (answers[0][0].label, "cloud", "")
    assert first["exits"].keys() == {"local", "edge", "cloud"}
    assert len(first["below"]) == 2
    assert first["devices"] == [True] * 2
    assert first["class"] == fleet.bundle.manifest.classes[first["label"]]
    for device in range(2):
        assert {row["name"]: row["view"] for row in await rows(fleet, f"device-{device}")} == {"e0": True, "e1": True}
        reply = await ask(fleet, f"device-{device}", f"/v2/doubts/{first['id']}/view")
        assert (np.load(BytesIO(reply.content)) == fleet.view(device, slice(3, 4))[0]).all()


async def test_nothing_is_kept_unless_the_policy_says_so(start: Start) -> None:
    fleet = start(Doubts(unsure=1.0, views="given"))
    await fleet.see()
    await told(fleet)
    assert await rows(fleet) == []
    document = service(fleet, "edge").status()["doubts"]
    assert document["off"] == "the policy keeps none"
    assert service(fleet, "cloud").status()["doubts"] is None


async def test_without_leave_devices_keep_no_view_and_kept_views_stay_where_they_are(start: Start) -> None:
    fleet = start(ALL.model_copy(update={"views": "none"}))
    await fleet.see(name="none")
    await told(fleet)
    assert len(await rows(fleet)) == 2
    assert await rows(fleet, "device-0") == []
    fleet.use(thresholds=NEVER, doubts=ALL.model_copy(update={"views": "kept"}))
    await fleet.see(name="kept")
    await told(fleet)
    (row, _) = await rows(fleet, "device-0")
    reply = await ask(fleet, "device-0", f"/v2/doubts/{row['id']}/view")
    assert reply.status_code == 403
    assert "expected doubts.views 'given'" in reply.text


async def test_a_degraded_answer_is_kept_with_its_reason(start: Start) -> None:
    fleet = start(ALL.model_copy(update={"unsure": 0.0}))
    del fleet.switch.apps["cloud"]
    await fleet.see()
    assert {(row["kind"], row["reason"]) for row in await rows(fleet)} == {("degraded", "unreachable")}


async def test_an_event_on_which_an_audit_disagrees_is_kept_with_the_clouds_word(start: Start) -> None:
    audits = Audits(share=1.0, per_second=1000, burst=1000)
    sure = {"thresholds": Thresholds(local=1.0), "audits": audits}
    fleet = start(ALL.model_copy(update={"unsure": 0.0}), policy=sure)
    answers = await fleet.see(rows=slice(0, 16))
    heard = service(fleet, "edge").metrics.audits
    until_audited = lambda: sum(sample.value for each in heard.collect() for sample in each.samples) >= 16  # noqa: E731
    await until(until_audited)
    kept = await rows(fleet)
    assert kept
    assert {row["kind"] for row in kept} == {"disagreeing"}
    given = {f"e{n}": answer.label for n, answer in enumerate(answers[0])}
    for row in kept:
        assert row["label"] == given[row["name"]] != row["cloud"]["label"]
    await told(fleet)
    assert len(await rows(fleet, "device-1")) == len(kept)


async def test_a_share_is_kept_by_chance_and_a_callers_own_terms_keep_nothing(start: Start) -> None:
    sure = {"thresholds": Thresholds(local=1.0)}
    fleet = start(Doubts(events=100, unsure=0.0, random=0.5, per_second=1000), policy=sure)
    await fleet.see(rows=slice(0, 16))
    assert 2 <= len(await rows(fleet)) <= 14
    assert {row["kind"] for row in await rows(fleet)} == {"random"}
    fleet.use(thresholds=NEVER, doubts=ALL)
    before = len(await rows(fleet))
    await fleet.see(name="terms", max_exit="local")
    assert len(await rows(fleet)) == before


async def test_a_flood_of_one_kind_is_let_through_a_few_at_a_time(start: Start) -> None:
    fleet = start(ALL.model_copy(update={"per_second": 1e-6}))
    for name in ("a", "b"):
        await fleet.see(rows=slice(0, 16), name=name)
    assert len(await rows(fleet)) == 20
    assert service(fleet, "edge").status()["doubts"]["missed"] == {"rate": 12}


async def test_under_an_event_key_edge_and_devices_know_an_event_by_the_same_id(start: Start) -> None:
    fleet = start(event_key="key-of-all-devices")
    await fleet.see()
    await told(fleet)
    ids = {row["id"] for row in await rows(fleet)}
    assert {row["id"] for row in await rows(fleet, "device-1")} == ids
    assert all(bytes.fromhex(id).isalnum() and len(id) == 128 for id in ids)


async def test_a_lone_device_chooses_for_itself_and_needs_no_event_id(
    start: Start, tmp_path_factory: pytest.TempPathFactory
) -> None:
    lone = make_bundle(tmp_path_factory.mktemp("bundles") / "lone", **TOPOLOGIES["d"])
    fleet = start(bundle=lone)
    await fleet.infer("device-0", {"view": fleet.view(0, slice(0, 2))})
    kept = await rows(fleet, "device-0")
    assert [(row["kind"], row["view"], len(row["exits"]) > 0) for row in kept] == [("unsure", True, True)] * 2
    assert service(fleet, "edge").keeper.document() is None


async def test_only_an_admin_lists_fetches_and_deletes(start: Start) -> None:
    fleet = start()
    await fleet.see()
    await told(fleet)
    (id, other) = [row["id"] for row in await rows(fleet)]
    for host in ("edge", "device-0"):
        for method, path in (("GET", ""), ("GET", f"/{id}"), ("GET", f"/{id}/view"), ("DELETE", f"/{id}")):
            for token, status in (("", 401), ("not-the-admin-token", 403)):
                reply = await ask(fleet, host, f"/v2/doubts{path}", method, token)
                assert reply.status_code == status, (host, method, path)
    first = (await ask(fleet, "edge", "/v2/doubts?most=1")).json()
    assert (len(first["doubts"]), first["more"], first["events"]) == (1, True, 2)
    assert (await ask(fleet, "edge", "/v2/doubts?after=1")).json()["doubts"][0]["id"] == other
    assert (await ask(fleet, "edge", f"/v2/doubts/{id}")).json()["id"] == id
    for path in ("", f"/{id}", "/new"):
        assert (await ask(fleet, "edge", f"/v2/doubts{path}", "HEAD")).status_code == 200
    assert (await ask(fleet, "edge", f"/v2/doubts/{id}", "DELETE")).json() == {"deleted": 1}
    assert (await ask(fleet, "edge", f"/v2/doubts/{id}")).status_code == 404
    assert (await ask(fleet, "device-0", "/v2/doubts", "DELETE")).json() == {"deleted": 2}
    assert await rows(fleet, "device-0") == []


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/v2/doubts/not-hex", "expected its id in hexadecimal digits"),
        (f"/v2/doubts/{'ab' * 300}", "expected its id in hexadecimal digits"),
        ("/v2/doubts?after=-1", "after is '-1'; expected a whole number"),
        ("/v2/doubts?most=0", "most is '0'; expected a whole number, 1 to 200"),
    ],
)
async def test_what_makes_no_sense_is_refused_with_a_sentence(start: Start, path: str, says: str) -> None:
    reply = await ask(start(), "edge", path)
    assert reply.status_code == 400
    assert says in reply.json()["error"]


@pytest.mark.parametrize(
    ("settings", "why"), [({"state_dir": None}, "DDNN_STATE_DIR"), ({"doubts": {"bytes": 0}}, "DDNN_DOUBTS__BYTES")]
)
async def test_a_tier_without_room_says_why_it_keeps_nothing(start: Start, settings: Any, why: str) -> None:
    fleet = start(**settings)
    await fleet.see()
    assert why in service(fleet, "edge").status()["doubts"]["off"]
    reply = await ask(fleet, "edge", "/v2/doubts")
    assert reply.status_code == 409
    assert why in reply.json()["error"]


async def test_a_disk_that_takes_nothing_is_told_and_answers_go_on(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    fleet = start(state_dir=tmp_path / "file" / "below")
    answers = await fleet.see()
    assert not any(answer.degraded for row in answers for answer in row)
    keeper = service(fleet, "edge").keeper
    await keeper.stop()
    assert keeper.problem
    assert keeper.missed == {"disk": 2}


def names(found: Sequence[dict[str, Any]]) -> set[str]:
    return {row["name"] for row in found}


async def test_an_edge_that_has_begun_anew_is_asked_from_the_start(start: Start, tmp_path: Path) -> None:
    fleet = start()
    await fleet.see(name="before")
    await told(fleet)
    device = service(fleet, "device-1").keeper
    device._heard = 1000  # of an edge whose disk was changed
    await fleet.see(name="after")
    await told(fleet)
    assert names(await rows(fleet, "device-1")) == {"before0", "before1", "after0", "after1"}
