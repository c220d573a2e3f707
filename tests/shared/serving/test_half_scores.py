"""Scores that go up in half precision: the same answers served as offline, in half the bytes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.client import AsyncFleet
from ddnn.evaluation import Recorder, decide, judge, record
from ddnn.evaluation.agreement import agreement
from ddnn.evaluation.report import traffic
from ddnn.fleet.events import golden_events
from ddnn.policy import Policy, Thresholds
from ddnn.types import Exit
from ddnn_lab.in_process import Fleet
from networks import make_bundle

EDGES: dict[str, Any] = {"one edge": {}, "two edges": {"edges": [[0, 2], [1]]}, "a lone device": {"devices": [0]}}


@pytest.fixture(scope="module", params=EDGES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "whole", **{"devices": 3, **EDGES[request.param]})


@pytest.fixture
def half(whole: Bundle, tmp_path: Path) -> Bundle:
    path = Path(shutil.copytree(whole.path, tmp_path / "half"))
    manifest = whole.manifest.model_copy(update={"topology": whole.topology.with_scores("float16")})
    Policy(bundle=Bundle.seal(path, manifest).fingerprint).write(path)
    return Bundle.open(path)


def middle(bundle: Bundle) -> Policy:
    """Some events are answered at every exit."""
    scores = record(bundle, golden_events(bundle))
    limits = {}
    for exit, quantile in ((Exit.DEVICE, 0.1), (Exit.LOCAL, 0.5), (Exit.EDGE, 0.6)):
        u = np.unique(judge(scores, Policy(bundle="b"), exit).uncertainty.ravel())
        at = int(quantile * (len(u) - 1))
        limits[exit.value] = float(u[at : at + 2].mean())
    return Policy(bundle=bundle.fingerprint, thresholds=Thresholds(**limits), wait_ms=60_000)


@pytest.mark.parametrize("offload", ["staged", "eager"])
async def test_served_is_offline_in_half_the_bytes(whole: Bundle, half: Bundle, offload: str) -> None:
    data, fleet = golden_events(half), Fleet(half)
    data = data.take(np.flatnonzero(data.present.all(axis=1)))
    fleet.start()
    policy = middle(half).model_copy(update={"offload": offload})
    fleet.use(thresholds=policy.thresholds, offload=offload)
    count = len(half.topology.devices)
    urls = [f"http://device-{n}" for n in range(count)]
    async with AsyncFleet(urls, transport=fleet.switch) as client:
        answers = await client.answer_events(list(data.views))
    await fleet.close()
    found = agreement(Bundle(half.path, half.manifest, policy), data, answers)
    assert found.ok, found.differing
    assert found.document["max_probability_difference"] < 1e-4

    scores = record(half, data)
    decisions = decide(scores, policy)
    if count > 1:
        assert len(set(decisions.exit.tolist())) > 1
    sent, before = (
        traffic(record(bundle, data), decisions, policy)["device_to_edge"]["payload"] for bundle in (half, whole)
    )
    alone = decisions.sure.mean() if count == 1 else 0.0  # a lone device that is sure sends nothing
    assert before - sent == pytest.approx((1 - alone) * count * 2 * scores.classes)


def test_a_recorder_rounds_as_the_bundle_does(whole: Bundle, half: Bundle) -> None:
    data = golden_events(whole)
    one, other = Recorder(whole, data).with_scores("float16").scores(), record(half, data)
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name])
    device = one.of(Exit.DEVICE)
    assert (device == device.astype(np.float16)).all()
    assert not np.array_equal(device, record(whole, data).of(Exit.DEVICE))
    local = one.of(Exit.LOCAL)  # goes up to a cloud that joins edges
    if len(whole.topology.devices) > 1:
        assert np.array_equal(local, local.astype(np.float16)) == (len(whole.topology.edges) > 1)


async def test_a_tier_takes_scores_in_its_bundles_precision_alone(half: Bundle) -> None:
    fleet = Fleet(half, devices=())
    fleet.start()
    edge = "edge" if len(half.topology.edges) == 1 else "edge-0"
    classes = len(half.manifest.classes)
    event, child = np.array([b"e"], np.object_), half.topology.edges[0].devices[0]
    refused = await fleet.post(edge, {"event": event, "scores": np.zeros((1, classes), np.float32)}, device=child)
    infinite = await fleet.post(edge, {"event": event, "scores": np.full((1, classes), np.inf, "f2")}, device=child)
    await fleet.close()
    assert (refused.status_code, infinite.status_code) == (400, 400)
    assert f"input tensor 'scores' is FP32 [1, {classes}]; expected FP16 [1, {classes}]" in refused.json()["error"]
    assert "expected finite numbers" in infinite.json()["error"]
