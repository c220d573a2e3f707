"""Scores that go up in fewer bits: the same answers served as offline, in fewer bytes."""

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


@pytest.fixture(params=["float16", "sqrt8"])
def short(whole: Bundle, request: pytest.FixtureRequest, tmp_path: Path) -> Bundle:
    path = Path(shutil.copytree(whole.path, tmp_path / "short"))
    manifest = whole.manifest.model_copy(update={"topology": whole.topology.with_scores(request.param)})
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
async def test_served_is_offline_in_fewer_bytes(whole: Bundle, short: Bundle, offload: str) -> None:
    data, fleet = golden_events(short), Fleet(short)
    data = data.take(np.flatnonzero(data.present.all(axis=1)))
    fleet.start()
    policy = middle(short).model_copy(update={"offload": offload})
    fleet.use(thresholds=policy.thresholds, offload=offload, wait_ms=60_000, adaptive_wait=False)
    count = len(short.topology.devices)
    urls = [f"http://device-{n}" for n in range(count)]
    async with AsyncFleet(urls, transport=fleet.switch) as client:
        answers = await client.answer_events(list(data.views), deadline_ms=60_000)
    await fleet.close()
    found = agreement(Bundle(short.path, short.manifest, policy), data, answers)
    assert found.ok, found.differing
    assert found.document["max_probability_difference"] < 1e-4

    scores = record(short, data)
    decisions = decide(scores, policy)
    if count > 1:
        assert len(set(decisions.exit.tolist())) > 1
    sent, before = (
        traffic(record(bundle, data), decisions, policy)["device_to_edge"]["payload"] for bundle in (short, whole)
    )
    alone = decisions.sure.mean() if count == 1 else 0.0  # a lone device that is sure sends nothing
    spared = 4 * scores.classes - short.topology.score_codec(Exit.DEVICE).bytes((scores.classes,))
    assert before - sent == pytest.approx((1 - alone) * count * spared)


def test_a_recorder_rounds_as_the_bundle_does(whole: Bundle, short: Bundle) -> None:
    data = golden_events(whole)
    codec = short.topology.score_codec(Exit.DEVICE)
    one, other = Recorder(whole, data).with_scores(codec.name).scores(), record(short, data)
    for name, array in one.arrays().items():
        np.testing.assert_array_equal(array, other.arrays()[name])
    device = one.of(Exit.DEVICE)
    rounded = codec.arrived(device, device.shape[-1:])
    np.testing.assert_allclose(rounded, device, rtol=0, atol=1e-6)
    assert not np.array_equal(device, record(whole, data).of(Exit.DEVICE))
    local = one.of(Exit.LOCAL)  # goes up to a cloud that joins edges
    if len(whole.topology.devices) > 1:
        apart = np.abs(codec.arrived(local, local.shape[-1:]) - local).max()
        assert (apart < 1e-6) == (len(whole.topology.edges) > 1)


async def test_a_tier_takes_scores_in_its_bundles_codec_alone(short: Bundle) -> None:
    fleet = Fleet(short, devices=())
    fleet.start()
    edge = "edge" if len(short.topology.edges) == 1 else "edge-0"
    classes = len(short.manifest.classes)
    event, child = np.array([b"e"], np.object_), short.topology.edges[0].devices[0]
    refused = await fleet.post(edge, {"event": event, "scores": np.zeros((1, classes), np.float32)}, device=child)
    codec = short.topology.score_codec(Exit.DEVICE)
    row = codec.sample((classes,))
    row.view(np.uint8)[0, :2] = np.frombuffer(np.float16(np.inf).tobytes(), np.uint8)
    infinite = await fleet.post(edge, {"event": event, "scores": row}, device=child)
    await fleet.close()
    assert (refused.status_code, infinite.status_code) == (400, 400)
    expected = f"expected {codec.datatype} [1, {codec.wire_shape((classes,))[0]}]"
    assert f"input tensor 'scores' is FP32 [1, {classes}]; {expected}" in refused.json()["error"]
    assert "expected finite numbers" in infinite.json()["error"]
