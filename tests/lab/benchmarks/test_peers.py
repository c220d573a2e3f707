"""The benchmark beside peers: what it chooses, how it reads peers, and what it makes of figures."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.data import load
from ddnn_lab.jpeg import lowest_quality, side_by_side, taken_apart
from ddnn_lab.load import Processes
from ddnn_lab.peers import network
from ddnn_lab.peers.network import Width
from ddnn_lab.peers.peer import PEERS, SERVERS, Cores, target, threshold_of, versions
from ddnn_lab.peers.report import efficiency, same_rate, targets


def test_the_smallest_network_that_is_good_enough_is_chosen() -> None:
    small, good, large = Width((1,), 0.9, 10), Width((2,), 0.975, 20), Width((3,), 0.99, 30)
    assert network.choose([large, good, small], 0.97) is good
    assert network.choose([small], 0.97) is None


def test_the_lowest_jpeg_quality_that_is_good_enough_is_chosen() -> None:
    bundle, data = Bundle.open(shipped_bundle()), load("mnist5k", grid="3x2").subset("test").take(range(40))
    for search in lowest_quality(bundle, data, 0.9, qualities=(95, 1, 50)).values():
        chosen, below = search["chosen"], search["found"][:-1]
        assert chosen == search["found"][-1]
        assert chosen["accuracy"] >= 0.9
        assert all(quality["accuracy"] < 0.9 and quality["file"] < chosen["file"] for quality in below)
    assert all(search["chosen"] is None for search in lowest_quality(bundle, data, 1.1, qualities=(1,)).values())


def test_views_side_by_side_come_apart_again() -> None:
    data = load("synthetic").take(range(5))
    one = side_by_side(data)
    assert one.views[0].shape == (5, 1, 12, 72)
    again = taken_apart(one, data)
    assert all((mine == theirs).all() for mine, theirs in zip(again.views, data.views, strict=True))


def test_a_threshold_sends_up_about_the_share_that_is_wanted() -> None:
    unsure = np.random.default_rng(0).random(1000).astype(np.float32)
    for share in (0.015, 0.3):
        assert abs(float((unsure >= threshold_of(share, unsure)).mean()) - share) <= 0.002
    assert threshold_of(1.0, unsure) == 0.0


def test_the_cloud_has_half_of_the_cores_and_one_at_least() -> None:
    assert Cores.of(frozenset({0, 1, 2, 3})).cloud == {0, 1}
    assert Cores.of(frozenset({5})).cloud == {5}


def test_cpu_is_counted_of_living_processes_alone() -> None:
    with subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1) as living:
        assert living.stdout is not None
        living.stdout.readline()
        used = Processes({"living": living.pid, "none": 2**22 + 1}).read()
        living.communicate(b"\n")
    assert used.cpu_s["living"] > 0
    assert used.cpu_s["none"] == 0


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_is_pinned_and_its_server_is_there(peer: Any) -> None:
    assert (SERVERS / f"{peer.server}.py").is_file()
    assert {"onnxruntime", "numpy"} < versions(peer).keys()
    command = peer.command(Path("/venv"), 8000, 1)
    assert command[0].startswith("/venv/bin/")


@pytest.mark.parametrize("peer", [PEERS[0], PEERS[-1]], ids=["bytes", "JSON"])
def test_a_peers_answer_is_read_and_nonsense_refused(peer: Any) -> None:
    data = load("synthetic").take(range(3))
    asked = target(peer, "http://127.0.0.1:1", data, [2, 0, 1])
    scores = np.eye(len(data.classes), dtype=np.float32)[data.y[2]]
    body = scores.tobytes() if peer.binary else str([scores.tolist()]).encode()
    outcome = asked.read(0, body)
    assert outcome.right
    assert outcome.label == data.y[2]
    assert len(asked.bodies) == 3
    with pytest.raises(ValueError, match="scores"):
        asked.read(0, scores[:2].tobytes() if peer.binary else b"[[1.0]]")


def test_targets_take_the_peer_that_is_best_at_each() -> None:
    quick, thrifty = _system("quick", cpu=2.0, p50=30.0), _system("thrifty", cpu=1.0, p50=60.0)
    ours = _system("ours", cpu=0.05, p50=9.0) | {
        "offloaded": {"latency_by_exit_ms": {"cloud": {"p95": 70.0}}},
    }
    results = {
        "peers": [quick, thrifty],
        "ours": ours,
        "links": {"device_edge_ms": 2.0, "wait_ms": 150.0},
        "bytes": {"raw_views": 960.0, "edge_to_cloud": 1.0, "offloaded": 38.0, "jpeg": None},
    }
    cpu, median, tail, raw = targets(results)
    assert (cpu["against"], cpu["found"], cpu["met"]) == ("thrifty", pytest.approx(20), True)
    assert (median["against"], median["found"], median["met"]) == ("quick", pytest.approx(0.3), True)
    assert (tail["against"], tail["found"], tail["met"]) == ("quick", 70.0, True)
    assert raw["met"]
    assert same_rate([quick, thrifty], ours).startswith("at 400 events/s for both 20,000 against 1,000")


def test_no_cpu_at_all_is_no_infinite_efficiency() -> None:
    assert efficiency({"answered": 10, "cpu_s": {"cloud": 0.0}}) == 10_000


def _system(name: str, *, cpu: float, p50: float) -> dict[str, Any]:
    point = {"answered": 1000, "cpu_s": {"cloud": cpu}, "latency_ms": {"p50": p50, "p95": 2 * p50}}
    rates = [{**point, "arrivals": {"rate": rate}} for rate in (50.0, 400.0)]
    return {"name": name, "saturated": [point], "linked": point, "rates": rates}
