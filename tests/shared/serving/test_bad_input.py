"""Hostile and mistaken requests: the right code, a sentence in the one error body, and a tier that lives on."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from starlette.types import Message

from ddnn.wire import HEADER_LENGTH, encode_request
from ddnn_lab.in_process import INFER, Fleet

DEVICES = [0]
SMALL = {"settings": {"max_body_bytes": 20_000, "max_batch": 8}}


def valid(fleet: Fleet) -> dict[str, Any]:
    document: dict[str, Any] = fleet.switch.apps["device-0"].state.service.request_example
    copy: dict[str, Any] = orjson.loads(orjson.dumps(document))
    return copy


async def post(
    fleet: Fleet, content: bytes, host: str = "device-0", path: str = INFER, **headers: str
) -> httpx.Response:
    async with fleet.client(host) as client:
        return await client.post(path, content=content, headers=headers)


def check_error(response: httpx.Response, status: int, *words: str, tier: str = "device") -> None:
    body = response.json()
    assert response.status_code == status, body
    assert set(body) == {"error", "code", "request_id", "tier", "retryable"}
    assert body["request_id"] == response.headers["x-request-id"]
    assert body["tier"] == tier
    for word in words:
        assert word in body["error"]


async def lives(fleet: Fleet, host: str = "device-0") -> None:
    example = fleet.switch.apps[host].state.service.request_example
    assert (await post(fleet, orjson.dumps(example), host)).status_code == 200


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"datatype": "FP32"}, ("view", "FP32", "UINT8")),
        ({"shape": [1, 1, 12, 11]}, ("view",)),
        ({"shape": [0, 1, 12, 12], "data": []}, ("view", "0 rows")),
        ({"name": "film"}, ("film", "unknown")),
        ({"data": [1, 2, 3]}, ("view",)),
        ({"data": "pixels"}, ("view",)),
        ({"datatype": "FP128"}, ("FP128",)),
    ],
)
async def test_a_wrong_view_is_400_and_names_it(fleet: Fleet, change: dict[str, Any], words: tuple[str, ...]) -> None:
    document = valid(fleet)
    document["inputs"][0] |= change
    check_error(await post(fleet, orjson.dumps(document)), 400, *words)
    await lives(fleet)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"inputs": 1}', b'{"inputs": []}', b"\xff\xfe"])
async def test_invalid_json_is_400(fleet: Fleet, body: bytes) -> None:
    check_error(await post(fleet, body), 400)
    await lives(fleet)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ("the body is empty", "`inputs`")),
        (b'{"inputs": [{"data": [NaN]}]}', ("a number that is missing is null",)),
        (b'{"inputs": [{"data": [-Infinity]}]}', ("a number that is missing is null",)),
        (b"{", ("first 1 bytes",)),
    ],
)
async def test_what_is_no_json_is_told_by_what_it_is(fleet: Fleet, body: bytes, words: tuple[str, ...]) -> None:
    check_error(await post(fleet, body), 400, *words)


async def test_a_view_without_its_axis_of_events_is_told_the_shape_of_one(fleet: Fleet) -> None:
    body, headers = encode_request({"view": fleet.view(0, slice(0, 1))[0]})
    said = (await post(fleet, body, **headers)).json()["error"]
    assert said.endswith("is UINT8 [1, 12, 12]; expected UINT8 [events, 1, 12, 12]: [1, 1, 12, 12] for this one")
    body, headers = encode_request({"view": fleet.view(0, slice(0, 3))[:, 0]})
    assert (await post(fleet, body, **headers)).json()["error"].endswith("expected UINT8 [events, 1, 12, 12]")


@pytest.mark.parametrize("length", ["-1", "99999", "x", "1e3", "5"])
async def test_a_wrong_header_length_is_400(fleet: Fleet, length: str) -> None:
    body, _ = encode_request({"view": fleet.view(0, slice(0, 1))})
    check_error(await post(fleet, body, **{HEADER_LENGTH: length}), 400)
    await lives(fleet)


async def test_a_body_cut_short_is_400(fleet: Fleet) -> None:
    body, headers = encode_request({"view": fleet.view(0, slice(0, 1))})
    check_error(await post(fleet, body[:-1], **headers), 400)


async def test_a_gigabyte_announced_is_refused_before_it_is_allocated(fleet: Fleet) -> None:
    tensor = {"name": "view", "datatype": "UINT8", "shape": [1 << 30], "parameters": {"binary_data_size": 1 << 30}}
    header = orjson.dumps({"inputs": [tensor]})
    check_error(await post(fleet, header, **{HEADER_LENGTH: str(len(header))}), 400)
    await lives(fleet)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
async def test_scores_that_are_not_finite_are_400(fleet: Fleet, value: float) -> None:
    golden = fleet.bundle.golden
    scores = golden["device_scores"][:1, 0].copy()
    scores[0, 1] = value
    response = await fleet.post("edge", {"scores": scores, "features": golden["device_features"][:1, 0]}, device=0)
    check_error(response, 400, "scores", tier="edge")
    await lives(fleet, "edge")


@pytest.mark.parametrize("device", [-1, 6, 10**9, "0", 0.5, True, None])
async def test_a_device_index_out_of_range_is_400(fleet: Fleet, device: Any) -> None:
    scores = fleet.bundle.golden["device_scores"][:1, 0]
    parameters = {} if device is None else {"device": device}
    check_error(await fleet.post("edge", {"scores": scores}, **parameters), 400, "device", tier="edge")


@pytest.mark.parametrize(
    ("events", "word"), [([b"x" * 10_240], "10240 bytes"), ([b""], "0 bytes"), ([b"a", b"a"], "twice")]
)
async def test_an_impossible_event_id_is_400(fleet: Fleet, events: list[bytes], word: str) -> None:
    views = fleet.view(0, slice(0, len(events)))
    response = await fleet.post("device-0", {"view": views, "event": np.array(events, np.object_)})
    check_error(response, 400, "event", word)


@pytest.mark.parametrize(
    "parameters",
    [{"max_exit": "moon"}, {"max_exit": 3}, {"threshold": 1.5}, {"threshold": "low"}, {"wait_ms": -1}, {"timeout": -5}],
)
async def test_an_impossible_parameter_is_400_and_named(fleet: Fleet, parameters: dict[str, Any]) -> None:
    response = await fleet.post("device-0", {"view": fleet.view(0, slice(0, 1))}, **parameters)
    check_error(response, 400, next(iter(parameters)))


async def test_another_bundles_fingerprint_is_409(fleet: Fleet) -> None:
    body = orjson.dumps(valid(fleet))
    check_error(await post(fleet, body, **{"x-ddnn-bundle": "0" * 64}), 409, "x-ddnn-bundle")


async def test_unknown_models_versions_and_paths_are_404_and_methods_405(fleet: Fleet) -> None:
    body = orjson.dumps(valid(fleet))
    for path in ("/v2/models/other/infer", "/v2/models/ddnn/versions/2/infer", "/v3", "/v2/models/ddnn/explain"):
        check_error(await post(fleet, body, path=path), 404)
    check_error(await post(fleet, body, path="/v2/status"), 405)
    assert (await post(fleet, body, path="/v2/models/ddnn/versions/1/infer")).status_code == 200


async def test_bodies_are_bounded_before_and_after_gzip(fleet: Fleet) -> None:
    fleet.settings |= SMALL["settings"]
    fleet.start()
    big = b" " * 20_001
    check_error(await post(fleet, big), 413, "20001")
    check_error(await post(fleet, gzip.compress(big * 50), **{"content-encoding": "gzip"}), 413)
    check_error(await post(fleet, b"no gzip", **{"content-encoding": "gzip"}), 400)
    check_error(await post(fleet, gzip.compress(b"{}")[:-4], **{"content-encoding": "gzip"}), 400, "cut short")
    check_error(await post(fleet, b"{}", **{"content-encoding": "br"}), 415)
    packed = gzip.compress(orjson.dumps(valid(fleet)))
    assert (await post(fleet, packed, **{"content-encoding": "gzip"})).status_code == 200


async def test_a_batch_is_bounded(fleet: Fleet) -> None:
    fleet.settings |= SMALL["settings"]
    fleet.start()
    check_error(await fleet.post("device-0", {"view": fleet.view(0, slice(0, 9))}), 400, "9 rows", "1 to 8")


@pytest.mark.parametrize("deadline", ["-1", "soon", "nan", "inf", "1e9"])
async def test_an_impossible_deadline_is_400(fleet: Fleet, deadline: str) -> None:
    check_error(await post(fleet, orjson.dumps(valid(fleet)), **{"x-ddnn-deadline-ms": deadline}), 400, "deadline")


async def test_a_deadline_that_has_passed_is_504_and_may_be_tried_again(fleet: Fleet) -> None:
    response = await post(fleet, orjson.dumps(valid(fleet)), **{"x-ddnn-deadline-ms": "0"})
    check_error(response, 504, "deadline")
    assert response.json()["retryable"]


@pytest.mark.parametrize("host", ["device-0", "edge", "cloud"])
async def test_a_token_is_demanded_when_set_and_tiers_send_theirs(fleet: Fleet, host: str) -> None:
    fleet.settings["token"] = "s3cret-of-the-tiers"
    fleet.start()
    example = orjson.dumps(fleet.switch.apps[host].state.service.request_example)
    tier = host.split("-")[0]
    check_error(await post(fleet, example, host), 401, "token", tier=tier)
    check_error(await post(fleet, example, host, authorization="Bearer wrong"), 401, tier=tier)
    response = await post(fleet, example, host, authorization="Bearer s3cret-of-the-tiers")
    assert response.status_code == 200
    reasons = next(o for o in response.json()["outputs"] if o["name"] == "degraded_reason")
    assert reasons["data"] == [""]
    async with fleet.client(host) as client:
        assert (await client.get("/v2/health/ready")).status_code == 200


async def test_a_draining_tier_is_not_ready_and_refuses_with_retry_after(fleet: Fleet) -> None:
    fleet.switch.apps["device-0"].state.service.draining = True
    response = await post(fleet, orjson.dumps(valid(fleet)))
    check_error(response, 503, "shutting down")
    assert response.headers["retry-after"] == "1"
    async with fleet.client("device-0") as client:
        check_error(await client.get("/v2/health/ready"), 503)
        assert (await client.get("/v2/health/live")).status_code == 200


async def test_one_request_too_many_is_429_and_probes_still_answer(fleet: Fleet) -> None:
    fleet.settings["max_in_flight"] = 1
    fleet.start()
    fleet.use(wait_ms=60_000)
    event = np.array([b"e"], np.object_)
    async with fleet.client("edge") as client:
        body, headers = encode_request(
            {"event": event, "scores": fleet.bundle.golden["device_scores"][:1, 0]}, parameters={"device": 0}
        )
        # A seat for each of six devices, of which callers of one address may have five.
        posts = [asyncio.create_task(client.post(INFER, content=body, headers=headers)) for _ in range(5)]
        await fleet.switch.reached("edge", 5)
        refused = await client.post(INFER, content=body, headers=headers)
        check_error(refused, 429, tier="edge")
        assert refused.headers["retry-after"] == "1"
        assert (await client.get("/metrics")).status_code == 200
        assert {post.status_code for post in await asyncio.gather(*posts)} == {200}


async def test_json_is_bounded_by_the_tiers_tensors_before_it_is_parsed(fleet: Fleet) -> None:
    fleet.settings["max_batch"] = 8
    fleet.start()
    for host in ("device-0", "edge", "cloud"):
        # The default cap is 32 MB; these are half a megabyte, and no JSON: parsed, they would be 400.
        body = b'{"inputs":[{"data":[' + b"[]," * 170_000
        tier = host.split("-")[0]
        check_error(await post(fleet, body, host), 413, tier=tier)
        check_error(await post(fleet, body, host, **{HEADER_LENGTH: str(len(body))}), 413, tier=tier)
        packed = gzip.compress(body)
        assert len(packed) < 2000
        check_error(await post(fleet, packed, host, **{"content-encoding": "gzip"}), 413, tier=tier)
        await lives(fleet, host)


async def test_an_endless_id_is_400(fleet: Fleet) -> None:
    check_error(await post(fleet, orjson.dumps(valid(fleet) | {"id": "x" * 257})), 400, "`id`", "256")


async def stalled() -> AsyncIterator[bytes]:
    yield b'{"inputs": ['
    await asyncio.Event().wait()


async def test_a_stalled_body_costs_its_deadline_and_no_more(fleet: Fleet) -> None:
    fleet.settings["max_in_flight"] = 1
    fleet.start()
    async with fleet.client("device-0") as client:
        response = await client.post(INFER, content=stalled(), headers={"x-ddnn-deadline-ms": "20"})
    check_error(response, 504, "deadline", "body")
    await lives(fleet)


async def test_a_caller_who_leaves_within_the_body_is_no_fault_of_ours(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    app = fleet.switch.apps["device-0"]
    coming: list[Message] = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return coming.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": INFER, "headers": [], "query_string": b""}
    await app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert caplog.records == []


async def test_an_unknown_output_is_refused_before_anything_is_done(fleet: Fleet) -> None:
    document = valid(fleet) | {"outputs": [{"name": "label"}, {"name": "lable"}]}
    check_error(await post(fleet, orjson.dumps(document)), 400, "lable", "label")
    assert [request.url.host for request in fleet.switch.requests] == ["device-0"]


async def test_gzip_may_come_in_members_and_an_empty_encoding_is_none(fleet: Fleet) -> None:
    body = orjson.dumps(valid(fleet))
    packed = gzip.compress(body[:40]) + gzip.compress(body[40:])
    assert (await post(fleet, packed, **{"content-encoding": "gzip"})).status_code == 200
    assert (await post(fleet, body, **{"content-encoding": ""})).status_code == 200
    check_error(await post(fleet, gzip.compress(b"") * 65, **{"content-encoding": "gzip"}), 400, "members")
    large = gzip.compress(b" " * (16 << 20))
    check_error(await post(fleet, large * 3, **{"content-encoding": "gzip"}), 413)


async def test_a_timeout_longer_than_the_default_counts(fleet: Fleet) -> None:
    fleet.settings["deadline_ms"] = 0.001
    fleet.start()
    body = orjson.dumps(valid(fleet) | {"parameters": {"timeout": 30_000_000, "max_exit": "device"}})
    assert (await post(fleet, body)).status_code == 200


async def test_every_path_has_its_head_and_its_version(fleet: Fleet) -> None:
    model = "/v2/models/ddnn"
    async with fleet.client("device-0") as client:
        for path in ("", "/ready", "/stats"):
            of_version = await client.get(f"{model}/versions/1{path}")
            assert of_version.status_code == 200
            assert of_version.json().keys() == (await client.get(model + path)).json().keys()
            check_error(await client.get(f"{model}/versions/2{path}"), 404, "version '2'")
        for path in ("/livez", "/readyz", "/v2", "/v2/health/live", "/v2/status", model, f"{model}/versions/1/ready"):
            assert (await client.head(path)).status_code == 200
        check_error(await client.get(INFER), 405)
