"""The policy over HTTP: read with an ETag, written with the admin token, refused with a sentence."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ddnn.bundle import Bundle
from ddnn_lab.in_process import Fleet

ADMIN = "may-write-the-policy"
BEARER = {"authorization": f"Bearer {ADMIN}"}
PATH = "/v2/policy"


def made(bundle: Bundle, state: Path, *, cloud_alone: bool) -> Fleet:
    """Tiers that all have an admin token and share a state folder."""
    fleet = Fleet(Bundle.open(bundle.path), settings={"admin_token": ADMIN, "state_dir": state})
    fleet.start(cloud_alone=cloud_alone)
    return fleet


@pytest.fixture
def fleet(tiny_bundle: Bundle, tmp_path: Path) -> Fleet:
    """The cloud, where policies are written."""
    return made(tiny_bundle, tmp_path, cloud_alone=True)


@pytest.fixture
async def whole(tiny_bundle: Bundle, tmp_path: Path) -> AsyncIterator[Fleet]:
    """The cloud and those who follow it."""
    fleet = made(tiny_bundle, tmp_path, cloud_alone=False)
    yield fleet
    await fleet.close()


async def get(fleet: Fleet, host: str = "cloud", **headers: str) -> httpx.Response:
    async with fleet.client(host) as client:
        return await client.get(PATH, headers=headers)


async def put(
    fleet: Fleet, document: Any, host: str = "cloud", *, dry_run: str | None = None, **headers: str
) -> httpx.Response:
    content = document if isinstance(document, bytes) else orjson.dumps(document)
    async with fleet.client(host) as client:
        return await client.put(
            PATH, content=content, headers=BEARER | headers, params={} if dry_run is None else {"dry_run": dry_run}
        )


async def roll_back(fleet: Fleet, host: str = "cloud", **headers: str) -> httpx.Response:
    async with fleet.client(host) as client:
        return await client.post(f"{PATH}/rollback", headers=BEARER | headers)


async def document(fleet: Fleet, **changes: Any) -> dict[str, Any]:
    """The cloud's policy with changes, `thresholds` key by key."""
    policy: dict[str, Any] = (await get(fleet)).json()
    return {**policy, **changes, "thresholds": {**policy["thresholds"], **changes.get("thresholds", {})}}


def refused(response: httpx.Response, status: int, code: str, *words: str) -> None:
    body = response.json()
    assert (response.status_code, body["code"]) == (status, code), body
    assert all(word in body["error"] for word in words), body["error"]


async def test_whoever_has_the_policy_is_not_sent_it_again(fleet: Fleet) -> None:
    first = await get(fleet)
    etag = first.headers["etag"]
    for has in (etag, f'"0-else", {etag}', f"W/{etag}", "*"):
        again = await get(fleet, **{"if-none-match": has})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert (await get(fleet, **{"if-none-match": '"1-else"'})).status_code == 200
    async with fleet.client("cloud") as client:
        assert (await client.head(PATH)).headers["etag"] == etag


async def test_a_written_policy_is_one_version_on_whatever_it_says_and_shows_everywhere(fleet: Fleet) -> None:
    was = (await get(fleet)).headers["etag"]
    wanted = await document(fleet, version=77, thresholds={"local": 0.25})
    said = await put(fleet, wanted, **{"if-match": was})
    assert said.status_code == 200, said.text
    now = await get(fleet)
    assert now.json() == {**wanted, "version": 2}
    assert said.json() == {"version": 2, "etag": now.headers["etag"], "previous": 1, "kept": True, "note": ""}
    assert said.headers["etag"] == now.headers["etag"] != was
    async with fleet.client("cloud") as client:
        shown, text = (await client.get("/v2/status")).json()["policy"], (await client.get("/metrics")).text
    assert {key: shown[key] for key in ("version", "etag", "source", "previous", "kept", "followed_s_ago")} == {
        "version": 2,
        "etag": now.headers["etag"],
        "source": "admin",
        "previous": 1,
        "kept": True,
        "followed_s_ago": None,
    }
    family = next(each for each in text_string_to_metric_families(text) if each.name == "ddnn_policy_info")
    assert [(sample.labels["version"], sample.value) for sample in family.samples] == [("2", 1.0)]


async def test_going_back_is_a_new_version_and_going_back_twice_is_forth(fleet: Fleet) -> None:
    refused(await roll_back(fleet), 409, "CONFLICT", "nothing to go back to", "version 1")
    first = await document(fleet)
    second = await document(fleet, thresholds={"edge": 0.125})
    await put(fleet, second)
    refused(await roll_back(fleet, **{"if-match": '"1-old"'}), 412, "STALE_POLICY")
    etag = (await get(fleet)).headers["etag"]
    for version, content in ((3, first), (4, second)):
        said = await roll_back(fleet, **{"if-match": etag})
        assert said.status_code == 200, said.text
        etag = said.json()["etag"]
        assert (await get(fleet)).json() == {**content, "version": version}


async def test_a_stale_if_match_changes_nothing(fleet: Fleet) -> None:
    stale = (await get(fleet)).headers["etag"]
    assert (await put(fleet, await document(fleet), **{"if-match": stale})).status_code == 200
    refused(await put(fleet, await document(fleet), **{"if-match": stale}), 412, "STALE_POLICY", stale, "read it again")
    assert (await get(fleet)).json()["version"] == 2
    weak = f"W/{(await get(fleet)).headers['etag']}"
    refused(await put(fleet, await document(fleet), **{"if-match": weak}), 412, "STALE_POLICY", weak)
    assert (await put(fleet, await document(fleet), **{"if-match": "*"})).status_code == 200


WHOLE = {
    "thresholds": {"device": 0.0, "local": 0.5, "edge": 0.5},
    "temperatures": {"device": 1.0, "local": 1.0, "edge": 1.0, "cloud": 1.0},
}
BAD: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"thresholds": {"local": 1.5}}, ("thresholds.local is 1.5",)),
    ({"thresholds": {"local": -0.1}}, ("thresholds.local is -0.1",)),
    ({"thresholds": {"local": True}}, ("thresholds.local is True",)),
    ({"thresholds": {"local": "0.5"}}, ("thresholds.local is '0.5'",)),
    ({"thresholds": {"cloud": 0.5}}, ("thresholds.cloud",)),
    ({"temperatures": {"device": 1.0}}, ("temperatures has no 'local'", "device, local, edge, cloud")),
    ({"live": {"3": {"thresholds": {"local": 0.5}}}}, ("live.3.thresholds has no 'device'",)),
    ({"live": {"0": {}}}, ("live",)),
    ({"live": {"99": WHOLE}}, ("live has the count 99", "devices")),
    ({"live": {"3": {"thresholds": "x" * 1000}}}, ("live.3.thresholds is 'xxx", "x…: ")),
    ({"criterion": "mood"}, ("criterion is 'mood'",)),
    ({"criterion": "margin"}, ("criterion is 'margin'", "calibrated for 'entropy'", "ddnn tune")),
    ({"treshold": 0.5}, ("treshold is 0.5",)),
    ({"bundle": None}, ("bundle is None",)),
]


@pytest.mark.parametrize(("changes", "words"), BAD, ids=[words[0] for _, words in BAD])
async def test_what_is_no_policy_of_this_bundle_is_refused_by_name(
    fleet: Fleet, changes: dict[str, Any], words: tuple[str, ...]
) -> None:
    for dry_run in (None, "true"):
        refused(await put(fleet, await document(fleet, **changes), dry_run=dry_run), 400, "BAD_INPUT", *words)
    assert (await get(fleet)).json()["version"] == 1


async def test_a_signature_that_is_none_is_refused_where_none_is_kept(fleet: Fleet) -> None:
    refused(await put(fleet, await document(fleet, signature=7)), 400, "BAD_INPUT", "signature is 7")


async def test_a_missing_exit_nonsense_and_too_much_are_refused(fleet: Fleet) -> None:
    whole = await document(fleet)
    without = {**whole, "thresholds": {"device": 0.0, "local": 0.5}}
    refused(await put(fleet, without), 400, "BAD_INPUT", "thresholds has no 'edge'", "device, local, edge")
    del whole["thresholds"]
    refused(await put(fleet, whole), 400, "BAD_INPUT", "thresholds has no 'device'")
    for text in (b"", b"{", b"[]", b"7", b'{"wait_ms": NaN}', b"[" * 100_000):
        refused(await put(fleet, text), 400, "BAD_INPUT", "policy is not")
    refused(await put(fleet, b" " * (256 << 10) + b"{}"), 413, "TOO_LARGE")
    refused(await put(fleet, await document(fleet), dry_run=""), 400, "BAD_INPUT", "dry_run is ''")
    refused(await put(fleet, await document(fleet), dry_run="maybe"), 400, "BAD_INPUT", "dry_run is 'maybe'")
    assert (await get(fleet)).json()["version"] == 1


async def test_a_policy_of_another_bundle_is_409(fleet: Fleet) -> None:
    refused(await put(fleet, await document(fleet, bundle="f" * 64)), 409, "OTHER_BUNDLE", "ffffffffffff")


async def test_a_number_beyond_all_bounds_does_not_break_the_tier(fleet: Fleet) -> None:
    text = orjson.dumps(await document(fleet, tuned={"x": "HUGE"})).replace(b'"HUGE"', b"1e999")
    assert (await put(fleet, text)).status_code in (200, 400)
    assert (await get(fleet)).status_code == 200


async def test_only_the_admin_token_writes_and_none_does_where_none_is_set(whole: Fleet, tiny_bundle: Bundle) -> None:
    given = await document(whole)
    for host in ("cloud", "edge", "device-0"):
        refused(await put(whole, given, host, authorization=""), 401, "UNAUTHORIZED", "admin token is missing")
        for wrong in ("Bearer guessed", ADMIN, f"Basic {ADMIN}"):
            refused(await put(whole, given, host, authorization=wrong), 403, "FORBIDDEN", "not the admin token")
            refused(await roll_back(whole, host, authorization=wrong), 403, "FORBIDDEN")
    open_fleet = Fleet(tiny_bundle, settings={"token": ADMIN})
    open_fleet.start(cloud_alone=True)
    refused(await put(open_fleet, given), 403, "FORBIDDEN", "no admin token", "DDNN_ADMIN_TOKEN")
    assert (await get(open_fleet)).json()["version"] == 1


@pytest.mark.parametrize(("host", "above"), [("edge", "http://cloud"), ("device-3", "http://edge")])
async def test_a_tier_that_follows_another_says_where_to_write(whole: Fleet, host: str, above: str) -> None:
    refused(await put(whole, await document(whole), host), 409, "CONFLICT", "follows", above)
    refused(await roll_back(whole, host), 409, "CONFLICT", "follows", above)
