"""The paper's six configurations, each as a fleet: every event answered, and as offline."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.evaluation import Decisions, decide, judge, record
from ddnn.evaluation.agreement import agreement
from ddnn.evaluation.report import traffic
from ddnn.evaluation.served import ask
from ddnn.fleet.events import golden_events
from ddnn.policy import Policy, Temperatures, Thresholds
from ddnn.topology import EdgeSpec
from ddnn.types import Exit
from ddnn_lab.in_process import Fleet
from networks import TOPOLOGIES, make_bundle

SMALL: Final = {"filters": [4], "cut_filters": 2}
SPLIT: Final = [[0, 3], [1, 2, 4, 5]]
CONFIGURATIONS: Final[dict[str, dict[str, Any]]] = TOPOLOGIES | {
    "f, no edge section": {"edges": SPLIT, "edge_section": False},
    "f, three edges": {"edges": 3},
    "e, two and eight bits": {"device": {**SMALL, "cut_codec": "bits2"}, "edge": {**SMALL, "cut_codec": "bits8"}},
    "c, four bits": {"edge_section": False, "device": {**SMALL, "cut_codec": "bits4"}},
    "f, half precision": {"edges": 2, "device": {**SMALL, "cut_codec": "float16"}},
}
PAIRS: Final = [(local, cloud) for local in ("max", "mean", "concat") for cloud in ("max", "mean", "concat")]


def tuned(bundle: Bundle, *, device: bool = False, local: float = 0.3, edge: float = 0.4) -> Bundle:
    """`bundle` under thresholds that let such a share of each exit's answers leave there."""
    data = golden_events(bundle)
    # An untrained network is hardly ever sure; cooled, it is now and then.
    cool = Temperatures(device=0.1, local=0.1, edge=0.1, cloud=0.1)
    scores, loose = record(bundle, data), Policy(bundle=bundle.fingerprint, temperatures=cool)
    shares = {Exit.DEVICE: 0.15 if device else 0.0, Exit.LOCAL: local, Exit.EDGE: edge}
    found = {}
    for exit, share in shares.items():
        if exit in bundle.topology.exits and share:
            u = np.sort(judge(scores, loose, exit)[1], axis=None)
            u = u[np.isfinite(u)]
            at = max(1, int(share * len(u)))
            found[exit.value] = float((u[at - 1] + u[at]) / 2)  # between two, so that no rounding decides
    thresholds = Thresholds(**{"device": 0.0, "local": 0.0, "edge": 0.0} | found)
    loose.model_copy(update={"thresholds": thresholds, "version": 2}).write(bundle.path)
    return Bundle.open(bundle.path)


@asynccontextmanager
async def running(bundle: Bundle) -> AsyncIterator[Fleet]:
    fleet = Fleet(bundle)
    fleet.start()
    yield fleet
    await fleet.close()


async def check(bundle: Bundle, *, whole: bool = False) -> Decisions:
    """The golden events, or those all devices see, through a fleet: what it answers is what `bundle` says offline."""
    data = golden_events(bundle)
    if whole:
        data = data.take(np.flatnonzero(data.present.all(axis=1)))
    urls = [f"http://device-{n}" for n in range(len(bundle.topology.devices))]
    async with running(bundle) as fleet:
        answers = await ask(urls, bundle, data, transport=fleet.switch)
    found = agreement(bundle, data, answers)
    assert found.ok, found.differing
    assert (found.document["label_agreement"], found.document["exit_agreement"]) == (1, 1)
    assert not any(answer.degraded for answer in answers)
    scores = record(bundle, data)
    decisions = decide(scores, bundle.policy)
    served = sum(answer.bytes_up for answer in answers) / len(answers)
    told = traffic(scores, decisions, bundle.policy)
    offline = told["device_to_edge"]["payload"] + told["edge_to_cloud"]["payload"]
    if bundle.policy.thresholds.device and len(bundle.topology.edges) > 1:
        # What an edge tells of an event that its devices, all sure, have settled is on nobody's account.
        assert served <= offline
    else:
        assert served == pytest.approx(offline)
    return decisions


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("a", False),
        pytest.param("b", True, marks=pytest.mark.long),
        ("c", False),
        pytest.param("d", True, marks=pytest.mark.long),
        ("e", True),
        ("f", False),
        pytest.param("f", True, marks=pytest.mark.long),
        ("f, no edge section", True),
        pytest.param("f, three edges", False, marks=pytest.mark.long),
        pytest.param("e, two and eight bits", True, marks=pytest.mark.long),
        ("c, four bits", False),
        pytest.param("f, half precision", False, marks=pytest.mark.long),
    ],
)
async def test_a_fleet_answers_as_offline(name: str, device: bool, tmp_path: Path) -> None:
    bundle = tuned(make_bundle(tmp_path / "bundle", **CONFIGURATIONS[name]), device=device)
    decisions = await check(bundle)
    assert sum(decisions.share(exit) > 0 for exit in Exit) >= min(2, len(bundle.topology.exits))
    assert decisions.sure.any() == device


@pytest.mark.long
@pytest.mark.parametrize(("local", "cloud"), PAIRS)
async def test_every_pair_of_fusions_is_served_as_offline(local: str, cloud: str, tmp_path: Path) -> None:
    keys = {"local_fusion": local, "cloud_fusion": cloud, "edge_section": False}
    await check(tuned(make_bundle(tmp_path / "bundle", devices=3, **keys)), whole=True)


async def test_raw_views_of_several_edges_are_joined_at_the_cloud(tmp_path: Path) -> None:
    whole = make_bundle(tmp_path / "bundle", **TOPOLOGIES["a"])
    edges = tuple(EdgeSpec(devices=tuple(devices)) for devices in SPLIT)
    topology = whole.topology.model_copy(update={"edges": edges})
    sealed = Bundle.seal(whole.path, whole.manifest.model_copy(update={"topology": topology}))
    Policy(bundle=sealed.fingerprint).write(whole.path)
    await check(Bundle.open(whole.path))
