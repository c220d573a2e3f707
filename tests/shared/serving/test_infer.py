"""The inference path past the framework: the same errors, headers and counts as everywhere else."""

import logging

import numpy as np
import pytest

from ddnn.serving.metrics import STAGES
from ddnn.wire import encode_request
from ddnn_lab.in_process import INFER, NEVER, Fleet


async def test_an_error_of_ours_is_a_500_with_a_body_and_is_in_the_log_under_its_id(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    service = fleet.switch.apps["device-0"].state.service
    monkeypatch.setattr(service, "infer", broken)
    body, headers = encode_request({"view": fleet.view(0, slice(0, 1))})
    with caplog.at_level(logging.ERROR, "ddnn"):
        async with fleet.client("device-0") as client:
            response = await client.post(INFER, content=body, headers={**headers, "x-request-id": "r-7"})
    assert response.status_code == 500
    assert response.headers["x-request-id"] == "r-7"
    document = response.json()
    assert (document["code"], document["request_id"], document["tier"]) == ("INTERNAL", "r-7", "device")
    assert "a bug" not in response.text
    assert "request r-7 failed" in caplog.text
    assert service.in_flight == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v2/models/ddnn/versions/1/infer", 200),
        ("POST", "/v2/models/ddnn/versions/2/infer", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("GET", INFER, 405),
        ("PUT", INFER, 405),
    ],
)
async def test_only_the_one_models_path_is_served(fleet: Fleet, method: str, path: str, status: int) -> None:
    body, headers = encode_request({"view": fleet.view(0, slice(0, 1))}, parameters={"max_exit": "device"})
    async with fleet.client("device-0") as client:
        response = await client.request(method, path, content=body, headers={**headers, "x-request-id": "r-8"})
    assert response.status_code == status, response.text
    assert response.headers["x-request-id"] == "r-8"
    if status != 200:
        assert response.json()["request_id"] == "r-8"


async def test_the_stages_of_requests_add_up_to_no_more_than_the_whole(fleet: Fleet) -> None:
    fleet.use(thresholds=NEVER)
    for n in range(3):
        await fleet.see(rows=slice(n, n + 1), name=f"stages{n}")
    for host in ("device-0", "edge", "cloud"):
        metrics = fleet.switch.apps[host].state.service.metrics
        own = [step.exit.value for step in fleet.switch.apps[host].state.service.engine.steps]
        spent = {stage: metrics.stage_seconds.labels(stage).total for stage in (*STAGES, *own)}
        whole = metrics.request_seconds.labels()
        assert 0 < sum(spent.values()) <= whole.total
        assert metrics.stage_seconds.labels("send").count == whole.count
        assert all(spent[stage] > 0 for stage in ("receive", "decode", "queue", "encode", "send", *own))
        assert (spent["uplink"] > 0) == (host != "cloud")
        assert (spent["collect"] > 0) == (host == "edge")


async def test_requests_with_the_same_header_are_answered_from_their_own_bytes(fleet: Fleet) -> None:
    first = await fleet.infer("device-0", {"view": fleet.view(0, slice(0, 1))}, max_exit="device")
    blank = {"view": np.zeros_like(fleet.view(0, slice(0, 1)))}
    other = await fleet.infer("device-0", blank, max_exit="device")
    again = await fleet.infer("device-0", {"view": fleet.view(0, slice(0, 1))}, max_exit="device")
    assert np.array_equal(first[0].probabilities, again[0].probabilities)
    assert not np.array_equal(first[0].probabilities, other[0].probabilities)
