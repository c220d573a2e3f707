"""Devices that send features of unequal lengths: the same answers served as offline, each row as long as its own."""

from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.client import AsyncFleet
from ddnn.evaluation import decide, judge, record
from ddnn.evaluation.agreement import agreement
from ddnn.evaluation.report import traffic
from ddnn.export import sample_bundle
from ddnn.fleet.events import golden_events
from ddnn.network import NetworkConfig
from ddnn.policy import Policy, Thresholds
from ddnn.types import Exit, Tier
from ddnn_lab.in_process import Fleet

PASSING = {"flat": True, "pass_on": True, "cut_codec": "float16", "widths": [4]}
SMALL = {"flat": True, "widths": [4]}
NETWORKS: dict[str, dict[str, Any]] = {
    "views": {"device": PASSING, "edge": PASSING},
    "views, two edges": {"device": PASSING, "edge": PASSING, "edges": [[0, 2], [1, 3]]},
    "views, no edge section": {"device": PASSING, "edge_section": False},
    "views, two edges without": {"device": PASSING, "edge_section": False, "edges": [[0, 1, 3], [2]]},
    "levels": {"device": {**SMALL, "cut_codec": "bits4"}, "edge": SMALL},
    "levels, no edge section": {"device": {**SMALL, "cut_codec": "bits2"}, "edge_section": False},
}
SIZES = (1, 3, 2, 9)


@pytest.fixture(scope="module", params=NETWORKS)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    config = NetworkConfig.model_validate({"cloud": SMALL, **NETWORKS[request.param]})
    return sample_bundle(tmp_path_factory.mktemp("bundles") / "b", [(size,) for size in SIZES], network=config)


def middle(bundle: Bundle) -> Policy:
    """Some events are answered at every exit."""
    scores, limits = record(bundle, golden_events(bundle)), dict[str, float]()
    for exit, quantile in ((Exit.DEVICE, 0.1), (Exit.LOCAL, 0.4), (Exit.EDGE, 0.5)):
        if exit in bundle.topology.exits:
            u = np.unique(judge(scores, Policy(bundle="b"), exit).uncertainty.ravel())
            at = int(quantile * (len(u) - 1))
            limits[exit.value] = float(u[at : at + 2].mean())
    return Policy(bundle=bundle.fingerprint, thresholds=Thresholds(**limits), wait_ms=60_000)


@pytest.mark.parametrize("offload", ["staged", "eager"])
async def test_served_is_offline(bundle: Bundle, offload: str) -> None:
    data, fleet = golden_events(bundle), Fleet(bundle)
    data = data.take(np.flatnonzero(data.present.all(axis=1)))
    fleet.start()
    policy = middle(bundle).model_copy(update={"offload": offload})
    fleet.use(thresholds=policy.thresholds, offload=offload, wait_ms=60_000, adaptive_wait=False)
    urls = [f"http://device-{n}" for n in range(len(SIZES))]
    async with AsyncFleet(urls, transport=fleet.switch) as client:
        answers = await client.answer_events(list(data.views), deadline_ms=60_000)
    await fleet.close()
    found = agreement(Bundle(bundle.path, bundle.manifest, policy), data, answers)
    assert found.ok, found.differing
    assert len({answer.exit for answer in answers}) > 1
    sent = traffic(record(bundle, data), decide(record(bundle, data), policy), policy)
    total = sent["device_to_edge"]["payload"] + sent["edge_to_cloud"]["payload"]
    if len(bundle.topology.edges) == 1:  # of several, some report what callers are not charged for
        assert np.mean([answer.bytes_up for answer in answers]) == pytest.approx(total)


async def test_a_row_of_another_device_is_refused_and_examples_are_answered(bundle: Bundle) -> None:
    fleet = Fleet(bundle)
    fleet.start()
    edge, devices = (
        ("edge", (0, 1)) if len(bundle.topology.edges) == 1 else ("edge-0", bundle.topology.edges[0].devices)
    )
    first, other = devices[:2]
    topology = bundle.topology
    given = topology.sent(Tier.DEVICE, "asked")[0]
    lengths = topology.rows(given, (first, other))
    assert len(set(lengths)) == 2
    codec = topology.codec(given, first)
    event = np.array([b"e"], np.object_)
    row = codec.sample(topology.shape(given, other))
    refused = await fleet.post(edge, {"event": event, "features": row}, device=first)
    assert refused.status_code == 400
    assert f"[1, {lengths[1]}]; expected {codec.datatype} [1, {lengths[0]}]" in refused.json()["error"]
    for host in (edge, "cloud"):
        async with fleet.client(host) as client:
            metadata = (await client.get("/v2/models/ddnn")).json()
            example = fleet.switch.apps[host].state.service.request_example
            answered = await client.post("/v2/models/ddnn/infer", json=example)
        features = next(entry for entry in metadata["inputs"] if entry["name"] == "features")
        assert len(features["shape"]) == 2
        assert answered.status_code == 200, answered.text
    await fleet.close()
